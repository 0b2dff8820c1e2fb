package check

import (
	"context"
	"net/netip"
)

// NNTP wants a greeting that begins with 2.
type NNTP struct{ Addr netip.AddrPort }

// Check implements [Probe].
func (p NNTP) Check(ctx context.Context, n Net) error {
	l, err := talk(ctx, n, p.Addr, nil)
	if err != nil {
		return err
	}
	defer l.close()
	s, err := l.hear("greeting")
	if err != nil {
		return err
	}
	if s == "" || s[0] != '2' {
		return l.wrong("greeting from %s is %q, wanted 2xx", l.peer, clip(s, 120))
	}
	l.bye("QUIT")
	return nil
}
