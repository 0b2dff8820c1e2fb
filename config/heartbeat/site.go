package heartbeat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Priorities of the node that a group prefers, of the first other one, and how
// much a ping node that does not answer costs: more than lies between them.
const (
	preferred  = 150
	other      = 100
	pingWeight = -(preferred - other + 10)
)

// Site is what this node does for the cluster: a virtual router for each group.
// What resources ldirectord configure is not in it: [Cluster.Ldirectord] says which
// files are meant, and which group their services follow.
func (c *Cluster) Site() config.Site {
	s := config.Site{RouterID: c.Self}
	if c.IPFail {
		for _, ping := range c.Pings {
			s.Scripts = append(s.Scripts, c.script(ping))
		}
	}
	for _, g := range c.Groups {
		if len(g.Addresses) == 0 || c.link(g) == "" {
			continue // said already
		}
		s.Instances = append(s.Instances, c.instance(g, s.Scripts))
	}
	return s
}

// Wanted is a configuration of ldirectord that a group runs.
type Wanted struct {
	Config string // as written; "ldirectord.cf" when nothing was
	Group  string
	Source ldirector.Source
}

// Ldirectord are the configurations that the resources name, in their order.
func (c *Cluster) Ldirectord() []Wanted {
	var ws []Wanted
	for _, g := range c.Groups {
		for _, r := range g.Resources {
			if isLdirectord(r) {
				ws = append(ws, Wanted{Config: append(slices.Clone(r.Args), "ldirectord.cf")[0], Group: g.Name, Source: r.Source})
			}
		}
	}
	return ws
}

func isLdirectord(r config.Resource) bool { return r.Name == "ldirectord" }

func (c *Cluster) instance(g Group, scripts []config.Script) config.Instance {
	v6 := g.Addresses[0].Prefix.Addr().Is6()
	t := c.Timing(v6)
	in := config.Instance{
		Instance: vrrp.Instance{
			Name: g.Name, Link: c.link(g), VRID: g.VRID,
			Version: t.Version, Interval: t.Interval, DownAdverts: t.DownAdverts,
			Priority: c.priority(g), NoPreempt: c.stays(),
			FirstWait: c.firstWait(g), WarnAfter: c.Warntime,
			Peers: c.peers(g), Garp: vrrp.DefaultGarp,
		},
		IPv6:   v6,
		Origin: g.Source,
	}
	if t.Version == 2 {
		in.Password = c.password()
	}
	for _, a := range g.Addresses {
		a.Excluded = a.Prefix.Addr().Is6() != v6 || len(in.Addrs) == vrrp.MaxAddrs
		if !a.Excluded {
			in.Addrs = append(in.Addrs, a.Prefix.Addr())
		}
		in.Addresses = append(in.Addresses, a)
	}
	for _, r := range g.Resources {
		if !isLdirectord(r) {
			in.Resources = append(in.Resources, r)
		}
	}
	in.Track = append(in.Track, vrrp.Tracked{Name: config.TrackLink(in.Link)})
	for _, s := range scripts {
		in.Track = append(in.Track, vrrp.Tracked{Name: config.TrackScript(s.Name), Weight: s.Weight})
	}
	return in
}

// stays tells whether resources stay where they are when a better node comes
// back by order of nopreempt. With ipfail that cannot be: nodes that do not
// preempt would not take over from a master that has lost its ping nodes. There
// all nodes have one priority instead, and equals do not preempt each other.
func (c *Cluster) stays() bool { return !c.AutoFailback && !c.pings() }

func (c *Cluster) pings() bool { return c.IPFail && len(c.Pings) > 0 }

func (c *Cluster) priority(g Group) uint8 {
	if c.Self == g.Node && (c.AutoFailback || !c.pings()) {
		return preferred
	}
	if !c.AutoFailback && c.pings() {
		return other
	}
	rank := 0
	for _, n := range c.Nodes {
		if n == c.Self {
			break
		}
		if n != g.Node {
			rank++
		}
	}
	return uint8(max(other-rank, 1))
}

// firstWait is initdead. Among equals the node that is preferred goes first.
func (c *Cluster) firstWait(g Group) time.Duration {
	wait := max(c.Initdead, c.Deadtime)
	if c.Self != g.Node && !c.AutoFailback && c.pings() {
		wait += 2 * c.Keepalive
	}
	return wait
}

// link is where a group's adverts go: where its addresses are, as far as that is
// known, else the first link of the heartbeats.
func (c *Cluster) link(g Group) string {
	for _, a := range g.Addresses {
		if a.Link != "" {
			return a.Link
		}
	}
	for _, a := range g.Addresses {
		if c.opt.LinkOf == nil {
			break
		}
		if link := c.opt.LinkOf(a.Prefix.Addr()); link != "" {
			return link
		}
	}
	if len(c.Media) > 0 {
		return c.Media[0].Link
	}
	return ""
}

// peers: ucast on the link of the addresses stays unicast. Files that are the
// same on both nodes name both, so our own address is left out.
func (c *Cluster) peers(g Group) []netip.Addr {
	var peers []netip.Addr
	link, v6 := c.link(g), g.Addresses[0].Prefix.Addr().Is6()
	for _, m := range c.Media {
		switch {
		case m.Link != link:
		case m.Kind != "ucast":
			return nil // multicast reaches them all
		case m.Addr.Is6() == v6 && (c.opt.Own == nil || !c.opt.Own(m.Addr)):
			peers = append(peers, m.Addr)
		}
	}
	return peers
}

// password keeps clusters apart that share a network by accident. It is no
// protection: it goes over the wire as it is.
func (c *Cluster) password() string {
	if c.Auth.Key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(c.Auth.Method + " " + c.Auth.Key))
	return hex.EncodeToString(sum[:])[:8]
}

// PingScript is the name of the [config.Script] of a ping node.
func PingScript(node string) string { return "ping-" + node }

// script pings the hosts of one ping node, one after the other until one answers.
func (c *Cluster) script(ping Ping) config.Script {
	wait := max(1, int(c.Keepalive/time.Second))
	var tries []string
	for _, a := range ping.Addrs {
		tries = append(tries, fmt.Sprintf("ping -c 1 -W %d %s", wait, quoteShell(a)))
	}
	words := []string{"/bin/sh", "-c", strings.Join(tries, " || ")}
	if len(ping.Addrs) == 1 {
		words = []string{"ping", "-c", "1", "-W", strconv.Itoa(wait), ping.Addrs[0]}
	}
	return config.Script{
		Name:     PingScript(ping.Name),
		Command:  config.Command{Words: words, Source: ping.Source},
		Hosts:    ping.Addrs,
		Interval: max(c.Keepalive, time.Second),
		Timeout:  time.Duration(wait*len(ping.Addrs)+1) * time.Second,
		Rise:     1,
		Fall:     max(1, int(c.Deadping/max(c.Keepalive, time.Second))),
		Weight:   c.pingWeight(),
		Source:   ping.Source,
	}
}

// pingWeight is small among equals, so that many ping nodes fit into priorities.
func (c *Cluster) pingWeight() int {
	if !c.AutoFailback {
		return -10
	}
	return pingWeight
}

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Timing is deadtime in terms of VRRP.
type Timing struct {
	Version     uint8
	Interval    time.Duration
	DownAdverts int
	// Dead is the silence after which a node of priority 100 takes over.
	Dead time.Duration
}

// Timing finds an interval of at most keepalive, of which four go into deadtime,
// and how many may pass in silence so that a death is found after deadtime.
// Version 2 has whole seconds, and a password; version 3 has neither.
func (c *Cluster) Timing(v6 bool) Timing {
	a := max(min(c.Keepalive, c.Deadtime/4), c.Deadtime/100)
	t := Timing{Version: 2, Interval: a.Truncate(time.Second)}
	if v6 || a < time.Second {
		t = Timing{Version: 3, Interval: max(a.Round(10*time.Millisecond), 10*time.Millisecond)}
	}
	longest := vrrp.MaxIntervalV2
	unit := time.Second
	if t.Version == 3 {
		longest, unit = vrrp.MaxIntervalV3, t.Interval
	}
	t.Interval = min(t.Interval, longest)
	skew := unit * (256 - other) / 256
	t.DownAdverts = int((c.Deadtime - skew + t.Interval/2) / t.Interval)
	t.DownAdverts = max(1, min(t.DownAdverts, 100))
	t.Dead = time.Duration(t.DownAdverts)*t.Interval + skew
	return t
}

// String says in one line what becomes of heartbeat's protocol.
func (c *Cluster) String() string {
	var ids []string
	for _, g := range c.Groups {
		ids = append(ids, fmt.Sprintf("%s is VRID %d", g.Name, g.VRID))
	}
	return fmt.Sprintf("VRRP is spoken in place of heartbeat's protocol, so all of %s have to change together; %s",
		strings.Join(c.Nodes, ", "), strings.Join(ids, ", "))
}
