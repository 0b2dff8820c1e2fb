package keepalived

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// service is a virtual_server as it is read.
type service struct {
	place
	names []target // what it listens on; several of a group
	group string   // the group's name
	text  string   // as it is called in complaints

	family      lvs.Family
	scheduler   string
	flags       lvs.Flags
	method      method
	protocol    lvs.Protocol // 0: not given
	persistent  uint32
	granularity uint32
	granular    bool
	engine      string
	quorum      uint32
	hysteresis  uint32
	inhibit     bool
	alpha       bool
	hooks       ldirector.Hooks
	virtualhost string
	sorry       *sorry
	weight      uint32
	timing      timing
	reals       []*server
}

// target is an address with its port, or a mark.
type target struct {
	addr netip.AddrPort
	mark uint32
}

// method is how packets reach a server.
type method struct {
	is     lvs.Method
	tunnel lvs.TunnelInfo
	given  bool
}

type sorry struct {
	place
	addr   netip.Addr
	port   uint16
	method method
	stays  bool // sorry_server_inhibit
}

// server is a real_server as it is read.
type server struct {
	place
	text        string
	addr        netip.Addr
	port        uint16
	weight      *uint32
	method      method
	upper       uint32
	lower       uint32
	inhibit     *bool
	alpha       *bool
	up, down    *ldirector.Command
	virtualhost string
	timing      timing
	checks      []*checker
}

// timing is what checks have that do not say otherwise. A negative one is not
// given.
type timing struct {
	loop, connect, retryDelay time.Duration
	retry                     int64
}

var unsetTiming = timing{-1, -1, -1, -1}

// or fills in what is not given.
func (t timing) or(o timing) timing {
	pick := func(a, b time.Duration) time.Duration {
		if a < 0 {
			return b
		}
		return a
	}
	t.loop, t.connect, t.retryDelay = pick(t.loop, o.loop), pick(t.connect, o.connect), pick(t.retryDelay, o.retryDelay)
	if t.retry < 0 {
		t.retry = o.retry
	}
	return t
}

// schedulers are those that keepalived 2.2.7 knows.
var schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos"}

var serviceScope = sync.OnceValue(func() *scope {
	return &scope{name: "virtual_server", keywords: map[string]*keyword{
		"ip_family":               {need: 1, mean: (*reader).ipFamily},
		"delay_loop":              {need: 1, mean: delayLoop(serviceTiming, "virtual server delay loop '%s' invalid - ignoring")},
		"connect_timeout":         {need: 1, mean: connectTimeout(serviceTiming, "virtual server connect_timeout %s invalid - ignoring")},
		"delay_before_retry":      {need: 1, mean: retryDelay(serviceTiming, "virtual server delay before retry '%s' invalid - ignoring")},
		"retry":                   {need: 1, mean: retries(serviceTiming, 1, "retry value invalid - %s")},
		"warmup":                  {need: 1, mean: (*reader).warmup},
		"lb_algo":                 {need: 1, mean: (*reader).algorithm},
		"lvs_sched":               {need: 1, mean: (*reader).algorithm},
		"lb_kind":                 {need: 1, mean: func(r *reader, s *stmt) { r.forwarding(s, &r.svc.method, "virtual") }},
		"lvs_method":              {need: 1, mean: func(r *reader, s *stmt) { r.forwarding(s, &r.svc.method, "virtual") }},
		"protocol":                {need: 1, mean: (*reader).protocol},
		"persistence_timeout":     {mean: (*reader).persistence},
		"persistence_granularity": {need: 1, mean: (*reader).granularity},
		"persistence_engine":      {need: 1, mean: (*reader).engine},
		"inhibit_on_failure":      {mean: func(r *reader, _ *stmt) { r.svc.inhibit = true }},
		"alpha":                   {mean: func(r *reader, _ *stmt) { r.svc.alpha = true }},
		"omega":                   {mean: func(r *reader, _ *stmt) { r.svc.hooks.AtStop = true }},
		"quorum":                  {need: 1, mean: (*reader).quorum},
		"hysteresis":              {need: 1, mean: (*reader).hysteresis},
		"quorum_up":               hook(func(r *reader) **ldirector.Command { return &r.svc.hooks.QuorumUp }),
		"quorum_down":             hook(func(r *reader) **ldirector.Command { return &r.svc.hooks.QuorumDown }),
		"virtualhost":             {mean: func(r *reader, s *stmt) { r.host(s, &r.svc.virtualhost, "virtual server virtualhost missing") }},
		"weight":                  {need: 1, mean: (*reader).serviceWeight},
		"sorry_server":            {need: 1, mean: (*reader).sorryServer},
		"sorry_server_lvs_method": {need: 1, mean: (*reader).sorryMethod},
		"sorry_server_inhibit":    {mean: (*reader).sorryInhibit},
		"real_server":             {shape: block, in: realScope(), need: 1, mean: (*reader).realServer},
		"ops":                     serviceFlag("", lvs.OnePacket),
		"flag-1":                  serviceFlag("", lvs.Sched1), "flag-2": serviceFlag("", lvs.Sched2), "flag-3": serviceFlag("", lvs.Sched3),
		"sh-fallback": serviceFlag("sh", lvs.Sched1), "sh-port": serviceFlag("sh", lvs.Sched2),
		"mh-fallback": serviceFlag("mh", lvs.Sched1), "mh-port": serviceFlag("mh", lvs.Sched2),
		"hashed":     {mean: (*reader).hashed},
		"ha_suspend": ignored("servers are checked whether this host has the address or not"),
		"smtp_alert": ignored("mail is not sent"),
		"snmp_name":  ignored("there is no SNMP agent"),
	}}
})

// Hashed is what the kernel sets by itself.
func (r *reader) hashed(s *stmt) {
	if r.svc.scheduler != "sh" && r.svc.scheduler != "mh" {
		r.theirs(s.place, "hashed only applies to sh scheduler - ignoring", statusTest)
	}
	r.problem(s.place, config.Warning, "hashed does nothing: the kernel sets that flag by itself", "remove it")
}

var realScope = sync.OnceValue(func() *scope {
	return &scope{name: "real_server", keywords: withChecks(map[string]*keyword{
		"weight":             {need: 1, mean: (*reader).realWeight},
		"lvs_method":         {need: 1, mean: func(r *reader, s *stmt) { r.forwarding(s, &r.real.method, "real") }},
		"uthreshold":         {need: 1, mean: threshold(func(s *server) *uint32 { return &s.upper })},
		"lthreshold":         {need: 1, mean: threshold(func(s *server) *uint32 { return &s.lower })},
		"inhibit_on_failure": {mean: func(r *reader, s *stmt) { r.optional(s, &r.real.inhibit, "Invalid inhibit_on_failure parameter %s") }},
		"alpha":              {mean: func(r *reader, s *stmt) { r.optional(s, &r.real.alpha, "Invalid alpha parameter %s") }},
		"notify_up":          hook(func(r *reader) **ldirector.Command { return &r.real.up }),
		"notify_down":        hook(func(r *reader) **ldirector.Command { return &r.real.down }),
		"virtualhost":        {mean: func(r *reader, s *stmt) { r.host(s, &r.real.virtualhost, "real server virtualhost missing") }},
		"delay_loop":         {need: 1, mean: delayLoop(realTiming, "real server delay_loop '%s' invalid - ignoring")},
		"connect_timeout":    {need: 1, mean: connectTimeout(realTiming, "real server connect_timeout %s invalid - ignoring")},
		"delay_before_retry": {need: 1, mean: retryDelay(realTiming, "real server delay_before_retry '%s' invalid - ignoring")},
		"retry":              {need: 1, mean: retries(realTiming, 1, "retry value invalid - %s")},
		"warmup":             {need: 1, mean: (*reader).warmup},
		"smtp_alert":         ignored("mail is not sent"),
		"snmp_name":          ignored("there is no SNMP agent"),
	})}
})

func serviceTiming(r *reader) *timing { return &r.svc.timing }
func realTiming(r *reader) *timing    { return &r.real.timing }

func complain(format string, s *stmt) string {
	if strings.Contains(format, "%s") {
		return fmt.Sprintf(format, s.arg(1))
	}
	return format
}

func delayLoop(of func(*reader) *timing, theirs string) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if d, ok := r.seconds(s, s.arg(1), time.Microsecond, noLimit, complain(theirs, s), "the default is used"); ok {
			of(r).loop = r.bounded(s, d)
		}
	}
}

// bounded keeps a time within what anybody can mean.
func (r *reader) bounded(s *stmt, d time.Duration) time.Duration {
	if d <= longest {
		return d
	}
	r.warn(s.place, "", fmt.Sprintf("%s %s: that is more than a year, which is taken", s.words[0], s.arg(1)), "")
	return longest
}

func connectTimeout(of func(*reader) *timing, theirs string) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if d, ok := r.seconds(s, s.arg(1), time.Microsecond, math.MaxUint32*time.Microsecond, complain(theirs, s), "the default is used"); ok {
			of(r).connect = d
		}
	}
}

func retryDelay(of func(*reader) *timing, theirs string) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if d, ok := r.seconds(s, s.arg(1), 0, noLimit, complain(theirs, s), "the default is used"); ok {
			of(r).retryDelay = r.bounded(s, d)
		}
	}
}

func retries(of func(*reader) *timing, least int64, theirs string) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if n, ok := r.lenient(s, s.arg(1), least, math.MaxUint32, complain(theirs, s), "the default is used"); ok {
			of(r).retry = n
		}
	}
}

// warmup spreads first checks over time; ours are spread by themselves.
func (r *reader) warmup(s *stmt) {
	d, ok := r.seconds(s, s.arg(1), 0, noLimit, fmt.Sprintf("Invalid warmup connection value '%s'", s.arg(1)), "it is passed over")
	if ok && d > 0 {
		r.warn(s.place, "", "warmup is not supported: every server is checked at once when it is new", "")
	}
}

func (r *reader) optional(s *stmt, to **bool, theirs string) {
	if v, ok := r.boolean(s, 1, complain(theirs, s)); ok {
		*to = &v
	}
}

func (r *reader) host(s *stmt, to *string, theirs string) {
	if len(s.words) < 2 {
		r.warn(s.place, theirs, "virtualhost names no host", "")
		return
	}
	*to = s.words[1]
}

func hook(of func(*reader) **ldirector.Command) *keyword {
	return &keyword{need: 1, mean: func(r *reader, s *stmt) {
		to := of(r)
		if *to != nil {
			r.warn(s.place, fmt.Sprintf("((null)) %s script already specified - ignoring %s", s.words[0], s.arg(1)), s.words[0]+" is there already; the first counts", "remove one")
			return
		}
		if c := r.command(s, true); c != nil {
			*to = &ldirector.Command{Words: c.Words, User: c.User, Group: c.Group}
		}
	}}
}

// virtualServer reads "virtual_server ADDRESS PORT", "... fwmark N" or "...
// group NAME".
func (r *reader) virtualServer(s *stmt) {
	v := &service{place: s.place, quorum: 1, weight: 1, timing: unsetTiming, text: strings.Join(s.words[1:], " ")}
	ok := false
	switch s.arg(1) {
	case "group":
		ok = r.ofGroup(v, s)
	case "fwmark":
		ok = r.ofMark(v, s)
	default:
		ok = r.ofAddress(v, s)
	}
	r.svc = v
	r.mean(s.body)
	r.svc = nil
	if ok {
		r.services = append(r.services, v)
		return
	}
	r.passes(s)
}

func (r *reader) ofAddress(v *service, s *stmt) bool {
	a, ok := literal(s.arg(1))
	p, okPort := port(s.arg(2))
	if ok && okPort {
		v.family, v.names = lvs.FamilyOf(a), []target{{addr: netip.AddrPortFrom(a, p)}}
		return true
	}
	theirs := fmt.Sprintf("Invalid virtual server IP address %s - skipping", s.arg(1))
	if p := s.arg(2); p != "" {
		theirs = fmt.Sprintf("Invalid virtual server IP address/port %s/%s - skipping", s.arg(1), p)
		if !okPort {
			r.theirs(s.place, fmt.Sprintf("invalid number '%s'", p), statusTest)
		}
	}
	r.wrong(s.place, theirs, fmt.Sprintf("virtual_server %s: an address and a port number are needed; the service is left out", config.Quote(v.text)), "write virtual_server ADDRESS PORT {")
	return false
}

func (r *reader) ofMark(v *service, s *stmt) bool {
	if len(s.words) < 3 {
		r.incomplete(s)
		return false
	}
	n, ok := r.lenient(s, s.arg(2), 0, math.MaxUint32, fmt.Sprintf("virtual server fwmark '%s' must be in [0, %d] - ignoring", s.arg(2), uint32(math.MaxUint32)), "the service is left out")
	if ok && n == 0 {
		r.wrong(s.place, "", "virtual_server fwmark 0: packets without a mark have that; the service is left out", "marks go from 1 to 4294967295")
	}
	v.names = []target{{mark: uint32(n)}}
	return ok && n > 0
}

func (r *reader) ofGroup(v *service, s *stmt) bool {
	if len(s.words) < 3 {
		r.incomplete(s)
		return false
	}
	v.group = s.arg(2)
	return true
}

func (r *reader) ipFamily(s *stmt) {
	f, known := map[string]lvs.Family{"inet": lvs.IPv4, "inet6": lvs.IPv6}[s.arg(1)]
	v := r.svc
	switch {
	case !known:
		r.warn(s.place, fmt.Sprintf("unknown address family %s", s.arg(1)), fmt.Sprintf("ip_family %s: it is inet or inet6; the line is passed over", config.Quote(s.arg(1))), "")
	case v.family != 0 && v.family != f:
		r.warn(s.place, fmt.Sprintf("Virtual server specified family %s conflicts with server family", s.arg(1)), fmt.Sprintf("ip_family %s: the service is %v; the line is passed over", s.arg(1), v.family), "")
	default:
		v.family = f
	}
}

func (r *reader) algorithm(s *stmt) {
	if slices.Contains(schedulers, s.arg(1)) {
		r.svc.scheduler = s.arg(1)
		return
	}
	hint := config.DidYouMean(s.arg(1), schedulers)
	if hint == "" {
		hint = "the schedulers are " + strings.Join(schedulers, ", ")
	}
	r.warn(s.place, fmt.Sprintf("Invalid lvs_scheduler '%s' - ignoring", s.arg(1)), fmt.Sprintf("%s %s: there is no such scheduler; wlc is used", s.words[0], config.Quote(s.arg(1))), hint)
}

func serviceFlag(scheduler string, bit lvs.Flags) *keyword {
	return &keyword{mean: func(r *reader, s *stmt) {
		if scheduler != "" && r.svc.scheduler != scheduler {
			theirs := ""
			if r.svc.scheduler != "sh" && r.svc.scheduler != "mh" {
				theirs = fmt.Sprintf("%s only applies to sh scheduler - ignoring", s.words[0])
			}
			r.warn(s.place, theirs, fmt.Sprintf("%s is for lb_algo %s, which has to stand before it; it is passed over", s.words[0], scheduler), "")
			return
		}
		r.svc.flags |= bit
	}}
}

var kinds = []string{"DR", "NAT", "TUN"}

// forwarding reads lb_kind and lvs_method.
func (r *reader) forwarding(s *stmt, m *method, whose string) {
	kind, known := map[string]lvs.Method{"DR": lvs.Gate, "NAT": lvs.Masq, "TUN": lvs.Tunnel}[s.arg(1)]
	if !known {
		r.warn(s.place, fmt.Sprintf("PARSER : unknown [%s] routing method for %s server.", s.arg(1), whose),
			fmt.Sprintf("%s %s: that is no forwarding method; the line is passed over, and without one it is NAT", s.words[0], config.Quote(s.arg(1))), config.DidYouMean(s.arg(1), kinds))
		return
	}
	info, ok := r.tunnelOptions(s, whose)
	// keepalived has the method by then, whatever is wrong with its options.
	m.is, m.given = kind, true
	if ok {
		m.tunnel = info
	}
	if kind != lvs.Tunnel && info != (lvs.TunnelInfo{}) {
		r.warn(s.place, "", fmt.Sprintf("%s %s has no options of a tunnel; they are passed over", s.words[0], s.arg(1)), "")
		m.tunnel = lvs.TunnelInfo{}
	}
}

func (r *reader) tunnelOptions(s *stmt, whose string) (info lvs.TunnelInfo, ok bool) {
	bad := func(theirs, text string) (lvs.TunnelInfo, bool) {
		r.warn(s.place, theirs, fmt.Sprintf("%s: %s; the options of the tunnel are passed over", s.words[0], text), "write TUN type gue port N, or TUN type gre")
		return lvs.TunnelInfo{}, false
	}
	types := map[string]lvs.TunnelType{"ipip": lvs.IPIP, "gue": lvs.GUE, "gre": lvs.GRE}
	flags := map[string]uint16{"nocsum": 0, "csum": lvs.TunnelCsum, "remcsum": lvs.TunnelRemCsum}
	for i := 2; i < len(s.words); i++ {
		w, value := s.words[i], s.arg(i+1)
		flag, isFlag := flags[w]
		switch {
		case w == "type" && value == "":
			return bad(fmt.Sprintf("Missing tunnel type for %s server.", whose), "type has no value")
		case w == "type":
			t, known := types[value]
			if !known {
				return bad(fmt.Sprintf("Unknown tunnel type %s for %s server.", value, whose), config.Quote(value)+" is no type of a tunnel")
			}
			info.Type = t
			i++
		case w == "port":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil || n == 0 {
				return bad(fmt.Sprintf("Invalid gue tunnel port %s for %s server.", value, whose), config.Quote(value)+" is no port")
			}
			info.Port = uint16(n)
			i++
		case isFlag:
			info.Flags = flag
		default:
			return bad(fmt.Sprintf("Invalid tunnel option %s for %s server.", w, whose), config.Quote(w)+" is no option of a tunnel")
		}
	}
	if (info.Type == lvs.GUE) != (info.Port != 0) {
		return bad("gue tunnels require port, otherwise cannot have port.", "a GUE tunnel needs a port, and no other has one")
	}
	if info.Type == lvs.IPIP && info.Flags != 0 {
		return bad("ipip tunnels do not support checksum option.", "an IPIP tunnel has no checksum")
	}
	return info, true
}

func (r *reader) protocol(s *stmt) {
	p, known := map[string]lvs.Protocol{"TCP": lvs.TCP, "UDP": lvs.UDP, "SCTP": lvs.SCTP}[strings.ToUpper(s.arg(1))]
	if !known {
		r.warn(s.place, fmt.Sprintf("Unknown protocol %s - ignoring", s.arg(1)), fmt.Sprintf("protocol %s: it is TCP, UDP or SCTP; the line is passed over", config.Quote(s.arg(1))), "")
		return
	}
	r.svc.protocol = p
}

// defaultPersistence is the kernel's, in seconds.
const defaultPersistence = 360

func (r *reader) persistence(s *stmt) {
	if len(s.words) < 2 {
		r.svc.persistent = defaultPersistence
		return
	}
	if n, ok := r.number(s, s.arg(1), 1, maxLVSTimeout, "persistence_timeout invalid", "it is passed over"); ok {
		r.svc.persistent = uint32(n)
	}
}

func (r *reader) granularity(s *stmt) {
	v := r.svc
	f := v.family
	if f == 0 {
		f = lvs.IPv6
		if strings.Contains(s.arg(1), ".") {
			f = lvs.IPv4
		}
	}
	if f == lvs.IPv6 {
		n, ok := r.number(s, s.arg(1), 1, 128, fmt.Sprintf("Invalid IPv6 persistence_granularity specified - %s", s.arg(1)), "every client counts for itself")
		if !ok {
			return
		}
		v.granularity = uint32(n)
	} else {
		a, err := netip.ParseAddr(s.arg(1))
		if err != nil || !a.Is4() {
			r.warn(s.place, fmt.Sprintf("Invalid IPv4 persistence_granularity specified - %s", s.arg(1)), fmt.Sprintf("persistence_granularity %s: a mask like 255.255.255.0 is needed; every client counts for itself", config.Quote(s.arg(1))), "")
			return
		}
		b := a.As4()
		v.granularity = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	v.family, v.granular = f, true
	if v.persistent == 0 {
		v.persistent = defaultPersistence
	}
}

func (r *reader) engine(s *stmt) {
	if s.arg(1) != "sip" {
		r.warn(s.place, "", fmt.Sprintf("persistence_engine %s: the kernel has only sip", config.Quote(s.arg(1))), "")
	}
	r.svc.engine = s.arg(1)
	if len(r.svc.engine) > 15 {
		r.warn(s.place, fmt.Sprintf("persistence_name too long, truncating - %s", s.arg(1)), "persistence_engine is longer than a name can be", "")
		r.svc.engine = r.svc.engine[:15]
	}
}

func (r *reader) quorum(s *stmt) {
	theirs := fmt.Sprintf("Quorum %s must be in [1, %d]. Setting to 1.", s.arg(1), uint32(math.MaxUint32))
	if n, ok := r.lenient(s, s.arg(1), 1, math.MaxUint32, theirs, "1 is used"); ok {
		r.svc.quorum = uint32(n)
	}
}

func (r *reader) hysteresis(s *stmt) {
	theirs := fmt.Sprintf("Hysteresis %s must be in [0, %d] - ignoring", s.arg(1), uint32(math.MaxUint32))
	if n, ok := r.lenient(s, s.arg(1), 0, math.MaxUint32, theirs, "there is none"); ok {
		r.svc.hysteresis = uint32(n)
	}
}

// maxWeight is keepalived's largest, and the kernel's.
const maxWeight = math.MaxInt32

func (r *reader) serviceWeight(s *stmt) {
	theirs := fmt.Sprintf("Virtual server weight %s is outside range 1-%d", s.arg(1), maxWeight)
	if n, ok := r.lenient(s, s.arg(1), 1, maxWeight, theirs, "1 is used"); ok {
		r.svc.weight = uint32(n)
	}
}

func (r *reader) sorryServer(s *stmt) {
	a, ok := literal(s.arg(1))
	p, okPort := port(s.arg(2))
	if !ok || !okPort {
		if !okPort {
			r.theirs(s.place, fmt.Sprintf("invalid number '%s'", s.arg(2)), statusTest)
		}
		r.warn(s.place, fmt.Sprintf("Invalid sorry server IP address %s - skipping", s.arg(1)), fmt.Sprintf("sorry_server %s: an address and a port number are needed; there is none", config.Quote(strings.Join(s.words[1:], " "))), "")
		return
	}
	r.svc.sorry = &sorry{place: s.place, addr: a, port: p, method: r.svc.method}
}

func (r *reader) sorryMethod(s *stmt) {
	if r.svc.sorry == nil {
		r.warn(s.place, "sorry_server forwarding used without sorry_server", "sorry_server_lvs_method stands before its sorry_server; it is passed over", "")
		return
	}
	r.forwarding(s, &r.svc.sorry.method, "sorry")
}

func (r *reader) sorryInhibit(s *stmt) {
	if r.svc.sorry == nil {
		r.warn(s.place, "Ignoring sorry_server inhibit used before or without sorry_server", "sorry_server_inhibit stands before any sorry_server, so it does nothing", "write it below sorry_server")
		return
	}
	r.svc.sorry.stays = true
}

func (r *reader) realServer(s *stmt) {
	a, ok := literal(s.arg(1))
	p, okPort := port(s.arg(2))
	re := &server{place: s.place, addr: a, port: p, method: r.svc.method, timing: unsetTiming, text: strings.Join(s.words[1:], " ")}
	if !ok || !okPort {
		if !okPort {
			r.theirs(s.place, fmt.Sprintf("invalid number '%s'", s.arg(2)), statusTest)
		}
		r.wrong(s.place, fmt.Sprintf("Invalid real server ip address/port %s/%s - skipping", s.arg(1), s.arg(2)),
			fmt.Sprintf("real_server %s: an address and a port number are needed; it is left out", config.Quote(re.text)), "write real_server ADDRESS PORT {")
		r.passes(s)
	}
	r.real = re
	r.mean(s.body)
	r.real = nil
	if ok && okPort {
		r.svc.reals = append(r.svc.reals, re)
	}
}

func (r *reader) realWeight(s *stmt) {
	theirs := fmt.Sprintf("Real server weight %s is outside range 0-%d", s.arg(1), maxWeight)
	if n, ok := r.lenient(s, s.arg(1), 0, maxWeight, theirs, "the default is used"); ok {
		w := uint32(n)
		r.real.weight = &w
	}
}

func threshold(field func(*server) *uint32) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		if n, ok := r.lenient(s, s.arg(1), 0, math.MaxUint32, fmt.Sprintf("Invalid real_server %s '%s' - ignoring", s.words[0], s.arg(1)), "there is none"); ok {
			*field(r.real) = uint32(n)
		}
	}
}

// vsg is a virtual_server_group.
type vsg struct {
	place
	entries []vsgEntry
}

type vsgEntry struct {
	target
	last   netip.Addr // of a range
	family lvs.Family // of a mark; 0: not given
}

// maxTargets bounds what all groups of a file stand for.
const maxTargets = 1 << 16

func (r *reader) serverGroup(s *stmt) {
	g := &vsg{place: s.place}
	if len(s.words) > 2 {
		r.theirs(s.place, "*** Configuration line starting `***MISSING ***` is missing a parameter at word position 1", statusConfig)
		r.problem(s.place, config.Error, fmt.Sprintf("virtual_server_group %s: %s is passed over; keepalived does not start with it", s.words[1], config.Quote(s.words[2])), "remove it")
	}
	for _, l := range s.body {
		if e, ok := r.groupEntry(s.arg(1), l); ok {
			g.entries = append(g.entries, e)
		}
	}
	name := s.arg(1)
	if len(g.entries) == 0 {
		r.warn(s.place, fmt.Sprintf("virtual server group %s has no entries - removing", name), fmt.Sprintf("virtual_server_group %s has no entries", name), "")
		return
	}
	if r.vsgs == nil {
		r.vsgs = map[string]*vsg{}
	}
	if was := r.vsgs[name]; was != nil {
		r.warn(s.place, "", fmt.Sprintf("virtual_server_group %s is there already, on line %d; the first counts", name, was.line), "")
		return
	}
	r.vsgs[name] = g
}

func (r *reader) groupEntry(name string, l *stmt) (vsgEntry, bool) {
	bad := func(theirs, text string) (vsgEntry, bool) {
		r.wrong(l.place, theirs, fmt.Sprintf("virtual_server_group %s: %s; the line is passed over", name, text), "write ADDRESS PORT, FIRST-LAST PORT, ADDRESS/LENGTH PORT or fwmark N")
		return vsgEntry{}, false
	}
	if l.words[0] == "fwmark" {
		n, err := strconv.ParseUint(l.arg(1), 10, 32)
		if err != nil || n == 0 {
			return bad(fmt.Sprintf("(%s): fwmark '%s' must be in [0, %d] - ignoring", name, l.arg(1), uint32(math.MaxUint32)), config.Quote(l.arg(1))+" is no mark")
		}
		e := vsgEntry{target: target{mark: uint32(n)}}
		if f := l.arg(2); f != "" {
			if e.family = map[string]lvs.Family{"inet": lvs.IPv4, "inet6": lvs.IPv6}[f]; e.family == 0 {
				return bad(fmt.Sprintf("(%s): fwmark '%d' family %s unknown - ignoring", name, n, f), config.Quote(f)+" is no family")
			}
		}
		return e, true
	}
	a, ok := literal(l.words[0])
	p, okPort := port(l.arg(1))
	if !ok || !okPort {
		theirs := fmt.Sprintf("Invalid virtual server group IP address %s - skipping", l.words[0])
		if len(l.words) > 1 {
			theirs = fmt.Sprintf("Invalid virtual server group IP address %s /port/%s - skipping", l.words[0], l.words[1])
		}
		if !okPort {
			r.theirs(l.place, fmt.Sprintf("invalid number '%s'", l.arg(1)), statusTest)
		}
		return bad(theirs, "an address and a port number are needed")
	}
	e := vsgEntry{target: target{addr: netip.AddrPortFrom(a, p)}, last: a}
	if _, mask, has := strings.Cut(l.words[0], "/"); has {
		n, err := strconv.Atoi(mask)
		if err != nil || n < 1 || n > a.BitLen() {
			return bad(fmt.Sprintf("Invalid netmask - %s - skipping", l.words[0]), config.Quote(mask)+" is no length of a mask")
		}
		pre := netip.PrefixFrom(a, n)
		if pre.Masked().Addr() != a {
			return bad(fmt.Sprintf("Address mask bits not empty - %s - skipping", l.words[0]), "the address has bits outside of its mask")
		}
		e.last = lastOf(pre)
	} else if _, end, has := strings.Cut(l.words[0], "-"); has {
		if e.last, ok = rangeEnd(a, end); !ok || e.last.Less(a) {
			theirs := fmt.Sprintf("Address range end is not greater than address range start - %s - skipping", l.words[0])
			if strings.ContainsAny(end, ".:") {
				theirs = fmt.Sprintf("Address range end is less than address range start - %s - skipping", l.words[0])
			}
			return bad(theirs, "the range does not end behind its beginning")
		}
	}
	return e, true
}

// rangeEnd reads the end of a range: an address, or what its last part is, which
// for IPv6 is in hexadecimal.
func rangeEnd(first netip.Addr, end string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(end); err == nil {
		return a, a.Is4() == first.Is4()
	}
	if first.Is4() {
		n, err := strconv.ParseUint(end, 10, 8)
		b := first.As4()
		b[3] = byte(n)
		return netip.AddrFrom4(b), err == nil
	}
	n, err := strconv.ParseUint(end, 16, 16)
	b := first.As16()
	b[14], b[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(b), err == nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		host := max(0, min(8, 8*(i+1)-p.Bits()))
		b[i] |= byte(1<<host - 1)
	}
	a, _ := netip.AddrFromSlice(b) // of the length that it had
	return a
}
