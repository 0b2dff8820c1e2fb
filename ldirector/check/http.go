package check

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// HTTP asks for one page and looks at status and body.
//
// Each exchange has a connection of its own and no keep-alive. Requests are
// written by hand and answers read by net/http's parser: a Transport costs two
// goroutines and three times the processor for what is thrown away at once.
type HTTP struct {
	// Addr is the server, or the proxy, to connect to.
	Addr netip.AddrPort
	// Secure speaks TLS to it.
	Secure bool
	// TLS says how, here and where a redirection leads.
	TLS TLS
	// Method is GET or HEAD, or any that has no body of its own. "" = GET.
	Method string
	// Target is a path, "/" added in front when missing, or a whole URL, which
	// then says where to connect instead of Addr (unless Proxy).
	Target string
	// Host is the Host header. "" = the address, without its port.
	Host string
	// Proxy asks Addr for Target, a whole URL.
	Proxy bool
	// Status are the answers that are well. None = any 2xx.
	Status []StatusRange
	// Receive is a Perl expression to be found in the decoded body.
	Receive string
	// Unwanted turns Receive around: it must not be found.
	Unwanted bool
	// Digest is the MD5 of the body in hexadecimal, as genhash prints it.
	Digest string
	// MaxBody is how many bytes of the body are looked at. 0 = 1 MiB.
	MaxBody int
	// NoRedirect takes a 3xx as the answer.
	NoRedirect bool
	// Dialect is how the request is written. The zero one is HTTP/1.1.
	Dialect HTTPDialect
}

// HTTPDialect is a way to write a request.
type HTTPDialect uint8

// The last three are keepalived's http_protocol 1.0, 1.0C and 1.1, with its name
// for itself. 1.0C asks for the end of the connection.
const (
	HTTP11 HTTPDialect = iota
	KeepaliveHTTP10
	KeepaliveHTTP10Close
	KeepaliveHTTP11
)

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	switch {
	case r.From == r.To:
		return strconv.Itoa(r.From)
	case r.From%100 == 0 && r.To == r.From+99:
		return fmt.Sprintf("%dxx", r.From/100)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// maxRedirects is LWP's limit, which ldirectord's users have.
const maxRedirects = 7

// maxHeader bounds status line and headers of one answer.
const maxHeader = 256 << 10

// Check implements [Probe].
func (p HTTP) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner]: the message is the status line, or the
// beginning of a body that is not as it should be.
func (p HTTP) Examine(ctx context.Context, n Net) Outcome {
	ready, err := p.Prepare()
	if err != nil {
		return Outcome{Err: err}
	}
	return examine(ctx, ready, n)
}

// Prepare implements [Preparer].
func (p HTTP) Prepare() (Probe, error) {
	receive, err := ParsePattern(p.Receive)
	if err != nil {
		return nil, local(fmt.Errorf("receive: %w", err))
	}
	h := &httpProbe{HTTP: p, receive: receive}
	if h.Method == "" {
		h.Method = http.MethodGet
	}
	if h.MaxBody <= 0 {
		h.MaxBody = maxAnswer
	}
	if len(h.Status) == 0 {
		h.Status = []StatusRange{{200, 299}}
	}
	if h.first, err = p.url(); err != nil {
		return nil, local(err)
	}
	h.peer = p.Addr.String()
	if p.Secure || p.Proxy || h.first.Opaque == "" || receive.slow() {
		return h, nil
	}
	question := h.firstRequest().text(h.Method, false, h.Dialect)
	return &plainHTTP{httpProbe: h, begins: opening{addr: p.Addr, peer: h.peer, question: []byte(question), awaited: wholeAnswer}}, nil
}

// url is where the first request goes.
func (p HTTP) url() (*url.URL, error) {
	if p.Proxy || strings.HasPrefix(p.Target, "http://") || strings.HasPrefix(p.Target, "https://") {
		u, err := url.Parse(p.Target)
		if err == nil && u.Host == "" {
			err = fmt.Errorf("request %q: a whole URL is needed, like http://www.example.com/", p.Target)
		}
		return u, err
	}
	scheme := "http"
	if p.Secure {
		scheme = "https"
	}
	path, _, _ := strings.Cut(p.Target, "#")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	// Opaque keeps the path byte by byte as it was written.
	return &url.URL{Scheme: scheme, Host: p.Addr.String(), Opaque: escapePath(path)}, nil
}

// escapePath makes what a person wrote fit a request line, as LWP does.
func escapePath(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// httpProbe is an HTTP made ready.
type httpProbe struct {
	HTTP
	first   *url.URL
	peer    string // Addr in words
	receive *Pattern
	tls     *tls.Config // for Addr
}

// wholeAnswer is what is missing when an exchange fails half way.
const wholeAnswer = "whole HTTP answer"

// Check implements [Probe].
func (p *httpProbe) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner].
func (p *httpProbe) Examine(ctx context.Context, n Net) Outcome {
	r := newReading()
	defer r.done()
	x, ask := begin(ctx, p.peer), p.firstRequest()
	a, err := p.exchange(ctx, n, &x, ask, r)
	return p.follow(ctx, n, x, ask, r, a, err)
}

// firstRequest is where every check begins.
func (p *httpProbe) firstRequest() request {
	if !p.Proxy && p.first.Opaque == "" {
		return request{url: p.first, host: p.Host} // a whole URL says itself where to go
	}
	return request{url: p.first, host: p.hostHeader(), addr: p.peer}
}

// follow judges what an exchange brought, and goes where that leads.
func (p *httpProbe) follow(ctx context.Context, n Net, x exchange, ask request, r *reading, a answer, err error) Outcome {
	for hop := 0; ; hop++ {
		if err != nil {
			return Outcome{Err: err}
		}
		var next *url.URL
		next, err = p.redirected(ask.url, a)
		switch {
		case err != nil:
			return Outcome{Err: x.wrong("HTTP %d from %s leads to no page: %v", a.status, x.peer, err), Message: a.line}
		case next == nil:
			return p.judge(x, a)
		case hop == maxRedirects:
			return Outcome{Err: x.wrong("redirected more than %d times, at last by %s", maxRedirects, x.peer), Message: a.line}
		}
		ask = request{url: next}
		if p.Proxy {
			ask.addr = p.peer
		}
		a, err = p.exchange(ctx, n, &x, ask, r)
	}
}

// hostHeader is the address without port when nothing else is said, as LWP has
// it from ldirectord; an IPv6 one in brackets.
func (p *httpProbe) hostHeader() string {
	switch {
	case p.Host != "":
		return p.Host
	case p.Proxy:
		return ""
	case p.Addr.Addr().Is6():
		return "[" + p.Addr.Addr().WithZone("").String() + "]"
	}
	return p.Addr.Addr().String()
}

// request is one exchange to be made. An empty addr is looked up from the URL,
// an empty host taken from it.
type request struct {
	url  *url.URL
	host string
	addr string
}

func (r request) text(method string, proxy bool, d HTTPDialect) string {
	target, host := r.url.Opaque, r.host
	switch {
	case proxy:
		target = r.url.String()
	case target == "":
		target = r.url.RequestURI()
	}
	if host == "" {
		host = r.url.Host
	}
	if d != HTTP11 {
		return method + " " + target + d.header(host)
	}
	return method + " " + target + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: lvsctl-check/1\r\nAccept: */*\r\nConnection: close\r\n\r\n"
}

// header is keepalived's, byte for byte: pages are told apart by it.
func (d HTTPDialect) header(host string) string {
	version, end := "1.0", ""
	if d == KeepaliveHTTP11 {
		version = "1.1"
	}
	if d != KeepaliveHTTP10 {
		end = "Connection: close\r\n"
	}
	return " HTTP/" + version + "\r\nUser-Agent: KeepAliveClient\r\n" + end + "Host: " + host + "\r\n\r\n"
}

// answer is what came back.
type answer struct {
	status   int
	line     string // "200 OK"
	location string
	body     []byte
	cut      bool // there was more of it
}

// exchange makes one request. Of a redirection it reads the head only.
func (p *httpProbe) exchange(ctx context.Context, n Net, x *exchange, ask request, r *reading) (answer, error) {
	addr, err := p.resolve(ctx, n, ask)
	if err != nil {
		return answer{}, x.failed("address of "+ask.url.Hostname(), err)
	}
	x.peer = addr
	c, err := dial(ctx, n, "tcp", addr)
	if err != nil {
		return answer{}, x.failed("connection", err)
	}
	defer c.Close()
	c.left = p.MaxBody + maxHeader
	var rw net.Conn = c
	if ask.url.Scheme == "https" && !p.Proxy || p.Proxy && p.Secure {
		if rw, err = p.secure(ctx, *x, c, ask, addr); err != nil {
			return answer{}, err
		}
	}
	if _, err := io.WriteString(rw, ask.text(p.Method, p.Proxy, p.Dialect)); err != nil {
		return answer{}, x.failed("answer", err)
	}
	a, err := p.read(rw, r)
	return a, x.failed(wholeAnswer, c.why(err))
}

func (p *httpProbe) secure(ctx context.Context, x exchange, c net.Conn, r request, addr string) (net.Conn, error) {
	t := p.TLS
	if addr == p.peer {
		if p.tls == nil {
			cfg, err := t.config(p.Addr.Addr().String())
			if err != nil {
				return nil, err
			}
			p.tls = cfg
		}
		return x.overTLS(ctx, c, p.tls)
	}
	t.ServerName = ""
	cfg, err := t.config(r.url.Hostname())
	if err != nil {
		return nil, err
	}
	return x.overTLS(ctx, c, cfg)
}

// resolve says where to connect.
func (p *httpProbe) resolve(ctx context.Context, n Net, r request) (string, error) {
	if r.addr != "" {
		return r.addr, nil
	}
	port := r.url.Port()
	switch {
	case port != "":
	case r.url.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	host := r.url.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(host, port), nil
	}
	addrs, err := n.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	if len(addrs) == 0 {
		return "", errors.New("the name has no address")
	}
	return net.JoinHostPort(addrs[0].Unmap().String(), port), nil
}

// reading is what answers are read with. The last one's body is in it. It serves
// one check after another.
type reading struct {
	in   *bufio.Reader
	page bytes.Buffer
	head http.Request // what ReadResponse has to know: the method
}

var readings = sync.Pool{New: func() any { return &reading{in: bufio.NewReaderSize(nil, 2048)} }}

// keepPage is the largest buffer that is kept from one check to the next.
const keepPage = 16 << 10

// read takes the answer from the connection.
func (p *httpProbe) read(c io.Reader, r *reading) (answer, error) {
	r.in.Reset(c)
	r.head.Method = p.Method
	resp, err := readHead(r.in, &r.head)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, line: clip(resp.Status, 256), location: resp.Header.Get("Location")}
	if !p.wanted(a.status) {
		return a, nil // no page would change that
	}
	// A page nobody looks at still has to come: half a page is not well.
	keep := p.receive != nil || p.Digest != ""
	r.page.Reset()
	a.body, a.cut, err = readBody(resp, &r.page, p.MaxBody, keep)
	return a, err
}

func newReading() *reading { return readings.Get().(*reading) }

func (r *reading) done() {
	if r.page.Cap() > keepPage {
		r.page = bytes.Buffer{}
	}
	r.in.Reset(nil)
	readings.Put(r)
}

func (p *httpProbe) wanted(status int) bool {
	for _, r := range p.Status {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

// readHead reads status line and headers of the final answer, past any 1xx.
func readHead(in *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range 10 {
		resp, err := http.ReadResponse(in, req)
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
	return nil, errors.New("ten interim answers and no final one")
}

// readBody reads at most limit bytes of the decoded body into buf, if it is to be
// kept, and says whether there was more.
func readBody(resp *http.Response, buf *bytes.Buffer, limit int, keep bool) (body []byte, cut bool, err error) {
	if !keep {
		n, err := io.CopyN(io.Discard, resp.Body, int64(limit)+1)
		if errors.Is(err, io.EOF) || errors.Is(err, errTooMuch) {
			err = nil
		}
		return nil, n > int64(limit), err
	}
	in, err := decoded(resp)
	if err != nil {
		return nil, false, err
	}
	_, err = buf.ReadFrom(io.LimitReader(in, int64(limit)+1))
	if errors.Is(err, errTooMuch) { // the connection's own bound, on coded bytes
		cut, err = true, nil
	}
	if buf.Len() > limit {
		buf.Truncate(limit)
		cut = true
	}
	return buf.Bytes(), cut, err
}

// decoded undoes a Content-Encoding. We ask for none; some servers do it anyway.
func decoded(resp *http.Response) (io.Reader, error) {
	switch strings.ToLower(resp.Header.Get("Content-Encoding")) {
	case "gzip", "x-gzip":
		return gzip.NewReader(resp.Body)
	case "deflate":
		return zlib.NewReader(resp.Body)
	}
	return resp.Body, nil
}

func redirects(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// redirected is where an answer leads, nil when nowhere.
func (p *httpProbe) redirected(from *url.URL, a answer) (*url.URL, error) {
	if p.NoRedirect || !redirects(a.status) || a.location == "" || p.wanted(a.status) {
		return nil, nil
	}
	base := *from
	if base.Opaque != "" { // our own, holding the path
		b, err := url.Parse(base.Scheme + "://" + base.Host + base.Opaque)
		if err != nil {
			b = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/"}
		}
		base = *b
	}
	to, err := base.Parse(a.location)
	if err != nil {
		return nil, err
	}
	to.Fragment = ""
	if to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, fmt.Errorf("location %q", clip(a.location, 128))
	}
	if p.Proxy && to.Scheme == "https" {
		return nil, fmt.Errorf("location %q cannot be asked of a proxy without CONNECT", clip(a.location, 128))
	}
	return to, nil
}

// judge looks at the final answer.
func (p *httpProbe) judge(x exchange, a answer) Outcome {
	if !p.wanted(a.status) {
		return Outcome{Err: x.wrong("HTTP %d from %s, wanted %s", a.status, x.peer, p.wants()), Message: a.line}
	}
	if err := p.lookAt(x, a); err != nil {
		return Outcome{Err: err, Message: clipLines(string(a.body[:min(len(a.body), 1024)]), 1024)}
	}
	return Outcome{Message: a.line}
}

func (p *httpProbe) wants() string {
	s := make([]string, len(p.Status))
	for i, r := range p.Status {
		s[i] = r.String()
	}
	return strings.Join(s, " or ")
}

func (p *httpProbe) lookAt(x exchange, a answer) error {
	if p.Digest != "" {
		if a.cut {
			return x.wrong("the page of %s is longer than the %d bytes looked at", x.peer, p.MaxBody)
		}
		sum := md5.Sum(a.body)
		if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, p.Digest) {
			return x.wrong("the page of %s has digest %s, wanted %s", x.peer, got, strings.ToLower(p.Digest))
		}
	}
	found, err := p.receive.Match(a.body)
	switch {
	case err != nil:
		return local(err)
	case found && p.Unwanted && p.receive != nil:
		return x.wrong("HTTP %d, but the page from %s holds %q: %q", a.status, x.peer, p.receive, clip(string(a.body), 80))
	case found || p.Unwanted:
		return nil
	}
	return x.mismatch(p.receive, a.body, fmt.Sprintf("HTTP %d, but the page", a.status), a.cut)
}

// match looks for an expression in what is called what.
func (x exchange) match(p *Pattern, text []byte, what string, cut bool) error {
	ok, err := p.Match(text)
	switch {
	case err != nil:
		return local(err)
	case ok:
		return nil
	}
	return x.mismatch(p, text, what, cut)
}

func (x exchange) mismatch(p *Pattern, text []byte, what string, cut bool) error {
	switch {
	case cut:
		return x.wrong("%s from %s does not hold %q in its first %d bytes (the rest was not looked at)", what, x.peer, p, len(text))
	case len(text) == 0:
		return x.wrong("%s from %s is empty, wanted %q", what, x.peer, p)
	}
	return x.wrong("%s from %s does not hold %q: %q", what, x.peer, p, clip(string(text), 80))
}
