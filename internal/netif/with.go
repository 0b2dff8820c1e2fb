package netif

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// With is the host after one step, as the kernel would leave it: its errors are
// the kernel's errnos, and what follows by itself (the route of a prefix, the
// flushing of a device that goes down) is there. The receiver is not changed.
func (s Snapshot) With(step Step) (Snapshot, error) {
	if s.Done(step) {
		return s, nil
	}
	next := s.Clone()
	if err := next.apply(step); err != nil {
		return s, &StepError{step, err}
	}
	next.Sort()
	return next, nil
}

func (s *Snapshot) apply(step Step) error {
	switch step.Op {
	case AddAddr:
		return s.addAddr(step.Addr)
	case DelAddr:
		s.delAddr(step.Addr.Key())
	case AddRoute:
		return s.addRoute(step.Route)
	case DelRoute:
		s.Routes = slices.Delete(s.Routes, s.findRoute(step.Route), s.findRoute(step.Route)+1)
	case ReplaceRoute:
		return s.replaceRoute(step.Route)
	case AddRule:
		s.Rules = append(s.Rules, step.Rule.normal())
	case DelRule:
		s.Rules = slices.DeleteFunc(s.Rules, func(r Rule) bool { return r == step.Rule.normal() })
	case AddLink:
		s.addLink(step.Link)
	case DelLink:
		s.delLink(step.Link.Name)
	case LinkUp:
		return s.linkUp(step.Link.Name)
	case LinkDown:
		return s.linkDown(step.Link.Name)
	case AddFou:
		return s.addFou(step.Fou)
	case DelFou:
		s.Fous = slices.DeleteFunc(s.Fous, func(f Fou) bool { return f == step.Fou })
	case LoadModule:
		s.Modules = append(s.Modules, step.Module)
	case SetSysctl:
		return s.setSysctl(step.Sysctl)
	default:
		return fmt.Errorf("unknown step %v: %w", step.Op, syscall.EINVAL)
	}
	return nil
}

func (s *Snapshot) addAddr(a Addr) error {
	l, ok := s.Link(a.Link)
	if !ok {
		return syscall.ENODEV
	}
	if a.Prefix.Addr().Is6() && s.Sysctls[ConfKey("ipv6", a.Link, "disable_ipv6")] == "1" {
		return syscall.EACCES
	}
	s.Addrs = append(s.Addrs, a)
	if l.Up {
		s.addPrefixRoute(a)
	}
	return nil
}

// addPrefixRoute is the route that the kernel makes for an address: none for an
// IPv4 host address, which the local table alone knows.
func (s *Snapshot) addPrefixRoute(a Addr) {
	r := Route{Dst: a.Prefix.Masked(), Link: a.Link, Proto: ProtoKernel, Table: TableMain}
	switch {
	case a.NoPrefix || a.Scope == ScopeHost:
		return
	case a.Prefix.Addr().Is4() && a.Prefix.IsSingleIP():
		return
	case a.Prefix.Addr().Is4():
		r.Scope, r.Source = ScopeLink, a.Prefix.Addr()
	default:
		r.Metric = 256 // IP6_RT_PRIO_ADDRCONF
	}
	if s.findRoute(r) < 0 {
		s.Routes = append(s.Routes, r)
	}
}

func (s *Snapshot) delAddr(k AddrKey) {
	i := slices.IndexFunc(s.Addrs, func(a Addr) bool { return a.Key() == k })
	gone := s.Addrs[i]
	s.Addrs = slices.Delete(s.Addrs, i, i+1)
	held := slices.ContainsFunc(s.Addrs, func(a Addr) bool { return a.Link == gone.Link && a.Prefix.Masked() == gone.Prefix.Masked() })
	lost := len(s.Holders(gone.Prefix.Addr())) == 0
	s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool {
		r = r.normal()
		own := r.Proto == ProtoKernel && r.Link == gone.Link && r.Dst == gone.Prefix.Masked()
		return own && !held || lost && r.Source == gone.Prefix.Addr() // a route whose source is gone goes too
	})
}

func (s *Snapshot) addRoute(r Route) error {
	if err := s.checkRoute(r); err != nil {
		return err
	}
	for _, have := range s.Routes {
		if have.Key() == r.Key() {
			return syscall.EEXIST
		}
	}
	s.Routes = append(s.Routes, s.onLink(r))
	return nil
}

// onLink is a route as the kernel keeps it: with the device that its gateway is on.
func (s *Snapshot) onLink(r Route) Route {
	if r.Link == "" && r.Via.IsValid() {
		if i := slices.IndexFunc(s.Routes, func(have Route) bool { return !have.Via.IsValid() && have.Dst.Contains(r.Via) }); i >= 0 {
			r.Link = s.Routes[i].Link
		}
	}
	return r.normal()
}

func (s *Snapshot) checkRoute(r Route) error {
	l, ok := s.Link(r.Link)
	switch {
	case r.Link != "" && !ok:
		return syscall.ENODEV
	case r.Link != "" && !l.Up:
		return syscall.ENETDOWN
	case r.Via.IsValid() && !r.OnLink && !s.reaches(r.Via, r.Link):
		return syscall.ENETUNREACH
	}
	return nil
}

// reaches is whether a next hop is on a network of ours.
func (s *Snapshot) reaches(via netip.Addr, link string) bool {
	if via.Is6() && via.IsLinkLocalUnicast() {
		return link != ""
	}
	return slices.ContainsFunc(s.Routes, func(r Route) bool {
		return !r.Via.IsValid() && r.Dst.Contains(via) && (link == "" || r.Link == link)
	})
}

func (s *Snapshot) replaceRoute(r Route) error {
	if err := s.checkRoute(r); err != nil {
		return err
	}
	i := slices.IndexFunc(s.Routes, func(have Route) bool { return have.Key() == r.Key() })
	if i < 0 {
		return s.addRoute(r)
	}
	s.Routes[i] = s.onLink(r)
	return nil
}

// addLink makes a device that begins with the settings of conf/default.
func (s *Snapshot) addLink(l Link) {
	l.Up = false
	l.NoARP = l.NoARP || tunnelKinds[l.Kind]
	for _, have := range s.Links {
		l.Index = max(l.Index, have.Index+1)
	}
	s.Links = append(s.Links, l)
	for key, value := range s.Sysctls {
		for _, family := range []string{"ipv4", "ipv6"} {
			if name, ok := strings.CutPrefix(key, ConfKey(family, "default", "")); ok {
				s.Sysctls[ConfKey(family, l.Name, name)] = value
			}
		}
	}
}

// tunnelKinds are devices that have no neighbours, and so no ARP.
var tunnelKinds = map[string]bool{"ipip": true, "sit": true, "gre": true, "ip6tnl": true, "ip6gre": true}

func (s *Snapshot) delLink(name string) {
	s.Links = slices.DeleteFunc(s.Links, func(l Link) bool { return l.Name == name })
	s.Addrs = slices.DeleteFunc(s.Addrs, func(a Addr) bool { return a.Link == name })
	s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool { return r.Link == name })
	for key := range s.Sysctls {
		for _, family := range []string{"ipv4", "ipv6"} {
			if strings.HasPrefix(key, ConfKey(family, name, "")) {
				delete(s.Sysctls, key)
			}
		}
	}
}

func (s *Snapshot) linkUp(name string) error {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return syscall.ENODEV
	}
	s.Links[i].Up = true
	for _, a := range s.Addrs {
		if a.Link == name {
			s.addPrefixRoute(a)
		}
	}
	return nil
}

// linkDown takes the device's routes away, and its IPv6 addresses unless the
// device is told to keep them. IPv4 addresses stay.
func (s *Snapshot) linkDown(name string) error {
	i := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return syscall.ENODEV
	}
	s.Links[i].Up = false
	s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool { return r.Link == name })
	if s.Sysctls[ConfKey("ipv6", name, "keep_addr_on_down")] != "1" {
		s.Addrs = slices.DeleteFunc(s.Addrs, func(a Addr) bool { return a.Link == name && a.Prefix.Addr().Is6() })
	}
	return nil
}

func (s *Snapshot) addFou(f Fou) error {
	if !contains(s.Modules, "fou") {
		return syscall.ENOENT
	}
	if slices.ContainsFunc(s.Fous, func(have Fou) bool { return have.Port == f.Port && have.IPv6 == f.IPv6 }) {
		return syscall.EADDRINUSE
	}
	s.Fous = append(s.Fous, f)
	return nil
}

// setSysctl changes a setting that exists; those of the whole host change every
// device, as the kernel's do.
func (s *Snapshot) setSysctl(c Sysctl) error {
	if _, ok := s.Sysctls[c.Key]; !ok {
		return syscall.ENOENT
	}
	s.Sysctls[c.Key] = c.Value
	if c.Key == "net.ipv4.ip_forward" || c.Key == ConfKey("ipv4", "all", "forwarding") {
		s.Sysctls["net.ipv4.ip_forward"] = c.Value
		s.spread("ipv4", "forwarding", c.Value)
	}
	for _, name := range []string{"forwarding", "disable_ipv6"} {
		if c.Key == ConfKey("ipv6", "all", name) {
			s.spread("ipv6", name, c.Value)
		}
	}
	return nil
}

func (s *Snapshot) spread(family, name, value string) {
	for key := range s.Sysctls {
		if strings.HasPrefix(key, "net."+family+".conf.") && strings.HasSuffix(key, "."+name) {
			s.Sysctls[key] = value
		}
	}
}
