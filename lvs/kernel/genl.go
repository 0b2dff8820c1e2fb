package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// This file turns changes and questions into netlink messages, and netlink
// messages into what package lvs speaks of. It does no I/O.

var native = binary.NativeEndian

// An encoder appends netlink messages to its buffer, which is reused.
type encoder struct {
	b     []byte
	start int // of the message begun last
}

func (e *encoder) reset() { e.b = e.b[:0] }

// begin starts a generic netlink message; end completes it.
func (e *encoder) begin(family, flags uint16, seq uint32, cmd, version uint8) {
	e.start = len(e.b)
	e.b = append(e.b, 0, 0, 0, 0) // the length, known at the end
	e.b = native.AppendUint16(e.b, family)
	e.b = native.AppendUint16(e.b, unix.NLM_F_REQUEST|flags)
	e.b = native.AppendUint32(e.b, seq)
	e.b = append(e.b, 0, 0, 0, 0) // our port; the kernel knows it
	e.b = append(e.b, cmd, version, 0, 0)
}

func (e *encoder) end() {
	native.PutUint32(e.b[e.start:], uint32(len(e.b)-e.start))
}

// nest starts an attribute that holds attributes and returns where it is.
func (e *encoder) nest(typ uint16) int {
	at := len(e.b)
	e.head(typ, 0)
	return at
}

func (e *encoder) close(at int) {
	native.PutUint16(e.b[at:], uint16(len(e.b)-at))
}

func (e *encoder) head(typ uint16, size int) {
	e.b = native.AppendUint16(e.b, uint16(attrHeader+size))
	e.b = native.AppendUint16(e.b, typ)
}

func (e *encoder) u8(typ uint16, v uint8) {
	e.head(typ, 1)
	e.b = append(e.b, v, 0, 0, 0)
}

func (e *encoder) u16(typ uint16, v uint16) {
	e.head(typ, 2)
	e.b = native.AppendUint16(e.b, v)
	e.b = append(e.b, 0, 0)
}

func (e *encoder) be16(typ uint16, v uint16) {
	e.head(typ, 2)
	e.b = binary.BigEndian.AppendUint16(e.b, v)
	e.b = append(e.b, 0, 0)
}

func (e *encoder) u32(typ uint16, v uint32) {
	e.head(typ, 4)
	e.b = native.AppendUint32(e.b, v)
}

func (e *encoder) be32(typ uint16, v uint32) {
	e.head(typ, 4)
	e.b = binary.BigEndian.AppendUint32(e.b, v)
}

// str appends a string with the NUL that the kernel wants.
func (e *encoder) str(typ uint16, s string) {
	e.head(typ, len(s)+1)
	e.b = append(e.b, s...)
	e.b = append(e.b, 0)
	e.pad()
}

// addr appends an address in the form that its family has: 4 or 16 bytes.
func (e *encoder) addr(typ uint16, a netip.Addr) {
	if a.Is4() {
		e.head(typ, 4)
		v := a.As4()
		e.b = append(e.b, v[:]...)
		return
	}
	e.head(typ, 16)
	v := a.As16()
	e.b = append(e.b, v[:]...)
}

func (e *encoder) pad() {
	for len(e.b)%4 != 0 {
		e.b = append(e.b, 0)
	}
}

// key appends what names a service.
func (e *encoder) key(k lvs.Key) {
	e.u16(svcFamily, uint16(k.Family))
	if k.Mark != 0 {
		e.u32(svcMark, k.Mark)
		return
	}
	e.u16(svcProtocol, uint16(k.Protocol))
	e.addr(svcAddr, k.Addr.Addr())
	e.be16(svcPort, k.Addr.Port())
}

// service appends a whole service. Flags outside of the mask keep the value
// that they have in the kernel.
func (e *encoder) service(s lvs.Service, mask uint32) {
	e.key(s.Key)
	e.str(svcScheduler, s.Scheduler)
	if s.PE != "" {
		e.str(svcPE, s.PE)
	}
	e.head(svcFlags, 8)
	e.b = native.AppendUint32(e.b, uint32(s.Flags))
	e.b = native.AppendUint32(e.b, mask)
	e.u32(svcTimeout, s.Timeout)
	if s.Family == lvs.IPv6 {
		e.u32(svcNetmask, s.Netmask) // a prefix length
		return
	}
	e.be32(svcNetmask, s.Netmask)
}

// destKey appends what names a destination. The family always goes along: a
// kernel that is not told it takes the service's, and misreads the address.
func (e *encoder) destKey(addr netip.AddrPort) {
	e.addr(destAddr, addr.Addr())
	e.be16(destPort, addr.Port())
	e.u16(destFamily, uint16(lvs.FamilyOf(addr.Addr())))
}

func (e *encoder) destination(d lvs.Destination) {
	e.destKey(d.Addr)
	e.u32(destMethod, uint32(d.Method))
	e.u32(destWeight, d.Weight)
	e.u32(destUpper, d.Upper)
	e.u32(destLower, d.Lower)
	if d.Tunnel != (lvs.TunnelInfo{}) {
		e.u8(destTunType, uint8(d.Tunnel.Type))
		e.be16(destTunPort, d.Tunnel.Port)
		e.u16(destTunFlags, d.Tunnel.Flags)
	}
}

// change appends one change as a message. The change has passed [check].
func (e *encoder) change(family, flags uint16, seq uint32, c lvs.Change) {
	e.begin(family, flags, seq, changeCommand(c.Op), ipvsGenlVersion)
	switch c.Op {
	case lvs.Flush:
	case lvs.Zero:
		if c.Service.Key != (lvs.Key{}) {
			e.nestedKey(c.Service.Key)
		}
	case lvs.AddService:
		e.nestedService(c.Service, ^uint32(0))
	case lvs.EditService:
		e.nestedService(c.Service, ^uint32(c.KeepFlags))
	case lvs.DeleteService:
		e.nestedKey(c.Service.Key)
	case lvs.DeleteDestination:
		e.nestedKey(c.Service.Key)
		at := e.nest(attrDest)
		e.destKey(c.Destination.Addr)
		e.close(at)
	default:
		e.nestedKey(c.Service.Key)
		at := e.nest(attrDest)
		e.destination(c.Destination)
		e.close(at)
	}
	e.end()
}

func (e *encoder) nestedKey(k lvs.Key) {
	at := e.nest(attrService)
	e.key(k)
	e.close(at)
}

func (e *encoder) nestedService(s lvs.Service, mask uint32) {
	at := e.nest(attrService)
	e.service(s, mask)
	e.close(at)
}

func (e *encoder) daemon(d lvs.Daemon) {
	at := e.nest(attrDaemon)
	e.u32(daemonState, uint32(d.Role))
	e.str(daemonInterface, d.Interface)
	e.u32(daemonSyncID, d.SyncID)
	if d.MaxLen != 0 {
		e.u16(daemonMaxLen, d.MaxLen)
	}
	switch {
	case !d.Group.IsValid():
	case d.Group.Is4():
		e.addr(daemonGroup, d.Group)
	default:
		e.addr(daemonGroup6, d.Group)
	}
	if d.Port != 0 {
		e.u16(daemonPort, d.Port)
	}
	if d.TTL != 0 {
		e.u8(daemonTTL, d.TTL)
	}
	e.close(at)
}

// changeCommand is the kernel's command for a change, 0 for an unknown one.
func changeCommand(o lvs.Op) uint8 {
	switch o {
	case lvs.AddService:
		return cmdNewService
	case lvs.EditService:
		return cmdSetService
	case lvs.DeleteService:
		return cmdDelService
	case lvs.AddDestination:
		return cmdNewDest
	case lvs.EditDestination:
		return cmdSetDest
	case lvs.DeleteDestination:
		return cmdDelDest
	case lvs.Flush:
		return cmdFlush
	case lvs.Zero:
		return cmdZero
	}
	return 0
}

// maxName bounds the names that are put into a message. The kernel's own limit
// is 15 bytes for each and it says so itself; this one keeps a runaway string
// from overflowing an attribute's 16-bit length.
const maxName = 255

// check says why a change cannot be put to the kernel at all, nil when it can.
// These are the changes that the kernel would misread and take; what it refuses
// by itself is left to it, so that the errno is its own.
func check(c lvs.Change) error {
	if changeCommand(c.Op) == 0 {
		return fmt.Errorf("IPVS knows no change %d", uint8(c.Op))
	}
	if c.Op == lvs.Flush {
		if c.Service.Key != (lvs.Key{}) {
			return errors.New("a flush takes every service: delete this one instead")
		}
		return nil
	}
	if c.Op == lvs.Zero && c.Service.Key == (lvs.Key{}) {
		return nil
	}
	if err := checkKey(c.Service.Key); err != nil {
		return err
	}
	switch c.Op {
	case lvs.AddService, lvs.EditService:
		return errors.Join(checkName("scheduler", c.Service.Scheduler), checkName("persistence engine", c.Service.PE))
	case lvs.DeleteDestination:
		return checkAddr("destination", c.Destination.Addr.Addr())
	case lvs.AddDestination, lvs.EditDestination:
		if c.Destination.Method == lvs.Bypass {
			return errors.New("bypass is the kernel's own method: use gate, ipip or masq")
		}
		if c.Destination.Method > lvs.Bypass {
			return fmt.Errorf("there is no forwarding %v: use gate, ipip or masq", c.Destination.Method)
		}
		return checkAddr("destination", c.Destination.Addr.Addr())
	}
	return nil
}

func checkKey(k lvs.Key) error {
	if k.Mark != 0 {
		return nil
	}
	if err := checkAddr("service", k.Addr.Addr()); err != nil {
		return err
	}
	if f := lvs.FamilyOf(k.Addr.Addr()); f != k.Family {
		return fmt.Errorf("the service is said to be %v and its address is %v", k.Family, f)
	}
	return nil
}

func checkAddr(what string, a netip.Addr) error {
	if !a.IsValid() {
		return fmt.Errorf("the %s has no address", what)
	}
	if a.Zone() != "" {
		return fmt.Errorf("IPVS has no scoped addresses: leave out %%%s", a.Zone())
	}
	return nil
}

func checkName(what, s string) error {
	if len(s) > maxName {
		return fmt.Errorf("the name of the %s has %d bytes: 15 are the most", what, len(s))
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("the name of the %s has a NUL in it", what)
	}
	return nil
}

// A malformedError is a message that breaks the rules of netlink. The kernel
// sends none; it means that the two of us do not speak the same language.
type malformedError string

func (e malformedError) Error() string { return "malformed netlink message: " + string(e) }

// A message is one netlink message, its body still in the receive buffer.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	body  []byte
}

// nextMessage splits the first message off a datagram.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < nlHeader {
		return m, nil, malformedError(fmt.Sprintf("%d bytes are no header", len(b)))
	}
	size := native.Uint32(b)
	if size < nlHeader || uint64(size) > uint64(len(b)) {
		return m, nil, malformedError(fmt.Sprintf("it claims %d of %d bytes", size, len(b)))
	}
	m = message{
		typ:   native.Uint16(b[4:]),
		flags: native.Uint16(b[6:]),
		seq:   native.Uint32(b[8:]),
		body:  b[nlHeader:size],
	}
	return m, b[min(align(int(size)), len(b)):], nil
}

// errno is the verdict in an NLMSG_ERROR or NLMSG_DONE. Old kernels end a dump
// with an empty NLMSG_DONE.
func (m message) errno() (syscall.Errno, error) {
	if m.typ == unix.NLMSG_DONE && len(m.body) == 0 {
		return 0, nil
	}
	if len(m.body) < 4 {
		return 0, malformedError("a verdict without an errno")
	}
	v := int32(native.Uint32(m.body))
	// A dump may end with the length of its last part, which is no error.
	if m.typ == unix.NLMSG_DONE && v > 0 {
		return 0, nil
	}
	if v > 0 || v < -4095 {
		return 0, malformedError(fmt.Sprintf("errno %d", v))
	}
	return syscall.Errno(-v), nil
}

// payload is the body of a generic netlink message without its header.
func (m message) payload() ([]byte, error) {
	if len(m.body) < genlHeader {
		return nil, malformedError("no generic netlink header")
	}
	return m.body[genlHeader:], nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attrs walks over attributes. The first error ends the walk and stays.
type attrs struct {
	rest []byte
	typ  uint16
	val  []byte
	err  error
}

func (a *attrs) next() bool {
	if a.err != nil || len(a.rest) == 0 {
		return false
	}
	if len(a.rest) < attrHeader {
		a.err = malformedError(fmt.Sprintf("%d bytes are no attribute", len(a.rest)))
		return false
	}
	size := int(native.Uint16(a.rest))
	if size < attrHeader || size > len(a.rest) {
		a.err = malformedError(fmt.Sprintf("an attribute claims %d of %d bytes", size, len(a.rest)))
		return false
	}
	a.typ = native.Uint16(a.rest[2:]) & attrMask
	a.val = a.rest[attrHeader:size]
	a.rest = a.rest[min(align(size), len(a.rest)):]
	return true
}

// want says whether the value has n bytes and remembers when it has not.
func (a *attrs) want(n int) bool {
	if len(a.val) >= n {
		return true
	}
	a.err = malformedError(fmt.Sprintf("attribute %d has %d bytes, %d are needed", a.typ, len(a.val), n))
	return false
}

func (a *attrs) u8() uint8 {
	if !a.want(1) {
		return 0
	}
	return a.val[0]
}

func (a *attrs) u16() uint16 {
	if !a.want(2) {
		return 0
	}
	return native.Uint16(a.val)
}

func (a *attrs) be16() uint16 {
	if !a.want(2) {
		return 0
	}
	return binary.BigEndian.Uint16(a.val)
}

func (a *attrs) u32() uint32 {
	if !a.want(4) {
		return 0
	}
	return native.Uint32(a.val)
}

// wide reads a counter of 4 or 8 bytes.
func (a *attrs) wide() uint64 {
	if len(a.val) >= 8 {
		return native.Uint64(a.val)
	}
	return uint64(a.u32())
}

// str reads a string up to its NUL.
func (a *attrs) str() string {
	b := a.val
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return intern(b)
}

// intern spares an allocation for each service of a large table.
func intern(b []byte) string {
	switch string(b) {
	case "":
		return ""
	case "rr":
		return "rr"
	case "wrr":
		return "wrr"
	case "lc":
		return "lc"
	case "wlc":
		return "wlc"
	case "sh":
		return "sh"
	case "mh":
		return "mh"
	case "sed":
		return "sed"
	case "sip":
		return "sip"
	}
	return string(b)
}

// address reads an address of a family. The kernel sends 16 bytes for both.
func address(b []byte, f lvs.Family) (netip.Addr, error) {
	switch {
	case f == lvs.IPv4 && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b)), nil
	case f == lvs.IPv6 && len(b) >= 16:
		return netip.AddrFrom16([16]byte(b)), nil
	}
	return netip.Addr{}, malformedError(fmt.Sprintf("an address of %d bytes and %v", len(b), f))
}

// nested returns the value of the first attribute of a type, nil without one.
func nested(b []byte, typ uint16) ([]byte, error) {
	a := attrs{rest: b}
	for a.next() {
		if a.typ == typ {
			return a.val, nil
		}
	}
	return nil, a.err
}

func decodeService(b []byte) (lvs.ServiceState, error) {
	var s lvs.ServiceState
	var addr, mask, narrow, wide []byte
	var port uint16
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case svcFamily:
			s.Family = lvs.Family(a.u16())
		case svcProtocol:
			s.Protocol = lvs.Protocol(a.u16())
		case svcAddr:
			addr = a.val
		case svcPort:
			port = a.be16()
		case svcMark:
			s.Mark = a.u32()
		case svcScheduler:
			s.Scheduler = a.str()
		case svcPE:
			s.PE = a.str()
		case svcFlags:
			s.Flags = lvs.Flags(a.u32() &^ flagHashed)
		case svcTimeout:
			s.Timeout = a.u32()
		case svcNetmask:
			a.want(4)
			mask = a.val
		case svcStats:
			narrow = a.val
		case svcStats64:
			wide = a.val
		}
	}
	if a.err != nil {
		return s, a.err
	}
	if s.Family != lvs.IPv4 && s.Family != lvs.IPv6 {
		return s, malformedError(fmt.Sprintf("a service of %v", s.Family))
	}
	if s.Mark != 0 {
		s.Protocol = 0
	} else {
		ip, err := address(addr, s.Family)
		if err != nil {
			return s, err
		}
		s.Addr = netip.AddrPortFrom(ip, port)
	}
	if len(mask) >= 4 {
		s.Netmask = netmask(mask, s.Family)
	}
	var err error
	s.Stats, err = decodeStats(narrow, wide)
	return s, err
}

func netmask(b []byte, f lvs.Family) uint32 {
	if f == lvs.IPv6 {
		return native.Uint32(b)
	}
	return binary.BigEndian.Uint32(b)
}

// decodeDestination reads a destination of a service of the given family. Kernels
// before 3.18 do not tell a destination's own, which was always the service's.
func decodeDestination(b []byte, family lvs.Family) (lvs.DestinationState, error) {
	var d lvs.DestinationState
	var addr, narrow, wide []byte
	var port uint16
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case destAddr:
			addr = a.val
		case destPort:
			port = a.be16()
		case destFamily:
			if f := a.u16(); f != 0 {
				family = lvs.Family(f)
			}
		case destMethod:
			d.Method = lvs.Method(a.u32() & methodMask)
		case destWeight:
			d.Weight = a.u32()
		case destUpper:
			d.Upper = a.u32()
		case destLower:
			d.Lower = a.u32()
		case destActive:
			d.Active = a.u32()
		case destInactive:
			d.Inactive = a.u32()
		case destPersistent:
			d.Persistent = a.u32()
		case destStats:
			narrow = a.val
		case destStats64:
			wide = a.val
		case destTunType:
			d.Tunnel.Type = lvs.TunnelType(a.u8())
		case destTunPort:
			d.Tunnel.Port = a.be16()
		case destTunFlags:
			d.Tunnel.Flags = a.u16()
		}
	}
	if a.err != nil {
		return d, a.err
	}
	ip, err := address(addr, family)
	if err != nil {
		return d, err
	}
	d.Addr = netip.AddrPortFrom(ip, port)
	d.Stats, err = decodeStats(narrow, wide)
	return d, err
}

// decodeStats takes the 64-bit counters where the kernel has them (since 4.1).
func decodeStats(narrow, wide []byte) (lvs.Stats, error) {
	var s lvs.Stats
	a := attrs{rest: wide}
	if wide == nil {
		a.rest = narrow
	}
	for a.next() {
		switch a.typ {
		case statConns:
			s.Conns = a.wide()
		case statInPkts:
			s.InPkts = a.wide()
		case statOutPkts:
			s.OutPkts = a.wide()
		case statInBytes:
			s.InBytes = a.wide()
		case statOutBytes:
			s.OutBytes = a.wide()
		case statCPS:
			s.CPS = a.wide()
		case statInPPS:
			s.InPPS = a.wide()
		case statOutPPS:
			s.OutPPS = a.wide()
		case statInBPS:
			s.InBPS = a.wide()
		case statOutBPS:
			s.OutBPS = a.wide()
		}
	}
	return s, a.err
}

func decodeDaemon(b []byte) (lvs.Daemon, error) {
	var d lvs.Daemon
	var err error
	a := attrs{rest: b}
	for a.next() && err == nil {
		switch a.typ {
		case daemonState:
			d.Role = lvs.Role(a.u32())
		case daemonInterface:
			d.Interface = a.str()
		case daemonSyncID:
			d.SyncID = a.u32()
		case daemonMaxLen:
			d.MaxLen = a.u16()
		case daemonGroup:
			d.Group, err = address(a.val, lvs.IPv4)
		case daemonGroup6:
			d.Group, err = address(a.val, lvs.IPv6)
		case daemonPort:
			d.Port = a.u16()
		case daemonTTL:
			d.TTL = a.u8()
		}
	}
	return d, errors.Join(a.err, err)
}

func decodeInfo(b []byte) (lvs.Info, error) {
	var i lvs.Info
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case infoVersion:
			i.Version = a.u32()
		case infoTableSize:
			i.TableSize = a.u32()
		}
	}
	return i, a.err
}

func decodeTimeouts(b []byte) (lvs.Timeouts, error) {
	var t lvs.Timeouts
	a := attrs{rest: b}
	for a.next() {
		switch a.typ {
		case attrTimeoutTCP:
			t.TCP = a.u32()
		case attrTimeoutTCPFin:
			t.TCPFin = a.u32()
		case attrTimeoutUDP:
			t.UDP = a.u32()
		}
	}
	return t, a.err
}

// decodeFamily reads the number of a generic netlink family.
func decodeFamily(b []byte) (uint16, error) {
	a := attrs{rest: b}
	for a.next() {
		if a.typ == ctrlAttrID {
			return a.u16(), a.err
		}
	}
	if a.err != nil {
		return 0, a.err
	}
	return 0, malformedError("a family without a number")
}
