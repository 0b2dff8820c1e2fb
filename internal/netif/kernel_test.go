package netif_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/internal/netif/netiftest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// kernelOf is the real kernel as a host of the lab has it.
func kernelOf(t *testing.T, h *lab.Host) *netif.Kernel {
	t.Helper()
	var k *netif.Kernel
	var err error
	h.Do(func() { k, err = netif.InNamespace("/proc/thread-self/ns/net") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func step(op netif.Op, change func(*netif.Step)) netif.Step {
	s := netif.Step{Op: op}
	change(&s)
	return s
}

func addr(op netif.Op, link, prefix, label string) netif.Step {
	return step(op, func(s *netif.Step) {
		s.Addr = netif.Addr{Link: link, Prefix: netip.MustParsePrefix(prefix), Label: label}
		if s.Addr.Prefix.Addr().Is6() {
			s.Addr.NoDAD = true
		} else if s.Addr.Prefix.IsSingleIP() {
			s.Addr.Broadcast = s.Addr.Prefix.Addr()
		}
	})
}

func route(op netif.Op, r netif.Route) netif.Step {
	return step(op, func(s *netif.Step) { s.Route = r })
}

func hostRoute(ip, link string) netif.Route {
	return netif.Route{Dst: netip.MustParsePrefix(ip + "/32"), Link: link, Scope: netif.ScopeLink}
}

func via(dst, gw, link string) netif.Route {
	r := netif.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(gw), Link: link}
	if r.Dst.Addr().Is6() {
		r.Metric = 1024
	}
	return r
}

func link(op netif.Op, name, kind string) netif.Step {
	return step(op, func(s *netif.Step) { s.Link = netif.Link{Name: name, Kind: kind} })
}

func sysctl(key, value string) netif.Step {
	return step(netif.SetSysctl, func(s *netif.Step) { s.Sysctl = netif.Sysctl{Key: key, Value: value} })
}

// worlds are stories that the fake and the kernel have to tell alike: after each
// step the same errno and the same host.
var worlds = []struct {
	name  string
	steps []netif.Step
}{
	{"a virtual address on lo", []netif.Step{
		sysctl("net.ipv4.conf.all.arp_ignore", "1"),
		addr(netif.AddAddr, "lo", "10.0.0.100/32", "lo:0"),
		addr(netif.AddAddr, "lo", "10.0.0.100/32", "lo:0"),
		route(netif.AddRoute, hostRoute("10.0.0.100", "lo")),
		route(netif.AddRoute, hostRoute("10.0.0.100", "lo")),
		route(netif.AddRoute, hostRoute("10.0.0.100", "eth0")), // the place is taken
		addr(netif.DelAddr, "lo", "10.0.0.100/32", ""),         // the route outlives it
		addr(netif.DelAddr, "lo", "10.0.0.100/32", ""),
		route(netif.DelRoute, hostRoute("10.0.0.100", "lo")),
		route(netif.DelRoute, hostRoute("10.0.0.100", "lo")),
		sysctl("net.ipv4.conf.all.arp_ignore", "0"),
	}},
	{"an IPv6 address on lo", []netif.Step{
		step(netif.AddAddr, func(s *netif.Step) {
			s.Addr = netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix("2001:db8:9::1/128"), NoDAD: true, Deprecated: true}
		}),
		addr(netif.AddAddr, "lo", "2001:db8:9::1/128", ""),
		addr(netif.DelAddr, "lo", "2001:db8:9::1/128", ""),
		sysctl("net.ipv6.conf.lo.disable_ipv6", "1"),
		addr(netif.AddAddr, "lo", "2001:db8:9::1/128", ""),
	}},
	{"addresses with a network", []netif.Step{
		addr(netif.AddAddr, "eth0", "10.5.0.1/24", "eth0:1"),
		addr(netif.AddAddr, "eth0", "10.5.0.1/32", "eth0:2"),
		addr(netif.AddAddr, "eth0", "2001:db8:5::1/64", ""),
		addr(netif.DelAddr, "eth0", "10.5.0.1/24", ""),
		addr(netif.DelAddr, "eth0", "2001:db8:5::1/64", ""),
	}},
	{"routes", []netif.Step{
		route(netif.AddRoute, via("10.7.0.0/16", "192.168.1.1", "eth0")),
		route(netif.AddRoute, via("10.7.0.0/16", "192.168.1.2", "eth0")),     // taken
		route(netif.AddRoute, via("10.8.0.0/16", "172.16.0.1", "eth0")),      // nobody knows the way
		route(netif.AddRoute, via("10.8.0.0/16", "192.168.1.1", "nowhere0")), // no such device
		route(netif.ReplaceRoute, via("10.7.0.0/16", "192.168.1.2", "eth0")),
		route(netif.ReplaceRoute, via("0.0.0.0/0", "192.168.1.1", "eth0")),
		route(netif.ReplaceRoute, via("::/0", "2001:db8:1::1", "eth0")),
		route(netif.DelRoute, via("0.0.0.0/0", "192.168.1.1", "eth0")),
		route(netif.DelRoute, via("::/0", "2001:db8:1::1", "eth0")),
		route(netif.DelRoute, via("10.7.0.0/16", "192.168.1.2", "eth0")),
		route(netif.AddRoute, via("10.6.0.0/16", "192.168.1.1", "")), // the device follows from the gateway
		route(netif.AddRoute, via("10.6.0.0/16", "192.168.1.1", "")), // there already
		route(netif.ReplaceRoute, via("10.6.0.0/16", "192.168.1.2", "")),
		route(netif.DelRoute, via("10.6.0.0/16", "192.168.1.2", "")),
		route(netif.AddRoute, netif.Route{Type: "blackhole", Dst: netip.MustParsePrefix("10.9.0.0/16")}),
		route(netif.DelRoute, netif.Route{Type: "blackhole", Dst: netip.MustParsePrefix("10.9.0.0/16")}),
	}},
	{"rules", []netif.Step{
		step(netif.AddRule, func(s *netif.Step) {
			s.Rule = netif.Rule{Priority: 100, From: netip.MustParsePrefix("10.0.0.1/32"), Mark: 1, Table: 100}
		}),
		step(netif.AddRule, func(s *netif.Step) {
			s.Rule = netif.Rule{Priority: 101, IPv6: true, To: netip.MustParsePrefix("2001:db8::/32"), Iif: "eth0", Table: 100}
		}),
		step(netif.DelRule, func(s *netif.Step) {
			s.Rule = netif.Rule{Priority: 100, From: netip.MustParsePrefix("10.0.0.1/32"), Mark: 1, Table: 100}
		}),
		step(netif.DelRule, func(s *netif.Step) {
			s.Rule = netif.Rule{Priority: 100, From: netip.MustParsePrefix("10.0.0.1/32"), Mark: 1, Table: 100}
		}),
	}},
	{"a device that is not there", []netif.Step{
		addr(netif.AddAddr, "nowhere0", "10.0.0.1/32", ""),
		addr(netif.DelAddr, "nowhere0", "10.0.0.1/32", ""),
		link(netif.LinkUp, "nowhere0", ""),
		sysctl("net.ipv4.conf.nowhere0.arp_ignore", "1"),
	}},
	{"a tunnel", []netif.Step{
		sysctl("net.ipv4.conf.default.rp_filter", "1"),
		link(netif.AddLink, "tunl0", "ipip"),
		link(netif.AddLink, "tunl0", "ipip"),
		route(netif.AddRoute, hostRoute("10.0.0.100", "tunl0")), // it is down
		addr(netif.AddAddr, "tunl0", "10.0.0.100/32", ""),
		link(netif.LinkUp, "tunl0", ""),
		route(netif.AddRoute, hostRoute("10.0.0.100", "tunl0")),
		link(netif.LinkDown, "tunl0", ""), // takes the route along, and leaves the address
		addr(netif.DelAddr, "tunl0", "10.0.0.100/32", ""),
		link(netif.DelLink, "tunl0", "ipip"), // the kernel keeps it
	}},
	{"a port that is unwrapped", []netif.Step{
		step(netif.LoadModule, func(s *netif.Step) { s.Module = "fou" }),
		step(netif.AddFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, GUE: true} }),
		step(netif.AddFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, GUE: true} }),
		step(netif.AddFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, Proto: 4} }),
		step(netif.AddFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, IPv6: true, GUE: true} }),
		step(netif.DelFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, GUE: true} }),
		step(netif.DelFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, GUE: true} }),
		step(netif.DelFou, func(s *netif.Step) { s.Fou = netif.Fou{Port: 6080, IPv6: true, GUE: true} }),
	}},
	{"forwarding goes to every device", []netif.Step{
		sysctl("net.ipv4.ip_forward", "1"),
		sysctl("net.ipv4.ip_forward", "0"),
		sysctl("net.ipv6.conf.all.forwarding", "1"),
		sysctl("net.ipv6.conf.all.forwarding", "0"),
	}},
}

func TestFakeAndKernelAgree(t *testing.T) {
	lab.Need(t)
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			n := lab.New(t)
			real := kernelOf(t, n.Host("rs").Nic("eth0", n.Bridge("lan")))
			fake := netiftest.New("eth0")
			for _, h := range []netif.Host{fake, real} {
				do(t, h, addr(netif.AddAddr, "eth0", "192.168.1.10/24", ""))
				do(t, h, addr(netif.AddAddr, "eth0", "2001:db8:1::10/64", ""))
			}
			agree(t, fake, real, "at the beginning")
			for _, s := range w.steps {
				before := fake.String()
				want, got := errno(fake.Do(s)), errno(real.Do(s))
				if want != got {
					t.Errorf("%v: the fake says %v, the kernel %v", s, want, got)
				}
				if fake.String() != before || want != nil {
					agree(t, fake, real, "after "+s.String())
				}
				if want == nil && (s.Op == netif.AddRoute || s.Op == netif.DelRoute) {
					lacks(t, real, s.Route, s.Op == netif.DelRoute)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// lacks looks whether the kernel is said to lack a route, as it should be.
func lacks(t *testing.T, k *netif.Kernel, r netif.Route, want bool) {
	t.Helper()
	lacking, err := k.Lacking([]netif.Route{r})
	if err != nil || (len(lacking) == 1) != want {
		t.Errorf("%v is lacking: %v, want %v; %v", r, lacking, want, err)
	}
}

func do(t *testing.T, h netif.Host, s netif.Step) {
	t.Helper()
	if err := h.Do(s); err != nil {
		t.Fatal(err)
	}
}

func errno(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

func agree(t *testing.T, fake, real netif.Host, when string) {
	t.Helper()
	want, err := fake.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	got, err := real.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(told(want), told(got)); diff != "" {
		t.Errorf("%s (-fake +kernel):\n%s", when, diff)
	}
}

// told is what both worlds are asked about: not what the kernel adds on its own,
// such as link-local addresses, nor settings that the fake does not have.
func told(s netif.Snapshot) []string {
	var lines []string
	for _, line := range strings.Split(netiftest.Text(s), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		strange := strings.Contains(line, "fe80:") || strings.Contains(line, "ff00:") || strings.Contains(line, " ::1") || strings.Contains(line, "127.0.0.1")
		switch {
		case strange, word == "link" && !slices.Contains([]string{"lo up", "eth0 up", "tunl0 up"}, rest):
			continue
		case word == "rule" && !strings.Contains(line, "pref 10"): // the kernel's own
			continue
		case strings.HasPrefix(line, "net.") && !asked(line):
			continue
		}
		lines = append(lines, strings.TrimSuffix(line, " dev lo metric 256 proto kernel"))
	}
	return lines
}

func asked(setting string) bool {
	key, _, _ := strings.Cut(setting, "=")
	for _, other := range []string{"sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0"} {
		if strings.Contains(key, "."+other+".") {
			return false // devices that other tests of this guest made appear
		}
	}
	for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter", "forwarding", "ip_forward", "disable_ipv6"} {
		if strings.HasSuffix(key, "."+name) {
			return true
		}
	}
	return false
}

// The namespace of the tests themselves must stay as it is, whatever is done in
// that of a host.
func TestSysctlsStayInTheirNamespace(t *testing.T) {
	n := lab.New(t)
	a, b := n.Host("a"), n.Host("b")
	do(t, kernelOf(t, a), sysctl("net.ipv4.conf.all.arp_ignore", "1"))
	if got := a.Sysctl("net.ipv4.conf.all.arp_ignore"); got != "1" {
		t.Errorf("the host has %s", got)
	}
	if got := b.Sysctl("net.ipv4.conf.all.arp_ignore"); got != "0" {
		t.Errorf("another host has %s", got)
	}
	s, err := kernelOf(t, b).Snapshot()
	if err != nil || s.Sysctls["net.ipv4.conf.all.arp_ignore"] != "0" {
		t.Errorf("the snapshot of another host has %s (%v)", s.Sysctls["net.ipv4.conf.all.arp_ignore"], err)
	}
	var stranger *netif.StepError
	err = kernelOf(t, a).Do(sysctl("kernel.panic", "1"))
	if !errors.As(err, &stranger) || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a setting that is none of the network: %v", err)
	}
}

// fast is a probe for tests: the wire of the lab is short.
var fast = netif.Probing{Count: 2, Interval: 100 * time.Millisecond, Wait: 300 * time.Millisecond}

// The ARP problem and its proof: two hosts have the address; one that hides it does
// not answer.
func TestProbeFindsWhoAnswers(t *testing.T) {
	n := lab.New(t)
	lan := n.Bridge("lan")
	asker := n.Host("asker").Nic("eth0", lan, "192.168.1.1/24", "2001:db8:1::1/64")
	director := n.Host("director").Nic("eth0", lan, "192.168.1.2/24", "192.168.1.100/32", "2001:db8:1::2/64", "2001:db8:1::100/128")
	server := n.Host("server").Nic("eth0", lan, "192.168.1.3/24", "2001:db8:1::3/64")
	k := kernelOf(t, server)
	do(t, k, link(netif.LinkUp, "lo", ""))
	do(t, k, addr(netif.AddAddr, "lo", "192.168.1.100/32", "lo:0"))
	do(t, k, addr(netif.AddAddr, "lo", "2001:db8:1::100/128", ""))
	w, err := kernelOf(t, asker).Wire("eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = director
	probe := func(ip string, want ...string) {
		t.Helper()
		answers, err := w.Probe(t.Context(), netip.MustParseAddr(ip), fast)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range answers {
			got = append(got, a.MAC)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v answer, want %v", ip, got, want)
		}
	}
	probe("192.168.1.100", "02:00:00:00:02:01", "02:00:00:00:03:01") // both: the ARP problem
	do(t, k, sysctl("net.ipv4.conf.lo.arp_ignore", "1"))
	probe("192.168.1.100", "02:00:00:00:02:01", "02:00:00:00:03:01") // lo alone hides nothing
	do(t, k, sysctl("net.ipv4.conf.all.arp_ignore", "1"))
	probe("192.168.1.100", "02:00:00:00:02:01")
	do(t, k, sysctl("net.ipv4.conf.eth0.arp_ignore", "3")) // max(1, 3) is 3, and 3 answers
	probe("192.168.1.100", "02:00:00:00:02:01", "02:00:00:00:03:01")
	probe("192.168.1.77")
	probe("2001:db8:1::100", "02:00:00:00:02:01") // IPv6 answers for its own device only
	probe("2001:db8:1::77")
}

func TestProbeEndsWithItsContext(t *testing.T) {
	n := lab.New(t)
	h := n.Host("asker").Nic("eth0", n.Bridge("lan"), "192.168.1.1/24")
	w, err := kernelOf(t, h).Wire("eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = w.Probe(ctx, netip.MustParseAddr("192.168.1.9"), netif.Probing{Count: 16, Interval: time.Minute})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// A virtual address moves: the neighbour follows at once. The new holder announces
// from a device that may have no address of its own.
func TestAnnounceMovesTheAddress(t *testing.T) {
	for _, c := range []struct {
		name   string
		vip    string
		client string
		show   string
		bare   bool
	}{
		{"IPv4", "192.168.1.100", "192.168.1.1/24", "ip neigh show 192.168.1.100", false},
		{"IPv4, no address of its own", "192.168.1.100", "192.168.1.1/24", "ip neigh show 192.168.1.100", true},
		{"IPv6", "2001:db8:1::100", "2001:db8:1::1/64", "ip -6 neigh show 2001:db8:1::100", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := lab.New(t)
			lan := n.Bridge("lan")
			vip := netip.MustParseAddr(c.vip)
			full := netip.PrefixFrom(vip, vip.BitLen()).String()
			client := n.Host("client").Nic("eth0", lan, c.client)
			n.Host("old").Nic("eth0", lan, full)
			fresh := n.Host("new").Nic("eth0", lan)
			k := kernelOf(t, fresh)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			lab.Eventually(t, 30*time.Second, func() error { // the client learns the old one
				conn, err := client.TryDial(ctx, "tcp", net.JoinHostPort(c.vip, "9"))
				if err == nil {
					conn.Close()
				}
				out := client.Run(strings.Fields(c.show)...)
				if !strings.Contains(out, "02:00:00:00:02:01") {
					return fmt.Errorf("%s %v", out, err)
				}
				return nil
			})
			w, err := k.Wire("eth0")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if !c.bare {
				do(t, k, addr(netif.AddAddr, "eth0", full, ""))
			}
			lab.Eventually(t, 30*time.Second, func() error {
				if err := w.Announce(vip, false); err != nil {
					return err
				}
				if out := client.Run(strings.Fields(c.show)...); !strings.Contains(out, "02:00:00:00:03:01") {
					return errors.New(out)
				}
				return nil
			})
		})
	}
}

func TestWireRefusesWhatIsNoWire(t *testing.T) {
	n := lab.New(t)
	k := kernelOf(t, n.Host("h"))
	for _, name := range []string{"lo", "nowhere0"} {
		if w, err := k.Wire(name); err == nil {
			w.Close()
			t.Errorf("%s can be opened for announcements", name)
		}
	}
}

// Somebody takes the address away, pulls the cable, removes the device: a watch
// tells.
func TestWatch(t *testing.T) {
	n := lab.New(t)
	h := n.Host("h").Nic("eth0", n.Bridge("lan"), "192.168.1.1/24")
	k := kernelOf(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := k.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(kind netif.EventKind, link, prefix string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case e := <-events:
				if e.Kind == kind && e.Link == link && (prefix == "" || e.Prefix == netip.MustParsePrefix(prefix)) {
					return
				}
			case <-deadline:
				t.Fatalf("no event says %v %s %s", kind, link, prefix)
			}
		}
	}
	h.Run("ip", "addr", "add", "192.168.1.100/32", "dev", "eth0")
	expect(netif.AddrAdded, "eth0", "192.168.1.100/32")
	h.Run("ip", "addr", "flush", "dev", "eth0")
	expect(netif.AddrRemoved, "eth0", "192.168.1.100/32")
	h.Unplug("eth0")
	expect(netif.LinkWentDown, "eth0", "")
	h.Plug("eth0")
	expect(netif.LinkWentUp, "eth0", "")
	h.Run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "eth0")
	expect(netif.AddrAdded, "eth0", "2001:db8::1/64")
	h.Run("ip", "link", "del", "eth0")
	expect(netif.LinkRemoved, "eth0", "")
	cancel()
	lab.Eventually(t, 30*time.Second, func() error {
		select {
		case _, open := <-events:
			if !open {
				return nil
			}
		default:
		}
		return errors.New("the channel is still open")
	})
}

// Of steps in order none is taken after one was refused; of others each one is, and
// every error is told.
func TestInOrderAndEach(t *testing.T) {
	steps := []netif.Step{
		sysctl("net.ipv4.conf.all.arp_ignore", "1"),
		addr(netif.AddAddr, "lo", "10.0.0.1/32", "lo:0"),
		addr(netif.AddAddr, "lo", "10.0.0.2/32", "lo:1"),
	}
	h := netiftest.New("eth0")
	h.Refuse(steps[1].String(), syscall.EPERM)
	done, err := netif.InOrder(h, steps)
	if len(done) != 1 || !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("in order: %v, %v", done, err)
	}
	if log := h.Log(); len(log) != 2 {
		t.Errorf("in order, these were tried: %q", log)
	}
	done, err = netif.Each(h, steps)
	if len(done) != 2 || !errors.Is(err, syscall.EPERM) {
		t.Errorf("each: %v, %v", done, err)
	}
}
