package wire

import (
	"net/netip"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
)

// TestGroupsAndHops: other multicast groups are heard while they are joined, also
// after the interface was replaced, and unicast carries the TTL that it was given.
func TestGroupsAndHops(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	one := net.Host("r1").Nic("eth0", lan, "10.0.0.11/24", "2001:db8::11/64")
	two := net.Host("r2").Nic("eth0", lan, "10.0.0.12/24", "2001:db8::12/64")
	for _, c := range []struct {
		ipv6         bool
		usual, other netip.Addr
	}{
		{false, vrrp.GroupIPv4, addr("239.1.2.3")},
		{true, vrrp.GroupIPv6, addr("ff02::1:12")},
	} {
		tx, rx := open(t, one, Options{Link: "eth0", IPv6: c.ipv6}), open(t, two, Options{Link: "eth0", IPv6: c.ipv6})
		from, to := sourceOf(t, one, c.ipv6), sourceOf(t, two, c.ipv6)
		send := func(dst netip.Addr, ttl uint8) {
			t.Helper()
			a := advert(3, 51, from, dst)
			a.TTL = ttl
			if err := tx.Send(a); err != nil {
				t.Fatal(err)
			}
		}
		// hears sends to a group, and then something that always arrives.
		hears := func(what string, dst netip.Addr, want bool) {
			t.Helper()
			send(dst, 255)
			send(to, 7)
			got, ok := next(t, rx)
			if ok && got.Dst == dst {
				if !want {
					t.Errorf("%s: an advert to %v was heard", what, dst)
				}
				got, ok = next(t, rx)
			} else if want {
				t.Errorf("%s: an advert to %v was not heard", what, dst)
			}
			if !ok || got.Dst != to || got.TTL != 7 || got.Flaw != vrrp.NoReason {
				t.Errorf("%s: unicast with TTL 7: %+v, %v", what, got, ok)
			}
		}
		hears("at first", c.usual, true)
		hears("at first", c.other, false)
		join := func(groups ...netip.Addr) {
			t.Helper()
			if err := rx.Join(groups); err != nil {
				t.Fatal(err)
			}
		}
		join(c.other)
		hears("another group", c.other, true)
		hears("another group", c.usual, false)
		join(c.usual, c.other)
		var err error
		two.Do(func() { err = rx.open() }) // as when the interface is another one
		if err != nil {
			t.Fatal(err)
		}
		hears("opened anew", c.other, true)
		hears("opened anew", c.usual, true)
		join(c.usual)
		hears("left", c.other, false)
		if err := rx.Join([]netip.Addr{addr("10.0.0.1")}); err == nil && !c.ipv6 {
			t.Error("a group that is none was joined")
		}
		if err := rx.Close(); err != nil {
			t.Error(err)
		}
		if err := rx.Join(nil); err == nil {
			t.Error("a closed socket joins")
		}
	}
}
