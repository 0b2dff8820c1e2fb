package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Simple sends a request and looks for an expression in what comes back: service
// simpletcp.
type Simple struct {
	Addr netip.AddrPort
	// UDP sends one datagram and looks into each that comes back.
	UDP bool
	// Request is sent as it is, \n and the like already replaced. Over TCP our
	// side of the connection is closed after it.
	Request string
	// Receive is a Perl expression one line (over UDP, one datagram) has to
	// match. "" = anything that comes back will do.
	Receive string
}

// Check implements [Probe].
func (p Simple) Check(ctx context.Context, n Net) error {
	ready, err := p.Prepare()
	if err != nil {
		return err
	}
	return ready.Check(ctx, n)
}

// Prepare implements [Preparer].
func (p Simple) Prepare() (Probe, error) {
	receive, err := ParsePattern(p.Receive)
	if err != nil {
		return nil, local(fmt.Errorf("receive: %w", err))
	}
	return simpleProbe{p, receive}, nil
}

type simpleProbe struct {
	Simple
	receive *Pattern
}

// Check implements [Probe].
func (p simpleProbe) Check(ctx context.Context, n Net) error {
	x := begin(ctx, p.Addr.String())
	network := "tcp"
	if p.UDP {
		network = "udp"
	}
	c, err := dial(ctx, n, network, x.peer)
	if err != nil {
		return x.failed("connection", err)
	}
	defer c.Close()
	if p.UDP {
		return p.datagrams(ctx, x, c)
	}
	if _, err := io.WriteString(c, p.Request); err != nil {
		return x.failed("answer", err)
	}
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		if err := h.CloseWrite(); err != nil {
			return x.failed("answer", err)
		}
	}
	return p.lines(x, c)
}

// lines reads until a line matches, or there are no more.
func (p simpleProbe) lines(x exchange, c *conn) error {
	in := bufio.NewReaderSize(c, 1024)
	last := ""
	for {
		line, err := in.ReadString('\n')
		if line != "" && (err == nil || errors.Is(err, io.EOF)) {
			ok, merr := p.receive.Match([]byte(line))
			if merr != nil {
				return local(merr)
			}
			if ok {
				return nil
			}
			last = line
		}
		switch {
		case errors.Is(err, io.EOF) && last != "":
			return x.wrong("no line from %s matches %q, the last is %q", x.peer, p.receive, clip(strings.TrimSpace(last), 80))
		case err != nil:
			return x.failed("line that matches", err)
		}
	}
}

func (p simpleProbe) datagrams(ctx context.Context, x exchange, c *conn) error {
	last := ""
	err := c.askAgain(ctx, []byte(p.Request), make([]byte, 64<<10), func(got []byte) (bool, error) {
		last = string(got)
		ok, err := p.receive.Match(got)
		if err != nil {
			err = local(err)
		}
		return ok, err
	})
	if err != nil && last != "" && !IsLocal(err) {
		return &reason{fmt.Sprintf("no answer from %s matches %q, the last is %q", x.peer, p.receive, clip(last, 80)), err}
	}
	return x.failed("answer", err)
}
