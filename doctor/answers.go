package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
)

// Identify turns the answers of a probe into names, by what a neighbour table says.
func Identify(answers []netif.Answer, known []netif.Neighbour, vip netip.Addr) []Who {
	whos := []Who{}
	for _, a := range answers {
		w := Who{Answer: a, Names: []netip.Addr{}}
		for _, n := range known {
			if n.MAC == a.MAC && n.IP != vip && !n.IP.IsLinkLocalUnicast() {
				w.Names = append(w.Names, n.IP)
			}
		}
		whos = append(whos, w)
	}
	return whos
}

// String is an Ethernet address with its names.
func (w Who) String() string {
	if len(w.Names) == 0 {
		return w.MAC
	}
	var names []string
	for _, n := range w.Names {
		names = append(names, n.String())
	}
	return w.MAC + " (" + strings.Join(names, ", ") + ")"
}

func (p Probe) list() string {
	var all []string
	for _, w := range p.Answers {
		all = append(all, w.String())
	}
	return strings.Join(all, " and ")
}

// isServer is whether one who answers is a real server of the table.
func (f Facts) isServer(w Who) (netip.Addr, bool) {
	servers := f.servers(lvs.Gate, lvs.Tunnel, lvs.Masq)
	i := slices.IndexFunc(w.Names, func(ip netip.Addr) bool { return slices.Contains(servers, ip) && !f.ours(ip) })
	if i < 0 {
		return netip.Addr{}, false
	}
	return w.Names[i], true
}

// serverAnswers is the ARP problem, proved from the other side: a director knows
// its servers, so that it can name the one that answers. Other hosts see only that
// several answer: see manyAnswer.
func serverAnswers(f Facts) []Finding {
	var found []Finding
	for _, p := range f.Probes {
		for _, w := range p.Answers {
			rip, ok := f.isServer(w)
			if !ok || w.Asks {
				continue
			}
			found = append(found, wrong(fmt.Sprintf("who has %v on %s is answered by %s, which is real server %v, after %v", p.VIP, p.Link, w, rip, w.After.Round(100_000)),
				"routers and clients that hear it send everything to that server past the director").
				say(silence(rip, p.VIP)...))
		}
	}
	return found
}

// silence are the lines that hide an address on a real server.
func silence(rip, vip netip.Addr) []string {
	lines := []string{fmt.Sprintf("# on %v: lvsctl doctor --vip %v, or:", rip, vip)}
	if vip.Is4() {
		return append(lines, "sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_announce=2")
	}
	return append(lines, fmt.Sprintf("ip -6 addr del %v/128 dev eth0", vip), fmt.Sprintf("ip -6 addr add %v/128 dev lo nodad preferred_lft 0", vip))
}

// vipDuplicate is one who answers for a VIP that this director has, and is none of
// its servers.
func vipDuplicate(f Facts) []Finding {
	var found []Finding
	for _, p := range f.Probes {
		for _, w := range p.Answers {
			if _, server := f.isServer(w); server || !p.Held || w.Asks || f.advertises(w, p) {
				continue
			}
			found = append(found, wrong(fmt.Sprintf("%v is an address of this host, and %s answers for it on %s too", p.VIP, w, p.Link),
				"clients go to the one whose answer they heard last").
				say(fmt.Sprintf("# find %s: ip neigh show | grep %s", w.MAC, w.MAC), fmt.Sprintf("# on that host: ip addr del %v/%d dev eth0", p.VIP, p.VIP.BitLen())))
		}
	}
	return found
}

// advertises is whether one who answers sends adverts for the address: that is told
// by the rules of VRRP.
func (f Facts) advertises(w Who, p Probe) bool {
	return slices.ContainsFunc(f.Adverts, func(h Heard) bool {
		return !h.Ours && slices.Contains(w.Names, h.Advert.Src) && slices.Contains(h.Advert.Addrs, p.VIP)
	})
}

// asked are the probes whose answers a real server or a client judges: those of
// virtual addresses that are not on the wire here. A director has rules of its own.
func (f Facts) asked() []Probe {
	return slices.DeleteFunc(slices.Clone(f.Probes), func(p Probe) bool { return p.Held || f.servesVIP(p.VIP) })
}

func nobodyAnswers(f Facts) []Finding {
	var found []Finding
	for _, p := range f.asked() {
		if len(p.Answers) > 0 || f.answeredElsewhere(p) {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("nobody on %s answers for %v", p.Link, p.VIP), "the director has to have the address; either it has not, or it is cut off from here").
			say("# on the director: lvsctl doctor --listen 5s"))
	}
	return found
}

func (f Facts) answeredElsewhere(p Probe) bool {
	return slices.ContainsFunc(f.Probes, func(o Probe) bool { return o.VIP == p.VIP && (len(o.Answers) > 0 || o.Held) })
}

func manyAnswer(f Facts) []Finding {
	var found []Finding
	for _, p := range f.asked() {
		p.Answers = slices.DeleteFunc(slices.Clone(p.Answers), func(w Who) bool { return w.Asks })
		if len(p.Answers) < 2 {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%d hosts on %s answer for %v: %s", len(p.Answers), p.Link, p.VIP, p.list()),
			"one of them is the director; the others are real servers whose ARP is not hidden, or a second master").
			say(fmt.Sprintf("# on the director, which knows who is who: lvsctl doctor --probe-arp %v", p.VIP)))
	}
	return found
}

// staleNeighbour: the neighbour table holds somebody who does not answer.
func staleNeighbour(f Facts) []Finding {
	var found []Finding
	for _, p := range f.asked() {
		for _, n := range f.Neighbours {
			answers := slices.ContainsFunc(p.Answers, func(w Who) bool { return w.MAC == n.MAC })
			if n.IP != p.VIP || n.Link != p.Link || answers || len(p.Answers) == 0 {
				continue
			}
			x := wrong(fmt.Sprintf("this host's neighbour table has %v at %s, and %s answers for it on %s", p.VIP, n.MAC, p.list(), p.Link),
				"packets for the VIP go to a host that is not, or no longer, the director")
			if n.Fixed {
				x.Why += "; the entry was made by hand and corrects itself never"
			}
			found = append(found, x.say(fmt.Sprintf("ip neigh del %v dev %s", p.VIP, p.Link)))
		}
	}
	return found
}

// gatewayIsDirector: the director sees answers whose sender is an address of its
// own, and the kernel drops these as forged.
func gatewayIsDirector(f Facts) []Finding {
	var found []Finding
	for _, p := range f.Probes {
		if !f.hidesByDR(p.VIP) {
			continue
		}
		for _, r := range f.Host.DefaultRoutes(p.VIP.Is6())[:min(1, len(f.Host.DefaultRoutes(p.VIP.Is6())))] {
			i := slices.IndexFunc(p.Answers, func(w Who) bool { return w.MAC == f.macOf(r.Via) })
			if i < 0 {
				continue
			}
			found = append(found, wrong(fmt.Sprintf("the default gateway %v and the VIP %v are one host: %s", r.Via, p.VIP, p.Answers[i].MAC),
				"answers carry the VIP as their sender; the director, which has that address itself, drops them as forged unless accept_local is 1 there").
				say(fmt.Sprintf("ip route replace default via ROUTER dev %s", r.Link), "# where ROUTER is the one that the director itself uses"))
		}
	}
	return found
}

// hidesByDR is whether this host answers clients under the VIP by itself.
func (f Facts) hidesByDR(vip netip.Addr) bool {
	return slices.ContainsFunc(f.Setups, func(s realserver.Setup) bool {
		return s.Method != realserver.NAT && slices.Contains(s.VIPs, vip)
	})
}

// Where are the links on which neighbours may ask for an address: those that have
// it, and those whose network it belongs to.
func Where(s netif.Snapshot, vip netip.Addr) []string {
	var links []string
	for _, a := range s.Addrs {
		l, _ := s.Link(a.Link)
		if onWire(l) && l.Up && a.Prefix.Contains(vip) && !slices.Contains(links, a.Link) {
			links = append(links, a.Link)
		}
	}
	return links
}
