package netif

import (
	"strconv"
	"strings"
)

// ConfKey is the name of an interface's setting in sysctl's notation, for family
// "ipv4" or "ipv6". The interface is a device, "all" or "default". A dot in a
// device's name becomes a slash there, as sysctl(8) wants it: eth0.100 is
// "net.ipv4.conf.eth0/100.arp_ignore".
func ConfKey(family, iface, name string) string {
	return "net." + family + ".conf." + swapDots(iface) + "." + name
}

// SysctlPath is the file of a setting, below /proc/sys.
func SysctlPath(key string) string { return swapDots(key) }

// swapDots exchanges dots and slashes: sysctl's own rule, and its own inverse.
func swapDots(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s)
}

// A combination is how the kernel makes one effective value out of conf/all and
// conf/DEVICE: include/linux/inetdevice.h, the IN_DEV_ macros. conf/default never
// counts; it is what a new device begins with.
type combination uint8

const (
	own  combination = iota // the device's value alone
	most                    // the larger one
	any1                    // on when either is on
	all1                    // on when both are on
)

// confs4 are the settings of IPv4 that we read of every interface.
var confs4 = []struct {
	name string
	how  combination
}{
	{"accept_local", any1},
	{"accept_redirects", all1},
	{"arp_accept", most},
	{"arp_announce", most},
	{"arp_filter", any1},
	{"arp_ignore", most},
	{"arp_notify", most},
	{"forwarding", own},
	{"log_martians", any1},
	{"promote_secondaries", any1},
	{"proxy_arp", any1},
	{"route_localnet", any1},
	{"rp_filter", most},
	{"send_redirects", any1},
	{"src_valid_mark", any1},
}

// confs6 are those of IPv6. There, the device's own value is nearly always the
// one that counts: conf/all is either ignored or, as forwarding and disable_ipv6,
// copied to every device when it is written.
var confs6 = []struct {
	name string
	how  combination
}{
	{"accept_dad", most},
	{"accept_ra", own},
	{"dad_transmits", own},
	{"disable_ipv6", own},
	{"forwarding", own},
	{"keep_addr_on_down", own},
	{"ndisc_notify", any1},
	{"proxy_ndp", any1},
	{"use_oif_addrs_only", any1},
}

// globals are settings of the host as a whole.
var globals = []string{
	"net.core.fb_tunnels_only_for_init_net",
	"net.ipv4.ip_forward",
	"net.ipv4.ip_nonlocal_bind",
	// Those of IPVS are there once its module is.
	"net.ipv4.vs.conn_reuse_mode",
	"net.ipv4.vs.conntrack",
	"net.ipv4.vs.expire_nodest_conn",
	"net.ipv4.vs.expire_quiescent_template",
	"net.ipv4.vs.pmtu_disc",
	"net.ipv4.vs.sloppy_sctp",
	"net.ipv4.vs.sloppy_tcp",
	"net.ipv6.bindv6only",
	"net.ipv6.ip_nonlocal_bind",
}

// Effective is the value of a setting as it works on a device: what conf/all and
// conf/DEVICE come to. It is false when the snapshot lacks one of the two, or when
// we do not know how the kernel combines them.
func (s Snapshot) Effective(family, iface, name string) (int, bool) {
	how, known := howCombined(family, name)
	mine, err := strconv.Atoi(s.Sysctls[ConfKey(family, iface, name)])
	if !known || err != nil {
		return 0, false
	}
	if how == own {
		return mine, true
	}
	everyone, err := strconv.Atoi(s.Sysctls[ConfKey(family, "all", name)])
	if err != nil {
		return 0, false
	}
	return combine(how, everyone, mine), true
}

func combine(how combination, everyone, mine int) int {
	switch how {
	case most:
		return max(everyone, mine)
	case any1:
		return truth(everyone != 0 || mine != 0)
	case all1:
		return truth(everyone != 0 && mine != 0)
	}
	return mine
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func howCombined(family, name string) (combination, bool) {
	confs := confs4
	if family == "ipv6" {
		confs = confs6
	}
	for _, c := range confs {
		if c.name == name {
			return c.how, true
		}
	}
	return 0, false
}
