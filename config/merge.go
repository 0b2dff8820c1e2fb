package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// Merge makes one site of several. What two of them say alike is there once; a
// contradiction is an error at the later place that names the earlier one, and
// the earlier one counts.
func Merge(parts ...Site) (Site, []Problem) {
	var m merger
	for _, p := range parts {
		m.add(p)
	}
	return m.site, m.problems
}

type merger struct {
	site     Site
	problems []Problem
	virtuals map[lvs.Key]int
}

func (m *merger) add(p Site) {
	s := &m.site
	s.RouterID = cmp.Or(s.RouterID, p.RouterID)
	m.timeouts(p.Timeouts)
	if m.virtuals == nil {
		m.virtuals = map[lvs.Key]int{}
	}
	for _, v := range p.Virtuals {
		m.virtual(v)
	}
	s.Sync = append(s.Sync, p.Sync...)
	s.Instances = named(m, "instance", s.Instances, p.Instances, func(i Instance) (string, ldirector.Source) { return i.Name, i.Origin })
	s.Groups = named(m, "sync group", s.Groups, p.Groups, func(g Group) (string, ldirector.Source) { return g.Name, g.Source })
	s.Scripts = named(m, "script", s.Scripts, p.Scripts, func(c Script) (string, ldirector.Source) { return c.Name, c.Source })
}

func (m *merger) wrong(at ldirector.Source, format string, args ...any) {
	m.problems = append(m.problems, Problem{File: at.File, Line: at.Line, Severity: Error,
		Text: fmt.Sprintf(format, args...), Hint: "say it in one of the two, or the same in both"})
}

func (m *merger) timeouts(t lvs.Timeouts) {
	have := &m.site.Timeouts
	if t == (lvs.Timeouts{}) {
		return
	}
	if *have != (lvs.Timeouts{}) && *have != t {
		m.wrong(ldirector.Source{}, "two files set other timeouts of connections: %d %d %d, and %d %d %d",
			have.TCP, have.TCPFin, have.UDP, t.TCP, t.TCPFin, t.UDP)
		return
	}
	*have = t
}

// virtual: the same table twice is one service, and the one with checks is kept.
func (m *merger) virtual(v ldirector.Virtual) {
	i, there := m.virtuals[v.Service.Key]
	if !there {
		m.virtuals[v.Service.Key] = len(m.site.Virtuals)
		m.site.Virtuals = append(m.site.Virtuals, v)
		return
	}
	was := &m.site.Virtuals[i]
	if text := differ(*was, v); text != "" {
		m.wrong(v.Source, "%v: %s; the other place is %s", v.Service.Key, text, Place(was.Source))
		return
	}
	gates := m.gates(*was, v)
	if !checked(*was) && checked(v) {
		*was = v
	}
	was.Gates = gates
}

// gates are those of one service that two places have: it is wanted wherever one of
// them wants it.
func (m *merger) gates(was, is ldirector.Virtual) []string {
	if len(was.Gates) > 0 && len(is.Gates) > 0 {
		both := slices.Concat(was.Gates, is.Gates)
		slices.Sort(both)
		return slices.Compact(both)
	}
	bound, free := was, is
	if len(bound.Gates) == 0 {
		bound, free = is, was
	}
	if len(bound.Gates) > 0 {
		m.problems = append(m.problems, Problem{File: bound.Source.File, Line: bound.Source.Line, Severity: Warning,
			Text: fmt.Sprintf("%v: it does not follow %s: %s has it, too, and follows nobody", is.Service.Key, strings.Join(bound.Gates, " or "), Place(free.Source)),
			Hint: "say it in one of the two"})
	}
	return nil
}

func checked(v ldirector.Virtual) bool {
	return slices.ContainsFunc(v.Members, func(m ldirector.Member) bool { return len(m.Checks) > 0 || m.Off })
}

// Place names a place in a text: FILE:LINE.
func Place(s ldirector.Source) string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// differ says what two descriptions of a service do not agree on, checks and
// policy apart.
func differ(was, is ldirector.Virtual) string {
	a, b := was.Service, is.Service
	switch {
	case a.Scheduler != b.Scheduler:
		return fmt.Sprintf("scheduler %s here, %s there", b.Scheduler, a.Scheduler)
	case a.Timeout != b.Timeout:
		return fmt.Sprintf("persistence %d s here, %d s there", b.Timeout, a.Timeout)
	case a != b:
		return "flags, netmask or persistence engine differ"
	}
	have := map[string]lvs.Destination{}
	for _, m := range was.Members {
		have[m.Destination.Addr.String()] = m.Destination
	}
	for _, m := range is.Members {
		name := m.Destination.Addr.String()
		d, there := have[name]
		switch {
		case !there:
			return "server " + name + " is here only"
		case d.Method != m.Destination.Method:
			return fmt.Sprintf("server %s by %s here, by %s there", name, strings.ToLower(m.Destination.Method.String()), strings.ToLower(d.Method.String()))
		case d.Weight != m.Destination.Weight:
			return fmt.Sprintf("server %s has weight %d here, %d there", name, m.Destination.Weight, d.Weight)
		case d != m.Destination:
			return "server " + name + " differs in thresholds or tunnel"
		}
		delete(have, name)
	}
	for _, m := range was.Members {
		if _, left := have[m.Destination.Addr.String()]; left {
			return "server " + m.Destination.Addr.String() + " is there only"
		}
	}
	return ""
}

// named adds things that have a name to those there are.
func named[T any](m *merger, kind string, have, more []T, id func(T) (string, ldirector.Source)) []T {
	for _, x := range more {
		name, at := id(x)
		i := slices.IndexFunc(have, func(y T) bool { n, _ := id(y); return n == name })
		if i < 0 {
			have = append(have, x)
			continue
		}
		if _, was := id(have[i]); !sameButPlaces(have[i], x) {
			m.wrong(at, "%s %s is another one at %s", kind, name, Place(was))
		}
	}
	return have
}

// sameButPlaces compares two values without the places that they came from.
func sameButPlaces(a, b any) bool {
	x, y := reflect.New(reflect.TypeOf(a)).Elem(), reflect.New(reflect.TypeOf(b)).Elem()
	x.Set(reflect.ValueOf(a))
	y.Set(reflect.ValueOf(b))
	return equal(x, y)
}

var sourceType = reflect.TypeFor[ldirector.Source]()

func equal(a, b reflect.Value) bool {
	if a.Type() == sourceType {
		return true
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Interface:
		if a.IsNil() || b.IsNil() || a.Elem().Type() != b.Elem().Type() {
			return a.IsNil() && b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Map:
		return a.Len() == b.Len() && reflect.DeepEqual(a.Interface(), b.Interface())
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	}
	return a.Equal(b)
}
