// Package lvs is the IPVS table as data: what a Linux Virtual Server director
// forwards, how it differs from what it should forward, and the smallest list
// of changes between the two.
//
// Nothing here talks to a kernel. The room lvs/kernel does, lvs/lvstest
// pretends to; both are a [Kernel].
package lvs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Family is the address family of a service. The values are Linux's AF_INET
// and AF_INET6, so that they need no translation on their way to the kernel.
type Family uint8

// The two families IPVS knows.
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// FamilyOf is the family of an address. An IPv4-mapped IPv6 address is IPv6:
// IPVS keeps the two apart.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Protocol is an IP protocol number.
type Protocol uint16

// The protocols IPVS balances. A firewall-mark service has protocol 0.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint16(p))
}

// Key names one virtual service: either Protocol and Addr, or Mark. It is
// comparable; make one with [At] or [Marked].
type Key struct {
	Family   Family
	Protocol Protocol       // 0 for a firewall mark
	Addr     netip.AddrPort // zero for a firewall mark
	Mark     uint32         // 1..4294967295, or 0 for an address
}

// At is the key of the service on an address and port.
func At(p Protocol, addr netip.AddrPort) Key {
	return Key{Family: FamilyOf(addr.Addr()), Protocol: p, Addr: addr}
}

// Marked is the key of the service for packets that carry a firewall mark.
func Marked(mark uint32, f Family) Key {
	return Key{Family: f, Mark: mark}
}

// String is the key as the ipvsadm listings name it: "TCP 10.0.0.1:80",
// "FWM 7", "FWM 7 IPv6".
func (k Key) String() string {
	switch {
	case k.Mark != 0 && k.Family == IPv6:
		return fmt.Sprintf("FWM %d IPv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("FWM %d", k.Mark)
	}
	return k.Protocol.String() + " " + k.Addr.String()
}

// Compare orders keys: addresses before marks, IPv4 before IPv6, then by
// protocol, address and port.
func (k Key) Compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Mark, o.Mark),
		cmp.Compare(k.Family, o.Family),
		cmp.Compare(k.Protocol, o.Protocol),
		k.Addr.Compare(o.Addr),
	)
}

// FullMask is the netmask that keeps every client apart: 255.255.255.255, or
// the prefix length 128.
func (k Key) FullMask() uint32 {
	if k.Family == IPv6 {
		return 128
	}
	return 0xffffffff
}

// Flags are the service flags of <linux/ip_vs.h>.
type Flags uint32

// Flag bits that a user can set. The kernel's own bit 0x2 ("hashed") never
// appears in a Service.
const (
	Persistent Flags = 0x01 // clients stick to a server for Timeout seconds
	OnePacket  Flags = 0x04 // schedule every datagram anew
	Sched1     Flags = 0x08 // flag-1; sh-fallback, mh-fallback
	Sched2     Flags = 0x10 // flag-2; sh-port, mh-port
	Sched3     Flags = 0x20 // flag-3

	SchedFlags = Sched1 | Sched2 | Sched3
)

// Service is what a virtual service is, without its destinations. It is
// comparable.
type Service struct {
	Key
	Scheduler string // "rr", "wlc", ...; the kernel refuses an empty one
	Flags     Flags
	Timeout   uint32 // persistence in seconds; 0 when not persistent
	Netmask   uint32 // IPv4: the mask in host byte order; IPv6: prefix length 1..128
	PE        string // persistence engine, "sip" or ""
}

// NewService is the service that ipvsadm -A makes when it is told nothing but
// a scheduler.
func NewService(k Key, scheduler string) Service {
	return Service{Key: k, Scheduler: scheduler, Netmask: k.FullMask()}
}

// Method is how a packet reaches a destination. The values are the kernel's.
type Method uint8

// The forwarding methods. A kernel may report Local for an address of the
// director's own; nobody asks for it.
const (
	Masq   Method = 0 // network address translation
	Local  Method = 1 // deliver on this host
	Tunnel Method = 2 // encapsulate
	Gate   Method = 3 // direct routing
	Bypass Method = 4 // the kernel's cache bypass; refused here
)

func (m Method) String() string {
	switch m {
	case Masq:
		return "masq"
	case Local:
		return "local"
	case Tunnel:
		return "ipip"
	case Gate:
		return "gate"
	case Bypass:
		return "bypass"
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// TunnelType is the encapsulation of a Tunnel destination.
type TunnelType uint8

// Encapsulations, with the values of <linux/ip_vs.h>.
const (
	IPIP TunnelType = 0
	GUE  TunnelType = 1
	GRE  TunnelType = 2
)

func (t TunnelType) String() string {
	switch t {
	case IPIP:
		return "ipip"
	case GUE:
		return "gue"
	case GRE:
		return "gre"
	}
	return fmt.Sprintf("tunnel type %d", uint8(t))
}

// Tunnel flags: how the outer header is summed. Without a bit there is no sum.
const (
	TunnelCsum    uint16 = 1
	TunnelRemCsum uint16 = 2
)

// TunnelInfo says how to encapsulate; its zero value is plain ipip.
type TunnelInfo struct {
	Type  TunnelType
	Port  uint16 // of GUE
	Flags uint16
}

// Destination is one real server of a service. It is comparable.
type Destination struct {
	Addr   netip.AddrPort
	Method Method
	Weight uint32 // 0..2147483647; 0 takes no new connections
	Upper  uint32 // connections at which new ones stop; 0 means no limit
	Lower  uint32 // connections at which new ones are let in again
	Tunnel TunnelInfo
}

// Entry is a service with its destinations, sorted by address.
type Entry struct {
	Service
	Destinations []Destination
}

// Table is what a director forwards: entries sorted by [Key.Compare], each key
// once. Tables are values; functions here never change the one they are given.
type Table []Entry

// Find returns the position of a key and whether it is there.
func (t Table) Find(k Key) (int, bool) {
	return slices.BinarySearchFunc(t, k, func(e Entry, k Key) int { return e.Key.Compare(k) })
}

// Find returns the position of a destination and whether it is there.
func (e Entry) Find(addr netip.AddrPort) (int, bool) {
	return slices.BinarySearchFunc(e.Destinations, addr, func(d Destination, a netip.AddrPort) int { return d.Addr.Compare(a) })
}

// Op is a kind of change.
type Op uint8

// The changes that the kernel understands. For Flush and Zero only, a zero
// Key means the whole table.
const (
	AddService Op = iota + 1
	EditService
	DeleteService
	AddDestination
	EditDestination
	DeleteDestination
	Flush // all services
	Zero  // the counters of one service, or of all
)

var opNames = [...]string{
	AddService: "add service", EditService: "edit service", DeleteService: "delete service",
	AddDestination: "add destination", EditDestination: "edit destination",
	DeleteDestination: "delete destination", Flush: "flush", Zero: "zero",
}

func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// Change is one step that a kernel takes.
type Change struct {
	Op          Op
	Service     Service     // its Key alone counts but for AddService and EditService
	Destination Destination // its Addr alone counts for DeleteDestination
	KeepFlags   Flags       // EditService: bits that keep the value they have
}

// String says the change in words: "add destination 10.0.0.2:80 to TCP 10.0.0.1:80".
func (c Change) String() string {
	switch c.Op {
	case AddService, EditService, DeleteService:
		return c.Op.String() + " " + c.Service.Key.String()
	case AddDestination:
		return fmt.Sprintf("%v %v to %v", c.Op, c.Destination.Addr, c.Service.Key)
	case EditDestination, DeleteDestination:
		return fmt.Sprintf("%v %v of %v", c.Op, c.Destination.Addr, c.Service.Key)
	case Zero:
		if c.Service.Key != (Key{}) {
			return "zero the counters of " + c.Service.Key.String()
		}
		return "zero all counters"
	case Flush:
		return "flush the table"
	}
	return c.Op.String()
}
