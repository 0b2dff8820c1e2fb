package lint

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

func addr(s string) netip.Addr                { return netip.MustParseAddr(s) }
func port(s string) netip.AddrPort            { return netip.MustParseAddrPort(s) }
func at(f string, n int) (s ldirector.Source) { s.File, s.Line = f, n; return }

// good is a site that no rule has anything to say about: two virtual routers, a
// service with two servers.
func good() *config.Site {
	member := func(a string, line int) ldirector.Member {
		return ldirector.Member{
			Destination: lvs.Destination{Addr: port(a), Method: lvs.Gate, Weight: 1}, Name: a, Source: at("s.cf", line),
			Checks: []check.Spec{{ID: a, Probe: check.Connect{Addr: port(a)}}},
		}
	}
	instance := func(name string, vrid uint8, vip string, line int) config.Instance {
		return config.Instance{
			Instance: vrrp.Instance{Name: name, Link: "eth0", VRID: vrid, Version: 2, Priority: 150, Interval: time.Second,
				Source: addr("10.0.0.2"), Addrs: []netip.Addr{addr(vip)}},
			Addresses: []config.Address{{Prefix: netip.PrefixFrom(addr(vip), 24), Source: at("k.conf", line+1)}},
			Origin:    at("k.conf", line),
		}
	}
	return &config.Site{
		RouterID: "lb1",
		Virtuals: []ldirector.Virtual{{
			Service: lvs.NewService(lvs.At(lvs.TCP, port("10.0.0.100:80")), "rr"),
			Members: []ldirector.Member{member("10.0.0.11:80", 2), member("10.0.0.12:80", 3)},
			Source:  at("s.cf", 1),
		}},
		Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100", 1), instance("VI_2", 52, "10.0.0.101", 11)},
	}
}

func goodHost() *Host {
	return &Host{Links: []string{"lo", "eth0"}, Addrs: []Addr{
		{"lo", netip.MustParsePrefix("127.0.0.1/8")}, {"eth0", netip.MustParsePrefix("10.0.0.2/24")},
		{"eth0", netip.MustParsePrefix("10.0.0.100/24")}, // it is master
	}}
}

// theirs is the other director of the pair.
func theirs() *config.Site {
	s := good()
	s.RouterID = "lb2"
	for i := range s.Instances {
		s.Instances[i].Priority, s.Instances[i].Source = 100, addr("10.0.0.3")
		s.Instances[i].Origin.File = "k2.conf"
	}
	return s
}

// cases: each rule, what makes it speak, and what it then says and where.
var cases = []struct {
	rule  string
	spoil func(s *config.Site, h *Host, peer *config.Site)
	want  string
}{
	{"vrid-clash", func(s *config.Site, _ *Host, _ *config.Site) { s.Instances[1].VRID = 51 },
		"k.conf:11: instance VI_2 has VRID 51 on eth0, and so has VI_1 at k.conf:1; give one of them another virtual_router_id, on all directors"},
	{"vip-twice", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.0.0.100/24") },
		"k.conf:12: 10.0.0.100 is in instance VI_2, and in VI_1 at k.conf:2; two masters would both answer for it; leave it to one of them"},
	{"instance-impossible", func(s *config.Site, _ *Host, _ *config.Site) { s.Instances[0].Interval = 300 * time.Second },
		"k.conf:1: instance VI_1: interval 5m0s is not in 1..255 whole seconds, all that VRRP version 2 can say"},
	{"track-unknown", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Instances[0].Track = []vrrp.Tracked{{Name: "script chk"}}
	},
		"k.conf:1: instance VI_1 tracks the script chk, which nobody defines; define it, or remove it from track_script"},
	{"nopreempt-master", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Instances[0].NoPreempt, s.Instances[0].StartMaster = true, true
	}, "k.conf:1: instance VI_1: with state MASTER it takes over whenever it starts, so nopreempt does not keep it from returning; write state BACKUP on all directors; the priority still decides who begins"},
	{"weight-no-failover", func(s *config.Site, _ *Host, _ *config.Site) { track(s, -20); s.Instances[0].NoPreempt = true },
		"k.conf:1: instance VI_1: with nopreempt this director does not take over from a master that a weight has made weak; remove nopreempt, or give the tracked thing no weight: then its failure is a fault"},
	{"weight-no-failover", func(s *config.Site, _ *Host, _ *config.Site) { track(s, -20); s.Instances[0].Priority = 255 },
		"k.conf:1: instance VI_1: weights do not change priority 255, so nothing that is tracked causes a fail-over; give it a priority of at most 254"},
	{"group-priorities", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Groups = []config.Group{{Group: vrrp.Group{Name: "G", Members: []string{"VI_1", "VI_2"}}}}
		s.Instances[1].Priority = 100
	}, "k.conf:11: instance VI_2 has priority 100, and VI_1 in the same group G has 150: the two can fall to different directors and pull each other down; give all members the same priority on a director"},
	{"vip-is-source", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.0.0.2/32") },
		"k.conf:12: 10.0.0.2 is the director's own address (mcast_src_ip) and its virtual one: the backup would have it too; choose an address for the service that no director has as its own"},
	{"vip-mask", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.0.0.255/24") },
		"k.conf:12: 10.0.0.255/24 is the broadcast address of its network; write another address, or /32"},
	{"vip-mask", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Instances[1].Addresses[0].Broadcast = addr("10.0.1.255")
	},
		"k.conf:12: 10.0.0.101/24: 10.0.1.255 is not the broadcast address of this network; write 10.0.0.255, or leave it out"},
	{"mask-differs", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.0.0.101/16") },
		"k.conf:12: 10.0.0.101/16 and 10.0.0.100/24 at k.conf:2 are of one network and have different masks; give both the network's mask, or /32"},
	{"vip-differs", func(s *config.Site, _ *Host, _ *config.Site) { service(s, "10.0.0.200:80") },
		"s.cf:1: the service is on 10.0.0.200, and k.conf:2 raises 10.0.0.100; write the same address in both"},
	{"vip-nowhere", func(s *config.Site, _ *Host, _ *config.Site) {
		service(s, "10.0.0.200:80")
		s.Virtuals[0].Source.File = "k.conf"
	}, "k.conf:1: no virtual router raises 10.0.0.200; add it to a virtual_ipaddress, or to haresources, if it is to move with the master"},
	{"forward-port", func(s *config.Site, _ *Host, _ *config.Site) { s.Virtuals[0].Members[1].Name = "10.0.0.12:8080" },
		"s.cf:3: server 10.0.0.12:8080: direct routing does not change ports, so what comes for port 80 arrives at port 80 and not at 8080; let the server listen on the service's port, or forward by NAT (masq)"},
	{"real-twice", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Virtuals[0].Members[1].Destination.Addr = port("10.0.0.11:80")
	},
		"s.cf:3: server 10.0.0.11:80 is in this service already, at s.cf:2; remove one; to give it more, raise its weight"},
	{"real-is-vip", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Virtuals[0].Members[1].Destination.Addr = port("10.0.0.101:80")
	},
		"s.cf:3: server 10.0.0.101 is a virtual address: what is sent to it comes back; write the server's own address"},
	{"family-mixed", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Virtuals[0].Members[1].Destination.Addr = port("[fd00::1]:80")
	},
		"s.cf:3: server fd00::1 is not of the service's address family, which only a tunnel can cross; forward to it by tunnel"},
	{"never-serves", func(s *config.Site, _ *Host, _ *config.Site) { weights(s, 0, 0) },
		"s.cf:1: TCP 10.0.0.100:80: all servers have weight 0 or are kept out, so nobody serves; give a server a weight of at least 1"},
	{"weight-unused", func(s *config.Site, _ *Host, _ *config.Site) { weights(s, 1, 3) },
		"s.cf:1: TCP 10.0.0.100:80: scheduler rr treats all weights but 0 alike; use wrr"},
	{"check-missing", func(s *config.Site, _ *Host, _ *config.Site) { s.Virtuals[0].Members[1].Checks = nil },
		"s.cf:3: server 10.0.0.12:80 has no check, and stays in when it is dead; give it the check that the others have"},
	{"fallback-is-real", func(s *config.Site, _ *Host, _ *config.Site) {
		d := s.Virtuals[0].Members[1].Destination
		s.Virtuals[0].Fallback = &d
	}, "s.cf:1: TCP 10.0.0.100:80: the fallback 10.0.0.12:80 is a real server too (s.cf:3), and down when it is needed; choose another fallback"},
	{"quorum-unreachable", func(s *config.Site, _ *Host, _ *config.Site) { s.Virtuals[0].Policy.Quorum = 3 },
		"s.cf:1: TCP 10.0.0.100:80: the quorum of 3 and hysteresis of 0 are above the sum of all weights, 2; lower the quorum, or add weight"},

	{"real-on-director", func(s *config.Site, _ *Host, _ *config.Site) {
		s.Virtuals[0].Members[1].Destination.Addr = port("10.0.0.2:80")
	},
		"s.cf:3: server 10.0.0.2 is this director: as backup it would balance what the master sends it, in a circle; let the services be on the master only"},
	{"vip-is-host", func(s *config.Site, _ *Host, _ *config.Site) {
		vip(s, 1, "10.0.0.2/32")
		s.Instances[1].Source = addr("10.0.0.9")
	},
		"k.conf:12: 10.0.0.2 is this host's own address (10.0.0.2/24 on eth0); choose an address that no host has"},
	{"vip-off-link", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.9.0.1/32") },
		"k.conf:12: 10.9.0.1 is in no network of eth0 (10.0.0.0/24): nobody there looks for it; write an address of that network, or route it to the directors"},
	{"mask-not-link", func(s *config.Site, _ *Host, _ *config.Site) { vip(s, 1, "10.0.0.101/25") },
		"k.conf:12: 10.0.0.101/25: the network of eth0 has a mask of 24 bits; write /24, or nothing"},
	{"link-missing", func(_ *config.Site, h *Host, _ *config.Site) { h.Links = []string{"lo", "ens3"} },
		"k.conf:1: there is no interface eth0 on this host; the host has lo, ens3"},

	{"peer-router-id", func(_ *config.Site, _ *Host, p *config.Site) { p.RouterID = "lb1" },
		"k.conf:1: both directors call themselves \"lb1\", in logs and mail; on the wire it means nothing; name each director after its host"},
	{"peer-missing", func(_ *config.Site, _ *Host, p *config.Site) { p.Instances[1].VRID = 53 },
		"k.conf:11: the other director has no virtual router 52; write the same number in both: there k2.conf:11 has the address"},
	{"peer-addresses", func(_ *config.Site, _ *Host, p *config.Site) { p.Instances[1].Addrs = []netip.Addr{addr("10.0.0.102")} },
		"k.conf:11: virtual router 52 has the addresses [10.0.0.101] here and [10.0.0.102] at k2.conf:11: each drops the other's adverts, and both are master; write the same addresses in both"},
	{"peer-advert", func(_ *config.Site, _ *Host, p *config.Site) { p.Instances[1].Interval = 2 * time.Second },
		"k.conf:11: virtual router 52: advert_int 1s here, 2s at k2.conf:11: each drops the other's adverts, and both are master; write the same in both"},
	{"peer-source", func(_ *config.Site, _ *Host, p *config.Site) { p.Instances[1].Source = addr("10.0.0.2") },
		"k.conf:11: virtual router 52: both directors have the source address 10.0.0.2 (k2.conf:11); write each director's own address, or leave it out"},
	{"peer-priority", func(_ *config.Site, _ *Host, p *config.Site) { p.Instances[1].Priority = 150 },
		"k.conf:11: virtual router 52: both directors have priority 150, so their addresses decide (k2.conf:11); give the one that is to be master more"},
	{"peer-master", func(s *config.Site, _ *Host, p *config.Site) {
		s.Instances[1].StartMaster, p.Instances[1].StartMaster = true, true
	}, "k.conf:11: virtual router 52: both directors have state MASTER (k2.conf:11); write state BACKUP in the one of lower priority"},
	{"peer-weight", func(s *config.Site, _ *Host, p *config.Site) { track(s, -20); track(p, -20) },
		"k.conf:1: virtual router 51: when the script chk fails, priority 150 becomes 130, and the other director has 100: nothing moves; make the weight larger than the distance"},
	{"peer-unicast", func(s *config.Site, _ *Host, p *config.Site) {
		s.Instances[1].Peers, p.Instances[1].Peers = []netip.Addr{addr("10.0.0.4")}, []netip.Addr{addr("10.0.0.2")}
	}, "k.conf:11: virtual router 52: the other director, 10.0.0.3, is not among its peers; add it to unicast_peer"},
	{"peer-services", func(_ *config.Site, _ *Host, p *config.Site) { p.Virtuals = nil },
		"s.cf:1: the other director does not have TCP 10.0.0.100:80; add it there, or clients lose it at a fail-over"},
}

func vip(s *config.Site, i int, prefix string) {
	p := netip.MustParsePrefix(prefix)
	s.Instances[i].Addresses[0].Prefix, s.Instances[i].Addrs = p, []netip.Addr{p.Addr()}
}

func service(s *config.Site, a string) { s.Virtuals[0].Service.Addr = port(a) }

func weights(s *config.Site, a, b uint32) {
	s.Virtuals[0].Members[0].Destination.Weight, s.Virtuals[0].Members[1].Destination.Weight = a, b
}

func track(s *config.Site, weight int) {
	s.Scripts = []config.Script{{Name: "chk"}}
	s.Instances[0].Track = []vrrp.Tracked{{Name: "script chk", Weight: weight}}
}

// TestRules spoils one thing, and wants one rule to say one thing.
func TestRules(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range cases {
		tested[c.rule] = true
		t.Run(c.rule, func(t *testing.T) {
			s, h, p := good(), goodHost(), theirs()
			c.spoil(s, h, p)
			var said []string
			for _, f := range all(s, h, p, kindOf(t, c.rule)) {
				if f.Rule == c.rule {
					said = append(said, f.String())
				}
			}
			if !slices.Equal(said, []string{c.want}) {
				t.Errorf("%s says\n%s\nwant\n%s", c.rule, strings.Join(said, "\n"), c.want)
			}
		})
	}
	for _, r := range Rules() {
		if !tested[r.Name] {
			t.Errorf("rule %s has no case", r.Name)
		}
	}
}

func all(s *config.Site, h *Host, p *config.Site, k Kind) []Finding {
	switch k {
	case OfHost:
		return WithHost(*s, *h)
	case OfPair:
		return Pair(*s, *p)
	}
	return Site(*s)
}

func kindOf(t *testing.T, name string) Kind {
	t.Helper()
	for _, r := range Rules() {
		if r.Name == name {
			return r.Kind
		}
	}
	t.Fatalf("there is no rule %s", name)
	return 0
}

// TestSilence: a good site gives no rule a reason to speak.
func TestSilence(t *testing.T) {
	for _, k := range []Kind{OfSite, OfHost, OfPair} {
		if found := all(good(), goodHost(), theirs(), k); len(found) > 0 {
			t.Errorf("said of a good site: %v", found)
		}
	}
	if found := Site(config.Site{}); len(found) > 0 {
		t.Errorf("said of nothing: %v", found)
	}
}

// TestSeparateGroups: one virtual_router_id may be there once for each group.
func TestSeparateGroups(t *testing.T) {
	s := good()
	s.Instances[1].VRID, s.Instances[1].Group = s.Instances[0].VRID, addr("224.0.0.99")
	if found := Site(*s); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// TestGates: a director that serves as master only may be a real server.
func TestGates(t *testing.T) {
	s, h := good(), goodHost()
	s.Virtuals[0].Members[1].Destination.Addr = port("10.0.0.2:80")
	s.Virtuals[0].Gates = []string{"VI_1"}
	if found := WithHost(*s, *h); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// TestHosts: the fourth tutorial's file, and a good one.
func TestHosts(t *testing.T) {
	got := ""
	for _, f := range Hosts("hosts", []byte("ck01.yht.com 192.168.131.147 hpcserver\nck01.yht.com 192.168.131.142 node1\n127.0.0.1 localhost\n::1 localhost\n10.0.0.1 node1 # twice\n")) {
		got += f.Rule + " " + f.String() + "\n"
	}
	want := `hosts-order hosts:1: "ck01.yht.com" is no address, and the line has no effect; the address comes first: ADDRESS NAME...
hosts-order hosts:2: "ck01.yht.com" is no address, and the line has no effect; the address comes first: ADDRESS NAME...
hosts-twice hosts:2: ck01.yht.com is 192.168.131.142 here, and 192.168.131.147 on line 1; a name for each host; nodes are told apart by it
hosts-twice hosts:5: node1 is 10.0.0.1 here, and 192.168.131.142 on line 2; a name for each host; nodes are told apart by it
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if found := Hosts("hosts", []byte("127.0.0.1 localhost lb1\n127.0.1.1 lb1\n10.0.0.2 lb1\nfd00::2 lb1\n")); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// TestPage: the manual page knows every rule.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../man/lvsctl-validate.8")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"hosts-twice", "hosts-order", foreign.Name, unequal.Name}
	for _, r := range Rules() {
		names = append(names, r.Name)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "\n.B "+strings.ReplaceAll(name, "-", `\-`)+"\n") {
			t.Errorf("the page does not name %s", name)
		}
	}
}
