package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Decode describes an Ethernet frame in one line, much like tcpdump -n. What it
// does not know it names by number; bytes that are not there it calls truncated.
func Decode(frame []byte) string {
	r := reader{rest: frame}
	r.skip(12)
	kind := r.u16()
	if kind == 0x8100 { // 802.1Q
		r.skip(2)
		kind = r.u16()
	}
	var line string
	switch kind {
	case 0x0806:
		line = arp(&r)
	case 0x0800:
		line = ipv4(&r)
	case 0x86dd:
		line = ipv6(&r)
	default:
		line = fmt.Sprintf("ethertype 0x%04x, length %d", kind, len(frame))
	}
	if r.short {
		return strings.TrimSpace(line + " (truncated)")
	}
	return line
}

// reader takes numbers off a packet. Past the end it yields zeros and remembers.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.short = true
		r.rest = nil
		return make([]byte, n) // n is a constant, or one byte times four, of ours
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) skip(n int)      { r.bytes(n) }
func (r *reader) u8() uint8       { return r.bytes(1)[0] }
func (r *reader) u16() uint16     { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *reader) ip4() netip.Addr { return netip.AddrFrom4([4]byte(r.bytes(4))) }
func (r *reader) ip6() netip.Addr { return netip.AddrFrom16([16]byte(r.bytes(16))) }

// trim forgets what follows the packet: Ethernet pads short frames.
func (r *reader) trim(n int) {
	if n > len(r.rest) {
		r.short = true
		return
	}
	r.rest = r.rest[:max(n, 0)]
}

func arp(r *reader) string {
	r.skip(6) // hardware and protocol type, their lengths
	op := r.u16()
	sender, senderIP := net.HardwareAddr(r.bytes(6)), r.ip4()
	r.skip(6)
	target := r.ip4()
	switch {
	case op == 1 && senderIP == target:
		return fmt.Sprintf("ARP announcement %s is-at %s", senderIP, sender)
	case op == 1:
		return fmt.Sprintf("ARP who-has %s tell %s", target, senderIP)
	case op == 2:
		return fmt.Sprintf("ARP reply %s is-at %s", senderIP, sender)
	}
	return fmt.Sprintf("ARP operation %d", op)
}

func ipv4(r *reader) string {
	header := int(r.u8()&15) * 4
	r.skip(1)
	total := int(r.u16())
	r.skip(2)
	fragment := r.u16() & 0x1fff
	r.skip(1)
	proto := r.u8()
	r.skip(2)
	src, dst := r.ip4(), r.ip4()
	if header < 20 || total < header {
		r.short = true
		return fmt.Sprintf("IP %s > %s: bad header", src, dst)
	}
	r.skip(header - 20)
	r.trim(total - header)
	if fragment != 0 {
		return fmt.Sprintf("IP %s > %s: fragment of protocol %d at %d", src, dst, proto, int(fragment)*8)
	}
	return transport(r, "IP", src, dst, proto)
}

func ipv6(r *reader) string {
	r.skip(4)
	length := int(r.u16())
	proto := r.u8()
	r.skip(1)
	src, dst := r.ip6(), r.ip6()
	r.trim(length)
	if proto == 0 { // hop-by-hop options, before MLD reports
		proto = r.u8()
		r.skip(int(r.u8())*8 + 6)
	}
	return transport(r, "IP6", src, dst, proto)
}

func transport(r *reader, ip string, src, dst netip.Addr, proto uint8) string {
	switch proto {
	case 6:
		return fmt.Sprintf("%s %s", ip, tcp(r, src, dst))
	case 17:
		sport, dport := r.u16(), r.u16()
		r.skip(4)
		return fmt.Sprintf("%s %s.%d > %s.%d: UDP, length %d", ip, src, sport, dst, dport, len(r.rest))
	case 1:
		return fmt.Sprintf("%s %s > %s: ICMP %s", ip, src, dst, icmp(r))
	case 58:
		return fmt.Sprintf("%s %s > %s: ICMP6, %s", ip, src, dst, icmp6(r))
	case 112:
		return fmt.Sprintf("%s %s > %s: %s", ip, src, dst, vrrp(r, src.Is4()))
	case 4:
		return fmt.Sprintf("%s %s > %s: %s", ip, src, dst, ipv4(r))
	case 41:
		return fmt.Sprintf("%s %s > %s: %s", ip, src, dst, ipv6(r))
	}
	return fmt.Sprintf("%s %s > %s: protocol %d, length %d", ip, src, dst, proto, len(r.rest))
}

func tcp(r *reader, src, dst netip.Addr) string {
	sport, dport := r.u16(), r.u16()
	r.skip(8)
	header := int(r.u8()>>4) * 4
	flags := r.u8()
	r.skip(6)
	if header > 20 {
		r.skip(header - 20)
	}
	return fmt.Sprintf("%s.%d > %s.%d: Flags [%s], length %d", src, sport, dst, dport, tcpFlags(flags), len(r.rest))
}

// tcpFlags are tcpdump's letters, in its order; the dot is ACK.
func tcpFlags(flags uint8) string {
	var b strings.Builder
	for _, f := range []struct {
		bit    uint8
		letter byte
	}{{1, 'F'}, {2, 'S'}, {4, 'R'}, {8, 'P'}, {16, '.'}, {32, 'U'}} {
		if flags&f.bit != 0 {
			b.WriteByte(f.letter)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

func icmp(r *reader) string {
	kind, code := r.u8(), r.u8()
	r.skip(2)
	switch kind {
	case 0:
		return "echo reply"
	case 8:
		return "echo request"
	case 3:
		return fmt.Sprintf("unreachable, code %d", code)
	case 5:
		return fmt.Sprintf("redirect to %s", r.ip4())
	case 11:
		return "time exceeded"
	}
	return fmt.Sprintf("type %d, code %d", kind, code)
}

func icmp6(r *reader) string {
	kind, code := r.u8(), r.u8()
	r.skip(2)
	switch kind {
	case 1:
		return fmt.Sprintf("unreachable, code %d", code)
	case 128:
		return "echo request"
	case 129:
		return "echo reply"
	case 133:
		return "router solicitation"
	case 134:
		return "router advertisement"
	case 135:
		r.skip(4)
		return fmt.Sprintf("neighbor solicitation, who has %s", r.ip6())
	case 136:
		r.skip(4)
		return fmt.Sprintf("neighbor advertisement, tgt is %s", r.ip6())
	case 143:
		return "multicast listener report"
	}
	return fmt.Sprintf("type %d, code %d", kind, code)
}

func vrrp(r *reader, v4 bool) string {
	first := r.u8()
	version, kind := first>>4, first&15
	id, priority, count := r.u8(), r.u8(), int(r.u8())
	timer := r.u16() // version 2: authentication type, seconds; 3: centiseconds
	r.skip(2)
	every := fmt.Sprintf("%ds", timer&0xff)
	if version == 3 {
		every = fmt.Sprintf("%dcs", timer&0xfff)
	}
	var addrs []string
	for range count {
		if r.short || len(r.rest) == 0 {
			break
		}
		if v4 {
			addrs = append(addrs, r.ip4().String())
		} else {
			addrs = append(addrs, r.ip6().String())
		}
	}
	if kind != 1 {
		return fmt.Sprintf("VRRPv%d type %d", version, kind)
	}
	return fmt.Sprintf("VRRPv%d, vrid %d, prio %d, intvl %s, addrs %s", version, id, priority, every, strings.Join(addrs, " "))
}
