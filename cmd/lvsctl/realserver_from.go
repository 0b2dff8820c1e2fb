package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
)

// soleSource refuses flags that say what the files say.
func (f *setupFlags) soleSource(cmd *cobra.Command) error {
	for _, flag := range []string{"vip", "method", "tunnel", "port"} {
		if cmd.Flags().Changed(flag) {
			return usage(cmd, fmt.Errorf("--%s: the files of --from say that; leave one of the two out", flag))
		}
	}
	return nil
}

// readFiles turns the director's files into the setups of this host.
func (f *setupFlags) readFiles(cmd *cobra.Command) ([]realserver.Setup, error) {
	if err := f.soleSource(cmd); err != nil {
		return nil, err
	}
	base, err := f.base(cmd)
	if err != nil {
		return nil, err
	}
	virtuals, problems, err := readVirtuals(cmd.Context(), f.from)
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	if err != nil {
		return nil, err
	}
	if config.Errors(problems) {
		return nil, statusError(statusInvalid)
	}
	k, have, err := look()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	setups, marks := servedHere(virtuals, ownAddrs(have), base)
	for _, m := range marks {
		fmt.Fprintln(cmd.ErrOrStderr(), m)
	}
	if len(setups) == 0 {
		return nil, notFoundError{fmt.Errorf("realserver: %s: no service has a real server with an address of this host (%s)",
			strings.Join(f.from, ", "), strings.Join(texts(ownAddrs(have)), ", "))}
	}
	return setups, checkSetups(cmd, setups...)
}

// readVirtuals reads the services of the director's files, in whichever dialect.
// What the files say of the director itself is not asked of this host.
func readVirtuals(ctx context.Context, paths []string) ([]ldirector.Virtual, []config.Problem, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	host := dialects.Host{Online: true, HasLink: func(string) bool { return true }}
	l, err := dialects.Load(ctx, paths, dialects.Options{Host: host})
	if err != nil {
		return nil, nil, err
	}
	return l.Site.Virtuals, l.Problems, nil
}

// ownAddrs are the addresses under which a director can reach a host.
func ownAddrs(have netif.Snapshot) []netip.Addr {
	var ips []netip.Addr
	for _, a := range have.Addrs {
		ip := a.Prefix.Addr()
		if !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips
}

func texts(ips []netip.Addr) []string {
	words := make([]string, 0, len(ips))
	for _, ip := range ips {
		words = append(words, ip.String())
	}
	return words
}

// servedHere are the setups that virtual services want of the host with the given
// addresses: one for each way in which they hand it packets, with what base says
// beside that. A service for a firewall mark has no address in the file; notes
// say so.
func servedHere(virtuals []ldirector.Virtual, mine []netip.Addr, base realserver.Setup) (setups []realserver.Setup, notes []string) {
	for _, v := range virtuals {
		vip := v.Service.Addr.Addr()
		for _, m := range v.Members {
			rip := m.Destination.Addr.Addr()
			// A virtual address that is up here already makes nobody a real server.
			if !slices.Contains(mine, rip) || rip == vip {
				continue
			}
			if !vip.IsValid() {
				notes = append(notes, fmt.Sprintf("%s:%d: virtual service for firewall mark %d: the file does not say its addresses; name them with --vip",
					v.Source.File, v.Source.Line, v.Service.Mark))
				break
			}
			if m.Destination.Method == lvs.Tunnel && vip.Is4() != rip.Is4() {
				notes = append(notes, fmt.Sprintf("%s:%d: %v for %v: a tunnel from one family to the other is not supported; raise it by hand, with a device sit or ip6tnl",
					m.Source.File, m.Source.Line, rip, vip))
				continue
			}
			setups = addVIP(setups, wayOf(m.Destination, base), vip)
		}
	}
	return setups, notes
}

// wayOf is the setup without addresses that a destination's method wants.
func wayOf(d lvs.Destination, base realserver.Setup) realserver.Setup {
	s := base
	s.VIPs = nil
	switch d.Method {
	case lvs.Masq:
		return realserver.Setup{Method: realserver.NAT, Gateways: base.Gateways}
	case lvs.Tunnel:
		s.Method, s.Tunnel = realserver.TUN, realserver.Tunnel(d.Tunnel.Type.String())
		if d.Tunnel.Type == lvs.GUE {
			s.Port = d.Tunnel.Port
		}
	default:
		s.Method, s.Tunnel = realserver.DR, ""
	}
	s.Gateways = nil
	return s
}

func addVIP(setups []realserver.Setup, way realserver.Setup, vip netip.Addr) []realserver.Setup {
	i := slices.IndexFunc(setups, func(s realserver.Setup) bool {
		return s.Method == way.Method && s.Tunnel == way.Tunnel && s.Port == way.Port
	})
	if i < 0 {
		way.VIPs = []netip.Addr{vip}
		return append(setups, way)
	}
	if !slices.Contains(setups[i].VIPs, vip) {
		setups[i].VIPs = append(setups[i].VIPs, vip)
	}
	return setups
}
