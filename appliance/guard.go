package appliance

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// guard hears what others say about the addresses of masters. A real server that does
// not hide the address needs no more than one question of its own to make its
// neighbours believe that the address is there: the ARP problem of LVS. They keep to
// that until somebody tells them otherwise, so the master does. IPv6 has no such
// problem: a host answers for no address of lo there.
type guard struct {
	host Host
	tell *announcer
	say  func(level Level, instance, text string)

	mu       sync.Mutex // for what follows
	what     map[string]*addresses
	masters  map[string]time.Time // since when
	ears     map[string]*ear      // by device
	contests map[contested]*contest
	soon     *time.Timer // arranges; nil: nothing has changed
	closed   bool
	running  sync.WaitGroup
}

// ear is a device that is listened to.
type ear struct {
	end  context.CancelFunc
	open Ear // nil while it is not
	ips  map[netip.Addr]string
}

// contested is an address that somebody else claims.
type contested struct {
	link string
	ip   netip.Addr
}

// contest is what is known about it.
type contest struct {
	answer *time.Timer // that is to come; nil: none
	count  int         // answers since it was quiet
	last   time.Time   // claim
	told   time.Time   // the neighbours, by us
	said   time.Time   // the log
	macs   []string
}

const (
	// claimSettle lets what comes at once be answered once, and instances that change
	// together be arranged for together.
	claimSettle = 100 * time.Millisecond
	// fresh is how long a new master leaves it at the announcements that VRRP has it make:
	// the kernel of a master that was killed still has the address, and says so until
	// what it knows of its neighbours has aged.
	fresh = 10 * time.Second
	// claimPause is the least time between two answers; of the first claimsAtOnce.
	claimPause   = time.Second
	claimsAtOnce = 10
	// defendInterval is that time for who goes on: RFC 5227, section 2.4.
	defendInterval = 10 * time.Second
	// claimOver is the quiet after which the next claim is a first one again, and the
	// status tells of none.
	claimOver = 5 * time.Minute
	// claimSaid is the pause between two reports of an address.
	claimSaid = time.Minute
	// mostClaimants bounds what forged claims can make us remember.
	mostClaimants = 8
	// listenAgain is the pause after a device could not be listened to.
	listenAgain = 10 * time.Second
)

func newGuard(host Host, tell *announcer, say func(Level, string, string)) *guard {
	return &guard{host: host, tell: tell, say: say, masters: map[string]time.Time{}, ears: map[string]*ear{}, contests: map[contested]*contest{}}
}

// use names the instances and their addresses.
func (g *guard) use(what map[string]*addresses) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what = what
	g.arrangeSoon()
}

// changed is told of every transition of an instance.
func (g *guard) changed(instance string, t vrrp.Transition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.To == vrrp.Master {
		g.masters[instance] = time.Now()
	} else {
		delete(g.masters, instance)
	}
	g.arrangeSoon()
}

// arrangeSoon must not cost a transition anything. The lock is held.
func (g *guard) arrangeSoon() {
	if g.soon != nil || g.closed {
		return
	}
	g.soon = time.AfterFunc(claimSettle, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.soon = nil
		g.arrange()
	})
}

// arrange listens to what concerns the masters, and to nothing else. The lock is held.
func (g *guard) arrange() {
	want := map[string]map[netip.Addr]string{}
	for name := range g.masters {
		h := g.what[name]
		if h == nil || g.closed {
			continue
		}
		for _, a := range h.list() {
			if !a.Prefix.Addr().Is4() {
				continue
			}
			if want[a.Link] == nil {
				want[a.Link] = map[netip.Addr]string{}
			}
			want[a.Link][a.Prefix.Addr()] = name
		}
	}
	for link, e := range g.ears {
		if want[link] == nil {
			e.end()
			delete(g.ears, link)
		}
	}
	for link, ips := range want {
		e := g.ears[link]
		if e == nil {
			ctx, end := context.WithCancel(context.Background())
			e = &ear{end: end}
			g.ears[link] = e
			g.running.Go(func() { g.listen(ctx, link, e) })
		}
		if !maps.Equal(e.ips, ips) {
			e.ips = ips
			g.tune(link, e)
		}
	}
	for key, c := range g.contests {
		if want[key.link][key.ip] == "" {
			c.stop()
			delete(g.contests, key)
		}
	}
}

// tune tells an ear what to hear. The lock is held.
func (g *guard) tune(link string, e *ear) {
	if e.open == nil {
		return
	}
	if err := e.open.For(slices.Collect(maps.Keys(e.ips))); err != nil {
		g.say(Warning, "", fmt.Sprintf("who else has addresses of %s is not heard: %v", link, err))
	}
}

func (c *contest) stop() {
	if c.answer != nil {
		c.answer.Stop()
	}
}

// listen hears a device for as long as there are masters on it, whatever happens to it.
func (g *guard) listen(ctx context.Context, link string, e *ear) {
	for ctx.Err() == nil {
		// What fails here fails for the announcements, too, and they say it.
		_ = g.hear(ctx, link, e)
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}

func (g *guard) hear(ctx context.Context, link string, e *ear) error {
	l, err := g.host.Link(link, false)
	if err != nil || !l.Ethernet {
		return err
	}
	w, err := g.tell.wire(link, l.Index)
	if err != nil {
		return err
	}
	open, err := w.Ear()
	if err != nil {
		return err
	}
	defer open.Close()
	g.mu.Lock()
	e.open = open
	g.tune(link, e)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		e.open = nil
	}()
	return open.Hear(ctx, func(c netif.Claim) { g.claimed(link, c) })
}

// claimed is told of a claim. The answer comes a little later: the one who claims may
// be the next master, of whom the instance is about to hear.
func (g *guard) claimed(link string, c netif.Claim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.ears[link]
	if e == nil || e.ips[c.IP] == "" {
		return
	}
	key, now := contested{link, c.IP}, time.Now()
	k := g.contests[key]
	if k == nil || k.answer == nil && now.Sub(k.last) > claimOver {
		k = &contest{}
		g.contests[key] = k
	}
	k.last = now
	if !slices.Contains(k.macs, c.MAC) && len(k.macs) < mostClaimants {
		k.macs = append(k.macs, c.MAC)
	}
	if k.answer != nil {
		return
	}
	name := e.ips[c.IP]
	wait := claimSettle
	if h := g.what[name]; c.Announces && h != nil {
		wait += h.heardWithin()
	}
	wait = max(wait, fresh-now.Sub(g.masters[name]), k.pause()-now.Sub(k.told))
	k.answer = time.AfterFunc(wait, func() { g.answer(key) })
}

// pause is the least time between two answers.
func (c *contest) pause() time.Duration {
	if c.count < claimsAtOnce {
		return claimPause
	}
	return defendInterval
}

// answer tells the neighbours where the address is.
func (g *guard) answer(key contested) {
	g.mu.Lock()
	k := g.contests[key]
	if k == nil || g.closed {
		g.mu.Unlock()
		return
	}
	macs := slices.Clone(k.macs)
	g.mu.Unlock()
	foreign, err := g.foreign(macs)

	g.mu.Lock()
	defer g.mu.Unlock()
	if k != g.contests[key] || g.closed {
		return
	}
	k.answer = nil
	e := g.ears[key.link]
	if err != nil || len(foreign) == 0 || e == nil || g.masters[e.ips[key.ip]].IsZero() {
		return // another device of this host, for which the kernel answers as well; or not master any more
	}
	now := time.Now()
	k.macs, k.told = foreign, now
	k.count++
	g.running.Go(func() {
		ctx, done := context.WithTimeout(context.Background(), claimPause)
		defer done()
		// That it cannot be told is known from the announcements.
		_ = g.tell.announce(ctx, []netif.Addr{{Link: key.link, Prefix: netip.PrefixFrom(key.ip, 32)}}, 1, pace{})
	})
	if k.said.IsZero() || now.Sub(k.said) >= claimSaid {
		k.said = now
		g.say(Error, e.ips[key.ip], claimText(key, foreign))
	}
}

func claimText(key contested, macs []string) string {
	return fmt.Sprintf("duplicate VIP: %v is here, and on %s somebody says that it is at %s; the neighbours are told otherwise: take it away there, or if that is a real server of it, let it hide the address (lvsctl realserver up)",
		key.ip, key.link, strings.Join(macs, ", "))
}

// foreign are those that are not of this host.
func (g *guard) foreign(macs []string) ([]string, error) {
	have, err := g.host.Snapshot()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(macs), func(mac string) bool {
		return slices.ContainsFunc(have.Links, func(l netif.Link) bool { return l.MAC == mac })
	}), nil
}

// heard are the addresses of an instance that were claimed not long ago.
func (g *guard) heard(instance string) []Duplicate {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Duplicate
	for key, c := range g.contests {
		if e := g.ears[key.link]; e != nil && e.ips[key.ip] == instance && c.count > 0 && time.Since(c.last) <= claimOver {
			all = append(all, Duplicate{Address: key.ip, Link: key.link, MACs: slices.Clone(c.macs), When: c.last})
		}
	}
	slices.SortFunc(all, func(a, b Duplicate) int { return a.Address.Compare(b.Address) })
	return all
}

func (g *guard) close() {
	g.mu.Lock()
	g.closed = true
	if g.soon != nil {
		g.soon.Stop()
	}
	g.arrange()
	g.mu.Unlock()
	g.running.Wait()
}
