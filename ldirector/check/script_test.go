package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve runs a TCP server of one function on loopback until the test ends.
func serve(t *testing.T, script func(c net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, script)
}

func serveOn(t *testing.T, ln net.Listener, script func(c net.Conn)) netip.AddrPort {
	t.Helper()
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				script(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

// serveTLS is serve behind a certificate.
func serveTLS(t *testing.T, cert tls.Certificate, script func(c net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln, script)
}

// serveUDP answers each datagram with what answer gives, nil for silence.
func serveUDP(t *testing.T, answer func(q []byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(bytes.Clone(buf[:n])); a != nil {
				c.WriteTo(a, from)
			}
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// nobody is an address where connections are refused.
func nobody(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return netip.MustParseAddrPort(ln.Addr().String())
}

// authority is a throw-away CA with the file to trust it by.
type authority struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	c, key := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, Subject: pkix.Name{CommonName: "test CA"}})
	a.cert, a.key = c, key
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) sign(t *testing.T, tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	tmpl.NotBefore = time.Now().Add(-48 * time.Hour)
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// leaf is a server's certificate for names or addresses.
func (a *authority) leaf(t *testing.T, until time.Time, names ...string) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, NotAfter: until}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	c, key := a.sign(t, tmpl)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// polled is the Host most tests use, made by TestMain.
var polled Host

// once runs a probe with a timeout.
func once(p Probe, timeout time.Duration) error { return onceOn(polled, p, timeout) }

func onceOn(n Net, p Probe, timeout time.Duration) error {
	ctx, cancel := withTimeout(context.Background(), timeout)
	defer cancel()
	return p.Check(ctx, n)
}

// verdict is what is wanted of a check: "" = well, else an expression its reason
// has to match.
func wantVerdict(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("not well: %v", err)
	case want != "" && err == nil:
		t.Errorf("well, wanted %q", want)
	case want != "" && !regexp.MustCompile(want).MatchString(err.Error()):
		t.Errorf("reason %q, wanted %q", err, want)
	}
}

// converse is a server that says hello, then answers lines by their first word
// in capital letters. "-" closes; an answer may be of several lines.
func converse(hello string, answers map[string]string) func(net.Conn) {
	return func(c net.Conn) {
		if hello != "" {
			io.WriteString(c, hello+"\r\n")
		}
		in := bufio.NewScanner(c)
		for in.Scan() {
			f := strings.Fields(in.Text())
			if len(f) == 0 {
				continue
			}
			a, ok := answers[in.Text()]
			if !ok {
				a, ok = answers[strings.ToUpper(f[0])]
			}
			if !ok && len(f) > 1 { // IMAP: after the tag
				a = answers[strings.ToUpper(f[1])]
			}
			if a == "-" {
				return
			}
			io.WriteString(c, a+"\r\n")
		}
	}
}

// stream is one TCP probe of each protocol, with a server that makes it well.
type stream struct {
	name  string
	probe func(netip.AddrPort) Probe
	well  func(net.Conn)
}

func reply(s string) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 4096)
		if _, err := c.Read(buf); err == nil {
			io.WriteString(c, s)
		}
		io.Copy(io.Discard, c)
	}
}

const page = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nIt works"

var (
	smtpWords = map[string]string{"EHLO": "250-lab\r\n250 8BITMIME", "HELO": "250 lab", "QUIT": "221 bye"}
	popWords  = map[string]string{"USER": "+OK", "PASS p": "+OK 0 messages", "PASS": "-ERR denied", "QUIT": "+OK"}
	imapWords = map[string]string{`1 LOGIN "u" "p"`: "* CAPABILITY X\r\n1 OK in", "LOGIN": "1 NO denied", "LOGOUT": "* BYE\r\n2 OK"}
)

func streams() []stream {
	return []stream{
		{"http", func(a netip.AddrPort) Probe { return HTTP{Addr: a, Receive: "works"} }, reply(page)},
		{"http_proxy", func(a netip.AddrPort) Probe {
			return HTTP{Addr: a, Proxy: true, Target: "http://www.lab/", Receive: "works"}
		}, reply(page)},
		{"smtp", func(a netip.AddrPort) Probe { return SMTP{Addr: a} }, converse("220 lab", smtpWords)},
		{"pop", func(a netip.AddrPort) Probe { return POP{Addr: a, Login: "u", Password: "p"} }, converse("+OK lab", popWords)},
		{"imap", func(a netip.AddrPort) Probe { return IMAP{Addr: a, Login: "u", Password: "p"} }, converse("* OK lab", imapWords)},
		{"nntp", func(a netip.AddrPort) Probe { return NNTP{Addr: a} }, converse("200 lab", map[string]string{"QUIT": "205 bye"})},
		{"ftp", func(a netip.AddrPort) Probe { return FTP{Addr: a, Login: "u", Password: "p"} }, converse("220 lab", ftpWords)},
		{"ldap", func(a netip.AddrPort) Probe { return LDAP{Addr: a, Base: "dc=lab"} }, ldapServer("dc=lab", 0)},
		{"mysql", func(a netip.AddrPort) Probe { return MySQL{SQL{a, "u", "p", "d", "SELECT 1"}} }, nil},
		{"pgsql", func(a netip.AddrPort) Probe { return PgSQL{SQL{a, "u", "p", "d", "SELECT 1"}} }, pgServer(1)},
		{"sip", func(a netip.AddrPort) Probe { return SIP{Addr: a, TCP: true, Login: "u@lab"} }, reply("SIP/2.0 100 Trying\r\n\r\nSIP/2.0 200 OK\r\nTo: x\r\n\r\n")},
		{"simpletcp", func(a netip.AddrPort) Probe { return Simple{Addr: a, Request: "PING\n", Receive: "^PONG-[0-9]+$"} }, reply("hm\nPONG-42\n")},
		{"dns", func(a netip.AddrPort) Probe { return DNS{Addr: a, TCP: true, Name: "www.lab", Receive: "5$"} }, dnsOverTCP},
	}
}

// TestBadServers gives every TCP probe every kind of bad server. None may be
// found well, none may hold a check beyond its timeout, none may fill memory.
func TestBadServers(t *testing.T) {
	const patience = 5 * time.Second // busy machines included
	bad := map[string]struct {
		script func(net.Conn)
		reason string
	}{
		"closes at once": {func(c net.Conn) {}, "closed the connection|reset the connection"},
		"resets at once": {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, "reset the connection|closed"},
		"silent":         {func(c net.Conn) { time.Sleep(15 * time.Second) }, `no .* within 5 s`},
		"endless line": {func(c net.Conn) {
			for b := bytes.Repeat([]byte("A"), 32<<10); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, "."},
		"endless lines": {func(c net.Conn) {
			for b := bytes.Repeat([]byte("200-A\r\n* OK\r\n+OK\r\n"), 2<<10); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, "."},
		"slow drip": {func(c net.Conn) {
			for range 600 {
				time.Sleep(50 * time.Millisecond)
				if _, err := c.Write([]byte("2")); err != nil {
					return
				}
			}
		}, "within 5 s|not PostgreSQL|does not speak|no login|LDAP"},
		"zeros": {func(c net.Conn) {
			c.Write(make([]byte, 100))
			io.Copy(io.Discard, c)
		}, "."},
		"all ones": {func(c net.Conn) {
			c.Write(bytes.Repeat([]byte{0xff}, 100))
			io.Copy(io.Discard, c)
		}, "."},
		"another protocol": {func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			io.Copy(io.Discard, c)
		}, "."},
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, s := range streams() {
		err := once(s.probe(nobody(t)), patience)
		wantVerdict(t, err, "^connection refused by 127.0.0.1:")
		if IsLocal(err) {
			t.Errorf("%s, refused, is held to be a fault of ours", s.name)
		}
		for name, b := range bad {
			if s.name == "nntp" && name == "endless lines" {
				b.reason = "" // it begins with 2, which is all that is asked
			}
			p := s.probe(serve(t, b.script))
			for way, ask := range ways {
				all.Go(func() { badServer(t, ask, s.name+", "+name+", "+way, p, patience, b.reason) })
			}
		}
	}
}

// ways are those in which a probe can be asked.
var ways = map[string]func(Probe, time.Duration) error{
	"poller": once, "glance": glanced,
	"net": func(p Probe, timeout time.Duration) error { return onceOn(Host{}, p, timeout) },
}

func badServer(t *testing.T, ask func(Probe, time.Duration) error, name string, p Probe, patience time.Duration, want string) {
	start := time.Now()
	err := ask(p, patience)
	if d := time.Since(start); d > patience+30*time.Second {
		t.Errorf("%s: took %v with a timeout of %v", name, d, patience)
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && err == nil:
		t.Errorf("%s: well", name)
	case want == "":
	case !regexp.MustCompile(want).MatchString(err.Error()):
		t.Errorf("%s: reason %q, wanted %q", name, err, want)
	case IsLocal(err) || len(err.Error()) > 600:
		t.Errorf("%s: a fault of ours, or too many words: %v", name, err)
	}
}

// TestGoodServers finds each probe well with a server that speaks its protocol,
// byte by byte too; and down with each part of that server's answers cut off.
func TestGoodServers(t *testing.T) {
	for _, s := range streams() {
		if s.well == nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for _, ask := range ways {
				wantVerdict(t, ask(s.probe(serve(t, s.well)), 3*time.Second), "")
				var total atomic.Int64
				wantVerdict(t, ask(s.probe(serve(t, func(c net.Conn) { s.well(&choppy{Conn: c, sent: &total}) })), 3*time.Second), "")
				if total.Load() == 0 {
					t.Fatal("the server said nothing")
				}
			}
		})
	}
}

// choppy sends one byte at a time and stops for good after most of them.
type choppy struct {
	net.Conn
	sent *atomic.Int64
	most int64 // 0 = no limit
}

func (c *choppy) Write(b []byte) (int, error) {
	for i := range b {
		if c.most > 0 && c.sent.Load() >= c.most {
			return i, io.ErrShortWrite
		}
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
		c.sent.Add(1)
	}
	return len(b), nil
}

// TestHalfAnswers cuts the answers of good servers: half an answer, then the
// end of the connection, is not well.
func TestHalfAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		most []int64
	}{
		{"http", []int64{1, 12, 40, int64(len(page)) - 1}},
		{"smtp", []int64{1, 3, 8, 15, 20}},
		{"pop", []int64{1, 3, 10, 15}},
		{"imap", []int64{1, 3, 12, 25}},
		{"nntp", []int64{1, 3, 8}},
		{"ldap", []int64{1, 5, 13, 15, 30}},
		{"pgsql", []int64{1, 5, 10, 20}},
		{"sip", []int64{5, 25, 40}},
		{"dns", []int64{1, 2, 10, 30}},
	} {
		for _, s := range streams() {
			if s.name != tt.name {
				continue
			}
			for _, most := range tt.most {
				for way, ask := range ways {
					t.Run(tt.name+" "+way, func(t *testing.T) {
						t.Parallel()
						halfAnswer(t, ask, s, most)
					})
				}
			}
		}
	}
}

func halfAnswer(t *testing.T, ask func(Probe, time.Duration) error, s stream, most int64) {
	addr := serve(t, func(c net.Conn) {
		var sent atomic.Int64
		s.well(&cut{choppy{Conn: c, sent: &sent, most: most}})
	})
	err := ask(s.probe(addr), 30*time.Second)
	if err == nil {
		t.Errorf("well after %d bytes", most)
	} else if IsLocal(err) || strings.Contains(err.Error(), "within") {
		t.Errorf("after %d bytes: %v", most, err)
	}
}

// cut closes the connection where choppy stops.
type cut struct{ choppy }

func (c *cut) Write(b []byte) (int, error) {
	n, err := c.choppy.Write(b)
	if errors.Is(err, io.ErrShortWrite) {
		c.Conn.(*net.TCPConn).CloseWrite()
	}
	return n, err
}

// TestStopped calls checks off while a server is silent.
func TestStopped(t *testing.T) {
	addr := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, s := range streams() {
		t.Run(s.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			time.AfterFunc(50*time.Millisecond, cancel)
			start := time.Now()
			err := s.probe(addr).Check(ctx, polled)
			if err == nil || time.Since(start) > 30*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		})
	}
}
