package netif

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Neighbour is what the kernel believes of an address on a link.
type Neighbour struct {
	Link string     `json:"link"`
	IP   netip.Addr `json:"ip"`
	MAC  string     `json:"mac"`
	// Fixed is an entry that somebody made: no answer changes it.
	Fixed bool `json:"fixed,omitempty"`
}

// Neighbours are the entries of the neighbour tables that have an Ethernet
// address and may be used, sorted by link and address. They change by themselves,
// so they are no part of a [Snapshot].
func (k *Kernel) Neighbours() ([]Neighbour, error) {
	names := k.linkNames()
	var all []Neighbour
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dumped(func() ([]netlink.Neigh, error) { return k.h.NeighList(0, family) })
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			ip := ourIP(n.IP)
			usable := n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED|netlink.NUD_NOARP) == 0
			if len(n.HardwareAddr) == 6 && usable && ip.IsValid() {
				all = append(all, Neighbour{Link: names[n.LinkIndex], IP: ip, MAC: n.HardwareAddr.String(), Fixed: n.State&netlink.NUD_PERMANENT != 0})
			}
		}
	}
	slices.SortFunc(all, func(a, b Neighbour) int {
		if a.Link != b.Link {
			return cmp.Compare(a.Link, b.Link)
		}
		return a.IP.Compare(b.IP)
	})
	return all, nil
}
