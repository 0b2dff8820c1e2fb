package ipvsadm

import (
	"fmt"
	"io"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
)

// ruler prints changes as command lines. ipvsadm -S leaves out what it thinks
// does not matter: thresholds, and what only a persistent service uses. With
// whole nothing is left out, so that reading the lines gives the same table.
type ruler struct {
	*printer
	whole bool
}

// Line is a change as the command line that makes it, numeric, without the
// program's name: "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1".
func Line(c lvs.Change) string {
	r := ruler{printer: &printer{}, whole: true}
	r.change(&c)
	return string(r.buf)
}

// Save writes a table as ipvsadm -S -n would, in its order, and with all that
// the table holds: -S itself loses thresholds. -R and [ParseRules] read it.
//
// The language has no words for two things that other programs can put into a
// kernel: a server by cache bypass, printed as -g, and a server by -g or -i with
// another port than its service, which -a would give the service's.
func Save(w io.Writer, t lvs.Table) error {
	st := make(lvs.State, len(t))
	for i, e := range t {
		st[i].Service = e.Service
		st[i].Destinations = make([]lvs.DestinationState, len(e.Destinations))
		for j, d := range e.Destinations {
			st[i].Destinations[j].Destination = d
		}
	}
	r := ruler{printer: &printer{w: w}, whole: true}
	if err := r.table(st.View(), false); err != nil {
		return err
	}
	r.flush()
	return r.err
}

// table prints the lines that make a table.
func (r *ruler) table(v lvs.View, kernelOrder bool) error {
	r.reserve()
	var services, servers sorter
	for _, i := range serviceOrder(&services, v.Services, kernelOrder) {
		s := &v.Services[i].Service
		ds, err := v.Destinations(i)
		if err != nil {
			return err
		}
		r.service("-A", s)
		r.row()
		for _, j := range serverOrder(&servers, ds, kernelOrder) {
			r.server("-a", s, &ds[j].Destination)
			r.row()
		}
	}
	return nil
}

func (r *ruler) change(c *lvs.Change) {
	switch c.Op {
	case lvs.AddService:
		r.service("-A", &c.Service)
	case lvs.EditService:
		r.service("-E", &c.Service)
	case lvs.DeleteService:
		r.str("-D ")
		r.key(&c.Service)
	case lvs.AddDestination:
		r.server("-a", &c.Service, &c.Destination)
	case lvs.EditDestination:
		r.server("-e", &c.Service, &c.Destination)
	case lvs.DeleteDestination:
		r.str("-d ")
		r.key(&c.Service)
		r.str(" -r ")
		r.endpoint(c.Destination.Addr, c.Service.Protocol)
	case lvs.Flush:
		r.str("-C")
	case lvs.Zero:
		r.str("-Z")
		if c.Service.Key != (lvs.Key{}) {
			r.str(" ")
			r.key(&c.Service)
		}
	default:
		r.str(fmt.Sprintf("(%v)", c.Op))
	}
}

func (r *ruler) key(s *lvs.Service) {
	if s.Mark != 0 {
		r.str("-f ")
		r.number(uint64(s.Mark))
		if s.Family == lvs.IPv6 {
			r.str(" -6")
		}
		return
	}
	switch s.Protocol {
	case lvs.UDP:
		r.str("-u ")
	case lvs.SCTP:
		r.str("--sctp-service ")
	default:
		r.str("-t ")
	}
	r.endpoint(s.Addr, s.Protocol)
}

func (r *ruler) service(command string, s *lvs.Service) {
	r.str(command)
	r.str(" ")
	r.key(s)
	r.str(" -s ")
	r.str(s.Scheduler)
	persistent := s.Flags&lvs.Persistent != 0
	if persistent {
		r.str(" -p ")
		r.number(uint64(s.Timeout))
	}
	if (persistent || r.whole) && s.Netmask != s.FullMask() {
		r.str(" -M ")
		r.mask(s)
	}
	if (persistent || r.whole) && s.PE != "" {
		r.str(" --pe ")
		r.str(s.PE)
	}
	if s.Flags&lvs.OnePacket != 0 {
		r.str(" -o")
	}
	if s.Flags&lvs.SchedFlags != 0 {
		r.str(" -b ")
		r.listFlags(s, r.whole)
	}
}

func (r *ruler) server(command string, s *lvs.Service, d *lvs.Destination) {
	r.str(command)
	r.str(" ")
	r.key(s)
	r.str(" -r ")
	r.endpoint(d.Addr, s.Protocol)
	switch d.Method {
	case lvs.Masq:
		r.str(" -m")
	case lvs.Tunnel:
		r.str(" -i")
	default:
		r.str(" -g")
	}
	r.str(" -w ")
	r.number(uint64(d.Weight))
	if d.Method == lvs.Tunnel {
		r.tunnel(d)
	}
	if r.whole && d.Upper != 0 {
		r.str(" -x ")
		r.number(uint64(d.Upper))
	}
	if r.whole && d.Lower != 0 {
		r.str(" -y ")
		r.number(uint64(d.Lower))
	}
}

func (r *ruler) tunnel(d *lvs.Destination) {
	r.str(" --tun-type ")
	r.str(d.Tunnel.Type.String())
	if d.Tunnel.Type == lvs.IPIP {
		return
	}
	if d.Tunnel.Type == lvs.GUE {
		r.str(" --tun-port ")
		r.number(uint64(d.Tunnel.Port))
	}
	switch {
	case d.Tunnel.Flags&lvs.TunnelCsum != 0:
		r.str(" --tun-csum")
	case d.Tunnel.Flags&lvs.TunnelRemCsum != 0:
		r.str(" --tun-remcsum")
	default:
		r.str(" --tun-nocsum")
	}
}

// Rule is a change that a line of a rules file asks for.
type Rule struct {
	Line   int // from 1
	Change lvs.Change
}

// Problem is a line of a rules file that is no rule.
type Problem struct {
	File string
	Line int // from 1
	Text string
}

func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// ParseRules reads rules: the lines of ipvsadm -S, or any other command lines
// that change the table, with or without a leading "ipvsadm". Unlike ipvsadm -R
// it goes on behind a bad line, and a word that begins with # begins a comment.
// file is for the problems; names may be nil for this host's.
func ParseRules(file string, r io.Reader, names Names) ([]Rule, []Problem) {
	if names == nil {
		names = new(SystemNames)
	}
	p := parser{names: names}
	in := newLineReader(r)
	var rules []Rule
	var problems []Problem
	var words []string
	for n := 1; ; n++ {
		line, err := in.next(nil)
		if err == io.EOF {
			return rules, problems
		}
		if err != nil {
			return rules, append(problems, Problem{file, n, err.Error()})
		}
		words = beforeComment(splitWords(line, words[:0]))
		if len(words) == 0 {
			continue
		}
		cmd, err := p.parse(words)
		switch {
		case err != nil:
			problems = append(problems, Problem{file, n, err.Error()})
		case !cmd.changes():
			problems = append(problems, Problem{file, n, rulesOnly(cmd.Verb)})
		default:
			rules = append(rules, Rule{n, cmd.Change})
		}
	}
}

func rulesOnly(v Verb) string {
	return fmt.Sprintf("the command '%s' is no rule: only -A -E -D -a -e -d -C and -Z change the table", grammarRules[v].name)
}

func beforeComment(words []string) []string {
	for i, w := range words {
		if strings.HasPrefix(w, "#") { // a NUL at its beginning makes a word empty
			return words[:i]
		}
	}
	return words
}
