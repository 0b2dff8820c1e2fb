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
	i.StartDelay = r.g.StartupDelay
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
