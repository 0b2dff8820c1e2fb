package appliance

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
)

var claimedVIP = netip.MustParseAddr("10.0.0.100")

// guarded1 is a master since 3.609 s, at 20 s.
func guarded1(t *testing.T, host *fakeHost) (*running, config.Instance) {
	t.Helper()
	in := instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32", "2001:db8::100/128")
	r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
	time.Sleep(time.Until(host.start.Add(20 * time.Second)))
	return r, in
}

// claims are the announcements since 20 s.
func (h *fakeHost) claims() []string {
	var out []string
	for _, line := range h.told("claims") {
		var at float64
		if _, err := fmt.Sscan(line, &at); err == nil && at >= 20 {
			out = append(out, line)
		}
	}
	return out
}

// A real server that asks with the address as its sender has told all neighbours that
// the address is there. They are told otherwise.
func TestClaimsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r, _ := guarded1(t, host)
		defer r.stop()
		for range 3 {
			if n := host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: "02:00:00:00:00:99"}); n != 1 {
				t.Fatalf("%d listen", n)
			}
		}
		time.Sleep(5 * time.Second)
		if got := host.claims(); len(got) != 1 || got[0] != "20.100 eth0 claims 10.0.0.100" {
			t.Errorf("told: %q", got)
		}
		if got := r.said("duplicate VIP"); len(got) != 1 || !strings.Contains(got[0], "10.0.0.100 is here, and on eth0 somebody says that it is at 02:00:00:00:00:99") {
			t.Errorf("said: %q", got)
		}
		st, err := r.Status()
		if err != nil || len(st[0].Duplicates) != 1 || st[0].Duplicates[0].MACs[0] != "02:00:00:00:00:99" {
			t.Errorf("status %+v, %v", st, err)
		}
		time.Sleep(claimOver)
		if st, err := r.Status(); err != nil || len(st[0].Duplicates) != 0 {
			t.Errorf("after a long quiet: status %+v, %v", st[0].Duplicates, err)
		}
	})
}

// Who announces may be the next master: its adverts come first.
func TestSuccessorsMayClaim(t *testing.T) {
	for _, advert := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			host := newFakeHost()
			r, in := guarded1(t, host)
			defer r.stop()
			host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: "02:00:00:00:00:02", Announces: true})
			time.Sleep(900 * time.Millisecond)
			if advert {
				host.hear("eth0", advertOf(in, "10.0.0.2", 150))
			}
			time.Sleep(time.Second)
			got := strings.Join(host.claims(), "; ")
			if want := map[bool]string{false: "21.100 eth0 claims 10.0.0.100"}[advert]; got != want {
				t.Errorf("with an advert %v: told %q, want %q", advert, got, want)
			}
			if advert && host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: "02:00:00:00:00:02"}) != 0 {
				t.Error("a backup listens")
			}
		})
	}
}

// A master that was killed goes on in its kernel for a while: the new one makes the
// announcements of VRRP, and then others.
func TestANewMasterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32")}}, nil)
		defer r.stop()
		time.Sleep(5 * time.Second)
		for range 3 {
			if n := host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: "02:00:00:00:00:02"}); n != 1 {
				t.Fatalf("%d listen", n)
			}
			time.Sleep(time.Second)
		}
		before := len(host.told("claims"))
		time.Sleep(time.Until(host.start.Add(13500 * time.Millisecond)))
		if got := host.told("claims"); len(got) != before {
			t.Errorf("told too early: %q", got)
		}
		time.Sleep(time.Second)
		if got := host.told("claims"); len(got) != before+1 || got[before] != "13.609 eth0 claims 10.0.0.100" {
			t.Errorf("told: %q", got)
		}
	})
}

// Another device of the same host answers for the address as well: that is how the
// kernel does it, and no duplicate.
func TestOwnDevicesMayClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		host.links["eth1"] = &Link{Index: 3, Running: true, Ethernet: true, MTU: 1500}
		host.macs["eth1"] = "02:00:00:00:00:03"
		r, _ := guarded1(t, host)
		defer r.stop()
		host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: "02:00:00:00:00:03"})
		time.Sleep(5 * time.Second)
		if got := host.claims(); len(got) != 0 {
			t.Errorf("told: %q", got)
		}
	})
}

// Whatever comes from outside, little is sent, said and remembered.
func TestFloodsOfClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r, _ := guarded1(t, host)
		defer r.stop()
		for i := range 5 * 60 * 20 {
			host.claim("eth0", netif.Claim{IP: claimedVIP, MAC: fmt.Sprintf("06:00:00:00:%02x:%02x", i>>8&255, i&255), Announces: i&1 == 0})
			time.Sleep(50 * time.Millisecond)
		}
		// The first ten a second apart, from then on one in ten seconds.
		if got := host.claims(); len(got) < 30 || len(got) > 45 {
			t.Errorf("in five minutes it is told %d times: %q", len(got), got)
		}
		if got := r.said("duplicate VIP"); len(got) > 6 {
			t.Errorf("in five minutes it is said %d times", len(got))
		}
		st, err := r.Status()
		if err != nil || len(st[0].Duplicates) != 1 || len(st[0].Duplicates[0].MACs) > mostClaimants {
			t.Errorf("status %+v, %v", st[0].Duplicates, err)
		}
	})
}

// What a reload adds is listened to, what it takes away is not.
func TestGuardFollowsReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r, in := guarded1(t, host)
		defer r.stop()
		in.Addresses = instance("VI_1", 51, "10.0.0.100/32", "10.0.0.102/32").Addresses
		if err := r.Set(config.Site{Instances: []config.Instance{in}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for ip, want := range map[string]int{"10.0.0.100": 1, "10.0.0.101": 0, "10.0.0.102": 1} {
			if n := host.claim("eth0", netif.Claim{IP: netip.MustParseAddr(ip), MAC: "02:00:00:00:00:99"}); n != want {
				t.Errorf("%s: %d listen, want %d", ip, n, want)
			}
		}
	})
}
