// Package config is one model for all dialects: what a site wants, whichever
// files it was written in, and what is wrong with them.
package config

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity tells how bad a [Problem] is.
type Severity uint8

// Severities. An Error is something that the dialect's own program refuses, or
// that cannot be done; a Warning is something that most likely is not meant.
const (
	Warning Severity = iota + 1
	Error
)

func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// Problem is something wrong at a place in a file.
type Problem struct {
	File     string
	Line     int // from 1; 0 for the file as a whole
	Severity Severity
	Text     string // what was found: `scheduler "rrr": no such scheduler`
	Hint     string // what to do: `did you mean "rr"?`; may be empty
}

// String is the problem as a compiler would print it: FILE:LINE: TEXT; HINT.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	if s != "" {
		s += ": "
	}
	s += p.Text
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// SortProblems orders problems by file and line; those of a line stay in order.
func SortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// Errors tells whether one of the problems is more than a warning.
func Errors(ps []Problem) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}
