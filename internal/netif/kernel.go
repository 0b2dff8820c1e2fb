package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Kernel is the host that a network namespace is. It is safe for concurrent use.
type Kernel struct {
	ns netns.NsHandle // or netns.None() for the namespace of this program
	h  *netlink.Handle
}

var _ Host = (*Kernel)(nil)

// Here is the kernel as this program sees it.
func Here() (*Kernel, error) { return open(netns.None()) }

// InNamespace is the kernel as seen from a network namespace, given by its file:
// "/run/netns/rs1", "/proc/4711/ns/net".
func InNamespace(file string) (*Kernel, error) {
	ns, err := netns.GetFromPath(file)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", file, err)
	}
	k, err := open(ns)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return k, nil
}

func open(ns netns.NsHandle) (*Kernel, error) {
	// The families must be named: for one that is not, the library opens a socket
	// of its own, in whatever namespace the thread is in.
	families := []int{unix.NETLINK_ROUTE, unix.NETLINK_GENERIC}
	var h *netlink.Handle
	var err error
	if ns.IsOpen() {
		h, err = netlink.NewHandleAt(ns, families...)
	} else {
		h, err = netlink.NewHandle(families...)
	}
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &Kernel{ns: ns, h: h}, nil
}

// Close gives the sockets back.
func (k *Kernel) Close() error {
	k.h.Close()
	if k.ns.IsOpen() {
		return k.ns.Close()
	}
	return nil
}

// inside runs f in the namespace. Files of /proc/sys/net and new sockets belong
// to the namespace of the thread that opens them, so f gets a thread of its own,
// which ends with it: a thread that has been elsewhere must not go back to others.
func (k *Kernel) inside(f func() error) error {
	if !k.ns.IsOpen() {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- k.onThread(f) }()
	return <-done
}

// onThread must be called on a goroutine that ends with it.
func (k *Kernel) onThread(f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot end, and /proc shows the whole program to be
		// where it is. While this goroutine holds it, f gets another.
		defer runtime.UnlockOSThread()
		return k.inside(f)
	}
	if err := netns.Set(k.ns); err != nil {
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	return f()
}

// Do takes one step.
func (k *Kernel) Do(s Step) error {
	err := k.do(s)
	if err == nil || settled(s.Op, err) {
		return nil
	}
	return &StepError{s, err}
}

func (k *Kernel) do(s Step) error {
	switch s.Op {
	case AddAddr, DelAddr:
		return k.doAddr(s)
	case AddRoute, DelRoute, ReplaceRoute:
		return k.doRoute(s)
	case AddRule:
		return k.h.RuleAdd(kernelRule(s.Rule))
	case DelRule:
		return k.h.RuleDel(kernelRule(s.Rule))
	case AddLink, DelLink, LinkUp, LinkDown:
		return k.doLink(s)
	case AddFou:
		return k.addFou(s.Fou)
	case DelFou:
		return k.delFou(s.Fou)
	case LoadModule:
		return modprobe(s.Module)
	case SetSysctl:
		return k.setSysctl(s.Sysctl)
	}
	return fmt.Errorf("unknown step: %w", syscall.EINVAL)
}

func (k *Kernel) doAddr(s Step) error {
	return k.addr(s, map[string]netlink.Link{})
}

// link finds a device; the errno of one that is not there is ENODEV.
func (k *Kernel) link(name string) (netlink.Link, error) {
	l, err := k.h.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, syscall.ENODEV
	}
	return l, err
}

func kernelAddr(a Addr) *netlink.Addr {
	k := &netlink.Addr{IPNet: ipNet(a.Prefix), Label: a.Label, Scope: int(a.Scope)}
	if a.Peer.IsValid() {
		k.Peer = ipNet(a.Peer)
	}
	if a.Prefix.Addr().Is4() {
		// Nil would make the library choose a broadcast address. It takes the bytes
		// as they are, so they must be four.
		k.Broadcast = net.IPv4zero
		if a.Broadcast.IsValid() {
			k.Broadcast = a.Broadcast.AsSlice()
		}
	}
	if a.NoDAD {
		k.Flags |= unix.IFA_F_NODAD
	}
	if a.NoPrefix {
		k.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.Deprecated {
		k.ValidLft = int(^uint32(0)) // for ever; without it, preferred_lft 0 would not be sent
	}
	return k
}

func (k *Kernel) doRoute(s Step) error {
	r, err := k.kernelRoute(s.Route)
	if err != nil {
		return err
	}
	switch s.Op {
	case DelRoute:
		return k.h.RouteDel(r)
	case ReplaceRoute:
		return k.h.RouteReplace(r)
	}
	err = k.h.RouteAdd(r)
	if !errors.Is(err, syscall.EEXIST) {
		return err
	}
	// The place is taken; it may be by the very route that is asked for.
	routes, readErr := k.readRoutes(k.linkNames())
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if (Snapshot{Routes: routes}).findRoute(s.Route) >= 0 {
		return nil
	}
	return err
}

// Lacking are those of the routes that this host does not have.
func (k *Kernel) Lacking(want []Route) ([]Route, error) {
	routes, err := k.readRoutes(k.linkNames())
	if err != nil {
		return nil, err
	}
	have := Snapshot{Routes: routes}
	return slices.DeleteFunc(slices.Clone(want), func(r Route) bool { return have.findRoute(r) >= 0 }), nil
}

func (k *Kernel) kernelRoute(r Route) (*netlink.Route, error) {
	n := r.normal()
	out := &netlink.Route{Dst: ipNet(n.Dst), Scope: netlink.Scope(n.Scope), Table: n.Table, Priority: r.Metric, Protocol: netlink.RouteProtocol(n.Proto)}
	if n.Type != "" {
		kind, ok := routeTypes()[n.Type]
		if !ok {
			return nil, fmt.Errorf("route type %q: %w", n.Type, syscall.EINVAL)
		}
		out.Type = kind
	}
	if n.Via.IsValid() && n.Via.Is4() == n.Dst.Addr().Is4() {
		out.Gw = n.Via.AsSlice()
	} else if n.Via.IsValid() {
		out.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: n.Via.AsSlice()}
	}
	if n.Source.IsValid() {
		out.Src = n.Source.AsSlice()
	}
	if n.OnLink {
		out.Flags |= int(netlink.FLAG_ONLINK)
	}
	if n.Link != "" {
		link, err := k.link(n.Link)
		if err != nil {
			return nil, err
		}
		out.LinkIndex = link.Attrs().Index
	}
	return out, nil
}

var routeTypes = sync.OnceValue(func() map[string]int {
	return map[string]int{"local": unix.RTN_LOCAL, "broadcast": unix.RTN_BROADCAST, "anycast": unix.RTN_ANYCAST,
		"multicast": unix.RTN_MULTICAST, "blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE,
		"prohibit": unix.RTN_PROHIBIT, "throw": unix.RTN_THROW, "nat": unix.RTN_NAT}
})

func kernelRule(r Rule) *netlink.Rule {
	out := netlink.NewRule()
	out.Priority, out.Table, out.IifName, out.OifName, out.Family = r.Priority, r.Table, r.Iif, r.Oif, netlink.FAMILY_V4
	if r.IPv6 {
		out.Family = netlink.FAMILY_V6
	}
	if r.From.IsValid() {
		out.Src = ipNet(r.From)
	}
	if r.To.IsValid() {
		out.Dst = ipNet(r.To)
	}
	if r.Mark != 0 {
		mask := r.normal().Mask
		out.Mark, out.Mask = r.Mark, &mask
	}
	return out
}

func (k *Kernel) doLink(s Step) error {
	if s.Op == AddLink {
		return k.addLink(s.Link)
	}
	link, err := k.link(s.Link.Name)
	if err != nil {
		return err
	}
	switch s.Op {
	case DelLink:
		return k.h.LinkDel(link)
	case LinkUp:
		return k.h.LinkSetUp(link)
	}
	return k.h.LinkSetDown(link)
}

// addLink makes a device. EEXIST is no harm when it is there by now: loading a
// tunnel's module makes the module's own device. It also means that a device of
// another name has the same ends.
func (k *Kernel) addLink(l Link) error {
	err := k.h.LinkAdd(kernelLink(l))
	if !errors.Is(err, syscall.EEXIST) {
		return err
	}
	if _, missing := k.link(l.Name); missing != nil {
		return fmt.Errorf("another tunnel has the same ends: %w", err)
	}
	return nil
}

// kernelLink is a device to make. Those without attributes are made of their kind
// alone, which the kernel knows and we need not.
func kernelLink(l Link) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.Name
	if !l.Local.IsValid() && !l.Remote.IsValid() {
		return &netlink.GenericLink{LinkAttrs: attrs, LinkType: l.Kind}
	}
	local, remote := net.IP(l.Local.AsSlice()), net.IP(l.Remote.AsSlice())
	switch l.Kind {
	case "ipip":
		return &netlink.Iptun{LinkAttrs: attrs, Local: local, Remote: remote, PMtuDisc: 1}
	case "sit":
		return &netlink.Sittun{LinkAttrs: attrs, Local: local, Remote: remote, PMtuDisc: 1}
	case "ip6tnl":
		return &netlink.Ip6tnl{LinkAttrs: attrs, Local: local, Remote: remote, Proto: unix.IPPROTO_IPV6}
	case "gre", "ip6gre":
		return &netlink.Gretun{LinkAttrs: attrs, Local: local, Remote: remote, PMtuDisc: 1}
	}
	return &netlink.GenericLink{LinkAttrs: attrs, LinkType: l.Kind}
}

// addFou opens a port. EADDRINUSE has two meanings: the port is ours already, or
// another program's.
func (k *Kernel) addFou(f Fou) error {
	err := k.inside(func() error { return requestFou(f) })
	if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EALREADY) {
		return err
	}
	fous, readErr := k.readFous()
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if contains(fous, f) {
		return nil
	}
	return err
}

// delFou closes a port. EINVAL is what the kernel says of one that is not open.
func (k *Kernel) delFou(f Fou) error {
	err := k.h.FouDel(kernelFou(f))
	if !errors.Is(err, syscall.EINVAL) {
		return err
	}
	fous, readErr := k.readFous()
	if readErr == nil && !contains(fous, f) {
		return nil
	}
	return errors.Join(err, readErr)
}

// requestFou is the library's FouAdd but for one thing: that one always names an
// inner protocol, 0 for GUE, and newer kernels (6.1 does) refuse 0 with ERANGE.
func requestFou(f Fou) error {
	family, err := netlink.GenlFamilyGet(netlink.FOU_GENL_NAME)
	if err != nil {
		return err
	}
	out := kernelFou(f)
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: netlink.FOU_CMD_ADD, Version: 1})
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_PORT, binary.BigEndian.AppendUint16(nil, f.Port)))
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_AF, []byte{byte(out.Family)}))
	req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_TYPE, []byte{byte(out.EncapType)}))
	if !f.GUE {
		req.AddData(nl.NewRtAttr(netlink.FOU_ATTR_IPPROTO, []byte{f.Proto}))
	}
	_, err = req.Execute(unix.NETLINK_GENERIC, 0)
	return err
}

func kernelFou(f Fou) netlink.Fou {
	out := netlink.Fou{Family: unix.AF_INET, Port: int(f.Port), Protocol: int(f.Proto), EncapType: netlink.FOU_ENCAP_DIRECT}
	if f.GUE {
		out.EncapType = netlink.FOU_ENCAP_GUE
	}
	if f.IPv6 {
		out.Family = unix.AF_INET6
	}
	return out
}

func modprobe(module string) error {
	path, err := exec.LookPath("modprobe")
	if err != nil {
		path = "/sbin/modprobe" // root's PATH does not always hold it
	}
	out, err := exec.Command(path, "-q", module).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s; this kernel may not have the module", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// procSys is where the settings are.
const procSys = "/proc/sys"

func (k *Kernel) setSysctl(s Sysctl) error {
	path := filepath.Join(procSys, SysctlPath(s.Key))
	if !strings.HasPrefix(path, procSys+"/net/") {
		return fmt.Errorf("%s is no setting of the network: %w", s.Key, syscall.EINVAL)
	}
	return k.inside(func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(s.Value + "\n")
		return errors.Join(err, f.Close())
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
