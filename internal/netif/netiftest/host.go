// Package netiftest has a host that lives in memory: it remembers what it is
// told, refuses what the kernel refuses, and prints itself as ip and sysctl would.
package netiftest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Host is a fake host. Its zero value has nothing at all, not even lo; see [New].
type Host struct {
	mu     sync.Mutex
	state  netif.Snapshot
	log    []string
	refuse map[string]error
}

// New is a host with lo and the given Ethernet devices, all up, without addresses
// but those of lo, and with the kernel's own settings.
func New(links ...string) *Host {
	s := netif.Snapshot{Sysctls: map[string]string{"net.ipv4.ip_forward": "0"}}
	s.Links = append(s.Links, netif.Link{Name: "lo", Up: true, Loopback: true, MTU: 65536, Index: 1})
	for i, name := range links {
		mac := fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		s.Links = append(s.Links, netif.Link{Name: name, Up: true, MTU: 1500, MAC: mac, Index: i + 2})
	}
	for _, name := range append([]string{"all", "default", "lo"}, links...) {
		Conf(&s, name)
	}
	s.Addrs = append(s.Addrs,
		netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: netif.ScopeHost},
		netif.Addr{Link: "lo", Prefix: netip.MustParsePrefix("::1/128"), Scope: netif.ScopeHost})
	s.Sort()
	return &Host{state: s}
}

// Conf gives an interface the settings that the kernel would, where it has none.
func Conf(s *netif.Snapshot, iface string) {
	for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter", "forwarding", "accept_local"} {
		setNew(s, netif.ConfKey("ipv4", iface, name), "0")
	}
	for _, name := range []string{"disable_ipv6", "forwarding", "proxy_ndp", "keep_addr_on_down"} {
		setNew(s, netif.ConfKey("ipv6", iface, name), "0")
	}
}

func setNew(s *netif.Snapshot, key, value string) {
	if _, ok := s.Sysctls[key]; !ok {
		s.Sysctls[key] = value
	}
}

// From is a host in a given state.
func From(s netif.Snapshot) *Host { return &Host{state: s.Clone()} }

// Snapshot reads the host.
func (h *Host) Snapshot() (netif.Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.Clone(), nil
}

// Do takes a step, or refuses it as the kernel would or as Refuse said.
func (h *Host) Do(s netif.Step) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, s.String())
	if err := h.refuse[s.String()]; err != nil {
		return &netif.StepError{Step: s, Err: err}
	}
	next, err := h.state.With(s)
	h.state = next
	return err
}

// Refuse makes the host refuse the step that prints as line; nil lets it pass
// again.
func (h *Host) Refuse(line string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse == nil {
		h.refuse = map[string]error{}
	}
	h.refuse[line] = err
}

// Log returns the lines of the steps since the last call, refused ones too.
func (h *Host) Log() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := h.log
	h.log = nil
	return log
}

// String is the host in the notation of ip and sysctl, without the settings that
// are 0.
func (h *Host) String() string {
	s, _ := h.Snapshot()
	return Text(s)
}

// Text is a snapshot in the notation of ip and sysctl, settings that are 0 left
// out.
func Text(s netif.Snapshot) string {
	var b strings.Builder
	for _, l := range s.Links {
		fmt.Fprintf(&b, "link %s %s\n", l.Name, upOrDown(l.Up))
	}
	for _, a := range s.Addrs {
		fmt.Fprintf(&b, "addr %v\n", a)
	}
	for _, r := range s.Routes {
		fmt.Fprintf(&b, "route %v\n", r)
	}
	for _, r := range s.Rules {
		fmt.Fprintf(&b, "rule %v\n", r)
	}
	for _, f := range s.Fous {
		fmt.Fprintf(&b, "fou %v\n", f)
	}
	var keys []string
	for key, value := range s.Sysctls {
		if value != "0" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, "%s=%s\n", key, s.Sysctls[key])
	}
	return b.String()
}

func upOrDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}
