package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
	"github.com/lvsctl/lvsctl/vrrp/wire"
)

// Host is the network of a host as the appliance uses it.
type Host interface {
	Do(netif.Step) error
	// Addrs are changes of addresses, with one verdict each.
	Addrs([]netif.Step) []error
	// Lacking are those of the routes that are not there.
	Lacking([]netif.Route) ([]netif.Route, error)
	Watch(context.Context) (<-chan netif.Event, error)
	// Link tells how a device is at this moment; its addresses only when asked.
	Link(name string, addrs bool) (Link, error)
	// Wire opens a device for announcements and questions.
	Wire(link string) (Wire, error)
	// Transport opens a device for adverts.
	Transport(link string, ipv6 bool) (vrrp.Transport, error)
	// Sysctl reads a setting.
	Sysctl(key string) (string, error)
	// Snapshot reads everything.
	Snapshot() (netif.Snapshot, error)
	// Managers are the programs that have taken a device, by its index.
	Managers(index int) []netif.Manager
}

// Wire is a device that speaks with its neighbours.
type Wire interface {
	Claim(ip netip.Addr, router bool) error
	Probe(ctx context.Context, ip netip.Addr, how netif.Probing) ([]netif.Answer, error)
	// Ear hears who else claims addresses.
	Ear() (Ear, error)
	Close() error
}

// Ear hears what others say about addresses.
type Ear interface {
	// For names the addresses.
	For([]netip.Addr) error
	// Hear hands claims over until the context ends, or the device goes away.
	Hear(context.Context, func(netif.Claim)) error
	Close() error
}

// Link is a network device at one moment.
type Link struct {
	Index    int
	Running  bool           // administratively up, and it has a carrier
	Ethernet bool           // it has neighbours that can be told
	MTU      int            // bytes
	Addrs    []netip.Prefix // in the kernel's order, host bits kept; if asked for
}

// Has tells whether the device has an address with exactly this length.
func (l Link) Has(p netip.Prefix) bool {
	for _, a := range l.Addrs {
		if a == p {
			return true
		}
	}
	return false
}

// waiting is a Host whose transports are waited for in its own way.
type waiting interface{ Waiter() vrrp.Waiter }

// here is the Host that this process sees.
type here struct {
	*netif.Kernel
	poll *wire.Poll
}

// Here is the network that this process sees, changed through k, for one Appliance.
func Here(k *netif.Kernel) (Host, error) {
	poll, err := wire.NewPoll()
	if err != nil {
		return nil, err
	}
	return here{k, poll}, nil
}

func (h here) Waiter() vrrp.Waiter { return h.poll }

func (h here) Link(name string, withAddrs bool) (Link, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // its own text begins with "route ip+net"
		}
		return Link{}, err
	}
	l := Link{
		Index: i.Index, MTU: i.MTU,
		Running:  i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0,
		Ethernet: len(i.HardwareAddr) == 6 && i.Flags&net.FlagLoopback == 0,
	}
	if !withAddrs {
		return l, nil // the kernel would list those of all devices
	}
	addrs, err := i.Addrs()
	if err != nil {
		return Link{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			l.Addrs = append(l.Addrs, p)
		}
	}
	return l, nil
}

func (h here) Wire(link string) (Wire, error) {
	w, err := h.Kernel.Wire(link)
	if err != nil {
		return nil, err
	}
	return realWire{w}, nil
}

// realWire is a Wire with its own idea of an Ear.
type realWire struct{ *netif.Wire }

func (w realWire) Ear() (Ear, error) {
	e, err := w.Wire.Ear()
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (h here) Transport(link string, ipv6 bool) (vrrp.Transport, error) {
	s, err := wire.Open(wire.Options{Link: link, IPv6: ipv6, Poll: h.poll})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (h here) Managers(index int) []netif.Manager { return netif.Managers("/run", index) }

func (h here) Sysctl(key string) (string, error) {
	text, err := os.ReadFile("/proc/sys/" + netif.SysctlPath(key))
	return strings.TrimSpace(string(text)), err
}
