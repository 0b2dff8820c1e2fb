package config

import (
	"slices"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// Table is the kernel's table while every server is well: all of them with the
// weights that the files give them, and a fallback only where they give nobody
// any weight. This is what a one-off command makes of a site with checks; whoever
// wants servers to leave when they are ill runs a daemon.
func (s Site) Table() lvs.Table {
	vs := slices.Clone(s.Virtuals)
	for i := range vs {
		vs[i].Members = slices.Clone(vs[i].Members)
		for j := range vs[i].Members {
			vs[i].Members[j].Checks = nil // without any a member is always well
		}
	}
	return ldirector.NewPlan(vs).Table()
}

// Virtual finds the virtual service with a key; the first one if there are several.
func (s Site) Virtual(k lvs.Key) (ldirector.Virtual, bool) {
	i := slices.IndexFunc(s.Virtuals, func(v ldirector.Virtual) bool { return v.Service.Key == k })
	if i < 0 {
		return ldirector.Virtual{}, false
	}
	return s.Virtuals[i], true
}
