package ipvsadm

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
)

// number reads a decimal number as C's strtol does: blanks and a sign may go
// before it, nothing may follow. A number outside least..most is refused.
func number(s string, least, most int64) (int64, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	digits := strings.TrimPrefix(s, "+")
	if digits != s && strings.HasPrefix(digits, "-") {
		return 0, false
	}
	for i := range len(digits) {
		if (digits[i] < '0' || digits[i] > '9') && (i > 0 || digits[i] != '-') {
			return 0, false // ParseInt would take an underscore
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && least <= n && n <= most
}

// readEndpoint reads host[:port]. Port names are those of the protocol.
func readEndpoint(s string, proto lvs.Protocol, names Names) (addr netip.Addr, port uint16, hasPort, ok bool) {
	if isDigits(s) {
		return addr, 0, false, false
	}
	host, portText, hasPort := s, "", false
	inner, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		if host, portText, hasPort = strings.Cut(inner, "]:"); !hasPort || strings.Contains(host, "]") {
			return addr, 0, false, false
		}
	}
	addr, ok = readIPv6Addr(host)
	if !ok && bracketed { // ipvsadm takes [10.0.0.1]:80 and loses the port
		return addr, 0, false, false
	}
	if !ok {
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host, portText, hasPort = host[:i], host[i+1:], true
		}
		if addr, ok = readIPv4Host(host, names); !ok {
			return addr, 0, false, false
		}
	}
	if hasPort {
		port, ok = readPort(portText, proto, names)
	}
	return addr, port, hasPort, ok
}

// isDigits tells whether s has nothing but digits, not even one.
func isDigits(s string) bool {
	return strings.TrimLeft(s, "0123456789") == ""
}

func readIPv6Addr(s string) (netip.Addr, bool) {
	if strings.Count(s, ":") < 2 { // 10.0.0.1:80, which ParseAddr refuses with much ado
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is6() && a.Zone() == ""
}

// readIPv4Host reads an IPv4 address in any of its old forms, or looks a name up.
func readIPv4Host(s string, names Names) (netip.Addr, bool) {
	if a, ok := inetAton(s); ok {
		return a, true
	}
	// The C library takes what looks like a number for one, without asking DNS.
	if strings.Trim(s, "0123456789.") == "" {
		return netip.Addr{}, false
	}
	return names.Host(s)
}

func readPort(s string, proto lvs.Protocol, names Names) (uint16, bool) {
	if n, ok := number(s, 0, 65535); ok {
		return uint16(n), true
	}
	return names.Port(s, proto)
}

// readMask reads an IPv4 netmask: a prefix length, any form of inet_aton, or
// the name of a host. ipvsadm knows no prefix lengths and takes 24 for
// 0.0.0.24, which nobody means.
func readMask(s string, names Names) (uint32, bool) {
	if n, ok := number(s, 0, 32); ok {
		return ^uint32(0) << (32 - n), true // 0 for a length of 0: Go shifts all bits out
	}
	a, ok := readIPv4Host(s, names)
	if !ok {
		return 0, false
	}
	return ipv4Word(a), true
}

// inetAton reads an IPv4 address of one to four numbers, each decimal, octal or
// hexadecimal, the last one filling what is left. White space ends it, whatever
// follows.
func inetAton(s string) (netip.Addr, bool) {
	var value uint32 // the leading bytes
	for left := 32; ; {
		n, rest, ok := cNumber(s)
		if !ok {
			return netip.Addr{}, false
		}
		if after, more := strings.CutPrefix(rest, "."); more {
			if n > 255 || left == 8 {
				return netip.Addr{}, false
			}
			left -= 8
			value |= uint32(n) << left
			s = after
			continue
		}
		if bits.Len64(n) > left || rest != "" && !isSpace(rest[0]) {
			return netip.Addr{}, false
		}
		return ipv4Addr(value | uint32(n)), true
	}
}

// cNumber reads a number from the beginning of s as strtoul does with base 0;
// it must begin with a digit.
func cNumber(s string) (n uint64, rest string, ok bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, s, false
	}
	base := uint64(10)
	switch {
	case len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && digit(s[2]) < 16:
		base, s = 16, s[2:]
	case s[0] == '0':
		base = 8
	}
	for s != "" && digit(s[0]) < base {
		n = n*base + digit(s[0])
		if n > 0xffffffff {
			return 0, s, false
		}
		s = s[1:]
	}
	return n, s, true
}

func digit(c byte) uint64 {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return 255
}

func isSpace(c byte) bool { return strings.IndexByte(" \t\n\v\f\r", c) >= 0 }

func ipv4Word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func ipv4Addr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// appendAddr prints an address as C's inet_ntop does. It differs from Go's
// form in IPv4-compatible addresses: ::1.2.3.4 for ::102:304.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is6() && isCompatible(a) {
		v6 := a.As16()
		b = append(b, "::"...)
		return netip.AddrFrom4([4]byte(v6[12:])).AppendTo(b)
	}
	return a.AppendTo(b)
}

// isCompatible tells whether exactly the first six of the eight groups are 0.
func isCompatible(a netip.Addr) bool {
	v6 := a.As16()
	for _, x := range v6[:12] {
		if x != 0 {
			return false
		}
	}
	return v6[12] != 0 || v6[13] != 0
}
