package doctor

import (
	"encoding/binary"
	"net/netip"
)

// ipPacket is what matters of an IP packet.
type ipPacket struct {
	src, dst netip.Addr
	proto    uint8
	ttl      uint8
	payload  []byte
	fragment bool // not the first one
}

// parseIP reads an IP header. IPv6 extension headers are not followed: nothing that
// is looked for here has any.
func parseIP(data []byte) (ipPacket, bool) {
	if len(data) < 20 {
		return ipPacket{}, false
	}
	switch data[0] >> 4 {
	case 4:
		header, total := int(data[0]&15)*4, int(binary.BigEndian.Uint16(data[2:]))
		if header < 20 || len(data) < header || total < header {
			return ipPacket{}, false
		}
		p := ipPacket{src: netip.AddrFrom4([4]byte(data[12:16])), dst: netip.AddrFrom4([4]byte(data[16:20])), proto: data[9], ttl: data[8]}
		p.fragment = binary.BigEndian.Uint16(data[6:])&0x1fff != 0
		p.payload = data[header:min(total, len(data))]
		return p, true
	case 6:
		if len(data) < 40 {
			return ipPacket{}, false
		}
		total := 40 + int(binary.BigEndian.Uint16(data[4:]))
		return ipPacket{src: netip.AddrFrom16([16]byte(data[8:24])), dst: netip.AddrFrom16([16]byte(data[24:40])), proto: data[6], ttl: data[7],
			payload: data[40:min(total, len(data))]}, true
	}
	return ipPacket{}, false
}
