package heartbeat

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

// member is a node of a cluster in a time of its own: its files, made into a virtual
// router.
type member struct {
	m    *vrrp.Machine
	addr netip.Addr
	off  bool
}

// duo is the two nodes, and when each last spoke.
type duo struct {
	t       *testing.T
	now     time.Time
	members [2]*member
	spoke   [2]time.Time
}

// newDuo starts two nodes with the same files; the first is preferred.
func newDuo(t *testing.T, haCf string) *duo {
	t.Helper()
	d := &duo{t: t, now: time.Unix(1_000_000, 0)}
	for i, name := range []string{"a", "b"} {
		c, problems := Parse(Files{
			HaCf:        File{Name: "ha.cf", Text: []byte("node a b\nbcast eth0\n" + haCf)},
			Haresources: File{Name: "haresources", Text: []byte("a 10.0.0.100/24/eth0\n")},
			Authkeys:    File{Name: "authkeys", Text: []byte("auth 1\n1 crc\n"), Mode: 0o600},
		}, Options{Node: name})
		if config.Errors(problems) {
			t.Fatal(problems)
		}
		in := c.Site().Instances[0].Instance
		in.Source = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		d.members[i] = &member{m: vrrp.New(in), addr: in.Source}
	}
	for i := range d.members {
		d.start(i)
	}
	return d
}

func (d *duo) start(i int) {
	m := d.members[i]
	d.members[i].off = false
	m.m = vrrp.New(m.m.Instance())
	for _, tr := range m.m.Instance().Track {
		d.do(i, m.m.Observe(d.now, tr.Name, vrrp.Up))
	}
	d.do(i, m.m.Start(d.now))
}

// do brings what a node says to the other one.
func (d *duo) do(i int, actions []vrrp.Action) {
	for _, a := range actions {
		if drop, dropped := a.(vrrp.Dropped); dropped {
			d.t.Errorf("%v hears what it does not understand: %v", d.members[i].addr, drop)
		}
		s, ok := a.(vrrp.Send)
		if !ok {
			continue
		}
		d.spoke[i] = d.now
		if other := d.members[1-i]; !other.off {
			advert := s.Advert
			advert.Src, advert.Dst, advert.TTL = d.members[i].addr, s.To[0], 255
			d.do(1-i, other.m.Recv(d.now, advert))
		}
	}
}

// until lets time pass until it is so, for an hour at most.
func (d *duo) until(what string, so func() bool) {
	d.t.Helper()
	for end := d.now.Add(time.Hour); !so(); {
		next := -1
		for i, m := range d.members {
			if due := m.m.Deadline(); !m.off && !due.IsZero() && (next < 0 || due.Before(d.members[next].m.Deadline())) {
				next = i
			}
		}
		if next < 0 || d.members[next].m.Deadline().After(end) {
			d.t.Fatalf("it never happens that %s: %v and %v", what, d.members[0].m.State(), d.members[1].m.State())
		}
		if due := d.members[next].m.Deadline(); due.After(d.now) {
			d.now = due
		}
		d.do(next, d.members[next].m.Tick(d.now))
	}
}

func (d *duo) active(i int) func() bool {
	return func() bool {
		other := d.members[1-i]
		return d.members[i].m.State() == vrrp.Master && (other.off || other.m.State() == vrrp.Backup)
	}
}

// rest lets a time pass.
func (d *duo) rest(long time.Duration) {
	d.t.Helper()
	end := d.now.Add(long)
	d.until("time passes", func() bool { return !d.now.Before(end) })
}

// TestDeadNode: the other node has the resources deadtime after the last sign of life,
// but for half an interval; never before initdead at the start.
func TestDeadNode(t *testing.T) {
	for _, c := range []struct{ keepalive, deadtime, initdead time.Duration }{
		{2 * time.Second, 30 * time.Second, 120 * time.Second}, // the tutorials
		{time.Second, 4 * time.Second, 8 * time.Second},        // the examples
		{time.Second, 10 * time.Second, 30 * time.Second},
		{200 * time.Millisecond, 2 * time.Second, 5 * time.Second},
		{2 * time.Second, 300 * time.Second, 600 * time.Second},
	} {
		haCf := fmt.Sprintf("keepalive %dms\ndeadtime %dms\ninitdead %dms\nauto_failback on\n", c.keepalive.Milliseconds(), c.deadtime.Milliseconds(), c.initdead.Milliseconds())
		d := newDuo(t, haCf)
		begin := d.now
		d.until("a begins", d.active(0))
		if waited := d.now.Sub(begin); waited < c.initdead {
			t.Errorf("%v: the first start after %v", c, waited)
		}
		d.rest(10 * c.keepalive)
		d.members[0].off = true
		d.until("b takes over", d.active(1))
		took := d.now.Sub(d.spoke[0])
		if off := (took - c.deadtime).Abs(); off > c.keepalive/2+10*time.Millisecond {
			t.Errorf("keepalive %v, deadtime %v: b takes over after %v", c.keepalive, c.deadtime, took)
		}
	}
}

// TestAutoFailback: on and legacy bring the resources home, off leaves them where they
// are until their node dies.
func TestAutoFailback(t *testing.T) {
	for _, c := range []struct {
		word string
		home bool
	}{{"auto_failback on", true}, {"auto_failback legacy", true}, {"", true}, {"auto_failback off", false}, {"auto_failback off\nping 10.0.0.254\nrespawn x ipfail", false}} {
		d := newDuo(t, "keepalive 1\ndeadtime 4\ninitdead 8\n"+c.word+"\n")
		d.until("a begins", d.active(0))
		d.members[0].off = true
		d.until("b takes over", d.active(1))
		d.start(0)
		if c.home {
			d.until("a is back", d.active(0))
			continue
		}
		d.rest(10 * time.Minute)
		if !d.active(1)() {
			t.Errorf("%q: the resources did not stay: %v, %v", c.word, d.members[0].m.State(), d.members[1].m.State())
		}
		d.members[1].off = true
		d.until("a takes over", d.active(0))
	}
}

// TestIPFail: who reaches fewer ping nodes gives up, whatever auto_failback says, and
// a loss that both share moves nothing.
func TestIPFail(t *testing.T) {
	for _, failback := range []string{"on", "off"} {
		d := newDuo(t, "keepalive 1\ndeadtime 4\ninitdead 8\nping 10.0.0.254\nrespawn x /usr/lib/heartbeat/ipfail\nauto_failback "+failback+"\n")
		script := d.members[0].m.Instance().Track[1].Name
		see := func(i int, h vrrp.Health) { d.do(i, d.members[i].m.Observe(d.now, script, h)) }
		d.until("a begins", d.active(0))
		see(0, vrrp.Down)
		d.until("b has more", d.active(1))
		see(1, vrrp.Down)
		if failback == "on" {
			d.until("a is as good again", d.active(0))
		} else {
			d.rest(10 * time.Minute)
			if !d.active(1)() {
				t.Error("a loss that both share has moved the resources")
			}
		}
		see(0, vrrp.Up)
		d.until("a has more", d.active(0))
	}
}
