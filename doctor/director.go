package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
)

func ipvsMissing(f Facts) []Finding {
	if f.IPVS.Missing == "" {
		return nil
	}
	return []Finding{wrong("the kernel has no IPVS at present: "+f.IPVS.Missing, "nothing is balanced without it").
		mend(netif.Step{Op: netif.LoadModule, Module: "ip_vs"})}
}

func ipvsDenied(f Facts) []Finding {
	if f.IPVS.Denied == "" {
		return nil
	}
	return []Finding{wrong("the IPVS table could not be read: "+f.IPVS.Denied,
		"it takes CAP_NET_ADMIN, also in a container or a unit with CapabilityBoundingSet; what follows is examined without the table").
		say("sudo lvsctl doctor")}
}

func schedulerMissing(f Facts) []Finding {
	var found []Finding
	for _, w := range f.Wanted {
		if f.Available == nil || slices.Contains(f.Available, w.Scheduler) {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%s asks for scheduler %s, and kernel %s has no module ip_vs_%s", w.Where, w.Scheduler, f.Release, w.Scheduler),
			"the kernel refuses the service; it has "+strings.Join(f.Available, ", ")).
			say("# install the rest of the kernel's modules (linux-modules-extra, kernel-modules-extra), or use another scheduler in "+w.Where))
	}
	return found
}

func noScheduler(f Facts) []Finding {
	var found []Finding
	for _, s := range f.Table {
		if s.Scheduler == "none" || s.Scheduler == "" {
			found = append(found, wrong(fmt.Sprintf("%v has scheduler \"none\"", s.Key), "nobody chooses a server for a new connection, and it is refused").
				say("ipvsadm -E "+option(s.Key)+" -s wlc"))
		}
	}
	return found
}

// option is a service as ipvsadm's options name it.
func option(k lvs.Key) string {
	if k.Mark != 0 {
		six := ""
		if k.Family == lvs.IPv6 {
			six = " -6"
		}
		return fmt.Sprintf("-f %d%s", k.Mark, six)
	}
	letter := map[lvs.Protocol]string{lvs.TCP: "-t", lvs.UDP: "-u"}[k.Protocol]
	if letter == "" {
		letter = "--sctp-service"
	}
	return letter + " " + k.Addr.String()
}

func noServer(f Facts) []Finding {
	var found []Finding
	for _, s := range f.Table {
		takes := slices.ContainsFunc(s.Destinations, func(d lvs.DestinationState) bool { return d.Weight > 0 })
		if takes {
			continue
		}
		what := fmt.Sprintf("%v has no server", s.Key)
		fix := "ipvsadm -a " + option(s.Key) + " -r SERVER -g"
		if len(s.Destinations) > 0 {
			what = fmt.Sprintf("all %d servers of %v have weight 0", len(s.Destinations), s.Key)
			fix = fmt.Sprintf("ipvsadm -e %s -r %v %s -w 1", option(s.Key), s.Destinations[0].Addr, methodOption(s.Destinations[0].Destination))
		}
		found = append(found, wrong(what, "new connections are refused; if a daemon keeps the table, its checks fail: lvsctl why says how").say(fix))
	}
	return found
}

// methodOption is a destination's method as ipvsadm's options name it, the tunnel
// with all that it is: an edit that leaves out its type makes it ipip.
func methodOption(d lvs.Destination) string {
	switch d.Method {
	case lvs.Masq:
		return "-m"
	case lvs.Tunnel:
		return "-i" + tunnelOptions(d.Tunnel)
	}
	return "-g"
}

func tunnelOptions(t lvs.TunnelInfo) string {
	if t.Type == lvs.IPIP {
		return ""
	}
	options := fmt.Sprintf(" --tun-type %v", t.Type)
	if t.Type == lvs.GUE {
		options += fmt.Sprintf(" --tun-port %d", t.Port)
	}
	return options + map[uint16]string{0: " --tun-nocsum", lvs.TunnelCsum: " --tun-csum", lvs.TunnelRemCsum: " --tun-remcsum"}[t.Flags]
}

func vipLinkDown(f Facts) []Finding {
	var found []Finding
	for _, vip := range f.VIPs() {
		for _, a := range f.heldOnWire(vip) {
			if l, _ := f.Host.Link(a.Link); !l.Up {
				found = append(found, wrong(fmt.Sprintf("%v is on %s, which is down", vip, a.Link), "no client reaches it").
					mend(netif.Step{Op: netif.LinkUp, Link: netif.Link{Name: a.Link}}))
			}
		}
	}
	return found
}

// vipNowhere needs a probe: that a VIP is not here is right on a backup.
func vipNowhere(f Facts) []Finding {
	var found []Finding
	for _, p := range f.Probes {
		if !slices.Contains(f.VIPs(), p.VIP) || f.ours(p.VIP) || len(p.Answers) > 0 {
			continue
		}
		a := netif.Addr{Link: p.Link, Prefix: netip.PrefixFrom(p.VIP, p.VIP.BitLen())}
		x := wrong(fmt.Sprintf("%v is a virtual service here, is not an address of this host, and nobody on %s answers for it", p.VIP, p.Link),
			"clients find no host for the address; the master of the cluster has to have it")
		if len(f.Adverts) > 0 {
			x = x.say("# on the master: " + netif.Step{Op: netif.AddAddr, Addr: withVIPFlags(a)}.String())
		} else {
			x = x.say(netif.Step{Op: netif.AddAddr, Addr: withVIPFlags(a)}.String())
		}
		found = append(found, x)
	}
	return found
}

func withVIPFlags(a netif.Addr) netif.Addr {
	if a.Prefix.Addr().Is6() {
		a.NoDAD, a.Deprecated = true, true
	}
	return a
}

// vipSource is a source address choice that goes wrong: real servers refuse packets
// that come from an address of their own.
func vipSource(f Facts) []Finding {
	var found []Finding
	for _, vip := range f.VIPs() {
		for _, a := range f.heldOnWire(vip) {
			server, method := f.servedFrom(vip, a)
			if !server.IsValid() {
				continue
			}
			x := wrong(fmt.Sprintf("packets of this host's own to %v come from %v", server, vip),
				"the real server has that address too and drops what claims to come from itself: health checks fail"+
					map[bool]string{true: ", and so does every packet in the tunnel"}[method == lvs.Tunnel])
			found = append(found, x.say(f.ownSource(server, a)...))
		}
	}
	return found
}

// servedFrom is a server that packets of this host reach with the VIP as their
// source.
func (f Facts) servedFrom(vip netip.Addr, a netif.Addr) (netip.Addr, lvs.Method) {
	for p := range f.pairs(lvs.Gate, lvs.Tunnel) {
		rip := p.rip()
		if rip.Is6() != vip.Is6() || f.ours(rip) {
			continue
		}
		r, ok, _ := f.routeTo(rip)
		if !ok || r.Link != a.Link {
			continue
		}
		if vip.Is4() && r.Source == vip || vip.Is6() && !r.Source.IsValid() && f.sourceTo6(rip, a.Link) == vip {
			return rip, p.DestinationState.Method
		}
	}
	return netip.Addr{}, 0
}

// sourceTo6 is the source that the kernel chooses for what leaves a link, as far as
// RFC 6724 decides it by rule 8: the longest common prefix, which counts no further
// than the length of the address. A VIP of length 128 wins from addresses of length
// 64. A tie is decided by the order of configuration, which is not known.
func (f Facts) sourceTo6(to netip.Addr, link string) netip.Addr {
	best, length := netip.Addr{}, -1
	for _, a := range f.Host.Addrs {
		ip := a.Prefix.Addr()
		if a.Link != link || !ip.Is6() || ip.IsLinkLocalUnicast() || a.Deprecated || a.Tentative || a.DADFailed {
			continue
		}
		switch n := min(commonBits(ip, to), a.Prefix.Bits()); {
		case n > length:
			best, length = ip, n
		case n == length:
			best = netip.Addr{}
		}
	}
	return best
}

func commonBits(a, b netip.Addr) int {
	for n := a.BitLen(); n > 0; n-- {
		if netip.PrefixFrom(a, n).Contains(b) {
			return n
		}
	}
	return 0
}

// demote are the lines that keep an IPv6 address and stop its use as a source.
func demote(a netif.Addr) []string {
	return []string{fmt.Sprintf("ip -6 addr change %v dev %s preferred_lft 0", a.Prefix, a.Link)}
}

// ownSource are the lines that make an address of this host's own the source of what
// it sends to a server. To delete the VIP and add it again would take its network's
// route, and with promote_secondaries=0 every other address of that network, along.
func (f Facts) ownSource(rip netip.Addr, a netif.Addr) []string {
	if rip.Is6() {
		return demote(a)
	}
	r, _, _ := f.routeTo(rip)
	own := "OWN-ADDRESS"
	for _, o := range f.Host.Addrs {
		if ip := o.Prefix.Addr(); o.Link == a.Link && ip.Is4() && o.Prefix.Contains(rip) && !f.servesVIP(ip) {
			own = ip.String()
		}
	}
	r.Source = netip.Addr{}
	return []string{fmt.Sprintf("ip route replace %v src %s", r, own),
		fmt.Sprintf("# and for the next start: add the VIP after this host's own address, as %v/32", a.Prefix.Addr())}
}

// backupLoops: the VIP is hidden here and somebody else answers for it, so this host
// gets its packets as a real server, and its own table takes hold of them first. A
// VIP on lo that nobody else has is one that routers send here.
func backupLoops(f Facts) []Finding {
	var found []Finding
	for _, s := range f.Table {
		vip := s.Service.Addr.Addr()
		if !vip.IsValid() || len(f.heldHidden(vip)) == 0 || len(f.heldOnWire(vip)) > 0 || !f.answered(vip) {
			continue
		}
		i := slices.IndexFunc(s.Destinations, func(d lvs.DestinationState) bool { return !f.ours(d.Addr.Addr()) })
		if i < 0 {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%v is on %s, hidden as on a real server, and the table here forwards %v to %v",
			vip, f.heldHidden(vip)[0].Link, s.Key, s.Destinations[i].Addr),
			"what the director hands to this host is balanced once more: packets circle between the directors until their TTL ends; a backup must have no services until it is the master").
			say("ipvsadm -D "+option(s.Key), "# and let the director's daemon add them when it becomes the master"))
	}
	return found
}

// answered is whether somebody else answers for an address.
func (f Facts) answered(ip netip.Addr) bool {
	return slices.ContainsFunc(f.Probes, func(p Probe) bool { return p.VIP == ip && len(p.Answers) > 0 })
}

func unreachable(f Facts) []Finding {
	var found []Finding
	for _, rip := range f.servers(lvs.Masq, lvs.Gate, lvs.Tunnel) {
		r, ok, known := f.routeTo(rip)
		if f.ours(rip) || !known || ok && r.Type == "" {
			continue
		}
		what := fmt.Sprintf("there is no route to server %v", rip)
		if ok {
			what = fmt.Sprintf("the route to server %v is %v", rip, r)
		}
		found = append(found, wrong(what, "the kernel drops what is scheduled to it").say(fmt.Sprintf("ip route add %v via GATEWAY", netip.PrefixFrom(rip, rip.BitLen()))))
	}
	return found
}

func drRouted(f Facts) []Finding {
	var found []Finding
	for _, rip := range f.servers(lvs.Gate) {
		r, ok, _ := f.routeTo(rip)
		if !ok || !r.Via.IsValid() || f.ours(rip) {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("server %v is reached by direct routing (-g) and is behind %v", rip, r.Via),
			"direct routing changes the Ethernet address only; the router sees a packet for the VIP and sends it back to the director").
			say(f.methodLines(rip, lvs.Gate, "-i")...).say(fmt.Sprintf("# on %v: lvsctl realserver up --method tun --vip VIP", rip)))
	}
	return found
}

// methodLines change the method of a server in all its services.
func (f Facts) methodLines(rip netip.Addr, m lvs.Method, to string) []string {
	var lines []string
	for p := range f.pairs(m) {
		if p.rip() == rip {
			lines = append(lines, fmt.Sprintf("ipvsadm -e %s -r %v %s -w %d", option(p.Key), p.DestinationState.Addr, to, p.Weight))
		}
	}
	return lines
}

func drPort(f Facts) []Finding {
	var found []Finding
	for p := range f.pairs(lvs.Gate, lvs.Tunnel) {
		port := p.Service.Addr.Port()
		if port == 0 || p.DestinationState.Addr.Port() == port || f.ours(p.rip()) {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%v has server %v, %s", p.Key, p.DestinationState.Addr, p.Method),
			fmt.Sprintf("this method does not rewrite ports: the packets arrive at port %d of the server", port)).
			say(fmt.Sprintf("ipvsadm -d %s -r %v", option(p.Key), p.DestinationState.Addr),
				fmt.Sprintf("ipvsadm -a %s -r %v %s -w %d", option(p.Key), netip.AddrPortFrom(p.rip(), port), methodOption(p.Destination), p.Weight)))
	}
	return found
}

func natForward(f Facts) []Finding {
	var found []Finding
	for _, six := range []bool{false, true} {
		key := map[bool]string{false: "net.ipv4.ip_forward", true: netif.ConfKey("ipv6", "all", "forwarding")}[six]
		i := slices.IndexFunc(f.servers(lvs.Masq), func(ip netip.Addr) bool { return ip.Is6() == six && !f.ours(ip) })
		if i < 0 || !f.sysctl(key, "0") {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%s is 0, and server %v is masqueraded (-m)", key, f.servers(lvs.Masq)[i]),
			"the answers of the servers pass this host, which drops them").mend(f.set(key, "1")))
	}
	return found
}

// natRedirects: clients and servers on one network. A redirect tells the server to
// answer the client directly, with an address that the client never spoke to.
func natRedirects(f Facts) []Finding {
	var found []Finding
	for _, l := range f.wires() {
		v, ok := f.Host.Effective("ipv4", l.Name, "send_redirects")
		rip, vip := f.oneNetwork(l.Name)
		if !ok || v == 0 || !rip.IsValid() || f.sysctl("net.ipv4.ip_forward", "0") {
			continue
		}
		x := advice(fmt.Sprintf("the masqueraded server %v and the VIP %v are both on %s, where send_redirects is on", rip, vip, l.Name),
			"the director tells the server of a shorter way to clients of that network; the answers then do not pass the director and are refused")
		for _, key := range []string{netif.ConfKey("ipv4", "all", "send_redirects"), netif.ConfKey("ipv4", l.Name, "send_redirects")} {
			if !f.sysctl(key, "0") {
				x = x.mend(f.set(key, "0"))
			}
		}
		found = append(found, x)
	}
	return found
}

// oneNetwork is a masqueraded server and a VIP on the same link.
func (f Facts) oneNetwork(link string) (rip, vip netip.Addr) {
	for p := range f.pairs(lvs.Masq) {
		vip := p.Service.Addr.Addr()
		if !vip.Is4() || f.linkOf(p.rip()) != link {
			continue
		}
		if slices.ContainsFunc(f.heldOnWire(vip), func(a netif.Addr) bool { return a.Link == link }) {
			return p.rip(), vip
		}
	}
	return netip.Addr{}, netip.Addr{}
}

// natNoReturn: packets go to the server and none comes back through here. Three is
// what a client sends before anyone can call it unanswered.
func natNoReturn(f Facts) []Finding {
	if len(natForward(f))+len(firewallForward(f))+len(unreachable(f)) > 0 {
		return nil // they are the reason
	}
	var found []Finding
	for p := range f.pairs(lvs.Masq) {
		if p.Protocol != lvs.TCP || f.ours(p.rip()) || p.Stats.InPkts < 3 || p.Stats.OutPkts > 0 {
			continue
		}
		found = append(found, wrong(fmt.Sprintf("%d packets of %d connections went to server %v of %v, and not one came back through this host",
			p.Stats.InPkts, p.Stats.Conns, p.DestinationState.Addr, p.Key),
			"the director has to put the VIP back into the answers; the server's default gateway is somebody else, or the server does not answer at all").
			say(fmt.Sprintf("# on %v: lvsctl realserver up --method nat --gateway %v", p.rip(), f.sourceTo(p.rip()))))
	}
	return found
}

// sourceTo is this host's address on the way to another.
func (f Facts) sourceTo(ip netip.Addr) netip.Addr {
	r, _, _ := f.routeTo(ip)
	if r.Source.IsValid() {
		return r.Source
	}
	for _, a := range f.Host.Addrs {
		if a.Link == r.Link && a.Prefix.Addr().Is6() == ip.Is6() && a.Prefix.Contains(ip) && !slices.Contains(f.VIPs(), a.Prefix.Addr()) {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

func natSNAT(f Facts) []Finding {
	i := slices.IndexFunc(f.servers(lvs.Masq), func(ip netip.Addr) bool { return !f.ours(ip) })
	rule := f.Firewall.sourceNAT()
	if i < 0 || rule == "" || !f.sysctl("net.ipv4.vs.conntrack", "0") {
		return nil
	}
	return []Finding{advice(fmt.Sprintf("%q is to rewrite the sender of packets, and net.ipv4.vs.conntrack is 0", rule),
		"IPVS keeps its packets from netfilter's connection tracking, so that the rule never meets those of masqueraded servers").
		mend(f.set("net.ipv4.vs.conntrack", "1"))}
}

// directorRPFilter: the VIP's network and the way back to clients are different
// links. With strict filtering the VIP's link takes packets only from those whom it
// leads back to.
func directorRPFilter(f Facts) []Finding {
	var found []Finding
	for _, vip := range f.VIPs() {
		defaults := f.Host.DefaultRoutes(false)
		if !vip.Is4() || len(defaults) == 0 {
			continue
		}
		for _, a := range f.heldOnWire(vip) {
			if v, ok := f.Host.Effective("ipv4", a.Link, "rp_filter"); !ok || v != 1 || f.leadsBack(a.Link) || slices.ContainsFunc(found, about(a.Link)) {
				continue
			}
			key := netif.ConfKey("ipv4", a.Link, "rp_filter")
			found = append(found, advice(fmt.Sprintf("%v is on %s, where rp_filter is 1 (strict), and the default route leads to %s", vip, a.Link, defaults[0].Link),
				"what comes in on "+a.Link+" from clients of other networks is dropped, because the way back to them is another one").mend(f.set(key, "2")))
		}
	}
	return found
}

func about(link string) func(Finding) bool {
	return func(x Finding) bool { return strings.Contains(x.What, " on "+link+",") }
}

// leadsBack is whether one of the default routes uses a link.
func (f Facts) leadsBack(link string) bool {
	return f.Host.DefaultRoutes(false)[0].Link == link
}

// tunnelMTU: RFC 8200 section 5, and RFC 791 section 3.2.
func tunnelMTU(f Facts) []Finding {
	var found []Finding
	seen := map[string]bool{}
	for p := range f.pairs(lvs.Tunnel) {
		link := f.linkTowards(p.rip())
		l, ok := f.Host.Link(link)
		least, room := 576, l.MTU-overhead(p)
		if p.Service.Addr.Addr().Is6() || p.Family == lvs.IPv6 {
			least = 1280
		}
		name := fmt.Sprintf("%s %d", link, least)
		if !ok || room >= least || seen[name] {
			continue
		}
		seen[name] = true
		found = append(found, wrong(fmt.Sprintf("the tunnel to %v leaves %d bytes of the %d that %s carries", p.rip(), room, l.MTU, link),
			fmt.Sprintf("no sender goes below %d: larger packets of clients are lost for good", least)).
			say(fmt.Sprintf("ip link set %s mtu 1500", link)))
	}
	return found
}

func (f Facts) linkTowards(ip netip.Addr) string {
	r, _, _ := f.routeTo(ip)
	return r.Link
}

// overhead is what the tunnel to a destination adds to a packet, in bytes.
func overhead(p pair) int {
	outer := 20
	if p.rip().Is6() {
		outer = 40
	}
	switch p.Tunnel.Type {
	case lvs.GUE:
		return outer + 8 + 4
	case lvs.GRE:
		return outer + 4
	}
	return outer
}

func markUnset(f Facts) []Finding {
	var found []Finding
	for _, s := range f.Table {
		if s.Mark == 0 || !f.Firewall.Read || f.Firewall.sets(s.Mark) {
			continue
		}
		tool := map[lvs.Family]string{lvs.IPv4: "iptables", lvs.IPv6: "ip6tables"}[s.Family]
		found = append(found, wrong(fmt.Sprintf("%v is a service, and no rule of the firewall sets mark %d", s.Key, s.Mark), "no packet belongs to the service").
			say(fmt.Sprintf("%s -t mangle -A PREROUTING -d VIP -p tcp --dport 80 -j MARK --set-mark %d", tool, s.Mark)))
	}
	return found
}
