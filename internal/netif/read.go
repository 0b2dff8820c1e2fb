package netif

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Snapshot reads the host. It changes nothing; it does not even load a module.
func (k *Kernel) Snapshot() (Snapshot, error) {
	var s Snapshot
	links, err := dumped(k.h.LinkList)
	if err != nil {
		return s, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		s.Links = append(s.Links, ourLink(l))
	}
	if s.Addrs, err = k.readAddrs(names); err != nil {
		return s, err
	}
	if s.Routes, err = k.readRoutes(names); err != nil {
		return s, err
	}
	if s.Rules, err = k.readRules(); err != nil {
		return s, err
	}
	if s.Modules, err = readModules(); err != nil {
		return s, err
	}
	if contains(s.Modules, "fou") {
		if s.Fous, err = k.readFous(); err != nil {
			return s, err
		}
	}
	s.Sysctls, err = k.readSysctls(s.Links)
	s.Sort()
	return s, err
}

// dumped reads a list again when the kernel says that it changed meanwhile.
func dumped[T any](read func() ([]T, error)) (list []T, err error) {
	for range 3 {
		list, err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return list, nil // it changes faster than we read: what we have is as good as any
	}
	return list, err
}

func ourLink(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{Name: a.Name, Kind: l.Type(), Up: a.Flags&net.FlagUp != 0, Loopback: a.Flags&net.FlagLoopback != 0,
		NoARP: a.RawFlags&unix.IFF_NOARP != 0, MTU: a.MTU, Index: a.Index}
	if len(a.HardwareAddr) == 6 && !out.Loopback {
		out.MAC = a.HardwareAddr.String()
	}
	if out.Kind == "device" { // the library's word for what has no kind
		out.Kind = ""
	}
	switch t := l.(type) {
	case *netlink.Iptun:
		out.Local, out.Remote = ourIP(t.Local), ourIP(t.Remote)
	case *netlink.Sittun:
		out.Local, out.Remote = ourIP(t.Local), ourIP(t.Remote)
	case *netlink.Ip6tnl:
		out.Local, out.Remote = ourIP(t.Local), ourIP(t.Remote)
	case *netlink.Gretun:
		out.Local, out.Remote = ourIP(t.Local), ourIP(t.Remote)
	}
	return out
}

// ourIP is an address; the unspecified one is none.
func ourIP(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func ourPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}

// linkNames maps indexes to names; empty when the kernel does not tell.
func (k *Kernel) linkNames() map[int]string {
	names := map[int]string{}
	links, err := dumped(k.h.LinkList)
	if err != nil {
		return names
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names
}

func (k *Kernel) readAddrs(names map[int]string) ([]Addr, error) {
	list, err := dumped(func() ([]netlink.Addr, error) { return k.h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	var addrs []Addr
	for _, a := range list {
		out := Addr{Link: names[a.LinkIndex], Prefix: ourPrefix(a.IPNet), Peer: ourPrefix(a.Peer), Scope: Scope(a.Scope), Broadcast: ourIP(a.Broadcast),
			NoDAD: a.Flags&unix.IFA_F_NODAD != 0, NoPrefix: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0, Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0,
			Tentative: a.Flags&unix.IFA_F_TENTATIVE != 0, DADFailed: a.Flags&unix.IFA_F_DADFAILED != 0}
		if a.Label != out.Link {
			out.Label = a.Label
		}
		if out.Link != "" && out.Prefix.IsValid() {
			addrs = append(addrs, out)
		}
	}
	return addrs, nil
}

func (k *Kernel) readRoutes(names map[int]string) ([]Route, error) {
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	var routes []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dumped(func() ([]netlink.Route, error) { return k.h.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE) })
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Table == unix.RT_TABLE_LOCAL && r.Protocol == unix.RTPROT_KERNEL {
				continue // follows from the addresses
			}
			routes = append(routes, ourRoute(r, family, names))
		}
	}
	return routes, nil
}

func ourRoute(r netlink.Route, family int, names map[int]string) Route {
	out := Route{Dst: ourPrefix(r.Dst), Via: ourIP(r.Gw), Link: names[r.LinkIndex], Source: ourIP(r.Src), Scope: Scope(r.Scope),
		Table: r.Table, Metric: r.Priority, Proto: int(r.Protocol), OnLink: r.Flags&int(netlink.FLAG_ONLINK) != 0, Hops: len(r.MultiPath)}
	if !out.Dst.IsValid() { // how the library says "default"
		out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if family == netlink.FAMILY_V6 {
			out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	if len(r.MultiPath) > 0 {
		out.Via, out.Link = ourIP(r.MultiPath[0].Gw), names[r.MultiPath[0].LinkIndex]
	}
	if via, ok := r.Via.(*netlink.Via); ok {
		out.Via = ourIP(via.Addr)
	}
	for name, kind := range routeTypes() {
		if kind == r.Type {
			out.Type = name
		}
	}
	return out
}

func (k *Kernel) readRules() ([]Rule, error) {
	var rules []Rule
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := dumped(func() ([]netlink.Rule, error) { return k.h.RuleList(family) })
		if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EOPNOTSUPP) {
			continue // a kernel without policy routing, or without IPv6
		}
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			out := Rule{Priority: max(r.Priority, 0), IPv6: family == netlink.FAMILY_V6, From: ourPrefix(r.Src), To: ourPrefix(r.Dst),
				Iif: r.IifName, Oif: r.OifName, Mark: r.Mark, Table: r.Table}
			if r.Mask != nil && r.Mark != 0 {
				out.Mask = *r.Mask
			}
			rules = append(rules, out)
		}
	}
	return rules, nil
}

// readFous must only be asked for when the kernel has fou.
func (k *Kernel) readFous() ([]Fou, error) {
	list, err := dumped(func() ([]netlink.Fou, error) { return k.h.FouList(netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	var fous []Fou
	for _, f := range list {
		out := Fou{Port: uint16(f.Port), IPv6: f.Family == unix.AF_INET6, GUE: f.EncapType == netlink.FOU_ENCAP_GUE}
		if !out.GUE {
			out.Proto = uint8(f.Protocol)
		}
		fous = append(fous, out)
	}
	return fous, nil
}

// families are modules that may be built in, by the netlink family that tells of
// them.
var families = map[string]string{"fou": "fou", "IPVS": "ip_vs"}

// readModules lists the loaded modules. Asking the kernel for a family by name would
// load its module, so the list of all families has to tell whether it is built in.
func readModules() ([]string, error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	modules := moduleNames(text)
	present, err := dumpedFamilies()
	if err != nil {
		return nil, err
	}
	for family, module := range families {
		if contains(present, family) && !contains(modules, module) {
			modules = append(modules, module)
		}
	}
	return modules, nil
}

func moduleNames(text []byte) []string {
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name, _, ok := strings.Cut(lines.Text(), " "); ok {
			names = append(names, name)
		}
	}
	return names
}

func dumpedFamilies() ([]string, error) {
	list, err := dumped(netlink.GenlFamilyList)
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
	}
	return names, err
}

func (k *Kernel) readSysctls(links []Link) (map[string]string, error) {
	values := map[string]string{}
	err := k.inside(func() error {
		var errs []error
		for _, key := range sysctlKeys(links) {
			text, err := os.ReadFile(filepath.Join(procSys, SysctlPath(key)))
			if errors.Is(err, os.ErrNotExist) {
				continue // an older kernel, or no IPv6
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			values[key] = strings.TrimSpace(string(text))
		}
		return errors.Join(errs...)
	})
	return values, err
}

func sysctlKeys(links []Link) []string {
	keys := globals[:len(globals):len(globals)]
	ifaces := []string{"all", "default"}
	for _, l := range links {
		ifaces = append(ifaces, l.Name)
	}
	for _, iface := range ifaces {
		for _, c := range confs4 {
			keys = append(keys, ConfKey("ipv4", iface, c.name))
		}
		for _, c := range confs6 {
			keys = append(keys, ConfKey("ipv6", iface, c.name))
		}
	}
	return keys
}
