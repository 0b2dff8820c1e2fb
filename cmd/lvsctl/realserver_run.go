package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/realserver"
)

// keeperLook is the time between two looks at the host that nothing has called for.
// The kernel tells of addresses, links and what is written to settings, but not when
// that is done through the /proc of a container.
const keeperLook = 2 * time.Second

// keeperSettle lets a storm of events pass before one look at what it left.
const keeperSettle = 50 * time.Millisecond

func realserverRun() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep virtual addresses up",
		Long: `Run does what up does, and stays: an address, route or setting that somebody takes
away is put back and said in the log. With --from it follows the director's files:
a service that is added is served within a second, one that is gone goes here too,
and a file with errors, or without any service left, changes nothing. Without options
it keeps what up has done.

An address is never taken away because this host's own address is missing for a
moment. When run ends everything stays as it is; lvsctl realserver down takes it
back.

It logs to standard error, tells systemd when it is ready (Type=notify), and reads
the files again at SIGHUP.`,
		Example: `  lvsctl realserver run --from /etc/ha.d/ldirectord.cf
  lvsctl realserver run --vip 192.168.131.252`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var fixed []realserver.Setup
			base, err := f.base(cmd)
			switch {
			case err != nil:
				return err
			case len(f.from) > 0:
				err = f.soleSource(cmd)
			case f.given(cmd):
				fixed, err = f.read(cmd)
			}
			if err != nil {
				return err
			}
			return keep(f.from, base, fixed)
		},
	}
	f.flags(cmd)
	return cmd
}

// keeper keeps a host a real server. One goroutine owns it.
type keeper struct {
	kernel   *netif.Kernel
	settings *netif.SettingWatch // nil where the kernel has no watches left
	log      *daemon.Log
	notify   daemon.Notify
	base     realserver.Setup
	beat     pulse

	files    *fileReader // nil without --from
	virtuals []ldirector.Virtual
	read     bool               // the files made sense once
	wanted   []realserver.Setup // without files and without this: what up has remembered

	known  []netip.Addr    // addresses of this host, once seen never forgotten
	raised map[string]bool // setups that were up before, so that what is missing was taken away
	said   map[string]bool // troubles that were said, until they are over
}

// keep runs until a signal ends it.
func keep(paths []string, base realserver.Setup, fixed []realserver.Setup) error {
	kernel, err := netif.Here()
	if err != nil {
		return err
	}
	defer kernel.Close()
	log := daemon.NewLog(daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()}, nil)
	k := &keeper{kernel: kernel, log: log, base: base, wanted: fixed, raised: map[string]bool{}, said: map[string]bool{}}
	k.notify.Warn = func(err error) { log.Print(daemon.Warning, err.Error()) }
	late, endLog := context.WithCancel(context.Background())
	logged := make(chan error, 1)
	go func() { logged <- daemon.Serve(late, log) }()
	defer func() { endLog(); <-logged }()

	tasks := []daemon.Task{daemon.Func("keeper", k.run), k.notify.Watchdog(k.beat.check)}
	again := func() {}
	if len(paths) > 0 {
		k.files = newFileReader(paths)
		tasks, again = append(tasks, k.files.tasks()...), k.files.wake
	}
	signals, ctx := daemon.NewSignals(context.Background(), again)
	defer signals.Close()
	return daemon.Serve(ctx, tasks...)
}

// run looks at the host whenever something happened to it, and now and then.
func (k *keeper) run(ctx context.Context) error {
	events, err := k.kernel.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watching addresses: %w", err)
	}
	var written <-chan struct{}
	if k.settings, err = k.kernel.WatchSettings(ctx); err != nil {
		k.log.Printf(daemon.Warning, "%v; they are looked at every %v", err, keeperLook)
	} else {
		written = k.settings.Written()
	}
	tick := time.NewTicker(keeperLook)
	defer tick.Stop()
	var read <-chan readResult
	if k.files != nil {
		read = k.files.results
	} else {
		k.assert()
		k.notify.Ready()
	}
	for {
		k.beat.beat()
		select {
		case <-ctx.Done():
			k.notify.Stopping()
			return nil
		case r := <-read:
			k.take(r)
			k.notify.Ready() // also when we wait: what for is in the status line
		case _, open := <-events:
			if !open {
				return nil
			}
			settle(ctx, events)
		case <-written:
		case <-tick.C:
		}
		k.assert()
	}
}

// settle takes in what follows closely on an event.
func settle(ctx context.Context, events <-chan netif.Event) {
	over := time.After(keeperSettle)
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case _, open := <-events:
			if !open {
				return
			}
		}
	}
}

// take puts what the files say into force. Files that make no sense leave what
// was in force before.
func (k *keeper) take(r readResult) {
	err := r.err
	if err != nil {
		err = fmt.Errorf("cannot read the director's files: %w; what is up is kept, and they are read again every %v", err, rereadAfter)
	}
	if err == nil && config.Errors(r.problems) {
		err = fmt.Errorf("not taken, the services of before are kept:\n%s", joinProblems(r.problems))
	}
	if had := len(k.virtuals); err == nil && len(r.virtuals) == 0 && had > 0 {
		// As on the director: an emptied file is a slip of whoever writes it.
		err = fmt.Errorf("no virtual service in the director's files, while %d are in force: they are kept; lvsctl realserver down takes them back", had)
	}
	if err != nil {
		k.trouble("files", err)
		return
	}
	k.over("files")
	k.virtuals, k.read = r.virtuals, true
}

// match finds out what the services want of this host. Its own address may be
// missing for a moment: that ends nothing.
func (k *keeper) match(f *fitter) error {
	for _, ip := range ownAddrs(f.have) {
		if !slices.Contains(k.known, ip) {
			k.known = append(k.known, ip)
		}
	}
	setups, notes := servedHere(k.virtuals, k.known, k.base)
	for _, n := range notes {
		k.trouble(n, errors.New(n))
	}
	if len(setups) > 0 {
		k.over("nobody")
	} else {
		k.trouble("nobody", fmt.Errorf("no service of the files has a real server with an address of this host (%s)", strings.Join(texts(k.known), ", ")))
	}
	gone := goneFrom(k.wanted, setups)
	k.wanted = setups
	for _, s := range gone {
		if err := k.lower(f, s); err != nil {
			return err
		}
	}
	return nil
}

func joinProblems(problems []config.Problem) string {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// goneFrom are the setups of before, each with the addresses that are not wanted
// any more, or not in this way.
func goneFrom(before, now []realserver.Setup) []realserver.Setup {
	var gone []realserver.Setup
	for _, s := range before {
		s.VIPs = slices.DeleteFunc(slices.Clone(s.VIPs), func(vip netip.Addr) bool {
			return slices.ContainsFunc(now, func(n realserver.Setup) bool {
				// With NAT nothing of a VIP is here, and the gateway is for all.
				return n.Method == s.Method && n.Method == realserver.NAT || n.Method == s.Method && n.Tunnel == s.Tunnel && n.Port == s.Port && slices.Contains(n.VIPs, vip)
			})
		})
		if len(s.VIPs) > 0 {
			gone = append(gone, s)
		}
	}
	return gone
}

// assert puts the host right. What is refused is tried again at the next look.
func (k *keeper) assert() {
	if err := k.atWork(k.fit); err != nil {
		k.trouble("host", err)
		return
	}
	k.over("host")
}

// follow has the settings that the setups want watched: while one of them is wrong,
// each ARP question makes neighbours believe that the address is here.
func (k *keeper) follow(have netif.Snapshot, setups []realserver.Setup) {
	if k.settings == nil {
		return
	}
	var keys []string
	for _, s := range setups {
		for _, w := range realserver.Explain(have, s) {
			if w.Step.Op == netif.SetSysctl {
				keys = append(keys, w.Step.Sysctl.Key)
			}
		}
	}
	if err := k.settings.Follow(keys); err != nil {
		k.trouble("settings", fmt.Errorf("%w; they are looked at every %v", err, keeperLook))
		return
	}
	k.over("settings")
}

func (k *keeper) fit(f *fitter) error {
	if k.read {
		if err := k.match(f); err != nil {
			return err
		}
	}
	wanted := k.wanted
	if k.files == nil && len(wanted) == 0 {
		wanted = f.store.state.Setups()
	}
	k.follow(f.have, wanted)
	var errs []error
	for _, s := range wanted {
		errs = append(errs, k.raise(f, s))
	}
	return errors.Join(errs...)
}

// raise brings up what is missing of a setup.
func (k *keeper) raise(f *fitter, s realserver.Setup) error {
	if err := f.store.state.Conflict(s); err != nil {
		return err
	}
	if err := refuse(realserver.Inspect(f.have, s)); err != nil {
		return err
	}
	name, before := strings.Join(s.Args(), " "), len(f.taken)
	was := k.raised[name]
	err := f.raise(s, !was)
	for _, step := range f.taken[before:] {
		if was {
			k.log.Printf(daemon.Warning, "was undone by somebody, done again: %v", step)
		} else {
			k.log.Print(daemon.Info, step.String())
		}
	}
	if err == nil {
		k.raised[name] = true
	}
	return err
}

func (k *keeper) lower(f *fitter, s realserver.Setup) error {
	before := len(f.taken)
	err := f.down(s)
	for _, step := range f.taken[before:] {
		k.log.Printf(daemon.Info, "no longer in the files: %v", step)
	}
	clear(k.raised) // the next look is at all of them anew
	return err
}

// atWork has the state and the host for one piece of work. Another lvsctl may come
// between two.
func (k *keeper) atWork(work func(*fitter) error) error {
	store, err := openStore(true)
	if err != nil {
		return err
	}
	defer store.close()
	have, err := k.kernel.Snapshot()
	if err != nil {
		return err
	}
	return work(&fitter{host: k.kernel, store: store, have: have})
}

// trouble says what is wrong, once for as long as it lasts.
func (k *keeper) trouble(about string, err error) {
	text := about + ": " + err.Error()
	if k.said[text] {
		return
	}
	k.over(about)
	k.said[text] = true
	for line := range strings.Lines(err.Error()) {
		k.log.Print(daemon.Warning, strings.TrimSpace(line))
	}
	k.notify.Status(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// over ends a trouble.
func (k *keeper) over(about string) {
	for text := range k.said {
		if strings.HasPrefix(text, about+": ") {
			delete(k.said, text)
			k.notify.Status("keeping what is up")
		}
	}
}

// pulse tells a watchdog that a loop still turns.
type pulse struct{ last atomic.Int64 }

func (p *pulse) beat() { p.last.Store(time.Now().UnixNano()) }

// check is an error when the loop has not turned for long.
func (p *pulse) check(context.Context) error {
	if silent := time.Since(time.Unix(0, p.last.Load())); silent > 10*keeperLook {
		return fmt.Errorf("the keeper has not looked for %v", silent)
	}
	return nil
}

// fileReader reads the director's files whenever they change, beside the keeper: a
// name server that does not answer must not keep it from its work.
type fileReader struct {
	paths   []string
	watches []*daemon.Watch
	wakes   chan struct{}
	results chan readResult
}

// readResult is what came of one reading.
type readResult struct {
	virtuals []ldirector.Virtual
	problems []config.Problem
	err      error
}

func newFileReader(paths []string) *fileReader {
	r := &fileReader{paths: paths, wakes: make(chan struct{}, 1), results: make(chan readResult)}
	for _, path := range filesIn(paths) {
		r.watches = append(r.watches, daemon.NewWatch(path, nil))
	}
	return r
}

// filesIn are the paths, with the configurations that are in a folder now in place
// of the folder.
func filesIn(paths []string) []string {
	var files []string
	for _, path := range paths {
		inside, err := dialects.Files(path)
		if err != nil {
			inside = []string{path} // it may come
		}
		files = append(files, inside...)
	}
	return files
}

func (r *fileReader) wake() {
	select {
	case r.wakes <- struct{}{}:
	default: // it is about to read anyway
	}
}

func (r *fileReader) tasks() []daemon.Task {
	tasks := []daemon.Task{daemon.Func("files", r.run)}
	for _, w := range r.watches {
		tasks = append(tasks, w, daemon.Func("watch "+w.Path, func(ctx context.Context) error {
			r.follow(ctx, w)
			return nil
		}))
	}
	return tasks
}

// follow has a change of a file read.
func (r *fileReader) follow(ctx context.Context, w *daemon.Watch) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Changes():
			r.wake()
		}
	}
}

// rereadAfter is when files that made no sense are read again though nothing
// changed: it may have been the name server.
const rereadAfter = 5 * time.Second

func (r *fileReader) run(ctx context.Context) error {
	for {
		var res readResult
		res.virtuals, res.problems, res.err = readVirtuals(ctx, r.paths)
		var again <-chan time.Time
		if res.err != nil || config.Errors(res.problems) {
			again = time.After(rereadAfter)
		}
		select {
		case <-ctx.Done():
			return nil
		case r.results <- res:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wakes:
		case <-again:
		}
	}
}
