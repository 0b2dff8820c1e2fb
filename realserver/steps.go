package realserver

import (
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Steps are the changes that lead from what a host has to the setup (up), or back
// to what was before it (not up). They are to be taken in order, and no later one
// after one was refused: on the way up ARP is silenced before an address exists,
// on the way down the address goes before ARP is loosened. When nothing is left to
// do there are none.
//
// The state is what [Remember] kept of the way up. On the way down the setup says
// which VIPs go; with none named, all of its method go.
func Steps(have netif.Snapshot, s Setup, st State, up bool) []netif.Step {
	if up {
		return upSteps(have, s)
	}
	return downSteps(have, s, st)
}

func upSteps(have netif.Snapshot, s Setup) []netif.Step {
	var steps []netif.Step
	for _, w := range Explain(have, s) {
		if !w.Done {
			steps = append(steps, w.Step)
		}
	}
	return steps
}

func downSteps(have netif.Snapshot, s Setup, st State) []netif.Step {
	var steps []netif.Step
	add := func(done []netif.Step) {
		for _, step := range slices.Backward(done) {
			if back, ok := undo(have, step); ok {
				steps = append(steps, back)
			}
		}
	}
	going := st.going(s)
	for _, vip := range slices.Backward(s.VIPs) {
		if !st.knows(vip) {
			add(unrecorded(have, s, vip))
		}
	}
	for _, v := range slices.Backward(going) {
		add(v.Steps)
	}
	add(st.unshared(have, going))
	return steps
}

// undo is the step that takes one of the way up back, if there is something to
// take back. A setting that has changed since is someone else's now and stays.
func undo(have netif.Snapshot, step netif.Step) (netif.Step, bool) {
	if step.Op == netif.AddRoute {
		step.Route.Source = sourceOf(have, step.Route)
	}
	back, ok := step.Inverse()
	if !ok || have.Done(back) {
		return netif.Step{}, false
	}
	if step.Op == netif.SetSysctl && have.Sysctls[step.Sysctl.Key] != step.Sysctl.Value {
		return netif.Step{}, false
	}
	if step.Op == netif.ReplaceRoute && !have.Done(step) {
		return netif.Step{}, false
	}
	return back, true
}

// sourceOf is the source of a host's route to where r leads. A deletion that names
// another one finds nothing, and a script's "route add -host VIP dev tunl0" has none.
func sourceOf(have netif.Snapshot, r netif.Route) netip.Addr {
	for _, h := range have.Routes {
		if h.Dst == r.Dst && h.Link == r.Link && h.Key() == r.Key() {
			return h.Source
		}
	}
	return r.Source
}

// unrecorded is what the way up must have done for a VIP of which the state knows
// nothing, because it was lost. ARP stays silent then: nobody knows what the
// settings were, and silence does no harm.
func unrecorded(have netif.Snapshot, s Setup, vip netip.Addr) []netif.Step {
	if s.Method == NAT {
		return nil
	}
	var steps []netif.Step
	s.VIPs = []netip.Addr{vip}
	for _, w := range Explain(have, s) {
		if w.VIP == vip && w.Done {
			steps = append(steps, w.Step)
		}
	}
	return steps
}
