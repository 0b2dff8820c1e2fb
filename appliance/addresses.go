package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// addresses are the virtual addresses of one instance.
type addresses struct {
	host Host
	tell *announcer
	say  func(Level, string) // a line about the instance
	// stays is true at the end of a process that is to leave its addresses behind.
	stays *atomic.Bool

	// running is held while the kernel is being changed: by one at a time.
	running sync.Mutex

	mu   sync.Mutex // for what follows
	want []netif.Addr
	pace pace
	// interval is that between adverts, within which a new master is heard.
	interval time.Duration
	gone     []netif.Addr // no longer configured, and maybe still there
	loose    map[netif.AddrKey]bool
	theft    config.OnRemoved
	held     map[netif.AddrKey]bool // ours on the host; a removal that is not ours is a theft
	fell     map[netif.AddrKey]bool // of these, gone with their device
	began    bool                   // what a crash has left is cleaned up
}

var (
	_ vrrp.Holder    = (*addresses)(nil)
	_ vrrp.Announcer = (*addresses)(nil)
)

func newAddresses(host Host, tell *announcer, say func(Level, string), stays *atomic.Bool) *addresses {
	return &addresses{host: host, tell: tell, say: say, stays: stays, held: map[netif.AddrKey]bool{}, fell: map[netif.AddrKey]bool{}}
}

func (*addresses) String() string { return "addresses" }

// addrOf is a virtual address as the host gets it.
func addrOf(a config.Address, link string) netif.Addr {
	if a.Link != "" {
		link = a.Link
	}
	out := netif.Addr{
		Link: link, Prefix: a.Prefix, Peer: a.Peer, Label: a.Label, Broadcast: a.Broadcast,
		Scope: netif.Scope(a.Scope), Deprecated: a.Deprecated,
	}
	if a.Prefix.Addr().Is6() {
		out.NoDAD = !a.DAD // an address that is being checked for a second does not answer
		out.Scope = 0      // the kernel chooses it
	}
	return out
}

// use changes what is to be held, and tells whether that is another list.
func (h *addresses) use(in *config.Instance) (changed bool) {
	var want []netif.Addr
	loose := map[netif.AddrKey]bool{}
	for _, a := range in.Addresses {
		addr := addrOf(a, in.Link)
		want = append(want, addr)
		if a.Untracked {
			loose[addr.Key()] = true
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pace, h.loose, h.theft = pace{in.GarpInterval, in.NAInterval}, loose, in.OnRemoved
	h.interval = in.Interval
	if slices.Equal(want, h.want) {
		return false
	}
	for _, old := range h.want {
		if !slices.ContainsFunc(want, func(a netif.Addr) bool { return a == old }) {
			h.gone = append(h.gone, old)
		}
	}
	h.want = want
	return true
}

// batch is how many addresses are changed before another order is looked for.
const batch = 64

// Take implements [vrrp.Holder]: what is no longer configured goes, what is
// configured comes. An address that the kernel refuses stops no other.
func (h *addresses) Take(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	h.mu.Lock()
	want, gone := h.want, h.gone
	h.mu.Unlock()
	if err := h.do(ctx, netif.DelAddr, gone); err != nil {
		return err
	}
	h.mu.Lock()
	h.gone = slices.DeleteFunc(h.gone, func(a netif.Addr) bool { return slices.Contains(gone, a) })
	h.mu.Unlock()
	return h.do(ctx, netif.AddAddr, want)
}

// Drop implements [vrrp.Holder]. It removes the addresses whoever added them, but
// never one of another prefix length: that is the host's own.
func (h *addresses) Drop(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	h.mu.Lock()
	all := slices.Concat(h.want, h.gone)
	began := h.began
	h.began = true
	h.mu.Unlock()
	if h.stays.Load() {
		return nil
	}
	if !began {
		h.sayLeft(all)
	}
	// The last first: who goes first of a subnet takes the others with it.
	slices.Reverse(all)
	if err := h.do(ctx, netif.DelAddr, all); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = nil
	return nil
}

// sayLeft tells of what is there before we have taken anything.
func (h *addresses) sayLeft(all []netif.Addr) {
	links := linkCache{host: h.host, addrs: true}
	for _, a := range all {
		if links.get(a.Link).Has(a.Prefix) {
			h.say(Warning, fmt.Sprintf("removing %v from %s: it was left there, or somebody has set it; an address that moves belongs in no other configuration of this host", a.Prefix, a.Link))
		}
	}
}

// do adds or deletes. The context ends it between two batches.
func (h *addresses) do(ctx context.Context, op netif.Op, all []netif.Addr) error {
	var errs []error
	for part := range slices.Chunk(all, batch) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		steps := make([]netif.Step, len(part))
		for i, a := range part {
			if op == netif.DelAddr {
				// The kernel would look for one with the same label.
				a.Label, a.Broadcast = "", netip.Addr{}
			}
			steps[i] = netif.Step{Op: op, Addr: a}
		}
		h.mark(part, op)
		verdicts := h.host.Addrs(steps)
		h.judge(part, op, verdicts)
		errs = append(errs, verdicts...)
	}
	return errors.Join(errs...)
}

// mark comes before a removal: from now on it is no theft.
func (h *addresses) mark(part []netif.Addr, op netif.Op) {
	if op == netif.AddAddr {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range part {
		delete(h.held, a.Key())
		delete(h.fell, a.Key())
	}
}

func (h *addresses) judge(part []netif.Addr, op netif.Op, verdicts []error) {
	if op != netif.AddAddr {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, a := range part {
		if verdicts[i] == nil {
			h.held[a.Key()] = true
			delete(h.fell, a.Key())
		}
	}
}

// holds tells whether an address that was removed should be there.
func (h *addresses) holds(link string, p netip.Prefix) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := netif.Addr{Link: link, Prefix: p}.Key()
	return h.held[key] && !h.loose[key]
}

// missing are the addresses that should be there and are not, of devices that run:
// taken away by somebody, or gone with their device when it went down, as the
// kernel has it with IPv6. They are not ours any more, until they are taken again.
func (h *addresses) missing(links *linkCache) (stolen, fallen []netif.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.want {
		l := links.get(a.Link)
		if !h.held[a.Key()] || h.loose[a.Key()] || !l.Running || l.Has(a.Prefix) {
			continue
		}
		if h.fell[a.Key()] {
			fallen = append(fallen, a)
		} else {
			stolen = append(stolen, a)
		}
		delete(h.held, a.Key())
		delete(h.fell, a.Key())
	}
	return stolen, fallen
}

// fall notes that an address has gone with its device.
func (h *addresses) fall(link string, p netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fell[netif.Addr{Link: link, Prefix: p}.Key()] = true
}

// onRemoved is what to do about somebody who removes them.
func (h *addresses) onRemoved() config.OnRemoved {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.theft
}

// list is what is configured.
func (h *addresses) list() []netif.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.want
}

// heardWithin is how long it takes until a new master of the addresses is heard.
func (h *addresses) heardWithin() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.interval
}

// Announce implements [vrrp.Announcer].
func (h *addresses) Announce(ctx context.Context, repeat int) error {
	h.mu.Lock()
	want, p := h.want, h.pace
	h.mu.Unlock()
	return h.tell.announce(ctx, want, repeat, p)
}

// linkCache asks for each device once.
type linkCache struct {
	host  Host
	addrs bool // those too
	known map[string]Link
}

// get is the zero Link for one that is not there.
func (c *linkCache) get(name string) Link {
	if l, ok := c.known[name]; ok {
		return l
	}
	if c.known == nil {
		c.known = map[string]Link{}
	}
	l, err := c.host.Link(name, c.addrs)
	if err != nil {
		l = Link{}
	}
	c.known[name] = l
	return l
}
