package check

import (
	"context"
	"net/netip"
)

// Connect is well when a TCP connection opens. Nothing is sent; the connection
// is reset, so that no port stays in TIME_WAIT.
type Connect struct {
	Addr netip.AddrPort
	// Polite closes the connection the ordinary way, for servers that log
	// every reset.
	Polite bool
}

// Check implements [Probe].
func (p Connect) Check(ctx context.Context, n Net) error {
	x := begin(ctx, p.Addr.String())
	c, err := dial(ctx, n, "tcp", p.Addr.String())
	if err != nil {
		return x.failed("connection", err)
	}
	if p.Polite {
		c.Close()
		return nil
	}
	c.abort()
	return nil
}
