package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// IPVS is the kernel's load balancer.
type IPVS interface {
	lvs.Kernel
	Syncer
	SetTimeouts(lvs.Timeouts) error
}

// Options are what an Appliance works with. Host is needed.
type Options struct {
	Host Host
	// IPVS opens the kernel's load balancer when a site first needs it: it has
	// virtual services, or synchronises connections. nil: such a site is refused.
	IPVS func() (IPVS, error)
	// Director is the template of the director of the virtual services: Kernel,
	// Virtuals and Gates are filled in here. Its Checks are needed with IPVS.
	Director ldirector.Options
	// Report gets every event. It must not block for long, and may be called by
	// several goroutines; nil: nobody listens.
	Report func(Event)
	// Standby names the instances that were in standby when the process before
	// ended; Save hears whenever that changes.
	Standby []string
	Save    func(standby []string)
	// KeepHeld and KeepServices leave what masters hold, and the virtual services,
	// behind at the end.
	KeepHeld, KeepServices bool
	// RealTime asks for real-time scheduling of the adverts.
	RealTime bool
	// Scripts are the folders in which the scripts of resources are looked for, in
	// this order, before a systemd unit is.
	Scripts []string
}

// ErrNotRunning is the answer to orders outside of Run.
var ErrNotRunning = errors.New("the appliance is not running")

// Appliance makes a site live.
type Appliance struct {
	o       Options
	speaker *vrrp.Speaker
	reports *reporter
	tell    *announcer
	probes  *prober
	guard   *guard
	gate    *gate
	syncs   *syncs

	leaveAll atomic.Bool // the end is near, and what is held stays behind
	ending   atomic.Bool // the end is near, and everything becomes as it was

	inbox chan func()
	ended chan struct{} // closed when the loop takes no more orders
	begun chan struct{} // closed when the first site is in force

	// What follows belongs to the loop.
	ctx      context.Context // of what outlives the speaker
	site     config.Site
	kept     map[router]*kept
	waiting  map[string]string      // why an instance does not run yet
	links    map[string]bool        // tracked devices, and whether they run
	own      map[string]vrrp.Health // whether instances have an address to send from, by what they track
	sources  map[string]netip.Addr  // where the adverts of an instance come from
	scripts  *scripts
	missing  map[string]bool // scripts that cannot be run
	standby  map[string]bool
	opened   map[line]vrrp.Transport
	sysctls  map[string]netif.Sysctl // that we have changed
	ipvs     IPVS
	noIPVS   string // why there is none, though one is needed
	director *ldirector.Director
	hooks    *hooks
	tasks    sync.WaitGroup
	thefts   map[string]*defence
	ajar     []string       // see openDoors
	services sync.WaitGroup // those that are being started or stopped
}

// line is what instances share a transport for.
type line struct {
	link string
	ipv6 bool
}

// kept is what an instance has for as long as it is the same virtual router.
type kept struct {
	addresses *addresses
	localnode *localnode
	routes    *routes
	door      *doorkeeper
	sync      *switcher
	resources *resources
	bound     bool      // services follow it: it holds the door
	sends     string    // what it tracks to have an address to send from
	routeSaid time.Time // when a stolen route was last told
}

// New is an Appliance that has not begun. Its Run must be called once.
func New(o Options) *Appliance {
	a := &Appliance{
		o: o, reports: newReporter(o.Report), tell: newAnnouncer(o.Host), gate: newGate(),
		inbox: make(chan func()), ended: make(chan struct{}), begun: make(chan struct{}),
		kept: map[router]*kept{}, waiting: map[string]string{}, links: map[string]bool{}, sources: map[string]netip.Addr{}, standby: map[string]bool{},
		opened: map[line]vrrp.Transport{}, sysctls: map[string]netif.Sysctl{}, thefts: map[string]*defence{},
	}
	a.speaker = vrrp.NewSpeaker()
	if o.RealTime {
		a.speaker.Prepare = RealTime
	}
	if w, ok := o.Host.(waiting); ok {
		a.speaker.Waiter = w.Waiter()
	}
	a.probes = newProber(a.tell, a.reports.say)
	a.probes.heard = a.masterOf
	a.probes.answer = func(name string, number uint64, holder string) { a.warn(a.speaker.Answer(name, number, holder)) }
	a.reports.asked = a.probes.asked
	a.guard = newGuard(o.Host, a.tell, a.reports.say)
	a.reports.changed = func(name string, t vrrp.Transition) {
		a.probes.changed(name, t)
		a.guard.changed(name, t)
	}
	a.speaker.Report = a.reports.report
	a.syncs = newSyncs(func(l Level, text string) { a.say(l, "%s", text) })
	a.hooks = newHooks(func(l Level, text string) { a.say(l, "%s", text) })
	a.scripts = newScripts(a.observed, func(l Level, text string) { a.say(l, "%s", text) })
	for _, name := range o.Standby {
		a.standby[name] = true
	}
	return a
}

func (a *Appliance) say(level Level, format string, args ...any) {
	a.reports.say(level, "", fmt.Sprintf(format, args...))
}

// notifyPatience is how long the end waits for notify programs.
const notifyPatience = time.Second

// Run makes the site live until the context ends; then masters hand over, all
// that they hold is dropped, and the virtual services are removed as they are
// configured to be. The error says what could not be dropped.
func (a *Appliance) Run(ctx context.Context, site config.Site) error {
	told := make(chan struct{})
	go func() { defer close(told); a.reports.run() }()
	late, end := context.WithCancel(context.Background())
	a.ctx = late
	defer context.AfterFunc(ctx, func() { a.ending.Store(true) })()
	if a.o.KeepHeld {
		defer context.AfterFunc(ctx, func() { a.leaveAll.Store(true) })()
	}
	a.tasks.Go(func() { a.syncs.run(late) })
	spoke := make(chan error, 1)
	go func() { spoke <- a.speaker.Run(ctx) }()
	looped := make(chan struct{})
	go func() { defer close(looped); a.loop(late, site) }()
	err := <-spoke
	end()
	<-looped
	if err != nil {
		err = a.sweep()
	}
	for _, k := range a.kept {
		err = errors.Join(err, k.localnode.leave())
	}
	a.scripts.close()
	a.probes.close()
	a.guard.close()
	a.tasks.Wait()
	a.services.Wait()
	err = errors.Join(err, a.restoreSysctls(), a.tell.close())
	a.reports.box.close()
	<-told
	a.hooks.end()
	patience, done := context.WithTimeout(context.Background(), notifyPatience)
	defer done()
	a.reports.settle(patience)
	a.hooks.settle(patience)
	return err
}

// sweepPatience is for a kernel that is slow beyond all measure. An address that is
// left behind answers for a master that is not there any more: that is worth a wait.
const sweepPatience = 30 * time.Second

// sweep drops what the speaker has given up on. It comes when the loop has ended.
func (a *Appliance) sweep() error {
	a.say(Warning, "not everything could be removed in time; trying for %v more", sweepPatience)
	ctx, done := context.WithTimeout(context.Background(), sweepPatience)
	defer done()
	for {
		err := a.dropAll(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

func (a *Appliance) dropAll(ctx context.Context) error {
	var errs []error
	for r, k := range a.kept {
		for _, h := range []vrrp.Holder{k.resources, k.routes, k.localnode, k.addresses} {
			if err := h.Drop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("instance %s: %v: %w", r.name, h, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Ready is closed when the first site is in force.
func (a *Appliance) Ready() <-chan struct{} { return a.begun }

// loop owns the plan.
func (a *Appliance) loop(ctx context.Context, site config.Site) {
	defer close(a.ended)
	events := a.watch(ctx)
	a.use(site)
	a.hasten()
	close(a.begun)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-a.inbox:
			f()
		case e, ok := <-events:
			if !ok {
				events = a.watch(ctx)
				continue
			}
			a.happened(e, events)
		case <-look.C:
			a.look()
			a.lookForIPVS()
			a.hasten()
		}
	}
}

// hasten is for the threads that there are by now. Where it is not allowed RealTime
// was not allowed either, and has said so.
func (a *Appliance) hasten() {
	if a.o.RealTime {
		_ = hasten()
	}
}

// order has the loop do something, and waits.
func (a *Appliance) order(f func()) error {
	done := make(chan struct{})
	select {
	case a.inbox <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-a.ended:
		return ErrNotRunning
	}
}

// Set puts another site into force. What did not change in it feels nothing: no
// advert is missed, no address moves. On an error nothing has changed.
func (a *Appliance) Set(site config.Site) error {
	if err := Check(site); err != nil {
		return err
	}
	return a.order(func() { a.use(site) })
}

// use makes the loop's site this one.
func (a *Appliance) use(site config.Site) {
	site, bound := serveLocalnodes(site)
	if len(bound) > 0 {
		a.say(Info, "virtual services are here only while %s is master: this director is a real server, too (localnode)", strings.Join(bound, " or "))
	}
	a.site = site
	a.reports.box.put(newConfig{site.Instances, site.Groups}, true)
	for i := range site.Instances {
		for _, text := range passedOver(&site.Instances[i]) {
			a.reports.say(Warning, site.Instances[i].Name, text)
		}
	}
	a.useSysctls()
	a.hide()
	a.useServices()
	a.plan()
}

// plan brings the speaker in line with the site and this host. It is called again
// when something that an instance waits for may have come.
func (a *Appliance) plan() {
	missing := a.unusable()
	links := linkCache{host: a.o.Host, addrs: true}
	virtual := virtualOf(&a.site)
	var members []vrrp.Member
	var changed []string
	unseen := unseenThings{}
	what := map[string]*addresses{}
	fresh := map[router]*kept{}
	opened := map[line]vrrp.Transport{}
	followed := a.site.Followed()
	for i := range a.site.Instances {
		in := &a.site.Instances[i]
		m, err := a.member(in, &links, virtual, missing)
		if err != nil {
			a.wait(in, err)
			continue
		}
		if a.waiting[in.Name] != "" {
			a.reports.say(Info, in.Name, "waits no longer")
			delete(a.waiting, in.Name)
		}
		k := a.keep(in)
		fresh[routerOf(in)], what[in.Name] = k, k.addresses
		opened[line{in.Link, in.IPv6}] = m.Transport
		if k.use(in) {
			changed = append(changed, in.Name)
		}
		if !in.LocalNode {
			a.warn(k.localnode.leave())
		}
		k.bound = slices.Contains(followed, in.Name)
		m.Holders = k.holders(in, &a.site)
		members = append(members, m)
		for _, t := range m.Instance.Track {
			unseen = append(unseen, t.Name)
		}
	}
	a.reports.box.put(unseen, true)
	a.probes.use(what)
	a.guard.use(what)
	a.leaveGone()
	a.lookAtLinks(members, &links)
	a.commit(members, missing)
	a.closeDoors(members)
	a.kept, a.opened = fresh, opened
	for _, name := range changed {
		a.warn(a.speaker.Retake(name))
	}
}

// leaveGone prepares for their end what the site does not name any more. One that
// only waits is still a real server.
func (a *Appliance) leaveGone() {
	for r, k := range a.kept {
		named := func(in config.Instance) bool { return routerOf(&in) == r }
		if !slices.ContainsFunc(a.site.Instances, named) {
			a.warn(k.localnode.leave())
		}
	}
	for name := range a.thefts {
		if !slices.ContainsFunc(a.site.Instances, func(in config.Instance) bool { return in.Name == name }) {
			delete(a.thefts, name)
		}
	}
}

// commit hands the members to the speaker, and lets the scripts begin.
func (a *Appliance) commit(members []vrrp.Member, missing map[string]bool) {
	if err := a.speaker.Set(members, groupsOf(a.site.Groups, members)); err != nil {
		if !errors.Is(err, vrrp.ErrNotRunning) { // we are being stopped
			a.say(Error, "%v", err)
		}
		return
	}
	var run []config.Script
	for _, s := range a.site.Scripts {
		used := func(m vrrp.Member) bool {
			return slices.ContainsFunc(m.Instance.Track, func(t vrrp.Tracked) bool { return t.Name == config.TrackScript(s.Name) })
		}
		if !missing[config.TrackScript(s.Name)] && slices.ContainsFunc(members, used) {
			run = append(run, s)
		}
	}
	a.scripts.set(run)
}

// groupsOf are the groups with those members that run.
func groupsOf(groups []config.Group, members []vrrp.Member) []vrrp.Group {
	var out []vrrp.Group
	for _, g := range groups {
		there := func(name string) bool {
			return slices.ContainsFunc(members, func(m vrrp.Member) bool { return m.Instance.Name == name })
		}
		v := vrrp.Group{Name: g.Name}
		for _, name := range g.Members {
			if there(name) {
				v.Members = append(v.Members, name)
			}
		}
		out = append(out, v)
	}
	return out
}

// member is an instance that can run here, or why it cannot.
func (a *Appliance) member(in *config.Instance, links *linkCache, virtual map[netip.Prefix]bool, missing map[string]bool) (vrrp.Member, error) {
	if err := checkInstance(in); err != nil {
		return vrrp.Member{}, err
	}
	source, err := a.source(in, links, virtual)
	if err != nil {
		return vrrp.Member{}, err
	}
	v := complete(in, &a.site, source, missing)
	a.sources[in.Name] = v.Source
	v.StartStandby = a.standby[in.Name]
	t, err := a.transport(line{in.Link, in.IPv6})
	if err != nil {
		return vrrp.Member{}, err
	}
	return vrrp.Member{Instance: v, Transport: t}, nil
}

// source is where the adverts of an instance come from. One that runs keeps what it
// has when its device goes: tracking the device is how it hears of that.
func (a *Appliance) source(in *config.Instance, links *linkCache, virtual map[netip.Prefix]bool) (netip.Addr, error) {
	var was netip.Addr
	if a.kept[routerOf(in)] != nil {
		was = a.sources[in.Name]
	}
	if _, err := a.o.Host.Link(in.Link, false); err != nil && !was.IsValid() {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", in.Link, err)
	}
	if in.Source.IsValid() {
		return in.Source, nil
	}
	now, err := sourceOf(links.get(in.Link), in, virtual)
	if err != nil && was.IsValid() {
		return was, nil
	}
	return now, err
}

// transport is the one of a line; those that no member uses are closed by the
// speaker.
func (a *Appliance) transport(l line) (vrrp.Transport, error) {
	if t := a.opened[l]; t != nil {
		return t, nil
	}
	t, err := a.o.Host.Transport(l.link, l.ipv6)
	if err != nil {
		return nil, err
	}
	a.opened[l] = t
	return t, nil
}

// wait remembers why an instance does not run, and says it once. One that ran
// before, and whose interface is gone, is in the speaker's hands no more.
func (a *Appliance) wait(in *config.Instance, err error) {
	if a.waiting[in.Name] == err.Error() {
		return
	}
	a.waiting[in.Name] = err.Error()
	a.reports.say(Error, in.Name, "cannot run: "+err.Error()+"; it waits until that is mended")
}

// keep is what an instance has already, or begins with.
func (a *Appliance) keep(in *config.Instance) *kept {
	if k := a.kept[routerOf(in)]; k != nil {
		return k
	}
	name := in.Name
	say := func(l Level, text string) { a.reports.say(l, name, text) }
	return &kept{
		addresses: newAddresses(a.o.Host, a.tell, say, &a.leaveAll),
		localnode: newLocalnode(a.o.Host, say, &a.leaveAll, &a.ending),
		routes:    &routes{host: a.o.Host, stays: &a.leaveAll},
		door:      &doorkeeper{a.gate, name},
		sync:      &switcher{a.syncs, name},
		resources: newResources(finder{a.o.Scripts, runsSystemd}, say, &a.leaveAll, &a.services),
		sends:     trackSource(in),
	}
}

// use tells whether what is held has changed.
func (k *kept) use(in *config.Instance) bool {
	addresses, routes, resources, local := k.addresses.use(in), k.routes.use(in), k.resources.use(in), k.localnode.use(in)
	return addresses || routes || resources || local
}

// holders are what a master holds, in the order in which it is taken.
func (k *kept) holders(in *config.Instance, site *config.Site) []vrrp.Holder {
	var all []vrrp.Holder
	if k.bound {
		all = append(all, k.door)
	}
	all = append(all, k.addresses)
	if in.LocalNode {
		all = append(all, k.localnode)
	}
	if len(in.Routes) > 0 {
		all = append(all, k.routes)
	}
	if slices.ContainsFunc(site.Sync, func(s config.Sync) bool { return s.Instance == in.Name }) {
		all = append(all, k.sync)
	}
	if len(in.Resources) > 0 {
		all = append(all, k.resources)
	}
	return all
}

// unusable are the tracked scripts that cannot be run: as the peer does, they
// are not tracked then.
func (a *Appliance) unusable() map[string]bool {
	missing := map[string]bool{}
	for _, s := range a.site.Scripts {
		err := usable(s)
		if err == nil {
			continue
		}
		name := config.TrackScript(s.Name)
		missing[name] = true
		if !a.missing[name] {
			a.say(Warning, "%v; it is not tracked", err)
		}
	}
	a.missing = missing
	return missing
}

// warn says what went wrong with an order to the speaker, unless it has ended.
func (a *Appliance) warn(err error) {
	if err != nil && !errors.Is(err, vrrp.ErrNotRunning) {
		a.say(Error, "%v", err)
	}
}

// observed hears of scripts.
func (a *Appliance) observed(name string, h vrrp.Health) {
	a.reports.box.put(seen(name), true)
	a.warn(a.speaker.Observe(name, h))
}

// useSysctls switches on what the instances want of their devices.
func (a *Appliance) useSysctls() {
	for i := range a.site.Instances {
		in := &a.site.Instances[i]
		if !in.PromoteSecondaries {
			continue
		}
		key := netif.ConfKey("ipv4", in.Link, "promote_secondaries")
		was, err := a.o.Host.Sysctl(key)
		if err != nil {
			a.reports.say(Warning, in.Name, "promote_secondaries: "+err.Error())
			continue
		}
		if was != "1" {
			a.set(netif.Sysctl{Key: key, Value: "1", Was: was}, "promote_secondaries")
		}
	}
}

// set changes a setting until the end of the process.
func (a *Appliance) set(s netif.Sysctl, why string) {
	if err := a.o.Host.Do(netif.Step{Op: netif.SetSysctl, Sysctl: s}); err != nil {
		a.say(Error, "%s: %v", why, err)
		return
	}
	if first, again := a.sysctls[s.Key]; again {
		s.Was = first.Was
	}
	a.sysctls[s.Key] = s
}

// restoreSysctls gives the settings back that somebody else has not changed since.
func (a *Appliance) restoreSysctls() error {
	var errs []error
	for key, s := range a.sysctls {
		if now, err := a.o.Host.Sysctl(key); err != nil || now != s.Value || a.leaveAll.Load() {
			continue // it went with its device, or is another one's by now
		}
		errs = append(errs, a.o.Host.Do(netif.Step{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: key, Value: s.Was, Was: s.Value}}))
	}
	return errors.Join(errs...)
}
