package keepalived

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// instance is a vrrp_instance as it is read.
type instance struct {
	config.Instance
	place
	family   lvs.Family // 0: nothing has told yet
	master   bool       // state MASTER
	stated   bool       // a state was given
	authType string
	authPass string
	authAt   place
	interval time.Duration // 0: not given
	unicast  bool          // some word about unicast was there
	excluded []config.Address
	tracked  []tracked
	// untracked is dont_track_primary.
	untracked bool
	loose     []ldirector.Source // routes with no_track
	// Announcements that are not given are negative; the file's are put in later.
	garp              vrrp.Garp
	skip              bool // skip_check_adv_addr
	lowerNo, higherDo *bool
	group             *group
	impossible        bool
}

// tracked is a line of track_interface or track_script.
type tracked struct {
	place
	link, script string // one of them
	weight       *int   // nil: the script's
	reverse      bool
}

var unsetGarp = vrrp.Garp{Repeat: -1, Delay: -1, Refresh: -1, RefreshRepeat: -1, LowerRepeat: -1, LowerDelay: -1}

var instanceScope = sync.OnceValue(func() *scope {
	return &scope{name: "vrrp_instance", keywords: map[string]*keyword{
		"state":                      {need: 1, mean: (*reader).state},
		"interface":                  {need: 1, mean: (*reader).link},
		"virtual_router_id":          {need: 1, mean: (*reader).vrid},
		"priority":                   {need: 1, mean: (*reader).priority},
		"advert_int":                 {need: 1, mean: (*reader).advertInterval},
		"version":                    {need: 1, mean: (*reader).version},
		"native_ipv6":                {mean: (*reader).nativeIPv6},
		"authentication":             {shape: block, in: authScope(), mean: func(r *reader, s *stmt) { r.mean(s.body) }},
		"virtual_ipaddress":          {shape: list, mean: (*reader).addresses},
		"virtual_ipaddress_excluded": {shape: list, mean: (*reader).excludedAddresses},
		"virtual_routes":             {shape: list, mean: (*reader).routes},
		"virtual_rules":              ignoredList("the rules are not made; addresses and routes are"),
		"mcast_src_ip":               {need: 1, mean: (*reader).sourceAddress},
		"unicast_src_ip":             {need: 1, mean: (*reader).unicastSource},
		"unicast_peer":               {shape: list, mean: (*reader).peers},
		"unicast_ttl":                {need: 1, mean: (*reader).unicastTTL},
		"check_unicast_src":          {mean: func(r *reader, _ *stmt) { r.inst.unicast, r.inst.CheckPeers = true, true }},
		"unicast_fault_no_peer":      ignored("an instance without peers uses multicast"),
		"old_unicast_checksum":       {mean: (*reader).oldChecksum},
		"mcast_dst_ip":               {need: 1, mean: (*reader).multicast},
		"track_interface":            {shape: list, mean: (*reader).trackLinks},
		"track_script":               {shape: list, mean: (*reader).trackScripts},
		"track_file":                 ignoredList("files are not tracked"),
		"track_process":              ignoredList("processes are not tracked; a vrrp_script can do it"),
		"track_bfd":                  ignoredList("there is no BFD"),
		"track_src_ip":               ignored("the source address is not tracked"),
		"dont_track_primary":         {mean: func(r *reader, _ *stmt) { r.inst.untracked = true }},
		"nopreempt":                  {mean: func(r *reader, _ *stmt) { r.inst.NoPreempt = true }},
		"preempt":                    {mean: func(r *reader, _ *stmt) { r.inst.NoPreempt = false }},
		"preempt_delay":              {need: 1, mean: (*reader).preemptDelay},
		"promote_secondaries":        {mean: func(r *reader, _ *stmt) { r.inst.PromoteSecondaries = true }},
		"skip_check_adv_addr":        {mean: (*reader).skipAddrCheck},
		"accept":                     nothing(),
		"no_accept":                  ignored("the virtual addresses accept traffic; a director has to"),
		"strict_mode":                {mean: (*reader).strictMode},
		"down_timer_adverts":         {need: 1, mean: (*reader).downAdverts},
		"lower_prio_no_advert":       {mean: func(r *reader, s *stmt) { r.flag(s, &r.inst.lowerNo) }},
		"higher_prio_send_advert":    {mean: func(r *reader, s *stmt) { r.flag(s, &r.inst.higherDo) }},
		"garp_master_delay":          garpTime(instanceGarp, func(g *vrrp.Garp) *time.Duration { return &g.Delay }),
		"garp_master_repeat":         garpCount(instanceGarp, 1, func(g *vrrp.Garp) *int { return &g.Repeat }),
		"garp_master_refresh":        garpTime(instanceGarp, func(g *vrrp.Garp) *time.Duration { return &g.Refresh }),
		"garp_master_refresh_repeat": garpCount(instanceGarp, 1, func(g *vrrp.Garp) *int { return &g.RefreshRepeat }),
		"garp_lower_prio_delay":      garpTime(instanceGarp, func(g *vrrp.Garp) *time.Duration { return &g.LowerDelay }),
		"garp_lower_prio_repeat":     garpCount(instanceGarp, 0, func(g *vrrp.Garp) *int { return &g.LowerRepeat }),
		"garp_extra_if":              ignored("addresses are announced on their own interface only"),
		"vmac_garp_intvl":            ignored("addresses are announced on their own interface only"),

		"notify":                     notifyAny(instanceNotify),
		"notify_master":              notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.Master }),
		"notify_backup":              notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.Backup }),
		"notify_fault":               notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.Fault }),
		"notify_stop":                notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.Stop }),
		"notify_deleted":             {mean: (*reader).notifyDeleted},
		"notify_master_rx_lower_pri": notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.LowerPriority }),
		"notify_priority_changes":    ignored("notify scripts are run when the state changes"),
		"smtp_alert":                 ignored("mail is not sent"),

		"use_vmac":                  {mean: (*reader).useVMAC},
		"use_vmac_addr":             ignored("addresses on other interfaces keep these"),
		"vmac_xmit_base":            ignored("adverts leave where the addresses are"),
		"use_ipvlan":                {mean: (*reader).useIPVLAN},
		"vrf":                       ignored("adverts leave by the main routing table"),
		"lvs_sync_daemon_interface": {need: 1, mean: (*reader).instanceSync},
		"linkbeat_use_polling":      ignored("the kernel tells of its links"),
		"debug":                     ignored("run with --log-detail"),

		// Our own.
		"on_vip_removed":     own((*reader).onRemoved),
		"on_duplicate":       own((*reader).onDuplicate),
		"localnode":          own(func(r *reader, _ *stmt) { r.inst.LocalNode = true }),
		"kernel_rx_buf_size": ignored("buffers are sized by themselves"),
	}}
})

var authScope = sync.OnceValue(func() *scope {
	return &scope{name: "authentication", keywords: map[string]*keyword{
		"auth_type": {need: 1, mean: (*reader).authType},
		"auth_pass": {need: 1, mean: (*reader).authPass},
	}}
})

func instanceGarp(r *reader) *vrrp.Garp       { return &r.inst.garp }
func instanceNotify(r *reader) *config.Notify { return &r.inst.Notify }

func (r *reader) vrrpInstance(s *stmt) {
	if len(s.words) != 2 {
		r.wrong(s.place, "vrrp_instance must have a name", "vrrp_instance needs a name, and one only; it is left out", "write vrrp_instance NAME {")
		r.passes(s)
		return
	}
	for _, i := range r.instances {
		if i.Name == s.words[1] {
			r.wrong(s.place, fmt.Sprintf("vrrp instance %s already defined", i.Name),
				fmt.Sprintf("vrrp_instance %s is there already, on line %d; this one is left out", i.Name, i.line), "give it another name")
			r.passes(s)
			return
		}
	}
	i := &instance{place: s.place, garp: unsetGarp}
	i.Name, i.Origin = s.words[1], s.source()
	r.instances = append(r.instances, i)
	r.inst = i
	r.mean(s.body)
	r.inst = nil
}

func (r *reader) state(s *stmt) {
	i := r.inst
	switch s.arg(1) {
	case "MASTER":
		i.master = true
	case "BACKUP":
		if i.master {
			r.warn(s.place, fmt.Sprintf("(%s) state previously set as MASTER - ignoring BACKUP", i.Name), "state BACKUP after state MASTER: the first counts", "remove one")
		}
	default:
		hint := config.DidYouMean(s.arg(1), []string{"MASTER", "BACKUP"})
		r.warn(s.place, fmt.Sprintf("(%s) unknown state '%s', defaulting to BACKUP", i.Name, s.arg(1)),
			fmt.Sprintf("state %s: it is MASTER or BACKUP; BACKUP is taken", config.Quote(s.arg(1))), hint)
		i.master = false
	}
	i.stated = true
}

func (r *reader) link(s *stmt) {
	name := s.arg(1)
	switch {
	case len(name) > maxLinkName:
		r.warn(s.place, fmt.Sprintf("Interface name '%s' too long - ignoring", name), fmt.Sprintf("interface %q: names of interfaces have at most %d letters", name, maxLinkName), "")
		return
	case name == "lo":
		r.wrong(s.place, fmt.Sprintf("(%s) cannot use a loopback interface (lo) for vrrp - ignoring", r.inst.Name), "interface lo: nobody could hear adverts there", "name the interface of the virtual addresses' network")
		return
	}
	r.inst.Link = name
	if r.missing(name) {
		r.wrong(s.place, fmt.Sprintf("WARNING - interface %s for vrrp_instance %s doesn't exist", name, r.inst.Name),
			fmt.Sprintf("interface %s: this host has none of that name", name), "see them with: ip link")
		r.noLink = true
	}
}

// missing tells whether an interface should be there and is not.
func (r *reader) missing(name string) bool {
	return r.opt.HasLink != nil && !r.g.DynamicInterfaces && !r.opt.HasLink(name)
}

func (r *reader) vrid(s *stmt) {
	theirs := fmt.Sprintf("(%s): VRID '%s' not valid - must be between 1 & 255", r.inst.Name, s.arg(1))
	if n, ok := r.number(s, s.arg(1), 1, 255, theirs, "without it the instance cannot be"); ok {
		r.inst.VRID = uint8(n)
	}
}

func (r *reader) priority(s *stmt) {
	theirs := fmt.Sprintf("(%s) Priority not valid! must be between 1 & 255. Using default 100", r.inst.Name)
	n, ok := r.number(s, s.arg(1), 1, 255, theirs, "100 is used")
	if !ok {
		n = 100
	}
	r.inst.Priority = uint8(n)
}

func (r *reader) advertInterval(s *stmt) {
	theirs := fmt.Sprintf("(%s) Advert interval (%s) not valid! Must be > 0 - ignoring", r.inst.Name, s.arg(1))
	if d, ok := r.seconds(s, s.arg(1), 10*time.Millisecond, 255*time.Second, theirs, "1 is used"); ok {
		r.inst.interval = d
	}
}

func (r *reader) version(s *stmt) {
	i := r.inst
	n, ok := r.number(s, s.arg(1), 2, 3, fmt.Sprintf("(%s): Version must be either 2 or 3", i.Name), "the default is used")
	if !ok {
		return
	}
	if i.Version != 0 && i.Version != uint8(n) || n == 2 && i.family == lvs.IPv6 {
		r.warn(s.place, fmt.Sprintf("(%s) vrrp_version %d conflicts with configured or deduced version %d; ignoring.", i.Name, n, i.Version),
			fmt.Sprintf("version %d: the instance has another already, or is IPv6, which needs 3; the line is passed over", n), "")
		return
	}
	i.Version = uint8(n)
}

func (r *reader) nativeIPv6(s *stmt) {
	if r.inst.family == lvs.IPv4 {
		r.warn(s.place, fmt.Sprintf("(%s) Cannot specify native_ipv6 with IPv4 addresses", r.inst.Name), "native_ipv6: the instance has IPv4 addresses; the line is passed over", "")
		return
	}
	r.inst.family, r.inst.Version = lvs.IPv6, 3
}

func (r *reader) authType(s *stmt) {
	switch s.arg(1) {
	case "PASS", "AH":
		r.inst.authType, r.inst.authAt = s.arg(1), s.place
	default:
		r.warn(s.place, fmt.Sprintf("(%s) unknown authentication type '%s'", r.inst.Name, s.arg(1)),
			fmt.Sprintf("auth_type %s: it is PASS; the line is passed over", config.Quote(s.arg(1))), "")
	}
}

// passLength is the room for a password in an advert.
const passLength = 8

func (r *reader) authPass(s *stmt) {
	pass := s.arg(1)
	if len(pass) > passLength {
		r.warn(s.place, "Truncating auth_pass to 8 characters", fmt.Sprintf("auth_pass is longer than %d bytes; the first %d count", passLength, passLength), "")
		pass = pass[:passLength]
	}
	r.inst.authPass = pass
}

// sameFamily tells whether an address fits the instance; the first decides.
func (i *instance) sameFamily(f lvs.Family) bool {
	if i.family == 0 {
		i.family = f
	}
	return i.family == f
}

func (r *reader) sourceAddress(s *stmt) {
	i := r.inst
	a, ok := literal(s.arg(1))
	switch {
	case !ok:
		r.warn(s.place, fmt.Sprintf("Configuration error: VRRP instance[%s] malformed src address[%s]. Skipping...", i.Name, s.arg(1)),
			fmt.Sprintf("%s %s: that is no address; the interface's is used", s.words[0], config.Quote(s.arg(1))), "")
	case !i.sameFamily(lvs.FamilyOf(a)):
		r.warn(s.place, fmt.Sprintf("Configuration error: VRRP instance[%s] and src address[%s] MUST be of the same family !!! Skipping...", i.Name, s.arg(1)),
			fmt.Sprintf("%s %v: the instance is %v; the interface's address is used", s.words[0], a, i.family), "")
	default:
		i.Source = a
	}
}

func (r *reader) unicastSource(s *stmt) {
	r.inst.unicast = true
	r.sourceAddress(s)
}

func (r *reader) multicast(s *stmt) {
	i := r.inst
	a, ok := literal(s.arg(1))
	if !ok || !a.IsMulticast() || !i.sameFamily(lvs.FamilyOf(a)) {
		r.warn(s.place, fmt.Sprintf("(%s) mcast_dst_ip %s not multicast. Skipping...", i.Name, s.arg(1)),
			fmt.Sprintf("mcast_dst_ip %s: that is no multicast address of the instance's family; the usual one is used", config.Quote(s.arg(1))), "")
		return
	}
	i.Group = a
}

func (r *reader) peers(s *stmt) {
	i := r.inst
	i.unicast = true
	for _, l := range s.body {
		a, ok := literal(l.words[0])
		switch {
		case !ok:
			r.warn(l.place, fmt.Sprintf("Configuration error: VRRP instance[%s] malformed unicast peer address[%s]. Skipping...", i.Name, l.words[0]),
				fmt.Sprintf("unicast_peer %s: that is no address; it is left out", config.Quote(l.words[0])), "")
		case !i.sameFamily(lvs.FamilyOf(a)):
			r.warn(l.place, fmt.Sprintf("Configuration error: VRRP instance[%s] and unicast peer address[%s] MUST be of the same family !!! Skipping...", i.Name, l.words[0]),
				fmt.Sprintf("unicast_peer %v: the instance is %v; it is left out", a, i.family), "")
		default:
			i.Peers = append(i.Peers, a)
			r.peerOptions(l)
		}
	}
}

// peerOptions reads min_ttl and max_ttl, of which only follows that others than
// the peers are not heard.
func (r *reader) peerOptions(l *stmt) {
	for n := 1; n+1 < len(l.words); n += 2 {
		if l.words[n] != "min_ttl" && l.words[n] != "max_ttl" {
			break
		}
		r.inst.CheckPeers = true
		r.warn(l.place, "", fmt.Sprintf("unicast_peer: %s is not supported: any TTL is good, of peers only", l.words[n]), "")
	}
	if len(l.words) > 1 && l.words[1] != "min_ttl" && l.words[1] != "max_ttl" {
		r.warn(l.place, fmt.Sprintf("(%s) unknown unicast_peer option %s", r.inst.Name, l.words[1]), fmt.Sprintf("unicast_peer %s: %s is passed over", l.words[0], config.Quote(l.words[1])), "")
	}
}

func (r *reader) unicastTTL(s *stmt) {
	n, ok := r.number(s, s.arg(1), 0, 255, fmt.Sprintf("(%s): TTL '%s' not valid - must be between 0 & 255", r.inst.Name, s.arg(1)), "255 is used")
	if ok && n == 0 {
		r.warn(s.place, "", "unicast_ttl 0: no advert would leave this host; 255 is used", "")
	}
	if ok {
		r.inst.PeerTTL = uint8(n)
	}
}

// oldChecksum asks for the checksum of keepalived before 2.0; "never" forbids to
// change over to it when a peer is heard that uses it, which we never do.
func (r *reader) oldChecksum(s *stmt) {
	r.inst.unicast = true
	switch s.arg(1) {
	case "":
		r.inst.OldPeerSum = true
	case "never":
	default:
		r.warn(s.place, fmt.Sprintf("(%s) Unknown old_unicast_chksum mode %s - ignoring", r.inst.Name, s.arg(1)), fmt.Sprintf("old_unicast_checksum %s: it stands alone, or with never; the line is passed over", config.Quote(s.arg(1))), "")
	}
}

func (r *reader) preemptDelay(s *stmt) {
	if d, ok := r.seconds(s, s.arg(1), 0, 1000*time.Second, fmt.Sprintf("(%s) Preempt_delay not valid! must be between 0-1000", r.inst.Name), "there is none"); ok {
		r.inst.PreemptDelay = d
	}
}

func (r *reader) skipAddrCheck(s *stmt) {
	// keepalived checks the word and then takes it as on in any case.
	if _, ok := r.boolean(s, 1, fmt.Sprintf("(%s) invalid skip_check_adv_addr %s specified", r.inst.Name, s.arg(1))); ok {
		r.inst.skip = true
	}
}

func (r *reader) strictMode(s *stmt) {
	if on, ok := r.boolean(s, 1, fmt.Sprintf("(%s) invalid strict_mode %s specified", r.inst.Name, s.arg(1))); ok && on {
		r.strict(s)
	}
}

func (r *reader) downAdverts(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 1, 100, fmt.Sprintf("(%s): Invalid down_timer_adverts [1:100] '%s'", r.inst.Name, s.arg(1)), "the default is used"); ok {
		r.inst.DownAdverts = int(n)
	}
}

func (r *reader) flag(s *stmt, to **bool) {
	if v, ok := r.boolean(s, 1, fmt.Sprintf("(%s) invalid %s %s specified", r.inst.Name, s.words[0], s.arg(1))); ok {
		*to = &v
	}
}

func (r *reader) useVMAC(s *stmt) {
	i := r.inst
	i.VMAC = "vrrp.0" // named below, when the VRID is known
	for _, w := range s.words[1:] {
		switch {
		case strings.Contains(w, ":"):
			r.wrong(s.place, "", fmt.Sprintf("use_vmac %s: only the virtual router's own MAC address can be used", w), "remove the address")
		case len(w) > maxLinkName || strings.Contains(w, "/") || w == "." || w == "..":
			r.warn(s.place, fmt.Sprintf("VMAC interface name '%s' too long or invalid characters - ignoring", w), fmt.Sprintf("use_vmac %s: that cannot be the name of an interface; vrrp.VRID is used", config.Quote(w)), "")
		default:
			i.VMAC = w
		}
	}
}

func (r *reader) useIPVLAN(s *stmt) {
	r.wrong(s.place, "", "use_ipvlan is not supported: the instance would be seen with the wrong MAC address, so it is left out", "remove it, or use use_vmac")
	r.inst.impossible = true
}

// instanceSync is the old way to write lvs_sync_daemon.
func (r *reader) instanceSync(s *stmt) {
	i := r.inst
	r.theirs(s.place, fmt.Sprintf("(%s) Specifying lvs_sync_daemon_interface against a vrrp is deprecated.", i.Name), statusTest)
	r.warn(s.place, fmt.Sprintf("      %*sPlease use global lvs_sync_daemon", max(len(i.Name)-2, 0), ""),
		"lvs_sync_daemon_interface is an old word", fmt.Sprintf("write lvs_sync_daemon %s inst %s into global_defs", s.arg(1), i.Name))
	if r.sync != nil {
		r.warn(s.place, fmt.Sprintf("(%s) lvs_sync_daemon_interface has already been specified as %s - ignoring", i.Name, r.sync.daemon.Interface),
			fmt.Sprintf("the sync daemon is there already, by line %d; this line is passed over", r.sync.line), "")
		return
	}
	r.sync = &syncDaemon{place: s.place, daemon: lvs.Daemon{Interface: s.arg(1)}, instance: i.Name}
}

// trackOwner names who tracks, and is where it is kept.
func (r *reader) trackOwner() (name string, list *[]tracked) {
	if r.grp != nil {
		return r.grp.Name, &r.grp.tracked
	}
	return r.inst.Name, &r.inst.tracked
}

func (r *reader) trackLinks(s *stmt) {
	owner, list := r.trackOwner()
	for _, l := range s.body {
		name := l.words[0]
		if r.missing(name) {
			r.wrong(l.place, fmt.Sprintf("(%s) tracked interface %s doesn't exist", owner, name), fmt.Sprintf("track_interface %s: this host has none of that name", name), "see them with: ip link")
			r.noLink = true
		}
		t := tracked{place: l.place, link: name}
		if slices.ContainsFunc(*list, func(o tracked) bool { return o.link == name }) {
			r.warn(l.place, fmt.Sprintf("(%s) duplicate track_interface %s - ignoring", owner, name), fmt.Sprintf("track_interface %s is there already; the first counts", name), "")
			continue
		}
		if r.trackWeight(l, owner, "track_interface", &t) {
			*list = append(*list, t)
		}
	}
}

func (r *reader) trackScripts(s *stmt) {
	owner, list := r.trackOwner()
	for _, l := range s.body {
		name := l.words[0]
		t := tracked{place: l.place, script: name}
		if r.script(name) == nil {
			// Whether it comes later is known later.
			t.line = -t.line
		}
		if slices.ContainsFunc(*list, func(o tracked) bool { return o.script == name }) {
			r.warn(l.place, fmt.Sprintf("(%s) duplicate track_script %s - ignoring", owner, name), fmt.Sprintf("track_script %s is there already; the first counts", name), "")
			continue
		}
		if r.trackWeight(l, owner, "track script", &t) {
			*list = append(*list, t)
		}
	}
}

// trackWeight reads "weight N [reverse]". It is false for a line that keepalived
// passes over.
func (r *reader) trackWeight(l *stmt, owner, what string, t *tracked) bool {
	if len(l.words) < 2 {
		return true
	}
	name := l.words[0]
	switch {
	case l.words[1] != "weight":
		r.warn(l.place, fmt.Sprintf("(%s) unknown %s %s option %s - ignoring", owner, what, name, l.words[1]),
			fmt.Sprintf("%s: %s is no option of what is tracked; the line does not count", name, config.Quote(l.words[1])), "write NAME, or NAME weight N reverse")
		return false
	case len(l.words) == 2:
		r.warn(l.place, fmt.Sprintf("(%s) weight without value specified for %s %s - ignoring", owner, what, name), fmt.Sprintf("%s: weight has no value; it is not tracked", name), "write weight N")
		return false
	}
	n, ok := r.lenient(l, l.words[2], -254, 254, fmt.Sprintf("(%s) weight %s for %s must be between [-253..253] inclusive. Ignoring...", owner, l.words[2], name), "no weight is taken")
	if ok {
		w := int(max(min(n, 253), -253))
		if w != int(n) {
			r.warn(l.place, fmt.Sprintf("(%s) weight for %s cannot be +/-254. Setting to +/-253", owner, name), fmt.Sprintf("%s: weight %d is taken as %d", name, n, w), "")
		}
		t.weight = &w
	} else if t.link != "" {
		t.weight = new(int)
	}
	switch l.arg(3) {
	case "":
	case "reverse":
		t.reverse = true
	case "noreverse":
	default:
		r.warn(l.place, fmt.Sprintf("(%s) unknown %s %s weight option %s - ignoring", owner, what, name, l.arg(3)), fmt.Sprintf("%s: %s is passed over", name, config.Quote(l.arg(3))), "")
	}
	return true
}

// group is a vrrp_sync_group as it is read.
type group struct {
	config.Group
	place
	listed   bool
	weighted bool // sync_group_tracking_weight
	members  []*instance
	tracked  []tracked
}

var groupScope = sync.OnceValue(func() *scope {
	return &scope{name: "vrrp_sync_group", keywords: map[string]*keyword{
		"group":                      {shape: list, mean: (*reader).groupMembers},
		"track_interface":            {shape: list, mean: (*reader).trackLinks},
		"track_script":               {shape: list, mean: (*reader).trackScripts},
		"track_file":                 ignoredList("files are not tracked"),
		"track_process":              ignoredList("processes are not tracked; a vrrp_script can do it"),
		"track_bfd":                  ignoredList("there is no BFD"),
		"notify":                     notifyAny(groupNotify),
		"notify_master":              notify(groupNotify, func(n *config.Notify) **config.Command { return &n.Master }),
		"notify_backup":              notify(groupNotify, func(n *config.Notify) **config.Command { return &n.Backup }),
		"notify_fault":               notify(groupNotify, func(n *config.Notify) **config.Command { return &n.Fault }),
		"notify_stop":                notify(groupNotify, func(n *config.Notify) **config.Command { return &n.Stop }),
		"notify_priority_changes":    ignored("notify scripts are run when the state changes"),
		"smtp_alert":                 ignored("mail is not sent"),
		"sync_group_tracking_weight": {mean: func(r *reader, _ *stmt) { r.grp.weighted = true }},
		"global_tracking":            {mean: (*reader).globalTracking},
	}}
})

func groupNotify(r *reader) *config.Notify { return &r.grp.Notify }

func (r *reader) syncGroup(s *stmt) {
	if len(s.words) != 2 {
		r.wrong(s.place, "vrrp_sync_group must have a name - skipping", "vrrp_sync_group needs a name, and one only; it is left out", "write vrrp_sync_group NAME {")
		r.passes(s)
		return
	}
	for _, g := range r.groups {
		if g.Name == s.words[1] {
			r.wrong(s.place, fmt.Sprintf("vrrp sync group %s already defined", g.Name), fmt.Sprintf("vrrp_sync_group %s is there already, on line %d; this one is left out", g.Name, g.line), "")
			r.passes(s)
			return
		}
	}
	g := &group{place: s.place}
	g.Name, g.Source = s.words[1], s.source()
	r.groups = append(r.groups, g)
	r.grp = g
	r.mean(s.body)
	r.grp = nil
}

func (r *reader) groupMembers(s *stmt) {
	g := r.grp
	if g.listed {
		r.warn(s.place, fmt.Sprintf("Group list already specified for sync group %s", g.Name), "the group's members are listed already; this list is passed over", "")
		return
	}
	for _, l := range s.body {
		g.Members = append(g.Members, l.words...)
	}
	if g.listed = len(g.Members) > 0; !g.listed {
		r.warn(s.place, fmt.Sprintf("Warning - sync group %s has empty group block", g.Name), "the group has no members", "")
	}
}

func (r *reader) globalTracking(s *stmt) {
	r.grp.weighted = true
	r.warn(s.place, fmt.Sprintf("(%s) global_tracking is deprecated. Use track_interface/script/file on the sync group", r.grp.Name), "global_tracking is an old word", "write sync_group_tracking_weight")
}

// script is a vrrp_script as it is read.
type script struct {
	config.Script
	place
	reverse bool
	used    bool
	broken  bool
}

var scriptScope = sync.OnceValue(func() *scope {
	return &scope{name: "vrrp_script", keywords: map[string]*keyword{
		"script":    {need: 1, mean: (*reader).scriptCommand},
		"interval":  {need: 1, mean: scriptTime("interval", func(s *script) *time.Duration { return &s.Interval })},
		"timeout":   {need: 1, mean: scriptTime("timeout", func(s *script) *time.Duration { return &s.Timeout })},
		"weight":    {need: 1, mean: (*reader).scriptWeight},
		"rise":      {need: 1, mean: scriptCount("rise", func(s *script) *int { return &s.Rise })},
		"fall":      {need: 1, mean: scriptCount("fall", func(s *script) *int { return &s.Fall })},
		"user":      {need: 1, mean: (*reader).scriptRunAs},
		"init_fail": {mean: func(r *reader, _ *stmt) { r.scr.InitFail = true }},
	}}
})

func (r *reader) vrrpScript(s *stmt) {
	sc := &script{place: s.place}
	sc.Name, sc.Source = s.words[1], s.source()
	sc.Interval, sc.Rise, sc.Fall = time.Second, 1, 1
	twin := r.script(sc.Name)
	r.scr = sc
	r.mean(s.body)
	r.scr = nil
	switch {
	case len(sc.Command.Words) == 0:
		r.wrong(s.place, fmt.Sprintf("No script set for vrrp_script %s - removing", sc.Name), fmt.Sprintf("vrrp_script %s has no script; it is left out", sc.Name), `write script "COMMAND"`)
		return
	case twin != nil:
		r.warn(s.place, "", fmt.Sprintf("vrrp_script %s is there already, on line %d; the first counts", sc.Name, twin.line), "give it another name")
		return
	}
	if sc.Timeout == 0 {
		sc.Timeout = sc.Interval
	}
	r.scripts = append(r.scripts, sc)
}

// script finds a vrrp_script by its name.
func (r *reader) script(name string) *script {
	for _, sc := range r.scripts {
		if sc.Name == name {
			return sc
		}
	}
	return nil
}

func (r *reader) scriptCommand(s *stmt) {
	if c := r.command(s, false); c != nil {
		c.User, c.Group = r.scr.Command.User, r.scr.Command.Group
		r.scr.Command = *c
	}
}

func scriptTime(what string, field func(*script) *time.Duration) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		sc := r.scr
		n, ok := r.lenient(s, s.arg(1), 0, maxSeconds, fmt.Sprintf("(%s): vrrp script %s '%s' invalid - ignoring", sc.Name, what, s.arg(1)), "the default is used")
		if ok && n == 0 {
			r.warn(s.place, fmt.Sprintf("(%s): vrrp script %s must be greater than 0, setting to 1", sc.Name, what), fmt.Sprintf("%s 0: it is taken as 1", what), "")
			n = 1
		}
		if ok {
			*field(sc) = time.Duration(n) * time.Second
		}
	}
}

func scriptCount(what string, field func(*script) *int) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		n, ok := r.lenient(s, s.arg(1), 1, math.MaxInt32, fmt.Sprintf("(%s): vrrp script %s value '%s' invalid, defaulting to 1", r.scr.Name, what, s.arg(1)), "1 is used")
		if ok {
			*field(r.scr) = int(n)
		}
	}
}

func (r *reader) scriptWeight(s *stmt) {
	sc := r.scr
	n, ok := r.lenient(s, s.arg(1), -253, 253, fmt.Sprintf("vrrp_script %s weight %s must be in [-253, 253]", sc.Name, s.arg(1)), "the nearest is taken")
	if !ok {
		// keepalived takes the impossible number, whose effect is that of the largest.
		if d, whole, is := decimal(strings.TrimLeft(s.arg(1), "-+")); is && whole && d > 0 {
			n = 253
			if strings.HasPrefix(s.arg(1), "-") {
				n = -253
			}
		}
	}
	sc.Weight = int(n)
	switch s.arg(2) {
	case "":
	case "reverse":
		sc.reverse = true
	default:
		r.warn(s.place, fmt.Sprintf("vrrp_script %s unknown weight option %s", sc.Name, s.arg(2)), fmt.Sprintf("weight: %s is passed over", config.Quote(s.arg(2))), "")
	}
}

func (r *reader) scriptRunAs(s *stmt) {
	r.scr.Command.User, r.scr.Command.Group = s.arg(1), s.arg(2)
}

// command reads a command line: the keyword, the command as one word, and with
// runAs the user and group to run it as.
func (r *reader) command(s *stmt, runAs bool) *config.Command {
	ws, err := commandWords(s.text)
	if err != nil {
		return r.noCommand(s, s.text, err)
	}
	if len(ws) < 2 {
		return r.noCommand(s, s.text, errors.New("no command follows"))
	}
	argv, err := commandWords(ws[1])
	if err == nil && len(argv) == 0 {
		err = errors.New("the command is empty")
	}
	if err != nil {
		return r.noCommand(s, ws[1], err)
	}
	c := &config.Command{Words: argv, Source: s.source()}
	if opensFile(ws[1]) {
		c.Words = []string{"/bin/sh", "-c", ws[1]}
		return c
	}
	switch {
	case runAs && len(ws) > 2:
		c.User = ws[2]
		if len(ws) > 3 {
			c.Group = ws[3]
		}
		if strings.ContainsAny(c.User, "/-.") {
			r.warn(s.place, "", fmt.Sprintf("%s: %s is taken for the user to run as, not for an argument", s.words[0], config.Quote(c.User)), "write the command with its arguments in double quotes")
		}
	case len(ws) > 2:
		r.warn(s.place, "", fmt.Sprintf("%s: what follows %s is passed over", s.words[0], config.Quote(ws[1])), "write the command with its arguments in double quotes")
	}
	r.hasScripts(s, c)
	return c
}

// noCommand reports a command that cannot be taken apart.
func (r *reader) noCommand(s *stmt, text string, err error) *config.Command {
	if q := unclosed(0); errors.As(err, &q) {
		r.theirs(s.place, fmt.Sprintf("String '%s': missing terminating %c", text, byte(q)), statusTest)
	}
	r.wrong(s.place, "", fmt.Sprintf("%s: %v; it is not run", s.words[0], err), "write the command in double quotes, and its arguments within")
	return nil
}

// opensFile tells keepalived's oldest kind of script: "</dev/tcp/HOST/PORT" asks
// a shell to open a file, and is well when it can.
func opensFile(command string) bool {
	rest, is := strings.CutPrefix(command, "<")
	return is && strings.HasPrefix(strings.TrimLeft(rest, blanks), "/")
}

func notify(of func(*reader) *config.Notify, field func(*config.Notify) **config.Command) *keyword {
	return &keyword{need: 1, mean: func(r *reader, s *stmt) {
		to := field(of(r))
		if *to != nil {
			r.warn(s.place, fmt.Sprintf("(%s) %s script already specified - ignoring %s", r.owner(), s.words[0], s.arg(1)),
				fmt.Sprintf("%s is there already, on line %d; this line is passed over", s.words[0], (*to).Source.Line), "")
			return
		}
		if c := r.command(s, true); c != nil {
			*to = c
		}
	}}
}

func notifyAny(of func(*reader) *config.Notify) *keyword {
	return notify(of, func(n *config.Notify) **config.Command { return &n.Any })
}

func (r *reader) owner() string {
	if r.grp != nil {
		return r.grp.Name
	}
	return r.inst.Name
}

// notifyDeleted may stand alone: then notify says DELETED of the removed instance
// all the same.
func (r *reader) notifyDeleted(s *stmt) {
	r.inst.Notify.SayDeleted = true
	if len(s.words) == 1 {
		return
	}
	notify(instanceNotify, func(n *config.Notify) **config.Command { return &n.Deleted }).mean(r, s)
}
