package vrrp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Protocol is VRRP's IP protocol number.
const Protocol = 112

// Where advertisements go unless an instance has unicast peers.
var (
	GroupIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})                // RFC 5798 section 5.1.1.2
	GroupIPv6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12}) // RFC 5798 section 5.1.2.2
)

// MaxAddrs is the largest number of addresses an advertisement can carry.
const MaxAddrs = 255

// Largest intervals that the packets can express.
const (
	MaxIntervalV2 = 255 * time.Second
	MaxIntervalV3 = 4095 * 10 * time.Millisecond
)

// Priorities with a meaning of their own (RFC 5798 section 5.2.4).
const (
	PriorityStop  = 0   // the master gives up
	PriorityOwner = 255 // the virtual addresses are the sender's own
)

// AuthType is the authentication of a version 2 advertisement.
type AuthType uint8

// AuthNone and AuthPass are supported. AuthAH was removed by RFC 3768.
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1
	AuthAH   AuthType = 2
)

// Advert is an advertisement: the fields of the message, and those of the IP
// header that the checks of a receiver need.
type Advert struct {
	Src, Dst netip.Addr
	TTL      uint8 // TTL or hop limit as received; adverts are sent with 255
	Version  uint8 // 2 or 3
	Type     uint8 // 1, the only type there is
	VRID     uint8 // 1..255
	Priority uint8
	Interval time.Duration // version 2: whole seconds; version 3: hundredths
	AuthType AuthType      // version 2 only
	Auth     [8]byte       // version 2 only; zero padded
	Addrs    []netip.Addr  // in the order of the packet; shared, not to be changed
	Flaw     Reason        // set by Decode: what is wrong with the message itself
	// OldSum computes the checksum of an IPv4 unicast of version 3 over the group's
	// address, as keepalived did before 2.0 and still does with old_unicast_checksum.
	OldSum bool
}

const (
	advertisement = 1 // the type
	headerLen     = 8
	authLen       = 8
)

// Decoder takes advertisements apart. It remembers the last list of addresses,
// so that decoding a master's advertisements again and again allocates nothing.
// The zero value is ready for use; it is not safe for concurrent use.
type Decoder struct {
	raw   []byte
	addrs []netip.Addr
}

// Decode reads the VRRP message of an IP packet from src to dst. What is wrong
// with the message is its Flaw; after [BadLength] or [BadVersion] only the header
// has been read, as far as it is there. A flawed advert is for its instance to
// count and to report, as is one that does not fit the instance.
func (d *Decoder) Decode(src, dst netip.Addr, ttl uint8, msg []byte) Advert {
	a := Advert{Src: src.Unmap(), Dst: dst.Unmap(), TTL: ttl}
	if len(msg) < headerLen {
		a.Flaw = BadLength
		if len(msg) > 1 {
			a.Version, a.VRID = msg[0]>>4, msg[1]
		}
		return a
	}
	a.Version, a.Type, a.VRID, a.Priority = msg[0]>>4, msg[0]&15, msg[1], msg[2]
	a.Flaw = d.body(&a, msg)
	return a
}

// body reads what comes after the header's common part.
func (d *Decoder) body(a *Advert, msg []byte) Reason {
	size := addrSize(a.Src)
	want := headerLen + int(msg[3])*size
	switch {
	case a.Version == 2 && a.Src.Is4():
		a.AuthType = AuthType(msg[4])
		a.Interval = time.Duration(msg[5]) * time.Second
		want += authLen // present even without authentication
	case a.Version == 3:
		a.Interval = time.Duration(binary.BigEndian.Uint16(msg[4:])&0xfff) * 10 * time.Millisecond
	default:
		return BadVersion
	}
	if len(msg) != want {
		return BadLength
	}
	if a.Version == 2 {
		copy(a.Auth[:], msg[want-authLen:])
	}
	a.Addrs = d.list(msg[headerLen:headerLen+int(msg[3])*size], size)
	if !sumFits(a, msg) {
		return BadChecksum
	}
	return NoReason
}

func (d *Decoder) list(raw []byte, size int) []netip.Addr {
	if bytes.Equal(raw, d.raw) && len(d.addrs)*size == len(raw) {
		return d.addrs
	}
	d.raw = append(d.raw[:0], raw...)
	d.addrs = make([]netip.Addr, 0, len(raw)/size) // a new one: the old is in other hands
	for b := range slices.Chunk(raw, size) {
		addr, _ := netip.AddrFromSlice(b) // 4 or 16 bytes always fit
		d.addrs = append(d.addrs, addr)
	}
	return d.addrs
}

// Append appends the message to b, checksum included, which for version 3 covers
// Src and Dst. Fields that do not fit the packet are the caller's mistake:
// [Instance.Validate] prevents it.
func (a *Advert) Append(b []byte) []byte {
	start := len(b)
	b = append(b, a.Version<<4|advertisement, a.VRID, a.Priority, uint8(len(a.Addrs)))
	if a.Version == 2 {
		b = append(b, byte(a.AuthType), byte(a.Interval/time.Second))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Interval/(10*time.Millisecond))&0xfff)
	}
	b = append(b, 0, 0)
	for _, addr := range a.Addrs {
		b = append(b, addr.AsSlice()...)
	}
	if a.Version == 2 {
		b = append(b, a.Auth[:]...)
	}
	msg := b[start:]
	over := a.Dst
	if a.OldSum && a.Src.Is4() {
		over = GroupIPv4
	}
	binary.BigEndian.PutUint16(msg[6:], ^fold(sum(pseudo(a, over, len(msg)), msg)))
	return b
}

// sumFits verifies the checksum. A keepalived older than 2.0 computes that of a
// unicast advertisement over the group's address: accepted, as 2.2.7 does.
func sumFits(a *Advert, msg []byte) bool {
	body := sum(0, msg)
	if fold(body+pseudo(a, a.Dst, len(msg))) == 0xffff {
		return true
	}
	return a.Version == 3 && a.Src.Is4() && fold(body+pseudo(a, GroupIPv4, len(msg))) == 0xffff
}

// pseudo is the sum of the pseudo header: RFC 2460 section 8.1 for IPv6, the
// same idea for IPv4 (RFC 9568 section 5.2.8), none in version 2.
func pseudo(a *Advert, dst netip.Addr, length int) uint64 {
	if a.Version == 2 {
		return 0
	}
	s := uint64(Protocol) + uint64(length)
	for _, addr := range [2]netip.Addr{a.Src, dst} {
		if addr.Is4() {
			b := addr.As4()
			s = sum(s, b[:])
		} else {
			b := addr.As16()
			s = sum(s, b[:])
		}
	}
	return s
}

// sum adds 16-bit words; 64 bits have room for the carries of any packet.
func sum(s uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func addrSize(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 16
}
