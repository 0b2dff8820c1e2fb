package check

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What keepalived's checks ask for that ldirectord's do not.

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// requested runs a probe against a server that answers every request alike, and
// returns the request, byte for byte.
func requested(t *testing.T, probe HTTP, answer string) (request string, err error) {
	t.Helper()
	var mu sync.Mutex
	probe.Addr = serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		text := ""
		for {
			line, err := in.ReadString('\n')
			if text += line; err != nil || line == "\r\n" {
				break
			}
		}
		mu.Lock()
		request = text
		mu.Unlock()
		io.WriteString(c, answer)
	})
	err = probe.Check(soon(t), Host{})
	mu.Lock()
	defer mu.Unlock()
	return request, err
}

func TestKeepalivesRequests(t *testing.T) {
	const page = "HTTP/1.0 200 OK\r\n\r\nIt works!\n"
	for d, want := range map[HTTPDialect]string{
		KeepaliveHTTP10:      "GET /a?b HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: www:80\r\n\r\n",
		KeepaliveHTTP10Close: "GET /a?b HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www:80\r\n\r\n",
		KeepaliveHTTP11:      "GET /a?b HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www:80\r\n\r\n",
		HTTP11:               "GET /a?b HTTP/1.1\r\nHost: www:80\r\nUser-Agent: lvsctl-check/1\r\nAccept: */*\r\nConnection: close\r\n\r\n",
	} {
		got, err := requested(t, HTTP{Target: "/a?b", Host: "www:80", Dialect: d}, page)
		if got != want || err != nil {
			t.Errorf("dialect %d: %q, %v", d, got, err)
		}
	}
}

func TestKeepalivesVerdictOnPages(t *testing.T) {
	const other = "00000000000000000000000000000000"
	const page = "HTTP/1.0 %s\r\nContent-Length: 3\r\n\r\nabc"
	const abc = "900150983cd24fb0d6963f7d28e17f72"
	for name, c := range map[string]struct {
		status string
		probe  HTTP
		fault  string // "" is well
	}{
		"any 2xx":             {"204 No Content", HTTP{}, ""},
		"a redirection is no": {"302 Found", HTTP{NoRedirect: true}, "HTTP 302"},
		"a range":             {"404 Not Found", HTTP{Status: []StatusRange{{200, 299}, {404, 404}}}, ""},
		"outside of it":       {"500 Oops", HTTP{Status: []StatusRange{{200, 299}, {404, 404}}}, "wanted 2xx or 404"},
		"the digest":          {"200 OK", HTTP{Digest: abc}, ""},
		"another digest":      {"200 OK", HTTP{Digest: other}, "digest"},
	} {
		probe := c.probe
		probe.Dialect = KeepaliveHTTP10
		_, err := requested(t, probe, strings.ReplaceAll(page, "%s", c.status))
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDNSWithoutAnswerIsWell(t *testing.T) {
	reply := func(code dnsmessage.RCode) netip.AddrPort {
		return serveUDP(t, func(q []byte) []byte {
			var m dnsmessage.Message
			if m.Unpack(q) != nil {
				return nil
			}
			m.Response, m.RCode = true, code
			b, _ := m.Pack() // what was unpacked
			return b
		})
	}
	probe := DNS{Name: "", Type: "SOA", Empty: true}
	probe.Addr = reply(dnsmessage.RCodeSuccess)
	if err := probe.Check(soon(t), Host{}); err != nil {
		t.Errorf("an empty answer: %v", err)
	}
	probe.Empty = false
	if err := probe.Check(soon(t), Host{}); err == nil {
		t.Error("an empty answer is well for ldirectord's check")
	}
	probe.Empty = true
	for _, code := range []dnsmessage.RCode{dnsmessage.RCodeNameError, dnsmessage.RCodeServerFailure} {
		probe.Addr = reply(code)
		if err := probe.Check(soon(t), Host{}); err == nil {
			t.Errorf("%v is well", code)
		}
	}
}

func TestUDPCheck(t *testing.T) {
	echo := func(q []byte) []byte {
		if len(q) == 0 {
			return nil
		}
		return append([]byte("re:"), q...)
	}
	for name, c := range map[string]struct {
		probe UDP
		fault string
	}{
		"silence is well":                {UDP{}, ""},
		"an answer as well":              {UDP{Payload: []byte{1, 2}}, ""},
		"silence where a reply is due":   {UDP{RequireReply: true, MaxReply: 255}, "no answer"},
		"a reply":                        {UDP{Payload: []byte{1, 2}, RequireReply: true, MaxReply: 255}, ""},
		"too short":                      {UDP{Payload: []byte{1}, RequireReply: true, MinReply: 10, MaxReply: 255}, "has 4 bytes, wanted 10 to 255"},
		"too long":                       {UDP{Payload: []byte{1}, RequireReply: true, MaxReply: 3}, "more than 3 bytes"},
		"as expected":                    {UDP{Payload: []byte{1}, RequireReply: true, MaxReply: 255, Reply: []byte("re:\x01")}, ""},
		"expected longer than it is":     {UDP{Payload: []byte{1}, RequireReply: true, MaxReply: 255, Reply: []byte("re:\x01\x02")}, ""},
		"not as expected":                {UDP{Payload: []byte{1}, RequireReply: true, MaxReply: 255, Reply: []byte("re:\x02")}, "begins with 72653a01, wanted 72653a02"},
		"but for what may be any nibble": {UDP{Payload: []byte{1}, RequireReply: true, MaxReply: 255, Reply: []byte("re:\x02"), Wild: []byte{0, 0, 0, 0x0f}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if c.probe.Payload != nil { // an answer comes: leave it time
				ctx = soon(t)
			}
			c.probe.Addr = serveUDP(t, echo)
			err := c.probe.Check(ctx, Host{})
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%v, wanted %q", err, c.fault)
			}
		})
	}
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(closed.LocalAddr().String())
	closed.Close()
	if err := (UDP{Addr: addr}).Check(soon(t), Host{}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestChecksFromAnAddress(t *testing.T) {
	var mu sync.Mutex
	var peer string
	addr := serve(t, func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		peer, _, _ = net.SplitHostPort(c.RemoteAddr().String())
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil { // closed before that is a reset
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
		}
	})
	host, err := NewHost() // the one whose connections share an epoll
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	source := netip.MustParseAddrPort("127.0.0.9:0")
	var probe Probe = From{Probe: HTTP{Addr: addr}, Source: source}
	if ready, err := probe.(Preparer).Prepare(); err != nil {
		t.Fatal(err)
	} else if err := ready.Check(soon(t), host); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if peer != "127.0.0.9" {
		t.Errorf("the server saw %s", peer)
	}
	mu.Unlock()
	udp := serveUDP(t, func(q []byte) []byte { return q })
	if err := (From{Probe: UDP{Addr: udp, Payload: []byte("x"), RequireReply: true, MaxReply: 9}, Source: source}).Check(soon(t), host); err != nil {
		t.Errorf("over UDP: %v", err)
	}
	if err := (From{Probe: Connect{Addr: addr}, Source: netip.MustParseAddrPort("192.0.2.1:0")}).Check(soon(t), host); !IsLocal(err) {
		t.Errorf("an address that is not ours: %v is no fault of ours", err)
	}
	if err := (From{Probe: Connect{Addr: addr}, Device: "nosuchdevice"}).Check(soon(t), host); !IsLocal(err) {
		t.Errorf("a device that is not there: %v is no fault of ours", err)
	}
	if err := (From{Probe: Connect{Addr: addr}}).Check(soon(t), plainNet{host}); !IsLocal(err) {
		t.Errorf("a Net that cannot: %v", err)
	}
}

// plainNet is a Net that cannot bind.
type plainNet struct{ Net }

func TestProgramsAsAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "who")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nid -u; id -g\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil && st.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(user, group string) Outcome {
		return Program{Path: path, User: user, Group: group}.Examine(soon(t), Host{})
	}
	if out := run("nosuchuser", ""); !IsLocal(out.Err) || !strings.Contains(out.Err.Error(), "nosuchuser") {
		t.Errorf("a user that there is not: %v", out.Err)
	}
	if out := run("root", "nosuchgroup"); !IsLocal(out.Err) || !strings.Contains(out.Err.Error(), "nosuchgroup") {
		t.Errorf("a group that there is not: %v", out.Err)
	}
	out := run("65534", "0")
	if os.Geteuid() != 0 {
		if !IsLocal(out.Err) {
			t.Errorf("as another user without being root: %v", out.Err)
		}
		return
	}
	if out.Err != nil || strings.Join(strings.Fields(out.Message), " ") != "65534 0" {
		t.Errorf("%q, %v", out.Message, out.Err)
	}
}
