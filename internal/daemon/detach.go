package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// detachedVar tells a process that it is the detached one, and on which
// descriptor its parent waits for a word.
const detachedVar = "LVSCTL_DETACHED_FD"

// Detach starts this program again, with the same arguments, in a session of
// its own and with /dev/null for its standard descriptors, and returns when the
// new process has said how its start went: nil, or its words. argv is what
// /proc/PID/cmdline will show. A process that says nothing within patience is
// ended.
//
// It replaces the double fork, which a program with threads cannot do.
func Detach(argv []string, patience time.Duration) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path: self, Args: argv, ExtraFiles: []*os.File{w},
		Env:         append(os.Environ(), detachedVar+"=3"),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, err
	}
	if err := hear(r, patience); err != nil {
		// It may be busy still; nobody else would end it.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, err
	}
	pid = cmd.Process.Pid // Release forgets it
	return pid, cmd.Process.Release()
}

// hear reads the word of the detached process: "ok", or what went wrong.
func hear(r *os.File, patience time.Duration) error {
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(r, 16<<10))
	word := strings.TrimSpace(string(b))
	switch {
	case word == "ok":
		return nil
	case word != "":
		return errors.New(word)
	case err != nil:
		return fmt.Errorf("the daemon did not say within %v that it runs: %w", patience, err)
	}
	return errors.New("the daemon ended before it ran")
}

// Parent is the process that waits in [Detach].
type Parent struct{ pipe *os.File }

// Detached tells whether this process was started by [Detach], and by whom. It
// is to be called once, before anything else is started: what it finds in the
// environment is not for our children.
func Detached() (*Parent, bool) {
	fd, err := strconv.Atoi(os.Getenv(detachedVar))
	_ = os.Unsetenv(detachedVar)
	if err != nil || fd < 3 {
		return nil, false
	}
	syscall.CloseOnExec(fd)
	return &Parent{os.NewFile(uintptr(fd), "parent")}, true
}

// Started lets the parent go: all is well. The working directory becomes /, so
// that no file system is kept busy; relative paths have to be resolved before.
func (p *Parent) Started() error {
	_, err := p.pipe.WriteString("ok\n")
	return errors.Join(err, p.pipe.Close(), os.Chdir("/"))
}

// Failed lets the parent go with the reason why there will be no daemon.
func (p *Parent) Failed(why error) {
	_, _ = p.pipe.WriteString(why.Error()) // a parent that has gone does not want to know
	_ = p.pipe.Close()
}
