package keepalived

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// checks are the checks of a server, as near as there are any. One that asks nobody
// is left out, and one in a protocol that keepalived does not speak becomes the
// question whether the server takes connections.
func (p *siteWriter) checks(server netip.AddrPort, m ldirector.Member) []checkWriter {
	var all []checkWriter
	for _, spec := range m.Checks {
		w := checkWriter{siteWriter: p, server: server, spec: spec, answers: 1}
		probe := spec.Probe
		if from, bound := probe.(check.From); bound {
			w.from, probe = from, from.Probe
		}
		if w.probe = nearest(probe); w.probe != nil && !m.Off {
			all = append(all, w)
		}
	}
	return all
}

// checkWriter writes one check.
type checkWriter struct {
	*siteWriter
	server  netip.AddrPort
	spec    check.Spec
	probe   check.Probe
	from    check.From
	answers int // that the check waits for, each as long as connect_timeout
}

// nearest is the probe that keepalived knows for another one; nil if there is nobody
// to ask.
func nearest(probe check.Probe) check.Probe {
	if !config.Asks(probe) {
		return nil
	}
	switch p := probe.(type) {
	case check.Connect, check.Ping, check.SMTP, check.UDP, check.Program:
		return p
	case check.HTTP:
		if p.Proxy {
			return check.Connect{Addr: p.Addr}
		}
		return nearestHTTP(p)
	case check.DNS:
		return nearestDNS(p)
	case check.All:
		return nearestAll(p)
	case check.Combined:
		if config.Asks(p.Negotiate) {
			return nearest(p.Negotiate)
		}
		return nearest(p.Connect)
	}
	return connects(probe)
}

// nearestAll: several pages are one check. Whatever else there may be counts for the
// first.
func nearestAll(all check.All) check.Probe {
	if len(all) == 0 {
		return nil
	}
	var pages check.All
	for _, p := range all {
		h, ok := p.(check.HTTP)
		if !ok {
			return nearest(all[0])
		}
		pages = append(pages, nearestHTTP(h))
	}
	return pages
}

// nearestHTTP: a page at some other address is asked for at the server's own, as a
// path is all that can be said.
func nearestHTTP(h check.HTTP) check.HTTP {
	u, err := url.Parse(h.Target)
	if err != nil || u.Host == "" {
		return h
	}
	h.Target, h.Host = u.RequestURI(), u.Host
	return h
}

// nearestDNS: keepalived asks over UDP, and cannot ask for the name of an address.
func nearestDNS(p check.DNS) check.Probe {
	if p.TCP {
		return check.Connect{Addr: p.Addr}
	}
	if _, err := netip.ParseAddr(p.Name); err == nil {
		return check.UDP{Addr: p.Addr}
	}
	switch p.Type {
	case "NS", "CNAME", "SOA", "MX", "TXT", "AAAA":
	default:
		p.Type = "A"
	}
	return p
}

// connects: a server that is asked in a protocol that keepalived does not speak is
// at least asked whether it takes connections.
func connects(probe check.Probe) check.Probe {
	switch p := probe.(type) {
	case check.FTP:
		return check.Connect{Addr: p.Addr}
	case check.POP:
		return check.Connect{Addr: p.Addr}
	case check.IMAP:
		return check.Connect{Addr: p.Addr}
	case check.NNTP:
		return check.Connect{Addr: p.Addr}
	case check.LDAP:
		return check.Connect{Addr: p.Addr}
	case check.MySQL:
		return check.Connect{Addr: p.Addr}
	case check.PgSQL:
		return check.Connect{Addr: p.Addr}
	case check.Oracle:
		return check.Connect{Addr: p.Addr}
	case check.RADIUS:
		return check.UDP{Addr: p.Addr}
	case check.Simple:
		if p.UDP {
			return check.UDP{Addr: p.Addr}
		}
		return check.Connect{Addr: p.Addr}
	case check.SIP:
		if !p.TCP {
			return check.UDP{Addr: p.Addr}
		}
		return check.Connect{Addr: p.Addr}
	}
	return nil
}

func (w checkWriter) write() {
	switch p := w.probe.(type) {
	case check.Connect:
		w.block("TCP_CHECK", p.Addr, nil)
	case check.Ping:
		w.block("PING_CHECK", netip.AddrPortFrom(p.Addr, w.server.Port()), nil)
	case check.HTTP:
		w.pages([]check.Probe{p})
	case check.All:
		w.pages(p)
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
	}
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

func (w checkWriter) pages(probes []check.Probe) {
	name, first := "HTTP_GET", probes[0].(check.HTTP)
	if first.Secure {
		name = "SSL_GET"
	}
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
	path := cmp.Or(h.Target, "/")
	w.line("path", quoted(strings.ReplaceAll(path, `"`, "%22")))
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
	w.word("regex", config.Quoteless(h.Receive))
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
	words := append([]string{p.Path}, p.Args...)
	if p.Perl {
		words = append([]string{config.Perl}, words...)
	}
	w.put("misc_path " + commandText(words))
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
