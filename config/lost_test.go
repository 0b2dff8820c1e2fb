package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// fullSite has something in every place.
func fullSite(probe check.Probe) Site {
	addr, at := netip.MustParseAddr, netip.MustParseAddrPort
	command := func(w string) *Command { return &Command{Words: []string{w}} }
	serviceCommand := func(w string) *ldirector.Command { return &ldirector.Command{Words: []string{w}} }
	s := lvs.NewService(lvs.At(lvs.UDP, at("10.0.0.1:53")), "sh")
	s.PE, s.Timeout, s.Flags, s.Netmask = "sip", 60, lvs.Persistent|lvs.Sched1, 0xffffff00
	notify := Notify{Master: command("m"), Backup: command("b"), Fault: command("f"), Stop: command("s"), Deleted: command("d"), LowerPriority: command("l"), Any: command("a")}
	return Site{
		RouterID: "lb1",
		Virtuals: []ldirector.Virtual{{
			Service: s, Gates: []string{"VI"}, Name: "dns", Comment: "names", MonitorFile: "/m",
			Members: []ldirector.Member{{
				Destination: lvs.Destination{Addr: at("10.0.0.2:53"), Method: lvs.Tunnel, Weight: 3, Upper: 9, Lower: 4, Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelCsum}},
				Name:        "10.0.0.2:53", Host: "ns1", NotifyUp: serviceCommand("u"), NotifyDown: serviceCommand("d"),
				Checks: []check.Spec{{ID: "a", Probe: probe, Interval: 5 * time.Second, Timeout: 4 * time.Second, RetryDelay: time.Second, Fall: 3, Rise: 2}},
			}, {Destination: lvs.Destination{Addr: at("10.0.0.3:53"), Method: lvs.Gate, Weight: 1}, Name: "10.0.0.3:53"}},
			Fallback: &lvs.Destination{Addr: at("127.0.0.1:53"), Method: lvs.Gate, Weight: 1},
			Policy:   ldirector.Policy{CleanStop: true, Quorum: 3, Hysteresis: 1},
			Hooks:    ldirector.Hooks{Fallback: "/f", QuorumUp: serviceCommand("u"), QuorumDown: serviceCommand("d")},
			Alert:    ldirector.Alert{To: []string{"root"}, From: "lb1", Repeat: time.Hour, Status: []string{"all"}, SMTP: "mail"},
		}},
		Timeouts: lvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300},
		Sync:     []Sync{{Daemon: lvs.Daemon{Role: lvs.Backup, Interface: "eth0", SyncID: 7, MaxLen: 1400, Group: addr("224.0.0.9"), Port: 8849, TTL: 2}, Instance: "VI"}},
		Instances: []Instance{{
			Instance: vrrp.Instance{Name: "VI", Link: "eth0", Version: 3, VRID: 7, Priority: 100, Interval: time.Second, Addrs: []netip.Addr{addr("10.0.0.1")},
				Track: []vrrp.Tracked{{Name: TrackScript("chk"), Weight: -5}}},
			Addresses: []Address{{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Link: "eth1", Label: "eth1:1", Broadcast: addr("10.0.0.255"), Scope: 1}},
			Routes:    []Route{{Dst: netip.MustParsePrefix("10.9.0.0/16"), Via: addr("10.0.0.254"), Link: "eth0", From: addr("10.0.0.1"), Scope: 1, Table: 9, Metric: 4}},
			Resources: []Resource{{Name: "httpd", Args: []string{"x"}}},
			Notify:    notify,
		}},
		Groups: []Group{{Group: vrrp.Group{Name: "G", Members: []string{"VI", "VJ"}}, Notify: notify, Track: []vrrp.Tracked{{Name: TrackLink("eth9")}}}},
		Scripts: []Script{{Name: "chk", Command: Command{Words: []string{"/c", "x"}, User: "u", Group: "g"}, Interval: time.Second, Timeout: 2 * time.Second,
			Rise: 2, Fall: 3, Weight: 4}},
	}
}

// does not count: what people and logs call things, where they stand in files, and how
// the same thing is asked.
var uncounted = regexp.MustCompile(`^\.RouterID$|^\.Virtuals\[\d\]\.(Name|Comment)$|\.Members\[\d\]\.(Name|Host)$|Source\.(File|Line)$|Origin\.(File|Line)$` +
	`|\.Checks\[\d\]\.(ID|Initial)$|\.Dialect$|\.Scripts\[\d\]\.Hosts$` +
	// the second server has no check: it is well from the start, and cannot fail
	`|\.Members\[1\]\.(Inhibit|AssumeUp)$`)

// TestLostSeesEverything changes every field of a site, one at a time: there is a word
// about each one that means something.
func TestLostSeesEverything(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.2:53")
	probes := func() []check.Probe {
		return []check.Probe{
			check.HTTP{Addr: at, Secure: true, Method: "GET", Target: "/x", Host: "a", Status: []check.StatusRange{{From: 200, To: 204}}, Receive: "x"},
			check.DNS{Addr: at, Name: "a", Type: "MX", Receive: "x"}, check.MySQL{SQL: check.SQL{Addr: at, Login: "a"}}, check.FTP{Addr: at},
			check.Program{Path: "/p", Args: []string{"x"}}, check.Ping{Addr: at.Addr(), Tries: 2, Wait: time.Second}, check.Simple{Addr: at}, check.SIP{Addr: at},
			check.UDP{Addr: at, Payload: []byte{1}, Reply: []byte{2}, Wild: []byte{3}}, check.Connect{Addr: at}, check.SMTP{Addr: at}, check.RADIUS{Addr: at},
			check.LDAP{Addr: at}, check.POP{Addr: at}, check.IMAP{Addr: at}, check.From{Probe: check.Connect{Addr: at}, Source: at},
			check.Combined{Negotiate: check.HTTP{Addr: at}, Connect: check.Connect{Addr: at}, N: 3}, check.All{check.HTTP{Addr: at}, check.HTTP{Addr: at, Target: "/"}},
		}
	}
	for i, probe := range probes() {
		site := func() Site { return fullSite(probes()[i]) }
		s := site()
		if lost := Lost(site(), s); len(lost) > 0 {
			t.Fatalf("%T: nothing is changed: %v", probe, lost)
		}
		n := len(changes(&s))
		if n < 200 {
			t.Fatalf("only %d fields", n)
		}
		for i := range n {
			s := site()
			c := changes(&s)[i]
			c.make()
			lost := Lost(site(), s)
			if says := len(lost) > 0; says == uncounted.MatchString(c.path) {
				t.Errorf("%T, %s: %v", probe, c.path, lost)
			}
		}
	}
}

// change is one that can be made to a site.
type change struct {
	path string
	make func()
}

// changes are those of every field of a site.
func changes(s *Site) []change {
	var all []change
	walk("", reflect.ValueOf(s).Elem(), func(path string, set func()) { all = append(all, change{path, set}) })
	return all
}

func walk(path string, v reflect.Value, found func(path string, set func())) {
	switch x := v.Interface().(type) {
	case netip.Addr:
		found(path, func() { v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.77"))) })
		return
	case netip.AddrPort:
		found(path, func() { v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), x.Port()))) })
		found(path+" port", func() { v.Set(reflect.ValueOf(netip.AddrPortFrom(x.Addr(), x.Port()+1))) })
		return
	case netip.Prefix:
		found(path, func() { v.Set(reflect.ValueOf(netip.MustParsePrefix("192.0.2.77/30"))) })
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		found(path, func() { v.SetBool(!v.Bool()) })
	case reflect.String:
		found(path, func() { v.SetString(v.String() + "x") })
	case reflect.Int, reflect.Int64:
		found(path, func() { v.SetInt(v.Int() + 1) })
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		found(path, func() { v.SetUint(v.Uint() + 1) })
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				walk(path+"."+f.Name, v.Field(i), found)
			}
		}
	case reflect.Slice:
		walkSlice(path, v, found)
	case reflect.Pointer:
		if v.IsNil() {
			found(path, func() { v.Set(reflect.New(v.Type().Elem())) })
			return
		}
		found(path, func() { v.SetZero() })
		walk(path, v.Elem(), found)
	case reflect.Interface: // what is in it cannot be set: a copy can
		inside := reflect.New(v.Elem().Type()).Elem()
		inside.Set(v.Elem())
		walk(path, inside, func(path string, set func()) {
			found(path, func() { set(); v.Set(inside) })
		})
	default:
		panic(fmt.Sprintf("%s: a %v", path, v.Type()))
	}
}

func walkSlice(path string, v reflect.Value, found func(path string, set func())) {
	found(path, func() {
		more := reflect.New(v.Type().Elem()).Elem()
		if strings.HasSuffix(path, ".Checks") {
			more.FieldByName("Probe").Set(reflect.ValueOf(check.Connect{}))
		}
		v.Set(reflect.Append(v, more))
	})
	for i := range v.Len() {
		walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i), found)
	}
	if v.Len() > 0 {
		found(fmt.Sprintf("%s without its last", path), func() { v.Set(v.Slice(0, v.Len()-1)) })
	}
}
