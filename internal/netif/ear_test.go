package netif_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// TestEar: a real server that does not hide the address says in each question of its
// own that it is there, which is what its neighbours believe from then on. The ear
// hears it, and nothing else, also after its link was down.
func TestEar(t *testing.T) {
	for _, many := range []int{0, 150} { // addresses beside the one: the filter has two ways
		t.Run(fmt.Sprint(many), func(t *testing.T) {
			n := lab.New(t)
			lan := n.Bridge("lan")
			director := n.Host("director").Nic("eth0", lan, "192.168.1.2/24")
			server := n.Host("server").Nic("eth0", lan, "192.168.1.3/24")
			server.Run("ip", "addr", "add", "192.168.1.100/32", "dev", "lo")
			server.Run("ip", "addr", "add", "192.168.1.200/32", "dev", "lo")
			w, err := kernelOf(t, director).Wire("eth0")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			ear, err := w.Ear()
			if err != nil {
				t.Fatal(err)
			}
			defer ear.Close()
			vip := netip.MustParseAddr("192.168.1.100")
			ips := []netip.Addr{netip.MustParseAddr("2001:db8::1")}
			for i := range many {
				ips = append(ips, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}
			if err := ear.For(append(ips, vip)); err != nil {
				t.Fatal(err)
			}
			heard := make(chan netif.Claim, 100)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- ear.Hear(ctx, func(c netif.Claim) { heard <- c }) }()
			hear := func(when string, want netif.Claim) {
				t.Helper()
				for {
					select {
					case c := <-heard:
						if many > 0 && c.IP != vip {
							continue // so many are not sorted out by the kernel
						}
						if c != want {
							t.Errorf("%s: %+v, want %+v", when, c, want)
						}
						return
					case <-time.After(30 * time.Second):
						t.Fatalf("%s: nothing is heard", when)
					}
				}
			}
			say := func(h *lab.Host, from, whom string) { // which needs ARP
				t.Helper()
				h.Do(func() {
					c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(whom), Port: 9})
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if _, err := c.Write([]byte("?")); err != nil {
						t.Error(err)
					}
				})
			}
			claim := netif.Claim{IP: vip, MAC: "02:00:00:00:02:01"}
			say(server, "192.168.1.200", "192.168.1.51") // is of no concern
			say(server, "192.168.1.100", "192.168.1.52")
			hear("a question", claim)
			director.Run("ip", "link", "set", "eth0", "down")
			director.Run("ip", "link", "set", "eth0", "up")
			sw, err := kernelOf(t, server).Wire("eth0")
			if err != nil {
				t.Fatal(err)
			}
			defer sw.Close()
			claim.Announces = true
			lab.Eventually(t, 30*time.Second, func() error { // the question is repeated, and the link takes its time
				if err := sw.Claim(vip, false); err != nil {
					return err
				}
				select {
				case c := <-heard:
					if c == claim {
						return nil
					}
				case <-time.After(100 * time.Millisecond):
				}
				return errors.New("after the link was down no announcement is heard")
			})
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}
