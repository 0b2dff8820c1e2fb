package keepalived

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Write writes a site as a file for keepalived, as near as the language comes.
// Who wants to know what it could not say reads the file again and asks
// [config.Lost].
func Write(w io.Writer, s config.Site) error {
	p := siteWriter{printer{w: bufio.NewWriter(w)}}
	p.globals(s)
	for _, sc := range s.Scripts {
		if isTracked(s, sc.Name) { // keepalived complains of others
			p.script(sc)
		}
	}
	for _, g := range s.Groups {
		p.group(g)
	}
	for _, in := range s.Instances {
		p.instance(in)
	}
	for _, v := range s.Virtuals {
		p.service(v)
	}
	return p.w.Flush()
}

// isTracked tells whether the state of anybody depends on a script.
func isTracked(s config.Site, script string) bool {
	in := func(all []vrrp.Tracked) bool {
		return slices.ContainsFunc(all, func(t vrrp.Tracked) bool { return t.Name == config.TrackScript(script) })
	}
	return slices.ContainsFunc(s.Instances, func(i config.Instance) bool { return in(i.Track) }) ||
		slices.ContainsFunc(s.Groups, func(g config.Group) bool { return in(g.Track) })
}

type siteWriter struct{ printer }

// line writes words. Those that are empty are left out.
func (p *siteWriter) line(words ...string) {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	p.put(strings.Join(words, " "))
}

// word writes a keyword with its value, if it has one.
func (p *siteWriter) word(keyword, value string) {
	if value != "" {
		p.line(keyword, quoted(value))
	}
}

// flag writes a keyword that is on.
func (p *siteWriter) flag(keyword string, on bool) {
	if on {
		p.put(keyword)
	}
}

// number writes a keyword with a number other than the default.
func (p *siteWriter) number(keyword string, n, usual int) {
	if n != usual {
		p.line(keyword, strconv.Itoa(n))
	}
}

func (p *siteWriter) open(words ...string) {
	p.line(append(words, "{")...)
	p.depth++
}

func (p *siteWriter) close() {
	p.depth--
	p.put("}")
}

// list writes a block of lines, if there are any.
func (p *siteWriter) list(name string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.open(name)
	for _, l := range lines {
		p.put(l)
	}
	p.close()
}

func (p *siteWriter) gap() { p.w.WriteByte('\n') }

// plainWord tells what needs no quotes.
func plainWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-~^*?&") == "" && s[0] != '@' && s[0] != '~'
}

// quoted is a word. There is no way to write a double quote.
func quoted(s string) string {
	if plainWord(s) {
		return s
	}
	return `"` + strings.NewReplacer(`"`, "", "\n", " ").Replace(s) + `"`
}

// commandText is a command line as one word: it is taken apart twice, as a word
// of the file and as a command.
func commandText(words []string) string {
	inner := make([]string, len(words))
	for i, w := range words {
		if inner[i] = w; !plainWord(w) {
			inner[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\042`, "$", `\044`, "\n", `\n`).Replace(w) + "'"
		}
	}
	return `"` + strings.ReplaceAll(strings.Join(inner, " "), `\`, `\\`) + `"`
}

// seconds writes a time with the fraction that it has.
func seconds(d time.Duration) string {
	whole, rest := d/time.Second, d%time.Second
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%09d", whole, rest), "0"), ".") // exact, as a float is not
}

func (p *siteWriter) globals(s config.Site) {
	p.open("global_defs")
	p.word("router_id", s.RouterID)
	if t := s.Timeouts; t != (lvs.Timeouts{}) {
		p.line("lvs_timeouts", "tcp", fmt.Sprint(t.TCP), "tcpfin", fmt.Sprint(t.TCPFin), "udp", fmt.Sprint(t.UDP))
	}
	if len(s.Sync) > 0 {
		p.sync(s.Sync[0])
	}
	if len(s.Instances) > 0 {
		in := s.Instances[0]
		p.pause("vrrp_garp_interval", in.GarpInterval)
		p.pause("vrrp_gna_interval", in.NAInterval)
		p.pause("vrrp_startup_delay", in.Delay())
	}
	p.close()
}

func (p *siteWriter) pause(keyword string, d time.Duration) {
	if d > 0 {
		p.line(keyword, seconds(d))
	}
}

func (p *siteWriter) sync(y config.Sync) {
	d := y.Daemon
	words := []string{"lvs_sync_daemon", d.Interface}
	if y.Instance != "" {
		words = append(words, "inst", quoted(y.Instance))
	}
	words = append(words, "id", fmt.Sprint(d.SyncID))
	if d.MaxLen != 0 {
		words = append(words, "maxlen", fmt.Sprint(d.MaxLen))
	}
	if d.Port != 0 {
		words = append(words, "port", fmt.Sprint(d.Port))
	}
	if d.TTL != 0 {
		words = append(words, "ttl", fmt.Sprint(d.TTL))
	}
	if d.Group.IsValid() {
		words = append(words, "group", d.Group.String())
	}
	p.line(words...)
}

func (p *siteWriter) script(sc config.Script) {
	p.gap()
	p.open("vrrp_script", quoted(sc.Name))
	p.put("script " + commandText(sc.Command.Words))
	p.line("interval", seconds(sc.Interval))
	if sc.Timeout != sc.Interval {
		p.line("timeout", seconds(sc.Timeout))
	}
	p.number("weight", sc.Weight, 0)
	p.number("rise", sc.Rise, 1)
	p.number("fall", sc.Fall, 1)
	if sc.Command.User != "" {
		p.line("user", sc.Command.User, sc.Command.Group)
	}
	p.flag("init_fail", sc.InitFail)
	p.close()
}

func (p *siteWriter) group(g config.Group) {
	p.gap()
	p.open("vrrp_sync_group", quoted(g.Name))
	var members []string
	for _, m := range g.Members {
		members = append(members, quoted(m))
	}
	p.list("group", members)
	weighted := slices.ContainsFunc(g.Track, func(t vrrp.Tracked) bool { return t.Weight != 0 })
	p.flag("sync_group_tracking_weight", weighted)
	p.tracked(g.Track, "")
	p.notify(g.Notify)
	p.close()
}

func (p *siteWriter) instance(in config.Instance) {
	p.gap()
	p.open("vrrp_instance", quoted(in.Name))
	state := "BACKUP"
	if in.StartMaster || in.Priority == vrrp.PriorityOwner {
		state = "MASTER"
	}
	p.line("state", state)
	p.word("interface", in.Link)
	p.line("virtual_router_id", fmt.Sprint(in.VRID))
	p.line("priority", fmt.Sprint(in.Priority))
	p.line("advert_int", seconds(in.Interval))
	if in.Version == 3 && !in.IPv6 {
		p.line("version", "3")
	}
	p.protocol(in)
	p.addresses(in)
	var routes []string
	for _, r := range in.Routes {
		text := routeText(r)
		if tracked := func(t vrrp.Tracked) bool { return t.Name == config.TrackLink(r.Link) }; r.Link != "" && r.Link != in.Link && !slices.ContainsFunc(in.Track, tracked) {
			text += " no_track"
		}
		routes = append(routes, text)
	}
	p.list("virtual_routes", routes)
	p.flag("dont_track_primary", in.UntrackedLink)
	p.tracked(in.Track, in.Link)
	p.notify(in.Notify)
	p.close()
}

func (p *siteWriter) protocol(in config.Instance) {
	if in.Password != "" {
		p.open("authentication")
		p.line("auth_type", "PASS")
		p.word("auth_pass", in.Password)
		p.close()
	}
	if in.Source.IsValid() {
		keyword := "mcast_src_ip"
		if len(in.Peers) > 0 {
			keyword = "unicast_src_ip"
		}
		p.line(keyword, in.Source.String())
	}
	var peers []string
	for _, a := range in.Peers {
		peers = append(peers, a.String())
	}
	p.list("unicast_peer", peers)
	p.number("unicast_ttl", int(in.PeerTTL), 0)
	p.flag("old_unicast_checksum", in.OldPeerSum)
	p.flag("check_unicast_src", in.CheckPeers)
	if in.Group.IsValid() && in.Group != vrrp.GroupIPv4 && in.Group != vrrp.GroupIPv6 {
		p.line("mcast_dst_ip", in.Group.String())
	}
	if in.VMAC != "" {
		p.line("use_vmac", in.VMAC)
	}
	p.flag("nopreempt", in.NoPreempt)
	p.pause("preempt_delay", in.PreemptDelay)
	p.number("down_timer_adverts", in.DownAdverts, 0)
	p.flag("skip_check_adv_addr", in.SkipAddrCheck)
	p.flag("lower_prio_no_advert", in.LowerPrioNoAdvert)
	p.flag("higher_prio_send_advert", in.HigherPrioSendAdvert)
	p.flag("promote_secondaries", in.PromoteSecondaries)
	p.garp(in.Garp)
	p.own(in)
}

// own writes our own keywords, so that keepalived passes over them.
func (p *siteWriter) own(in config.Instance) {
	if in.OnRemoved != config.Restore {
		p.line("@"+ownID, "on_vip_removed", in.OnRemoved.String())
	}
	if in.AskFirst {
		p.line("@"+ownID, "on_duplicate", "refuse")
	}
	if in.LocalNode {
		p.line("@"+ownID, "localnode")
	}
}

func (p *siteWriter) garp(g vrrp.Garp) {
	usual := vrrp.DefaultGarp
	whole := func(keyword string, d, usual time.Duration) {
		if d != usual {
			p.line(keyword, strconv.Itoa(int(d/time.Second)))
		}
	}
	p.number("garp_master_repeat", g.Repeat, usual.Repeat)
	whole("garp_master_delay", g.Delay, usual.Delay)
	whole("garp_master_refresh", g.Refresh, usual.Refresh)
	p.number("garp_master_refresh_repeat", g.RefreshRepeat, usual.RefreshRepeat)
	// What is said of a new master holds for these two, unless they are given.
	p.number("garp_lower_prio_repeat", g.LowerRepeat, g.Repeat)
	whole("garp_lower_prio_delay", g.LowerDelay, g.Delay)
}

func (p *siteWriter) addresses(in config.Instance) {
	var carried, excluded []string
	for _, a := range in.Addresses {
		if a.Excluded {
			excluded = append(excluded, addressText(a))
		} else {
			carried = append(carried, addressText(a))
		}
	}
	p.list("virtual_ipaddress", carried)
	p.list("virtual_ipaddress_excluded", excluded)
}

func addressText(a config.Address) string {
	words := []string{a.Prefix.String()}
	if a.Prefix.IsSingleIP() {
		words[0] = a.Prefix.Addr().String()
	}
	add := func(keyword, value string) {
		if value != "" {
			words = append(words, keyword, value)
		}
	}
	if a.Peer.IsValid() {
		add("peer", a.Peer.Addr().String())
	}
	if a.Broadcast.IsValid() {
		add("brd", a.Broadcast.String())
	}
	add("dev", a.Link)
	if a.Scope != 0 {
		add("scope", fmt.Sprint(a.Scope))
	}
	add("label", a.Label)
	if a.Prefix.Addr().Is6() && a.Deprecated != a.Prefix.IsSingleIP() {
		lft := "forever"
		if a.Deprecated {
			lft = "0"
		}
		add("preferred_lft", lft)
	}
	if a.DAD {
		words = append(words, "-nodad")
	}
	if a.Untracked {
		words = append(words, "no_track")
	}
	return strings.Join(words, " ")
}

func routeText(r config.Route) string {
	words := []string{r.Dst.String()}
	if r.Type != "" {
		words = []string{r.Type, r.Dst.String()}
	}
	add := func(keyword, value string) {
		if value != "" {
			words = append(words, keyword, value)
		}
	}
	if r.Via.IsValid() {
		add("via", r.Via.String())
	}
	add("dev", r.Link)
	if r.From.IsValid() {
		add("src", r.From.String())
	}
	for _, n := range []struct {
		keyword string
		value   int
	}{{"scope", int(r.Scope)}, {"table", r.Table}, {"metric", r.Metric}} {
		if n.value != 0 {
			add(n.keyword, fmt.Sprint(n.value))
		}
	}
	if r.OnLink {
		words = append(words, "onlink")
	}
	return strings.Join(words, " ")
}

// tracked writes what is tracked, but for the interface that always is.
func (p *siteWriter) tracked(all []vrrp.Tracked, primary string) {
	var links, scripts []string
	for _, t := range all {
		kind, name, _ := strings.Cut(t.Name, " ")
		if name == primary && primary != "" && t.Weight == 0 && !t.Reverse {
			continue
		}
		line := quoted(name)
		if t.Weight != 0 || kind == "script" {
			line += fmt.Sprintf(" weight %d", t.Weight)
		}
		if t.Reverse {
			line += " reverse"
		}
		if kind == "script" {
			scripts = append(scripts, line)
		} else {
			links = append(links, line)
		}
	}
	p.list("track_interface", links)
	p.list("track_script", scripts)
}

func (p *siteWriter) notify(n config.Notify) {
	for _, c := range []struct {
		keyword string
		command *config.Command
	}{
		{"notify_master", n.Master}, {"notify_backup", n.Backup}, {"notify_fault", n.Fault}, {"notify_stop", n.Stop},
		{"notify_deleted", n.Deleted}, {"notify_master_rx_lower_pri", n.LowerPriority}, {"notify", n.Any},
	} {
		if c.command != nil {
			p.line(c.keyword, commandText(c.command.Words), c.command.User, c.command.Group)
		}
	}
	p.flag("notify_deleted", n.SayDeleted && n.Deleted == nil)
}

// service writes a virtual service with its servers.
func (p *siteWriter) service(v ldirector.Virtual) {
	if len(v.Members) == 0 && v.Fallback != nil {
		v.Members, v.Fallback = []ldirector.Member{{Destination: *v.Fallback}}, nil
	}
	if len(v.Members) == 0 {
		return // keepalived would not have it
	}
	s := v.Service
	p.gap()
	if s.Mark != 0 {
		p.open("virtual_server", "fwmark", fmt.Sprint(s.Mark))
		if s.Family == lvs.IPv6 {
			p.line("ip_family", "inet6")
		} else {
			p.line("ip_family", "inet")
		}
	} else {
		p.open("virtual_server", s.Addr.Addr().String(), fmt.Sprint(s.Addr.Port()))
		p.line("protocol", s.Protocol.String())
	}
	scheduler := s.Scheduler
	if !slices.Contains(schedulers, scheduler) {
		scheduler = "wlc" // as keepalived reads it
	}
	p.line("lvs_sched", scheduler)
	p.line("lvs_method", methodText(v.Members[0].Destination))
	p.persistence(s)
	p.word("persistence_engine", s.PE)
	p.flag("ops", s.Flags&lvs.OnePacket != 0)
	for i, bit := range []lvs.Flags{lvs.Sched1, lvs.Sched2, lvs.Sched3} {
		p.flag("flag-"+strconv.Itoa(i+1), s.Flags&bit != 0)
	}
	p.quorum(v)
	written := map[netip.AddrPort]bool{}
	for _, m := range v.Members {
		if a := configured(v.Service, m.Destination); !written[a] { // of two keepalived takes the first
			written[a] = true
			p.server(v, m, a)
		}
	}
	p.close()
}

func methodText(d lvs.Destination) string {
	switch d.Method {
	case lvs.Masq:
		return "NAT"
	case lvs.Tunnel:
		return "TUN" + tunnelText(d.Tunnel)
	}
	return "DR"
}

func tunnelText(t lvs.TunnelInfo) string {
	if t.Type == lvs.IPIP {
		return ""
	}
	s := " type " + t.Type.String()
	if t.Port != 0 {
		s += fmt.Sprintf(" port %d", t.Port)
	}
	switch t.Flags {
	case lvs.TunnelCsum:
		s += " csum"
	case lvs.TunnelRemCsum:
		s += " remcsum"
	}
	return s
}

func (p *siteWriter) persistence(s lvs.Service) {
	if s.Flags&lvs.Persistent == 0 {
		return
	}
	p.line("persistence_timeout", fmt.Sprint(s.Timeout))
	if s.Netmask != s.FullMask() {
		mask := strconv.Itoa(int(s.Netmask))
		if s.Family == lvs.IPv4 {
			mask = netip.AddrFrom4([4]byte{byte(s.Netmask >> 24), byte(s.Netmask >> 16), byte(s.Netmask >> 8), byte(s.Netmask)}).String()
		}
		p.line("persistence_granularity", mask)
	}
}

func (p *siteWriter) quorum(v ldirector.Virtual) {
	if q := v.Policy.Quorum; q > 1 {
		p.line("quorum", fmt.Sprint(q))
	}
	if h := v.Policy.Hysteresis; h > 0 {
		p.line("hysteresis", fmt.Sprint(h))
	}
	p.hook("quorum_up", v.Hooks.QuorumUp)
	p.hook("quorum_down", v.Hooks.QuorumDown)
	p.flag("omega", v.Hooks.AtStop)
	if f := v.Fallback; f != nil {
		p.line("sorry_server", f.Addr.Addr().String(), fmt.Sprint(portOf(v.Service, *f)))
		p.line("sorry_server_lvs_method", methodText(*f))
		if v.Policy.FallbackStays {
			p.line("sorry_server_inhibit")
		}
	}
}

func (p *siteWriter) hook(keyword string, c *ldirector.Command) {
	if c != nil {
		p.line(keyword, commandText(c.Words), c.User, c.Group)
	}
}

// configured is the address of a server to write: the kernel's. A check that asks at
// another port says so itself. Where the kernel has none it is that of the service.
func configured(s lvs.Service, d lvs.Destination) netip.AddrPort {
	return netip.AddrPortFrom(d.Addr.Addr(), portOf(s, d))
}

// portOf is the port of a server or sorry server. keepalived complains of one behind
// a mark unless it is NAT's.
func portOf(s lvs.Service, d lvs.Destination) uint16 {
	switch {
	case s.Mark == 0:
		return cmp.Or(d.Addr.Port(), s.Addr.Port())
	case d.Method != lvs.Masq:
		return 0
	}
	return d.Addr.Port()
}

// server writes a real server. One that is kept out is in without a weight: there is
// no other word for it, and who wants it back finds it.
func (p *siteWriter) server(v ldirector.Virtual, m ldirector.Member, a netip.AddrPort) {
	p.open("real_server", a.Addr().String(), fmt.Sprint(a.Port()))
	weight := m.Destination.Weight
	if m.Off {
		weight = 0
	}
	p.line("weight", fmt.Sprint(weight))
	if own := methodText(m.Destination); own != methodText(v.Members[0].Destination) {
		p.line("lvs_method", own)
	}
	p.number("uthreshold", int(m.Destination.Upper), 0)
	p.number("lthreshold", int(m.Destination.Lower), 0)
	checks := p.checks(a, m)
	p.flag("inhibit_on_failure", m.Inhibit || v.Policy.Quiescent)
	// A server that waits for a check and has none would wait for ever.
	p.flag("alpha", !m.AssumeUp && len(checks) > 0)
	p.hook("notify_up", m.NotifyUp)
	p.hook("notify_down", m.NotifyDown)
	for _, c := range checks {
		c.write()
	}
	p.close()
}

func hexText(b []byte) string { return hex.EncodeToString(b) }
