package check

import (
	"context"
	"net/netip"
	"strings"
)

// POP logs in to a POP3 server: service pop, and pops with Secure.
//
// Without a login it reads the greeting. The peer does not even connect then
// and finds every server well, a dead one too; nobody can have wanted that.
type POP struct {
	Addr   netip.AddrPort
	Secure bool
	// TLS: the peer verifies chain and name, that is, the address.
	TLS             TLS
	Login, Password string
}

// Check implements [Probe].
func (p POP) Check(ctx context.Context, n Net) error {
	l, err := openMailbox(ctx, n, mailbox(p))
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.ok("greeting"); err != nil {
		return err
	}
	if p.Login != "" {
		if err := p.login(l); err != nil {
			return err
		}
	}
	l.bye("QUIT")
	return nil
}

func (p POP) login(l *lines) error {
	if err := l.say("USER %s", p.Login); err != nil {
		return l.failed("answer to USER", err)
	}
	if err := l.ok("answer to USER"); err != nil {
		return err
	}
	if err := l.say("PASS %s", p.Password); err != nil {
		return l.failed("answer to PASS", err)
	}
	return l.ok("answer to PASS")
}

// ok reads a POP3 status line.
func (l *lines) ok(awaited string) error {
	s, err := l.hear(awaited)
	if err != nil {
		return err
	}
	if s != "+OK" && !strings.HasPrefix(s, "+OK ") {
		return l.wrong("%s from %s is %q, wanted +OK", awaited, l.peer, clip(s, 120))
	}
	return nil
}
