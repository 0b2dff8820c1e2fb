package ipvsadm

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/lvs"
)

// Names turns names of hosts and ports into numbers and back. The second result
// says whether there is such a name.
type Names interface {
	Host(name string) (netip.Addr, bool) // an IPv4 address
	Port(name string, p lvs.Protocol) (uint16, bool)
	HostName(a netip.Addr) (string, bool)
	PortName(port uint16, p lvs.Protocol) (string, bool)
}

// SystemNames asks this host: /etc/services, /etc/hosts, DNS. It reads files
// when they are first needed, and once. Its zero value is ready for use, also
// by several goroutines.
type SystemNames struct {
	ServicesFile string // "" for /etc/services
	HostsFile    string // "" for /etc/hosts

	services struct {
		once   sync.Once
		byName map[portKey]uint16
		byPort map[uint16][]portName
	}
	hosts struct {
		once   sync.Once
		byName map[string]netip.Addr
		byAddr map[netip.Addr]string
	}
}

type portKey struct {
	name  string
	proto lvs.Protocol
}

type portName struct {
	proto lvs.Protocol
	name  string
}

// Host returns the first IPv4 address of a host.
func (n *SystemNames) Host(name string) (netip.Addr, bool) {
	n.hosts.once.Do(n.readHosts)
	if a, ok := n.hosts.byName[strings.ToLower(name)]; ok {
		return a, true
	}
	if name == "" {
		return netip.Addr{}, false
	}
	addrs, err := n.resolver().LookupNetIP(context.Background(), "ip4", name)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[0].Unmap(), true
}

// HostName returns the name of an address.
func (n *SystemNames) HostName(a netip.Addr) (string, bool) {
	n.hosts.once.Do(n.readHosts)
	if name, ok := n.hosts.byAddr[a]; ok {
		return name, true
	}
	names, err := n.resolver().LookupAddr(context.Background(), a.String())
	if err != nil || len(names) == 0 {
		return "", false
	}
	return strings.TrimSuffix(names[0], "."), true
}

// resolver is Go's own, so that a static program asks as any other does.
func (n *SystemNames) resolver() *net.Resolver { return &net.Resolver{PreferGo: true} }

// Port returns the port of a service name or alias. Names of other protocols do
// not count.
func (n *SystemNames) Port(name string, p lvs.Protocol) (uint16, bool) {
	n.services.once.Do(n.readServices)
	port, ok := n.services.byName[portKey{name, p}]
	return port, ok
}

// PortName returns the first name that a port has for a protocol.
func (n *SystemNames) PortName(port uint16, p lvs.Protocol) (string, bool) {
	n.services.once.Do(n.readServices)
	for _, e := range n.services.byPort[port] {
		if e.proto == p {
			return e.name, true
		}
	}
	return "", false
}

// readServices reads services(5). A file that is not there has no names, as for
// the C library.
func (n *SystemNames) readServices() {
	n.services.byName = map[portKey]uint16{}
	n.services.byPort = map[uint16][]portName{}
	eachLine(orElse(n.ServicesFile, "/etc/services"), n.addService)
}

var protocols = map[string]lvs.Protocol{"tcp": lvs.TCP, "udp": lvs.UDP, "sctp": lvs.SCTP}

// addService takes a line "name port/protocol alias...".
func (n *SystemNames) addService(f []string) {
	if len(f) < 2 {
		return
	}
	text, protoName, _ := strings.Cut(f[1], "/")
	proto, known := protocols[protoName]
	port, err := strconv.ParseUint(text, 10, 16)
	if !known || err != nil {
		return
	}
	n.services.byPort[uint16(port)] = append(n.services.byPort[uint16(port)], portName{proto, strings.Clone(f[0])})
	for i, name := range f {
		key := portKey{strings.Clone(name), proto}
		if _, taken := n.services.byName[key]; i != 1 && !taken {
			n.services.byName[key] = uint16(port)
		}
	}
}

// readHosts reads hosts(5). Only IPv4 addresses can be looked up by name.
func (n *SystemNames) readHosts() {
	n.hosts.byName = map[string]netip.Addr{}
	n.hosts.byAddr = map[netip.Addr]string{}
	eachLine(orElse(n.HostsFile, "/etc/hosts"), n.addHost)
}

func (n *SystemNames) addHost(f []string) {
	if len(f) < 2 {
		return
	}
	a, err := netip.ParseAddr(f[0])
	if err != nil {
		return
	}
	if _, taken := n.hosts.byAddr[a]; !taken {
		n.hosts.byAddr[a] = f[1]
	}
	for _, name := range f[1:] {
		name = strings.ToLower(name)
		if _, taken := n.hosts.byName[name]; a.Is4() && !taken {
			n.hosts.byName[name] = a
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// eachLine gives the fields of every line that has any, without comments.
func eachLine(file string, take func(fields []string)) {
	f, err := os.Open(file)
	if err != nil {
		return // no file, no names
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		take(strings.Fields(text))
	}
}

// cached remembers the names of hosts for as long as a listing takes: the same
// server stands behind many services, and DNS is slow.
type cached struct {
	Names
	hosts map[netip.Addr]string // "" for an address without a name
}

func (c *cached) HostName(a netip.Addr) (string, bool) {
	if name, asked := c.hosts[a]; asked {
		return name, name != ""
	}
	name, ok := c.Names.HostName(a)
	if !ok {
		name = ""
	}
	if c.hosts == nil {
		c.hosts = map[netip.Addr]string{}
	}
	c.hosts[a] = name
	return name, ok
}
