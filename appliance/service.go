package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/config"
)

// finder finds the programs behind resources.
type finder struct {
	// folders are searched in this order for a script of the resource's name.
	folders []string
	// systemd is the folder that is there while systemd runs; empty: units are not
	// looked for.
	systemd string
}

// runsSystemd is there where systemd is the service manager: see sd_booted(3).
const runsSystemd = "/run/systemd/system"

// service is the program behind a resource: a script that gets the resource's
// arguments and a verb, or a unit of systemd's.
type service struct {
	script string // empty: a unit
	name   string
	args   []string
}

// service finds what is behind a resource.
func (f finder) service(ctx context.Context, r config.Resource) (service, error) {
	if r.Name == "" || r.Name != filepath.Base(r.Name) || strings.HasPrefix(r.Name, ".") || strings.HasPrefix(r.Name, "-") {
		return service{}, fmt.Errorf("%q is no name of a script", r.Name)
	}
	s := service{name: r.Name, args: r.Args}
	for _, folder := range f.folders {
		path := filepath.Join(folder, r.Name)
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			s.script = path
			return s, nil
		}
	}
	where := "there is no executable " + r.Name + " in " + strings.Join(f.folders, " or ")
	if !f.hasSystemd() {
		return service{}, errors.New(where)
	}
	if out, _ := capture(ctx, statusTime, []string{"systemctl", "show", "--property=LoadState", s.unit()}); strings.TrimSpace(out) != "LoadState=loaded" {
		return service{}, errors.New(where + ", and no unit " + s.unit())
	}
	if len(r.Args) > 0 {
		return service{}, fmt.Errorf("%s, and the unit %s takes no arguments", where, s.unit())
	}
	return s, nil
}

func (f finder) hasSystemd() bool {
	if f.systemd == "" {
		return false
	}
	_, err := os.Stat(f.systemd)
	return err == nil
}

func (s service) unit() string { return s.name + ".service" }

func (s service) words(verb string) []string {
	if s.script != "" {
		return append(append([]string{s.script}, s.args...), verb)
	}
	if verb == "status" {
		verb = "is-active"
	}
	return []string{"systemctl", verb, s.unit()}
}

func (s service) line(verb string) string { return strings.Join(s.words(verb), " ") }

// How long one step may take. Nobody waits for a start; the addresses wait for a
// stop, but not that long.
const (
	statusTime = 15 * time.Second
	startTime  = 2 * time.Minute
	stopTime   = time.Minute
)

// What a script's answer says. The patterns are compiled for the first answer: this
// package is linked into a program whose other commands must start fast.
var (
	saysUp   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i:\brunning\b)|\bOK\b`) })
	saysDown = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)\bnot\s+running\b`) })
)

// lsbStopped is the exit status of a status action for a service that does not run
// (Linux Standard Base).
const lsbStopped = 3

// running asks for the status. For a script the word in its answer counts, as with
// heartbeat; that it is not running is told by some with the same word.
func (s service) running(ctx context.Context) bool {
	out, err := capture(ctx, statusTime, append([]string{"env", "LC_ALL=C"}, s.words("status")...))
	if s.script == "" {
		return err == nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == lsbStopped {
		return false
	}
	return saysUp().MatchString(out) && !saysDown().MatchString(out)
}

// run starts or stops.
func (s service) run(ctx context.Context, verb string) error {
	most := startTime
	if verb == "stop" {
		most = stopTime
	}
	out, err := capture(ctx, most, s.words(verb))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%s: did not end within %v, and was killed%s", s.line(verb), most, lastWords(out))
	case err != nil:
		return fmt.Errorf("%s: %w%s", s.line(verb), err, lastWords(out))
	}
	return nil
}

// lastWords is the last line that a program has written.
func lastWords(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	return ": " + strings.ToValidUTF8(last[:min(len(last), 200)], "?")
}

var errTooLong = errors.New("it took too long")

const (
	keptOutput = 4 << 10
	// termTime is the time from SIGTERM to SIGKILL.
	termTime = 2 * time.Second
	// outputTime is how long output is waited for after the end of the program: who
	// stays behind as a daemon may keep the pipe.
	outputTime = 100 * time.Millisecond
)

// capture runs a program to its end, that of ctx or that of its time, and returns
// the beginning of its output. What it leaves behind lives on: that is what a start
// is for. Only a program that has to be ended takes its process group with it.
func capture(ctx context.Context, most time.Duration, words []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = w.Close() // the program has its own
	if err != nil {
		_ = r.Close()
		return "", err
	}
	said := &beginning{}
	all := make(chan struct{})
	// Reads on as long as anybody may write: a daemon without a reader would die of
	// its first word.
	go func() {
		defer close(all)
		_, _ = io.Copy(said, r)
		_ = r.Close()
	}()
	err = await(ctx, most, cmd)
	select {
	case <-all:
	case <-time.After(outputTime):
	}
	return said.String(), err
}

// await waits for the end of a program, and ends it when its time is over.
func await(ctx context.Context, most time.Duration, cmd *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(most)
	defer timer.Stop()
	why := errTooLong
	select {
	case err := <-ended:
		return err
	case <-timer.C:
	case <-ctx.Done():
		why = ctx.Err()
	}
	group := -cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may just have ended
	select {
	case <-ended:
	case <-time.After(termTime):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-ended
	}
	return why
}

// beginning keeps the first part of what is written to it.
type beginning struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p[:min(len(p), keptOutput-b.buf.Len())])
	return len(p), nil
}

func (b *beginning) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
