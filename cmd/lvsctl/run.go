package main

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// sitePlaces are where run looks when it is given no file. Of keepalived's folder
// only the one file counts: what lies beside it is included by it.
var sitePlaces = []string{"/etc/lvsctl", "/etc/ha.d", "/etc/keepalived/keepalived.conf"}

type runOptions struct {
	siteFiles
	name     string
	services string
	fixed    bool
	debug    bool
	policy   vrrpPolicy
}

func runCommand() *cobra.Command {
	o := runOptions{siteFiles: siteFiles{online: true}}
	cmd := &cobra.Command{
		Use:   "run [FILE...]",
		Short: "Everything of a director, in one process",
		Long: `Run makes files live: the virtual routers in them, the virtual services and their
checks, and the synchronisation of connections. Files may be in any dialect and mix:
the addresses of a keepalived.conf with the services of an ldirectord.cf. Without a
file it takes what is in /etc/lvsctl, /etc/ha.d and /etc/keepalived.

Files that change are read again, all of them, and what did not change in them feels
nothing. Files with errors change nothing: they are logged, and shown by lvsctl
status. At the start they end the program with status 5. A name that cannot be looked
up just then is waited for, and the files are tried again. An interface that is not
there yet is waited for by its virtual routers alone.

With --services master a virtual service is in the kernel only while the instance that
has its address is master on this host; any instance, where none has the address, as
for a firewall mark. With --services always they are there on every director. Else the
files decide: those of a configuration that haresources names on the node that is
active for its line, all others always. A director that is a real server of its
addresses, too (--localnode), has them only while it is master.

--on-vip-removed, --on-duplicate and --localnode are for all instances, whatever the
files say: see lvsctl vrrp run.

It stays in front, logs to standard error, and tells systemd when it is ready
(Type=notify). At SIGTERM masters hand over before they let go.`,
		Example: `  lvsctl run                    # what is in /etc
  lvsctl run --services master keepalived.conf ldirectord.cf`,
		GroupID: "own",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "lvsctl", "the `name` of this daemon, for its control socket")
	f.StringVar(&o.services, "services", "", "where virtual services are: `always|master`; as the files say unless given")
	f.BoolVar(&o.fixed, "no-autoreload", false, "read the files again only at SIGHUP and lvsctl reload")
	f.BoolVar(&o.debug, "debug", false, "log every step")
	o.policy.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("services", cobra.FixedCompletions([]string{"always", "master"}, cobra.ShellCompDirectiveNoFileComp))
	o.siteFiles.flags(cmd)
	return cmd
}

func (o *runOptions) run(cmd *cobra.Command, paths []string) error {
	switch err := plainName(o.name); {
	case err != nil:
		return usage(cmd, err)
	case o.policy.check() != nil:
		return usage(cmd, o.policy.check())
	case o.services == "always" && o.policy.localnode:
		return usage(cmd, errors.New("--services always with --localnode: this director would balance again what the master sends to it"))
	case !slices.Contains([]string{"", "always", "master"}, o.services):
		return usage(cmd, fmt.Errorf("--services %q: it is always or master", o.services))
	case slices.Contains(paths, "-"):
		return usage(cmd, errors.New("-: standard input cannot be read again; run wants files"))
	}
	if len(paths) == 0 {
		paths = inPlaces(sitePlaces)
	}
	if len(paths) == 0 {
		return notFound(fmt.Errorf("run: no configuration in %s; name a file", strings.Join(sitePlaces, ", ")))
	}
	for i := range paths {
		full, err := filepath.Abs(paths[i])
		if err != nil {
			return err
		}
		paths[i] = full
	}
	r := &siteRun{runOptions: o, cmd: cmd, paths: paths}
	// At boot an interface may be late. Its instances wait for it; nobody else has to.
	r.expected = func(string) bool { return true }
	look := func(ctx context.Context) (*dialects.Loaded, error) { return r.loadWithin(ctx, cmd, paths) }
	start := newStarter(cmd, "run", look, r.passes)
	defer start.hup.close()
	r.hup = start.hup
	l, err := start.read(cmd.Context())
	if err != nil || l == nil {
		return err
	}
	if config.Errors(l.Problems) {
		return refuseErrors(cmd.ErrOrStderr(), l)
	}
	sayAll(cmd.ErrOrStderr(), r.told(l))
	if err := appliance.Check(r.placed(l.Site)); err != nil {
		return err
	}
	return r.live(l)
}

// inPlaces are those of the places that hold a configuration.
func inPlaces(places []string) []string {
	return slices.DeleteFunc(slices.Clone(places), func(place string) bool {
		files, err := dialects.Files(place)
		return err != nil || len(files) == 0
	})
}

// siteRun is one call of run.
type siteRun struct {
	*runOptions
	cmd     *cobra.Command
	paths   []string
	d       *siteDaemon
	hup     earlyHup
	inForce atomic.Pointer[dialects.Loaded]
	files   *follower // nil: the files are read when somebody asks for it
}

// passes tells whether the errors of the files are all of this host's making, and may
// pass: as a name without an address does, while there is no name server.
func (r *siteRun) passes() bool {
	alone := siteFiles{dialect: r.dialect}
	l, err := alone.load(r.cmd, r.paths)
	return err == nil && !config.Errors(l.Problems)
}

// placed is a site with its services where --services wants them, and with the
// options that are for all instances.
func (r *siteRun) placed(s config.Site) config.Site {
	s.Instances = slices.Clone(s.Instances)
	for i := range s.Instances {
		r.policy.apply(&s.Instances[i])
	}
	switch r.services {
	case "always":
		return s.Everywhere()
	case "master":
		return s.OnMasters()
	}
	return s
}

func (r *siteRun) live(l *dialects.Loaded) error {
	site := r.placed(l.Site)
	if len(site.Instances) == 0 && len(site.Virtuals) == 0 {
		return fmt.Errorf("run: %s: there is no virtual router and no virtual service in it", strings.Join(r.paths, ", "))
	}
	if r.services == "master" && len(site.Instances) == 0 {
		return errors.New("run: --services master: there is no virtual router in the files that could be master")
	}
	r.d = &siteDaemon{
		kind: "lvsctl", name: r.name, file: strings.Join(r.paths, ", "), debug: r.debug,
		sink: daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()}, reload: r.again,
		scripts: scriptFolders(l), more: map[string]http.HandlerFunc{"GET /v1/heartbeat": r.serveCluster},
	}
	if !r.fixed {
		r.files = newFollower(func(string, daemon.Content) { r.d.readAgain() }, func(err error) { r.d.fault(err) })
		r.d.extra = append(r.d.extra, daemon.Func("files", r.files.run))
	}
	r.taken(l)
	r.d.greet = func() { r.hello(l) }
	r.d.moved = func(e appliance.Event) {
		if c := r.inForce.Load().Cluster; c != nil {
			r.d.comeHome(c, e)
		}
	}
	r.d.extra = append(r.d.extra, r.d.early(r.hup))
	return r.d.run(site)
}

// told is what is wrong with files that can be run all the same.
func (r *siteRun) told(l *dialects.Loaded) []config.Problem {
	all := slices.Concat(l.Problems, l.Outside)
	if l.Cluster != nil {
		all = append(all, storageProblems(l.Cluster)...)
	}
	return all
}

// scriptFolders are where scripts of resources are looked for; nil where no file
// names resources.
func scriptFolders(l *dialects.Loaded) []string {
	for _, f := range l.Files {
		if filepath.Base(f.Name) == "haresources" {
			return resourceFolders(filepath.Dir(f.Name))
		}
	}
	return nil
}

// hello is what the log begins with.
func (r *siteRun) hello(l *dialects.Loaded) {
	r.d.log.Printf(daemon.Info, "Starting %s (lvsctl %s) with pid: %d", r.d.kind, ownVersion(), os.Getpid())
	if l.Cluster != nil {
		r.d.log.Print(daemon.Notice, l.Cluster.String())
	}
}

// serveCluster answers heartbeat's programs, where files of heartbeat's are in force.
func (r *siteRun) serveCluster(w http.ResponseWriter, _ *http.Request) {
	c := r.inForce.Load().Cluster
	if c == nil {
		daemon.Answer(w, http.StatusNotFound, nil, errors.New("this daemon does not run files of heartbeat"))
		return
	}
	daemon.Answer(w, http.StatusOK, clusterAnswer(c), nil)
}

// again reads all files for a reload. What names no instance and no service any
// more is a slip: nobody takes a director down that way.
func (r *siteRun) again() reading {
	l, err := r.load(r.cmd, r.paths)
	if err != nil {
		return unread(r.d.file, err)
	}
	problems := r.told(l)
	site := r.placed(l.Site)
	if config.Errors(problems) {
		return reading{problems: problems, waits: r.passes()}
	}
	if len(site.Instances) == 0 && len(site.Virtuals) == 0 {
		problems = append(problems, config.Problem{File: r.d.file, Severity: config.Error,
			Text: "there is no virtual router and no virtual service in it any more", Hint: "stop the daemon if that is meant"})
	}
	problems = append(problems, slips(r.inForce.Load(), l)...)
	return reading{site: site, problems: problems, taken: func() { r.taken(l) }}
}

// taken remembers files that come into force. From now on a new name of an interface
// that is not there is a slip; one that was there may be away for a moment.
func (r *siteRun) taken(l *dialects.Loaded) {
	r.inForce.Store(l)
	if r.files != nil {
		r.files.follow(l.Files)
	}
	var known []string
	for _, in := range l.Site.Instances {
		known = append(known, in.Link)
		for _, t := range in.Track {
			known = append(known, strings.TrimPrefix(t.Name, config.TrackLink("")))
		}
	}
	r.expected = func(link string) bool { return slices.Contains(known, link) }
}
