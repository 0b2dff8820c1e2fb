package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Ping is well when an ICMP echo comes back. It needs CAP_NET_RAW, or a group
// within net.ipv4.ping_group_range.
type Ping struct {
	Addr netip.Addr
	// Tries is how many echoes are sent, one after the other; one that comes
	// back is enough. 0 = 1.
	Tries int
	// Wait is how long each may take. 0 = an equal share of the Spec's timeout.
	Wait time.Duration
}

// pingData is the size of the payload, that of the peer.
const pingData = 64

// Check implements [Probe].
func (p Ping) Check(ctx context.Context, n Net) error {
	x := begin(ctx, p.Addr.String())
	network := "ip4:icmp"
	if p.Addr.Is6() {
		network = "ip6:ipv6-icmp"
	}
	c, err := dial(ctx, n, network, p.Addr.String())
	if err != nil {
		return x.failed("ping", err)
	}
	defer c.Close()
	tries := max(p.Tries, 1)
	for seq := range tries {
		wait := p.share(c.end, tries-seq)
		if err = c.echo(seq, p.Addr.Is6(), wait); err == nil {
			return nil
		}
		if t := net.Error(nil); !errors.As(err, &t) || !t.Timeout() || ctx.Err() != nil {
			break
		}
	}
	if tries > 1 && !IsLocal(err) {
		return &reason{fmt.Sprintf("no answer to %d pings from %s %s", tries, x.peer, x.within()), err}
	}
	return x.failed("answer to a ping", err)
}

// share is until when one of the tries that are left may wait.
func (p Ping) share(end time.Time, left int) time.Time {
	if p.Wait > 0 {
		return earlier(time.Now().Add(p.Wait), end)
	}
	return time.Now().Add(time.Until(end) / time.Duration(left))
}

// echo sends one echo and waits for it. Identifier and payload are chosen anew
// each time: a raw socket also sees the replies to other pings of this server.
func (c *conn) echo(seq int, v6 bool, until time.Time) error {
	data := make([]byte, pingData)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(rand.Uint32() & 0xffff), Seq: seq, Data: data}}
	if v6 {
		m.Type = ipv6.ICMPTypeEchoRequest // the kernel fills in its checksum
	}
	b, err := m.Marshal(nil)
	if err != nil {
		return local(err)
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	if err := c.Conn.SetReadDeadline(until); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if isEcho(buf[:n], v6, seq, data) {
			return nil
		}
	}
}

// isEcho tells our echo from whatever else a raw socket sees. The payload is
// what identifies it: a ping socket has its identifier from the kernel.
func isEcho(b []byte, v6 bool, seq int, data []byte) bool {
	proto := 1
	if v6 {
		proto = 58
	} else if len(b) > 0 && b[0]>>4 == 4 { // a raw IPv4 socket shows the IP header
		head := int(b[0]&15) * 4
		if len(b) < head {
			return false
		}
		b = b[head:]
	}
	m, err := icmp.ParseMessage(proto, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return false
	}
	e, ok := m.Body.(*icmp.Echo)
	return ok && e.Seq == seq && bytes.Equal(e.Data, data)
}
