package vrrp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hub is a network of channels.
type hub struct {
	waiters bool // speakers on it wait with a Waiter
	mu      sync.Mutex
	ports   []*port
	sent    []sentAdvert
}

type sentAdvert struct {
	at time.Time
	a  Advert
}

// port is a Transport. What arrives waits in its socket when it is stuck, as on
// a host whose process does not get to run, until Drain.
type port struct {
	hub    *hub
	ch     chan Advert
	bell   chan struct{} // of a speaker with a Waiter
	mu     sync.Mutex
	stuck  bool
	socket []Advert
	vrids  []uint8
	closed bool
	fail   error
}

func (h *hub) port() *port {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &port{hub: h, ch: make(chan Advert, 256)}
	h.ports = append(h.ports, p)
	return p
}

func (p *port) Recv() <-chan Advert { return p.ch }

func (p *port) Send(a Advert) error {
	p.mu.Lock()
	err := p.fail
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.hub.sent = append(p.hub.sent, sentAdvert{time.Now(), a})
	for _, o := range p.hub.ports {
		if o != p {
			o.arrive(a)
		}
	}
	return nil
}

func (p *port) arrive(a Advert) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
	case p.stuck:
		p.socket = append(p.socket, a)
	case p.bell != nil:
		p.socket = append(p.socket, a)
		p.Wake()
	default:
		select {
		case p.ch <- a:
		default: // full
		}
	}
}

func (p *port) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.socket) > 0 && len(p.ch) < cap(p.ch) {
		p.ch <- p.socket[0]
		p.socket = p.socket[1:]
	}
}

// Wait makes the port the Waiter of its speaker.
func (p *port) Wait(until time.Time) {
	select {
	case <-p.bell:
	case <-time.After(time.Until(until)):
	}
}

func (p *port) Wake() {
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

func (p *port) Filter(vrids []uint8) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vrids = slices.Clone(vrids)
	return nil
}

func (p *port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func (h *hub) from(src netip.Addr) []sentAdvert {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []sentAdvert
	for _, s := range h.sent {
		if s.a.Src == src {
			out = append(out, s)
		}
	}
	return out
}

// thing is a Holder that writes down what is done to it.
type thing struct {
	name string
	diary
	takeTime, dropTime time.Duration
	fail               func(what string) error
}

type diary interface {
	write(format string, args ...any)
}

// book is the diary of a test.
type book struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (b *book) write(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%.3f ", time.Since(b.start).Seconds())+fmt.Sprintf(format, args...))
}

func (b *book) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

func (h *thing) String() string { return h.name }

func (h *thing) Take(ctx context.Context) error { return h.work(ctx, "take", h.takeTime) }
func (h *thing) Drop(ctx context.Context) error { return h.work(ctx, "drop", h.dropTime) }
func (h *thing) Announce(_ context.Context, n int) error {
	h.write("%s: announce x%d", h.name, n)
	return nil
}

func (h *thing) work(ctx context.Context, what string, d time.Duration) error {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			h.write("%s: %s cancelled", h.name, what)
			return ctx.Err()
		}
	}
	if h.fail != nil {
		if err := h.fail(what); err != nil {
			h.write("%s: %s fails", h.name, what)
			return err
		}
	}
	h.write("%s: %s", h.name, what)
	return nil
}

// bothWays runs a test with speakers that wait for channels, and with such that
// wait with a Waiter.
func bothWays(t *testing.T, test func(*testing.T, *hub)) {
	for name, waiters := range map[string]bool{"channels": false, "waiter": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, &hub{waiters: waiters}) })
		})
	}
}

// host is a speaker under test.
type host struct {
	*Speaker
	*port
	member Member
	stop   context.CancelFunc
	ended  chan error
}

func (h *hub) host(t *testing.T, n byte, priority uint8, log *book, holders ...Holder) *host {
	t.Helper()
	return h.hostWith(t, n, priority, func(*Instance) {}, log, holders...)
}

func (h *hub) hostWith(t *testing.T, n byte, priority uint8, change func(*Instance), log *book, holders ...Holder) *host {
	t.Helper()
	c := vi("VI_1", 51, priority)
	c.Garp = Garp{Repeat: 5}
	c.Source = netip.AddrFrom4([4]byte{10, 0, 0, n})
	change(&c)
	p := h.port()
	out := &host{Speaker: NewSpeaker(), port: p, member: Member{c, p, holders}, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	out.stop = cancel
	if h.waiters {
		p.bell = make(chan struct{}, 1)
		out.Waiter = p
	}
	out.Report = func(r Report) {
		switch r.Action.(type) {
		case Transition, Note, Dropped, Held:
			if log != nil {
				log.write("r%d %v", n, r.Action)
			}
		}
	}
	go func() { out.ended <- out.Run(ctx) }()
	if err := out.Set([]Member{out.member}, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// halt stops a host and waits for it.
func (h *host) halt(t *testing.T) {
	t.Helper()
	h.stop()
	if err := <-h.ended; err != nil {
		t.Error(err)
	}
	if !h.port.closed {
		t.Error("the transport is still open")
	}
}

func newBook() *book { return &book{start: time.Now()} }

func compareText(t *testing.T, got, want string) {
	t.Helper()
	if got != strings.TrimSpace(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(want))
	}
}

func TestSpeakersElectAndHandOver(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		one, two, log := newBook(), newBook(), newBook()
		r1 := net.host(t, 1, 150, log, &thing{name: "addresses", diary: one}, &thing{name: "gate", diary: one})
		r2 := net.host(t, 2, 100, nil, &thing{name: "addresses", diary: two})
		time.Sleep(5200 * time.Millisecond)
		r1.halt(t)
		time.Sleep(time.Second)
		r2.halt(t)
		// Nobody is left, so r2 waits in vain.
		compareText(t, one.text(), `
0.000 gate: drop
0.000 addresses: drop
3.414 addresses: take
3.414 gate: take
3.414 addresses: announce x5
3.414 gate: announce x5
5.909 gate: drop
5.909 addresses: drop`)
		compareText(t, two.text(), `
0.000 addresses: drop
5.809 addresses: take
5.809 addresses: announce x5
8.905 addresses: drop`)
		if !strings.Contains(log.text(), "5.909 r1 LEAVING -> INIT, priority 150: handed over to 10.0.0.2") {
			t.Errorf("no such report:\n%s", log.text())
		}
		if !slices.Equal(r1.vrids, []uint8{51}) {
			t.Errorf("the link's filter is for %v", r1.vrids)
		}
	})
}

// TestStartDelay: with keepalived's vrrp_startup_delay the time after which a silent
// master is dead begins with the end of the delay; who is heard in it stays master.
func TestStartDelay(t *testing.T) {
	delayed := func(c *Instance) { c.StartDelay = 5 * time.Second }
	bothWays(t, func(t *testing.T, net *hub) {
		one, two := newBook(), newBook()
		r1 := net.hostWith(t, 1, 150, delayed, nil, &thing{name: "addresses", diary: one})
		time.Sleep(8400 * time.Millisecond) // it is due in 14 ms: 5 s, and 3.414 s of priority 150
		compareText(t, one.text(), "0.000 addresses: drop")
		time.Sleep(20 * time.Millisecond)
		r2 := net.hostWith(t, 2, 100, delayed, nil, &thing{name: "addresses", diary: two})
		time.Sleep(20 * time.Second)
		compareText(t, one.text(), "0.000 addresses: drop\n8.414 addresses: take\n8.414 addresses: announce x5")
		compareText(t, two.text(), "8.420 addresses: drop")
		r2.halt(t)
		r1.halt(t)
	})
}

// TestSlowHolder holds that adverts go out on time whatever the holder does,
// and that a drop does not wait for a take.
func TestSlowHolder(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log := newBook()
		r1 := net.host(t, 1, 150, nil, &thing{name: "disk", diary: log, takeTime: 20 * time.Second})
		time.Sleep(10 * time.Second)
		sent := net.from(r1.member.Instance.Source)
		if len(sent) != 7 {
			t.Fatalf("%d adverts in 10 seconds, want 7", len(sent))
		}
		for i := range sent[1:] {
			if d := sent[i+1].at.Sub(sent[i].at); d != time.Second {
				t.Errorf("advert %d came %v after the one before", i+1, d)
			}
		}
		if err := r1.Quit(); err != nil {
			t.Error(err)
		}
		r1.halt(t)
		compareText(t, log.text(), `
0.000 disk: drop
10.000 disk: take cancelled
10.000 disk: drop`)
	})
}

// TestFailingHolder: the others are taken all the same, and it is tried again.
func TestFailingHolder(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log, told := newBook(), newBook()
		broken := errors.New("no such device")
		route := &thing{name: "route", diary: log}
		route.fail = func(what string) error {
			if what == "take" && time.Since(log.start) < 6*time.Second {
				return broken
			}
			return nil
		}
		r1 := net.host(t, 1, 150, told, route, &thing{name: "addresses", diary: log})
		time.Sleep(5 * time.Second)
		st, err := r1.Status()
		if err != nil || len(st) != 1 || !errors.Is(st[0].Holders[0].Err, broken) || st[0].Holders[0].Taken || !st[0].Holders[1].Taken {
			t.Errorf("status %+v, %v", st, err)
		}
		time.Sleep(2 * time.Second)
		if err := r1.Quit(); err != nil {
			t.Error(err)
		}
		r1.halt(t)
		compareText(t, log.text(), `
0.000 addresses: drop
0.000 route: drop
3.414 route: take fails
3.414 addresses: take
3.414 addresses: announce x5
4.414 route: take fails
5.414 route: take fails
6.414 route: take
6.414 route: announce x5
7.000 addresses: drop
7.000 route: drop`)
		if n := strings.Count(told.text(), "no such device"); n != 1 {
			t.Errorf("the same failure was reported %d times:\n%s", n, told.text())
		}
	})
}

// TestHopelessHolder: what cannot be dropped does not keep the process alive,
// but is said.
func TestHopelessHolder(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		h := &thing{name: "mount", diary: newBook(), fail: func(string) error { return errors.New("busy") }}
		r1 := net.host(t, 1, 150, nil, h)
		time.Sleep(time.Second)
		start := time.Now()
		r1.stop()
		err := <-r1.Speaker.done(r1)
		if err == nil || !strings.Contains(err.Error(), "VI_1: mount is not dropped") || time.Since(start) != dropTime {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
	})
}

func (*Speaker) done(h *host) chan error { return h.ended }

// TestStoppedBackup: a backup whose process was stopped finds the master's
// adverts in its socket, and does not take over.
func TestStoppedBackup(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log := newBook()
		r1 := net.host(t, 1, 150, nil)
		r2 := net.host(t, 2, 100, log)
		time.Sleep(5 * time.Second)
		r2.port.mu.Lock()
		r2.stuck = true
		r2.port.mu.Unlock()
		time.Sleep(20 * time.Second)
		if strings.Contains(log.text(), "MASTER") {
			t.Errorf("r2 acted on a deadline before it looked:\n%s", log.text())
		}
		r1.halt(t)
		r2.halt(t)
	})
}

// TestStoppedMaster: one that was stopped yields or goes on, but does not send
// what it has missed.
func TestStoppedMaster(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		r1 := net.host(t, 1, 150, nil)
		time.Sleep(5 * time.Second)
		before := len(net.from(r1.member.Instance.Source))
		if err := r1.call(func(time.Time) { time.Sleep(5 * time.Second) }); err != nil { // as SIGSTOP does
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if n := len(net.from(r1.member.Instance.Source)) - before; n != 1 {
			t.Errorf("%d adverts at once after a pause, want 1", n)
		}
		r1.halt(t)
	})
}

// TestNoDrift: the thousandth advert is as punctual as the first, even when
// each is a little late.
func TestNoDrift(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		r1 := net.host(t, 1, 150, nil)
		slow := r1.Report
		if err := r1.call(func(time.Time) {
			r1.Report = func(r Report) {
				if _, ok := r.Action.(Send); ok {
					time.Sleep(3 * time.Millisecond)
				}
				slow(r)
			}
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1010 * time.Second)
		sent := net.from(r1.member.Instance.Source)
		if d := sent[1000].at.Sub(sent[1].at); d.Round(10*time.Millisecond) != 999*time.Second {
			t.Errorf("999 intervals took %v", d)
		}
		r1.halt(t)
	})
}

// TestFlood: bad adverts change nothing, and fill no log.
func TestFlood(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log := newBook()
		r1 := net.host(t, 1, 150, log)
		r2 := net.host(t, 2, 100, log)
		enemy := net.port()
		time.Sleep(4 * time.Second)
		lines := strings.Count(log.text(), "\n")
		bad := r1.member.Instance.advert(255)
		bad.Src, bad.Dst, bad.Auth[0] = addr("10.0.0.66"), GroupIPv4, 'x'
		for range 20_000 {
			time.Sleep(500 * time.Microsecond)
			if err := enemy.Send(bad); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(log.text(), "\n") - lines; n > 4 {
			t.Errorf("%d lines in the log:\n%s", n, log.text())
		}
		st, err := r2.Status()
		if err != nil || st[0].State != Backup || st[0].Stats.Dropped[BadPassword] != 20_000 || st[0].Stats.Dropped.Total() != 20_000 {
			t.Errorf("r2: %+v, %v", st, err)
		}
		if n := len(net.from(r1.member.Instance.Source)); n != 11 {
			t.Errorf("r1 sent %d adverts in 14 seconds, want 11", n)
		}
		r1.halt(t)
		r2.halt(t)
	})
}

// TestReload: what is unchanged feels nothing, what is new is taken, what is
// gone is dropped.
func TestReload(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log := newBook()
		one, two := &thing{name: "one", diary: log}, &thing{name: "two", diary: log}
		r1 := net.host(t, 1, 150, nil, one)
		time.Sleep(4 * time.Second)
		set := func(m Member) {
			t.Helper()
			if err := r1.Set([]Member{m}, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		set(r1.member)
		m := r1.member
		m.Holders = []Holder{one, two}
		set(m)
		m.Holders = []Holder{two}
		set(m)
		m.Instance.VRID = 0
		if err := r1.Set([]Member{m}, nil); err == nil {
			t.Error("virtual_router_id 0 was taken")
		}
		if err := r1.Retake("VI_1"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		m.Instance.VRID, m.Instance.Name = 52, "VI_2" // another virtual router
		set(m)
		r1.halt(t)
		compareText(t, log.text(), `
0.000 one: drop
3.414 one: take
3.414 one: announce x5
5.000 two: take
5.000 two: announce x5
6.000 one: drop
7.000 two: take
7.000 two: announce x5
8.000 two: drop
9.996 two: drop`)
		if got := r1.Observe("eth0", Up); !errors.Is(got, ErrNotRunning) {
			t.Errorf("after the end: %v", got)
		}
	})
}

// TestSendFails: it is said once, and tried again at the next advert.
func TestSendFails(t *testing.T) {
	bothWays(t, func(t *testing.T, net *hub) {
		log := newBook()
		r1 := net.host(t, 1, 150, log)
		r1.port.mu.Lock()
		r1.fail = errors.New("network is down")
		r1.port.mu.Unlock()
		time.Sleep(9 * time.Second)
		if n := strings.Count(log.text(), "network is down"); n != 1 {
			t.Errorf("reported %d times:\n%s", n, log.text())
		}
		r1.port.mu.Lock()
		r1.fail = nil
		r1.port.mu.Unlock()
		time.Sleep(2 * time.Second)
		if n := len(net.from(r1.member.Instance.Source)); n != 2 {
			t.Errorf("%d adverts in 2 seconds after the repair", n)
		}
		r1.halt(t)
	})
}

// TestMonotonic holds that deadlines carry the monotonic clock, so that nobody
// who sets the clock moves an address.
func TestMonotonic(t *testing.T) {
	c := vi("VI_1", 51, 100)
	c.Source = addr("10.0.0.1")
	m := New(c)
	m.Start(time.Now())
	a := c.advert(150)
	a.Src, a.Dst = addr("10.0.0.2"), GroupIPv4
	for range 3 {
		m.Recv(time.Now(), a)
		if d := m.Deadline(); !strings.Contains(d.String(), "m=") {
			t.Fatalf("%v has lost the monotonic clock", d)
		}
		m.Tick(m.Deadline())
	}
}
