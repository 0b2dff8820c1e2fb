package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func slowPage(c net.Conn) {
	time.Sleep(200 * time.Millisecond)
	say(page)(c)
}

// victim checks a server and prints what it finds until SIGTERM; with
// CHECK_NOFILE, for three seconds, of which one without a free descriptor.
func victim(addr string) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	h, err := NewHost()
	if err != nil {
		panic(err)
	}
	defer h.Close()
	r := NewRunner(h, Options{})
	go r.Run(ctx)
	if os.Getenv("CHECK_NOFILE") != "" {
		time.AfterFunc(time.Second, func() {
			var files []int
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				files = append(files, takeAll()...) // also those that checks give back
			}
			for _, fd := range files {
				syscall.Close(fd)
			}
			time.AfterFunc(time.Second, cancel)
		})
	}
	var specs []Spec
	for i := range 20 {
		specs = append(specs, Spec{
			ID: fmt.Sprint(i), Probe: HTTP{Addr: netip.MustParseAddrPort(addr)},
			Interval: 300 * time.Millisecond, Timeout: time.Second,
		})
	}
	r.Set(specs)
	for res := range r.Results() {
		if res.Err != context.Canceled && ctx.Err() == nil {
			fmt.Println(res.Health, res.Local, res.Err)
		}
	}
}

// takeAll opens files until there is no descriptor left.
func takeAll() (files []int) {
	lim := syscall.Rlimit{Cur: 64, Max: 64}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	for {
		fd, err := syscall.Open("/dev/null", 0, 0)
		if err != nil {
			return files
		}
		files = append(files, fd)
	}
}
