package doctor

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// packet is an IP packet of a protocol.
func packet(proto uint8, src, dst netip.Addr, payload []byte) []byte {
	if src.Is4() {
		b := make([]byte, 20)
		b[0], b[8], b[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		return append(b, payload...)
	}
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, payload...)
}

const (
	syn    = 2
	rst    = 4
	synAck = 18
)

// segment is a TCP packet; a SYN is marked.
func segment(from, to string, flags byte) []byte {
	src, dst := port(from), port(to)
	t := make([]byte, 20, 28)
	binary.BigEndian.PutUint16(t, src.Port())
	binary.BigEndian.PutUint16(t[2:], dst.Port())
	t[12], t[13] = 5<<4, flags
	if flags == syn {
		t[12] = 7 << 4
		t = append(t, 1, 1, 1, 2, 4, PathMSS>>8, PathMSS&255, 0) // options that end early, after two that are no segment size
		t[23], t[24], t[25], t[26], t[27] = 1, 2, 4, PathMSS>>8, PathMSS&255
		t[12] = 7 << 4
	}
	return packet(6, src.Addr(), dst.Addr(), t)
}

func gueHeader(inner []byte) []byte {
	udp := []byte{0, 1, 0x17, 0xc0, 0, 0, 0, 0}
	return append(append(udp, 0, 4, 0, 0), inner...)
}

func frame(out bool, from, to string, data []byte) netif.Frame {
	return netif.Frame{Link: "eth0", Out: out, Src: from, Dst: to, Packet: data, Length: len(data)}
}

const (
	cmac      = "02:00:00:00:01:01"
	theClient = "192.168.1.1:4000"
	target    = vip4 + ":80"
)

func TestPath(t *testing.T) {
	neighbours := []netif.Neighbour{{IP: ip("192.168.1.1"), MAC: cmac}, {IP: ip("192.168.1.2"), MAC: vmac}, {IP: ip(rip1), MAC: rmac1}}
	wrapped := func(proto uint8, payload []byte) []byte { return packet(proto, ip("192.168.1.2"), ip(rip1), payload) }
	open, accept, refuse := segment(theClient, target, syn), segment(target, theClient, synAck), segment(target, theClient, rst)
	in := frame(false, cmac, vmac, open)
	for _, test := range []struct {
		name   string
		of     Facts
		frames []netif.Frame
		err    error // of the client
		want   []string
	}{
		{"client", client(t), []netif.Frame{frame(true, cmac, vmac, open), frame(false, rmac1, cmac, accept)}, nil,
			[]string{"the route to", "for 02:00:00:00:02:01 (192.168.1.2), marked by segment size 1112", "answered by 02:00:00:00:03:01 (192.168.1.11), another host"}},
		{"client of NAT", client(t), []netif.Frame{frame(true, cmac, vmac, open), frame(false, vmac, cmac, accept)}, nil, []string{"the route", "left on eth0", "answered by 02:00:00:00:02:01 (192.168.1.2)"}},
		{"client, refused", client(t), []netif.Frame{frame(true, cmac, vmac, open), frame(false, vmac, cmac, refuse)}, errors.New("refused"), []string{"the route", "left on eth0", "BROKEN: the connection was refused by"}},
		{"client, unanswered", client(t), []netif.Frame{frame(true, cmac, vmac, open)}, errors.New("i/o timeout"), []string{"the route", "left on eth0", "BROKEN: no answer came: i/o timeout"}},
		{"client, nobody there", client(t), nil, errors.New("no route to host"), []string{"the route", "BROKEN: no packet left"}},
		{"DR", director(t, lvs.Gate), []netif.Frame{in, frame(true, vmac, rmac1, open)}, nil, []string{"from 192.168.1.1:4000", "by direct routing to 02:00:00:00:03:01 (192.168.1.11)", "goes past this host"}},
		{"ipip", director(t, lvs.Tunnel), []netif.Frame{in, frame(true, vmac, rmac1, wrapped(4, open))}, nil, []string{"from", "in a tunnel, ipip, to real server 192.168.1.11 on eth0", "goes past"}},
		{"gue", director(t, lvs.Tunnel), []netif.Frame{in, frame(true, vmac, rmac1, wrapped(17, gueHeader(open)))}, nil, []string{"from", "in a tunnel, gue, to", "goes past"}},
		{"gre", director(t, lvs.Tunnel), []netif.Frame{in, frame(true, vmac, rmac1, wrapped(47, append([]byte{0x80, 0, 8, 0, 1, 2, 0, 0}, open...)))}, nil, []string{"from", "in a tunnel, gre, to", "goes past"}},
		{"NAT", director(t, lvs.Masq), []netif.Frame{in, frame(true, vmac, rmac1, segment(theClient, "10.0.0.11:80", syn)), frame(false, rmac1, vmac, segment("10.0.0.11:80", theClient, synAck)), frame(true, vmac, cmac, accept)}, nil,
			[]string{"from", "by masquerading to real server 10.0.0.11:80", "the answer of 10.0.0.11:80 came back", "it left for the client as from 192.168.1.100:80"}},
		{"NAT, no way back", director(t, lvs.Masq), []netif.Frame{in, frame(true, vmac, rmac1, segment(theClient, "10.0.0.11:80", syn))}, nil, []string{"from", "by masquerading", "BROKEN: no answer of 10.0.0.11:80"}},
		{"NAT, no forwarding", director(t, lvs.Masq), []netif.Frame{in, frame(true, vmac, rmac1, segment(theClient, "10.0.0.11:80", syn)), frame(false, rmac1, vmac, segment("10.0.0.11:80", theClient, synAck))}, nil,
			[]string{"from", "by masquerading", "came back", "BROKEN: it did not leave"}},
		{"NAT, refused", director(t, lvs.Masq), []netif.Frame{in, frame(true, vmac, rmac1, segment(theClient, "10.0.0.11:80", syn)), frame(false, rmac1, vmac, segment("10.0.0.11:80", theClient, rst))}, nil,
			[]string{"from", "by masquerading", "BROKEN: real server 10.0.0.11:80 refused it"}},
		{"director, no server", director(t, lvs.Gate), []netif.Frame{in, frame(true, vmac, cmac, refuse)}, nil, []string{"from", "BROKEN: this host refused it itself"}},
		{"director, nothing", director(t, lvs.Gate), []netif.Frame{in}, nil, []string{"from", "BROKEN: it was not passed on, although the table has the service"}},
		{"director, nobody", director(t, lvs.Gate), nil, nil, []string{"BROKEN: no connection to 192.168.1.100:80 came"}},
		{"server", server(t, dr), []netif.Frame{frame(false, vmac, rmac1, open), frame(true, rmac1, cmac, accept)}, nil, []string{"handed over by 02:00:00:00:02:01 (192.168.1.2) on eth0", "the answer left on eth0 for 02:00:00:00:01:01 (192.168.1.1)"}},
		{"server of a tunnel", server(t, tun), []netif.Frame{frame(false, vmac, rmac1, wrapped(4, open)), frame(true, rmac1, cmac, accept)}, nil, []string{"handed over in a tunnel, ipip, of 192.168.1.2, on eth0", "the answer left"}},
		{"server of NAT", server(t, nat), []netif.Frame{frame(false, vmac, rmac1, segment(theClient, rip1+":8080", syn)), frame(true, rmac1, vmac, segment(rip1+":8080", theClient, synAck))}, nil,
			[]string{"came the first packet for 192.168.1.11:8080", "the answer left on eth0 for 02:00:00:00:02:01"}},
		{"server, nobody listens", server(t, dr), []netif.Frame{frame(false, vmac, rmac1, open), frame(true, rmac1, cmac, refuse)}, nil, []string{"handed over", "BROKEN: this host refused it"}},
		{"server, no answer", server(t, dr), []netif.Frame{frame(false, vmac, rmac1, open)}, nil, []string{"handed over", "BROKEN: this host did not answer: the firewall"}},
		{"server without the VIP", server(t, nat), []netif.Frame{frame(false, vmac, rmac1, open)}, nil, []string{"handed over", "BROKEN: this host did not answer: 192.168.1.100 is not its address"}},
		{"server, nothing", server(t, dr), nil, nil, []string{"BROKEN: no connection"}},
	} {
		trail := Trail{Facts: test.of, Target: port(target)}
		trail.Facts.Neighbours = neighbours
		for _, f := range test.frames {
			if !trail.Add(f) {
				t.Errorf("%s: a frame tells nothing: %x", test.name, f.Packet)
			}
		}
		hops := trail.Watched()
		if test.of.Roles == Client {
			hops = trail.Client(test.err)
		}
		for i, want := range test.want {
			if i >= len(hops) || !strings.Contains(hops[i].String(), want) {
				t.Errorf("%s: hop %d does not say %q: %v", test.name, i, want, hops)
				break
			}
		}
		if len(hops) != len(test.want) {
			t.Errorf("%s: %d hops: %v", test.name, len(hops), hops)
		}
		if ends := strings.Contains(test.want[len(test.want)-1], "BROKEN"); test.of.Roles != Client && trail.Complete() == ends {
			t.Errorf("%s: complete is %v", test.name, !ends)
		}
	}
}

// A marked connection is followed among others that came before it.
func TestPathFollowsTheMark(t *testing.T) {
	other := segment("192.168.1.9:5000", target, syn)
	binary.BigEndian.PutUint16(other[20+26:], 1460)
	trail := Trail{Facts: director(t, lvs.Gate), Target: port(target)}
	trail.Add(frame(false, cmac, vmac, other))
	trail.Add(frame(false, cmac, vmac, segment(theClient, target, syn)))
	if hops := trail.Watched(); !strings.Contains(hops[0].What, "from "+theClient) {
		t.Error(hops)
	}
}

func TestAdverts(t *testing.T) {
	var heard Adverts
	say := func(src string, vrid uint8, priority uint8) {
		a := vrrp.Advert{Src: ip(src), Dst: vrrp.GroupIPv4, Version: 3, Type: 1, VRID: vrid, Priority: priority, Addrs: []netip.Addr{ip(vip4)}}
		heard.Add(frame(false, "", "", packet(vrrp.Protocol, a.Src, a.Dst, a.Append(nil))))
	}
	say("192.168.1.2", 51, 100)
	say("192.168.1.3", 51, 90)
	say("192.168.1.2", 51, 0)
	heard.Add(frame(false, "", "", packet(6, ip(rip1), ip(vip4), make([]byte, 20))))
	heard.Add(frame(false, "", "", packet(vrrp.Protocol, ip(rip1), vrrp.GroupIPv4, []byte{1})))
	got := heard.Heard()
	if len(got) != 2 || got[0].Count != 2 || got[0].Advert.Priority != 0 || got[1].Count != 1 || !slices.Equal(got[0].Advert.Addrs, []netip.Addr{ip(vip4)}) {
		t.Errorf("%+v", got)
	}
	// Who has given up is no rival.
	if found := splitBrain(Facts{Adverts: got}); len(found) > 0 {
		t.Error(found)
	}
}

// Whatever is on the wire can be looked at.
func FuzzSee(f *testing.F) {
	open := segment(theClient, target, syn)
	f.Add(open)
	f.Add(packet(47, ip(rip1), ip(vip4), append([]byte{0xb0, 0, 8, 0}, open...)))
	f.Add(packet(17, ip(rip1), ip(vip4), gueHeader(open)))
	f.Add(packet(41, ip("2001:db8::1"), ip(vip6), packet(6, ip("2001:db8::1"), ip(vip6), make([]byte, 20))))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := See(frame(false, "", "", data))
		if ok && (!s.Src.IsValid() || !s.Dst.IsValid()) {
			t.Errorf("%+v", s)
		}
		var heard Adverts
		heard.Add(frame(false, "", "", data))
	})
}
