package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Wire speaks ARP and neighbour discovery on one Ethernet device. It is safe for
// concurrent use. Its sockets belong to the namespace of the kernel that opened
// it, wherever it is used.
type Wire struct {
	k   *Kernel
	ifi *net.Interface
	mac net.HardwareAddr
	arp *packet.Conn

	mu  sync.Mutex
	ndp *ndpSocket // opened when an IPv6 address first needs it
}

// Wire opens a device. It needs no address on it: a VRRP device has none before
// it is told to announce one.
func (k *Kernel) Wire(link string) (*Wire, error) {
	w := &Wire{k: k}
	err := k.inside(func() (err error) {
		w.ifi, err = net.InterfaceByName(link)
		if err != nil {
			return err
		}
		if len(w.ifi.HardwareAddr) != 6 || w.ifi.Flags&net.FlagLoopback != 0 {
			return fmt.Errorf("%s is no Ethernet device: there is nobody to tell", link)
		}
		w.mac = w.ifi.HardwareAddr
		w.arp, err = listenARP(w.ifi, arpFilter(acceptARP))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s for announcements: %w", link, err)
	}
	return w, nil
}

// Close gives the sockets back.
func (w *Wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ndp != nil {
		return errors.Join(w.arp.Close(), w.ndp.Close())
	}
	return w.arp.Close()
}

// Announce tells every neighbour, once, that ip is here now. Repeat it: nobody
// acknowledges.
//
// For IPv4 that is an ARP announcement (RFC 5227, section 3), a request, and the
// same as a reply, because some neighbours update their tables from one kind only.
// For IPv6 it is an unsolicited neighbour advertisement with the override flag
// (RFC 4861, section 7.2.6); router says that this host forwards packets, without
// which neighbours would drop it from their list of routers.
func (w *Wire) Announce(ip netip.Addr, router bool) error {
	err := w.announce(ip, router)
	if err != nil {
		return fmt.Errorf("announcing %v on %s: %w", ip, w.ifi.Name, err)
	}
	return nil
}

// Claim is Announce in one frame: of the two kinds for IPv4 it sends the request
// alone, as VRRP masters do (RFC 3768, section 6.4.2), so that a count of claims
// is a count of frames.
func (w *Wire) Claim(ip netip.Addr, router bool) error {
	var err error
	if ip = ip.Unmap(); ip.Is6() {
		err = w.advertise(ip, router)
	} else {
		err = w.sendARP(arp.OperationRequest, ip, zeroMAC, ip)
	}
	if err != nil {
		return fmt.Errorf("announcing %v on %s: %w", ip, w.ifi.Name, err)
	}
	return nil
}

func (w *Wire) announce(ip netip.Addr, router bool) error {
	if ip.Is6() && !ip.Is4In6() {
		return w.advertise(ip, router)
	}
	ip = ip.Unmap()
	return errors.Join(
		w.sendARP(arp.OperationRequest, ip, zeroMAC, ip),
		w.sendARP(arp.OperationReply, ip, broadcastMAC, ip))
}

var (
	zeroMAC      = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	broadcastMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}
)

func (w *Wire) sendARP(op arp.Operation, sender netip.Addr, target net.HardwareAddr, ip netip.Addr) error {
	p, err := arp.NewPacket(op, w.mac, sender, target, ip)
	if err != nil {
		return err
	}
	data, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = w.arp.WriteTo(data, &packet.Addr{HardwareAddr: broadcastMAC})
	return err
}

// Probing says how an address is asked for. The zero value is RFC 5227: three
// probes a second apart, then two seconds of listening.
type Probing struct {
	Count    int           // 1 to 16
	Interval time.Duration // between probes
	Wait     time.Duration // after the last one
	// Sender is put into the question instead of 0.0.0.0: a host with arp_ignore=2
	// answers only those who have an address of its own network. Such a question
	// is no probe, and neighbours learn from it; it must be an address of ours.
	Sender netip.Addr
}

func (p Probing) filled() Probing {
	if p.Count <= 0 || p.Count > 16 {
		p.Count = 3
	}
	if p.Interval <= 0 {
		p.Interval = time.Second
	}
	if p.Wait <= 0 {
		p.Wait = 2 * time.Second
	}
	if !p.Sender.Is4() {
		p.Sender = netip.IPv4Unspecified()
	}
	return p
}

// Answer is one neighbour that says, or asks whether, it has the address.
type Answer struct {
	MAC   string        `json:"mac"`
	Count int           `json:"count"`         // packets
	After time.Duration `json:"after"`         // from the first question to the first answer
	Asks  bool          `json:"asks,omitzero"` // it was itself asking for the same address, as we were, and did nothing else
}

// maxAnswers bounds what a noisy network can make us remember.
const maxAnswers = 64

// Probe asks the network who has ip and returns every Ethernet address that
// answers, in the order in which they did, our own left out. None is the good
// news when the address is about to be taken. A context that ends early ends the
// listening; what was heard until then is returned with its error.
func (w *Wire) Probe(ctx context.Context, ip netip.Addr, how Probing) ([]Answer, error) {
	how = how.filled()
	var answers []Answer
	var err error
	if ip.Is4() {
		answers, err = w.probeARP(ctx, ip, how)
	} else {
		answers, err = w.probeNDP(ctx, ip, how)
	}
	if err != nil {
		return answers, fmt.Errorf("asking for %v on %s: %w", ip, w.ifi.Name, err)
	}
	return answers, nil
}

func (w *Wire) probeARP(ctx context.Context, ip netip.Addr, how Probing) ([]Answer, error) {
	// A socket of its own: what has queued up in the other is not an answer.
	var c *packet.Conn
	err := w.k.inside(func() (err error) {
		c, err = listenARP(w.ifi, arpFilter(acceptARP))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ask := func() error { return w.sendARP(arp.OperationRequest, how.Sender, zeroMAC, ip) }
	buf := make([]byte, 128)
	hear := func() (claim, error) {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return claim{}, err
		}
		return claimOf(buf[:n], ip), nil
	}
	return w.gather(ctx, how, c, ask, hear)
}

// claim is one packet's word on the address that we ask for; its mac is nil when
// the packet says nothing about it.
type claim struct {
	mac  net.HardwareAddr
	asks bool
}

// claimOf reads an ARP packet. Who has the address, or sends under it, has its
// claim; who probes for it is about to (RFC 5227, section 2.1.1).
func claimOf(data []byte, ip netip.Addr) claim {
	p, ok := readARP(data)
	switch {
	case !ok:
		return claim{}
	case p.SenderIP == ip:
		return claim{mac: p.SenderHardwareAddr}
	case p.Operation == arp.OperationRequest && p.SenderIP.IsUnspecified() && p.TargetIP == ip:
		return claim{mac: p.SenderHardwareAddr, asks: true}
	}
	return claim{}
}

// readARP reads a packet of ARP for Ethernet and IPv4; others are none.
func readARP(data []byte) (p arp.Packet, ok bool) {
	err := p.UnmarshalBinary(data)
	return p, err == nil && p.HardwareAddrLength == 6 && p.IPLength == 4
}

type deadliner interface{ SetReadDeadline(time.Time) error }

// gather asks Count times and listens all the while.
func (w *Wire) gather(ctx context.Context, how Probing, c deadliner, ask func() error, hear func() (claim, error)) ([]Answer, error) {
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var answers []Answer
	begin := time.Now()
	for i := range how.Count {
		if err := ask(); err != nil {
			return answers, err
		}
		pause := how.Interval
		if i == how.Count-1 {
			pause = how.Wait
		}
		// Twice: once the time is over, Read looks at nothing. On a busy host that may
		// be before it has looked at all, with the answer there since long.
		for _, limit := range []time.Duration{pause, sweep} {
			if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
				return answers, err
			}
			var err error
			answers, err = w.listen(ctx, begin, answers, hear)
			if err != nil {
				return answers, err
			}
		}
	}
	return answers, nil
}

// sweep is for what has come, and was not read in time.
const sweep = 10 * time.Millisecond

// listen hears until the deadline.
func (w *Wire) listen(ctx context.Context, begin time.Time, answers []Answer, hear func() (claim, error)) ([]Answer, error) {
	for {
		if ctx.Err() != nil {
			return answers, ctx.Err()
		}
		c, err := hear()
		var timeout net.Error
		switch {
		case ctx.Err() != nil:
			return answers, ctx.Err()
		case errors.As(err, &timeout) && timeout.Timeout():
			return answers, nil
		case err != nil:
			return answers, err
		case c.mac != nil && c.mac.String() != w.mac.String():
			answers = note(answers, c, time.Since(begin))
		}
	}
}

func note(answers []Answer, c claim, after time.Duration) []Answer {
	mac := c.mac.String()
	for i := range answers {
		if answers[i].MAC == mac {
			answers[i].Count++
			answers[i].Asks = answers[i].Asks && c.asks
			return answers
		}
	}
	if len(answers) >= maxAnswers {
		return answers
	}
	return append(answers, Answer{MAC: mac, Count: 1, After: after, Asks: c.asks})
}

// listenARP opens a socket for ARP. The filter is set before it is bound, so that
// nothing else gets in.
func listenARP(ifi *net.Interface, filter []bpf.RawInstruction) (*packet.Conn, error) {
	return packet.Listen(ifi, packet.Datagram, unix.ETH_P_ARP, &packet.Config{Filter: filter})
}

var acceptARP, dropARP = bpf.RetConstant{Val: 128}, bpf.RetConstant{Val: 0}

// arpFilter lets ARP of Ethernet and IPv4 pass to what decides further.
func arpFilter(further ...bpf.Instruction) []bpf.RawInstruction {
	program, err := bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1},
		dropARP,
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6<<8 | 4, SkipTrue: 1},
		dropARP,
	}, further...))
	if err != nil {
		panic(err) // of numbers that are all in range: wrong once is wrong always
	}
	return program
}

// ndpSocket is a raw ICMPv6 socket that is bound to one device.
type ndpSocket struct {
	*ipv6.PacketConn
}

// openNDP opens a socket for neighbour discovery. Its source is left to the
// kernel: the link-local address where there is one, else the address that is
// being announced.
func (w *Wire) openNDP() (*ndpSocket, error) {
	var c *icmp.PacketConn
	err := w.k.inside(func() (err error) {
		c, err = icmp.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &ndpSocket{c.IPv6PacketConn()}
	if err := s.prepare(w.ifi); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

func (s *ndpSocket) prepare(ifi *net.Interface) error {
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeNeighborAdvertisement)
	only.Accept(ipv6.ICMPTypeNeighborSolicitation)
	return errors.Join(
		s.SetICMPFilter(&only),
		s.SetMulticastInterface(ifi),
		s.SetMulticastLoopback(false),
		s.SetHopLimit(ndp.HopLimit), s.SetMulticastHopLimit(ndp.HopLimit), // RFC 4861, section 7.1: others are dropped
		s.SetChecksum(true, 2),
		s.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true))
}

// send writes one message to a multicast group of the device.
func (s *ndpSocket) send(ifi *net.Interface, m ndp.Message, source, group netip.Addr) error {
	data, err := ndp.MarshalMessage(m)
	if err != nil {
		return err
	}
	cm := &ipv6.ControlMessage{HopLimit: ndp.HopLimit, IfIndex: ifi.Index}
	if source.IsValid() {
		cm.Src = source.AsSlice()
	}
	_, err = s.WriteTo(data, cm, &net.IPAddr{IP: group.AsSlice(), Zone: ifi.Name})
	return err
}

var allNodes = netip.MustParseAddr("ff02::1")

func (w *Wire) advertise(ip netip.Addr, router bool) error {
	s, err := w.shared()
	if err != nil {
		return err
	}
	na := &ndp.NeighborAdvertisement{Router: router, Override: true, TargetAddress: ip,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: w.mac}}}
	// Link-local by preference: the kernel picks it for a link-local group. Where
	// there is none, and one that is still being checked is none, the address
	// itself serves.
	if err := s.send(w.ifi, na, netip.Addr{}, allNodes); err == nil {
		return nil
	}
	return s.send(w.ifi, na, ip, allNodes)
}

func (w *Wire) shared() (*ndpSocket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ndp != nil {
		return w.ndp, nil
	}
	s, err := w.openNDP()
	if err != nil {
		return nil, err
	}
	// This socket only speaks; what it would hear must not fill its queue.
	var deaf ipv6.ICMPFilter
	deaf.SetAll(true)
	if err := s.SetICMPFilter(&deaf); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	w.ndp = s
	return s, nil
}

func (w *Wire) probeNDP(ctx context.Context, ip netip.Addr, how Probing) ([]Answer, error) {
	s, err := w.openNDP()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	group, err := ndp.SolicitedNodeMulticast(ip)
	if err != nil {
		return nil, err
	}
	ns := &ndp.NeighborSolicitation{TargetAddress: ip, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: w.mac}}}
	ask := func() error { return s.send(w.ifi, ns, netip.Addr{}, group) }
	buf := make([]byte, 1500)
	hear := func() (claim, error) {
		n, cm, _, err := s.ReadFrom(buf)
		if err != nil {
			return claim{}, err
		}
		if cm == nil || cm.HopLimit != ndp.HopLimit || cm.IfIndex != w.ifi.Index {
			return claim{}, nil // from beyond the link, or from another one
		}
		return claimOf6(buf[:n], ip), nil
	}
	return w.gather(ctx, how, s, ask, hear)
}

// claimOf6 reads a message of neighbour discovery.
func claimOf6(data []byte, ip netip.Addr) claim {
	m, err := ndp.ParseMessage(data)
	if err != nil {
		return claim{}
	}
	na, ok := m.(*ndp.NeighborAdvertisement)
	if !ok || na.TargetAddress != ip {
		return claim{}
	}
	for _, o := range na.Options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == ndp.Target && len(l.Addr) == 6 {
			return claim{mac: l.Addr}
		}
	}
	return claim{}
}
