package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/signal"
	"syscall"
	"time"
)

func slowPage(c net.Conn) {
	time.Sleep(200 * time.Millisecond)
	say(page)(c)
}

// victim checks a server and prints what it finds until SIGTERM.
func victim(addr string) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	r := NewRunner(Host{}, Options{})
	go r.Run(ctx)
	var specs []Spec
	for i := range 20 {
		specs = append(specs, Spec{
			ID: fmt.Sprint(i), Probe: HTTP{Addr: netip.MustParseAddrPort(addr)},
			Interval: 300 * time.Millisecond, Timeout: time.Second,
		})
	}
	r.Set(specs)
	for res := range r.Results() {
		fmt.Println(res.Health, res.Local, res.Err)
	}
}
