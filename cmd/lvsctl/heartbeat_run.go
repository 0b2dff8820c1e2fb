package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/config/heartbeat"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/vrrp"
)

const (
	hbFolder = "/etc/ha.d"
	hbName   = "heartbeat"
)

// hbRun is one call of heartbeat run.
type hbRun struct {
	dir, name string
	debug     bool
}

func heartbeatRunCommand() *cobra.Command {
	var r hbRun
	cmd := &cobra.Command{
		Use:   "run [DIR]",
		Short: "Be a node of a cluster, by ha.cf, haresources and authkeys",
		Long: `Run takes part in a cluster until it is told to stop (SIGTERM), by the files in DIR,
which is /etc/ha.d unless given. It stays in front. It logs to the logfile and the
logfacility of ha.cf, and to standard error.

VRRP is spoken in place of heartbeat's protocol: protocol 112 has to pass between
the nodes, and UDP port 694 need not. Each directive that has no counterpart is named
with its line. On SIGHUP, and on lvsctl reload, the files are read again, and an
ldirectord.cf with autoreload=yes whenever it changes; files with errors change
nothing. At the start they end the program with status 5; a name that cannot be looked
up just then is waited for.`,
		Example: `  lvsctl heartbeat run
  lvsctl heartbeat run /etc/ha.d --debug`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.dir = hbFolder
			if len(args) > 1 {
				return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
			}
			if len(args) == 1 {
				r.dir = args[0]
			}
			if err := plainName(r.name); err != nil {
				return usage(cmd, err)
			}
			return r.run(cmd)
		},
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	cmd.Flags().StringVar(&r.name, "name", hbName, "the `name` of this daemon, for its control socket")
	cmd.Flags().BoolVar(&r.debug, "debug", false, "log every step")
	return cmd
}

// hbDaemon is a running node.
type hbDaemon struct {
	*siteDaemon
	r       *hbRun
	inForce atomic.Pointer[dialects.Loaded]
	files   *follower // of ldirectord
}

func (d *hbDaemon) cluster() *heartbeat.Cluster { return d.inForce.Load().Cluster }

func (r *hbRun) run(cmd *cobra.Command) error {
	dir, err := filepath.Abs(r.dir)
	if err != nil {
		return err
	}
	r.dir = dir
	start := newStarter(cmd, "heartbeat run", r.here, func() bool { return r.passes(cmd.Context(), nil) })
	defer start.hup.close()
	l, err := start.read(cmd.Context())
	if err != nil || l == nil {
		return err
	}
	if config.Errors(l.Problems) {
		sayAll(cmd.ErrOrStderr(), l.Problems)
		fmt.Fprintln(cmd.ErrOrStderr(), "lvsctl: not started: the files have errors")
		return statusError(statusInvalid)
	}
	sink, err := r.sink(l.Cluster)
	if err != nil {
		return err
	}
	d := &hbDaemon{r: r}
	d.siteDaemon = &siteDaemon{
		kind: hbName, name: r.name, file: r.dir, debug: r.debug || l.Cluster.DebugFile != "", sink: sink,
		scripts: resourceFolders(r.dir), reload: d.again,
		more: map[string]http.HandlerFunc{"GET /v1/heartbeat": d.serveCluster},
	}
	d.greet = func() { d.hello(l) }
	d.moved = func(e appliance.Event) { d.siteDaemon.comeHome(d.cluster(), e) }
	d.files = newFollower(d.changed, d.fault)
	d.extra = append(d.extra, daemon.Func("files", d.files.run), d.early(start.hup))
	d.taken(l)
	return d.siteDaemon.run(l.Site)
}

// comeHome ends a standby when the group is back: the other node has given it up, or
// is dead. As long as it lasted the other node would take the group again at once.
func (d *siteDaemon) comeHome(c *heartbeat.Cluster, e appliance.Event) {
	if e.Transition.To != vrrp.Master || !slices.ContainsFunc(c.Groups, func(g heartbeat.Group) bool { return g.Name == e.Instance }) {
		return
	}
	go func() { // the status is that of the loop which tells us
		all, err := d.app.Status()
		if err != nil {
			return // it ends
		}
		if slices.ContainsFunc(all, func(s appliance.InstanceStatus) bool { return s.Name == e.Instance && s.Mode == vrrp.Standby.String() }) {
			if err := d.app.Resume(e.Instance); err != nil && !errors.Is(err, appliance.ErrNotRunning) {
				d.fault(err)
			}
		}
	}()
}

// resourceFolders are where scripts of resources are looked for.
func resourceFolders(dir string) []string {
	return slices.Compact([]string{filepath.Join(dir, "resource.d"), filepath.Join(hbFolder, "resource.d"), "/etc/init.d"})
}

// here reads the folder as this host sees it now.
func (r *hbRun) here(ctx context.Context) (*dialects.Loaded, error) {
	host, err := thisHost()
	if err != nil {
		return nil, err
	}
	return r.load(ctx, host, nil)
}

// passes tells whether the errors of the files may pass: they come of names that
// cannot be looked up, or of an address that this host does not have yet. A cluster
// without this host is a slip, as heartbeat takes it.
func (r *hbRun) passes(ctx context.Context, kept *heartbeat.Files) bool {
	node, err := os.Hostname()
	if err != nil {
		return false
	}
	l, err := r.load(ctx, dialects.Host{Node: node}, kept)
	return err == nil && !config.Errors(l.Problems)
}

// load reads the folder as a host sees it. Files of heartbeat that are given are in
// place of those in the folder.
func (r *hbRun) load(ctx context.Context, host dialects.Host, kept *heartbeat.Files) (*dialects.Loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	l, err := dialects.Load(ctx, []string{r.dir}, dialects.Options{Host: host, Cluster: kept, Heeds: []string{"autoreload"}})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound(err)
	case err != nil:
		return nil, err
	case l.Cluster == nil:
		return nil, notFound(fmt.Errorf("%s: no ha.cf and no haresources is in it", r.dir))
	}
	for _, name := range []string{"ha.cf", "haresources", "authkeys"} {
		path := filepath.Join(r.dir, name)
		if !slices.ContainsFunc(l.Files, func(f dialects.Read) bool { return f.Name == path }) {
			l.Problems = append(l.Problems, config.Problem{File: path, Severity: config.Error, Text: "is missing", Hint: "the three files are the same on all nodes"})
		}
	}
	l.Problems = append(l.Problems, l.Outside...)
	l.Problems = append(l.Problems, storageProblems(l.Cluster)...)
	config.SortProblems(l.Problems)
	return l, nil
}

// onStorage are resources of heartbeat's that two nodes must never have at once.
var onStorage = []string{"Filesystem", "drbddisk", "LVM", "Raid1", "ServeRAID", "WAS", "db2"}

// storageProblems: a hand-over is made so that the address is always answered, and
// for a moment both nodes have the resources. Nobody fences a node either.
func storageProblems(c *heartbeat.Cluster) []config.Problem {
	var ps []config.Problem
	for _, g := range c.Groups {
		for _, r := range g.Resources {
			if slices.Contains(onStorage, r.Name) {
				ps = append(ps, config.Problem{File: r.Source.File, Line: r.Source.Line, Severity: config.Warning,
					Text: r.Name + ": storage that only one node may have is not safe here: during a hand-over, and when the network is cut, both nodes have the resources",
					Hint: "use Pacemaker with fencing for it; directors need no shared storage"})
			}
		}
	}
	return ps
}

// hello is what the log begins with.
func (d *hbDaemon) hello(l *dialects.Loaded) {
	d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) with pid: %d, node %s, by %s", hbName, ownVersion(), os.Getpid(), l.Cluster.Self, d.r.dir)
	d.tell(l)
	for _, p := range l.Problems {
		d.log.Print(daemon.Warning, problemText(p))
	}
}

func (d *hbDaemon) tell(l *dialects.Loaded) {
	d.log.Print(daemon.Notice, l.Cluster.String())
	t := l.Cluster.Timing(false)
	d.log.Printf(daemon.Info, "deadtime %v: a node is dead after %d adverts of %v in silence, which is %v", l.Cluster.Deadtime, t.DownAdverts, t.Interval, t.Dead)
}

// taken remembers files that come into force, and follows those of ldirectord.
func (d *hbDaemon) taken(l *dialects.Loaded) {
	d.inForce.Store(l)
	d.files.follow(slices.DeleteFunc(slices.Clone(l.Files), func(f dialects.Read) bool { return f.Dialect != "ldirectord" }))
}

// changed hears of another content of a file of ldirectord. With autoreload=yes it is
// taken as ldirectord would take it, and heartbeat's own files stay as they are: these
// are read when somebody asks for it.
func (d *hbDaemon) changed(name string, c daemon.Content) {
	files := d.inForce.Load().Files
	i := slices.IndexFunc(files, func(f dialects.Read) bool { return f.Name == name })
	if i < 0 {
		return // another reload was faster, and nobody names it any more
	}
	if c.Err == nil && bytes.Equal(c.Data, files[i].Text) && d.refused.Load() == nil {
		return // what a reload has taken already is no news
	}
	d.log.Printf(daemon.Info, "Configuration file '%s' has changed on disk", name)
	switch {
	case !files[i].AutoReload:
		d.log.Print(daemon.Info, " - ignore new configuration")
	case c.Err != nil:
		d.readBy(func() reading { return unread(name, c.Err) })
	default:
		d.log.Print(daemon.Info, " - reread new configuration")
		d.readBy(func() reading { return d.read(&d.inForce.Load().Beat) })
	}
}

// again reads all files once more.
func (d *hbDaemon) again() reading { return d.read(nil) }

// read reads the files once more, heartbeat's own only if they are not given.
func (d *hbDaemon) read(kept *heartbeat.Files) reading {
	host, err := thisHost()
	if err != nil {
		return unread(d.r.dir, err)
	}
	l, err := d.r.load(context.Background(), host, kept)
	if err != nil {
		return unread(d.r.dir, err)
	}
	if config.Errors(l.Problems) {
		return reading{problems: l.Problems, waits: d.r.passes(context.Background(), kept)}
	}
	if ps := slips(d.inForce.Load(), l); len(ps) > 0 {
		return reading{problems: append(l.Problems, ps...)}
	}
	taken := func() { d.taken(l) }
	if kept != nil {
		return reading{site: l.Site, problems: l.Problems, taken: taken}
	}
	old := d.cluster()
	for _, f := range []struct{ name, was, is string }{
		{"logfile", old.LogFile, l.Cluster.LogFile}, {"debugfile", old.DebugFile, l.Cluster.DebugFile}, {"logfacility", old.LogFacility, l.Cluster.LogFacility},
	} {
		if f.was != f.is {
			d.log.Printf(daemon.Warning, "%s has changed: it counts from the next start on", f.name)
		}
	}
	d.tell(l)
	return reading{site: l.Site, problems: l.Problems, taken: taken}
}

func (d *hbDaemon) serveCluster(w http.ResponseWriter, _ *http.Request) {
	daemon.Answer(w, http.StatusOK, clusterAnswer(d.cluster()), nil)
}

// sink is where ha.cf wants the log. Standard error has it too, unless that is
// systemd's journal and there is another place.
func (r *hbRun) sink(c *heartbeat.Cluster) (daemon.Sink, error) {
	most := daemon.Info
	if r.debug {
		most = daemon.Debug
	}
	var s hbSinks
	file := func(path string, most daemon.Level) {
		if path != "" {
			s = append(s, &hbSink{what: path, Sink: daemon.FileLog{Path: path, Form: hbLine}, most: most})
		}
	}
	file(c.LogFile, most)
	file(c.DebugFile, daemon.Debug)
	if f := c.LogFacility; f != "" && f != "none" {
		log, err := daemon.NewSyslogLog(f, hbName)
		if err != nil {
			return nil, fmt.Errorf("logfacility: %w", err)
		}
		s = append(s, &hbSink{what: "syslog", Sink: log, most: most})
	}
	if journal := daemon.ToJournal(); !journal || len(s) == 0 {
		s = append(s, &hbSink{what: "standard error", Sink: daemon.WriterLog{W: os.Stderr, Journal: journal}, most: most})
	}
	return s, nil
}

// hbLine is a line of heartbeat's log files.
func hbLine(l daemon.Line) string {
	level := map[daemon.Level]string{daemon.Error: "ERROR", daemon.Warning: "WARN", daemon.Debug: "debug"}[l.Level]
	if level == "" {
		level = "info"
	}
	return fmt.Sprintf("%s[%d]: %s %s: %s\n", hbName, os.Getpid(), l.When.Format(hbDate), level, l.Text)
}

// hbSink is one of several places of a log.
type hbSink struct {
	daemon.Sink
	what   string
	most   daemon.Level
	failed bool
}

// hbSinks write to all places. The lines are lost only if no place takes them; that
// one does not is told in the others.
type hbSinks []*hbSink

// Write implements [daemon.Sink].
func (all hbSinks) Write(lines []daemon.Line) error {
	var errs []error
	var news []daemon.Line
	for _, s := range all {
		err := s.Sink.Write(slices.DeleteFunc(slices.Clone(lines), func(l daemon.Line) bool { return l.Level > s.most }))
		if err != nil && !s.failed && len(lines) > 0 {
			news = append(news, daemon.Line{When: lines[len(lines)-1].When, Level: daemon.Warning,
				Text: fmt.Sprintf("%s does not take the log: %v", s.what, strings.TrimSpace(err.Error()))})
		}
		if s.failed = err != nil; s.failed {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(all) {
		return errors.Join(errs...)
	}
	for _, s := range all {
		if !s.failed && len(news) > 0 {
			s.failed = s.Sink.Write(news) != nil // and the next line will tell
		}
	}
	return nil
}
