package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

// router is what makes a virtual router: what is kept for it stays while this does.
type router struct {
	name, link string
	vrid       uint8
	ipv6       bool
}

func routerOf(in *config.Instance) router {
	return router{in.Name, in.Link, in.VRID, in.IPv6}
}

// Check tells everything that makes a site impossible on any host. What depends on
// this host, such as an interface that is not there yet, is no error: the instance
// waits for it.
func Check(site config.Site) error {
	var errs []error
	names := map[string]bool{}
	routers := map[config.VirtualRouter]string{}
	for i := range site.Instances {
		in := &site.Instances[i]
		errs = append(errs, checkInstance(in))
		key := in.VirtualRouter()
		if names[in.Name] {
			errs = append(errs, fmt.Errorf("instance %s: there are two of that name", in.Name))
		}
		if other := routers[key]; other != "" {
			errs = append(errs, fmt.Errorf("instance %s: instance %s has the same virtual_router_id %d on %s", in.Name, other, in.VRID, in.Link))
		}
		names[in.Name], routers[key] = true, in.Name
	}
	errs = append(errs, checkGroups(site.Groups, names), checkLocalnode(&site))
	for _, name := range site.Followed() {
		if !names[name] {
			errs = append(errs, fmt.Errorf("virtual services are bound to instance %s, which is not there", name))
		}
	}
	for _, s := range site.Sync {
		if s.Instance != "" && !names[s.Instance] {
			errs = append(errs, fmt.Errorf("connection sync is bound to instance %s, which is not there", s.Instance))
		}
	}
	return errors.Join(errs...)
}

func checkGroups(groups []config.Group, names map[string]bool) error {
	var errs []error
	member := map[string]string{}
	for _, g := range groups {
		for _, m := range g.Members {
			if !names[m] {
				errs = append(errs, fmt.Errorf("sync group %s: there is no instance %s", g.Name, m))
			}
			if other := member[m]; other != "" {
				errs = append(errs, fmt.Errorf("sync group %s: instance %s is in group %s already", g.Name, m, other))
			}
			member[m] = g.Name
		}
	}
	return errors.Join(errs...)
}

func checkInstance(in *config.Instance) error {
	switch {
	case in.Link == "":
		return fmt.Errorf("instance %s: it has no interface", in.Name)
	case in.VMAC != "":
		return fmt.Errorf("instance %s: use_vmac is not supported: the addresses would be on %s with its own MAC address, which the file does not want; remove use_vmac, clients learn the place from the announcements", in.Name, in.Link)
	}
	v := in.Instance
	if !v.Source.IsValid() { // to be chosen by the host
		v.Source = netip.AddrFrom4([4]byte{0, 0, 0, 1})
		if in.IPv6 {
			v.Source = netip.MustParseAddr("fe80::1")
		}
	}
	v.Addrs = advertised(in)
	return v.Validate()
}

// advertised are the addresses in the adverts.
func advertised(in *config.Instance) []netip.Addr {
	if len(in.Addrs) > 0 {
		return in.Addrs
	}
	var out []netip.Addr
	for _, a := range in.Addresses {
		if ip := a.Prefix.Addr(); !a.Excluded && ip.Is6() == in.IPv6 && len(out) < vrrp.MaxAddrs {
			out = append(out, ip)
		}
	}
	return out
}

// complete is the instance as the protocol gets it on this host.
func complete(in *config.Instance, site *config.Site, source netip.Addr, missing map[string]bool) vrrp.Instance {
	v := in.Instance
	v.Addrs = advertised(in)
	if !v.Source.IsValid() {
		v.Source = source
	}
	v.Track = slices.Clone(in.Track)
	add := func(t vrrp.Tracked) {
		same := func(o vrrp.Tracked) bool { return o.Name == t.Name }
		if !slices.ContainsFunc(v.Track, same) {
			v.Track = append(v.Track, t)
		}
	}
	if !in.UntrackedLink {
		add(vrrp.Tracked{Name: config.TrackLink(in.Link)}) // without it there is nobody to speak to
	}
	if tracksSource(in) {
		add(vrrp.Tracked{Name: trackSource(in)})
	}
	for _, g := range site.Groups {
		if slices.Contains(g.Members, in.Name) {
			for _, t := range g.Track {
				add(t)
			}
		}
	}
	v.Track = slices.DeleteFunc(v.Track, func(t vrrp.Tracked) bool { return missing[t.Name] })
	return v
}

// virtualOf are the addresses that move.
func virtualOf(site *config.Site) map[netip.Prefix]bool {
	virtual := map[netip.Prefix]bool{}
	for i := range site.Instances {
		for _, a := range site.Instances[i].Addresses {
			virtual[a.Prefix] = true
		}
	}
	return virtual
}

// sourceOf chooses where adverts come from: the first address of the device that
// is not virtual, because a virtual one may be there before the others, and moves.
func sourceOf(l Link, in *config.Instance, virtual map[netip.Prefix]bool) (netip.Addr, error) {
	for _, p := range l.Addrs {
		ip := p.Addr()
		fits := ip.Is4() && !in.IPv6 || ip.Is6() && ip.IsLinkLocalUnicast() && in.IPv6
		if fits && !virtual[p] {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no %s of its own to send adverts from", in.Link, sourceKind(in))
}

func sourceKind(in *config.Instance) string {
	if in.IPv6 {
		return "link-local IPv6 address"
	}
	return "IPv4 address"
}

// trackSource is the name under which an instance tracks that it has an address to
// send from: without one it is in FAULT, as with keepalived.
func trackSource(in *config.Instance) string { return "own " + sourceKind(in) + " on " + in.Link }

func tracksSource(in *config.Instance) bool { return !in.Source.IsValid() && !in.UntrackedLink }

// passedOver are the wishes that an instance is run without.
func passedOver(in *config.Instance) []string {
	var out []string
	if in.AskFirst && in.Priority == vrrp.PriorityOwner {
		out = append(out, "with priority 255 the addresses are taken whoever has them (on_duplicate refuse)")
	}
	return out
}
