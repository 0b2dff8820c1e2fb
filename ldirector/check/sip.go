package check

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// SIP sends OPTIONS and wants 200 OK.
type SIP struct {
	Addr netip.AddrPort
	TCP  bool
	// Login is who asks and who is asked, as user@host.
	Login string
}

// Check implements [Probe].
func (p SIP) Check(ctx context.Context, n Net) error {
	if err := plain("login", p.Login); err != nil {
		return err
	}
	if p.TCP {
		return p.overTCP(ctx, n)
	}
	x := begin(ctx, p.Addr.String())
	c, err := dial(ctx, n, "udp", x.peer)
	if err != nil {
		return x.failed("connection", err)
	}
	defer c.Close()
	var status string
	err = c.askAgain(ctx, []byte(p.request(c.LocalAddr().String())), make([]byte, 4096), func(got []byte) (bool, error) {
		status, _, _ = strings.Cut(string(got), "\n")
		status = strings.TrimSuffix(status, "\r")
		return !sipInterim(status), nil
	})
	if err != nil {
		return x.failed("SIP answer", err)
	}
	return x.sipStatus(status)
}

func (p SIP) overTCP(ctx context.Context, n Net) error {
	l, err := talk(ctx, n, p.Addr, nil)
	if err != nil {
		return err
	}
	defer l.close()
	if _, err := l.conn.Write([]byte(p.request(l.raw.LocalAddr().String()))); err != nil {
		return l.failed("SIP answer", err)
	}
	for {
		status, err := l.sipHead()
		if err != nil || !sipInterim(status) {
			return firstOf(err, l.sipStatus(status))
		}
	}
}

// sipHead reads a status line and the headers after it.
func (l *lines) sipHead() (string, error) {
	status, err := l.hear("SIP answer")
	if err != nil {
		return "", err
	}
	for line := status; line != ""; {
		if line, err = l.hear("end of the SIP answer"); err != nil {
			return "", err
		}
	}
	return status, nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// sipInterim tells 1xx, "I have it, wait".
func sipInterim(status string) bool { return strings.HasPrefix(status, "SIP/2.0 1") }

func (x exchange) sipStatus(status string) error {
	if !strings.HasPrefix(status, "SIP/2.0 200 OK") {
		return x.wrong("answer from %s is %q, wanted SIP/2.0 200 OK", x.peer, clip(status, 120))
	}
	return nil
}

// request is the peer's, word for word ("UDP" in Via over TCP as well), but for
// branch and Call-ID, which have to be new each time (RFC 3261, 8.1.1.7): a
// server takes an old branch for a request repeated and may answer from memory.
func (p SIP) request(ours string) string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, says its documentation
	key := hex.EncodeToString(id[:])
	return fmt.Sprintf("OPTIONS sip:%[1]s SIP/2.0\r\n"+
		"Via: SIP/2.0/UDP %[2]s;branch=z9hG4bK%[3]s\r\n"+
		"Max-Forwards: 70\r\n"+
		"To: <sip:%[1]s>\r\n"+
		"From: <sip:%[1]s>;tag=1928301774\r\n"+
		"Call-ID: %[3]s\r\n"+
		"CSeq: 63104 OPTIONS\r\n"+
		"Contact: <sip:%[1]s>\r\n"+
		"Accept: application/sdp\r\n"+
		"Content-Length: 0\r\n\r\n", p.Login, ours, key)
}
