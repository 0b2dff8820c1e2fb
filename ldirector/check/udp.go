package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// UDP sends one datagram. Without RequireReply only word that nobody listens, or that
// the host cannot be reached (after the three seconds of ARP), is a failure, and
// silence until the timeout is well, as with keepalived's UDP_CHECK: UDP itself
// tells no more.
type UDP struct {
	Addr netip.AddrPort
	// Payload is sent as it is, and may be empty.
	Payload []byte
	// RequireReply wants a datagram back, of MinReply to MaxReply bytes.
	RequireReply       bool
	MinReply, MaxReply int
	// Reply is what it has to begin with, as far as it is that long, but for the
	// bits that are set in Wild, which is as long as Reply or empty.
	Reply, Wild []byte
}

// Check implements [Probe].
func (p UDP) Check(ctx context.Context, n Net) error {
	x := begin(ctx, p.Addr.String())
	c, err := dial(ctx, n, "udp", x.peer)
	if err != nil {
		return x.failed("connection", err)
	}
	defer c.Close()
	if err := hearUnreachable(c.Conn, p.Addr.Addr().Is4()); err != nil {
		return x.failed("answer", local(err))
	}
	if _, err := c.Write(p.Payload); err != nil {
		return x.failed("answer", err)
	}
	buf := make([]byte, max(p.MaxReply, 0)+1)
	got, err := c.Read(buf)
	if t := net.Error(nil); errors.As(err, &t) && t.Timeout() && !p.RequireReply && !errors.Is(context.Cause(ctx), context.Canceled) {
		return nil
	}
	if err != nil {
		return x.failed("answer", err)
	}
	if !p.RequireReply {
		return nil
	}
	return p.judge(x, buf[:got])
}

// hearUnreachable has a socket told that a host or a network cannot be reached.
// Linux keeps to itself what ICMP and ARP say of that, as it may pass, unless it is
// asked; that a port is closed it always tells.
func hearUnreachable(c net.Conn, v4 bool) error {
	sc, is := c.(syscall.Conn)
	if !is {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	level, option := syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR
	if v4 {
		level, option = syscall.IPPROTO_IP, syscall.IP_RECVERR
	}
	var setting error
	err = raw.Control(func(fd uintptr) { setting = syscall.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, setting)
}

func (p UDP) judge(x exchange, got []byte) error {
	if len(got) < p.MinReply || len(got) > p.MaxReply {
		size := fmt.Sprint(len(got))
		if len(got) > p.MaxReply {
			size = "more than " + fmt.Sprint(p.MaxReply)
		}
		return x.wrong("the answer of %s has %s bytes, wanted %d to %d", x.peer, size, p.MinReply, p.MaxReply)
	}
	for i := range min(len(got), len(p.Reply)) {
		wild := byte(0)
		if i < len(p.Wild) {
			wild = p.Wild[i]
		}
		if (got[i]^p.Reply[i])&^wild != 0 {
			return x.wrong("the answer of %s begins with %x, wanted %x", x.peer, got[:min(len(got), len(p.Reply), 32)], p.Reply)
		}
	}
	return nil
}
