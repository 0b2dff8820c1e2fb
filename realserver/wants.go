package realserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Want is one thing that a setup asks of a host: the step that would bring it
// about, whether it is so already, and why it is wanted.
type Want struct {
	Step netif.Step
	VIP  netip.Addr // zero when all VIPs share it
	Done bool
	Why  string
}

// Explain lists everything that a setup asks of a host, done or not, in the order
// in which it has to come about.
func Explain(have netif.Snapshot, s Setup) []Want {
	p := planner{have: have, setup: s}
	switch s.Method {
	case DR:
		p.linkUp(s.carrier(false), "a device that is down has no addresses that work")
		p.hideARP()
		p.addresses(false)
		p.addresses(true)
	case TUN:
		p.tunnelDevices()
		p.hideARP()
		p.reversePath()
		for _, ipv6 := range p.families() {
			p.linkUp(s.carrier(ipv6), "a tunnel takes packets only while it is up")
			p.addresses(ipv6)
		}
	case NAT:
		p.gateways()
	}
	return p.wants
}

// planner gathers wants.
type planner struct {
	have  netif.Snapshot
	setup Setup
	wants []Want
	added []string // devices that an earlier want makes
}

func (p *planner) want(step netif.Step, done bool, why string) {
	p.wants = append(p.wants, Want{Step: step, Done: done, Why: why})
}

func (p *planner) families() []bool {
	var families []bool
	for _, ipv6 := range []bool{false, true} {
		if len(p.setup.family(ipv6)) > 0 {
			families = append(families, ipv6)
		}
	}
	return families
}

func (p *planner) linkUp(name, why string) {
	step := netif.Step{Op: netif.LinkUp, Link: netif.Link{Name: name}}
	p.want(step, p.have.Done(step), why)
}

// tunnelDevices come first: a device begins with the settings of conf/default,
// and those are about to change.
func (p *planner) tunnelDevices() {
	s := p.setup
	for _, ipv6 := range p.families() {
		name := s.carrier(ipv6)
		if s.Interface != "" {
			continue // the administrator's own device, whose ends we do not know
		}
		step := netif.Step{Op: netif.AddLink, Link: netif.Link{Name: name, Kind: s.carrierKind(ipv6)}}
		p.want(step, p.have.Done(step), "the kernel's own device of this tunnel takes the packets of every director, "+
			"whatever its address; loading its module makes it appear")
		p.added = append(p.added, name)
	}
	if s.tunnel() != GUE {
		return
	}
	module := netif.Step{Op: netif.LoadModule, Module: "fou"}
	p.want(module, p.have.Done(module), "the kernel does not load it by itself")
	for _, ipv6 := range p.families() {
		step := netif.Step{Op: netif.AddFou, Fou: netif.Fou{Port: s.port(), IPv6: ipv6, GUE: true}}
		p.want(step, p.have.Done(step), "packets that come to this UDP port are unwrapped and go on as IP in IP")
	}
}

// hideARP is the ARP problem of LVS. It comes before any address: from the first
// moment on, no neighbour may learn that the VIP is here.
func (p *planner) hideARP() {
	if p.setup.KeepARP || len(p.setup.family(false)) == 0 {
		return
	}
	carrier := p.setup.carrier(false)
	p.sysctl("all", "arp_ignore", "1", hides, "the kernel takes the larger of conf/all and conf/DEVICE of the device on which the ARP request "+
		"comes in, so that all is what silences every network; "+carrier+" alone silences nothing, because no request ever comes in there")
	p.sysctl("all", "arp_announce", "2", announcesWell, "requests that this host sends itself must not carry the VIP as their sender: "+
		"a router would learn it from them")
	p.sysctl("default", "arp_ignore", "1", hides, "a device that appears later begins with it")
	p.sysctl("default", "arp_announce", "2", announcesWell, "a device that appears later begins with it")
	p.sysctl(carrier, "arp_ignore", "1", hides, "it has no effect of its own, and scripts and people look for it here")
	p.sysctl(carrier, "arp_announce", "2", announcesWell, "it has no effect of its own, and scripts and people look for it here")
	for _, l := range p.have.Links {
		if l.Loopback || l.NoARP || l.Name == carrier {
			continue
		}
		p.outbid(l.Name)
	}
}

// outbid lowers the setting of a device which, being the larger one, would undo
// that of conf/all.
func (p *planner) outbid(device string) {
	mine, ok := p.value(device, "arp_ignore")
	if !ok {
		return
	}
	everyone, _ := p.value("all", "arp_ignore")
	if !hides(everyone) {
		everyone = 1
	}
	if !hides(max(everyone, mine)) {
		p.sysctl(device, "arp_ignore", "1", hides, fmt.Sprintf("%d is larger than conf/all and so counts, and it lets the host answer for addresses of other devices", mine))
	}
}

// hides is whether this effective arp_ignore keeps the host from answering on one
// device for an address of another. 3 spares host-scope addresses only, 4 to 7 are
// reserved and do nothing; 8 answers for no address at all, which is another
// trouble, but hides.
func hides(v int) bool { return v == 1 || v == 2 || v == 8 }

// announcesWell is whether this effective arp_announce never takes the VIP for a
// sender: 1 does so only towards neighbours of its own subnet.
func announcesWell(v int) bool { return v >= 2 }

// reversePath lets packets in whose sender is not reached through the tunnel,
// which is every client.
func (p *planner) reversePath() {
	if len(p.setup.family(false)) == 0 {
		return // IPv6 has no such setting
	}
	carrier := p.setup.carrier(false)
	everyone, _ := p.value("all", "rp_filter")
	fine := func(mine int) bool { return max(everyone, mine) != 1 }
	p.sysctl(carrier, "rp_filter", "2", fine, "a client is not reached through the tunnel, and strict filtering would drop its packets; "+
		"the larger of conf/all and conf/"+carrier+" counts, and 2, loose, is the largest")
}

// value is a device's IPv4 setting. One that does not exist yet will begin with
// conf/default.
func (p *planner) value(iface, name string) (int, bool) {
	v, err := strconv.Atoi(p.text(iface, name))
	return v, err == nil
}

func (p *planner) text(iface, name string) string {
	text, ok := p.have.Sysctls[netif.ConfKey("ipv4", iface, name)]
	if !ok && slices.Contains(p.added, iface) {
		text = p.have.Sysctls[netif.ConfKey("ipv4", "default", name)]
	}
	return text
}

func (p *planner) sysctl(iface, name, value string, good func(int) bool, why string) {
	was := p.text(iface, name)
	v, err := strconv.Atoi(was)
	step := netif.Step{Op: netif.SetSysctl, Sysctl: netif.Sysctl{Key: netif.ConfKey("ipv4", iface, name), Value: value, Was: was}}
	p.want(step, err == nil && good(v), why)
}

func (p *planner) addresses(ipv6 bool) {
	labels := p.labels()
	for _, vip := range p.setup.family(ipv6) {
		a := p.address(vip)
		if !ipv6 {
			a.Label = labels(a)
		}
		step := netif.Step{Op: netif.AddAddr, Addr: a}
		why := "the host takes packets for the VIP as its own; the length is that of one host, since with a shorter one lo would claim the whole network"
		if ipv6 {
			why = "the host takes packets for the VIP as its own; nobody asks the network whether the address is free, since the director has it, " +
				"and with preferred_lft 0 no connection of this host's own begins from it. A neighbour that asks gets no answer: " +
				"IPv6 answers only for addresses of the device on which the question comes in"
		}
		p.wants = append(p.wants, Want{Step: step, VIP: vip, Done: p.have.Done(step), Why: why})
		if !ipv6 && !p.setup.NoRoute {
			p.hostRoute(vip)
		}
	}
}

// address is the VIP as it should be on its device, without its label.
func (p *planner) address(vip netip.Addr) netif.Addr {
	a := netif.Addr{Link: p.setup.carrier(vip.Is6()), Prefix: netip.PrefixFrom(vip, vip.BitLen())}
	if vip.Is6() {
		a.NoDAD, a.Deprecated = true, true
		return a
	}
	a.Broadcast = vip // as every tutorial's ifconfig line gives it
	return a
}

// labels hands out labels: what an address has, and free ones for the others. A
// label in use must not be given again: ifconfig finds addresses by their label and
// would replace the first one.
func (p *planner) labels() func(netif.Addr) string {
	taken := map[string]bool{}
	has := map[netif.AddrKey]string{}
	for _, a := range p.have.Addrs {
		taken[a.Label] = true
		has[a.Key()] = a.Label
	}
	first := p.setup.firstLabel()
	if first == "" {
		return func(a netif.Addr) string { return has[a.Key()] }
	}
	device, number, _ := strings.Cut(first, ":")
	n, _ := strconv.Atoi(number) // Check has read it
	return func(a netif.Addr) string {
		if label, ok := has[a.Key()]; ok {
			return label
		}
		for taken[device+":"+strconv.Itoa(n)] {
			n++
		}
		label := device + ":" + strconv.Itoa(n)
		taken[label] = true
		return label
	}
}

func (s Setup) firstLabel() string {
	if s.Label == "" && s.Method == DR && s.carrier(false) == "lo" {
		return "lo:0"
	}
	return s.Label
}

// hostRoute is the tutorials' "route add -host VIP dev lo:0". The kernel gives a
// route through a label the label's address for its source, and takes it away with
// that address; so is ours, that no route to lo stays behind when a script or a
// person takes the address away.
func (p *planner) hostRoute(vip netip.Addr) {
	r := netif.Route{Dst: netip.PrefixFrom(vip, 32), Link: p.setup.carrier(false), Source: vip, Scope: netif.ScopeLink, Table: netif.TableMain, Proto: netif.ProtoBoot}
	step := netif.Step{Op: netif.AddRoute, Route: r}
	// One through another device has the place, and no effect while the address is
	// here: the local table comes first. See the findings.
	done := slices.ContainsFunc(p.have.Routes, func(have netif.Route) bool {
		return have.Key() == r.Key() || have.Dst == r.Dst && have.Link == r.Link && have.Table == r.Table
	})
	p.wants = append(p.wants, Want{Step: step, VIP: vip, Done: done,
		Why: "the tutorials' host route; the local table alone would do, and whoever looks for the route finds it"})
}

// gateways makes the director the way back: it has to see the answers, to put its
// own address back into them.
func (p *planner) gateways() {
	for _, gw := range p.setup.Gateways {
		r := netif.Route{Dst: everything(gw.Is6()), Via: gw, Link: p.linkTo(gw), Table: netif.TableMain, Proto: netif.ProtoBoot}
		if gw.Is6() {
			r.Metric = 1024 // the kernel's own choice, named so that it can be found again
		}
		step := netif.Step{Op: netif.ReplaceRoute, Route: r, Was: p.replaced(r)}
		first := p.have.DefaultRoutes(gw.Is6())
		p.wants = append(p.wants, Want{Step: step, Done: len(first) > 0 && first[0].Via == gw,
			Why: "answers have to pass the director, which puts the VIP back as their sender"})
	}
}

func everything(ipv6 bool) netip.Prefix {
	if ipv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// replaced is the default route whose place r would take: that of the same metric.
func (p *planner) replaced(r netif.Route) netif.Route {
	for _, have := range p.have.DefaultRoutes(r.Dst.Addr().Is6()) {
		if have.Key() == r.Key() {
			return have
		}
	}
	return netif.Route{}
}

// linkTo is the device behind which a neighbour is.
func (p *planner) linkTo(ip netip.Addr) string {
	link, best := "", -1
	for _, r := range p.have.Routes {
		if !r.Via.IsValid() && r.Table == netif.TableMain && r.Dst.Contains(ip) && r.Dst.Bits() > best {
			link, best = r.Link, r.Dst.Bits()
		}
	}
	return link
}
