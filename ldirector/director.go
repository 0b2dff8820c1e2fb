package ldirector

import (
	"context"
	"errors"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Checks makes checks: a [check.Runner], or the script of a test.
type Checks interface {
	Set([]check.Spec)
	Results() <-chan check.Result
	History(id string) []check.Result
}

// Counter is a [lvs.Kernel] that also tells what it has counted. A Director
// whose kernel is one knows the connections of every server.
type Counter interface {
	State() (lvs.State, error)
}

// Options are what a Director works with. Kernel and Checks are needed.
type Options struct {
	Kernel lvs.Kernel
	Checks Checks
	// Virtuals is the configuration to begin with.
	Virtuals []Virtual
	// Saved is what Save was last given, in this process or the one before.
	Saved Saved
	// Report gets every event, in order, from the Director's own goroutine; it
	// must not block. nil: nobody listens.
	Report func(Event)
	// Save gets what has to be kept whenever that changes; it must not block.
	Save func(Saved)
	// Gates tells which gates are open here, by name, each word in place of the one
	// before: this director serves what follows one of them, and what follows none
	// at all. nil: all are open. Until the first word the kernel is not touched.
	Gates <-chan []string
	// Look is the most time between two looks at the kernel's table, 0 = 2 s; with
	// something else to do after three quarters of it, that is the time. A table
	// that takes long to read is read more rarely, so that looking costs no more
	// than a fiftieth of the time.
	Look time.Duration
	// Repair is the policy for what others do to our services.
	Repair Repair
}

const defaultLook = 2 * time.Second

// Director keeps the kernel's table what its Plan wants. One goroutine, Run,
// owns all of its state; the methods hand it their wish and wait.
type Director struct {
	opt      Options
	commands chan func(*loop)
	over     chan struct{} // closed when Run returns
}

// ErrNotRunning is what the methods of a Director return once its Run has.
var ErrNotRunning = errors.New("the director does not run any more")

// New is a Director that has not begun. Its Run must be called once.
func New(o Options) *Director {
	if o.Look <= 0 {
		o.Look = defaultLook
	}
	if o.Report == nil {
		o.Report = func(Event) {}
	}
	if o.Save == nil {
		o.Save = func(Saved) {}
	}
	return &Director{opt: o, commands: make(chan func(*loop)), over: make(chan struct{})}
}

// Run keeps the table until ctx ends; then services with cleanstop are removed.
// It does not end for anything else: a kernel that cannot be read or refuses
// changes is asked again. The error says what could not be removed at the end.
func (d *Director) Run(ctx context.Context) error {
	defer close(d.over)
	l := newLoop(d.opt)
	timer := time.NewTimer(0)
	defer timer.Stop()
	results, gates := d.opt.Checks.Results(), d.opt.Gates
	for {
		now := time.Now()
		l.turn(now)
		timer.Reset(l.deadline(now).Sub(now))
		select {
		case <-ctx.Done():
			return l.stop(time.Now())
		case command := <-d.commands:
			command(l)
		case open, ok := <-gates:
			if !ok {
				gates = nil // their last word holds
				break
			}
			l.setGates(open, time.Now())
		case r, ok := <-results:
			if !ok {
				results = nil
				break
			}
			l.observe(r, results)
		case <-timer.C:
		}
	}
}

// do runs f in the loop's goroutine and waits for its end.
func (d *Director) do(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	command := func(l *loop) {
		defer close(done)
		f(l)
	}
	select {
	case d.commands <- command:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.over:
		return ErrNotRunning
	}
}

// Load puts another configuration into force and returns when the kernel has
// taken what it takes at once. The error joins what it refused; that is tried
// again like any other change, and the configuration is in force all the same.
func (d *Director) Load(ctx context.Context, vs []Virtual) error {
	var refused error
	err := d.do(ctx, func(l *loop) { refused = l.load(vs, time.Now()) })
	return errors.Join(err, refused)
}

// Drain sets weight 0 for servers; see [Plan.Drain].
func (d *Director) Drain(ctx context.Context, s Selector, timeout time.Duration) error {
	return d.change(ctx, func(p *Plan, now time.Time) ([]Event, error) { return p.Drain(s, timeout, now) })
}

// Undrain ends drains; see [Plan.Undrain].
func (d *Director) Undrain(ctx context.Context, s Selector) error {
	return d.change(ctx, func(p *Plan, now time.Time) ([]Event, error) { return p.Undrain(s, now) })
}

// Maintain tells what the maintenance folder holds; see [Plan.Maintain].
func (d *Director) Maintain(ctx context.Context, files Maintenance) error {
	return d.change(ctx, func(p *Plan, now time.Time) ([]Event, error) { return p.Maintain(files, now), nil })
}

// change lets f change the plan, and the kernel follow.
func (d *Director) change(ctx context.Context, f func(*Plan, time.Time) ([]Event, error)) error {
	var refused error
	err := d.do(ctx, func(l *loop) {
		now := time.Now()
		var events []Event
		events, refused = f(l.plan, now)
		l.report(events...)
		l.turn(now)
	})
	return errors.Join(err, refused)
}

// Open tells whether a gate is open. What follows it is in the kernel then, as far
// as the kernel takes it.
func (d *Director) Open(ctx context.Context, gate string) (bool, error) {
	open := false
	err := d.do(ctx, func(l *loop) { open = !l.mute && l.plan.opens([]string{gate}) })
	return open, err
}

// Snapshot tells everything, with the kernel's table as it is now if it can be
// read.
func (d *Director) Snapshot(ctx context.Context) (Snapshot, error) {
	var s Snapshot
	err := d.do(ctx, func(l *loop) { s = l.snapshot(time.Now()) })
	return s, err
}
