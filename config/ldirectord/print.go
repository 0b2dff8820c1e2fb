package ldirectord

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Print writes the file in the form that ldirectord reads without surprise: each
// directive of a virtual behind a tab, no comment where it would become part of
// a value, no empty line within a virtual. Order and comments stay. A line that
// was not understood is written as it is.
//
// What is printed means what the file means: for a file without errors, reading
// it again finds the same [File.Globals] and [File.Virtuals], lines apart.
func (f *File) Print(w io.Writer) error {
	p := printer{w: bufio.NewWriter(w), f: f, ends: f.lastInner()}
	for i := range f.Lines {
		p.line(i)
	}
	if p.last == Head {
		p.put("") // see finishTwins
	}
	return p.w.Flush()
}

// lastInner is for each virtual the index of its last line.
func (f *File) lastInner() []int {
	ends := make([]int, len(f.virtuals))
	for i, v := range f.virtuals {
		ends[i] = v.at
	}
	for i, l := range f.Lines {
		if l.Kind == Inner {
			ends[l.Virtual] = i
		}
	}
	return ends
}

type printer struct {
	w    *bufio.Writer
	f    *File
	ends []int
	last Kind
	in   int // the index of the virtual whose lines are being written, plus one
}

// put writes a line. Errors stay in the writer until it is flushed.
func (p *printer) put(s string) {
	p.w.WriteString(s)
	p.w.WriteByte('\n')
}

// inside tells whether line i is followed by more of the virtual it is in.
func (p *printer) inside(i int) bool { return p.in > 0 && i < p.ends[p.in-1] }

func (p *printer) line(i int) {
	l := &p.f.Lines[i]
	switch l.Kind {
	case Blank:
		if p.inside(i) {
			return
		}
		p.put("")
	case Comment:
		p.comment(l)
	case Global:
		if p.inside(i) {
			return // written in front of the head
		}
		p.global(l)
	case Head:
		p.head(i)
	case Inner:
		p.inner(l)
	default:
		p.put(strings.TrimRight(l.Raw, blanks))
	}
	p.last = l.Kind
}

func (p *printer) comment(l *Line) {
	tab := ""
	if l.Virtual >= 0 && indent(l.Raw) > 0 {
		tab = "\t"
	}
	p.put(tab + l.Comment)
}

func (p *printer) global(l *Line) {
	if l.Comment != "" {
		p.put(l.Comment)
	}
	p.put(l.stmt.text())
}

// head writes a head, and in front of it the global directives that have gone
// astray into its block.
func (p *printer) head(i int) {
	l := &p.f.Lines[i]
	p.in = l.Virtual + 1
	for j := i + 1; j < p.ends[l.Virtual]; j++ {
		if p.f.Lines[j].Kind == Global {
			p.global(&p.f.Lines[j])
		}
	}
	p.put(l.stmt.text() + behind(l.Comment))
}

func (p *printer) inner(l *Line) {
	switch l.stmt.style {
	case whole, list:
		if l.Comment != "" {
			p.put("\t" + l.Comment)
		}
		p.put("\t" + l.stmt.text())
	default:
		p.put("\t" + l.stmt.text() + behind(l.Comment))
	}
}

func behind(comment string) string {
	if comment == "" {
		return ""
	}
	return "  " + comment
}

// text is the statement as it should be written, without indentation.
func (st *stmt) text() string {
	leading := st.arg != "" && strings.TrimLeft(st.arg, blanks) != st.arg
	switch {
	case st.style == quoted, st.style == loose && st.quotable,
		st.style == list && leading && !strings.Contains(st.arg, `"`):
		return fmt.Sprintf(`%s="%s"`, st.name, st.arg)
	}
	return st.name + "=" + st.value()
}
