package realserver

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/internal/netif/netiftest"
)

func ips(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func lines(steps []netif.Step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

const hidden = `sysctl -w net.ipv4.conf.all.arp_ignore=1
sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
sysctl -w net.ipv4.conf.CARRIER.arp_ignore=1
sysctl -w net.ipv4.conf.CARRIER.arp_announce=2
`

func hide(carrier string) string { return strings.ReplaceAll(hidden, "CARRIER", carrier) }

// stepCases are the lists of the three methods on a fresh host with eth0.
var stepCases = []struct {
	name  string
	have  func(*netif.Snapshot)
	setup Setup
	up    string
	down  string
}{
	{
		name:  "DR",
		setup: Setup{Method: DR, VIPs: ips("10.0.0.100")},
		up: hide("lo") + `ip addr add 10.0.0.100/32 brd 10.0.0.100 dev lo label lo:0
ip route add 10.0.0.100 dev lo scope link src 10.0.0.100
`,
		down: `ip route del 10.0.0.100 dev lo scope link src 10.0.0.100
ip addr del 10.0.0.100/32 dev lo
sysctl -w net.ipv4.conf.lo.arp_announce=0
sysctl -w net.ipv4.conf.lo.arp_ignore=0
sysctl -w net.ipv4.conf.default.arp_announce=0
sysctl -w net.ipv4.conf.default.arp_ignore=0
sysctl -w net.ipv4.conf.all.arp_announce=0
sysctl -w net.ipv4.conf.all.arp_ignore=0
`,
	},
	{
		name:  "DR of two families",
		setup: Setup{Method: DR, VIPs: ips("10.0.0.100", "2001:db8::100", "10.0.0.101"), NoRoute: true},
		up: hide("lo") + `ip addr add 10.0.0.100/32 brd 10.0.0.100 dev lo label lo:0
ip addr add 10.0.0.101/32 brd 10.0.0.101 dev lo label lo:1
ip -6 addr add 2001:db8::100/128 dev lo nodad preferred_lft 0
`,
	},
	{
		name:  "IPv6 needs no ARP",
		setup: Setup{Method: DR, VIPs: ips("2001:db8::100")},
		up:    "ip -6 addr add 2001:db8::100/128 dev lo nodad preferred_lft 0\n",
		down:  "ip -6 addr del 2001:db8::100/128 dev lo\n",
	},
	{
		name: "a host half done by a tutorial",
		have: func(s *netif.Snapshot) {
			s.Addrs = append(s.Addrs, netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix("10.0.0.100/32"), Label: "lo:0"})
			s.Sysctls["net.ipv4.conf.lo.arp_ignore"] = "1"
			s.Sysctls["net.ipv4.conf.lo.arp_announce"] = "2"
		},
		setup: Setup{Method: DR, VIPs: ips("10.0.0.100", "10.0.0.101"), NoRoute: true},
		up: `sysctl -w net.ipv4.conf.all.arp_ignore=1
sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
ip addr add 10.0.0.101/32 brd 10.0.0.101 dev lo label lo:1
`,
		down: `ip addr del 10.0.0.101/32 dev lo
sysctl -w net.ipv4.conf.default.arp_announce=0
sysctl -w net.ipv4.conf.default.arp_ignore=0
sysctl -w net.ipv4.conf.all.arp_announce=0
sysctl -w net.ipv4.conf.all.arp_ignore=0
`,
	},
	{
		name: "a device that outbids conf/all",
		have: func(s *netif.Snapshot) {
			s.Sysctls["net.ipv4.conf.eth0.arp_ignore"] = "3"
			s.Sysctls["net.ipv4.conf.all.arp_ignore"] = "2"
			s.Sysctls["net.ipv4.conf.lo.arp_ignore"] = "8"
		},
		setup: Setup{Method: DR, VIPs: ips("10.0.0.100"), NoRoute: true},
		up: `sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
sysctl -w net.ipv4.conf.lo.arp_announce=2
sysctl -w net.ipv4.conf.eth0.arp_ignore=1
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev lo label lo:0
`,
	},
	{
		name:  "DR with ARP left alone and a label of one's own",
		setup: Setup{Method: DR, VIPs: ips("10.0.0.100"), KeepARP: true, Label: "lo:7"},
		up:    "ip addr add 10.0.0.100/32 brd 10.0.0.100 dev lo label lo:7\nip route add 10.0.0.100 dev lo scope link src 10.0.0.100\n",
	},
	{
		name: "TUN by ipip, strict filtering everywhere",
		have: func(s *netif.Snapshot) {
			for _, dev := range []string{"all", "default"} {
				s.Sysctls["net.ipv4.conf."+dev+".rp_filter"] = "1"
			}
		},
		setup: Setup{Method: TUN, VIPs: ips("10.0.0.100")},
		up: "ip link add tunl0 type ipip\n" + hide("tunl0") + `sysctl -w net.ipv4.conf.tunl0.rp_filter=2
ip link set dev tunl0 up
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev tunl0
ip route add 10.0.0.100 dev tunl0 scope link src 10.0.0.100
`,
		down: `ip route del 10.0.0.100 dev tunl0 scope link src 10.0.0.100
ip addr del 10.0.0.100/32 dev tunl0
ip link set dev tunl0 down
sysctl -w net.ipv4.conf.tunl0.rp_filter=1
sysctl -w net.ipv4.conf.tunl0.arp_announce=0
sysctl -w net.ipv4.conf.tunl0.arp_ignore=0
sysctl -w net.ipv4.conf.default.arp_announce=0
sysctl -w net.ipv4.conf.default.arp_ignore=0
sysctl -w net.ipv4.conf.all.arp_announce=0
sysctl -w net.ipv4.conf.all.arp_ignore=0
`,
	},
	{
		name:  "TUN by gue, both families",
		setup: Setup{Method: TUN, Tunnel: GUE, VIPs: ips("2001:db8::100", "10.0.0.100"), KeepARP: true},
		up: `ip link add tunl0 type ipip
ip link add ip6tnl0 type ip6tnl
modprobe fou
ip fou add port 6080 gue
ip -6 fou add port 6080 gue
ip link set dev tunl0 up
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev tunl0
ip route add 10.0.0.100 dev tunl0 scope link src 10.0.0.100
ip link set dev ip6tnl0 up
ip -6 addr add 2001:db8::100/128 dev ip6tnl0 nodad preferred_lft 0
`,
		down: `ip -6 addr del 2001:db8::100/128 dev ip6tnl0
ip route del 10.0.0.100 dev tunl0 scope link src 10.0.0.100
ip addr del 10.0.0.100/32 dev tunl0
ip link set dev ip6tnl0 down
ip link set dev tunl0 down
ip -6 fou del port 6080
ip fou del port 6080
`,
	},
	{
		name:  "TUN by gre, loose filtering already",
		have:  func(s *netif.Snapshot) { s.Sysctls["net.ipv4.conf.all.rp_filter"] = "2" },
		setup: Setup{Method: TUN, Tunnel: GRE, VIPs: ips("10.0.0.100"), KeepARP: true, NoRoute: true},
		up: `ip link add gre0 type gre
ip link set dev gre0 up
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev gre0
`,
	},
	{
		name:  "NAT looks only",
		setup: Setup{Method: NAT, VIPs: ips("10.0.0.100")},
	},
	{
		name: "NAT with a gateway in the place of another",
		have: func(s *netif.Snapshot) {
			s.Routes = append(s.Routes, netif.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.254"), Link: "eth0"})
		},
		setup: Setup{Method: NAT, Gateways: ips("192.168.1.1", "2001:db8:1::1")},
		up: `ip route replace default via 192.168.1.1 dev eth0
ip -6 route replace default via 2001:db8:1::1 dev eth0 metric 1024
`,
		down: `ip -6 route del default via 2001:db8:1::1 dev eth0 metric 1024
ip route replace default via 192.168.1.254 dev eth0
`,
	},
}

// fresh is a host with eth0 on 192.168.1.10/24 and 2001:db8:1::10/64.
func fresh(t *testing.T, change func(*netif.Snapshot)) netif.Snapshot {
	t.Helper()
	h := netiftest.New("eth0")
	for _, prefix := range []string{"192.168.1.10/24", "2001:db8:1::10/64"} {
		if err := h.Do(netif.Step{Op: netif.AddAddr, Addr: netif.Addr{Link: "eth0", Prefix: netip.MustParsePrefix(prefix)}}); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := h.Snapshot()
	if change != nil {
		change(&s)
	}
	s.Sort()
	return s
}

func TestStepsUpAndDown(t *testing.T) {
	for _, c := range stepCases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.setup.Check(); err != nil {
				t.Fatal(err)
			}
			before := fresh(t, c.have)
			up := Steps(before, c.setup, State{}, true)
			if diff := cmp.Diff(c.up, lines(up)); diff != "" {
				t.Fatalf("up (-want +got):\n%s", diff)
			}
			st := stored(t, Remember(State{}, before, c.setup))
			h := netiftest.From(before)
			mustApply(t, h, up)
			during, _ := h.Snapshot()
			if left := Steps(during, c.setup, st, true); len(left) > 0 {
				t.Errorf("up a second time:\n%s", lines(left))
			}
			down := Steps(during, c.setup, st, false)
			if diff := cmp.Diff(c.down, lines(down)); c.down != "" && diff != "" {
				t.Errorf("down (-want +got):\n%s", diff)
			}
			mustApply(t, h, down)
			after, _ := h.Snapshot()
			sameHost(t, before, after)
			if left := Steps(after, c.setup, st, false); len(left) > 0 {
				t.Errorf("down a second time:\n%s", lines(left))
			}
			if st := Forget(st, after, c.setup); len(st.VIPs) > 0 || len(st.Shared) > 0 {
				t.Errorf("what is down is not forgotten: %+v", st)
			}
		})
	}
}

// stored is a state that went through its file.
func stored(t *testing.T, st State) State {
	t.Helper()
	data, err := st.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	return back
}

func mustApply(t *testing.T, h netif.Host, steps []netif.Step) {
	t.Helper()
	if _, err := netif.InOrder(h, steps); err != nil {
		t.Fatal(err)
	}
}

// sameHost compares two states of a host. A module that was loaded stays, and so
// does the device that came with it; it must be down and bare.
func sameHost(t *testing.T, before, after netif.Snapshot) {
	t.Helper()
	var known []netif.Link
	for _, l := range after.Links {
		if _, ok := before.Link(l.Name); ok {
			known = append(known, l)
			continue
		}
		if l.Up {
			t.Errorf("%s stays up", l.Name)
		}
		for key, value := range after.Sysctls {
			if family, name, ok := strings.Cut(key, ".conf."+l.Name+"."); ok {
				if want := before.Sysctls[family+".conf.default."+name]; value != want {
					t.Errorf("%s is %s, where conf/default had %s", key, value, want)
				}
				delete(after.Sysctls, key)
			}
		}
	}
	after.Links, after.Modules = known, before.Modules
	if diff := cmp.Diff(before, after, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the host is not as it was found (-before +after):\n%s", diff)
	}
}

// A random host, a random setup: up leads to a host where nothing is left to do,
// at no moment does an address exist that ARP would give away, and down leads back.
func TestLawsOfUpAndDown(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		before, s := randomHost(rnd), randomSetup(rnd)
		if err := s.Check(); err != nil {
			t.Fatal(seed, err)
		}
		h := netiftest.From(before)
		walk(t, h, s, Steps(before, s, State{}, true))
		st := stored(t, Remember(State{}, before, s))
		during, _ := h.Snapshot()
		if left := Steps(during, s, st, true); len(left) > 0 {
			t.Errorf("left to do after up:\n%s", lines(left))
		}
		walk(t, h, s, Steps(during, s, st, false))
		after, _ := h.Snapshot()
		sameHost(t, before, after)
		if t.Failed() {
			t.Fatalf("seed %d: %+v on\n%s", seed, s, netiftest.Text(before))
		}
	}
}

// walk takes the steps and looks at the host after each.
func walk(t *testing.T, h *netiftest.Host, s Setup, steps []netif.Step) {
	t.Helper()
	for _, step := range steps {
		if err := h.Do(step); err != nil {
			t.Fatal(err)
		}
		now, _ := h.Snapshot()
		if !s.KeepARP && (step.Op == netif.AddAddr || step.Op == netif.SetSysctl) {
			checkSilence(t, now, s, step)
		}
	}
}

func checkSilence(t *testing.T, now netif.Snapshot, s Setup, after netif.Step) {
	t.Helper()
	for _, vip := range s.family(false) {
		there := slices.ContainsFunc(now.Holders(vip), func(a netif.Addr) bool { return a.Link == s.carrier(false) })
		v, ok := now.Effective("ipv4", "eth0", "arp_ignore")
		mine := slices.ContainsFunc(Explain(now, s), func(w Want) bool { return w.VIP == vip && w.Done })
		if there && mine && ok && !hides(v) && after.Op == netif.AddAddr {
			t.Errorf("%v is there and ARP is not silent, after %v", vip, after)
		}
	}
}

func randomHost(rnd *rand.Rand) netif.Snapshot {
	s, _ := netiftest.New("eth0", "eth1").Snapshot()
	pick := func(n int) bool { return rnd.IntN(n) == 0 }
	for _, dev := range []string{"all", "default", "lo", "eth0", "eth1"} {
		if pick(2) {
			s.Sysctls["net.ipv4.conf."+dev+".arp_ignore"] = string('0' + rune(rnd.IntN(9)))
		}
		if pick(2) {
			s.Sysctls["net.ipv4.conf."+dev+".arp_announce"] = string('0' + rune(rnd.IntN(3)))
		}
		if pick(2) {
			s.Sysctls["net.ipv4.conf."+dev+".rp_filter"] = string('0' + rune(rnd.IntN(3)))
		}
	}
	add := func(link, prefix, label string) {
		next, err := s.With(netif.Step{Op: netif.AddAddr, Addr: netif.Addr{Link: link, Prefix: netip.MustParsePrefix(prefix), Label: label}})
		if err == nil {
			s = next
		}
	}
	add("eth0", "192.168.1.10/24", "")
	if pick(2) {
		add("lo", "10.0.0.100/32", "lo:0")
	}
	if pick(3) {
		add("lo", "10.0.0.200/32", "lo:1")
	}
	if pick(3) {
		add("lo", "2001:db8::100/128", "")
	}
	if pick(3) {
		s.Routes = append(s.Routes, netif.Route{Dst: netip.MustParsePrefix("10.0.0.101/32"), Link: "lo", Scope: netif.ScopeLink})
	}
	if pick(2) {
		metric := rnd.IntN(2) * 100
		s.Routes = append(s.Routes, netif.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.254"), Link: "eth0", Metric: metric})
	}
	if pick(2) {
		s.Modules = append(s.Modules, "fou")
	}
	if pick(2) {
		up := pick(2)
		s.Links = append(s.Links, netif.Link{Name: "tunl0", Kind: "ipip", NoARP: true, Up: up, Index: 9})
		netiftest.Conf(&s, "tunl0")
	}
	s.Sort()
	return s
}

func randomSetup(rnd *rand.Rand) Setup {
	all := ips("10.0.0.100", "10.0.0.101", "10.0.0.102", "2001:db8::100", "2001:db8::101")
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	s := Setup{VIPs: all[:1+rnd.IntN(len(all))], NoRoute: rnd.IntN(2) == 0, KeepARP: rnd.IntN(4) == 0}
	switch rnd.IntN(5) {
	case 0, 1:
		s.Method = DR
	case 2, 3:
		s.Method, s.Tunnel = TUN, []Tunnel{IPIP, GUE, GRE, ""}[rnd.IntN(4)]
	default:
		s.Method, s.Gateways = NAT, ips("192.168.1.1")
	}
	return s
}

// Of two VIPs that are up, one goes: what the other needs stays. Then the other
// goes, and nothing stays.
func TestOneOfTwoGoes(t *testing.T) {
	before := fresh(t, nil)
	h := netiftest.From(before)
	a, b := Setup{Method: DR, VIPs: ips("10.0.0.100")}, Setup{Method: TUN, VIPs: ips("10.0.0.101")}
	// The tunnel first: its device begins with conf/default as it is then.
	st := Remember(State{}, before, b)
	mustApply(t, h, Steps(before, b, st, true))
	between, _ := h.Snapshot()
	st = Remember(st, between, a)
	mustApply(t, h, Steps(between, a, st, true))
	both, _ := h.Snapshot()

	down := Steps(both, a, st, false)
	want := "ip route del 10.0.0.100 dev lo scope link src 10.0.0.100\nip addr del 10.0.0.100/32 dev lo\n" +
		"sysctl -w net.ipv4.conf.lo.arp_announce=0\nsysctl -w net.ipv4.conf.lo.arp_ignore=0\n"
	if diff := cmp.Diff(want, lines(down)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	st = Forget(st, both, a)
	mustApply(t, h, down)
	one, _ := h.Snapshot()
	if left := Steps(one, b, st, true); len(left) > 0 {
		t.Errorf("the other VIP lost something:\n%s", lines(left))
	}
	mustApply(t, h, Steps(one, Setup{}, st, false))
	after, _ := h.Snapshot()
	sameHost(t, before, after)
}

// After a restart the addresses and settings are gone and the state is still
// there: up makes them again, and down still knows the way back.
func TestStateSurvivesARestart(t *testing.T) {
	before := fresh(t, nil)
	s := Setup{Method: DR, VIPs: ips("10.0.0.100")}
	st := stored(t, Remember(State{}, before, s))
	rebooted := fresh(t, func(s *netif.Snapshot) { s.Sysctls["net.ipv4.conf.all.arp_announce"] = "1" })
	st = stored(t, Remember(st, rebooted, s))
	h := netiftest.From(rebooted)
	mustApply(t, h, Steps(rebooted, s, st, true))
	during, _ := h.Snapshot()
	mustApply(t, h, Steps(during, s, st, false))
	after, _ := h.Snapshot()
	sameHost(t, rebooted, after)
}

// The settings are there at boot already, by the drop-in; the values from before
// it still come back.
func TestStateOutlivesItsOwnDropIn(t *testing.T) {
	before := fresh(t, nil)
	s := Setup{Method: DR, VIPs: ips("10.0.0.100")}
	st := Remember(State{}, before, s)
	booted := fresh(t, func(s *netif.Snapshot) {
		for _, dev := range []string{"all", "default", "lo"} {
			s.Sysctls["net.ipv4.conf."+dev+".arp_ignore"] = "1"
			s.Sysctls["net.ipv4.conf."+dev+".arp_announce"] = "2"
		}
	})
	st = stored(t, Remember(st, booted, s))
	h := netiftest.From(booted)
	mustApply(t, h, Steps(booted, s, st, true))
	during, _ := h.Snapshot()
	mustApply(t, h, Steps(during, s, st, false))
	after, _ := h.Snapshot()
	sameHost(t, before, after)
}

// With the state lost, a VIP that is named goes; ARP stays silent.
func TestDownWithoutItsState(t *testing.T) {
	before := fresh(t, nil)
	s := Setup{Method: DR, VIPs: ips("10.0.0.100", "2001:db8::100")}
	h := netiftest.From(before)
	mustApply(t, h, Steps(before, s, State{}, true))
	during, _ := h.Snapshot()
	want := "ip -6 addr del 2001:db8::100/128 dev lo\nip route del 10.0.0.100 dev lo scope link src 10.0.0.100\nip addr del 10.0.0.100/32 dev lo\n"
	if diff := cmp.Diff(want, lines(Steps(during, s, State{}, false))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if steps := Steps(during, Setup{Method: DR}, State{}, false); len(steps) > 0 {
		t.Errorf("nothing is named and nothing known, and yet:\n%s", lines(steps))
	}
}

// A setting that someone changed after us is theirs.
func TestDownLeavesWhatOthersSet(t *testing.T) {
	before := fresh(t, nil)
	s := Setup{Method: DR, VIPs: ips("10.0.0.100")}
	st := Remember(State{}, before, s)
	h := netiftest.From(before)
	mustApply(t, h, Steps(before, s, st, true))
	mustApply(t, h, []netif.Step{{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: "net.ipv4.conf.all.arp_ignore", Value: "2"}}})
	during, _ := h.Snapshot()
	if text := lines(Steps(during, s, st, false)); strings.Contains(text, "all.arp_ignore") {
		t.Errorf("conf/all/arp_ignore was set to 2 by someone, and down would change it:\n%s", text)
	}
}

// A torn or strange state is refused, whatever it is.
func TestDecodeRefuses(t *testing.T) {
	good, _ := Remember(State{}, fresh(t, nil), Setup{Method: DR, VIPs: ips("10.0.0.100")}).Encode()
	for n := range len(good) - 2 {
		if _, err := Decode(good[:n]); err == nil {
			t.Fatalf("the first %d bytes of %d pass for a state", n, len(good))
		}
	}
	for _, text := range []string{
		`{}`, `{"version":2}`,
		`{"version":1,"shared":[{"op":"addr add","addr":{"link":"eth0","prefix":"10.0.0.1/24"}}]}`,
		`{"version":1,"shared":[{"op":"sysctl","sysctl":{"key":"kernel.panic","value":"1"}}]}`,
		`{"version":1,"vips":[{"vip":"10.0.0.1","method":"magic"}]}`,
		`{"version":1,"vips":[{"vip":"10.0.0.1","method":"dr"},{"vip":"10.0.0.1","method":"dr"}]}`,
	} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s passes for a state", text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	st := Remember(State{}, netif.Snapshot{}, Setup{Method: TUN, Tunnel: GUE, VIPs: ips("10.0.0.100", "2001:db8::1")})
	good, _ := st.Encode()
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := Decode(data)
		if err != nil {
			return
		}
		Steps(netif.Snapshot{}, Setup{}, st, false)
		again, err := st.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("%v in what we wrote ourselves:\n%s", err, again)
		}
	})
}

func TestSetupCheck(t *testing.T) {
	vip := ips("10.0.0.100")
	for _, c := range []struct {
		setup Setup
		want  string
	}{
		{Setup{}, "method"},
		{Setup{Method: DR}, "no virtual address"},
		{Setup{Method: DR, VIPs: ips("10.0.0.1", "10.0.0.1")}, "named twice"},
		{Setup{Method: DR, VIPs: ips("127.0.0.1")}, "no address of a host"},
		{Setup{Method: DR, VIPs: ips("::ffff:10.0.0.1")}, "write it as 10.0.0.1"},
		{Setup{Method: DR, VIPs: ips("fe80::1%eth0")}, "without %eth0"},
		{Setup{Method: DR, VIPs: vip, Label: "eth0:0"}, "begins with the interface"},
		{Setup{Method: DR, VIPs: vip, Label: "lo:x"}, "a number follows"},
		{Setup{Method: DR, VIPs: vip, Interface: "lo:0"}, "device's name"},
		{Setup{Method: DR, VIPs: vip, Tunnel: GUE}, "method tun only"},
		{Setup{Method: DR, VIPs: vip, Gateways: vip}, "method nat only"},
		{Setup{Method: TUN, VIPs: vip, Port: 1}, "tunnel gue only"},
		{Setup{Method: TUN, VIPs: vip, Tunnel: "vxlan"}, "ipip, gue and gre"},
		{Setup{Method: NAT, Interface: "lo"}, "no interface"},
		{Setup{Method: NAT, Gateways: ips("10.0.0.1", "10.0.0.2")}, "one already of its kind"},
	} {
		err := c.setup.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q in it", c.setup, err, c.want)
		}
	}
}
