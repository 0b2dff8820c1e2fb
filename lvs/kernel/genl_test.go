package kernel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

func sprint(v any) string { return fmt.Sprint(v) }

// The golden bytes are those of a little-endian machine; the numbers in network
// order are the same everywhere.
func TestGoldenBytes(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("a big-endian machine")
	}
	web := lvs.Service{Key: tcpKey("10.0.0.1:80"), Scheduler: "wrr", Flags: lvs.Persistent, Timeout: 300, Netmask: 0xffffff00, PE: "sip"}
	six := lvs.NewService(tcpKey("[2001:db8::1]:443"), "rr")
	gue := lvs.Destination{Addr: netip.MustParseAddrPort("10.9.0.2:80"), Method: lvs.Tunnel, Weight: 70000, Upper: 9, Lower: 3,
		Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelCsum}}
	for _, tt := range []struct {
		name   string
		change lvs.Change
		want   string
	}{
		{"add service", lvs.Change{Op: lvs.AddService, Service: web}, `
			64000000 1e00 0100 07000000 00000000 01 01 0000
			50000100
			06000100 02000000
			06000200 06000000
			08000300 0a000001
			06000400 00500000
			08000600 77727200
			08000b00 73697000
			0c000700 01000000 ffffffff
			08000800 2c010000
			08000900 ffffff00`},
		{"edit service, keep a flag", lvs.Change{Op: lvs.EditService, Service: six, KeepFlags: lvs.OnePacket}, `
			68000000 1e00 0100 07000000 00000000 02 01 0000
			54000100
			06000100 0a000000
			06000200 06000000
			14000300 20010db8000000000000000000000001
			06000400 01bb0000
			07000600 72720000
			0c000700 00000000 fbffffff
			08000800 00000000
			08000900 80000000`},
		{"delete service", lvs.Change{Op: lvs.DeleteService, Service: lvs.Service{Key: lvs.Marked(7, lvs.IPv6)}}, `
			28000000 1e00 0100 07000000 00000000 03 01 0000
			14000100
			06000100 0a000000
			08000500 07000000`},
		{"add destination", lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: lvs.Marked(7, lvs.IPv4)}, Destination: gue}, `
			7c000000 1e00 0100 07000000 00000000 05 01 0000
			14000100
			06000100 02000000
			08000500 07000000
			54000200
			08000100 0a090002
			06000200 00500000
			06000b00 02000000
			08000300 02000000
			08000400 70110100
			08000500 09000000
			08000600 03000000
			05000d00 01000000
			06000e00 17c00000
			06000f00 01000000`},
		{"delete destination", lvs.Change{Op: lvs.DeleteDestination, Service: lvs.Service{Key: lvs.Marked(7, lvs.IPv4)}, Destination: gue}, `
			44000000 1e00 0100 07000000 00000000 07 01 0000
			14000100
			06000100 02000000
			08000500 07000000
			1c000200
			08000100 0a090002
			06000200 00500000
			06000b00 02000000`},
		{"flush", lvs.Change{Op: lvs.Flush}, `14000000 1e00 0100 07000000 00000000 11 01 0000`},
		{"zero all", lvs.Change{Op: lvs.Zero}, `14000000 1e00 0100 07000000 00000000 10 01 0000`},
		{"zero one", lvs.Change{Op: lvs.Zero, Service: lvs.Service{Key: lvs.Marked(7, lvs.IPv4)}}, `
			28000000 1e00 0100 07000000 00000000 10 01 0000
			14000100
			06000100 02000000
			08000500 07000000`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e encoder
			e.change(30, 0, 7, tt.change)
			compareHex(t, e.b, tt.want)
		})
	}
	t.Run("daemon", func(t *testing.T) {
		var e encoder
		e.begin(30, unix.NLM_F_ACK, 7, cmdNewDaemon, 1)
		e.daemon(lvs.Daemon{Role: lvs.Backup, Interface: "eth0", SyncID: 9, MaxLen: 1400, Group: netip.MustParseAddr("224.1.2.3"), Port: 8848, TTL: 7})
		e.end()
		compareHex(t, e.b, `
			54000000 1e00 0500 07000000 00000000 09 01 0000
			40000300
			08000100 02000000
			09000200 65746830 00000000
			08000300 09000000
			06000400 78050000
			08000500 e0010203
			06000700 90220000
			05000800 07000000`)
	})
}

func compareHex(t *testing.T, got []byte, want string) {
	t.Helper()
	if g, w := hex.EncodeToString(got), strings.Join(strings.Fields(want), ""); g != w {
		t.Errorf("bytes are\n%s, want\n%s", g, w)
	}
}

// What is encoded is read back; the kernel is not needed for that.
func TestDecodeWhatWasEncoded(t *testing.T) {
	for _, e := range everything() {
		var enc encoder
		enc.service(e.Service, ^uint32(0))
		b := enc.b
		if e.Mark == 0 && e.Family == lvs.IPv4 {
			b = widen(b)
		}
		s, err := decodeService(b)
		if err != nil || s.Service != e.Service {
			t.Errorf("%+v comes back as %+v (%v)", e.Service, s.Service, err)
		}
		for _, d := range e.Destinations {
			enc.reset()
			enc.destination(d)
			got, err := decodeDestination(enc.b, e.Family)
			if err != nil || got.Destination != d {
				t.Errorf("%+v comes back as %+v (%v)", d, got.Destination, err)
			}
		}
	}
}

// widen writes an IPv4 address as the kernel does, in 16 bytes.
func widen(b []byte) []byte {
	at := bytes.Index(b, []byte{8, 0, svcAddr, 0})
	out := bytes.Clone(b[:at+8])
	native.PutUint16(out[at:], 20)
	out = append(out, make([]byte, 12)...)
	return append(out, b[at+8:]...)
}

func TestStatsPreferWide(t *testing.T) {
	var narrow, wide encoder
	for i := uint16(1); i <= 10; i++ {
		narrow.u32(i, uint32(i))
		wide.head(i, 8)
		wide.b = native.AppendUint64(wide.b, 1<<40+uint64(i))
	}
	want := lvs.Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 5, CPS: 6, InPPS: 7, OutPPS: 8, InBPS: 9, OutBPS: 10}
	if got, err := decodeStats(narrow.b, nil); err != nil || got != want {
		t.Errorf("narrow: %+v, %v", got, err)
	}
	got, err := decodeStats(narrow.b, wide.b)
	if err != nil || got.Conns != 1<<40+1 || got.OutBPS != 1<<40+10 {
		t.Errorf("wide: %+v, %v", got, err)
	}
}

func TestHashedFlagIsHidden(t *testing.T) {
	svc := lvs.NewService(lvs.Marked(1, lvs.IPv4), "rr")
	svc.Flags = lvs.OnePacket | flagHashed
	var e encoder
	e.service(svc, ^uint32(0))
	s, err := decodeService(e.b)
	if err != nil || s.Flags != lvs.OnePacket {
		t.Errorf("flags are %#x, %v", s.Flags, err)
	}
}

func TestMalformedAttributes(t *testing.T) {
	for _, text := range []string{
		"0400", "03000100", "ff000100", "0500010002", // heads and lengths
		"06000100 02000000 05000500 01000000",                           // a mark of one byte
		"06000100 07000000 08000500 01000000",                           // an unknown family
		"06000100 02000000 06000200 06000000 06000300 0a000000",         // an address of two bytes
		"06000100 02000000 08000500 01000000 06000900 ff000000",         // a mask of two bytes
		"06000100 02000000 08000500 01000000 0c000a00 0600010001000000", // a counter of two bytes
		"06000100 02000000 08000500 01000000 0c000c00 0900010001000000", // a counter out of bounds
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		var m malformedError
		if s, err := decodeService(b); !errors.As(err, &m) {
			t.Errorf("%s passes as %+v (%v)", text, s, err)
		}
	}
}

func TestNeedsRaw(t *testing.T) {
	svc := lvs.NewService(tcpKey("10.0.0.1:80"), "rr")
	dst := lvs.Destination{Addr: netip.MustParseAddrPort("10.9.0.2:80"), Method: lvs.Tunnel, Weight: 1}
	gue, six := dst, dst
	gue.Tunnel.Type = lvs.GUE
	six.Addr = netip.MustParseAddrPort("[2001:db8::2]:80")
	mappedSvc := lvs.NewService(tcpKey("[::ffff:10.0.0.1]:80"), "rr")
	for _, tt := range []struct {
		change lvs.Change
		raw    bool
	}{
		{lvs.Change{Op: lvs.AddService, Service: svc}, false},
		{lvs.Change{Op: lvs.EditService, Service: svc}, false},
		{lvs.Change{Op: lvs.EditService, Service: svc, KeepFlags: lvs.OnePacket}, true},
		{lvs.Change{Op: lvs.DeleteService, Service: svc}, false},
		{lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst}, false},
		{lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: gue}, true},
		{lvs.Change{Op: lvs.EditDestination, Service: svc, Destination: six}, true},
		{lvs.Change{Op: lvs.DeleteDestination, Service: svc, Destination: six}, true},
		{lvs.Change{Op: lvs.AddService, Service: mappedSvc}, true},
		{lvs.Change{Op: lvs.Flush}, false},
		{lvs.Change{Op: lvs.Zero}, true},
	} {
		if got := needsRaw(tt.change); got != tt.raw {
			t.Errorf("needsRaw(%v) = %v", tt.change, got)
		}
	}
}

// A client that finds no IPVS runs modprobe once; here it is a command of ours.
func TestOpenErrors(t *testing.T) {
	missing := func(ms []message) []event { return []event{datagram(verdict(ms[0], unix.ENOENT))} }
	c, s := client(t, missing)
	err := c.hello()
	if err == nil || err.Errno != unix.ENOENT || !strings.Contains(err.Error(), `run "modprobe ip_vs" as root`) || len(s.sent) != 1 {
		t.Errorf("a kernel without IPVS: %v", err)
	}
	// The family is there, speaking to it is not allowed.
	c, _ = client(t, func(ms []message) []event {
		if ms[0].typ != genlController {
			return []event{datagram(verdict(ms[0], unix.EPERM))}
		}
		return []event{familyReply(ms[0], 31)}
	})
	err = c.hello()
	if err == nil || c.family != 31 || !errors.Is(err, lvs.ErrPermission) || err.noModule() || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("without privilege: %v", err)
	}
	err = openError("open a generic netlink socket", unix.EPROTONOSUPPORT)
	if !strings.Contains(err.Error(), "no Linux with IPVS") {
		t.Errorf("without generic netlink: %v", err)
	}
}

func TestModprobe(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	script := fmt.Sprintf("echo \"$@\" >>%s; echo no such module >&2; exit 1", ran)
	o := options{modprobe: []string{"/bin/sh", "-c", script, "modprobe", "--", "ip_vs"}}
	err := runModprobe(o)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "no such module") {
		t.Errorf("modprobe fails with %v", err)
	}
	var stderr bytes.Buffer
	o.stderr = &stderr
	if err := runModprobe(o); !errors.As(err, &exit) || stderr.String() != "no such module\n" {
		t.Errorf("modprobe fails with %v and says %q", err, &stderr)
	}
	if got, _ := os.ReadFile(ran); string(got) != "-- ip_vs\n-- ip_vs\n" {
		t.Errorf("modprobe was run with %q", got)
	}
}

const connText = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0A80001 D431 0A000001 0050 0A090002 1F90 ESTABLISHED     899
UDP C0A80001 0000 0A000001 13C4 0A090002 13C4 NONE             59 sip a84b4c76e66710@pc33
IP  C0A80001 0000 00000007 0000 0A090002 0000 NONE            299
TCP 2001:0db8:0000:0000:0000:0000:0000:0002 9C40 2001:0db8:0000:0000:0000:0000:0000:0001 01BB 0A090007 01BB FIN_WAIT 18446744073709551
`

func TestParseConnections(t *testing.T) {
	addr := netip.MustParseAddrPort
	want := []lvs.Connection{
		{Protocol: "TCP", Client: addr("192.168.0.1:54321"), Virtual: addr("10.0.0.1:80"), Server: addr("10.9.0.2:8080"), State: "ESTABLISHED", Expires: 899 * time.Second},
		{Protocol: "UDP", Client: addr("192.168.0.1:0"), Virtual: addr("10.0.0.1:5060"), Server: addr("10.9.0.2:5060"), State: "NONE", Expires: 59 * time.Second, PE: "sip", Data: "a84b4c76e66710@pc33"},
		{Protocol: "IP", Client: addr("192.168.0.1:0"), Virtual: addr("0.0.0.7:0"), Server: addr("10.9.0.2:0"), State: "NONE", Expires: 299 * time.Second},
		{Protocol: "TCP", Client: addr("[2001:db8::2]:40000"), Virtual: addr("[2001:db8::1]:443"), Server: addr("10.9.0.7:443"), State: "FIN_WAIT"},
	}
	var got []lvs.Connection
	for c, err := range parseConnections(strings.NewReader(connText)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

// A line that makes no sense is reported; those after it are still read.
func TestParseBadConnections(t *testing.T) {
	good := strings.Split(connText, "\n")[1]
	for _, bad := range []string{
		"", "TCP", "TCP C0A80001 D431 0A000001 0050 0A090002 1F90 ESTABLISHED",
		"TCP C0A8001 D431 0A000001 0050 0A090002 1F90 NONE 1", "TCP C0A8000x D431 0A000001 0050 0A090002 1F90 NONE 1",
		"TCP C0A80001 1D431 0A000001 0050 0A090002 1F90 NONE 1", "TCP C0A80001 D431 0A000001 0050 0A090002 1F90 NONE -1",
		"TCP fe80::1%lo D431 0A000001 0050 0A090002 1F90 NONE 1", strings.Repeat("x", 3*maxConnectionLine),
	} {
		n, errs := 0, 0
		for _, err := range parseConnections(strings.NewReader("heading\n" + bad + "\n" + good + "\n" + bad)) {
			if n++; err != nil {
				errs++
				if !strings.Contains(err.Error(), "of the connection table") || len(err.Error()) > 1500 {
					t.Errorf("%.60q: %v", bad, err)
				}
			}
		}
		wantErrs := 2
		if bad == "" {
			wantErrs = 1 // the text ends with the good line's newline
		}
		if errs != wantErrs || n != wantErrs+1 {
			t.Errorf("%.60q: %d of %d lines are bad, want %d", bad, errs, n, wantErrs)
		}
	}
	for range parseConnections(strings.NewReader("heading\n" + good + "\n" + good)) {
		break // must stop without calling again
	}
	failing := io.MultiReader(strings.NewReader("heading\n"+good+"\n"), failingReader{})
	var last error
	for _, err := range parseConnections(failing) {
		last = err
	}
	if !errors.Is(last, errClosed) {
		t.Errorf("a file that fails ends with %v", last)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errClosed }

func FuzzDecode(f *testing.F) {
	for _, e := range everything() {
		var enc encoder
		enc.b = append(enc.b, cmdNewService, 1, 0, 0)
		enc.nestedService(e.Service, ^uint32(0))
		f.Add(reply(message{seq: 1}, 30, unix.NLM_F_MULTI, enc.b...))
		for _, d := range e.Destinations {
			enc.b = append(enc.b[:0], cmdNewDest, 1, 0, 0)
			at := enc.nest(attrDest)
			enc.destination(d)
			enc.close(at)
			f.Add(reply(message{seq: 1}, 30, unix.NLM_F_MULTI, enc.b...))
		}
	}
	f.Add(done(message{seq: 1}, unix.EPERM))
	f.Add(verdict(message{seq: 1}, unix.EPERM))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := exchange{seq: 1, visit: decodeAll}
		_ = x.datagram(b) // an error is fine, a panic is not
		v := newVerdicts(1, 3)
		_ = v.datagram(b)
		if x.errno > 4095 {
			t.Errorf("errno %d", x.errno)
		}
		_ = decodeAll(b)
	})
}

// decodeAll decodes a payload as everything that it could be.
func decodeAll(b []byte) error {
	_, err1 := serviceIn(b)
	_, err2 := decodeService(b)
	_, err3 := decodeDestination(b, lvs.IPv4)
	v, err4 := nested(b, attrDest)
	_, err5 := decodeDestination(v, lvs.IPv6)
	_, err6 := decodeDaemon(b)
	_, err7 := decodeInfo(b)
	_, err8 := decodeTimeouts(b)
	_, err9 := decodeFamily(b)
	return errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9)
}

func FuzzConnections(f *testing.F) {
	f.Add([]byte(connText))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for c, err := range parseConnections(bytes.NewReader(b)) {
			if n++; err == nil && (!c.Client.IsValid() || c.Expires < 0 || len(c.Data) > maxConnectionLine) {
				t.Errorf("%+v", c)
			}
		}
		if n > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d connections from %d bytes", n, len(b))
		}
	})
}

func BenchmarkEncodeChange(b *testing.B) {
	cs := install(everything())
	var e encoder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.reset()
		e.change(30, 0, 1, cs[i%len(cs)])
	}
}

func BenchmarkDecodeService(b *testing.B) {
	var e encoder
	e.service(everything()[0].Service, ^uint32(0))
	b.ReportAllocs()
	msg := widen(e.b)
	for b.Loop() {
		if _, err := decodeService(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeDestination(b *testing.B) {
	var e, stats encoder
	e.destination(everything()[0].Destinations[0])
	for i := uint16(1); i <= 10; i++ {
		stats.head(i, 8)
		stats.b = native.AppendUint64(stats.b, uint64(i))
	}
	at := e.nest(destStats64)
	e.b = append(e.b, stats.b...)
	e.close(at)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeDestination(e.b, lvs.IPv4); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseConnection(b *testing.B) {
	line := []byte(strings.Split(connText, "\n")[1])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseConnection(line); err != nil {
			b.Fatal(err)
		}
	}
}
