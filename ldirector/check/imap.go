package check

import (
	"context"
	"net/netip"
	"strings"
)

// IMAP reads the greeting and, with a login, logs in: service imap, and imaps
// with Secure.
type IMAP struct {
	Addr   netip.AddrPort
	Secure bool
	// TLS: the peer verifies chain and name, that is, the address.
	TLS             TLS
	Login, Password string
}

// Check implements [Probe].
func (p IMAP) Check(ctx context.Context, n Net) error {
	l, err := openMailbox(ctx, n, mailbox(p))
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.imapGreeting(); err != nil {
		return err
	}
	if p.Login != "" {
		if err := l.say("1 LOGIN %s %s", imapQuote(p.Login), imapQuote(p.Password)); err != nil {
			return l.failed("answer to LOGIN", err)
		}
		if err := l.tagged("1", "answer to LOGIN"); err != nil {
			return err
		}
	}
	l.bye("2 LOGOUT")
	return nil
}

func (l *lines) imapGreeting() error {
	s, err := l.hear("greeting")
	if err != nil {
		return err
	}
	if f := strings.Fields(s); len(f) < 2 || f[0] != "*" || !strings.EqualFold(f[1], "OK") && !strings.EqualFold(f[1], "PREAUTH") {
		return l.wrong("greeting from %s is %q, wanted * OK", l.peer, clip(s, 120))
	}
	return nil
}

// tagged reads lines until the one that answers the command of this tag.
func (l *lines) tagged(tag, awaited string) error {
	for {
		s, err := l.hear(awaited)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(s, tag+" "); ok {
			if word, _, _ := strings.Cut(rest, " "); !strings.EqualFold(word, "OK") {
				return l.wrong("%s from %s is %q, wanted OK", awaited, l.peer, clip(rest, 120))
			}
			return nil
		}
	}
}

// imapQuote writes a quoted string of RFC 3501.
func imapQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
