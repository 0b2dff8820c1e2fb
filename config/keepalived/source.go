package keepalived

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
)

// piece is a brace or a statement. A line is taken apart at every brace outside
// of quotes, so that it does not matter where they stand.
type piece struct {
	place
	text   string
	above  []string // comments on lines of their own in front of it
	behind string   // the comment at the end of its line
}

// Bounds on what a file can make of us.
const (
	maxDepth  = 32       // files within files
	maxFiles  = 1024     // included
	maxBytes  = 16 << 20 // of all files
	maxLine   = 64 << 10 // after definitions were put in
	maxRounds = 100      // of putting definitions into a line
)

const blanks = " \t"

// oddBlanks makes blanks of what separates words and is none.
var oddBlanks = strings.NewReplacer("\r", " ", "\v", " ", "\f", " ")

// lines takes files apart.
type lines struct {
	r      *reader
	defs   map[string]string
	pieces []piece
	above  []string
	files  int
	bytes  int
	nested []string        // the files that are being read
	mended map[string]bool // files with wide blanks
}

func (r *reader) split(name, text string) (pieces []piece, below []string) {
	l := &lines{r: r, mended: map[string]bool{}, defs: map[string]string{"_INSTANCE": r.opt.Instance, "_HASH": "#", "_BANG": "!"}}
	if wd, err := os.Getwd(); err == nil {
		l.defs["_PWD"] = wd
	}
	l.file(name, text)
	return l.pieces, l.above
}

func (l *lines) file(name, text string) {
	if l.bytes += len(text); l.bytes > maxBytes {
		l.r.wrong(place{name, 0}, "", fmt.Sprintf("the files have more than %d bytes together, so this one is left out", maxBytes), "")
		return
	}
	l.nested = append(l.nested, name)
	defer func() { l.nested = l.nested[:len(l.nested)-1] }()
	if rest, has := strings.CutPrefix(text, "\ufeff"); has {
		l.r.warn(place{name, 1}, "Unknown keyword '\ufeff'", "the file begins with a byte order mark, which keepalived takes for a keyword", "save it as plain UTF-8")
		text = rest
	}
	all := strings.Split(oddBlanks.Replace(text), "\n")
	for i := 0; i < len(all); i++ {
		at := place{name, i + 1}
		line, comment := l.decomment(at, all[i])
		line = l.plainBlanks(at, line)
		if isMacro(line) {
			i = l.macro(at, all, i)
			continue
		}
		if strings.HasSuffix(line, `\`) {
			line, comment, i = l.joined(at, line, all, i)
		}
		l.line(at, line, comment)
	}
}

// joined puts together the lines that end with a backslash and the one after
// them, and returns the index of the last.
func (l *lines) joined(at place, line string, all []string, i int) (whole, comment string, last int) {
	var b strings.Builder
	for strings.HasSuffix(line, `\`) && i+1 < len(all) && b.Len() < maxLine {
		b.WriteString(strings.TrimRight(line[:len(line)-1], blanks) + " ")
		i++
		line, comment = l.decomment(at, all[i])
		line = l.plainBlanks(place{at.file, i + 1}, line)
	}
	if b.Len() > 0 {
		l.r.warn(at, "Unknown keyword '\\'", "keepalived 2.2.7 does not join lines at a backslash; here they are joined", "write it on one line")
	}
	return strings.Trim(b.String()+line, blanks), comment, i
}

// decomment takes the comment off a line: "#" and "!" begin one wherever they
// stand outside of double quotes, unless there is a backslash before them.
func (l *lines) decomment(at place, s string) (line, comment string) {
	s = strings.TrimLeft(s, blanks)
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 < len(s):
			i++
			if quoted || s[i] != '#' && s[i] != '!' {
				b.WriteByte('\\')
			}
			c = s[i]
		case !quoted && (c == '#' || c == '!'):
			return strings.TrimRight(b.String(), blanks), s[i:]
		}
		b.WriteByte(c)
	}
	if quoted {
		l.r.warn(at, fmt.Sprintf("Unterminated quote '%s'", s), "a quote is opened and not closed on the line", "close it before the end of the line")
	}
	return strings.TrimRight(b.String(), blanks), ""
}

// wide are the blanks of web pages and word processors, which keepalived takes
// for letters.
const wide = "\u00a0\u2002\u2003\u2009\u200b\u202f\u3000\ufeff"

// plainBlanks makes ordinary blanks of them outside of quotes.
func (l *lines) plainBlanks(at place, line string) string {
	if !strings.ContainsAny(line, wide) {
		return line
	}
	quoted, changed := false, false
	mended := strings.Map(func(c rune) rune {
		if c == '"' {
			quoted = !quoted
		}
		if quoted || !strings.ContainsRune(wide, c) {
			return c
		}
		changed = true
		return ' '
	}, line)
	if !changed {
		return line
	}
	first, _, _ := cutBlank(line)
	l.r.theirs(at, fmt.Sprintf("Unknown keyword '%s'", first), statusTest)
	if !l.mended[at.file] {
		l.mended[at.file] = true
		l.r.problem(at, config.Warning, "here and below there are blanks that keepalived takes for letters, as web pages have them; they are read as blanks", "write the file with ordinary blanks")
	}
	return strings.Trim(mended, blanks)
}

// line reads a line without its comment.
func (l *lines) line(at place, text, comment string) {
	if text == "" {
		if comment != "" {
			l.above = append(l.above, comment)
		}
		return
	}
	text, ok := l.expand(at, text)
	if !ok || text == "" {
		return
	}
	if pattern, kind, is := includes(text); is {
		l.include(at, pattern, kind)
		return
	}
	l.cut(at, text, comment)
}

// expand follows conditions and definitions. It is false for a line that is not
// to be read.
func (l *lines) expand(at place, text string) (string, bool) {
	for range maxRounds {
		if text == "" {
			return "", true
		}
		if text[0] == '@' {
			rest, meant := l.condition(at, text)
			if !meant {
				return "", false
			}
			text = rest
		}
		if name, value, is := definition(text); is {
			l.defs[name] = value
			return "", false
		}
		if strings.HasPrefix(text, "~SEQ") || strings.HasPrefix(text, "~LST") {
			l.r.wrong(at, "", fmt.Sprintf("%s: sequences are not supported, so this line is left out", config.Quote(text)), "write the lines out")
			return "", false
		}
		replaced, changed := l.replace(at, text)
		if !changed {
			return text, true
		}
		if len(replaced) > maxLine {
			break
		}
		text, _ = l.decomment(at, replaced)
		if !strings.HasPrefix(text, "@") && !strings.Contains(text, "$") {
			return text, true
		}
	}
	l.r.wrong(at, "", "the definitions in this line never end, so it is left out", "a definition must not hold itself")
	return "", false
}

// condition reads "@ID text" and "@^ID text".
func (l *lines) condition(at place, text string) (rest string, meant bool) {
	id, rest, found := cutBlank(text[1:])
	if !found {
		return "", false
	}
	id, not := strings.CutPrefix(id, "^")
	same := l.r.opt.ConfigID != "" && id == l.r.opt.ConfigID
	if id == ownID && !same {
		same = true
		if l.r.ours == nil {
			l.r.ours = map[place]bool{}
		}
		l.r.ours[at] = true
		l.r.unheard(at.file, pass{at.line - 1, at.line})
	}
	return rest, same != not
}

// cutBlank cuts at the first run of blanks.
func cutBlank(s string) (word, rest string, found bool) {
	i := strings.IndexAny(s, blanks)
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimLeft(s[i:], blanks), true
}

// definition reads "$NAME=value".
func definition(text string) (name, value string, is bool) {
	if text[0] != '$' {
		return "", "", false
	}
	n := nameLength(text[1:])
	if n == 0 || n+1 >= len(text) || text[n+1] != '=' {
		return "", "", false
	}
	return text[1 : n+1], strings.TrimLeft(text[n+2:], blanks), true
}

// isMacro tells a definition of several lines.
func isMacro(text string) bool {
	if text == "" {
		return false
	}
	_, value, is := definition(text)
	return is && strings.HasSuffix(value, `\`)
}

// macro passes over a definition of several lines, and returns the index of its
// last.
func (l *lines) macro(at place, all []string, i int) int {
	l.r.wrong(at, "", "definitions of several lines are not supported, so this one is left out", "put the lines into a file and include it where they are used")
	for i+1 < len(all) {
		line, _ := l.decomment(at, all[i])
		if !strings.HasSuffix(line, `\`) {
			break
		}
		i++
	}
	return i
}

// nameLength is how many bytes at the beginning of s are a name.
func nameLength(s string) int {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// replace puts definitions into a line, once. "$NAME" has to be followed by a
// blank, a comma or a closing bracket; "${NAME}" stands anywhere.
func (l *lines) replace(at place, text string) (string, bool) {
	var b strings.Builder
	changed := false
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		name, rest := l.reference(text[i:])
		value, known := l.defs[name]
		switch {
		case known:
			b.WriteString(value)
			text, changed = rest, true
		default:
			l.undefined(at, text[i:])
			b.WriteByte('$')
			text = text[i+1:]
		}
		if b.Len() > maxLine {
			break
		}
	}
	b.WriteString(text)
	return b.String(), changed
}

// reference is the name of a definition at the beginning of s, and what follows.
func (l *lines) reference(s string) (name, rest string) {
	if braced, is := strings.CutPrefix(s, "${"); is {
		n := nameLength(braced)
		if n > 0 && n < len(braced) && braced[n] == '}' {
			return braced[:n], braced[n+1:]
		}
		return "", ""
	}
	n := nameLength(s[1:])
	if rest = s[1+n:]; n > 0 && (rest == "" || strings.IndexByte(" \t,)", rest[0]) >= 0) {
		return s[1 : 1+n], rest
	}
	return "", ""
}

// undefined warns of what looks like the use of a definition and is none.
func (l *lines) undefined(at place, s string) {
	if braced, is := strings.CutPrefix(s, "${"); is {
		if n := nameLength(braced); n > 0 && n < len(braced) && braced[n] == '}' {
			l.r.warn(at, "", fmt.Sprintf("${%s} is defined nowhere above, so it stays as it is", braced[:n]), "write $"+braced[:n]+"=VALUE on a line before")
		}
		return
	}
	n := nameLength(s[1:])
	name := s[1 : 1+n]
	if _, defined := l.defs[name]; defined {
		l.r.warn(at, "", fmt.Sprintf("$%s is not replaced: a blank would have to follow it", name), "write ${"+name+"}")
	}
}

// includes tells an include line. kind is the letter behind "include", or 0.
func includes(text string) (pattern string, kind byte, is bool) {
	word, rest, found := cutBlank(text)
	kinds, is := strings.CutPrefix(word, "include")
	if !found || !is || len(kinds) > 1 || kinds != "" && !strings.Contains("rmwba", kinds) {
		return "", 0, false
	}
	if kinds != "" {
		kind = kinds[0]
	}
	return rest, kind, true
}

func (l *lines) include(at place, pattern string, kind byte) {
	// The letters make it a fault for keepalived when a file is missing, or when
	// none matches; without them it is none.
	status := statusGood
	if wild := strings.ContainsAny(pattern, "*?["); kind == 'w' || kind == 'a' || kind == 'm' && !wild {
		status = statusNoConfig
	}
	switch {
	case l.r.opt.Include == nil:
		l.r.wrong(at, "", fmt.Sprintf("include %s: no files are opened here, so what it holds is missing", pattern), "")
		return
	case len(l.nested) >= maxDepth:
		l.r.wrong(at, "", fmt.Sprintf("include %s: files are included %d deep, so this one is left out", pattern, maxDepth), "does a file include itself?")
		return
	}
	found, err := l.r.opt.Include(pattern, at.file)
	if err != nil {
		l.r.theirs(at, fmt.Sprintf("Config files missing '%s'.", pattern), status)
		l.r.problem(at, config.Error, fmt.Sprintf("include %s: %v", pattern, err), "")
		return
	}
	if len(found) == 0 {
		l.r.theirs(at, fmt.Sprintf("Config files missing '%s'.", pattern), status)
		l.r.problem(at, config.Warning, fmt.Sprintf("include %s: there is no such file", pattern), "keepalived goes on without")
	}
	for _, f := range found {
		if l.files++; l.files > maxFiles || slices.Contains(l.nested, f.Name) {
			l.r.wrong(at, "", fmt.Sprintf("include %s: %s is left out", pattern, f.Name), "does a file include itself?")
			return
		}
		l.file(f.Name, string(f.Text))
	}
}

// ReadFiles finds and reads the files of an include line. Folders, and files that
// are executable, are left out, as keepalived leaves them out.
func ReadFiles(pattern, from string) ([]Text, error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(from), pattern)
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var found []Text
	for _, name := range names {
		st, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !st.Mode().IsRegular() || st.Mode()&0o111 != 0 {
			continue
		}
		if st.Size() > maxBytes {
			return nil, fmt.Errorf("%s is larger than %d bytes", name, maxBytes)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found = append(found, Text{name, text})
	}
	return found, nil
}

// cut takes a line apart at its braces.
func (l *lines) cut(at place, text, comment string) {
	first := len(l.pieces)
	for text != "" {
		i := brace(text)
		switch {
		case i < 0:
			l.piece(at, text)
			text = ""
		case i == 0:
			l.piece(at, text[:1])
			text = text[1:]
		default:
			l.piece(at, text[:i])
			text = text[i:]
		}
		text = strings.TrimLeft(text, blanks)
	}
	if comment != "" && len(l.pieces) > first {
		l.pieces[len(l.pieces)-1].behind = comment
	}
}

func (l *lines) piece(at place, text string) {
	// A backslash at the end has nothing to act on.
	text = strings.TrimRight(text, blanks+`\`)
	if text == "" {
		return
	}
	l.pieces = append(l.pieces, piece{place: at, text: text, above: l.above})
	l.above = nil
}

// brace is the index of the first brace outside of double quotes, or -1.
func brace(s string) int {
	quoted := false
	for i, c := range []byte(s) {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '}'):
			return i
		}
	}
	return -1
}
