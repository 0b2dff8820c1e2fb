package appliance

import (
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/config"
)

// credential is who a program runs as: nil when nobody says otherwise, or when it
// is what we are.
func credential(c config.Command) (*syscall.Credential, error) {
	if c.User == "" && c.Group == "" {
		return nil, nil
	}
	u, err := user.Current()
	if c.User != "" {
		u, err = lookupUser(c.User)
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	as := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if c.Group != "" {
		if as.Gid, err = lookupGroup(c.Group); err != nil {
			return nil, err
		}
	}
	as.Groups = []uint32{as.Gid}
	if as.Uid == uint32(syscall.Geteuid()) && as.Gid == uint32(syscall.Getegid()) {
		return nil, nil // setgroups would need a right that a container may not have
	}
	return as, nil
}

func lookupUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err == nil {
		return u, nil
	}
	if _, isNumber := strconv.ParseUint(name, 10, 32); isNumber == nil {
		return &user.User{Uid: name, Gid: name}, nil
	}
	return nil, fmt.Errorf("user %s: there is no such user", name)
}

func lookupGroup(name string) (uint32, error) {
	id := name
	if g, err := user.LookupGroup(name); err == nil {
		id = g.Gid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("group %s: there is no such group", name)
	}
	return uint32(n), nil
}

// sequence runs programs one after the other, in the order in which they were
// given, and nobody waits for it. A program that takes too long is left to
// itself, not killed: it may be mounting a disk.
type sequence struct {
	jobs  chan job
	say   func(Level, string)
	hurry chan struct{} // closed: start what is left, and wait for nothing
	done  chan struct{}
}

type job struct {
	words []string
	as    *syscall.Credential
	err   error // why it cannot be run
}

func (j job) String() string { return strings.Join(j.words, " ") }

const (
	// sequenceRoom is far more than a program that hangs can let pile up between
	// two elections that a person looks at.
	sequenceRoom = 1024
	// jobPatience is how long the next program waits for the one before it.
	jobPatience = 30 * time.Second
)

func newSequence(say func(Level, string), hurry chan struct{}) *sequence {
	s := &sequence{jobs: make(chan job, sequenceRoom), say: say, hurry: hurry, done: make(chan struct{})}
	go s.run()
	return s
}

// do queues a program. One goroutine calls do and close.
func (s *sequence) do(j job) {
	select {
	case s.jobs <- j:
	default:
		s.say(Error, fmt.Sprintf("%v: not run: %d programs wait for one that does not end", j, sequenceRoom))
	}
}

// close lets the sequence end when everything has been run.
func (s *sequence) close() { close(s.jobs) }

func (s *sequence) run() {
	defer close(s.done)
	for j := range s.jobs {
		s.one(j)
	}
}

func (s *sequence) one(j job) {
	ended, err := j.start()
	if err != nil {
		s.say(Error, fmt.Sprintf("%v: not run: %v", j, err))
		return
	}
	select {
	case err := <-ended:
		if err != nil {
			s.say(Warning, fmt.Sprintf("%v: %v", j, err))
		}
	case <-time.After(jobPatience):
		s.say(Warning, fmt.Sprintf("%v: still runs after %v; the next one does not wait for it", j, jobPatience))
	case <-s.hurry:
	}
}

// start starts the program with nothing to read and nobody to listen: it may
// leave something running behind it, which must not hang on to us.
func (j job) start() (<-chan error, error) {
	if j.err != nil {
		return nil, j.err
	}
	if len(j.words) == 0 {
		return nil, errors.New("there is nothing to run")
	}
	cmd := exec.Command(j.words[0], j.words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: j.as}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}
