package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
)

func hostRules(add adder) {
	const host = OfHost
	add(host, config.Warning, "real-on-director", "a real server that is this director", realOnDirector)
	add(host, config.Warning, "vip-is-host", "a virtual address that is this host's own", vipIsHost)
	add(host, config.Warning, "vip-off-link", "a virtual address in no network of its interface", vipOffLink)
	add(host, config.Warning, "mask-not-link", "a virtual address with another mask than its network has here", maskNotLink)
	add(host, config.Warning, "link-missing", "an interface that this host does not have", linkMissing)
}

func (h Host) holders(ip netip.Addr) []Addr {
	var found []Addr
	for _, a := range h.Addrs {
		if a.Prefix.Addr() == ip {
			found = append(found, a)
		}
	}
	return found
}

// realOnDirector: a master that serves itself is fine. As backup it gets what the
// master sends it, balances that again, and sends it back.
func realOnDirector(l *look) {
	for _, v := range l.site.Virtuals {
		if len(v.Gates) > 0 {
			continue // as backup it does not have the service
		}
		for _, m := range v.Members {
			ip := m.Destination.Addr.Addr()
			if ip.IsLoopback() || len(l.host.holders(ip)) == 0 {
				continue
			}
			l.say(m.Source, "let the services be on the master only", "server %v is this director: as backup it would balance what the master sends it, in a circle", ip)
		}
	}
}

// vipIsHost: while this director is master it has the virtual addresses, as they
// are configured and beside its own. One with another mask, or without another
// address of its network beside it, is the host's own.
func vipIsHost(l *look) {
	for _, h := range holds(l.site) {
		p := h.address.Prefix
		for _, own := range l.host.holders(p.Addr()) {
			if own.Prefix == p && (p.IsSingleIP() || l.host.beside(own)) {
				continue
			}
			l.say(h.address.Source, "choose an address that no host has", "%v is this host's own address (%v on %s)", p.Addr(), own.Prefix, own.Link)
		}
	}
}

// beside tells whether the link has another address in the network of one.
func (h Host) beside(a Addr) bool {
	return slices.ContainsFunc(h.Addrs, func(b Addr) bool {
		return b.Link == a.Link && b.Prefix != a.Prefix && a.Prefix.Contains(b.Prefix.Addr())
	})
}

// networks are those of a link, without that of an address itself.
func (h Host) networks(link string, not netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range h.Addrs {
		if a.Link == link && a.Prefix.Addr() != not && !a.Prefix.IsSingleIP() && !a.Prefix.Addr().IsLinkLocalUnicast() {
			all = append(all, a.Prefix)
		}
	}
	return all
}

func vipOffLink(l *look) {
	for _, h := range holds(l.site) {
		ip := h.address.Prefix.Addr()
		var mine []string
		in := false
		for _, n := range l.host.networks(h.link, ip) {
			if n.Addr().Is4() == ip.Is4() {
				if name := n.Masked().String(); !slices.Contains(mine, name) {
					mine = append(mine, name)
				}
				in = in || n.Contains(ip)
			}
		}
		if !in && len(mine) > 0 && h.address.Prefix.IsSingleIP() {
			l.say(h.address.Source, "write an address of that network, or route it to the directors", "%v is in no network of %s (%s): nobody there looks for it",
				ip, h.link, strings.Join(mine, ", "))
		}
	}
}

func maskNotLink(l *look) {
	for _, h := range holds(l.site) {
		p := h.address.Prefix
		for _, n := range l.host.networks(h.link, p.Addr()) {
			if !p.IsSingleIP() && n.Contains(p.Addr()) && n.Bits() != p.Bits() {
				l.say(h.address.Source, fmt.Sprintf("write /%d, or nothing", n.Bits()), "%v: the network of %s has a mask of %d bits", p, h.link, n.Bits())
				break
			}
		}
	}
}

func linkMissing(l *look) {
	said := map[string]bool{}
	missing := func(link string, at ldirector.Source) {
		if link != "" && !said[link] && !slices.Contains(l.host.Links, link) {
			said[link] = true
			l.say(at, "the host has "+strings.Join(l.host.Links, ", "), "there is no interface %s on this host", link)
		}
	}
	for _, in := range l.site.Instances {
		missing(in.Link, in.Origin)
	}
	for _, h := range holds(l.site) {
		missing(h.link, h.address.Source)
	}
	for _, y := range l.site.Sync {
		missing(y.Daemon.Interface, y.Source)
	}
}

// Hosts looks at /etc/hosts: the tutorials have names in front of addresses, and
// one name for two hosts, and a cluster whose nodes cannot tell each other apart.
func Hosts(name string, text []byte) []Finding {
	l := look{}
	twice := rule{Rule: Rule{Name: "hosts-twice", Says: "a name with two addresses in /etc/hosts"}, severity: config.Warning}
	order := rule{Rule: Rule{Name: "hosts-order", Says: "a line of /etc/hosts that does not begin with an address"}, severity: config.Warning}
	type seen struct {
		addr netip.Addr
		line int
	}
	names := map[string]seen{}
	for n, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		at := ldirector.Source{File: name, Line: n + 1}
		if len(words) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil {
			l.rule = order
			l.say(at, "the address comes first: ADDRESS NAME...", "%q is no address, and the line has no effect", words[0])
			addr = anyAddr(words)
		}
		for _, w := range words {
			if _, err := netip.ParseAddr(w); err == nil || addr.IsLoopback() || !addr.IsValid() {
				continue
			}
			was, there := names[w]
			if there && was.addr.Is4() == addr.Is4() && was.addr != addr {
				l.rule = twice
				l.say(at, "a name for each host; nodes are told apart by it", "%s is %v here, and %v on line %d", w, addr, was.addr, was.line)
			}
			if !there {
				names[w] = seen{addr, n + 1}
			}
		}
	}
	return l.found
}

func anyAddr(words []string) netip.Addr {
	for _, w := range words {
		if a, err := netip.ParseAddr(w); err == nil {
			return a
		}
	}
	return netip.Addr{}
}
