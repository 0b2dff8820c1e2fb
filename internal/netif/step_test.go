package netif

import (
	"encoding/json"
	"net/netip"
	"testing"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

// steps are all kinds, each with the line it stands for and that of its inverse.
var steps = []struct {
	step    Step
	line    string
	inverse string
}{
	{Step{Op: AddAddr, Addr: Addr{Link: "lo", Prefix: prefix("10.0.0.1/32"), Broadcast: ip("10.0.0.1"), Label: "lo:0"}},
		"ip addr add 10.0.0.1/32 brd 10.0.0.1 dev lo label lo:0", "ip addr del 10.0.0.1/32 dev lo"},
	{Step{Op: AddAddr, Addr: Addr{Link: "eth0", Prefix: prefix("10.0.0.1/24"), Scope: ScopeLink}},
		"ip addr add 10.0.0.1/24 dev eth0 scope link", "ip addr del 10.0.0.1/24 dev eth0"},
	{Step{Op: AddAddr, Addr: Addr{Link: "tun1", Prefix: prefix("10.0.0.1/32"), Peer: prefix("10.0.0.2/32")}},
		"ip addr add 10.0.0.1 peer 10.0.0.2/32 dev tun1", "ip addr del 10.0.0.1/32 dev tun1"},
	{Step{Op: AddAddr, Addr: Addr{Link: "lo", Prefix: prefix("2001:db8::1/128"), NoDAD: true, NoPrefix: true, Deprecated: true}},
		"ip -6 addr add 2001:db8::1/128 dev lo nodad noprefixroute preferred_lft 0", "ip -6 addr del 2001:db8::1/128 dev lo"},
	{Step{Op: AddRoute, Route: Route{Dst: prefix("10.0.0.1/32"), Link: "lo", Scope: ScopeLink}},
		"ip route add 10.0.0.1 dev lo scope link", "ip route del 10.0.0.1 dev lo scope link"},
	{Step{Op: AddRoute, Route: Route{Dst: prefix("10.0.0.0/8"), Via: ip("10.1.1.1"), Link: "eth0", Source: ip("10.1.1.2"), Metric: 7, Table: 100, Proto: 18, OnLink: true}},
		"ip route add 10.0.0.0/8 via 10.1.1.1 dev eth0 src 10.1.1.2 metric 7 table 100 proto keepalived onlink",
		"ip route del 10.0.0.0/8 via 10.1.1.1 dev eth0 src 10.1.1.2 metric 7 table 100 proto keepalived onlink"},
	{Step{Op: AddRoute, Route: Route{Type: "blackhole", Dst: prefix("2001:db8::/32")}},
		"ip -6 route add blackhole 2001:db8::/32", "ip -6 route del blackhole 2001:db8::/32"},
	{Step{Op: ReplaceRoute, Route: Route{Dst: prefix("0.0.0.0/0"), Via: ip("10.1.1.1")}, Was: Route{Dst: prefix("0.0.0.0/0"), Via: ip("10.1.1.9")}},
		"ip route replace default via 10.1.1.1", "ip route replace default via 10.1.1.9"},
	{Step{Op: ReplaceRoute, Route: Route{Dst: prefix("::/0"), Via: ip("fe80::1"), Link: "eth0"}},
		"ip -6 route replace default via fe80::1 dev eth0", "ip -6 route del default via fe80::1 dev eth0"},
	{Step{Op: AddRule, Rule: Rule{Priority: 100, From: prefix("10.0.0.1/32"), Mark: 1, Table: 100}},
		"ip rule add pref 100 from 10.0.0.1 fwmark 0x1 lookup 100", "ip rule del pref 100 from 10.0.0.1 fwmark 0x1 lookup 100"},
	{Step{Op: AddRule, Rule: Rule{Priority: 5, IPv6: true, To: prefix("2001:db8::/32"), Iif: "eth0", Mark: 1, Mask: 15, Table: TableMain}},
		"ip -6 rule add pref 5 to 2001:db8::/32 iif eth0 fwmark 0x1/0xf lookup main", "ip -6 rule del pref 5 to 2001:db8::/32 iif eth0 fwmark 0x1/0xf lookup main"},
	{Step{Op: AddLink, Link: Link{Name: "tunl0", Kind: "ipip"}}, "ip link add tunl0 type ipip", "ip link del tunl0"},
	{Step{Op: AddLink, Link: Link{Name: "lvs0", Kind: "gre", Local: ip("10.1.1.2"), Remote: ip("10.1.1.1")}},
		"ip link add lvs0 type gre local 10.1.1.2 remote 10.1.1.1", "ip link del lvs0"},
	{Step{Op: LinkUp, Link: Link{Name: "tunl0"}}, "ip link set dev tunl0 up", "ip link set dev tunl0 down"},
	{Step{Op: AddFou, Fou: Fou{Port: 6080, GUE: true}}, "ip fou add port 6080 gue", "ip fou del port 6080"},
	{Step{Op: AddFou, Fou: Fou{Port: 5555, IPv6: true, Proto: 41}}, "ip -6 fou add port 5555 ipproto 41", "ip -6 fou del port 5555"},
	{Step{Op: LoadModule, Module: "fou"}, "modprobe fou", ""},
	{Step{Op: SetSysctl, Sysctl: Sysctl{Key: "net.ipv4.conf.all.arp_ignore", Value: "1", Was: "0"}},
		"sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_ignore=0"},
	{Step{Op: SetSysctl, Sysctl: Sysctl{Key: ConfKey("ipv4", "eth0.100", "arp_ignore"), Value: "1"}},
		"sysctl -w net.ipv4.conf.eth0/100.arp_ignore=1", ""},
}

func TestStepsPrintAsCommands(t *testing.T) {
	for _, c := range steps {
		if got := c.step.String(); got != c.line {
			t.Errorf("\n got %s\nwant %s", got, c.line)
		}
		back, ok := c.step.Inverse()
		if ok != (c.inverse != "") || ok && back.String() != c.inverse {
			t.Errorf("inverse of %s:\n got %v %v\nwant %s", c.line, back, ok, c.inverse)
		}
		if !ok || c.step.Op == ReplaceRoute && c.step.Was == (Route{}) {
			continue
		}
		if again, ok := back.Inverse(); !ok || again != c.step {
			t.Errorf("twice inverted, %s is %v", c.line, again)
		}
	}
}

func TestStepsSurviveJSON(t *testing.T) {
	for _, c := range steps {
		data, err := json.Marshal(c.step)
		if err != nil {
			t.Fatal(err)
		}
		var back Step
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if back != c.step {
			t.Errorf("%s came back as %v", data, back)
		}
	}
	if _, err := json.Marshal(Step{}); err == nil {
		t.Error("a step without a kind can be stored")
	}
	if err := json.Unmarshal([]byte(`{"op":"format the disk"}`), &Step{}); err == nil {
		t.Error("a step that nobody knows can be read")
	}
}

// The kernel's arithmetic, as include/linux/inetdevice.h has it.
func TestEffective(t *testing.T) {
	for _, c := range []struct {
		family, name  string
		all, eth0     string
		want          int
		wantAvailable bool
	}{
		{"ipv4", "arp_ignore", "0", "0", 0, true},
		{"ipv4", "arp_ignore", "1", "0", 1, true},
		{"ipv4", "arp_ignore", "1", "3", 3, true},
		{"ipv4", "arp_announce", "2", "1", 2, true},
		{"ipv4", "rp_filter", "1", "2", 2, true},
		{"ipv4", "rp_filter", "1", "0", 1, true},
		{"ipv4", "send_redirects", "0", "1", 1, true},
		{"ipv4", "accept_redirects", "1", "0", 0, true},
		{"ipv4", "forwarding", "1", "0", 0, true},
		{"ipv4", "proxy_arp", "1", "0", 1, true},
		{"ipv6", "forwarding", "1", "0", 0, true},
		{"ipv6", "disable_ipv6", "0", "1", 1, true},
		{"ipv4", "arp_ignore", "", "1", 0, false},
		{"ipv4", "arp_ignore", "1", "", 0, false},
		{"ipv4", "tag", "1", "1", 0, false},
	} {
		s := Snapshot{Sysctls: map[string]string{ConfKey(c.family, "all", c.name): c.all, ConfKey(c.family, "eth0", c.name): c.eth0}}
		got, ok := s.Effective(c.family, "eth0", c.name)
		if got != c.want || ok != c.wantAvailable {
			t.Errorf("%s %s, all %q, eth0 %q: %d %v, want %d %v", c.family, c.name, c.all, c.eth0, got, ok, c.want, c.wantAvailable)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	if got := SysctlPath(ConfKey("ipv4", "eth0.100", "arp_ignore")); got != "net/ipv4/conf/eth0.100/arp_ignore" {
		t.Error(got)
	}
}

func FuzzARPClaim(f *testing.F) {
	f.Add([]byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1})
	f.Add([]byte{0, 1, 8, 0, 255, 255, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := claimOf(data, ip("10.0.0.1"))
		if c.mac != nil && len(c.mac) != 6 {
			t.Errorf("a claim from %d bytes of hardware address", len(c.mac))
		}
	})
}

func FuzzNDPClaim(f *testing.F) {
	f.Add([]byte{136, 0, 0, 0, 0x20, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := claimOf6(data, ip("2001:db8::1"))
		if c.mac != nil && len(c.mac) != 6 {
			t.Errorf("a claim from %d bytes of hardware address", len(c.mac))
		}
	})
}

// What is on the wire says who claims the address.
func TestClaims(t *testing.T) {
	arp := func(op byte, sender, target byte) []byte {
		s := []byte{10, 0, 0, sender}
		if sender == 0 {
			s = []byte{0, 0, 0, 0}
		}
		p := append([]byte{0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, 1}, s...)
		return append(p, 2, 0, 0, 0, 0, 2, 10, 0, 0, target)
	}
	for _, c := range []struct {
		name   string
		packet []byte
		claims bool
		asks   bool
	}{
		{"a reply from its owner", arp(2, 1, 9), true, false},
		{"a request that its owner sends", arp(1, 1, 9), true, false},
		{"an announcement", arp(1, 1, 1), true, false},
		{"another that probes for it", arp(1, 0, 1), true, true},
		{"someone who asks for it", arp(1, 7, 1), false, false},
		{"a reply about another address", arp(2, 7, 1), false, false},
		{"half a packet", arp(2, 1, 9)[:20], false, false},
		{"nothing", nil, false, false},
	} {
		got := claimOf(c.packet, ip("10.0.0.1"))
		if (got.mac != nil) != c.claims || got.asks != c.asks {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var answers []Answer
	for i := range 1000 {
		answers = note(answers, claim{mac: []byte{2, 0, 0, 0, byte(i >> 8), byte(i)}}, 0)
	}
	if len(answers) != maxAnswers {
		t.Errorf("%d answers kept, the bound is %d", len(answers), maxAnswers)
	}
}
