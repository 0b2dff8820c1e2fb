package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
)

// Host is a machine of the network. What fails, fails the test; the methods whose
// name begins with Try return the error instead.
type Host struct {
	net   *Net
	name  string
	space *space
	nl    *netlink.Handle
	index int // of this host in the network, from 1

	mu     sync.Mutex
	nics   map[string]*nic
	open   []io.Closer // sockets, captures
	others sync.WaitGroup
}

type nic struct {
	port netlink.Link // the other end, in the cabinet
}

func (n *Net) newHost(name string) (*Host, error) {
	s, err := newSpace(name)
	if err != nil {
		return nil, err
	}
	h := &Host{net: n, name: name, space: s, nics: map[string]*nic{}}
	if h.nl, err = routeSocket(s); err != nil {
		s.close()
		return nil, err
	}
	n.mu.Lock()
	n.hosts = append(n.hosts, h)
	h.index = len(n.hosts)
	n.mu.Unlock()
	return h, h.quiet()
}

// quiet keeps IPv6 from what takes a second or more: asking whether somebody has
// the address already, and asking for routers.
func (h *Host) quiet() error {
	for _, conf := range []string{"all", "default"} {
		for key, value := range map[string]string{"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0", "accept_ra": "0"} {
			if err := h.space.sysctl("net.ipv6.conf."+conf+"."+key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Name is the host's name.
func (h *Host) Name() string { return h.name }

func (h *Host) String() string { return h.name }

// Nic adds a network card that is plugged into a bridge, with addresses such as
// 192.168.131.10/24 or 2001:db8::10/64, usable at once. Its hardware address is
// 02:00:00:00:H:N for the Nth card of the Hth host. It returns the host, so that
// cards can be listed one after the other.
func (h *Host) Nic(name string, b *Bridge, addrs ...string) *Host {
	h.net.t.Helper()
	h.net.check(wrap(h.addNic(name, b, addrs), h.name+": nic "+name))
	return h
}

func (h *Host) addNic(name string, b *Bridge, addrs []string) error {
	h.mu.Lock()
	number := len(h.nics) + 1
	h.mu.Unlock()
	h.net.mu.Lock()
	h.net.ports++
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("port%d", h.net.ports)
	h.net.mu.Unlock()
	attrs.MasterIndex = b.link.Index
	port := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         name,
		PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, byte(h.index), byte(number)},
		PeerNamespace:    netlink.NsFd(h.space.net.Fd()),
	}
	if err := h.net.nl.LinkAdd(port); err != nil {
		return err
	}
	if err := h.net.nl.LinkSetUp(port); err != nil {
		return err
	}
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.nl.LinkSetUp(link); err != nil {
		return err
	}
	h.mu.Lock()
	h.nics[name] = &nic{port: port}
	h.mu.Unlock()
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := h.nl.AddrAdd(link, addr); err != nil {
			return wrap(err, "address "+text)
		}
	}
	return nil
}

// Unplug pulls the cable of a card; the host sees its carrier go.
func (h *Host) Unplug(name string) {
	h.net.t.Helper()
	h.net.check(wrap(h.cable(name, h.net.nl.LinkSetDown), h.name+": unplug "+name))
}

// Plug puts the cable back.
func (h *Host) Plug(name string) {
	h.net.t.Helper()
	h.net.check(wrap(h.cable(name, h.net.nl.LinkSetUp), h.name+": plug "+name))
}

func (h *Host) cable(name string, set func(netlink.Link) error) error {
	h.mu.Lock()
	nic := h.nics[name]
	h.mu.Unlock()
	if nic == nil {
		return errors.New("no such card")
	}
	return set(nic.port)
}

// Do runs f on the host: sockets that f opens belong to it for good, files are the
// host's, programs that f starts run there. Goroutines that f starts do not.
func (h *Host) Do(f func()) {
	h.net.t.Helper()
	h.net.check(wrap(h.space.do(f), h.name))
}

// Sysctl reads a kernel setting, such as net.ipv4.ip_forward.
func (h *Host) Sysctl(key string) string {
	h.net.t.Helper()
	var text []byte
	var err error
	h.Do(func() { text, err = os.ReadFile(sysctlFile(key)) })
	h.net.check(wrap(err, h.name+": sysctl "+key))
	return strings.TrimSpace(string(text))
}

// SetSysctl writes a kernel setting.
func (h *Host) SetSysctl(key, value string) {
	h.net.t.Helper()
	h.net.check(wrap(h.space.sysctl(key, value), h.name))
}

// WriteFile writes a file as the host sees it, and the folders it needs. In /etc,
// /var and /run no other host sees it.
func (h *Host) WriteFile(path, text string, mode os.FileMode) {
	h.net.t.Helper()
	var err error
	h.Do(func() {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, []byte(text), mode)
		}
	})
	h.net.check(wrap(err, h.name))
}

// ReadFile reads a file as the host sees it.
func (h *Host) ReadFile(path string) string {
	h.net.t.Helper()
	text, err := h.TryReadFile(path)
	h.net.check(wrap(err, h.name))
	return text
}

// TryReadFile reads a file as the host sees it, if it is there already: what a
// daemon writes comes in its own time.
func (h *Host) TryReadFile(path string) (string, error) {
	var text []byte
	var err error
	h.Do(func() { text, err = os.ReadFile(path) })
	return string(text), err
}

// closes has c closed when the test ends.
func (h *Host) closes(c io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = append(h.open, c)
}

func (h *Host) closeAll() {
	h.mu.Lock()
	open := h.open
	h.open = nil
	h.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}
