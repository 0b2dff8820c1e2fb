// Package netif knows a host's links, addresses, routes, rules and sysctls, how to
// change them and how to tell the neighbours.
//
// A [Snapshot] is what the host has, as data. A [Step] is one change, as data; it
// prints as the line an administrator would type. A [Host] takes steps: the
// [Kernel], or the fake of package netiftest. Nothing here knows why an address is
// wanted.
package netif

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Snapshot is a host's network as it was at one moment. Its lists are sorted; two
// snapshots of the same state are equal.
type Snapshot struct {
	Links  []Link
	Addrs  []Addr
	Routes []Route // all tables; of the local table only what was not put there by the kernel itself
	Rules  []Rule
	Fous   []Fou
	// Modules are loaded kernel modules. What is built into the kernel is not in
	// the list, with two exceptions: "fou" and "ip_vs" are there whenever the kernel
	// has them.
	Modules []string
	// Sysctls are the network settings that this package knows of, in sysctl's
	// notation: "net.ipv4.conf.all.arp_ignore". See [ConfKey] for interface names
	// with dots.
	Sysctls map[string]string
}

// Link is a network device.
type Link struct {
	Name     string     `json:"name"`
	Kind     string     `json:"kind,omitempty"` // "ipip", "gre", "ip6tnl", "ip6gre", "sit", "veth", ...; empty for hardware and lo
	Up       bool       `json:"up,omitempty"`   // administratively
	Loopback bool       `json:"loopback,omitempty"`
	NoARP    bool       `json:"noarp,omitempty"`
	MTU      int        `json:"mtu,omitempty"`   // bytes
	MAC      string     `json:"mac,omitempty"`   // "02:00:00:00:00:01"
	Local    netip.Addr `json:"local,omitzero"`  // of a tunnel
	Remote   netip.Addr `json:"remote,omitzero"` // of a tunnel
	Index    int        `json:"index,omitempty"`
}

// Scope says how far an address or a route is good for: rtnetlink(7).
type Scope uint8

// The scopes the kernel names.
const (
	ScopeGlobal Scope = 0
	ScopeSite   Scope = 200
	ScopeLink   Scope = 253
	ScopeHost   Scope = 254
	ScopeNone   Scope = 255
)

func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeSite:
		return "site"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	case ScopeNone:
		return "nowhere"
	}
	return strconv.Itoa(int(s))
}

// Addr is an address on a link.
type Addr struct {
	Link      string       `json:"link"`
	Prefix    netip.Prefix `json:"prefix"`             // the address with its length, host bits kept
	Peer      netip.Prefix `json:"peer,omitzero"`      // of a point-to-point address
	Label     string       `json:"label,omitempty"`    // IPv4 only; the link's own name is no label
	Broadcast netip.Addr   `json:"broadcast,omitzero"` // IPv4 only
	Scope     Scope        `json:"scope,omitempty"`    // the kernel chooses that of an IPv6 address itself
	NoDAD     bool         `json:"nodad,omitempty"`    // IPv6: no duplicate address detection
	NoPrefix  bool         `json:"noprefixroute,omitempty"`
	// Deprecated is an IPv6 address with preferred_lft 0: it serves, and is not
	// chosen as a source.
	Deprecated bool `json:"deprecated,omitempty"`
	// What the kernel says and nobody asks for.
	Tentative bool `json:"-"` // IPv6: duplicate address detection runs
	DADFailed bool `json:"-"` // IPv6: and has found another owner
}

// Key is what makes an address one of its link: two with the same Key cannot be.
func (a Addr) Key() AddrKey {
	if a.Prefix.Addr().Is6() {
		return AddrKey{a.Link, netip.PrefixFrom(a.Prefix.Addr(), 128)}
	}
	return AddrKey{a.Link, a.Prefix}
}

// AddrKey identifies an address. IPv4 tells 10.0.0.1/24 from 10.0.0.1/32, IPv6
// does not tell lengths apart.
type AddrKey struct {
	Link   string
	Prefix netip.Prefix
}

// Routing tables with a name.
const (
	TableDefault = 253
	TableMain    = 254
	TableLocal   = 255
)

// Protocols of a route: who put it there.
const (
	ProtoKernel = 2
	ProtoBoot   = 3 // by hand; ip(8) gives it when told nothing

	// ProtoKeepalived is of what moves by VRRP: ip(8) calls it keepalived.
	ProtoKeepalived = 18
)

// Route is a route of one next hop. A route of several hops has Hops > 1, Via and
// Link of the first: it can be seen and not made.
type Route struct {
	Type   string       `json:"type,omitempty"` // "", that is unicast, or "local", "blackhole", ...
	Dst    netip.Prefix `json:"dst"`            // 0.0.0.0/0 and ::/0 are the default routes
	Via    netip.Addr   `json:"via,omitzero"`
	Link   string       `json:"link,omitempty"`
	Source netip.Addr   `json:"source,omitzero"`
	Scope  Scope        `json:"scope,omitempty"` // IPv4 only
	Table  int          `json:"table,omitempty"` // 0 and TableMain are the same
	Metric int          `json:"metric,omitempty"`
	Proto  int          `json:"proto,omitempty"` // 0 and ProtoBoot are the same
	OnLink bool         `json:"onlink,omitempty"`
	Hops   int          `json:"-"`
}

// RouteKey is what the kernel tells routes apart by.
type RouteKey struct {
	Dst    netip.Prefix
	Table  int
	Metric int
}

// Key identifies a route. The kernel allows several with the same key; whoever
// adds routes here does not.
func (r Route) Key() RouteKey {
	r = r.normal()
	return RouteKey{r.Dst, r.Table, r.Metric}
}

// same is whether r, found, is what was asked for as want. Of a route that names
// its gateway alone the kernel finds the device.
func (r Route) same(want Route) bool {
	r, want = r.normal(), want.normal()
	r.Hops, want.Hops = 0, 0
	if want.Link == "" && (want.Via.IsValid() || want.Type != "") { // of an IPv6 route to nowhere it is lo
		r.Link = ""
	}
	return r == want
}

func (r Route) normal() Route {
	r.Dst = r.Dst.Masked()
	if r.Table == 0 {
		r.Table = TableMain
	}
	if r.Proto == 0 {
		r.Proto = ProtoBoot
	}
	if r.Type == "unicast" {
		r.Type = ""
	}
	if r.Hops == 1 {
		r.Hops = 0
	}
	if r.Dst.Addr().Is6() {
		r.Scope = 0
		if r.Metric == 0 {
			r.Metric = 1024 // IP6_RT_PRIO_USER: what the kernel gives when told nothing
		}
	}
	return r
}

// Rule is one of the rules that choose the routing table.
type Rule struct {
	Priority int          `json:"priority"`
	IPv6     bool         `json:"ipv6,omitempty"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	Iif      string       `json:"iif,omitempty"`
	Oif      string       `json:"oif,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Mask     uint32       `json:"mask,omitempty"` // 0 with a Mark is all bits
	Table    int          `json:"table"`
}

// Fou is a UDP port whose packets the kernel unwraps.
type Fou struct {
	Port uint16 `json:"port"`
	IPv6 bool   `json:"ipv6,omitempty"`
	GUE  bool   `json:"gue,omitempty"` // Generic UDP Encapsulation; otherwise bare foo-over-UDP
	// Proto is the IP protocol inside bare foo-over-UDP.
	Proto uint8 `json:"proto,omitempty"`
}

// Link finds a device by its name.
func (s Snapshot) Link(name string) (Link, bool) {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return s.Links[i], true
}

// Holders are the addresses that are ip, whatever their link and length.
func (s Snapshot) Holders(ip netip.Addr) []Addr {
	var found []Addr
	for _, a := range s.Addrs {
		if a.Prefix.Addr() == ip {
			found = append(found, a)
		}
	}
	return found
}

// DefaultRoutes are those of the main table, the preferred one first.
func (s Snapshot) DefaultRoutes(ipv6 bool) []Route {
	var found []Route
	for _, r := range s.Routes {
		r = r.normal()
		if r.Dst.Bits() == 0 && r.Dst.Addr().Is6() == ipv6 && r.Table == TableMain {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b Route) int { return cmp.Compare(a.Metric, b.Metric) })
	return found
}

// Sort brings the lists of a snapshot into their order.
func (s *Snapshot) Sort() {
	slices.SortFunc(s.Links, func(a, b Link) int { return cmp.Or(cmp.Compare(a.Index, b.Index), strings.Compare(a.Name, b.Name)) })
	slices.SortFunc(s.Addrs, compareAddrs)
	for i := range s.Routes {
		s.Routes[i] = s.Routes[i].normal()
	}
	slices.SortFunc(s.Routes, compareRoutes)
	slices.SortFunc(s.Rules, func(a, b Rule) int {
		return cmp.Or(compareBools(a.IPv6, b.IPv6), cmp.Compare(a.Priority, b.Priority), strings.Compare(a.String(), b.String()))
	})
	slices.SortFunc(s.Fous, func(a, b Fou) int { return cmp.Or(compareBools(a.IPv6, b.IPv6), cmp.Compare(a.Port, b.Port)) })
	slices.Sort(s.Modules)
}

func compareAddrs(a, b Addr) int {
	return cmp.Or(strings.Compare(a.Link, b.Link), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

func compareRoutes(a, b Route) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()),
		cmp.Compare(a.Metric, b.Metric), strings.Compare(a.Link, b.Link), a.Via.Compare(b.Via))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Clone is a copy that shares nothing.
func (s Snapshot) Clone() Snapshot {
	s.Links = slices.Clone(s.Links)
	s.Addrs = slices.Clone(s.Addrs)
	s.Routes = slices.Clone(s.Routes)
	s.Rules = slices.Clone(s.Rules)
	s.Fous = slices.Clone(s.Fous)
	s.Modules = slices.Clone(s.Modules)
	sysctls := make(map[string]string, len(s.Sysctls))
	for k, v := range s.Sysctls {
		sysctls[k] = v
	}
	s.Sysctls = sysctls
	return s
}
