package heartbeat

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/config"
)

// Limits of what a file may ask for: far more than anybody has, and little
// enough for our memory.
const (
	maxGroups    = 255 // virtual routers of a network
	maxResources = 1000
)

// haresources reads a line for each group: the node, then its resources.
func (p *parser) haresources(f File) {
	if f.Name == "" {
		return
	}
	names := map[string]int{}
	p.eachLine(f, func(words []string) {
		switch {
		case len(p.c.Groups) == maxGroups:
			p.wrong(fmt.Sprintf("more than %d lines; there are no more virtual routers in a network", maxGroups), "")
			return
		case len(words) > maxResources:
			p.wrong(fmt.Sprintf("%d resources in a line; there may be %d", len(words)-1, maxResources), "")
			return
		}
		g := Group{Node: words[0], Name: words[0], Source: p.at()}
		if names[g.Node]++; names[g.Node] > 1 {
			g.Name += "/" + strconv.Itoa(names[g.Node])
		}
		if len(p.c.Nodes) > 0 && !slices.Contains(p.c.Nodes, g.Node) {
			p.wrong(fmt.Sprintf("%s is no node of ha.cf; its resources would never run", g.Node), p.nodesHint())
		}
		if len(words) == 1 {
			p.wrong("no resource stands behind the node", "write NODE ADDRESS/PREFIX/INTERFACE SERVICE...")
		}
		for _, w := range words[1:] {
			p.resource(&g, w)
		}
		p.c.Groups = append(p.c.Groups, g)
	})
}

func (p *parser) nodesHint() string {
	return "the nodes are " + strings.Join(p.c.Nodes, ", ") + "; write the name as uname -n prints it"
}

// resource reads one word: script::argument::argument, or a bare address.
func (p *parser) resource(g *Group, w string) {
	if bareAddress(w) {
		p.address(g, w)
		return
	}
	script, rest, some := strings.Cut(w, "::")
	switch {
	case script == "":
		p.wrong(fmt.Sprintf("%s: no script is named", config.Quote(w)), "write SCRIPT::ARGUMENT")
	case slices.Contains(addressScripts, script) && !some:
		p.wrong(script+": an address belongs behind it", "write "+script+"::ADDRESS/PREFIX/INTERFACE")
	case slices.Contains(addressScripts, script):
		p.address(g, rest) // which may have a :: of its own
	default:
		var args []string
		if some {
			args = strings.Split(rest, "::")
		}
		g.Resources = append(g.Resources, config.Resource{Name: script, Args: args, After: len(g.Addresses), Source: p.at()})
	}
}

var addressScripts = []string{"IPaddr", "IPaddr2", "IPv6addr"}

func bareAddress(s string) bool {
	addr, _, _ := strings.Cut(s, "/")
	_, err := netip.ParseAddr(addr)
	return err == nil
}

// address reads ADDRESS[/PREFIX[/INTERFACE[:LABEL][/BROADCAST]]]. Without an
// interface the prefix and the broadcast may be the last two.
func (p *parser) address(g *Group, s string) {
	parts := strings.Split(s, "/")
	ip, err := netip.ParseAddr(parts[0])
	if err != nil || ip.Zone() != "" {
		p.wrong(fmt.Sprintf("%s is no address", config.Quote(parts[0])), "write ADDRESS/PREFIX/INTERFACE")
		return
	}
	ip = ip.Unmap()
	a := config.Address{Source: p.at()}
	bits := ip.BitLen()
	if len(parts) > 1 {
		if bits, err = prefixLength(ip, parts[1]); err != nil {
			p.wrong(fmt.Sprintf("%s: the prefix %s %v", config.Quote(s), config.Quote(parts[1]), err), "write it as 24, or leave all of it out")
			return
		}
	}
	a.Prefix = netip.PrefixFrom(ip, bits)
	a.Deprecated = config.NoSource(a.Prefix)
	rest := parts[min(2, len(parts)):]
	if len(rest) > 0 && !bareAddress(rest[0]) {
		a.Link, a.Label = linkAndLabel(rest[0])
		rest = rest[1:]
	}
	if len(rest) > 0 {
		if a.Broadcast, err = netip.ParseAddr(rest[0]); err != nil || !a.Broadcast.Is4() || !ip.Is4() {
			p.wrong(fmt.Sprintf("%s: %s is no broadcast address", config.Quote(s), config.Quote(rest[0])), "write ADDRESS/PREFIX/INTERFACE/BROADCAST")
			return
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		p.wrong(fmt.Sprintf("%s: nothing belongs behind the broadcast address", config.Quote(s)), "")
		return
	}
	if wrong := badLink(a.Link); wrong != "" {
		p.wrong(fmt.Sprintf("%s: %s", config.Quote(s), wrong), "write ADDRESS/PREFIX/INTERFACE")
		return
	}
	p.add(g, a)
}

func (p *parser) add(g *Group, a config.Address) {
	for _, other := range append(slices.Clone(p.c.Groups), *g) {
		for _, b := range other.Addresses {
			if b.Prefix.Addr() == a.Prefix.Addr() {
				p.wrong(fmt.Sprintf("%v is there already, on line %d", a.Prefix.Addr(), b.Source.Line), "remove one")
				return
			}
		}
	}
	g.Addresses = append(g.Addresses, a)
}

// prefixLength reads 24 or 255.255.255.0.
func prefixLength(ip netip.Addr, s string) (int, error) {
	if mask, err := netip.ParseAddr(s); err == nil && mask.Is4() && ip.Is4() {
		for n := range 33 {
			if p, _ := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(n); p.Addr() == mask {
				return n, nil
			}
		}
		return 0, fmt.Errorf("is no netmask")
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > ip.BitLen() {
		return 0, fmt.Errorf("is not within 1 and %d", ip.BitLen())
	}
	return n, nil
}

// linkAndLabel: heartbeat takes eth0:1 for the label of an address on eth0.
func linkAndLabel(s string) (link, label string) {
	if link, _, ok := strings.Cut(s, ":"); ok {
		return link, s
	}
	return s, ""
}

// badLink says why Linux could not have an interface of this name.
func badLink(name string) string {
	switch {
	case len(name) > 15:
		return "the interface's name is longer than 15 bytes"
	case strings.ContainsAny(name, "/ \t") || name == "." || name == "..":
		return fmt.Sprintf("%s is no name of an interface", config.Quote(name))
	}
	return ""
}

// vrids gives each group a number that is the same on all nodes, as the files
// are, and that stays when services come and go: it is made of the node and its
// first address. Of two that would have the same number the later line gets the
// next free one.
func (c *Cluster) vrids() {
	taken := map[uint8]bool{}
	for i := range c.Groups {
		g := &c.Groups[i]
		h := fnv.New32a()
		fmt.Fprintf(h, "%s", g.Node)
		if len(g.Addresses) > 0 {
			fmt.Fprintf(h, " %v", g.Addresses[0].Prefix.Addr())
		}
		id := uint8(1 + h.Sum32()%255)
		for taken[id] {
			id = id%255 + 1
		}
		taken[id] = true
		g.VRID = id
	}
}
