package realserver

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Files of ours.
const (
	SysctlFile = "/etc/sysctl.d/90-lvsctl-realserver.conf"
	UnitName   = "lvsctl-realserver.service"
	UnitFile   = "/etc/systemd/system/" + UnitName
	// UnitLink is what "systemctl enable" makes.
	UnitLink    = "/etc/systemd/system/multi-user.target.wants/" + UnitName
	NetworkFile = "/etc/systemd/network/90-lvsctl-realserver.network"
)

// marker begins every file of ours: what lacks it belongs to someone else.
const marker = "# Written by lvsctl realserver"

// Ours is whether a file's text was written by us.
func Ours(text string) bool { return strings.HasPrefix(text, marker) }

// Format is a way to have a setup again after a restart.
type Format string

// The formats. Systemd runs this program at boot and so brings back everything;
// the others let the distribution's own tools do it, for DR only.
const (
	Systemd  Format = "systemd"
	Ifcfg    Format = "ifcfg"    // Red Hat's network scripts
	Ifupdown Format = "ifupdown" // Debian's /etc/network/interfaces
	Networkd Format = "networkd"
)

// Persist is the text of the files that bring setups back after a restart; program
// is the path of lvsctl. None are needed for no setup.
func Persist(format Format, program string, setups []Setup) ([]File, error) {
	if len(setups) == 0 {
		return nil, nil
	}
	for _, s := range setups {
		if format != Systemd && s.Method != DR {
			return nil, fmt.Errorf("format %s has no words for method %s; take systemd", format, s.Method)
		}
	}
	var files []File
	if text := sysctlText(setups); text != "" {
		files = append(files, File{SysctlFile, text})
	}
	switch format {
	case Systemd:
		return append(files, File{UnitFile, unitText(program, setups)}), nil
	case Ifcfg:
		return append(files, ifcfgFiles(setups)...), nil
	case Ifupdown:
		return append(files, File{"/etc/network/interfaces.d/lvsctl-realserver", ifupdownText(setups)}), nil
	case Networkd:
		return append(files, File{NetworkFile, networkdText(setups)}), nil
	}
	return nil, fmt.Errorf("format %q: there is systemd, ifcfg, ifupdown and networkd", format)
}

// Args are the arguments of "lvsctl realserver up" that say a setup.
func (s Setup) Args() []string {
	args := []string{"--method", string(s.Method)}
	flag := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name, value)
		}
	}
	flag("vip", joined(s.VIPs))
	flag("interface", s.Interface)
	flag("label", s.Label)
	flag("tunnel", string(s.Tunnel))
	if s.Port != 0 {
		flag("port", strconv.Itoa(int(s.Port)))
	}
	flag("gateway", joined(s.Gateways))
	if s.NoRoute {
		args = append(args, "--no-route")
	}
	if s.KeepARP {
		args = append(args, "--keep-arp")
	}
	return args
}

func joined(ips []netip.Addr) string {
	var words []string
	for _, ip := range ips {
		words = append(words, ip.String())
	}
	return strings.Join(words, ",")
}

// sysctlText is the drop-in: the settings that a host has before it has the
// device of a tunnel. They come before any network does, and so before the unit.
func sysctlText(setups []Setup) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, s := range setups {
		for _, w := range Explain(netif.Snapshot{}, s) {
			key := w.Step.Sysctl.Key
			early := strings.Contains(key, ".all.") || strings.Contains(key, ".default.") || strings.Contains(key, ".lo.")
			if w.Step.Op != netif.SetSysctl || !early || seen[key] {
				continue
			}
			seen[key] = true
			fmt.Fprintf(&b, "%s = %s\n", key, w.Step.Sysctl.Value)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return marker + "; \"lvsctl realserver down\" removes it.\n" +
		"# A real server must not say on the network that it has the virtual addresses.\n" + b.String()
}

// unitText has no ExecStop: at shutdown everything goes anyway, and what was found
// before has to be remembered beyond it.
func unitText(program string, setups []Setup) string {
	var b strings.Builder
	b.WriteString(marker + "; \"lvsctl realserver down\" removes it.\n")
	b.WriteString(`[Unit]
Description=Virtual addresses of an LVS real server
Documentation=man:lvsctl-realserver(8)
After=systemd-sysctl.service
`)
	if needsNetwork(setups) {
		b.WriteString("Wants=network-online.target\nAfter=network-online.target\n")
	} else {
		b.WriteString("Before=network.target\n")
	}
	b.WriteString("\n[Service]\nType=oneshot\nRemainAfterExit=yes\n")
	for _, s := range setups {
		fmt.Fprintf(&b, "ExecStart=%s realserver up %s\n", program, strings.Join(s.Args(), " "))
	}
	b.WriteString("\n[Install]\nWantedBy=multi-user.target\n")
	return b.String()
}

// needsNetwork is whether a gateway has to be a neighbour first.
func needsNetwork(setups []Setup) bool {
	for _, s := range setups {
		if s.Method == NAT {
			return true
		}
	}
	return false
}

// placed is a VIP with its label, as the way up would choose it on an empty host.
type placed struct {
	addr  netif.Addr
	route bool
}

func placements(setups []Setup) []placed {
	var list []placed
	host := netif.Snapshot{}
	for _, s := range setups {
		for _, w := range Explain(host, s) {
			switch w.Step.Op {
			case netif.AddAddr:
				host.Addrs = append(host.Addrs, w.Step.Addr) // so that the next setup takes the next label
				list = append(list, placed{addr: w.Step.Addr})
			case netif.AddRoute:
				list[len(list)-1].route = true
			}
		}
	}
	return list
}

func ifcfgFiles(setups []Setup) []File {
	const dir = "/etc/sysconfig/network-scripts/"
	var files []File
	var six []string
	routes := ""
	for _, p := range placements(setups) {
		ip, device := p.addr.Prefix.Addr(), p.addr.Label
		if device == "" {
			device = p.addr.Link
		}
		if ip.Is6() {
			six = append(six, p.addr.Prefix.String())
			continue
		}
		text := marker + ".\nDEVICE=" + device + "\nIPADDR=" + ip.String() + "\nNETMASK=255.255.255.255\nBROADCAST=" + ip.String() + "\nONBOOT=yes\n"
		files = append(files, File{dir + "ifcfg-" + device, text})
		if p.route {
			routes += ip.String() + "/32 dev " + p.addr.Link + " scope link\n"
		}
	}
	if routes != "" {
		// Of an alias the scripts read no routes.
		files = append(files, File{dir + "route-lo", marker + ".\n" + routes})
	}
	if len(six) > 0 {
		files = append(files, File{dir + "ifcfg-lo", marker + ". Add these lines to the file that is there.\nIPV6INIT=yes\nIPV6ADDR_SECONDARIES=\"" + strings.Join(six, " ") + "\"\n"})
	}
	return files
}

func ifupdownText(setups []Setup) string {
	var b strings.Builder
	b.WriteString(marker + ".\n")
	for _, p := range placements(setups) {
		ip, device := p.addr.Prefix.Addr(), p.addr.Label
		if device == "" {
			device = p.addr.Link
		}
		if ip.Is6() {
			fmt.Fprintf(&b, "\nauto %s\niface %s inet6 static\n\taddress %v/128\n\tdad-attempts 0\n\tpreferred-lifetime 0\n", p.addr.Link, p.addr.Link, ip)
			continue
		}
		fmt.Fprintf(&b, "\nauto %s\niface %s inet static\n\taddress %v/32\n\tbroadcast %v\n", device, device, ip, ip)
		if p.route {
			fmt.Fprintf(&b, "\tup ip route replace %v dev %s scope link\n\tdown ip route del %v dev %s scope link\n", ip, p.addr.Link, ip, p.addr.Link)
		}
	}
	return b.String()
}

func networkdText(setups []Setup) string {
	var b strings.Builder
	b.WriteString(marker + ".\n")
	device := ""
	for _, p := range placements(setups) {
		ip := p.addr.Prefix.Addr()
		if p.addr.Link != device {
			device = p.addr.Link
			fmt.Fprintf(&b, "[Match]\nName=%s\n\n[Network]\nKeepConfiguration=yes\n", device)
		}
		fmt.Fprintf(&b, "\n[Address]\nAddress=%v\n", p.addr.Prefix)
		if ip.Is6() {
			b.WriteString("DuplicateAddressDetection=none\nPreferredLifetime=0\n")
			continue
		}
		fmt.Fprintf(&b, "Broadcast=%v\n", ip)
		if p.addr.Label != "" {
			fmt.Fprintf(&b, "Label=%s\n", p.addr.Label)
		}
		if p.route {
			fmt.Fprintf(&b, "\n[Route]\nDestination=%v/32\nScope=link\n", ip)
		}
	}
	return b.String()
}
