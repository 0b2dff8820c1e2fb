package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Heard is an advert that was heard on a link.
type Heard struct {
	Link string
	vrrp.Advert
}

var (
	foreign = Rule{Name: "vrid-foreign", Says: "a virtual router number that somebody else on the network uses"}
	unequal = Rule{Name: "vrid-unequal", Says: "adverts of the same virtual router that this file would not accept"}
)

// Listening holds a site against the adverts that were heard on its links: of two
// clusters with one number both have trouble, and of a peer that says other things
// about the same virtual router nothing is believed.
func Listening(s config.Site, heard []Heard) []Finding {
	l := look{site: s}
	type voice struct {
		vrid uint8
		src  netip.Addr
	}
	said := map[voice]bool{}
	for _, in := range s.Instances {
		for _, h := range heard {
			v := voice{in.VRID, h.Src}
			if h.Link != in.Link || h.VRID != in.VRID || h.Src.Is6() != in.IPv6 || said[v] || h.Src == in.Source {
				continue
			}
			said[v] = l.judge(in, h, heard)
		}
	}
	return l.found
}

// judge says what is wrong with an advert for an instance, if something is.
func (l *look) judge(in config.Instance, h Heard, heard []Heard) bool {
	l.rule = rule{Rule: unequal, severity: config.Error}
	const both = "write the same on all its routers; until then both are master"
	switch a := h.Advert; {
	case !sharesAddress(a.Addrs, in.Addrs):
		l.rule = rule{Rule: foreign, severity: config.Error}
		l.say(in.Origin, fmt.Sprintf("choose another virtual_router_id; %s", unheard(in, heard)),
			"VRID %d on %s is somebody else's: %v speaks for %s", in.VRID, in.Link, a.Src, addrText(a.Addrs))
	case a.Version != in.Version:
		l.say(in.Origin, both, "%v speaks for VRID %d in version %d, and here it is %d", a.Src, in.VRID, a.Version, in.Version)
	case len(a.Addrs) != len(in.Addrs) || !containsAll(a.Addrs, in.Addrs):
		l.say(in.Origin, both, "%v speaks for VRID %d with the addresses %s, and here they are %s", a.Src, in.VRID, addrText(a.Addrs), addrText(in.Addrs))
	case a.Version == 2 && a.Interval != in.Interval:
		l.say(in.Origin, both, "%v speaks for VRID %d every %v, and here it is every %v", a.Src, in.VRID, a.Interval, in.Interval)
	case a.Version == 2 && (a.AuthType == vrrp.AuthPass) != (in.Password != ""):
		l.say(in.Origin, both, "%v speaks for VRID %d %s a password, and here it is otherwise", a.Src, in.VRID, map[bool]string{true: "with", false: "without"}[a.AuthType == vrrp.AuthPass])
	default:
		return false
	}
	return true
}

func sharesAddress(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}

func containsAll(a, b []netip.Addr) bool {
	return !slices.ContainsFunc(b, func(x netip.Addr) bool { return !slices.Contains(a, x) })
}

func addrText(all []netip.Addr) string {
	var words []string
	for _, a := range all[:min(len(all), 3)] {
		words = append(words, a.String())
	}
	if len(all) > 3 {
		words = append(words, "...")
	}
	return strings.Join(words, ", ")
}

// unheard suggests the next number that nobody was heard to use.
func unheard(in config.Instance, heard []Heard) string {
	for n := range 254 {
		id := uint8((int(in.VRID)+n)%255 + 1)
		if !slices.ContainsFunc(heard, func(h Heard) bool { return h.VRID == id && h.Link == in.Link }) {
			return fmt.Sprintf("nobody was heard with %d", id)
		}
	}
	return "all are in use"
}
