package appliance

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

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
