package check

import (
	"context"
	"net/netip"
)

// SMTP wants a 2xx greeting and an accepted EHLO or HELO: service smtp and
// submission.
type SMTP struct {
	Addr netip.AddrPort
	// Helo is the name we call ourselves. "" = localhost.localdomain, which is
	// Net::SMTP's.
	Helo string
	// Old has only HELO said, as keepalived does: some servers greet differently.
	Old bool
}

// Check implements [Probe].
func (p SMTP) Check(ctx context.Context, n Net) error {
	if p.Helo == "" {
		p.Helo = "localhost.localdomain"
	}
	if err := plain("helo name", p.Helo); err != nil {
		return err
	}
	l, err := talk(ctx, n, p.Addr, nil)
	if err != nil {
		return err
	}
	defer l.close()
	if _, _, err := l.code(2, "greeting"); err != nil {
		return err
	}
	if err := p.hello(l); err != nil {
		return err
	}
	l.bye("QUIT")
	return nil
}

// hello falls back on HELO where EHLO is refused.
func (p SMTP) hello(l *lines) error {
	if !p.Old {
		code, _, err := l.ask(2, "answer to EHLO", "EHLO %s", p.Helo)
		if err == nil || code == 0 {
			return err
		}
	}
	_, _, err := l.ask(2, "answer to HELO", "HELO %s", p.Helo)
	return err
}
