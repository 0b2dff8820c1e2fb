package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// vrrpRun is the instance that the flags of vrrp run describe.
type vrrpRun struct {
	name, instance, link string
	file                 string
	vrid, priority       int
	vips, excluded       []string
	interval             float64
	version              int
	password, source     string
	peers                []string
	noPreempt            bool
	preemptDelay         time.Duration
	trackLinks           []string
	scripts              []string
	scriptInterval       time.Duration
	scriptTimeout        time.Duration
	notify               map[string]*string
	syncLink             string
	syncID               int
	debug                bool
	vrrpPolicy
}

func vrrpRunCommand() *cobra.Command {
	r := vrrpRun{notify: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take part in the election for some addresses",
		Long: `Run takes part in the election for a set of addresses until it is told to stop
(SIGTERM), and holds them while this machine is master. It stays in front, and logs
to standard error.

Link, virtual_router_id, password and addresses have to be the same on all machines,
whether they run lvsctl or keepalived; priority decides between them. What was left
on this machine by a crash is removed at the start. With --sync the kernel's
connection synchronisation follows the state, so that connections outlive a move.
With --file the instances are those of a keepalived.conf, which is read again on
SIGHUP and by lvsctl reload; its virtual servers are for lvsctl keepalived.

An address that somebody else removes is put back; when it does not stay for a
minute, it is handed over (--on-vip-removed). Before it is taken the network is
asked whether somebody has it who is no master, which is an alarm, or keeps it from
being taken (--on-duplicate). Who claims it by ARP later, as a real server does that
does not hide it, has his claim undone: the neighbours are told where the address is,
and the log and the status say who it was.

A director that is a real server of its addresses as well (--localnode) must not run
their virtual services while it is not master: lvsctl run and lvsctl keepalived see to
that, a program beside this one does not.`,
		Example: `  lvsctl vrrp run --interface eth0 --vrid 51 --priority 150 --vip 192.168.131.252
  lvsctl vrrp run --interface eth0 --vrid 51 --priority 100 --vip 192.168.131.252 \
      --password 1111 --notify /etc/lvsctl/moved.sh
  lvsctl vrrp run --file /etc/keepalived/keepalived.conf`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.file != "" {
				return r.runFile(cmd)
			}
			site, err := r.site()
			if err != nil {
				return usage(cmd, err)
			}
			return r.run(site)
		},
	}
	r.flags(cmd)
	return cmd
}

func (r *vrrpRun) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.file, "file", "", "run the instances of this keepalived.conf (`path`), in place of the other options")
	f.StringVar(&r.link, "interface", "", "the `device` of the adverts, and of the addresses")
	f.IntVar(&r.vrid, "vrid", 0, "the virtual_router_id, `1-255`")
	f.IntVar(&r.priority, "priority", 100, "the highest is master, `1-255`; 255 only for the owner of the addresses")
	f.StringArrayVar(&r.vips, "vip", nil, "a virtual `address`, with its prefix length if it is not /32 or /128; repeat it for more")
	f.StringArrayVar(&r.excluded, "vip-excluded", nil, "a virtual `address` that moves with the others and is not in the adverts; repeat it for more")
	f.StringVar(&r.instance, "instance", "VI_1", "the `name` of the instance, for the log and for programs")
	f.StringVar(&r.name, "name", "vrrp", "the `name` of this daemon, for its control socket")
	f.Float64Var(&r.interval, "advert-int", 1, "`seconds` between adverts; parts of a second are version 3")
	f.IntVar(&r.version, "vrrp-version", 0, "VRRP version `2|3`; without it 2, and 3 for IPv6 and parts of a second")
	f.StringVar(&r.password, "password", "", "the `word` of simple authentication (PASS), up to 8 letters; version 2")
	f.StringVar(&r.source, "source", "", "the `address` that adverts come from; without it the first one of the device")
	f.StringArrayVar(&r.peers, "peer", nil, "unicast to this `address` instead of multicast; repeat it for more")
	f.BoolVar(&r.noPreempt, "nopreempt", false, "leave a live master of lower priority alone")
	f.DurationVar(&r.preemptDelay, "preempt-delay", 0, "leave it alone for this `time`, as in 30s")
	f.StringArrayVar(&r.trackLinks, "track-interface", nil, "be in FAULT while this `device` is down; repeat it for more")
	f.StringArrayVar(&r.scripts, "track-script", nil, "be in FAULT while this `command` fails; repeat it for more")
	f.DurationVar(&r.scriptInterval, "track-interval", time.Second, "`time` between two runs of a tracked command")
	f.DurationVar(&r.scriptTimeout, "track-timeout", 0, "the longest `time` that one may take; without it the interval")
	for _, n := range []struct{ name, help string }{
		{"notify", "run this `command` on every change, with INSTANCE, the name, the state and the priority as further words"},
		{"notify-master", "run this `command` on becoming master"},
		{"notify-backup", "run this `command` on becoming backup"},
		{"notify-fault", "run this `command` on entering FAULT"},
		{"notify-stop", "run this `command` at the end"},
	} {
		r.notify[n.name] = f.String(n.name, "", n.help)
	}
	f.StringVar(&r.syncLink, "sync", "", "synchronise connections through this `device`: master sends, others receive")
	f.IntVar(&r.syncID, "sync-id", 0, "the `number` of the synchronisation, 0-255")
	r.vrrpPolicy.flags(cmd)
	f.BoolVar(&r.debug, "debug", false, "log every step")
	_ = cmd.RegisterFlagCompletionFunc("vrrp-version", cobra.FixedCompletions([]string{"2", "3"}, cobra.ShellCompDirectiveNoFileComp))
}

// site is what the flags say.
func (r *vrrpRun) site() (config.Site, error) {
	var errs []error
	if r.link == "" {
		errs = append(errs, errors.New("--interface is missing: the device of the adverts"))
	}
	if r.vrid < 1 || r.vrid > 255 {
		errs = append(errs, errors.New("--vrid is missing or not in 1..255: the number that all machines of the cluster share"))
	}
	if r.priority < 1 || r.priority > 255 {
		errs = append(errs, fmt.Errorf("--priority %d is not in 1..255", r.priority))
	}
	if len(r.password) > 8 {
		errs = append(errs, errors.New("--password is longer than the 8 letters that VRRP sends; other programs cut it, so give its first 8 here"))
	}
	if len(r.vips) == 0 {
		errs = append(errs, errors.New("--vip is missing: the address to move"))
	}
	in, err := r.router()
	errs = append(errs, err, r.check())
	r.apply(&in)
	addrs, err := r.addresses(in.IPv6)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return config.Site{}, oneLineError(err)
	}
	in.Addresses = addrs
	site := config.Site{Instances: []config.Instance{in}}
	if err := r.tracked(&site); err != nil {
		return config.Site{}, err
	}
	if r.syncLink != "" {
		if r.syncID < 0 || r.syncID > 255 {
			return config.Site{}, fmt.Errorf("--sync-id %d is not in 0..255", r.syncID)
		}
		site.Sync = []config.Sync{{Daemon: lvs.Daemon{Interface: r.syncLink, SyncID: uint32(r.syncID)}, Instance: r.instance}}
	}
	if err := appliance.Check(site); err != nil {
		return config.Site{}, oneLineError(err)
	}
	return site, nil
}

func oneLineError(err error) error { return errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// router is the protocol's part.
func (r *vrrpRun) router() (config.Instance, error) {
	in := config.Instance{Instance: vrrp.Instance{
		Name: r.instance, Link: r.link, VRID: uint8(r.vrid), Priority: uint8(r.priority),
		Interval: time.Duration(r.interval * float64(time.Second)).Round(10 * time.Millisecond),
		Password: r.password, NoPreempt: r.noPreempt, PreemptDelay: r.preemptDelay, Garp: vrrp.DefaultGarp,
	}}
	var errs []error
	if len(r.vips) > 0 {
		p, err := prefixOf(r.vips[0])
		in.IPv6 = err == nil && p.Addr().Is6()
	}
	if r.source != "" {
		a, err := netip.ParseAddr(r.source)
		in.Source = a
		errs = append(errs, named("--source", err))
	}
	for _, p := range r.peers {
		a, err := netip.ParseAddr(p)
		in.Peers = append(in.Peers, a)
		errs = append(errs, named("--peer", err))
	}
	in.Version = uint8(r.version)
	if r.version == 0 {
		in.Version = 2
		if in.IPv6 || in.Interval%time.Second != 0 {
			in.Version = 3
		}
	}
	in.Notify = r.programs()
	return in, errors.Join(errs...)
}

func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// prefixOf reads an address; without a length it is the whole.
func prefixOf(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// addresses are the virtual ones; those of the other family cannot be in the
// adverts.
func (r *vrrpRun) addresses(ipv6 bool) ([]config.Address, error) {
	var all []config.Address
	var errs []error
	add := func(flag string, list []string, excluded bool) {
		for _, s := range list {
			p, err := prefixOf(s)
			errs = append(errs, named(flag, err))
			all = append(all, config.Address{Prefix: p, Excluded: excluded || p.Addr().Is6() != ipv6, Deprecated: config.NoSource(p)})
		}
	}
	add("--vip", r.vips, false)
	add("--vip-excluded", r.excluded, true)
	return all, errors.Join(errs...)
}

func (r *vrrpRun) programs() config.Notify {
	command := func(flag string) *config.Command {
		words := strings.Fields(*r.notify[flag])
		if len(words) == 0 {
			return nil
		}
		return &config.Command{Words: words}
	}
	return config.Notify{
		Any: command("notify"), Master: command("notify-master"), Backup: command("notify-backup"),
		Fault: command("notify-fault"), Stop: command("notify-stop"),
	}
}

func (r *vrrpRun) tracked(site *config.Site) error {
	in := &site.Instances[0]
	for _, l := range r.trackLinks {
		in.Track = append(in.Track, vrrp.Tracked{Name: config.TrackLink(l)})
	}
	if r.scriptInterval < 10*time.Millisecond {
		return fmt.Errorf("--track-interval %v is less than 10ms", r.scriptInterval)
	}
	if r.scriptTimeout < 0 {
		return fmt.Errorf("--track-timeout %v is negative", r.scriptTimeout)
	}
	for _, s := range r.scripts {
		words := strings.Fields(s)
		if len(words) == 0 {
			return errors.New("--track-script is empty")
		}
		site.Scripts = append(site.Scripts, config.Script{
			Name: s, Command: config.Command{Words: words}, Interval: r.scriptInterval, Timeout: cmp.Or(r.scriptTimeout, r.scriptInterval),
		})
		in.Track = append(in.Track, vrrp.Tracked{Name: config.TrackScript(s)})
	}
	return nil
}

// runFile runs the instances of a file, which says all that the other options say.
func (r *vrrpRun) runFile(cmd *cobra.Command) error {
	var other []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"file", "name", "debug"}, f.Name) {
			other = append(other, "--"+f.Name)
		}
	})
	if len(other) > 0 {
		return usage(cmd, fmt.Errorf("--file says what %s would say; give one of them", strings.Join(other, ", ")))
	}
	if err := plainName(r.name); err != nil {
		return usage(cmd, err)
	}
	c := &kaCommand{prog: "lvsctl vrrp run", file: r.file, vrrpOnly: true, detail: r.debug, umask: -1, noPids: true}
	c.finish()
	if cmd.Flags().Changed("name") {
		c.name = r.name
	}
	c.log = daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()}
	status, err := c.serve(nil)
	if status == kaConfig || status == kaNoConfig {
		fmt.Fprintf(os.Stderr, "lvsctl: %v\n", err)
		return statusError(statusInvalid)
	}
	return err
}

func (r *vrrpRun) run(site config.Site) error {
	if err := plainName(r.name); err != nil {
		return err
	}
	d := &siteDaemon{kind: "vrrp", name: cmp.Or(r.name, "vrrp"), debug: r.debug,
		sink: daemon.WriterLog{W: os.Stderr, Journal: daemon.ToJournal()}}
	return d.run(site)
}

// plainName refuses a name that would be a path.
func plainName(name string) error {
	if strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("name %q: it is a file's name, without folders", name)
	}
	return nil
}
