package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS asks a name server one question.
type DNS struct {
	Addr netip.AddrPort
	// TCP asks over TCP; otherwise UDP, and TCP when the answer was cut.
	TCP bool
	// Name is looked up: a name as it stands (no search list is applied), or an
	// address, whose name is asked for (PTR).
	Name string
	// Type is "" for ldirectord's way: A and, when that finds nothing, AAAA; PTR
	// for an address. Otherwise A, AAAA, NS, CNAME, SOA, PTR, MX, TXT or SRV.
	Type string
	// Receive is a Perl expression that one address or name of the answers has
	// to match. "" = any answer will do.
	Receive string
	// Empty takes an answer without a fault as well when nothing is in it
	// (keepalived); that there is no such name is a fault.
	Empty bool
}

var dnsTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "NS": dnsmessage.TypeNS,
	"CNAME": dnsmessage.TypeCNAME, "SOA": dnsmessage.TypeSOA, "PTR": dnsmessage.TypePTR,
	"MX": dnsmessage.TypeMX, "TXT": dnsmessage.TypeTXT, "SRV": dnsmessage.TypeSRV,
}

// Check implements [Probe].
func (p DNS) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner].
func (p DNS) Examine(ctx context.Context, n Net) Outcome {
	ready, err := p.Prepare()
	if err != nil {
		return Outcome{Err: err}
	}
	return examine(ctx, ready, n)
}

// Prepare implements [Preparer].
func (p DNS) Prepare() (Probe, error) {
	receive, err := ParsePattern(p.Receive)
	if err != nil {
		return nil, local(fmt.Errorf("receive: %w", err))
	}
	d := &dnsProbe{DNS: p, receive: receive, types: []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}}
	name := strings.TrimSuffix(p.Name, ".") + "."
	if a, err := netip.ParseAddr(p.Name); err == nil {
		name, d.types = reverseName(a), []dnsmessage.Type{dnsmessage.TypePTR}
	}
	if p.Type != "" {
		t, ok := dnsTypes[strings.ToUpper(p.Type)]
		if !ok {
			return nil, local(fmt.Errorf("DNS type %q is not known: use A, AAAA, NS, CNAME, SOA, PTR, MX, TXT or SRV", p.Type))
		}
		d.types = []dnsmessage.Type{t}
	}
	if d.name, err = dnsmessage.NewName(name); err != nil {
		return nil, local(fmt.Errorf("request %q is no name to look up: %w", p.Name, err))
	}
	return d, nil
}

// reverseName is the name under which the name of an address is kept.
func reverseName(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	b := a.AsSlice()
	var s strings.Builder
	for i := len(b) - 1; i >= 0; i-- {
		if a.Is4() {
			fmt.Fprintf(&s, "%d.", b[i])
		} else {
			fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
		}
	}
	if a.Is4() {
		return s.String() + "in-addr.arpa."
	}
	return s.String() + "ip6.arpa."
}

type dnsProbe struct {
	DNS
	receive *Pattern
	name    dnsmessage.Name
	types   []dnsmessage.Type
}

// Check implements [Probe].
func (p *dnsProbe) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner]. The messages are the peer's.
func (p *dnsProbe) Examine(ctx context.Context, n Net) Outcome {
	x := begin(ctx, p.Addr.String())
	var found []string
	for _, t := range p.types {
		a, err := p.ask(ctx, n, x, t)
		if err == nil && p.Empty {
			return Outcome{Message: "Success"}
		}
		if err != nil && (p.Empty || !errors.Is(err, errNoName)) {
			return Outcome{Err: err, Message: "Connection timed out"}
		}
		for _, s := range a {
			if ok, err := p.receive.Match([]byte(s)); err != nil {
				return Outcome{Err: local(err)}
			} else if ok {
				return Outcome{Message: "Success"}
			}
		}
		found = append(found, a...)
	}
	if len(found) == 0 {
		return Outcome{Err: x.wrong("%s knows no %s of %s", x.peer, p.asked(), p.name), Message: "Connection timed out"}
	}
	return Outcome{
		Err:     x.wrong("%s says %s is %s, wanted %q", x.peer, p.name, clip(strings.Join(found, ", "), 200), p.receive),
		Message: "Response mismatch",
	}
}

func (p *dnsProbe) asked() string {
	switch {
	case len(p.types) > 1:
		return "address"
	case p.types[0] == dnsmessage.TypePTR:
		return "name"
	}
	return strings.TrimPrefix(p.types[0].String(), "Type") + " record"
}

// ask asks for one type and returns what the answers hold, nothing when the
// server says that there is none.
func (p *dnsProbe) ask(ctx context.Context, n Net, x exchange, t dnsmessage.Type) ([]string, error) {
	q, id, err := dnsQuery(p.name, t)
	if err != nil {
		return nil, local(err)
	}
	if !p.TCP {
		a, cut, err := p.askUDP(ctx, n, x, q, id, t)
		if err != nil || !cut {
			return a, err
		}
	}
	return p.askTCP(ctx, n, x, q, id, t)
}

func dnsQuery(name dnsmessage.Name, t dnsmessage.Type) (query []byte, id uint16, err error) {
	id = uint16(rand.Uint32())
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: t, Class: dnsmessage.ClassINET}},
	}
	query, err = m.Pack()
	return query, id, err
}

func (p *dnsProbe) askUDP(ctx context.Context, n Net, x exchange, q []byte, id uint16, t dnsmessage.Type) (a []string, cut bool, err error) {
	c, err := dial(ctx, n, "udp", p.Addr.String())
	if err != nil {
		return nil, false, x.failed("connection", err)
	}
	defer c.Close()
	buf := make([]byte, 4096)
	err = c.askAgain(ctx, q, buf, func(got []byte) (bool, error) {
		var mine bool
		a, cut, mine, err = readDNS(got, id, p.name, t)
		return mine, err
	})
	if err != nil {
		return nil, false, x.failed("DNS answer", err)
	}
	return a, cut, nil
}

func (p *dnsProbe) askTCP(ctx context.Context, n Net, x exchange, q []byte, id uint16, t dnsmessage.Type) ([]string, error) {
	c, err := dial(ctx, n, "tcp", p.Addr.String())
	if err != nil {
		return nil, x.failed("connection", err)
	}
	defer c.Close()
	if _, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
		return nil, x.failed("DNS answer", err)
	}
	var size [2]byte
	if _, err = io.ReadFull(c, size[:]); err != nil {
		return nil, x.failed("DNS answer", err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err = io.ReadFull(c, buf); err != nil {
		return nil, x.failed("whole DNS answer", err)
	}
	a, _, mine, err := readDNS(buf, id, p.name, t)
	if err == nil && !mine {
		err = errors.New("the answer is to another question")
	}
	if err != nil {
		return nil, x.failed("DNS answer", err)
	}
	return a, nil
}

// askAgain sends a datagram, again after 0.5 s, 1 s, 2 s and so on, until one
// comes back that take calls its own: one lost packet is no dead server.
func (c *conn) askAgain(ctx context.Context, q, buf []byte, take func([]byte) (mine bool, err error)) error {
	for pause := 500 * time.Millisecond; ; pause *= 2 {
		if _, err := c.Write(q); err != nil {
			return err
		}
		again := earlier(time.Now().Add(pause), c.end)
		if err := c.Conn.SetReadDeadline(again); err != nil {
			return err
		}
		if done, err := c.readUntil(buf, take); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if again.Equal(c.end) {
			return context.DeadlineExceeded
		}
	}
}

// readUntil reads datagrams until one is taken (done), or it is time to ask again.
func (c *conn) readUntil(buf []byte, take func([]byte) (bool, error)) (done bool, err error) {
	for {
		n, err := c.Read(buf)
		if t := net.Error(nil); errors.As(err, &t) && t.Timeout() {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if mine, err := take(buf[:n]); mine || err != nil {
			return true, err
		}
	}
}

var errNoName = errors.New("there is no such name")

// readDNS reads an answer. It is mine when identifier and question are; anything
// else may be a stray or forged packet and is passed over.
func readDNS(msg []byte, id uint16, name dnsmessage.Name, t dnsmessage.Type) (found []string, cut, mine bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != id || !h.Response {
		return nil, false, false, nil
	}
	qs, err := p.AllQuestions()
	if err != nil || len(qs) > 1 || len(qs) == 1 && (qs[0].Type != t || !strings.EqualFold(qs[0].Name.String(), name.String())) {
		return nil, false, false, nil
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return nil, false, true, errNoName
	default:
		return nil, false, true, fmt.Errorf("the server says %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	if h.Truncated {
		return nil, true, true, nil
	}
	for range 1000 {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, false, true, fmt.Errorf("broken DNS answer: %w", err)
		}
		if s := dnsText(r.Body, t); s != "" {
			found = append(found, s)
		}
	}
	return found, false, true, nil
}

// dnsText is what an expression is matched with. Of a chain of aliases only what
// it leads to counts, unless an alias was asked for.
func dnsText(b dnsmessage.ResourceBody, t dnsmessage.Type) string {
	dot := func(n dnsmessage.Name) string { return strings.TrimSuffix(n.String(), ".") }
	switch b := b.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.PTRResource:
		return dot(b.PTR)
	case *dnsmessage.NSResource:
		return dot(b.NS)
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, dot(b.MX))
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, dot(b.Target))
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d", dot(b.NS), dot(b.MBox), b.Serial)
	case *dnsmessage.TXTResource:
		return strings.Join(b.TXT, "")
	case *dnsmessage.CNAMEResource:
		if t == dnsmessage.TypeCNAME {
			return dot(b.CNAME)
		}
	}
	return ""
}
