package kernel

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// conn carries datagrams between us and the kernel's generic netlink. The real
// one is a [socket]; tests script another.
type conn interface {
	// Send hands over one datagram of whole messages. The kernel works on it
	// before Send returns; quick promises that this is a matter of microseconds.
	Send(b []byte, quick bool) error
	// Receive waits, at most for the given time, until it has filled at least
	// one of the buffers with a datagram each, and returns how many. It writes
	// their lengths into sizes. A datagram longer than its buffer is
	// errTruncated, no datagram in time is errSilent.
	Receive(bufs [][]byte, sizes []int, patience time.Duration) (int, error)
	// Grow asks for larger buffers and returns the bytes that the kernel
	// really grants for one send and for unread answers.
	Grow(bytes int) (send, receive int, err error)
	// Namespace returns a new descriptor of the network namespace that the
	// conn speaks to.
	Namespace() (int, error)
	// Renew returns a new conn to the same namespace.
	Renew() (conn, error)
	Close() error
}

const (
	errSilent    = sentinel("the kernel did not answer in time")
	errTruncated = sentinel("an answer was longer than its buffer")
)

// maxSlots bounds how many datagrams one system call takes.
const maxSlots = 64

// socket is a generic netlink socket. Its calls never block but in poll, so the
// deadline is ours alone: the kernel answers a request before send returns.
type socket struct {
	fd   int
	vecs [maxSlots]unix.Iovec
	hdrs [maxSlots]mmsghdr
	from [maxSlots]unix.RawSockaddrNetlink
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [unsafe.Sizeof(uintptr(0)) - 4]byte
}

func dialSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	// Neither bind nor connect: the kernel binds a socket that sends, and a
	// netlink socket without a peer sends to the kernel.
	return &socket{fd: fd}, nil
}

func (s *socket) Close() error { return unix.Close(s.fd) }

// Send makes a quick call behind the scheduler's back, as Receive does. Otherwise
// the scheduler may take the processor away from a thread in a system call and
// wake another one for it, which on a single slow processor costs more than the
// call: a dump of 1000 services takes 1.4 times as long.
func (s *socket) Send(b []byte, quick bool) error {
	for {
		errno := s.send(b, quick)
		// EINTR comes before anything was taken.
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
	}
}

func (s *socket) send(b []byte, quick bool) (errno syscall.Errno) {
	if quick {
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		return errno
	}
	_, _, errno = unix.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return errno
}

func (s *socket) Receive(bufs [][]byte, sizes []int, patience time.Duration) (int, error) {
	n := min(len(bufs), maxSlots)
	for {
		s.prepare(bufs[:n])
		got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdrs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			if n := s.collect(int(got), bufs, sizes); n != 0 {
				return n, s.truncated(int(got))
			}
		case unix.EINTR:
		case unix.EAGAIN:
			if err := s.wait(patience); err != nil {
				return 0, err
			}
		default:
			return 0, errno
		}
	}
}

func (s *socket) prepare(bufs [][]byte) {
	for i, b := range bufs {
		s.vecs[i].Base = unsafe.SliceData(b)
		s.vecs[i].SetLen(len(b))
		h := &s.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&s.from[i]))
		h.Namelen = unix.SizeofSockaddrNetlink
		h.Iov = &s.vecs[i]
		h.SetIovlen(1)
		h.Flags = 0
	}
}

// collect keeps the datagrams that are the kernel's own: another process with
// CAP_NET_ADMIN could send to our port.
func (s *socket) collect(got int, bufs [][]byte, sizes []int) int {
	kept := 0
	for i := range got {
		if s.from[i].Pid != 0 {
			continue
		}
		n := min(int(s.hdrs[i].len), len(bufs[i]))
		if kept != i {
			copy(bufs[kept], bufs[i][:n])
		}
		sizes[kept] = n
		kept++
	}
	return kept
}

func (s *socket) truncated(got int) error {
	for i := range got {
		if s.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0 {
			return errTruncated
		}
	}
	return nil
}

// wait returns when something has come, errSilent when it has not.
func (s *socket) wait(patience time.Duration) error {
	end := time.Now().Add(patience)
	for {
		left := time.Until(end)
		if left <= 0 {
			return errSilent
		}
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// Grow forces the sizes, which takes CAP_NET_ADMIN; without it the sysctls
// net.core.rmem_max and wmem_max are the most.
func (s *socket) Grow(bytes int) (send, receive int, err error) {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes) // what is granted is read below
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
	// An error need not bring the whole request back with it. A kernel older
	// than 4.2 cannot be told so, and its errors still fit.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if send, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
		return 0, 0, err
	}
	receive, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return send, receive, err
}

// siocGetNetNamespace is SIOCGSKNS of <linux/sockios.h>, Linux 4.10.
const siocGetNetNamespace = 0x894c

func (s *socket) Namespace() (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), siocGetNetNamespace, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func (s *socket) Renew() (c conn, err error) {
	ns, err := s.Namespace()
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	err = inNamespace(ns, func() (err error) {
		c, err = dialHere()
		return err
	})
	return c, err
}
