package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// Changes that wait to be confirmed are a file: the table before them, and until
// when. A process of its own session, the guard, was started before the first
// change was made; at the deadline it puts the table back, unless the file says
// by then that the changes are kept. Whoever reads or writes the file holds the
// lock beside it, so they are kept or taken back and never both.

// maxConfirm is more than anybody watches a change for.
const maxConfirm = 24 * time.Hour

const (
	guardPatience   = 30 * time.Second // for the guard to start
	guardLook       = 500 * time.Millisecond
	rollbackRetry   = time.Second
	pendingVersion  = 1
	rollbackRetries = 60
)

// pending are changes, and what became of them.
type pending struct {
	ID       int64     `json:"id"` // when they were made, in nanoseconds
	Before   lvs.Table `json:"before"`
	Touched  []lvs.Key `json:"touched"`
	Deadline time.Time `json:"deadline"`
	// Outcome is empty while they wait.
	Outcome string `json:"outcome"`
}

func (p pending) waits() bool { return p.ID != 0 && p.Outcome == "" }

// pendingFile is the file, while it is locked.
type pendingFile struct {
	state *daemon.StateFile
	lock  *os.File
}

// openPending locks the file.
func openPending() (*pendingFile, error) {
	if err := os.MkdirAll(runFolder, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(runFolder, "apply.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", lock.Name(), err)
	}
	return &pendingFile{daemon.NewStateFile(filepath.Join(runFolder, "apply.json"), pendingVersion), lock}, nil
}

func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (f *pendingFile) close() { f.lock.Close() }

func (f *pendingFile) read() (pending, error) {
	var p pending
	err := f.state.Load(&p)
	return p, err
}

// finish writes down what became of changes.
func (f *pendingFile) finish(p pending, outcome string) error {
	p.Outcome, p.Before = outcome, nil
	return f.state.Store(p)
}

// withPending runs a change while no other one waits to be confirmed.
func withPending(do func(*pendingFile) error) error {
	f, err := openPending()
	if err != nil {
		return err
	}
	defer f.close()
	p, err := f.read()
	if err != nil {
		return fmt.Errorf("%w; remove it if no change waits to be confirmed", err)
	}
	if p.waits() {
		return fmt.Errorf("changes wait to be confirmed until %s; first lvsctl apply --confirmed, or --rollback", clock(p.Deadline))
	}
	return do(f)
}

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

// underGuard makes changes that are taken back unless they are confirmed.
func (o *applyOptions) underGuard(cmd *cobra.Command, f *pendingFile, k lvs.Kernel, p plan) error {
	now := time.Now()
	w := pending{ID: now.UnixNano(), Before: p.have, Deadline: now.Add(o.confirm)}
	for _, c := range p.changes {
		w.Touched = append(w.Touched, c.Service.Key)
	}
	if err := f.state.Store(w); err != nil {
		return err
	}
	// The guard reads the file without its lock, which is ours until all is done.
	if _, err := daemon.Detach(os.Args, guardPatience); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: no guard could be started: %w", err), f.finish(w, "never made"))
	}
	if err := makeSo(k, p.have, p.changes); err != nil {
		return errors.Join(err, f.finish(w, "refused"))
	}
	if err := o.report(cmd.OutOrStdout(), cmd.ErrOrStderr(), p, w.Deadline); err != nil {
		return err
	}
	f.close() // the guard, and who confirms, may have it now
	if !onTerminal(0) {
		fmt.Fprintf(cmd.ErrOrStderr(), "lvsctl: applied; taken back at %s unless lvsctl apply --confirmed says that all is well\n", clock(w.Deadline))
		return nil
	}
	return awaitPerson(cmd.InOrStdin(), cmd.ErrOrStderr(), w)
}

// awaitPerson waits at the terminal for Enter. A terminal that dies says nothing,
// and so confirms nothing: the guard goes on without us.
func awaitPerson(in io.Reader, notes io.Writer, w pending) error {
	fmt.Fprintf(notes, "lvsctl: applied; Enter keeps it, Ctrl-C takes it back, and so does waiting until %s\n", clock(w.Deadline))
	entered := make(chan struct{})
	go func() {
		if line, err := bufio.NewReader(in).ReadString('\n'); err == nil && line != "" {
			close(entered)
		}
	}()
	interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	look := time.NewTicker(guardLook)
	defer look.Stop()
	for {
		select {
		case <-entered:
			return confirmPending(notes)
		case <-interrupted.Done():
			if err := rollbackPending(notes); err != nil {
				return err
			}
			return statusError(statusFailed)
		case <-look.C:
			if done, err := outcomeOf(w.ID); err != nil || done != "" {
				return ended(notes, done, err)
			}
		}
	}
}

func ended(notes io.Writer, outcome string, err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintf(notes, "lvsctl: %s\n", outcome)
	if outcome == outcomeKept {
		return nil
	}
	return statusError(statusFailed)
}

const (
	outcomeKept     = "confirmed: the changes stay"
	outcomeBack     = "taken back: the table is as it was"
	outcomeTimedOut = "not confirmed in time, and taken back: the table is as it was"
)

// outcomeOf is what became of changes; empty while they wait.
func outcomeOf(id int64) (string, error) {
	f, err := openPending()
	if err != nil {
		return "", err
	}
	defer f.close()
	p, err := f.read()
	if err == nil && p.ID != id {
		return "somebody else has gone on", nil
	}
	return p.Outcome, err
}

// onWaiting does something about the changes that wait.
func onWaiting(do func(f *pendingFile, p pending) error) error {
	f, err := openPending()
	if err != nil {
		return err
	}
	defer f.close()
	p, err := f.read()
	switch {
	case err != nil:
		return err
	case p.ID == 0:
		return notFound(errors.New("no change waits to be confirmed"))
	case !p.waits():
		return notFound(fmt.Errorf("no change waits to be confirmed; the last one, of %s: %s", clock(time.Unix(0, p.ID)), p.Outcome))
	}
	return do(f, p)
}

func confirmPending(out io.Writer) error {
	return onWaiting(func(f *pendingFile, p pending) error {
		if err := f.finish(p, outcomeKept); err != nil {
			return err
		}
		fmt.Fprintln(out, outcomeKept)
		return nil
	})
}

func rollbackPending(out io.Writer) error {
	return onWaiting(func(f *pendingFile, p pending) error {
		k, err := kernel.Open()
		if err != nil {
			return err
		}
		defer k.Close()
		if err := p.undo(k); err != nil {
			return err
		}
		if err := f.finish(p, outcomeBack); err != nil {
			return err
		}
		fmt.Fprintln(out, outcomeBack)
		return nil
	})
}

// undo puts the services that were changed back; what others have done to other
// services stays.
func (p pending) undo(k lvs.Kernel) error {
	have, err := k.Read()
	if err != nil {
		return err
	}
	ours := map[lvs.Key]bool{}
	for _, key := range p.Touched {
		ours[key] = true
	}
	_, err = lvs.Apply(k, have, lvs.Diff(have, p.Before, func(k lvs.Key) bool { return ours[k] }))
	return err
}

// guard is the process that waits. It opens the kernel before any change is made:
// one that could not undo must not let anything be done.
func guard(parent *daemon.Parent) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	var p pending
	err := daemon.NewStateFile(filepath.Join(runFolder, "apply.json"), pendingVersion).Load(&p)
	if err == nil && !p.waits() {
		err = errors.New("no change waits to be guarded")
	}
	var k *kernel.Client
	if err == nil {
		k, err = kernel.Open()
	}
	if err != nil {
		parent.Failed(err)
		return statusError(statusFailed)
	}
	defer k.Close()
	if err := parent.Started(); err != nil {
		return statusError(statusFailed)
	}
	return p.guard(k)
}

func (p pending) guard(k lvs.Kernel) error {
	end := time.NewTimer(time.Until(p.Deadline))
	look := time.NewTicker(guardLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if done, err := outcomeOf(p.ID); err == nil && done != "" {
				return nil
			}
		case <-end.C:
			return p.timedOut(k)
		}
	}
}

// timedOut takes the changes back, and does not give up at once when the kernel
// will not have it.
func (p pending) timedOut(k lvs.Kernel) error {
	var err error
	for range rollbackRetries {
		done := false
		err = onWaiting(func(f *pendingFile, now pending) error {
			if now.ID != p.ID {
				return nil
			}
			if err := p.undo(k); err != nil {
				return err
			}
			done = true
			return f.finish(p, outcomeTimedOut)
		})
		var settled notFoundError
		switch {
		case done:
			say("lvsctl apply: " + outcomeTimedOut)
			return err
		case err == nil || errors.As(err, &settled):
			return nil // somebody was quicker
		}
		time.Sleep(rollbackRetry)
	}
	say(fmt.Sprintf("lvsctl apply: the changes were not confirmed, and cannot be taken back: %v", err))
	return statusError(statusFailed)
}

// say tells the system's log: nobody may be at the terminal any more.
func say(text string) {
	log, err := daemon.NewSyslogLog("daemon", "lvsctl")
	if err != nil {
		return // a host without a syslog; lvsctl apply --confirmed still tells
	}
	_ = log.Write([]daemon.Line{{When: time.Now(), Level: daemon.Warning, Text: text}})
}
