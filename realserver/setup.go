// Package realserver knows what a real server of a Linux Virtual Server needs: the
// virtual addresses, the routes, the tunnels, and silence about those addresses on
// the wire.
//
// A [Setup] says what is wanted. [Steps] compares it with what a host has and
// yields the changes, in an order that is safe at every moment; with nothing left
// to do the list is empty. A [State] is what has to be kept so that the way down
// leaves the host exactly as the way up found it. Nothing here changes anything.
package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Method is how the director hands packets over.
type Method string

// The forwarding methods, by the names the tutorials use.
const (
	DR  Method = "dr"  // direct routing: ipvsadm -g, ldirectord gate
	TUN Method = "tun" // tunnelling: ipvsadm -i, ldirectord ipip
	NAT Method = "nat" // masquerading: ipvsadm -m, ldirectord masq
)

// Tunnel is what the director wraps packets in.
type Tunnel string

// The tunnels that IPVS knows.
const (
	IPIP Tunnel = "ipip" // ipvsadm --tun-type ipip: IP in IP, also 6 in 6
	GUE  Tunnel = "gue"  // ipvsadm --tun-type gue: the same in UDP
	GRE  Tunnel = "gre"  // ipvsadm --tun-type gre
)

// GUEPort is the port that IANA gave to Generic UDP Encapsulation.
const GUEPort = 6080

// Setup is what a host should be. The zero Method is no setup.
type Setup struct {
	Method Method
	// VIPs are the virtual addresses. With NAT they are only looked at: a real
	// server there must not have them.
	VIPs []netip.Addr
	// Interface holds the VIPs. Empty is lo for DR, and the kernel's own device of
	// the tunnel for TUN: tunl0, gre0, ip6tnl0 or ip6gre0.
	Interface string
	// Label is that of the first IPv4 VIP; the next ones count on from it. Empty is
	// "lo:0" for DR on lo, and no label elsewhere.
	Label  string
	Tunnel Tunnel // TUN; empty is IPIP
	Port   uint16 // TUN with GUE: UDP; 0 is GUEPort
	// NoRoute leaves out the host route to each IPv4 VIP. The local table makes
	// the host accept the address without it.
	NoRoute bool
	// KeepARP leaves the ARP settings alone: for a VIP that is on no network of
	// this host, or where arptables hides it.
	KeepARP bool
	// Gateways are the director's addresses on our side, NAT only, at most one
	// IPv4 and one IPv6. Without them the default route is only looked at.
	Gateways []netip.Addr
}

// MaxVIPs bounds a setup; the labels of an interface name have room for no more.
const MaxVIPs = 1024

// Check says what is wrong with a setup, all of it.
func (s Setup) Check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch s.Method {
	case DR, TUN:
		if len(s.VIPs) == 0 {
			wrong("no virtual address: name at least one")
		}
		if len(s.Gateways) > 0 {
			wrong("a gateway goes with method nat only: with %s the answers do not pass the director", s.Method)
		}
	case NAT:
		if s.Interface != "" || s.Label != "" {
			wrong("method nat puts no address on this host: there is no interface and no label")
		}
	default:
		wrong("method %q: there is dr, tun and nat", s.Method)
	}
	if s.Method != TUN && (s.Tunnel != "" || s.Port != 0) {
		wrong("a tunnel goes with method tun only")
	}
	if !slices.Contains([]Tunnel{"", IPIP, GUE, GRE}, s.Tunnel) {
		wrong("tunnel %q: there is ipip, gue and gre", s.Tunnel)
	}
	if s.Port != 0 && s.Tunnel != GUE {
		wrong("a port goes with tunnel gue only: %s has none", s.tunnel())
	}
	errs = append(errs, s.checkAddrs()...)
	errs = append(errs, s.checkNames()...)
	return errors.Join(errs...)
}

func (s Setup) checkAddrs() []error {
	var errs []error
	if len(s.VIPs) > MaxVIPs {
		errs = append(errs, fmt.Errorf("%d virtual addresses: at most %d", len(s.VIPs), MaxVIPs))
	}
	seen := map[netip.Addr]bool{}
	for _, ip := range s.VIPs {
		if err := checkIP("virtual address", ip); err != nil {
			errs = append(errs, err)
		}
		if seen[ip] {
			errs = append(errs, fmt.Errorf("virtual address %v is named twice", ip))
		}
		seen[ip] = true
	}
	families := map[bool]bool{}
	for _, ip := range s.Gateways {
		if err := checkIP("gateway", ip); err != nil {
			errs = append(errs, err)
		}
		if families[ip.Is6()] {
			errs = append(errs, fmt.Errorf("gateway %v: there is one already of its kind", ip))
		}
		families[ip.Is6()] = true
	}
	return errs
}

func checkIP(what string, ip netip.Addr) error {
	switch {
	case !ip.IsValid():
		return fmt.Errorf("%s: not an IP address", what)
	case ip.Is4In6():
		return fmt.Errorf("%s %v: write it as %v", what, ip, ip.Unmap())
	case ip.Zone() != "":
		return fmt.Errorf("%s %v: write it without %%%s", what, ip, ip.Zone())
	case ip.IsUnspecified(), ip.IsLoopback(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s %v: this is no address of a host", what, ip)
	}
	return nil
}

// nameSize is IFNAMSIZ without its final zero.
const nameSize = 15

func (s Setup) checkNames() []error {
	var errs []error
	if !validName(s.Interface) {
		errs = append(errs, fmt.Errorf("interface %q: a device's name has 1 to %d characters, and no blank, slash or colon", s.Interface, nameSize))
	}
	if s.Label == "" {
		return errs
	}
	device, number, ok := strings.Cut(s.Label, ":")
	if !ok || device != s.carrier(false) && device != s.Interface {
		errs = append(errs, fmt.Errorf("label %q: it begins with the interface and a colon, as %s:0", s.Label, s.carrier(false)))
	}
	if n, err := strconv.ParseUint(number, 10, 16); ok && err != nil || len(s.Label)+len(strconv.Itoa(int(n)+len(s.VIPs)))-len(number) > nameSize {
		errs = append(errs, fmt.Errorf("label %q: a number follows the colon, and all is at most %d characters", s.Label, nameSize))
	}
	return errs
}

func validName(name string) bool {
	return len(name) <= nameSize && !strings.ContainsAny(name, " \t\n/:") && name != "." && name != ".." && name != "all" && name != "default"
}

func (s Setup) tunnel() Tunnel {
	if s.Tunnel == "" {
		return IPIP
	}
	return s.Tunnel
}

func (s Setup) port() uint16 {
	if s.Port == 0 {
		return GUEPort
	}
	return s.Port
}

// carrier is the device that holds the VIPs of a family. Packets in GUE come out
// of the UDP port as plain IP in IP, so they end at the same device.
func (s Setup) carrier(ipv6 bool) string {
	switch {
	case s.Interface != "":
		return s.Interface
	case s.Method == DR:
		return "lo"
	case s.tunnel() == GRE && ipv6:
		return "ip6gre0"
	case s.tunnel() == GRE:
		return "gre0"
	case ipv6:
		return "ip6tnl0"
	}
	return "tunl0"
}

// carrierKind is the kernel's kind of that device.
func (s Setup) carrierKind(ipv6 bool) string {
	switch {
	case s.tunnel() == GRE && ipv6:
		return "ip6gre"
	case s.tunnel() == GRE:
		return "gre"
	case ipv6:
		return "ip6tnl"
	}
	return "ipip"
}

// overhead is what the tunnel adds to a packet, in bytes.
func (s Setup) overhead(ipv6 bool) int {
	outer := 20
	if ipv6 {
		outer = 40
	}
	switch s.tunnel() {
	case GUE:
		return outer + 8 + 4 // UDP and the GUE header without options
	case GRE:
		return outer + 4
	}
	return outer
}

func (s Setup) family(ipv6 bool) []netip.Addr {
	var ips []netip.Addr
	for _, ip := range s.VIPs {
		if ip.Is6() == ipv6 {
			ips = append(ips, ip)
		}
	}
	return ips
}
