package keepalived

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

func (r *reader) finishGroups() {
	for _, g := range r.groups {
		r.finishNotify(&g.Notify)
		names := g.Members
		g.Members = nil
		if !g.listed {
			r.theirs(r.whole(g.place), fmt.Sprintf("Sync group %s has no virtual router(s). removing", g.Name), statusTest)
			r.problem(g.place, config.Warning, fmt.Sprintf("vrrp_sync_group %s has no members; it is left out", g.Name), "write group { INSTANCE INSTANCE }")
			continue
		}
		for _, name := range names {
			r.join(g, name)
		}
		switch len(g.members) {
		case 0:
			r.theirs(r.whole(g.place), fmt.Sprintf("Sync group %s, no matching virtual router found in group declaration - removing", g.Name), statusTest)
		case 1:
			r.theirs(r.whole(g.place), fmt.Sprintf("Sync group %s has only 1 virtual router(s) - this probably isn't what you want", g.Name), statusRemark)
			r.problem(g.place, config.Warning, fmt.Sprintf("vrrp_sync_group %s has one member only", g.Name), "a group is of two at least")
		}
		for _, t := range g.tracked {
			if out, ok := r.trackedOf(t, g.Name, false); ok { // what the group itself tracks counts with its weight
				g.Track = append(g.Track, out)
			}
		}
	}
}

func (r *reader) join(g *group, name string) {
	at := slices.IndexFunc(r.instances, func(i *instance) bool { return i.Name == name })
	switch {
	case at < 0:
		r.theirs(r.whole(g.place), fmt.Sprintf("Virtual router %s specified in sync group %s doesn't exist - ignoring", name, g.Name), statusTest)
		var names []string
		for _, i := range r.instances {
			names = append(names, i.Name)
		}
		r.problem(g.place, config.Warning, fmt.Sprintf("vrrp_sync_group %s: there is no vrrp_instance %s", g.Name, name), config.DidYouMean(name, names))
	case r.instances[at].group != nil:
		r.theirs(r.whole(g.place), fmt.Sprintf("Virtual router %s cannot exist in more than one sync group; ignoring %s", name, g.Name), statusTest)
		r.problem(g.place, config.Warning, fmt.Sprintf("vrrp_sync_group %s: %s is in the group %s already", g.Name, name, r.instances[at].group.Name), "")
	default:
		r.instances[at].group = g
		g.members = append(g.members, r.instances[at])
		if !r.instances[at].impossible {
			g.Members = append(g.Members, name)
		}
	}
}

// trackedOf makes what the protocol knows of something that is tracked.
func (r *reader) trackedOf(t tracked, owner string, unweighted bool) (vrrp.Tracked, bool) {
	if t.link != "" {
		out := vrrp.Tracked{Name: config.TrackLink(t.link), Reverse: t.reverse}
		if t.weight != nil {
			out.Weight = *t.weight
		}
		if unweighted && out.Weight != 0 {
			r.theirs(r.whole(t.place), fmt.Sprintf("(%s) ignoring %s tracked interface weight due to SYNC group", owner, t.link), statusTest)
			r.problem(t.place, config.Warning, fmt.Sprintf("track_interface %s: keepalived says that it ignores this weight in a sync group, and counts it; so it is here, for %s alone", t.link, owner), "write it into the group's own track_interface, or sync_group_tracking_weight into the group")
		}
		return out, true
	}
	at := t.place
	later := at.line < 0
	at.line = max(at.line, -at.line)
	sc := r.script(t.script)
	if sc == nil {
		var names []string
		for _, s := range r.scripts {
			names = append(names, s.Name)
		}
		r.warn(at, fmt.Sprintf("(%s) track script %s not found, ignoring...", owner, t.script), fmt.Sprintf("track_script %s: there is no vrrp_script of that name; it is not tracked", config.Quote(t.script)), config.DidYouMean(t.script, names))
		return vrrp.Tracked{}, false
	}
	if later {
		r.warn(at, fmt.Sprintf("(%s) track script %s not found, ignoring...", owner, t.script), fmt.Sprintf("vrrp_script %s stands further down, where keepalived does not find it; here it is tracked", t.script), "move it up")
	}
	sc.used = true
	out := vrrp.Tracked{Name: config.TrackScript(t.script), Weight: sc.Weight, Reverse: t.reverse || sc.reverse}
	if t.weight != nil {
		out.Weight = *t.weight
	}
	if unweighted && out.Weight != 0 {
		r.theirs(r.whole(at), fmt.Sprintf("(%s) ignoring tracked script %s with weights due to SYNC group", owner, t.script), statusTest)
		r.problem(at, config.Warning, fmt.Sprintf("track_script %s: a script with a weight does not count in a sync group", t.script), "write sync_group_tracking_weight into the group")
		return vrrp.Tracked{}, false
	}
	return out, !sc.broken
}

// heldLinks are the other interfaces that the instance cannot do without: those of
// its addresses and routes, but for what is marked no_track.
func (i *instance) heldLinks() []string {
	var out []string
	add := func(link string, untracked bool) {
		if link != "" && link != i.Link && !untracked && !slices.Contains(out, link) {
			out = append(out, link)
		}
	}
	for _, a := range i.Addresses {
		add(a.Link, a.Untracked)
	}
	for _, route := range i.Routes {
		add(route.Link, slices.Contains(i.loose, route.Source))
	}
	return out
}

// finishTracking: the instance's own interface is always tracked, and so are those
// that its addresses are on, whatever weight track_interface gives them.
func (r *reader) finishTracking(i *instance) {
	i.UntrackedLink = i.untracked
	if i.Link != "" && !i.untracked && !slices.ContainsFunc(i.tracked, func(t tracked) bool { return t.link == i.Link }) {
		i.Track = append(i.Track, vrrp.Tracked{Name: config.TrackLink(i.Link)})
	}
	unweighted := i.group != nil && !i.group.weighted
	held := i.heldLinks()
	for _, link := range held {
		i.Track = append(i.Track, vrrp.Tracked{Name: config.TrackLink(link)})
	}
	for _, t := range i.tracked {
		if slices.Contains(held, t.link) {
			continue
		}
		if out, ok := r.trackedOf(t, i.Name, unweighted); ok {
			if i.Priority == vrrp.PriorityOwner && out.Weight != 0 {
				r.ownerTracks(i, t)
				continue
			}
			i.Track = append(i.Track, out)
		}
	}
}

func (r *reader) ownerTracks(i *instance, t tracked) {
	what := cmp.Or(t.link, t.script)
	r.theirs(r.whole(i.place), fmt.Sprintf("(%s) ignoring tracked script %s with weights due to address_owner", i.Name, what), statusTest)
	r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: with priority 255 the weight of %s cannot count; it is not tracked", i.Name, what), "")
}
