package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is the [Net] of the machine we run on. The zero Host is ready; that of
// [NewHost] needs far less processor time for TCP.
type Host struct {
	// Control is called with every socket before it is connected or bound, to
	// set a mark or bind to a device. It may be nil.
	Control func(network, address string, c syscall.RawConn) error
	// Resolver looks up names. nil = the system's.
	Resolver *net.Resolver

	poll   *poller
	source netip.AddrPort // to bind to; see [Host.From]
}

// NewHost returns a Host whose TCP connections share one epoll. It is to be
// closed when no check runs any more.
func NewHost() (Host, error) {
	p, err := newPoller()
	return Host{poll: p}, err
}

// Close ends what NewHost started.
func (h Host) Close() error {
	if h.poll == nil {
		return nil
	}
	return h.poll.close()
}

// DialContext connects. Kernel keep-alives are off: no check lives long enough
// to need them, and they cost four system calls.
func (h Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.HasPrefix(network, "ip") {
		return h.dialICMP(ctx, network, address)
	}
	if addr, err := netip.ParseAddrPort(address); err == nil && h.poll != nil && h.Control == nil && network == "tcp" {
		return h.poll.dial(ctx, addr)
	}
	d := net.Dialer{KeepAlive: -1, FallbackDelay: -1, Control: h.Control, LocalAddr: h.local(network)}
	return d.DialContext(ctx, network, address)
}

// local is the address to connect from, nil for any.
func (h Host) local(network string) net.Addr {
	switch {
	case !h.source.IsValid():
		return nil
	case strings.HasPrefix(network, "tcp"):
		return net.TCPAddrFromAddrPort(h.source)
	case strings.HasPrefix(network, "udp"):
		return net.UDPAddrFromAddrPort(h.source)
	}
	return &net.IPAddr{IP: h.source.Addr().AsSlice(), Zone: h.source.Addr().Zone()}
}

// dialICMP opens a raw socket that is connected, so that the kernel hands it the
// packets of that one server only: a thousand pings at once would otherwise each
// see all replies. Without CAP_NET_RAW it tries the unprivileged kind.
func (h Host) dialICMP(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: h.Control, LocalAddr: h.local(network)}
	c, err := d.DialContext(ctx, network, address)
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) {
		return c, err
	}
	c, err = h.dialPing(network, address)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return nil, local(errors.New("ping needs CAP_NET_RAW, or this group within net.ipv4.ping_group_range"))
	}
	return c, err
}

// dialPing opens a "ping socket": ICMP echo without privilege, for the groups
// named in net.ipv4.ping_group_range. The kernel chooses the identifier.
func (h Host) dialPing(network, address string) (net.Conn, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if addr.Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "ping "+address)
	defer f.Close() // FileConn below has its own copy
	if err := h.controlFile(f, network, address); err != nil {
		return nil, err
	}
	if h.source.IsValid() {
		if err := unix.Bind(fd, sockaddr(h.source.Addr())); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(addr)); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

func (h Host) controlFile(f *os.File, network, address string) error {
	if h.Control == nil {
		return nil
	}
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return h.Control(network, address, rc)
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: zoneID(a.Zone())}
}

// zoneID is the interface index a scoped address names, 0 when it names none.
func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0 // connect will refuse the address, and say so
	}
	return uint32(i.Index)
}

// Listen opens a listener.
func (h Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: h.Control, KeepAlive: -1}
	// Multipath TCP is Go's default for listeners; for one FTP data connection
	// it is only another thing a middlebox can trip over.
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, network, address)
}

// LookupNetIP looks up a name. It returns when ctx ends, even if a resolver hangs.
func (h Host) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	r := h.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	return r.LookupNetIP(ctx, network, host)
}
