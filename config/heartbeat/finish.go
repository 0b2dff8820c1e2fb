package heartbeat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
)

// authkeys reads "auth N" and the line of key N.
func (p *parser) authkeys(f File) {
	if f.Name == "" {
		return
	}
	p.file, p.line = f.Name, 0
	if f.Mode&0o077 != 0 {
		p.wrong(fmt.Sprintf("others may read it (mode %#o), and heartbeat would not start", f.Mode.Perm()), "chmod 600 "+f.Name)
	}
	keys := map[string]Auth{}
	chosen, chosenAt := "", 0
	p.eachLine(f, func(words []string) {
		switch {
		case words[0] == "auth" && len(words) > 1:
			chosen, chosenAt = words[1], p.line
		case words[0] == "auth":
			p.wrong("auth: the number of a key belongs behind it", "write auth 1")
		default:
			p.key(keys, words)
		}
	})
	p.line = chosenAt
	a, ok := keys[chosen]
	switch {
	case chosen == "":
		p.wrong("no line chooses a key", "write auth 1")
	case !ok:
		p.wrong(fmt.Sprintf("auth %s: there is no such key", config.Quote(chosen)), "add the line \""+chosen+" sha1 KEY\"")
	default:
		p.c.Auth = a
	}
}

func (p *parser) key(keys map[string]Auth, words []string) {
	if len(words) < 2 || strings.Trim(words[0], "0123456789") != "" {
		p.wrong("not a key: "+config.Quote(words[0]), "write NUMBER sha1 KEY")
		return
	}
	a := Auth{Method: strings.ToLower(words[1]), Key: strings.Join(words[2:], " "), Source: p.at()}
	switch {
	case a.Method != "crc" && a.Method != "md5" && a.Method != "sha1":
		p.wrong(fmt.Sprintf("%s: no such method", config.Quote(words[1])), "the methods are crc, md5 and sha1")
	case a.Method != "crc" && a.Key == "":
		p.wrong("key "+words[0]+": the key is missing", "write "+words[0]+" "+a.Method+" KEY")
	case a.Method != "crc" && len(words) > 3:
		p.wrong("key "+words[0]+": a key is one word", "heartbeat takes the first word for all of it")
	default:
		keys[words[0]] = a
	}
}

// Heartbeat's defaults.
const (
	defaultKeepalive = 2 * time.Second
	defaultDeadtime  = 30 * time.Second
	defaultWarntime  = 10 * time.Second
)

// finish sets what was not said, and looks at how the parts go together.
func (p *parser) finish(files Files) {
	c := p.c
	if c.Keepalive == 0 {
		c.Keepalive = defaultKeepalive
	}
	if c.Deadtime == 0 {
		c.Deadtime = defaultDeadtime
	}
	if c.Warntime == 0 {
		c.Warntime = min(defaultWarntime, c.Deadtime/2)
	}
	if c.Initdead == 0 {
		c.Initdead = 2 * c.Deadtime
	}
	if c.Deadping == 0 {
		c.Deadping = c.Deadtime
	}
	c.vrids()
	p.line = 0
	if files.HaCf.Name != "" {
		p.file = files.HaCf.Name
		p.finishHaCf()
	}
	if files.Haresources.Name != "" {
		p.file = files.Haresources.Name
		p.finishGroups()
	}
	if t := c.Timing(false); c.Auth.Key != "" && t.Version == 3 {
		p.file, p.line = c.Auth.Source.File, c.Auth.Source.Line
		p.warn("the key has no effect: for intervals below a second VRRP has to be version 3, which knows no password", "make keepalive and a quarter of deadtime at least 1")
	}
	c.Self = c.opt.Node
	if c.Self == "" && len(c.Groups) > 0 {
		c.Self = c.Groups[0].Node
	}
}

func (p *parser) finishHaCf() {
	c := p.c
	p.finishTimes()
	switch {
	case len(c.Nodes) == 0:
		p.wrong("no node is named", "write a line \"node NAME\" for each, as uname -n prints it")
	case c.opt.Node != "" && !slices.Contains(c.Nodes, c.opt.Node):
		p.wrong(fmt.Sprintf("this host, %s, is none of the nodes %s", c.opt.Node, strings.Join(c.Nodes, ", ")), "name it, or change the host's name; both must be as uname -n prints it")
	}
	if len(c.Media) == 0 {
		p.wrong("no link is named for the heartbeats", "write bcast INTERFACE")
	}
	if c.IPFail && len(c.Pings) == 0 {
		p.warn("ipfail runs, and there is no host to ping", "add ping ADDRESS, of the gateway")
	}
	if !c.IPFail && len(c.Pings) > 0 {
		p.line = c.Pings[0].Source.Line
		p.warn("ping: has no effect without ipfail", "add respawn hacluster /usr/lib/heartbeat/ipfail")
		p.line = 0
	}
}

func (p *parser) finishTimes() {
	c := p.c
	if c.Deadtime <= c.Keepalive {
		p.wrong(fmt.Sprintf("deadtime %v is not more than keepalive %v: every pause would be a death", c.Deadtime, c.Keepalive), "make it several times keepalive")
	}
	if t := c.Timing(false); c.Deadtime > c.Keepalive && (t.Dead-c.Deadtime).Abs() > c.Deadtime/5 {
		p.warn(fmt.Sprintf("deadtime %v: VRRP comes no nearer than %v (%d adverts, one every %v)", c.Deadtime, t.Dead, t.DownAdverts, t.Interval), "")
	}
	if c.Warntime >= c.Deadtime {
		p.warn(fmt.Sprintf("warntime %v is not less than deadtime %v: the warning comes after the death", c.Warntime, c.Deadtime), "make it half of deadtime")
	}
	if c.Initdead < c.Deadtime {
		p.warn(fmt.Sprintf("initdead %v is less than deadtime %v, which is waited for in its place", c.Initdead, c.Deadtime), "make it at least twice deadtime")
	}
}

func (p *parser) finishGroups() {
	c := p.c
	if len(c.Groups) == 0 {
		p.wrong("no line gives a node any resource", "write NODE ADDRESS/PREFIX/INTERFACE SERVICE...")
	}
	for _, g := range c.Groups {
		p.line = g.Source.Line
		if len(g.Addresses) == 0 {
			p.wrong(g.Node+": no address is among its resources, and VRRP can only move addresses", "put the line's services behind an address")
		}
		if c.link(g) == "" && len(g.Addresses) > 0 {
			p.wrong(fmt.Sprintf("%v: on which interface?", g.Addresses[0].Prefix.Addr()), "write ADDRESS/PREFIX/INTERFACE")
		}
		p.finishLinks(g)
	}
	p.line = 0
}

// finishLinks: heartbeat takes several links, and takes a node for alive that is
// heard on any of them; an instance has one.
func (p *parser) finishLinks(g Group) {
	link := p.c.link(g)
	others := []string{}
	for _, m := range p.c.Media {
		if m.Link != link && !slices.Contains(others, m.Link) {
			others = append(others, m.Link)
		}
	}
	if link == "" || len(others) == 0 || g.Name != p.c.Groups[0].Name {
		return
	}
	file, line := p.file, p.line
	p.file, p.line = p.c.Media[0].Source.File, p.c.Media[0].Source.Line
	p.warn(fmt.Sprintf("no adverts go over %s: VRRP speaks where the addresses are, on %s", strings.Join(others, " and "), link),
		"a broken "+others[0]+" then is no reason for two masters, which it was with heartbeat")
	p.file, p.line = file, line
}
