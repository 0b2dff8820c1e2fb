package ipvsadm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
)

// What a value may be, as far as it is known beforehand.
var (
	schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}
	engines    = []string{"sip"}
	tunnels    = []string{"ipip", "gue", "gre"}
	roles      = []string{"master", "backup"}
)

// Complete returns what the word that is being typed can become, when args are
// the words before it: commands, the options that still fit, and values. Services
// and servers are those of st.
func Complete(args []string, toComplete string, st lvs.State) []string {
	c := completion{st: st}
	c.scanner.args = args
	pending := c.read()
	if pending != nil {
		return matching(c.values(pending), "", toComplete)
	}
	if c.rest {
		return nil
	}
	if name, value, ok := strings.Cut(toComplete, "="); ok && strings.HasPrefix(name, "--") {
		if w := findLong(name[2:]); w != nil && w.value != noValue {
			return matching(c.values(w), name+"=", value)
		}
		return nil
	}
	return matching(c.words(), "", toComplete)
}

// completion is a half-typed line.
type completion struct {
	scanner
	st      lvs.State
	verb    Verb
	seen    options
	service *word  // the option that named the service
	named   string // and its value
	ipv6    bool
	typedS  string // the scheduler
}

// read goes through the line and returns the option whose value comes next, nil
// for none.
func (c *completion) read() (pending *word) {
	for {
		w, value, _, why := c.scan()
		switch {
		case why == missingArgument:
			return c.waiting()
		case why != "":
			continue
		case w == nil:
			return nil
		case w.isCommand():
			c.verb = w.verb
		default:
			c.note(w, value)
		}
	}
}

// waiting finds the option that the last word ended in.
func (c *completion) waiting() *word {
	last := c.args[len(c.args)-1]
	if long, ok := strings.CutPrefix(last, "--"); ok {
		return findLong(long)
	}
	return findShort(last[len(last)-1])
}

func (c *completion) note(w *word, value string) {
	switch {
	case w.opt == optFree:
		c.ipv6 = c.ipv6 || w.short == '6'
		return
	case w.opt == optService:
		c.service, c.named = w, value
	case w.opt == optScheduler:
		c.typedS = value
	}
	c.seen |= setOf(w.opt)
}

// words are the commands, or the options that fit the command and what was typed.
func (c *completion) words() []string {
	var list []string
	for i := range words {
		w := &words[i]
		if w.isCommand() == (c.verb == 0) && (c.verb == 0 || c.fits(w)) {
			list = appendNames(list, w)
		}
	}
	return list
}

func appendNames(list []string, w *word) []string {
	if w.short != 0 {
		list = append(list, "-"+string(w.short))
	}
	if w.long != "" {
		list = append(list, "--"+w.long)
	}
	return list
}

// fits tells whether an option may still be added.
func (c *completion) fits(w *word) bool {
	r := &grammarRules[c.verb]
	switch {
	case w.short == '6':
		return c.service != nil && c.service.short == 'f' && !c.ipv6
	case w.opt == optFree:
		return c.verb == VerbList
	case c.verb == VerbList && w.opt == optSyncID:
		return false // allowed, and useless
	case c.seen.has(w.opt) || !(r.need | r.may | r.one).has(w.opt):
		return false
	}
	if c.verb == VerbList && listConflict(c.seen|setOf(w.opt)) {
		return false
	}
	return !r.one.has(w.opt) || c.seen&r.one == 0
}

// values are what an option can have, as far as anybody knows.
func (c *completion) values(w *word) []string {
	switch {
	case w.verb == VerbStartDaemon, w.verb == VerbStopDaemon:
		return roles
	case w.opt == optService && !w.isCommand():
		return c.services(w)
	}
	switch w.opt {
	case optServer:
		return c.servers()
	case optScheduler:
		return schedulers
	case optPE:
		return engines
	case optTunType:
		return tunnels
	case optSchedFlags:
		return c.schedFlags()
	}
	return nil
}

// services are those that the command can be about.
func (c *completion) services(w *word) []string {
	if c.verb == VerbAddService {
		return nil
	}
	var list []string
	for i := range c.st {
		if s := &c.st[i].Service; isKind(s, w) {
			list = append(list, keyText(s))
		}
	}
	return list
}

// isKind tells whether the option w can name s.
func isKind(s *lvs.Service, w *word) bool {
	if w.protocol == 0 {
		return s.Mark != 0
	}
	return s.Mark == 0 && s.Protocol == w.protocol
}

func keyText(s *lvs.Service) string {
	if s.Mark != 0 {
		return strconv.FormatUint(uint64(s.Mark), 10)
	}
	var p printer
	p.endpoint(s.Addr, s.Protocol)
	return string(p.buf)
}

// servers are those of the service that was named, for the commands that want
// one that is there.
func (c *completion) servers() []string {
	if c.verb != VerbEditServer && c.verb != VerbDeleteServer || c.service == nil {
		return nil
	}
	var list []string
	for i := range c.st {
		s := &c.st[i]
		if !isKind(&s.Service, c.service) || keyText(&s.Service) != c.named {
			continue
		}
		if s.Mark != 0 && (s.Family == lvs.IPv6) != c.ipv6 {
			continue
		}
		for _, d := range s.Destinations {
			var p printer
			p.endpoint(d.Addr, 0)
			list = append(list, string(p.buf))
		}
	}
	return list
}

// schedFlags are the flags of the scheduler that was named.
func (c *completion) schedFlags() []string {
	var list []string
	for _, f := range schedFlags {
		if f.scheduler == "" || f.scheduler == c.typedS {
			list = append(list, f.name)
		}
	}
	return list
}

// matching returns the candidates that begin as typed, each once, behind prefix.
func matching(candidates []string, prefix, typed string) []string {
	var list []string
	for _, c := range candidates {
		if strings.HasPrefix(c, typed) && !slices.Contains(list, prefix+c) {
			list = append(list, prefix+c)
		}
	}
	return list
}
