// Package wire carries VRRP advertisements over raw sockets of IP protocol 112:
// to the multicast group or to unicast peers, IPv4 and IPv6.
//
// One [Socket] serves all virtual routers of one interface and family. It sends
// with TTL 255, type of service 0xc0 (network control) and the source address of
// the advert, does not hear itself, and has the kernel throw away what is for
// other virtual routers. Raw sockets need CAP_NET_RAW.
package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/vrrp"
)

// Options say where a socket lives.
type Options struct {
	Link string // interface; empty is any, for unicast only
	IPv6 bool
	// Poll is what the owner of the socket waits with. Adverts come into the channel
	// only by Drain then. nil: they come by themselves.
	Poll *Poll
}

// Socket is a [vrrp.Transport]. Its methods may be called by several goroutines.
type Socket struct {
	opt  Options
	ch   chan vrrp.Advert
	done chan struct{} // closed when nobody reads any more
	ns   *os.File      // the network namespace it was opened in

	rx  sync.Mutex // reading, and what it needs
	end bool       // the channel is closed
	buf [4200]byte // an advert of 255 IPv6 addresses has 4088
	oob [128]byte
	dec [256]*vrrp.Decoder // by VRID: each remembers its master

	mu     sync.Mutex // for what follows
	file   *os.File
	raw    syscall.RawConn
	index  int // of the interface
	vrids  []uint8
	groups []netip.Addr // joined
	closed bool
	strays uint64
}

var (
	_ vrrp.Transport = (*Socket)(nil)
	_ vrrp.Drainer   = (*Socket)(nil)
	_ vrrp.Filterer  = (*Socket)(nil)
	_ vrrp.Refresher = (*Socket)(nil)
	_ vrrp.Joiner    = (*Socket)(nil)
)

const (
	// Depth is the number of adverts that wait for the owner of the socket; of
	// more the oldest are lost.
	Depth = 512
	// receiveBuffer has room for seconds in which nobody reads.
	receiveBuffer = 1 << 20
	// drainMax bounds the time that one look into the socket takes.
	drainMax = 4096

	trafficClass = 0xc0 // CS6, network control
	hopLimit     = 255
)

// Open opens a socket in the network namespace of the calling thread, in which
// it also stays when it has to be opened again. It receives nothing before
// [Socket.Filter] has named the virtual routers.
func Open(o Options) (*Socket, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("vrrp socket on %s: %w", o.Link, err)
	}
	s := &Socket{opt: o, ns: ns, ch: make(chan vrrp.Advert, Depth), done: make(chan struct{})}
	if err := s.open(); err != nil {
		if s.file != nil {
			s.file.Close()
		}
		ns.Close()
		return nil, err
	}
	if o.Poll == nil {
		go s.read()
	}
	return s, nil
}

// open puts a new socket into place.
func (s *Socket) open() error {
	index, fd, err := s.dial()
	if err != nil {
		return fmt.Errorf("vrrp socket on %s: %w", s.opt.Link, explain(err))
	}
	file := os.NewFile(uintptr(fd), "vrrp")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fmt.Errorf("vrrp socket on %s: %w", s.opt.Link, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return file.Close()
	}
	old, groups := s.file, s.groups
	s.file, s.raw, s.index, s.groups = file, raw, index, nil
	if old != nil {
		old.Close() // wakes the reader, which goes on with the new one
	} else {
		groups = []netip.Addr{usual(s.opt.IPv6)}
	}
	return errors.Join(s.join(groups), s.attach())
}

// usual is the group that adverts go to when nobody says otherwise.
func usual(ipv6 bool) netip.Addr {
	if ipv6 {
		return vrrp.GroupIPv6
	}
	return vrrp.GroupIPv4
}

// Join makes the socket hear these multicast groups, and no others.
func (s *Socket) Join(groups []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.join(groups)
}

// join needs the lock. A group that cannot be joined is tried again by the next
// call.
func (s *Socket) join(groups []netip.Addr) error {
	if s.index == 0 {
		return nil // a socket of no interface is for unicast
	}
	var errs []error
	change := func(g netip.Addr, do func(int, netip.Addr, int) error, verb string) bool {
		var err error
		if ctl := s.raw.Control(func(fd uintptr) { err = do(int(fd), g, s.index) }); ctl != nil {
			err = ctl
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("vrrp socket on %s: %s group %v: %w", s.opt.Link, verb, g, err))
		}
		return err == nil
	}
	var joined []netip.Addr
	for _, g := range s.groups {
		if slices.Contains(groups, g) || !change(g, leaveGroup, "leave") {
			joined = append(joined, g)
		}
	}
	for _, g := range groups {
		if !slices.Contains(joined, g) && change(g, joinGroup, "join") {
			joined = append(joined, g)
		}
	}
	s.groups = joined
	return errors.Join(errs...)
}

func joinGroup(fd int, g netip.Addr, index int) error {
	return membership(fd, g, index, unix.IP_ADD_MEMBERSHIP, unix.IPV6_JOIN_GROUP)
}

func leaveGroup(fd int, g netip.Addr, index int) error {
	return membership(fd, g, index, unix.IP_DROP_MEMBERSHIP, unix.IPV6_LEAVE_GROUP)
}

func membership(fd int, g netip.Addr, index, name4, name6 int) error {
	if g.Is4() {
		return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, name4, &unix.IPMreqn{Multiaddr: g.As4(), Ifindex: int32(index)})
	}
	return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, name6, &unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(index)})
}

func (s *Socket) dial() (index, fd int, err error) {
	if s.opt.Link != "" {
		if index, err = indexOf(s.opt.Link); err != nil {
			return 0, 0, err
		}
	}
	family := unix.AF_INET
	if s.opt.IPv6 {
		family = unix.AF_INET6
	}
	kind := unix.SOCK_RAW | unix.SOCK_CLOEXEC
	if s.opt.Poll == nil {
		kind |= unix.SOCK_NONBLOCK // has Go's own poller wait for it
	}
	if fd, err = unix.Socket(family, kind, vrrp.Protocol); err != nil {
		return 0, 0, err
	}
	err = setUp(fd, s.opt, index)
	if err == nil && s.opt.Poll != nil {
		err = s.opt.Poll.add(fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, 0, err
	}
	return index, fd, nil
}

func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: raw sockets need root or CAP_NET_RAW", err)
	}
	return err
}

// indexOf looks in the network namespace of the calling thread.
func indexOf(link string) (int, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}

// setUp makes a raw socket one for adverts. Until the filter is attached it
// takes nothing: the kernel queues from the first moment.
func setUp(fd int, o Options, index int) error {
	nothing := program(nil, o.IPv6)
	if err := attachFilter(fd, nothing); err != nil {
		return err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Without CAP_NET_ADMIN the kernel gives what net.core.rmem_max allows.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return err
		}
	}
	if o.Link != "" {
		if err := unix.BindToDevice(fd, o.Link); err != nil {
			return err
		}
	}
	if o.IPv6 {
		return setUp6(fd, index)
	}
	return setUp4(fd, index)
}

type option struct{ level, name, value int }

func set(fd int, list ...option) error {
	for _, o := range list {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setsockopt %d %d: %w", o.level, o.name, err)
		}
	}
	return nil
}

func setUp4(fd, index int) error {
	err := set(fd,
		option{unix.IPPROTO_IP, unix.IP_HDRINCL, 1}, // to send from an address that may not be ours
		option{unix.IPPROTO_IP, unix.IP_TOS, trafficClass},
		option{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
		option{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0}, // not what another process has joined
	)
	if err != nil || index == 0 {
		return err
	}
	return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
}

func setUp6(fd, index int) error {
	err := set(fd,
		option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hopLimit},
		option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, hopLimit},
		option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass},
		option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		option{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
	)
	if err != nil || index == 0 {
		return err
	}
	return set(fd, option{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index})
}

// Filter has the kernel drop what is not for these virtual routers.
func (s *Socket) Filter(vrids []uint8) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vrids = append([]uint8(nil), vrids...)
	if s.closed {
		return net.ErrClosed
	}
	return s.attach()
}

// attach needs the lock.
func (s *Socket) attach() error {
	var err error
	ctl := s.raw.Control(func(fd uintptr) { err = attachFilter(int(fd), program(s.vrids, s.opt.IPv6)) })
	return errors.Join(ctl, err)
}

func attachFilter(fd int, prog []unix.SockFilter) error {
	fprog := &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	return nil
}

// Send sends an advert to its destination.
func (s *Socket) Send(a vrrp.Advert) error {
	err := s.send(&a)
	if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENXIO) {
		return err
	}
	// The interface is gone; perhaps there is another one of its name.
	if again := s.Refresh(); again != nil {
		return errors.Join(err, again)
	}
	return s.send(&a)
}

func (s *Socket) send(a *vrrp.Advert) error {
	raw, index := s.current()
	if raw == nil {
		return net.ErrClosed
	}
	var err error
	ctl := raw.Control(func(fd uintptr) {
		if s.opt.IPv6 {
			err = send6(int(fd), a, index)
		} else {
			err = send4(int(fd), a)
		}
	})
	if ctl != nil {
		return ctl
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("the send buffer is full: %w", err)
	}
	return err
}

// current is nil once the socket is closed.
func (s *Socket) current() (syscall.RawConn, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0
	}
	return s.raw, s.index
}

// Recv is where adverts arrive; it is closed by Close.
func (s *Socket) Recv() <-chan vrrp.Advert { return s.ch }

// Drain brings what the kernel has received into the channel.
func (s *Socket) Drain() {
	raw, _ := s.current()
	if raw == nil {
		return
	}
	raw.Control(func(fd uintptr) { s.readAll(int(fd)) })
}

// Refresh opens the socket anew if its interface has been replaced by another
// one of its name.
func (s *Socket) Refresh() error {
	if s.opt.Link == "" {
		return nil
	}
	return s.inside(func() error {
		now, err := indexOf(s.opt.Link)
		if err != nil {
			return fmt.Errorf("vrrp socket on %s: %w", s.opt.Link, err)
		}
		if _, index := s.current(); now == index {
			return nil
		}
		return s.open()
	})
}

// inside runs f in the network namespace of the socket.
func (s *Socket) inside(f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	if same(here, s.ns) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace of %s: %w", s.opt.Link, err)
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: nobody else shall run in the wrong namespace.
		return errors.Join(err, fmt.Errorf("leave the network namespace of %s: %w", s.opt.Link, back))
	}
	runtime.UnlockOSThread()
	return err
}

func same(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// Strays is the number of packets that were dropped here: not even the VRID
// could be read. All others are for the instances to judge.
func (s *Socket) Strays() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strays
}

// Close ends the socket, and with it the channel.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.file.Close()
	s.mu.Unlock()
	if s.opt.Poll != nil {
		s.finish()
	}
	<-s.done
	return errors.Join(err, s.ns.Close())
}

// Source is the address that adverts on an interface come from when nobody says
// otherwise: its first IPv4 address, or its link-local IPv6 address. It looks in
// the network namespace of the calling thread.
func Source(link string, ipv6 bool) (netip.Addr, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source address on %s: %w", link, err)
	}
	list, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source address on %s: %w", link, err)
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if addr := p.Addr(); !ipv6 && addr.Is4() || ipv6 && addr.Is6() && addr.IsLinkLocalUnicast() {
			return addr, nil
		}
	}
	kind := "IPv4 address"
	if ipv6 {
		kind = "link-local IPv6 address"
	}
	return netip.Addr{}, fmt.Errorf("source address on %s: it has no %s", link, kind)
}
