package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestParse4 cuts and bends an IPv4 packet.
func TestParse4(t *testing.T) {
	good := func() []byte {
		b := make([]byte, 36)
		b[0], b[3], b[8], b[9] = 0x45, 36, 255, 112
		copy(b[12:], []byte{10, 0, 0, 1, 224, 0, 0, 18})
		b[20] = 0x21
		return b
	}
	options := func() []byte {
		b := slices.Insert(good(), 20, 1, 1, 1, 1)
		b[0], b[3] = 0x46, 40
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"good", good(), true},
		{"with options", options(), true},
		{"empty", nil, false},
		{"half a header", good()[:10], false},
		{"shorter than it says", good()[:35], false},
		{"longer than it says", append(good(), 0), false},
		{"header over the end", edited(good(), 0, 0x4f), false},
		{"header below 20", edited(good(), 0, 0x44), false},
		{"IPv6", edited(good(), 0, 0x65), false},
		{"TCP", edited(good(), 9, 6), false},
	} {
		h, ok := parse4(c.b, len(c.b))
		if ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
		}
		if ok && (h.src != netip.MustParseAddr("10.0.0.1") || h.dst != netip.MustParseAddr("224.0.0.18") || h.ttl != 255 || len(h.msg) != 16 || h.msg[0] != 0x21) {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
}

func edited(b []byte, at int, v byte) []byte {
	b = bytes.Clone(b)
	b[at] = v
	return b
}

// TestProgram runs the filter as the kernel would, for few and for all VRIDs.
func TestProgram(t *testing.T) {
	var all []uint8
	for i := range 256 {
		all = append(all, uint8(i))
	}
	for _, vrids := range [][]uint8{nil, {51}, {51, 52, 51, 7}, {0}, all} {
		for _, ipv6 := range []bool{false, true} {
			prog := program(vrids, ipv6)
			for id := range 256 {
				for _, ihl := range []byte{5, 15} {
					pkt := []byte{0x21, byte(id)}
					if !ipv6 {
						pkt = append(edited(make([]byte, int(ihl)*4), 0, 0x40|ihl), pkt...)
					}
					want := id != 0 && slices.Contains(vrids, uint8(id))
					if got, err := execute(prog, pkt); err != nil || got != want {
						t.Fatalf("filter %v, IPv6 %v, header of %d words, VRID %d: %v, %v", vrids, ipv6, ihl, id, got, err)
					}
				}
			}
		}
	}
}

// execute knows the instructions that the filter is made of. To load beyond the
// packet drops it, as in the kernel.
func execute(prog []unix.SockFilter, pkt []byte) (bool, error) {
	var a, x uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		switch in.Code {
		case unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH:
			x = uint32(pkt[in.K]&15) * 4
		case unix.BPF_LD | unix.BPF_B | unix.BPF_IND:
			if int(x+in.K) >= len(pkt) {
				return false, nil
			}
			a = uint32(pkt[x+in.K])
		case unix.BPF_LD | unix.BPF_B | unix.BPF_ABS:
			a = uint32(pkt[in.K])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K != 0, nil
		default:
			return false, fmt.Errorf("instruction %#x", in.Code)
		}
	}
	return false, fmt.Errorf("ran off the end")
}

func FuzzParse4(f *testing.F) {
	f.Add([]byte{0x45, 0xc0, 0, 36, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18, 0x21, 51, 100, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parse4(b, len(b))
		if ok && len(h.msg) > len(b)-20 {
			t.Errorf("%x: a message of %d bytes", b, len(h.msg))
		}
	})
}
