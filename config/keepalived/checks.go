package keepalived

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// checker is a check as it is read.
type checker struct {
	place
	kind string // TCP_CHECK
	timing
	alpha *bool

	ip     netip.Addr // connect_ip; invalid: the server's
	port   uint16     // connect_port; 0: the server's
	bind   netip.Addr
	from   uint16 // bind_port
	device string
	mark   uint32

	// HTTP_GET and SSL_GET.
	pages       []*page
	virtualhost string
	dialect     check.HTTPDialect
	sni         bool

	// MISC_CHECK.
	command *config.Command
	timeout time.Duration
	dynamic bool
	user    string
	group   string

	helo string // SMTP_CHECK
	name string // DNS_CHECK
	typ  string

	udp check.UDP
	bad bool
}

// page is a url of HTTP_GET.
type page struct {
	path        string
	digest      string
	status      []check.StatusRange
	virtualhost string
	receive     string
	inverse     bool   // regex_no_match
	flags       string // of the expression, as they are written within it
}

// common are the words of every check that connects.
func common() map[string]*keyword {
	return map[string]*keyword{
		"connect_ip":         {need: 1, mean: (*reader).connectIP},
		"connect_port":       {need: 1, mean: (*reader).connectPort},
		"bindto":             {need: 1, mean: (*reader).bindTo},
		"bind_port":          {need: 1, mean: (*reader).bindPort},
		"bind_if":            {need: 1, mean: func(r *reader, s *stmt) { r.chk.device = s.arg(1) }},
		"connect_timeout":    {need: 1, mean: connectTimeout(checkTiming, "connect_timeout %s invalid - ignoring")},
		"fwmark":             {need: 1, mean: (*reader).checkMark},
		"retry":              {need: 1, mean: retries(checkTiming, 0, "Invalid retry connection value '%s'")},
		"delay_before_retry": {need: 1, mean: retryDelay(checkTiming, "Invalid delay_before_retry connection value '%s'")},
		"warmup":             {need: 1, mean: (*reader).warmup},
		"delay_loop":         {need: 1, mean: delayLoop(checkTiming, "delay_loop '%s' is invalid - ignoring")},
		"alpha":              {mean: func(r *reader, s *stmt) { r.optional(s, &r.chk.alpha, "Invalid alpha parameter %s") }},
		"log_all_failures":   nothing(), // they are all in the log
	}
}

func checkTiming(r *reader) *timing { return &r.chk.timing }

// more adds words to those of every check.
func more(words map[string]*keyword) map[string]*keyword {
	all := common()
	maps.Copy(all, words)
	return all
}

var urlScope = sync.OnceValue(func() *scope {
	return &scope{name: "url", keywords: map[string]*keyword{
		"path":             {need: 1, mean: func(r *reader, s *stmt) { r.url.path = s.arg(1) }},
		"digest":           {need: 1, mean: (*reader).digest},
		"status_code":      {mean: (*reader).statusCode},
		"virtualhost":      {mean: func(r *reader, s *stmt) { r.host(s, &r.url.virtualhost, "Missing HTTP_GET virtualhost name") }},
		"regex":            {need: 1, mean: func(r *reader, s *stmt) { r.url.receive = s.arg(1) }},
		"regex_no_match":   {mean: func(r *reader, s *stmt) { r.url.inverse = true }},
		"regex_options":    {mean: (*reader).regexOptions},
		"regex_min_offset": ignored("the expression may match anywhere in the page"),
		"regex_max_offset": ignored("the expression may match anywhere in the page"),
		"regex_stack":      nothing(),
	}}
})

func httpWords() map[string]*keyword {
	return more(map[string]*keyword{
		"nb_get_retry":  {need: 1, mean: (*reader).oldRetry},
		"virtualhost":   {mean: func(r *reader, s *stmt) { r.host(s, &r.chk.virtualhost, "HTTP_GET virtualhost name missing") }},
		"http_protocol": {mean: (*reader).httpProtocol},
		"enable_sni":    {mean: (*reader).enableSNI},
		"fast_recovery": {mean: (*reader).fastRecovery},
		"url":           {shape: block, in: urlScope(), mean: (*reader).page},
	})
}

// checkScopes are the blocks of the checks.
var checkScopes = sync.OnceValue(func() map[string]*scope {
	return map[string]*scope{
		"TCP_CHECK":  {name: "TCP_CHECK", keywords: more(nil)},
		"PING_CHECK": {name: "PING_CHECK", keywords: more(nil)},
		"HTTP_GET":   {name: "HTTP_GET", keywords: httpWords()},
		"SSL_GET":    {name: "SSL_GET", keywords: httpWords()},
		"MISC_CHECK": {name: "MISC_CHECK", keywords: miscWords()},
		"SMTP_CHECK": {name: "SMTP_CHECK", keywords: more(map[string]*keyword{
			"helo_name": {mean: (*reader).heloName},
			"host":      {shape: block, in: &scope{name: "host", keywords: more(nil)}, mean: (*reader).smtpHost},
		})},
		"DNS_CHECK": {name: "DNS_CHECK", keywords: more(map[string]*keyword{
			"type": {need: 1, mean: (*reader).dnsType},
			"name": {need: 1, mean: (*reader).dnsName},
		})},
		"UDP_CHECK": {name: "UDP_CHECK", keywords: more(map[string]*keyword{
			"payload":          {mean: (*reader).udpPayload},
			"require_reply":    {mean: (*reader).udpReply},
			"min_reply_length": {need: 1, mean: udpLength(func(u *check.UDP) *int { return &u.MinReply })},
			"max_reply_length": {need: 1, mean: udpLength(func(u *check.UDP) *int { return &u.MaxReply })},
		})},
	}
})

func miscWords() map[string]*keyword {
	words := more(map[string]*keyword{
		"misc_path":    {need: 1, mean: (*reader).miscPath},
		"misc_timeout": {need: 1, mean: (*reader).miscTimeout},
		"misc_dynamic": {mean: func(r *reader, _ *stmt) { r.chk.dynamic = true }},
		"user":         {mean: (*reader).miscUser},
	})
	for _, w := range []string{"connect_ip", "connect_port", "bindto", "bind_port", "bind_if", "connect_timeout", "fwmark"} {
		delete(words, w)
	}
	return words
}

// withChecks adds the blocks of the checks to the words of a real server.
func withChecks(words map[string]*keyword) map[string]*keyword {
	for name, sc := range checkScopes() {
		words[name] = &keyword{shape: block, in: sc, mean: (*reader).check}
	}
	words["FILE_CHECK"] = ignoredList("files are not tracked, so the server is well as far as this check goes")
	words["BFD_CHECK"] = ignoredList("there is no BFD, so the server is well as far as this check goes")
	return words
}

func (r *reader) check(s *stmt) {
	c := &checker{place: s.place, kind: s.words[0], timing: unsetTiming}
	c.udp.MaxReply = 255
	r.chk = c
	r.mean(s.body)
	switch {
	case (c.kind == "HTTP_GET" || c.kind == "SSL_GET") && len(c.pages) == 0:
		r.wrong(s.place, "HTTP/SSL_GET checker has no urls specified - ignoring", c.kind+" has no url with a path; it is left out", "write url { path / }")
		c.bad = true
	case c.kind == "MISC_CHECK" && c.command == nil:
		r.wrong(s.place, "No script path has been specified for MISC_CHECKER - skipping", "MISC_CHECK has no misc_path; it is left out", `write misc_path "COMMAND"`)
		c.bad = true
	case c.kind == "UDP_CHECK" && c.udp.MinReply > c.udp.MaxReply:
		r.warn(s.place, fmt.Sprintf("UDP_CHECK min_reply length %d > max_reply_length %d - will always fail", c.udp.MinReply, c.udp.MaxReply), "min_reply_length is more than max_reply_length: no answer will do", "")
	}
	r.chk = nil
	if !c.bad {
		r.real.checks = append(r.real.checks, c)
	}
}

func (r *reader) connectIP(s *stmt) {
	a, ok := literal(s.arg(1))
	switch {
	case !ok:
		r.warn(s.place, fmt.Sprintf("Invalid connect_ip address %s - ignoring", s.arg(1)), fmt.Sprintf("connect_ip %s: that is no address; the server's is asked", config.Quote(s.arg(1))), "")
	case r.chk.bind.IsValid() && r.chk.bind.Is4() != a.Is4():
		r.warn(s.place, fmt.Sprintf("connect_ip address %s does not match address family of bindto - skipping", s.arg(1)), "connect_ip is not of the family of bindto; the server's address is asked", "")
	default:
		r.chk.ip = a
	}
}

func (r *reader) connectPort(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 1, 65535, fmt.Sprintf("Invalid checker connect_port '%s'", s.arg(1)), "the server's is asked"); ok {
		r.chk.port = uint16(n)
	}
}

func (r *reader) bindTo(s *stmt) {
	a, ok := literal(s.arg(1))
	switch {
	case !ok:
		r.warn(s.place, fmt.Sprintf("Invalid bindto address %s - ignoring", s.arg(1)), fmt.Sprintf("bindto %s: that is no address; the kernel chooses", config.Quote(s.arg(1))), "")
	case a.Is4() != r.asked().Is4():
		r.warn(s.place, fmt.Sprintf("bindto address %s does not match address family of connect_ip - skipping", s.arg(1)), "bindto is not of the family of the server; the kernel chooses", "")
	default:
		r.chk.bind = a
	}
}

// asked is the address that the check being read asks.
func (r *reader) asked() netip.Addr {
	if r.chk.ip.IsValid() {
		return r.chk.ip
	}
	return r.real.addr
}

func (r *reader) bindPort(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 1, 65535, fmt.Sprintf("Invalid checker bind_port '%s'", s.arg(1)), "the kernel chooses"); ok {
		r.chk.from = uint16(n)
	}
}

func (r *reader) checkMark(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 0, math.MaxUint32, fmt.Sprintf("Invalid fwmark connection value '%s'", s.arg(1)), "there is none"); ok {
		r.chk.mark = uint32(n)
	}
}

func (r *reader) oldRetry(s *stmt) {
	r.warn(s.place, "nb_get_retry is deprecated - please use 'retry'", "nb_get_retry is an old word", "write retry")
	retries(checkTiming, 0, "Invalid nb_get_retry value '%s'")(r, s)
}

func (r *reader) httpProtocol(s *stmt) {
	versions := map[string]check.HTTPDialect{"1.0": check.KeepaliveHTTP10, "1.0C": check.KeepaliveHTTP10Close, "1.0c": check.KeepaliveHTTP10Close, "1.1": check.KeepaliveHTTP11}
	d, known := versions[s.arg(1)]
	switch {
	case len(s.words) < 2:
		r.warn(s.place, "Missing http_protocol version", "http_protocol names no version; 1.0 is used", "")
	case !known:
		r.warn(s.place, fmt.Sprintf("Invalid http_protocol version %s", s.arg(1)), fmt.Sprintf("http_protocol %s: it is 1.0, 1.0C or 1.1; 1.0 is used", config.Quote(s.arg(1))), "")
	default:
		r.chk.dialect = d
	}
}

func (r *reader) enableSNI(s *stmt) {
	if on, ok := r.boolean(s, 1, fmt.Sprintf("Invalid enable_sni parameter %s", s.arg(1))); ok {
		r.chk.sni = on
	}
}

// fastRecovery asks all urls one after the other when a server was down, which
// ours always do.
func (r *reader) fastRecovery(s *stmt) {
	r.boolean(s, 1, fmt.Sprintf("Invalid fast_recovery parameter %s", s.arg(1)))
}

func (r *reader) page(s *stmt) {
	p := &page{}
	r.url = p
	r.mean(s.body)
	r.url = nil
	if p.path == "" {
		r.wrong(s.place, "HTTP/SSL_GET checker url has no path - ignoring", "url has no path; it is left out", "write path /")
		return
	}
	if p.receive != "" && p.flags != "" {
		p.receive = "(?" + p.flags + ")" + p.receive
	}
	r.chk.pages = append(r.chk.pages, p)
}

// regexFlags are the options of an expression that have a letter within it.
var regexFlags = map[string]string{"caseless": "i", "multiline": "m", "dotall": "s", "extended": "x"}

func (r *reader) regexOptions(s *stmt) {
	for _, o := range s.words[1:] {
		f, known := regexFlags[o]
		if !known {
			r.warn(s.place, "", fmt.Sprintf("regex_options %s is not supported: the expression is read without it", config.Quote(o)), "caseless, multiline, dotall and extended are")
			continue
		}
		r.url.flags += f
	}
}

func (r *reader) digest(s *stmt) {
	d := s.arg(1)
	_, err := hex.DecodeString(d)
	switch {
	case r.url.digest != "":
		r.warn(s.place, fmt.Sprintf("Digest '%s' is a duplicate", d), "digest is there already; the first counts", "")
	case len(d) != 32:
		r.warn(s.place, fmt.Sprintf("digest '%s' character length should be 32 rather than %d", d, len(d)), fmt.Sprintf("digest %s: 32 hexadecimal digits are needed; any page will do", config.Quote(d)), "genhash prints it")
	case err != nil:
		at := badDigit(d)
		r.warn(s.place, fmt.Sprintf("Unable to interpret hex digit in '%s' at offset %d/%d", d[:at+2], at, at+1), fmt.Sprintf("digest %s: 32 hexadecimal digits are needed; any page will do", config.Quote(d)), "genhash prints it")
	default:
		r.url.digest = d
	}
}

// badDigit is where the last two digits stand that are none: keepalived reads from
// the end.
func badDigit(d string) int {
	for i := len(d) - 2; i > 0; i -= 2 {
		if hexValue(d[i]) < 0 || hexValue(d[i+1]) < 0 {
			return i
		}
	}
	return 0
}

func (r *reader) statusCode(s *stmt) {
	for _, w := range s.words[1:] {
		from, to, ranged := strings.Cut(w, "-")
		if !ranged {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil || a < 100 || b > 599 || a > b {
			r.warn(s.place, fmt.Sprintf("Invalid HTTP_GET status code '%s'", w), fmt.Sprintf("status_code %s: numbers and ranges from 100 to 599 are needed; it is passed over", config.Quote(w)), "")
			continue
		}
		if len(r.url.status) < 500 {
			r.url.status = append(r.url.status, check.StatusRange{From: a, To: b})
		}
	}
}

func (r *reader) miscPath(s *stmt) { r.chk.command = r.command(s, false) }

func (r *reader) miscTimeout(s *stmt) {
	if n, ok := r.lenient(s, s.arg(1), 0, maxSeconds, fmt.Sprintf("Invalid misc_timeout value '%s'", s.arg(1)), "delay_loop is used"); ok {
		r.chk.timeout = time.Duration(n) * time.Second
	}
}

func (r *reader) miscUser(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "No user specified for misc checker script ", "user names nobody", "")
		return
	}
	r.chk.user, r.chk.group = s.arg(1), s.arg(2)
}

func (r *reader) heloName(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "SMTP_CHECK helo name missing", "helo_name names nothing", "")
		return
	}
	r.chk.helo = s.arg(1)
}

// smtpHost is an old way to write several checks into one. Each is one here.
func (r *reader) smtpHost(s *stmt) {
	r.warn(s.place, "", "host within SMTP_CHECK is an old form", "write an SMTP_CHECK for each")
	outer := r.chk
	inner := *outer
	inner.place, inner.ip, inner.port = s.place, netip.Addr{}, 0
	r.chk = &inner
	r.mean(s.body)
	r.chk = outer
	outer.bad = true // unless it has words of its own; see bare
	if outer.ip.IsValid() || outer.port != 0 || outer.bind.IsValid() {
		outer.bad = false
	}
	r.real.checks = append(r.real.checks, &inner)
}

func (r *reader) dnsType(s *stmt) {
	switch s.arg(1) {
	case "A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA":
		r.chk.typ = s.arg(1)
	case "RRSIG", "DNSKEY": // keepalived has them
		r.warn(s.place, "", fmt.Sprintf("type %s is not supported; SOA is asked for", s.arg(1)), "")
	default:
		r.warn(s.place, fmt.Sprintf("Unknown DNS check type %s - ignoring", s.arg(1)), fmt.Sprintf("type %s: there is no such type; SOA is asked for", config.Quote(s.arg(1))), "")
	}
}

func (r *reader) dnsName(s *stmt) {
	name := s.arg(1)
	switch {
	case r.chk.name != "":
		r.warn(s.place, "DNS_CHECK name already specified - ignoring", "name is there already; the first counts", "")
	case strings.Contains(name, "..") || strings.HasPrefix(name, ".") && name != ".":
		r.warn(s.place, fmt.Sprintf("DNS_CHECK name '%s' has empty label - ignoring", name), fmt.Sprintf("name %s: between two dots there is nothing; the root is asked for", config.Quote(name)), "")
	case len(name) > 253:
		r.warn(s.place, "", "name is longer than a name can be; the root is asked for", "")
	default:
		r.chk.name = name
	}
}

// hexBytes reads bytes in hexadecimal, with blanks between them or not. wild are
// the bits for which an x stands, nil for none.
func hexBytes(words []string, wildcards bool) (data, wild []byte, ok bool) {
	anyWild := false
	for _, w := range words {
		for i := 0; i < len(w); i += 2 {
			var b, m byte
			for _, c := range []byte(w[i:min(i+2, len(w))]) {
				b, m = b<<4, m<<4
				switch v := hexValue(c); {
				case v >= 0:
					b |= byte(v)
				case wildcards && (c == 'x' || c == 'X'):
					m |= 0xf
					anyWild = true
				default:
					return nil, nil, false
				}
			}
			data, wild = append(data, b), append(wild, m)
		}
	}
	if !anyWild {
		wild = nil
	}
	return data, wild, len(data) > 0
}

func (r *reader) udpPayload(s *stmt) {
	if len(s.words) < 2 {
		r.warn(s.place, "UDP_CHECK payload requires a payload", "payload has no bytes", "write them in hexadecimal")
		return
	}
	data, _, ok := hexBytes(strings.Fields(strings.Join(s.words[1:], " ")), false)
	if !ok {
		r.warn(s.place, "Invalid hex string for UDP_CHECK payload", fmt.Sprintf("payload %s: hexadecimal bytes are needed; nothing is sent", config.Quote(s.arg(1))), "")
		return
	}
	r.chk.udp.Payload = data
}

func (r *reader) udpReply(s *stmt) {
	u := &r.chk.udp
	u.RequireReply = true
	if len(s.words) < 2 {
		return
	}
	data, wild, ok := hexBytes(strings.Fields(strings.Join(s.words[1:], " ")), true)
	if !ok {
		r.warn(s.place, "Invalid hex string for UDP_CHECK reply", fmt.Sprintf("require_reply %s: hexadecimal bytes, with x for any digit, are needed; any answer will do", config.Quote(s.arg(1))), "")
		return
	}
	u.Reply, u.Wild = data, wild
}

func udpLength(field func(*check.UDP) *int) func(*reader, *stmt) {
	return func(r *reader, s *stmt) {
		theirs := fmt.Sprintf("UDP_CHECK %s length %s not valid - must be between 0 & 65535", s.words[0][:3], s.arg(1))
		if n, ok := r.number(s, s.arg(1), 0, 65535, theirs, "the default is used"); ok {
			*field(&r.chk.udp) = int(n)
		}
	}
}

// Specs.

// Defaults of checks.
const (
	defaultLoop       = 60 * time.Second
	defaultConnect    = 5 * time.Second
	defaultRetryDelay = time.Second
	httpRetryDelay    = 3 * time.Second
	dnsRetries        = 3
	smtpHelo          = "smtpchecker.keepalived.org"
	// maxDigested is how much of a page is looked at for its digest.
	maxDigested = 16 << 20
	// smtpSteps and webSteps are how many answers a check waits for, each as long
	// as connect_timeout.
	smtpSteps = 3
)

// spec makes the check of a server.
func (r *reader) spec(v *service, re *server, c *checker) check.Spec {
	t := c.timing.or(re.timing).or(v.timing)
	retry, delay := int64(1), defaultRetryDelay
	switch c.kind {
	case "MISC_CHECK":
		retry = 0
	case "HTTP_GET", "SSL_GET":
		delay = httpRetryDelay
	case "DNS_CHECK":
		retry, delay = dnsRetries, -1 // delay_loop
	}
	t = t.or(timing{loop: defaultLoop, connect: defaultConnect, retryDelay: delay, retry: retry})
	s := check.Spec{Interval: t.loop, Timeout: t.connect, Rise: 1, Fall: int(min(t.retry, math.MaxInt32-1)) + 1}
	if t.retry > 0 && t.retryDelay >= 0 {
		s.RetryDelay = max(t.retryDelay, time.Millisecond)
	}
	s.Probe = r.probe(v, re, c, t.connect, &s.Timeout)
	if c.kind == "MISC_CHECK" {
		s.Timeout = t.loop
		if c.timeout > 0 {
			s.Timeout = c.timeout
		}
	}
	if c.bind.IsValid() || c.from != 0 || c.device != "" || c.mark != 0 {
		s.Probe = check.From{Probe: s.Probe, Source: c.source(re), Device: c.device, Mark: c.mark}
	}
	s.ID = r.checkID(c, re, s)
	return s
}

// source is where a check connects from; invalid if that is left to the kernel.
func (c *checker) source(re *server) netip.AddrPort {
	a := c.bind
	if !a.IsValid() && c.from != 0 {
		if a = netip.IPv4Unspecified(); re.addr.Is6() {
			a = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(a, c.from)
}

func (c *checker) at(re *server) netip.AddrPort {
	a, p := re.addr, re.port
	if c.ip.IsValid() {
		a = c.ip
	}
	if c.port != 0 {
		p = c.port
	}
	return netip.AddrPortFrom(a, p)
}

// probe makes the question. It may take longer than the timeout of one answer.
func (r *reader) probe(v *service, re *server, c *checker, connect time.Duration, timeout *time.Duration) check.Probe {
	at := c.at(re)
	switch c.kind {
	case "HTTP_GET", "SSL_GET":
		all := make(check.All, len(c.pages))
		for i, p := range c.pages {
			all[i] = c.http(v, re, p, at)
		}
		*timeout = longer(connect, len(all))
		if len(all) == 1 {
			return all[0]
		}
		return all
	case "MISC_CHECK":
		return check.Program{Path: c.command.Words[0], Args: c.command.Words[1:], Dynamic: c.dynamic,
			User: cmp.Or(c.user, r.g.ScriptUser), Group: r.groupOf(c)}
	case "SMTP_CHECK":
		*timeout = longer(connect, smtpSteps)
		return check.SMTP{Addr: at, Helo: cmp.Or(c.helo, smtpHelo), Old: true}
	case "DNS_CHECK":
		return check.DNS{Addr: at, Name: c.name, Type: cmp.Or(c.typ, "SOA"), Empty: true}
	case "UDP_CHECK":
		u := c.udp
		u.Addr = at
		return u
	case "PING_CHECK":
		return check.Ping{Addr: at.Addr()}
	}
	return check.Connect{Addr: at}
}

func longer(d time.Duration, n int) time.Duration {
	return time.Duration(min(int64(n), int64(math.MaxInt64/max(d, 1)))) * d
}

func (r *reader) groupOf(c *checker) string {
	if c.user != "" {
		return c.group
	}
	return r.g.ScriptGroup
}

func (c *checker) http(v *service, re *server, p *page, at netip.AddrPort) check.Probe {
	host := cmp.Or(cmp.Or(p.virtualhost, c.virtualhost), cmp.Or(re.virtualhost, v.virtualhost))
	h := check.HTTP{Addr: at, Target: p.path, Host: host, Status: p.status, Receive: p.receive, Unwanted: p.inverse, Digest: p.digest, NoRedirect: true, Dialect: c.dialect}
	if h.Dialect == check.HTTP11 {
		h.Dialect = check.KeepaliveHTTP10
	}
	if host == "" {
		h.Host = at.String()
	}
	if p.digest != "" {
		h.MaxBody = maxDigested
	}
	if h.Secure = c.kind == "SSL_GET"; h.Secure && c.sni {
		h.TLS.ServerName = host
	}
	return h
}

// checkID names a check by what it asks, so that the same question is asked once.
func (r *reader) checkID(c *checker, re *server, s check.Spec) string {
	id := c.kind + " " + c.at(re).String()
	switch c.kind {
	case "MISC_CHECK":
		id = c.kind + " " + strings.Join(c.command.Words, " ")
	case "HTTP_GET", "SSL_GET":
		id += c.pages[0].path
	case "PING_CHECK":
		id = c.kind + " " + c.at(re).Addr().String()
	}
	return r.unique(id, s)
}

// unique gives the second of two different checks with the same name another one.
func (r *reader) unique(id string, s check.Spec) string {
	if r.checks == nil {
		r.checks = map[string]check.Spec{}
	}
	s.ID = ""
	for n := 1; ; n++ {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s #%d", id, n)
		}
		was, taken := r.checks[name]
		if !taken || sameSpec(was, s) {
			r.checks[name] = s
			return name
		}
	}
}
