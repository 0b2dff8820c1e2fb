package ldirectord

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
)

// question is one real server of a virtual and what to ask it.
type question struct {
	v                *virtual
	re               *real
	server           netip.Addr
	request, receive string // request begins with a slash
	at               netip.AddrPort
}

// spec is the check of a real server. There is none for a server that is always
// in (checktype=on) or always out (off).
func (m *meaning) spec(v *virtual, re *real, a netip.Addr) (check.Spec, bool) {
	connect, negotiate := m.timeouts(v)
	q := v.question(re, a)
	s := check.Spec{ID: q.id(), Interval: m.interval(v), Timeout: negotiate, Rise: 1}
	s.Fall = atLeastOne(orElse(v.arg("failurecount"), m.f.globals.arg("failurecount")))
	switch kind := v.checkType(); kind {
	case "on", "off":
		return check.Spec{}, false
	case "negotiate":
		s.Probe = q.negotiate()
		s.Timeout = serviceTimeout(v.service, connect, negotiate)
	case "connect":
		s.Probe, s.Timeout = q.connect(), connect
		if v.proto == "udp" {
			s.Probe, s.Timeout = m.ping(v, a, connect)
		}
	case "ping":
		s.Probe, s.Timeout = m.ping(v, a, connect)
	case "external", "external-perl":
		s.Probe, s.Timeout = q.external(kind == "external-perl"), connect
	default:
		s.Probe = q.combined(number32(kind), connect)
		s.Timeout = serviceTimeout(v.service, connect, negotiate)
	}
	return s, true
}

// serviceTimeout: the alarm clock of two services is set to checktimeout.
func serviceTimeout(service string, connect, negotiate time.Duration) time.Duration {
	switch service {
	case "ldap", "ldaps":
		return connect
	case "radius": // negotiatetimeout bounds the wait for its one answer
		return min(connect, negotiate)
	}
	return negotiate
}

// checkType is one of ldirectord's words, or a number.
func (v *virtual) checkType() string { return orElse(v.arg("checktype"), "negotiate") }

func (v *virtual) question(re *real, a netip.Addr) question {
	q := question{v: v, re: re, server: a,
		request: withSlash(v.arg("request")), receive: v.arg("receive")}
	if re.own {
		q.request, q.receive = re.request, re.receive
	}
	q.at = netip.AddrPortFrom(a, v.checkPort(re))
	return q
}

// checkPort is where a server is asked: checkport, its own port, that of the
// service, or else that of the virtual, where ldirectord would ask port 0.
func (v *virtual) checkPort(re *real) uint16 {
	if p := v.arg("checkport"); p != "" {
		return uint16(number32(p))
	}
	if re.portNum > 0 {
		return re.portNum
	}
	if p := servicePorts()[v.service]; p > 0 {
		return p
	}
	return v.key.Addr.Port()
}

func (q question) connect() check.Probe { return check.Connect{Addr: q.at} }

// ping asks up to checkcount times, each for the whole timeout.
func (m *meaning) ping(v *virtual, a netip.Addr, each time.Duration) (check.Probe, time.Duration) {
	tries := atLeastOne(orElse(v.arg("checkcount"), m.f.globals.arg("checkcount")))
	tries = min(tries, 1000) // so that the product stays a duration
	return check.Ping{Addr: a, Tries: tries, Wait: each}, time.Duration(tries) * min(each, 24*time.Hour)
}

// external is run with the virtual and the real server as arguments.
func (q question) external(perl bool) check.Probe {
	virtual := q.v.stmt.head.mark
	if virtual == "" {
		virtual = bracketed(q.v.key.Addr.Addr())
	}
	return check.Program{Path: orElse(q.v.arg("checkcommand"), "/bin/true"), Perl: perl, Args: []string{
		virtual, strconv.Itoa(int(q.v.key.Addr.Port())), bracketed(q.server), strconv.Itoa(int(q.re.portNum))}}
}

func bracketed(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}

// combined asks n times for a connection only. Over UDP that is no question.
func (q question) combined(n int, timeout time.Duration) check.Probe {
	connect := q.connect()
	if q.v.proto == "udp" {
		connect = check.On{}
	}
	return check.Combined{Negotiate: q.negotiate(), Connect: connect, N: n, ConnectTimeout: timeout}
}

// negotiate is the question in the service's protocol.
func (q question) negotiate() check.Probe {
	v := q.v
	login, passwd, plain := v.login, v.passwd, q.request[1:]
	udp := v.proto == "udp"
	sql := check.SQL{Addr: q.at, Login: login, Password: passwd, Database: v.arg("database"), Query: plain}
	byName := check.TLS{Verify: check.VerifyName}
	switch v.service {
	case "http", "https", "http_proxy":
		return q.http()
	case "ftp":
		// Without a login ldirectord's FTP library has one: anonymous, but no password.
		return check.FTP{Addr: q.at, Login: orElse(login, "anonymous"), Password: passwd, File: q.request, Receive: q.receive}
	case "smtp", "submission":
		return check.SMTP{Addr: q.at}
	case "pop":
		return check.POP{Addr: q.at, Login: login, Password: passwd}
	case "pops":
		return check.POP{Addr: q.at, Login: login, Password: passwd, Secure: true, TLS: byName}
	case "imap":
		return check.IMAP{Addr: q.at, Login: login, Password: passwd}
	case "imaps":
		return check.IMAP{Addr: q.at, Login: login, Password: passwd, Secure: true, TLS: byName}
	case "nntp":
		return check.NNTP{Addr: q.at}
	case "ldap", "ldaps":
		return check.LDAP{Addr: q.at, Login: login, Password: passwd, Base: plain, Receive: q.receive, Secure: v.service == "ldaps"}
	case "mysql":
		return check.MySQL{SQL: sql}
	case "pgsql":
		return check.PgSQL{SQL: sql}
	case "oracle":
		return check.Oracle{SQL: sql}
	case "dns":
		return check.DNS{Addr: q.at, TCP: v.proto == "tcp", Name: plain, Receive: q.receive}
	case "radius":
		return check.RADIUS{Addr: q.at, Login: login, Password: passwd, Secret: v.arg("secret")}
	case "sip":
		return check.SIP{Addr: q.at, TCP: !udp, Login: login}
	case "simpletcp":
		return check.Simple{Addr: q.at, UDP: udp, Request: strings.ReplaceAll(plain, `\n`, "\n"), Receive: q.receive}
	}
	return check.None{}
}

// http: a request of the real server's own may be a whole URL. To a proxy the
// request always is one. The chain of a certificate is looked at, its name not.
func (q question) http() check.Probe {
	v := q.v
	p := check.HTTP{Addr: q.at, Method: orElse(v.arg("httpmethod"), "GET"), Target: q.request,
		Host: v.arg("virtualhost"), Receive: q.receive}
	scheme := "http"
	switch v.service {
	case "https":
		scheme = "https"
		p.Secure, p.TLS = true, check.TLS{Verify: check.VerifyChain}
	case "http_proxy":
		p.Proxy, p.Host = true, ""
		p.Target = q.request[1:]
		if q.re.own && !strings.Contains(q.request, "http://") {
			p.Target = fmt.Sprintf("http://%v%s", q.at, q.request)
		}
	}
	if q.re.own && strings.Contains(q.request, scheme+"://") {
		p.Target = q.request[1:]
	}
	return p
}

// id is ldirectord's name for the check of a real server.
func (q question) id() string {
	v := q.v
	what := v.checkType()
	switch what {
	case "negotiate":
		what += ":" + v.service
	case "external", "external-perl":
		what += ":" + orElse(v.arg("checkcommand"), "/bin/true")
	case "connect", "ping", "on", "off":
	default:
		what = "combined:" + v.service
	}
	return strings.Join([]string{what, v.proto, bracketed(q.server), strconv.Itoa(int(q.re.portNum)),
		v.arg("virtualhost"), v.arg("checkport"), orElse(q.re.weight, "1"), q.re.method,
		quoteMeta(q.request), quoteMeta(q.receive)}, ":")
}

// quoteMeta puts a backslash in front of everything but letters, digits and "_",
// as ldirectord does in its names.
func quoteMeta(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
