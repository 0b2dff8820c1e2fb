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

// Duplicate is a virtual address that somebody else has as well.
type Duplicate struct {
	Address netip.Addr `json:"address"`
	Link    string     `json:"interface"`
	MACs    []string   `json:"macs"`
	When    time.Time  `json:"when"`
}

// prober asks the network who else has the addresses, as RFC 5227 does before an
// address is used: while the instance waits for its first election, and again when
// it is master and the one before has had time to let go. That never holds up an
// election: dead masters answer nobody, and live ones are not asked to leave. An
// instance that wants to know first asks by itself: see [vrrp.Ask].
type prober struct {
	tell *announcer
	say  func(level Level, instance, text string)

	mu      sync.Mutex // for what follows
	what    map[string]*addresses
	heard   func(instance string) (master netip.Addr) // whom the instance hears; invalid: nobody
	answer  func(instance string, number uint64, holder string)
	stops   map[string]context.CancelFunc
	found   map[string][]Duplicate
	closed  bool
	running sync.WaitGroup
}

func newProber(tell *announcer, say func(Level, string, string)) *prober {
	return &prober{tell: tell, say: say, what: map[string]*addresses{}, stops: map[string]context.CancelFunc{}, found: map[string][]Duplicate{}}
}

const (
	// letGo is the time for the master before to let go.
	letGo = 3 * time.Second
	// probesAtOnce bounds sockets and the load on the network.
	probesAtOnce = 16
	// probeMost is how many addresses are asked for; of a thousand addresses that
	// moved together the others tell nothing new.
	probeMost = 64
)

// asking is quick: an election waits for it.
var asking = netif.Probing{Count: 3, Interval: 100 * time.Millisecond, Wait: 250 * time.Millisecond}

// askMost is how many addresses an election waits for.
const askMost = probesAtOnce

var probing = netif.Probing{Count: 2, Interval: 200 * time.Millisecond, Wait: 800 * time.Millisecond}

// use names the instances and their addresses.
func (p *prober) use(what map[string]*addresses) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	for name := range p.found {
		if what[name] == nil {
			delete(p.found, name)
		}
	}
}

// changed is told of every transition of an instance.
func (p *prober) changed(instance string, t vrrp.Transition) {
	delay := letGo
	switch {
	case t.To == vrrp.Master:
	case t.To == vrrp.Backup && t.From == vrrp.Init:
		delay = 0
	default:
		p.begin(instance, nil)
		return
	}
	p.begin(instance, func(ctx context.Context, h *addresses) { p.run(ctx, instance, h, delay, t.To) })
}

// begin does something about an instance's addresses in the place of what is being
// done about them; nil: nothing.
func (p *prober) begin(instance string, do func(context.Context, *addresses)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stop := p.stops[instance]; stop != nil {
		stop()
		delete(p.stops, instance)
	}
	h := p.what[instance]
	if do == nil || h == nil || p.closed {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stops[instance] = stop
	p.running.Go(func() {
		defer stop()
		do(ctx, h)
	})
}

// asked is told of an instance's question.
func (p *prober) asked(instance string, number uint64) {
	p.begin(instance, func(ctx context.Context, h *addresses) {
		found := p.ask(ctx, h.list(), askMost, asking)
		if ctx.Err() != nil {
			return
		}
		p.remember(instance, found)
		p.answer(instance, number, holderText(found))
	})
}

// holderText says who has addresses; nobody is "".
func holderText(found []Duplicate) string {
	if len(found) == 0 {
		return ""
	}
	d := found[0]
	text := fmt.Sprintf("duplicate VIP: %v answers on %s at %s, and no VRRP master is heard", d.Address, d.Link, strings.Join(d.MACs, ", "))
	if n := len(found) - 1; n > 0 {
		text += fmt.Sprintf("; so do %d more", n)
	}
	return text
}

func (p *prober) run(ctx context.Context, instance string, h *addresses, delay time.Duration, s vrrp.State) {
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return
	}
	found := p.ask(ctx, h.list(), probeMost, probing)
	if ctx.Err() != nil {
		return
	}
	if s == vrrp.Backup && len(found) > 0 {
		select {
		case <-time.After(h.heardWithin()): // a master speaks that often
		case <-ctx.Done():
			return
		}
		if p.master(instance).IsValid() {
			found = nil // it is the master's, as it should be
		}
	}
	p.remember(instance, found)
	for _, d := range found {
		p.say(Error, instance, duplicateText(d, s))
	}
}

func (p *prober) remember(instance string, found []Duplicate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.what[instance] != nil { // a reload may have taken it away
		p.found[instance] = found
	}
}

func duplicateText(d Duplicate, s vrrp.State) string {
	who := strings.Join(d.MACs, ", ")
	if s == vrrp.Backup {
		return fmt.Sprintf("duplicate VIP: %v answers on %s at %s, but no VRRP master is heard; another machine has the address, or adverts do not arrive (firewall, other virtual_router_id, password or advert_int)", d.Address, d.Link, who)
	}
	return fmt.Sprintf("duplicate VIP: %v is here, and answers on %s at %s as well; clients reach either: take it away there, or if that is a real server of it, let it hide the address (lvsctl realserver up)", d.Address, d.Link, who)
}

func (p *prober) master(instance string) netip.Addr {
	p.mu.Lock()
	heard := p.heard
	p.mu.Unlock()
	if heard == nil {
		return netip.Addr{}
	}
	return heard(instance)
}

func (p *prober) ask(ctx context.Context, all []netif.Addr, most int, how netif.Probing) []Duplicate {
	all = all[:min(len(all), most)]
	links := linkCache{host: p.tell.host}
	for _, a := range all {
		links.get(a.Link)
	}
	var mu sync.Mutex
	found := map[netip.Addr]Duplicate{}
	var wait sync.WaitGroup
	places := make(chan struct{}, probesAtOnce)
	for _, a := range all {
		l := links.get(a.Link)
		if !l.Ethernet || !l.Running {
			continue
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			if d, ok := p.one(ctx, a, l.Index, how); ok {
				mu.Lock()
				defer mu.Unlock()
				found[d.Address] = d
			}
		})
	}
	wait.Wait()
	return slices.SortedFunc(maps.Values(found), func(a, b Duplicate) int { return a.Address.Compare(b.Address) })
}

func (p *prober) one(ctx context.Context, a netif.Addr, index int, how netif.Probing) (Duplicate, bool) {
	w, err := p.tell.wire(a.Link, index)
	if err != nil {
		return Duplicate{}, false // the announcements say it
	}
	answers, err := w.Probe(ctx, a.Prefix.Addr(), how)
	if err != nil {
		return Duplicate{}, false // the device went away, or we are being stopped
	}
	d := Duplicate{Address: a.Prefix.Addr(), Link: a.Link, When: time.Now()}
	for _, n := range answers {
		if !n.Asks { // another one that waits, and asks as we do
			d.MACs = append(d.MACs, n.MAC)
		}
	}
	return d, len(d.MACs) > 0
}

// duplicates are those of an instance that were found when it was last asked for.
func (p *prober) duplicates(instance string) []Duplicate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found[instance]
}

func (p *prober) close() {
	p.mu.Lock()
	p.closed = true
	for _, stop := range p.stops {
		stop()
	}
	p.mu.Unlock()
	p.running.Wait()
}
