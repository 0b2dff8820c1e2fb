package keepalived

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
)

// check writes the check of a server, as near as there is one.
func (p *siteWriter) check(server netip.AddrPort, spec check.Spec) {
	probe := spec.Probe
	from, bound := probe.(check.From)
	if bound {
		probe = from.Probe
	}
	w := checkWriter{siteWriter: p, server: server, spec: spec, answers: 1}
	if bound {
		w.from = from
	}
	w.probe(probe)
}

// checkWriter writes one check.
type checkWriter struct {
	*siteWriter
	server  netip.AddrPort
	spec    check.Spec
	from    check.From
	answers int // that the check waits for, each as long as connect_timeout
}

func (w checkWriter) probe(probe check.Probe) {
	switch p := probe.(type) {
	case check.Connect:
		w.block("TCP_CHECK", p.Addr, nil)
	case check.Ping:
		w.block("PING_CHECK", netip.AddrPortFrom(p.Addr, w.server.Port()), nil)
	case check.HTTP:
		w.pages(p.Secure, []check.Probe{p})
	case check.All:
		if len(p) == 0 {
			return
		}
		if h, ok := p[0].(check.HTTP); ok {
			w.pages(h.Secure, p)
		}
	case check.SMTP:
		w.answers = smtpSteps
		w.block("SMTP_CHECK", p.Addr, func() {
			if p.Helo != smtpHelo {
				w.word("helo_name", p.Helo)
			}
		})
	case check.DNS:
		w.block("DNS_CHECK", p.Addr, func() {
			w.word("type", p.Type)
			w.word("name", p.Name)
		})
	case check.UDP:
		w.block("UDP_CHECK", p.Addr, func() { w.udp(p) })
	case check.Program:
		w.program(p)
	default:
		w.instead(probe)
	}
}

// instead: a server that is asked in a protocol that keepalived does not speak is
// at least asked whether it takes connections.
func (w checkWriter) instead(probe check.Probe) {
	var at netip.AddrPort
	switch p := probe.(type) {
	case check.Combined:
		w.probe(p.Negotiate)
		return
	case check.FTP:
		at = p.Addr
	case check.POP:
		at = p.Addr
	case check.IMAP:
		at = p.Addr
	case check.NNTP:
		at = p.Addr
	case check.LDAP:
		at = p.Addr
	case check.MySQL:
		at = p.Addr
	case check.PgSQL:
		at = p.Addr
	case check.Oracle:
		at = p.Addr
	case check.Simple:
		if at = p.Addr; p.UDP {
			w.block("UDP_CHECK", at, nil)
			return
		}
	case check.SIP:
		if at = p.Addr; !p.TCP {
			w.block("UDP_CHECK", at, nil)
			return
		}
	case check.RADIUS:
		w.block("UDP_CHECK", p.Addr, nil)
		return
	default:
		return // On, Off and None look at nothing
	}
	w.block("TCP_CHECK", at, nil)
}

// block writes a check that connects.
func (w checkWriter) block(name string, at netip.AddrPort, more func()) {
	w.open(name)
	if at.Addr() != w.server.Addr() {
		w.line("connect_ip", at.Addr().String())
	}
	if at.Port() != w.server.Port() && at.Port() != 0 {
		w.line("connect_port", fmt.Sprint(at.Port()))
	}
	if a := w.from.Source; a.IsValid() {
		if !a.Addr().IsUnspecified() {
			w.line("bindto", a.Addr().String())
		}
		w.number("bind_port", int(a.Port()), 0)
	}
	w.word("bind_if", w.from.Device)
	w.number("fwmark", int(w.from.Mark), 0)
	if more != nil {
		more()
	}
	w.line("connect_timeout", seconds(w.spec.Timeout/time.Duration(w.answers)))
	w.rhythm()
	w.close()
}

// rhythm writes when the check is made again.
func (w checkWriter) rhythm() {
	w.line("delay_loop", seconds(w.spec.Interval))
	w.line("retry", strconv.Itoa(max(w.spec.Fall, 1)-1))
	if w.spec.Fall > 1 {
		delay := w.spec.RetryDelay
		if delay == 0 {
			delay = w.spec.Interval // no hurry
		}
		w.line("delay_before_retry", seconds(delay))
	}
}

func (w checkWriter) pages(secure bool, probes []check.Probe) {
	name := "HTTP_GET"
	if secure {
		name = "SSL_GET"
	}
	first := probes[0].(check.HTTP)
	w.answers = len(probes)
	w.block(name, first.Addr, func() {
		switch first.Dialect {
		case check.KeepaliveHTTP10Close:
			w.line("http_protocol", "1.0C")
		case check.KeepaliveHTTP11, check.HTTP11:
			w.line("http_protocol", "1.1")
		}
		w.flag("enable_sni", first.TLS.ServerName != "")
		for _, p := range probes {
			if h, ok := p.(check.HTTP); ok {
				w.page(h)
			}
		}
	})
}

func (w checkWriter) page(h check.HTTP) {
	w.open("url")
	path := h.Target
	if path == "" {
		path = "/"
	}
	w.line("path", quoted(path))
	if h.Host != "" && h.Host != h.Addr.String() {
		w.word("virtualhost", h.Host)
	}
	var status []string
	for _, r := range h.Status {
		s := strconv.Itoa(r.From)
		if r.To != r.From {
			s += "-" + strconv.Itoa(r.To)
		}
		status = append(status, s)
	}
	if len(status) > 0 {
		w.line("status_code", strings.Join(status, " "))
	}
	w.word("digest", h.Digest)
	w.word("regex", h.Receive)
	if h.Unwanted {
		w.line("regex_no_match")
	}
	w.close()
}

func (w checkWriter) udp(p check.UDP) {
	if len(p.Payload) > 0 {
		w.line("payload", hexText(p.Payload))
	}
	if !p.RequireReply {
		return
	}
	w.line("require_reply", wildText(p.Reply, p.Wild))
	w.number("min_reply_length", p.MinReply, 0)
	w.number("max_reply_length", p.MaxReply, 255)
}

// wildText writes bytes in hexadecimal, with x for the digits that do not matter.
func wildText(b, wild []byte) string {
	text := []byte(hexText(b))
	for i, m := range wild {
		if m&0xf0 != 0 {
			text[2*i] = 'x'
		}
		if m&0x0f != 0 {
			text[2*i+1] = 'x'
		}
	}
	return string(text)
}

func (w checkWriter) program(p check.Program) {
	w.open("MISC_CHECK")
	w.put("misc_path " + commandText(append([]string{p.Path}, p.Args...)))
	if w.spec.Timeout != w.spec.Interval {
		w.line("misc_timeout", seconds(w.spec.Timeout))
	}
	w.flag("misc_dynamic", p.Dynamic)
	if p.User != "" {
		w.line("user", p.User, p.Group)
	}
	w.rhythm()
	w.close()
}
