package ldirectord

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/lvsctl/lvsctl/config"
)

// guess reads a line that ldirectord refuses as a person would, who sees what
// was meant and what is in the way.
func (r *reader) guess(l *Line, text string, in scope, refusal string) {
	g := r.tidy(text, in)
	key, _, ok := splitDirective(g.text)
	if !ok {
		r.noDirective(l, g, in)
		return
	}
	if where, why := r.place(key, text, in); where != 0 {
		if why != "" {
			g.why = append([]string{why}, g.why...)
		}
		in = where
	}
	if in == inner {
		g.text = strings.ReplaceAll(g.text, "\t", "    ")
	} else if g.comment != "" && reachesEnd(key) {
		g.because("a comment behind it would be a part of its value")
	}
	st, now := r.accept(g.text, in)
	if now != "" {
		g.mendValue(key, in)
		st, now = r.accept(g.text, in)
	}
	if now == "" && in == inner && !g.mendHash(key) {
		now = unknownCommand
	} else if now == "" {
		st, now = r.accept(g.text, in)
	}
	if now != "" {
		l.Kind = Unknown
		r.hopeless(l, g.text, in, orElse(now, refusal))
		return
	}
	l.Comment = g.comment
	r.keep(l, st, in)
	r.mended(l.Number, key+": "+strings.Join(orWhat(g.why, now), "; "), fmt.Sprintf("write %q", display(st, in)))
}

// reachesEnd tells whether a value goes on to the end of its line.
func reachesEnd(key string) bool {
	d, ok := directives()[key]
	return ok && d.style != word && d.style != quoted
}

func orWhat(why []string, what string) []string {
	if len(why) == 0 {
		return []string{strings.TrimSpace(what)}
	}
	return why
}

// display is a statement as it should be written.
func display(st *stmt, in scope) string {
	s := st.text()
	if in == inner {
		return "\t" + s
	}
	return s
}

// guessed is a line on its way to what was meant.
type guessed struct {
	text    string
	comment string
	why     []string
}

func (g *guessed) because(format string, args ...any) {
	g.why = append(g.why, fmt.Sprintf(format, args...))
}

// tidy removes what only looks different: another system's line end, blanks
// around, characters of another width, typographic quotes, a comment behind
// the value, capitals in the name, a ":" or nothing for "=".
func (r *reader) tidy(text string, in scope) *guessed {
	g := &guessed{text: text}
	if t, cr := strings.CutSuffix(g.text, "\r"); cr {
		g.text = t
		g.because("the line ends with a carriage return, as in files from Windows")
	}
	if t := narrow(g.text); t != g.text {
		g.text = t
		g.because("it has typographic quotes, wide characters or special blanks")
	}
	g.text, g.comment = cutComment(g.text)
	if t := strings.TrimRight(g.text, blanks+";"); t != g.text {
		if g.comment == "" || in == inner {
			g.because("ldirectord takes %q at the end for a part of the value", g.text[len(t):])
		}
		g.text = t
	}
	g.text = strings.TrimLeft(g.text, blanks)
	g.fixName()
	return g
}

// fixName puts the name in the form that ldirectord knows.
func (g *guessed) fixName() {
	n := strings.IndexFunc(g.text, func(c rune) bool { return c != '_' && c != '6' && !unicode.IsLetter(c) })
	if n <= 0 {
		return
	}
	name, after := g.text[:n], strings.TrimLeft(g.text[n:], blanks)
	lower := strings.ToLower(name)
	if !known(lower) {
		return
	}
	if lower != name {
		g.because("names are written in lower case")
	}
	switch {
	case strings.HasPrefix(after, "="):
	case strings.HasPrefix(after, ":"):
		g.because("names are followed by \"=\"")
		after = "=" + after[1:]
	case after != "" && len(after) < len(g.text)-n:
		g.because("the \"=\" is missing")
		after = "=" + after
	}
	g.text = lower + after
}

func known(name string) bool {
	_, ok := directives()[name]
	return ok || name == "virtual" || name == "virtual6"
}

// cutComment cuts what is behind a "#" that is not within quotes.
func cutComment(s string) (text, comment string) {
	in := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			in = !in
		case s[i] == '#' && !in:
			return s[:i], strings.TrimRight(s[i:], blanks)
		}
	}
	return s, ""
}

// narrow gives the plain form of characters that look like it: everywhere for
// quotes, outside of strings for the rest.
func narrow(s string) string {
	if ascii(s) {
		return s
	}
	var b strings.Builder
	in := false
	for i, c := range s {
		p := plainForm(c)
		switch {
		case p == '#' && !in:
			return b.String() + "#" + s[i+utf8.RuneLen(c):] // comments stay as they are
		case p == '"':
			in = !in
			b.WriteByte('"')
		case in || p == 0:
			b.WriteString(s[i : i+runeLen(s[i:])])
		case p > 0:
			b.WriteRune(p)
		}
	}
	return b.String()
}

// runeLen is the number of bytes of the first character, one if it is broken.
func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// plainForm is the ASCII character that one looks like; 0 if there is none, -1
// if the character cannot be seen at all.
func plainForm(c rune) rune {
	switch {
	case strings.ContainsRune("\u201c\u201d\u201e\u201f\u2033\u300c\u300d\uff02", c):
		return '"'
	case strings.ContainsRune("\u200b\u200c\u200d\u2060\ufeff", c):
		return -1
	case c >= 0xff01 && c <= 0xff5e:
		return c - 0xff01 + '!'
	case strings.ContainsRune("\u2010\u2011\u2012\u2013\u2014\u2212", c):
		return '-'
	case c >= utf8.RuneSelf && unicode.IsSpace(c) || c == '\u3000':
		return ' '
	case c < utf8.RuneSelf && c != utf8.RuneError:
		return c
	}
	return 0
}

// place says in which scope a directive was meant, and what is wrong with where
// it stands. It says nothing (0) if there is nothing to choose.
func (r *reader) place(key, text string, in scope) (scope, string) {
	if key == "virtual" || key == "virtual6" {
		if text != strings.TrimLeft(text, blanks) {
			return top, "it must begin in the first column"
		}
		return top, ""
	}
	d, ok := directiveNamed(key)
	if !ok {
		return 0, ""
	}
	if in == inner {
		if d.where == top {
			return top, "it is global, and cannot stand in a virtual"
		}
		return inner, ""
	}
	indented := indent(text) > 0
	if r.v != nil && (d.where == inner || d.where == both && indented && indent(text) > r.v.indent) {
		r.f.Lines[r.i].Virtual = r.v.index
		return inner, r.whyOutside(text)
	}
	if indented && d.where != inner {
		return top, "global directives must begin in the first column"
	}
	return 0, ""
}

// whyOutside says why ldirectord does not see a line in the block it belongs to.
func (r *reader) whyOutside(text string) string {
	where := fmt.Sprintf("it belongs to the virtual of line %d, but ", r.v.stmt.line)
	switch n := indent(text); {
	case n == 0:
		return where + "is not indented"
	case n < 4:
		return where + "is indented by less than four blanks or a tab"
	}
	return where + fmt.Sprintf("line %d has ended it already: a block has no empty lines in it", r.v.closed+1)
}

// indent is the width of the blanks in front, tabs counting four as for
// ldirectord.
func indent(text string) int {
	n := 0
	for _, c := range text {
		switch {
		case c == '\t':
			n += 4
		case c == ' ' || c == '\u3000' || c == '\u00a0':
			n++
		default:
			return n
		}
	}
	return n
}

// findLost looks ahead from a head: if a directive that can only stand in a
// virtual follows without its indentation, then the block has lost it, up to an
// empty line or the next virtual. It returns the index of the line behind.
func (r *reader) findLost() int {
	lost := false
	i := r.i + 1
	for ; i < len(r.f.Lines); i++ {
		text := r.f.Lines[i].Raw
		if strings.TrimLeft(text, blanks) == "" {
			break
		}
		key, _, _ := splitDirective(strings.TrimLeft(text, blanks))
		if key == "virtual" || key == "virtual6" {
			break
		}
		if d, ok := directiveNamed(key); ok && d.where == inner && indent(text) < 4 {
			lost = true
		}
	}
	if !lost {
		return 0
	}
	return i
}

// lostLine takes a directive of both scopes into the block around it that has
// lost its indentation.
func (r *reader) lostLine(l *Line, text string) bool {
	g := r.tidy(text, inner)
	key, _, _ := splitDirective(g.text)
	d, ok := directiveNamed(key)
	if !ok || d.where != both {
		return false
	}
	st, refusal := r.accept(g.text, inner)
	if refusal != "" {
		return false
	}
	// Strictly this is a global line, which ldirectord may even take; but it
	// has given up on the file by now, or will on one of the lines around.
	if _, refusal := r.accept(text, top); refusal != "" {
		r.refuseLine(refusal, top)
	}
	l.Comment = g.comment
	r.keep(l, st, inner)
	r.mended(l.Number, key+": "+r.whyOutside(text), fmt.Sprintf("write %q", display(st, inner)))
	return true
}

// noDirective reads a line that is not NAME=VALUE at all.
func (r *reader) noDirective(l *Line, g *guessed, in scope) {
	l.Kind = Unknown
	switch first := g.text; {
	case g.text == "" && g.comment != "":
		l.Kind, l.Comment = Comment, g.comment
		r.mended(l.Number, "this is a comment for a person only", "begin it with \"#\"")
	case strings.HasPrefix(first, "//") || strings.HasPrefix(first, ";"):
		l.Kind, l.Comment = Comment, "# "+strings.TrimLeft(first, "/; ")
		r.mended(l.Number, "comments begin with \"#\"", "write \"#\" in front")
	case r.continuesComment() && !strings.Contains(g.text, "="):
		l.Kind, l.Comment = Comment, "# "+first
		r.mended(l.Number, config.Quote(first)+" seems to go on with the comment of the line before", "write \"#\" in front")
	case strings.HasPrefix(first, "["):
		r.wrong(l.Number, config.Quote(first)+" is not a directive", "there are no sections here: a virtual begins with \"virtual=\"")
	default:
		r.wrong(l.Number, config.Quote(first)+" is not a directive", orElse(unknownHint(firstWord(first), in), "directives are NAME=VALUE"))
	}
	if l.Kind == Comment && in == inner {
		l.Virtual = r.v.index
	}
}

func (r *reader) continuesComment() bool {
	return r.i > 0 && r.f.Lines[r.i-1].Comment != ""
}

func firstWord(s string) string {
	if i := strings.IndexFunc(s, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }); i >= 0 {
		return s[:i]
	}
	return s
}

func unknownHint(name string, in scope) string {
	if h := config.DidYouMean(name, directiveNames(in)); h != "" {
		return h
	}
	return config.DidYouMean(name, directiveNames(both))
}

// mendValue tries to write the value as ldirectord wants it.
func (g *guessed) mendValue(key string, in scope) {
	_, value, _ := splitDirective(g.text)
	set := func(k, v string) { g.text = k + "=" + v }
	d, _ := directiveNamed(key)
	switch {
	case key == "timeout":
		g.because("ldirectord has checktimeout and negotiatetimeout in its place")
		set("checktimeout", value)
	case key == "connecttimeout":
		g.because("ldirectord has negotiatetimeout in its place")
		set("negotiatetimeout", value)
	case d.style == quoted && in&d.where != 0:
		g.because("the value must be in double quotes")
		set(key, `"`+strings.Trim(value, `"'`)+`"`)
	case isSwitch(key):
		if v := asYesNo(value); v != "" {
			g.because("the value must be yes or no, in lower case and without more")
			set(key, v)
		}
	case key == "netmask":
		if m, ok := dottedMask(value); ok {
			g.because("the mask must be a dotted quad")
			set(key, m)
		}
	case key == "virtual" && strings.HasPrefix(value, "["):
		g.because("an IPv6 address needs virtual6")
		set("virtual6", value)
	case strings.HasPrefix(key, "real") || strings.HasPrefix(key, "fallback") && d.style == server:
		g.otherFamily(key, value)
	case d.take != nil:
		g.lowerCase(key, value, d, in)
	}
}

// lowerCase tries the value in lower case, and without quotes.
func (g *guessed) lowerCase(key, value string, d directive, in scope) {
	v := strings.ToLower(strings.Trim(value, `"'`))
	if _, refusal := d.take(v, in); refusal == "" && v != value {
		g.because("the value is written in lower case and without quotes")
		g.text = key + "=" + v
	}
}

// otherFamily swaps real and real6, if the address says so.
func (g *guessed) otherFamily(key, value string) {
	base, six := strings.CutSuffix(key, "6")
	if six == strings.HasPrefix(value, "[") {
		return
	}
	if !six {
		base += "6"
	}
	g.because("its name must fit the virtual: %s", base)
	g.text = base + "=" + value
}

func isSwitch(key string) bool {
	switch key {
	case "quiescent", "cleanstop", "autoreload", "fork", "supervised", "readdquiescent", "ops":
		return true
	}
	return false
}

func asYesNo(v string) string {
	switch strings.ToLower(strings.Trim(v, `"' `)) {
	case "yes", "y", "on", "true", "1", "enable", "enabled":
		return "yes"
	case "no", "n", "off", "false", "0", "disable", "disabled":
		return "no"
	}
	return ""
}

// dottedMask writes a prefix length as a mask.
func dottedMask(v string) (string, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(v, "/"))
	if err != nil || n < 1 || n > 32 {
		return "", false
	}
	m := bits.Reverse32(uint32(1)<<n - 1)
	return fmt.Sprintf("%d.%d.%d.%d", byte(m>>24), byte(m>>16), byte(m>>8), byte(m)), true
}

// hopeless reports a directive that cannot be understood.
func (r *reader) hopeless(l *Line, text string, in scope, refusal string) {
	key, value, _ := splitDirective(text)
	d, ok := directiveNamed(key)
	switch {
	case key == "virtual" || key == "virtual6":
		r.wrong(l.Number, fmt.Sprintf("%s=%s: no address and port, and no firewall mark", key, value),
			"write "+key+"=ADDRESS:PORT or "+key+"=MARK")
	case !ok:
		r.wrong(l.Number, fmt.Sprintf("%s: no such directive", key), unknownHint(key, in))
	case d.where == inner && in == top:
		r.wrong(l.Number, key+": stands before any virtual", "move it below the virtual= line it belongs to")
	case strings.Contains(r.f.Lines[r.i].Raw, "#") && d.style == quoted && strings.Count(text, `"`) > 1:
		r.wrong(l.Number, key+": ldirectord cuts a line at \"#\", within quotes too", hashHint(key))
	default:
		r.wrong(l.Number, fmt.Sprintf("%s: %s: %s", key, config.Quote(value), plainWords(refusal)), valueHint(key, value))
	}
}

// mendHash does away with a "#" within quotes, at which ldirectord cuts a line of
// a virtual, if that can be done.
func (g *guessed) mendHash(key string) bool {
	if !strings.Contains(g.text, "#") {
		return true
	}
	if key != "receive" {
		return false
	}
	g.because("ldirectord cuts the line at \"#\", within quotes too")
	g.text = strings.ReplaceAll(g.text, "#", `\x23`)
	return true
}

func hashHint(key string) string {
	if key == "receive" {
		return `write \x23 for "#" in an expression`
	}
	return "do without the \"#\""
}

// plainWords is ldirectord's refusal in the middle of a sentence.
func plainWords(refusal string) string {
	if refusal == unknownCommand {
		return "not a value that ldirectord understands here"
	}
	return strings.TrimSpace(refusal)
}

// valueHint says what to write.
func valueHint(key, value string) string {
	w := dashed.re().FindString(value)
	switch key {
	case "service":
		return orElse(config.DidYouMean(w, serviceNames), serviceHint(w))
	case "checktype":
		return config.DidYouMean(w, checkTypes)
	case "httpmethod":
		return config.DidYouMean(w, []string{"get", "head"})
	case "protocol":
		if w == "tcp" || w == "udp" {
			return "remove it: packets of every protocol can carry the mark"
		}
		return config.DidYouMean(w, []string{"tcp", "udp"})
	case "scheduler":
		return config.DidYouMean(w, schedulers)
	case "emailalertstatus":
		return "the states are " + strings.Join(alertStates, ", ")
	case "fallback", "fallback6":
		words := strings.Fields(value)
		if len(words) > 0 {
			return methodHint(words[len(words)-1])
		}
	case "netmask":
		return "a mask is written 255.255.255.0, for IPv6 as a prefix length of 1 to 128"
	}
	if isSwitch(key) {
		return "write " + key + "=yes or " + key + "=no"
	}
	if strings.HasPrefix(key, "check") || strings.HasSuffix(key, "timeout") || strings.HasSuffix(key, "count") {
		return "write a number from 1"
	}
	return ""
}

func serviceHint(name string) string {
	switch strings.ToLower(name) {
	case "ssh", "sshd", "tcp", "telnet", "rdp", "redis", "none":
		return "for a service without a check of its own use checktype=connect, or service=simpletcp with request and receive"
	}
	return "the services are " + strings.Join(serviceNames, ", ") + "; checktype=connect checks any other"
}

// reason is an error as the C library words it.
func reason(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
