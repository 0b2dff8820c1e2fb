// Package ldirectord reads and writes the configuration files of ldirectord.
//
// The reference is ldirectord 4.12. [Parse] reads a file once and answers three
// questions: what does it mean ([File.Globals], [File.Virtuals]), what is wrong
// with it (the problems, all of them), and would ldirectord have taken it
// ([File.Refusal]). For a file that ldirectord takes the meaning is the one that
// ldirectord finds, but for a few readings that nobody can have wanted; each of
// these is a warning.
//
// With [Options].Lenient a file is read as a person would read it: indentation
// that a web page lost, comments behind values, line ends of another system,
// typographic quotes. [File.Print] writes the mended file.
package ldirectord

import (
	"fmt"
	"strings"

	"github.com/lvsctl/lvsctl/config"
)

// Options say how to read. The zero value reads strictly and touches nothing
// but the text: names stay unresolved, files unopened.
type Options struct {
	// Lenient turns what ldirectord refuses but a person understands into
	// warnings. Without it these are errors. The meaning found is the same.
	Lenient bool
	// Resolver finds addresses and ports for names. Without one, names are
	// taken as they are and [File.Virtuals] leaves out what needs them.
	Resolver Resolver
	// Append tells whether a log or monitor file can be opened for appending:
	// ldirectord refuses a file that names one that cannot. nil: not asked.
	Append func(path string) error
	// IsDir tells whether the maintenance directory is there. nil: not asked.
	IsDir func(path string) bool
	// Hostname is the name of this host, for the logins that ldirectord makes
	// of it. Empty: "localhost".
	Hostname string
}

// File is a configuration file as it was read.
type File struct {
	// Name is the file's name, for problems.
	Name string
	// Lines is the whole text, line by line: joined by newlines, their Raw is
	// the file again.
	Lines []Line

	opt      Options
	globals  settings
	executes []string
	virtuals []*virtual
	refusal  *Refusal
	unlooked []config.Problem
}

// Unlooked are the services, servers and fallbacks that [File.Virtuals] leaves out
// because they have names and there was no [Options].Resolver.
func (f *File) Unlooked() []config.Problem { return f.unlooked }

// Kind says what a line is.
type Kind uint8

// Kinds of lines. Unknown is a line that was not understood.
const (
	Blank Kind = iota + 1
	Comment
	Global
	Head // virtual= or virtual6=
	Inner
	Unknown
)

func (k Kind) String() string {
	names := [...]string{"", "blank", "comment", "global", "head", "inner", "unknown"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Line is one line of a file.
type Line struct {
	Number  int    // from 1
	Raw     string // as written, without the newline
	Kind    Kind
	Key     string // the directive, of Global, Head and Inner
	Value   string // what was written behind the "=", mended
	Comment string // from the "#" on
	// Virtual is the index of the virtual that the line belongs to, or -1.
	Virtual int

	stmt *stmt
}

// Refusal is the first reason for which ldirectord 4.12 would not take a file.
// ldirectord then exits with status 2.
type Refusal struct {
	File string
	Line int
	Text string // ldirectord's own words; may hold a newline, as they may

	at int // when ldirectord would have noticed
}

// ExitStatus is that of ldirectord for a file it refuses.
const ExitStatus = 2

// Message is what ldirectord writes to its standard error, without the last
// newline.
func (r Refusal) Message(pid int) string {
	return fmt.Sprintf("Error [%d] reading file %s at line %d: %s", pid, r.File, r.Line, r.Text)
}

func (r Refusal) Error() string {
	return fmt.Sprintf("%s:%d: %s", r.File, r.Line, strings.TrimSpace(r.Text))
}

// Refusal tells why ldirectord would refuse the file, or is nil.
func (f *File) Refusal() *Refusal { return f.refusal }

// Parse reads a file. It does not fail: what it cannot make sense of is an
// error among the problems, and the rest is read nevertheless. Problems are
// sorted by line. name stands in them, and nothing else is done with it.
//
// In a strict reading there is an error among the problems exactly if
// [File.Refusal] is not nil. In a lenient one an error is something that nobody
// can read.
func Parse(name string, src []byte, opt Options) (*File, []config.Problem) {
	if opt.Hostname == "" {
		opt.Hostname = "localhost"
	}
	r := &reader{f: &File{Name: name, opt: opt, globals: settings{}}, names: map[lookup]answer{}}
	r.split(string(src))
	r.read()
	r.finish()
	r.lint()
	config.SortProblems(r.problems)
	return r.f, r.problems
}
