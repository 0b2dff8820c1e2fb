package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Claim is one ARP packet in which another machine says that it has an address: every
// neighbour that hears it believes it (RFC 826, "merge").
type Claim struct {
	IP  netip.Addr
	MAC string
	// Announces says that the packet is there for nothing else, as a VRRP master sends
	// it. Otherwise it is a question or an answer that carries the address as its
	// sender, as that of a real server that does not hide it.
	Announces bool
}

// Ear hears claims on an Ethernet device.
type Ear struct {
	w *Wire
	c *packet.Conn
}

// Ear opens an ear. It hears nothing until it is told what for.
func (w *Wire) Ear() (*Ear, error) {
	e := &Ear{w: w}
	err := w.k.inside(func() (err error) {
		e.c, err = listenARP(w.ifi, claimFilter(nil))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening for ARP on %s: %w", w.ifi.Name, err)
	}
	return e, nil
}

// For names the addresses of which the ear hears; IPv6 has no ARP. The kernel sorts out what concerns
// no other, so that a noisy network costs nothing; with more than a hundred of them it
// hands over whatever names a sender.
func (e *Ear) For(ips []netip.Addr) error {
	v4 := slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool { return !ip.Is4() })
	if err := e.c.SetBPF(claimFilter(v4)); err != nil {
		return fmt.Errorf("listening for ARP on %s: %w", e.w.ifi.Name, err)
	}
	return nil
}

// Close ends the ear; Hear returns.
func (e *Ear) Close() error { return e.c.Close() }

// Hear hands over what others claim until the context ends, which is no error, or the
// device goes away.
func (e *Ear) Hear(ctx context.Context, hear func(Claim)) error {
	stop := context.AfterFunc(ctx, func() { e.c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 128)
	for ctx.Err() == nil {
		n, _, err := e.c.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN): // told once when the link goes down; it may come back
			continue
		case err != nil:
			return fmt.Errorf("listening for ARP on %s: %w", e.w.ifi.Name, err)
		}
		if c, ok := foreignClaim(buf[:n], e.w.mac.String()); ok {
			hear(c)
		}
	}
	return nil
}

// foreignClaim reads an ARP packet; what this device sends is no foreign claim.
func foreignClaim(data []byte, own string) (Claim, bool) {
	p, ok := readARP(data)
	if !ok {
		return Claim{}, false
	}
	c := Claim{IP: p.SenderIP, MAC: p.SenderHardwareAddr.String(), Announces: p.SenderIP == p.TargetIP}
	return c, !c.IP.IsUnspecified() && c.MAC != own
}

// mostFiltered is how many addresses a filter compares with: a jump of BPF goes over
// 255 instructions at the most.
const mostFiltered = 100

// claimFilter lets ARP through whose sender is one of these.
func claimFilter(ips []netip.Addr) []bpf.RawInstruction {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: 14, Size: 4}}
	if len(ips) > mostFiltered {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1})
		ips = nil
	}
	for i, ip := range ips {
		v4 := ip.As4()
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(v4[:]), SkipTrue: uint8(len(ips) - i)})
	}
	return arpFilter(append(program, dropARP, acceptARP)...)
}
