package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
)

const siteFile = `virtual=10.0.0.100:80
	real=10.0.0.11:80 gate
	real=10.0.0.12:80 gate
virtual=10.0.0.100:443
	real=10.0.0.11:443 gate
virtual=10.0.0.101:80
	real=10.0.0.11:80 ipip
virtual=10.0.0.102:80
	real=10.0.0.11:80 masq
virtual=10.0.0.103:80
	real=10.0.0.13:80 gate
virtual=7
	real=10.0.0.12:80 gate
	service=http
virtual6=[2001:db8::100]:80
	real6=[2001:db8::11]:80 gate
`

func addrs(words ...string) []netip.Addr {
	var ips []netip.Addr
	for _, w := range words {
		ips = append(ips, netip.MustParseAddr(w))
	}
	return ips
}

// A host takes from the director's file what concerns it, and nothing else.
func TestWhatAFileWantsOfThisHost(t *testing.T) {
	file, problems := dialect.Parse("ldirectord.cf", []byte(siteFile), dialect.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	gateways := addrs("10.0.0.1")
	for name, c := range map[string]struct {
		mine  []netip.Addr
		want  []realserver.Setup
		notes []string
	}{
		"all methods": {
			mine: addrs("10.0.0.11", "2001:db8::11", "10.0.0.100"), // the VIP is up already
			want: []realserver.Setup{
				{Method: realserver.DR, VIPs: addrs("10.0.0.100", "2001:db8::100")},
				{Method: realserver.TUN, Tunnel: realserver.IPIP, VIPs: addrs("10.0.0.101")},
				{Method: realserver.NAT, VIPs: addrs("10.0.0.102"), Gateways: gateways},
			},
		},
		"a mark has no address": {
			mine:  addrs("10.0.0.12"),
			want:  []realserver.Setup{{Method: realserver.DR, VIPs: addrs("10.0.0.100")}},
			notes: []string{"ldirectord.cf:12: virtual service for firewall mark 7: the file does not say its addresses; name them with --vip"},
		},
		"a host of its own":               {mine: addrs("10.0.0.99")},
		"the director, which has the VIP": {mine: addrs("10.0.0.2", "10.0.0.100")},
	} {
		t.Run(name, func(t *testing.T) {
			setups, notes := servedHere(file.Virtuals(), c.mine, realserver.Setup{Gateways: gateways})
			opts := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}
			if d := cmp.Diff(c.want, setups, opts...); d != "" {
				t.Errorf("setups (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.notes, notes); d != "" {
				t.Errorf("notes (-want +got):\n%s", d)
			}
		})
	}
}

// A keepalived.conf says it as well, whatever it says of the director.
func TestWhatAKeepalivedConfWantsOfThisHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepalived.conf")
	text := `vrrp_instance VI_1 {
	interface ens99
	virtual_router_id 51
	virtual_ipaddress {
		10.0.0.100
	}
}
virtual_server 10.0.0.100 80 {
	lb_algo rr
	lb_kind DR
	protocol TCP
	real_server 10.0.0.11 80 {
	}
	real_server 10.0.0.12 80 {
		lvs_method TUN
	}
}
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	virtuals, problems, err := readVirtuals(t.Context(), []string{path})
	if err != nil || config.Errors(problems) {
		t.Fatal(err, problems)
	}
	for ip, want := range map[string]realserver.Setup{
		"10.0.0.11": {Method: realserver.DR, VIPs: addrs("10.0.0.100")},
		"10.0.0.12": {Method: realserver.TUN, Tunnel: realserver.IPIP, VIPs: addrs("10.0.0.100")},
	} {
		setups, notes := servedHere(virtuals, addrs(ip), realserver.Setup{})
		if d := cmp.Diff([]realserver.Setup{want}, setups, cmpopts.EquateComparable(netip.Addr{})); d != "" || len(notes) > 0 {
			t.Errorf("%s: %v (-want +got):\n%s", ip, notes, d)
		}
	}
}

// A tunnel can lead an IPv6 service through IPv4, which needs another device.
func TestOneFamilyInTheOther(t *testing.T) {
	v := ldirector.Virtual{
		Service: lvs.Service{Key: lvs.At(lvs.TCP, netip.MustParseAddrPort("[2001:db8::100]:80"))},
		Members: []ldirector.Member{{
			Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.11:80"), Method: lvs.Tunnel},
			Source:      ldirector.Source{File: "keepalived.conf", Line: 7},
		}},
	}
	setups, notes := servedHere([]ldirector.Virtual{v}, addrs("10.0.0.11"), realserver.Setup{})
	want := []string{"keepalived.conf:7: 10.0.0.11 for 2001:db8::100: a tunnel from one family to the other is not supported; raise it by hand, with a device sit or ip6tnl"}
	if d := cmp.Diff(want, notes); d != "" || len(setups) > 0 {
		t.Errorf("%v (-want +got):\n%s", setups, d)
	}
}

// What a new file no longer has goes; what it has in another way goes too, to come
// back in that way.
func TestWhatIsGoneFromTheFiles(t *testing.T) {
	dr := func(vips ...string) realserver.Setup {
		return realserver.Setup{Method: realserver.DR, VIPs: addrs(vips...)}
	}
	tun := realserver.Setup{Method: realserver.TUN, Tunnel: realserver.IPIP, VIPs: addrs("10.0.0.101")}
	nat := realserver.Setup{Method: realserver.NAT, VIPs: addrs("10.0.0.102"), Gateways: addrs("10.0.0.1")}
	otherNAT := nat
	otherNAT.VIPs = addrs("10.0.0.109")
	for name, c := range map[string]struct{ before, now, gone []realserver.Setup }{
		"nothing":            {[]realserver.Setup{dr("10.0.0.100")}, []realserver.Setup{dr("10.0.0.100")}, nil},
		"one of two":         {[]realserver.Setup{dr("10.0.0.100", "10.0.0.101")}, []realserver.Setup{dr("10.0.0.101")}, []realserver.Setup{dr("10.0.0.100")}},
		"another way":        {[]realserver.Setup{dr("10.0.0.101")}, []realserver.Setup{tun}, []realserver.Setup{dr("10.0.0.101")}},
		"the gateway stays":  {[]realserver.Setup{nat}, []realserver.Setup{otherNAT}, nil},
		"all":                {[]realserver.Setup{dr("10.0.0.100"), tun, nat}, nil, []realserver.Setup{dr("10.0.0.100"), tun, nat}},
		"one comes, none go": {[]realserver.Setup{tun}, []realserver.Setup{dr("10.0.0.100"), tun}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.gone, goneFrom(c.before, c.now), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What is well is green on a terminal, and what is missing red.
func TestLookInColour(t *testing.T) {
	vip := netip.MustParseAddr("10.0.0.100")
	a := lookAnswer{Setups: []realserver.Status{{Method: realserver.DR, Persistent: true, VIPs: []realserver.VIPStatus{
		{VIP: vip, OK: true, Interface: "lo", Label: "lo:0", Silent: true},
		{VIP: vip, Interface: "lo", Missing: []string{"ip addr add 10.0.0.100/32 dev lo"}},
	}}}}
	var plain, coloured strings.Builder
	printLook(&plain, a, false, false)
	printLook(&coloured, a, false, true)
	want := "\x1b[32mok\x1b[0m: 10.0.0.100 on lo:0, method dr, silent\n" +
		"\x1b[31mnot ok\x1b[0m: 10.0.0.100 on lo, method dr, answers ARP\n" +
		"\x1b[31mmissing\x1b[0m: ip addr add 10.0.0.100/32 dev lo\n"
	if coloured.String() != want {
		t.Errorf("got\n%q\nwant\n%q", coloured.String(), want)
	}
	if got := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(want, ""); plain.String() != got {
		t.Errorf("without colour\n%q\nwant\n%q", plain.String(), got)
	}
}

// keptLines is a log that a test reads.
type keptLines struct{ lines []string }

func (k *keptLines) Write(lines []daemon.Line) error {
	for _, l := range lines {
		k.lines = append(k.lines, l.Text)
	}
	return nil
}

// What the keeper waits for is said once, and again when it is over and comes back.
func TestKeeperSaysWhatItWaitsForOnce(t *testing.T) {
	sink := &keptLines{}
	k := &keeper{log: daemon.NewLog(sink, nil), said: map[string]bool{}, raised: map[string]bool{}}
	ctx, end := context.WithCancel(t.Context())
	logged := make(chan error, 1)
	go func() { logged <- k.log.Run(ctx) }()
	elsewhere := &fitter{have: netif.Snapshot{Addrs: []netif.Addr{{Link: "eth0", Prefix: netip.MustParsePrefix("10.0.0.99/24")}}}}
	lost := readResult{err: os.ErrNotExist}
	for range 3 {
		k.take(lost)
		if err := k.match(elsewhere); err != nil {
			t.Fatal(err)
		}
	}
	k.take(readResult{})
	k.take(lost)
	end()
	if err := <-logged; err != nil {
		t.Fatal(err)
	}
	const unread = "cannot read the director's files: file does not exist; what is up is kept, and they are read again every 5s"
	want := []string{unread, "no service of the files has a real server with an address of this host (10.0.0.99)", unread}
	if d := cmp.Diff(want, sink.lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// An emptied file is a slip: the real server keeps what it serves, as the director does.
func TestKeeperKeepsWhatAnEmptyFileLacks(t *testing.T) {
	sink := &keptLines{}
	k := &keeper{log: daemon.NewLog(sink, nil), said: map[string]bool{}, raised: map[string]bool{}}
	served := []ldirector.Virtual{{Service: lvs.Service{Key: lvs.Key{Mark: 1}}}}
	k.take(readResult{virtuals: served})
	k.take(readResult{})
	if len(k.virtuals) != 1 {
		t.Errorf("%d services are left of 1", len(k.virtuals))
	}
	if len(k.said) != 1 {
		t.Error("nobody is told")
	}
	k.take(readResult{virtuals: append(served, served...)})
	if len(k.virtuals) != 2 || len(k.said) != 0 {
		t.Errorf("the next good file is not taken: %d services", len(k.virtuals))
	}
}
