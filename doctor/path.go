package doctor

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
)

// PathMSS marks the connections that doctor makes: the segment size that their
// first packet offers. It passes directors unchanged, and nobody else offers it.
const PathMSS = 1112

// Hop is one stage of a connection's way, as far as one host can see it.
type Hop struct {
	What   string `json:"what"`
	Broken bool   `json:"broken"` // the way ends here
}

// String is the hop in one line.
func (h Hop) String() string {
	if h.Broken {
		return "path: BROKEN: " + h.What
	}
	return "path: " + h.What
}

func seen(format string, args ...any) Hop { return Hop{What: fmt.Sprintf(format, args...)} }
func broken(format string, args ...any) Hop {
	return Hop{What: fmt.Sprintf(format, args...), Broken: true}
}

// Sight is a TCP packet that a tap saw, taken out of its tunnel.
type Sight struct {
	Link          string
	Out           bool
	From, To      string // Ethernet addresses; empty where there are none
	Tunnel        string // "", "ipip", "gue" or "gre"
	Entry, Exit   netip.Addr
	Src, Dst      netip.AddrPort
	SYN, ACK, RST bool
	MSS           uint16 // that a SYN offers; 0 is none
}

// begins is whether a packet opens a connection.
func (s Sight) begins() bool { return s.SYN && !s.ACK }

// answers is whether a packet accepts or refuses one.
func (s Sight) answers() bool { return s.SYN && s.ACK || s.RST }

// See reads a frame. What is no TCP is left out, as is a later fragment.
func See(f netif.Frame) (Sight, bool) {
	p, ok := parseIP(f.Packet)
	if !ok || p.fragment {
		return Sight{}, false
	}
	s := Sight{Link: f.Link, Out: f.Out, From: f.Src, To: f.Dst}
	if inner, kind, tunnelled := unwrap(p); tunnelled {
		s.Tunnel, s.Entry, s.Exit = kind, p.src, p.dst
		if p, ok = parseIP(inner); !ok || p.fragment {
			return Sight{}, false
		}
	}
	if p.proto != uint8(lvs.TCP) || len(p.payload) < 20 {
		return Sight{}, false
	}
	t := p.payload
	s.Src = netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(t))
	s.Dst = netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(t[2:]))
	s.SYN, s.RST, s.ACK = t[13]&2 != 0, t[13]&4 != 0, t[13]&16 != 0
	s.MSS = mss(t)
	return s, true
}

// unwrap takes a packet out of a tunnel that IPVS makes.
func unwrap(p ipPacket) (inner []byte, kind string, ok bool) {
	switch p.proto {
	case 4, 41:
		return p.payload, "ipip", true
	case 47:
		return afterGRE(p.payload)
	case 17:
		return afterGUE(p.payload)
	}
	return nil, "", false
}

// afterGRE: RFC 2784 and RFC 2890; checksum, key and sequence number take four
// bytes each.
func afterGRE(data []byte) ([]byte, string, bool) {
	if len(data) < 4 {
		return nil, "", false
	}
	header := 4
	for _, bit := range []byte{0x80, 0x20, 0x10} {
		if data[0]&bit != 0 {
			header += 4
		}
	}
	inside := binary.BigEndian.Uint16(data[2:])
	if len(data) < header || inside != 0x0800 && inside != 0x86dd {
		return nil, "", false
	}
	return data[header:], "gre", true
}

// afterGUE: draft-ietf-intarea-gue, version 0, data packets.
func afterGUE(data []byte) ([]byte, string, bool) {
	const udp = 8
	if len(data) < udp+4 || data[udp]>>5 != 0 || data[udp+1] != 4 && data[udp+1] != 41 {
		return nil, "", false
	}
	header := udp + 4 + int(data[udp]&0x1f)*4
	if len(data) < header {
		return nil, "", false
	}
	return data[header:], "gue", true
}

// mss is the segment size that the options of a TCP header offer.
func mss(t []byte) uint16 {
	options := t[20:min(len(t), max(20, int(t[12]>>4)*4))]
	for len(options) >= 2 && options[0] != 0 {
		if options[0] == 1 {
			options = options[1:]
			continue
		}
		size := int(options[1])
		if size < 2 || size > len(options) {
			return 0
		}
		if options[0] == 2 && size == 4 {
			return binary.BigEndian.Uint16(options[2:])
		}
		options = options[size:]
	}
	return 0
}

// Trail is what a host saw of the connections to one service.
type Trail struct {
	Facts  Facts
	Target netip.AddrPort
	sights []Sight
}

// maxSights bounds what a busy service can make us remember.
const maxSights = 10000

// Add takes a frame in, if it tells something.
func (t *Trail) Add(f netif.Frame) bool {
	s, ok := See(f)
	if !ok || !s.begins() && !s.answers() || len(t.sights) >= maxSights {
		return false
	}
	t.sights = append(t.sights, s)
	return true
}

// first is the first sight of a kind.
func (t *Trail) first(is func(Sight) bool) (Sight, bool) {
	i := slices.IndexFunc(t.sights, is)
	if i < 0 {
		return Sight{}, false
	}
	return t.sights[i], true
}

// Client is the way as the client saw it that made the connection, refused or failed
// with err, or not.
func (t *Trail) Client(err error) []Hop {
	var hops []Hop
	r, ok, known := t.Facts.routeTo(t.Target.Addr())
	switch {
	case known && !ok:
		return []Hop{broken("there is no route to %v", t.Target.Addr())}
	case known:
		hops = append(hops, seen("the route to %v is %v", t.Target.Addr(), r))
	}
	syn, ok := t.first(func(s Sight) bool { return s.Out && s.begins() && s.Dst == t.Target })
	if !ok {
		return append(hops, broken("no packet left for %v: %v; nobody answers who has the address, or the firewall of this host drops it", t.Target, err))
	}
	hops = append(hops, seen("the first packet left on %s from %v for %s, marked by segment size %d", syn.Link, syn.Src, t.who(syn.To), syn.MSS))
	answer, ok := t.first(func(s Sight) bool { return !s.Out && s.answers() && s.Src == t.Target && s.Dst == syn.Src })
	if !ok {
		return append(hops, broken("no answer came: %v; look on the director and on the real servers next, with the same command", err))
	}
	by := "by " + t.who(answer.From)
	if answer.From != syn.To {
		by += ", another host than the packets go to: a real server of direct routing or a tunnel"
	}
	if answer.RST {
		return append(hops, broken("the connection was refused %s: nobody listens, or no server takes new connections", by))
	}
	if err != nil {
		return append(hops, broken("answered %s, and yet: %v", by, err))
	}
	return append(hops, seen("answered %s", by))
}

// who names an Ethernet address.
func (t *Trail) who(mac string) string {
	if mac == "" {
		return "a host that is no Ethernet neighbour"
	}
	return Identify([]netif.Answer{{MAC: mac}}, t.Facts.Neighbours, t.Target.Addr())[0].String()
}

// opened is the first packet of the connection to follow, as it came in: of a marked
// one if there is any.
func (t *Trail) opened(wanted func(Sight) bool) (Sight, bool) {
	if s, ok := t.first(func(s Sight) bool { return !s.Out && s.begins() && s.MSS == PathMSS && wanted(s) }); ok {
		return s, true
	}
	return t.first(func(s Sight) bool { return !s.Out && s.begins() && wanted(s) })
}

func (t *Trail) toTarget(s Sight) bool { return s.Dst == t.Target && s.Tunnel == "" }

// Watched is the way as a director or a real server saw it.
func (t *Trail) Watched() []Hop {
	if t.Facts.Roles&Director != 0 && (t.Facts.Roles&RealServer == 0 || t.Facts.servesVIP(t.Target.Addr())) {
		return t.director()
	}
	return t.server()
}

// Complete is whether there is nothing more to wait for.
func (t *Trail) Complete() bool {
	hops := t.Watched()
	return len(hops) > 0 && !hops[len(hops)-1].Broken
}

func (t *Trail) director() []Hop {
	in, ok := t.opened(t.toTarget)
	if !ok {
		return []Hop{broken("no connection to %v came to this host: the client's packets go elsewhere, see there with the same command", t.Target)}
	}
	hops := []Hop{seen("from %v by %s on %s came the first packet for %v", in.Src, t.who(in.From), in.Link, t.Target)}
	// Masquerading keeps the sender's address, direct routing and tunnels keep both.
	out, ok := t.first(func(s Sight) bool { return s.Out && s.begins() && s.Src == in.Src })
	if !ok {
		return append(hops, t.notForwarded(in))
	}
	switch {
	case out.Tunnel != "":
		hops = append(hops, seen("it was passed on in a tunnel, %s, to real server %v on %s", out.Tunnel, out.Exit, out.Link))
	case out.Dst == t.Target:
		hops = append(hops, seen("it was passed on by direct routing to %s on %s", t.who(out.To), out.Link))
	default:
		return append(append(hops, seen("it was passed on by masquerading to real server %v on %s", out.Dst, out.Link)), t.masqueraded(in, out)...)
	}
	return append(hops, seen("the answer goes past this host, from the real server to the client: see there"))
}

func (t *Trail) notForwarded(in Sight) Hop {
	i := slices.IndexFunc(t.Facts.Table, func(s lvs.ServiceState) bool { return s.Protocol == lvs.TCP && s.Service.Addr == t.Target })
	answer, answered := t.first(func(s Sight) bool { return s.Out && s.answers() && s.Dst == in.Src })
	switch {
	case answered && answer.RST:
		return broken("this host refused it itself: no server of the service takes new connections, or there is no service")
	case answered:
		return seen("this host answered it itself: it is a real server too")
	case i < 0:
		return broken("it was not passed on: the table has no service %v", t.Target)
	}
	return broken("it was not passed on, although the table has the service: the firewall, rp_filter, or a server that is not reached; see the findings")
}

func (t *Trail) masqueraded(in, out Sight) []Hop {
	back, ok := t.first(func(s Sight) bool { return !s.Out && s.answers() && s.Src == out.Dst && s.Dst == in.Src })
	if !ok {
		return []Hop{broken("no answer of %v came back to this host: it does not answer, or its gateway is another host", out.Dst)}
	}
	if back.RST {
		return []Hop{broken("real server %v refused it: nobody listens there", out.Dst)}
	}
	hops := []Hop{seen("the answer of %v came back on %s", out.Dst, back.Link)}
	if _, ok = t.first(func(s Sight) bool { return s.Out && s.answers() && s.Src == t.Target && s.Dst == in.Src }); !ok {
		return append(hops, broken("it did not leave for the client: forwarding is off, or the firewall drops it"))
	}
	return append(hops, seen("it left for the client as from %v", t.Target))
}

// server is the way on a real server. With masquerading the packet is for the
// server's own address, at a port that the table on the director knows.
func (t *Trail) server() []Hop {
	in, ok := t.opened(func(s Sight) bool { return s.Dst == t.Target })
	if !ok {
		in, ok = t.opened(func(s Sight) bool { return s.MSS == PathMSS && t.Facts.ours(s.Dst.Addr()) })
	}
	if !ok {
		return []Hop{broken("no connection to %v came to this host: the director sends it elsewhere, or it is lost on the way", t.Target)}
	}
	how := "by " + t.who(in.From)
	if in.Tunnel != "" {
		how = fmt.Sprintf("in a tunnel, %s, of %v,", in.Tunnel, in.Entry)
	}
	hops := []Hop{seen("from %v, handed over %s on %s, came the first packet for %v", in.Src, how, in.Link, in.Dst)}
	out, ok := t.first(func(s Sight) bool { return s.Out && s.answers() && s.Src == in.Dst && s.Dst == in.Src })
	switch {
	case !ok && !t.Facts.ours(in.Dst.Addr()):
		return append(hops, broken("this host did not answer: %v is not its address", in.Dst.Addr()))
	case !ok:
		return append(hops, broken("this host did not answer: the firewall or rp_filter drops the packet; see the findings"))
	case out.RST:
		return append(hops, broken("this host refused it: nobody listens on %v", in.Dst))
	}
	return append(hops, seen("the answer left on %s for %s", out.Link, t.who(out.To)))
}
