package keepalived

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Globals are the settings that concern no single instance or service. What
// instances have that do not say otherwise has been applied to them already.
type Globals struct {
	RouterID string
	Mail     Mail
	// ScriptUser and ScriptGroup are who runs scripts that do not name somebody.
	// Empty: whoever runs us.
	ScriptUser, ScriptGroup string
	// ScriptSecurity forbids to run as root what somebody else could change.
	ScriptSecurity bool

	// Umask is that of the process and of the scripts that it runs.
	Umask uint32

	VRRPVersion        uint8 // 2 unless told otherwise
	Group4, Group6     netip.Addr
	Garp               vrrp.Garp
	GarpInterval       time.Duration // pause between two gratuitous ARP frames
	NAInterval         time.Duration // the same of neighbour advertisements
	SkipAddrCheck      bool
	CheckUnicastSource bool
	DownAdverts        int
	LowerPrioNoAdvert  bool
	HigherPrioAdvert   bool
	// StartupDelay is how long after the start of the program no instance begins.
	StartupDelay time.Duration
	// DynamicInterfaces allows interfaces that are not there yet.
	DynamicInterfaces bool
	// NotifyDeleted and InitNotifies: see notify_deleted of an instance and
	// rs_init_notifies.
	InitNotifies bool

	// FlushAtStart and FlushAtStop remove services that are not configured.
	FlushAtStart, FlushAtStop bool

	// Nice and RealTime are priorities of the process: -20..19 and 1..99; 0 is
	// what it was started with.
	VRRPNice, VRRPRealTime       int
	CheckerNice, CheckerRealTime int

	// SMTPAlert is whether mail is sent: of everything, of instances, of services.
	// An instance or service may say otherwise.
	SMTPAlert, SMTPAlertVRRP, SMTPAlertChecker bool
}

// Mail says whom to tell of transitions, and how.
type Mail struct {
	To     []string
	From   string
	Server string // HOST:PORT; empty: none
	Helo   string
	// Timeout is that of the connection.
	Timeout time.Duration
}

// DefaultUmask is keepalived's: what is written is for its owner, and no program.
const DefaultUmask = 0o177

// defaultGlobals are keepalived's.
func defaultGlobals() Globals {
	return Globals{Umask: DefaultUmask, VRRPVersion: 2, Garp: vrrp.DefaultGarp, DownAdverts: 3, Mail: Mail{Timeout: 30 * time.Second}}
}

// ignored is a keyword that is read and does nothing; what says what happens
// instead.
func ignored(what string) *keyword {
	return &keyword{mean: func(r *reader, s *stmt) {
		r.warn(s.place, "", fmt.Sprintf("%s is not supported: %s", s.words[0], what), "")
	}}
}

// ignoredList is the same for one with a block.
func ignoredList(what string) *keyword {
	k := ignored(what)
	k.shape = list
	return k
}

// nothing is a keyword that is rightly read and does nothing.
func nothing() *keyword { return &keyword{} }

const processes = "there is one process here"

var globalScope = sync.OnceValue(func() *scope {
	return &scope{name: "global_defs", keywords: map[string]*keyword{
		"router_id":               {mean: (*reader).routerID},
		"notification_email":      {shape: list, mean: (*reader).mailTo},
		"notification_email_from": {mean: (*reader).mailFrom},
		"smtp_server":             {need: 1, mean: (*reader).mailServer},
		"smtp_helo_name":          {mean: func(r *reader, s *stmt) { r.g.Mail.Helo = s.arg(1) }},
		"smtp_connect_timeout":    {need: 1, mean: (*reader).mailTimeout},
		"smtp_alert":              globalFlag("Invalid value '%s' for global smtp_alert specified", func(g *Globals) *bool { return &g.SMTPAlert }),
		"smtp_alert_vrrp":         globalFlag("Invalid value '%s' for global smtp_alert_vrrp specified", func(g *Globals) *bool { return &g.SMTPAlertVRRP }),
		"smtp_alert_checker":      globalFlag("Invalid value '%s' for global smtp_alert_checker specified", func(g *Globals) *bool { return &g.SMTPAlertChecker }),
		"no_email_faults":         ignored("mail is not sent"),
		"no_checker_emails":       ignored("mail is not sent"),

		"script_user":            {mean: (*reader).scriptUser},
		"enable_script_security": {mean: func(r *reader, _ *stmt) { r.g.ScriptSecurity = true }},

		"vrrp_version":                    {need: 1, mean: (*reader).vrrpVersion},
		"vrrp_mcast_group4":               {need: 1, mean: (*reader).group4},
		"vrrp_mcast_group6":               {need: 1, mean: (*reader).group6},
		"vrrp_garp_master_delay":          garpTime((*reader).globalGarp, func(g *vrrp.Garp) *time.Duration { return &g.Delay }),
		"vrrp_garp_master_repeat":         garpCount((*reader).globalGarp, 1, func(g *vrrp.Garp) *int { return &g.Repeat }),
		"vrrp_garp_master_refresh":        garpTime((*reader).globalGarp, func(g *vrrp.Garp) *time.Duration { return &g.Refresh }),
		"vrrp_garp_master_refresh_repeat": garpCount((*reader).globalGarp, 1, func(g *vrrp.Garp) *int { return &g.RefreshRepeat }),
		"vrrp_garp_lower_prio_delay":      {need: 1, mean: (*reader).globalLowerDelay},
		"vrrp_garp_lower_prio_repeat":     {need: 1, mean: (*reader).globalLowerRepeat},
		"vrrp_garp_interval":              {need: 1, mean: globalPause(func(g *Globals) *time.Duration { return &g.GarpInterval })},
		"vrrp_gna_interval":               {need: 1, mean: globalPause(func(g *Globals) *time.Duration { return &g.NAInterval })},
		"vrrp_min_garp":                   {mean: (*reader).minGarp},
		"vrrp_down_timer_adverts":         {need: 1, mean: (*reader).globalDownAdverts},
		"vrrp_skip_check_adv_addr":        globalFlag("Invalid value '%s' for vrrp_skip_check_adv_addr specified", func(g *Globals) *bool { return &g.SkipAddrCheck }),
		"vrrp_check_unicast_src":          globalFlag("Invalid value '%s' for vrrp_check_unicast_src specified", func(g *Globals) *bool { return &g.CheckUnicastSource }),
		"vrrp_lower_prio_no_advert":       globalFlag("Invalid value for vrrp_lower_prio_no_advert specified", func(g *Globals) *bool { return &g.LowerPrioNoAdvert }),
		"vrrp_higher_prio_send_advert":    globalFlag("Invalid value for vrrp_higher_prio_send_advert specified", func(g *Globals) *bool { return &g.HigherPrioAdvert }),
		"vrrp_startup_delay":              {need: 1, mean: (*reader).startupDelay},
		"vrrp_strict":                     {mean: (*reader).strict},
		"dynamic_interfaces":              {mean: func(r *reader, _ *stmt) { r.g.DynamicInterfaces = true }},

		"lvs_sync_daemon":   {mean: (*reader).syncDaemonLine},
		"lvs_timeouts":      {mean: (*reader).lvsTimeouts},
		"lvs_flush":         {mean: func(r *reader, _ *stmt) { r.g.FlushAtStart = true }},
		"lvs_flush_on_stop": {mean: func(r *reader, _ *stmt) { r.g.FlushAtStop = true }},
		"lvs_flush_onstop":  {mean: func(r *reader, _ *stmt) { r.g.FlushAtStop = true }},
		"rs_init_notifies":  globalFlag("Invalid value '%s' for global rs_init_notifies specified", func(g *Globals) *bool { return &g.InitNotifies }),

		"vrrp_priority":       {need: 1, mean: globalNumber(-20, 19, func(g *Globals) *int { return &g.VRRPNice })},
		"vrrp_rt_priority":    {need: 1, mean: globalNumber(1, 99, func(g *Globals) *int { return &g.VRRPRealTime })},
		"checker_priority":    {need: 1, mean: globalNumber(-20, 19, func(g *Globals) *int { return &g.CheckerNice })},
		"checker_rt_priority": {need: 1, mean: globalNumber(1, 99, func(g *Globals) *int { return &g.CheckerRealTime })},

		// Names, memory and affinity of processes that do not exist here.
		"process_names": ignored(processes), "process_name": ignored(processes), "vrrp_process_name": ignored(processes),
		"checker_process_name": ignored(processes), "lvs_process_name": ignored(processes), "bfd_process_name": ignored(processes),
		"vrrp_no_swap": ignored(processes), "checker_no_swap": ignored(processes), "bfd_no_swap": ignored(processes),
		"vrrp_cpu_affinity": ignored(processes), "checker_cpu_affinity": ignored(processes), "bfd_cpu_affinity": ignored(processes),
		"vrrp_rlimit_rttime": ignored(processes), "checker_rlimit_rttime": ignored(processes), "bfd_rlimit_rttime": ignored(processes),
		"vrrp_rlimit_rtime": ignored(processes), "checker_rlimit_rtime": ignored(processes), "bfd_rlimit_rtime": ignored(processes),
		"bfd_priority": ignored(processes), "bfd_rt_priority": ignored(processes),

		"startup_script":          ignored("it is not run"),
		"startup_script_timeout":  ignored("there is no startup script"),
		"shutdown_script":         ignored("it is not run"),
		"shutdown_script_timeout": ignored("there is no shutdown script"),

		"max_auto_priority":       ignored("the process keeps its priority"),
		"min_auto_priority_delay": ignored("the process keeps its priority"),
		"default_interface":       ignored("each instance has to name its interface"),
		"disable_local_igmp":      ignored("the kernel sends IGMP reports as it likes"),
		"vrrp_garp_extra_if":      ignored("addresses are announced on their own interface only"),
		"vrrp_vmac_garp_intvl":    ignored("addresses are announced on their own interface only"),
		"vrrp_iptables":           ignored("no firewall rules are made; addresses accept traffic"),
		"vrrp_ipsets":             ignored("no firewall rules are made; addresses accept traffic"),
		"nftables":                ignored("no firewall rules are made; addresses accept traffic"),
		"nftables_priority":       ignored("no firewall rules are made"),
		"nftables_ifindex":        ignored("no firewall rules are made"),
		"nftables_counters":       ignored("no firewall rules are made"),
		"nftables_ipvs":           ignored("a service for each address is made instead of marks"), "nftables_ipvs_priority": ignored("no firewall rules are made"),
		"nftables_ipvs_start_fwmark": ignored("no firewall rules are made"),

		"notify_fifo": ignored("nothing is written to it"), "notify_fifo_script": ignored("it is not run"),
		"vrrp_notify_fifo": ignored("nothing is written to it"), "vrrp_notify_fifo_script": ignored("it is not run"),
		"lvs_notify_fifo": ignored("nothing is written to it"), "lvs_notify_fifo_script": ignored("it is not run"),
		"vrrp_notify_priority_changes":     ignored("notify scripts are run when the state changes"),
		"fifo_write_vrrp_states_on_reload": ignored("there is no fifo"),

		"snmp_socket": ignored("there is no SNMP agent; metrics are for Prometheus"), "enable_traps": ignored("there is no SNMP agent"),
		"enable_snmp_vrrp": ignored("there is no SNMP agent"), "enable_snmp_keepalived": ignored("there is no SNMP agent"),
		"enable_snmp_rfc": ignored("there is no SNMP agent"), "enable_snmp_rfcv2": ignored("there is no SNMP agent"),
		"enable_snmp_rfcv3": ignored("there is no SNMP agent"), "enable_snmp_checker": ignored("there is no SNMP agent"),

		"enable_dbus": ignored("there is no D-Bus service"), "dbus_service_name": ignored("there is no D-Bus service"),

		"vrrp_netlink_cmd_rcv_bufs": ignored("buffers are sized by themselves"), "vrrp_netlink_cmd_rcv_bufs_force": ignored("buffers are sized by themselves"),
		"vrrp_netlink_monitor_rcv_bufs": ignored("buffers are sized by themselves"), "vrrp_netlink_monitor_rcv_bufs_force": ignored("buffers are sized by themselves"),
		"lvs_netlink_cmd_rcv_bufs": ignored("buffers are sized by themselves"), "lvs_netlink_cmd_rcv_bufs_force": ignored("buffers are sized by themselves"),
		"lvs_netlink_monitor_rcv_bufs": ignored("buffers are sized by themselves"), "lvs_netlink_monitor_rcv_bufs_force": ignored("buffers are sized by themselves"),
		"process_monitor_rcv_bufs": ignored("buffers are sized by themselves"), "process_monitor_rcv_bufs_force": ignored("buffers are sized by themselves"),
		"vrrp_rx_bufs_policy": ignored("buffers are sized by themselves"), "vrrp_rx_bufs_multiplier": ignored("buffers are sized by themselves"),

		"checker_log_all_failures": ignored("every failure is in the log"),
		"log_unknown_vrids":        ignored("adverts of unknown routers are passed over"),
		"vmac_prefix":              ignored("use_vmac has to name its interface"),
		"vmac_addr_prefix":         ignored("use_vmac has to name its interface"),
		"umask":                    {need: 1, mean: (*reader).umask},
		"random_seed":              ignored("there is no $_RANDOM"),
		"reload_check_config":      ignored("a file is always checked before it is taken"),
		"reload_time_file":         ignored("reload with a signal"),
		"reload_repeat":            ignored("reload with a signal"),
		"reload_file":              ignored("reload with a signal"),
		"include_check":            ignored("files that are not there are always reported"),
		"config_save_dir":          ignored("nothing is saved"),
		"tmp_config_directory":     ignored("no copy of the configuration is made"),
		"data_use_instance":        ignored("data is written where it always is"),
	}}
})

func globalFlag(theirs string, field func(*Globals) *bool) *keyword {
	return &keyword{mean: func(r *reader, s *stmt) {
		text := theirs
		if strings.Contains(text, "%s") {
			text = fmt.Sprintf(text, s.arg(1))
		}
		if v, ok := r.boolean(s, 1, text); ok {
			*field(&r.g) = v
		}
	}}
}

func globalNumber(lo, hi int64, field func(*Globals) *int) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		process, _, _ := strings.Cut(s.words[0], "_")
		if n, ok := r.lenient(s, s.arg(1), lo, hi, fmt.Sprintf("Invalid %s process priority specified", process), "it is not set"); ok {
			*field(&r.g) = int(n)
		}
	}
}

// globalPause reads a time with fractions down to microseconds.
func globalPause(field func(*Globals) *time.Duration) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if d, ok := r.seconds(s, s.arg(1), 0, time.Second, fmt.Sprintf("%s '%s' is invalid", s.words[0], s.arg(1)), "there is no pause"); ok {
			*field(&r.g) = d
		}
	}
}

func (r *reader) globalGarp() *vrrp.Garp { return &r.g.Garp }

// garpTime and garpCount read the settings of announcements, of all instances or
// of one.
func garpTime(of func(*reader) *vrrp.Garp, field func(*vrrp.Garp) *time.Duration) *keyword {
	return &keyword{need: 1, mean: func(r *reader, s *stmt) {
		n, ok := r.lenient(s, s.arg(1), 0, maxSeconds, r.about(s, "%s '%s' invalid - ignoring"), "the default stays")
		if ok {
			*field(of(r)) = time.Duration(n) * time.Second
		}
	}}
}

func garpCount(of func(*reader) *vrrp.Garp, least int64, field func(*vrrp.Garp) *int) *keyword {
	return &keyword{need: 1, mean: func(r *reader, s *stmt) {
		n, ok := r.lenient(s, s.arg(1), 0, math.MaxInt32, r.about(s, "%s '%s' invalid - ignoring"), "the default stays")
		if ok && n < least {
			r.warn(s.place, r.about(s, "%s must be greater than 0, setting to 1"), fmt.Sprintf("%s 0: announcements cannot be left out; 1 is taken", s.words[0]), "")
			n = least
		}
		if ok {
			*field(of(r)) = int(min(n, maxRepeat))
		}
	}}
}

// maxRepeat bounds how often an address is announced.
const maxRepeat = 1000

// about words a complaint as keepalived does: with the instance in front, if
// there is one. The format gets keyword and value.
func (r *reader) about(s *stmt, format string) string {
	args := []any{s.words[0], s.arg(1)}[:strings.Count(format, "%s")]
	text := fmt.Sprintf(format, args...)
	if r.inst != nil {
		return fmt.Sprintf("(%s): %s", r.inst.Name, text)
	}
	return text
}

func (r *reader) globalDefs(s *stmt) {
	r.mean(s.body)
	if len(r.g.Mail.To) > 0 && r.g.Mail.Server != "" {
		r.warn(s.place, "", fmt.Sprintf("notification_email: no mail is sent to %s", strings.Join(r.g.Mail.To, ", ")), "have the log, or notify scripts, send it")
	}
}

func (r *reader) routerID(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "routerid name missing - ignoring", "router_id has no name; the host's is used", "")
		return
	}
	r.g.RouterID = s.words[1]
}

func (r *reader) mailTo(s *stmt) {
	for _, l := range s.body {
		for i, w := range l.words {
			if remark(w) {
				r.warn(l.place, "", fmt.Sprintf("notification_email: %s is taken for a remark", config.Quote(strings.Join(l.words[i:], " "))), `a remark begins with "#"`)
				break
			}
			r.g.Mail.To = append(r.g.Mail.To, w)
		}
	}
	if len(s.body) == 0 {
		r.warn(s.place, "Warning - empty notification_email block", "notification_email names nobody; no mail is sent", "")
	}
}

// remark tells the marks of remarks that keepalived does not know.
func remark(w string) bool {
	return strings.HasPrefix(w, "//") || strings.HasPrefix(w, "<-") || strings.HasPrefix(w, ";")
}

func (r *reader) mailFrom(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "emailfrom missing - ignoring", "notification_email_from names nobody", "")
		return
	}
	r.g.Mail.From = s.words[1]
}

func (r *reader) mailServer(s *stmt) {
	p := uint16(25)
	if len(s.words) > 2 && !remark(s.words[2]) {
		n, ok := port(s.words[2])
		if !ok || n == 0 {
			r.warn(s.place, fmt.Sprintf("Invalid smtp server %s %s", s.words[1], s.words[2]), fmt.Sprintf("smtp_server: %s is no port; no mail is sent", config.Quote(s.words[2])), "")
			return
		}
		p = n
	}
	if _, literally := literal(s.words[1]); !literally && r.opt.Resolve != nil {
		if err := r.opt.Resolve(s.words[1]); err != nil {
			r.warn(s.place, fmt.Sprintf("Invalid smtp server %s %d", s.words[1], p), fmt.Sprintf("smtp_server %s: %v", config.Quote(s.words[1]), err), "")
		}
	}
	r.g.Mail.Server = net.JoinHostPort(s.words[1], fmt.Sprint(p))
}

func (r *reader) mailTimeout(s *stmt) {
	theirs := fmt.Sprintf("smtp_connect_timeout '%s' must be in [0, %d] - ignoring", s.arg(1), maxSeconds)
	n, ok := r.lenient(s, s.arg(1), 0, maxSeconds, theirs, "30 is used")
	if ok && n == 0 {
		r.warn(s.place, "smtp_conect_timeout must be greater than 0, setting to 1", "smtp_connect_timeout 0: it is taken as 1", "")
	}
	if ok {
		r.g.Mail.Timeout = time.Duration(max(n, 1)) * time.Second
	}
}

func (r *reader) scriptUser(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "No script username specified", "script_user names nobody", "")
		return
	}
	if err := r.unknownUser(s.words[1]); err != nil {
		r.wrong(s.place, "Error setting global script uid/gid", fmt.Sprintf("script_user: %v; it is passed over", err), "make that user, or name another one")
		return
	}
	r.g.ScriptUser, r.g.ScriptGroup = s.words[1], s.arg(2)
}

func (r *reader) vrrpVersion(s *stmt) {
	if n, ok := r.number(s, s.arg(1), 2, 3, "VRRP Error: Version must be either 2 or 3", "2 is used"); ok {
		r.g.VRRPVersion = uint8(n)
	}
}

func (r *reader) group4(s *stmt) { r.mcastGroup(s, &r.g.Group4, lvs.IPv4, vrrp.GroupIPv4) }
func (r *reader) group6(s *stmt) { r.mcastGroup(s, &r.g.Group6, lvs.IPv6, vrrp.GroupIPv6) }

func (r *reader) mcastGroup(s *stmt, to *netip.Addr, f lvs.Family, usual netip.Addr) {
	name, word := s.words[0], s.arg(1)
	a, ok := literal(word)
	theirs := ""
	switch {
	case !ok:
		theirs = fmt.Sprintf("Can't parse %s [%s]. Skipping", name, word)
	case lvs.FamilyOf(a) != f:
		theirs = fmt.Sprintf("%s [%s] is not %v. Skipping", name, word, f)
	case !a.IsMulticast():
		theirs = fmt.Sprintf("%s [%s] is not multicast. Skipping", name, word)
	default:
		*to = a
		return
	}
	r.warn(s.place, theirs, fmt.Sprintf("%s %s: that is no %v multicast address; %v is used", name, config.Quote(word), f, usual), "")
}

func (r *reader) globalLowerDelay(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 0, maxSeconds, "", "the delay of a new master is used"); ok {
		d := time.Duration(n) * time.Second
		r.lowerDelay = &d
	}
}

func (r *reader) globalLowerRepeat(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 0, math.MaxInt32, "", "the repeats of a new master are used"); ok {
		c := int(min(n, maxRepeat))
		r.lowerRepeat = &c
	}
}

// minGarp keeps announcements to the least: one, and no second round.
func (r *reader) minGarp(s *stmt) {
	if on, ok := r.boolean(s, 1, "Invalid value for vrrp_min_garp specified"); ok && on {
		r.g.Garp = vrrp.Garp{Repeat: 1, RefreshRepeat: 1}
	}
}

func (r *reader) globalDownAdverts(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 1, 100, fmt.Sprintf("Invalid vrrp_down_timer_adverts [1:100] '%s'", s.arg(1)), "3 is used"); ok {
		r.g.DownAdverts = int(n)
	}
}

func (r *reader) umask(s *stmt) {
	mask, theirs := readUmask(s.words[1:])
	if theirs != "" {
		r.warn(s.place, theirs, fmt.Sprintf("umask %s: that is no mask; %04o is used", strings.Join(s.words[1:], " "), r.g.Umask), "write it as umask(1) has it: 0177")
		return
	}
	r.g.Umask = mask
}

// umaskBits are the names of the bits, the highest first.
const umaskBits = "IRUSR IWUSR IXUSR IRGRP IWGRP IXGRP IROTH IWOTH IXOTH"

// readUmask reads a number as C writes it, or names with | between them. theirs is
// what keepalived says of anything else.
func readUmask(words []string) (mask uint32, theirs string) {
	if first := words[0]; first != "" && first[0] >= '0' && first[0] <= '9' {
		n, err := strconv.ParseUint(first, 0, 32)
		switch {
		case len(words) > 1:
			return 0, "Extra parameter(s) to umask option"
		case err != nil || n > 0o777 || strings.ContainsAny(first, "_bBoO"): // as Go writes it
			return 0, "invalid umask value " + first
		}
		return uint32(n), ""
	}
	names, next := strings.Fields(umaskBits), true // whether a name is next
	for _, word := range words {
		for rest := word; rest != ""; {
			if !next {
				if rest[0] != '|' {
					return 0, "Invalid umask syntax " + word
				}
				rest, next = rest[1:], true
				continue
			}
			i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(rest, name) })
			if i < 0 {
				return 0, "Unknown umask bit " + rest
			}
			mask |= 0o400 >> i
			rest, next = rest[len(names[i]):], false
		}
	}
	if next {
		return 0, "umask missing bit value"
	}
	return mask, ""
}

func (r *reader) startupDelay(s *stmt) {
	if d, ok := r.seconds(s, s.arg(1), 0, maxSeconds*time.Second, fmt.Sprintf("vrrp_startup_delay '%s' is invalid", s.arg(1)), "there is none"); ok {
		r.g.StartupDelay = d
	}
}

// strict is off here: it would drop the traffic to the virtual addresses.
func (r *reader) strict(s *stmt) {
	r.warn(s.place, "", s.words[0]+" is off here: it would have the kernel drop all traffic to the virtual addresses, and forbids unicast and passwords",
		"remove it; keepalived with it is no director")
}

// syncDaemon is lvs_sync_daemon.
type syncDaemon struct {
	place
	daemon   lvs.Daemon
	hasID    bool
	instance string
}

func (r *reader) syncDaemonLine(s *stmt) {
	switch {
	case r.sync != nil:
		r.warn(s.place, fmt.Sprintf("lvs_sync_daemon has already been specified as %s %s - ignoring", r.sync.daemon.Interface, r.sync.instance),
			fmt.Sprintf("lvs_sync_daemon is there already, on line %d; this line is passed over", r.sync.line), "")
		return
	case len(s.words) < 2:
		r.warn(s.place, "lvs_sync_daemon requires interface", "lvs_sync_daemon names no interface; the line is passed over", "write lvs_sync_daemon INTERFACE inst INSTANCE")
		return
	case len(s.words[1]) > maxLinkName:
		r.warn(s.place, fmt.Sprintf("lvs_sync_daemon interface name '%s' too long - ignoring", s.words[1]), fmt.Sprintf("lvs_sync_daemon: %q is longer than the name of an interface can be", s.words[1]), "")
		return
	}
	d := &syncDaemon{place: s.place, daemon: lvs.Daemon{Interface: s.words[1]}}
	r.sync = d
	for i := 2; i < len(s.words); i++ {
		if d.named(r, s, i) {
			i++
			continue
		}
		d.byPlace(r, s, i)
	}
}

// named reads an option with its value, which may be missing.
func (d *syncDaemon) named(r *reader, s *stmt, i int) bool {
	word, value := s.words[i], s.arg(i+1)
	missing := i+1 >= len(s.words)
	bad := fmt.Sprintf("Invalid lvs_sync_daemon %s (%s) - ignoring", word, value)
	if word == "id" {
		bad = fmt.Sprintf("Invalid syncid (%s) - defaulting to vrid", value)
	}
	num := func(lo, hi int64) (int64, bool) {
		if missing {
			r.warn(s.place, fmt.Sprintf("No value specified for lvs_sync_daemon %s - ignoring", word), "lvs_sync_daemon "+word+" has no value", "")
			return 0, false
		}
		return r.number(s, value, lo, hi, bad, word+" is not set")
	}
	switch word {
	case "inst":
		d.instance = value
	case "id":
		if n, ok := num(0, 255); ok {
			d.daemon.SyncID, d.hasID = uint32(n), true
		}
	case "maxlen":
		if n, ok := num(1, 65507); ok {
			d.daemon.MaxLen = uint16(n)
		}
	case "port":
		if n, ok := num(1, 65535); ok {
			d.daemon.Port = uint16(n)
		}
	case "ttl":
		if n, ok := num(1, 255); ok {
			d.daemon.TTL = uint8(n)
		}
	case "group":
		a, ok := literal(value)
		if !ok || !a.IsMulticast() {
			r.warn(s.place, fmt.Sprintf("Invalid lvs_sync_daemon group (%s) - ignoring", value), fmt.Sprintf("lvs_sync_daemon group %q: that is no multicast address; the kernel's is used", value), "")
			return true
		}
		d.daemon.Group = a
	default:
		return false
	}
	return true
}

// byPlace reads the old form: INTERFACE INSTANCE ID.
func (d *syncDaemon) byPlace(r *reader, s *stmt, i int) {
	switch i {
	case 2:
		d.instance = s.words[2]
	case 3:
		if n, ok := r.number(s, s.words[3], 0, 255, fmt.Sprintf("Invalid syncid (%s) - defaulting to vrid", s.words[3]), "the virtual router's is used"); ok {
			d.daemon.SyncID, d.hasID = uint32(n), true
			r.warn(s.place, `Please use keyword "id" before lvs_sync_daemon SYNCID`, "lvs_sync_daemon: the number is an old way to write the id", fmt.Sprintf("write id %d", n))
		}
	default:
		r.warn(s.place, fmt.Sprintf("Unknown option %s specified for lvs_sync_daemon", s.words[i]), fmt.Sprintf("lvs_sync_daemon has no option %s", config.Quote(s.words[i])),
			config.DidYouMean(s.words[i], []string{"inst", "id", "maxlen", "port", "ttl", "group"}))
	}
}

func (r *reader) lvsTimeouts(s *stmt) {
	if len(s.words) < 3 {
		r.warn(s.place, "lvs_timeouts requires at least one option", "lvs_timeouts names no timeout", "write lvs_timeouts tcp SECONDS tcpfin SECONDS udp SECONDS")
		return
	}
	fields := map[string]*uint32{"tcp": &r.f.site.Timeouts.TCP, "tcpfin": &r.f.site.Timeouts.TCPFin, "udp": &r.f.site.Timeouts.UDP}
	for i := 1; i < len(s.words); i += 2 {
		field := fields[s.words[i]]
		switch {
		case field == nil:
			r.warn(s.place, fmt.Sprintf("Unknown option %s specified for lvs_timeouts", s.words[i]), fmt.Sprintf("lvs_timeouts has no option %s", config.Quote(s.words[i])), "the options are tcp, tcpfin and udp")
			i--
		case i+1 >= len(s.words):
			r.warn(s.place, fmt.Sprintf("No value specified for lvs_timeout %s - ignoring", s.words[i]), "lvs_timeouts "+s.words[i]+" has no value", "")
		default:
			if n, ok := r.number(s, s.words[i+1], 0, maxLVSTimeout, fmt.Sprintf("Invalid lvs_timeout %s (%s) - ignoring", s.words[i], s.words[i+1]), "the kernel's stays"); ok {
				*field = uint32(n)
			}
		}
	}
}

// maxLVSTimeout is the kernel's longest, 31 days.
const maxLVSTimeout = 86400 * 31
