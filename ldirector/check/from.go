package check

import (
	"context"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// From is a probe whose packets leave in a certain way: keepalived's bindto,
// bind_port, bind_if and fwmark.
type From struct {
	Probe Probe
	// Source is the address to connect from; the port may be 0.
	Source netip.AddrPort
	// Device is the interface to leave by.
	Device string
	// Mark is that of all packets, for rules and the firewall.
	Mark uint32
}

// Bound is a [Net] that can have its packets leave in a certain way.
type Bound interface {
	Net
	From(source netip.AddrPort, device string, mark uint32) Net
}

// Check implements [Probe].
func (p From) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner].
func (p From) Examine(ctx context.Context, n Net) Outcome {
	b, ok := n.(Bound)
	if !ok {
		return Outcome{Err: local(errors.New("checks cannot be sent from a certain address here"))}
	}
	return examine(ctx, p.Probe, b.From(p.Source, p.Device, p.Mark))
}

// Prepare implements [Preparer].
func (p From) Prepare() (Probe, error) {
	var err error
	p.Probe, err = prepare(p.Probe)
	return p, err
}

func (p From) runsProgram() bool { return runsProgram(p.Probe) }

// From implements [Bound].
func (h Host) From(source netip.AddrPort, device string, mark uint32) Net {
	before := h.Control
	h.poll, h.source = nil, source
	h.Control = func(network, address string, c syscall.RawConn) error {
		if before != nil {
			if err := before(network, address, c); err != nil {
				return err
			}
		}
		return control(c, device, mark)
	}
	return h
}

// control sets what a socket has before it is bound.
func control(c syscall.RawConn, device string, mark uint32) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		if device != "" {
			failed = unix.BindToDevice(int(fd), device)
		}
		if mark != 0 && failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return local(err)
	}
	return nil
}
