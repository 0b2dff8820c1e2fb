package doctor

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Firewall is what a host's packet filters say, read from nft or iptables-save into
// one form. It answers one question: what becomes of this packet? What it cannot
// read it takes for possible either way, and so it never calls a packet dropped that
// may pass.
type Firewall struct {
	Read   bool // the rules are known
	Chains []Chain
}

// Chain is a list of rules. One with a Hook sees packets by itself.
type Chain struct {
	Tool     string // "nft", "iptables", "ip6tables", ...
	Family   string // "ip", "ip6", "inet", "arp", "bridge", "netdev"
	Table    string
	Name     string
	Hook     string // "prerouting", "input", "forward", "output", "postrouting"
	Priority int
	Policy   Verdict
	Rules    []FilterRule
}

// FilterRule is one rule of a chain.
type FilterRule struct {
	Text    string // as its tool writes it
	Match   []Cond
	Verdict Verdict
	Target  string // of Jump and Goto
	Mark    uint32 // that it sets on packets; 0 is none
	SNAT    bool   // it rewrites the sender
}

// Cond is a condition on a packet.
type Cond func(Packet) Truth

// Truth is whether something holds, as far as is known.
type Truth int8

// The truths.
const (
	No Truth = iota
	Maybe
	Yes
)

// Not is the opposite.
func (t Truth) Not() Truth { return Yes - t }

func truth(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

// Verdict is what a rule does with a packet.
type Verdict string

// Verdicts. Next leads to the next rule; Unclear is one that cannot be read.
const (
	Next    Verdict = ""
	Accept  Verdict = "accept"
	Drop    Verdict = "drop"
	Jump    Verdict = "jump"
	Goto    Verdict = "goto"
	Return  Verdict = "return"
	Unclear Verdict = "unclear"
)

// Packet is a packet about whose fate a firewall is asked. Fields that are zero are
// not known.
type Packet struct {
	Proto        uint8
	Src, Dst     netip.Addr
	SPort, DPort uint16
	In, Out      string
	// Known answers of a connection are State "established"; packets that begin one
	// are "new".
	State    string
	ICMPType int // -1 is not known
}

func (p Packet) ipv6() bool { return p.Dst.Is6() }

// Dropped is a rule, or a chain's policy, that drops a packet.
type Dropped struct {
	Chain Chain
	Rule  string
}

// Fate is the rule that drops a packet at a hook, if one surely does.
func (w Firewall) Fate(hook string, p Packet) (Dropped, bool) {
	var bases []Chain
	for _, c := range w.Chains {
		if c.Hook == hook && c.sees(p) {
			bases = append(bases, c)
		}
	}
	slices.SortStableFunc(bases, func(a, b Chain) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, c := range bases {
		t := traverse{wall: w, packet: p, budget: maxSteps}
		if rule, drops := t.fate(c); drops {
			return Dropped{c, rule}, true
		}
	}
	return Dropped{}, false
}

func (c Chain) sees(p Packet) bool {
	return c.Family == "inet" || c.Family == "ip" && !p.ipv6() || c.Family == "ip6" && p.ipv6()
}

// maxSteps bounds the rules that one packet is tried on, jumps included.
const maxSteps = 100_000

// traverse is the way of one packet through a base chain.
type traverse struct {
	wall   Firewall
	packet Packet
	budget int
	passed bool   // a rule that we cannot read may have let it go
	by     string // the rule that decided
}

// fate is whether the chain surely drops the packet.
func (t *traverse) fate(c Chain) (string, bool) {
	v := t.chain(c, 0)
	if v == Next {
		v, t.by = c.Policy, "policy "+string(c.Policy)
	}
	return t.by, v == Drop && !t.passed && t.budget > 0
}

// maxDepth is the kernel's own limit for jumps (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

func (t *traverse) chain(c Chain, depth int) Verdict {
	for _, r := range c.Rules {
		if t.budget--; t.budget <= 0 || depth > maxDepth {
			t.passed = true
			return Accept
		}
		m := r.matches(t.packet)
		if m == No {
			continue
		}
		v := r.Verdict
		if v == Jump || v == Goto {
			v = t.jump(c, r, depth)
		}
		switch {
		case v == Next:
		case v == Unclear, m == Maybe && v != Drop:
			t.passed = true
		case m == Maybe:
			// It may drop the packet, or not: what comes later decides.
		case v == Return:
			return Next
		default:
			if r.Verdict != Jump && r.Verdict != Goto {
				t.by = r.Text
			}
			return v
		}
	}
	return Next
}

func (t *traverse) jump(from Chain, r FilterRule, depth int) Verdict {
	for _, c := range t.wall.Chains {
		if c.Tool == from.Tool && c.Family == from.Family && c.Table == from.Table && c.Name == r.Target {
			v := t.chain(c, depth+1)
			if v == Next && r.Verdict == Goto {
				return Return
			}
			return v
		}
	}
	return Unclear
}

func (r FilterRule) matches(p Packet) Truth {
	all := Yes
	for _, c := range r.Match {
		all = min(all, c(p))
	}
	return all
}

// Let is the line that lets packets pass where they are dropped now; match is in
// nft's words and in those of iptables.
func (d Dropped) Let(nft, iptables string) string {
	c := d.Chain
	if c.Tool == "nft" {
		return strings.Join([]string{"nft insert rule", c.Family, c.Table, c.Name, nft, "accept"}, " ")
	}
	table := ""
	if c.Table != "filter" {
		table = " -t " + c.Table
	}
	return c.Tool + table + " -I " + c.Name + " " + iptables + " -j ACCEPT"
}

// String names the place: nft inet filter input.
func (d Dropped) String() string {
	return strings.Join([]string{d.Chain.Tool, d.Chain.Family, d.Chain.Table, d.Chain.Name}, " ")
}

// sets is whether some rule sets a firewall mark.
func (w Firewall) sets(mark uint32) bool {
	return slices.ContainsFunc(w.Chains, func(c Chain) bool {
		return slices.ContainsFunc(c.Rules, func(r FilterRule) bool { return r.Mark == mark || r.Mark == anyMark })
	})
}

// anyMark is that of a rule that sets one which cannot be read.
const anyMark = 1<<32 - 1

// sourceNAT is a rule that rewrites the sender of packets, "" for none.
func (w Firewall) sourceNAT() string {
	for _, c := range w.Chains {
		for _, r := range c.Rules {
			if r.SNAT {
				return r.Text
			}
		}
	}
	return ""
}

// hidesARP is whether a filter of ARP speaks of an address: then who answers is its
// business, and arp_ignore need not be.
func (w Firewall) hidesARP(ip netip.Addr) bool {
	for _, c := range w.Chains {
		for _, r := range c.Rules {
			if c.Family == "arp" && strings.Contains(r.Text, ip.String()) {
				return true
			}
		}
	}
	return false
}
