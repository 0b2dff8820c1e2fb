package keepalived

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// maxAddresses bounds the virtual addresses of an instance: several times what an
// advert can carry.
const maxAddresses = 4096

func (r *reader) addresses(s *stmt) {
	i := r.inst
	for _, l := range s.body {
		a, ok := r.address(l)
		if !ok || r.tooMany(l) {
			continue
		}
		if f := lvs.FamilyOf(a.Prefix.Addr()); !i.sameFamily(f) {
			r.warn(l.place, fmt.Sprintf("(%s): address family must match VRRP instance [%s] - ignoring", i.Name, l.words[0]),
				fmt.Sprintf("%v: the instance is %v, so its adverts cannot carry this address; it is held without", a.Prefix, i.family), "keepalived leaves it out; write it into virtual_ipaddress_excluded")
			a.Excluded = true
			i.excluded = append(i.excluded, a)
			continue
		}
		i.Addresses = append(i.Addresses, a)
	}
}

func (r *reader) excludedAddresses(s *stmt) {
	for _, l := range s.body {
		if a, ok := r.address(l); ok && !r.tooMany(l) {
			a.Excluded = true
			r.inst.excluded = append(r.inst.excluded, a)
		}
	}
}

func (r *reader) tooMany(l *stmt) bool {
	if len(r.inst.Addresses)+len(r.inst.excluded) < maxAddresses {
		return false
	}
	r.wrong(l.place, "", fmt.Sprintf("%s: an instance has at most %d addresses; this one is left out", l.words[0], maxAddresses), "")
	return true
}

// addressLine reads one line of virtual_ipaddress.
type addressLine struct {
	r     *reader
	l     *stmt
	a     config.Address
	plus  bool // brd +
	minus bool // brd -
	lives bool // preferred_lft was given
	drop  bool
}

// address is false for a line that gives none.
func (r *reader) address(l *stmt) (config.Address, bool) {
	p, cut, ok := prefix(l.words[0])
	if !ok {
		hint := ""
		if remark(l.words[0]) {
			hint = `a remark begins with "#"`
		}
		r.warn(l.place, fmt.Sprintf("VRRP parsed invalid IP %s. skipping IP...", l.words[0]), fmt.Sprintf("%s: that is no address; the line is passed over", config.Quote(l.words[0])), hint)
		return config.Address{}, false
	}
	if cut {
		_, length, _ := strings.Cut(l.words[0], "/")
		r.theirs(l.place, fmt.Sprintf("number '%s' outside range [0, %d]", length, p.Bits()), statusTest)
		r.warn(l.place, fmt.Sprintf("Invalid address prefix len %s for address %s - using %d", length, l.words[0], p.Bits()),
			fmt.Sprintf("%s: no prefix length; %v is taken", config.Quote(l.words[0]), p), "")
	}
	line := addressLine{r: r, l: l, a: config.Address{Prefix: p, Source: l.source()}}
	for i := 1; i < len(l.words) && !line.drop; i++ {
		if line.flag(l.words[i]) {
			continue
		}
		if i+1 >= len(l.words) && slices.Contains(addressOptions, l.words[i]) {
			r.warn(l.place, fmt.Sprintf("No %s parameter specified for %s", l.words[i], l.words[0]), fmt.Sprintf("%s: %s has no value; the address is left out", l.words[0], l.words[i]), "")
			return config.Address{}, false
		}
		if line.option(l.words[i], l.arg(i+1)) {
			i++
		}
	}
	if line.drop {
		return config.Address{}, false
	}
	line.finish()
	return line.a, true
}

func (line *addressLine) warn(theirs, text, hint string) {
	line.r.warn(line.l.place, theirs, line.l.words[0]+": "+text, hint)
}

func (line *addressLine) v6() bool { return line.a.Prefix.Addr().Is6() }

func (line *addressLine) flag(word string) bool {
	switch word {
	case "-nodad":
		line.a.DAD = true
	case "no_track":
		line.a.Untracked = true
	case "home", "mngtmpaddr", "noprefixroute", "autojoin":
		line.warn("", word+" is not supported; the address is set without", "")
	case "use_vmac":
		line.warn("", "use_vmac for a single address is not supported; it is set on its interface", "")
	default:
		return false
	}
	return true
}

var addressOptions = []string{"dev", "scope", "brd", "broadcast", "label", "peer", "preferred_lft"}

// option reads a word with its value. It is false for a word that is not known.
func (line *addressLine) option(word, value string) bool {
	switch word {
	case "dev":
		line.dev(value)
	case "scope":
		scope, ok := scopeNumber(value)
		if !ok {
			line.warn(fmt.Sprintf("Invalid scope '%s' specified for %s - ignoring", value, line.l.words[0]), fmt.Sprintf("%s is no scope; global is taken", config.Quote(value)), "the scopes are global, site, link, host and nowhere")
		}
		line.a.Scope = scope
	case "brd", "broadcast":
		line.broadcast(word, value)
	case "label":
		if len(value) > maxLinkName {
			line.warn(fmt.Sprintf("Address label %s is longer than maximum length %d - removing address", value, maxLinkName), fmt.Sprintf("label %s has more than %d letters; the address is left out", value, maxLinkName), "shorten it")
			line.drop = true
		}
		line.a.Label = value
	case "peer":
		line.peer(value)
	case "preferred_lft":
		line.lifetime(value)
	default:
		hint := config.DidYouMean(word, append([]string{"-nodad", "no_track"}, addressOptions...))
		line.warn(fmt.Sprintf("Unknown configuration entry '%s' for ip address - ignoring", word), fmt.Sprintf("%s is passed over", config.Quote(word)), hint)
		return false
	}
	return true
}

func (line *addressLine) dev(name string) {
	if line.a.Link != "" {
		line.warn(fmt.Sprintf("Cannot specify ipaddress device more than once for %s", line.l.words[0]), "dev is there twice; the address is left out", "remove one")
		line.drop = true
		return
	}
	line.a.Link = name
	if line.r.missing(name) {
		line.r.wrong(line.l.place, fmt.Sprintf("WARNING - interface %s for ip address %s doesn't exist", name, line.l.words[0]),
			fmt.Sprintf("%s: this host has no interface %s", line.l.words[0], name), "see them with: ip link")
		line.r.noLink = true
	}
}

func (line *addressLine) broadcast(word, value string) {
	if line.v6() {
		line.warn(fmt.Sprintf("VRRP is trying to assign a broadcast %s to the IPv6 address %s !!?? WTF... skipping VIP...", word, line.l.words[0]), "IPv6 has no broadcast; the address is left out", "remove brd")
		line.drop = true
		return
	}
	switch value {
	case "+":
		line.plus = true
	case "-":
		line.minus = true
	default:
		a, err := netip.ParseAddr(value)
		if err != nil || !a.Is4() {
			line.warn(fmt.Sprintf("VRRP is trying to assign invalid broadcast %s. skipping VIP...", value), fmt.Sprintf("brd %s is no IPv4 address; the address is left out", config.Quote(value)), "write brd + to have it computed")
			line.drop = true
			return
		}
		line.a.Broadcast = a
	}
}

func (line *addressLine) peer(value string) {
	if line.a.Peer.IsValid() {
		line.warn(fmt.Sprintf("Peer %s - another peer has already been specified", value), "peer is there twice; the first counts", "")
		return
	}
	a, err := netip.ParseAddr(value)
	if err != nil || a.Is4() == line.v6() {
		if err != nil {
			line.r.theirs(line.l.place, fmt.Sprintf("VRRP parsed invalid IP %s. skipping IP...", value), statusTest)
		}
		line.warn(fmt.Sprintf("Invalid peer address %s", value), fmt.Sprintf("peer %s is no address of its family; there is none", config.Quote(value)), "")
		return
	}
	own := line.a.Prefix
	if own.Bits() != own.Addr().BitLen() {
		line.warn("Cannot specify address prefix when specifying peer address - ignoring", "with a peer there is no prefix length; it is passed over", "")
	}
	line.a.Prefix = netip.PrefixFrom(own.Addr(), own.Addr().BitLen())
	line.a.Peer = netip.PrefixFrom(a, a.BitLen())
}

func (line *addressLine) lifetime(value string) {
	if value == "forever" {
		line.lives, line.a.Deprecated = true, false
		return
	}
	n, ok := line.r.lenient(line.l, value, 0, math.MaxUint32, fmt.Sprintf("preferred_lft %s is invalid", value), "the default is used")
	if !ok {
		return
	}
	line.lives, line.a.Deprecated = true, n == 0
	if n != 0 {
		line.warn("", fmt.Sprintf("preferred_lft %d is taken as forever", n), "")
	}
}

// finish does what depends on the whole line.
func (line *addressLine) finish() {
	a := &line.a
	if line.plus && !a.Peer.IsValid() {
		if a.Prefix.Bits() <= 30 {
			a.Broadcast = broadcastOf(a.Prefix)
		} else {
			line.warn(fmt.Sprintf("Address prefix length %d too long for broadcast", a.Prefix.Bits()), "a prefix of more than 30 bits has no broadcast address; there is none", "give the prefix length: ADDRESS/24")
		}
	}
	if line.minus && a.Prefix.Bits() > 30 {
		line.r.theirs(line.l.place, fmt.Sprintf("Address prefix length %d too long for broadcast", a.Prefix.Bits()), statusTest)
	}
	if a.Peer.IsValid() && (line.plus || line.minus || a.Broadcast.IsValid()) {
		line.warn("Cannot specify broadcast and peer addresses - ignoring broadcast address", "with a peer there is no broadcast address; brd is passed over", "")
		a.Broadcast = netip.Addr{}
	}
	if !line.v6() {
		a.Deprecated = false // keepalived tells the kernel of an IPv6 address only
		return
	}
	if a.Scope != 0 {
		line.warn(fmt.Sprintf("Cannot specify scope for IPv6 addresses (%s) - ignoring scope", line.l.words[0]), "IPv6 addresses have the scope that they have; it is passed over", "")
		a.Scope = 0
	}
	if a.Label != "" {
		line.warn(fmt.Sprintf("Cannot specify label for IPv6 addresses (%s) - ignoring label", line.l.words[0]), "IPv6 addresses have no label; it is passed over", "")
		a.Label = ""
	}
	if !line.lives {
		// keepalived's default: a single address is none to speak from.
		a.Deprecated = config.NoSource(a.Prefix)
	}
}

func broadcastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := range b {
		host := max(0, min(8, 8*(i+1)-p.Bits()))
		b[i] |= byte(1<<host - 1)
	}
	return netip.AddrFrom4(b)
}

// scopeNumber reads a scope as iproute2 names them.
func scopeNumber(s string) (uint8, bool) {
	names := map[string]uint8{"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
	if n, ok := names[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 0, 8)
	return uint8(n), err == nil
}

// Virtual routes, in the notation of ip route.

type routeLine struct {
	r     *reader
	l     *stmt
	route config.Route
	dst   string
	track bool
	drop  bool
}

func (r *reader) routes(s *stmt) {
	for _, l := range s.body {
		line := routeLine{r: r, l: l, route: config.Route{Source: l.source()}, track: true}
		for i := 0; i < len(l.words) && !line.drop; i++ {
			i += line.word(i)
		}
		if line.finish() {
			r.inst.Routes = append(r.inst.Routes, line.route)
			if !line.track {
				r.inst.loose = append(r.inst.loose, line.route.Source)
			}
		}
	}
}

// routeIgnored tells the words that are read and do nothing, and how many values
// are behind each.
func routeIgnored(word string) (values int, ignored bool) {
	switch word {
	case "tos", "dsfield", "protocol", "proto", "mtu", "hoplimit", "advmss", "rtt", "rttvar", "reordering", "window",
		"cwnd", "initcwnd", "initrwnd", "ssthresh", "realms", "realm", "rto_min", "features", "quickack", "congctl",
		"pref", "expires", "ttl-propagate", "fastopen_no_cookie", "track_group":
		return 1, true
	case "pervasive":
		return 0, true
	}
	return 0, false
}

// Types of routes and forms of destinations that cannot be had.
var routeRefused = []string{"local", "broadcast", "multicast", "nat", "nexthop", "or", "encap", "vrf", "from"}

// word reads the word at i, and returns how many more it took.
func (line *routeLine) word(i int) (taken int) {
	w, value := line.l.words[i], line.l.arg(i+1)
	skip, ignored := routeIgnored(w)
	switch w {
	case "unicast", "to", "inet", "inet6":
		return 0
	case "no_track":
		line.track = false
		return 0
	case "blackhole", "unreachable", "prohibit", "throw":
		line.route.Type = w
		return 0
	case "onlink":
		line.route.OnLink = true
		return 0
	case "via", "gw":
		return 1 + line.via(i+1)
	case "src":
		line.route.From = line.addr("src", value)
	case "dev", "oif":
		line.route.Link = value
		if line.r.missing(value) {
			line.r.wrong(line.l.place, fmt.Sprintf("WARNING - interface %s for VROUTE nexthop doesn't exist", value), fmt.Sprintf("route %s: this host has no interface %s", line.dst, value), "see them with: ip link")
			line.r.noLink = true
		}
	case "table":
		line.table(value)
	case "scope":
		n, ok := scopeNumber(value)
		if !ok {
			line.refuse(fmt.Sprintf("Scope %s not found or invalid for route", value), fmt.Sprintf("%s is no scope", config.Quote(value)))
		}
		line.route.Scope = n
	case "metric", "priority", "preference":
		if n, ok := line.r.lenient(line.l, value, 0, math.MaxInt32, "", "there is none"); ok {
			line.route.Metric = int(n)
		}
	default:
		switch {
		case ignored:
			line.r.warn(line.l.place, "", fmt.Sprintf("virtual_routes: %s is not supported; the route is made without", w), "")
			return skip
		case slices.Contains(routeRefused, w):
			line.refuse("", w+" is not supported")
		case line.dst == "":
			line.dst = w
		default:
			line.refuse(fmt.Sprintf("unknown route keyword %s", w), fmt.Sprintf("%s is no word of a route", config.Quote(w)))
		}
		return 0
	}
	return 1
}

// refuse leaves the route out.
func (line *routeLine) refuse(theirs, why string) {
	line.r.wrong(line.l.place, theirs, fmt.Sprintf("virtual_routes: %s; the route %s is left out", why, config.Quote(line.l.text)), "write DESTINATION via GATEWAY dev INTERFACE")
	line.drop = true
}

// via may name the family in front of the gateway.
func (line *routeLine) via(i int) (taken int) {
	w := line.l.arg(i)
	if w == "inet" || w == "inet6" {
		taken, w = 1, line.l.arg(i+1)
	}
	if line.l.words[i-1] == "gw" {
		line.r.warn(line.l.place, `"gw" for routes is deprecated. Please use "via"`, "virtual_routes: gw is an old word", "write via")
	}
	line.route.Via = line.addr("via", w)
	return taken
}

func (line *routeLine) addr(what, word string) netip.Addr {
	a, err := netip.ParseAddr(word)
	if err != nil || a.Zone() != "" {
		theirs := fmt.Sprintf("invalid route %s address %s", what, word)
		line.refuse(theirs, fmt.Sprintf("%s %s is no address", what, config.Quote(word)))
	}
	return a
}

func (line *routeLine) table(name string) {
	names := map[string]int{"default": 253, "main": 254, "local": 255}
	n, ok := names[name]
	if !ok {
		v, err := strconv.ParseUint(name, 0, 32)
		n, ok = int(v), err == nil && v <= math.MaxInt32
	}
	if !ok {
		line.refuse(fmt.Sprintf("Routing table %s not found for route", name), fmt.Sprintf("table %s: give its number", config.Quote(name)))
	}
	line.route.Table = n
}

// finish finds the destination and tells whether there is a route.
func (line *routeLine) finish() bool {
	if line.drop {
		return false
	}
	if line.dst == "" {
		line.refuse("Route must have a destination", "it has no destination")
		return false
	}
	if line.track && line.route.Link == "" {
		line.r.theirs(line.l.place, fmt.Sprintf("Warning - cannot track route %s with no interface specified, not tracking", line.dst), statusRemark)
	}
	if line.route.Type != "" && (line.route.Via.IsValid() || line.route.Link != "") {
		line.refuse("", "a "+line.route.Type+" route leads nowhere: it has no via and no dev")
		return false
	}
	if line.dst == "default" {
		line.route.Dst = line.everything()
	} else {
		p, cut, ok := prefix(line.dst)
		if !ok || cut {
			line.refuse(fmt.Sprintf("unknown route keyword %s", line.dst), fmt.Sprintf("%s is no destination", config.Quote(line.dst)))
			return false
		}
		line.route.Dst = p.Masked()
	}
	for _, a := range []netip.Addr{line.route.Via, line.route.From} {
		if a.IsValid() && a.Is4() != line.route.Dst.Addr().Is4() {
			line.refuse("Cannot mix IPv4 and IPv6 addresses for route", fmt.Sprintf("%v is not of the family of %v", a, line.route.Dst))
			return false
		}
	}
	return true
}

// everything is the default route's destination, of the family of its gateway.
func (line *routeLine) everything() netip.Prefix {
	v6 := line.r.inst.family == lvs.IPv6
	if line.route.Via.IsValid() {
		v6 = line.route.Via.Is6()
	}
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
