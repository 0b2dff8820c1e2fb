package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Program is a check done by someone else's program: well when it exits 0.
//
// It runs without a shell, in a process group of its own, with our environment
// and /dev/null as its input. When its time is over the group gets SIGTERM and
// soon after SIGKILL; when it ends in time, whatever it left behind in the group
// is killed. Only a descendant that made a session of its own escapes that.
type Program struct {
	// Path is one executable file, not a command line.
	Path string
	// Args are its arguments. ldirectord gives four: VIP or mark, port of the
	// virtual service (0 for a mark), address and port of the real server.
	Args []string
	// Perl allows Path to be a Perl script that is not executable, or has no first
	// line to say so (checktype=external-perl); the perl in PATH then runs it. The peer
	// keeps such a script compiled in its own process; here it is a program like
	// any other, started for every check.
	Perl bool
	// Dynamic lets the exit status carry a weight: 0 is well, 2 to 255 are well
	// with a weight of that less 2, 1 is down (keepalived's misc_dynamic).
	Dynamic bool
	// User and Group are whom to run it as, names or numbers. Without a User it
	// runs as we do, without a Group as the user's.
	User, Group string
}

// maxOutput is how much of what a program prints is kept, for the reason.
const maxOutput = 4 << 10

// termGrace is the time from SIGTERM to SIGKILL. It comes on top of the timeout:
// a program that obeys may say why it was late.
const termGrace = 100 * time.Millisecond

// Check implements [Probe].
func (p Program) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

func (p Program) runsProgram() bool { return true }

// Examine implements [Examiner]: the message is what the program printed.
func (p Program) Examine(ctx context.Context, _ Net) Outcome {
	x := begin(ctx, p.Path)
	path, args := p.Path, p.Args
	if p.Perl && unix.Access(path, unix.X_OK) != nil {
		path, args = "perl", append([]string{p.Path}, p.Args...)
	}
	as, err := credential(p.User, p.Group)
	if err != nil {
		return Outcome{Err: local(err)}
	}
	e, err := run(ctx, command{path: path, args: args, as: as})
	if p.Perl && errors.Is(err, syscall.ENOEXEC) { // what the peer evaluates needs no first line
		e, err = run(ctx, command{path: "perl", args: append([]string{p.Path}, p.Args...), as: as})
	}
	if as != nil && errors.Is(err, syscall.EPERM) {
		return Outcome{Err: local(fmt.Errorf("only root can run %s as another user", p.Path))}
	}
	if err != nil {
		return Outcome{Err: p.cannot(x, err)}
	}
	out := Outcome{Message: clip(e.output, 1024)}
	out.Weight, out.Weighted, out.Err = p.judge(ctx, x, e)
	return out
}

func (p Program) cannot(x exchange, err error) error {
	switch {
	case IsLocal(err):
		return err
	case errors.Is(err, os.ErrNotExist):
		return &reason{"check program " + p.Path + " is not there", err}
	case errors.Is(err, os.ErrPermission):
		return &reason{"check program " + p.Path + " is not executable (chmod +x)", err}
	case errors.Is(err, syscall.ENOEXEC):
		return &reason{"check program " + p.Path + " is no program: a script needs a first line like #!/bin/sh", err}
	}
	return x.failed("verdict", err)
}

func (p Program) judge(ctx context.Context, x exchange, e exit) (weight int, weighted bool, err error) {
	switch {
	case e.killed && errors.Is(context.Cause(ctx), context.Canceled):
		return 0, false, &reason{"the check was stopped", context.Canceled}
	case e.killed:
		return 0, false, &reason{fmt.Sprintf("%s did not end %s, and was killed%s", p.Path, x.within(), said(e.output)), context.DeadlineExceeded}
	case e.signal != 0:
		return 0, false, x.wrong("%s died of signal %d (%v)%s", p.Path, int(e.signal), e.signal, said(e.output))
	case e.status == 0:
		return 0, false, nil
	case p.Dynamic && e.status >= 2:
		return e.status - 2, true, nil
	}
	return 0, false, x.wrong("%s exits with %d%s", p.Path, e.status, said(e.output))
}

func said(output string) string {
	if output = strings.TrimSpace(output); output == "" {
		return ""
	}
	return ": " + clip(output, 200)
}

// command is a program to run.
type command struct {
	path  string
	args  []string
	stdin string
	as    *syscall.Credential // nil: ourselves
}

// exit is how a program ended.
type exit struct {
	status int
	signal syscall.Signal
	killed bool // by us, because its time was over
	output string
}

// run runs a program to its end, or to that of ctx, and leaves nothing of its
// process group behind. The error is that of a program that could not start.
func run(ctx context.Context, c command) (exit, error) {
	cmd := exec.Command(c.path, c.args...)
	out := &keeper{most: maxOutput}
	cmd.Stdout, cmd.Stderr = out, out
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.as}
	// A descendant outside the group can hold the pipe open; do not wait for it.
	cmd.WaitDelay = termGrace
	if err := start(cmd); err != nil {
		return exit{}, err
	}
	ended := make(chan struct{})
	go func() {
		awaitExit(cmd.Process.Pid)
		close(ended)
	}()
	e := exit{killed: reap(ctx, cmd.Process.Pid, ended)}
	err := cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		e.status = ws.ExitStatus()
		if ws.Signaled() {
			e.signal = ws.Signal()
		}
	} else if err != nil {
		return exit{}, err
	}
	e.output = out.String()
	return e, nil
}

// start tells our own lack of processes or memory from a fault of the program.
func start(cmd *exec.Cmd) error {
	err := cmd.Start()
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return local(fmt.Errorf("%w (too many processes: see ulimit -u and pids.max)", err))
	case errors.Is(err, syscall.ETXTBSY):
		return local(fmt.Errorf("%w (someone is writing it)", err))
	}
	return err
}

// reap waits until the process with this pid has ended or its time is over, and
// kills what is left of its group. The process stays unreaped until then: its
// pid, and so the number of the group, cannot belong to anyone else.
func reap(ctx context.Context, pid int, ended <-chan struct{}) (killed bool) {
	select {
	case <-ended:
	case <-ctx.Done():
		killed = true
		signalGroup(pid, unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(termGrace):
		}
	}
	signalGroup(pid, unix.SIGKILL)
	<-ended
	return killed
}

// signalGroup signals a group, of which nobody may be left.
func signalGroup(pid int, s unix.Signal) { _ = unix.Kill(-pid, s) }

// awaitExit waits until a child has ended and leaves it a zombie.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return // ECHILD would mean that someone else reaped it
		}
	}
}

// keeper keeps the beginning of what is written to it and drops the rest, so
// that a program that floods its output is not blocked by us.
type keeper struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	most int
}

var _ io.Writer = (*keeper)(nil)

func (k *keeper) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.buf.Write(b[:min(len(b), k.most-k.buf.Len())])
	return len(b), nil
}

func (k *keeper) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.buf.String()
}
