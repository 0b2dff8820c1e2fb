// Package lint finds what files may say, and nobody means: a virtual router that
// can never hand over, a server that can never serve, two places that do not
// agree. It looks at a site, so one rule serves every dialect.
//
// A rule looks for one thing. It is a value in a list, and has a test in which it
// speaks and one in which it is silent.
package lint

import (
	"fmt"
	"net/netip"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
)

// Finding is what a rule has found.
type Finding struct {
	Rule string // its name: "vrid-clash"
	config.Problem
}

// Host is what is known of the host that the files are for.
type Host struct {
	Links []string
	Addrs []Addr
}

// Addr is an address of a host, with its prefix length.
type Addr struct {
	Link   string
	Prefix netip.Prefix
}

// Rule is one rule, for a manual page and for tests.
type Rule struct {
	Name string
	Says string // what it looks for
	Kind Kind
}

// Kind is what a rule needs to look at.
type Kind uint8

// Kinds of rules.
const (
	OfSite Kind = iota + 1 // a site alone
	OfHost                 // a site and the host that it is for
	OfPair                 // the sites of two directors that share their addresses
)

// rule is a rule with its code.
type rule struct {
	Rule
	severity config.Severity
	look     func(*look)
}

// look is one look of one rule.
type look struct {
	site config.Site
	host Host        // rules of a host
	peer config.Site // rules of a pair

	rule  rule
	found []Finding
}

// say reports something at a place.
func (l *look) say(at ldirector.Source, hint, format string, args ...any) {
	l.found = append(l.found, Finding{l.rule.Name, config.Problem{File: at.File, Line: at.Line,
		Severity: l.rule.severity, Text: fmt.Sprintf(format, args...), Hint: hint}})
}

// Site applies the rules that need nothing but the site.
func Site(s config.Site) []Finding { return apply(OfSite, look{site: s}) }

// WithHost applies the rules that know the host.
func WithHost(s config.Site, h Host) []Finding { return apply(OfHost, look{site: s, host: h}) }

// Pair applies the rules about two directors that are each other's backup. The
// places are those of the first one.
func Pair(ours, theirs config.Site) []Finding {
	return apply(OfPair, look{site: ours, peer: theirs})
}

func apply(k Kind, l look) []Finding {
	for _, r := range rules() {
		if r.Kind == k {
			l.rule = r
			r.look(&l)
		}
	}
	return l.found
}

// Rules lists all rules, in the order in which they look.
func Rules() []Rule {
	var all []Rule
	for _, r := range rules() {
		all = append(all, r.Rule)
	}
	return all
}

func rules() []rule {
	var all []rule
	add := func(k Kind, severity config.Severity, name, says string, look func(*look)) {
		all = append(all, rule{Rule{name, says, k}, severity, look})
	}
	siteRules(add)
	hostRules(add)
	pairRules(add)
	return all
}

// adder adds a rule to the list.
type adder func(k Kind, severity config.Severity, name, says string, look func(*look))
