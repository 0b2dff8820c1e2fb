package realserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Level is how much a finding matters.
type Level string

// The levels.
const (
	Wrong  Level = "wrong"  // it does not work, and our steps do not mend it
	Advice Level = "advice" // it works, and could be better
	Note   Level = "note"   // good to know
)

// Finding is something about a host that a step of ours does not settle: it is
// someone else's to change, or only to be known.
type Finding struct {
	Level Level      `json:"level"`
	VIP   netip.Addr `json:"vip,omitzero"`
	Where string     `json:"where,omitempty"` // "/etc/rc.local:3", for what is in a file
	What  string     `json:"what"`
	Why   string     `json:"why"`
	Fix   string     `json:"fix,omitempty"` // a command that can be typed as it is
}

// Inspect finds what stands in the way of a setup on a host, and what is odd.
func Inspect(have netif.Snapshot, s Setup) []Finding {
	i := inspector{have: have, setup: s}
	switch s.Method {
	case DR, TUN:
		i.carriers()
		for _, vip := range s.VIPs {
			i.address(vip)
			i.route(vip)
		}
		i.onlyOnTheCarrier()
		i.neighbourProxies()
		i.tunnelMTU()
	case NAT:
		i.natAddresses()
		i.natGateway()
	}
	return i.found
}

type inspector struct {
	have  netif.Snapshot
	setup Setup
	found []Finding
}

func (i *inspector) add(f Finding) { i.found = append(i.found, f) }

// carriers looks at the devices that hold the VIPs.
func (i *inspector) carriers() {
	for _, ipv6 := range []bool{false, true} {
		ips := i.setup.family(ipv6)
		if len(ips) == 0 {
			continue
		}
		name := i.setup.carrier(ipv6)
		l, ok := i.have.Link(name)
		switch {
		case !ok && i.setup.Interface != "":
			i.add(Finding{Level: Wrong, What: "there is no device " + name, Why: "the virtual addresses are to be on it"})
		case ok && !l.Loopback && !l.NoARP:
			i.add(Finding{Level: Wrong, What: name + " is on the wire",
				Why: "a device that speaks ARP answers for its own addresses whatever arp_ignore says; put virtual addresses on lo or a dummy device"})
		}
		if ipv6 && i.have.Sysctls[netif.ConfKey("ipv6", name, "disable_ipv6")] == "1" {
			i.add(Finding{Level: Wrong, What: "IPv6 is switched off on " + name, Why: "it can have no IPv6 address then",
				Fix: "sysctl -w " + netif.ConfKey("ipv6", name, "disable_ipv6") + "=0"})
		}
	}
}

func (i *inspector) address(vip netip.Addr) {
	carrier := i.setup.carrier(vip.Is6())
	for _, a := range i.have.Holders(vip) {
		del := netif.Step{Op: netif.DelAddr, Addr: a}.String()
		switch {
		case a.Link != carrier:
			i.elsewhere(vip, a, del)
		case !a.Prefix.IsSingleIP():
			i.add(Finding{Level: Wrong, VIP: vip, What: fmt.Sprintf("%v is on %s with length %d", vip, carrier, a.Prefix.Bits()),
				Why: fmt.Sprintf("%s; a virtual address has length %d", i.claims(a), vip.BitLen()), Fix: del})
		case a.DADFailed:
			i.add(Finding{Level: Wrong, VIP: vip, What: fmt.Sprintf("%v is not in use: another host was found to have it", vip),
				Why: "the director has it, so the check must be left out", Fix: del})
		case vip.Is6() && !a.Deprecated:
			i.add(Finding{Level: Advice, VIP: vip, What: fmt.Sprintf("%v may become the source of this host's own connections", vip),
				Why: "their answers would go to the director", Fix: fmt.Sprintf("ip -6 addr change %v dev %s preferred_lft 0", a.Prefix, carrier)})
		}
	}
}

// claims is what a length that is too short does. Of lo the kernel takes the whole
// network as local; through any other device it makes a route to it.
func (i *inspector) claims(a netif.Addr) string {
	if l, ok := i.have.Link(a.Link); ok && l.Loopback && a.Prefix.Addr().Is4() {
		return fmt.Sprintf("this host now takes all of %v for its own and answers none of it", a.Prefix.Masked())
	}
	return fmt.Sprintf("this host now has a route to all of %v through %s, where none of it is", a.Prefix.Masked(), a.Link)
}

func (i *inspector) elsewhere(vip netip.Addr, a netif.Addr, del string) {
	l, _ := i.have.Link(a.Link)
	if l.Loopback || l.NoARP {
		i.add(Finding{Level: Note, VIP: vip, What: fmt.Sprintf("%v is on %s as well", vip, a.Link), Why: "someone else put it there; it does no harm, and outlives ours"})
		return
	}
	i.add(Finding{Level: Wrong, VIP: vip, What: fmt.Sprintf("%v is on %s", vip, a.Link),
		Why: "a device on the wire answers ARP and neighbour questions for its own addresses, whatever arp_ignore says; clients would come here past the director", Fix: del})
}

// route looks for a host route to the VIP that leads elsewhere.
func (i *inspector) route(vip netip.Addr) {
	carrier := i.setup.carrier(vip.Is6())
	for _, r := range i.have.Routes {
		if r.Dst.IsSingleIP() && r.Dst.Addr() == vip && r.Link != carrier && r.Link != "" {
			i.add(Finding{Level: Note, VIP: vip, What: fmt.Sprintf("the route %v does not lead to %s", r, carrier),
				Why: "it has no effect while the address is here; without the address it would send packets for the VIP there"})
		}
	}
}

// onlyOnTheCarrier is the classic mistake, told in words: our steps mend it.
func (i *inspector) onlyOnTheCarrier() {
	carrier := i.setup.carrier(false)
	if len(i.setup.family(false)) == 0 || i.setup.KeepARP {
		return
	}
	mine := i.have.Sysctls[netif.ConfKey("ipv4", carrier, "arp_ignore")]
	everyone := i.have.Sysctls[netif.ConfKey("ipv4", "all", "arp_ignore")]
	if mine != "0" && mine != "" && everyone == "0" {
		i.add(Finding{Level: Note, What: "arp_ignore is set on " + carrier + " and not on all",
			Why: "that hides nothing: an ARP request comes in on a network card, and there the larger of conf/all and the card's own value counts",
			Fix: "sysctl -w " + netif.ConfKey("ipv4", "all", "arp_ignore") + "=1"})
	}
}

func (i *inspector) neighbourProxies() {
	if len(i.setup.VIPs) == 0 {
		return
	}
	for _, l := range i.have.Links {
		if l.Loopback || l.NoARP {
			continue
		}
		if v, ok := i.have.Effective("ipv4", l.Name, "proxy_arp"); ok && v != 0 && len(i.setup.family(false)) > 0 {
			i.add(Finding{Level: Advice, What: "proxy_arp is on at " + l.Name, Why: "the host may answer ARP for addresses that are not its own",
				Fix: "sysctl -w " + netif.ConfKey("ipv4", l.Name, "proxy_arp") + "=0"})
		}
	}
}

// tunnelMTU is advice: nothing on a real server can make the director's packets
// smaller, but the segments that clients send can be.
func (i *inspector) tunnelMTU() {
	if i.setup.Method != TUN {
		return
	}
	for _, ipv6 := range []bool{false, true} {
		if len(i.setup.family(ipv6)) == 0 {
			continue
		}
		mtu := i.smallestMTU()
		room := mtu - i.setup.overhead(ipv6)
		headers := 40
		if ipv6 {
			headers = 60
		}
		i.add(Finding{Level: Note, What: fmt.Sprintf("a packet of a client has room for %d bytes of the %d on the wire", room, mtu),
			Why: fmt.Sprintf("the tunnel takes the rest; a client that does not hear the director's \"fragmentation needed\" stalls on large requests, "+
				"unless the answers of this host tell it a segment size of %d (ip route change ... advmss %d)", room-headers, room-headers)})
	}
}

// smallestMTU is that of the network cards.
func (i *inspector) smallestMTU() int {
	mtu := 1500
	for _, l := range i.have.Links {
		if !l.Loopback && !l.NoARP && l.Up && l.MTU > 0 && l.MTU < mtu {
			mtu = l.MTU
		}
	}
	return mtu
}

func (i *inspector) natAddresses() {
	for _, vip := range i.setup.VIPs {
		for _, a := range i.have.Holders(vip) {
			i.add(Finding{Level: Wrong, VIP: vip, What: fmt.Sprintf("%v is on %s", vip, a.Link),
				Why: "with NAT the packets come to the real server's own address, and the director alone has the virtual one",
				Fix: netif.Step{Op: netif.DelAddr, Addr: a}.String()})
		}
	}
}

func (i *inspector) natGateway() {
	for _, ipv6 := range []bool{false, true} {
		named := slices.IndexFunc(i.setup.Gateways, func(gw netip.Addr) bool { return gw.Is6() == ipv6 })
		defaults := i.have.DefaultRoutes(ipv6)
		switch {
		case named >= 0:
			i.reachable(i.setup.Gateways[named])
		case len(defaults) > 0:
			i.add(Finding{Level: Note, What: "the default route is " + defaults[0].String(),
				Why: "with NAT it has to lead to the director, which alone can put the virtual address back into the answers; name the director with --gateway to have that checked"})
		case !ipv6 && len(i.setup.Gateways) == 0:
			i.add(Finding{Level: Wrong, What: "there is no default route", Why: "the answers have to pass the director; name it with --gateway"})
		}
	}
	if i.have.Sysctls["net.ipv4.ip_forward"] == "1" {
		i.add(Finding{Level: Note, What: "ip_forward is on", Why: "a director needs it for NAT, a real server does not"})
	}
}

func (i *inspector) reachable(gw netip.Addr) {
	if (&planner{have: i.have}).linkTo(gw) == "" {
		i.add(Finding{Level: Wrong, What: fmt.Sprintf("%v is on no network of this host", gw), Why: "the director's inside address has to be a neighbour"})
	}
	if len(i.have.Holders(gw)) > 0 {
		i.add(Finding{Level: Wrong, What: fmt.Sprintf("%v is this host's own address", gw), Why: "the gateway is the director, not the real server"})
	}
}

// Broken is whether one of the findings keeps the setup from working.
func Broken(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Level == Wrong })
}

// String is the finding in one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Level) + ": ")
	if f.Where != "" {
		b.WriteString(f.Where + ": ")
	}
	b.WriteString(f.What + ": " + f.Why)
	if f.Fix != "" {
		b.WriteString("; mend it with: " + f.Fix)
	}
	return b.String()
}
