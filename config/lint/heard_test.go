package lint

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/vrrp"
)

// TestListening: a stranger with our number, a peer that does not fit, and a peer
// that does.
func TestListening(t *testing.T) {
	peer := func(change func(*vrrp.Advert)) Heard {
		a := vrrp.Advert{Src: addr("10.0.0.3"), Version: 2, VRID: 51, Interval: time.Second, Addrs: []netip.Addr{addr("10.0.0.100")}}
		change(&a)
		return Heard{"eth0", a}
	}
	for _, c := range []struct {
		name  string
		heard Heard
		want  string
	}{
		{"peer", peer(func(*vrrp.Advert) {}), ""},
		{"other link", Heard{"eth1", peer(func(a *vrrp.Advert) { a.Addrs = nil }).Advert}, ""},
		{"ourselves", peer(func(a *vrrp.Advert) { a.Src, a.Version = addr("10.0.0.2"), 3 }), ""},
		{"other number", peer(func(a *vrrp.Advert) { a.VRID, a.Version = 99, 3 }), ""},
		{"stranger", peer(func(a *vrrp.Advert) { a.Addrs = []netip.Addr{addr("10.9.9.9")} }),
			"vrid-foreign k.conf:1: VRID 51 on eth0 is somebody else's: 10.0.0.3 speaks for 10.9.9.9; choose another virtual_router_id; nobody was heard with 52\n"},
		{"version", peer(func(a *vrrp.Advert) { a.Version = 3 }),
			"vrid-unequal k.conf:1: 10.0.0.3 speaks for VRID 51 in version 3, and here it is 2; write the same on all its routers; until then both are master\n"},
		{"addresses", peer(func(a *vrrp.Advert) { a.Addrs = append(a.Addrs, addr("10.0.0.7")) }),
			"vrid-unequal k.conf:1: 10.0.0.3 speaks for VRID 51 with the addresses 10.0.0.100, 10.0.0.7, and here they are 10.0.0.100; write the same on all its routers; until then both are master\n"},
		{"interval", peer(func(a *vrrp.Advert) { a.Interval = 3 * time.Second }),
			"vrid-unequal k.conf:1: 10.0.0.3 speaks for VRID 51 every 3s, and here it is every 1s; write the same on all its routers; until then both are master\n"},
		{"password", peer(func(a *vrrp.Advert) { a.AuthType = vrrp.AuthPass }),
			"vrid-unequal k.conf:1: 10.0.0.3 speaks for VRID 51 with a password, and here it is otherwise; write the same on all its routers; until then both are master\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			for _, f := range Listening(*good(), []Heard{c.heard, c.heard}) { // heard twice, said once
				fmt.Fprintln(&b, f.Rule, f.String())
			}
			if b.String() != c.want {
				t.Errorf("got %swant %s", b.String(), c.want)
			}
		})
	}
}
