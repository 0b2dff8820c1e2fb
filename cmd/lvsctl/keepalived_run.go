package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// kaDaemon is a running keepalived.
type kaDaemon struct {
	*siteDaemon
	c      *kaCommand
	known  []string // mistakes in the file that is in force
	stats  statsBase
	parent *daemon.Parent

	mailer  *daemon.Mailer
	globals atomic.Pointer[dialect.Globals]
}

// serve is the daemon, from the pid files to the pid files.
func (c *kaCommand) serve(parent *daemon.Parent) (int, error) {
	if status, err := c.readable(); err != nil {
		return status, err
	}
	err := c.run(parent)
	switch {
	case errors.Is(err, daemon.ErrRunning):
		return statusOK, err // the peer is content that there is one
	case err != nil:
		return kaFatal, err
	}
	return statusOK, nil
}

func (c *kaCommand) run(parent *daemon.Parent) error {
	file, err := filepath.Abs(c.file)
	if err != nil {
		return err
	}
	c.file = file // the working directory becomes /
	f, problems, err := c.read(false)
	if err != nil {
		return err
	}
	globals := f.Globals()
	c.useUmask(globals)
	site := c.site(f)
	release, err := c.takePids(site)
	if err != nil {
		return err
	}
	defer release()
	sink, err := c.sink()
	if err != nil {
		return err
	}
	d := &kaDaemon{c: c, known: f.Mistakes(), parent: parent}
	d.globals.Store(&globals)
	d.siteDaemon = &siteDaemon{
		kind: "keepalived", name: c.daemonName(), file: c.file, debug: c.detail, sink: sink,
		events: d.service, moved: d.moved, reload: d.again, keepVRRP: c.keepVRRP, keepIPVS: c.keepIPVS,
	}
	d.extra = []daemon.Task{daemon.Func("dumps", d.dumps), daemon.Func("parent", d.started)}
	d.greet = func() { d.hello(f, problems) }
	d.mailer = daemon.NewMailer(d.fault)
	d.mailer.Timeout = globals.Mail.Timeout
	d.late = []daemon.Task{d.mailer}
	if globals.FlushAtStart {
		d.ipvs = flushing(site.Virtuals)
	}
	err = d.run(site)
	if d.globals.Load().FlushAtStop && len(site.Virtuals) > 0 {
		err = errors.Join(err, flushAtStop())
	}
	return err
}

// useUmask is for the files that scripts make, and for ours. The option counts more
// than the file.
func (c *kaCommand) useUmask(g dialect.Globals) {
	if c.umask < 0 {
		syscall.Umask(int(g.Umask))
	}
}

// daemonName is that of socket and state file.
func (c *kaCommand) daemonName() string {
	if c.name != "" {
		return c.name
	}
	name := strings.TrimSuffix(filepath.Base(c.file), ".conf")
	if c.namespace != "" {
		name += "-" + filepath.Base(c.namespace)
	}
	return name
}

// pidWord is what the command line of another one of us, or of the peer, has in it.
const pidWord = "keepalived"

// alreadyRunning says it in the peer's words first.
func alreadyRunning(err error) error { return fmt.Errorf("daemon is already running: %w", err) }

// takePids writes the pid files: people and scripts look for all three of the
// peer's processes, and here one process is all of them.
func (c *kaCommand) takePids(site config.Site) (release func(), err error) {
	if c.noPids {
		return func() {}, nil
	}
	paths := []string{c.pid}
	if len(site.Instances) > 0 {
		paths = append(paths, c.vrrpPid)
	}
	if len(site.Virtuals) > 0 {
		paths = append(paths, c.chkPid)
	}
	var taken []*daemon.PidFile
	release = func() {
		for _, p := range slices.Backward(taken) {
			_ = p.Release()
		}
	}
	for _, path := range paths {
		if err := daemon.MakeFolder(filepath.Dir(path)); err != nil {
			release()
			return nil, err
		}
		p := &daemon.PidFile{Path: path, Word: pidWord}
		if err := p.Take(); err != nil {
			release()
			if errors.Is(err, daemon.ErrRunning) {
				err = alreadyRunning(err)
			}
			return nil, err
		}
		taken = append(taken, p)
	}
	return release, nil
}

// hello is what the log begins with.
func (d *kaDaemon) hello(f *dialect.File, problems []config.Problem) {
	d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) with pid: %d", peerKeepalived, ownVersion(), os.Getpid())
	d.log.Printf(daemon.Info, "Command line: '%s'", strings.Join(os.Args, "' '"))
	d.log.Printf(daemon.Info, "Configuration file %s", d.file)
	d.tell(f, problems)
	if delay := f.Globals().StartupDelay; delay > 0 && len(f.Site().Instances) > 0 {
		d.log.Printf(daemon.Info, "Delaying startup for %g seconds", delay.Seconds())
	}
}

// tell logs what is wrong with a file: in the peer's words, which people look for,
// and in ours, which say what is done about it.
func (d *kaDaemon) tell(f *dialect.File, problems []config.Problem) {
	for _, line := range f.Complaints() {
		d.log.Print(daemon.Warning, line)
	}
	for _, p := range problems {
		d.log.Printf(daemon.Warning, "%v: %v", p.Severity, p)
	}
	for _, line := range withoutMeaning(f.Globals()) {
		d.log.Print(daemon.Warning, line)
	}
	if !d.c.dump {
		return
	}
	var b strings.Builder
	if err := f.Print(&b); err != nil {
		d.fault(err)
	}
	for line := range strings.Lines(b.String()) {
		d.log.Print(daemon.Info, strings.TrimRight(line, "\n"))
	}
}

// again reads the file once more. What is wrong with it, and was not when it was
// read before, is a mistake that was made just now: the configuration in force
// stays.
func (d *kaDaemon) again() reading {
	f, problems, err := d.c.read(false)
	if err != nil {
		return unread(d.file, err)
	}
	d.tell(f, nil) // the problems are told by whoever asked for a reload
	problems = append(problems, newMistakes(d.file, d.known, f.Mistakes())...)
	site := d.c.site(f)
	if len(site.Instances) == 0 && len(site.Virtuals) == 0 {
		problems = append(problems, config.Problem{File: d.file, Severity: config.Error, Text: "it configures nothing", Hint: "stop the daemon if that is meant"})
	}
	if !config.Errors(problems) {
		globals := f.Globals()
		d.known = f.Mistakes()
		d.globals.Store(&globals)
		d.c.useUmask(globals)
	}
	return reading{site: site, problems: problems}
}

// started lets the parent go.
func (d *kaDaemon) started(ctx context.Context) error {
	select {
	case <-d.app.Ready():
	case <-ctx.Done():
		return nil
	}
	d.log.Print(daemon.Info, "Startup complete")
	if d.parent == nil {
		return nil
	}
	if err := d.parent.Started(); err != nil {
		d.fault(err)
	}
	return nil
}

// dumps answers the signals that ask for files.
func (d *kaDaemon) dumps(ctx context.Context) error {
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGUSR1, syscall.SIGUSR2, kaSignals["JSON"], kaSignals["STATS_CLEAR"])
	defer signal.Stop(asked)
	for {
		select {
		case s := <-asked:
			if err := d.answer(s); err != nil {
				d.fault(err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// service logs what happened to a virtual service. What comes and goes with every
// check is for those who want details.
func (d *kaDaemon) service(e ldirector.Event) {
	d.changed(e)
	if (e.Kind == ldirector.SoftFailure || e.Kind == ldirector.SoftReset) && !d.debug {
		return
	}
	d.log.Print(daemon.Info, kaServiceText(e))
}

// kaServiceText is the line of an event in the peer's words where it has some.
func kaServiceText(e ldirector.Event) string {
	rs, vs := kaServer(e), kaService(e)
	switch e.Kind {
	case ldirector.Added:
		return fmt.Sprintf("Adding service %s to VS %s", rs, vs)
	case ldirector.Restored:
		return fmt.Sprintf("Enabling service %s to VS %s", rs, vs)
	case ldirector.Deleted:
		return fmt.Sprintf("Removing service %s from VS %s", rs, vs)
	case ldirector.Quiesced:
		return fmt.Sprintf("Disabling service %s from VS %s", rs, vs)
	case ldirector.NobodyServes:
		return fmt.Sprintf("Lost quorum for VS %s: %s", vs, e.Text)
	case ldirector.ServesAgain:
		return fmt.Sprintf("Gained quorum for VS %s: %s", vs, e.Text)
	}
	return e.Text
}

// kaService is a virtual service as the peer's log has it: [10.0.0.1]:tcp:80.
func kaService(e ldirector.Event) string {
	if e.Virtual == nil {
		return e.Service
	}
	k := e.Virtual.Service.Key
	if k.Mark != 0 {
		return fmt.Sprintf("FWM %d", k.Mark)
	}
	return fmt.Sprintf("[%v]:%s:%d", k.Addr.Addr(), kaProtocol(k), k.Addr.Port())
}

func kaServer(e ldirector.Event) string {
	if e.Virtual == nil || e.Member == nil {
		return e.Server
	}
	a := e.Member.Destination.Addr
	return fmt.Sprintf("[%v]:%s:%d", a.Addr(), kaProtocol(e.Virtual.Service.Key), a.Port())
}

func kaProtocol(k lvs.Key) string { return strings.ToLower(fmt.Sprint(k.Protocol)) }

// instances are those of the daemon, for the dumps.
func (d *kaDaemon) instances() ([]appliance.InstanceStatus, error) { return d.app.Status() }
