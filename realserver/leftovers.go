package realserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// File is a file of a host, by its path from the root: "/etc/rc.local".
type File struct {
	Path string
	Text string
}

// places are where tutorials leave things.
var places = []string{
	"etc/sysconfig/network-scripts/ifcfg-*:*",
	"etc/sysconfig/network-scripts/ifcfg-tunl0",
	"etc/sysconfig/network-scripts/route-lo*",
	"etc/sysconfig/static-routes",
	"etc/rc.local",
	"etc/rc.d/rc.local",
	"etc/sysctl.conf",
	"etc/sysctl.d/*.conf",
	"etc/network/interfaces",
	"etc/network/interfaces.d/*",
	"etc/init.d/*",
}

const (
	maxLeftoverSize  = 256 << 10
	maxLeftoverFiles = 512
)

// ReadLeftovers reads the files in which tutorials leave what they did; root is
// the host's "/". What cannot be read is an error, and the rest is returned with
// it. Large files are read in part.
func ReadLeftovers(root fs.FS) ([]File, error) {
	var files []File
	var errs []error
	for _, place := range places {
		names, err := fs.Glob(root, place)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if len(files) >= maxLeftoverFiles {
				return files, errors.Join(errs...)
			}
			text, err := readSome(root, name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			files = append(files, File{Path: "/" + name, Text: text})
		}
	}
	return files, errors.Join(errs...)
}

func readSome(root fs.FS, name string) (string, error) {
	info, err := fs.Stat(root, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil // a dangling link, a folder
	}
	if err != nil {
		return "", err
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLeftoverSize))
	return string(text), errors.Join(err, f.Close())
}

// Leftovers finds the lines that concern a setup in files that others wrote: what
// is done there already, what is not enough, and what works against it. Our own
// files are left out, and no line is ever changed.
func Leftovers(files []File, s Setup) []Finding {
	l := leftovers{setup: s}
	for _, f := range files {
		if strings.HasPrefix(f.Text, marker) {
			continue
		}
		switch {
		case strings.HasPrefix(path.Base(f.Path), "ifcfg-"):
			l.ifcfg(f)
		case strings.HasPrefix(f.Path, "/etc/sysctl"):
			l.sysctls(f)
		case strings.HasPrefix(f.Path, "/etc/network/"):
			l.lines(f, interfacesLine.re())
		default:
			l.lines(f, shellLine.re())
		}
	}
	return l.found
}

type leftovers struct {
	setup Setup
	found []Finding
}

func (l *leftovers) add(f Finding) { l.found = append(l.found, f) }

// ifcfg reads a file of name=value lines as Red Hat's network scripts have them.
func (l *leftovers) ifcfg(f File) {
	values := map[string]string{}
	for _, line := range strings.Split(f.Text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[strings.ToUpper(name)] = strings.Trim(value, `"' `)
		}
	}
	vip, err := netip.ParseAddr(values["IPADDR"])
	if err != nil || !slices.Contains(l.setup.VIPs, vip) {
		return
	}
	mask, prefix := values["NETMASK"], values["PREFIX"]
	switch {
	case mask != "255.255.255.255" && prefix != "32":
		l.add(Finding{Level: Wrong, VIP: vip, Where: f.Path, What: "it gives " + vip.String() + " a network",
			Why: "the host would take that whole network for its own; NETMASK has to be 255.255.255.255"})
	case strings.EqualFold(values["ONBOOT"], "no"):
		l.add(Finding{Level: Note, VIP: vip, Where: f.Path, What: "it describes " + vip.String() + " and does not raise it at boot", Why: "ONBOOT is no"})
	default:
		l.add(Finding{Level: Note, VIP: vip, Where: f.Path, What: "it raises " + vip.String() + " at boot",
			Why: "lvsctl finds it there and does not do it twice; it raises the address before lvsctl has silenced ARP, unless a sysctl file does that"})
	}
}

// setting is a line of sysctl.conf, or of a script.
var setting = pattern{src: `net[./]ipv4[./]conf[./]([^./\s]+)[./](arp_ignore|arp_announce|rp_filter)\s*=\s*"?(\d+)`}

// written is the same through /proc: echo "1" >/proc/sys/net/ipv4/conf/lo/arp_ignore
var written = pattern{src: `echo\s+"?(\d+)"?\s*>+\s*/proc/sys/net/ipv4/conf/([^/\s]+)/(arp_ignore|arp_announce|rp_filter)`}

// assignment is a setting that a file makes.
type assignment struct {
	line               int
	device, name, text string
}

func assignments(f File) []assignment {
	var list []assignment
	for n, line := range strings.Split(f.Text, "\n") {
		if comment(line) {
			continue
		}
		if m := setting.re().FindStringSubmatch(line); m != nil {
			list = append(list, assignment{n + 1, m[1], m[2], m[3]})
		}
		if m := written.re().FindStringSubmatch(line); m != nil {
			list = append(list, assignment{n + 1, m[2], m[3], m[1]})
		}
	}
	return list
}

func comment(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
}

// sysctls looks at a file that is applied at boot.
func (l *leftovers) sysctls(f File) {
	if l.setup.Method == NAT || l.setup.KeepARP || len(l.setup.family(false)) == 0 {
		return
	}
	carrier := l.setup.carrier(false)
	all := false
	var only *assignment
	for _, a := range assignments(f) {
		where := fmt.Sprintf("%s:%d", f.Path, a.line)
		value := int(a.text[0] - '0')
		good := len(a.text) == 1 && (a.name == "arp_ignore" && hides(value) || a.name == "arp_announce" && announcesWell(value))
		switch {
		case a.name == "rp_filter":
			l.rpFilter(a, where)
		case !good && (a.device == "all" || a.device == "default"):
			l.add(Finding{Level: Wrong, Where: where, What: fmt.Sprintf("it sets %s of %s to %s", a.name, a.device, a.text), Why: "at boot that undoes the silence that the virtual addresses need"})
		case good && a.device == "all" && a.name == "arp_ignore":
			all = true
			l.add(Finding{Level: Note, Where: where, What: "it silences ARP at boot", Why: "lvsctl finds it done and does not do it twice"})
		case good && a.device == carrier && a.name == "arp_ignore":
			only = &a
		}
	}
	if only != nil && !all {
		l.add(Finding{Level: Advice, Where: fmt.Sprintf("%s:%d", f.Path, only.line), What: "it silences " + carrier + " alone",
			Why: "that hides nothing: an ARP request comes in on a network card, and there the larger of conf/all and the card's own value counts"})
	}
}

func (l *leftovers) rpFilter(a assignment, where string) {
	if l.setup.Method == TUN && a.text == "1" && a.device == l.setup.carrier(false) {
		l.add(Finding{Level: Wrong, Where: where, What: "it makes " + a.device + " drop what comes out of the tunnel", Why: "strict filtering refuses clients that are not reached through the tunnel, which is all of them"})
	}
}

var (
	// shellLine is a line of a script that raises an address or sets a route.
	shellLine = pattern{src: `\b(ifconfig\s+\S+\s|ip\s+(-\S+\s+)*a(d|dd|ddr|ddress)?\s+(add|replace)\s|route\s+add\s|ip\s+(-\S+\s+)*r(oute)?\s+(add|replace)\s)`}
	// interfacesLine is one of /etc/network/interfaces that does.
	interfacesLine = pattern{src: `^\s*(address|up|post-up|pre-up)\s`}
)

// lines looks for lines that match and name a VIP, itself or by a variable that was
// set to it.
func (l *leftovers) lines(f File, kind *regexp.Regexp) {
	names := l.variables(f)
	arp := slices.ContainsFunc(assignments(f), func(a assignment) bool { return a.device == "all" && a.name == "arp_ignore" && a.text != "0" })
	for n, line := range strings.Split(f.Text, "\n") {
		vip, ok := l.names(line, names)
		if comment(line) || !ok || !kind.MatchString(line) {
			continue
		}
		found := Finding{Level: Note, VIP: vip, Where: fmt.Sprintf("%s:%d", f.Path, n+1), What: strings.Join(strings.Fields(line), " "),
			Why: "lvsctl finds this done when it runs later, and does not do it twice"}
		if strings.Contains(f.Path, "/init.d/") {
			found.Why += "; the script's own stop would take it away again"
		}
		if !arp && !strings.Contains(line, "route") {
			found.Why += "; the file does not silence ARP on all"
		}
		l.add(found)
	}
}

var assigned = pattern{src: `(?m)^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=["']?([0-9a-fA-F.:]+)["']?\s*(?:#.*)?$`}

// variables are the names that a script gives to VIPs.
func (l *leftovers) variables(f File) map[string]netip.Addr {
	names := map[string]netip.Addr{}
	for _, m := range assigned.re().FindAllStringSubmatch(f.Text, -1) {
		if ip, err := netip.ParseAddr(m[2]); err == nil && slices.Contains(l.setup.VIPs, ip) {
			names[m[1]] = ip
		}
	}
	return names
}

// names is the VIP that a line speaks of.
func (l *leftovers) names(line string, variables map[string]netip.Addr) (netip.Addr, bool) {
	for name, ip := range variables {
		if strings.Contains(line, "$"+name) || strings.Contains(line, "${"+name+"}") {
			return ip, true
		}
	}
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\"'=;&|()", r) }) {
		word, _, _ = strings.Cut(word, "/")
		if ip, err := netip.ParseAddr(word); err == nil && slices.Contains(l.setup.VIPs, ip) {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
