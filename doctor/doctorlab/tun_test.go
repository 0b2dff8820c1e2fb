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
	c.healthy()
	if !testing.Short() { // the short tests follow one in DR and in NAT
		c.path("["+vip6+"]:80", "in a tunnel, ipip, to real server 2001:db8:1::11", "in a tunnel, ipip, of 2001:db8:1::2", "a real server of direct routing or a tunnel")
	}
	d, on := c.director, fault{on: c.r1, own: true, quick: true}
	down, filter, strict, icmp := on, on, on, fault{rule: "firewall-icmp", on: d, own: true}
	down.rule, down.make, down.quick = "tunnel-down", "ip link set tunl0 down", false
	filter.rule = "firewall-tunnel"
	filter.make, filter.undo = iptables("-A INPUT -p 4 -j DROP")
	strict.rule, strict.make = "tunnel-rp-filter", "sysctl -qw net.ipv4.conf.tunl0.rp_filter=1"
	icmp.make, icmp.undo = iptables("-A OUTPUT -p icmp --icmp-type destination-unreachable -j DROP")
	c.try(down, filter, strict, icmp,
		fault{rule: "vip-source", quick: true, on: d, own: true, make: "ip -6 addr change " + vip6 + "/128 dev eth0 preferred_lft forever"},
		fault{rule: "tunnel-mtu", on: d, own: true, make: "ip link set eth0 mtu 1280"})
	c.mended()
}

func TestGUE(t *testing.T) {
	c := onOneNetwork(t)
	c.services("192.168.1.", "2001:db8:1::", "-i", "--tun-type", "gue", "--tun-port", "6080", "--tun-nocsum")
	c.up("--vip", vip4+","+vip6, "--method", "tun", "--tunnel", "gue")
	c.answered()
	c.healthy()
	if !testing.Short() { // the short tests follow one in DR and in NAT
		c.path(vip4+":80", "in a tunnel, gue, to real server 192.168.1.11", "in a tunnel, gue, of 192.168.1.2", "a real server of direct routing or a tunnel")
	}
	c.try(fault{rule: "tunnel-port", quick: true, on: c.r1, fix: true, make: "ip fou del port 6080"})
	filter, undo := iptables("-A INPUT -p udp --dport 6080 -j DROP")
	c.try(fault{rule: "firewall-tunnel", on: c.r1, own: true, make: filter, undo: undo})
	c.mended()
}
