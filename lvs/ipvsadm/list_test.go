package ipvsadm

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

func TestLargeNumbers(t *testing.T) {
	for _, c := range []struct {
		n            uint64
		short, exact string
	}{
		{0, "        0", "        0"},
		{99999999, " 99999999", " 99999999"},
		{100000000, "  100000K", " 100000000"},
		{999999999, "  999999K", " 999999999"},
		{1000000000, "    1000M", " 1000000000"},
		{99999999999, "   99999M", " 99999999999"},
		{100000000000, "     100G", " 100000000000"},
		{99999999999999, "   99999G", " 99999999999999"},
		{100000000000000, "     100T", " 100000000000000"},
		{18446744073709551615, "18446744T", " 18446744073709551615"},
	} {
		var p printer
		p.large(c.n, false)
		if string(p.buf) != c.short {
			t.Errorf("%d: %q, want %q", c.n, p.buf, c.short)
		}
		p.buf = nil
		p.large(c.n, true)
		if string(p.buf) != c.exact {
			t.Errorf("%d exact: %q, want %q", c.n, p.buf, c.exact)
		}
	}
}

var busy = lvs.State{{
	Service: lvs.Service{
		Key: lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.1:80")), Scheduler: "sh",
		Flags: lvs.Persistent | lvs.Sched1 | lvs.Sched2, Timeout: 77, Netmask: 0xffffff00,
	},
	Stats: lvs.Stats{Conns: 1, InPkts: 100000000, OutPkts: 5000000000, InBytes: 3e11, OutBytes: 2e15, CPS: 4, InPPS: 123456789, OutPPS: 7, InBPS: 1e9, OutBPS: 8},
	Destinations: []lvs.DestinationState{
		{Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Method: lvs.Gate, Weight: 1, Upper: 9, Lower: 4}, Active: 12, Inactive: 345, Persistent: 6},
		{Destination: lvs.Destination{Addr: netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:80"), Method: lvs.Tunnel, Weight: 2147483647, Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 65535, Flags: lvs.TunnelRemCsum}},
			Active: 4294967295, Stats: lvs.Stats{Conns: 1 << 40, InPkts: 2, CPS: 123456789012, InPPS: 1, OutPPS: 2, InBPS: 99999999, OutBPS: 100000000}},
		{Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.3:80"), Method: lvs.Local}},
	},
}}

var busyListings = map[Mode]string{
	Plain: `TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 77 mask 255.255.255.0
  -> 10.0.0.2:80                  Route   1      12         345       |
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 Tunnel  2147483647 4294967295 0         |
  -> 10.0.0.3:80                  Local   0      0          0         |
`,
	Tunnels: `TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 77 mask 255.255.255.0
  -> 10.0.0.2:80                  Route   n/a           1      12         345       |
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 Tunnel  gue:65535:r+c 2147483647 4294967295 0         |
  -> 10.0.0.3:80                  Local   n/a           0      0          0         |
`,
	Stats: `TCP  10.0.0.1:80                         1  100000K    5000M     300G    2000T
  -> 10.0.0.2:80                         0        0        0        0        0
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80    1099G        2        0        0        0
  -> 10.0.0.3:80                         0        0        0        0        0
`,
	Rates: `TCP  10.0.0.1:80                         4  123456K        7    1000M        8
  -> 10.0.0.2:80                         0        0        0        0        0
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 123456789012        1        2 99999999  100000K
  -> 10.0.0.3:80                         0        0        0        0        0
`,
	Thresholds: `TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 77 mask 255.255.255.0
  -> 10.0.0.2:80                  9          4          12         345       |
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 0          0          4294967295 0         |
  -> 10.0.0.3:80                  0          0          0          0         |
`,
	PersistentConns: `TCP  10.0.0.1:80 sh (sh-fallback,sh-port) persistent 77 mask 255.255.255.0
  -> 10.0.0.2:80                  1         6           12         345       |
  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 2147483647 0           4294967295 0         |
  -> 10.0.0.3:80                  0         0           0          0         |
`,
}

func TestListingsOfABusyService(t *testing.T) {
	for mode, want := range busyListings {
		l := lister{printer: &printer{}, Listing: Listing{Mode: mode, NoSort: true}}
		l.table(busy.View())
		want = strings.ReplaceAll(want, "|\n", "\n")
		if got := string(l.buf); got != want {
			t.Errorf("mode %d:\n%s\nwant\n%s", mode, got, want)
		}
	}
}

func TestConnectionLines(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, c := range []struct {
		conn    lvs.Connection
		engines bool
		want    string
	}{
		{lvs.Connection{Protocol: "TCP", Client: ap("10.1.0.1:4001"), Virtual: ap("10.9.9.9:80"), Server: ap("10.2.0.1:80"), State: "ESTABLISHED", Expires: 899 * time.Second}, false,
			"TCP 14:59  ESTABLISHED 10.1.0.1:4001      10.9.9.9:80        10.2.0.1:80\n"},
		{lvs.Connection{Protocol: "UDP", Client: ap("[fd01::100]:3000"), Virtual: ap("[fd09::9]:53"), Server: ap("[fd02::11]:53"), State: "UDP", Expires: 100000 * time.Second}, true,
			"UDP 1666:40 UDP         [fd01::100]:3000   [fd09::9]:53       [fd02::11]:53\n"},
		{lvs.Connection{Protocol: "UDP", Client: ap("10.1.0.1:0"), Virtual: ap("10.9.9.9:5060"), Server: ap("10.2.0.1:5060"), State: "UDP", Expires: 59 * time.Second, PE: "sip", Data: "call-4711@host"}, true,
			"UDP 00:59  UDP         10.1.0.1:0         10.9.9.9:5060      10.2.0.1:5060    sip                call-4711@host\n"},
		{lvs.Connection{Protocol: "UDP", Client: ap("10.1.0.1:0"), Virtual: ap("10.9.9.9:5060"), Server: ap("10.2.0.1:5060"), State: "UDP", Expires: -time.Second, PE: "sip", Data: "call-4711@host"}, false,
			"UDP 00:00  UDP         10.1.0.1:0         10.9.9.9:5060      10.2.0.1:5060\n"},
		{lvs.Connection{Protocol: "IP", Client: ap("10.1.0.1:0"), Virtual: ap("0.0.0.7:0"), Server: ap("10.2.0.1:0"), State: "NONE", Expires: time.Minute}, false,
			"IP  01:00  NONE        10.1.0.1:0         0.0.0.7:0          10.2.0.1:0\n"},
	} {
		var p printer
		p.connection(&c.conn, c.engines)
		if got := string(p.buf); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

type brokenWriter struct{ room int }

var errFull = errors.New("no space left on device")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestPrinterWritesInPiecesAndKeepsTheFirstError(t *testing.T) {
	l := lister{printer: &printer{w: &brokenWriter{room: flushAt * 2}}, Listing: Listing{NoSort: true}}
	for range 1000 {
		l.table(busy.View())
		if cap(l.buf) > 4*flushAt {
			t.Fatalf("the printer keeps %d bytes", cap(l.buf))
		}
	}
	l.flush()
	if l.err != errFull {
		t.Errorf("error %v, want %v", l.err, errFull)
	}
}

func bigState(services, servers int) lvs.State {
	st := make(lvs.State, services)
	for i := range st {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		st[i].Service = lvs.NewService(lvs.At(lvs.TCP, netip.AddrPortFrom(addr, 80)), "rr")
		for j := range servers {
			ip := netip.AddrFrom4([4]byte{172, byte(16 + j), byte(i >> 8), byte(i)})
			st[i].Destinations = append(st[i].Destinations, lvs.DestinationState{Destination: lvs.Destination{
				Addr: netip.AddrPortFrom(ip, 80), Method: lvs.Gate, Weight: 1}})
		}
	}
	return st
}

func BenchmarkList(b *testing.B) {
	st := bigState(1000, 5)
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		l := lister{printer: &printer{w: &out}, Listing: Listing{Mode: Stats}}
		l.heading()
		l.table(st.View())
		l.flush()
	}
}

func BenchmarkSave(b *testing.B) {
	st := bigState(1000, 5)
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		r := ruler{printer: &printer{w: &out}}
		r.table(st.View(), false)
		r.flush()
	}
}
