package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// protocols are those that firewall rules name and that matter here. As with the
// other words of this file, their table is made when it is first needed: this
// package is linked into a program whose other commands must start fast.
var protocols = sync.OnceValue(func() map[string]uint8 {
	return map[string]uint8{"icmp": 1, "igmp": 2, "ipip": 4, "ipencap": 4, "ipv4": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47,
		"esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "vrrp": 112, "carp": 112, "sctp": 132, "dccp": 33, "udplite": 136, "comp": 108}
})

func protocol(word string) (uint8, bool) {
	if n, err := strconv.ParseUint(word, 10, 8); err == nil {
		return uint8(n), true
	}
	n, ok := protocols()[word]
	return n, ok
}

// The conditions. Each is Maybe for a packet whose field is not known.

func unread(Packet) Truth { return Maybe }

func not(c Cond) Cond { return func(p Packet) Truth { return c(p).Not() } }

// anyOf holds when one of several does.
func anyOf(cs []Cond) Cond {
	return func(p Packet) Truth {
		best := No
		for _, c := range cs {
			best = max(best, c(p))
		}
		return best
	}
}

func isProto(n uint8) Cond {
	return func(p Packet) Truth {
		if p.Proto == 0 {
			return Maybe
		}
		return truth(p.Proto == n)
	}
}

func inPrefix(field func(Packet) netip.Addr, prefix netip.Prefix) Cond {
	return func(p Packet) Truth {
		if !field(p).IsValid() {
			return max(Maybe, truth(prefix.Bits() == 0))
		}
		return truth(prefix.Contains(field(p)))
	}
}

func inRange(field func(Packet) int, low, high int) Cond {
	return func(p Packet) Truth {
		v := field(p)
		if v < 0 {
			return Maybe
		}
		return truth(low <= v && v <= high)
	}
}

func isName(field func(Packet) string, name string) Cond {
	prefix, wild := strings.CutSuffix(strings.ReplaceAll(name, "+", "*"), "*")
	return func(p Packet) Truth {
		switch v := field(p); {
		case v == "":
			return Maybe
		case wild:
			return truth(strings.HasPrefix(v, prefix))
		default:
			return truth(v == name)
		}
	}
}

func src(p Packet) netip.Addr { return p.Src }
func dst(p Packet) netip.Addr { return p.Dst }
func in(p Packet) string      { return p.In }
func out(p Packet) string     { return p.Out }
func state(p Packet) string   { return p.State }
func sport(p Packet) int      { return known(p.SPort) }
func dport(p Packet) int      { return known(p.DPort) }
func icmpType(p Packet) int   { return p.ICMPType }

func known(port uint16) int {
	if port == 0 {
		return -1
	}
	return int(port)
}

// ParseNFT reads the answer of "nft -j list ruleset".
func ParseNFT(data []byte) ([]Chain, error) {
	var doc struct {
		Nftables []struct {
			Chain *struct {
				Family, Table, Name, Hook, Policy string
				Prio                              int
			}
			Rule *struct {
				Family, Table, Chain string
				Expr                 []map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	var chains []Chain
	at := map[[3]string]int{}
	for _, o := range doc.Nftables {
		switch {
		case o.Chain != nil:
			c := o.Chain
			at[[3]string{c.Family, c.Table, c.Name}] = len(chains)
			policy := Verdict(c.Policy)
			if policy == "" {
				policy = Accept
			}
			chains = append(chains, Chain{Tool: "nft", Family: c.Family, Table: c.Table, Name: c.Name, Hook: c.Hook, Priority: c.Prio, Policy: policy})
		case o.Rule != nil:
			if i, ok := at[[3]string{o.Rule.Family, o.Rule.Table, o.Rule.Chain}]; ok {
				chains[i].Rules = append(chains[i].Rules, nftRule(o.Rule.Expr))
			}
		}
	}
	return chains, nil
}

func nftRule(expr []map[string]json.RawMessage) FilterRule {
	var r FilterRule
	var words []string
	for _, e := range expr {
		for key, value := range e {
			words = append(words, r.nftStatement(key, value))
		}
	}
	r.Text = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
	return r
}

// nftStatement takes one statement of a rule in and returns its text.
func (r *FilterRule) nftStatement(key string, value json.RawMessage) string {
	switch key {
	case "counter", "log", "comment":
		return ""
	case "match":
		return r.nftMatch(value)
	case "accept", "drop", "return":
		r.Verdict = Verdict(key)
		return key
	case "reject":
		r.Verdict = Drop
		return key
	case "jump", "goto":
		var to struct{ Target string }
		_ = json.Unmarshal(value, &to) // without a target it leads nowhere, which is unclear
		r.Verdict, r.Target = Verdict(key), to.Target
		return key + " " + to.Target
	case "mangle":
		return r.nftMangle(value)
	case "snat", "masquerade":
		r.SNAT = true
		return key + " " + compact(value)
	case "notrack", "meter", "limit", "quota", "ct count", "xt":
		r.Match = append(r.Match, unread)
		return key
	case "queue", "vmap", "dnat", "redirect", "tproxy":
		r.Verdict = Unclear
		return key + " " + compact(value)
	}
	r.Match = append(r.Match, unread)
	return key
}

func compact(value json.RawMessage) string {
	if len(value) > 60 || string(value) == "null" {
		return ""
	}
	return string(value)
}

func (r *FilterRule) nftMangle(value json.RawMessage) string {
	var m struct {
		Key   struct{ Meta struct{ Key string } }
		Value json.RawMessage
	}
	if json.Unmarshal(value, &m) != nil || m.Key.Meta.Key != "mark" {
		return "mangle"
	}
	r.Mark = anyMark
	var n uint32
	if json.Unmarshal(m.Value, &n) == nil {
		r.Mark = n
	}
	return fmt.Sprintf("meta mark set %s", compact(m.Value))
}

func (r *FilterRule) nftMatch(value json.RawMessage) string {
	var m struct {
		Op    string
		Left  map[string]json.RawMessage
		Right json.RawMessage
	}
	if json.Unmarshal(value, &m) != nil {
		r.Match = append(r.Match, unread)
		return "match"
	}
	field, name := nftField(m.Left)
	// "tcp dport" and "icmp type" are about packets of that protocol only.
	first, _, _ := strings.Cut(name, " ")
	if n, ok := protocols()[first]; ok {
		r.Match = append(r.Match, isProto(n))
	}
	conds, all := nftValues(field, m.Right)
	c := anyOf(conds)
	if !all {
		c = unread
	}
	switch m.Op {
	case "==", "in":
	case "!=":
		c = not(c)
	default:
		c = unread
	}
	r.Match = append(r.Match, c)
	if m.Op == "!=" {
		name += " !="
	}
	return name + " " + nftText(m.Right)
}

// nftText is a value as nft would write it.
func nftText(value json.RawMessage) string {
	var v struct {
		Set, Range []json.RawMessage
		Prefix     *struct {
			Addr string
			Len  int
		}
	}
	_ = json.Unmarshal(value, &v) // a plain value is none of these
	each := func(list []json.RawMessage) []string {
		var words []string
		for _, item := range list {
			words = append(words, nftText(item))
		}
		return words
	}
	switch {
	case v.Prefix != nil:
		return fmt.Sprintf("%s/%d", v.Prefix.Addr, v.Prefix.Len)
	case v.Range != nil:
		return strings.Join(each(v.Range), "-")
	case v.Set != nil:
		return "{ " + strings.Join(each(v.Set), ", ") + " }"
	}
	return strings.Trim(compact(value), `"`)
}

// nftField is what a match looks at, as "ip daddr" or "meta iifname".
func nftField(left map[string]json.RawMessage) (field, name string) {
	for kind, value := range left {
		var of struct{ Protocol, Field, Key string }
		if json.Unmarshal(value, &of) != nil {
			continue
		}
		switch kind {
		case "payload":
			name = of.Protocol + " " + of.Field
		case "meta", "ct":
			name = kind + " " + of.Key
		}
	}
	if words := strings.Fields(name); len(words) == 2 {
		field = words[1]
		if words[0] == "icmp" || words[0] == "icmpv6" || words[0] == "ct" {
			field = words[0] + " " + words[1]
		}
	}
	return field, name
}

// nftValues are the conditions of which one has to hold; all is false when some
// value cannot be read.
func nftValues(field string, right json.RawMessage) (conds []Cond, all bool) {
	var set struct{ Set []json.RawMessage }
	if json.Unmarshal(right, &set) == nil && set.Set != nil {
		all = true
		for _, v := range set.Set {
			c := nftValue(field, v)
			conds, all = append(conds, c), all && c != nil
		}
		return slices.DeleteFunc(conds, func(c Cond) bool { return c == nil }), all
	}
	var list []json.RawMessage // of ct state: "established", "related"
	if json.Unmarshal(right, &list) == nil {
		for _, v := range list {
			if c := nftValue(field, v); c != nil {
				conds = append(conds, c)
			}
		}
		return conds, len(conds) == len(list)
	}
	c := nftValue(field, right)
	if c == nil {
		return nil, false
	}
	return []Cond{c}, true
}

// nftValue is the condition that a field has a value, nil when it cannot be read.
func nftValue(field string, v json.RawMessage) Cond {
	var r struct {
		Range  []json.RawMessage
		Prefix *struct {
			Addr string
			Len  int
		}
	}
	_ = json.Unmarshal(v, &r) // a plain value is neither
	word := strings.Trim(string(v), `"`)
	switch {
	case strings.HasPrefix(word, "@"):
		return nil
	case r.Prefix != nil:
		return condition(field, fmt.Sprintf("%s/%d", r.Prefix.Addr, r.Prefix.Len))
	case len(r.Range) == 2:
		return condition(field, string(r.Range[0])+":"+string(r.Range[1]))
	}
	return condition(field, word)
}

// condition is that of a field, by nft's name for it, and a value in text; a range
// is low:high. It is nil when one of them is not understood.
func condition(field, value string) Cond {
	switch field {
	case "daddr", "saddr":
		prefix, err := parsePrefix(value)
		if err != nil {
			return nil
		}
		return inPrefix(map[string]func(Packet) netip.Addr{"daddr": dst, "saddr": src}[field], prefix)
	case "protocol", "nexthdr", "l4proto":
		if n, ok := protocol(value); ok {
			return isProto(n)
		}
	case "dport", "sport", "icmp type", "icmpv6 type":
		low, high, ok := parseRange(value)
		if ok {
			return inRange(map[string]func(Packet) int{"dport": dport, "sport": sport, "icmp type": icmpType, "icmpv6 type": icmpType}[field], low, high)
		}
	case "iifname", "iif":
		return isName(in, value)
	case "oifname", "oif":
		return isName(out, value)
	case "ct state":
		return isName(state, value)
	}
	return nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// icmpTypes are the names of the two types that matter here.
var icmpTypes = map[string]int{"destination-unreachable": 3, "fragmentation-needed": 3, "packet-too-big": 2, "echo-request": 8}

func parseRange(text string) (low, high int, ok bool) {
	if n, named := icmpTypes[text]; named {
		return n, n, true
	}
	a, b, isRange := strings.Cut(text, ":")
	low, err := strconv.Atoi(a)
	if err != nil || !isRange {
		return low, low, err == nil
	}
	high, err = strconv.Atoi(b)
	return low, high, err == nil
}

// ParseIptables reads the text of iptables-save and its like. tool is the program
// that changes these rules, family is nft's word for them.
func ParseIptables(tool, family string, text []byte) []Chain {
	var chains []Chain
	table, base := "", 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, base = line[1:], len(chains)
		case strings.HasPrefix(line, ":"):
			name, rest, _ := strings.Cut(line[1:], " ")
			c := Chain{Tool: tool, Family: family, Table: table, Name: name, Priority: tableOrder[table], Policy: Accept}
			policy, _, _ := strings.Cut(rest, " ")
			if policy != "-" {
				c.Hook = strings.ToLower(name)
			}
			if policy == "DROP" {
				c.Policy = Drop
			}
			chains = append(chains, c)
		case strings.HasPrefix(line, "-A "):
			name, rest, _ := strings.Cut(line[3:], " ")
			for i := base; i < len(chains); i++ {
				if chains[i].Name == name {
					chains[i].Rules = append(chains[i].Rules, iptablesRule(rest))
				}
			}
		}
	}
	return chains
}

// tableOrder is that of the kernel's hooks: NF_IP_PRI_ of <linux/netfilter_ipv4.h>.
var tableOrder = map[string]int{"raw": -300, "mangle": -150, "filter": 0, "security": 50, "nat": 100}

func iptablesRule(text string) FilterRule {
	r := FilterRule{Text: text}
	words := fields(text)
	negated := false
	for i := 0; i < len(words); i++ {
		arg := ""
		if i+1 < len(words) {
			arg = words[i+1]
		}
		switch word := words[i]; word {
		case "!":
			negated = true
			continue
		case "-m", "--match", "--reject-with", "--comment", "--log-prefix", "--log-level":
			if !slices.Contains(harmless, arg) && word == "-m" {
				r.Match = append(r.Match, unread)
			}
			i++
		case "-j", "--jump", "-g", "--goto":
			r.target(word, arg)
			i++
		case "--set-xmark", "--set-mark":
			r.Mark = markOf(arg)
			i++
		case "--restore-mark":
			r.Mark = anyMark
		default:
			if !strings.HasPrefix(word, "-") {
				continue
			}
			c := iptablesMatch(word, arg)
			if negated {
				c = not(c)
			}
			r.Match = append(r.Match, c)
		}
		negated = false
	}
	return r
}

// harmless are match modules whose options we read, or that match all.
var harmless = []string{"tcp", "udp", "sctp", "comment", "multiport", "conntrack", "state", "icmp", "icmp6", "icmpv6", "addrtype"}

// fields splits a line at blanks, quoted words kept whole.
func fields(text string) []string {
	var words []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] == '"' {
			if end := strings.IndexByte(text[1:], '"'); end >= 0 {
				words, text = append(words, text[1:1+end]), text[end+2:]
				continue
			}
		}
		word, rest, _ := strings.Cut(text, " ")
		words, text = append(words, word), rest
	}
	return words
}

func (r *FilterRule) target(how, name string) {
	switch name {
	case "ACCEPT", "DROP", "RETURN":
		r.Verdict = Verdict(strings.ToLower(name))
	case "REJECT":
		r.Verdict = Drop
	case "SNAT", "MASQUERADE":
		r.SNAT, r.Verdict = true, Accept
	case "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "TTL", "HL", "DSCP", "TOS", "CLASSIFY", "CHECKSUM", "AUDIT", "CT", "NOTRACK", "SECMARK":
		r.Verdict = Next
	case "DNAT", "REDIRECT", "TPROXY", "QUEUE", "NFQUEUE":
		r.Verdict = Unclear
	default:
		r.Verdict, r.Target = Jump, name
		if how == "-g" || how == "--goto" {
			r.Verdict = Goto
		}
	}
}

func markOf(text string) uint32 {
	value, _, _ := strings.Cut(text, "/")
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return anyMark
	}
	return uint32(n)
}

// iptablesOptions are the options that we read, and nft's name for their field.
var iptablesOptions = sync.OnceValue(func() map[string]string {
	return map[string]string{"-s": "saddr", "-d": "daddr", "-p": "protocol", "-i": "iifname", "-o": "oifname",
		"--dport": "dport", "--sport": "sport", "--dports": "dport", "--sports": "sport", "--ctstate": "ct state", "--state": "ct state",
		"--icmp-type": "icmp type", "--icmpv6-type": "icmpv6 type"}
})

func iptablesMatch(option, value string) Cond {
	field, ok := iptablesOptions()[option]
	if !ok {
		return unread
	}
	var conds []Cond
	for word := range strings.SplitSeq(value, ",") {
		switch field {
		case "ct state":
			word = strings.ToLower(word)
		case "icmp type", "icmpv6 type":
			word, _, _ = strings.Cut(word, "/")
		}
		c := condition(field, word)
		if c == nil {
			return unread
		}
		conds = append(conds, c)
	}
	return anyOf(conds)
}
