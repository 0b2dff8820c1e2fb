package check

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller makes TCP connections for short conversations at about half the system
// calls of package net, and wakes no other thread on the way.
//
// Each call that package net makes announces itself to Go's scheduler, which on
// an otherwise idle process wakes the monitor thread: three switches of thread
// for a call of a microsecond. Checks are such processes: asleep, one call,
// asleep. Sockets here never block, so the calls need no announcement
// (RawSyscall); one epoll of our own, itself watched by Go's, gathers what
// happens to all of them.
type poller struct {
	epoll   int
	file    *os.File
	mu      sync.Mutex
	watched map[int32]watcher
	piece   [maxGlance]byte // what is read by the goroutine of dispatch
}

// watcher is told the events of one descriptor.
type watcher interface{ happened(events uint32) }

// newPoller starts the one goroutine that dispatches events. It ends with close.
func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // what makes os.File watch it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{epoll: fd, file: os.NewFile(uintptr(fd), "epoll"), watched: map[int32]watcher{}}
	rc, err := p.file.SyscallConn()
	if err != nil {
		p.file.Close()
		return nil, err
	}
	go p.dispatch(rc)
	return p, nil
}

func (p *poller) close() error { return p.file.Close() }

// dispatch runs until the file is closed, which Read reports.
func (p *poller) dispatch(rc syscall.RawConn) {
	var events [64]unix.EpollEvent
	_ = rc.Read(func(fd uintptr) bool {
		for {
			n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
			if errno != 0 && errno != unix.EINTR {
				return errno != unix.EAGAIN
			}
			if errno == 0 {
				p.wake(events[:n])
				if int(n) < len(events) {
					return false // wait for the next
				}
			}
		}
	})
}

func (p *poller) wake(events []unix.EpollEvent) {
	for _, e := range events {
		p.mu.Lock()
		w := p.watched[e.Fd]
		p.mu.Unlock()
		if w != nil { // else it was closed meanwhile
			w.happened(e.Events)
		}
	}
}

// dial connects. The socket never blocks; the waiting is for its events.
func (p *poller) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	c := &rawConn{p: p, remote: addr}
	c.cond.L = &c.mu
	var err error
	if c.fd, err = openTCP(addr); err == nil {
		err = c.connect(ctx)
	}
	if err != nil {
		c.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: c.RemoteAddr(), Err: err}
	}
	return c, nil
}

// rawConn is one connection: a [net.Conn] of fewer system calls.
type rawConn struct {
	p      *poller
	fd     int // -1 when closed
	remote netip.AddrPort

	mu       sync.Mutex // also held during the calls, none of which blocks
	cond     sync.Cond
	seen     uint32 // events since they were last used up
	expired  bool
	timer    *time.Timer
	deadline time.Time
}

// What epoll tells of reading and of writing.
const (
	readEvents  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	writeEvents = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	endEvents   = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// openTCP is a socket for a connection to addr, -1 when there is none.
func openTCP(addr netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	return int(fd), nil
}

// connectTCP begins to connect; mostly that is EINPROGRESS.
func connectTCP(fd int, addr netip.AddrPort) error {
	var sa unix.RawSockaddrInet6 // has room for either
	size := rawSockaddr(&sa, addr)
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(size)); errno != 0 {
		return errno
	}
	return nil
}

// socketError is why a connection did not come about.
func socketError(fd int) error {
	var n int32
	size := uint32(unsafe.Sizeof(n))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&n)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 {
		errno = syscall.Errno(n)
	}
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError("connect", errno)
}

func (c *rawConn) connect(ctx context.Context) error {
	err := connectTCP(c.fd, c.remote)
	if err != nil && err != unix.EINPROGRESS {
		return os.NewSyscallError("connect", err)
	}
	if failed := c.p.watch(c.fd, c); failed != nil || err == nil {
		return failed
	}
	stop := context.AfterFunc(ctx, c.expire)
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.await(writeEvents); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if c.seen&unix.EPOLLERR == 0 {
		return nil
	}
	return socketError(c.fd)
}

// watch asks for all events of a socket, once each (edge-triggered): one call
// serves the whole life of a connection.
func (p *poller) watch(fd int, w watcher) error {
	p.rewatch(fd, w)
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epoll), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// rewatch lets another watcher hear of a socket that is watched.
func (p *poller) rewatch(fd int, w watcher) {
	p.mu.Lock()
	p.watched[int32(fd)] = w
	p.mu.Unlock()
}

// forget is called before a socket is closed, which takes it out of the epoll.
func (p *poller) forget(fd int) {
	p.mu.Lock()
	delete(p.watched, int32(fd))
	p.mu.Unlock()
}

// rawSockaddr writes an address as the kernel has it, and returns its size.
func rawSockaddr(to *unix.RawSockaddrInet6, a netip.AddrPort) int {
	var order [2]byte
	binary.BigEndian.PutUint16(order[:], a.Port())
	port := binary.NativeEndian.Uint16(order[:])
	if a.Addr().Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(to)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: a.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: a.Addr().As16(), Scope_id: zoneID(a.Addr().Zone())}
	return unix.SizeofSockaddrInet6
}

// happened takes in events.
func (c *rawConn) happened(events uint32) {
	c.mu.Lock()
	c.seen |= events
	c.mu.Unlock()
	c.cond.Broadcast()
}

// await waits for one of these events, with c.mu held.
func (c *rawConn) await(events uint32) error {
	for c.seen&events == 0 {
		if err := c.usable(); err != nil {
			return err
		}
		c.cond.Wait()
	}
	return c.usable()
}

func (c *rawConn) usable() error {
	switch {
	case c.fd < 0:
		return net.ErrClosed
	case c.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Read implements net.Conn. It does not try before something is known to be there.
func (c *rawConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.await(readEvents); err != nil {
			return 0, c.opError("read", err)
		}
		n, errno := rawIO(unix.SYS_READ, c.fd, b)
		switch {
		case errno == unix.EAGAIN:
			c.seen &^= unix.EPOLLIN | endEvents
		case errno == unix.EINTR:
		case errno != 0:
			return 0, c.opError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			if n < len(b) && c.seen&endEvents == 0 {
				c.seen &^= unix.EPOLLIN // epoll(7): a short read has emptied the socket
			}
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (c *rawConn) Write(b []byte) (done int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for done < len(b) {
		if err := c.usable(); err != nil {
			return done, c.opError("write", err)
		}
		n, errno := sendRaw(c.fd, b[done:])
		switch {
		case errno == unix.EAGAIN:
			c.seen &^= unix.EPOLLOUT
			if err := c.await(writeEvents); err != nil {
				return done, c.opError("write", err)
			}
		case errno == unix.EINTR:
		case errno != 0:
			return done, c.opError("write", errno)
		}
		done += n
	}
	return done, nil
}

// sendRaw never raises SIGPIPE: that would be a matter of luck outside package net.
func sendRaw(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func rawIO(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (c *rawConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(c.remote), Err: err}
}

// Close implements net.Conn. Closing takes the socket out of the epoll as well.
func (c *rawConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.p.forget(c.fd)
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
	c.fd = -1
	c.cond.Broadcast()
	if errno != 0 {
		return os.NewSyscallError("close", errno)
	}
	return nil
}

// CloseWrite ends our side of the connection.
func (c *rawConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return err
	}
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// SetLinger is that of [net.TCPConn].
func (c *rawConn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	l := unix.Linger{Onoff: 1, Linger: int32(sec)}
	if sec < 0 {
		l = unix.Linger{}
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unix.SizeofLinger, 0)
	if errno != 0 {
		return os.NewSyscallError("setsockopt", errno)
	}
	return nil
}

// expire ends all waiting.
func (c *rawConn) expire() {
	c.mu.Lock()
	c.expired = true
	c.mu.Unlock()
	c.cond.Broadcast()
}

// SetDeadline implements net.Conn. There is one deadline for both directions.
func (c *rawConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	if c.timer != nil {
		if c.deadline.Equal(t) && !c.expired {
			return nil
		}
		c.timer.Stop()
	}
	c.expired, c.deadline = false, t
	if t.IsZero() {
		return nil
	}
	d := time.Until(t)
	if c.expired = d <= 0; c.expired {
		c.cond.Broadcast()
		return nil
	}
	c.timer = time.AfterFunc(d, func() { c.timeout(t) })
	return nil
}

// timeout is the timer's function. One that fires while it is being replaced
// must not end the time of the new deadline.
func (c *rawConn) timeout(t time.Time) {
	c.mu.Lock()
	current := c.deadline.Equal(t)
	c.mu.Unlock()
	if current {
		c.expire()
	}
}

// SetReadDeadline implements net.Conn, see SetDeadline.
func (c *rawConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline implements net.Conn, see SetDeadline.
func (c *rawConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// RemoteAddr implements net.Conn.
func (c *rawConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// LocalAddr implements net.Conn. It is asked for by two protocols only.
func (c *rawConn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		switch sa, _ := unix.Getsockname(c.fd); sa := sa.(type) {
		case *unix.SockaddrInet4:
			return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		case *unix.SockaddrInet6:
			return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		}
	}
	return &net.TCPAddr{}
}
