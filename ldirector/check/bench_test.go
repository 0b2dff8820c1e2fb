package check

import (
	"context"
	"io"
	"net"
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
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
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
			h, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			p, err := HTTP{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Receive: "It works"}.Prepare()
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
