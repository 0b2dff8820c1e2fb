package keepalived

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// finishService makes the virtual services of a virtual_server.
func (r *reader) finishService(v *service, seen map[lvs.Key]place) {
	if v.group != "" && !r.resolveGroup(v) {
		return
	}
	r.finishFamily(v)
	if len(v.reals) == 0 {
		r.theirs(r.whole(v.place), fmt.Sprintf("Virtual server %s has no real servers - ignoring", v.called()), statusTest)
		r.problem(v.place, config.Error, fmt.Sprintf("virtual_server %s has no real servers; it is left out", v.text), "")
		return
	}
	r.finishKind(v)
	r.finishReals(v)
	r.finishQuorum(v)
	specs := map[uint16][][]check.Spec{} // by port of the service
	for _, t := range v.names {
		if specs[t.addr.Port()] == nil {
			for _, re := range v.reals {
				specs[t.addr.Port()] = append(specs[t.addr.Port()], r.specs(v, re, t))
			}
		}
		members := make([]ldirector.Member, len(v.reals))
		for i, re := range v.reals {
			members[i] = v.member(re, t, specs[t.addr.Port()][i])
		}
		k := v.key(t)
		if was, twice := seen[k]; twice {
			r.problem(v.place, config.Error, fmt.Sprintf("virtual_server %v is there already, on line %d; this one is left out", k, was.line), "put all real servers into one of them")
			continue
		}
		seen[k] = v.place
		r.f.site.Virtuals = append(r.f.site.Virtuals, v.virtual(k, t, members))
	}
}

// called is the service's name in keepalived's words.
func (v *service) called() string {
	if v.group != "" {
		return fmt.Sprintf("[%s]:group", v.group)
	}
	t := v.names[0]
	if t.mark != 0 {
		return fmt.Sprintf("FWM %d", t.mark)
	}
	return fmt.Sprintf("[%v]:%s:%d", t.addr.Addr(), v.transport(), t.addr.Port())
}

// callsReal is a server's name in keepalived's words.
func (v *service) callsReal(re *server) string {
	return fmt.Sprintf("[%v]:%s:%d", re.addr, v.transport(), re.port)
}

func (v *service) transport() string {
	if v.protocol == 0 {
		return "none"
	}
	return strings.ToLower(v.protocol.String())
}

func (v *service) marked() bool { return v.names[0].mark != 0 }

// resolveGroup finds what a virtual_server_group stands for.
func (r *reader) resolveGroup(v *service) bool {
	g := r.vsgs[v.group]
	if g == nil {
		var names []string
		for n := range r.vsgs {
			names = append(names, n)
		}
		slices.Sort(names)
		r.wrong(v.place, "", fmt.Sprintf("virtual_server group %s: there is no virtual_server_group of that name; the service is left out", config.Quote(v.group)), config.DidYouMean(v.group, names))
		return false
	}
	for _, e := range g.entries {
		if e.mark != 0 {
			if e.family != 0 && v.family == 0 {
				v.family = e.family
			}
			v.names = append(v.names, e.target)
			continue
		}
		for a := e.addr.Addr(); a.IsValid() && !e.last.Less(a); a = a.Next() {
			if r.targets++; r.targets > maxTargets {
				r.wrong(v.place, "", fmt.Sprintf("virtual_server group %s: the groups of a file stand for at most %d addresses; the rest is left out", v.group, maxTargets), "use a firewall mark")
				return len(v.names) > 0
			}
			v.names = append(v.names, target{addr: netip.AddrPortFrom(a, e.addr.Port())})
		}
	}
	return true
}

// finishFamily: servers have to be of the service's family unless they are
// reached through a tunnel. A mark takes that of its servers.
func (r *reader) finishFamily(v *service) {
	if v.family == 0 {
		for _, t := range v.names {
			if t.addr.IsValid() {
				v.family = lvs.FamilyOf(t.addr.Addr())
				break
			}
		}
	}
	for _, tunneled := range []bool{false, true} {
		for _, re := range v.reals {
			if v.family == 0 && (re.method.is == lvs.Tunnel) == tunneled {
				v.family = lvs.FamilyOf(re.addr)
			}
		}
	}
	if v.family == 0 {
		v.family = lvs.IPv4
	}
	v.reals = slices.DeleteFunc(v.reals, func(re *server) bool {
		if re.method.is == lvs.Tunnel && re.method.given || lvs.FamilyOf(re.addr) == v.family {
			return false
		}
		r.wrong(re.place, fmt.Sprintf("Address family of virtual server and real server %v don't match - skipping real server.", re.addr),
			fmt.Sprintf("real_server %s is not %v, as the service is; it is left out", re.text, v.family), "only a tunnel (TUN) leads to the other family")
		return true
	})
	if s := v.sorry; s != nil && lvs.FamilyOf(s.addr) != v.family && s.method.is != lvs.Tunnel {
		r.warn(s.place, fmt.Sprintf("Address family of virtual server and sorry server %v don't match - skipping sorry server.", s.addr),
			fmt.Sprintf("sorry_server %v is not %v, as the service is; there is none", s.addr, v.family), "")
		v.sorry = nil
	}
}

// setting reports what a service lacks and gets.
func (r *reader) setting(v *service, theirs, ours, hint string) {
	r.theirs(r.whole(v.place), fmt.Sprintf("Virtual server %s: ", v.called())+theirs, statusTest)
	r.problem(v.place, config.Warning, fmt.Sprintf("virtual_server %s: ", v.text)+ours, hint)
}

func (r *reader) finishKind(v *service) {
	switch {
	case v.marked() && v.protocol != 0:
		r.theirs(r.whole(v.place), fmt.Sprintf("Warning: Virtual server %s: protocol specified for fwmark - protocol will be ignored", v.called()), statusTest)
		r.problem(v.place, config.Warning, fmt.Sprintf("virtual_server %s: a mark has no protocol; the line does nothing", v.text), "")
		v.protocol = 0
	case !v.marked() && v.protocol == 0:
		r.setting(v, "no protocol set - defaulting to UDP", "it has no protocol, so it is UDP, as with keepalived", "write protocol TCP")
		v.protocol = lvs.UDP
	}
	if v.flags&lvs.OnePacket != 0 && v.protocol != lvs.UDP && !v.marked() {
		r.setting(v, "one packet scheduling requires UDP - resetting", "ops is for UDP only; it does nothing", "")
		v.flags &^= lvs.OnePacket
	}
	noPort := slices.ContainsFunc(v.names, func(t target) bool { return t.mark == 0 && t.addr.Port() == 0 })
	if v.persistent == 0 && noPort {
		r.setting(v, "zero port only valid for persistent services - setting", "all ports need persistence; it gets persistence_timeout 360", "write persistence_timeout N, or a port")
		v.persistent = defaultPersistence
	}
	if v.scheduler == "" {
		r.setting(v, "no scheduler set, setting default 'wlc'", "it has no lb_algo, so it is wlc", "write lb_algo wlc")
		v.scheduler = "wlc"
	}
	if !v.method.given {
		v.method = method{is: lvs.Masq, given: true}
		if slices.ContainsFunc(v.reals, func(re *server) bool { return !re.method.given }) || v.sorry != nil && !v.sorry.method.given {
			r.setting(v, "no forwarding method set, setting default NAT", "it has no lb_kind, so it is NAT", "write lb_kind DR, NAT or TUN")
		}
	}
}

// finishReals fills in what servers have from their service, and removes twins.
func (r *reader) finishReals(v *service) {
	type id struct {
		a netip.Addr
		p uint16
	}
	seen := map[id]bool{}
	v.reals = slices.DeleteFunc(v.reals, func(re *server) bool {
		k := id{re.addr, re.port}
		if seen[k] {
			r.theirs(r.whole(re.place), fmt.Sprintf("VS %s: real server %s is duplicated - removing second rs", v.called(), v.callsReal(re)), statusTest)
			r.problem(re.place, config.Warning, fmt.Sprintf("real_server %s is there already; the first counts", re.text), "remove one")
			return true
		}
		seen[k] = true
		return false
	})
	for _, re := range v.reals {
		if !re.method.given {
			re.method = v.method
		}
		if re.weight == nil {
			re.weight = &v.weight
		}
		r.finishPort(v, re)
	}
	if v.sorry != nil && !v.sorry.method.given {
		v.sorry.method = v.method
	}
	r.runAs(v.place, &v.hooks.QuorumUp)
	r.runAs(v.place, &v.hooks.QuorumDown)
	for _, re := range v.reals {
		r.runAs(re.place, &re.up)
		r.runAs(re.place, &re.down)
		re.checks = slices.DeleteFunc(re.checks, func(c *checker) bool {
			return c.kind == "MISC_CHECK" && !r.runs(c.place, "the check "+c.command.Words[0], c.user)
		})
	}
}

// finishPort: only NAT can change the port.
func (r *reader) finishPort(v *service, re *server) {
	if re.port == 0 || re.method.is == lvs.Masq {
		return
	}
	for _, t := range v.names {
		switch {
		case t.mark != 0:
			r.theirs(r.whole(re.place), fmt.Sprintf("WARNING - fwmark virtual server %s, real server %s has port specified - clearing", v.called(), v.callsReal(re)), statusTest)
			r.problem(re.place, config.Warning, fmt.Sprintf("real_server %s: of a mark every port is kept; %d is the one that is checked", re.text, re.port), "")
			return
		case t.addr.Port() != re.port:
			r.theirs(r.whole(re.place), fmt.Sprintf("WARNING - virtual server %s and real server %s ports don't match - resetting", v.called(), v.callsReal(re)), statusTest)
			r.problem(re.place, config.Warning, fmt.Sprintf("real_server %s: only NAT can change the port, so it gets %d; %d is the one that is checked", re.text, t.addr.Port(), re.port), "")
			return
		}
	}
}

func (r *reader) finishQuorum(v *service) {
	sum := uint64(0)
	for _, re := range v.reals {
		sum += uint64(*re.weight)
	}
	if uint64(v.quorum) > sum {
		r.theirs(r.whole(v.place), fmt.Sprintf("Warning - quorum %d for %s exceeds total weight of real servers %d, reducing quorum to %d", v.quorum, v.called(), sum, sum), statusTest)
		r.problem(v.place, config.Warning, fmt.Sprintf("virtual_server %s: quorum %d is more than all weights together; %d is used", v.text, v.quorum, sum), "")
		v.quorum = uint32(sum)
	}
	if v.hysteresis >= v.quorum && v.hysteresis > 0 {
		to := max(v.quorum, 1) - 1
		r.setting(v, fmt.Sprintf("hysteresis %d >= quorum %d; setting hysteresis to %d", v.hysteresis, v.quorum, to), fmt.Sprintf("hysteresis %d is not less than the quorum; %d is used", v.hysteresis, to), "")
		v.hysteresis = to
	}
}

func (v *service) key(t target) lvs.Key {
	if t.mark != 0 {
		return lvs.Marked(t.mark, v.family)
	}
	return lvs.At(v.protocol, t.addr)
}

// kernelPort is the port that a server has in the kernel.
func kernelPort(t target, own uint16, m lvs.Method) uint16 {
	switch {
	case t.mark != 0 && m != lvs.Masq:
		return 0
	case t.mark == 0 && (own == 0 || m != lvs.Masq):
		return t.addr.Port()
	}
	return own
}

func (v *service) virtual(k lvs.Key, t target, members []ldirector.Member) ldirector.Virtual {
	s := lvs.NewService(k, v.scheduler)
	s.Flags |= v.flags
	s.PE = v.engine
	if v.persistent > 0 {
		s.Flags |= lvs.Persistent
		s.Timeout = v.persistent
		if v.granular {
			s.Netmask = v.granularity
		}
	}
	out := ldirector.Virtual{
		Service: s, Members: members, Hooks: v.hooks, Source: v.source(),
		Policy: ldirector.Policy{CleanStop: true, Quorum: v.quorum, Hysteresis: v.hysteresis},
	}
	if v.sorry != nil {
		p := kernelPort(t, v.sorry.port, v.sorry.method.is)
		out.Policy.FallbackStays = v.sorry.stays
		out.Fallback = &lvs.Destination{Addr: netip.AddrPortFrom(v.sorry.addr, p), Method: v.sorry.method.is, Weight: 1, Tunnel: v.sorry.method.tunnel}
	}
	return out
}

func (v *service) member(re *server, t target, specs []check.Spec) ldirector.Member {
	p := kernelPort(t, re.port, re.method.is)
	name := re.port
	if name == 0 {
		name = p
	}
	alpha := v.alpha
	if re.alpha != nil {
		alpha = *re.alpha
	}
	for _, c := range re.checks {
		if c.alpha != nil {
			alpha = alpha || *c.alpha
		}
	}
	inhibit := v.inhibit
	if re.inhibit != nil {
		inhibit = *re.inhibit
	}
	return ldirector.Member{
		Destination: lvs.Destination{Addr: netip.AddrPortFrom(re.addr, p), Method: re.method.is, Weight: *re.weight,
			Upper: re.upper, Lower: re.lower, Tunnel: re.method.tunnel},
		Name: netip.AddrPortFrom(re.addr, name).String(), Checks: specs, Inhibit: inhibit, AssumeUp: !alpha,
		NotifyUp: re.up, NotifyDown: re.down, Source: re.source(),
	}
}

// specs are the checks of a server of a service.
func (r *reader) specs(v *service, re *server, t target) []check.Spec {
	var all []check.Spec
	for _, c := range re.checks {
		asks := c.kind != "MISC_CHECK" && c.kind != "PING_CHECK"
		if asks && c.at(re).Port() == 0 {
			// Without a port of its own a server is asked at the service's.
			if p := v.portFor(t); p != 0 {
				own := *re
				own.port = p
				all = append(all, r.spec(v, &own, c))
				continue
			}
			r.wrong(c.place, "", fmt.Sprintf("%s of %s has no port to ask; it is left out", c.kind, re.text), "write connect_port N")
			continue
		}
		all = append(all, r.spec(v, re, c))
	}
	return all
}

// portFor is the port of a service; a mark in a group has that of the group's
// first address.
func (v *service) portFor(t target) uint16 {
	if t.mark == 0 {
		return t.addr.Port()
	}
	for _, o := range v.names {
		if o.mark == 0 && o.addr.Port() != 0 {
			return o.addr.Port()
		}
	}
	return 0
}

func sameSpec(a, b check.Spec) bool { return reflect.DeepEqual(a, b) }
