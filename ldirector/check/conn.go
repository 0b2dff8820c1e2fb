package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// maxAnswer is the most a check reads from a server, unless its probe says
// otherwise. No greeting, line or row that a check looks at is near it.
const maxAnswer = 1 << 20

// maxCheck ends a check whose caller set no end.
const maxCheck = time.Minute

var errTooMuch = errors.New("too long an answer")

// conn is a connection that cannot outlive its check: one deadline for all of
// it, however slowly the bytes drip, and a bound on how many there are.
type conn struct {
	net.Conn
	left int
	end  time.Time // the deadline of the check
	err  error     // what first went wrong with reading
	stop func() bool
}

// dial connects to address. The connection ends with ctx.
func dial(ctx context.Context, n Net, network, address string) (*conn, error) {
	nc, err := n.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return endingWith(ctx, nc)
}

// endingWith is a connection that ends with ctx.
func endingWith(ctx context.Context, nc net.Conn) (*conn, error) {
	c := &conn{Conn: nc, left: maxAnswer}
	var limited bool
	if c.end, limited = ctx.Deadline(); !limited {
		c.end = time.Now().Add(maxCheck)
		if err := nc.SetDeadline(c.end); err != nil {
			nc.Close()
			return nil, err
		}
	}
	// The end of the context is the deadline: a timer of its own for every
	// connection, and a goroutine to wait, would only cost.
	c.stop = context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	return c, nil
}

func (c *conn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		c.err = errTooMuch
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// why is the cause of a failure that a protocol library worded in its own way:
// what happened to the connection, if anything did.
func (c *conn) why(err error) error {
	if err != nil && c != nil && c.err != nil {
		return c.err
	}
	return err
}

// Close ends the connection the ordinary way.
func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// abort closes with a reset: no port of ours is left in TIME_WAIT for a
// connection that carried nothing.
func (c *conn) abort() {
	if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		// If it fails the close below is an ordinary one, which is as good.
		_ = l.SetLinger(0)
	}
	c.Close()
}

// SetDeadline does nothing: the check has one deadline, and a protocol library
// that sets its own must not push it back.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing, see SetDeadline.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, see SetDeadline.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// startTLS runs the handshake over c.
func startTLS(ctx context.Context, c net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}
