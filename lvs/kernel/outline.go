package kernel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// Generic netlink takes two system calls for each service's destinations. The
// file ip_vs has all of them in one go, some fifty lines a call, and says less:
// no tunnel, no threshold, no counter, the families of a mark not told apart,
// and bypass, which only a program that bends the rules can have set, called
// masquerading. When several network namespaces have services it also loses some
// at the ends of pages: the kernel counts everybody's as it prints and only this
// namespace's as it goes on. So it serves listings that print nothing else, and
// only as long as it names the very services that netlink names. What decides about changes,
// [Client.Read] and [Client.State], never comes from it.

// tableFile is the table as text, of the reading thread's network namespace.
const tableFile = "/proc/thread-self/net/ip_vs"

// The room a view starts with. The kernel tells no counts beforehand, and to
// grow means to touch more memory: 5 pages for each one kept. What is reserved
// and not used is never touched.
const (
	reserveServices     = 4 << 10
	reserveDestinations = 32 << 10
)

// View returns the table without holding all of it in memory: as [Client.State]
// gives it, but destinations are asked for when they are wanted, a service
// deleted meanwhile has none, and counters are those of that moment. An outline
// comes from the text file where that can be believed.
func (c *Client) View(d lvs.Detail) (lvs.View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d != lvs.Full {
		if o, err := c.outline(); err == nil {
			o.tunnels = d == lvs.OutlineAndTunnels
			return lvs.View{Services: o.services, Destinations: func(i int) ([]lvs.DestinationState, error) {
				return c.outlined(o, i)
			}}, nil
		}
		// Whatever is wrong with the text: netlink needs none, and reports its own errors.
	}
	list, err := c.services(make(lvs.State, 0, reserveServices))
	if err != nil {
		return lvs.View{}, refusal("read the services", err, nil)
	}
	c.readSmall()
	return lvs.View{Services: list, Destinations: func(i int) ([]lvs.DestinationState, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.viewed(list[i].Key)
	}}, nil
}

// viewed reads destinations into the client's scratch memory.
func (c *Client) viewed(k lvs.Key) ([]lvs.DestinationState, error) {
	list, err := c.destinations(k)
	if err != nil {
		return nil, refusal("read the destinations of "+k.String(), err, nil)
	}
	return list, nil
}

func (c *Client) outlined(o *outline, i int) ([]lvs.DestinationState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.unclear(i) {
		return c.viewed(o.services[i].Key)
	}
	c.scratch = c.scratch[:0]
	for _, d := range o.destinations(i) {
		c.scratch = append(c.scratch, d.state())
	}
	return c.scratch, nil
}

// outline reads the services by netlink and the destinations from the file. The
// two agree only if nobody added or deleted a service in between, so one dump is
// enough, whatever number of parts it came in.
func (c *Client) outline() (*outline, error) {
	list, _, err := c.dumpServices(make(lvs.State, 0, reserveServices))
	if err != nil {
		return nil, err
	}
	f, err := c.openHere(tableFile)
	if err != nil {
		return nil, err
	}
	defer unix.Close(f)
	o := &outline{
		services: list,
		first:    make([]int32, 0, len(list)+1),
		all:      make([]outlined, 0, reserveDestinations),
	}
	return o, o.read(c.memory(), func(b []byte) (int, error) { return readQuick(f, b) })
}

// openHere opens a file of /proc in the network namespace of the conn.
func (c *Client) openHere(path string) (fd int, err error) {
	if err := c.usable(); err != nil {
		return -1, err
	}
	ns, err := c.conn.Namespace()
	if err != nil {
		return -1, fmt.Errorf("find the socket's network namespace: %w", err)
	}
	defer unix.Close(ns)
	err = inNamespace(ns, func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// readQuick reads behind the scheduler's back, as [socket.Send] does: the kernel
// only formats a page of text.
func readQuick(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// An outline is what ip_vs says about the destinations of known services.
type outline struct {
	services lvs.State
	tunnels  bool
	first    []int32 // where the destinations of a service begin in all
	all      []outlined
	lines    int
}

// outlined is a destination in a third of the memory that its state takes, and
// without pointers.
type outlined struct {
	addr                     [16]byte
	port                     uint16
	six                      bool
	method                   lvs.Method
	weight, active, inactive uint32
}

func (d *outlined) state() (s lvs.DestinationState) {
	s.Addr = endpoint(d.addr, d.six, d.port)
	s.Method, s.Weight = d.method, d.weight
	s.Active, s.Inactive = d.active, d.inactive
	return s
}

func endpoint(addr [16]byte, six bool, port uint16) netip.AddrPort {
	if six {
		return netip.AddrPortFrom(netip.AddrFrom16(addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
}

func (o *outline) destinations(i int) []outlined {
	if i+1 < len(o.first) {
		return o.all[o.first[i]:o.first[i+1]]
	}
	return o.all[o.first[i]:]
}

// unclear tells whether the text is not enough for a service: a tunnel's
// attributes are wanted, or the service's mark has a namesake of the other
// family, which may have come before it in the text.
func (o *outline) unclear(i int) bool {
	if o.tunnels {
		for _, d := range o.destinations(i) {
			if d.method == lvs.Tunnel {
				return true
			}
		}
	}
	if o.services[i].Mark == 0 {
		return false
	}
	for j := range o.services {
		if j != i && o.services[j].Mark == o.services[i].Mark {
			return true
		}
	}
	return false
}

var errOtherServices = errors.New("the text has other services than netlink")

// read takes the whole text, through buf. Read returns 0 at its end.
func (o *outline) read(buf []byte, read func([]byte) (int, error)) error {
	kept := 0
	for {
		if kept == len(buf) {
			return fmt.Errorf("line %d has more than %d bytes", o.lines+1, len(buf))
		}
		n, err := read(buf[kept:])
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		rest, err := o.text(buf[:kept+n])
		if err != nil {
			return err
		}
		kept = copy(buf, rest)
	}
	if kept != 0 || o.lines < headingLines {
		return errors.New("the text is cut short")
	}
	if len(o.first) != len(o.services) {
		return errOtherServices
	}
	return nil
}

// text takes whole lines and returns what is left of the last.
func (o *outline) text(b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return b, nil
		}
		o.lines++
		if err := o.line(b[:i]); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", o.lines, clip(b[:i]), err)
		}
		b = b[i+1:]
	}
}

const headingLines = 3

var (
	headingStart     = []byte("IP Virtual Server version ")
	destinationStart = []byte("  -> ")
)

func (o *outline) line(b []byte) error {
	if o.lines <= headingLines {
		if o.lines == 1 && !bytes.HasPrefix(b, headingStart) {
			return errors.New("not the heading of ip_vs")
		}
		return nil
	}
	if rest, ok := bytes.CutPrefix(b, destinationStart); ok {
		return o.destination(rest)
	}
	i := len(o.first)
	if i == len(o.services) {
		return errOtherServices
	}
	o.first = append(o.first, int32(len(o.all)))
	return sameService(b, o.services[i].Key)
}

// sameService compares the beginning of a line, "TCP  0A000001:0050 wlc" or
// "FWM  00000007 wlc", with a key. The rest netlink has told.
func sameService(b []byte, k lvs.Key) error {
	proto, b := nextField(b)
	name, _ := nextField(b)
	if k.Mark != 0 {
		mark, err := strconv.ParseUint(string(name), 16, 32)
		if err != nil || string(proto) != "FWM" || uint32(mark) != k.Mark {
			return errOtherServices
		}
		return nil
	}
	addr, six, port, ok := textEndpoint(name)
	if !ok || string(proto) != k.Protocol.String() || endpoint(addr, six, port) != k.Addr {
		return errOtherServices
	}
	return nil
}

// destination takes "0A000002:0050      Masq    1      0          0".
func (o *outline) destination(b []byte) error {
	if len(o.first) == 0 {
		return errors.New("a destination without a service")
	}
	var field [5][]byte
	for i := range field {
		field[i], b = nextField(b)
	}
	var d outlined
	var ok [5]bool
	d.addr, d.six, d.port, ok[0] = textEndpoint(field[0])
	d.method, ok[1] = textMethod(field[1])
	d.weight, ok[2] = textNumber(field[2])
	d.active, ok[3] = textNumber(field[3])
	d.inactive, ok[4] = textNumber(field[4])
	if ok != [5]bool{true, true, true, true, true} || len(bytes.TrimLeft(b, " ")) != 0 {
		return errors.New("no destination of a known form")
	}
	o.all = append(o.all, d)
	return nil
}

// textEndpoint reads 0A000002:0050, or [2001:0db8:0000:0000:0000:0000:0000:0001]:0050
// with all its digits.
func textEndpoint(b []byte) (addr [16]byte, six bool, port uint16, ok bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 || len(b)-i != 5 {
		return addr, false, 0, false
	}
	var p [2]byte
	if _, err := hex.Decode(p[:], b[i+1:]); err != nil {
		return addr, false, 0, false
	}
	port = uint16(p[0])<<8 | uint16(p[1])
	host := b[:i]
	if len(host) == 8 {
		_, err := hex.Decode(addr[:], host)
		return addr, false, port, err == nil
	}
	const digits = len("[2001:0db8:0000:0000:0000:0000:0000:0001]")
	if len(host) != digits || host[0] != '[' || host[digits-1] != ']' {
		return addr, false, 0, false
	}
	for group := range 8 {
		at := 1 + 5*group
		if group > 0 && host[at-1] != ':' {
			return addr, false, 0, false
		}
		if _, err := hex.Decode(addr[2*group:], host[at:at+4]); err != nil {
			return addr, false, 0, false
		}
	}
	return addr, true, port, true
}

func textMethod(b []byte) (lvs.Method, bool) {
	switch string(b) {
	case "Masq":
		return lvs.Masq, true
	case "Local":
		return lvs.Local, true
	case "Tunnel":
		return lvs.Tunnel, true
	case "Route":
		return lvs.Gate, true
	}
	return 0, false
}

// textNumber reads what the kernel prints as an int. A negative one, which a
// counter can be for a moment, netlink gives as it has always been listed.
func textNumber(b []byte) (uint32, bool) {
	if len(b) == 0 || len(b) > len("2147483647") {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return uint32(n), n <= 1<<31-1
}
