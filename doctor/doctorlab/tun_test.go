package doctorlab

import "testing"

// strict is rp_filter as Red Hat sets it: tunnels have to live with it.
func (c *cluster) strict() {
	for _, h := range c.servers() {
		h.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
	}
}

func TestTUN(t *testing.T) {
	c := onOneNetwork(t)
	c.services("192.168.1.", "2001:db8:1::", "-i")
	c.strict()
	c.up("--vip", vip4+","+vip6, "--method", "tun")
	c.answered()
	c.healthy("TUN")
	d, tunnel := c.director, func(rule string) fault { return fault{rule: rule, on: c.r1, own: true} }
	down, filter, filter6, icmp := tunnel("tunnel-down"), tunnel("firewall-tunnel"), tunnel("tunnel-rp-filter"), fault{rule: "firewall-icmp", on: d, own: true}
	down.make = "ip link set tunl0 down"
	filter.make, filter.undo = iptables("-A INPUT -p 4 -j DROP")
	filter6.make = "sysctl -qw net.ipv4.conf.tunl0.rp_filter=1"
	icmp.make, icmp.undo = iptables("-A OUTPUT -p icmp --icmp-type destination-unreachable -j DROP")
	for _, f := range []fault{
		down, filter, filter6, icmp,
		{rule: "vip-source", on: d, own: true, make: "ip -6 addr change " + vip6 + "/128 dev eth0 preferred_lft forever"},
		{rule: "tunnel-mtu", on: d, own: true, make: "ip link set eth0 mtu 1280"},
	} {
		c.try(f)
	}
	c.healthy("TUN, mended")
}

func TestGUE(t *testing.T) {
	c := onOneNetwork(t)
	c.services("192.168.1.", "2001:db8:1::", "-i", "--tun-type", "gue", "--tun-port", "6080", "--tun-nocsum")
	c.up("--vip", vip4+","+vip6, "--method", "tun", "--tunnel", "gue")
	c.answered()
	c.healthy("GUE")
	c.try(fault{rule: "tunnel-port", on: c.r1, own: true, make: "ip fou del port 6080"})
	filter, undo := iptables("-A INPUT -p udp --dport 6080 -j DROP")
	c.try(fault{rule: "firewall-tunnel", on: c.r1, own: true, make: filter, undo: undo})
	c.healthy("GUE, mended")
}
