package appliance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// withLoopback gives the host lo, with these addresses.
func withLoopback(addrs ...string) *fakeHost {
	h := newFakeHost()
	lo := &Link{Index: 1, Running: true}
	for _, a := range addrs {
		lo.Addrs = append(lo.Addrs, netip.MustParsePrefix(a))
	}
	h.links["lo"] = lo
	return h
}

func (h *fakeHost) has(t *testing.T, link, prefix string) bool {
	t.Helper()
	l, err := h.Link(link, true)
	if err != nil {
		t.Fatal(err)
	}
	return l.Has(netip.MustParsePrefix(prefix))
}

// A director that is a real server has the address on lo or on its interface, at
// every moment, and on lo never without the settings that hide it.
func TestLocalnode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := withLoopback()
		in := instance("VI_1", 51, "10.0.0.100/24")
		in.LocalNode = true
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(time.Second)
		if !host.has(t, "lo", "10.0.0.100/32") || host.has(t, "eth0", "10.0.0.100/24") {
			t.Error("the backup does not have it on lo alone")
		}
		host.steal("lo", "10.0.0.100/32")
		time.Sleep(2 * time.Second)
		if got := r.said("removed from lo"); !host.has(t, "lo", "10.0.0.100/32") || len(got) != 1 {
			t.Errorf("taken away from lo, it does not come back: %q", got)
		}
		time.Sleep(2 * time.Second)
		if host.has(t, "lo", "10.0.0.100/32") || !host.has(t, "eth0", "10.0.0.100/24") {
			t.Error("the master does not have it on its interface alone")
		}
		if err := r.Standby(); err != nil {
			t.Fatal(err)
		}
		host.hear("eth0", advertOf(in, "10.0.0.2", 50))
		time.Sleep(time.Second)
		if !host.has(t, "lo", "10.0.0.100/32") || host.has(t, "eth0", "10.0.0.100/24") {
			t.Error("after standby it is not on lo alone")
		}
		r.stop()
		if host.has(t, "lo", "10.0.0.100/32") || host.has(t, "eth0", "10.0.0.100/24") {
			t.Error("at the end it is still there")
		}
		var steps []string
		for _, l := range host.told("") {
			_, step, _ := strings.Cut(l, " ")
			if strings.HasPrefix(step, "ip addr") || strings.HasPrefix(step, "sysctl") {
				steps = append(steps, step)
			}
		}
		hidden := slices.IndexFunc(steps, func(s string) bool { return strings.Contains(s, "all.arp_ignore=1") })
		shown := slices.IndexFunc(steps, func(s string) bool { return strings.Contains(s, "all.arp_ignore=0") })
		var moves []string
		for i, s := range steps {
			if strings.HasPrefix(s, "ip addr") {
				moves = append(moves, s)
				if i < hidden || i > shown {
					t.Errorf("%s while nothing hides it:\n%s", s, strings.Join(steps, "\n"))
				}
			}
		}
		equal(t, "moves", moves,
			"ip addr add 10.0.0.100/32 dev lo scope host", "ip addr add 10.0.0.100/32 dev lo scope host",
			"ip addr add 10.0.0.100/24 dev eth0", "ip addr del 10.0.0.100/32 dev lo",
			"ip addr add 10.0.0.100/32 dev lo scope host", "ip addr del 10.0.0.100/24 dev eth0",
			"ip addr del 10.0.0.100/32 dev lo")
	})
}

// What was on lo before us is there after us, in whatever state we end.
func TestLocalnodeLeavesWhatWasThere(t *testing.T) {
	for name, wait := range map[string]time.Duration{"as backup": time.Second, "as master": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := withLoopback("10.0.0.100/32")
				in := instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32")
				in.LocalNode = true
				r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
				time.Sleep(wait)
				r.stop()
				if !host.has(t, "lo", "10.0.0.100/32") || host.has(t, "lo", "10.0.0.101/32") || host.has(t, "eth0", "10.0.0.100/32") {
					l, _ := host.Link("lo", true)
					t.Errorf("left on lo: %v", l.Addrs)
				}
			})
		})
	}
}

// A reload takes the option away, or the instance.
func TestLocalnodeGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := withLoopback()
		a, b := instance("A", 51, "10.0.0.100/32"), instance("B", 52, "10.0.0.101/32")
		a.LocalNode, b.LocalNode = true, true
		a.Priority, b.Priority = 100, 100
		r := start(t, host, config.Site{Instances: []config.Instance{a, b}}, nil)
		time.Sleep(time.Second)
		a.LocalNode = false
		if err := r.Set(config.Site{Instances: []config.Instance{a}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if l, _ := host.Link("lo", true); len(l.Addrs) != 0 {
			t.Errorf("left on lo: %v", l.Addrs)
		}
		time.Sleep(3 * time.Second)
		if !host.has(t, "eth0", "10.0.0.100/32") {
			t.Error("the instance that stays is not master")
		}
		r.stop()
	})
}

// The virtual services are the master's alone, or the site is refused.
func TestLocalnodeServices(t *testing.T) {
	a, b := instance("A", 51, "10.0.0.100/32"), instance("B", 52, "10.0.0.101/32")
	a.LocalNode = true
	virtuals := []ldirector.Virtual{{Service: lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.100:80")), "rr")}}
	site := config.Site{Instances: []config.Instance{a}, Virtuals: virtuals}
	if err := Check(site); err != nil {
		t.Error(err)
	}
	bound, names := serveLocalnodes(site)
	if !slices.Equal(names, []string{"A"}) || !slices.Equal(bound.Virtuals[0].Gates, names) || len(virtuals[0].Gates) > 0 {
		t.Errorf("bound to %v: %v", names, bound.Virtuals)
	}
	if _, again := serveLocalnodes(bound); len(again) > 0 {
		t.Errorf("bound once more, to %v", again)
	}
	b.LocalNode = true
	two := config.Site{Instances: []config.Instance{a, b}, Virtuals: virtuals}
	if err := Check(two); err == nil || !strings.Contains(err.Error(), "vrrp_sync_group") {
		t.Errorf("two that move each on its own: %v", err)
	}
	two.Groups = []config.Group{{Group: vrrp.Group{Name: "G", Members: []string{"A", "B"}}}}
	if err := Check(two); err != nil {
		t.Errorf("in a group: %v", err)
	}
	two.Groups, two.Virtuals = nil, nil
	if err := Check(two); err != nil {
		t.Errorf("without services: %v", err)
	}
}
