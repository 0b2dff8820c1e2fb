package doctor

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
)

// pair is a service and one of its destinations.
type pair struct {
	lvs.Service
	lvs.DestinationState
}

func (p pair) rip() netip.Addr { return p.DestinationState.Addr.Addr() }

// pairs are the destinations of all services that are reached by one of the
// methods.
func (f Facts) pairs(methods ...lvs.Method) iter.Seq[pair] {
	return func(yield func(pair) bool) {
		for _, s := range f.Table {
			for _, d := range s.Destinations {
				if slices.Contains(methods, d.Method) && !yield(pair{s.Service, d}) {
					return
				}
			}
		}
	}
}

// servers are the addresses of the destinations that are reached by one of the
// methods, each once, in the order of the table.
func (f Facts) servers(methods ...lvs.Method) []netip.Addr {
	var ips []netip.Addr
	for p := range f.pairs(methods...) {
		if !slices.Contains(ips, p.rip()) {
			ips = append(ips, p.rip())
		}
	}
	return ips
}

// VIPs are the virtual addresses of the table, each once, in its order.
func (f Facts) VIPs() []netip.Addr {
	var ips []netip.Addr
	for _, s := range f.Table {
		if vip := s.Service.Addr.Addr(); vip.IsValid() && !slices.Contains(ips, vip) {
			ips = append(ips, vip)
		}
	}
	return ips
}

// servesVIP is whether an address is that of a service.
func (f Facts) servesVIP(ip netip.Addr) bool { return slices.Contains(f.VIPs(), ip) }

// onWire is whether a link is one on which neighbours ask for addresses.
func onWire(l netif.Link) bool { return !l.Loopback && !l.NoARP && l.MAC != "" }

// wires are the links that have neighbours.
func (f Facts) wires() []netif.Link {
	var links []netif.Link
	for _, l := range f.Host.Links {
		if onWire(l) && l.Up {
			links = append(links, l)
		}
	}
	return links
}

// heldOnWire are the addresses that are ip on links that have neighbours.
func (f Facts) heldOnWire(ip netip.Addr) []netif.Addr {
	return slices.DeleteFunc(f.Host.Holders(ip), func(a netif.Addr) bool {
		l, _ := f.Host.Link(a.Link)
		return !onWire(l)
	})
}

// heldHidden are those on lo, on tunnels and the like.
func (f Facts) heldHidden(ip netip.Addr) []netif.Addr {
	return slices.DeleteFunc(f.Host.Holders(ip), func(a netif.Addr) bool {
		l, _ := f.Host.Link(a.Link)
		return onWire(l)
	})
}

// routeTo is the route that a packet to ip takes. It is not ok when there is none,
// and known is false when policy rules decide, which we do not follow.
func (f Facts) routeTo(ip netip.Addr) (r netif.Route, ok, known bool) {
	for _, rule := range f.Host.Rules {
		plain := !rule.From.IsValid() && !rule.To.IsValid() && rule.Iif == "" && rule.Oif == "" && rule.Mark == 0 && rule.Table >= netif.TableDefault
		if rule.IPv6 == ip.Is6() && !plain {
			return r, false, false
		}
	}
	for _, have := range f.Host.Routes {
		if have.Table != netif.TableMain || have.Dst.Addr().Is6() != ip.Is6() || !have.Dst.Contains(ip) {
			continue
		}
		better := have.Dst.Bits() > r.Dst.Bits() || have.Dst.Bits() == r.Dst.Bits() && have.Metric < r.Metric
		if !ok || better {
			r, ok = have, true
		}
	}
	return r, ok, true
}

// linkOf is the link behind which a neighbour is, "" when it is none of ours.
func (f Facts) linkOf(ip netip.Addr) string {
	r, ok, _ := f.routeTo(ip)
	if !ok || r.Via.IsValid() || r.Type != "" {
		return ""
	}
	return r.Link
}

// ours is whether an address is one of this host.
func (f Facts) ours(ip netip.Addr) bool { return len(f.Host.Holders(ip)) > 0 }

// sysctl is a setting, and whether it has the value.
func (f Facts) sysctl(key, value string) bool { return f.Host.Sysctls[key] == value }

// set is the step that changes a setting.
func (f Facts) set(key, value string) netif.Step {
	return netif.Step{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: key, Value: value, Was: f.Host.Sysctls[key]}}
}

// macOf is the Ethernet address of a neighbour, "" when it is not known.
func (f Facts) macOf(ip netip.Addr) string {
	for _, n := range f.Neighbours {
		if n.IP == ip {
			return n.MAC
		}
	}
	return ""
}

// HeldOnWire is whether this host has an address on a link that has neighbours.
func (f Facts) HeldOnWire(ip netip.Addr) bool { return len(f.heldOnWire(ip)) > 0 }

// maxStrangers bounds the hosts that are asked for by name.
const maxStrangers = 32

// Strangers are the addresses of whom it would help to know the Ethernet address:
// the servers, when somebody answers whom the neighbour table does not know, and on
// a real server of direct routing the gateway.
func (f Facts) Strangers() []netip.Addr {
	var ips []netip.Addr
	if slices.ContainsFunc(f.Probes, f.hasStranger) {
		ips = f.servers(lvs.Gate, lvs.Tunnel, lvs.Masq)
	}
	for _, s := range f.hiding() {
		for _, r := range append(f.Host.DefaultRoutes(false), f.Host.DefaultRoutes(true)...) {
			if r.Via.IsValid() && len(s.VIPs) > 0 {
				ips = append(ips, r.Via)
			}
		}
	}
	ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool { return f.ours(ip) || f.macOf(ip) != "" })
	slices.SortFunc(ips, netip.Addr.Compare)
	ips = slices.Compact(ips)
	return ips[:min(len(ips), maxStrangers)]
}

func (f Facts) hasStranger(p Probe) bool {
	return slices.ContainsFunc(p.Answers, func(w Who) bool { return len(Identify([]netif.Answer{w.Answer}, f.Neighbours, p.VIP)[0].Names) == 0 })
}
