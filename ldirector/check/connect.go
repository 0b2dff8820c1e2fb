package check

import (
	"context"
	"net"
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

// Prepare implements [Preparer].
func (p Connect) Prepare() (Probe, error) {
	return &connectProbe{p, opening{addr: p.Addr, peer: p.Addr.String(), abort: !p.Polite}}, nil
}

// connectProbe is a Connect made ready. It asks nothing, so it never hears.
type connectProbe struct {
	Connect
	first opening
}

func (p *connectProbe) opening() *opening { return &p.first }

func (p *connectProbe) hear([]byte, bool) (Outcome, bool) { return Outcome{}, true }

func (p *connectProbe) goOn(_ context.Context, _ Net, c net.Conn) Outcome {
	c.Close()
	return Outcome{}
}
