package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

func siteRules(add adder) {
	const site = OfSite
	add(site, config.Error, "vrid-clash", "two virtual routers with one number on one interface", vridClash)
	add(site, config.Error, "vip-twice", "an address in two virtual routers", vipTwice)
	add(site, config.Error, "instance-impossible", "a virtual router that the protocol cannot have", instanceImpossible)
	add(site, config.Error, "track-unknown", "a tracked script that nobody defines", trackUnknown)
	add(site, config.Warning, "nopreempt-master", "nopreempt together with state MASTER", nopreemptMaster)
	add(site, config.Warning, "weight-no-failover", "the weight of a tracked thing that can never cause a fail-over", weightNoFailover)
	add(site, config.Warning, "group-priorities", "members of a sync group with different priorities", groupPriorities)
	add(site, config.Warning, "vip-is-source", "a virtual address that is the source of the adverts", vipIsSource)
	add(site, config.Warning, "vip-mask", "a virtual address whose mask makes it the network's or the broadcast address", vipMask)
	add(site, config.Warning, "mask-differs", "two addresses of one network with different masks", maskDiffers)
	add(site, config.Warning, "vip-differs", "a service on another address than the one that another file raises", vipDiffers)
	add(site, config.Warning, "vip-nowhere", "a service whose address no virtual router raises", vipNowhere)
	add(site, config.Warning, "forward-port", "direct routing or a tunnel to another port", forwardPort)
	add(site, config.Warning, "real-twice", "a real server twice in a service", realTwice)
	add(site, config.Warning, "real-is-vip", "a real server that is a virtual address", realIsVIP)
	add(site, config.Warning, "family-mixed", "a real server of the other address family, but not by tunnel", familyMixed)
	add(site, config.Warning, "never-serves", "a service none of whose servers ever gets anything", neverServes)
	add(site, config.Warning, "weight-unused", "different weights under a scheduler that does not look at them", weightUnused)
	add(site, config.Warning, "check-missing", "a server without a check among servers that have one", checkMissing)
	add(site, config.Warning, "fallback-is-real", "a fallback that is a real server of the service, too", fallbackIsReal)
	add(site, config.Warning, "quorum-unreachable", "a quorum above the sum of all weights", quorumUnreachable)
}

func vridClash(l *look) {
	seen := map[config.VirtualRouter]config.Instance{}
	for _, in := range l.site.Instances {
		r := in.VirtualRouter()
		if was, twice := seen[r]; twice {
			l.say(in.Origin, "give one of them another virtual_router_id, on all directors",
				"instance %s has VRID %d on %s, and so has %s at %s", in.Name, in.VRID, in.Link, was.Name, config.Place(was.Origin))
			continue
		}
		seen[r] = in
	}
}

func vipTwice(l *look) {
	seen := map[netip.Addr]held{}
	for _, h := range holds(l.site) {
		ip := h.address.Prefix.Addr()
		if was, twice := seen[ip]; twice && was.instance != h.instance {
			l.say(h.address.Source, "two masters would both answer for it; leave it to one of them",
				"%v is in instance %s, and in %s at %s", ip, h.instance, was.instance, config.Place(was.address.Source))
		} else if twice {
			l.say(h.address.Source, "remove one", "%v is in instance %s already, at %s", ip, h.instance, config.Place(was.address.Source))
		} else {
			seen[ip] = h
		}
	}
}

// held is an address with the instance that holds it.
type held struct {
	instance string
	link     string
	address  config.Address
}

func holds(s config.Site) []held {
	var all []held
	for _, in := range s.Instances {
		for _, a := range in.Addresses {
			link := a.Link
			if link == "" {
				link = in.Link
			}
			all = append(all, held{in.Name, link, a})
		}
	}
	return all
}

// instanceImpossible asks the protocol. The source may be that of the interface,
// which is not known here.
func instanceImpossible(l *look) {
	for _, in := range l.site.Instances {
		in := in
		if !in.Source.IsValid() && len(in.Addrs) > 0 {
			in.Source = netip.IPv4Unspecified()
			if in.IPv6 {
				in.Source = netip.IPv6Unspecified()
			}
		}
		if err := in.Validate(); err != nil {
			l.say(in.Origin, "", "%v", err)
		}
	}
}

func trackUnknown(l *look) {
	known := map[string]bool{}
	for _, s := range l.site.Scripts {
		known[config.TrackScript(s.Name)] = true
	}
	for _, in := range l.site.Instances {
		for _, t := range in.Track {
			if len(t.Name) > 7 && t.Name[:7] == "script " && !known[t.Name] {
				l.say(in.Origin, "define it, or remove it from track_script", "instance %s tracks the %s, which nobody defines", in.Name, t.Name)
			}
		}
	}
}

func nopreemptMaster(l *look) {
	for _, in := range l.site.Instances {
		if in.NoPreempt && in.StartMaster {
			l.say(in.Origin, "write state BACKUP on all directors; the priority still decides who begins",
				"instance %s: with state MASTER it takes over whenever it starts, so nopreempt does not keep it from returning", in.Name)
		}
	}
}

func weightNoFailover(l *look) {
	for _, in := range l.site.Instances {
		if !slices.ContainsFunc(in.Track, func(t vrrp.Tracked) bool { return t.Weight != 0 }) {
			continue
		}
		if in.Priority == vrrp.PriorityOwner {
			l.say(in.Origin, "give it a priority of at most 254", "instance %s: weights do not change priority 255, so nothing that is tracked causes a fail-over", in.Name)
			continue
		}
		if in.NoPreempt {
			l.say(in.Origin, "remove nopreempt, or give the tracked thing no weight: then its failure is a fault",
				"instance %s: with nopreempt this director does not take over from a master that a weight has made weak", in.Name)
		}
		for _, t := range in.Track {
			if t.Weight > 0 && int(in.Priority)+t.Weight > 254 && in.Priority >= 254 {
				l.say(in.Origin, "lower the priority", "instance %s: weight %d of the %s adds nothing to priority %d", in.Name, t.Weight, t.Name, in.Priority)
			}
		}
	}
}

func groupPriorities(l *look) {
	for _, g := range l.site.Groups {
		var first *config.Instance
		for _, name := range g.Members {
			i := slices.IndexFunc(l.site.Instances, func(in config.Instance) bool { return in.Name == name })
			if i < 0 {
				continue
			}
			in := &l.site.Instances[i]
			if first != nil && first.Priority != in.Priority {
				l.say(in.Origin, "give all members the same priority on a director",
					"instance %s has priority %d, and %s in the same group %s has %d: the two can fall to different directors and pull each other down",
					in.Name, in.Priority, first.Name, g.Name, first.Priority)
			}
			if first == nil {
				first = in
			}
		}
	}
}

func vipIsSource(l *look) {
	for _, in := range l.site.Instances {
		for _, a := range in.Addresses {
			if in.Source.IsValid() && a.Prefix.Addr() == in.Source {
				l.say(a.Source, "choose an address for the service that no director has as its own",
					"%v is the director's own address (mcast_src_ip) and its virtual one: the backup would have it too", in.Source)
			}
		}
	}
}

func vipMask(l *look) {
	for _, h := range holds(l.site) {
		p := h.address.Prefix
		switch a := p.Addr(); {
		case p.Bits() < 8 && a.Is4():
			l.say(h.address.Source, "write /24, or what the network has", "%v: a mask of %d bits covers a good part of the Internet", p, p.Bits())
		case a.Is4() && p.Bits() < 31 && a == p.Masked().Addr():
			l.say(h.address.Source, "write another address, or /32", "%v is the address of its network", p)
		case a.Is4() && p.Bits() < 31 && a == broadcast(p):
			l.say(h.address.Source, "write another address, or /32", "%v is the broadcast address of its network", p)
		}
		if b := h.address.Broadcast; b.IsValid() && p.Bits() < 31 && b != broadcast(p) {
			l.say(h.address.Source, "write "+broadcast(p).String()+", or leave it out", "%v: %v is not the broadcast address of this network", p, b)
		}
	}
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func maskDiffers(l *look) {
	all := holds(l.site)
	if len(all) > 1000 {
		return // what follows compares each with each
	}
	for i, h := range all {
		for _, was := range all[:i] {
			p, q := h.address.Prefix, was.address.Prefix
			if h.link == was.link && p.Bits() != q.Bits() && !p.IsSingleIP() && !q.IsSingleIP() && p.Overlaps(q) {
				l.say(h.address.Source, "give both the network's mask, or /32", "%v and %v at %s are of one network and have different masks", p, q, config.Place(was.address.Source))
				break
			}
		}
	}
}

// raised tells which addresses the instances raise.
func raised(s config.Site) map[netip.Addr]held {
	m := map[netip.Addr]held{}
	for _, h := range holds(s) {
		m[h.address.Prefix.Addr()] = h
	}
	return m
}

// unraised are the services whose address no instance raises, in a site that has
// instances at all; one for each address.
func unraised(s config.Site) []ldirector.Virtual {
	up := raised(s)
	if len(up) == 0 {
		return nil
	}
	var vs []ldirector.Virtual
	seen := map[netip.Addr]bool{}
	for _, v := range s.Virtuals {
		ip := v.Service.Addr.Addr()
		if _, ok := up[ip]; !ok && v.Service.Mark == 0 && !seen[ip] {
			vs, seen[ip] = append(vs, v), true
		}
	}
	return vs
}

// idle are the addresses that no service is on.
func idle(s config.Site) []held {
	used := map[netip.Addr]bool{}
	for _, v := range s.Virtuals {
		used[v.Service.Addr.Addr()] = true
	}
	return slices.DeleteFunc(holds(s), func(h held) bool { return used[h.address.Prefix.Addr()] })
}

// elsewhere is the first of some addresses that is in another file.
func elsewhere(all []held, file string) (held, bool) {
	i := slices.IndexFunc(all, func(h held) bool { return h.address.Source.File != file })
	if i < 0 {
		return held{}, false
	}
	return all[i], true
}

func vipDiffers(l *look) {
	idle := idle(l.site)
	for _, v := range unraised(l.site) {
		if h, ok := elsewhere(idle, v.Source.File); ok {
			l.say(v.Source, "write the same address in both", "the service is on %v, and %s raises %v",
				v.Service.Addr.Addr(), config.Place(h.address.Source), h.address.Prefix.Addr())
		}
	}
}

func vipNowhere(l *look) {
	idle := idle(l.site)
	for _, v := range unraised(l.site) {
		if _, other := elsewhere(idle, v.Source.File); !other {
			l.say(v.Source, "add it to a virtual_ipaddress, or to haresources, if it is to move with the master",
				"no virtual router raises %v", v.Service.Addr.Addr())
		}
	}
}

func forwardPort(l *look) {
	for _, v := range l.site.Virtuals {
		if v.Service.Mark != 0 || v.Service.Addr.Port() == 0 {
			continue
		}
		for _, m := range v.Members {
			port := m.Destination.Addr.Port()
			if as, err := netip.ParseAddrPort(m.Name); err == nil && as.Port() != 0 {
				port = as.Port()
			}
			if m.Destination.Method != lvs.Masq && port != v.Service.Addr.Port() {
				l.say(m.Source, "let the server listen on the service's port, or forward by NAT (masq)",
					"server %s: %s does not change ports, so what comes for port %d arrives at port %d and not at %d",
					m.Name, methodName(m.Destination.Method), v.Service.Addr.Port(), v.Service.Addr.Port(), port)
			}
		}
	}
}

func methodName(m lvs.Method) string {
	if m == lvs.Tunnel {
		return "a tunnel"
	}
	return "direct routing"
}

func realTwice(l *look) {
	for _, v := range l.site.Virtuals {
		seen := map[netip.AddrPort]ldirector.Member{}
		for _, m := range v.Members {
			if was, twice := seen[m.Destination.Addr]; twice {
				l.say(m.Source, "remove one; to give it more, raise its weight", "server %v is in this service already, at %s", m.Destination.Addr, config.Place(was.Source))
			}
			seen[m.Destination.Addr] = m
		}
	}
}

func realIsVIP(l *look) {
	vips := raised(l.site)
	for _, v := range l.site.Virtuals {
		if v.Service.Mark == 0 {
			vips[v.Service.Addr.Addr()] = held{}
		}
	}
	for _, v := range l.site.Virtuals {
		for _, m := range v.Members {
			if _, is := vips[m.Destination.Addr.Addr()]; is {
				l.say(m.Source, "write the server's own address", "server %v is a virtual address: what is sent to it comes back", m.Destination.Addr.Addr())
			}
		}
	}
}

func familyMixed(l *look) {
	for _, v := range l.site.Virtuals {
		for _, m := range v.Members {
			d := m.Destination
			if lvs.FamilyOf(d.Addr.Addr()) != v.Service.Family && d.Method != lvs.Tunnel {
				l.say(m.Source, "forward to it by tunnel", "server %v is not of the service's address family, which only a tunnel can cross", d.Addr.Addr())
			}
		}
	}
}

func neverServes(l *look) {
	for _, v := range l.site.Virtuals {
		ever := slices.ContainsFunc(v.Members, func(m ldirector.Member) bool { return m.Destination.Weight > 0 && !m.Off })
		if len(v.Members) > 0 && !ever && v.Fallback == nil {
			l.say(v.Source, "give a server a weight of at least 1", "%v: all servers have weight 0 or are kept out, so nobody serves", v.Service.Key)
		}
	}
}

func weightUnused(l *look) {
	for _, v := range l.site.Virtuals {
		s := v.Service.Scheduler
		if s != "rr" && s != "lc" && s != "dh" {
			continue
		}
		first := uint32(0)
		for _, m := range v.Members {
			w := m.Destination.Weight
			if w == 0 {
				continue
			}
			if first != 0 && w != first {
				l.say(v.Source, fmt.Sprintf("use w%s", better(s)), "%v: scheduler %s treats all weights but 0 alike", v.Service.Key, s)
				break
			}
			first = w
		}
	}
}

// better is the scheduler that a w makes of one.
func better(s string) string {
	if s == "dh" {
		return "rr"
	}
	return s
}

func checkMissing(l *look) {
	for _, v := range l.site.Virtuals {
		checked := slices.ContainsFunc(v.Members, func(m ldirector.Member) bool { return len(m.Checks) > 0 })
		for _, m := range v.Members {
			if checked && len(m.Checks) == 0 && !m.Off {
				l.say(m.Source, "give it the check that the others have", "server %v has no check, and stays in when it is dead", m.Destination.Addr)
			}
		}
	}
}

func fallbackIsReal(l *look) {
	for _, v := range l.site.Virtuals {
		for _, m := range v.Members {
			if v.Fallback != nil && m.Destination.Addr == v.Fallback.Addr {
				l.say(v.Source, "choose another fallback", "%v: the fallback %v is a real server too (%s), and down when it is needed",
					v.Service.Key, v.Fallback.Addr, config.Place(m.Source))
			}
		}
	}
}

func quorumUnreachable(l *look) {
	for _, v := range l.site.Virtuals {
		sum := uint64(0)
		for _, m := range v.Members {
			sum += uint64(m.Destination.Weight)
		}
		if q := v.Policy.Quorum; q > 1 && uint64(q)+uint64(v.Policy.Hysteresis) > sum {
			l.say(v.Source, "lower the quorum, or add weight", "%v: the quorum of %d and hysteresis of %d are above the sum of all weights, %d",
				v.Service.Key, q, v.Policy.Hysteresis, sum)
		}
	}
}
