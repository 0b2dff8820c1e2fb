// Package keepalived reads and writes the configuration files of keepalived.
//
// The reference is keepalived 2.2.7. [Parse] reads a file, and what it includes,
// once and answers three questions: what does it mean ([File.Site],
// [File.Globals]), what is wrong with it (the problems, all of them), and what
// would `keepalived -t` have said ([File.ExitStatus], [File.Complaints]).
//
// keepalived goes on after almost everything that it complains about, and so do
// we: what is not understood is a warning, and the rest is read as if it were not
// there. Where keepalived loses the thread (a block that it does not know, a
// brace that is missing) the file is read as its author would.
package keepalived

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// Options say how to read. The zero value touches nothing but the text.
type Options struct {
	// Include finds the files that a pattern of an include line stands for, which
	// is relative to the folder of the file named from. [ReadFiles] is the real
	// one. nil: every include is a problem.
	Include func(pattern, from string) ([]Text, error)
	// ConfigID is what "@ID" at the beginning of a line is compared with: keepalived
	// takes the host's name up to the first dot. Empty: no line with one is read.
	ConfigID string
	// Instance is the value of $_INSTANCE.
	Instance string
	// HasLink tells whether this host has an interface. nil: not asked.
	HasLink func(name string) bool
	// Executable tells why a program cannot be run; one without a slash is to be
	// looked for as a shell does. nil: not asked.
	Executable func(path string) error
	// User tells why there is no user of a name. nil: not asked, and scripts whose
	// user the file leaves open are run as whoever runs us.
	User func(name string) error
	// Resolve tells why a host name has no address. Only that of a mail server is
	// asked for: all else has to be an address. nil: not asked.
	Resolve func(name string) error
}

// Text is a file that is included.
type Text struct {
	Name string
	Text []byte
}

// File is a configuration file as it was read.
type File struct {
	// Name is the file's name, for problems.
	Name string

	stmts      []*stmt
	below      []string // comments behind the last statement
	site       config.Site
	globals    Globals
	complaints []string
	mistakes   []string // of these
	status     status
}

// Site is what the file wants, complete with defaults. Left out is what [Parse]
// said cannot be had. What it refers to is shared and not to be changed.
func (f *File) Site() config.Site { return f.site }

// Globals are the settings that concern no single instance or service.
func (f *File) Globals() Globals { return f.globals }

// status is what `keepalived -t` ends with, from the best to the one that drowns
// all others.
type status uint8

const (
	statusGood     status = iota
	statusRemark          // it remarked upon what it takes
	statusTest            // it complained
	statusSecurity        // scripts are run without enable_script_security
	statusConfig          // it gave up: a keyword lacks what should follow it
	statusNoConfig        // it gave up: a file that must be there is not
)

var exitStatus = [...]int{statusGood: 0, statusRemark: 5, statusTest: 5, statusSecurity: 6, statusConfig: 2, statusNoConfig: 6}

// ExitStatus is that of `keepalived -t` for the file: 0 for a good one, 5 for one
// that it complains about, 6 where scripts are run without enable_script_security
// or a file of includem is not there, 2 where it gives up reading because a keyword
// lacks its value. It rests on what the options let Parse ask of the host.
func (f *File) ExitStatus() int { return exitStatus[f.status] }

// Complaints are what `keepalived -t` writes to its standard error, in the order
// of the file: "(FILE: Line N) Unknown keyword 'x'". The wording is keepalived's
// for the commoner ones.
func (f *File) Complaints() []string { return f.complaints }

// Mistakes are the complaints about what keepalived does not take as it is written: a
// word that it does not know, a number that is none. What it takes and remarks upon is
// not among them.
func (f *File) Mistakes() []string { return f.mistakes }

// Parse reads a file. It does not fail: what it cannot make sense of is among the
// problems, and the rest is read nevertheless. Problems are sorted by file and
// line. name stands in them, and is what included files are relative to.
//
// A warning is what keepalived complains about, or does not notice, and reads on
// with; an error is something that a person has to decide, and that is left out
// until then: an instance without an interface, a file that is not there.
func Parse(name string, src []byte, opt Options) (*File, []config.Problem) {
	r := &reader{f: &File{Name: name}, opt: opt, g: defaultGlobals()}
	r.pieces, r.f.below = r.split(name, string(src))
	r.f.stmts = r.tree()
	r.mean(r.f.stmts)
	r.sortPassed()
	r.finish()
	config.SortProblems(r.problems)
	r.judge()
	return r.f, r.problems
}

// reader reads one file.
type reader struct {
	f        *File
	opt      Options
	problems []config.Problem
	said     []complaint

	pieces []piece
	next   int // the piece to read next
	torn   bool

	g         Globals
	instances []*instance
	groups    []*group
	scripts   []*script
	services  []*service
	vsgs      map[string]*vsg
	sync      *syncDaemon

	// What announcements after an advert of lower priority have of their own.
	lowerDelay  *time.Duration
	lowerRepeat *int

	ours     map[place]bool        // lines that begin with "@lvsctl"
	noLink   bool                  // an interface is not there
	noUser   bool                  // nobody may run scripts that do not name somebody
	passed   map[string][]pass     // blocks that keepalived passes over, by file
	commands []complaint           // the programs that are run, in place of keepalived's words
	targets  int                   // of groups of services
	checks   map[string]check.Spec // by ID

	// What the statement being read is in.
	inst *instance
	grp  *group
	scr  *script
	svc  *service
	real *server
	chk  *checker
	url  *page
}

// complaint is something that keepalived says.
type complaint struct {
	config.Problem        // for its place; Text is keepalived's
	status         status // what it alone would make of the exit status
}

// place is a line of a file.
type place struct {
	file string
	line int
}

func (p place) source() ldirector.Source { return ldirector.Source{File: p.file, Line: p.line} }

func (r *reader) problem(at place, s config.Severity, text, hint string) {
	r.problems = append(r.problems, config.Problem{File: at.file, Line: at.line, Severity: s, Text: text, Hint: hint})
}

// theirs keeps what keepalived says at a place. Nothing, if that is "".
func (r *reader) theirs(at place, text string, status status) {
	if text != "" {
		r.said = append(r.said, complaint{config.Problem{File: at.file, Line: at.line, Text: text}, status})
	}
}

// warn reports what keepalived reads on from. theirs is what it says there; "" is
// nothing.
func (r *reader) warn(at place, theirs, text, hint string) {
	r.theirs(at, theirs, statusTest)
	r.problem(at, config.Warning, text, hint)
}

// wrong reports what somebody has to decide.
func (r *reader) wrong(at place, theirs, text, hint string) {
	r.theirs(at, theirs, statusTest)
	r.problem(at, config.Error, text, hint)
}

// pass is a block that we read and keepalived passes over, so that it complains of
// nothing in it.
type pass struct{ from, to int } // lines behind the first one, and to the last

// passes notes that keepalived does not look into a statement's block.
func (r *reader) passes(s *stmt) { r.unheard(s.file, pass{s.line, s.end.line}) }

func (r *reader) unheard(file string, p pass) {
	if r.passed == nil {
		r.passed = map[string][]pass{}
	}
	r.passed[file] = append(r.passed[file], p)
}

// sortPassed makes the blocks of each file ready for heard: in order, and each as
// long as the longest before it.
func (r *reader) sortPassed() {
	for _, ps := range r.passed {
		slices.SortFunc(ps, func(a, b pass) int { return cmp.Compare(a.from, b.from) })
		for i := 1; i < len(ps); i++ {
			ps[i].to = max(ps[i].to, ps[i-1].to)
		}
	}
}

// heard tells whether keepalived looks at the place of a complaint.
func (r *reader) heard(c complaint) bool {
	ps := r.passed[c.File]
	i, _ := slices.BinarySearchFunc(ps, c.Line, func(p pass, line int) int { return cmp.Compare(p.from, line) })
	return i == 0 || ps[i-1].to < c.Line
}

// whole is a place where keepalived does not know the line any more.
func (r *reader) whole(at place) place { return place{at.file, 0} }

// maxComplaints bounds what we keep of keepalived's words.
const maxComplaints = 10000

// judge works out the exit status, and puts the complaints in order.
func (r *reader) judge() {
	heard := slices.DeleteFunc(slices.Clone(r.said), func(c complaint) bool { return !r.heard(c) })
	for _, c := range heard {
		r.f.status = max(r.f.status, c.status)
	}
	r.f.complaints = inOrder(heard)
	r.f.mistakes = inOrder(slices.DeleteFunc(heard, func(c complaint) bool { return c.status == statusRemark || c.status == statusSecurity }))
}

// inOrder are complaints as keepalived writes them, by their places.
func inOrder(cs []complaint) []string {
	places := make([]config.Problem, 0, len(cs))
	for _, c := range cs {
		places = append(places, c.Problem)
	}
	config.SortProblems(places)
	var texts []string
	for _, p := range places[:min(len(places), maxComplaints)] {
		text := p.Text
		if p.Line > 0 {
			text = fmt.Sprintf("(%s: Line %d) %s", p.File, p.Line, text)
		}
		texts = append(texts, text)
	}
	return texts
}
