package netif

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Op is what a step does.
type Op uint8

// The steps there are.
const (
	AddAddr Op = iota + 1
	DelAddr
	AddRoute
	DelRoute
	ReplaceRoute // Route takes the place of Was
	AddRule
	DelRule
	AddLink
	DelLink
	LinkUp
	LinkDown
	AddFou
	DelFou
	LoadModule
	SetSysctl
)

var opNames = [...]string{"", "addr add", "addr del", "route add", "route del", "route replace", "rule add", "rule del",
	"link add", "link del", "link up", "link down", "fou add", "fou del", "modprobe", "sysctl"}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "op " + strconv.Itoa(int(o))
}

// MarshalText writes the name, so that stored steps can be read by people.
func (o Op) MarshalText() ([]byte, error) {
	if o == 0 || int(o) >= len(opNames) {
		return nil, fmt.Errorf("step without a kind: %d", o)
	}
	return []byte(opNames[o]), nil
}

// UnmarshalText reads what MarshalText wrote, and nothing else.
func (o *Op) UnmarshalText(text []byte) error {
	for i, name := range opNames {
		if i > 0 && name == string(text) {
			*o = Op(i)
			return nil
		}
	}
	return fmt.Errorf("no step is called %q", text)
}

// Step is one change of a host. Which fields count depends on Op.
type Step struct {
	Op     Op     `json:"op"`
	Addr   Addr   `json:"addr,omitzero"`
	Route  Route  `json:"route,omitzero"`
	Was    Route  `json:"was,omitzero"` // ReplaceRoute: the route before; zero when there was none
	Rule   Rule   `json:"rule,omitzero"`
	Link   Link   `json:"link,omitzero"` // LinkUp, LinkDown: its Name alone counts
	Fou    Fou    `json:"fou,omitzero"`
	Module string `json:"module,omitempty"`
	Sysctl Sysctl `json:"sysctl,omitzero"`
}

// Sysctl is a setting that changes.
type Sysctl struct {
	Key   string `json:"key"` // "net.ipv4.conf.all.arp_ignore"
	Value string `json:"value"`
	Was   string `json:"was,omitempty"` // the value before; empty when it is not known
}

// String is the command line that the step stands for. It can be typed as it is.
func (s Step) String() string {
	switch s.Op {
	case AddAddr:
		return "ip " + six(s.Addr.Prefix.Addr()) + "addr add " + s.Addr.String()
	case DelAddr:
		return fmt.Sprintf("ip %saddr del %v dev %s", six(s.Addr.Prefix.Addr()), s.Addr.Prefix, s.Addr.Link)
	case AddRoute:
		return "ip " + six(s.Route.Dst.Addr()) + "route add " + s.Route.String()
	case DelRoute:
		return "ip " + six(s.Route.Dst.Addr()) + "route del " + s.Route.String()
	case ReplaceRoute:
		return "ip " + six(s.Route.Dst.Addr()) + "route replace " + s.Route.String()
	case AddRule:
		return "ip " + s.Rule.six() + "rule add " + s.Rule.String()
	case DelRule:
		return "ip " + s.Rule.six() + "rule del " + s.Rule.String()
	case AddLink:
		return "ip link add " + s.Link.definition()
	case DelLink:
		return "ip link del " + s.Link.Name
	case LinkUp:
		return "ip link set dev " + s.Link.Name + " up"
	case LinkDown:
		return "ip link set dev " + s.Link.Name + " down"
	case AddFou:
		return "ip " + s.Fou.six() + "fou add " + s.Fou.String()
	case DelFou:
		return "ip " + s.Fou.six() + "fou del port " + strconv.Itoa(int(s.Fou.Port))
	case LoadModule:
		return "modprobe " + s.Module
	case SetSysctl:
		return "sysctl -w " + s.Sysctl.Key + "=" + s.Sysctl.Value
	}
	return s.Op.String()
}

func six(a netip.Addr) string {
	if a.Is6() {
		return "-6 "
	}
	return ""
}

// String is the address as "ip addr add" takes it.
func (a Addr) String() string {
	var b strings.Builder
	b.WriteString(a.Prefix.String())
	if a.Peer.IsValid() {
		b.Reset()
		fmt.Fprintf(&b, "%v peer %v", a.Prefix.Addr(), a.Peer)
	}
	if a.Broadcast.IsValid() {
		fmt.Fprintf(&b, " brd %v", a.Broadcast)
	}
	b.WriteString(" dev " + a.Link)
	if a.Label != "" {
		b.WriteString(" label " + a.Label)
	}
	if a.Scope != ScopeGlobal {
		fmt.Fprintf(&b, " scope %v", a.Scope)
	}
	if a.NoDAD {
		b.WriteString(" nodad")
	}
	if a.NoPrefix {
		b.WriteString(" noprefixroute")
	}
	if a.Deprecated {
		b.WriteString(" preferred_lft 0")
	}
	return b.String()
}

// String is the route as "ip route add" takes it.
func (r Route) String() string {
	n := r.normal()
	var b strings.Builder
	if n.Type != "" {
		b.WriteString(n.Type + " ")
	}
	b.WriteString(destination(n.Dst))
	if n.Via.IsValid() {
		b.WriteString(" via ")
		if n.Via.Is6() && n.Dst.Addr().Is4() {
			b.WriteString("inet6 ")
		}
		b.WriteString(n.Via.String())
	}
	if n.Link != "" {
		b.WriteString(" dev " + n.Link)
	}
	if n.Scope != ScopeGlobal {
		fmt.Fprintf(&b, " scope %v", n.Scope)
	}
	if n.Source.IsValid() {
		fmt.Fprintf(&b, " src %v", n.Source)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if n.Table != TableMain {
		b.WriteString(" table " + tableName(n.Table))
	}
	if n.Proto != ProtoBoot {
		b.WriteString(" proto " + protoName(n.Proto))
	}
	if n.OnLink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// destination is a prefix as ip(8) writes it: a host without its length.
func destination(p netip.Prefix) string {
	if p.Bits() == 0 {
		return "default"
	}
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func tableName(t int) string {
	switch t {
	case TableMain:
		return "main"
	case TableLocal:
		return "local"
	case TableDefault:
		return "default"
	}
	return strconv.Itoa(t)
}

func protoName(p int) string {
	switch p {
	case 1:
		return "redirect"
	case ProtoKernel:
		return "kernel"
	case ProtoBoot:
		return "boot"
	case 4:
		return "static"
	case 9:
		return "ra"
	case 16:
		return "dhcp"
	case 18:
		return "keepalived"
	}
	return strconv.Itoa(p)
}

// String is the rule as "ip rule add" takes it.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pref %d", r.Priority)
	if r.From.IsValid() && r.From.Bits() > 0 {
		b.WriteString(" from " + destination(r.From))
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		b.WriteString(" to " + destination(r.To))
	}
	if r.Iif != "" {
		b.WriteString(" iif " + r.Iif)
	}
	if r.Oif != "" {
		b.WriteString(" oif " + r.Oif)
	}
	if r.Mark != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
		if r.Mask != 0 && r.Mask != ^uint32(0) {
			fmt.Fprintf(&b, "/%#x", r.Mask)
		}
	}
	b.WriteString(" lookup " + tableName(r.Table))
	return b.String()
}

func (r Rule) six() string {
	if r.IPv6 {
		return "-6 "
	}
	return ""
}

// String is the port as "ip fou add" takes it.
func (f Fou) String() string {
	if f.GUE {
		return fmt.Sprintf("port %d gue", f.Port)
	}
	return fmt.Sprintf("port %d ipproto %d", f.Port, f.Proto)
}

func (f Fou) six() string {
	if f.IPv6 {
		return "-6 "
	}
	return ""
}

// definition is the link as "ip link add" takes it.
func (l Link) definition() string {
	text := l.Name + " type " + l.Kind
	if l.Local.IsValid() {
		text += " local " + l.Local.String()
	}
	if l.Remote.IsValid() {
		text += " remote " + l.Remote.String()
	}
	return text
}

// Inverse is the step that takes s back. It is false when there is none: a module
// stays loaded, because others may have come to need it; a setting whose value
// before is not known stays as it is.
func (s Step) Inverse() (Step, bool) {
	inverse := map[Op]Op{AddAddr: DelAddr, DelAddr: AddAddr, AddRoute: DelRoute, DelRoute: AddRoute, AddRule: DelRule, DelRule: AddRule,
		AddLink: DelLink, DelLink: AddLink, LinkUp: LinkDown, LinkDown: LinkUp, AddFou: DelFou, DelFou: AddFou}
	if op, ok := inverse[s.Op]; ok {
		s.Op = op
		return s, true
	}
	switch {
	case s.Op == ReplaceRoute && s.Was != (Route{}):
		s.Route, s.Was = s.Was, s.Route
		return s, true
	case s.Op == ReplaceRoute:
		return Step{Op: DelRoute, Route: s.Route}, true
	case s.Op == SetSysctl && s.Sysctl.Was != "":
		s.Sysctl.Value, s.Sysctl.Was = s.Sysctl.Was, s.Sysctl.Value
		return s, true
	}
	return Step{}, false
}

// Done is whether the host is already as the step would make it, so that nothing
// is left to do.
func (h Snapshot) Done(s Step) bool {
	switch s.Op {
	case AddAddr:
		return h.hasAddr(s.Addr.Key())
	case DelAddr:
		return !h.hasAddr(s.Addr.Key())
	case AddRoute, ReplaceRoute:
		return h.findRoute(s.Route) >= 0
	case DelRoute:
		return h.findRoute(s.Route) < 0
	case AddRule:
		return h.hasRule(s.Rule)
	case DelRule:
		return !h.hasRule(s.Rule)
	case AddLink:
		_, ok := h.Link(s.Link.Name)
		return ok
	case DelLink:
		// The kernel keeps its own tunnel device as long as the module is loaded,
		// and says nothing when told to delete it.
		_, ok := h.Link(s.Link.Name)
		return !ok || s.Link.fallback()
	case LinkUp:
		l, _ := h.Link(s.Link.Name)
		return l.Up
	case LinkDown:
		l, _ := h.Link(s.Link.Name)
		return !l.Up
	case AddFou:
		return h.hasFou(s.Fou)
	case DelFou:
		return !h.hasFou(s.Fou)
	case LoadModule:
		return contains(h.Modules, s.Module)
	case SetSysctl:
		return h.Sysctls[s.Sysctl.Key] == s.Sysctl.Value
	}
	return false
}

// fallbacks are the devices that a tunnel module makes by itself, one in each
// namespace: they take every packet of their kind that no other tunnel wants.
var fallbacks = map[string]string{"tunl0": "ipip", "gre0": "gre", "ip6tnl0": "ip6tnl", "ip6gre0": "ip6gre", "sit0": "sit"}

// fallback is whether the link is the one that its kernel module makes by itself.
func (l Link) fallback() bool { return fallbacks[l.Name] == l.Kind && l.Kind != "" }

func (h Snapshot) hasAddr(k AddrKey) bool {
	for _, a := range h.Addrs {
		if a.Key() == k {
			return true
		}
	}
	return false
}

func (h Snapshot) findRoute(want Route) int {
	for i, r := range h.Routes {
		if r.same(want) {
			return i
		}
	}
	return -1
}

func (h Snapshot) hasRule(want Rule) bool { return contains(h.Rules, want.normal()) }

func (h Snapshot) hasFou(want Fou) bool { return contains(h.Fous, want) }

func (r Rule) normal() Rule {
	if r.Mark != 0 && r.Mask == 0 {
		r.Mask = ^uint32(0)
	}
	return r
}

func contains[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}
