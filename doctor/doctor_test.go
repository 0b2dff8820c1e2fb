package doctor

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/internal/netif/netiftest"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
	"github.com/lvsctl/lvsctl/vrrp"
)

const (
	vip4  = "192.168.1.100"
	vip6  = "2001:db8:1::100"
	rip1  = "192.168.1.11"
	vmac  = "02:00:00:00:02:01" // of the director
	rmac1 = "02:00:00:00:03:01" // of the first real server
)

func ip(text string) netip.Addr         { return netip.MustParseAddr(text) }
func port(text string) netip.AddrPort   { return netip.MustParseAddrPort(text) }
func prefix(text string) netip.Prefix   { return netip.MustParsePrefix(text) }
func addr(link, text string) netif.Addr { return netif.Addr{Link: link, Prefix: prefix(text)} }
func key(text string) lvs.Key           { return lvs.At(lvs.TCP, port(text)) }
func conf(link, name string) string     { return netif.ConfKey("ipv4", link, name) }
func who(mac string, names ...string) Who {
	w := Who{Answer: netif.Answer{MAC: mac, Count: 2, After: time.Millisecond}, Names: []netip.Addr{}}
	for _, n := range names {
		w.Names = append(w.Names, ip(n))
	}
	return w
}

// host is a fake host after some steps, with the addresses and their routes.
func host(t *testing.T, links []string, addrs ...netif.Addr) *netiftest.Host {
	t.Helper()
	h := netiftest.New(links...)
	for _, a := range addrs {
		do(t, h, netif.Step{Op: netif.AddAddr, Addr: a})
	}
	return h
}

func do(t *testing.T, h netif.Host, steps ...netif.Step) {
	t.Helper()
	if _, err := netif.InOrder(h, steps); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, h netif.Host) netif.Snapshot {
	t.Helper()
	s, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(service string, method lvs.Method, servers ...string) lvs.ServiceState {
	s := lvs.ServiceState{Service: lvs.NewService(key(service), "rr")}
	for _, r := range servers {
		s.Destinations = append(s.Destinations, lvs.DestinationState{Destination: lvs.Destination{Addr: port(r), Method: method, Weight: 1}})
	}
	return s
}

// director is the healthy director of a DR cluster, or another one that method
// makes of it.
func director(t *testing.T, method lvs.Method) Facts {
	t.Helper()
	h := host(t, []string{"eth0", "eth1"}, addr("eth0", "192.168.1.2/24"), addr("eth0", vip4+"/32"), addr("eth1", "10.0.0.1/24"), addr("eth0", "2001:db8:1::2/64"),
		netif.Addr{Link: "eth0", Prefix: prefix(vip6 + "/128"), NoDAD: true, Deprecated: true})
	f := Facts{Roles: Director, Release: "6.1.0", Host: snapshot(t, h), Firewall: Firewall{Read: true}}
	for name, value := range map[string]string{"expire_nodest_conn": "0", "expire_quiescent_template": "0", "conn_reuse_mode": "1", "conntrack": "0", "sloppy_tcp": "0"} {
		f.Host.Sysctls["net.ipv4.vs."+name] = value
	}
	for _, link := range []string{"all", "eth0", "eth1"} {
		f.Host.Sysctls[conf(link, "send_redirects")] = "1"
	}
	f.Table = lvs.State{entry(vip4+":80", method, rip1+":80", "192.168.1.12:80")}
	if method == lvs.Masq {
		f.Table = lvs.State{entry(vip4+":80", method, "10.0.0.11:80", "10.0.0.12:80")}
		f.Host.Sysctls["net.ipv4.ip_forward"] = "1"
	}
	if method == lvs.Tunnel {
		f.Table = append(f.Table, entry("["+vip6+"]:80", method, "[2001:db8:1::11]:80"))
	}
	f.Probes = []Probe{{VIP: ip(vip4), Link: "eth0", Held: true, Answers: []Who{}}}
	return f
}

// server is a healthy real server.
func server(t *testing.T, s realserver.Setup) Facts {
	t.Helper()
	h := host(t, []string{"eth0"}, addr("eth0", rip1+"/24"), addr("eth0", "2001:db8:1::11/64"))
	have := snapshot(t, h)
	do(t, h, realserver.Steps(have, s, realserver.State{}, true)...)
	f := Facts{Roles: RealServer, Host: snapshot(t, h), Setups: []realserver.Setup{s}, Firewall: Firewall{Read: true}}
	if s.Method != realserver.NAT {
		f.Probes = []Probe{{VIP: ip(vip4), Link: "eth0", Answers: []Who{who(vmac, "192.168.1.2")}}}
	}
	for _, link := range []string{"all", "eth0"} {
		f.Host.Sysctls[conf(link, "proxy_arp")] = "0"
	}
	return f
}

var (
	dr  = realserver.Setup{Method: realserver.DR, VIPs: []netip.Addr{ip(vip4), ip(vip6)}}
	tun = realserver.Setup{Method: realserver.TUN, VIPs: []netip.Addr{ip(vip4), ip(vip6)}}
	gue = realserver.Setup{Method: realserver.TUN, VIPs: []netip.Addr{ip(vip4)}, Tunnel: realserver.GUE}
	nat = realserver.Setup{Method: realserver.NAT, VIPs: []netip.Addr{ip("10.8.8.8")}, Gateways: []netip.Addr{ip("192.168.1.2")}}
)

func client(t *testing.T) Facts {
	t.Helper()
	h := host(t, []string{"eth0"}, addr("eth0", "192.168.1.1/24"))
	return Facts{Roles: Client, Host: snapshot(t, h), Firewall: Firewall{Read: true}, Probes: []Probe{{VIP: ip(vip4), Link: "eth0", Answers: []Who{who(vmac)}}}}
}

func TestHealthyHostsHaveNothing(t *testing.T) {
	for name, f := range map[string]Facts{
		"director DR": director(t, lvs.Gate), "director TUN": director(t, lvs.Tunnel), "director NAT": director(t, lvs.Masq),
		"server DR": server(t, dr), "server TUN": server(t, tun), "server GUE": server(t, gue), "server NAT": server(t, nat), "client": client(t),
		"a host of which nothing is known": {Roles: Anyone},
	} {
		if found := Examine(f); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// change is what turns a healthy host into one with a fault.
type change func(*Facts)

func sysctl(key, value string) change { return func(f *Facts) { f.Host.Sysctls[key] = value } }

func take(t *testing.T, steps ...netif.Step) change {
	return func(f *Facts) {
		h := netiftest.From(f.Host)
		do(t, h, steps...)
		f.Host = snapshot(t, h)
	}
}

func add(a netif.Addr) netif.Step { return netif.Step{Op: netif.AddAddr, Addr: a} }
func del(a netif.Addr) netif.Step { return netif.Step{Op: netif.DelAddr, Addr: a} }

// edit changes the addresses of a host that are ip.
func edit(address string, how func(*netif.Addr)) change {
	return func(f *Facts) {
		for i := range f.Host.Addrs {
			if f.Host.Addrs[i].Prefix.Addr() == ip(address) {
				how(&f.Host.Addrs[i])
			}
		}
	}
}

func link(name string, how func(*netif.Link)) change {
	return func(f *Facts) {
		for i := range f.Host.Links {
			if f.Host.Links[i].Name == name {
				how(&f.Host.Links[i])
			}
		}
	}
}

func route(r netif.Route) change {
	return func(f *Facts) {
		r.Table = netif.TableMain
		f.Host.Routes = append(f.Host.Routes, r)
		f.Host.Sort()
	}
}

func services(s ...lvs.ServiceState) change {
	return func(f *Facts) { f.Table = append(f.Table, s...) }
}

func answers(who ...Who) change { return func(f *Facts) { f.Probes[0].Answers = who } }

func advert(ours bool, src string, vrid uint8, vips ...string) change {
	return func(f *Facts) {
		a := vrrp.Advert{Src: ip(src), Dst: vrrp.GroupIPv4, VRID: vrid, Priority: 100, Version: 3, Type: 1}
		for _, v := range vips {
			a.Addrs = append(a.Addrs, ip(v))
		}
		f.Adverts = append(f.Adverts, Heard{Link: "eth0", Ours: ours, Count: 3, Advert: a})
	}
}

func iptables(lines ...string) change {
	return func(f *Facts) {
		table := "filter"
		if name, ok := strings.CutPrefix(lines[0], "*"); ok {
			table, lines = name, lines[1:]
		}
		text := "*" + table + "\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
		f.Firewall.Chains = ParseIptables("iptables", "ip", []byte(text))
	}
}

func TestFaults(t *testing.T) {
	quiet := func(f *Facts) { f.Table[0].Destinations[1].Weight = 0 }
	sync := func(link string, size uint16) change {
		return func(f *Facts) { f.Daemons = []lvs.Daemon{{Role: lvs.Master, Interface: link, MaxLen: size}} }
	}
	gateway := netif.Route{Dst: prefix("0.0.0.0/0"), Via: ip("192.168.1.2"), Link: "eth0"}
	manages := func(link string) change {
		return func(f *Facts) {
			f.Managers = []Manager{{Name: "systemd-networkd", Link: link, File: "/etc/systemd/network/10-eth0.network", Text: "[Network]\nAddress=192.168.1.2/24\n"}}
		}
	}
	for _, test := range []struct {
		rule string
		of   Facts
		make []change
	}{
		{"ipvs-missing", director(t, lvs.Gate), []change{func(f *Facts) { f.Table, f.Probes, f.IPVS.Missing = nil, nil, "no such family" }}},
		{"ipvs-denied", director(t, lvs.Gate), []change{func(f *Facts) { f.Table, f.Probes, f.IPVS.Denied = nil, nil, "operation not permitted" }}},
		{"scheduler-missing", director(t, lvs.Gate), []change{func(f *Facts) {
			f.Wanted, f.Available = []Wanted{{"mh", "/etc/ha.d/ldirectord.cf"}, {"rr", "/etc/ha.d/ldirectord.cf"}}, []string{"rr", "wrr"}
		}}},
		{"no-scheduler", director(t, lvs.Gate), []change{func(f *Facts) { f.Table[0].Scheduler = "none" }}},
		{"no-server", director(t, lvs.Gate), []change{services(entry(vip4+":81", lvs.Gate))}},
		{"no-server", director(t, lvs.Gate), []change{quiet, func(f *Facts) { f.Table[0].Destinations[0].Weight = 0 }}},
		{"vip-link-down", director(t, lvs.Gate), []change{take(t, add(addr("eth1", "10.9.9.9/32"))), link("eth1", func(l *netif.Link) { l.Up = false }), services(entry("10.9.9.9:80", lvs.Gate, rip1+":80"))}},
		{"vip-nowhere", director(t, lvs.Gate), []change{func(f *Facts) { f.Probes[0].Held = false }, take(t, del(addr("eth0", vip4+"/32")))}},
		{"vip-not-held", director(t, lvs.Gate), []change{advert(true, "192.168.1.2", 51, vip4, "192.168.1.99")}},
		{"vip-of-another", director(t, lvs.Gate), []change{advert(false, "192.168.1.3", 51, vip4), answers(who("02:00:00:00:03:03", "192.168.1.3"))}},
		{"vip-duplicate", director(t, lvs.Gate), []change{answers(who("02:00:00:00:09:09", "192.168.1.7"))}},
		{"server-answers", director(t, lvs.Gate), []change{answers(who(rmac1, rip1))}},
		{"vip-source", director(t, lvs.Gate), []change{func(f *Facts) {
			for i, r := range f.Host.Routes {
				if r.Dst == prefix("192.168.1.0/24") {
					f.Host.Routes[i].Source = ip(vip4)
				}
			}
		}}},
		{"vip-source", director(t, lvs.Tunnel), []change{edit(vip6, func(a *netif.Addr) { a.Deprecated = false })}},
		{"backup-loops", director(t, lvs.Gate), []change{take(t, del(addr("eth0", vip4+"/32")), add(addr("lo", vip4+"/32"))), func(f *Facts) { f.Probes[0].Held = false }, answers(who(vmac))}},
		{"unreachable", director(t, lvs.Gate), []change{services(entry(vip4+":81", lvs.Gate, "10.99.0.1:81"))}},
		{"unreachable", director(t, lvs.Gate), []change{route(netif.Route{Type: "blackhole", Dst: prefix("10.99.0.0/24")}), services(entry(vip4+":81", lvs.Gate, "10.99.0.1:81"))}},
		{"dr-routed", director(t, lvs.Gate), []change{route(netif.Route{Dst: prefix("10.99.0.0/24"), Via: ip("192.168.1.9"), Link: "eth0"}), services(entry(vip4+":81", lvs.Gate, "10.99.0.1:81"))}},
		{"dr-port", director(t, lvs.Gate), []change{services(entry(vip4+":81", lvs.Gate, rip1+":8081"))}},
		{"nat-forward", director(t, lvs.Masq), []change{sysctl("net.ipv4.ip_forward", "0")}},
		{"nat-redirects", director(t, lvs.Masq), []change{services(entry(vip4+":81", lvs.Masq, rip1+":81"))}},
		{"nat-no-return", director(t, lvs.Masq), []change{func(f *Facts) { f.Table[0].Destinations[0].Stats = lvs.Stats{Conns: 2, InPkts: 9} }}},
		{"nat-snat", director(t, lvs.Masq), []change{iptables("*nat", "-A POSTROUTING -o eth1 -j MASQUERADE")}},
		{"director-rp-filter", director(t, lvs.Gate), []change{sysctl(conf("eth0", "rp_filter"), "1"), route(netif.Route{Dst: prefix("0.0.0.0/0"), Via: ip("10.0.0.9"), Link: "eth1"})}},
		{"tunnel-mtu", director(t, lvs.Tunnel), []change{link("eth0", func(l *netif.Link) { l.MTU = 1300 })}},
		{"mark-unset", director(t, lvs.Gate), []change{services(lvs.ServiceState{Service: lvs.NewService(lvs.Marked(7, lvs.IPv4), "rr"), Destinations: entry(vip4+":80", lvs.Gate, rip1+":0").Destinations}),
			iptables("*mangle", "-A PREROUTING -j MARK --set-xmark 0x8/0xffffffff")}},
		{"expire-nodest", director(t, lvs.Gate), []change{func(f *Facts) {
			f.Connections = []lvs.Connection{{Protocol: "TCP", Client: port("192.168.1.1:4000"), Virtual: port(vip4 + ":80"), Server: port("192.168.1.19:80"), State: "ESTABLISHED"},
				{Protocol: "TCP", Client: port("192.168.1.1:4001"), Virtual: port(vip4 + ":80"), Server: port(rip1 + ":80"), State: "ESTABLISHED"}}
		}}},
		{"expire-quiescent", director(t, lvs.Gate), []change{quiet, func(f *Facts) { f.Table[0].Flags, f.Table[0].Timeout = lvs.Persistent, 300 }}},
		{"conn-reuse", director(t, lvs.Gate), []change{quiet, sysctl("net.ipv4.vs.conn_reuse_mode", "0")}},
		{"conn-reuse", director(t, lvs.Gate), []change{sysctl("net.ipv4.vs.conntrack", "1"), func(f *Facts) { f.Release = "4.19.0-27-amd64" }}},
		{"sloppy-tcp", director(t, lvs.Gate), []change{func(f *Facts) { f.Table[0].Scheduler = "mh" }, advert(true, "192.168.1.2", 51, vip4)}},
		{"sync-link", director(t, lvs.Gate), []change{sync("eth7", 1472)}},
		{"sync-link", director(t, lvs.Gate), []change{sync("eth1", 1472), link("eth1", func(l *netif.Link) { l.Up = false })}},
		{"sync-mtu", director(t, lvs.Gate), []change{sync("eth1", 8972)}},
		{"vrid-clash", director(t, lvs.Gate), []change{advert(true, "192.168.1.2", 51, vip4), advert(false, "192.168.1.7", 51, "192.168.1.99")}},
		{"split-brain", director(t, lvs.Gate), []change{advert(true, "192.168.1.2", 51, vip4), advert(false, "192.168.1.3", 51, vip4)}},
		{"firewall-vrrp", director(t, lvs.Gate), []change{iptables("-A INPUT -p 112 -j DROP")}},
		{"firewall-vrrp", director(t, lvs.Gate), []change{iptables("-A INPUT -p tcp -j ACCEPT", "-A INPUT -j REJECT --reject-with icmp-host-prohibited"), advert(false, "192.168.1.3", 51, "192.168.1.99")}},
		{"firewall-vip", director(t, lvs.Gate), []change{iptables("-A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT", "-A INPUT -d 192.168.1.0/24 -p tcp -j DROP")}},
		{"firewall-forward", director(t, lvs.Masq), []change{iptables("-A FORWARD -m conntrack --ctstate NEW -j ACCEPT", "-A FORWARD -s 10.0.0.0/8 -j DROP")}},
		{"firewall-icmp", director(t, lvs.Tunnel), []change{iptables("-A OUTPUT -p icmp -m icmp --icmp-type 3/4 -j DROP")}},
		{"manager", director(t, lvs.Gate), []change{manages("eth0")}},

		{"vip-missing", server(t, dr), []change{take(t, del(addr("lo", vip4+"/32")))}},
		{"vip-on-wire", server(t, dr), []change{take(t, del(addr("lo", vip4+"/32")), add(addr("eth0", vip4+"/32")))}},
		{"vip-length", server(t, dr), []change{take(t, del(addr("lo", vip4+"/32")), add(addr("lo", vip4+"/24")))}},
		{"vip-dad", server(t, dr), []change{take(t, del(addr("lo", vip6+"/128")), add(addr("eth0", vip6+"/64"))), edit(vip6, func(a *netif.Addr) { a.DADFailed = true })}},
		{"vip6-source", server(t, dr), []change{edit(vip6, func(a *netif.Addr) { a.Deprecated = false })}},
		{"arp-ignore", server(t, dr), []change{sysctl(conf("all", "arp_ignore"), "0")}},
		{"arp-ignore", server(t, dr), []change{sysctl(conf("eth0", "arp_ignore"), "3")}},
		{"arp-announce", server(t, dr), []change{sysctl(conf("all", "arp_announce"), "0")}},
		{"proxy-arp", server(t, dr), []change{sysctl(conf("eth0", "proxy_arp"), "1")}},
		{"tunnel-down", server(t, tun), []change{link("tunl0", func(l *netif.Link) { l.Up = false })}},
		{"tunnel-port", server(t, gue), []change{func(f *Facts) { f.Host.Fous = nil }}},
		{"tunnel-rp-filter", server(t, tun), []change{sysctl(conf("all", "rp_filter"), "1"), sysctl(conf("tunl0", "rp_filter"), "0")}},
		{"firewall-tunnel", server(t, tun), []change{iptables("-A INPUT -p ipencap -j DROP")}},
		{"gateway-is-director", server(t, dr), []change{route(gateway), func(f *Facts) {
			f.Neighbours = []netif.Neighbour{{Link: "eth0", IP: ip("192.168.1.2"), MAC: vmac}}
		}}},
		{"nat-gateway", server(t, nat), []change{func(f *Facts) {
			f.Host.Routes = slices.DeleteFunc(f.Host.Routes, func(r netif.Route) bool { return r.Dst.Bits() == 0 })
		}}},
		{"nat-vip", server(t, nat), []change{take(t, add(addr("lo", "10.8.8.8/32")))}},
		{"nat-shortcut", server(t, nat), []change{take(t, add(addr("eth0", "10.8.8.1/24")))}},
		{"nobody-answers", client(t), []change{answers()}},
		{"many-answer", client(t), []change{answers(who(vmac), who(rmac1))}},
		{"stale-neighbour", client(t), []change{func(f *Facts) { f.Neighbours = []netif.Neighbour{{Link: "eth0", IP: ip(vip4), MAC: rmac1}} }}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			f := test.of
			for _, make := range test.make {
				make(&f)
			}
			found := Examine(f)
			if got := names(found); !slices.Equal(got, []string{test.rule}) {
				t.Fatalf("found %q: %+v", got, found)
			}
			for _, x := range found {
				if x.What == "" || x.Why == "" || len(x.Fix) == 0 && test.rule != "" {
					t.Errorf("a finding without evidence, reason or line: %+v", x)
				}
			}
			heals(t, f, found, test.rule)
		})
		tried[test.rule] = true
	}
	for _, r := range Rules() {
		if !tried[r.Name] {
			t.Errorf("no fault makes rule %s find anything", r.Name)
		}
	}
}

var tried = map[string]bool{}

func names(found []Finding) []string {
	var list []string
	for _, x := range found {
		if !slices.Contains(list, x.Rule) {
			list = append(list, x.Rule)
		}
	}
	return list
}

// heals: where a finding has steps, they make it go, and bring nothing new.
func heals(t *testing.T, f Facts, found []Finding, rule string) {
	t.Helper()
	h := netiftest.From(f.Host)
	steps := 0
	for _, x := range found {
		steps += len(x.Steps)
		if _, err := netif.Each(h, x.Steps); err != nil {
			t.Errorf("%s: %v", rule, err)
		}
	}
	f.Host = snapshot(t, h)
	if steps == 0 || rule == "ipvs-missing" { // a module appears elsewhere than among the host's facts
		return
	}
	if left := Examine(f); len(left) > 0 {
		t.Errorf("after its steps: %+v", left)
	}
}

// The lab makes every fault on a real kernel.
func TestEveryRuleIsTriedInTheLab(t *testing.T) {
	files, err := filepath.Glob("doctorlab/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, r := range Rules() {
		if !strings.Contains(all.String(), `"`+r.Name+`"`) {
			t.Errorf("rule %s: no test of doctorlab names it", r.Name)
		}
	}
}

// Names are unique, and the manual page tells all of them.
func TestThePageTellsAllRules(t *testing.T) {
	src, err := os.ReadFile("../man/lvsctl-doctor.8")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(src), `\-`, "-")
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.Name] {
			t.Errorf("two rules are called %s", r.Name)
		}
		seen[r.Name] = true
		about := strings.ToUpper(r.About[:1]) + r.About[1:]
		if !strings.Contains(page, "\n.B "+r.Name+"\n"+about+" (") {
			t.Errorf("the page does not tell %s: %s", r.Name, about)
		}
	}
}

// A line that edits a server must not change how it is reached.
func TestLinesKeepTheTunnel(t *testing.T) {
	s := entry(vip4+":80", lvs.Tunnel, rip1+":80")
	s.Destinations[0].Weight = 0
	s.Destinations[0].Tunnel = lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelCsum}
	found := noServer(Facts{Table: lvs.State{s}})
	want := "ipvsadm -e -t 192.168.1.100:80 -r 192.168.1.11:80 -i --tun-type gue --tun-port 6080 --tun-csum -w 1"
	if len(found) != 1 || found[0].Fix[0] != want {
		t.Errorf("%+v", found)
	}
}
