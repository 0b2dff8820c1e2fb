package check

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// Pattern is a compiled Perl regular expression, unanchored. A nil Pattern
// matches everything: an empty receive means do not look.
//
// Most expressions run on Go's engine, whose time is linear in the text. Those
// with look-around, backreferences, atomic groups or possessive quantifiers run
// on a backtracking one that is stopped after a second.
type Pattern struct {
	src    string
	linear *regexp.Regexp
	back   *regexp2.Regexp
}

// maxBacktrack is the most time one match may take on the backtracking engine.
const maxBacktrack = time.Second

// maxPattern is the longest expression that is compiled, in bytes.
const maxPattern = 4096

// ParsePattern compiles a Perl expression. The empty one gives nil.
func ParsePattern(src string) (*Pattern, error) {
	if src == "" {
		return nil, nil
	}
	if len(src) > maxPattern {
		return nil, fmt.Errorf("the expression is %d bytes long, %d are allowed", len(src), maxPattern)
	}
	ours := fromPerl(src)
	if re, err := syntax.Parse(ours, syntax.Perl); err == nil {
		linear, err := regexp.Compile(perlDollar(re).String())
		if err == nil {
			return &Pattern{src: src, linear: linear}, nil
		}
	}
	back, err := regexp2.Compile(ours, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", src, err)
	}
	back.MatchTimeout = maxBacktrack
	return &Pattern{src: src, back: back}, nil
}

// slow tells whether a match may take long.
func (p *Pattern) slow() bool { return p != nil && p.linear == nil }

func (p *Pattern) String() string {
	if p == nil {
		return ""
	}
	return p.src
}

// Match says whether the expression is found in text. The error is that of an
// expression that takes too long on this text.
func (p *Pattern) Match(text []byte) (bool, error) {
	switch {
	case p == nil:
		return true, nil
	case p.linear != nil:
		return p.linear.Match(text), nil
	}
	ok, err := p.back.MatchString(string(text))
	if err != nil {
		return false, fmt.Errorf("looking for %q took more than %v: make the expression simpler", p.src, maxBacktrack)
	}
	return ok, nil
}

// perlDollar gives $ its Perl meaning, the end or before a newline at the end,
// which for Go is the very end only. "OK$" has to match "OK\n".
func perlDollar(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpEndText && re.Flags&syntax.WasDollar != 0 {
		end, err := syntax.Parse(`(?:\n?\z)`, syntax.Perl)
		if err == nil { // it is a constant; a test compiles it
			return end
		}
	}
	for i, sub := range re.Sub {
		re.Sub[i] = perlDollar(sub)
	}
	return re
}

// fromPerl rewrites what Perl has and neither engine knows: possessive
// quantifiers become atomic groups, \h, \R and \K what they stand for. The rest
// is left as it is, for the engines to take or refuse.
func fromPerl(src string) string {
	w := perlWriter{src: src}
	for w.pos < len(src) {
		w.step()
	}
	return w.out.String()
}

// perlWriter goes through an expression atom by atom, knowing where in its
// output the last atom began.
type perlWriter struct {
	src   string
	pos   int
	out   strings.Builder
	atom  int   // start of the last atom in out
	opens []int // starts of the groups that are open
}

func (w *perlWriter) step() {
	switch c := w.src[w.pos]; c {
	case '\\':
		w.escape()
	case '[':
		w.class()
	case '(':
		w.opens = append(w.opens, w.out.Len())
		w.copy(1)
	case ')':
		if n := len(w.opens); n > 0 {
			w.atom, w.opens = w.opens[n-1], w.opens[:n-1]
		}
		w.copy(1)
	case '*', '+', '?', '{':
		w.quantifier()
	default:
		w.atom = w.out.Len()
		w.copy(1)
	}
}

func (w *perlWriter) copy(n int) {
	n = min(n, len(w.src)-w.pos)
	w.out.WriteString(w.src[w.pos : w.pos+n])
	w.pos += n
}

var perlEscapes = map[byte]string{'h': `[ \t]`, 'R': `(?:\r\n|\n|\r)`, 'K': ``}

func (w *perlWriter) escape() {
	w.atom = w.out.Len()
	if w.pos+1 >= len(w.src) {
		w.copy(1)
		return
	}
	c := w.src[w.pos+1]
	if s, ok := perlEscapes[c]; ok {
		w.out.WriteString(s)
		w.pos += 2
		return
	}
	if c == 'Q' {
		w.quoted()
		return
	}
	n := 2
	if rest := w.src[w.pos+2:]; strings.HasPrefix(rest, "{") && strings.IndexByte("xpPgko", c) >= 0 {
		n += strings.IndexByte(rest, '}') + 1 // \x{263a} is one atom
	}
	w.copy(n)
}

// quoted writes \Q...\E with its text escaped, which both engines read.
func (w *perlWriter) quoted() {
	text, rest, _ := strings.Cut(w.src[w.pos+2:], `\E`)
	w.out.WriteString(regexp.QuoteMeta(text))
	w.pos = len(w.src) - len(rest)
}

func (w *perlWriter) class() {
	w.atom = w.out.Len()
	end := classEnd(w.src[w.pos:])
	w.out.WriteString(strings.ReplaceAll(w.src[w.pos:w.pos+end], `\h`, ` \t`))
	w.pos += end
}

// classEnd is the length of the bracket expression s begins with.
func classEnd(s string) int {
	i := 1
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	if strings.HasPrefix(s[i:], "]") { // a literal one
		i++
	}
	for i < len(s) {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "[:") && strings.Contains(s[i:], ":]"):
			i += strings.Index(s[i:], ":]") + 1
		case s[i] == ']':
			return i + 1
		}
		i++
	}
	return len(s)
}

// counted is the length of the {2}, {2,} or {2,5} that s begins with, 0 if it
// begins with no such thing.
func counted(s string) int {
	digits := func(i int) int {
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i
	}
	i := digits(1)
	if i == 1 {
		return 0
	}
	if strings.HasPrefix(s[i:], ",") {
		i = digits(i + 1)
	}
	if !strings.HasPrefix(s[i:], "}") {
		return 0
	}
	return i + 1
}

func (w *perlWriter) quantifier() {
	n := 1
	if w.src[w.pos] == '{' {
		if n = counted(w.src[w.pos:]); n == 0 {
			w.atom = w.out.Len()
			w.copy(1) // a literal brace
			return
		}
	}
	afterParen := w.pos > 0 && w.src[w.pos-1] == '('
	w.copy(n)
	if afterParen || w.pos >= len(w.src) || w.src[w.pos] != '+' {
		return // "(?" opens a special group
	}
	w.pos++
	s := w.out.String()
	w.out.Reset()
	w.out.WriteString(s[:w.atom] + "(?>" + s[w.atom:] + ")")
}
