package keepalived

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// finish does what can be done only when everything was read.
func (r *reader) finish() {
	r.finishGarp()
	r.finishUser()
	r.finishScripts()
	for _, i := range r.instances {
		r.finishInstance(i)
	}
	r.finishGroups()
	for _, i := range r.instances {
		r.finishTracking(i)
	}
	r.finishTwins()
	r.finishUnused()
	r.finishSync()
	seen := map[lvs.Key]place{}
	for _, v := range r.services {
		r.finishService(v, seen)
	}
	r.finishSecurity()
	if r.noLink {
		r.theirs(place{}, "Non-existent interface specified in configuration", statusTest)
	}
	s := &r.f.site
	s.RouterID = r.g.RouterID
	for _, i := range r.instances {
		if !i.impossible {
			s.Instances = append(s.Instances, i.Instance)
		}
	}
	for _, g := range r.groups {
		if len(g.Members) > 0 {
			s.Groups = append(s.Groups, config.Group{Group: g.Group.Group, Notify: g.Notify, Track: g.Track, Source: g.Source})
		}
	}
	for _, sc := range r.scripts {
		if sc.used && !sc.broken {
			s.Scripts = append(s.Scripts, sc.Script)
		}
	}
	r.f.globals = r.g
}

// finishGarp: after an advert of lower priority the addresses are announced as on
// becoming master, unless the file says otherwise.
func (r *reader) finishGarp() {
	g := &r.g.Garp
	g.LowerDelay, g.LowerRepeat = g.Delay, g.Repeat
	if r.lowerDelay != nil {
		g.LowerDelay = *r.lowerDelay
	}
	if r.lowerRepeat != nil {
		g.LowerRepeat = *r.lowerRepeat
	}
}

func (r *reader) finishInstance(i *instance) {
	i.IPv6 = i.family == lvs.IPv6
	r.finishVersion(i)
	r.finishPriority(i)
	r.finishInterval(i)
	r.finishPassword(i)
	r.finishPreemption(i)
	r.finishAnnouncements(i)
	r.finishAddresses(i)
	r.finishReach(i)
	r.finishNotify(&i.Notify)
	if i.VMAC == "vrrp.0" {
		i.VMAC = fmt.Sprintf("vrrp.%d", i.VRID)
	}
	if i.VRID == 0 {
		r.impossible(i, fmt.Sprintf("(%s) the virtual router id must be set", i.Name), "it has no virtual_router_id", "write virtual_router_id N, the same on all its routers")
	}
	i.StartMaster = i.master && i.Priority != vrrp.PriorityOwner
	i.FirstWait = r.g.StartupDelay
	i.GarpInterval, i.NAInterval = r.g.GarpInterval, r.g.NAInterval
}

// impossible leaves an instance out.
func (r *reader) impossible(i *instance, theirs, why, hint string) {
	r.theirs(r.whole(i.place), theirs, statusTest)
	r.problem(i.place, config.Error, fmt.Sprintf("vrrp_instance %s: %s; it is left out", i.Name, why), hint)
	i.impossible = true
}

// reset reports that two settings of an instance do not go together.
func (r *reader) reset(i *instance, theirs, ours string) {
	r.theirs(r.whole(i.place), fmt.Sprintf("(%s) ", i.Name)+theirs, statusTest)
	r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: %s", i.Name, ours), "")
}

func (r *reader) finishVersion(i *instance) {
	switch {
	case i.IPv6 && i.Version == 2:
		i.Version = 3
		r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: IPv6 needs version 3, which is taken", i.Name), "")
	case i.IPv6:
		i.Version = 3
	case i.Version == 0:
		i.Version = r.g.VRRPVersion
	}
}

// finishPriority: without one the master is the owner of the addresses, and
// anybody else has 100.
func (r *reader) finishPriority(i *instance) {
	if i.Priority == 0 {
		i.Priority = 100
		if i.master {
			i.Priority = vrrp.PriorityOwner
			r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s has state MASTER and no priority, which makes it the owner of the addresses, with priority 255", i.Name), "write priority 150")
		}
	}
	if i.Priority == vrrp.PriorityOwner && i.stated && !i.master {
		r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: with priority 255 it is MASTER at once, whatever state says", i.Name), "")
	}
}

func (r *reader) finishInterval(i *instance) {
	d := i.interval
	if d == 0 {
		d = time.Second
	}
	most, unit := vrrp.MaxIntervalV2, time.Second
	if i.Version == 3 {
		most, unit = vrrp.MaxIntervalV3, 10*time.Millisecond
	}
	i.Interval = min(max((d+unit/2)/unit*unit, unit), most)
	if i.Interval == d {
		return
	}
	seconds := d.Seconds()
	theirs := fmt.Sprintf("VRRPv%d advertisement interval %fs must be an integer. rounding", i.Version, seconds)
	switch {
	case d > most:
		theirs = fmt.Sprintf("VRRPv%d advertisement interval %.2fs is out of range. Must be less than %.2fs. Setting to %.2fs", i.Version, seconds, (most + unit).Seconds(), most.Seconds())
	case i.Version == 3:
		theirs = fmt.Sprintf("VRRPv3 advertisement interval %fs must be in units of 10ms - rounding", seconds)
	}
	r.reset(i, theirs, fmt.Sprintf("advert_int %v: version %d has whole steps of %v up to %v; %v is used", d, i.Version, unit, most, i.Interval))
}

func (r *reader) finishPassword(i *instance) {
	switch {
	case i.authType == "":
	case i.Version == 3:
		r.reset(i, "VRRP version 3 does not support authentication. Ignoring.", "version 3 has no authentication; there is none")
	case i.authPass == "":
		r.reset(i, "Authentication specified but no password given. Ignoring", "auth_type without auth_pass; there is no authentication")
	case i.authType == "AH":
		i.impossible = true
		r.problem(i.authAt, config.Error, fmt.Sprintf("auth_type AH is not supported; vrrp_instance %s is left out, as it would not understand the others", i.Name), "write auth_type PASS on all routers: RFC 3768 has removed AH")
		if i.master && i.Priority != vrrp.PriorityOwner {
			r.theirs(r.whole(i.place), fmt.Sprintf("(%s) Initial state master is incompatible with AH authentication - clearing", i.Name), statusTest)
		}
	default:
		i.Password = i.authPass
	}
}

func (r *reader) finishPreemption(i *instance) {
	if i.NoPreempt && i.Priority == vrrp.PriorityOwner {
		i.NoPreempt = false
		r.reset(i, "nopreempt is incompatible with priority 255. resetting nopreempt", "nopreempt does not go with priority 255; it preempts")
	}
	if i.NoPreempt && i.master {
		i.NoPreempt = false
		r.reset(i, "Warning - nopreempt will not work with initial state MASTER - clearing", "nopreempt does not go with state MASTER; it preempts")
	}
	if i.PreemptDelay > 0 && i.master {
		i.PreemptDelay = 0
		r.reset(i, "Warning - preempt delay will not work with initial state MASTER - clearing", "preempt_delay does not go with state MASTER; there is none")
	}
	if i.PreemptDelay > 0 && i.NoPreempt {
		i.PreemptDelay = 0
		r.reset(i, "preempt_delay is incompatible with nopreempt mode - resetting", "preempt_delay does not go with nopreempt; there is none")
	}
	if i.DownAdverts == 0 {
		i.DownAdverts = r.g.DownAdverts
	}
	i.SkipAddrCheck = i.skip || r.g.SkipAddrCheck
	i.CheckPeers = i.CheckPeers || r.g.CheckUnicastSource && len(i.Peers) > 0
	i.LowerPrioNoAdvert, i.HigherPrioSendAdvert = r.g.LowerPrioNoAdvert, r.g.HigherPrioAdvert
	if i.lowerNo != nil {
		i.LowerPrioNoAdvert = *i.lowerNo
	}
	if i.higherDo != nil {
		i.HigherPrioSendAdvert = *i.higherDo
	}
}

func (r *reader) finishAnnouncements(i *instance) {
	g, d := i.garp, r.g.Garp
	count := func(own *int, other int) {
		if *own < 0 {
			*own = other
		}
	}
	span := func(own *time.Duration, other time.Duration) {
		if *own < 0 {
			*own = other
		}
	}
	// What an instance says of a new master holds for adverts of lower priority too.
	if r.lowerRepeat == nil && g.Repeat >= 0 {
		d.LowerRepeat = g.Repeat
	}
	if r.lowerDelay == nil && g.Delay >= 0 {
		d.LowerDelay = g.Delay
	}
	count(&g.Repeat, d.Repeat)
	count(&g.RefreshRepeat, d.RefreshRepeat)
	count(&g.LowerRepeat, d.LowerRepeat)
	span(&g.Delay, d.Delay)
	span(&g.Refresh, d.Refresh)
	span(&g.LowerDelay, d.LowerDelay)
	i.Garp = g
}

// maxIPv6 is how many IPv6 addresses an advert of 1500 bytes has room for.
const maxIPv6 = 89

func (r *reader) finishAddresses(i *instance) {
	r.dropTwins(i)
	most := vrrp.MaxAddrs
	if i.IPv6 {
		most = maxIPv6
	}
	if n := len(i.Addresses); n > most {
		r.reset(i, fmt.Sprintf("Number of VIPs (%d) exceeds maximum/space available in packet (max %d addresses) - excess moved to eVIPs", n, most),
			fmt.Sprintf("it has %d virtual addresses and an advert has room for %d; the rest is held without being in the adverts", n, most))
		for k := most; k < n; k++ {
			i.Addresses[k].Excluded = true
		}
	}
	for _, a := range i.Addresses {
		if !a.Excluded {
			i.Addrs = append(i.Addrs, a.Prefix.Addr())
		}
	}
	i.Addresses = append(i.Addresses, i.excluded...)
	if i.IPv6 && len(i.Peers) == 0 && len(i.Addrs) > 0 && !i.Addrs[0].IsLinkLocalUnicast() {
		r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: the first IPv6 address should be a link-local one (RFC 5798 section 5.2.9)", i.Name), "")
	}
	for _, a := range i.Addresses {
		if dev := cmp.Or(a.Link, i.Link); a.Label != "" && a.Label != dev && !strings.HasPrefix(a.Label, dev+":") {
			r.problem(place{a.Source.File, a.Source.Line}, config.Warning, fmt.Sprintf("label %s does not begin with %s:, so ifconfig does not show the address", a.Label, dev), "write label "+dev+":1")
		}
	}
	r.mixedScopes(i)
	if len(i.Addrs) == 0 {
		r.noAddress(i)
	}
}

// mixedScopes finds addresses that the kernel refuses: of one subnet on one
// interface all must have the same scope, or it says EINVAL.
func (r *reader) mixedScopes(i *instance) {
	type subnet struct {
		p    netip.Prefix
		link string
	}
	first := map[subnet]config.Address{}
	for _, a := range i.Addresses {
		k := subnet{a.Prefix.Masked(), cmp.Or(a.Link, i.Link)}
		was, known := first[k]
		if !known {
			first[k] = a
			continue
		}
		if was.Scope != a.Scope {
			r.problem(place{a.Source.File, a.Source.Line}, config.Warning, fmt.Sprintf("%v has another scope than %v, of the same subnet: the kernel refuses it", a.Prefix, was.Prefix), "give both the same scope")
		}
	}
}

// noAddress: an advert without addresses is possible in version 2, and pointless.
func (r *reader) noAddress(i *instance) {
	theirs := "at least one is sensible"
	if i.Version == 3 {
		theirs = "at least one is required"
	}
	r.impossible(i, fmt.Sprintf("(%s) No VIP specified; %s", i.Name, theirs), "it has no virtual address", "write virtual_ipaddress { ADDRESS }")
}

// dropTwins removes addresses that are there twice.
func (r *reader) dropTwins(i *instance) {
	type id struct {
		a    netip.Prefix
		link string
	}
	seen := map[id]bool{}
	twin := func(a config.Address) bool {
		k := id{a.Prefix, cmp.Or(a.Link, i.Link)}
		if !seen[k] {
			seen[k] = true
			return false
		}
		r.problem(place{a.Source.File, a.Source.Line}, config.Warning, fmt.Sprintf("%v is there already", a.Prefix), "remove one")
		return true
	}
	i.Addresses = slices.DeleteFunc(i.Addresses, twin)
	i.excluded = slices.DeleteFunc(i.excluded, twin)
}

// finishReach looks at how adverts go out.
func (r *reader) finishReach(i *instance) {
	if i.Link == "" && !i.Source.IsValid() {
		r.impossible(i, fmt.Sprintf("(%s) Unknown interface!", i.Name), "it has no interface", "write interface NAME")
	} else if i.Link == "" && len(i.Peers) == 0 {
		r.impossible(i, fmt.Sprintf("(%s) Unknown interface!", i.Name), "it has no interface, and without peers its adverts are multicast", "write interface NAME")
	}
	if i.unicast && len(i.Peers) == 0 {
		r.reset(i, "A unicast keyword has been specified without any unicast peers. Defaulting to multicast. This usage is deprecated - please update your configuration.",
			"there is a word about unicast and no unicast_peer; it uses multicast")
	}
	if i.PeerTTL != 0 && len(i.Peers) == 0 {
		i.PeerTTL = 0
		r.theirs(i.place, fmt.Sprintf("(%s): Cannot use unicast_ttl without unicast peers - resetting", i.Name), statusTest)
		r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: unicast_ttl without unicast_peer does nothing", i.Name), "")
	}
	if i.Source.IsValid() && slices.Contains(i.Peers, i.Source) {
		r.problem(i.place, config.Error, fmt.Sprintf("vrrp_instance %s: its own address %v is among its peers; it is left out of them", i.Name, i.Source), "remove it from unicast_peer of this host")
		i.Peers = slices.DeleteFunc(i.Peers, func(a netip.Addr) bool { return a == i.Source })
	}
	if i.OldPeerSum && (len(i.Peers) == 0 || i.Version == 2 || i.IPv6) {
		i.OldPeerSum = false
		r.problem(i.place, config.Warning, fmt.Sprintf("vrrp_instance %s: old_unicast_checksum does nothing but for version 3 with unicast_peer and IPv4", i.Name), "")
	}
	if !i.Group.IsValid() {
		i.Group = r.g.Group4
		if i.IPv6 {
			i.Group = r.g.Group6
		}
	} else if len(i.Peers) > 0 {
		r.reset(i, "multicast destination specified with unicast - ignoring", "mcast_dst_ip does nothing with unicast_peer")
	}
	if len(i.Peers) > 0 {
		i.Group = netip.Addr{}
	}
}

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
			r.theirs(r.whole(g.place), fmt.Sprintf("Sync group %s has only 1 virtual router(s) - this probably isn't what you want", g.Name), statusTest)
			r.problem(g.place, config.Warning, fmt.Sprintf("vrrp_sync_group %s has one member only", g.Name), "a group is of two at least")
		}
		for _, t := range g.tracked {
			if out, ok := r.trackedOf(t, g.Name, !g.weighted); ok {
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
			r.problem(t.place, config.Warning, fmt.Sprintf("track_interface %s: in a sync group weights do not count", t.link), "write sync_group_tracking_weight into the group")
			out.Weight = 0
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

// finishTracking: the instance's own interface is always tracked.
func (r *reader) finishTracking(i *instance) {
	i.UntrackedLink = i.untracked
	if i.Link != "" && !i.untracked && !slices.ContainsFunc(i.tracked, func(t tracked) bool { return t.link == i.Link }) {
		i.Track = append(i.Track, vrrp.Tracked{Name: config.TrackLink(i.Link)})
	}
	unweighted := i.group != nil && !i.group.weighted
	for _, t := range i.tracked {
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

// finishTwins finds instances that are the same virtual router.
func (r *reader) finishTwins() {
	type router struct {
		link  string
		vrid  uint8
		v6    bool
		group netip.Addr
	}
	seen := map[router]*instance{}
	for _, i := range r.instances {
		if i.impossible || len(i.Peers) > 0 {
			continue
		}
		k := router{i.Link, i.VRID, i.IPv6, i.Group}
		if was := seen[k]; was != nil {
			family := 4
			if i.IPv6 {
				family = 6
			}
			r.impossible(i, fmt.Sprintf("%s and %s both use VRID %d with IPv%d on interface %s", was.Name, i.Name, i.VRID, family, i.Link),
				fmt.Sprintf("%s, on line %d, has virtual_router_id %d on %s already", was.Name, was.line, i.VRID, i.Link), "give it another virtual_router_id")
			continue
		}
		seen[k] = i
	}
}

func (r *reader) finishUnused() {
	for _, sc := range r.scripts {
		if !sc.used && !sc.broken {
			r.problem(sc.place, config.Warning, fmt.Sprintf("vrrp_script %s is tracked by nobody; it is not run", sc.Name), "name it in track_script of an instance")
		}
	}
}

// finishSync: the daemon's number is that of its instance unless it has one.
// Without an instance the host sends and receives, as keepalived has it.
func (r *reader) finishSync() {
	d := r.sync
	if d == nil {
		return
	}
	sync := func(role lvs.Role) config.Sync {
		daemon := d.daemon
		daemon.Role = role
		return config.Sync{Daemon: daemon, Instance: d.instance, Source: d.source()}
	}
	if d.instance == "" {
		r.f.site.Sync = []config.Sync{sync(lvs.Master), sync(lvs.Backup)}
		return
	}
	at := slices.IndexFunc(r.instances, func(i *instance) bool { return i.Name == d.instance && !i.impossible })
	if at < 0 {
		// keepalived -t does not get as far as to notice.
		r.problem(d.place, config.Error, fmt.Sprintf("lvs_sync_daemon: there is no vrrp_instance %s; the daemon is not started", d.instance), "")
		return
	}
	if !d.hasID {
		d.daemon.SyncID = uint32(r.instances[at].VRID)
	}
	r.f.site.Sync = []config.Sync{sync(lvs.Backup)}
}
