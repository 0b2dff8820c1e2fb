package realserver

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/internal/netif/netiftest"
)

const vip = "10.0.0.100"

// hand is what a script does, one change after the other.
type hand func(*netif.Snapshot)

func conf(device, name, value string) hand {
	return func(s *netif.Snapshot) { s.Sysctls[netif.ConfKey("ipv4", device, name)] = value }
}

// onLo is "ifconfig lo:0 VIP netmask 255.255.255.255 broadcast VIP".
func onLo(s *netif.Snapshot) {
	p := netip.MustParsePrefix(vip + "/32")
	s.Addrs = append(s.Addrs, netif.Addr{Link: "lo", Prefix: p, Broadcast: p.Addr(), Label: "lo:0"})
}

// onLoBare is the same without "broadcast VIP". With this netmask the kernel has no
// broadcast address to choose, and leaves it out.
func onLoBare(s *netif.Snapshot) {
	s.Addrs = append(s.Addrs, netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix(vip + "/32"), Label: "lo:0"})
}

// routed is "route add -host VIP dev lo:0", or the same without "dev". Behind the
// label the kernel finds the address that becomes the route's source.
func routed(s *netif.Snapshot) {
	p := netip.MustParsePrefix(vip + "/32")
	s.Routes = append(s.Routes, netif.Route{Dst: p, Link: "lo", Source: p.Addr(), Scope: netif.ScopeLink})
}

// onTunl0 is "ifconfig tunl0 VIP netmask 255.255.255.0 broadcast VIP up" and "route
// add -host VIP dev tunl0": the first makes a route to the whole network, the second
// one without a source, since tunl0 is no label.
func onTunl0(s *netif.Snapshot) {
	s.Links = append(s.Links, netif.Link{Name: "tunl0", Kind: "ipip", NoARP: true, Up: true, Index: 9})
	netiftest.Conf(s, "tunl0")
	p := netip.MustParsePrefix(vip + "/24")
	s.Addrs = append(s.Addrs, netif.Addr{Link: "tunl0", Prefix: p, Broadcast: p.Addr()})
	s.Routes = append(s.Routes,
		netif.Route{Dst: p.Masked(), Link: "tunl0", Source: p.Addr(), Scope: netif.ScopeLink, Proto: netif.ProtoKernel},
		netif.Route{Dst: netip.PrefixFrom(p.Addr(), 32), Link: "tunl0", Scope: netif.ScopeLink})
}

// tutorials are the ways in which public scripts make a real server, in our own
// words, and what is left for us to do after each.
var tutorials = []struct {
	name   string
	does   []hand
	setup  Setup
	hides  bool // a network card is silent about the VIP
	missed string
	why    string
}{
	{
		name:  "address, route, lo and all",
		does:  []hand{onLo, routed, conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
`,
		why: "all covers every card; default is only what a later card begins with",
	},
	{
		name:  "address without a broadcast, route, lo and all",
		does:  []hand{onLoBare, routed, conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
`,
		why: "nobody sends to the broadcast address of one host: the address is as good without",
	},
	{
		name:  "address and route; sysctl -p afterwards brings back the zeros of sysctl.conf",
		does:  []hand{onLo, routed, conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2"), conf("all", "arp_ignore", "0"), conf("all", "arp_announce", "0"), conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2")},
		hides: false,
		missed: `sysctl -w net.ipv4.conf.all.arp_ignore=1
sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
`,
		why: "the file has the last word, and the script ends with success",
	},
	{
		name:  "address, lo and all, no route",
		does:  []hand{onLo, conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
ip route add 10.0.0.100 dev lo scope link src 10.0.0.100
`,
		why: "the local table makes the address work without the route",
	},
	{
		name:  "all, default and lo from sysctl.conf, address from ifcfg, route from rc.local",
		does:  []hand{conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2"), conf("default", "arp_ignore", "1"), conf("default", "arp_announce", "2"), conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2"), onLo, routed},
		hides: true,
		why:   "this is what we do",
	},
	{
		name:  "address, route, lo alone",
		does:  []hand{onLo, routed, conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2")},
		hides: false,
		missed: `sysctl -w net.ipv4.conf.all.arp_ignore=1
sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
`,
		why: "no ARP request comes in on lo: the host answers for the VIP",
	},
	{
		name:  "the tunnel's device with a network of 24 bits",
		does:  []hand{onTunl0, conf("tunl0", "arp_ignore", "1"), conf("tunl0", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		setup: Setup{Method: TUN},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev tunl0
`,
		why: "the length sends the whole network into the tunnel, which is a finding; the address of one host is missing",
	},
}

func TestTutorials(t *testing.T) {
	for _, c := range tutorials {
		t.Run(c.name, func(t *testing.T) {
			s := c.setup
			s.VIPs = ips(vip)
			if s.Method == "" {
				s.Method = DR
			}
			host := fresh(t, func(h *netif.Snapshot) {
				for _, do := range c.does {
					do(h)
				}
			})
			if got := silent(host, s.VIPs[0]); got != c.hides {
				t.Errorf("silent: %v; %s", got, c.why)
			}
			steps := Steps(host, s, State{}, true)
			if diff := cmp.Diff(c.missed, lines(steps)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
			h := netiftest.From(host)
			mustApply(t, h, steps)
			after, _ := h.Snapshot()
			if !silent(after, s.VIPs[0]) {
				t.Error("ours is not silent either")
			}
		})
	}
}

// stops are what the stop of public scripts does, by hand after ours, and what up
// mends then.
var stops = []struct {
	name  string
	setup Setup
	does  []netif.Step
	again string
	why   string
}{
	{
		name:  "lo:0 down and zeros",
		setup: Setup{Method: DR},
		does: []netif.Step{
			{Op: netif.DelAddr, Addr: netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix(vip + "/32")}},
			zero("lo", "arp_ignore"), zero("lo", "arp_announce"), zero("all", "arp_ignore"), zero("all", "arp_announce"),
		},
		again: `sysctl -w net.ipv4.conf.all.arp_ignore=1
sysctl -w net.ipv4.conf.all.arp_announce=2
sysctl -w net.ipv4.conf.lo.arp_ignore=1
sysctl -w net.ipv4.conf.lo.arp_announce=2
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev lo label lo:0
ip route add 10.0.0.100 dev lo scope link src 10.0.0.100
`,
		why: "our route goes with the address that is its source, whether or not the script removes it: no packet for the VIP ends at lo",
	},
	{
		name:  "tunl0 down, arp_announce zero, ip_forward on",
		setup: Setup{Method: TUN},
		does: []netif.Step{
			{Op: netif.LinkDown, Link: netif.Link{Name: "tunl0"}}, zero("all", "arp_announce"),
			{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: "net.ipv4.ip_forward", Value: "1"}},
		},
		again: `sysctl -w net.ipv4.conf.all.arp_announce=2
ip link set dev tunl0 up
ip route add 10.0.0.100 dev tunl0 scope link src 10.0.0.100
`,
		why: "a device that goes down keeps its addresses and loses its routes; ip_forward is not ours",
	},
}

func zero(device, name string) netif.Step {
	return netif.Step{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: netif.ConfKey("ipv4", device, name), Value: "0"}}
}

func TestATutorialsStopAfterOurs(t *testing.T) {
	for _, c := range stops {
		t.Run(c.name, func(t *testing.T) {
			before := fresh(t, nil)
			s := c.setup
			s.VIPs = ips(vip)
			h := netiftest.From(before)
			mustApply(t, h, Steps(before, s, State{}, true))
			mustApply(t, h, c.does)
			if diff := cmp.Diff(c.again, lines(Steps(mustRead(h), s, State{}, true))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

// A script's route without a source is as good as ours, and goes with a named VIP:
// the kernel finds it only by the source that it has.
func TestDownOfAScriptsRoute(t *testing.T) {
	have := fresh(t, func(h *netif.Snapshot) {
		onLo(h)
		h.Routes = append(h.Routes, netif.Route{Dst: netip.MustParsePrefix(vip + "/32"), Link: "lo", Scope: netif.ScopeLink})
	})
	want := "ip route del 10.0.0.100 dev lo scope link\nip addr del 10.0.0.100/32 dev lo\n"
	if diff := cmp.Diff(want, lines(Steps(have, Setup{Method: DR, VIPs: ips(vip)}, State{}, false))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With NAT the VIP is not here, so that there is nothing to hide.
func TestNATHasNothingToHide(t *testing.T) {
	setup := Setup{Method: NAT, VIPs: ips(vip), Gateways: ips("192.168.1.1")}
	h := netiftest.From(fresh(t, nil))
	mustApply(t, h, Steps(mustRead(h), setup, State{}, true))
	if st := Look(mustRead(h), setup); !st.OK || !st.VIPs[0].OK || !st.VIPs[0].Silent {
		t.Errorf("a host without the VIP: %+v", st)
	}
	onCard := netif.Addr{Link: "eth0", Prefix: netip.MustParsePrefix(vip + "/32")}
	mustApply(t, h, []netif.Step{{Op: netif.AddAddr, Addr: onCard}})
	if st := Look(mustRead(h), setup); st.OK || st.VIPs[0].OK || st.VIPs[0].Silent {
		t.Errorf("a host that has the VIP: %+v", st)
	}
}

func mustRead(h netif.Host) netif.Snapshot {
	s, err := h.Snapshot()
	if err != nil {
		panic(err) // the fake's never fails
	}
	return s
}

func TestFindings(t *testing.T) {
	on := func(link, prefix string) hand {
		return func(s *netif.Snapshot) {
			s.Addrs = append(s.Addrs, netif.Addr{Link: link, Prefix: netip.MustParsePrefix(prefix)})
		}
	}
	dr := Setup{Method: DR, VIPs: ips(vip)}
	for _, c := range []struct {
		name  string
		host  hand
		setup Setup
		want  string // "" is none
	}{
		{"a clean host", func(*netif.Snapshot) {}, dr, ""},
		{"on the card", on("eth0", vip+"/32"), dr, "wrong: 10.0.0.100 is on eth0: a device on the wire answers"},
		{"a whole network on lo", on("lo", vip+"/24"), dr, "wrong: 10.0.0.100 is on lo with length 24: this host now takes all of 10.0.0.0/24"},
		{"a network on the tunnel", onTunl0, Setup{Method: TUN, VIPs: ips(vip)}, "wrong: 10.0.0.100 is on tunl0 with length 24: this host now has a route to all of 10.0.0.0/24 through tunl0, where none of it is"},
		{"lo alone", conf("lo", "arp_ignore", "1"), dr, "note: arp_ignore is set on lo and not on all"},
		{"put on the wire", func(*netif.Snapshot) {}, Setup{Method: DR, VIPs: ips(vip), Interface: "eth0"}, "wrong: eth0 is on the wire"},
		{"no such device", func(*netif.Snapshot) {}, Setup{Method: TUN, VIPs: ips(vip), Interface: "tun9"}, "wrong: there is no device tun9"},
		{"IPv6 off", func(s *netif.Snapshot) { s.Sysctls["net.ipv6.conf.lo.disable_ipv6"] = "1" }, Setup{Method: DR, VIPs: ips("2001:db8::1")}, "mend it with: sysctl -w net.ipv6.conf.lo.disable_ipv6=0"},
		{"IPv6 as a source", on("lo", "2001:db8::1/128"), Setup{Method: DR, VIPs: ips("2001:db8::1")}, "advice: 2001:db8::1 may become the source"},
		{"room in a tunnel", func(*netif.Snapshot) {}, Setup{Method: TUN, Tunnel: GUE, VIPs: ips(vip)}, "note: a packet of a client has room for 1468 bytes of the 1500 on the wire"},
		{"NAT with the VIP", on("lo", vip+"/32"), Setup{Method: NAT, VIPs: ips(vip), Gateways: ips("192.168.1.1")}, "wrong: 10.0.0.100 is on lo: with NAT"},
		{"NAT without a way back", func(*netif.Snapshot) {}, Setup{Method: NAT}, "wrong: there is no default route"},
		{"NAT, a gateway nowhere", func(*netif.Snapshot) {}, Setup{Method: NAT, Gateways: ips("172.16.0.1")}, "wrong: 172.16.0.1 is on no network of this host"},
		{"NAT, itself", func(*netif.Snapshot) {}, Setup{Method: NAT, Gateways: ips("192.168.1.10")}, "wrong: 192.168.1.10 is this host's own address"},
	} {
		found := Inspect(fresh(t, c.host), c.setup)
		if c.want == "" && len(found) > 0 {
			t.Errorf("%s: %v", c.name, found)
		}
		if c.want != "" && !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.String(), c.want) }) {
			t.Errorf("%s: %v, none says %q", c.name, found, c.want)
		}
		if broken := strings.HasPrefix(c.want, "wrong") || strings.HasPrefix(c.want, "mend"); broken != Broken(found) {
			t.Errorf("%s: broken is %v of %v", c.name, !broken, found)
		}
	}
}

// What tutorials leave in files, line by line.
func TestLeftovers(t *testing.T) {
	root := fstest.MapFS{
		"etc/sysconfig/network-scripts/ifcfg-lo:0": {Data: []byte("DEVICE=lo:0\nIPADDR=10.0.0.100\nNETMASK=255.255.255.255\nONBOOT=yes\n")},
		"etc/sysconfig/network-scripts/ifcfg-lo:1": {Data: []byte("DEVICE=lo:1\nIPADDR=\"10.0.0.101\"\nNETMASK=255.255.255.0\nONBOOT=yes\n")},
		"etc/sysconfig/network-scripts/ifcfg-lo:2": {Data: []byte("DEVICE=lo:2\nIPADDR=10.9.9.9\nNETMASK=255.255.255.0\n")},
		"etc/rc.local":                {Data: []byte("#!/bin/sh\n# route add -host 10.0.0.100 dev lo:0\n/sbin/route add -host 10.0.0.100 dev lo:0\n")},
		"etc/sysctl.conf":             {Data: []byte("net.ipv4.conf.lo.arp_ignore = 1\nnet.ipv4.conf.lo.arp_announce=2\n")},
		"etc/sysctl.d/99-net.conf":    {Data: []byte("net/ipv4/conf/all/arp_ignore = 0\n")},
		"etc/sysctl.d/90-lvsctl.conf": {Data: []byte(marker + "\nnet.ipv4.conf.all.arp_ignore = 1\n")},
		"etc/network/interfaces":      {Data: []byte("auto lo:0\niface lo:0 inet static\n  address 10.0.0.100/32\n")},
		"etc/init.d/realserver":       {Data: []byte("VIP=10.0.0.100\n/sbin/ifconfig lo:0 $VIP netmask 255.255.255.255 up\necho \"1\" >/proc/sys/net/ipv4/conf/lo/arp_ignore\n")},
		"etc/init.d/other":            {Data: []byte("IP=10.9.9.9\nifconfig eth0:1 $IP up\n")},
		"etc/init.d/folder/file":      {Data: []byte("x")},
	}
	files, err := ReadLeftovers(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range Leftovers(files, Setup{Method: DR, VIPs: ips("10.0.0.100", "10.0.0.101")}) {
		text, _, _ := strings.Cut(f.String(), ": lvsctl finds")
		got = append(got, text)
	}
	want := []string{
		"note: /etc/sysconfig/network-scripts/ifcfg-lo:0: it raises 10.0.0.100 at boot",
		"wrong: /etc/sysconfig/network-scripts/ifcfg-lo:1: it gives 10.0.0.101 a network: the host would take that whole network for its own; NETMASK has to be 255.255.255.255",
		"note: /etc/rc.local:3: /sbin/route add -host 10.0.0.100 dev lo:0",
		"advice: /etc/sysctl.conf:1: it silences lo alone: that hides nothing: an ARP request comes in on a network card, and there the larger of conf/all and the card's own value counts",
		"wrong: /etc/sysctl.d/99-net.conf:1: it sets arp_ignore of all to 0: at boot that undoes the silence that the virtual addresses need",
		"note: /etc/network/interfaces:3: address 10.0.0.100/32",
		"note: /etc/init.d/realserver:2: /sbin/ifconfig lo:0 $VIP netmask 255.255.255.255 up",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzLeftovers(f *testing.F) {
	f.Add("/etc/rc.local", "VIP=10.0.0.100\nifconfig lo:0 $VIP up\n")
	f.Add("/etc/sysctl.conf", "net.ipv4.conf.all.arp_ignore = 1")
	f.Add("/etc/sysconfig/network-scripts/ifcfg-lo:0", "IPADDR=10.0.0.100")
	f.Add("/etc/network/interfaces", "address 10.0.0.100")
	f.Fuzz(func(t *testing.T, path, text string) {
		Leftovers([]File{{Path: path, Text: text}}, Setup{Method: TUN, VIPs: ips(vip)})
	})
}

// The files that outlive a restart, as they are: testdata/persist.
func TestPersistTexts(t *testing.T) {
	setups := []Setup{
		{Method: DR, VIPs: ips("10.0.0.100", "2001:db8::100", "10.0.0.101")},
		{Method: DR, VIPs: ips("10.0.0.102"), NoRoute: true, KeepARP: true},
	}
	more := append(slices.Clone(setups), Setup{Method: TUN, Tunnel: GUE, Port: 5555, VIPs: ips("10.0.0.103")}, Setup{Method: NAT, Gateways: ips("10.0.0.1")})
	for name, c := range map[string]struct {
		format Format
		setups []Setup
	}{
		"systemd": {Systemd, setups}, "ifcfg": {Ifcfg, setups}, "ifupdown": {Ifupdown, setups}, "networkd": {Networkd, setups}, "all-methods": {Systemd, more},
	} {
		files, err := Persist(c.format, "/usr/local/sbin/lvsctl", c.setups)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range files {
			if !Ours(f.Text) {
				t.Errorf("%s of %s is not marked as ours", f.Path, name)
			}
			b.WriteString("-- " + f.Path + " --\n" + f.Text)
		}
		golden := filepath.Join("testdata", "persist", name+".txt")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
	if _, err := Persist(Ifcfg, "lvsctl", more); err == nil {
		t.Error("network scripts can raise a tunnel")
	}
	if _, err := Persist("upstart", "lvsctl", setups); err == nil {
		t.Error("there is a format upstart")
	}
}
