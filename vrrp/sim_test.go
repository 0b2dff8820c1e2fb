package vrrp

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// sim is a network of routers in virtual time. All that is random comes from
// one generator, so that a seed is a whole run.
type sim struct {
	rng   *rand.Rand
	epoch time.Time
	at    time.Duration
	seq   int
	queue events
	nodes []*node
	log   strings.Builder
	mute  bool

	delay     time.Duration // of a packet, at least
	jitter    time.Duration // more, evenly spread
	loss, dup float64
	takeTime  time.Duration // until what is taken is there
	late      float64       // share of packets that take up to lateBy
	lateBy    time.Duration
	watch     func() // after every event
}

// node is a host.
type node struct {
	sim    *sim
	name   string
	addr   netip.Addr
	router *Router // nil when it is off
	set    []Instance
	groups []Group
	paused bool
	inbox  []packet // of a paused host: what its socket holds
	side   int      // hosts hear each other on the same side of a partition only
	wake   int      // sequence of the timer that counts
	holds  map[string]bool
	wants  map[string]bool // takes take time
	rate   float64         // of its clock
	up     map[string]Health
	acts   []string // what was done, for tests that look at the order
}

type packet struct {
	link   string
	advert Advert
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func newSim(seed uint64) *sim {
	return &sim{
		rng:   rand.New(rand.NewPCG(seed, 112)),
		epoch: time.Unix(1_000_000_000, 0),
		delay: 200 * time.Microsecond,
	}
}

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, event{s.at + d, s.seq, do})
}

func (s *sim) run(d time.Duration) {
	end := s.at + d
	for len(s.queue) > 0 && s.queue[0].at <= end {
		e := heap.Pop(&s.queue).(event)
		s.at = e.at
		e.do()
		if s.watch != nil {
			s.watch()
		}
	}
	s.at = end
	if s.watch != nil {
		s.watch()
	}
}

func (s *sim) printf(format string, args ...any) {
	if s.mute {
		return
	}
	fmt.Fprintf(&s.log, "%9.3f  %s\n", s.at.Seconds(), fmt.Sprintf(format, args...))
}

func (s *sim) add(name string, set []Instance, groups ...Group) *node {
	n := &node{
		sim: s, name: name, set: slices.Clone(set), groups: groups, rate: 1,
		addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(len(s.nodes) + 1)}), holds: map[string]bool{}, wants: map[string]bool{}, up: map[string]Health{},
	}
	for i := range n.set {
		n.set[i].Source = n.addr
	}
	s.nodes = append(s.nodes, n)
	return n
}

// now is the host's own clock.
func (n *node) now() time.Time {
	return n.sim.epoch.Add(time.Duration(float64(n.sim.at) * n.rate))
}

func (n *node) start() {
	n.sim.printf("%s starts", n.name)
	n.router, n.paused, n.inbox = NewRouter(), false, nil
	for name, h := range n.up {
		n.router.Observe(n.now(), name, h)
	}
	out, err := n.router.Set(n.now(), n.set, n.groups)
	if err != nil {
		panic(err)
	}
	n.act(out)
}

// crash takes the host down with everything on it.
func (n *node) crash() {
	n.sim.printf("%s crashes", n.name)
	n.router = nil
	clear(n.holds)
	clear(n.wants)
	n.wake++
}

func (n *node) do(what string, f func(r *Router) []Step) {
	n.sim.printf("%s: %s", n.name, what)
	n.act(f(n.router))
}

func (n *node) pause() {
	n.sim.printf("%s is stopped with SIGSTOP", n.name)
	n.paused = true
}

// resume goes on as the loop does: first what the socket holds, then the time.
func (n *node) resume() {
	n.sim.printf("%s goes on", n.name)
	n.paused = false
	n.timer()
}

func (n *node) timer() {
	if n.router == nil || n.paused {
		return
	}
	in := n.inbox
	n.inbox = nil
	for _, p := range in {
		n.act(n.router.Recv(n.now(), p.link, p.advert))
	}
	if d := n.router.Deadline(); expired(d, n.now()) {
		n.act(n.router.Tick(n.now()))
	}
}

func (n *node) recv(p packet) {
	switch {
	case n.router == nil:
	case n.paused:
		n.inbox = append(n.inbox, p)
	default:
		n.act(n.router.Recv(n.now(), p.link, p.advert))
	}
}

func (n *node) act(out []Step) {
	for _, s := range out {
		n.one(s)
	}
	n.wake++
	mine := n.wake
	if n.router == nil {
		return
	}
	if d := n.router.Deadline(); !d.IsZero() {
		wait := time.Duration(float64(d.Sub(n.now()))/n.rate) + time.Nanosecond
		n.sim.after(max(0, wait), func() {
			if n.wake == mine {
				n.timer()
			}
		})
	}
}

func (n *node) one(s Step) {
	who := n.name
	name := s.Group
	if s.Machine != nil {
		name = s.Machine.cfg.Name
	}
	if len(n.set) > 1 || s.Group != "" {
		who += " " + name
	}
	if !n.sim.mute {
		n.acts = append(n.acts, s.Action.String())
	}
	switch a := s.Action.(type) {
	case Send:
		n.send(s.Machine.cfg.Link, a)
		n.sim.printf("%s  >  priority %d", who, a.Advert.Priority)
		return
	case Take:
		n.take(name)
	case Drop:
		delete(n.wants, name)
		if !n.holds[name] {
			return // a clean-up of nothing is not worth a line
		}
		delete(n.holds, name)
	}
	n.sim.printf("%s  %v", who, s.Action)
}

func (n *node) take(name string) {
	n.wants[name] = true
	if n.sim.takeTime == 0 {
		n.holds[name] = true
		return
	}
	n.sim.after(n.sim.takeTime, func() {
		if n.wants[name] {
			n.holds[name] = true
		}
	})
}

// send puts an advert on the wire, in its binary form.
func (n *node) send(link string, s Send) {
	for _, to := range s.To {
		a := s.Advert
		a.Dst = to
		msg := a.Append(nil)
		for _, o := range n.sim.nodes {
			if o == n || !to.IsMulticast() && o.addr != to {
				continue
			}
			n.sim.carry(n, o, link, a, msg)
		}
	}
}

func (s *sim) carry(from, to *node, link string, a Advert, msg []byte) {
	if s.rng.Float64() < s.loss {
		return
	}
	copies := 1
	if s.rng.Float64() < s.dup {
		copies = 2
	}
	for range copies {
		d := s.delay
		if s.jitter > 0 {
			d += time.Duration(s.rng.Int64N(int64(s.jitter)))
		}
		if s.rng.Float64() < s.late {
			d = time.Duration(s.rng.Int64N(int64(s.lateBy)))
		}
		s.after(d, func() {
			if from.side != to.side {
				return
			}
			var dec Decoder
			to.recv(packet{link, dec.Decode(a.Src, a.Dst, a.TTL, msg)})
		})
	}
}

// masters are the hosts that are up and MASTER, or still hold as they leave.
func (s *sim) masters(instance string) []string {
	var names []string
	for _, n := range s.nodes {
		if st, ok := n.state(instance); ok && !n.paused && st == Master {
			names = append(names, n.name)
		}
	}
	return names
}

// served reports that a host answers for the instance's addresses: a stopped
// process does not take them off the host.
func (s *sim) served(instance string) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return n.holds[instance] })
}

func (n *node) state(instance string) (State, bool) {
	if n.router == nil {
		return Init, false
	}
	for m := range n.router.everyone {
		if m.cfg.Name == instance {
			return m.state, true
		}
	}
	return Init, false
}

// vi is an ordinary instance of version 2.
func vi(name string, vrid, priority uint8) Instance {
	return Instance{
		Name: name, Link: "eth0", Version: 2, VRID: vrid, Priority: priority, Interval: time.Second,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, vrid})}, Password: "1234", Garp: DefaultGarp,
	}
}
