package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
	"github.com/lvsctl/lvsctl/vrrp"
)

// firewallVRRP: a tap hears adverts before the firewall drops them, so that an
// advert heard is no proof that it arrives. Without any heard, only a rule that
// drops VRRP by name is one.
func firewallVRRP(f Facts) []Finding {
	p := Packet{Proto: vrrp.Protocol, Dst: vrrp.GroupIPv4, State: "new", ICMPType: -1}
	heard := slices.IndexFunc(f.Adverts, func(h Heard) bool { return !h.Ours })
	if heard >= 0 {
		h := f.Adverts[heard]
		p.Src, p.Dst, p.In = h.Advert.Src, h.Advert.Dst, h.Link
	}
	for _, hook := range []string{"prerouting", "input", "output"} {
		if hook == "output" {
			p = Packet{Proto: vrrp.Protocol, Dst: p.Dst, State: "new", ICMPType: -1}
		}
		d, drops := f.Firewall.Fate(hook, p)
		if !drops || heard < 0 && f.dropsAll(hook, p) {
			continue
		}
		return []Finding{wrong(fmt.Sprintf("%v drops VRRP: %s", d, d.Rule), "directors do not hear one another, and each makes itself the master").
			say(d.Let("meta l4proto 112", "-p 112"))}
	}
	return nil
}

// dropsAll is whether another, unused protocol is dropped too: then the rule is not
// about this one, and nothing says that this host needs it. 253 is for experiments
// (RFC 3692).
func (f Facts) dropsAll(hook string, p Packet) bool {
	p.Proto = 253
	_, drops := f.Firewall.Fate(hook, p)
	return drops
}

// firewallVIP asks on a director for every service, and on a real server for every
// VIP, whose port it does not know.
func firewallVIP(f Facts) []Finding {
	var found []Finding
	try := func(p Packet, what, nft, iptables string) {
		for _, hook := range []string{"prerouting", "input"} {
			d, drops := f.Firewall.Fate(hook, p)
			if drops {
				found = append(found, wrong(fmt.Sprintf("%v drops what comes for %s: %s", d, what, d.Rule), "clients get no answer").say(d.Let(nft, iptables)))
				return
			}
		}
	}
	for _, s := range f.Table {
		vip := s.Service.Addr.Addr()
		links := f.heldOnWire(vip)
		if s.Mark != 0 || len(links) == 0 {
			continue
		}
		proto, port := s.Protocol.String(), s.Service.Addr.Port()
		p := Packet{Proto: uint8(s.Protocol), Dst: vip, DPort: port, In: links[0].Link, State: "new", ICMPType: -1}
		try(p, s.Key.String(), fmt.Sprintf("%s daddr %v %s dport %d", ipWord(vip), vip, lower(proto), port), fmt.Sprintf("-d %v -p %s --dport %d", vip, lower(proto), port))
	}
	for _, s := range f.hiding() {
		for _, vip := range s.VIPs {
			link := f.inLink(s, vip)
			if link == "" || f.servesVIP(vip) {
				continue
			}
			try(Packet{Proto: uint8(lvs.TCP), Dst: vip, In: link, State: "new", ICMPType: -1}, vip.String(), fmt.Sprintf("%s daddr %v", ipWord(vip), vip), fmt.Sprintf("-d %v", vip))
		}
	}
	return found
}

func lower(proto string) string {
	return map[string]string{"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}[proto]
}

func ipWord(ip netip.Addr) string {
	if ip.Is6() {
		return "ip6"
	}
	return "ip"
}

// inLink is where packets for a VIP come in on a real server: a card, or the tunnel.
func (f Facts) inLink(s realserver.Setup, vip netip.Addr) string {
	held := f.heldHidden(vip)
	if len(held) == 0 {
		return ""
	}
	if s.Method == realserver.TUN {
		return held[0].Link
	}
	if wires := f.wires(); len(wires) == 1 {
		return wires[0].Name
	}
	return ""
}

func firewallForward(f Facts) []Finding {
	for p := range f.pairs(lvs.Masq) {
		rip, vip := p.rip(), p.Service.Addr.Addr()
		if f.ours(rip) || !vip.IsValid() || rip.Is6() != vip.Is6() {
			continue
		}
		answer := Packet{Proto: uint8(p.Protocol), Src: rip, Dst: somebody(rip.Is6()), SPort: p.DestinationState.Addr.Port(), In: f.linkTowards(rip), State: "established", ICMPType: -1}
		d, drops := f.Firewall.Fate("forward", answer)
		if !drops {
			continue
		}
		return []Finding{wrong(fmt.Sprintf("%v drops the answers of masqueraded server %v: %s", d, rip, d.Rule), "clients get no answer").
			say(d.Let(fmt.Sprintf("%s saddr %v", ipWord(rip), rip), fmt.Sprintf("-s %v", rip)))}
	}
	return nil
}

// somebody is a client: an address of no network of ours (RFC 5737, RFC 3849).
func somebody(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, 1})
}

// firewallICMP: what a tunnel cannot carry, the director has to tell the client.
func firewallICMP(f Facts) []Finding {
	for p := range f.pairs(lvs.Tunnel) {
		vip := p.Service.Addr.Addr()
		if f.ours(p.rip()) || !vip.IsValid() {
			continue
		}
		icmp := Packet{Proto: 1, Src: vip, Dst: somebody(false), ICMPType: 3, State: "related"}
		nft, iptables := "icmp type destination-unreachable", "-p icmp --icmp-type 3"
		if vip.Is6() {
			icmp = Packet{Proto: 58, Src: vip, Dst: somebody(true), ICMPType: 2, State: "related"}
			nft, iptables = "icmpv6 type packet-too-big", "-p icmpv6 --icmpv6-type 2"
		}
		d, drops := f.Firewall.Fate("output", icmp)
		if !drops {
			continue
		}
		return []Finding{wrong(fmt.Sprintf("%v drops the ICMP with which this host tells clients of %v how much the tunnel carries: %s", d, vip, d.Rule),
			"small requests work, and large ones hang").say(d.Let(nft, iptables))}
	}
	return nil
}

// firewallTunnel asks for the packets that a director wraps.
func firewallTunnel(f Facts) []Finding {
	var found []Finding
	for _, s := range f.hiding() {
		if s.Method != realserver.TUN {
			continue
		}
		for _, six := range []bool{false, true} {
			if !slices.ContainsFunc(s.VIPs, func(ip netip.Addr) bool { return ip.Is6() == six }) {
				continue
			}
			if x, drops := f.tunnelDropped(s, six); drops {
				found = append(found, x)
			}
		}
	}
	return found
}

func (f Facts) tunnelDropped(s realserver.Setup, six bool) (Finding, bool) {
	for _, l := range f.wires() {
		to := f.ownAddr(l, six)
		if !to.IsValid() {
			continue
		}
		p := Packet{Proto: 4, Dst: to, In: l.Name, State: "new", ICMPType: -1}
		nft, iptables := "meta l4proto 4", "-p 4"
		switch {
		case s.Tunnel == realserver.GUE:
			port := s.Port
			if port == 0 {
				port = realserver.GUEPort
			}
			p.Proto, p.DPort = 17, port
			nft, iptables = fmt.Sprintf("udp dport %d", port), fmt.Sprintf("-p udp --dport %d", port)
		case s.Tunnel == realserver.GRE:
			p.Proto, nft, iptables = 47, "meta l4proto 47", "-p 47"
		case six:
			p.Proto, nft, iptables = 41, "meta l4proto 41", "-p 41"
		}
		for _, hook := range []string{"prerouting", "input"} {
			if d, drops := f.Firewall.Fate(hook, p); drops {
				return wrong(fmt.Sprintf("%v drops the director's tunnel, IP protocol %d: %s", d, p.Proto, d.Rule), "nothing that the director sends arrives").say(d.Let(nft, iptables)), true
			}
		}
	}
	return Finding{}, false
}

// ownAddr is an address of a link that is no VIP of this host.
func (f Facts) ownAddr(l netif.Link, six bool) netip.Addr {
	for _, a := range f.Host.Addrs {
		ip := a.Prefix.Addr()
		if a.Link == l.Name && ip.Is6() == six && !ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}
