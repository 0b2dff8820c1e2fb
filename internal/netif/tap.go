package netif

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Frame is a packet as a link saw it. A Tap hears it before any firewall does, and
// also what this host sends.
type Frame struct {
	Link string
	Out  bool // sent by this host
	// Src and Dst are Ethernet addresses; empty on links that have none.
	Src, Dst  string
	EtherType uint16
	// Packet begins with the IP header. It is good until the next frame.
	Packet []byte
	// Length is that of the packet on the wire; Packet may be cut short.
	Length int
}

// snapLength is how much of a frame a tap keeps: the headers of a tunnel and what
// is in it.
const snapLength = 512

// Tap hears what passes all links of a host. Close ends it.
type Tap struct {
	socket *os.File
	names  map[int]string
	buf    []byte
}

// Tap begins to listen on all links. It needs CAP_NET_RAW. With protocols named it
// hears packets of these IP protocols only, which spares a busy host the others.
func (k *Kernel) Tap(protocols ...uint8) (*Tap, error) {
	filter, err := protocolFilter(protocols)
	if err != nil {
		return nil, err
	}
	t := &Tap{names: k.linkNames(), buf: make([]byte, snapLength)}
	err = k.inside(func() error {
		// Protocol 0 hears nothing: the filter is there before the first packet.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		// Best effort: a burst that does not fit is lost, as on every tap.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
		t.socket = os.NewFile(uintptr(fd), "packet socket")
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter); err != nil {
			return errors.Join(err, t.socket.Close())
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL)}); err != nil {
			return errors.Join(err, t.socket.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listening on all links: %w", err)
	}
	return t, nil
}

// networkOffset makes an offset count from the network header, whatever the link
// put before it: SKF_NET_OFF of <linux/filter.h>.
const networkOffset = 0xfff00000

// protocolFilter lets packets of some IP protocols through; with none named, all.
func protocolFilter(protocols []uint8) (*unix.SockFprog, error) {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: networkOffset, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}}
	n := uint8(len(protocols))
	program = append(program,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipFalse: 2},
		bpf.LoadAbsolute{Off: networkOffset + 9, Size: 1},
		bpf.Jump{Skip: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipFalse: n + 1},
		bpf.LoadAbsolute{Off: networkOffset + 6, Size: 1})
	for i, p := range protocols {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(p), SkipTrue: n - uint8(i)})
	}
	nothing := bpf.RetConstant{Val: 0}
	if n == 0 {
		nothing.Val = 1 << 16
	}
	raw, err := bpf.Assemble(append(program, nothing, bpf.RetConstant{Val: 1 << 16}))
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}, nil
}

// bigEndian is a number as packet sockets want it.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// Close ends the tap.
func (t *Tap) Close() error { return t.socket.Close() }

// Listen hands over frames until the context ends, or hear says that it has heard
// enough. Both are no error.
func (t *Tap) Listen(ctx context.Context, hear func(Frame) (enough bool)) error {
	stop := context.AfterFunc(ctx, func() { t.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := t.socket.SyscallConn()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		f, ok, err := t.next(conn)
		if err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("listening on all links: %w", err)
		}
		if ok && hear(f) {
			return nil
		}
	}
	return nil
}

func (t *Tap) next(conn interface {
	Read(func(uintptr) bool) error
}) (Frame, bool, error) {
	var n int
	var from unix.Sockaddr
	var recvErr error
	err := conn.Read(func(fd uintptr) bool {
		// MSG_TRUNC: the true length, however much of it we take.
		n, from, recvErr = unix.Recvfrom(int(fd), t.buf, unix.MSG_TRUNC)
		return recvErr != unix.EAGAIN
	})
	if err == nil && recvErr == unix.ENETDOWN { // a link went down; the others go on
		return Frame{}, false, nil
	}
	if err = errors.Join(err, recvErr); err != nil {
		return Frame{}, false, err
	}
	sll, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return Frame{}, false, nil
	}
	f, ok := unwrap(t.buf[:min(n, len(t.buf))], sll)
	f.Link, f.Length = t.names[sll.Ifindex], n-(min(n, len(t.buf))-len(f.Packet))
	return f, ok, nil
}

// unwrap takes the link's own header off. Tunnels have none, Ethernet and lo have
// that of Ethernet.
func unwrap(data []byte, sll *unix.SockaddrLinklayer) (Frame, bool) {
	f := Frame{Out: sll.Pkttype == unix.PACKET_OUTGOING, EtherType: bigEndian(sll.Protocol), Packet: data}
	if sll.Hatype != unix.ARPHRD_ETHER && sll.Hatype != unix.ARPHRD_LOOPBACK {
		return f, len(data) > 0
	}
	if len(data) < 14 {
		return f, false
	}
	f.Dst, f.Src = net.HardwareAddr(data[:6]).String(), net.HardwareAddr(data[6:12]).String()
	f.EtherType, f.Packet = uint16(data[12])<<8|uint16(data[13]), data[14:]
	return f, true
}
