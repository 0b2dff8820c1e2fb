package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// siteState is what a daemon of instances keeps over restarts.
type siteState struct {
	Standby []string        `json:"standby"`
	Saved   ldirector.Saved `json:"director"`
}

const siteStateVersion = 1

// reading is what came of reading the files of a site.
type reading struct {
	site     config.Site
	problems []config.Problem
	// waits says that all errors are of this host's making, and may pass: as a name
	// without an address does, while there is no name server.
	waits bool
	// taken is called once the site is in force; nil: nobody wants to know.
	taken func()
}

// unread is what came of files that could not be read at all.
func unread(file string, err error) reading {
	return reading{problems: []config.Problem{{File: file, Severity: config.Error, Text: err.Error()}}}
}

// siteDaemon is a running site: instances, and what else a front end put into it.
type siteDaemon struct {
	kind   string // what it calls itself: "vrrp"
	name   string // of socket and state file
	file   string // that it was told to read; may be empty
	debug  bool
	sink   daemon.Sink
	log    *daemon.Log
	notify daemon.Notify
	state  *daemon.StateFile
	app    *appliance.Appliance
	ring   *eventRing            // what happened, for whoever asks
	events func(ldirector.Event) // of virtual services; nil: the log has their texts
	moved  func(appliance.Event) // of transitions; nil: nobody else wants to know
	ipvs   func() (appliance.IPVS, error)
	// refused is the file that was not taken, nil when the last one was.
	refused atomic.Pointer[refusedFile]

	greet    func()                      // what the log begins with; nil: a line
	extra    []daemon.Task               // of a front end
	late     []daemon.Task               // of a front end, for what tells of the end
	keepVRRP bool                        // leave what masters hold behind at the end
	keepIPVS bool                        // leave the virtual services behind
	scripts  []string                    // folders of resource scripts; nil: heartbeat's
	more     map[string]http.HandlerFunc // of a front end, by pattern

	// reload reads the site again, one call at a time; nil: it came from the command
	// line.
	reload func() reading

	put   func(config.Site) error // into force; the appliance's Set
	busy  sync.Mutex              // held while a file is read again
	last  func() reading          // how that was done, with busy held
	waits chan bool               // whether the file that was read last waits for this host

	saved siteState // owned by keep
	keeps chan func(*siteState)
}

// run lets the site live until a signal ends it.
func (d *siteDaemon) run(site config.Site) error {
	host, err := netif.Here()
	if err != nil {
		return err
	}
	defer host.Close()
	network, err := check.NewHost()
	if err != nil {
		return err
	}
	defer network.Close()
	here, err := appliance.Here(host)
	if err != nil {
		return err
	}
	d.log = daemon.NewLog(d.sink, daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()})
	d.notify = daemon.Notify{Warn: d.fault}
	d.state = daemon.NewStateFile(filepath.Join(stateFolder, d.kind+"-"+d.name+".json"), siteStateVersion)
	if err := d.state.Load(&d.saved); err != nil {
		d.fault(err)
		d.saved = siteState{}
	}
	if d.scripts == nil {
		d.scripts = resourceFolders(hbFolder)
	}
	if d.ipvs == nil {
		d.ipvs = openIPVS
	}
	d.keeps, d.ring, d.waits = make(chan func(*siteState), 64), newEventRing(), make(chan bool, 1)
	runner := check.NewRunner(network, check.Options{})
	d.app = appliance.New(appliance.Options{
		Host: here, IPVS: d.ipvs, RealTime: true,
		Director: ldirector.Options{Checks: runner, Saved: d.saved.Saved, Report: d.event,
			Save: func(s ldirector.Saved) { d.keeps <- func(st *siteState) { st.Saved = s } }},
		Report: d.report, Scripts: d.scripts, KeepHeld: d.keepVRRP, KeepServices: d.keepIPVS,
		Standby: d.saved.Standby,
		Save:    func(names []string) { d.keeps <- func(st *siteState) { st.Standby = names } },
	})
	d.put = d.app.Set
	return d.live(site, runner)
}

// openIPVS is the kernel's IPVS, when a site needs it.
func openIPVS() (appliance.IPVS, error) {
	k, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	return k, nil
}

// live runs the tasks. What tells of the end outlives what ends.
func (d *siteDaemon) live(site config.Site, runner *check.Runner) error {
	late, endLate := context.WithCancel(context.Background())
	defer endLate()
	signals, ctx := daemon.NewSignals(late, d.hup)
	defer signals.Close()
	outlived := make(chan error, 1)
	go func() {
		outlived <- daemon.Serve(late, slices.Concat([]daemon.Task{d.log, d.state.Keep(d.fault), daemon.Func("state", d.keep)}, d.late)...)
	}()
	if d.greet == nil {
		d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) with pid: %d", d.kind, ownVersion(), os.Getpid())
	} else {
		d.greet()
	}
	err := daemon.Serve(ctx, slices.Concat([]daemon.Task{
		daemon.Func("site", func(ctx context.Context) error { return d.serve(ctx, site) }),
		daemon.Func("checks", func(ctx context.Context) error { runner.Run(ctx); return nil }),
		daemon.Func("control socket", d.control),
		daemon.Func("beginning", d.begin),
		daemon.Func("another try", d.tries),
		d.notify.Watchdog(d.alive)}, d.extra)...)
	if err != nil {
		d.log.Print(daemon.Error, err.Error())
	}
	d.log.Print(daemon.Info, "Stopped")
	endLate()
	return errors.Join(err, <-outlived)
}

// serve runs the appliance, and says that it ends while it still hands over.
func (d *siteDaemon) serve(ctx context.Context, site config.Site) error {
	stop := context.AfterFunc(ctx, func() {
		d.log.Print(daemon.Info, "Stopping")
		d.notify.Stopping()
	})
	defer stop()
	return d.app.Run(ctx, site)
}

func (d *siteDaemon) begin(ctx context.Context) error {
	select {
	case <-d.app.Ready():
		d.notify.Ready()
	case <-ctx.Done():
	}
	return nil
}

// keep is the task that owns what is saved.
func (d *siteDaemon) keep(ctx context.Context) error {
	for {
		select {
		case f := <-d.keeps:
			f(&d.saved)
			d.state.Put(d.saved)
		case <-ctx.Done():
			return nil
		}
	}
}

// kept waits until what was ordered before is on the disk.
func (d *siteDaemon) kept(ctx context.Context) {
	taken := make(chan struct{})
	select {
	case d.keeps <- func(*siteState) { close(taken) }:
	case <-ctx.Done():
		return
	}
	select {
	case <-taken: // what came before is with the state file
		d.state.Kept(ctx)
	case <-ctx.Done():
	}
}

func (d *siteDaemon) alive(context.Context) error {
	_, err := d.app.Status()
	return err
}

// fault logs what went wrong beside the work itself.
func (d *siteDaemon) fault(err error) { d.log.Print(daemon.Warning, err.Error()) }

// report logs what happened to instances.
func (d *siteDaemon) report(e appliance.Event) {
	if e.Transition != nil && d.moved != nil {
		d.moved(e)
	}
	if e.Level >= appliance.Debug && !d.debug {
		return
	}
	d.ring.addInstance(e)
	d.log.Print(daemon.Level(e.Level), e.Text)
}

// event logs what happened to virtual services.
func (d *siteDaemon) event(e ldirector.Event) {
	d.ring.add(e)
	if d.events != nil {
		d.events(e)
		return
	}
	d.log.Print(daemon.Info, e.Text)
}

// hup reads the file again.
func (d *siteDaemon) hup() {
	if d.reload == nil {
		d.log.Print(daemon.Info, "there is no file to read again: the site came from the command line")
		return
	}
	go d.readAgain()
}

// readAgain puts what the file says into force, unless it has errors.
func (d *siteDaemon) readAgain() reloadAnswer { return d.readBy(d.reload) }

// readBy is the same for one way of reading. What waits is tried again in that way.
func (d *siteDaemon) readBy(reload func() reading) reloadAnswer {
	d.busy.Lock()
	defer d.busy.Unlock()
	d.notify.Reloading()
	defer d.notify.Ready()
	d.log.Print(daemon.Info, "Reloading ...")
	d.last = reload
	a := d.enforce(reload())
	d.wait(a.TriedAgain)
	return a
}

// enforce puts what was read into force, or says why not and changes nothing.
func (d *siteDaemon) enforce(r reading) reloadAnswer {
	a := reloadAnswer{Version: 1, Problems: toldProblems(r.problems)}
	for _, p := range a.Problems {
		d.log.Print(daemon.Warning, p.String())
	}
	if config.Errors(r.problems) {
		d.log.Print(daemon.Error, "the file has errors: the configuration in force stays")
		if a.TriedAgain = r.waits; r.waits {
			d.log.Print(daemon.Notice, waiting)
		}
		return d.refuse(a)
	}
	if err := d.put(r.site); err != nil {
		a.Problems = append(a.Problems, fileProblem{File: d.file, Severity: "error", Text: err.Error()})
		d.log.Printf(daemon.Error, "%v: the configuration in force stays", err)
		return d.refuse(a)
	}
	a.Taken = true
	d.refused.Store(nil)
	if r.taken != nil {
		r.taken()
	}
	d.log.Print(daemon.Info, "Reload complete")
	return a
}

// refuse remembers a file that is not taken, for status.
func (d *siteDaemon) refuse(a reloadAnswer) reloadAnswer {
	d.refused.Store(keptRefusal(d.refused.Load(), d.file, a))
	return a
}

// wait tells the task that tries again whether there is anything to try. The last
// word counts.
func (d *siteDaemon) wait(waits bool) {
	select {
	case <-d.waits:
	default:
	}
	d.waits <- waits
}

// tries is the task that reads files again that wait for this host.
func (d *siteDaemon) tries(ctx context.Context) error {
	var r retry
	defer r.drop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case waits := <-d.waits: // somebody has read them now
			r.drop()
			if waits {
				r.later()
			}
		case <-r.due():
			if d.tryAgain() {
				r.later()
			} else {
				r.drop()
			}
		}
	}
}

// tryAgain reads the files once more, and tells whether they still wait. As long as
// they do, nothing is said of it.
func (d *siteDaemon) tryAgain() bool {
	d.busy.Lock()
	defer d.busy.Unlock()
	if was := d.refused.Load(); was == nil || !was.TriedAgain {
		return false // somebody was faster
	}
	r := d.last()
	if r.waits {
		d.refuse(reloadAnswer{Problems: toldProblems(r.problems), TriedAgain: true})
		return true
	}
	d.notify.Reloading()
	defer d.notify.Ready()
	d.log.Print(daemon.Info, "Reloading: this host has what it waited for ...")
	return d.enforce(r).TriedAgain
}

// control serves the socket. Without it the daemon works on.
func (d *siteDaemon) control(ctx context.Context) error {
	c := daemon.NewControl(socketOf(d.name), d.routes())
	if err := c.Run(ctx); err != nil {
		d.log.Printf(daemon.Warning, "No control socket: %v; status, standby, takeover and resume will not work", err)
	}
	return nil
}

func (d *siteDaemon) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", d.serveStatus)
	mux.HandleFunc("GET /v1/events", d.ring.serve)
	mux.HandleFunc("POST /v1/standby", d.serveMode)
	mux.HandleFunc("POST /v1/takeover", d.serveMode)
	mux.HandleFunc("POST /v1/resume", d.serveMode)
	mux.HandleFunc("POST /v1/reload", d.serveReload)
	mux.HandleFunc("POST /v1/drain", d.serveDrain)
	mux.HandleFunc("POST /v1/undrain", d.serveDrain)
	for pattern, serve := range d.more {
		mux.HandleFunc(pattern, serve)
	}
	return mux
}

func (d *siteDaemon) serveStatus(w http.ResponseWriter, r *http.Request) {
	a := statusAnswer{Version: 1, Daemon: d.kind, Name: d.name, File: d.file, PID: os.Getpid(), Refused: d.refused.Load()}
	var err error
	if a.Instances, err = d.app.Status(); err != nil {
		daemon.Answer(w, http.StatusServiceUnavailable, nil, err)
		return
	}
	a.Sync = d.app.Sync()
	// Without services nobody else has them either; with some, the kernel may lack IPVS.
	a.Snapshot = ldirector.Snapshot{When: time.Now(), Phase: ldirector.Running, Open: true, KernelError: d.app.NoIPVS(), Virtuals: []ldirector.VirtualStatus{}}
	if dir := d.app.Director(); dir != nil {
		if a.Snapshot, err = dir.Snapshot(r.Context()); err != nil {
			daemon.Answer(w, http.StatusServiceUnavailable, nil, err)
			return
		}
	}
	daemon.Answer(w, http.StatusOK, a, nil)
}

// modeRequest names instances; none means all.
type modeRequest struct {
	Instances []string `json:"instances"`
}

func (d *siteDaemon) serveMode(w http.ResponseWriter, r *http.Request) {
	var q modeRequest
	if err := daemon.Decode(r, &q); err != nil {
		daemon.Answer(w, http.StatusBadRequest, nil, err)
		return
	}
	verb := filepath.Base(r.URL.Path)
	do := map[string]func(...string) error{"standby": d.app.Standby, "takeover": d.app.Takeover, "resume": d.app.Resume}[verb]
	d.log.Printf(daemon.Notice, "%s was ordered for %s", verb, instancesText(q.Instances))
	err := do(q.Instances...)
	d.kept(r.Context())
	status := http.StatusOK
	var absent *appliance.NoInstanceError
	switch {
	case errors.As(err, &absent):
		status = http.StatusNotFound
	case err != nil:
		status = http.StatusConflict
	}
	daemon.Answer(w, status, doneAnswer{1}, err)
}

func instancesText(names []string) string {
	if len(names) == 0 {
		return "all instances"
	}
	return fmt.Sprint(names)
}

func (d *siteDaemon) serveReload(w http.ResponseWriter, _ *http.Request) {
	if d.reload == nil {
		daemon.Answer(w, http.StatusConflict, nil, errors.New("there is no file to read again: the site came from the command line"))
		return
	}
	daemon.Answer(w, http.StatusOK, d.readAgain(), nil)
}

func (d *siteDaemon) serveDrain(w http.ResponseWriter, r *http.Request) {
	dir := d.app.Director()
	if dir == nil {
		daemon.Answer(w, http.StatusNotFound, nil, errors.New("this daemon has no virtual services"))
		return
	}
	answerDrain(w, r, dir, d.kept)
}
