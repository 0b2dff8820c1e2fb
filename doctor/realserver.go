package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/realserver"
)

// What a real server needs is known to realserver.Explain, which lists it as steps;
// a rule here picks those whose absence is its fault.

// lacking are the steps of a setup that were not taken and that a rule is about.
func (f Facts) lacking(s realserver.Setup, about func(netif.Step) bool) []netif.Step {
	var steps []netif.Step
	for _, w := range realserver.Explain(f.Host, s) {
		if !w.Done && about(w.Step) {
			steps = append(steps, w.Step)
		}
	}
	return steps
}

func op(ops ...netif.Op) func(netif.Step) bool {
	return func(s netif.Step) bool { return slices.Contains(ops, s.Op) }
}

func setting(name string) func(netif.Step) bool {
	return func(s netif.Step) bool { return s.Op == netif.SetSysctl && strings.HasSuffix(s.Sysctl.Key, "."+name) }
}

// hiding are the setups in which this host has virtual addresses and hides them.
func (f Facts) hiding() []realserver.Setup {
	return slices.DeleteFunc(slices.Clone(f.Setups), func(s realserver.Setup) bool { return s.Method == realserver.NAT })
}

func vipMissing(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		for _, step := range f.lacking(s, op(netif.AddAddr)) {
			vip := step.Addr.Prefix.Addr()
			if f.ours(vip) { // elsewhere, or with another length: the next rules
				continue
			}
			found = append(found, wrong(fmt.Sprintf("%v is not an address of this host", vip), "packets that the director hands over are for somebody else, and are dropped").
				mend(f.lacking(s, setting("arp_ignore"))...).mend(step))
		}
	}
	return found
}

func vipOnWire(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		for _, vip := range s.VIPs {
			if f.servesVIP(vip) {
				continue // a director has it on the wire
			}
			for _, a := range f.heldOnWire(vip) {
				if a.DADFailed {
					continue
				}
				x := wrong(fmt.Sprintf("%v is on %s", vip, a.Link), "a device on the wire answers who-has for its own addresses, whatever arp_ignore says: clients come here past the director")
				found = append(found, x.mend(f.raise(s, vip)...).mend(netif.Step{Op: netif.DelAddr, Addr: a}))
			}
		}
	}
	return found
}

func vipLength(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		for _, vip := range s.VIPs {
			for _, a := range f.heldHidden(vip) {
				if a.Prefix.IsSingleIP() {
					continue
				}
				right := withVIPFlags(netif.Addr{Link: a.Link, Label: a.Label, Prefix: netip.PrefixFrom(vip, vip.BitLen())})
				found = append(found, wrong(fmt.Sprintf("%v is on %s with length %d", vip, a.Link, a.Prefix.Bits()),
					fmt.Sprintf("lo takes all of %v for this host, which then reaches none of its neighbours; the length of a VIP is %d", a.Prefix.Masked(), vip.BitLen())).
					mend(netif.Step{Op: netif.DelAddr, Addr: a}, netif.Step{Op: netif.AddAddr, Addr: right}))
			}
		}
	}
	return found
}

// raise is the step that puts a VIP where a setup wants it, unless it is there.
func (f Facts) raise(s realserver.Setup, vip netip.Addr) []netif.Step {
	if len(f.heldHidden(vip)) > 0 {
		return nil
	}
	return f.lacking(s, func(step netif.Step) bool { return step.Op == netif.AddAddr && step.Addr.Prefix.Addr() == vip })
}

func vipDAD(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		for _, vip := range s.VIPs {
			for _, a := range f.Host.Holders(vip) {
				if !a.DADFailed {
					continue
				}
				found = append(found, wrong(fmt.Sprintf("%v on %s is not in use: another host was found to have it", vip, a.Link),
					"the director has it, as it should; here it belongs on a device off the wire, without the check").
					mend(netif.Step{Op: netif.DelAddr, Addr: a}).mend(f.raise(s, vip)...))
			}
		}
	}
	return found
}

func vip6Source(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		for _, vip := range s.VIPs {
			for _, a := range f.heldHidden(vip) {
				if vip.Is4() || a.Deprecated || a.DADFailed || !a.Prefix.IsSingleIP() {
					continue
				}
				found = append(found, advice(fmt.Sprintf("%v on %s may become the source of this host's own connections", vip, a.Link), "their answers would go to the director").
					say(demote(a)...))
			}
		}
	}
	return found
}

// arpIgnore: the effective value on the card where the question comes in counts.
func arpIgnore(f Facts) []Finding {
	hides := func(v int) bool { return v == 1 || v == 2 || v == 8 }
	return f.loud("arp_ignore", hides, func(vip netip.Addr, where string) Finding {
		x := wrong(fmt.Sprintf("who asks for %v is answered: arp_ignore works as %s", vip, where), "routers and clients that hear it send everything here, past the director")
		if f.sysctl(netif.ConfKey("ipv4", "lo", "arp_ignore"), "1") && f.sysctl(netif.ConfKey("ipv4", "all", "arp_ignore"), "0") {
			x.Why += "; that it is 1 on lo hides nothing, because no question ever comes in there: the larger of conf/all and the card's own value counts"
		}
		return x
	})
}

func arpAnnounce(f Facts) []Finding {
	return f.loud("arp_announce", func(v int) bool { return v >= 2 }, func(vip netip.Addr, where string) Finding {
		return wrong(fmt.Sprintf("ARP requests of this host may carry %v as their sender: arp_announce works as %s", vip, where), "a router or a client learns from such a request that the VIP is here")
	})
}

// loud finds the wires on which a setting does not hide the IPv4 VIPs of this host.
func (f Facts) loud(name string, hides func(int) bool, tell func(vip netip.Addr, where string) Finding) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		vip, ok := f.hidden4(s)
		if s.KeepARP || !ok {
			continue
		}
		var where []string
		for _, l := range f.wires() {
			if v, known := f.Host.Effective("ipv4", l.Name, name); known && !hides(v) {
				where = append(where, fmt.Sprintf("%d on %s", v, l.Name))
			}
		}
		if len(where) > 3 {
			where = append(where[:3], fmt.Sprintf("and so on %d more", len(where)-3))
		}
		if len(where) > 0 {
			found = append(found, tell(vip, strings.Join(where, ", ")).mend(f.lacking(s, setting(name))...))
		}
	}
	return found
}

// hidden4 is the first IPv4 VIP that this host has off the wire, and that nothing
// else keeps silent about.
func (f Facts) hidden4(s realserver.Setup) (netip.Addr, bool) {
	for _, vip := range s.VIPs {
		if vip.Is4() && len(f.heldHidden(vip)) > 0 && len(f.heldOnWire(vip)) == 0 && !f.Firewall.hidesARP(vip) {
			return vip, true
		}
	}
	return netip.Addr{}, false
}

func proxyARP(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		vip, ok := f.hidden4(s)
		if !ok {
			continue
		}
		for _, l := range f.wires() {
			key := netif.ConfKey("ipv4", l.Name, "proxy_arp")
			if f.sysctl(netif.ConfKey("ipv4", "all", "proxy_arp"), "1") {
				key = netif.ConfKey("ipv4", "all", "proxy_arp")
			}
			if v, ok := f.Host.Effective("ipv4", l.Name, "proxy_arp"); ok && v == 1 {
				found = append(found, advice(fmt.Sprintf("proxy_arp is on at %s of a real server of %v", l.Name, vip),
					"this host may answer for addresses that are not its own, the VIP of its director among them").mend(f.set(key, "0")))
			}
		}
	}
	return found
}

func tunnelDown(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		steps := f.lacking(s, op(netif.AddLink, netif.LinkUp))
		if s.Method != realserver.TUN || len(steps) == 0 {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%s is missing or down", stepLink(steps[0])), "the director's packets come in a tunnel, and nobody unwraps them").mend(steps...))
	}
	return found
}

func stepLink(s netif.Step) string { return s.Link.Name }

func tunnelPort(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		if steps := f.lacking(s, op(netif.LoadModule, netif.AddFou)); s.Method == realserver.TUN && len(steps) > 0 {
			last := steps[len(steps)-1]
			found = append(found, wrong(fmt.Sprintf("no port unwraps what the director sends: UDP %d", last.Fou.Port), "the packets are refused as for a port that nobody listens on").mend(steps...))
		}
	}
	return found
}

func tunnelRPFilter(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		if s.Method != realserver.TUN {
			continue
		}
		for _, step := range f.lacking(s, setting("rp_filter")) {
			link := strings.Split(step.Sysctl.Key, ".")[3]
			if v, ok := f.Host.Effective("ipv4", link, "rp_filter"); ok && v == 1 {
				found = append(found, wrong(fmt.Sprintf("rp_filter works as 1 (strict) on %s", link), "clients are not reached through the tunnel, so that every packet out of it is dropped as forged").mend(step))
			}
		}
	}
	return found
}

func natSetups(f Facts) []realserver.Setup {
	return slices.DeleteFunc(slices.Clone(f.Setups), func(s realserver.Setup) bool { return s.Method != realserver.NAT })
}

func natGateway(f Facts) []Finding {
	var found []Finding
	for _, s := range natSetups(f) {
		for _, step := range f.lacking(s, op(netif.ReplaceRoute)) {
			is := "there is no default route"
			if now := f.Host.DefaultRoutes(step.Route.Dst.Addr().Is6()); len(now) > 0 {
				is = "the default route is " + now[0].String()
			}
			found = append(found, wrong(fmt.Sprintf("%s, and the director is %v", is, step.Route.Via), "answers that do not pass the director keep this host's address, and clients refuse them").mend(step))
		}
	}
	return found
}

func natVIP(f Facts) []Finding {
	var found []Finding
	for _, s := range natSetups(f) {
		for _, vip := range s.VIPs {
			for _, a := range f.Host.Holders(vip) {
				found = append(found, wrong(fmt.Sprintf("%v is on %s", vip, a.Link), "a masqueraded server is reached by its own address; with the VIP it talks to itself instead of the director, and may answer ARP for it").
					mend(netif.Step{Op: netif.DelAddr, Addr: a}))
			}
		}
	}
	return found
}

// natShortcut: clients of the VIP's network are this host's neighbours, which it
// answers without the gateway.
func natShortcut(f Facts) []Finding {
	var found []Finding
	for _, s := range natSetups(f) {
		for _, vip := range s.VIPs {
			r, ok, _ := f.routeTo(vip)
			if !ok || r.Dst.Bits() == 0 || r.Via.IsValid() || len(s.Gateways) == 0 {
				continue
			}
			found = append(found, advice(fmt.Sprintf("the VIP %v is on a network of this host, %v dev %s", vip, r.Dst, r.Link),
				"clients of that network are answered directly, past the director, and refuse the answer").
				say(fmt.Sprintf("ip route replace %v via %v dev %s onlink", r.Dst, s.Gateways[0], r.Link), "# and on the director: sysctl -w net.ipv4.conf.all.send_redirects=0"))
		}
	}
	return found
}
