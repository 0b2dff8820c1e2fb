package keepalived

import (
	"bufio"
	"io"
	"strings"
)

// Print writes the file in one piece: what was included stands where it was
// included, definitions are replaced, and of conditional lines there are those
// that apply here. Each statement has a line of its own, each block its braces.
// Comments stay. Words that were not understood stay as well, so that nobody
// loses them.
//
// What is printed means what the file means: reading it again finds the same
// [File.Site] and [File.Globals], places apart.
func (f *File) Print(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w)}
	p.statements(f.stmts, true)
	p.comments(f.below)
	return p.w.Flush()
}

type printer struct {
	w     *bufio.Writer
	depth int
}

const indentation = "    "

// put writes a line. Errors stay in the writer until it is flushed.
func (p *printer) put(s string) {
	for range p.depth {
		p.w.WriteString(indentation)
	}
	p.w.WriteString(s)
	p.w.WriteByte('\n')
}

func (p *printer) comments(lines []string) {
	for _, c := range lines {
		p.put(c)
	}
}

func (p *printer) statements(stmts []*stmt, top bool) {
	for i, s := range stmts {
		if top && i > 0 && (s.braced() || stmts[i-1].braced()) {
			p.w.WriteByte('\n')
		}
		p.statement(s)
	}
}

// braced tells whether a statement is written with braces.
func (s *stmt) braced() bool { return s.open || s.kw != nil && s.kw.shape != leaf }

func (p *printer) statement(s *stmt) {
	p.comments(s.above)
	line, ok := source(s.text)
	if !ok {
		p.put("# " + s.text)
		return
	}
	has := s.braced()
	// Within a quote that nobody closes a brace is none.
	open := has && strings.Count(line, `"`)%2 != 0
	if has && !open {
		line += " {"
	}
	p.withComment(line, s.behind)
	if !has {
		return
	}
	if open {
		p.put("{")
	}
	p.depth++
	p.statements(s.body, false)
	p.pieces(s.loose)
	p.comments(s.below)
	p.depth--
	p.put("}")
}

// withComment puts a comment behind the line where that cannot change the line.
func (p *printer) withComment(line, comment string) {
	switch {
	case comment == "":
		p.put(line)
	case strings.ContainsAny(line, `"\`):
		p.put(comment)
		p.put(line)
	default:
		p.put(line + "  " + comment)
	}
}

// pieces writes the inside of a block that was passed over.
func (p *printer) pieces(ps []piece) {
	depth := p.depth
	for i, c := range ps {
		if c.text == "}" {
			p.depth--
		}
		p.comments(c.above)
		if c.behind != "" {
			p.put(c.behind)
		}
		switch line, ok := source(c.text); {
		case c.text == "{" && i > 0:
			p.put("{")
		case ok:
			p.put(line)
		}
		if c.text == "{" {
			p.depth++
		}
	}
	p.depth = depth
}

// source is a statement as it has to be written to be read as it was: comment
// signs with a backslash, and in quotes what would be an instruction to the
// reader of lines. It is false for what cannot be written so.
func source(text string) (string, bool) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\\' && i+1 < len(text):
			b.WriteByte(c)
			i++
			c = text[i]
		case !quoted && (c == '#' || c == '!'):
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	out := b.String()
	_, _, include := includes(text)
	if out == "" || !strings.ContainsRune("@$~", rune(out[0])) && !include {
		return out, out != ""
	}
	end := strings.IndexAny(out, " \t\"")
	if end < 0 {
		end = len(out)
	}
	return `"` + out[:end] + `"` + out[end:], !strings.Contains(out[:end], `\`)
}
