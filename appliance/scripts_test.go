package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// deadNet knows a name, and reaches nobody.
type deadNet struct {
	check.Net
	asked []string
}

func (n *deadNet) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	n.asked = append(n.asked, network+" "+address)
	return nil, errors.New("network is unreachable")
}

func (n *deadNet) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host != "gateway" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.254")}, nil
}

// Hosts are asked by ourselves, whatever programs are installed, one after the other.
func TestHostsAreAsked(t *testing.T) {
	if err := usable(config.Script{Name: "ping", Hosts: []string{"10.0.0.1"}, Command: config.Command{Words: []string{"/nowhere/ping"}}}); err != nil {
		t.Error(err)
	}
	n := &deadNet{}
	err := echo(context.Background(), n, []string{"10.0.0.1", "gateway", "nobody", "fd00::1"}, 40*time.Second)
	if got := strings.Join(n.asked, ", "); got != "ip4:icmp 10.0.0.1, ip4:icmp 10.0.0.254, ip6:ipv6-icmp fd00::1" {
		t.Errorf("asked %s", got)
	}
	for _, want := range []string{"10.0.0.1: ", "gateway: ", "nobody: no such host", "fd00::1: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}
