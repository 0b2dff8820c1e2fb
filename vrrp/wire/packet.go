package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/vrrp"
)

const headerLen = 20

// send4 sends with an IP header of our own: the kernel adds the identification
// and the checksum, and leaves the source address as it is.
func send4(fd int, a *vrrp.Advert) error {
	b := make([]byte, headerLen, headerLen+8+4*vrrp.MaxAddrs+8)
	b = a.Append(b)
	src, dst := a.Src.As4(), a.Dst.As4()
	b[0] = 4<<4 | headerLen/4
	b[1] = trafficClass
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8] = a.TTL
	b[9] = vrrp.Protocol
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	return unix.Sendto(fd, b, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: dst})
}

// send6 names the source address in a control message.
func send6(fd int, a *vrrp.Advert, index int) error {
	dst := a.Dst.As16()
	info := unix.Inet6Pktinfo{Addr: a.Src.As16(), Ifindex: uint32(index)}
	to := &unix.SockaddrInet6{Addr: dst}
	if a.Dst.IsLinkLocalUnicast() || a.Dst.IsLinkLocalMulticast() {
		to.ZoneId = uint32(index)
	}
	_, err := unix.SendmsgN(fd, a.Append(nil), append(unix.PktInfo6(&info), hopLimit6(a.TTL)...), to, unix.MSG_DONTWAIT)
	return err
}

// hopLimit6 is a control message with the hop limit.
func hopLimit6(ttl uint8) []byte {
	b := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(ttl))
	return b
}

// read waits for packets until the socket is closed.
func (s *Socket) read() {
	defer s.finish()
	for {
		raw, _ := s.current()
		if raw == nil {
			return
		}
		// The error of a closed file: there is another one, or we are at the end.
		raw.Read(func(fd uintptr) bool { return s.readAll(int(fd)) > 0 })
	}
}

// finish is the end of the channel.
func (s *Socket) finish() {
	s.rx.Lock()
	defer s.rx.Unlock()
	s.end = true
	close(s.ch)
	close(s.done)
}

// readAll takes what is in the socket, but not more than drainMax packets.
func (s *Socket) readAll(fd int) int {
	s.rx.Lock()
	defer s.rx.Unlock()
	if s.end {
		return 0
	}
	for n := range drainMax {
		got, oobn, _, from, err := unix.Recvmsg(fd, s.buf[:], s.oob[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case err == nil:
			s.packet(got, oobn, from)
		case errors.Is(err, unix.EAGAIN):
			return n
		default: // EINTR; or one of the socket, ENETDOWN for example: reading takes it away, and there may be packets behind it
		}
	}
	return drainMax
}

// packet hands one packet on.
func (s *Socket) packet(n, oobn int, from unix.Sockaddr) {
	var (
		h  header
		ok bool
	)
	if s.opt.IPv6 {
		h, ok = parse6(s.buf[:min(n, len(s.buf))], s.oob[:oobn], from)
	} else {
		h, ok = parse4(s.buf[:min(n, len(s.buf))], n)
	}
	if !ok || len(h.msg) < 2 {
		s.mu.Lock()
		s.strays++
		s.mu.Unlock()
		return
	}
	if n > len(s.buf) {
		h.msg = h.msg[:2] // cut off: too long for any advert, and judged so
	}
	vrid := h.msg[1]
	if s.dec[vrid] == nil {
		s.dec[vrid] = new(vrrp.Decoder)
	}
	s.deliver(s.dec[vrid].Decode(h.src, h.dst, h.ttl, h.msg))
}

// deliver makes room for the newest: it says most about the master.
func (s *Socket) deliver(a vrrp.Advert) {
	for {
		select {
		case s.ch <- a:
			return
		default:
		}
		select {
		case <-s.ch:
		default:
		}
	}
}

// header is what is needed of an IP header, and what follows it.
type header struct {
	src, dst netip.Addr
	ttl      uint8
	msg      []byte
}

// parse4 takes an IPv4 packet apart; the kernel has verified the checksum and
// put fragments together. size is its length as received.
func parse4(b []byte, size int) (header, bool) {
	if len(b) < headerLen || b[0]>>4 != 4 || b[9] != vrrp.Protocol {
		return header{}, false
	}
	ihl := int(b[0]&15) * 4
	if ihl < headerLen || ihl > len(b) || int(binary.BigEndian.Uint16(b[2:])) != size {
		return header{}, false
	}
	return header{
		src: netip.AddrFrom4([4]byte(b[12:16])),
		dst: netip.AddrFrom4([4]byte(b[16:20])),
		ttl: b[8],
		msg: b[ihl:],
	}, true
}

// parse6 reads the IPv6 header's fields from the control messages.
func parse6(b, oob []byte, from unix.Sockaddr) (header, bool) {
	sa, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return header{}, false
	}
	h := header{src: netip.AddrFrom16(sa.Addr), msg: b}
	var gotDst, gotTTL bool
	for len(oob) >= unix.CmsgLen(0) {
		c, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return header{}, false
		}
		switch {
		case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(data) >= 16:
			h.dst, gotDst = netip.AddrFrom16([16]byte(data[:16])), true
		case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			h.ttl, gotTTL = uint8(*(*int32)(unsafe.Pointer(&data[0]))), true
		}
		oob = rest
	}
	return h, gotDst && gotTTL
}

// program is the filter in the kernel's classic BPF: the packet is taken if its
// VRID is one of ours. On an IPv4 socket it begins with the IP header, on an IPv6
// socket with the VRRP message.
func program(vrids []uint8, ipv6 bool) []unix.SockFilter {
	const (
		ldxMsh = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH // X = length of the IPv4 header at k
		ldInd  = unix.BPF_LD | unix.BPF_B | unix.BPF_IND  // A = byte at X + k
		ldAbs  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		jeq    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
	)
	prog := []unix.SockFilter{{Code: ldxMsh, K: 0}, {Code: ldInd, K: 1}}
	if ipv6 {
		prog = []unix.SockFilter{{Code: ldAbs, K: 1}}
	}
	vrids = distinct(vrids)
	for i, id := range vrids {
		// Over the others and the rejection; 255 at most, which is what fits.
		prog = append(prog, unix.SockFilter{Code: jeq, K: uint32(id), Jt: uint8(len(vrids) - i)})
	}
	return append(prog, unix.SockFilter{Code: ret, K: 0}, unix.SockFilter{Code: ret, K: 0xffffffff})
}

// distinct are the ids without repetitions and without 0, which is no VRID.
func distinct(ids []uint8) []uint8 {
	var seen [256]bool
	var out []uint8
	for _, id := range ids {
		if id != 0 && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}
