package vrrp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// at moves the clock to so many milliseconds after the bench began, doing what is
// due on the way.
func (b *bench) at(ms int) {
	to := time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond)
	for !b.m.Deadline().IsZero() && !b.m.Deadline().After(to) {
		b.now = b.m.Deadline()
		b.did(b.m.Tick(b.now))
	}
	b.now = to
}

func (b *bench) answer(number uint64, holder string) { b.did(b.m.Answer(b.now, number, holder)) }

// TestAskFirst: interval 1 s and priority 100, so that a master is dead after 3609
// ms; the master was heard last at 0.
func TestAskFirst(t *testing.T) {
	const taken = "10.0.0.100 is at 02:00:00:00:00:09"
	short := func(c *Instance) { c.Version, c.Password, c.Interval = 3, "", 100*time.Millisecond }
	for _, c := range []struct {
		name   string
		config func(c *Instance)
		do     func(b *bench)
		state  State
		said   string // all of it
	}{
		{"an answer in time costs nothing", nil, func(b *bench) { b.at(3000); b.answer(1, ""); b.at(3610) },
			Master, "ask; BACKUP -> MASTER, priority 100: master is down; send priority 100 to [224.0.0.18]; take; announce x5"},
		{"a late answer is waited for", nil, func(b *bench) { b.at(4000) }, Backup, "ask"},
		{"and then it goes on at once", nil, func(b *bench) { b.at(4000); b.answer(1, "") }, Master, "ask; BACKUP -> MASTER"},
		{"no answer is no reason to wait for ever", nil, func(b *bench) { b.at(4908); b.at(4910) }, Master, "ask; warning: whether somebody has the addresses could not be found out within 2s; they are taken; BACKUP -> MASTER"},
		{"somebody has them", nil, func(b *bench) { b.at(3000); b.answer(1, taken); b.at(3610) }, Backup, "ask; warning: not taking over: " + taken + "; it is tried again"},
		{"still; it is said once a minute", nil, func(b *bench) {
			for n, ms := uint64(1), 3000; ms < 60_000; n, ms = n+1, ms+3610 {
				b.at(ms)
				b.answer(n, taken)
			}
			if n := strings.Count(strings.Join(b.out, "; "), "not taking over"); n != 1 {
				b.t.Errorf("said %d times", n)
			}
			b.out = nil
		}, Backup, ""},
		{"until they are free", nil, func(b *bench) {
			b.at(3000)
			b.answer(1, taken)
			b.at(7000)
			b.answer(2, "")
			b.out = nil
			b.at(7300)
		}, Master, "BACKUP -> MASTER"},
		{"the master was only late", nil, func(b *bench) {
			b.at(3000)
			b.hear(3, 150)
			b.answer(1, taken) // that is its own
			b.at(5800)
		}, Backup, "ask"},
		{"an old answer is none", nil, func(b *bench) {
			b.at(3000)
			b.hear(3, 150)
			b.at(5950)
			b.answer(1, taken)
			b.answer(2, "")
			b.at(6610)
		}, Master, "ask; ask; BACKUP -> MASTER"},
		{"who says goodbye may have them", nil, func(b *bench) { b.hear(3, 0); b.at(610) }, Master, "BACKUP -> MASTER"},
		{"also in the middle of a question", nil, func(b *bench) { b.at(3000); b.hear(3, 0); b.at(3610) }, Master, "ask; BACKUP -> MASTER"},
		{"a weaker master may have them", nil, func(b *bench) {
			for ms := 500; ms < 3600; ms += 500 {
				b.at(ms)
				b.hear(1, 50)
			}
			b.at(3610)
		}, Master, "BACKUP -> MASTER"},
		{"an order is an order", nil, func(b *bench) {
			acts, err := b.m.Takeover(b.now)
			if err != nil {
				b.t.Error(err)
			}
			b.did(acts)
		}, Master, "BACKUP -> MASTER, priority 254: takeover"},
		{"short intervals: not before an advert was missed", short, func(b *bench) {
			for ms := 100; ms <= 1000; ms += 100 {
				b.at(ms)
				b.hear(3, 150)
			}
			b.at(1100)
		}, Backup, ""},
		{"short intervals: the answer is waited for", short, func(b *bench) { b.at(150); b.at(600); b.answer(1, "") }, Master, "ask; BACKUP -> MASTER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(i *Instance) {
				i.AskFirst = true
				if c.config != nil {
					c.config(i)
				}
			}).backup()
			c.do(b)
			if b.m.State() != c.state {
				t.Errorf("state %v, want %v", b.m.State(), c.state)
			}
			said := slices.DeleteFunc(slices.Clone(b.out), func(s string) bool { return strings.HasPrefix(s, "priority ") })
			if got := strings.Join(said, "; "); !strings.HasPrefix(got, c.said) || c.said == "" && got != "" {
				t.Errorf("did %q, want %q", got, c.said)
			}
		})
	}
}

// TestAskNobody: who does not want to know is not told, nor is the owner.
func TestAskNobody(t *testing.T) {
	b := newBench(t, nil).backup()
	b.at(3610)
	if got := strings.Join(b.out, "; "); strings.Contains(got, "ask") || b.m.State() != Master {
		t.Errorf("%v: %s", b.m.State(), got)
	}
	b = newBench(t, func(c *Instance) { c.AskFirst, c.Priority = true, PriorityOwner })
	b.did(b.m.Start(b.now))
	if b.m.State() != Master {
		t.Errorf("the owner is %v", b.m.State())
	}
}

func TestRefusedIsInTheStatus(t *testing.T) {
	b := newBench(t, func(c *Instance) { c.AskFirst = true }).backup()
	b.at(3000)
	b.answer(1, "X has it")
	b.at(3610)
	if got := b.m.Status().Refused; got != "X has it" {
		t.Errorf("refused: %q", got)
	}
	b.hear(3, 150)
	if got := b.m.Status().Refused; got != "" {
		t.Errorf("under a master: %q", got)
	}
}

// TestForfeit: a host that cannot keep the addresses hands over, and does not come
// back at once; alone it goes on.
func TestForfeit(t *testing.T) {
	b := newBench(t, nil).master()
	b.did(b.m.Forfeit(b.now, "its addresses are taken away", time.Minute))
	if got := strings.Join(b.out, "; "); got != "MASTER -> LEAVING, priority 100: its addresses are taken away; send priority 0 to [224.0.0.18]" {
		t.Errorf("did %q", got)
	}
	for range 50 {
		b.now = b.now.Add(time.Second)
		b.did(b.m.Tick(b.now))
		b.hear(1, 50) // a successor of lower priority
	}
	if b.m.State() != Backup {
		t.Errorf("%v under a weaker master: it came back at once", b.m.State())
	}
	for range 20 {
		b.now = b.now.Add(time.Second)
		b.hear(1, 50)
		b.did(b.m.Tick(b.now))
	}
	if b.m.State() != Master {
		t.Errorf("%v: it did not come back after the minute", b.m.State())
	}

	alone := newBench(t, nil).master()
	alone.did(alone.m.Forfeit(alone.now, "its addresses are taken away", time.Minute))
	for alone.m.State() == Leaving {
		alone.now = alone.m.Deadline()
		alone.did(alone.m.Tick(alone.now))
	}
	if got := strings.Join(alone.out, "; "); alone.m.State() != Master || !strings.Contains(got, "its addresses are taken away: no other router took over") {
		t.Errorf("alone: %v, %s", alone.m.State(), got)
	}
	if acts := newBench(t, nil).backup().m.Forfeit(b.now, "x", time.Minute); acts != nil {
		t.Errorf("a backup has nothing to give: %v", acts)
	}
}

// TestForfeitTakesTheGroup: a sync group is master together or not at all.
func TestForfeitTakesTheGroup(t *testing.T) {
	now := time.Unix(1000, 0)
	a, b := vi("A", 1, 100), vi("B", 2, 100)
	a.Source, b.Source = addr("10.0.0.2"), addr("10.0.0.2")
	r := NewRouter()
	if _, err := r.Set(now, []Instance{a, b}, []Group{{"G", []string{"A", "B"}}}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(4 * time.Second)
	r.Tick(now)
	if _, err := r.Forfeit(now, "A", "thief", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Status() {
		if s.State != Leaving {
			t.Errorf("%s is %v", s.Name, s.State)
		}
	}
}

// TestStrangers: who uses our VRID in another way is remembered, within bounds;
// damaged packets name nobody.
func TestStrangers(t *testing.T) {
	b := newBench(t, nil).master()
	other := b.advert(9, 200)
	other.Addrs = addrs("10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5")
	for range 5 {
		b.now = b.now.Add(time.Second)
		b.did(b.m.Recv(b.now, other))
	}
	garbage := b.advert(8, 200)
	garbage.Flaw = BadChecksum
	b.did(b.m.Recv(b.now, garbage))
	all := b.m.Status().Strangers
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	s := all[0]
	if s.Addr != addr("10.0.0.9") || s.Count != 5 || s.Reason != BadAddrs || s.Last.Sub(s.Since) != 4*time.Second || len(s.Addrs) != 4 || s.More != 1 || s.Priority != 200 {
		t.Errorf("%+v", s)
	}
	for i := range 200 {
		b.now = b.now.Add(time.Millisecond)
		forged := other
		forged.Src = addr(fmt.Sprintf("10.0.7.%d", i))
		b.did(b.m.Recv(b.now, forged))
	}
	all = b.m.Status().Strangers
	if len(all) != maxStrangers || all[len(all)-1].Addr != addr("10.0.7.199") {
		t.Errorf("%d strangers, the last %v", len(all), all[len(all)-1].Addr)
	}
	if n := strings.Count(strings.Join(b.out, "\n"), "dropped"); n > 3 {
		t.Errorf("%d reports of drops", n)
	}
}

// TestDestinations: where adverts go, and with which TTL.
func TestDestinations(t *testing.T) {
	for _, c := range []struct {
		change func(c *Instance)
		to     string
		ttl    uint8
	}{
		{nil, "[224.0.0.18]", 255},
		{func(c *Instance) { c.Group, c.PeerTTL = addr("239.1.2.3"), 3 }, "[239.1.2.3]", 255},
		{func(c *Instance) { c.Peers, c.PeerTTL = addrs("10.0.0.8", "10.0.0.9"), 3 }, "[10.0.0.8 10.0.0.9]", 3},
		{func(c *Instance) { c.Peers = addrs("10.0.0.8") }, "[10.0.0.8]", 255},
	} {
		b := newBench(t, c.change)
		b.m.Start(b.now)
		b.now = b.m.Deadline()
		for _, a := range b.m.Tick(b.now) {
			if s, is := a.(Send); is && (fmt.Sprint(s.To) != c.to || s.Advert.TTL != c.ttl) {
				t.Errorf("to %v with TTL %d, want %s with %d", s.To, s.Advert.TTL, c.to, c.ttl)
			}
		}
	}
}
