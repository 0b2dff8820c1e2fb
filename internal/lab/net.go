package lab

import (
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// T is what a network needs of the test it belongs to. *testing.T is one, and so
// is a scenario (see the folder scenario).
type T interface {
	Helper()
	Fatalf(format string, args ...any) // does not return
	Cleanup(func())
}

// Net is one test's network. It is gone when the test ends: programs, sockets,
// captures, hosts and wires.
type Net struct {
	t    T
	wall *space // the cabinet: a namespace that holds nothing but the bridges
	nl   *netlink.Handle

	mu      sync.Mutex
	hosts   []*Host
	bridges int
	ports   int
	env     []string
	dir     string
}

// New returns an empty network for a test, or ends the test as [Need] does.
//
//	n := lab.New(t)
//	lan := n.Bridge("lan")
//	client := n.Host("client").Nic("eth0", lan, "192.168.131.10/24")
//	web1 := n.Host("web1").Nic("eth0", lan, "192.168.131.147/24")
//	web1.Serve("This is web1", ":80")
//	got := client.Get("http://192.168.131.147/")
func New(t interface {
	T
	Skip(...any)
	Fatal(...any)
}) *Net {
	t.Helper()
	Need(t)
	return Open(t)
}

// Open is New for a caller that knows that it is in a lab.
func Open(t T) *Net {
	t.Helper()
	n := &Net{t: t}
	n.check(n.open())
	t.Cleanup(n.close)
	return n
}

func (n *Net) open() (err error) {
	if n.wall, err = newSpace("cabinet"); err != nil {
		return err
	}
	if n.nl, err = routeSocket(n.wall); err != nil {
		return err
	}
	// The bridges are wires, not hosts: they shall not speak up on their own.
	return n.wall.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
}

// SetEnv has the programs of all hosts run with this environment instead of the test's.
func (n *Net) SetEnv(env []string) { n.env = env }

// SetDir has the programs of all hosts start in this folder instead of the test's.
func (n *Net) SetDir(dir string) { n.dir = dir }

func (n *Net) environ() []string {
	if n.env != nil {
		return n.env
	}
	return os.Environ()
}

// Bridge is a switch, or a cable when only two hosts are plugged in.
type Bridge struct {
	net  *Net
	link *netlink.Bridge
}

// Bridge adds a switch. It forwards everything at once: no spanning tree, no
// multicast snooping.
func (n *Net) Bridge(name string) *Bridge {
	n.t.Helper()
	n.mu.Lock()
	n.bridges++
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("br%d", n.bridges) // the name is the reader's; the kernel allows 15 bytes
	n.mu.Unlock()
	snooping := false
	link := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	n.check(wrap(n.nl.LinkAdd(link), "bridge "+name))
	n.check(wrap(n.nl.LinkSetUp(link), "bridge "+name))
	return &Bridge{net: n, link: link}
}

// Host adds a machine: network, host name, /run, /etc and /var of its own;
// everything else, /tmp included, is the same for all.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	h, err := n.newHost(name)
	n.check(wrap(err, "host "+name))
	return h
}

func (n *Net) close() {
	spaces := []*space{n.wall}
	for _, h := range n.hosts {
		h.closeAll()
		spaces = append(spaces, h.space)
	}
	err := killAll(spaces)
	for _, h := range n.hosts {
		h.others.Wait()
		h.nl.Close()
	}
	n.nl.Close()
	for _, s := range spaces {
		s.close()
	}
	n.check(err)
}

// routeSocket opens a netlink socket in the namespace, for links and addresses
// only: asking for the other families, too, has the kernel look for modules.
func routeSocket(s *space) (*netlink.Handle, error) {
	return netlink.NewHandleAt(netns.NsHandle(s.net.Fd()), unix.NETLINK_ROUTE)
}

// check fails the test.
func (n *Net) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("lab: %v", err)
	}
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
