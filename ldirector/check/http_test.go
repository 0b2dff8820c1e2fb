package check

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// say answers one request with raw text.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text)
		}
	}
}

func TestHTTPAnswers(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, "It works")
	z.Close()
	long := strings.Repeat("x", maxAnswer)
	for name, tt := range map[string]struct {
		answer string
		probe  HTTP
		want   string
	}{
		"plain":             {page, HTTP{Receive: "It works"}, ""},
		"no receive":        {page, HTTP{}, ""},
		"unwanted":          {page, HTTP{Receive: "It works", Unwanted: true}, `^HTTP 200, but the page from 127.0.0.1:\d+ holds "It works": "It works"$`},
		"not unwanted":      {page, HTTP{Receive: "gamma", Unwanted: true}, ""},
		"nothing unwanted":  {page, HTTP{Unwanted: true}, ""},
		"other page":        {page, HTTP{Receive: "gamma"}, `^HTTP 200, but the page from 127.0.0.1:\d+ does not hold "gamma": "It works"$`},
		"empty page":        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP{Receive: "x"}, "is empty"},
		"503":               {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", HTTP{}, `^HTTP 503 from 127.0.0.1:\d+, wanted 2xx$`},
		"404 that is right": {"HTTP/1.1 404 Not Found\r\n\r\n", HTTP{Status: []StatusRange{{404, 404}, {500, 510}}}, ""},
		"200 that is wrong": {page, HTTP{Status: []StatusRange{{404, 404}, {500, 510}}}, "wanted 404 or 500-510"},
		"204":               {"HTTP/1.1 204 No Content\r\n\r\n", HTTP{}, ""},
		"until the end":     {"HTTP/1.0 200 OK\r\n\r\nIt works\n", HTTP{Receive: "works$"}, ""},
		"no reason phrase":  {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", HTTP{}, ""},
		"interim":           {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + page, HTTP{Receive: "works"}, ""},
		"chunked":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nIt \r\n5\r\nworks\r\n0\r\n\r\n", HTTP{Receive: "^It works$"}, ""},
		"chunks cut short":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nIt \r\n5\r\nwo", HTTP{}, "closed the connection"},
		"gzip":              {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zipped.String(), HTTP{Receive: "^It works$"}, ""},
		"short body":        {"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\nIt works", HTTP{Receive: "works"}, "closed the connection"},
		"HEAD":              {"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n", HTTP{Method: "HEAD"}, ""},
		"digest":            {page, HTTP{Digest: "34FF2C3B5F09BD9ED6C2F0046F35D1F3"}, "has digest"},
		"beyond the limit":  {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s here", len(long)+5, long), HTTP{Receive: "here"}, "in its first 1048576 bytes .the rest was not looked at"},
		"own limit":         {page, HTTP{Receive: "works", MaxBody: 4}, "first 4 bytes"},
		"long but fine":     {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nhere %s", len(long)+5, long), HTTP{Receive: "here"}, ""},
		"NUL bytes":         {"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n", HTTP{}, "malformed"},
		"100 MB header":     {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 2000), HTTP{}, "without end"},
		"not HTTP":          {"220 ftp\r\n", HTTP{}, `malformed`},
		"nowhere":           {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", HTTP{}, "^HTTP 302"},
		"to a file":         {"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", HTTP{}, "leads to no page"},
		"not followed":      {"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", HTTP{NoRedirect: true}, "^HTTP 302"},
		"loop":              {"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", HTTP{}, "redirected more than 7 times"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.probe.Addr = serve(t, say(tt.answer))
			wantVerdict(t, once(tt.probe, 20*time.Second), tt.want)
			wantVerdict(t, glanced(tt.probe, 20*time.Second), tt.want)
		})
	}
}

// TestHTTPRequest looks at what is sent.
func TestHTTPRequest(t *testing.T) {
	heads := make(chan string, 1)
	addr := serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		var head string
		for !strings.HasSuffix(head, "\r\n\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			head += line
		}
		heads <- head
		io.WriteString(c, page)
	})
	rest := "\r\nUser-Agent: lvsctl-check/1\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	for _, tt := range []struct {
		probe HTTP
		want  string
	}{
		{HTTP{}, "GET / HTTP/1.1\r\nHost: 127.0.0.1" + rest},
		{HTTP{Target: "ok.html", Host: "www.lab", Method: "HEAD"}, "HEAD /ok.html HTTP/1.1\r\nHost: www.lab" + rest},
		{HTTP{Target: "//x?a=%20b&c=d e#f"}, "GET //x?a=%20b&c=d%20e HTTP/1.1\r\nHost: 127.0.0.1" + rest},
		{HTTP{Target: "http://www.lab/p", Proxy: true}, "GET http://www.lab/p HTTP/1.1\r\nHost: www.lab" + rest},
		{HTTP{Target: "http://" + addr.String() + "/p"}, "GET /p HTTP/1.1\r\nHost: " + addr.String() + rest},
	} {
		tt.probe.Addr = addr
		once(tt.probe, 20*time.Second)
		if got := <-heads; got != tt.want {
			t.Errorf("%+v sends\n%q, wanted\n%q", tt.probe, got, tt.want)
		}
	}
}

// fakeNames is the real network with names of its own.
type fakeNames struct {
	Host
	names map[string]string
}

func (f fakeNames) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if host == "hangs.lab" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if a, ok := f.names[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestHTTPRedirects(t *testing.T) {
	ca := newAuthority(t)
	secure := serveTLS(t, ca.leaf(t, time.Time{}, "other.lab"), say(page))
	var addr netip.AddrPort
	var hops atomic.Int32
	addr = serve(t, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		to := r.URL.Query().Get("to")
		switch {
		case r.URL.Path == "/count":
			if hops.Add(-1) > 0 {
				to = "/count"
			}
		case r.URL.Path == "/host" && r.Host != fmt.Sprintf("name.lab:%d", addr.Port()):
			io.WriteString(c, "HTTP/1.1 400 wrong host\r\n\r\n")
			return
		}
		if to == "" {
			io.WriteString(c, page)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", to)
	})
	n := fakeNames{names: map[string]string{"name.lab": "127.0.0.1", "other.lab": "127.0.0.1"}}
	for _, tt := range []struct{ target, want string }{
		{"/?to=/x", ""},
		{"/a/b?to=../c", ""},
		{"/?to=//" + addr.String() + "/x", ""},
		{"/?to=" + fmt.Sprintf("http://name.lab:%d/host", addr.Port()), ""},
		{"/?to=" + fmt.Sprintf("https://other.lab:%d/", secure.Port()), ""},
		{"/?to=http://nobody.lab/", "no address of nobody.lab"},
		{"/?to=http://hangs.lab/", "within 1 s"},
		{"/?to=http://" + nobody(t).String() + "/", "connection refused by"},
		{"/count 7", ""},
		{"/count 8", "more than 7 times"},
	} {
		target, count := tt.target, int32(0)
		if _, err := fmt.Sscanf(target, "/count %d", &count); err == nil {
			target = "/count"
			hops.Store(count + 1)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		p := HTTP{Addr: addr, Target: target, Receive: "works", TLS: TLS{Verify: VerifyChain, CAFile: ca.file}}
		wantVerdict(t, p.Check(ctx, n), tt.want)
		cancel()
	}
}

func TestCertificates(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.leaf(t, time.Time{}, "127.0.0.1", "www.lab")
	for name, tt := range map[string]struct {
		cert tls.Certificate
		tls  TLS
		want string
	}{
		"chain":             {good, TLS{Verify: VerifyChain, CAFile: ca.file}, ""},
		"address":           {good, TLS{Verify: VerifyName, CAFile: ca.file}, ""},
		"name":              {good, TLS{Verify: VerifyName, ServerName: "www.lab", CAFile: ca.file}, ""},
		"wrong name":        {good, TLS{Verify: VerifyName, ServerName: "mail.lab", CAFile: ca.file}, "certificate of 127.0.0.1:.*mail.lab"},
		"chain, wrong name": {good, TLS{Verify: VerifyChain, ServerName: "mail.lab", CAFile: ca.file}, ""},
		"unknown authority": {good, TLS{Verify: VerifyChain, CAFile: stranger.file}, "an authority this host does not know"},
		"system store":      {good, TLS{Verify: VerifyChain}, "an authority this host does not know"},
		"not looked at":     {stranger.leaf(t, time.Now().Add(-time.Hour)), TLS{}, ""},
		"expired":           {ca.leaf(t, time.Now().Add(-time.Hour), "127.0.0.1"), TLS{Verify: VerifyChain, CAFile: ca.file}, "expired"},
		"no such file":      {good, TLS{Verify: VerifyChain, CAFile: "/nowhere"}, "certificates to trust"},
	} {
		t.Run(name, func(t *testing.T) {
			https := serveTLS(t, tt.cert, say(page))
			pops := serveTLS(t, tt.cert, converse("+OK lab", popWords))
			imaps := serveTLS(t, tt.cert, converse("* OK lab", imapWords))
			ldaps := serveTLS(t, tt.cert, ldapServer("dc=lab", 0))
			for _, p := range []Probe{
				HTTP{Addr: https, Secure: true, TLS: tt.tls, Receive: "works"},
				POP{Addr: pops, Secure: true, TLS: tt.tls, Login: "u", Password: "p"},
				IMAP{Addr: imaps, Secure: true, TLS: tt.tls, Login: "u", Password: "p"},
				LDAP{Addr: ldaps, Secure: true, TLS: tt.tls, Base: "dc=lab"},
			} {
				wantVerdict(t, once(p, 20*time.Second), tt.want)
			}
		})
	}
	plain := serve(t, func(c net.Conn) { io.WriteString(c, "220 no TLS here\r\n"); io.Copy(io.Discard, c) })
	wantVerdict(t, once(HTTP{Addr: plain, Secure: true}, 20*time.Second), "does not speak TLS")
	silent := serve(t, func(c net.Conn) { time.Sleep(time.Second) })
	wantVerdict(t, once(HTTP{Addr: silent, Secure: true}, 300*time.Millisecond), `no TLS handshake from .* within 0.3 s`)
}

// TestProbesAreData makes two of each probe: a reload has to see that they are
// the same, and that a change is one.
func TestProbesAreData(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80")
	for _, s := range streams() {
		if !reflect.DeepEqual(s.probe(a), s.probe(netip.MustParseAddrPort("10.0.0.1:80"))) {
			t.Errorf("%s: two equal probes differ", s.name)
		}
		if reflect.DeepEqual(s.probe(a), s.probe(b)) {
			t.Errorf("%s: two different probes are equal", s.name)
		}
	}
}

func FuzzHTTPAnswer(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nIt \r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: //[::1]:8\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 \r\n\r\nHTTP/1.0 200\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ready, err := HTTP{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Receive: "a+b", MaxBody: 1000}.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		p, r := ready.(*plainHTTP), newReading()
		defer r.done()
		a, err := p.read(bytes.NewReader(b), r)
		if err != nil {
			return
		}
		if len(a.body) > 1000 {
			t.Errorf("%d bytes of body", len(a.body))
		}
		if to, err := p.redirected(p.first, a); err == nil && to == nil {
			p.judge(exchange{peer: "x"}, a)
		}
	})
}
