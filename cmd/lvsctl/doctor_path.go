package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// How long a connection may take, and how long others are watched for.
const (
	connectPatience = 5 * time.Second
	watchPatience   = 10 * time.Second
	tapLag          = 200 * time.Millisecond
)

// carriers are the IP protocols in which a connection can pass: TCP, and the
// tunnels of IPVS (ipip, 6 in 6, GRE, GUE in UDP).
var carriers = []uint8{6, 4, 41, 47, 17}

// follow traces a connection: a client makes it, others watch for it.
func follow(ctx context.Context, notes io.Writer, k *netif.Kernel, facts doctor.Facts, o *doctorOptions) ([]doctor.Hop, error) {
	tap, err := k.Tap(carriers...)
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("following a connection: %w; it takes CAP_NET_RAW, which root has", err)
	}
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	trail := &doctor.Trail{Facts: facts, Target: o.target}
	if facts.Roles == doctor.Client {
		return connect(ctx, tap, trail, cmp.Or(o.listen, connectPatience))
	}
	patience := cmp.Or(o.listen, watchPatience)
	fmt.Fprintf(notes, "lvsctl: watching for connections to %v for %v; make one from a client with the same command\n", o.target, patience)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = tap.Listen(ctx, func(f netif.Frame) bool { return trail.Add(f) && trail.Complete() })
	return trail.Watched(), err
}

// connect makes the marked connection while the tap listens.
func connect(ctx context.Context, tap *netif.Tap, trail *doctor.Trail, patience time.Duration) ([]doctor.Hop, error) {
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	var heard error
	both.Go(func() {
		heard = tap.Listen(listening, func(f netif.Frame) bool { trail.Add(f); return false })
	})
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) (err error) {
		return c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, doctor.PathMSS)
		})
	}}
	conn, err := d.DialContext(ctx, "tcp", trail.Target.String())
	if err == nil {
		err = conn.Close()
	}
	// The answer was on the wire before the connection knew of it, and the tap may be
	// behind.
	time.AfterFunc(tapLag, cancel)
	both.Wait()
	return trail.Client(err), heard
}
