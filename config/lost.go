package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Lost says what of a site is not there, or is another thing, in what became of
// it when it was written in some dialect and read again, and what came in. Each is a
// warning at the place in want. Names, places and the IDs of checks do not count.
func Lost(want, got Site) []Problem {
	var l losses
	virtuals := map[lvs.Key]ldirector.Virtual{}
	for _, v := range got.Virtuals {
		if _, twice := virtuals[v.Service.Key]; !twice {
			virtuals[v.Service.Key] = v
		}
	}
	wanted := map[lvs.Key]bool{}
	for _, v := range want.Virtuals {
		if k := v.Service.Key; !wanted[k] { // of two with a key the first counts
			wanted[k] = true
			l.virtual(v, virtuals)
		}
	}
	for _, v := range got.Virtuals {
		if !wanted[v.Service.Key] {
			l.say(ldirector.Source{}, "%v comes in", v.Service.Key)
		}
	}
	l.site(want, got)
	l.more(want, got)
	SortProblems(l.problems)
	return l.problems
}

type losses struct {
	problems []Problem
	count    []int
}

func (l *losses) say(at ldirector.Source, format string, args ...any) {
	l.problems = append(l.problems, Problem{File: at.File, Line: at.Line, Severity: Warning, Text: fmt.Sprintf(format, args...)})
}

func (l *losses) virtual(v ldirector.Virtual, all map[lvs.Key]ldirector.Virtual) {
	got, there := all[v.Service.Key]
	v, got = usualVirtual(v), usualVirtual(got)
	if !there {
		l.say(v.Source, "%v is left out", v.Service.Key)
		return
	}
	what := v.Service.Key.String() + ": "
	for _, d := range differences("", reflect.ValueOf(v.Service), reflect.ValueOf(got.Service), nil) {
		l.say(v.Source, "%s%s", what, d)
	}
	skip := []string{"Service", "Members", "Name", "Comment"}
	for _, d := range differences("", reflect.ValueOf(v), reflect.ValueOf(got), skip) {
		l.say(v.Source, "%s%s", what, d)
	}
	l.members(what, v, got)
}

// members compares the servers of a service. What is so of several is said once.
func (l *losses) members(what string, v, got ldirector.Virtual) {
	said := map[string]int{}
	say := func(at ldirector.Source, text string) {
		if i, before := said[text]; before {
			l.count[i]++
			return
		}
		said[text] = len(l.problems)
		l.say(at, "%s%s", what, text)
		for len(l.count) < len(l.problems) {
			l.count = append(l.count, 1)
		}
	}
	left := serversOf(got)
	before := map[netip.AddrPort]bool{}
	for _, m := range v.Members {
		at := server(v.Service.Key, m)
		switch {
		case len(left[at]) > 0:
			for _, text := range lostMember(m, left[at][0]) {
				say(m.Source, text)
			}
			left[at] = left[at][1:]
		case before[at]:
			say(m.Source, fmt.Sprintf("server %v is there once more, asked another way, and that is left out", m.Destination.Addr))
		case m.Off:
			say(m.Source, fmt.Sprintf("server %v, which is kept out, is left out", m.Destination.Addr))
		default:
			say(m.Source, fmt.Sprintf("server %v is left out", m.Destination.Addr))
		}
		before[at] = true
	}
	for _, m := range got.Members {
		if at := server(v.Service.Key, m); len(left[at]) > 0 {
			say(v.Source, fmt.Sprintf("server %v comes in", m.Destination.Addr))
			left[at] = left[at][1:]
		}
	}
	for _, i := range said {
		if n := l.count[i]; n > 1 {
			l.problems[i].Text += fmt.Sprintf(" (%d servers)", n)
		}
	}
}

// server is what tells a server of a service from the others. Behind a mark only NAT
// knows of ports: all other packets keep the one that they came with.
func server(k lvs.Key, m ldirector.Member) netip.AddrPort {
	if k.Mark != 0 && m.Destination.Method != lvs.Masq {
		return netip.AddrPortFrom(m.Destination.Addr.Addr(), 0)
	}
	return m.Destination.Addr
}

func serversOf(v ldirector.Virtual) map[netip.AddrPort][]ldirector.Member {
	all := map[netip.AddrPort][]ldirector.Member{}
	for _, m := range v.Members {
		at := server(v.Service.Key, m)
		all[at] = append(all[at], m)
	}
	return all
}

func lostMember(m, got ldirector.Member) []string {
	m, got = usualMember(m), usualMember(got)
	var all []string
	if was, is := m.Destination.Addr.Port(), got.Destination.Addr.Port(); was != is {
		all = append(all, fmt.Sprintf("a server's port %d becomes %d in the table, where that of a mark does nothing", was, is))
	}
	skip := []string{"Addr"}
	if m.Off != got.Off {
		all = append(all, lostOff(m, got))
		skip = append(skip, "Weight")
	}
	for _, d := range differences("", reflect.ValueOf(m.Destination), reflect.ValueOf(got.Destination), skip) {
		all = append(all, "a server's "+d)
	}
	if m.Inhibit != got.Inhibit && len(m.Checks) > 0 && len(got.Checks) > 0 {
		all = append(all, "that a server that fails stays in with weight 0 "+lostOr(m.Inhibit, "is lost", "comes in"))
	}
	if m.AssumeUp != got.AssumeUp && len(m.Checks) > 0 && len(got.Checks) > 0 {
		all = append(all, "that a server is taken for well until it fails "+lostOr(m.AssumeUp, "is lost", "comes in"))
	}
	for _, c := range []struct {
		name      string
		want, got *ldirector.Command
	}{{"notify_up", m.NotifyUp, got.NotifyUp}, {"notify_down", m.NotifyDown, got.NotifyDown}} {
		if !sameButPlaces(c.want, c.got) {
			all = append(all, "a server's "+c.name+" "+lostOr(c.want != nil, "is lost, or another one", "comes in"))
		}
	}
	return append(all, lostChecks(m.Checks, got.Checks)...)
}

// lostOff: a dialect without a word for a server that is kept out has it in the table
// without a weight.
func lostOff(m, got ldirector.Member) string {
	at := m.Destination.Addr
	switch {
	case got.Off:
		return fmt.Sprintf("server %v serves, and then is kept out", at)
	case got.Destination.Weight == 0:
		return fmt.Sprintf("server %v is kept out, and then is in with weight 0 in place of %d", at, m.Destination.Weight)
	}
	return fmt.Sprintf("server %v is kept out, and then is not", at)
}

func lostChecks(want, got []check.Spec) []string {
	switch {
	case len(got) == 0 && len(want) > 0:
		return []string{"the check (" + probeName(want[0]) + ") is lost, and nobody looks at the server any more"}
	case len(want) == 0 && len(got) > 0:
		return []string{"a check (" + probeName(got[0]) + ") comes in"}
	case len(want) != len(got):
		return []string{fmt.Sprintf("%d checks of a server become %d", len(want), len(got))}
	}
	var all []string
	for i, w := range want {
		w, g := usualCheck(w), usualCheck(got[i])
		all = append(all, lostAround(&w, &g)...)
		if reflect.TypeOf(w.Probe) != reflect.TypeOf(g.Probe) {
			all = append(all, fmt.Sprintf("the check (%s) becomes another one (%s)", probeName(w), probeName(g)))
			continue
		}
		for _, d := range differences("", reflect.ValueOf(w), reflect.ValueOf(g), []string{"ID", "Probe", "Initial"}) {
			all = append(all, "the check's "+d)
		}
		all = append(all, lostProbe(w, g)...)
	}
	return all
}

// lostAround compares what is around two probes and takes it off: where packets leave,
// and that several pages are asked for.
func lostAround(w, g *check.Spec) []string {
	var all []string
	was, before := w.Probe.(check.From)
	is, after := g.Probe.(check.From)
	if before && !after {
		w.Probe = usualProbe(check.Spec{Probe: was.Probe, Timeout: w.Timeout})
		all = append(all, "the address, interface or mark that a check leaves with is lost")
	}
	if after && !before {
		g.Probe = usualProbe(check.Spec{Probe: is.Probe, Timeout: g.Timeout})
		all = append(all, "an address, interface or mark for a check to leave with comes in")
	}
	if pages, several := w.Probe.(check.All); several && len(pages) > 0 {
		if one, ok := g.Probe.(check.HTTP); ok {
			w.Probe, g.Probe = usualProbe(check.Spec{Probe: pages[0]}), one
			all = append(all, fmt.Sprintf("of %d pages that are asked for the first is left", len(pages)))
		}
	}
	return all
}

// lostProbe compares two probes of a type.
func lostProbe(w, g check.Spec) []string {
	was, is := reflect.ValueOf(w.Probe), reflect.ValueOf(g.Probe)
	if was.Kind() != reflect.Struct {
		if equal(was, is) {
			return nil
		}
		return []string{fmt.Sprintf("the check (%s) is not the same", probeName(w))}
	}
	h, http := w.Probe.(check.HTTP)
	var skip []string
	if http {
		skip = []string{"NoRedirect", "TLS"}
	}
	var all []string
	for _, d := range differences("", was, is, skip) {
		all = append(all, probeName(w)+": "+d)
	}
	if http {
		all = append(all, lostHTTP(h, g.Probe.(check.HTTP))...)
	}
	return all
}

// lostHTTP says in words what may take a server out that is well.
func lostHTTP(was, is check.HTTP) []string {
	var all []string
	if was.NoRedirect != is.NoRedirect {
		all = append(all, "http: a redirect "+lostOr(was.NoRedirect, "was a failure, and is followed", "was followed, and is a failure"))
	}
	if was.Secure && is.Secure && was.TLS.Verify != is.TLS.Verify {
		all = append(all, "http: a certificate that no known authority signed "+lostOr(was.TLS.Verify > is.TLS.Verify, "was a failure, and is none", "was none, and is a failure"))
	}
	was.TLS.Verify = is.TLS.Verify
	for _, d := range differences("", reflect.ValueOf(was.TLS), reflect.ValueOf(is.TLS), nil) {
		all = append(all, "http: tls "+d)
	}
	return all
}

func probeName(s check.Spec) string { return strings.ToLower(reflect.TypeOf(s.Probe).Name()) }

// site compares what is not a virtual service.
func (l *losses) site(want, got Site) {
	for _, in := range want.Instances {
		i := slices.IndexFunc(got.Instances, func(o Instance) bool { return o.VRID == in.VRID && o.Link == in.Link && o.IPv6 == in.IPv6 })
		if i < 0 {
			l.say(in.Origin, "virtual router %s is left out, and nothing raises its addresses", in.Name)
			continue
		}
		for _, d := range differences("", reflect.ValueOf(usualInstance(in)), reflect.ValueOf(usualInstance(got.Instances[i])), nil) {
			l.say(in.Origin, "instance %s: %s", in.Name, d)
		}
	}
	for _, s := range want.Scripts {
		i := slices.IndexFunc(got.Scripts, func(o Script) bool { return o.Name == s.Name })
		if i < 0 {
			l.say(s.Source, "script %s is left out", s.Name)
			continue
		}
		for _, d := range differences("", reflect.ValueOf(s), reflect.ValueOf(got.Scripts[i]), []string{"Hosts"}) { // Command asks them too
			l.say(s.Source, "script %s: %s", s.Name, d)
		}
	}
	for _, g := range want.Groups {
		if !slices.ContainsFunc(got.Groups, func(o Group) bool { return o.Name == g.Name && sameButPlaces(o, g) }) {
			l.say(g.Source, "sync group %s is lost, or not the same", g.Name)
		}
	}
	for _, y := range want.Sync {
		if !slices.ContainsFunc(got.Sync, func(o Sync) bool { return sameButPlaces(o, y) }) {
			l.say(y.Source, "the sync daemon on %s is lost, or not the same", y.Daemon.Interface)
		}
	}
	if want.Timeouts != (lvs.Timeouts{}) && want.Timeouts != got.Timeouts {
		l.say(ldirector.Source{}, "the timeouts of connections are lost")
	}
	l.gates(want, got)
}

// gates says once of all services that follow the same instances that they do no
// more.
func (l *losses) gates(want, got Site) {
	lost := map[string]bool{}
	for _, v := range want.Virtuals {
		names := strings.Join(v.Gates, " or ")
		kept := func(o ldirector.Virtual) bool {
			return o.Service.Key == v.Service.Key && slices.Equal(o.Gates, v.Gates)
		}
		if names == "" || lost[names] || slices.ContainsFunc(got.Virtuals, kept) {
			continue
		}
		lost[names] = true
		at := ldirector.Source{}
		for _, in := range want.Instances {
			if in.Name == v.Gates[0] {
				at = in.Origin
			}
		}
		l.say(at, "that services are there only where %s is master is lost", names)
	}
}

// more says what came in that is no virtual service.
func (l *losses) more(want, got Site) {
	for _, in := range got.Instances {
		if !slices.ContainsFunc(want.Instances, func(o Instance) bool { return o.VRID == in.VRID && o.Link == in.Link && o.IPv6 == in.IPv6 }) {
			l.say(ldirector.Source{}, "virtual router %s comes in", in.Name)
		}
	}
	for _, s := range got.Scripts {
		if !slices.ContainsFunc(want.Scripts, func(o Script) bool { return o.Name == s.Name }) {
			l.say(ldirector.Source{}, "script %s comes in", s.Name)
		}
	}
	for _, g := range got.Groups {
		if !slices.ContainsFunc(want.Groups, func(o Group) bool { return o.Name == g.Name }) {
			l.say(ldirector.Source{}, "sync group %s comes in", g.Name)
		}
	}
	for _, y := range got.Sync {
		if !slices.ContainsFunc(want.Sync, func(o Sync) bool { return o.Daemon.Interface == y.Daemon.Interface }) {
			l.say(ldirector.Source{}, "a sync daemon on %s comes in", y.Daemon.Interface)
		}
	}
}

func lostOr(lost bool, yes, no string) string {
	if lost {
		return yes
	}
	return no
}

// What means the same is written the same way before it is compared.

func usualVirtual(v ldirector.Virtual) ldirector.Virtual {
	v.Policy.Quorum = max(v.Policy.Quorum, 1)
	if f := v.Fallback; f != nil && v.Service.Mark != 0 && f.Method != lvs.Masq { // see server
		f := *f
		f.Addr = netip.AddrPortFrom(f.Addr.Addr(), 0)
		v.Fallback = &f
	}
	if v.Policy.Quiescent { // each server's own word is as good
		v.Policy.Quiescent = false
		v.Members = slices.Clone(v.Members)
		for i := range v.Members {
			v.Members[i].Inhibit = true
		}
	}
	return v
}

// usualMember: a question that has one answer is none.
func usualMember(m ldirector.Member) ldirector.Member {
	m.Checks = slices.DeleteFunc(slices.Clone(m.Checks), func(s check.Spec) bool { return !Asks(s.Probe) })
	return m
}

// Asks tells whether a probe asks anybody. That of checktype=on, and the one of a
// service that nobody knows how to ask, find everything well.
func Asks(p check.Probe) bool {
	switch p := p.(type) {
	case check.On, check.None:
		return false
	case check.Combined:
		return Asks(p.Negotiate) || Asks(p.Connect)
	case check.From:
		return Asks(p.Probe)
	}
	return true
}

func usualCheck(s check.Spec) check.Spec {
	s.Fall, s.Rise = max(s.Fall, 1), max(s.Rise, 1)
	switch {
	case s.Fall == 1:
		s.RetryDelay = 0 // there is nothing to be tried again
	case s.RetryDelay == 0:
		s.RetryDelay = s.Interval
	}
	s.Probe = usualProbe(s)
	return s
}

func usualProbe(s check.Spec) check.Probe {
	switch p := s.Probe.(type) {
	case check.FTP:
		p.Receive = Quoteless(p.Receive)
		return p
	case check.LDAP:
		p.Receive = Quoteless(p.Receive)
		return p
	case check.DNS:
		p.Receive = Quoteless(p.Receive)
		if p.Receive == "." {
			p.Receive = "" // any answer has a letter
		}
		return p
	case check.Simple:
		p.Receive = Quoteless(p.Receive)
		return p
	case check.HTTP:
		return usualHTTP(p)
	case check.From:
		p.Probe = usualProbe(check.Spec{Probe: p.Probe, Timeout: s.Timeout})
		return p
	case check.Combined:
		p.Negotiate = usualProbe(check.Spec{Probe: p.Negotiate, Timeout: s.Timeout})
		return p
	case check.All:
		all := make(check.All, len(p))
		for i := range p {
			all[i] = usualProbe(check.Spec{Probe: p[i], Timeout: s.Timeout})
		}
		if len(all) == 1 {
			return all[0]
		}
		return all
	case check.Ping:
		p.Tries = max(p.Tries, 1)
		if p.Wait == 0 {
			p.Wait = s.Timeout / time.Duration(p.Tries)
		}
		return p
	case check.Program:
		if p.Perl {
			p.Perl, p.Path, p.Args = false, Perl, append([]string{p.Path}, p.Args...)
		}
		return p
	}
	return s.Probe
}

// Quoteless is a Perl expression that means the same and has no double quote, nor a
// line's end, in it: files cannot say these.
func Quoteless(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '\\' && i+1 < len(pattern) {
			if i++; pattern[i] != '"' && pattern[i] != '\n' {
				b.WriteByte(c)
				b.WriteByte(pattern[i])
				continue
			}
			c = pattern[i]
		}
		switch c {
		case '"':
			b.WriteString(`\x22`)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Perl runs a script that is not executable, where a dialect has no word for that.
const Perl = "/usr/bin/perl"

// usualHTTP: how the request is written does not count, nor a Host that says no
// more than the address.
func usualHTTP(h check.HTTP) check.HTTP {
	h.Method = cmp.Or(h.Method, "GET")
	h.Receive = Quoteless(h.Receive)
	h.Dialect = 0
	if h.Digest != "" {
		h.MaxBody = 0 // as much as is digested
	}
	usual := map[bool]uint16{false: 80, true: 443}[h.Secure]
	if h.Host == h.Addr.Addr().String() || h.Host == h.Addr.String() && h.Addr.Port() == usual {
		h.Host = ""
	}
	return h
}

func usualInstance(in Instance) Instance {
	if !in.Group.IsValid() && len(in.Peers) == 0 {
		in.Group = vrrp.GroupIPv4
		if in.IPv6 {
			in.Group = vrrp.GroupIPv6
		}
	}
	in.Track = slices.Clone(in.Track)
	own := vrrp.Tracked{Name: TrackLink(in.Link)}
	if !in.UntrackedLink && !slices.ContainsFunc(in.Track, func(t vrrp.Tracked) bool { return t.Name == own.Name }) {
		in.Track = append(in.Track, own)
	}
	slices.SortFunc(in.Track, func(a, b vrrp.Tracked) int { return strings.Compare(a.Name, b.Name) })
	if in.DownAdverts == 0 {
		in.DownAdverts = 3
	}
	if in.PeerTTL == 0 {
		in.PeerTTL = 255
	}
	if delay := in.Delay(); in.StartDelay == 0 && delay > 0 {
		in.StartDelay, in.FirstWait = delay, 0 // keepalived's way to say heartbeat's
	}
	return in
}

// differences says in which fields two values of a type differ, places apart.
func differences(path string, a, b reflect.Value, skip []string) []string {
	if equal(a, b) {
		return nil
	}
	if a.Kind() == reflect.Bool {
		return []string{path + " " + lostOr(a.Bool(), "is lost", "comes in")}
	}
	if a.Kind() != reflect.Struct || !exported(a.Type()) {
		return []string{fmt.Sprintf("%s %s is lost%s", path, plain(a), instead(b))}
	}
	var all []string
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if slices.Contains(skip, f.Name) {
			continue
		}
		name := words(f.Name)
		if f.Anonymous {
			name = ""
		}
		all = append(all, differences(strings.TrimSpace(path+" "+name), a.Field(i), b.Field(i), nil)...)
	}
	return all
}

// exported tells whether a struct is data of ours, and not something like an
// address, which is one value.
func exported(t reflect.Type) bool {
	return t.NumField() > 0 && t.Field(0).IsExported()
}

func plain(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case lvs.Destination:
		return x.Addr.String()
	case []check.StatusRange:
		return fmt.Sprint(x)
	case []Resource:
		var names []string
		for _, r := range x {
			names = append(names, r.Name)
		}
		return strings.Join(names, ", ")
	}
	switch v.Kind() {
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Slice:
		return fmt.Sprintf("(%d)", v.Len())
	}
	s := fmt.Sprintf("%v", v.Interface())
	if len(s) > 60 {
		return "" // the name says it
	}
	return s
}

func instead(v reflect.Value) string {
	if v.IsZero() || v.Kind() == reflect.Slice || v.Kind() == reflect.Pointer {
		return ""
	}
	if s := plain(v); s != "" {
		return ", it becomes " + s
	}
	return ""
}

// words turns RetryDelay into "retry delay".
func words(name string) string {
	var b strings.Builder
	before := rune(0)
	for _, c := range name {
		if unicode.IsUpper(c) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(c))
		before = c
	}
	return b.String()
}
