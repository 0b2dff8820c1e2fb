package lvstest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/lvsctl/lvsctl/lvs"
)

// Random returns a table that a kernel would accept: few enough distinct
// services and destinations that two tables overlap, with all attributes in
// play.
func Random(r *rand.Rand) lvs.Table {
	var cs []lvs.Change
	for range r.IntN(8) {
		s := randomService(r)
		cs = append(cs, lvs.Change{Op: lvs.AddService, Service: s})
		for range r.IntN(6) {
			cs = append(cs, lvs.Change{Op: lvs.AddDestination, Service: s, Destination: randomDestination(r, s.Family)})
		}
	}
	t, _ := lvs.Table(nil).Fold(cs) // duplicates are refused, and that is fine
	return t
}

// RandomChange returns any change at all, most of them wrong for most tables.
func RandomChange(r *rand.Rand) lvs.Change {
	s := randomService(r)
	c := lvs.Change{
		Op:          lvs.Op(r.IntN(int(lvs.Zero)) + 1),
		Service:     s,
		Destination: randomDestination(r, s.Family),
		KeepFlags:   pick(r, 0, 0, lvs.SchedFlags, lvs.Persistent),
	}
	if c.Op == lvs.Flush && r.IntN(10) > 0 {
		c.Op = lvs.AddService
	}
	if r.IntN(10) == 0 {
		c.Destination = randomDestination(r, pick(r, lvs.IPv4, lvs.IPv6))
	}
	return c
}

func randomService(r *rand.Rand) lvs.Service {
	s := lvs.NewService(randomKey(r), pick(r, "rr", "wlc", "sh"))
	s.Flags = pick(r, 0, lvs.Persistent, lvs.Persistent|lvs.Sched1, lvs.Sched2)
	if s.Flags&lvs.Persistent != 0 {
		s.Timeout = uint32(1 + r.IntN(3))
		s.PE = pick(r, "", "", "sip")
	}
	return s
}

func randomKey(r *rand.Rand) lvs.Key {
	f := pick(r, lvs.IPv4, lvs.IPv6)
	if r.IntN(4) == 0 {
		return lvs.Marked(uint32(1+r.IntN(3)), f)
	}
	return lvs.At(pick(r, lvs.TCP, lvs.UDP, lvs.SCTP), randomAddr(r, f, 9))
}

func randomAddr(r *rand.Rand, f lvs.Family, net byte) netip.AddrPort {
	a := netip.AddrFrom4([4]byte{10, 0, net, byte(1 + r.IntN(3))})
	if f == lvs.IPv6 {
		a = netip.AddrFrom16([16]byte{0: 0xfd, 14: net, 15: byte(1 + r.IntN(3))})
	}
	return netip.AddrPortFrom(a, pick[uint16](r, 80, 443))
}

func randomDestination(r *rand.Rand, f lvs.Family) lvs.Destination {
	d := lvs.Destination{
		Addr:   randomAddr(r, f, 1),
		Method: pick(r, lvs.Masq, lvs.Gate, lvs.Tunnel),
		Weight: uint32(r.IntN(4)),
	}
	if r.IntN(3) == 0 {
		d.Upper = uint32(10 + r.IntN(3))
		d.Lower = uint32(r.IntN(10))
	}
	if d.Method == lvs.Tunnel && r.IntN(2) == 0 {
		d.Tunnel = lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: pick(r, 0, lvs.TunnelCsum)}
	}
	return d
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
