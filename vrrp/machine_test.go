package vrrp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// bench is one machine, at 10.0.0.2 with priority 100, under a clock.
type bench struct {
	t   *testing.T
	m   *Machine
	now time.Time
	out []string
}

func newBench(t *testing.T, change func(c *Instance)) *bench {
	c := vi("VI_1", 51, 100)
	c.Source = addr("10.0.0.2")
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, m: New(c), now: time.Unix(1000, 0)}
}

func (b *bench) did(acts []Action) {
	for _, a := range acts {
		b.out = append(b.out, a.String())
	}
}

// advert is one from 10.0.0.N.
func (b *bench) advert(n byte, priority uint8) Advert {
	a := b.m.cfg.advert(priority)
	a.Src, a.Dst = addr(fmt.Sprintf("10.0.0.%d", n)), GroupIPv4
	return a
}

func (b *bench) hear(n byte, priority uint8) { b.did(b.m.Recv(b.now, b.advert(n, priority))) }

// left is the time until the deadline.
func (b *bench) left() time.Duration { return b.m.Deadline().Sub(b.now) }

// master elects the machine.
func (b *bench) master() *bench {
	b.m.Start(b.now)
	b.now = b.m.Deadline()
	b.m.Tick(b.now)
	if b.m.State() != Master {
		b.t.Fatalf("not elected: %v", b.m.State())
	}
	b.out = nil
	return b
}

func (b *bench) backup() *bench {
	b.m.Start(b.now)
	b.hear(3, 150)
	b.out = nil
	return b
}

// TestRules goes through the state machine of RFC 5798 section 6.4, and
// keepalived's additions. Times are in milliseconds.
func TestRules(t *testing.T) {
	const owner = PriorityOwner
	v3 := func(c *Instance) { c.Version, c.Password, c.Interval = 3, "", 100*time.Millisecond }
	for _, c := range []struct {
		name   string
		config func(c *Instance)
		do     func(b *bench)
		state  State
		left   int64 // until the next deadline
		said   string
	}{
		{"start, v2", nil, func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 3609, "drop; INIT -> BACKUP"},
		{"start, v3", v3, func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 360, "BACKUP"},
		{"start of the owner (110)", func(c *Instance) { c.Priority = owner },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Master, 1000, "drop; INIT -> MASTER, priority 255: the addresses are our own; send priority 255 to [224.0.0.18]; take; announce x5"},
		{"start with something not up", func(c *Instance) { c.Track = []Tracked{{Name: "eth0"}} },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Fault, -1, "drop; INIT -> FAULT, priority 100: eth0 not up"},
		{"start in standby", func(c *Instance) { c.StartStandby = true },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 3996, "priority 1: start"},
		{"initdead", func(c *Instance) { c.FirstWait = time.Minute },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 60_000, ""},
		{"the start is delayed", func(c *Instance) { c.StartDelay = 10 * time.Second },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 13_609, "drop; INIT -> BACKUP, priority 100: start"},
		{"the start is delayed: initdead is in it", func(c *Instance) { c.StartDelay, c.FirstWait = 10*time.Second, 12*time.Second },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 13_609, "BACKUP"},
		{"the start of the owner is delayed", func(c *Instance) { c.Priority, c.StartDelay = owner, 10*time.Second },
			func(b *bench) { b.did(b.m.Start(b.now)) }, Backup, 10_000, "drop; INIT -> BACKUP, priority 255: start"},
		{"the owner's start was delayed", func(c *Instance) { c.Priority, c.StartDelay = owner, 10*time.Second }, func(b *bench) {
			b.m.Start(b.now)
			b.now = b.m.Deadline()
			b.did(b.m.Tick(b.now))
		}, Master, 1000, "BACKUP -> MASTER, priority 255"},
		{"the start is delayed: a master is heard", func(c *Instance) { c.StartDelay = 10 * time.Second }, func(b *bench) {
			b.m.Start(b.now)
			b.now = b.now.Add(4 * time.Second)
			b.hear(3, 150)
		}, Backup, 9_609, ""},
		{"the start is delayed: a master leaves", func(c *Instance) { c.StartDelay = 10 * time.Second }, func(b *bench) {
			b.m.Start(b.now)
			b.now = b.now.Add(4 * time.Second)
			b.hear(3, 150)
			b.hear(3, 0)
		}, Backup, 6_609, ""},
		{"the start is delayed: all is well again", func(c *Instance) { c.StartDelay = 10 * time.Second; c.Track = []Tracked{{Name: "eth0"}} }, func(b *bench) {
			b.m.Start(b.now)
			b.now = b.now.Add(4 * time.Second)
			b.did(b.m.Observe(b.now, "eth0", Up))
		}, Backup, 9_609, "FAULT -> BACKUP"},
		{"the start was delayed", func(c *Instance) { c.StartDelay = 10 * time.Second }, func(b *bench) {
			b.m.Start(b.now)
			b.now = b.now.Add(11 * time.Second)
			b.hear(3, 150)
		}, Backup, 3_609, ""},

		{"backup hears better (420)", nil, func(b *bench) { b.backup().hear(3, 150) }, Backup, 3609, ""},
		{"backup hears its equal: no tie-break here", nil, func(b *bench) { b.backup().hear(1, 100) }, Backup, 3609, ""},
		{"backup hears worse (440): its time goes on", nil, func(b *bench) {
			b.backup().now = b.now.Add(time.Second)
			b.hear(1, 50)
		}, Backup, 2609, ""},
		{"nopreempt", func(c *Instance) { c.NoPreempt = true }, func(b *bench) {
			b.backup().now = b.now.Add(time.Second)
			b.hear(1, 50)
		}, Backup, 3609, ""},
		{"preempt_delay runs", func(c *Instance) { c.PreemptDelay = 2 * time.Second }, func(b *bench) {
			b.backup().hear(1, 50)
			b.now = b.now.Add(1900 * time.Millisecond)
			b.hear(1, 50)
		}, Backup, 3609, ""},
		{"preempt_delay is over", func(c *Instance) { c.PreemptDelay = 2 * time.Second }, func(b *bench) {
			b.backup().hear(1, 50)
			b.now = b.now.Add(2 * time.Second)
			b.hear(1, 50)
		}, Backup, 1609, ""},
		{"preempt_delay begins again after a better one", func(c *Instance) { c.PreemptDelay = 2 * time.Second }, func(b *bench) {
			b.backup().hear(1, 50)
			b.hear(3, 150)
			b.now = b.now.Add(2 * time.Second)
			b.hear(1, 50)
		}, Backup, 3609, ""},
		{"backup hears goodbye (410)", nil, func(b *bench) { b.backup().hear(3, 0) }, Backup, 609, ""},
		{"many goodbyes do not hold it down", nil, func(b *bench) {
			b.backup().hear(3, 0)
			for range 6 {
				b.now = b.now.Add(100 * time.Millisecond)
				b.hear(3, 0)
			}
		}, Backup, 9, ""},
		{"v3 learns the master's interval (430)", v3, func(b *bench) {
			b.m.Start(b.now)
			a := b.advert(3, 150)
			a.Interval = time.Second
			b.did(b.m.Recv(b.now, a))
		}, Backup, 3609, ""},
		{"v3 goodbye: a skew of that interval", v3, func(b *bench) {
			b.m.Start(b.now)
			a := b.advert(3, 150)
			a.Interval = time.Second
			b.did(b.m.Recv(b.now, a))
			b.hear(3, 0)
		}, Backup, 609, ""},
		{"three adverts are the default", func(c *Instance) { c.DownAdverts = 10 }, func(b *bench) { b.backup() }, Backup, 10_609, ""},
		{"deadline (355)", nil, func(b *bench) {
			b.backup().now = b.m.Deadline()
			b.did(b.m.Tick(b.now))
		}, Master, 1000, "BACKUP -> MASTER, priority 100: master is down; send priority 100 to [224.0.0.18]; take; announce x5"},
		{"warntime", func(c *Instance) { c.WarnAfter = 2 * time.Second }, func(b *bench) {
			b.backup().now = b.now.Add(2 * time.Second)
			b.did(b.m.Tick(b.now))
		}, Backup, 1609, "warning: no advert from master 10.0.0.3 for 2s"},

		{"master hears goodbye (710)", nil, func(b *bench) { b.master().now = b.now.Add(time.Second / 2); b.hear(3, 0) }, Master, 1000, "send priority 100"},
		{"master hears worse (750)", nil, func(b *bench) { b.master().now = b.now.Add(time.Second / 2); b.hear(3, 50) }, Master, 1000, "send priority 100 to [224.0.0.18]; announce x5"},
		{"lower_prio_no_advert", func(c *Instance) { c.LowerPrioNoAdvert = true },
			func(b *bench) { b.master().now = b.now.Add(time.Second / 2); b.hear(3, 50) }, Master, 500, "10.0.0.3 has lower priority 50; announce x5"},
		{"master hears its equal with a lower address", nil, func(b *bench) { b.master().now = b.now.Add(time.Second / 2); b.hear(1, 100) }, Master, 1000, "send priority 100"},
		{"master hears its equal with a higher address (735)", nil, func(b *bench) { b.master().hear(3, 100) }, Backup, 100, "MASTER -> BACKUP, priority 100: 10.0.0.3 has priority 100"},
		{"master hears better (725)", nil, func(b *bench) { b.master().hear(1, 101) }, Backup, 100, "MASTER -> BACKUP"},
		{"and waits for a master that fails", nil, func(b *bench) {
			b.master().hear(1, 101)
			b.now = b.m.Deadline()
			b.did(b.m.Tick(b.now))
		}, Backup, 3509, "MASTER -> BACKUP, priority 100: 10.0.0.1 has priority 101; drop"},
		{"higher_prio_send_advert", func(c *Instance) { c.HigherPrioSendAdvert = true }, func(b *bench) { b.master().hear(1, 101) }, Backup, 100, "send priority 100 to [224.0.0.18]; MASTER -> BACKUP"},
		{"the lost master is back: it has to announce itself", nil, func(b *bench) {
			b.backup().now = b.m.Deadline()
			b.m.Tick(b.now)
			b.hear(3, 150)
		}, Backup, 100, "send priority 100 to [224.0.0.18]; MASTER -> BACKUP"},
		{"our own address from another machine", nil, func(b *bench) { b.master().hear(2, 100) }, Master, 1000, "warning: an advert with our priority 100 from our own address"},
		{"two owners: the lower address gives up owning", func(c *Instance) { c.Priority = owner },
			func(b *bench) { b.did(b.m.Start(b.now)); b.hear(3, owner) }, Backup, 100, "we go on with 254"},
		{"fault from master", func(c *Instance) { c.Track = []Tracked{{Name: "eth0", Reverse: true}} }, func(b *bench) {
			b.m.Observe(b.now, "eth0", Down)
			b.master()
			b.did(b.m.Observe(b.now, "eth0", Up))
			b.hear(3, 50)
		}, Fault, -1, "send priority 0 to [224.0.0.18]; MASTER -> FAULT, priority 100: eth0 not up; drop"},
		{"a new interval counts at once", nil, func(b *bench) {
			c := b.master().m.cfg
			c.Version, c.Password, c.Interval = 3, "", 200*time.Millisecond
			b.did(b.m.Reload(b.now, c))
		}, Master, 200, ""},
		{"quit", nil, func(b *bench) { b.did(b.master().m.Quit(b.now)) }, Init, -1, "send priority 0 to [224.0.0.18]; drop; MASTER -> INIT"},
		{"stop as backup", nil, func(b *bench) { b.did(b.backup().m.Stop(b.now)) }, Init, -1, "drop; BACKUP -> INIT"},
		{"hand-over, v2", nil, func(b *bench) { b.did(b.master().m.Stop(b.now)); b.now = b.m.Deadline(); b.did(b.m.Tick(b.now)) }, Leaving, 1000, "MASTER -> LEAVING, priority 100: stop; send priority 0 to [224.0.0.18]; send priority 0"},
		{"a goodbye is no successor", nil, func(b *bench) { b.did(b.master().m.Stop(b.now)); b.hear(3, 0) }, Leaving, 996, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.config)
			c.do(b)
			if b.m.State() != c.state {
				t.Errorf("state %v, want %v", b.m.State(), c.state)
			}
			left := int64(-1)
			if !b.m.Deadline().IsZero() {
				left = b.left().Milliseconds()
			}
			if left != c.left {
				t.Errorf("the next deadline is in %d ms, want %d", left, c.left)
			}
			if said := strings.Join(b.out, "; "); !strings.Contains(said, c.said) || c.said == "" && said != "" && !strings.Contains(c.name, "initdead") && !strings.Contains(c.name, "goodbye") {
				t.Errorf("did %q, want %q", said, c.said)
			}
		})
	}
}

// TestDroppedTouchesNothing: whatever is wrong with an advert, no deadline and
// no state changes, in any state.
func TestDroppedTouchesNothing(t *testing.T) {
	flaws := map[string]func(a *Advert){
		"ttl": func(a *Advert) { a.TTL = 1 }, "version": func(a *Advert) { a.Version = 3 }, "password": func(a *Advert) { a.Auth[0]++ },
		"interval": func(a *Advert) { a.Interval *= 2 }, "addresses": func(a *Advert) { a.Addrs = nil }, "sum": func(a *Advert) { a.Flaw = BadChecksum },
		"length": func(a *Advert) { a.Flaw = BadLength }, "type": func(a *Advert) { a.Type = 3 },
	}
	for name, spoil := range flaws {
		for _, prepare := range []func(b *bench){
			func(b *bench) { b.backup() },
			func(b *bench) { b.master() },
			func(b *bench) { b.master(); b.m.Stop(b.now) },
		} {
			for _, priority := range []uint8{0, 1, 100, 255} {
				b := newBench(t, nil)
				prepare(b)
				before, state := b.m.Deadline(), b.m.State()
				b.now = b.now.Add(100 * time.Millisecond)
				a := b.advert(9, priority)
				spoil(&a)
				b.did(b.m.Recv(b.now, a))
				if !b.m.Deadline().Equal(before) || b.m.State() != state || !strings.HasPrefix(strings.Join(b.out, ";"), "dropped 1 from") {
					t.Errorf("%s, priority %d, in %v: deadline %v -> %v, %v, did %q", name, priority, state, before, b.m.Deadline(), b.m.State(), b.out)
				}
			}
		}
	}
}

// TestStormOfGoodbyes: a master answers, but not a thousand times.
func TestStormOfGoodbyes(t *testing.T) {
	b := newBench(t, nil).master()
	sent := 0
	for range 10_000 { // a second's worth
		b.now = b.now.Add(100 * time.Microsecond)
		b.out = nil
		b.hear(3, 0)
		if expired(b.m.Deadline(), b.now) {
			b.did(b.m.Tick(b.now))
		}
		sent += strings.Count(strings.Join(b.out, ";"), "send")
	}
	if b.m.State() != Master || sent < 100 || sent > 520 {
		t.Errorf("%v, %d answers to 10000 goodbyes in a second", b.m.State(), sent)
	}
}

// TestQuietLog: drops are reported at a limited rate, with their number.
func TestQuietLog(t *testing.T) {
	b := newBench(t, nil).backup()
	for range 25_000 {
		b.now = b.now.Add(time.Millisecond)
		a := b.advert(3, 150)
		a.Auth[0]++
		b.did(b.m.Recv(b.now, a))
	}
	want := "dropped 1 from 10.0.0.3: wrong password; dropped 10000 from 10.0.0.3: wrong password; dropped 10000 from 10.0.0.3: wrong password"
	if got := strings.Join(b.out, "; "); got != want {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func TestEffectivePriority(t *testing.T) {
	track := []Tracked{{Name: "up", Weight: 20}, {Name: "down", Weight: -30}, {Name: "turned", Weight: -5, Reverse: true},
		{Name: "bonus", Weight: 7, Reverse: true}, {Name: "must"}}
	for _, c := range []struct {
		base   uint8
		health map[string]Health
		want   uint8
		faults int
	}{
		{100, nil, 100, 1},
		{100, map[string]Health{"up": Up, "must": Up}, 120, 0},
		{100, map[string]Health{"up": Down, "down": Up, "must": Down}, 100, 1},
		{100, map[string]Health{"down": Down, "turned": Up}, 70, 1},
		{100, map[string]Health{"turned": Down}, 105, 1}, // what keepalived 2.2.7 makes of weight -5 reverse
		{100, map[string]Health{"bonus": Up}, 93, 1},
		{100, map[string]Health{"bonus": Down}, 100, 1},
		{20, map[string]Health{"down": Down, "must": Up}, 1, 0},
		{250, map[string]Health{"up": Up, "must": Up}, 254, 0},
		{255, map[string]Health{"down": Down, "must": Up}, 255, 0},
	} {
		if got := effective(c.base, track, c.health); got != c.want {
			t.Errorf("base %d, %v: priority %d, want %d", c.base, c.health, got, c.want)
		}
		if got := faults(track, c.health); len(got) != c.faults {
			t.Errorf("%v: faults %v, want %d", c.health, got, c.faults)
		}
	}
}

// TestHandOverWithoutGap: on a sound network no order and no stop leaves the
// addresses without a host for a moment, in any network of any seed.
func TestHandOverWithoutGap(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		c := newChaos(seed)
		c.sim.takeTime = c.interval / 50
		c.trouble = true // not its own checks: it is about any gap at all
		c.sim.run(12*c.interval + 4*time.Second)
		gap := ""
		c.sim.watch = func() {
			for _, name := range c.names {
				if !c.sim.served(name) && gap == "" {
					gap = fmt.Sprintf("%s is nowhere at %v", name, c.sim.at)
				}
			}
		}
		for range 6 {
			i := c.rng.IntN(len(c.sim.nodes))
			n := c.sim.nodes[i]
			if n.router.Stopped() {
				n.crash()
				n.start()
			} else if up := running(c.sim); up > 1 {
				c.order(n)
			}
			c.sim.run(9*c.interval + 4*time.Second)
			if gap != "" {
				t.Fatalf("seed %d: %s", seed, gap)
			}
		}
	}
}

func running(s *sim) int {
	n := 0
	for _, o := range s.nodes {
		if !o.router.stopping {
			n++
		}
	}
	return n
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(c *Instance){
		"needs a name":                  func(c *Instance) { c.Name = "" },
		"virtual_router_id 0":           func(c *Instance) { c.VRID = 0 },
		"priority 0":                    func(c *Instance) { c.Priority = 0 },
		"no source address":             func(c *Instance) { c.Source = netip.Addr{} },
		"no virtual address":            func(c *Instance) { c.Addrs = nil },
		"256 virtual addresses":         func(c *Instance) { c.Addrs = make256() },
		"not of the family":             func(c *Instance) { c.Addrs = addrs("fe80::1") },
		"its own address":               func(c *Instance) { c.Peers = addrs("10.0.0.2") },
		"multicast address":             func(c *Instance) { c.Peers = addrs("224.0.0.18") },
		"IPv6 needs VRRP version 3":     func(c *Instance) { c.Source, c.Addrs = addr("fe80::2"), addrs("fe80::1") },
		"whole seconds":                 func(c *Instance) { c.Interval = 1500 * time.Millisecond },
		"steps of 0.01 s":               func(c *Instance) { c.Version, c.Password, c.Interval = 3, "", 41*time.Second },
		"has no authentication":         func(c *Instance) { c.Version = 3 },
		"VRRP version 4 is not":         func(c *Instance) { c.Version = 4 },
		"before a master is dead":       func(c *Instance) { c.DownAdverts = -1 },
		"a time is negative":            func(c *Instance) { c.PreemptDelay = -1 },
		"no multicast group":            func(c *Instance) { c.Group = addr("ff02::12") },
		"announcement time is negative": func(c *Instance) { c.Garp.Delay = -1 },
	} {
		c := vi("VI_1", 51, 100)
		c.Source = addr("10.0.0.2")
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func make256() (list []netip.Addr) {
	for i := range 256 {
		list = append(list, addr(fmt.Sprintf("10.1.%d.1", i%256)))
	}
	return list
}

// TestDelay: a StartDelay in place of a FirstWait leaves the first deadline where it
// was.
func TestDelay(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Second, 12 * time.Second, 2 * time.Minute} {
		first := newBench(t, func(c *Instance) { c.FirstWait = wait })
		delayed := newBench(t, func(c *Instance) { c.StartDelay = first.m.cfg.Delay() })
		first.m.Start(first.now)
		delayed.m.Start(delayed.now)
		if off := first.left() - delayed.left(); off.Abs() > time.Millisecond {
			t.Errorf("first wait %v is delay %v, which comes %v too early", wait, delayed.m.cfg.StartDelay, off)
		}
	}
}
