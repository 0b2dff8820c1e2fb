package kernel

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"sync"
	"syscall"
	"time"
	_ "unsafe" // for the two names of moby/ipvs below

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// This file is all that knows moby/ipvs. What the library gets wrong stays in
// here: needsRaw keeps away what it cannot say, useMoby keeps it from running
// modprobe and from looking for the family, single bounds its waiting.

// moby/ipvs v1.1.0 runs modprobe and looks for the family behind this once. We
// have done both, better, before it is first used.
//
//go:linkname mobyOnce github.com/moby/ipvs.ipvsOnce
var mobyOnce sync.Once

//go:linkname mobyFamily github.com/moby/ipvs.ipvsFamily
var mobyFamily int

// mobyHandle is the library's handle, opened when it is first needed.
type mobyHandle struct {
	h *ipvs.Handle
}

func (m *mobyHandle) close() {
	if m.h != nil {
		m.h.Close()
	}
	m.h = nil
}

// useMoby opens the handle in the namespace of our own socket and says whether
// there is one. Without it, genl.go can do everything.
func (c *Client) useMoby() bool {
	if c.moby.h != nil && mobyFamily == int(c.family) {
		return true
	}
	c.moby.close()
	if err := c.usable(); err != nil {
		return false
	}
	ns, err := c.conn.Namespace()
	if err != nil {
		return false // Linux before 4.10
	}
	defer unix.Close(ns)
	mobyOnce.Do(func() {
		logrus.SetOutput(io.Discard)
		mobyFamily = int(c.family)
	})
	if mobyFamily != int(c.family) {
		return false // the module was loaded anew under another number
	}
	err = inNamespace(ns, func() (err error) {
		c.moby.h, err = ipvs.New("")
		return err
	})
	return err == nil
}

// needsRaw says what moby/ipvs cannot say: it knows no tunnels and no zeroing,
// names no destination's family, takes IPv4-mapped addresses for IPv4, and sends
// all flags.
func needsRaw(ch lvs.Change) bool {
	if mapped(ch.Service.Addr) {
		return true
	}
	switch ch.Op {
	case lvs.Zero:
		return true
	case lvs.EditService:
		return ch.KeepFlags != 0
	case lvs.AddDestination, lvs.EditDestination, lvs.DeleteDestination:
		d := ch.Destination
		return d.Tunnel != (lvs.TunnelInfo{}) || mapped(d.Addr) || lvs.FamilyOf(d.Addr.Addr()) != ch.Service.Family
	}
	return false
}

func mapped(a netip.AddrPort) bool { return a.Addr().Is4In6() }

// errMobyLost stands for what went wrong between us and moby/ipvs.
const errMobyLost = sentinel("moby/ipvs lost the answer")

// single puts one ordinary change to the kernel through moby/ipvs.
func (c *Client) single(ch lvs.Change) error {
	if !c.useMoby() {
		return noVerdict(ch, errMobyLost)
	}
	// The library waits for a lost answer for ever. It gives up when its socket
	// is closed under it.
	h := c.moby.h
	deadline := time.AfterFunc(c.patience, h.Close)
	err := mobyCall(h, ch)
	if !deadline.Stop() {
		c.moby.h = nil
		return noVerdict(ch, errSilent)
	}
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || transport(errno) {
		c.moby.close()
		return fmt.Errorf("%w (%v)", noVerdict(ch, errMobyLost), err)
	}
	return lvs.Refused(ch, errno)
}

// transport tells the errno of a socket from that of IPVS, which never gives
// one of these.
func transport(e syscall.Errno) bool {
	switch e {
	case unix.EINTR, unix.EAGAIN, unix.ENOBUFS, unix.EBADF, unix.ENOTSOCK, unix.EIO:
		return true
	}
	return false
}

func mobyCall(h *ipvs.Handle, ch lvs.Change) error {
	svc := mobyService(ch.Service)
	switch ch.Op {
	case lvs.AddService:
		return h.NewService(svc)
	case lvs.EditService:
		return h.UpdateService(svc)
	case lvs.DeleteService:
		return h.DelService(svc)
	case lvs.AddDestination:
		return h.NewDestination(svc, mobyDestination(ch.Destination))
	case lvs.EditDestination:
		return h.UpdateDestination(svc, mobyDestination(ch.Destination))
	case lvs.DeleteDestination:
		return h.DelDestination(svc, mobyDestination(ch.Destination))
	case lvs.Flush:
		return h.Flush()
	}
	return fmt.Errorf("moby/ipvs cannot %v", ch)
}

func mobyService(s lvs.Service) *ipvs.Service {
	m := &ipvs.Service{
		AddressFamily: uint16(s.Family),
		Protocol:      uint16(s.Protocol),
		Port:          s.Addr.Port(),
		FWMark:        s.Mark,
		SchedName:     s.Scheduler,
		PEName:        s.PE,
		Flags:         uint32(s.Flags),
		Timeout:       s.Timeout,
		Netmask:       s.Netmask,
	}
	if s.Mark == 0 {
		m.Address = s.Addr.Addr().AsSlice()
	}
	if s.Family == lvs.IPv4 {
		m.Netmask = networkOrder(s.Netmask)
	}
	return m
}

// networkOrder turns a number so that its native bytes are in network order,
// which moby/ipvs leaves to its callers.
func networkOrder(v uint32) uint32 {
	if native.Uint16([]byte{1, 0}) == 1 {
		return bits.ReverseBytes32(v)
	}
	return v
}

func mobyDestination(d lvs.Destination) *ipvs.Destination {
	return &ipvs.Destination{
		Address:         d.Addr.Addr().AsSlice(),
		Port:            d.Addr.Port(),
		Weight:          int(d.Weight),
		ConnectionFlags: uint32(d.Method),
		UpperThreshold:  d.Upper,
		LowerThreshold:  d.Lower,
	}
}
