package vrrplab

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestDeviceOfAnAddress: an instance cannot do without the devices that its
// addresses are on, and the same virtual_router_id may be there a second time with
// another group: keepalived and we have to be of one mind on both.
func TestDeviceOfAnAddress(t *testing.T) {
	lab.Long(t)
	needKeepalived(t)
	p := newPair(t)
	inside := p.net.Bridge("inside")
	for i, d := range p.d {
		d.Nic("eth1", inside, fmt.Sprintf("10.2.0.%d/24", i+1))
		d.WriteFile(confFile, fmt.Sprintf(`vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    version 3
    priority %d
    advert_int 0.3
    virtual_ipaddress {
        %s/24
        10.2.0.100/24 dev eth1
    }
}
vrrp_instance VI_2 {
    interface eth0
    virtual_router_id 51
    version 3
    priority %d
    advert_int 0.3
    mcast_dst_ip 224.0.0.99
    virtual_ipaddress {
        10.1.0.101/24
    }
}
`, 150-50*i, vip, 100+50*i), 0o644)
	}
	p.startWith(1, "keepalived")
	p.await("keepalived alone", 1)
	p.startWith(0, lvsctl(), "keepalived")
	p.await("we are better", 0)
	p.awaitOther("of the same VRID the other group has its own master", 1)
	p.d[0].Unplug("eth1")
	p.await("the device of our second address is down", 1)
	p.d[0].Plug("eth1")
	p.await("it is up again", 0)
	p.awaitOther("and the other instance has felt nothing", 1)
}

// awaitOther waits until exactly this director has the second instance's address.
func (p *pair) awaitOther(what string, holder int) {
	p.Helper()
	lab.Eventually(p, patience, func() error {
		for i, d := range p.d {
			if slices.Contains(addresses(p, d), "10.1.0.101/24") != (i == holder) {
				time.Sleep(look)
				return fmt.Errorf("%s: d%d has 10.1.0.101: %v", what, i+1, i != holder)
			}
		}
		return nil
	})
}
