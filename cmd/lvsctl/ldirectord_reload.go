package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

// reloader is the task that puts new configurations into force. It owns what is
// global in them.
type reloader struct {
	d     *ldDaemon
	watch *daemon.Watch
	news  <-chan daemon.Content  // of the watch
	asked chan chan reloadAnswer // nil: a signal, nobody waits for the answer

	// refused is the file that was not taken, nil when the last one was.
	refused atomic.Pointer[refusedFile]

	src     []byte // of the last file that was read, whether it was taken or not
	retry   retry  // of src
	options func(context.Context) dialect.Options
	globals dialect.Globals

	inForce atomic.Pointer[[]ldirector.Virtual]

	children atomic.Pointer[[]string] // execute=
}

// refusedFile is why a file on disk is not in force.
type refusedFile struct {
	When     time.Time     `json:"when"`
	File     string        `json:"file"`
	Problems []fileProblem `json:"problems"`
	// TriedAgain says that it waits for this host, and is tried again without being
	// asked for.
	TriedAgain bool `json:"tried_again,omitempty"`
}

// fileProblem is config.Problem for programs.
type fileProblem struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Hint     string `json:"hint,omitempty"`
}

func toldProblems(ps []config.Problem) []fileProblem {
	told := make([]fileProblem, 0, len(ps))
	for _, p := range ps {
		told = append(told, fileProblem{p.File, p.Line, severity(p), p.Text, p.Hint})
	}
	return told
}

// reloadAnswer is what came of a reload.
type reloadAnswer struct {
	Version  int           `json:"version"`
	Taken    bool          `json:"taken"`
	Problems []fileProblem `json:"problems"`
	// TriedAgain says that what was not taken is tried again without being asked for.
	TriedAgain bool `json:"tried_again,omitempty"`
	// Refused is what the kernel did not take of it; that is tried again.
	Refused string `json:"refused,omitempty"`
}

func newReloader(d *ldDaemon, l *loaded) *reloader {
	r := &reloader{d: d, src: l.src, globals: l.file.Globals(), options: strictOptions}
	virtuals := l.file.Virtuals()
	r.inForce.Store(&virtuals)
	r.watch = daemon.NewWatch(d.path, l.src)
	r.watch.Warn = d.fault
	r.news = r.watch.Changes()
	r.asked = make(chan chan reloadAnswer, 8)
	r.children.Store(&r.globals.Execute)
	d.maint.folder(r.globals.MaintenanceDir)
	if r.globals.Fork {
		d.log.Print(daemon.Info, "fork=yes: one process checks all servers at the same time, so there is nothing to fork")
	}
	return r
}

func (r *reloader) Ready() <-chan struct{} { return nil }
func (r *reloader) String() string         { return "reloader" }

// hup asks for a reload that nobody waits for.
func (r *reloader) hup() {
	select {
	case r.asked <- nil:
	default: // so many wait that one more changes nothing
	}
}

// ask reloads and tells what came of it.
func (r *reloader) ask(ctx context.Context) (reloadAnswer, error) {
	reply := make(chan reloadAnswer, 1)
	select {
	case r.asked <- reply:
	case <-ctx.Done():
		return reloadAnswer{}, ctx.Err()
	}
	select {
	case a := <-reply:
		return a, nil
	case <-ctx.Done():
		return reloadAnswer{}, ctx.Err()
	}
}

// Run implements [daemon.Task].
func (r *reloader) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case reply := <-r.asked:
			r.d.log.Print(daemon.Info, "Reloading Linux Director Daemon config on signal")
			a := r.read(ctx)
			if reply != nil {
				reply <- a
			}
		case c := <-r.news:
			r.changed(ctx, c)
		case <-r.retry.due():
			r.again(ctx)
		}
	}
}

// changed hears of another content of the file.
func (r *reloader) changed(ctx context.Context, c daemon.Content) {
	if c.Err != nil {
		r.src = nil // the same content is news again once it can be read
		r.retry.drop()
		r.d.log.Printf(daemon.Error, "Configuration file '%s' cannot be read: %v; the configuration in force stays", r.d.path, c.Err)
		if r.globals.AutoReload {
			r.refuse([]config.Problem{{File: r.d.path, Severity: config.Error, Text: c.Err.Error()}})
		}
		return
	}
	// What a signal has made us read already is no news.
	if r.src == nil || !bytes.Equal(c.Data, r.src) {
		r.d.log.Printf(daemon.Info, "Configuration file '%s' has changed on disk", r.d.path)
		if r.globals.AutoReload {
			r.d.log.Print(daemon.Info, " - reread new configuration")
			r.d.notify.Reloading()
			r.take(ctx, c.Data)
			r.d.notify.Ready()
		} else {
			r.d.log.Print(daemon.Info, " - ignore new configuration")
			r.retry.drop() // what waited is on the disk no more
		}
	}
	r.call()
}

// call runs the callback, if it is a program.
func (r *reloader) call() {
	st, err := os.Stat(r.globals.Callback)
	if r.globals.Callback == "" || err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return
	}
	r.d.hooks.Do(daemon.Command{Name: "callback", Argv: []string{r.globals.Callback, r.d.path}})
}

// read is a reload that was asked for: whoever waits for its end (systemctl
// reload) hears of that whatever comes of it.
func (r *reloader) read(ctx context.Context) reloadAnswer {
	r.d.notify.Reloading()
	defer r.d.notify.Ready()
	src, err := daemon.ReadFile(r.d.path, 0)
	if err != nil {
		return r.refuse([]config.Problem{{File: r.d.path, Severity: config.Error, Text: err.Error()}})
	}
	return r.take(ctx, src)
}

// take puts a file into force, or says why not and changes nothing.
func (r *reloader) take(ctx context.Context, src []byte) reloadAnswer {
	r.src = src
	r.retry.drop()
	file, problems, waits := r.parse(ctx)
	if !config.Errors(problems) {
		return r.enforce(ctx, file, problems)
	}
	a := r.refuse(problems)
	if a.TriedAgain = waits; waits {
		r.d.log.Print(daemon.Notice, waiting)
		r.keep(a)
		r.retry.later()
	}
	return a
}

// again tries the file that waits for this host once more. It says nothing of it
// until that is over.
func (r *reloader) again(ctx context.Context) {
	file, problems, waits := r.parse(ctx)
	if waits {
		r.keep(reloadAnswer{Problems: toldProblems(problems), TriedAgain: true})
		r.retry.later()
		return
	}
	r.retry.drop()
	if config.Errors(problems) {
		r.refuse(problems)
		return
	}
	r.d.log.Printf(daemon.Info, "Configuration file '%s' can be made sense of now - reread new configuration", r.d.path)
	r.d.notify.Reloading()
	r.enforce(ctx, file, problems)
	r.d.notify.Ready()
}

// parse reads the text that was read last. It waits for this host when all its
// errors are of this host's making, as a name without an address is while there is
// no name server.
func (r *reloader) parse(ctx context.Context) (file *dialect.File, problems []config.Problem, waits bool) {
	look, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	file, problems = dialect.Parse(r.d.path, r.src, r.options(look))
	if config.Errors(problems) {
		_, alone := dialect.Parse(r.d.path, r.src, dialect.Options{})
		return file, problems, !config.Errors(alone)
	}
	if had := len(*r.inForce.Load()); had > 0 && len(file.Virtuals()) == 0 {
		problems = append(problems, nothingIn(r.d.path, 0, had)...)
	}
	return file, problems, false
}

// enforce puts a file into force.
func (r *reloader) enforce(ctx context.Context, file *dialect.File, problems []config.Problem) reloadAnswer {
	virtuals := file.Virtuals()
	r.say(problems)
	r.refused.Store(nil)
	err := r.d.director.Load(ctx, virtuals)
	if errors.Is(err, ldirector.ErrNotRunning) || errors.Is(err, context.Canceled) {
		return reloadAnswer{Version: 1, Problems: toldProblems(problems), Refused: err.Error()}
	}
	r.inForce.Store(&virtuals)
	r.apply(file.Globals(), virtuals)
	a := reloadAnswer{Version: 1, Taken: true, Problems: toldProblems(problems)}
	if err != nil {
		a.Refused = err.Error() // which the director has logged
	}
	return a
}

// leave makes the director leave all services in the kernel when it ends.
func (r *reloader) leave(ctx context.Context) error {
	virtuals := slices.Clone(*r.inForce.Load())
	for i := range virtuals {
		virtuals[i].Policy.CleanStop = false
	}
	// What the kernel refuses at the moment is no reason to stay.
	if err := r.d.director.Load(ctx, virtuals); errors.Is(err, ldirector.ErrNotRunning) {
		return err
	}
	return ctx.Err()
}

// refuse remembers a file that is not taken, for status.
func (r *reloader) refuse(problems []config.Problem) reloadAnswer {
	r.say(problems)
	r.d.log.Printf(daemon.Error, "Configuration file '%s' is not taken; the configuration in force stays", r.d.path)
	a := reloadAnswer{Version: 1, Problems: toldProblems(problems)}
	r.keep(a)
	return a
}

// keep has status say why the file is not taken.
func (r *reloader) keep(a reloadAnswer) {
	r.refused.Store(keptRefusal(r.refused.Load(), r.d.path, a))
}

// keptRefusal is what status says of a file that is not taken: since when, which for
// one that has been tried again is when it was first read.
func keptRefusal(before *refusedFile, file string, a reloadAnswer) *refusedFile {
	r := &refusedFile{When: time.Now(), File: file, Problems: a.Problems, TriedAgain: a.TriedAgain}
	if a.TriedAgain && before != nil && before.TriedAgain {
		r.When = before.When
	}
	return r
}

func (r *reloader) say(problems []config.Problem) {
	for _, p := range problems {
		level := daemon.Warning
		if p.Severity == config.Error {
			level = daemon.Error
		}
		r.d.log.Printf(level, "%v: %v", severity(p), p)
	}
}

// apply takes the globals of a file that is in force.
func (r *reloader) apply(g dialect.Globals, virtuals []ldirector.Virtual) {
	old := r.globals
	r.globals = g
	r.d.monitor.use(virtuals)
	r.d.maint.know(virtuals)
	r.d.maint.folder(g.MaintenanceDir)
	if g.LogFile != old.LogFile || g.LogFacility != old.LogFacility {
		g.Supervised = old.Supervised // in front or not is decided at the start
		if sink, err := r.d.c.sink(g); err == nil {
			r.d.sink.use(sink)
			r.d.log.Printf(daemon.Info, "The log goes on here; before it was in %s", cmp.Or(old.LogFile, "syslog "+old.LogFacility))
		} else {
			r.d.fault(err)
		}
	}
	r.children.Store(&r.globals.Execute)
	for _, child := range old.Execute {
		if !slices.Contains(g.Execute, child) {
			r.child(child, "stop")
		}
	}
	for _, child := range g.Execute {
		if slices.Contains(old.Execute, child) {
			r.child(child, "reload")
		}
		r.child(child, "start") // which does nothing when it runs
	}
}

// child runs a verb for a configuration of execute=.
func (r *reloader) child(config, verb string) {
	argv, err := childArgv(config, verb)
	if err != nil {
		r.d.fault(err)
		return
	}
	r.d.hooks.Do(daemon.Command{Name: "execute", Argv: argv, Timeout: startPatience + 5*time.Second})
}

func (r *reloader) startChildren() {
	for _, c := range *r.children.Load() {
		r.child(c, "start")
	}
}

func (r *reloader) stopChildren() {
	for _, c := range *r.children.Load() {
		r.child(c, "stop")
	}
}
