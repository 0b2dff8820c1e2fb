// Package rules reads and writes the rules of ipvsadm: the lines of ipvsadm -S,
// and the ipvsadm lines of a shell script.
package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
)

// Options say how to read. The zero value touches nothing but the text and
// /etc/services: a host name is a problem then.
type Options struct {
	// Names finds the addresses of hosts and the numbers of ports.
	Names ipvsadm.Names
}

// Parse reads rules, or a shell script with ipvsadm lines in it, and carries
// them out in their order on an empty table: what is then in the table is the
// site. Its servers have no checks. Parse does not fail: what it cannot make
// sense of, and what the kernel would refuse, is an error among the problems.
func Parse(name string, text []byte, opt Options) (config.Site, []config.Problem) {
	r := reader{name: name}
	names := opt.Names
	if names == nil {
		names = &r.offline
	}
	if isScript(text) {
		text = r.commands(text)
	}
	found, wrong := ipvsadm.ParseRules(name, bytes.NewReader(text), names)
	for _, p := range wrong {
		r.unread(p)
	}
	table := r.fold(found)
	config.SortProblems(r.problems)
	return config.Site{Virtuals: r.virtuals(table)}, r.problems
}

// Write writes the table that a site has while all servers are well, as
// ipvsadm -S -n would and ipvsadm -R reads. What the kernel, or ipvsadm, would
// refuse is left out.
func Write(w io.Writer, s config.Site) error {
	t := slices.DeleteFunc(s.Table(), func(e lvs.Entry) bool {
		return e.Mark == 0 && e.Addr.Port() == 0 && e.Flags&lvs.Persistent == 0
	})
	t, _ = lvs.Table(nil).Fold(lvs.Diff(nil, t, nil))
	return ipvsadm.Save(w, t)
}

type reader struct {
	name     string
	problems []config.Problem
	offline  offline
	services map[lvs.Key]int
	servers  map[server]int
}

type server struct {
	key  lvs.Key
	addr netip.AddrPort
}

func (r *reader) problem(line int, s config.Severity, text, hint string) {
	r.problems = append(r.problems, config.Problem{File: r.name, Line: line, Severity: s, Text: text, Hint: hint})
}

// fold carries the rules out in memory, and remembers which line made what.
func (r *reader) fold(found []ipvsadm.Rule) lvs.Table {
	changes := make([]lvs.Change, len(found))
	for i, rule := range found {
		changes[i] = rule.Change
	}
	table, verdicts := lvs.Table(nil).Fold(changes)
	r.services, r.servers = map[lvs.Key]int{}, map[server]int{}
	for i, rule := range found {
		if verdicts[i] != nil {
			r.refused(rule, verdicts[i])
			continue
		}
		r.remember(rule)
	}
	return table
}

func (r *reader) remember(rule ipvsadm.Rule) {
	c := rule.Change
	switch c.Op {
	case lvs.AddService, lvs.EditService:
		r.services[c.Service.Key] = rule.Line
	case lvs.AddDestination, lvs.EditDestination:
		r.servers[server{c.Service.Key, c.Destination.Addr}] = rule.Line
	}
}

// refused says why the kernel would not take a rule, and where the reason stands.
func (r *reader) refused(rule ipvsadm.Rule, err error) {
	c := rule.Change
	text := ipvsadm.Line(c) + ": " + plainReason(err)
	hint := ""
	switch {
	case errors.Is(err, lvs.ErrServiceExists):
		hint = fmt.Sprintf("line %d adds it; -E changes a service", r.services[c.Service.Key])
	case errors.Is(err, lvs.ErrDestinationExists):
		hint = fmt.Sprintf("line %d adds it; -e changes a server", r.servers[server{c.Service.Key, c.Destination.Addr}])
	case errors.Is(err, lvs.ErrNoService):
		hint = "add the service in front of it, with -A"
	case errors.Is(err, lvs.ErrNoDestination):
		hint = "add the server in front of it, with -a"
	}
	r.problem(rule.Line, config.Error, text, hint)
}

// plainReason is the sentinel's words, or the errno's.
func plainReason(err error) string {
	for _, known := range []error{lvs.ErrServiceExists, lvs.ErrNoService, lvs.ErrDestinationExists,
		lvs.ErrNoDestination, lvs.ErrNoScheduler, lvs.ErrRange, lvs.ErrInvalid} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

func (r *reader) virtuals(t lvs.Table) []ldirector.Virtual {
	var vs []ldirector.Virtual
	for _, e := range t {
		v := ldirector.Virtual{
			Service: e.Service,
			Policy:  ldirector.Policy{CleanStop: true},
			Source:  ldirector.Source{File: r.name, Line: r.services[e.Key]},
		}
		for _, d := range e.Destinations {
			v.Members = append(v.Members, ldirector.Member{
				Destination: d,
				Name:        d.Addr.String(),
				Source:      ldirector.Source{File: r.name, Line: r.servers[server{e.Key, d.Addr}]},
			})
		}
		vs = append(vs, v)
	}
	return vs
}

// offline knows the ports of /etc/services and no host.
type offline struct {
	ipvsadm.SystemNames
	asked bool
}

func (o *offline) Host(string) (netip.Addr, bool) {
	o.asked = true
	return netip.Addr{}, false
}

func (o *offline) HostName(netip.Addr) (string, bool) { return "", false }

// unread reports a line that is no rule.
func (r *reader) unread(p ipvsadm.Problem) {
	text, hint := p.Text, ""
	switch {
	case strings.HasPrefix(text, "Try "): // where to find help, which is not here
		text, hint = "no rule: there is no command in it", "a rule begins with -A, -E, -D, -a, -e or -d"
	case r.offline.asked && strings.Contains(text, "address"):
		hint = "names of hosts are not looked up here; write an address"
	}
	r.problem(p.Line, config.Error, text, hint)
}
