package config

import (
	"net/netip"
	"slices"
)

// Everywhere is the site with all its virtual services always in the kernel.
func (s Site) Everywhere() Site {
	s.Virtuals = slices.Clone(s.Virtuals)
	for i := range s.Virtuals {
		s.Virtuals[i].Gates = nil
	}
	return s
}

// OnMasters is the site with its virtual services on masters only. One that follows
// an instance already goes on with that; else it follows the instances that have its
// address. Where none has it, as for a firewall mark, any master will do.
func (s Site) OnMasters() Site {
	holders := map[netip.Addr][]string{}
	var all []string
	for _, in := range s.Instances {
		all = append(all, in.Name)
		for _, a := range in.Addresses {
			ip := a.Prefix.Addr()
			if !slices.Contains(holders[ip], in.Name) {
				holders[ip] = append(holders[ip], in.Name)
			}
		}
	}
	s.Virtuals = slices.Clone(s.Virtuals)
	for i := range s.Virtuals {
		v := &s.Virtuals[i]
		if len(v.Gates) > 0 {
			continue
		}
		if v.Gates = holders[v.Service.Addr.Addr()]; len(v.Gates) == 0 {
			v.Gates = all
		}
	}
	return s
}

// Followed are the names of the instances that virtual services follow, in the order
// of the services.
func (s *Site) Followed() []string {
	var names []string
	seen := map[string]bool{}
	for _, v := range s.Virtuals {
		for _, name := range v.Gates {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}
