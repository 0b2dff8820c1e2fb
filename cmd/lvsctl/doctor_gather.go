package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/lvsctl/lvsctl/vrrp"
)

// gatherer reads a host into facts. What it cannot read becomes a line of
// Facts.Unknown; only a host of which nothing can be read is an error.
type gatherer struct {
	k     *netif.Kernel
	o     *doctorOptions
	facts doctor.Facts
	mu    sync.Mutex // of Unknown, Probes
}

func gather(ctx context.Context, k *netif.Kernel, o *doctorOptions) (doctor.Facts, error) {
	g := &gatherer{k: k, o: o}
	f := &g.facts
	var err error
	if f.Host, err = k.Snapshot(); err != nil {
		return *f, fmt.Errorf("reading addresses, routes and settings: %w", err)
	}
	f.Release = release()
	g.table()
	g.schedulers(ctx)
	g.setups()
	f.Roles = o.role
	if f.Roles == 0 {
		f.Roles = doctor.Guess(*f)
		if f.Roles == doctor.Client && len(o.asked) == 0 && !o.target.IsValid() {
			g.unknown("what this host is: it has no table and no virtual address; it was examined as a client. Say --role or --vip, or name an address with --probe-arp")
		}
	}
	g.firewall(ctx)
	g.managers()
	var both sync.WaitGroup
	both.Go(func() { g.probes(ctx) })
	both.Go(func() { g.adverts(ctx) })
	both.Wait()
	return *f, ctx.Err()
}

func (g *gatherer) unknown(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.facts.Unknown = append(g.facts.Unknown, fmt.Sprintf(format, args...))
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// table reads IPVS without loading it: who looks must not change the host, and to
// ask the kernel for IPVS by name would load it.
func (g *gatherer) table() {
	f := &g.facts
	if !slices.Contains(f.Host.Modules, "ip_vs") {
		f.IPVS.Missing = "the module ip_vs is not loaded"
		return
	}
	c, err := kernel.Open(kernel.WithoutModprobe())
	if err != nil {
		g.noTable(err)
		return
	}
	defer c.Close()
	if f.Table, err = c.State(); err != nil {
		g.noTable(err)
		return
	}
	if f.Daemons, err = c.Daemons(); err != nil {
		g.unknown("the sync daemons: %v", err)
	}
	for conn, err := range c.Connections() {
		if err != nil {
			g.unknown("the connection table: %v", err)
			return
		}
		if len(f.Connections) == doctor.MaxConnections {
			return
		}
		f.Connections = append(f.Connections, conn)
	}
}

func (g *gatherer) noTable(err error) {
	if errors.Is(err, lvs.ErrPermission) {
		g.facts.IPVS.Denied = err.Error()
		return
	}
	g.facts.IPVS.Missing = err.Error()
}

// configurations are where the peers look for their files.
var configurations = []string{"/etc/ha.d/ldirectord.cf", "/etc/ha.d/conf/ldirectord.cf", "/etc/keepalived/keepalived.conf"}

// schedulers compares what the configuration asks for with what the kernel has.
func (g *gatherer) schedulers(ctx context.Context) {
	f := &g.facts
	for _, path := range configurations {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		loaded, err := dialects.Load(ctx, []string{path}, dialects.Options{})
		if err != nil {
			g.unknown("the schedulers of %s: %v", path, err)
			continue
		}
		for _, v := range loaded.Site.Virtuals {
			w := doctor.Wanted{Scheduler: v.Service.Scheduler, Where: path}
			if !slices.Contains(f.Wanted, w) {
				f.Wanted = append(f.Wanted, w)
			}
		}
	}
	if len(f.Wanted) == 0 {
		return
	}
	var err error
	if f.Available, err = schedulerModules(f.Release, f.Host.Modules); err != nil {
		g.unknown("which schedulers the kernel has: %v", err)
	}
}

// schedulerModules are the schedulers that are loaded, built in, or can be loaded.
func schedulerModules(release string, loaded []string) ([]string, error) {
	names := slices.Clone(loaded)
	var missing error
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		text, err := os.ReadFile(filepath.Join("/lib/modules", release, list))
		if err != nil {
			missing = err
			continue
		}
		for line := range strings.Lines(string(text)) {
			path, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			name, _, _ := strings.Cut(filepath.Base(path), ".ko")
			names = append(names, strings.ReplaceAll(name, "-", "_"))
		}
	}
	if missing != nil {
		return nil, missing
	}
	var schedulers []string
	for _, name := range names {
		if s, ok := strings.CutPrefix(name, "ip_vs_"); ok && !slices.Contains([]string{"ftp", "pe_sip"}, s) && !slices.Contains(schedulers, s) {
			schedulers = append(schedulers, s)
		}
	}
	slices.Sort(schedulers)
	return schedulers, nil
}

// readSome reads a file of which nobody needs more than a mebibyte.
func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// setups are what this host is as a real server: what the options say, else what
// realserver up remembers and what its addresses show besides.
func (g *gatherer) setups() {
	f := &g.facts
	if len(g.o.setups) > 0 {
		f.Setups = g.o.setups
		return
	}
	store, err := openStore(false)
	if err != nil {
		g.unknown("what realserver up remembers: %v", err)
		store = &stateStore{}
	}
	for _, note := range store.notes {
		g.unknown("what realserver up remembers: %s", note)
	}
	f.Setups = store.state.Setups()
	var known []netip.Addr
	for _, s := range f.Setups {
		known = append(known, s.VIPs...)
	}
	for _, s := range doctor.GuessSetups(f.Host) {
		s.VIPs = slices.DeleteFunc(s.VIPs, func(ip netip.Addr) bool { return slices.Contains(known, ip) })
		if len(s.VIPs) > 0 {
			f.Setups = append(f.Setups, s)
		}
	}
}

// maxProbes bounds the addresses that are asked for without being told to.
const maxProbes = 32

func (g *gatherer) probes(ctx context.Context) {
	f := &g.facts
	vips := slices.Clone(g.o.asked)
	vips = append(vips, f.VIPs()...)
	for _, s := range f.Setups {
		vips = append(vips, s.VIPs...)
	}
	if g.o.target.IsValid() {
		vips = append(vips, g.o.target.Addr())
	}
	vips = each(vips)
	if len(vips) > maxProbes {
		g.unknown("who answers for %v and %d more: too many to ask at once; name them with --probe-arp", vips[maxProbes], len(vips)-maxProbes-1)
		vips = vips[:maxProbes]
	}
	var all sync.WaitGroup
	for _, vip := range vips {
		links := doctor.Where(f.Host, vip)
		if len(links) == 0 && slices.Contains(g.o.asked, vip) {
			g.unknown("who answers for %v: it is on no network of this host, and only neighbours can be asked", vip)
		}
		for _, link := range links {
			all.Go(func() { g.probe(ctx, vip, link) })
		}
	}
	all.Wait()
	slices.SortFunc(f.Probes, func(a, b doctor.Probe) int {
		if c := slices.Index(vips, a.VIP) - slices.Index(vips, b.VIP); c != 0 {
			return c
		}
		return strings.Compare(a.Link, b.Link)
	})
	g.names(ctx)
}

func each[T comparable](list []T) []T {
	var once []T
	for _, v := range list {
		if !slices.Contains(once, v) {
			once = append(once, v)
		}
	}
	return once
}

func (g *gatherer) probe(ctx context.Context, vip netip.Addr, link string) {
	answers, err := g.ask(ctx, vip, link)
	if err != nil {
		g.unknown("who answers for %v: %v", vip, err)
		return
	}
	p := doctor.Probe{VIP: vip, Link: link, Held: g.facts.HeldOnWire(vip)}
	for _, a := range answers {
		p.Answers = append(p.Answers, doctor.Who{Answer: a})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.facts.Probes = append(g.facts.Probes, p)
}

// ask asks twice: the first question may be lost on its way.
func (g *gatherer) ask(ctx context.Context, ip netip.Addr, link string) ([]netif.Answer, error) {
	w, err := g.k.Wire(link)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return w.Probe(ctx, ip, netif.Probing{Count: 2, Interval: g.o.wait / 2, Wait: g.o.wait})
}

// names finds out who the answers come from. The neighbour table knows some; others
// are asked: real servers when somebody answers on a director, the gateway on a real
// server.
func (g *gatherer) names(ctx context.Context) {
	f := &g.facts
	var err error
	if f.Neighbours, err = g.k.Neighbours(); err != nil {
		g.unknown("the neighbour table: %v", err)
	}
	for _, ip := range f.Strangers() {
		if links := doctor.Where(f.Host, ip); len(links) > 0 {
			answers, err := g.ask(ctx, ip, links[0])
			if err != nil {
				g.unknown("who is %v: %v", ip, err)
			}
			for _, a := range answers {
				f.Neighbours = append(f.Neighbours, netif.Neighbour{Link: links[0], IP: ip, MAC: a.MAC})
			}
		}
	}
	for i, p := range f.Probes {
		var answers []netif.Answer
		for _, w := range p.Answers {
			answers = append(answers, w.Answer)
		}
		f.Probes[i].Answers = doctor.Identify(answers, f.Neighbours, p.VIP)
	}
}

func (g *gatherer) adverts(ctx context.Context) {
	if g.o.listen == 0 || g.o.target.IsValid() {
		return
	}
	tap, err := g.k.Tap(vrrp.Protocol)
	if err != nil {
		g.unknown("adverts: %v", err)
		return
	}
	defer tap.Close()
	ctx, cancel := context.WithTimeout(ctx, g.o.listen)
	defer cancel()
	var heard doctor.Adverts
	if err := tap.Listen(ctx, func(fr netif.Frame) bool { heard.Add(fr); return false }); err != nil {
		g.unknown("adverts: %v", err)
	}
	g.facts.Adverts = heard.Heard()
}

// filterPatience is how long the programs that print firewall rules may take, all
// together: large rule sets take seconds on a slow machine.
const filterPatience = time.Minute

// legacyFilters are the older filters: where the kernel lists their tables, and who
// prints the rules.
var legacyFilters = []struct{ tables, family, changer string }{
	{"/proc/net/ip_tables_names", "ip", "iptables"},
	{"/proc/net/ip6_tables_names", "ip6", "ip6tables"},
	{"/proc/net/arp_tables_names", "arp", "arptables"},
}

// firewall reads the rules of both generations. It asks no program whose question
// would load a module into the kernel.
func (g *gatherer) firewall(ctx context.Context) {
	f := &g.facts
	ctx, cancel := context.WithTimeout(ctx, filterPatience)
	defer cancel()
	f.Firewall.Read = true
	if slices.Contains(f.Host.Modules, "nf_tables") || builtIn(f.Release, "nf_tables") {
		g.nft(ctx)
	}
	for _, l := range legacyFilters {
		text, err := os.ReadFile(l.tables)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			g.blind("the firewall: %v", err)
		case len(strings.TrimSpace(string(text))) > 0:
			g.legacy(ctx, l.family, l.changer)
		}
	}
}

// blind notes that rules exist which were not read.
func (g *gatherer) blind(format string, args ...any) {
	g.facts.Firewall.Read = false
	g.unknown(format, args...)
}

func builtIn(release, module string) bool {
	text, err := os.ReadFile(filepath.Join("/lib/modules", release, "modules.builtin"))
	return err == nil && strings.Contains(string(text), "/"+module+".ko")
}

func (g *gatherer) nft(ctx context.Context) {
	text, err := exec.CommandContext(ctx, "nft", "-j", "list", "ruleset").Output()
	if err == nil {
		var chains []doctor.Chain
		if chains, err = doctor.ParseNFT(text); err == nil {
			g.facts.Firewall.Chains = append(g.facts.Firewall.Chains, chains...)
			return
		}
	}
	g.blind("whether the firewall drops anything: the kernel has nf_tables, and its rules could not be read: %v", said(err))
}

// legacy tries the program of that name and then the one that may be it.
func (g *gatherer) legacy(ctx context.Context, family, changer string) {
	var err error
	for _, name := range []string{changer + "-legacy", changer} {
		var text []byte
		if text, err = exec.CommandContext(ctx, name+"-save").Output(); err == nil {
			g.facts.Firewall.Chains = append(g.facts.Firewall.Chains, doctor.ParseIptables(name, family, text)...)
			return
		}
	}
	g.blind("whether the firewall drops anything: there are rules of %s, which could not be read: %v", changer, said(err))
}

// said is a program's own words, where it had some.
func said(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// managers reads which links a network manager has taken, from its own notes.
func (g *gatherer) managers() {
	for _, l := range g.facts.Host.Links {
		if l.Loopback {
			continue
		}
		for _, m := range netif.Managers("/run", l.Index) {
			g.facts.Managers = append(g.facts.Managers, doctor.Manager{Name: m.Name, Link: l.Name, File: m.File, Text: managerText(m)})
		}
	}
}

// managerText is what the files of a manager say.
func managerText(m netif.Manager) string {
	var text strings.Builder
	for _, path := range append([]string{m.File}, m.DropIns...) {
		if some, err := readSome(path); err == nil {
			text.Write(some)
			text.WriteByte('\n')
		}
	}
	return text.String()
}
