package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// LDAP binds and wants exactly one entry at Base: service ldap, and ldaps with
// Secure.
//
// The three messages are written and read here, not by a library, because a
// client library believes the lengths it is sent and allocates what they say.
type LDAP struct {
	Addr   netip.AddrPort
	Secure bool
	// TLS: the peer verifies nothing.
	TLS TLS
	// Login is a DN. Without Login or Password the bind is anonymous.
	Login, Password string
	Base            string
	// Receive is a Perl expression the entry's DN has to match. "" = any.
	Receive string
}

// Check implements [Probe].
func (p LDAP) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner].
func (p LDAP) Examine(ctx context.Context, n Net) Outcome {
	ready, err := p.Prepare()
	if err != nil {
		return Outcome{Err: err}
	}
	return examine(ctx, ready, n)
}

// Prepare implements [Preparer].
func (p LDAP) Prepare() (Probe, error) {
	receive, err := ParsePattern(p.Receive)
	if err != nil {
		return nil, local(fmt.Errorf("receive: %w", err))
	}
	if !p.Secure {
		return ldapProbe{p, receive, nil}, nil
	}
	cfg, err := p.TLS.config(p.Addr.Addr().WithZone("").String())
	return ldapProbe{p, receive, cfg}, err
}

type ldapProbe struct {
	LDAP
	receive *Pattern
	tls     *tls.Config
}

// Check implements [Probe].
func (p ldapProbe) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner]. The messages are the peer's.
func (p ldapProbe) Examine(ctx context.Context, n Net) Outcome {
	x := begin(ctx, p.Addr.String())
	c, err := dial(ctx, n, "tcp", x.peer)
	if err != nil {
		return Outcome{Err: x.failed("connection", err), Message: "Connection failed"}
	}
	defer c.Close()
	var rw net.Conn = c
	if p.tls != nil {
		if rw, err = x.overTLS(ctx, c, p.tls); err != nil {
			return Outcome{Err: err, Message: "Connection failed"}
		}
	}
	s := ldapSession{x, rw, bufio.NewReaderSize(rw, 1024)}
	if err := p.bind(s); err != nil {
		return Outcome{Err: err, Message: "Bind failed"}
	}
	dns, err := s.search(p.Base)
	if err == nil && len(dns) != 1 {
		err = x.wrong("%s holds no entry %q", x.peer, p.Base)
	}
	if err != nil {
		return Outcome{Err: err, Message: "No answer received"}
	}
	if err := x.match(p.receive, []byte(dns[0]), "the entry", false); err != nil {
		return Outcome{Err: err, Message: "Response mismatch"}
	}
	// Unbind has no answer, and if it cannot be sent the server is gone already.
	_, _ = rw.Write(ldapMessage(3, ber(0x42)))
	return Outcome{Message: "Success"}
}

func (p ldapProbe) bind(s ldapSession) error {
	dn, pw := p.Login, p.Password
	if dn == "" || pw == "" {
		dn, pw = "", ""
	}
	req := ber(0x60, ber(0x02, []byte{3}), ber(0x04, []byte(dn)), ber(0x80, []byte(pw)))
	if _, err := s.conn.Write(ldapMessage(1, req)); err != nil {
		return s.failed("answer to bind", err)
	}
	tag, body, err := s.next(1)
	if err != nil {
		return s.failed("answer to bind", err)
	}
	if tag != 0x61 {
		return s.wrong("%s answers a bind with something else (tag %#x)", s.peer, tag)
	}
	return s.result("bind", body)
}

// ldapSession is one connection.
type ldapSession struct {
	exchange
	conn net.Conn
	in   *bufio.Reader
}

// search asks for the one entry base, without its attributes, and returns the
// DNs that come.
func (s ldapSession) search(base string) (dns []string, err error) {
	zero := []byte{0}
	req := ber(0x63, ber(0x04, []byte(base)), ber(0x0a, zero), ber(0x0a, zero), ber(0x02, zero), ber(0x02, zero),
		ber(0x01, zero), ber(0x87, []byte("objectClass")), ber(0x30, ber(0x04, []byte("1.1"))))
	if _, err := s.conn.Write(ldapMessage(2, req)); err != nil {
		return nil, s.failed("answer to search", err)
	}
	for {
		tag, body, err := s.next(2)
		if err != nil {
			return nil, s.failed("answer to search", err)
		}
		switch tag {
		case 0x64: // entry
			_, dn, _, err := berField(body)
			if err != nil {
				return nil, s.failed("answer to search", err)
			}
			dns = append(dns, string(dn))
		case 0x73: // reference to another server
		case 0x65: // done
			return dns, s.result("search", body)
		default:
			return nil, s.wrong("%s answers a search with something else (tag %#x)", s.peer, tag)
		}
	}
}

// result reads an LDAPResult.
func (s ldapSession) result(of string, body []byte) error {
	_, code, rest, err := berField(body)
	if err != nil || len(code) != 1 {
		return s.wrong("%s sends a broken result of %s", s.peer, of)
	}
	if code[0] == 0 {
		return nil
	}
	_, _, rest, _ = berField(rest)
	_, text, _, _ := berField(rest)
	return s.wrong("%s refuses the %s: %s%s", s.peer, of, ldapCode(code[0]), said(string(text)))
}

func ldapCode(c byte) string {
	switch c {
	case 32:
		return "no such object (32)"
	case 48:
		return "inappropriate authentication (48)"
	case 49:
		return "invalid credentials (49)"
	case 50:
		return "insufficient access rights (50)"
	case 51:
		return "busy (51)"
	case 52:
		return "unavailable (52)"
	}
	return fmt.Sprintf("result %d", c)
}

// next reads messages until one answers id.
func (s ldapSession) next(id byte) (tag byte, body []byte, err error) {
	for {
		_, msg, err := readBER(s.in)
		if err != nil {
			return 0, nil, err
		}
		_, mid, rest, err := berField(msg)
		if err != nil {
			return 0, nil, err
		}
		tag, body, _, err := berField(rest)
		if err != nil {
			return 0, nil, err
		}
		if len(mid) > 0 && mid[len(mid)-1] == id {
			return tag, body, nil
		}
	}
}

func ldapMessage(id byte, op []byte) []byte { return ber(0x30, ber(0x02, []byte{id}), op) }

// ber writes one element.
func ber(tag byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	if len(body) < 0x80 {
		return append([]byte{tag, byte(len(body))}, body...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{tag, 0x84}, uint32(len(body))), body...)
}

// maxBER is the longest message taken.
const maxBER = 64 << 10

var errBER = errors.New("broken LDAP message")

// readBER reads one element from a stream.
func readBER(in *bufio.Reader) (tag byte, body []byte, err error) {
	if tag, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	first, err := in.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n := int(first)
	if first&0x80 != 0 {
		var long [4]byte
		k := int(first & 0x7f)
		if k < 1 || k > 4 {
			return 0, nil, errBER
		}
		if _, err := io.ReadFull(in, long[4-k:]); err != nil {
			return 0, nil, err
		}
		if n = int(binary.BigEndian.Uint32(long[:])); n > maxBER {
			return 0, nil, fmt.Errorf("LDAP message of %d bytes, %d are taken", n, maxBER)
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(in, body)
	return tag, body, err
}

// berField takes the first element off b.
func berField(b []byte) (tag byte, body, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errBER
	}
	tag, n, b := b[0], int(b[1]), b[2:]
	if n&0x80 != 0 {
		k := n & 0x7f
		if k < 1 || k > 4 || len(b) < k {
			return 0, nil, nil, errBER
		}
		n = 0
		for _, c := range b[:k] {
			n = n<<8 | int(c)
		}
		b = b[k:]
	}
	if n > len(b) {
		return 0, nil, nil, errBER
	}
	return tag, b[:n], b[n:], nil
}
