package doctor

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Adverts are the senders of adverts among frames, with their last advert.
type Adverts struct {
	heard   []Heard
	decoder vrrp.Decoder
}

// maxSenders bounds what a noisy network can make us remember.
const maxSenders = 1024

// Add takes a frame; what is no advert is left out.
func (a *Adverts) Add(frame netif.Frame) {
	p, ok := parseIP(frame.Packet)
	if !ok || p.proto != vrrp.Protocol {
		return
	}
	advert := a.decoder.Decode(p.src, p.dst, p.ttl, p.payload)
	if advert.Flaw == vrrp.BadLength || advert.Flaw == vrrp.BadVersion {
		return
	}
	advert.Addrs = slices.Clone(advert.Addrs)
	for i, h := range a.heard {
		if h.Link == frame.Link && h.Advert.VRID == advert.VRID && h.Advert.Src == advert.Src {
			a.heard[i].Advert, a.heard[i].Count = advert, h.Count+1
			return
		}
	}
	if len(a.heard) < maxSenders {
		a.heard = append(a.heard, Heard{Link: frame.Link, Ours: frame.Out, Count: 1, Advert: advert})
	}
}

// Heard are the senders, in the order of their first advert.
func (a *Adverts) Heard() []Heard { return a.heard }

// masters are those that hold their addresses: with priority 0 a master gives up.
func (f Facts) masters() []Heard {
	return slices.DeleteFunc(slices.Clone(f.Adverts), func(h Heard) bool { return h.Advert.Priority == vrrp.PriorityStop })
}

// rivals are pairs of senders for one virtual router on one link.
func (f Facts) rivals(each func(a, b Heard)) {
	masters := f.masters()
	for i, a := range masters {
		for _, b := range masters[i+1:] {
			if a.Link == b.Link && a.Advert.VRID == b.Advert.VRID && a.Advert.Src.Is6() == b.Advert.Src.Is6() && a.Advert.Src != b.Advert.Src {
				each(a, b)
			}
		}
	}
}

func vridClash(f Facts) []Finding {
	var found []Finding
	f.rivals(func(a, b Heard) {
		if sameAddrs(a.Advert.Addrs, b.Advert.Addrs) {
			return
		}
		found = append(found, wrong(fmt.Sprintf("VRID %d on %s is used by %s and by %s", a.Advert.VRID, a.Link, sender(a), sender(b)),
			"these are two clusters; each takes the other's adverts for damaged or for those of a rival, and their masters change at random").
			say(fmt.Sprintf("# give one of the clusters another VRID; free on %s: %s", a.Link, freeVRIDs(f, a.Link))))
	})
	return found
}

func splitBrain(f Facts) []Finding {
	var found []Finding
	f.rivals(func(a, b Heard) {
		if !sameAddrs(a.Advert.Addrs, b.Advert.Addrs) {
			return
		}
		found = append(found, wrong(fmt.Sprintf("VRID %d on %s has two masters: %s and %s", a.Advert.VRID, a.Link, sender(a), sender(b)),
			"both have the VIP; one does not hear the other, or does not believe it: a firewall that drops protocol 112, different passwords, versions or addresses").
			say("# on both: lvsctl doctor --listen 5s", "# and compare auth_pass, version and unicast_peer of their configurations"))
	})
	return found
}

func sameAddrs(a, b []netip.Addr) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return slices.Equal(a, b)
}

func sender(h Heard) string {
	who := h.Advert.Src.String()
	if h.Ours {
		who += " (this host)"
	}
	var ips []string
	for _, ip := range h.Advert.Addrs {
		ips = append(ips, ip.String())
	}
	return fmt.Sprintf("%s, priority %d, for %s", who, h.Advert.Priority, strings.Join(ips, " "))
}

func freeVRIDs(f Facts, link string) string {
	taken := map[uint8]bool{}
	for _, h := range f.Adverts {
		taken[h.Advert.VRID] = taken[h.Advert.VRID] || h.Link == link
	}
	var free []string
	for id := uint8(51); len(free) < 3 && id < 255; id++ {
		if !taken[id] {
			free = append(free, fmt.Sprint(id))
		}
	}
	return strings.Join(free, ", ")
}

// vipNotHeld: the packet says that this host has the address. keepalived leaves out
// some addresses (virtual_ipaddress_excluded), never names one that it has not.
func vipNotHeld(f Facts) []Finding {
	var found []Finding
	for _, h := range f.masters() {
		for _, vip := range h.Advert.Addrs {
			if !h.Ours || vip.IsLinkLocalUnicast() || f.ours(vip) {
				continue
			}
			a := netif.Addr{Link: h.Link, Prefix: netip.PrefixFrom(vip, vip.BitLen())}
			found = append(found, wrong(fmt.Sprintf("this host sends adverts for VRID %d with %v on %s, and does not have the address", h.Advert.VRID, vip, h.Link),
				"the backup keeps quiet and nobody serves; something took the address away, often a network manager that restarted").
				mend(netif.Step{Op: netif.AddAddr, Addr: withVIPFlags(a)}))
		}
	}
	return found
}

// vipOfAnother: an address on the wire that another one advertises, while this host
// does not. A hidden address is a real server's.
func vipOfAnother(f Facts) []Finding {
	var found []Finding
	for _, h := range f.masters() {
		if h.Ours || f.weAdvertise(h) {
			continue
		}
		for _, vip := range h.Advert.Addrs {
			for _, a := range f.heldOnWire(vip) {
				found = append(found, wrong(fmt.Sprintf("%v is the master of VRID %d with %v, and this host has %v on %s too", h.Advert.Src, h.Advert.VRID, vip, vip, a.Link),
					"both answer for the address; a VIP is the master's alone, and is not configured by hand or at boot").
					mend(netif.Step{Op: netif.DelAddr, Addr: a}))
			}
		}
	}
	return found
}

// weAdvertise is whether this host is a master of the same virtual router: then the
// trouble is a split brain.
func (f Facts) weAdvertise(o Heard) bool {
	return slices.ContainsFunc(f.masters(), func(h Heard) bool { return h.Ours && h.Link == o.Link && h.Advert.VRID == o.Advert.VRID })
}

// manager: what a network manager did not make, it may take away when it starts
// again or the carrier returns.
func manager(f Facts) []Finding {
	var found []Finding
	for _, m := range f.Managers {
		for _, vip := range f.managedVIPs() {
			for _, a := range f.Host.Holders(vip) {
				if a.Link == m.Link && !m.keeps(vip) {
					found = append(found, advice(fmt.Sprintf("%v is on %s, which %s manages by %s, and that file does not know the address", vip, a.Link, m.Name, m.fileName()),
						"a restart of it, or of the link, removes the address, and whoever put it there may not notice").say(m.fix()...))
				}
			}
		}
	}
	return found
}

func (f Facts) managedVIPs() []netip.Addr {
	vips := f.VIPs()
	for _, s := range f.Setups {
		for _, vip := range s.VIPs {
			if !slices.Contains(vips, vip) {
				vips = append(vips, vip)
			}
		}
	}
	return vips
}

func (m Manager) fileName() string {
	if m.File == "" {
		return "a file that is not known"
	}
	return m.File
}

// keeps is whether a manager's configuration leaves an address alone: it knows it,
// or is told to keep what it finds.
func (m Manager) keeps(vip netip.Addr) bool {
	for line := range strings.Lines(m.Text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "KeepConfiguration" && slices.Contains([]string{"yes", "static"}, value):
			return true
		case (key == "Address" || strings.HasPrefix(key, "address")) && namesAddr(value, vip):
			return true
		}
	}
	return false
}

// namesAddr reads "10.0.0.1/24" and NetworkManager's "10.0.0.1/24,10.0.0.254".
func namesAddr(value string, vip netip.Addr) bool {
	word, _, _ := strings.Cut(value, ",")
	word, _, _ = strings.Cut(word, "/")
	ip, err := netip.ParseAddr(strings.TrimSpace(word))
	return err == nil && ip == vip
}

func (m Manager) fix() []string {
	if m.Name == "NetworkManager" {
		return []string{"nmcli device set " + m.Link + " managed no", "# or give the address to the connection: nmcli connection modify NAME +ipv4.addresses VIP/32"}
	}
	folder := "/etc/systemd/network/" + m.unit() + ".d"
	return []string{"mkdir -p " + folder, "printf '[Network]\\nKeepConfiguration=static\\n' >" + folder + "/keep.conf", "networkctl reload"}
}

// unit is the name of networkd's file for a link.
func (m Manager) unit() string {
	if m.File == "" {
		return m.Link + ".network"
	}
	return path.Base(m.File)
}
