package main

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	dialect "github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
	"github.com/lvsctl/lvsctl/vrrp"
)

func TestKeepalivedOptions(t *testing.T) {
	base := kaCommand{
		prog: "keepalived", file: "/etc/keepalived/keepalived.conf", umask: -1, facility: "daemon", configID: "x",
		pid: "/run/keepalived.pid", vrrpPid: "/run/vrrp.pid", chkPid: "/run/checkers.pid",
	}
	for args, change := range map[string]func(c *kaCommand){
		"":                   func(*kaCommand) {},
		"-n -l -D -f a.conf": func(c *kaCommand) { c.foreground, c.console, c.detail, c.file = true, true, true, "a.conf" },
		"-nlDfa.conf":        func(c *kaCommand) { c.foreground, c.console, c.detail, c.file = true, true, true, "a.conf" },
		"--dont-fork --log-console --log-detail --use-file=a.conf": func(c *kaCommand) {
			c.foreground, c.console, c.detail, c.file = true, true, true, "a.conf"
		},
		"--use-file a.conf --dont-f": func(c *kaCommand) { c.foreground, c.file = true, "a.conf" },
		"-P":                         func(c *kaCommand) { c.vrrpOnly = true },
		"--check -d":                 func(c *kaCommand) { c.checkOnly, c.dump = true, true },
		"-S 3":                       func(c *kaCommand) { c.facility = "local3" },
		"--log-facility=user -G":     func(c *kaCommand) { c.facility, c.noSyslog = "user", true },
		"-p /a --vrrp_pid=/b -c /c":  func(c *kaCommand) { c.pid, c.vrrpPid, c.chkPid = "/a", "/b", "/c" },
		"-t":                         func(c *kaCommand) { c.test = true },
		"-tx.log":                    func(c *kaCommand) { c.test, c.testLog = true, "x.log" },
		"--config-test=x.log":        func(c *kaCommand) { c.test, c.testLog = true, "x.log" },
		"-s blue": func(c *kaCommand) {
			c.namespace, c.pid, c.vrrpPid, c.chkPid = "blue", "/run/keepalived/blue/keepalived.pid", "/run/keepalived/blue/vrrp.pid", "/run/keepalived/blue/checkers.pid"
		},
		"-u 077 --release-vips -R -X -a -m -B --all -b /x": func(c *kaCommand) { c.umask = 0o77 },
		"-V -I": func(c *kaCommand) { c.keepVRRP, c.keepIPVS = true, true },
	} {
		want := base
		change(&want)
		got, status := parseKeepalived("keepalived", append(strings.Fields(args), "-i", "x"))
		if got == nil {
			t.Errorf("%s: exit status %d", args, status)
			continue
		}
		if *got != want {
			t.Errorf("%s:\n%+v\nwant\n%+v", args, *got, want)
		}
	}
}

// Every option that is taken has a place on the page, and the page names no other.
func TestKeepalivedPageAgrees(t *testing.T) {
	src, err := os.ReadFile("../../man/lvsctl-keepalived.8")
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`\\f.|\\`).ReplaceAllString(string(src), "")
	known := map[string]bool{"--signum": true, "--version": true, "--help": true}
	for _, o := range kaOptions {
		known["--"+o.long] = true
		word := "--" + o.long
		if o.ignored || o.declined != "" {
			if o.short == 0 {
				continue
			}
			word = "-" + string(o.short)
		}
		if !strings.Contains(page, word) {
			t.Errorf("the page does not name %s", word)
		}
	}
	for _, word := range regexp.MustCompile(`--[a-z][a-z_-]+`).FindAllString(page, -1) {
		if !known[word] {
			t.Errorf("the page names %s, which is not taken", word)
		}
	}
}

func someInstances() []appliance.InstanceStatus {
	return []appliance.InstanceStatus{{
		Name: "VI_1", Group: "G1", Interface: "eth0", VRID: 51, Version: 2, State: "MASTER", Since: time.UnixMicro(1795340560432795),
		Priority: 150, Base: 150, Interval: 1, MasterInterval: 1, Source: "10.9.0.1", Master: "10.9.0.1", MasterPriority: 150, Garp: vrrp.DefaultGarp, Password: true,
		VIPs: []netif.Addr{{Link: "eth0", Prefix: netip.MustParsePrefix("10.9.0.100/24")}, {Link: "eth0", Prefix: netip.MustParsePrefix("10.9.0.101/32")}},
		Counters: appliance.Counters{AdvertsSent: 2, BecameMaster: 1, Dropped: map[string]uint64{
			vrrp.BadLength.Error(): 3, vrrp.BadPassword.Error(): 4, vrrp.BadInterval.Error(): 5, vrrp.BadAddrs.Error(): 6}},
	}}
}

// What programs read are the peer's keys, numbers and lines.
func TestKeepalivedDumps(t *testing.T) {
	all := someInstances()
	var base statsBase
	got, err := kaJSON(all, &base)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"data":{"iname":"VI_1","dont_track_primary":0,"vmac_ifname":"","ifp_ifname":"eth0","master_priority":0,"last_transition":1795340560.432795,"garp_delay":5,"garp_refresh":0,"garp_rep":5,"garp_refresh_rep":1,"garp_lower_prio_delay":5,"garp_lower_prio_rep":5,"vrid":51,"base_priority":150,"effective_priority":150,"vipset":true,"adver_int":1,"master_adver_int":1,"accept":1,"nopreempt":false,"state":2,"wantstate":2,"version":2,"vips":["10.9.0.100/24 dev eth0 scope global set","10.9.0.101 dev eth0 scope global set"],"auth_type":1},"stats":{"advert_rcvd":0,"advert_sent":2,"become_master":1,"release_master":0,"packet_len_err":3,"advert_interval_err":5,"ip_ttl_err":0,"invalid_type_rcvd":0,"addr_list_err":6,"invalid_authtype":0,"authtype_mismatch":0,"auth_failure":4,"pri_zero_rcvd":0,"pri_zero_sent":0}}]`
	if got != want {
		t.Errorf("json\n%s\nwant\n%s", got, want)
	}
	for _, line := range []string{" VRRP Instance = VI_1", "   State = MASTER", "   Interface = eth0", "   Virtual Router ID = 51", "   Effective priority = 150",
		"   Virtual IP (2):", "     10.9.0.100/24 dev eth0 scope global set", "   Gratuitous ARP delay = 5", "   Sync group = G1"} {
		if !strings.Contains(kaData(all), "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, kaData(all))
		}
	}
	const stats = `VRRP Instance: VI_1
  Advertisements:
    Received: 0
    Sent: 2
  Became master: 1
  Released master: 0
  Packet Errors:
    Length: 3
    TTL: 0
    Invalid Type: 0
    Advertisement Interval: 5
    Address List: 6
  Authentication Errors:
    Invalid Type: 0
    Type Mismatch: 0
    Failure: 4
  Priority Zero:
    Received: 0
    Sent: 0
`
	if got := kaStatsText(all, &base); got != stats {
		t.Errorf("stats\n%s\nwant\n%s", got, stats)
	}
	base.clear(all)
	all[0].Counters.AdvertsSent = 9
	if got := kaStatsText(all, &base); !strings.Contains(got, "Sent: 7\n") || !strings.Contains(got, "Length: 0\n") {
		t.Errorf("after they were cleared\n%s", got)
	}
}

func TestSameMistake(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"(f: Line 3) Unknown keyword 'x'", "(f: Line 30) Unknown keyword 'x'", true},
		{"(f: Line 3) Unknown keyword 'x'", "(f: Line 3) Unknown keyword 'y'", false},
		{"There is one", "There is one", true}, {"There is one", "There are two", false},
	} {
		if got := sameMistake(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %v", tt.a, tt.b, got)
		}
	}
}

// The lines about virtual services are those that people have filters for.
func TestKeepalivedServiceLines(t *testing.T) {
	v := &ldirector.Virtual{Service: lvs.Service{Key: lvs.Key{Protocol: lvs.TCP, Addr: netip.MustParseAddrPort("10.0.0.1:80")}}}
	m := &ldirector.Member{Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.2:8080")}}
	for kind, want := range map[ldirector.Kind]string{
		ldirector.Added:       "Adding service [10.0.0.2]:tcp:8080 to VS [10.0.0.1]:tcp:80",
		ldirector.Deleted:     "Removing service [10.0.0.2]:tcp:8080 from VS [10.0.0.1]:tcp:80",
		ldirector.Quiesced:    "Disabling service [10.0.0.2]:tcp:8080 from VS [10.0.0.1]:tcp:80",
		ldirector.Restored:    "Enabling service [10.0.0.2]:tcp:8080 to VS [10.0.0.1]:tcp:80",
		ldirector.ServesAgain: "Gained quorum for VS [10.0.0.1]:tcp:80: why",
		ldirector.CameUp:      "why",
	} {
		if got := kaServiceText(ldirector.Event{Kind: kind, Text: "why", Virtual: v, Member: m}); got != want {
			t.Errorf("%v: %q, want %q", kind, got, want)
		}
	}
	v.Service.Key = lvs.Key{Mark: 7}
	if got := kaService(ldirector.Event{Virtual: v}); got != "FWM 7" {
		t.Error(got)
	}
}

func TestConsoleLog(t *testing.T) {
	var b strings.Builder
	when := time.Date(2026, 11, 2, 9, 42, 36, 0, time.UTC)
	if err := (consoleLog{&b}).Write([]daemon.Line{{When: when, Text: "(VI_1) Entering MASTER STATE"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "Mon Nov  2 09:42:36 2026: (VI_1) Entering MASTER STATE\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// lvs_flush: what is not configured goes, what is configured keeps its connections.
func TestFlush(t *testing.T) {
	stays, goes := lvs.NewService(lvs.Key{Family: lvs.IPv4, Protocol: lvs.TCP, Addr: netip.MustParseAddrPort("10.0.0.1:80")}, "rr"), lvs.NewService(lvs.Key{Family: lvs.IPv4, Mark: 7}, "wlc")
	k := lvstest.New(lvs.Entry{Service: stays}, lvs.Entry{Service: goes})
	if err := flush(k, []ldirector.Virtual{{Service: stays}}); err != nil {
		t.Fatal(err)
	}
	table, err := k.Read()
	if err != nil || len(table) != 1 || table[0].Key != stays.Key {
		t.Errorf("left: %v, %v", table, err)
	}
	if err := flush(k, nil); err != nil {
		t.Fatal(err)
	}
	if table, err = k.Read(); err != nil || len(table) != 0 {
		t.Errorf("left at the end: %v, %v", table, err)
	}
}

// What is asked for and cannot be had is said.
func TestWithoutMeaning(t *testing.T) {
	if got := withoutMeaning(dialect.Globals{}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	got := withoutMeaning(dialect.Globals{VRRPNice: -5, CheckerNice: 1, VRRPRealTime: 50, CheckerRealTime: 1, InitNotifies: true})
	if len(got) != 5 || !strings.HasPrefix(got[0], "vrrp_priority has no meaning here") {
		t.Errorf("%q", got)
	}
}
