package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/realserver"
)

// localnode has the addresses on lo while this director is not their master but one
// of their real servers: what the master forwards to it is for these addresses.
//
// It comes after the addresses: on the way to master they are on their interface
// before they leave lo, and on the way back on lo before they leave the interface.
// So there is no moment without, and none in which both are found by ARP, for which
// what is on lo is hidden all the time.
type localnode struct {
	host Host
	say  func(Level, string)
	// stays and ending are true at the end of the process: everything stays as it
	// is, or becomes as it was.
	stays, ending *atomic.Bool

	running sync.Mutex

	mu    sync.Mutex // for what follows
	want  []netif.Addr
	gone  []netif.Addr // no longer wanted, and maybe still there
	began bool
	had   map[netif.AddrKey]bool // that were on lo before us, and stay at the end
	off   bool                   // see leave
	here  bool                   // they should be on lo
}

// loopback is where they are.
const loopback = "lo"

func newLocalnode(host Host, say func(Level, string), stays, ending *atomic.Bool) *localnode {
	return &localnode{host: host, say: say, stays: stays, ending: ending, had: map[netif.AddrKey]bool{}}
}

func (*localnode) String() string { return "addresses from lo" }

// onLoopback is a virtual address as a real server has it.
func onLoopback(p netip.Prefix) netif.Addr {
	ip := p.Addr()
	a := netif.Addr{Link: loopback, Prefix: netip.PrefixFrom(ip, ip.BitLen())}
	if ip.Is6() {
		a.NoDAD, a.Deprecated = true, true
		return a
	}
	a.Scope = netif.ScopeHost
	return a
}

// use changes what is wanted, and tells whether that is another list.
func (h *localnode) use(in *config.Instance) (changed bool) {
	var want []netif.Addr
	for _, a := range in.Addresses {
		if in.LocalNode && a.Link != loopback {
			want = append(want, onLoopback(a.Prefix))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.off = h.off && len(want) == 0
	if slices.Equal(want, h.want) {
		return false
	}
	for _, old := range h.want {
		if !slices.Contains(want, old) {
			h.gone = append(h.gone, old)
		}
	}
	h.want = want
	return true
}

// Take implements [vrrp.Holder]: the addresses are on their interface, so they
// leave lo.
func (h *localnode) Take(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	want, gone, _ := h.lists()
	h.remember(want)
	gone, _ = h.ours(gone)
	h.holds(false)
	return h.do(ctx, netif.DelAddr, slices.Concat(want, gone))
}

// Drop implements [vrrp.Holder]: the addresses are about to leave their interface,
// so they come to lo.
func (h *localnode) Drop(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	if h.stays.Load() {
		return nil
	}
	want, gone, off := h.lists()
	h.remember(want)
	if off || h.ending.Load() {
		want, gone = nil, append(gone, want...)
	}
	gone, stay := h.ours(gone)
	h.holds(len(want) > 0)
	return errors.Join(h.do(ctx, netif.AddAddr, append(want, stay...)), h.do(ctx, netif.DelAddr, gone))
}

func (h *localnode) lists() (want, gone []netif.Addr, off bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.want), slices.Clone(h.gone), h.off
}

// leave makes lo as it was before us, and keeps it so: the option was taken away,
// or the instance, or the process ends. A backup is not told to let go once more.
func (h *localnode) leave() error {
	h.mu.Lock()
	h.off, h.here = true, false
	h.mu.Unlock()
	h.running.Lock()
	defer h.running.Unlock()
	if h.stays.Load() {
		return nil
	}
	want, gone, _ := h.lists()
	ours, _ := h.ours(append(gone, want...))
	err := h.do(context.Background(), netif.DelAddr, ours)
	if err == nil {
		h.mu.Lock()
		h.gone = nil
		h.mu.Unlock()
	}
	return err
}

func (h *localnode) holds(here bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.here = here
}

// wants tells whether an address should be on lo now.
func (h *localnode) wants(p netip.Prefix) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.here && slices.ContainsFunc(h.want, func(a netif.Addr) bool { return a.Prefix == p })
}

// missing are the addresses that should be on lo and are not.
func (h *localnode) missing(links *linkCache) []netif.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.here {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(h.want), func(a netif.Addr) bool { return links.get(a.Link).Has(a.Prefix) })
}

// remember looks once at what was there before us.
func (h *localnode) remember(want []netif.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began {
		return
	}
	h.began = true
	l, err := h.host.Link(loopback, true)
	if err != nil {
		return // nothing was there
	}
	for _, a := range want {
		if l.Has(a.Prefix) {
			h.had[a.Key()] = true
		}
	}
}

// ours parts addresses into those that we have brought, and those that were there
// before us.
func (h *localnode) ours(all []netif.Addr) (ours, theirs []netif.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range all {
		if h.had[a.Key()] {
			theirs = append(theirs, a)
		} else {
			ours = append(ours, a)
		}
	}
	return ours, theirs
}

func (h *localnode) do(ctx context.Context, op netif.Op, all []netif.Addr) error {
	var errs []error
	for part := range slices.Chunk(all, batch) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		steps := make([]netif.Step, len(part))
		for i, a := range part {
			steps[i] = netif.Step{Op: op, Addr: a}
		}
		errs = append(errs, h.host.Addrs(steps)...)
	}
	return errors.Join(errs...)
}

// hide are the settings without which what is on lo is found by ARP. They are there
// before the addresses are, and until the end of the process.
func (a *Appliance) hide() {
	var vips []netip.Addr
	for _, in := range a.site.Instances {
		for _, v := range in.Addresses {
			if in.LocalNode && !slices.Contains(vips, v.Prefix.Addr()) {
				vips = append(vips, v.Prefix.Addr())
			}
		}
	}
	if len(vips) == 0 {
		return
	}
	have, err := a.o.Host.Snapshot()
	if err != nil {
		a.say(Error, "localnode: %v", err)
		return
	}
	setup := realserver.Setup{Method: realserver.DR, VIPs: vips[:min(len(vips), realserver.MaxVIPs)]}
	for _, s := range realserver.Steps(have, setup, realserver.State{}, true) {
		if s.Op == netif.SetSysctl {
			a.set(s.Sysctl, "localnode")
		}
	}
}

// checkLocalnode: a director that has services for an address, and the address on
// lo, would balance again what the master has sent to it, and send it back.
func checkLocalnode(site *config.Site) error {
	var local []string
	for _, in := range site.Instances {
		if in.LocalNode {
			local = append(local, in.Name)
		}
	}
	if len(local) == 0 || len(site.Virtuals) == 0 {
		return nil
	}
	together := slices.Clone(local)
	for _, name := range site.Followed() {
		if !slices.Contains(together, name) {
			together = append(together, name)
		}
	}
	if len(together) == 1 {
		return nil
	}
	for _, g := range site.Groups {
		if !slices.ContainsFunc(together, func(name string) bool { return !slices.Contains(g.Members, name) }) {
			return nil
		}
	}
	return fmt.Errorf("instance %s: localnode: the virtual services have to be on the master alone, so that what it forwards to this director is not balanced again; with %d instances (%v) that can be only if they are in one vrrp_sync_group", local[0], len(together), together)
}

// serveLocalnodes binds the virtual services of a director that is a real server,
// too, to its being master, where they are not bound already. It names the
// instances, if that has changed anything.
func serveLocalnodes(site config.Site) (config.Site, []string) {
	var local []string
	for _, in := range site.Instances {
		if in.LocalNode {
			local = append(local, in.Name)
		}
	}
	free := func(v ldirector.Virtual) bool { return len(v.Gates) == 0 }
	if len(local) == 0 || !slices.ContainsFunc(site.Virtuals, free) {
		return site, nil
	}
	site.Virtuals = slices.Clone(site.Virtuals)
	for i := range site.Virtuals {
		if free(site.Virtuals[i]) {
			site.Virtuals[i].Gates = local
		}
	}
	return site, local
}
