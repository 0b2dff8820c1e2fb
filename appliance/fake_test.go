package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/internal/netif/netiftest"
	"github.com/lvsctl/lvsctl/vrrp"
)

// fakeHost is a host in memory. Its network is the list of what was said there.
type fakeHost struct {
	mu      sync.Mutex
	start   time.Time
	links   map[string]*Link
	sysctls map[string]string
	events  chan netif.Event
	diary   []string
	refuse  func(netif.Step) error
	answers map[netip.Addr]string // MAC that answers
	ports   []*fakePort
	stolen  map[netip.Prefix]bool
	ears    map[*fakeEar]bool
	macs    map[string]string // of devices

	managers []netif.Manager
}

func newFakeHost() *fakeHost {
	return &fakeHost{
		start: time.Now(), ears: map[*fakeEar]bool{}, macs: map[string]string{}, sysctls: map[string]string{}, stolen: map[netip.Prefix]bool{}, events: make(chan netif.Event, 4096), answers: map[netip.Addr]string{},
		links: map[string]*Link{"eth0": {Index: 2, Running: true, Ethernet: true, MTU: 1500, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}},
	}
}

// write must be called with the lock.
func (h *fakeHost) write(format string, args ...any) {
	h.diary = append(h.diary, fmt.Sprintf("%.3f ", time.Since(h.start).Seconds())+fmt.Sprintf(format, args...))
}

// told are the lines with a word in them.
func (h *fakeHost) told(word string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, l := range h.diary {
		if strings.Contains(l, word) {
			out = append(out, l)
		}
	}
	return out
}

func (h *fakeHost) Do(s netif.Step) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		if err := h.refuse(s); err != nil {
			return err
		}
	}
	if s.Op == netif.AddRoute {
		delete(h.stolen, s.Route.Dst)
	}
	if s.Op == netif.SetSysctl {
		h.sysctls[s.Sysctl.Key] = s.Sysctl.Value
	}
	h.write("%v", s)
	return nil
}

// Lacking are the routes that were stolen, and not added since.
func (h *fakeHost) Lacking(want []netif.Route) ([]netif.Route, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []netif.Route
	for _, r := range want {
		if h.stolen[r.Dst] {
			out = append(out, r)
		}
	}
	return out, nil
}

// stealRoute takes a route away.
func (h *fakeHost) stealRoute(dst netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stolen[dst] = true
}

func (h *fakeHost) Addrs(steps []netif.Step) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	verdicts := make([]error, len(steps))
	for i, s := range steps {
		verdicts[i] = h.addr(s)
	}
	return verdicts
}

func (h *fakeHost) addr(s netif.Step) error {
	l := h.links[s.Addr.Link]
	switch {
	case l == nil && s.Op == netif.DelAddr:
		return nil // it went with its device
	case l == nil:
		return syscall.ENODEV
	}
	if h.refuse != nil {
		if err := h.refuse(s); err != nil {
			return err
		}
	}
	has := l.Has(s.Addr.Prefix)
	switch {
	case s.Op == netif.AddAddr && !has:
		l.Addrs = append(slices.Clone(l.Addrs), s.Addr.Prefix)
		h.write("%v", s)
	case s.Op == netif.DelAddr && has:
		h.del(s.Addr.Link, s.Addr.Prefix)
		h.write("%v", s)
	}
	return nil
}

func (h *fakeHost) del(link string, p netip.Prefix) {
	l := h.links[link]
	l.Addrs = slices.DeleteFunc(slices.Clone(l.Addrs), func(o netip.Prefix) bool { return o == p })
	h.events <- netif.Event{Kind: netif.AddrRemoved, Link: link, Prefix: p}
}

// steal removes addresses as somebody else would.
func (h *fakeHost) steal(link string, all ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range all {
		h.del(link, netip.MustParsePrefix(s))
	}
}

func (h *fakeHost) Watch(context.Context) (<-chan netif.Event, error) { return h.events, nil }

func (h *fakeHost) Link(name string, _ bool) (Link, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[name]; l != nil {
		return *l, nil
	}
	return Link{}, errors.New("no such network interface")
}

// setLink changes a device, and tells.
func (h *fakeHost) setLink(name string, l *Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[name] = l
	h.events <- netif.Event{Kind: netif.LinkWentUp, Link: name}
}

func (h *fakeHost) Sysctl(key string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sysctls[key], nil
}

func (h *fakeHost) Managers(int) []netif.Manager {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.managers
}

func (h *fakeHost) Snapshot() (netif.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := netif.Snapshot{Sysctls: map[string]string{}}
	for name := range h.links {
		s.Links = append(s.Links, netif.Link{Name: name, Up: true, Loopback: name == "lo", MAC: h.macs[name]})
		netiftest.Conf(&s, name)
	}
	netiftest.Conf(&s, "all")
	netiftest.Conf(&s, "default")
	for key, value := range h.sysctls {
		s.Sysctls[key] = value
	}
	s.Sort()
	return s, nil
}

type fakeWire struct {
	h    *fakeHost
	link string
}

func (h *fakeHost) Wire(link string) (Wire, error) { return fakeWire{h, link}, nil }

func (w fakeWire) Claim(ip netip.Addr, _ bool) error {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.h.write("%s claims %v", w.link, ip)
	return nil
}

func (w fakeWire) Probe(ctx context.Context, ip netip.Addr, how netif.Probing) ([]netif.Answer, error) {
	select {
	case <-time.After(how.Wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if mac := w.h.answers[ip]; mac != "" {
		return []netif.Answer{{MAC: mac, Count: 1}}, nil
	}
	return nil, nil
}

func (w fakeWire) Close() error { return nil }

func (w fakeWire) Ear() (Ear, error) {
	e := &fakeEar{w: w, ch: make(chan netif.Claim, 4096)}
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.h.ears[e] = true
	return e, nil
}

// fakeEar hears what claim says.
type fakeEar struct {
	w   fakeWire
	ch  chan netif.Claim
	ips []netip.Addr
}

func (e *fakeEar) For(ips []netip.Addr) error {
	e.w.h.mu.Lock()
	defer e.w.h.mu.Unlock()
	e.ips = ips
	return nil
}

func (e *fakeEar) Hear(ctx context.Context, hear func(netif.Claim)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-e.ch:
			hear(c)
		}
	}
}

func (e *fakeEar) Close() error {
	e.w.h.mu.Lock()
	defer e.w.h.mu.Unlock()
	delete(e.w.h.ears, e)
	return nil
}

// claim has everybody who listens on a device for the address hear a claim, and tells
// how many do.
func (h *fakeHost) claim(link string, c netif.Claim) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for e := range h.ears {
		if e.w.link == link && slices.Contains(e.ips, c.IP) {
			e.ch <- c
			n++
		}
	}
	return n
}

type fakePort struct {
	h      *fakeHost
	link   string
	ch     chan vrrp.Advert
	closed bool
}

func (h *fakeHost) Transport(link string, ipv6 bool) (vrrp.Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &fakePort{h: h, link: link, ch: make(chan vrrp.Advert, 64)}
	h.ports = append(h.ports, p)
	return p, nil
}

func (p *fakePort) Recv() <-chan vrrp.Advert { return p.ch }

func (p *fakePort) Send(a vrrp.Advert) error {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	p.h.write("advert vrid %d priority %d from %v with %d addresses", a.VRID, a.Priority, a.Src, len(a.Addrs))
	return nil
}

func (p *fakePort) Close() error {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	p.closed = true
	return nil
}

// instance is a virtual router with some addresses.
func instance(name string, vrid uint8, vips ...string) config.Instance {
	in := config.Instance{Instance: vrrp.Instance{
		Name: name, Link: "eth0", Version: 2, VRID: vrid, Priority: 100, Interval: time.Second,
		Garp: vrrp.Garp{Repeat: 2},
	}}
	for _, v := range vips {
		in.Addresses = append(in.Addresses, config.Address{Prefix: netip.MustParsePrefix(v)})
	}
	return in
}

// running is an appliance at work.
type running struct {
	*Appliance
	host *fakeHost
	stop func()

	mu  sync.Mutex
	log []string
}

func start(t *testing.T, host *fakeHost, site config.Site, change func(*Options)) *running {
	t.Helper()
	r := &running{host: host}
	o := Options{Host: host, Report: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if e.Level < Debug {
			r.log = append(r.log, fmt.Sprintf("%.3f %s", time.Since(host.start).Seconds(), e.Text))
		}
	}}
	if change != nil {
		change(&o)
	}
	r.Appliance = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, site) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	<-r.Ready()
	return r
}

func (r *running) said(word string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, l := range r.log {
		if strings.Contains(l, word) {
			out = append(out, l)
		}
	}
	return out
}
