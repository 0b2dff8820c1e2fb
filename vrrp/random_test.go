package vrrp

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	seeds   = flag.Int("seeds", 600, "how many random networks to simulate")
	oneSeed = flag.Uint64("seed", 0, "simulate this network only, and print what happens in it")
)

// TestRandomNetworks lets 2 to 5 routers live through faults, and holds that
// once the network is whole nobody is without a master for longer than 3
// intervals and a skew, nobody has two for longer than one interval, and in the
// end the right one is master. A failure prints its seed: go test -run
// RandomNetworks -seed N shows the same run again.
func TestRandomNetworks(t *testing.T) {
	if *oneSeed != 0 {
		c := newChaos(*oneSeed)
		c.sim.mute = false
		err := c.play()
		os.Stdout.WriteString(c.sim.log.String())
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	n := *seeds
	if testing.Short() {
		n /= 5
	}
	for seed := uint64(1); seed <= uint64(n); seed++ {
		if err := newChaos(seed).play(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestSeedsReplay holds that a seed is a whole run.
func TestSeedsReplay(t *testing.T) {
	run := func(seed uint64) string {
		c := newChaos(seed)
		c.sim.mute = false
		c.play()
		return c.sim.log.String()
	}
	for seed := uint64(1); seed <= 5; seed++ {
		if first, again := run(seed), run(seed); first != again {
			t.Errorf("seed %d is not the same run each time", seed)
		}
	}
	if run(1) == run(2) {
		t.Error("seeds 1 and 2 are the same run: the generator is not used")
	}
}

// chaos is a random network with random faults.
type chaos struct {
	sim      *sim
	rng      *rand.Rand
	base     Instance
	names    []string
	interval time.Duration
	margin   time.Duration // what packets on the way may add
	whole    time.Duration // when the last fault was over, and its late packets had come
	trouble  bool

	zero, two map[string]time.Duration // since when, by instance; absent is not
	err       error
}

func newChaos(seed uint64) *chaos {
	s := newSim(seed)
	s.mute = true
	c := &chaos{sim: s, rng: s.rng, names: []string{"VI_1"}, zero: map[string]time.Duration{}, two: map[string]time.Duration{}}
	c.base = vi("VI_1", 51, 100)
	if c.rng.IntN(2) == 0 {
		c.base.Version, c.base.Password = 3, ""
		c.base.Interval = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}[c.rng.IntN(3)]
	}
	c.interval = c.base.Interval
	s.delay, s.jitter = c.interval/2000, c.interval/200
	s.lateBy = 2 * c.interval
	// There and back, and the pause between two answers of a master.
	c.margin = 3*(s.delay+s.jitter) + c.base.skew(PriorityOwner, c.interval)
	c.populate()
	s.watch = c.check
	return c
}

func (c *chaos) populate() {
	grouped := c.rng.IntN(4) == 0
	if grouped {
		c.names = append(c.names, "VI_2")
	}
	plain := c.rng.IntN(2) == 0
	for i := range 2 + c.rng.IntN(4) {
		in := c.base
		in.Priority = []uint8{50, 100, 100, 150, 200, 254}[c.rng.IntN(6)]
		if !plain {
			in.NoPreempt = c.rng.IntN(4) == 0
			in.PreemptDelay = time.Duration(c.rng.IntN(3)) * c.interval
		}
		set, groups := []Instance{in}, []Group(nil)
		if grouped {
			two := in
			two.Name, two.VRID, two.Link = "VI_2", 52, "eth1"
			set, groups = append(set, two), []Group{{"VG", c.names}}
		}
		n := c.sim.add(fmt.Sprintf("r%d", i+1), set, groups...)
		n.rate = 1 + (c.rng.Float64()-0.5)/500 // clocks drift
		c.sim.after(time.Duration(c.rng.Int64N(int64(5*c.interval))), func() {
			if n.router == nil {
				n.start()
			}
		})
	}
}

// play is a time of faults, and then a time of peace long enough to see that it lasts.
func (c *chaos) play() error {
	for range 3 + c.rng.IntN(3) {
		c.trouble = true
		for range 1 + c.rng.IntN(5) {
			c.fault()
			c.forge()
			c.sim.run(time.Duration(c.rng.Int64N(int64(4 * c.interval))))
		}
		c.mend()
		c.forge()
		c.sim.run(c.sim.lateBy) // what is late still comes
		c.trouble, c.whole = false, c.sim.at
		c.forge()
		c.sim.run(15*c.interval + 4*time.Second)
		c.forge()
		c.sim.run(c.interval / 2)
		if c.err == nil {
			c.err = c.settled()
		}
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

func (c *chaos) fault() {
	n := c.sim.nodes[c.rng.IntN(len(c.sim.nodes))]
	switch c.rng.IntN(9) {
	case 0:
		c.sim.loss = c.rng.Float64() * 0.8
		c.sim.printf("packets are lost")
	case 1:
		c.sim.dup, c.sim.late = c.rng.Float64(), c.rng.Float64()*0.5
		c.sim.printf("packets are late, doubled, and in disorder")
	case 2:
		c.sim.printf("the network parts")
		for _, n := range c.sim.nodes {
			n.side = c.rng.IntN(2)
		}
	case 3:
		if n.router != nil {
			n.crash()
		}
	case 4:
		if n.router == nil {
			n.start()
		}
	case 5:
		if n.router != nil && !n.paused {
			n.pause()
		}
	case 6:
		if n.paused {
			n.resume()
		}
	default:
		c.order(n)
	}
}

// order is what an operator does.
func (c *chaos) order(n *node) {
	if n.router == nil || n.paused {
		return
	}
	now := n.now()
	try := func(what string, f func(time.Time, ...string) ([]Step, error)) {
		n.do(what, func(*Router) []Step {
			out, err := f(now)
			if err != nil {
				c.sim.printf("refused: %v", err)
			}
			return out
		})
	}
	switch c.rng.IntN(5) {
	case 0:
		try("standby", n.router.Standby)
	case 1:
		try("takeover", n.router.Takeover)
	case 2:
		try("resume", n.router.Resume)
	case 3:
		n.do("stop", func(r *Router) []Step { return r.Stop(now) })
	case 4:
		n.do("reload", func(r *Router) []Step {
			out, err := r.Set(now, n.set, n.groups)
			if err != nil && !r.stopping {
				panic(err)
			}
			return out
		})
	}
}

func (c *chaos) mend() {
	c.sim.loss, c.sim.dup, c.sim.late = 0, 0, 0
	for _, n := range c.sim.nodes {
		n.side = 0
		if n.router != nil && n.router.stopping && !n.paused {
			n.crash()
		}
		switch {
		case n.router == nil:
			n.start()
		case n.paused:
			n.resume()
		}
		if n.router.stopping {
			n.crash()
			n.start()
			continue
		}
		out, err := n.router.Resume(n.now())
		if err != nil {
			panic(err)
		}
		n.act(out)
	}
	c.sim.printf("the network is whole")
}

// forge throws packets at everybody that have to be dropped.
func (c *chaos) forge() {
	for range c.rng.IntN(20) {
		n := c.sim.nodes[c.rng.IntN(len(c.sim.nodes))]
		a := c.base.advert(uint8(c.rng.IntN(256)))
		a.Src, a.Dst = c.sim.nodes[c.rng.IntN(len(c.sim.nodes))].addr, GroupIPv4
		spoil := []func(){
			func() { a.TTL = 254 },
			func() { a.Version = 5 - a.Version },
			func() { a.AuthType ^= 1 },
			func() { a.Type = 2 },
			func() { a.Addrs = nil },
			func() { a.Flaw = BadChecksum },
			func() { a.Flaw = BadLength },
			func() { a.Dst = n.addr },
		}
		spoil[c.rng.IntN(len(spoil))]()
		c.sim.after(time.Duration(c.rng.Int64N(int64(c.interval))), func() { n.recv(packet{"eth0", a}) })
	}
}

// check holds the two promises, at every moment.
func (c *chaos) check() {
	for _, name := range c.names {
		masters := c.sim.masters(name)
		c.spell(c.zero, name, !c.sim.served(name), c.longestGap(), "no master")
		c.spell(c.two, name, len(masters) > 1, c.longestPair(), fmt.Sprintf("masters %v", masters))
	}
}

func (c *chaos) longestGap() time.Duration {
	limit := time.Duration(0)
	for _, n := range c.sim.nodes {
		limit = max(limit, c.base.masterDown(n.set[0].Priority, c.interval))
	}
	return limit + limit/500 + c.margin
}

func (c *chaos) longestPair() time.Duration { return c.interval + c.interval/500 + c.margin }

func (c *chaos) spell(since map[string]time.Duration, name string, bad bool, limit time.Duration, what string) {
	start, running := since[name]
	switch {
	case !bad:
		delete(since, name)
	case !running:
		since[name] = c.sim.at
	case !c.trouble && c.err == nil && c.sim.at-max(start, c.whole) > limit:
		c.err = fmt.Errorf("%s: %s since %v, the network is whole since %v and it is %v: more than %v",
			name, what, start, c.whole, c.sim.at, limit)
	}
}

// settled holds that there is one master, and where all may preempt that it is
// the best.
func (c *chaos) settled() error {
	var all []string
	for _, name := range c.names {
		masters := c.sim.masters(name)
		if len(masters) != 1 {
			return fmt.Errorf("%s: masters %v at %v, after a long peace", name, masters, c.sim.at)
		}
		all = append(all, masters[0])
		best := slices.MaxFunc(c.sim.nodes, func(a, b *node) int { return int(a.set[0].Priority) - int(b.set[0].Priority) })
		i := slices.IndexFunc(c.sim.nodes, func(n *node) bool { return n.name == masters[0] })
		won := c.sim.nodes[i].set[0]
		if won.Priority < best.set[0].Priority && !best.set[0].NoPreempt && !anyPatient(c.sim.nodes) {
			return fmt.Errorf("%s: %s is master with priority %d, but %s has %d and may preempt", name, masters[0], won.Priority, best.name, best.set[0].Priority)
		}
	}
	if len(slices.Compact(all)) != 1 {
		return fmt.Errorf("the members of a sync group have different masters: %v", all)
	}
	return nil
}

func anyPatient(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return n.set[0].NoPreempt || n.set[0].PreemptDelay > 0 })
}
