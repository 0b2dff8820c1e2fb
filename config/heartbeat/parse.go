package heartbeat

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
)

type parser struct {
	c        *Cluster
	file     string
	line     int
	name     string // of the directive being read
	problems []config.Problem
}

func (p *parser) at() ldirector.Source { return ldirector.Source{File: p.file, Line: p.line} }

func (p *parser) problem(s config.Severity, text, hint string) {
	p.problems = append(p.problems, config.Problem{File: p.file, Line: p.line, Severity: s, Text: text, Hint: hint})
}

func (p *parser) wrong(text, hint string) { p.problem(config.Error, text, hint) }
func (p *parser) warn(text, hint string)  { p.problem(config.Warning, text, hint) }

// eachLine hands over the words of each line that has some. A # begins a comment
// anywhere in a line.
func (p *parser) eachLine(f File, do func(words []string)) {
	p.file = f.Name
	pending, start := "", 0
	for n, line := range strings.Split(string(f.Text), "\n") {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\r"), "#")
		if pending == "" {
			start = n + 1
		}
		if rest, more := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); more {
			pending += rest + " "
			continue
		}
		p.line = start
		if words := strings.Fields(pending + line); len(words) > 0 {
			do(words)
		}
		pending = ""
	}
	if words := strings.Fields(pending); len(words) > 0 {
		p.line = start
		do(words)
	}
}

// directive is one of ha.cf.
type directive struct {
	least int // words behind it
	read  func(p *parser, words []string)
}

func directives() map[string]directive {
	return map[string]directive{
		"node":          {1, (*parser).node},
		"keepalive":     {1, interval(func(c *Cluster) *time.Duration { return &c.Keepalive })},
		"deadtime":      {1, interval(func(c *Cluster) *time.Duration { return &c.Deadtime })},
		"warntime":      {1, interval(func(c *Cluster) *time.Duration { return &c.Warntime })},
		"initdead":      {1, interval(func(c *Cluster) *time.Duration { return &c.Initdead })},
		"deadping":      {1, interval(func(c *Cluster) *time.Duration { return &c.Deadping })},
		"auto_failback": {1, (*parser).autoFailback},
		"bcast":         {1, (*parser).bcast},
		"mcast":         {2, (*parser).mcast},
		"ucast":         {2, (*parser).ucast},
		"ping":          {1, (*parser).ping},
		"ping_group":    {2, (*parser).pingGroup},
		"respawn":       {2, (*parser).respawn},
		"apiauth":       {1, (*parser).apiauth},
		"logfile":       {1, word(func(c *Cluster) *string { return &c.LogFile })},
		"debugfile":     {1, word(func(c *Cluster) *string { return &c.DebugFile })},
		"logfacility":   {1, (*parser).facility},
		"crm":           {1, (*parser).crm},
		"pacemaker":     {1, (*parser).crm},
		"udpport":       {1, without("VRRP is an IP protocol of its own (112) and has no port", "let protocol 112 through the firewall in place of it")},
		"serial":        {1, without("VRRP does not go over serial lines", "remove it; a broken network link alone is not seen as a death")},
		"baud":          {1, without("VRRP does not go over serial lines", "remove it")},
		"stonith":       {1, without("no node is powered off", "directors share no storage, so nothing is lost without it")},
		"stonith_host":  {1, without("no node is powered off", "directors share no storage, so nothing is lost without it")},
		"watchdog":      {1, without("no watchdog device is opened", "set WatchdogSec= in the systemd unit")},
		"debug":         {1, without("there are no debug levels by number", "remove it")},
		"use_logd":      {1, without("there is no logging daemon of heartbeat's", "remove it; logfile and logfacility are used")},
		"compression":   {1, without("adverts are not compressed", "remove it")},
		"rtprio":        {1, without("no real-time priority is set", "remove it")},
		"hopfudge":      {1, without("VRRP makes no hops", "remove it")},
		"autojoin":      {1, without("nodes do not join by themselves", "name each of them with node")},
	}
}

func (p *parser) haCf(f File) {
	if f.Name == "" {
		return
	}
	known := directives()
	p.eachLine(f, func(words []string) {
		name := strings.ToLower(words[0])
		d, ok := known[name]
		switch {
		case !ok:
			p.warn(fmt.Sprintf("%s: no such directive is known, and nothing is done about it", config.Quote(words[0])), config.DidYouMean(name, slices.Sorted(maps.Keys(known))))
		case len(words)-1 < d.least:
			p.wrong(fmt.Sprintf("%s: too few words: %d, and it takes %d", name, len(words)-1, d.least), "")
		default:
			p.name = name
			d.read(p, words[1:])
		}
	})
}

func without(why, hint string) func(*parser, []string) {
	return func(p *parser, _ []string) { p.warn(p.name+": has no effect, "+why, hint) }
}

func word(field func(*Cluster) *string) func(*parser, []string) {
	return func(p *parser, words []string) {
		p.alone(words)
		*field(p.c) = words[0]
	}
}

// alone says that nothing is made of what is behind the first word.
func (p *parser) alone(words []string) {
	if len(words) > 1 {
		p.warn(fmt.Sprintf("%s: what is behind %s has no effect", p.name, config.Quote(words[0])), "remove it")
	}
}

// facility is a name of syslog(3), or none. One that does not exist would keep the
// daemon from starting.
func (p *parser) facility(words []string) {
	p.alone(words)
	known := []string{"none", "kern", "user", "mail", "daemon", "auth", "security", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	if !slices.Contains(known, words[0]) {
		p.wrong(fmt.Sprintf("logfacility %s: there is no such facility", config.Quote(words[0])), cmp.Or(config.DidYouMean(words[0], known), "write daemon, or local0 to local7"))
		return
	}
	p.c.LogFacility = words[0]
}

func interval(field func(*Cluster) *time.Duration) func(*parser, []string) {
	return func(p *parser, words []string) {
		p.alone(words)
		d, err := readTime(words[0])
		if err != nil {
			p.wrong(fmt.Sprintf("%s is no time: %v", config.Quote(words[0]), err), "write 2 for seconds, or 200ms")
			return
		}
		*field(p.c) = d
	}
}

// maxTime bounds every time of a file.
const maxTime = 24 * time.Hour

// readTime reads heartbeat's times: plain numbers are seconds.
func readTime(s string) (time.Duration, error) {
	unit := time.Second
	for _, u := range []struct {
		word string
		unit time.Duration
	}{{"ms", time.Millisecond}, {"us", time.Microsecond}, {"s", time.Second}} {
		if digits, ok := strings.CutSuffix(s, u.word); ok {
			s, unit = digits, u.unit
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || n != n:
		return 0, fmt.Errorf("not a number")
	case n < 0 || n > float64(maxTime)/float64(unit):
		return 0, fmt.Errorf("not within 0 and %v", maxTime)
	}
	return time.Duration(n * float64(unit)), nil
}

func (p *parser) node(words []string) {
	for _, w := range words {
		if slices.Contains(p.c.Nodes, w) {
			p.warn(fmt.Sprintf("node %s is named twice", w), "remove one")
			continue
		}
		p.c.Nodes = append(p.c.Nodes, w)
	}
}

func (p *parser) autoFailback(words []string) {
	p.alone(words)
	switch strings.ToLower(words[0]) {
	case "on", "yes", "true", "y", "1":
		p.c.AutoFailback = true
	case "off", "no", "false", "n", "0":
		p.c.AutoFailback = false
	case "legacy":
		p.c.AutoFailback = true
		p.warn("auto_failback legacy is taken as on", "write on, or off")
	default:
		p.wrong(fmt.Sprintf("auto_failback %s: it is on or off", config.Quote(words[0])), "")
	}
}

func (p *parser) bcast(words []string) {
	for _, w := range words {
		p.c.Media = append(p.c.Media, Medium{Kind: "bcast", Link: w, Source: p.at()})
	}
}

func (p *parser) mcast(words []string) {
	m := Medium{Kind: "mcast", Link: words[0], Source: p.at()}
	p.c.Media = append(p.c.Media, m)
	p.warn(fmt.Sprintf("mcast: the group %s and what is behind it have no effect", words[1]), "VRRP has a group of its own, 224.0.0.18")
}

func (p *parser) ucast(words []string) {
	a, err := netip.ParseAddr(words[1])
	if err != nil {
		p.wrong(fmt.Sprintf("ucast: %s is no address", config.Quote(words[1])), "write ucast INTERFACE ADDRESS")
		return
	}
	p.c.Media = append(p.c.Media, Medium{Kind: "ucast", Link: words[0], Addr: a.Unmap(), Source: p.at()})
}

func (p *parser) ping(words []string) {
	for _, w := range words {
		p.addPing(Ping{Name: w, Addrs: []string{w}, Source: p.at()})
	}
}

func (p *parser) pingGroup(words []string) {
	p.addPing(Ping{Name: words[0], Addrs: words[1:], Source: p.at()})
}

func (p *parser) addPing(ping Ping) {
	for _, a := range ping.Addrs {
		if strings.HasPrefix(a, "-") {
			p.wrong(fmt.Sprintf("ping: %s is no host", config.Quote(a)), "")
			return
		}
	}
	p.c.Pings = append(p.c.Pings, ping)
}

func (p *parser) respawn(words []string) {
	if strings.HasSuffix(words[1], "/ipfail") || words[1] == "ipfail" {
		p.c.IPFail = true
		return
	}
	p.warn(fmt.Sprintf("respawn: %s is not run", words[1]), "start it as a systemd unit with Restart=always")
}

func (p *parser) apiauth(words []string) {
	if words[0] != "ipfail" {
		p.warn(fmt.Sprintf("apiauth: has no effect for %s, programs of heartbeat's have nobody to speak with", words[0]), "remove it")
	}
}

func (p *parser) crm(words []string) {
	if w := strings.ToLower(words[0]); w == "off" || w == "no" || w == "false" {
		return
	}
	p.wrong("the resources are Pacemaker's: this needs Pacemaker, and not heartbeat's haresources", "keep Pacemaker, or describe the resources in haresources")
}
