package check

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"layeh.com/radius"
)

func TestConnect(t *testing.T) {
	addr := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	wantVerdict(t, once(Connect{Addr: addr}, 20*time.Second), "")
	wantVerdict(t, once(Connect{Addr: addr, Polite: true}, 20*time.Second), "")
	wantVerdict(t, once(Connect{Addr: nobody(t)}, 20*time.Second), "^connection refused by 127")
	// A listener whose queue is full drops what else comes: silence.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	full := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*syscall.SockaddrInet4).Port))
	var last error
	for range 4 {
		c, err := net.DialTimeout("tcp", full.String(), 100*time.Millisecond)
		if last = err; err == nil {
			defer c.Close()
		}
	}
	if last == nil {
		t.Fatal("the queue never filled")
	}
	wantVerdict(t, once(Connect{Addr: full}, 300*time.Millisecond), `^no connection from 127.0.0.1:\d+ within 0.3 s$`)
}

func TestFixed(t *testing.T) {
	wantVerdict(t, once(On{}, 20*time.Second), "")
	wantVerdict(t, once(None{}, 20*time.Second), "")
	wantVerdict(t, once(Off{}, 20*time.Second), "checking is off")
}

// TestConversations holds the line protocols to what counts as well.
func TestConversations(t *testing.T) {
	with := func(words map[string]string, more ...string) map[string]string {
		m := map[string]string{}
		for k, v := range words {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	smtp := func(a netip.AddrPort) Probe { return SMTP{Addr: a} }
	pop := func(a netip.AddrPort) Probe { return POP{Addr: a, Login: "u", Password: "p"} }
	imap := func(a netip.AddrPort) Probe { return IMAP{Addr: a, Login: "u", Password: "p"} }
	ftp := func(a netip.AddrPort) Probe { return FTP{Addr: a, Login: "u", Password: "p"} }
	nntp := func(a netip.AddrPort) Probe { return NNTP{Addr: a} }
	for name, tt := range map[string]struct {
		probe func(netip.AddrPort) Probe
		hello string
		words map[string]string
		want  string
	}{
		"smtp":                  {smtp, "220 lab", smtpWords, ""},
		"smtp of many lines":    {smtp, "220-lab\r\n220-and\r\n220 more", smtpWords, ""},
		"smtp bare code":        {smtp, "220", smtpWords, ""},
		"smtp HELO only":        {smtp, "220 lab", with(smtpWords, "EHLO", "502 no"), ""},
		"smtp as keepalived":    {func(a netip.AddrPort) Probe { return SMTP{Addr: a, Old: true} }, "220 lab", with(smtpWords, "EHLO", "-"), ""},
		"smtp neither":          {smtp, "220 lab", with(smtpWords, "EHLO", "502 no", "HELO", "502 no"), `answer to HELO from .* is "502 no"`},
		"smtp 554":              {smtp, "554 go away", smtpWords, `greeting from .* is "554 go away", wanted 2xx`},
		"smtp closes after":     {smtp, "220 lab", with(smtpWords, "EHLO", "-"), "closed the connection before any answer to EHLO"},
		"smtp no word at QUIT":  {smtp, "220 lab", with(smtpWords, "QUIT", "-"), ""},
		"pop":                   {pop, "+OK lab", popWords, ""},
		"pop denied":            {pop, "+OK lab", with(popWords, "PASS p", "-ERR denied"), `answer to PASS from .* is "-ERR denied"`},
		"pop busy":              {pop, "-ERR busy", popWords, "greeting"},
		"pop without login":     {func(a netip.AddrPort) Probe { return POP{Addr: a} }, "+OK lab", nil, ""},
		"pop no login, dead":    {func(a netip.AddrPort) Probe { return POP{Addr: a} }, "-ERR", nil, "greeting"},
		"pop almost":            {pop, "+OKAY", popWords, "greeting"},
		"imap":                  {imap, "* OK lab", imapWords, ""},
		"imap preauth":          {imap, "* PREAUTH lab", imapWords, ""},
		"imap bye":              {imap, "* BYE lab", imapWords, "greeting"},
		"imap denied":           {imap, "* OK lab", map[string]string{"LOGIN": "1 NO denied"}, `answer to LOGIN from .* is "NO denied"`},
		"imap without login":    {func(a netip.AddrPort) Probe { return IMAP{Addr: a} }, "* OK", imapWords, ""},
		"nntp read only":        {nntp, "201 lab", nil, ""},
		"nntp 400":              {nntp, "400 busy", nil, `greeting from .* is "400 busy", wanted 2xx`},
		"ftp login":             {ftp, "220 lab", ftpWords, ""},
		"ftp denied":            {ftp, "220 lab", with(ftpWords, "PASS p", "530 denied"), "answer to PASS"},
		"ftp no password asked": {ftp, "220 lab", with(ftpWords, "USER", "230 in"), ""},
		"ftp no user":           {ftp, "220 lab", with(ftpWords, "USER", "530 no"), "answer to USER"},
		"ftp full":              {ftp, "421 too many users", ftpWords, "greeting"},
	} {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, once(tt.probe(serve(t, converse(tt.hello, tt.words))), 20*time.Second), tt.want)
		})
	}
	for _, p := range []Probe{
		POP{Addr: nobody(t), Login: "a\r\nDELE 1"}, IMAP{Addr: nobody(t), Login: "a\nb"},
		FTP{Addr: nobody(t), File: "/a\r\nDELE b"}, SIP{Addr: nobody(t), Login: "a\r\nX: y"}, SMTP{Addr: nobody(t), Helo: "\n"},
	} {
		wantVerdict(t, once(p, 20*time.Second), "holds a line end")
	}
}

// ftpServer has one file and the data connections of mode: active, passive or none.
func ftpServer(t *testing.T, mode, file, body string) netip.AddrPort {
	return serve(t, func(c net.Conn) {
		var data func() net.Conn
		io.WriteString(c, "220 lab\r\n")
		buf := make([]byte, 512)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			cmd, arg, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
			a := "200 ok"
			switch cmd {
			case "PASS":
				a = "230 in"
			case "USER":
				a = "331 password"
			case "PORT":
				a = "500 no"
				if mode == "active" {
					var b [6]int
					fmt.Sscanf(arg, "%d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5])
					a, data = "200 ok", func() net.Conn {
						d, _ := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b[4]<<8|b[5]))
						return d
					}
				}
			case "PASV":
				a = "502 no"
				if mode == "passive" {
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Error(err)
						return
					}
					p := ln.Addr().(*net.TCPAddr).Port
					// The address is that of some other host, as behind LVS.
					a, data = fmt.Sprintf("227 ok (192,0,2,1,%d,%d)", p>>8, p&255), func() net.Conn {
						defer ln.Close()
						d, _ := ln.Accept()
						return d
					}
				}
			case "RETR":
				a = "550 no such file"
				if arg == file && data != nil {
					io.WriteString(c, "150 here\r\n")
					if d := data(); d != nil {
						io.WriteString(d, body)
						d.Close()
					}
					a = "226 done"
				}
			}
			io.WriteString(c, a+"\r\n")
		}
	})
}

func TestFTP(t *testing.T) {
	for _, mode := range []string{"active", "passive"} {
		addr := ftpServer(t, mode, "/welcome.msg", "welcome\n")
		p := FTP{Addr: addr, Login: "u", Password: "p", File: "/welcome.msg", Receive: "^welcome$"}
		wantVerdict(t, once(p, 20*time.Second), "")
		p.Receive = "closed"
		wantVerdict(t, once(p, 20*time.Second), `does not hold "closed": "welcome`)
		p.Receive = ""
		wantVerdict(t, once(p, 20*time.Second), "")
		p.File = "/other"
		wantVerdict(t, once(p, 20*time.Second), "550")
	}
	addr := ftpServer(t, "none", "/f", "")
	wantVerdict(t, once(FTP{Addr: addr, File: "/f"}, 20*time.Second), "answer to PASV .*502")
}

func TestLDAP(t *testing.T) {
	addr := serve(t, ldapServer("dc=lab", 0))
	wantVerdict(t, once(LDAP{Addr: addr, Base: "dc=lab", Receive: "^dc="}, 20*time.Second), "")
	wantVerdict(t, once(LDAP{Addr: addr, Base: "dc=lab", Receive: "ou="}, 20*time.Second), "does not hold")
	wantVerdict(t, once(LDAP{Addr: addr, Base: "dc=other"}, 20*time.Second), `refuses the search: no such object .32.: because`)
	denied := serve(t, ldapServer("dc=lab", 49))
	wantVerdict(t, once(LDAP{Addr: denied, Base: "dc=lab", Login: "cn=x", Password: "y"}, 20*time.Second), "refuses the bind: invalid credentials")
	huge := serve(t, func(c net.Conn) { c.Write([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}); io.Copy(io.Discard, c) })
	wantVerdict(t, once(LDAP{Addr: huge}, 20*time.Second), "message of 2147483647 bytes")
}

func TestSQL(t *testing.T) {
	wantVerdict(t, once(PgSQL{SQL{serve(t, pgServer(1)), "u", "p", "d", "SELECT 1"}}, 20*time.Second), "")
	wantVerdict(t, once(PgSQL{SQL{serve(t, pgServer(0)), "u", "p", "d", "SELECT 1"}}, 20*time.Second), "no row")
	for _, p := range []SQL{{Login: "u"}, {Query: "SELECT 1"}} {
		for _, probe := range []Probe{MySQL{p}, PgSQL{p}, Oracle{p}} {
			wantVerdict(t, once(probe, 20*time.Second), "needs login and request")
		}
	}
	huge := serve(t, func(c net.Conn) { io.WriteString(c, "NR\x7f\xff\xff\xff"); io.Copy(io.Discard, c) })
	wantVerdict(t, once(PgSQL{SQL{huge, "u", "p", "d", "SELECT 1"}}, 20*time.Second), "a message of 2147483647 bytes")
	err := once(Oracle{SQL{nobody(t), "u", "p", "d", "SELECT 1"}}, 20*time.Second)
	wantVerdict(t, err, "lvsctl-check-oracle.*install the package")
	if !IsLocal(err) {
		t.Error("a missing program of ours is held against the server")
	}
}

func TestDNS(t *testing.T) {
	var lost atomic.Int32
	answer := func(q []byte) []byte {
		if lost.Add(-1) >= 0 {
			return nil
		}
		return dnsAnswer(q, true)
	}
	// The server of truncated answers has UDP and TCP on one port.
	udp := serveUDP(t, answer)
	tcpLn, err := net.Listen("tcp", udp.String())
	for i := 0; err != nil && i < 20; i++ {
		udp = serveUDP(t, answer)
		tcpLn, err = net.Listen("tcp", udp.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, tcpLn, dnsOverTCP)
	for _, tt := range []struct {
		p    DNS
		want string
	}{
		{DNS{Name: "www.lab", Receive: `^192\.0\.2\.[56]$`}, ""},
		{DNS{Name: "WWW.lab.", Receive: `192`}, ""},
		{DNS{Name: "www.lab"}, ""}, // the peer takes an empty receive for down
		{DNS{Name: "www.lab", Receive: "9$"}, `says www.lab. is 192.0.2.5, wanted "9\$"`},
		{DNS{Name: "alias.lab", Receive: "^192"}, ""},
		{DNS{Name: "alias.lab", Receive: "^www"}, "wanted"},
		{DNS{Name: "alias.lab", Type: "cname", Receive: "^www.lab$"}, ""},
		{DNS{Name: "six.lab", Receive: "^2001:db8::5$"}, ""},
		{DNS{Name: "six.lab", Type: "A"}, "knows no A record of six.lab"},
		{DNS{Name: "192.0.2.5", Receive: "^www.lab$"}, ""},
		{DNS{Name: "192.0.2.6"}, "knows no name of 6.2.0.192.in-addr.arpa."},
		{DNS{Name: "2001:db8::5"}, `knows no name of 5(\.0){23}\.8\.b\.d\.0\.1\.0\.0\.2\.ip6\.arpa\.`},
		{DNS{Name: "nobody.lab"}, "knows no address of nobody.lab"},
		{DNS{Name: "refused.lab"}, "the server says Refused"},
		{DNS{Name: "big.lab", Receive: "^192"}, ""}, // cut, then asked over TCP
		{DNS{Name: "www.lab", Type: "ANY"}, "not known"},
		{DNS{Name: strings.Repeat("a", 300)}, "no name to look up"},
	} {
		tt.p.Addr = udp
		wantVerdict(t, once(tt.p, 20*time.Second), tt.want)
	}
	lost.Store(1)
	wantVerdict(t, once(DNS{Addr: udp, Name: "www.lab"}, 20*time.Second), "") // asked again
	lost.Store(1000)
	wantVerdict(t, once(DNS{Addr: udp, Name: "www.lab"}, 300*time.Millisecond), "no DNS answer from .* within 0.3 s")
	junk := serveUDP(t, func(q []byte) []byte { q[0]++; return q })
	wantVerdict(t, once(DNS{Addr: junk, Name: "www.lab"}, 300*time.Millisecond), "within 0.3 s")
	wantVerdict(t, once(DNS{Addr: nobody(t), Name: "www.lab"}, 20*time.Second), "connection refused by")
}

func TestSIP(t *testing.T) {
	var got, status atomic.Value
	status.Store("200 OK")
	addr := serveUDP(t, func(q []byte) []byte {
		got.Store(string(q))
		return []byte("SIP/2.0 " + status.Load().(string) + "\r\nContent-Length: 0\r\n\r\n")
	})
	wantVerdict(t, once(SIP{Addr: addr, Login: "me@lab"}, 20*time.Second), "")
	for _, line := range []string{
		"OPTIONS sip:me@lab SIP/2.0\r\n", "Via: SIP/2.0/UDP 127.0.0.1:", "To: <sip:me@lab>\r\n",
		"From: <sip:me@lab>;tag=1928301774\r\n", "CSeq: 63104 OPTIONS\r\n", "Contact: <sip:me@lab>\r\n", "Content-Length: 0\r\n\r\n",
	} {
		if !strings.Contains(got.Load().(string), line) {
			t.Errorf("%q is not in %q", line, got.Load())
		}
	}
	status.Store("500 no")
	wantVerdict(t, once(SIP{Addr: addr, Login: "me@lab"}, 20*time.Second), `is "SIP/2.0 500 no", wanted SIP/2.0 200 OK`)
	status.Store("100 Trying")
	wantVerdict(t, once(SIP{Addr: addr, Login: "me@lab"}, 200*time.Millisecond), "within 0.2 s")
	wantVerdict(t, once(SIP{Addr: nobody(t), Login: "me@lab"}, 20*time.Second), "refused")
}

func TestSimple(t *testing.T) {
	addr := serve(t, reply("one\nPONG-42\nlast"))
	for expr, want := range map[string]string{
		"^PONG-[0-9]+$": "", "last": "", "": "", "two": `no line from .* matches "two", the last is "last"`,
	} {
		wantVerdict(t, once(Simple{Addr: addr, Request: "PING\n", Receive: expr}, 20*time.Second), want)
	}
	wantVerdict(t, once(Simple{Addr: serve(t, reply("")), Request: "PING\n"}, 20*time.Second), "closed the connection")
	udp := serveUDP(t, func(q []byte) []byte { return append([]byte("re: "), q...) })
	wantVerdict(t, once(Simple{Addr: udp, UDP: true, Request: "PING", Receive: "^re: PING$"}, 20*time.Second), "")
	wantVerdict(t, once(Simple{Addr: udp, UDP: true, Request: "PING", Receive: "x"}, 200*time.Millisecond), `matches "x", the last is "re: PING"`)
	wantVerdict(t, once(Simple{Addr: nobody(t), UDP: true, Request: "PING"}, 20*time.Second), "refused")
}

func TestRADIUS(t *testing.T) {
	secret := []byte("sec")
	var mode atomic.Value
	mode.Store("")
	addr := serveUDP(t, func(q []byte) []byte {
		p, err := radius.Parse(q, secret)
		if err != nil || len(p.Get(radMessageAuthenticator)) != 16 {
			return nil
		}
		pw, err := radius.UserPassword(p.Get(radUserPassword), secret, p.Authenticator[:])
		a := p.Response(radius.CodeAccessReject)
		if err == nil && string(pw) == "pw" && radius.String(p.Get(radUserName)) == "joe" {
			a.Code = radius.CodeAccessAccept
		}
		if mode.Load() == "forged" {
			a.Secret = []byte("other")
		}
		if mode.Load() == "bad mac" {
			a.Add(radMessageAuthenticator, make(radius.Attribute, 16))
		}
		b, err := a.Encode()
		if err != nil {
			return nil
		}
		return b
	})
	good := RADIUS{Addr: addr, Login: "joe", Password: "pw", Secret: "sec"}
	wantVerdict(t, once(good, 20*time.Second), "")
	bad := good
	bad.Password = "zz"
	wantVerdict(t, once(bad, 20*time.Second), "answers Access-Reject, wanted Access-Accept")
	mode.Store("forged")
	wantVerdict(t, once(good, 200*time.Millisecond), "within 0.2 s")
	mode.Store("bad mac")
	wantVerdict(t, once(good, 20*time.Second), "Message-Authenticator is wrong")
	long := good
	long.Password = strings.Repeat("x", 200)
	wantVerdict(t, once(long, 20*time.Second), "passwd")
	wantVerdict(t, once(RADIUS{Addr: nobody(t), Secret: "x", Login: "u"}, 20*time.Second), "refused")
}

func TestPing(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "::1"} {
		if a == "::1" {
			if _, err := net.Listen("tcp", "[::1]:0"); err != nil {
				continue
			}
		}
		wantVerdict(t, once(Ping{Addr: netip.MustParseAddr(a), Tries: 2}, 20*time.Second), "")
	}
	data := []byte("abcdefgh")
	for _, tt := range []struct {
		packet string
		want   bool
	}{
		{"0000 0000 0001 0002 6162636465666768", true},                                         // ping socket
		{"45000000000000000000000000000000000000000000 0000 0001 0002 6162636465666768", true}, // raw: IP header first
		{"0800 0000 0001 0002 6162636465666768", false},                                        // our own request
		{"0000 0000 0001 0003 6162636465666768", false},                                        // another try
		{"0000 0000 0001 0002 6162636465666767", false},                                        // another ping
		{"4f", false}, {"", false}, {"0000", false},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(tt.packet, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := isEcho(b, false, 2, data); got != tt.want {
			t.Errorf("%s: %v", tt.packet, got)
		}
	}
	silent := fakeDial{func(string) (net.Conn, error) {
		c, _ := net.Pipe()
		return c, nil
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := Ping{Addr: netip.MustParseAddr("10.0.0.1"), Tries: 2}.Check(ctx, silent)
	if err == nil || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// fakeDial is a network where connecting is a function.
type fakeDial struct {
	dial func(address string) (net.Conn, error)
}

func (f fakeDial) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	return f.dial(address)
}
func (f fakeDial) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, syscall.EACCES
}
func (f fakeDial) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, syscall.EACCES
}

// TestOurOwnFaults plays what a host lacks, to every probe.
func TestOurOwnFaults(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
		for _, s := range streams() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := s.probe(netip.MustParseAddrPort("10.0.0.1:1")).Check(ctx, fakeDial{func(string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: errno}
			}})
			cancel()
			if !IsLocal(err) {
				t.Errorf("%s: %v is held against the server: %v", s.name, errno, err)
			}
		}
	}
}

func TestCombined(t *testing.T) {
	var log []string
	fail := map[string]bool{}
	note := func(what string) Probe { return noting{what, &log, fail} }
	p, err := prepare(Combined{Negotiate: note("N"), Connect: note("c"), N: 2})
	if err != nil {
		t.Fatal(err)
	}
	step := func() {
		if err := once(p, 20*time.Second); (err != nil) != fail[log[len(log)-1]] {
			t.Errorf("after %v: %v", log, err)
		}
	}
	for range 7 {
		step()
	}
	fail["c"] = true
	step() // the 8th is a connect, and fails
	fail["N"] = true
	step()
	step()
	fail["c"], fail["N"] = false, false
	step()
	step()
	if got := strings.Join(log, ""); got != "NccNccN"+"c"+"NN"+"Nc" {
		t.Errorf("checks were %s", got)
	}
}

type noting struct {
	what string
	log  *[]string
	fail map[string]bool
}

func (n noting) Check(context.Context, Net) error {
	*n.log = append(*n.log, n.what)
	if n.fail[n.what] {
		return fmt.Errorf("%s fails", n.what)
	}
	return nil
}

func TestAll(t *testing.T) {
	addr := serve(t, say(page))
	one, two := HTTP{Addr: addr, Receive: "It"}, HTTP{Addr: addr, Receive: "gamma"}
	for _, tt := range []struct {
		p    All
		want string
	}{{All{one, one}, ""}, {All{one, two}, "gamma"}, {All{two, one}, "gamma"}, {All{one, HTTP{Receive: "("}}, "receive"}} {
		p, err := prepare(tt.p)
		if err == nil {
			err = once(p, 20*time.Second)
		}
		wantVerdict(t, err, tt.want)
	}
}

func FuzzDNSAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("www.lab.")
	q, _, _ := dnsQuery(name, dnsmessage.TypeA)
	f.Add(dnsAnswer(q, true))
	f.Add(q)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 {
			return
		}
		found, _, mine, err := readDNS(b, uint16(b[0])<<8|uint16(b[1]), name, dnsmessage.TypeA)
		if !mine && (found != nil || err != nil) {
			t.Error("a verdict from an answer that is not ours")
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add("220-a\r\n220 b\r\n", "* OK\r\n1 OK\r\n", "SIP/2.0 200 OK\r\n\r\n")
	f.Add("", "\n", "\x00")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, s := range []string{a, b, c} {
			for _, probe := range []Probe{
				SMTP{}, POP{Login: "u"}, IMAP{Login: "u"}, NNTP{}, FTP{Login: "u"}, SIP{TCP: true}, LDAP{}, Simple{Receive: "x"},
			} {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				err := probe.Check(ctx, fakeDial{func(string) (net.Conn, error) { return &canned{text: s}, nil }})
				cancel()
				if err != nil && ctx.Err() == context.DeadlineExceeded {
					t.Fatalf("%T took too long for %q", probe, s)
				}
			}
		}
	})
}

// canned is a connection on which everything was said already.
type canned struct {
	net.Conn
	text string
}

func (c *canned) Read(b []byte) (int, error) {
	if c.text == "" {
		return 0, io.EOF
	}
	n := copy(b, c.text)
	c.text = c.text[n:]
	return n, nil
}
func (c *canned) Write(b []byte) (int, error)     { return len(b), nil }
func (c *canned) Close() error                    { return nil }
func (c *canned) LocalAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *canned) SetDeadline(time.Time) error     { return nil }
func (c *canned) SetReadDeadline(time.Time) error { return nil }
