package kernel

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

const tableText = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A000001:0050 wlc ops persistent 300 FFFFFFFF
  -> 0A090002:1F90      Masq    1      2          3         
  -> [2001:0db8:0000:0000:0000:0000:0000:0002]:0050      Tunnel  2147483647 0          0         
UDP  [2001:0db8:0000:0000:0000:0000:0000:0001]:13C4 sh 
SCTP  0A000001:0009 rr 
  -> 0A090003:0009      Route   0      0          4294967   
FWM  FFFFFFFF rr 
  -> 7F000001:0000      Local   70000  0          0         
FWM  00000007 rr 
`

func tableServices() lvs.State {
	var s lvs.State
	for _, k := range []lvs.Key{
		tcpKey("10.0.0.1:80"), udpKey("[2001:db8::1]:5060"),
		{Family: lvs.IPv4, Protocol: lvs.SCTP, Addr: netip.MustParseAddrPort("10.0.0.1:9")},
		lvs.Marked(1<<32-1, lvs.IPv4), lvs.Marked(7, lvs.IPv6),
	} {
		s = append(s, lvs.ServiceState{Service: lvs.NewService(k, "rr")})
	}
	return s
}

// readOutline gives the text in pieces, through a buffer of a size.
func readOutline(s lvs.State, text string, buffer int) (*outline, error) {
	o := &outline{services: s}
	r := strings.NewReader(text)
	return o, o.read(make([]byte, buffer), func(b []byte) (int, error) {
		n, err := r.Read(b)
		if err == io.EOF {
			return 0, nil
		}
		return n, err
	})
}

func outlineState(o *outline) [][]lvs.DestinationState {
	all := make([][]lvs.DestinationState, len(o.services))
	for i := range all {
		for _, d := range o.destinations(i) {
			all[i] = append(all[i], d.state())
		}
	}
	return all
}

func TestOutlineText(t *testing.T) {
	dst := func(addr string, m lvs.Method, weight, active, inactive uint32) lvs.DestinationState {
		return lvs.DestinationState{Destination: lvs.Destination{Addr: netip.MustParseAddrPort(addr), Method: m, Weight: weight}, Active: active, Inactive: inactive}
	}
	want := [][]lvs.DestinationState{
		{dst("10.9.0.2:8080", lvs.Masq, 1, 2, 3), dst("[2001:db8::2]:80", lvs.Tunnel, 1<<31-1, 0, 0)},
		nil,
		{dst("10.9.0.3:9", lvs.Gate, 0, 0, 4294967)},
		{dst("127.0.0.1:0", lvs.Local, 70000, 0, 0)},
		nil,
	}
	for _, size := range []int{100, 128, 4096, 1 << 16} {
		o, err := readOutline(tableServices(), tableText, size)
		if err != nil {
			t.Fatalf("through %d bytes: %v", size, err)
		}
		if got := outlineState(o); !reflect.DeepEqual(got, want) {
			t.Errorf("through %d bytes:\n%v, want\n%v", size, got, want)
		}
	}
}

func TestOutlineNotToBeBelieved(t *testing.T) {
	replace := func(old, with string) string {
		s := strings.Replace(tableText, old, with, 1)
		if s == tableText {
			t.Fatalf("%q is not in the text", old)
		}
		return s
	}
	lines := strings.SplitAfter(tableText, "\n")
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "cut short"},
		{"cut within the heading", lines[0] + lines[1], "cut short"},
		{"cut within a line", tableText[:len(tableText)-1], "cut short"},
		{"another file", "sl  local_address\n" + tableText, "heading"},
		{"a service more", tableText + "FWM  00000008 rr \n", "other services"},
		{"a service less", replace("FWM  00000007 rr \n", ""), "other services"},
		{"no services", lines[0] + lines[1] + lines[2], "other services"},
		{"another order", lines[0] + lines[1] + lines[2] + lines[6] + lines[3], "other services"},
		{"another port", replace("0A000001:0050", "0A000001:0051"), "other services"},
		{"another protocol", replace("TCP", "UDP"), "other services"},
		{"another mark", replace("FWM  00000007", "FWM  00000017"), "other services"},
		{"no mark", replace("FWM  00000007", "FWM  x"), "other services"},
		{"an address in a mark's place", replace("FWM  00000007", "TCP  0A000001:0050"), "other services"},
		{"an empty line", tableText + "\n", "other services"},
		{"destination first", lines[0] + lines[1] + lines[2] + lines[4], "without a service"},
		{"method", replace("Masq", "Bypass"), "known form"},
		{"negative", replace("2          3", "-1         3"), "known form"},
		{"too large", replace("2147483647", "2147483648"), "known form"},
		{"too long", replace("2147483647", "21474836470"), "known form"},
		{"no number", replace("70000", "7e4"), "known form"},
		{"too few", replace("4294967", ""), "known form"},
		{"too many", replace("4294967", "4294967 1"), "known form"},
		{"short address", replace("0A090002:", "A090002:"), "known form"},
		{"address no hex", replace("0A090002:", "0A09000x:"), "known form"},
		{"short port", replace(":1F90", ":1F9"), "known form"},
		{"port no hex", replace(":1F90", ":1F9x"), "known form"},
		{"short IPv6", replace("[2001:0db8:0000:0000:0000:0000:0000:0002]", "[2001:db8::2]"), "known form"},
		{"IPv6 no hex", replace("[2001:0db8:0000:0000:0000:0000:0000:0002]", "[2001:0dbx:0000:0000:0000:0000:0000:0002]"), "known form"},
		{"IPv6 no colon", replace("[2001:0db8:0000:0000:0000:0000:0000:0002]", "[2001:0db8:0000:0000:0000:0000:0000.0002]"), "known form"},
		{"IPv6 no bracket", replace("[2001:0db8:0000:0000:0000:0000:0000:0002]", "2001:0db8:0000:0000:0000:0000:0000:000002"), "known form"},
		{"long line", tableText + strings.Repeat("x", 5000), "more than 4096 bytes"},
	} {
		if _, err := readOutline(tableServices(), tt.text, 4096); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	o := &outline{}
	if err := o.read(make([]byte, 10), func([]byte) (int, error) { return 0, unix.EIO }); !errors.Is(err, unix.EIO) {
		t.Errorf("a file that fails: %v", err)
	}
}

// A tunnel's attributes and a mark of two families are not in the text.
func TestOutlineUnclear(t *testing.T) {
	s := tableServices()
	s[4].Key = lvs.Marked(1<<32-1, lvs.IPv6)
	o, err := readOutline(s, strings.Replace(tableText, "FWM  00000007", "FWM  FFFFFFFF", 1), 4096)
	must(t, err)
	for _, tunnels := range []bool{false, true} {
		o.tunnels = tunnels
		want := [5]bool{tunnels, false, false, true, true}
		for i := range want {
			if got := o.unclear(i); got != want[i] {
				t.Errorf("with tunnels %v, %v is unclear: %v, want %v", tunnels, s[i].Key, got, want[i])
			}
		}
	}
}

// A scripted kernel has no namespace to read a file in: netlink is asked.
func TestViewFallsBack(t *testing.T) {
	for _, d := range []lvs.Detail{lvs.Full, lvs.Outline, lvs.OutlineAndTunnels} {
		c, s := client(t, emptyDests(func(m message, _ int) []event {
			return []event{servicePart(m, 0, 1, 2), datagram(done(m, 0))}
		}))
		v, err := c.View(d)
		must(t, err)
		asked := len(s.sent)
		ds, err := v.Destinations(1)
		if len(v.Services) != 2 || len(ds) != 0 || err != nil || len(s.sent) != asked+1 {
			t.Errorf("%v, %v, %v after %d more questions", v.Services, ds, err, len(s.sent)-asked)
		}
		c.Close()
		if _, err := v.Destinations(1); !errors.Is(err, errClosed) {
			t.Errorf("a closed client: %v", err)
		}
		if _, err := c.View(d); !errors.Is(err, errClosed) {
			t.Errorf("a view of a closed client: %v", err)
		}
	}
}

func FuzzOutline(f *testing.F) {
	f.Add([]byte(tableText), uint16(128))
	f.Fuzz(func(t *testing.T, text []byte, size uint16) {
		services := tableServices()
		o, err := readOutline(services, string(text), int(size))
		if len(o.all) > bytes.Count(text, []byte("  -> ")) {
			t.Errorf("%d destinations from %q", len(o.all), text)
		}
		if err != nil {
			return
		}
		n := 0
		for _, ds := range outlineState(o) {
			for _, d := range ds {
				if n++; !d.Addr.IsValid() || d.Method > lvs.Gate || d.Weight > 1<<31-1 {
					t.Errorf("%+v from %q", d, text)
				}
			}
		}
		if n != len(o.all) {
			t.Errorf("%d of %d destinations belong to a service", n, len(o.all))
		}
	})
}
