package doctorlab

import (
	"testing"
)

func TestDR(t *testing.T) {
	c := onOneNetwork(t)
	c.services("192.168.1.", "2001:db8:1::", "-g")
	c.up("--vip", vip4+","+vip6)
	c.answered()
	c.healthy()
	c.path(vip4+":80", "direct routing to 02:00:00:00:03:01 (192.168.1.11", "handed over by 02:00:00:00:02:01 (192.168.1.2", "a real server of direct routing or a tunnel")
	c.try(c.realServerFaults()...)
	// A link of the director's own, for faults that would cut it off.
	c.director.Run("sh", "-e", "-c", "ip link add br9 type bridge; ip link set br9 up")
	c.try(c.tableFaults()...)
	c.try(c.addressFaults()...)
	c.try(c.advertFaults()...)
	c.try(c.ipvsFaults()...)
	c.try(c.hostFaults()...)
	c.mended()
}

func (c *cluster) realServerFaults() []fault {
	forget := func() { c.client.Run("ip", "neigh", "flush", "all"); c.director.Run("ip", "neigh", "flush", "all") }
	loud := "sysctl -qw net.ipv4.conf.all.arp_ignore=0"
	quiet := "sysctl -qw net.ipv4.conf.all.arp_ignore=1"
	onR1 := func(line string) func() { return func() { c.r1.Run("sh", "-c", line) } }
	filter, unfilter := iptables("-A INPUT -d " + vip4 + " -j DROP")
	return []fault{
		{rule: "arp-ignore", quick: true, on: c.r1, make: loud, own: true, after: forget},
		{rule: "server-answers", quick: true, on: c.director, before: onR1(loud), after: onR1(quiet)},
		{rule: "many-answer", on: c.client, args: []string{"--probe-arp", vip4}, before: onR1(loud), after: func() { onR1(quiet)(); forget() }},
		{rule: "arp-announce", on: c.r1, make: "sysctl -qw net.ipv4.conf.all.arp_announce=0", own: true},
		{rule: "vip-missing", on: c.r1, make: "ip addr del " + vip4 + "/32 dev lo", own: true},
		{rule: "vip-on-wire", quick: true, on: c.r1, make: "ip addr del " + vip4 + "/32 dev lo; ip addr add " + vip4 + "/32 dev eth0", own: true, after: forget},
		{rule: "vip-length", on: c.r1, make: "ip addr del " + vip4 + "/32 dev lo; ip addr add " + vip4 + "/24 dev lo label lo:0", own: true},
		{rule: "vip-dad", on: c.r1, own: true, make: `sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1; ip -6 addr del ` + vip6 + `/128 dev lo; ip -6 addr add ` + vip6 + `/128 dev eth0
			for i in $(seq 100); do ip -6 addr show dev eth0 dadfailed | grep -q ` + vip6 + ` && exit 0; sleep 0.1; done; ip -6 addr show dev eth0; sysctl net.ipv6.conf.eth0 | grep dad; exit 1`},
		{rule: "vip6-source", on: c.r1, make: "ip -6 addr change " + vip6 + "/128 dev lo preferred_lft forever", own: true},
		{rule: "proxy-arp", on: c.r1, make: "sysctl -qw net.ipv4.conf.eth0.proxy_arp=1", own: true},
		{rule: "gateway-is-director", quick: true, on: c.r1, make: "ip route add default via 192.168.1.2", undo: "ip route del default"},
		{rule: "firewall-vip", on: c.r1, make: filter, own: true, undo: unfilter},
		{rule: "stale-neighbour", quick: true, on: c.client, args: []string{"--probe-arp", vip4}, own: true,
			make: "ip neigh replace " + vip4 + " lladdr 02:00:00:00:03:01 nud permanent dev eth0"},
		{rule: "nobody-answers", on: c.client, args: []string{"--probe-arp", "192.168.1.200"}},
	}
}
