package doctorlab

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

const service4 = "-t " + vip4 + ":80"

func (c *cluster) tableFaults() []fault {
	d := c.director
	return []fault{
		{rule: "no-scheduler", on: d, make: "ipvsadm -E " + service4 + " -s none", own: true, undo: "ipvsadm -E " + service4 + " -s rr"},
		{rule: "no-server", on: d, make: "ipvsadm -A -t " + vip4 + ":81 -s rr", undo: "ipvsadm -D -t " + vip4 + ":81"},
		{rule: "no-server", on: d, own: true, make: "ipvsadm -e " + service4 + " -r 192.168.1.11 -g -w 0; ipvsadm -e " + service4 + " -r 192.168.1.12 -g -w 0",
			undo: "ipvsadm -e " + service4 + " -r 192.168.1.11 -g -w 1; ipvsadm -e " + service4 + " -r 192.168.1.12 -g -w 1"},
		{rule: "unreachable", on: d, make: "ipvsadm -a " + service4 + " -r 10.99.0.1 -g", undo: "ipvsadm -d " + service4 + " -r 10.99.0.1"},
		{rule: "dr-routed", on: d, own: true, make: "ip route add 10.99.0.0/24 via 192.168.1.12; ipvsadm -a " + service4 + " -r 10.99.0.1 -g",
			undo: "ipvsadm -d " + service4 + " -r 10.99.0.1; ip route del 10.99.0.0/24"},
		{rule: "dr-port", on: d, own: true, before: c.otherPort, undo: "ipvsadm -d " + service4 + " -r 192.168.1.13:80"},
		{rule: "mark-unset", on: d, make: "ipvsadm -A -f 7 -s rr; ipvsadm -a -f 7 -r 192.168.1.11 -g", undo: "ipvsadm -D -f 7"},
		{rule: "backup-loops", quick: true, on: c.r2, own: true, make: "ipvsadm -A " + service4 + " -s rr; ipvsadm -a " + service4 + " -r 192.168.1.11 -g"},
		{rule: "scheduler-missing", on: d, undo: "rm /etc/ha.d/ldirectord.cf", before: func() {
			d.WriteFile("/etc/ha.d/ldirectord.cf", "virtual="+vip4+":80\n\treal=192.168.1.11:80 gate\n\tscheduler=fairest\n\tprotocol=tcp\n", 0o644)
		}},
		{rule: "ipvs-denied", on: d, args: []string{"--role", "director"}, make: "mv " + program() + " " + program() + ".own; " +
			"printf '#!/bin/sh\\nexec setpriv --bounding-set -net_admin --inh-caps -net_admin %s \"$@\"\\n' " + program() + ".own >" + program() + "; chmod +x " + program(),
			undo: "mv " + program() + ".own " + program()},
	}
}

func (c *cluster) addressFaults() []fault {
	d := c.director
	onClient := func(line string) func() { return func() { c.client.Run("sh", "-c", line) } }
	return []fault{
		{rule: "vip-link-down", on: d, own: true, undo: "ipvsadm -D -t 10.9.9.9:80; ip addr del 10.9.9.9/32 dev br9",
			make: "ip addr add 10.9.9.9/32 dev br9; ip link set br9 down; ipvsadm -A -t 10.9.9.9:80 -s rr; ipvsadm -a -t 10.9.9.9:80 -r 192.168.1.11 -g"},
		{rule: "vip-nowhere", on: d, own: true, undo: "ipvsadm -D -t 192.168.1.150:80; ip addr del 192.168.1.150/32 dev eth0",
			make: "ipvsadm -A -t 192.168.1.150:80 -s rr; ipvsadm -a -t 192.168.1.150:80 -r 192.168.1.11 -g"},
		{rule: "vip-duplicate", on: d, before: onClient("ip addr add " + vip4 + "/32 dev eth0"), after: onClient("ip addr del " + vip4 + "/32 dev eth0; ip neigh flush all")},
		{rule: "vip-source", on: d, own: true, make: "ip route replace 192.168.1.0/24 dev eth0 proto kernel scope link src " + vip4},
		{rule: "vip-source", on: d, own: true, make: "ip -6 addr change " + vip6 + "/128 dev eth0 preferred_lft forever"},
		{rule: "director-rp-filter", on: d, own: true, undo: "sysctl -qw net.ipv4.conf.eth0.rp_filter=0; ip addr del 172.31.0.1/24 dev br9",
			make: "ip addr add 172.31.0.1/24 dev br9; ip route add default via 172.31.0.2; sysctl -qw net.ipv4.conf.eth0.rp_filter=1"},
	}
}

func (c *cluster) advertFaults() []fault {
	d := c.director
	listen := []string{"--listen", "1500ms"}
	const other = "192.168.1.77"
	missing := func() func() { return c.adverts(d, 51, "192.168.1.2", other) }
	master := func() func() { return c.adverts(c.r2, 51, "192.168.1.12", vip4) }
	second := func(vip string) func() func() {
		return func() func() { return c.adverts(c.r1, 51, "192.168.1.11", vip) }
	}
	rival := func() func() { return c.adverts(c.r2, 51, "192.168.1.12", other) }
	ours := func() func() { return c.adverts(d, 51, "192.168.1.2", vip4) }
	list := func(rule string, start ...func() func()) fault {
		f := fault{rule: rule, on: d, args: listen}
		f.before, f.after = during(start...)
		return f
	}
	notHeld := list("vip-not-held", missing)
	notHeld.own, notHeld.undo = true, "ip addr del "+other+"/32 dev eth0"
	another := list("vip-of-another", master)
	another.quick = true
	another.own, another.undo = true, "ip addr add "+vip4+"/32 dev eth0"
	sloppy := list("sloppy-tcp", ours)
	sloppy.make, sloppy.own, sloppy.undo = "ipvsadm -E "+service4+" -s sh", true, "ipvsadm -E "+service4+" -s rr"
	wall := list("firewall-vrrp", rival)
	wall.make, wall.undo = iptables("-A INPUT -p 112 -j DROP")
	wall.own, wall.quick = true, true
	return []fault{notHeld, another, list("vrid-clash", second("192.168.1.78"), rival), list("split-brain", second(other), rival), sloppy, wall}
}

func (c *cluster) ipvsFaults() []fault {
	d := c.director
	connect := func() {
		for range 4 {
			c.client.Get("http://" + vip4 + "/")
		}
	}
	quiesce, restore := "ipvsadm -e "+service4+" -r 192.168.1.12 -g -w 0", "ipvsadm -e "+service4+" -r 192.168.1.12 -g -w 1"
	return []fault{
		{rule: "expire-nodest", quick: true, on: d, own: true, before: connect, make: "ipvsadm -d " + service4 + " -r 192.168.1.12",
			undo: "ipvsadm -a " + service4 + " -r 192.168.1.12 -g; sysctl -qw net.ipv4.vs.expire_nodest_conn=0"},
		{rule: "expire-quiescent", on: d, own: true, make: "ipvsadm -E " + service4 + " -s rr -p 300; " + quiesce, undo: restore + "; ipvsadm -E " + service4 + " -s rr"},
		{rule: "conn-reuse", on: d, own: true, make: "sysctl -qw net.ipv4.vs.conn_reuse_mode=0; " + quiesce, undo: restore},
		{rule: "sync-link", on: d, own: true, make: "ipvsadm --start-daemon master --mcast-interface br9 --syncid 3; ip link set br9 down"},
		{rule: "sync-mtu", on: d, own: true, make: "ip link set br9 mtu 1300", undo: "ipvsadm --stop-daemon master; ip link set br9 mtu 1500"},
	}
}

func (c *cluster) hostFaults() []fault {
	d := c.director
	filter, unfilter := iptables("-t mangle -A PREROUTING -p tcp --dport 80 -j DROP")
	return []fault{
		{rule: "firewall-vip", on: d, make: filter, own: true, undo: unfilter},
		{rule: "manager", on: d, undo: "rm -r /run/systemd/netif /etc/systemd/network", before: func() {
			index := strings.TrimSpace(d.Run("cat", "/sys/class/net/eth0/ifindex"))
			d.WriteFile("/etc/systemd/network/10-eth0.network", "[Match]\nName=eth0\n[Network]\nAddress=192.168.1.2/24\n", 0o644)
			d.WriteFile("/run/systemd/netif/links/"+index, "ADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/10-eth0.network\n", 0o644)
		}},
	}
}

// otherPort adds a server that ipvsadm itself would have put right: keepalived and
// others write to the kernel what they are told.
func (c *cluster) otherPort() {
	c.t.Helper()
	var k *kernel.Client
	var err error
	c.director.Do(func() { k, err = kernel.Open() })
	if err != nil {
		c.t.Fatal(err)
	}
	defer k.Close()
	add := lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: lvs.At(lvs.TCP, netip.MustParseAddrPort(vip4+":80"))},
		Destination: lvs.Destination{Addr: netip.MustParseAddrPort("192.168.1.13:8080"), Method: lvs.Gate, Weight: 1}}
	if err := errors.Join(k.Do([]lvs.Change{add})...); err != nil {
		c.t.Fatal(err)
	}
}
