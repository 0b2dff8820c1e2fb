// Package lvstest helps to test against an IPVS table.
package lvstest

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
)

// A Behaviour is one thing that the kernel does, seen on Linux 6.1. A fake that
// is worth its name does the same; a new kernel that does not is news.
//
// The host has the interface eth0, up and able to multicast, with the address
// 10.9.0.1/24 and no route beyond; lo is up.
type Behaviour struct {
	Name    string
	Setup   []lvs.Change // taken in this order, none refused
	Daemons []lvs.Daemon // started after that
	Change  lvs.Change   // the one in question
	Errno   syscall.Errno
	Want    string // the table afterwards, as [Text] prints it
}

// Text prints a table as ipvsadm -S -n does, with all that ipvsadm leaves out:
// thresholds (-x, -y), and a timeout or netmask that is kept though the service
// is not persistent. Nothing that a table holds is missing, so equal texts mean
// equal tables.
func Text(t lvs.Table) string {
	var b strings.Builder
	for _, e := range t {
		fmt.Fprintf(&b, "-A %s%s\n", keyText(e.Key), serviceText(e.Service))
		for _, d := range e.Destinations {
			fmt.Fprintf(&b, "-a %s -r %v%s\n", keyText(e.Key), d.Addr, destinationText(d))
		}
	}
	return b.String()
}

func keyText(k lvs.Key) string {
	switch {
	case k.Mark != 0 && k.Family == lvs.IPv6:
		return fmt.Sprintf("-f %d -6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("-f %d", k.Mark)
	case k.Protocol == lvs.TCP:
		return fmt.Sprintf("-t %v", k.Addr)
	case k.Protocol == lvs.UDP:
		return fmt.Sprintf("-u %v", k.Addr)
	case k.Protocol == lvs.SCTP:
		return fmt.Sprintf("--sctp-service %v", k.Addr)
	}
	return fmt.Sprintf("--protocol=%d %v", k.Protocol, k.Addr)
}

func serviceText(s lvs.Service) string {
	out := " -s " + s.Scheduler
	switch {
	case s.Flags&lvs.Persistent != 0:
		out += fmt.Sprintf(" -p %d", s.Timeout)
	case s.Timeout != 0:
		out += fmt.Sprintf(" timeout=%d", s.Timeout)
	}
	switch {
	case s.Netmask == s.FullMask():
	case s.Family == lvs.IPv6:
		out += fmt.Sprintf(" -M %d", s.Netmask)
	default:
		m := s.Netmask
		out += fmt.Sprintf(" -M %d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
	}
	if s.PE != "" {
		out += " --pe " + s.PE
	}
	if s.Flags&lvs.OnePacket != 0 {
		out += " -o"
	}
	if f := flagNames(s.Flags); f != "" {
		out += " -b " + f
	}
	if rest := s.Flags &^ (lvs.Persistent | lvs.OnePacket | lvs.SchedFlags); rest != 0 {
		out += fmt.Sprintf(" flags=%#x", uint32(rest))
	}
	return out
}

func flagNames(f lvs.Flags) string {
	var names []string
	for i, bit := range []lvs.Flags{lvs.Sched1, lvs.Sched2, lvs.Sched3} {
		if f&bit != 0 {
			names = append(names, fmt.Sprintf("flag-%d", i+1))
		}
	}
	return strings.Join(names, ",")
}

func destinationText(d lvs.Destination) string {
	out := fmt.Sprintf(" %s -w %d", methodText(d.Method), d.Weight)
	if d.Upper != 0 {
		out += fmt.Sprintf(" -x %d", d.Upper)
	}
	if d.Lower != 0 {
		out += fmt.Sprintf(" -y %d", d.Lower)
	}
	if d.Tunnel == (lvs.TunnelInfo{}) {
		return out
	}
	out += fmt.Sprintf(" --tun-type %v", d.Tunnel.Type)
	if d.Tunnel.Port != 0 {
		out += fmt.Sprintf(" --tun-port %d", d.Tunnel.Port)
	}
	if d.Tunnel.Flags&lvs.TunnelCsum != 0 {
		out += " --tun-csum"
	}
	if d.Tunnel.Flags&lvs.TunnelRemCsum != 0 {
		out += " --tun-remcsum"
	}
	if rest := d.Tunnel.Flags &^ (lvs.TunnelCsum | lvs.TunnelRemCsum); rest != 0 {
		out += fmt.Sprintf(" tunflags=%#x", rest)
	}
	return out
}

func methodText(m lvs.Method) string {
	switch m {
	case lvs.Masq:
		return "-m"
	case lvs.Gate:
		return "-g"
	case lvs.Tunnel:
		return "-i"
	}
	return "method=" + m.String()
}

// The words of the table in behaviours.go.

func tcp(addr string) lvs.Key { return lvs.At(lvs.TCP, netip.MustParseAddrPort(addr)) }
func udp(addr string) lvs.Key { return lvs.At(lvs.UDP, netip.MustParseAddrPort(addr)) }

// service is a plain service, then changed as the functions say.
func service(k lvs.Key, scheduler string, with ...func(*lvs.Service)) lvs.Service {
	s := lvs.NewService(k, scheduler)
	for _, f := range with {
		f(&s)
	}
	return s
}

func persistent(seconds uint32) func(*lvs.Service) {
	return func(s *lvs.Service) { s.Flags |= lvs.Persistent; s.Timeout = seconds }
}

func timeout(seconds uint32) func(*lvs.Service)  { return func(s *lvs.Service) { s.Timeout = seconds } }
func netmask(mask uint32) func(*lvs.Service)     { return func(s *lvs.Service) { s.Netmask = mask } }
func engine(name string) func(*lvs.Service)      { return func(s *lvs.Service) { s.PE = name } }
func flags(f lvs.Flags) func(*lvs.Service)       { return func(s *lvs.Service) { s.Flags |= f } }
func protocol(p lvs.Protocol) func(*lvs.Service) { return func(s *lvs.Service) { s.Protocol = p } }

func add(s lvs.Service) lvs.Change  { return lvs.Change{Op: lvs.AddService, Service: s} }
func edit(s lvs.Service) lvs.Change { return lvs.Change{Op: lvs.EditService, Service: s} }
func remove(k lvs.Key) lvs.Change {
	return lvs.Change{Op: lvs.DeleteService, Service: lvs.Service{Key: k}}
}
func zero(k lvs.Key) lvs.Change                 { return lvs.Change{Op: lvs.Zero, Service: lvs.Service{Key: k}} }
func keep(f lvs.Flags, c lvs.Change) lvs.Change { c.KeepFlags = f; return c }

// server is a destination of weight 1, then changed as the functions say.
func server(addr string, m lvs.Method, with ...func(*lvs.Destination)) lvs.Destination {
	d := lvs.Destination{Addr: netip.MustParseAddrPort(addr), Method: m, Weight: 1}
	for _, f := range with {
		f(&d)
	}
	return d
}

func weight(w uint32) func(*lvs.Destination) { return func(d *lvs.Destination) { d.Weight = w } }
func limits(upper, lower uint32) func(*lvs.Destination) {
	return func(d *lvs.Destination) { d.Upper, d.Lower = upper, lower }
}
func tunnel(t lvs.TunnelType, port, flags uint16) func(*lvs.Destination) {
	return func(d *lvs.Destination) { d.Tunnel = lvs.TunnelInfo{Type: t, Port: port, Flags: flags} }
}

func addTo(k lvs.Key, d lvs.Destination) lvs.Change {
	return lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: k}, Destination: d}
}

func editOf(k lvs.Key, d lvs.Destination) lvs.Change {
	return lvs.Change{Op: lvs.EditDestination, Service: lvs.Service{Key: k}, Destination: d}
}

func removeFrom(k lvs.Key, d lvs.Destination) lvs.Change {
	return lvs.Change{Op: lvs.DeleteDestination, Service: lvs.Service{Key: k}, Destination: d}
}
