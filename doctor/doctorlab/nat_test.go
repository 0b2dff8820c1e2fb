package doctorlab

import (
	"context"
	"testing"
	"time"
)

func TestNAT(t *testing.T) {
	c := behindTheDirector(t)
	c.services("10.0.0.", "2001:db8:2::", "-m")
	c.up("--vip", vip4+","+vip6, "--method", "nat", "--gateway", "10.0.0.1,2001:db8:2::1")
	c.answered()
	c.healthy()
	c.path(vip4+":80", "by masquerading to real server 10.0.0.11:80", "came the first packet for 10.0.0.11:80", "answered by 02:00:00:00:02:01")
	d, given := c.director, []string{"--method", "nat", "--gateway", "10.0.0.1", "--vip"}
	forward, undoForward := iptables("-A FORWARD -s 10.0.0.0/24 -j DROP")
	masq, undoMasq := iptables("-t nat -A POSTROUTING -j MASQUERADE")
	c.try(
		fault{rule: "nat-forward", quick: true, on: d, own: true, make: "sysctl -qw net.ipv4.ip_forward=0"},
		fault{rule: "nat-redirects", on: d, own: true, make: "ipvsadm -a " + service4 + " -r 192.168.1.77:80 -m", undo: "ipvsadm -d " + service4 + " -r 192.168.1.77:80"},
		fault{rule: "firewall-forward", on: d, own: true, make: forward, undo: undoForward},
		fault{rule: "nat-snat", quick: true, on: d, own: true, make: masq, undo: undoMasq + "; sysctl -qw net.ipv4.vs.conntrack=0"},
		fault{rule: "nat-gateway", quick: true, on: c.r1, fix: true, make: "ip route del default"},
		fault{rule: "nat-vip", on: c.r1, own: true, args: append(given, vip4), make: "ip addr add " + vip4 + "/32 dev lo"},
		fault{rule: "nat-shortcut", on: c.r1, own: true, args: append(given, "10.0.0.100"),
			before: func() { d.Run("ip", "addr", "add", "10.0.0.100/32", "dev", "eth1") }, after: func() { d.Run("ip", "addr", "del", "10.0.0.100/32", "dev", "eth1") }, undo: "ip route replace 10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.11"},
		fault{rule: "nat-no-return", quick: true, on: d, before: c.unanswered, after: c.answeredAgain},
	)
	c.mended()
}

// unanswered takes the way back from the servers and lets the client try.
func (c *cluster) unanswered() {
	for _, h := range c.servers() {
		h.Run("ip", "route", "del", "default")
	}
	c.director.Run("ipvsadm", "-Z")
	for range 6 {
		ctx, cancel := context.WithTimeout(c.t.Context(), 200*time.Millisecond)
		if conn, err := c.client.TryDial(ctx, "tcp", vip4+":80"); err == nil {
			conn.Close()
			c.t.Error("the client was answered")
		}
		cancel()
	}
}

func (c *cluster) answeredAgain() {
	for _, h := range c.servers() {
		h.Run("ip", "route", "add", "default", "via", "10.0.0.1")
	}
	c.director.Run("ipvsadm", "-Z")
	c.answered()
}
