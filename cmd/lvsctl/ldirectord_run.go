package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// Where a daemon keeps what is its own.
const (
	runFolder   = "/run/lvsctl"
	stateFolder = "/var/lib/lvsctl"

	// stateVersion is that of ldirector.Saved in the state file.
	stateVersion = 1
)

func socketOf(name string) string { return filepath.Join(runFolder, name+".sock") }

func nameOf(socket string) string { return strings.TrimSuffix(filepath.Base(socket), ".sock") }

// ldDaemon is a running ldirectord. Its parts are tasks; what they share is set
// before the first one runs.
type ldDaemon struct {
	c        *ldCommand
	path     string // of the file, absolute: the working directory becomes /
	log      *daemon.Log
	sink     *changingSink
	hooks    *daemon.Hooks
	mailer   *daemon.Mailer
	notify   daemon.Notify
	state    *daemon.StateFile
	director *ldirector.Director
	checks   *watchedChecks
	monitor  *monitorFiles
	maint    *maintenance
	events   *eventRing
	reports  *reporter
	reloads  *reloader

	end        context.CancelFunc // as a signal does
	handedOver atomic.Bool        // what was begun goes on under the next daemon
}

// serve is the daemon, from the pid file to the pid file. An error says why it
// could not begin; once it has, nothing but a signal ends it.
func (c *ldCommand) serve(l *loaded, parent *daemon.Parent) error {
	path, err := filepath.Abs(c.path)
	if err != nil {
		return err
	}
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	if parent != nil || c.foreground { // not with -d, nor with supervised=yes
		pid := c.pidFile()
		if err := pid.Take(); err != nil {
			return err
		}
		defer func() { _ = pid.Release() }()
	} else if other := daemon.Holder(c.socket()); other != 0 {
		// The peer lets two run beside each other, each undoing what the other does.
		return fmt.Errorf("process %d %w (it answers at %s)", other, daemon.ErrRunning, c.socket())
	}
	host, err := check.NewHost()
	if err != nil {
		return err
	}
	defer host.Close()
	d, err := c.assemble(path, l, k, host)
	if err != nil {
		return err
	}
	return d.run(parent)
}

// assemble makes the parts and ties them together. Nothing runs yet.
func (c *ldCommand) assemble(path string, l *loaded, k lvs.Kernel, host check.Net) (*ldDaemon, error) {
	g := l.file.Globals()
	d := &ldDaemon{c: c, path: path, events: newEventRing()}
	d.monitor = newMonitorFiles(d.fault)
	sink, err := c.sink(g)
	if err != nil {
		return nil, err
	}
	d.sink = &changingSink{sink: sink}
	d.log = daemon.NewLog(d.sink, daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()})
	d.hooks, d.mailer = daemon.NewHooks(d.fault), daemon.NewMailer(d.fault)
	d.notify = daemon.Notify{Warn: d.fault}
	d.state = daemon.NewStateFile(filepath.Join(stateFolder, c.name+".json"), stateVersion)
	d.reports = newReporter(d)
	d.checks = watchChecks(check.NewRunner(host, check.Options{}), d.answered)
	var saved ldirector.Saved
	if err := d.state.Load(&saved); err != nil {
		d.fault(err)
		saved = ldirector.Saved{}
	}
	virtuals := l.file.Virtuals()
	d.monitor.use(virtuals)
	d.director = ldirector.New(ldirector.Options{
		Kernel: k, Checks: d.checks, Virtuals: virtuals, Saved: saved,
		Save:   func(s ldirector.Saved) { d.state.Put(s) },
		Report: d.reports.event,
		Look:   min(max(g.CheckInterval, time.Second)*5/2, 5*time.Second),
	})
	d.maint = newMaintenance(d)
	d.maint.know(virtuals)
	d.reloads = newReloader(d, l)
	return d, nil
}

// sink is where the log goes: in front of a user to the terminal, else as the
// file says.
func (c *ldCommand) sink(g dialect.Globals) (daemon.Sink, error) {
	switch {
	case daemon.ToJournal() && (c.debug || g.Supervised):
		return daemon.WriterLog{W: os.Stderr, Journal: true}, nil
	case c.debug:
		return daemon.WriterLog{W: os.Stderr}, nil
	case g.Supervised:
		return daemon.WriterLog{W: os.Stdout, Dated: true}, nil
	}
	return fileSink(g, c.name)
}

// changingSink is a sink that a reload can replace.
type changingSink struct {
	mu   sync.Mutex
	sink daemon.Sink
}

// Write implements [daemon.Sink].
func (s *changingSink) Write(lines []daemon.Line) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sink.Write(lines)
}

func (s *changingSink) use(sink daemon.Sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = sink
}

// fault logs what went wrong beside the work itself.
func (d *ldDaemon) fault(err error) { d.log.Print(daemon.Warning, err.Error()) }

// run lets everything run until a signal ends it. What tells of the end (log,
// mail, hooks, state) outlives what ends.
func (d *ldDaemon) run(parent *daemon.Parent) error {
	late, endLate := context.WithCancel(context.Background())
	defer endLate()
	signals, ctx := daemon.NewSignals(late, d.reloads.hup)
	defer signals.Close()
	ctx, d.end = context.WithCancel(ctx)
	defer d.end()
	outlived := make(chan error, 1)
	go func() {
		outlived <- daemon.Serve(late, d.log, d.hooks, d.mailer, d.monitor, d.state.Keep(d.fault))
	}()
	d.greet(parent)
	err := daemon.Serve(ctx, d.tasks(parent)...)
	d.farewell(err)
	endLate()
	return errors.Join(err, <-outlived)
}

func (d *ldDaemon) greet(parent *daemon.Parent) {
	d.log.Printf(daemon.Info, "Invoking ldirectord invoked as: %s", strings.Join(os.Args, " "))
	if parent != nil {
		d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) as daemon", peerDirector, ownVersion())
	} else {
		d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) with pid: %d", peerDirector, ownVersion(), os.Getpid())
	}
}

func (d *ldDaemon) tasks(parent *daemon.Parent) []daemon.Task {
	return []daemon.Task{
		daemon.Processors(),
		daemon.Func("director", d.direct),
		d.reloads.watch,
		d.reloads,
		d.maint,
		d.notify.Watchdog(d.alive),
		daemon.Func("goodbye", d.goodbye),
		daemon.Func("control socket", d.control),
		daemon.Func("beginning", func(ctx context.Context) error { return d.begin(ctx, parent) }),
	}
}

// direct runs the director. What it could not remove at the end is said, and
// ends nobody else.
func (d *ldDaemon) direct(ctx context.Context) error {
	if err := d.director.Run(ctx); err != nil {
		d.log.Print(daemon.Error, err.Error())
	}
	return nil
}

// begin waits until the table is adopted, tells who is in maintenance, and only
// then lets the checks begin: no server gets in for a moment that should not.
func (d *ldDaemon) begin(ctx context.Context, parent *daemon.Parent) error {
	if _, err := d.director.Snapshot(ctx); err != nil {
		return nil // we were ended before we began
	}
	d.maint.first(ctx)
	if parent != nil {
		if err := parent.Started(); err != nil {
			d.fault(err)
		}
	}
	d.notify.Ready()
	d.reloads.startChildren()
	d.checks.run(ctx)
	return nil
}

func (d *ldDaemon) alive(ctx context.Context) error {
	_, err := d.director.Snapshot(ctx)
	return err
}

// goodbye tells the service manager of the end as soon as it is certain.
func (d *ldDaemon) goodbye(ctx context.Context) error {
	<-ctx.Done()
	d.notify.Stopping()
	return nil
}

// control serves the socket. Without it the daemon works on: a full disk or a
// second instance in another namespace is no reason to stop forwarding.
func (d *ldDaemon) control(ctx context.Context) error {
	c := daemon.NewControl(d.c.socket(), d.routes())
	if err := c.Run(ctx); err != nil {
		d.log.Printf(daemon.Warning, "No control socket: %v; drain, undrain and status --verbose will not work", err)
	}
	return nil
}

// farewellPatience bounds what is done when the table is clean.
const farewellPatience = 25 * time.Second

// farewell ends what was begun for others.
func (d *ldDaemon) farewell(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), farewellPatience)
	defer cancel()
	if !d.handedOver.Load() {
		d.reloads.stopChildren()
		d.reports.endFallbacks()
	}
	d.hooks.Settle(ctx)
	if err != nil {
		d.log.Printf(daemon.Error, "Linux Director Daemon terminated: %v", err)
		return
	}
	why := "on signal"
	if d.handedOver.Load() {
		why = "for the next one"
	}
	d.log.Print(daemon.Info, "Linux Director Daemon terminated "+why)
}
