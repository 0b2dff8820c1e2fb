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

// onLo is "ifconfig lo:0 VIP netmask 255.255.255.255", with or without "broadcast
// VIP"; ifconfig sets a broadcast address in any case.
func onLo(s *netif.Snapshot) {
	p := netip.MustParsePrefix(vip + "/32")
	s.Addrs = append(s.Addrs, netif.Addr{Link: "lo", Prefix: p, Broadcast: p.Addr(), Label: "lo:0"})
}

// routed is "route add -host VIP dev lo:0".
func routed(s *netif.Snapshot) {
	s.Routes = append(s.Routes, netif.Route{Dst: netip.MustParsePrefix(vip + "/32"), Link: "lo", Scope: netif.ScopeLink})
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
		name:  "address, lo and all, no route",
		does:  []hand{onLo, conf("lo", "arp_ignore", "1"), conf("lo", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
ip route add 10.0.0.100 dev lo scope link
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
		name: "the tunnel's device with a network of 24 bits",
		does: []hand{func(s *netif.Snapshot) {
			s.Links = append(s.Links, netif.Link{Name: "tunl0", Kind: "ipip", NoARP: true, Up: true, Index: 9})
			netiftest.Conf(s, "tunl0")
			p := netip.MustParsePrefix(vip + "/24")
			s.Addrs = append(s.Addrs, netif.Addr{Link: "tunl0", Prefix: p, Broadcast: p.Addr()})
		}, conf("tunl0", "arp_ignore", "1"), conf("tunl0", "arp_announce", "2"), conf("all", "arp_ignore", "1"), conf("all", "arp_announce", "2")},
		setup: Setup{Method: TUN},
		hides: true,
		missed: `sysctl -w net.ipv4.conf.default.arp_ignore=1
sysctl -w net.ipv4.conf.default.arp_announce=2
ip addr add 10.0.0.100/32 brd 10.0.0.100 dev tunl0
ip route add 10.0.0.100 dev tunl0 scope link
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

// A script's own stop, "ifconfig lo:0 down" and zeros, after ours: all is missing,
// and up mends it.
func TestATutorialsStopAfterOurs(t *testing.T) {
	before := fresh(t, nil)
	s := Setup{Method: DR, VIPs: ips(vip)}
	h := netiftest.From(before)
	up := Steps(before, s, State{}, true)
	mustApply(t, h, up)
	st := Remember(State{}, before, s)
	mustApply(t, h, Steps(mustRead(h), s, st, false)) // what that stop comes to
	again := Steps(mustRead(h), s, st, true)
	if diff := cmp.Diff(lines(up), lines(again)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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
