package check

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// glanced is once by way of a glance, for probes that one may suffice for.
func glanced(p Probe, timeout time.Duration) error {
	ready, err := prepare(p)
	if err != nil {
		return err
	}
	look, ok := ready.(glancer)
	if !ok {
		return once(p, timeout)
	}
	done := make(chan Outcome, 1)
	g := newGlance(polled.poll, polled, look, func(_ time.Time, out Outcome) { done <- out })
	out, over := g.start(context.Background(), time.Now(), timeout)
	if over {
		return out.Err
	}
	late := time.AfterFunc(timeout, func() { g.cancel(context.DeadlineExceeded) })
	defer late.Stop()
	return (<-done).Err
}

// TestGlanceAgain uses one glance for many checks whose answers differ each time:
// nothing of one may be left for the next.
func TestGlanceAgain(t *testing.T) {
	var asked atomic.Int32
	addr := serve(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		switch asked.Add(1) % 5 {
		case 0:
			io.WriteString(c, page)
		case 1: // and closes
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nIt ")
		case 2:
			io.WriteString(c, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
		case 3: // in two pieces
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Len")
			time.Sleep(20 * time.Millisecond)
			io.WriteString(c, "gth: 8\r\n\r\nIt works")
		case 4: // never
			io.Copy(io.Discard, c)
		}
	})
	ready, err := HTTP{Addr: addr, Receive: "It works"}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Outcome, 1)
	g := newGlance(polled.poll, polled, ready.(glancer), func(_ time.Time, out Outcome) { done <- out })
	for i := range 50 {
		want := []string{"", "closed the connection before any whole HTTP answer", "^HTTP 503", "", "^no whole HTTP answer from .* within 10 s$"}[(i+1)%5]
		out, over := g.start(context.Background(), time.Now(), 10*time.Second)
		if over {
			t.Fatal(out.Err)
		}
		if (i+1)%5 == 4 {
			for asked.Load() <= int32(i) {
				runtime.Gosched()
			}
			g.cancel(context.DeadlineExceeded)
		}
		wantVerdict(t, (<-done).Err, want)
		g.cancel(context.Canceled) // nothing is under way: nothing happens
	}
}

// TestGlanceAllocates holds a check at a glance to what makes it worth while.
func TestGlanceAllocates(t *testing.T) {
	ready, err := HTTP{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Receive: "works"}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	p := ready.(glancer)
	text := []byte(page)
	n := testing.AllocsPerRun(100, func() {
		if out, enough := p.hear(text, false); out.Err != nil || !enough {
			t.Fatal(out, enough)
		}
	})
	if n > 1 {
		t.Errorf("%v allocations to judge an ordinary page", n)
	}
}

// TestGlanceIsQuick sends to a goroutine what may take long.
func TestGlanceIsQuick(t *testing.T) {
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	for name, tt := range map[string]struct {
		probe Probe
		quick bool
	}{
		"page":         {HTTP{Addr: addr}, true},
		"receive":      {HTTP{Addr: addr, Receive: "a+b"}, true},
		"connect":      {Connect{Addr: addr}, true},
		"backtracking": {HTTP{Addr: addr, Receive: "(a)\\1"}, false},
		"TLS":          {HTTP{Addr: addr, Secure: true}, false},
		"proxy":        {HTTP{Addr: addr, Proxy: true, Target: "http://x/"}, false},
		"whole URL":    {HTTP{Addr: addr, Target: "http://x/"}, false},
		"mail":         {SMTP{Addr: addr}, false},
	} {
		ready, err := prepare(tt.probe)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, ok := ready.(glancer); ok != tt.quick {
			t.Errorf("%s: at a glance: %v", name, ok)
		}
	}
}

// FuzzGlance holds a glance to the verdict that reading it all comes to, wherever
// the first piece ends.
func FuzzGlance(f *testing.F) {
	f.Add([]byte(page), uint16(1000))
	f.Add([]byte(page), uint16(30))
	for _, header := range []string{"Content-Length: 08", "content-length:3", "Content-Length: 3, 3", "Content-Length : 3", "Content-Length: +3", "Content-Length: 3\r\nContent-Length: 4", " Content-Length: 3", "Trailer: X", "Content-Encoding: gzip", "Transfer-Encoding: chunked", "X\x00: y", ": y", "X"} {
		f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"+header+"\r\n\r\naab"), uint16(1000))
		f.Add([]byte("HTTP/1.1 200 OK\r\n"+header+"\r\n\r\naab"), uint16(1000))
	}
	for _, line := range []string{"HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1  200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 +20 OK", "HTTP/1.2 200 OK", "HTTP/1.1 204 OK", "HTTP/1.1 304 OK", "HTTP/1.1 101 OK", "HTTP/1.1 299 a  b "} {
		f.Add([]byte(line+"\r\nContent-Length: 3\r\n\r\naab"), uint16(1000))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\naab\r\n0\r\n\r\n"), uint16(60))
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\naab"), uint16(20))
	f.Add([]byte("HTTP/1.1 100 \r\n\r\nHTTP/1.0 404\r\n\r\n"), uint16(20))
	f.Add([]byte("220 ftp\r\nmore"), uint16(9))
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		ready, err := HTTP{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Receive: "a+b"}.Prepare()
		if err != nil {
			t.Fatal(err)
		}
		p := ready.(*plainHTTP)
		whole, enough := p.hear(text, true)
		first, said := p.hear(text[:min(int(at), len(text))], false)
		if said && (!enough || fmt.Sprint(first) != fmt.Sprint(whole)) {
			t.Errorf("at a glance %v, and of all of it %v", first, whole)
		}
		if !enough {
			return // a redirection
		}
		r := newReading()
		defer r.done()
		x := exchange{peer: p.peer}
		c := &conn{Conn: onlyRead{Reader: bytes.NewReader(text)}, left: p.MaxBody + maxHeader}
		a, err := p.read(c, r)
		out := Outcome{Err: x.failed(wholeAnswer, c.why(err))}
		if err == nil {
			out = p.judge(x, a)
		}
		if fmt.Sprint(out) != fmt.Sprint(whole) {
			t.Errorf("at a glance %v, read through %v", whole, out)
		}
	})
}

// onlyRead is a connection that can only be read from.
type onlyRead struct {
	net.Conn
	io.Reader
}

func (r onlyRead) Read(b []byte) (int, error) { return r.Reader.Read(b) }

// TestGlancesUnderWay removes, replaces and ends checks while their servers are
// silent; TestMain sees that nothing is left of them.
func TestGlancesUnderWay(t *testing.T) {
	silent := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	begun := serve(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); io.Copy(io.Discard, c) })
	good := serve(t, say(page))
	r := NewRunner(polled, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	spec := func(id string, to netip.AddrPort) Spec {
		return Spec{ID: id, Probe: HTTP{Addr: to}, Interval: time.Hour, Timeout: time.Hour}
	}
	r.Set([]Spec{spec("a", silent), spec("b", begun), spec("c", silent), spec("d", begun), spec("e", silent), spec("f", begun), spec("g", good)})
	next := func() Result {
		select {
		case res := <-r.Results():
			return res
		case <-time.After(30 * time.Second):
			t.Fatal("no result")
		}
		return Result{}
	}
	if res := next(); res.ID != "g" || res.Err != nil {
		t.Fatal(res)
	}
	r.Set([]Spec{spec("a", good), spec("b", good), spec("e", silent), spec("f", begun)})
	seen := next().String() + next().String()
	if !strings.Contains(seen, "a: up") || !strings.Contains(seen, "b: up") {
		t.Fatal(seen)
	}
	cancel()
	<-ended
}
