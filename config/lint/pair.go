package lint

import (
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

func pairRules(add adder) {
	const pair = OfPair
	add(pair, config.Warning, "peer-router-id", "the same router_id on both directors", peerRouterID)
	add(pair, config.Warning, "peer-missing", "a virtual router that the other director does not have", peerMissing)
	add(pair, config.Error, "peer-addresses", "virtual routers whose addresses differ: both would be master", peerAddresses)
	add(pair, config.Error, "peer-advert", "virtual routers that do not believe each other's adverts", peerAdvert)
	add(pair, config.Error, "peer-source", "the same source address on both directors", peerSource)
	add(pair, config.Warning, "peer-priority", "the same priority on both directors", peerPriority)
	add(pair, config.Warning, "peer-master", "state MASTER on both directors", peerMaster)
	add(pair, config.Warning, "peer-weight", "a weight smaller than the distance of the priorities", peerWeight)
	add(pair, config.Error, "peer-unicast", "unicast peers that do not name each other", peerUnicast)
	add(pair, config.Warning, "peer-services", "services that are not the same on both directors", peerServices)
}

// both are an instance of ours and the one of the other director that has the
// same number.
type both struct{ ours, theirs config.Instance }

func (l *look) pairs() []both {
	var all []both
	for _, in := range l.site.Instances {
		i := slices.IndexFunc(l.peer.Instances, func(o config.Instance) bool { return o.VRID == in.VRID && o.IPv6 == in.IPv6 })
		if i >= 0 {
			all = append(all, both{in, l.peer.Instances[i]})
		}
	}
	return all
}

func peerRouterID(l *look) {
	if id := l.site.RouterID; id != "" && id == l.peer.RouterID && len(l.site.Instances) > 0 {
		l.say(l.site.Instances[0].Origin, "name each director after its host", "both directors call themselves %q, in logs and mail; on the wire it means nothing", id)
	}
}

func peerMissing(l *look) {
	for _, in := range l.site.Instances {
		has := slices.ContainsFunc(l.peer.Instances, func(o config.Instance) bool { return o.VRID == in.VRID && o.IPv6 == in.IPv6 })
		if has {
			continue
		}
		hint := "give it to both"
		for _, o := range l.peer.Instances {
			if slices.ContainsFunc(o.Addrs, func(a netip.Addr) bool { return slices.Contains(in.Addrs, a) }) {
				hint = "write the same number in both: there " + config.Place(o.Origin) + " has the address"
			}
		}
		l.say(in.Origin, hint, "the other director has no virtual router %d", in.VRID)
	}
}

func peerAddresses(l *look) {
	for _, p := range l.pairs() {
		a, b := slices.Clone(p.ours.Addrs), slices.Clone(p.theirs.Addrs)
		slices.SortFunc(a, netip.Addr.Compare)
		slices.SortFunc(b, netip.Addr.Compare)
		if !slices.Equal(a, b) {
			l.say(p.ours.Origin, "write the same addresses in both", "virtual router %d has the addresses %v here and %v at %s: each drops the other's adverts, and both are master",
				p.ours.VRID, a, b, config.Place(p.theirs.Origin))
		}
	}
}

func peerAdvert(l *look) {
	for _, p := range l.pairs() {
		a, b := p.ours, p.theirs
		say := func(what string, ours, theirs any) {
			l.say(a.Origin, "write the same in both", "virtual router %d: %s %v here, %v at %s: each drops the other's adverts, and both are master", a.VRID, what, ours, theirs, config.Place(b.Origin))
		}
		switch {
		case a.Version != b.Version:
			say("version", a.Version, b.Version)
		case a.Version == 2 && a.Interval != b.Interval:
			say("advert_int", a.Interval, b.Interval)
		case (a.Password == "") != (b.Password == ""):
			say("a password is", a.Password != "", b.Password != "")
		case a.Password != b.Password:
			l.say(a.Origin, "write the same in both", "virtual router %d: the passwords differ from those at %s: each drops the other's adverts, and both are master", a.VRID, config.Place(b.Origin))
		case (len(a.Peers) == 0) != (len(b.Peers) == 0):
			say("unicast is", len(a.Peers) > 0, len(b.Peers) > 0)
		}
	}
}

func peerSource(l *look) {
	for _, p := range l.pairs() {
		if p.ours.Source.IsValid() && p.ours.Source == p.theirs.Source {
			l.say(p.ours.Origin, "write each director's own address, or leave it out", "virtual router %d: both directors have the source address %v (%s)",
				p.ours.VRID, p.ours.Source, config.Place(p.theirs.Origin))
		}
	}
}

func peerPriority(l *look) {
	for _, p := range l.pairs() {
		if p.ours.Priority == p.theirs.Priority && !(p.ours.NoPreempt && p.theirs.NoPreempt) {
			l.say(p.ours.Origin, "give the one that is to be master more", "virtual router %d: both directors have priority %d, so their addresses decide (%s)",
				p.ours.VRID, p.ours.Priority, config.Place(p.theirs.Origin))
		}
	}
}

func peerMaster(l *look) {
	for _, p := range l.pairs() {
		if p.ours.StartMaster && p.theirs.StartMaster {
			l.say(p.ours.Origin, "write state BACKUP in the one of lower priority", "virtual router %d: both directors have state MASTER (%s)", p.ours.VRID, config.Place(p.theirs.Origin))
		}
	}
}

// peerWeight: the stronger of the two has to fall below the other.
func peerWeight(l *look) {
	for _, p := range l.pairs() {
		strong, weak := p.ours, p.theirs
		if strong.Priority < weak.Priority {
			strong, weak = weak, strong
		}
		for _, t := range strong.Track {
			if t.Weight == 0 {
				continue
			}
			up, down, rival := reach(strong.Priority, t), fall(strong.Priority, t), reach(weak.Priority, same(weak, t))
			if up > rival && down >= rival {
				l.say(p.ours.Origin, "make the weight larger than the distance", "virtual router %d: when the %s fails, priority %d becomes %d, and the other director has %d: nothing moves",
					strong.VRID, t.Name, up, down, rival)
			}
		}
	}
}

// same is how the other director tracks a thing.
func same(in config.Instance, t vrrp.Tracked) vrrp.Tracked {
	for _, o := range in.Track {
		if o.Name == t.Name {
			return o
		}
	}
	return vrrp.Tracked{}
}

// reach and fall are a priority while a tracked thing is up, and while it is down.
func reach(priority uint8, t vrrp.Tracked) int { return clamp(int(priority) + max(t.Weight, 0)) }
func fall(priority uint8, t vrrp.Tracked) int  { return clamp(int(priority) + min(t.Weight, 0)) }

func clamp(p int) int { return max(1, min(p, 254)) }

func peerUnicast(l *look) {
	for _, p := range l.pairs() {
		if len(p.ours.Peers) == 0 || len(p.theirs.Peers) == 0 {
			continue
		}
		if s := p.theirs.Source; s.IsValid() && !slices.Contains(p.ours.Peers, s) {
			l.say(p.ours.Origin, "add it to unicast_peer", "virtual router %d: the other director, %v, is not among its peers", p.ours.VRID, s)
		}
		if s := p.ours.Source; s.IsValid() && !slices.Contains(p.theirs.Peers, s) {
			l.say(p.theirs.Origin, "add it to unicast_peer", "virtual router %d: the other director, %v, is not among its peers", p.ours.VRID, s)
		}
	}
}

func peerServices(l *look) {
	if len(l.peer.Virtuals) == 0 && len(l.peer.Instances) == 0 {
		return
	}
	_, differ := config.Merge(config.Site{Virtuals: l.site.Virtuals}, config.Site{Virtuals: l.peer.Virtuals})
	for _, p := range differ {
		l.found = append(l.found, Finding{l.rule.Name, config.Problem{File: p.File, Line: p.Line, Severity: l.rule.severity, Text: p.Text, Hint: "write the same on both directors"}})
	}
	for _, v := range l.site.Virtuals {
		if _, there := l.peer.Virtual(v.Service.Key); !there {
			l.say(v.Source, "add it there, or clients lose it at a fail-over", "the other director does not have %v", v.Service.Key)
		}
	}
}
