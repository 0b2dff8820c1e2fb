package ldirectord

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Site is what the file wants, in the terms of all dialects.
func (f *File) Site() config.Site { return config.Site{Virtuals: f.Virtuals()} }

// Write writes the virtual services of a site as a file for ldirectord, as near
// as the language comes. Who wants to know what it could not say reads the file
// again and asks [config.Lost].
//
// A virtual has one check for all of its servers, that of the first one that has
// any; requests and what is to be received may be a server's own.
func Write(w io.Writer, s config.Site) error {
	p := siteWriter{w: bufio.NewWriter(w)}
	p.globals(s)
	for _, v := range s.Virtuals {
		p.virtual(v)
	}
	return p.w.Flush()
}

type siteWriter struct {
	w     *bufio.Writer
	every time.Duration // the global interval
	// command is the global fallbackcommand, in which quotes have another meaning
	// than in that of a virtual.
	command string
}

// put writes a line. Errors stay in the writer until it is flushed.
func (p *siteWriter) put(format string, args ...any) {
	fmt.Fprintf(p.w, format+"\n", args...)
}

// set writes a directive of a virtual, if it has a value.
func (p *siteWriter) set(name, value string) {
	if value != "" {
		p.put("\t%s=%s", name, value)
	}
}

// quote writes one whose value stands in quotes.
func (p *siteWriter) quote(name, value string) {
	if value != "" && !strings.ContainsAny(value, "\"\n") {
		p.put("\t%s=\"%s\"", name, value)
	}
}

// globals: the interval is that of most checks. Other ones need fork=yes.
func (p *siteWriter) globals(s config.Site) {
	count := map[time.Duration]int{}
	for _, v := range s.Virtuals {
		if spec, ok := firstCheck(v); ok {
			count[wholeSeconds(spec.Interval)]++
		}
	}
	for d, n := range count {
		if n > count[p.every] || n == count[p.every] && d < p.every {
			p.every = d
		}
	}
	if p.every > 0 {
		p.put("checkinterval=%d", p.every/time.Second)
	}
	if len(count) > 1 {
		p.put("fork=yes")
	}
	if p.command = sameCommand(s.Virtuals); p.command != "" {
		p.put("fallbackcommand=%s", p.command)
	}
	for _, v := range s.Virtuals {
		if v.Alert.From != "" {
			p.put("emailalertfrom=%s", v.Alert.From)
			break
		}
	}
	if slices.ContainsFunc(s.Virtuals, func(v ldirector.Virtual) bool { return v.Policy.ReaddQuiescent }) {
		p.put("readdquiescent=yes")
	}
}

// sameCommand is the fallback command that all virtuals have, if they have one.
func sameCommand(vs []ldirector.Virtual) string {
	if len(vs) == 0 || strings.Contains(vs[0].Hooks.Fallback, "\n") {
		return ""
	}
	first := vs[0].Hooks.Fallback
	if slices.ContainsFunc(vs, func(v ldirector.Virtual) bool { return v.Hooks.Fallback != first }) {
		return ""
	}
	return first
}

// wholeSeconds is what the language can say: at least one.
func wholeSeconds(d time.Duration) time.Duration {
	return max(d.Round(time.Second), time.Second)
}

func secondsText(d time.Duration) string {
	return strconv.Itoa(int(wholeSeconds(d) / time.Second))
}

func firstCheck(v ldirector.Virtual) (check.Spec, bool) {
	for _, m := range v.Members {
		if len(m.Checks) > 0 {
			return m.Checks[0], true
		}
	}
	return check.Spec{}, false
}

func (p *siteWriter) virtual(v ldirector.Virtual) {
	s := v.Service
	if s.Protocol == lvs.SCTP {
		return // there is no word for it
	}
	name, real, fallback := "virtual", "real", "fallback"
	if s.Family == lvs.IPv6 {
		name, real, fallback = "virtual6", "real6", "fallback6"
	}
	if s.Mark != 0 {
		p.put("\n%s=%d", name, s.Mark)
	} else {
		p.put("\n%s=%v", name, s.Addr)
	}
	f := formOf(v)
	for _, m := range v.Members {
		p.put("\t%s=%v", real, f.real(s, m))
	}
	if d := v.Fallback; d != nil && methodOf(d.Method) != "" {
		p.set(fallback, bareAddr(d.Addr)+" "+methodOf(d.Method))
	}
	p.service(v)
	p.check(f)
	p.policy(v)
}

// bareAddr leaves out the port 0, which the language cannot say but for masq.
func bareAddr(a netip.AddrPort) string {
	if a.Port() == 0 {
		return bracketed(a.Addr())
	}
	return a.String()
}

// methodOf is the language's word, "" if there is none.
func methodOf(m lvs.Method) string {
	for word, method := range lvsMethods {
		if method == m {
			return word
		}
	}
	if m == lvs.Local {
		return "gate" // the kernel finds out that the address is its own
	}
	return ""
}

func (p *siteWriter) service(v ldirector.Virtual) {
	s := v.Service
	p.set("scheduler", s.Scheduler)
	switch s.Protocol {
	case lvs.TCP:
		p.set("protocol", "tcp")
	case lvs.UDP:
		p.set("protocol", "udp")
	}
	if s.Flags&lvs.Persistent != 0 && s.Timeout > 0 {
		p.set("persistent", strconv.Itoa(int(s.Timeout)))
		if s.Netmask != s.FullMask() {
			p.set("netmask", maskText(s))
		}
	}
	if s.Flags&lvs.OnePacket != 0 {
		p.set("ops", "yes")
	}
	p.set("schedflags", flagWords(s.Flags))
	p.set("servicename", oneLine(v.Name))
	p.set("comment", oneLine(v.Comment))
	if !strings.ContainsAny(v.MonitorFile, "\"\n") && v.MonitorFile != "" {
		p.put("\tmonitorfile=\"%s\"", v.MonitorFile)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func maskText(s lvs.Service) string {
	if s.Family == lvs.IPv6 {
		return strconv.Itoa(int(s.Netmask))
	}
	m := s.Netmask
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

func flagWords(f lvs.Flags) string {
	var words []string
	for i, bit := range []lvs.Flags{lvs.Sched1, lvs.Sched2, lvs.Sched3} {
		if f&bit != 0 {
			words = append(words, "flag-"+strconv.Itoa(i+1))
		}
	}
	return strings.Join(words, ",")
}

func (p *siteWriter) policy(v ldirector.Virtual) {
	quiet := v.Policy.Quiescent || len(v.Members) > 0 &&
		!slices.ContainsFunc(v.Members, func(m ldirector.Member) bool { return !m.Inhibit })
	if quiet {
		p.set("quiescent", "yes")
	}
	if !v.Policy.CleanStop {
		p.set("cleanstop", "no")
	}
	if c := v.Hooks.Fallback; c != p.command && !strings.Contains(c, "\n") {
		p.set("fallbackcommand", c)
	}
	a := v.Alert
	p.set("emailalert", strings.Join(a.To, ", "))
	if len(a.To) > 0 && a.Repeat > 0 {
		p.set("emailalertfreq", secondsText(a.Repeat))
	}
	p.set("emailalertstatus", strings.Join(a.Status, ","))
	p.set("smtp", a.SMTP)
}

// check writes how the servers of a virtual are looked at.
func (p *siteWriter) check(f form) {
	p.set("checktype", f.kind)
	p.set("service", f.service)
	if f.port != 0 {
		p.set("checkport", strconv.Itoa(int(f.port)))
	}
	if !f.own {
		p.quote("request", strings.TrimPrefix(f.request, "/"))
		p.quote("receive", f.receive)
	}
	p.set("httpmethod", f.method)
	p.quote("virtualhost", f.host)
	p.quote("login", f.login)
	p.quote("passwd", f.passwd)
	p.quote("database", f.database)
	p.quote("secret", f.secret)
	p.set("checkcommand", f.command)
	if f.spec.Probe == nil {
		return
	}
	if f.count > 0 {
		p.set("checkcount", strconv.Itoa(f.count))
	}
	if f.connect > 0 {
		p.set("checktimeout", secondsText(f.connect))
	}
	if f.negotiate > 0 {
		p.set("negotiatetimeout", secondsText(f.negotiate))
	}
	if f.spec.Fall > 1 {
		p.set("failurecount", strconv.Itoa(f.spec.Fall))
	}
	if d := wholeSeconds(f.spec.Interval); d != p.every {
		p.set("checkinterval", secondsText(d))
	}
}

// form is a check in the words of the language.
type form struct {
	spec             check.Spec // that of the first server that has one
	kind, service    string
	port             uint16 // checkport; 0: each server's own
	request, receive string
	own              bool // requests are the servers'
	method, host     string
	login, passwd    string
	database, secret string
	command          string
	count            int
	connect          time.Duration
	negotiate        time.Duration
}

// formOf finds the words for a virtual's checks.
func formOf(v ldirector.Virtual) form {
	spec, ok := firstCheck(v)
	if !ok {
		kind := "on"
		if len(v.Members) > 0 && !slices.ContainsFunc(v.Members, func(m ldirector.Member) bool { return !m.Off }) {
			kind = "off"
		}
		return form{kind: kind}
	}
	f, at := wordsOf(spec)
	f.spec = spec
	if f.impliedLogin(v.Service) {
		f.service, f.login = "", ""
	}
	f.port = commonPort(v, f.service, at.Port())
	for _, m := range v.Members {
		if len(m.Checks) == 0 {
			continue
		}
		if other, _ := wordsOf(m.Checks[0]); other.request != f.request || other.receive != f.receive {
			f.own = true
		}
	}
	return f
}

// impliedLogin: a line service=ftp or service=sip brings a login with it. Without
// the line the port says which service it is, and nobody logs in.
func (f form) impliedLogin(s lvs.Service) bool {
	nobody := f.service == "ftp" && f.login == "anonymous" && f.passwd == "" || f.service == "sip" && f.login == ""
	return nobody && s.Mark == 0 && s.Addr.Port() == servicePorts()[f.service]
}

// commonPort is the checkport to write: none, where each server is asked on its
// own port.
func commonPort(v ldirector.Virtual, service string, first uint16) uint16 {
	if first == 0 {
		return 0 // the check does not use ports
	}
	for _, m := range v.Members {
		if len(m.Checks) == 0 {
			continue
		}
		own := cmp.Or(configuredPort(m), servicePorts()[service], v.Service.Addr.Port()) // as checkPort has it
		if _, at := wordsOf(m.Checks[0]); at.Port() != own {
			return first
		}
	}
	return 0
}

// configuredPort is what stands behind real=, which for gate and ipip may be
// another one than the kernel's.
func configuredPort(m ldirector.Member) uint16 {
	if a, err := netip.ParseAddrPort(m.Name); err == nil && a.Addr() == m.Destination.Addr.Addr() {
		return a.Port()
	}
	return m.Destination.Addr.Port()
}

// real is the line of a server.
func (f form) real(s lvs.Service, m ldirector.Member) string {
	d := m.Destination
	r := real{host: bracketed(d.Addr.Addr()), method: cmp.Or(methodOf(d.Method), "gate")}
	if port := configuredPort(m); port != 0 {
		r.port = strconv.Itoa(int(port))
	}
	if d.Weight != 1 || s.Scheduler[:min(1, len(s.Scheduler))] == "w" {
		r.weight = strconv.Itoa(int(d.Weight))
	}
	if d.Lower > 0 {
		r.lower = strconv.Itoa(int(d.Lower))
	}
	if d.Upper > 0 {
		r.upper = strconv.Itoa(int(d.Upper))
	}
	if f.own && len(m.Checks) > 0 {
		own, _ := wordsOf(m.Checks[0])
		if !strings.ContainsAny(own.request+own.receive, "\"\n") {
			r.own, r.request, r.receive = true, withSlash(own.request), own.receive
		}
	}
	return r.String()
}

// wordsOf finds the words for one check, and where it asks.
func wordsOf(spec check.Spec) (form, netip.AddrPort) {
	f := form{kind: "negotiate", negotiate: spec.Timeout}
	at := f.words(spec)
	return f, at
}

func (f *form) words(spec check.Spec) netip.AddrPort {
	switch p := spec.Probe.(type) {
	case check.Connect:
		f.connects("connect", spec)
		return p.Addr
	case check.Ping:
		f.connects("ping", spec)
		f.count, f.connect = p.Tries, p.Wait
		return netip.AddrPort{}
	case check.Program:
		f.connects("external", spec)
		if p.Perl {
			f.kind = "external-perl"
		}
		f.command = p.Path
		return netip.AddrPort{}
	case check.Combined:
		at := f.words(check.Spec{Probe: p.Negotiate, Timeout: spec.Timeout})
		f.kind, f.connect, f.negotiate = strconv.Itoa(p.N), p.ConnectTimeout, spec.Timeout
		return at
	case check.On:
		f.kind, f.negotiate = "on", 0
		return netip.AddrPort{}
	case check.Off:
		f.kind, f.negotiate = "off", 0
		return netip.AddrPort{}
	case check.None:
		f.service = "none"
		return netip.AddrPort{}
	}
	return f.negotiates(spec)
}

func (f *form) connects(kind string, spec check.Spec) {
	f.kind, f.connect, f.negotiate = kind, spec.Timeout, 0
}

// secure gives the name of a service over TLS.
func secure(name string, tls bool) string {
	if tls {
		return name + "s"
	}
	return name
}

func (f *form) negotiates(spec check.Spec) netip.AddrPort {
	switch p := spec.Probe.(type) {
	case check.HTTP:
		f.service, f.request, f.receive, f.host = secure("http", p.Secure), p.Target, p.Receive, p.Host
		if f.host == p.Addr.String() {
			f.host = "" // each server has its own, and without a word it is the address
		}
		if p.Proxy {
			f.service = "http_proxy"
		}
		if p.Method != "GET" {
			f.method = p.Method
		}
		return p.Addr
	case check.FTP:
		f.service, f.request, f.receive, f.login, f.passwd = "ftp", p.File, p.Receive, p.Login, p.Password
		return p.Addr
	case check.SMTP:
		f.service = "smtp"
		return p.Addr
	case check.POP:
		f.service, f.login, f.passwd = secure("pop", p.Secure), p.Login, p.Password
		return p.Addr
	case check.IMAP:
		f.service, f.login, f.passwd = secure("imap", p.Secure), p.Login, p.Password
		return p.Addr
	case check.NNTP:
		f.service = "nntp"
		return p.Addr
	case check.LDAP:
		f.service, f.login, f.passwd, f.request, f.receive = secure("ldap", p.Secure), p.Login, p.Password, p.Base, p.Receive
		f.connect, f.negotiate = spec.Timeout, 0
		return p.Addr
	case check.MySQL:
		return f.sql("mysql", p.SQL)
	case check.PgSQL:
		return f.sql("pgsql", p.SQL)
	case check.Oracle:
		return f.sql("oracle", p.SQL)
	case check.DNS:
		f.service, f.request, f.receive = "dns", p.Name, p.Receive
		return p.Addr
	case check.RADIUS:
		f.service, f.login, f.passwd, f.secret = "radius", p.Login, p.Password, p.Secret
		return p.Addr
	case check.SIP:
		f.service, f.login = "sip", p.Login
		return p.Addr
	case check.Simple:
		f.service, f.request, f.receive = "simpletcp", strings.ReplaceAll(p.Request, "\n", `\n`), p.Receive
		return p.Addr
	}
	f.service = "none"
	return netip.AddrPort{}
}

func (f *form) sql(service string, p check.SQL) netip.AddrPort {
	f.service, f.login, f.passwd, f.database, f.request = service, p.Login, p.Password, p.Database, p.Query
	return p.Addr
}
