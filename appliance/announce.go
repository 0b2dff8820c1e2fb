package appliance

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// announcer tells the neighbours where addresses are. It keeps a wire for each
// device.
type announcer struct {
	host Host

	mu    sync.Mutex
	wires map[string]*openWire
}

// openWire is a wire, as long as its device stays the same one.
type openWire struct {
	Wire
	index int
}

func newAnnouncer(host Host) *announcer {
	return &announcer{host: host, wires: map[string]*openWire{}}
}

// pace are pauses between two frames, for IPv4 and IPv6.
type pace struct{ garp, na time.Duration }

func (p pace) of(ip netip.Addr) time.Duration {
	if ip.Is4() {
		return p.garp
	}
	return p.na
}

// Frames that leave at once fill the queue of the device, and what does not fit
// is lost without a word: after so many of them it gets a moment.
const (
	atOnce   = 64
	breather = time.Millisecond
)

// announce sends repeat rounds, the first for every address before the second for
// any: with hundreds of them the last one's clients must not wait for the first
// one's repetitions.
func (n *announcer) announce(ctx context.Context, all []netif.Addr, repeat int, p pace) error {
	links := linkCache{host: n.host}
	var errs []error
	sent := 0
	for round := range repeat {
		for _, a := range all {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !links.get(a.Link).Ethernet {
				continue // lo, a tunnel: there is nobody to tell
			}
			if err := n.one(ctx, a, links.get(a.Link).Index); err != nil && round == 0 {
				errs = append(errs, err)
			}
			sent++
			if !n.pause(ctx, p.of(a.Prefix.Addr()), sent) {
				return ctx.Err()
			}
		}
	}
	return errors.Join(errs...)
}

func (n *announcer) pause(ctx context.Context, d time.Duration, sent int) bool {
	if d == 0 && sent%atOnce == 0 {
		d = breather
	}
	if d == 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// one sends a frame; a full queue gets a little time.
func (n *announcer) one(ctx context.Context, a netif.Addr, index int) error {
	w, err := n.wire(a.Link, index)
	if err != nil {
		return err
	}
	router := a.Prefix.Addr().Is6() && n.forwards(a.Link)
	for range 20 {
		err = w.Claim(a.Prefix.Addr(), router)
		if !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
		if !n.pause(ctx, breather, 0) {
			return ctx.Err()
		}
	}
	return err
}

// forwards tells whether the host is a router on a device, without which
// neighbours would strike it from their list of routers.
func (n *announcer) forwards(link string) bool {
	v, err := n.host.Sysctl(netif.ConfKey("ipv6", link, "forwarding"))
	return err == nil && v != "0"
}

// wire is the device's; one that was replaced by another of its name is opened
// anew.
func (n *announcer) wire(link string, index int) (Wire, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.wires[link]; w != nil {
		if w.index == index {
			return w, nil
		}
		delete(n.wires, link)
		_ = w.Close() // its device is gone
	}
	w, err := n.host.Wire(link)
	if err != nil {
		return nil, err
	}
	n.wires[link] = &openWire{w, index}
	return w, nil
}

// close gives the wires back.
func (n *announcer) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for link, w := range n.wires {
		errs = append(errs, w.Close())
		delete(n.wires, link)
	}
	return errors.Join(errs...)
}
