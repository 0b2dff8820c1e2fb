package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of a program that has to end by itself, and of one told to end. Both are far
// above what anything takes: the machine may be doing something else as well.
const (
	runLimit  = 2 * time.Minute
	stopLimit = time.Minute
)

// Run runs a program on the host and returns what it wrote to stdout and stderr.
// A status other than 0 fails the test.
func (h *Host) Run(args ...string) string {
	h.net.t.Helper()
	out, err := h.Try(args...)
	if err != nil {
		h.net.t.Fatalf("%s# %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run that returns the error: an *exec.ExitError when the program ran.
func (h *Host) Try(args ...string) (string, error) { return h.TryInput("", args...) }

// Input is Run with something to read on stdin.
func (h *Host) Input(stdin string, args ...string) string {
	h.net.t.Helper()
	out, err := h.TryInput(stdin, args...)
	if err != nil {
		h.net.t.Fatalf("%s# %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
	}
	return out
}

// TryInput is Input that returns the error.
func (h *Host) TryInput(stdin string, args ...string) (string, error) {
	p, err := h.start(strings.NewReader(stdin), args)
	if err != nil {
		return "", err
	}
	late := time.AfterFunc(runLimit, p.kill)
	err = p.Wait()
	if !late.Stop() {
		err = fmt.Errorf("still running after %v: %w", runLimit, err)
	}
	return p.Output(), err
}

// Start runs a program in the background. It is ended with the test, if not before.
func (h *Host) Start(args ...string) *Process {
	h.net.t.Helper()
	p, err := h.start(nil, args)
	if err != nil {
		h.net.t.Fatalf("%s# %s: %v", h.name, strings.Join(args, " "), err)
	}
	return p
}

func (h *Host) start(stdin io.Reader, args []string) (*Process, error) {
	p := &Process{host: h, args: args, done: make(chan struct{})}
	var err error
	doErr := h.space.do(func() {
		var path string
		if path, err = lookPath(args[0], h.net.environ()); err != nil {
			return
		}
		p.cmd = exec.Command(path)
		p.cmd.Args = args
		p.cmd.Env, p.cmd.Dir = h.net.environ(), h.net.dir
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, &p.out, &p.out
		p.cmd.SysProcAttr = group()
		// A daemon that it left behind keeps its stdout open.
		p.cmd.WaitDelay = time.Second
		err = p.cmd.Start()
	})
	if doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, err
	}
	h.others.Go(func() {
		p.err = p.cmd.Wait()
		if p.err == exec.ErrWaitDelay {
			p.err = nil // the daemon again; the program itself ended well
		}
		close(p.done)
	})
	return p, nil
}

// lookPath is exec.LookPath with the PATH that the program will have.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// Process is a program that runs in the background on a host.
type Process struct {
	host *Host
	args []string
	cmd  *exec.Cmd
	out  buffer
	done chan struct{}
	err  error // once done is closed
}

// Output is what the program has written so far.
func (p *Process) Output() string { return p.out.String() }

// Stamped is Output with the seconds from a moment before each line, as far as is known
// from when the line came.
func (p *Process) Stamped(from time.Time) string { return p.out.stamped(from) }

// Pid is its process id, also that of its process group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait waits until the program ends, and returns how.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Running reports whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the program alone.
func (p *Process) Signal(s os.Signal) {
	p.host.net.t.Helper()
	p.host.net.check(wrap(p.cmd.Process.Signal(s), p.args[0]))
}

// Stop asks the program to end (SIGTERM), waits, and returns how it ended. After
// a minute it and what it started are killed, and the test fails.
func (p *Process) Stop() error {
	p.host.net.t.Helper()
	if p.Running() {
		p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
	}
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		p.host.net.t.Fatalf("%s: %s still ran %v after SIGTERM\n%s", p.host, p.args[0], stopLimit, p.Output())
	}
	return p.err
}

// Kill ends the program and what it started, as a power failure would.
func (p *Process) Kill() {
	p.kill()
	<-p.done
}

func (p *Process) kill() {
	if p.Running() {
		syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
}

// Await waits until the program has written text.
func (p *Process) Await(text string, limit time.Duration) {
	p.host.net.t.Helper()
	Eventually(p.host.net.t, limit, func() error {
		out := p.Output()
		if strings.Contains(out, text) {
			return nil
		}
		if !p.Running() {
			return fmt.Errorf("%s: %s ended (%v) without %q:\n%s", p.host, p.args[0], p.err, text, out)
		}
		return fmt.Errorf("%s: %s has not written %q:\n%s", p.host, p.args[0], text, out)
	})
}

// buffer can be read while the program writes.
type buffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	times []arrival
}

// arrival is when the text from some offset on came.
type arrival struct {
	from int
	at   time.Time
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times = append(b.times, arrival{b.text.Len(), time.Now()})
	return b.text.Write(p)
}

// stamped is the text with the seconds from a moment before each line.
func (b *buffer) stamped(from time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	at, i := 0, 0
	for line := range strings.Lines(b.text.String()) {
		for i+1 < len(b.times) && b.times[i+1].from <= at {
			i++
		}
		fmt.Fprintf(&out, "%9.3f  %s", b.times[i].at.Sub(from).Seconds(), line)
		at += len(line)
	}
	return out.String()
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Processes are those that run on the host now, whoever started them.
func (h *Host) Processes() []int {
	h.net.t.Helper()
	pids, err := processes([]*space{h.space})
	h.net.check(wrap(err, h.name))
	return slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
}
