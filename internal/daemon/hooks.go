package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is something to run: a hook, a callback.
type Command struct {
	Name string // for messages: "fallbackcommand"
	// Argv is run without a shell; Shell, if set, is run by /bin/sh with Argv as
	// further words of the line.
	Argv    []string
	Shell   string
	Timeout time.Duration // 0 = 30 s; then the whole process group is killed

	stdin string
	mark  chan struct{} // closed in its turn, in place of running anything
}

func (c Command) String() string {
	return c.Name + " " + strings.TrimSpace(c.Shell+" "+strings.Join(c.Argv, " "))
}

// Hooks runs commands one after the other, in the order in which they were
// given, so that "start" and "stop" of the same thing cannot overtake each
// other. Nobody waits for it.
type Hooks struct {
	queue chan Command
	say   func(error)
}

const (
	maxHooks    = 256
	maxOutput   = 4 << 10
	defaultHook = 30 * time.Second
)

// NewHooks reports what went wrong to say, which must not block.
func NewHooks(say func(error)) *Hooks {
	return &Hooks{queue: make(chan Command, maxHooks), say: say}
}

// Do queues a command and returns at once.
func (h *Hooks) Do(c Command) {
	select {
	case h.queue <- c:
	default:
		h.say(fmt.Errorf("%v: not run, %d commands wait already", c, maxHooks))
	}
}

// Settle returns when the commands that were queued before it have ended, or ctx
// has.
func (h *Hooks) Settle(ctx context.Context) {
	mark := make(chan struct{})
	select {
	case h.queue <- Command{mark: mark}:
	case <-ctx.Done():
		return
	}
	select {
	case <-mark:
	case <-ctx.Done():
	}
}

// Ready implements [Task].
func (h *Hooks) Ready() <-chan struct{} { return nil }

func (h *Hooks) String() string { return "hooks" }

// Run implements [Task]. When ctx ends, the command under way is killed and
// those that wait are not run; say hears of both.
func (h *Hooks) Run(ctx context.Context) error {
	for {
		select {
		case c := <-h.queue:
			h.take(ctx, c)
		case <-ctx.Done():
			for {
				select {
				case c := <-h.queue:
					h.leave(c)
				default:
					return nil
				}
			}
		}
	}
}

func (h *Hooks) take(ctx context.Context, c Command) {
	if c.mark != nil {
		close(c.mark)
		return
	}
	if err := c.run(ctx); err != nil {
		h.say(fmt.Errorf("%v: %w", c, err))
	}
}

func (h *Hooks) leave(c Command) {
	if c.mark != nil {
		close(c.mark)
		return
	}
	h.say(fmt.Errorf("%v: not run, we are stopping", c))
}

func (c Command) argv() []string {
	if c.Shell == "" {
		return c.Argv
	}
	// The words are handed over as parameters: no quoting, no surprises.
	return append([]string{"/bin/sh", "-c", c.Shell + ` "$@"`, "sh"}, c.Argv...)
}

func (c Command) run(ctx context.Context) error {
	argv := c.argv()
	if len(argv) == 0 {
		return errors.New("there is nothing to run")
	}
	ctx, cancel := context.WithTimeout(ctx, orDuration(c.Timeout, defaultHook))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second // for children that keep our pipe open
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it went well itself, and left something running on purpose
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("killed after %v", orDuration(c.Timeout, defaultHook))
	}
	if said := out.String(); err != nil && said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// killGroup ends a process and all that it started. Numbers that mean more than
// one group to kill(2) are refused.
func killGroup(pid int) error {
	if pid <= 1 {
		return fmt.Errorf("process %d has no group that can be killed", pid)
	}
	return syscall.Kill(-pid, syscall.SIGKILL)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxOutput):]...)
	t.b = t.b[max(0, len(t.b)-maxOutput):]
	return len(p), nil
}

func (t *tail) String() string { return oneLine(strings.TrimSpace(string(t.b))) }
