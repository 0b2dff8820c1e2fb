package ldirectord

import (
	"fmt"
	"math"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// stmt is a directive and what it says.
type stmt struct {
	directive
	line     int
	arg      string
	head     *head
	real     *real
	fallback *fallback
	family   lvs.Family // of head, real and fallback
	bare     bool       // "supervised" without a value
	quotable bool       // quotes around the value are not part of it
	passed   string     // what is beside the value, and means nothing to ldirectord
}

// settings are the last statements of each name.
type settings map[string]*stmt

func (s settings) arg(name string) string {
	if st := s[name]; st != nil {
		return st.arg
	}
	return ""
}

func (s settings) line(name string) int {
	if st := s[name]; st != nil {
		return st.line
	}
	return 0
}

// virtual is a block.
type virtual struct {
	settings
	stmt  *stmt // the head
	index int   // among the virtuals
	at    int   // index of the head's line
	// closed is the index of the line at which ldirectord sees the end of the
	// block, or the number of lines.
	closed int
	// lost is the index of the line up to which the block's lines have lost
	// their indentation; 0 if they have not.
	lost   int
	indent int // of the head
	reals  []*real
	// login and passwd as ldirectord has them in the end, defaults included.
	login, passwd string

	service string // "none" if no service is known
	proto   string // tcp, udp or fwm
	key     lvs.Key
	found   bool // key is known
}

// reader reads one file.
type reader struct {
	f        *File
	ended    bool // the last line ends with a newline
	problems []config.Problem
	names    map[lookup]answer

	v    *virtual // the last one
	open bool     // ldirectord is still within it
	i    int      // index of the line being read
}

func (r *reader) split(text string) {
	if text == "" {
		return
	}
	raw := strings.Split(text, "\n")
	if r.ended = raw[len(raw)-1] == ""; r.ended {
		raw = raw[:len(raw)-1]
	}
	r.f.Lines = make([]Line, len(raw))
	for i, s := range raw {
		r.f.Lines[i] = Line{Number: i + 1, Raw: s, Virtual: -1}
	}
}

// Text is the file, byte for byte.
func (f *File) Text() string {
	var b strings.Builder
	for i, l := range f.Lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l.Raw)
	}
	return b.String()
}

// When ldirectord notices something: at a line, or at the end of a block, which
// it reaches just before it reads the line that ends the block.
const (
	atBlockEnd = iota
	atLine
)

func when(line, what int) int { return 2*line + what }

// refuse keeps what ldirectord would have complained about first.
func (r *reader) refuse(at, line int, text string) {
	if was := r.f.refusal; was != nil && was.at <= at || at == math.MaxInt {
		return
	}
	r.f.refusal = &Refusal{File: r.f.Name, Line: line, Text: text, at: at}
}

func (r *reader) problem(line int, s config.Severity, text, hint string) {
	r.problems = append(r.problems, config.Problem{File: r.f.Name, Line: line, Severity: s, Text: text, Hint: hint})
}

func (r *reader) warn(line int, text, hint string) { r.problem(line, config.Warning, text, hint) }

// mended reports something that ldirectord refuses and we understand.
func (r *reader) mended(line int, text, hint string) {
	if r.f.opt.Lenient {
		r.warn(line, text, hint)
		return
	}
	r.problem(line, config.Error, text, hint)
}

// wrong reports something that nobody understands.
func (r *reader) wrong(line int, text, hint string) { r.problem(line, config.Error, text, hint) }

// read goes through the lines.
func (r *reader) read() {
	for r.i = range r.f.Lines {
		l := &r.f.Lines[r.i]
		text := l.Raw
		if r.i == 0 {
			text = r.withoutBOM(text)
		}
		switch {
		case strings.TrimLeft(text, blanks) == "":
			l.Kind = Blank
			r.blank(text)
		case strings.TrimLeft(text, blanks)[0] == '#':
			l.Kind, l.Comment = Comment, strings.Trim(text, blanks)
			r.belongs(l)
		default:
			r.line(l, text)
		}
	}
	r.close(len(r.f.Lines))
}

// blanks are what the peer's regular expressions call white space.
const blanks = " \t\n\v\f\r"

const bom = "\ufeff"

func (r *reader) withoutBOM(text string) string {
	rest, has := strings.CutPrefix(text, bom)
	if has {
		r.refuse(when(0, atLine), 1, unknownCommand+" "+r.rawLine()+" ")
		r.mended(1, "the file begins with a byte order mark", "save it as plain UTF-8")
	}
	return rest
}

// rawLine is the line as ldirectord quotes it, with its newline.
func (r *reader) rawLine() string {
	if r.i == len(r.f.Lines)-1 && !r.ended {
		return r.f.Lines[r.i].Raw
	}
	return r.f.Lines[r.i].Raw + "\n"
}

// belongs marks a comment as part of the block around it.
func (r *reader) belongs(l *Line) {
	if r.open {
		l.Virtual = r.v.index
	}
}

// blank reads an empty line, which ends a block. One with five blanks or more
// is taken for a directive in a block.
func (r *reader) blank(text string) {
	if !r.open {
		return
	}
	if _, in := innerText(text); in {
		r.refuse(when(r.i, atLine), r.i+1, fmt.Sprintf("%s \"%s\"", unknownCommand, r.rawLine()))
		r.mended(r.i+1, "a line of nothing but blanks in a virtual is not empty for ldirectord", "remove the blanks")
		return
	}
	r.close(r.i)
}

func (r *reader) close(at int) {
	if r.open {
		r.v.closed = at
	}
	r.open = false
}

// line reads a line with something on it: first as ldirectord does, then as a
// person.
func (r *reader) line(l *Line, text string) {
	if r.open {
		if cmd, in := innerText(text); in {
			r.innerLine(l, text, cmd)
			return
		}
		r.close(r.i)
	}
	if r.v != nil && r.i < r.v.lost && r.lostLine(l, text) {
		return
	}
	st, refusal := r.accept(text, top)
	if refusal == "" {
		l.Comment = trailingComment(st, text)
		r.keep(l, st, top)
		return
	}
	r.refuseLine(refusal, top)
	r.guess(l, text, top, refusal)
}

func (r *reader) innerLine(l *Line, text, cmd string) {
	st, refusal := r.accept(cmd, inner)
	if refusal == "" {
		if i := strings.IndexByte(text, '#'); i >= 0 {
			l.Comment = strings.TrimRight(text[i:], blanks)
		}
		r.keep(l, st, inner)
		return
	}
	r.refuseLine(refusal, inner)
	r.guess(l, text, inner, refusal)
}

func (r *reader) refuseLine(refusal string, in scope) {
	if refusal == unknownCommand {
		refusal = unknownCommand + " " + r.rawLine() + " "
		if in == inner {
			refusal = unknownCommand + " \"" + r.rawLine() + "\""
		}
	}
	r.refuse(when(r.i, atLine), r.i+1, refusal)
}

// innerText is what ldirectord reads of a line within a block, if the line is
// indented by four columns or more: without comment and indentation, tabs
// turned into four blanks.
func innerText(text string) (string, bool) {
	if i := strings.IndexByte(text, '#'); i >= 0 {
		text = text[:i]
	}
	text = strings.ReplaceAll(text, "\t", "    ")
	cmd := strings.TrimLeft(text, " ")
	if len(text)-len(cmd) < 4 {
		return "", false
	}
	if cmd == "" { // one of the blanks has to be the command
		return " ", len(text) > 4
	}
	return cmd, true
}

// accept reads one directive exactly as ldirectord does.
func (r *reader) accept(text string, in scope) (*stmt, string) {
	if in == top && strings.HasPrefix(text, "supervised") {
		return supervised(text)
	}
	key, value, ok := splitDirective(text)
	if !ok {
		return nil, unknownCommand
	}
	if key == "virtual" || key == "virtual6" {
		return r.acceptHead(key, value, in)
	}
	d, ok := directiveNamed(key)
	if !ok || d.where&in == 0 {
		return nil, unknownCommand
	}
	st := &stmt{directive: d, line: r.i + 1, quotable: in == inner}
	if d.style == server {
		return st, r.acceptServer(st, value, in)
	}
	var refusal string
	if st.arg, refusal = d.take(value, in); refusal != "" {
		return nil, refusal
	}
	st.passed = passedOver(d.style, value, st.arg)
	if in == inner {
		return st, r.acceptInner(st)
	}
	if key == "logfile" {
		return st, r.acceptLog(st.arg)
	}
	return st, ""
}

// passedOver is what ldirectord does not look at of a value of which it keeps a
// part; a comment is none.
func passedOver(how style, value, kept string) string {
	switch how {
	case word:
		if i := strings.Index(strings.ToUpper(value), strings.ToUpper(kept)); i >= 0 {
			value = value[:i] + value[i+len(kept):]
		}
	case quoted:
		value = value[strings.LastIndexByte(value, '"')+1:]
	default:
		return ""
	}
	value, _ = cutComment(value)
	return strings.Trim(value, blanks)
}

func supervised(text string) (*stmt, string) {
	st := &stmt{directive: directives()["supervised"]}
	st.name = "supervised"
	key, value, ok := splitDirective(text)
	switch {
	case strings.TrimRight(text, blanks) == "supervised":
		st.arg, st.bare = "yes", true
		return st, ""
	case !ok || key != "supervised":
		return nil, "supervised must be 'yes' or 'no'"
	}
	var refusal string
	st.arg, refusal = st.take(value, top)
	return st, refusal
}

// splitDirective splits a line at its first "=". The name ends where its
// letters end.
func splitDirective(text string) (key, value string, ok bool) {
	n := 0
	for n < len(text) && (text[n] >= 'a' && text[n] <= 'z' || text[n] == '6') {
		n++
	}
	after := strings.TrimLeft(text[n:], blanks)
	if n == 0 || after == "" || after[0] != '=' {
		return "", "", false
	}
	return text[:n], strings.TrimLeft(after[1:], blanks), true
}

func (r *reader) acceptHead(key, value string, in scope) (*stmt, string) {
	if in == inner {
		return nil, unknownCommand
	}
	st := &stmt{directive: directive{name: key, where: top}, line: r.i + 1, family: familyOf(key)}
	var refusal string
	if st.head, refusal = readHead(value, st.family); refusal != "" {
		return nil, refusal
	}
	if st.head.mark == "" { // else what is behind the digits is no address, which is said
		st.passed = passedOver(word, value, st.head.String())
	}
	return st, ""
}

func familyOf(key string) lvs.Family {
	if strings.HasSuffix(key, "6") {
		return lvs.IPv6
	}
	return lvs.IPv4
}

// acceptServer reads real and fallback. Names are resolved later, but for those
// of a global fallback.
func (r *reader) acceptServer(st *stmt, value string, in scope) string {
	st.family = familyOf(st.name)
	if in == inner && r.v.stmt.family != st.family {
		base := strings.TrimSuffix(st.name, "6")
		if r.v.stmt.family == lvs.IPv6 {
			base += "6"
		}
		return fmt.Sprintf(`cannot specify "%s" here.  please use "%s" instead`, st.name, base)
	}
	if strings.HasPrefix(st.name, "real") {
		st.arg, st.real = value, readReal(value)
		st.real.line = r.i + 1
		return "" // whatever is wrong with it, ldirectord will notice later
	}
	var refusal string
	st.fallback, refusal = readFallback(value)
	st.fallback.line = r.i + 1
	if st.fallback.host == "" { // that is what an empty name stands for
		st.fallback.host, st.fallback.unnamed = bracketed(loopback(st.family)), true
	}
	return refusal
}

// acceptInner checks what depends on the virtual.
func (r *reader) acceptInner(st *stmt) string {
	switch st.name {
	case "protocol":
		return r.acceptProtocol(st.arg)
	case "netmask":
		return acceptNetmask(st.arg, r.v.stmt.family)
	case "monitorfile":
		if r.f.opt.Append == nil {
			return ""
		}
		if err := r.f.opt.Append(st.arg); err != nil {
			return monitorRefused + st.arg + ": " + reason(err)
		}
	}
	return ""
}

func (r *reader) acceptProtocol(p string) string {
	mark := r.v.stmt.head.mark != ""
	switch {
	case mark && p != "fwm":
		return "protocol must be fwm if the virtual service is a fwmark (a number)"
	case !mark && p != "tcp" && p != "udp":
		return "protocol must be tcp or udp if the virtual service is an address and port"
	}
	return ""
}

func (r *reader) acceptLog(path string) string {
	if r.f.opt.Append == nil || !strings.HasPrefix(path, "/") {
		return ""
	}
	if err := r.f.opt.Append(path); err != nil {
		return "unable to open logfile: " + path
	}
	return ""
}

// keep puts a statement where it belongs: to the last virtual, if it is an inner
// one.
func (r *reader) keep(l *Line, st *stmt, in scope) {
	st.line = l.Number
	if !r.trim(l, st, in) {
		return
	}
	if st.take != nil && st.style != quoted && !harmless(st.name) && narrow(st.arg) != st.arg {
		r.warn(l.Number, st.name+": has typographic quotes, wide characters or special blanks", fmt.Sprintf("write %q", st.name+"="+narrow(st.arg)))
	}
	l.stmt, l.Key, l.Value = st, st.name, st.value()
	switch {
	case st.head != nil:
		l.Kind = Head
		r.begin(l, st)
	case in == inner:
		l.Kind, l.Virtual = Inner, r.v.index
		r.v.add(r, st)
	default:
		l.Kind = Global
		r.keepGlobal(st)
	}
}

// trim cuts blanks, and behind a global directive a comment, off a value that
// reaches to the end of its line. ldirectord keeps them, to nobody's use. If
// nothing stays where something must be, the line is as good as a comment.
func (r *reader) trim(l *Line, st *stmt, in scope) bool {
	if st.passed != "" {
		r.warn(l.Number, st.name+": ldirectord passes over "+config.Quote(st.passed), "remove it")
	}
	if st.take == nil || st.style == word || st.style == quoted {
		return true
	}
	arg := st.arg
	if in == top {
		arg = withoutComment(l, arg)
	}
	arg = strings.TrimRight(arg, blanks)
	if arg == st.arg {
		return true
	}
	cut := st.arg[len(arg):]
	if _, refusal := st.take(arg, in); refusal != "" {
		l.Kind, l.Comment = Comment, "# "+strings.Trim(l.Raw, blanks)
		r.warn(l.Number, fmt.Sprintf("%s: has nothing but %q for a value", st.name, cut), "give a value, or remove the line")
		return false
	}
	if !harmless(st.name) || strings.Contains(cut, "#") {
		r.warn(l.Number, fmt.Sprintf("%s: ldirectord takes %q at the end for a part of the value", st.name, cut),
			fmt.Sprintf("write %q", st.name+"="+arg))
	}
	st.arg = arg
	return true
}

// withoutComment moves a comment, with a blank in front of it, from a value to
// its line.
func withoutComment(l *Line, value string) string {
	text, comment := cutComment(value)
	if comment == "" || text != "" && strings.IndexByte(blanks, text[len(text)-1]) < 0 {
		return value
	}
	l.Comment = comment
	return text
}

// harmless tells the directives whose value is only looked at by people, or by
// programs that do not mind a blank at its end.
func harmless(name string) bool {
	switch name {
	case "servicename", "comment", "virtualhost", "fallbackcommand", "emailalert", "emailalertfrom":
		return true
	}
	return false
}

func (r *reader) keepGlobal(st *stmt) {
	if st.name == "execute" {
		r.f.executes = append(r.f.executes, st.arg)
		return
	}
	if st.fallback != nil {
		r.resolveGlobalFallback(st)
	}
	r.repeated(r.f.globals, st)
	r.f.globals[st.name] = st
}

func (r *reader) repeated(in settings, st *stmt) {
	if was := in[st.name]; was != nil {
		r.warn(st.line, fmt.Sprintf("%s was given on line %d already", st.name, was.line), "the last one counts; remove the other")
	}
}

func (r *reader) begin(l *Line, st *stmt) {
	r.close(r.i)
	r.v = &virtual{settings: settings{}, stmt: st, index: len(r.f.virtuals), at: r.i, closed: math.MaxInt, indent: indent(l.Raw)}
	r.f.virtuals = append(r.f.virtuals, r.v)
	r.open = true
	l.Virtual = r.v.index
	r.v.lost = r.findLost()
}

func (v *virtual) add(r *reader, st *stmt) {
	if st.real != nil {
		v.reals = append(v.reals, st.real)
		return
	}
	r.repeated(v.settings, st)
	v.settings[st.name] = st
	switch st.name {
	case "login":
		v.login = st.arg
	case "passwd":
		v.passwd = st.arg
	case "service":
		v.defaultLogin(st.arg, "ldirectord@"+r.f.opt.Hostname)
	}
}

// defaultLogin is what a line "service=ftp" or "service=sip" brings with it.
func (v *virtual) defaultLogin(service, us string) {
	if service == "ftp" {
		v.login, v.passwd = orElse(v.login, "anonymous"), orElse(v.passwd, us)
	}
	if service == "sip" {
		v.login = orElse(v.login, us)
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// value is a statement's value as the printer would write it.
func (st *stmt) value() string {
	switch {
	case st.head != nil:
		return st.head.String()
	case st.real != nil && st.real.readable():
		return st.real.String()
	case st.fallback != nil:
		return st.fallback.String()
	}
	return st.arg
}

// trailingComment is the comment behind a global directive whose value does not
// reach to the end of the line.
func trailingComment(st *stmt, text string) string {
	i := strings.IndexByte(text, '#')
	if st.style == quoted {
		i = strings.LastIndexByte(text, '"')
		if j := strings.IndexByte(text[i:], '#'); j >= 0 {
			i += j
		} else {
			i = -1
		}
	}
	if i < 0 || st.style != word && st.style != quoted && st.head == nil {
		return ""
	}
	return strings.TrimRight(text[i:], blanks)
}
