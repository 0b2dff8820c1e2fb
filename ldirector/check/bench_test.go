package check

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkHTTP is one plain check, prepared as the Runner has it.
func BenchmarkHTTP(b *testing.B) {
	for name, open := range map[string]func() (Host, error){
		"net":    func() (Host, error) { return Host{}, nil },
		"poller": NewHost,
	} {
		b.Run(name, func(b *testing.B) {
			addr := serveFast(b)
			h, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			p, err := HTTP{Addr: addr, Receive: "It works"}.Prepare()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := withTimeout(context.Background(), 3*time.Second)
				if err := p.Check(ctx, h); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}

// serveFast answers one question after another with one page.
func serveFast(b *testing.B) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		buf := make([]byte, 1024)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Read(buf)
			io.WriteString(c, page)
			c.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// BenchmarkRunner is all of a plain check, from beat to result.
func BenchmarkRunner(b *testing.B) {
	addr := serveFast(b)
	h, err := NewHost()
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	r := NewRunner(h, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	var specs []Spec
	for i := range 20 {
		specs = append(specs, Spec{ID: fmt.Sprint(i), Probe: HTTP{Addr: addr, Receive: "It works"}, Interval: time.Millisecond})
	}
	r.Set(specs)
	b.ReportAllocs()
	for b.Loop() {
		if res := <-r.Results(); res.Err != nil {
			b.Fatal(res)
		}
	}
}
