package netif_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// A tap hears what comes and what goes, of the protocols that it was told, on
// Ethernet and on links without addresses of their own.
func TestTapHears(t *testing.T) {
	n := lab.New(t)
	lan := n.Bridge("lan")
	a := n.Host("a").Nic("eth0", lan, "192.168.1.1/24", "2001:db8::1/64")
	b := n.Host("b").Nic("eth0", lan, "192.168.1.2/24", "2001:db8::2/64")
	for _, h := range []*lab.Host{a, b} {
		other := map[string]string{"a": "192.168.1.2", "b": "192.168.1.1"}[h.Name()]
		h.Run("ip", "link", "add", "tun9", "type", "ipip", "remote", other)
		h.Run("ip", "addr", "add", map[string]string{"a": "10.9.0.1/24", "b": "10.9.0.2/24"}[h.Name()], "dev", "tun9")
		h.Run("ip", "link", "set", "tun9", "up")
	}
	tap, err := kernelOf(t, b).Tap(17)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	for _, to := range []string{"192.168.1.2:9", "[2001:db8::2]:9", "10.9.0.2:9"} {
		say(t, a, to)
	}
	say(t, b, "192.168.1.1:9")

	type heard struct {
		link, src, dst string
		out            bool
		version        byte
	}
	const macA, macB = "02:00:00:00:01:01", "02:00:00:00:02:01"
	want := []heard{{"eth0", macA, macB, false, 4}, {"eth0", macA, macB, false, 6}, {"tun9", "", "", false, 4}, {"eth0", macB, macA, true, 4}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = tap.Listen(ctx, func(f netif.Frame) bool {
		if !bytes.HasSuffix(f.Packet, []byte("hello")) || f.Length != len(f.Packet) {
			return false
		}
		h := heard{f.Link, f.Src, f.Dst, f.Out, f.Packet[0] >> 4}
		if i := slices.Index(want, h); i >= 0 {
			want = slices.Delete(want, i, i+1)
		} else {
			t.Errorf("heard %+v", h)
		}
		return len(want) == 0
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v, not heard: %+v", err, want)
	}
	// The protocol filter: the tunnel's own packets, protocol 4, were not heard; TCP
	// is not either.
	quiet, err := kernelOf(t, b).Tap(112)
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	say(t, a, "192.168.1.2:9")
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := quiet.Listen(short, func(f netif.Frame) bool { t.Errorf("heard %+v", f); return true }); err != nil {
		t.Error(err)
	}
}

// say sends a datagram; a first one may wait for the neighbour.
func say(t *testing.T, h *lab.Host, to string) {
	t.Helper()
	c, err := h.TryListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
		t.Fatal(err)
	}
}

func TestNeighbours(t *testing.T) {
	n := lab.New(t)
	h := n.Host("h").Nic("eth0", n.Bridge("lan"), "192.168.1.1/24", "2001:db8::1/64")
	h.Run("ip", "neigh", "add", "192.168.1.9", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "permanent")
	h.Run("ip", "neigh", "add", "2001:db8::9", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "stale")
	h.Run("ip", "neigh", "add", "192.168.1.8", "lladdr", "02:00:00:00:00:08", "dev", "eth0", "nud", "failed")
	got, err := kernelOf(t, h).Neighbours()
	if err != nil {
		t.Fatal(err)
	}
	got = slices.DeleteFunc(got, func(n netif.Neighbour) bool { return n.IP.IsMulticast() || strings.HasPrefix(n.MAC, "33:33") })
	want := []netif.Neighbour{{Link: "eth0", IP: netip.MustParseAddr("192.168.1.9"), MAC: "02:00:00:00:00:09", Fixed: true},
		{Link: "eth0", IP: netip.MustParseAddr("2001:db8::9"), MAC: "02:00:00:00:00:09"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}
