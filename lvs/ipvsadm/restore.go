package ipvsadm

import (
	"fmt"
	"io"
)

// batch is how many changes go to the kernel at once, at most.
const batch = 1500

// restore carries out lines of rules as if each ran alone. Changes travel
// together as long as nobody can tell: they go to the kernel before the input
// could make us wait, before anything but a change, and before anything is said.
func (s *session) restore(in rules) int {
	var words []string
	settle := s.settle // once: a method value is garbage
	for {
		line, err := in.next(settle)
		if err != nil {
			s.settle()
			return s.endOfRules(err)
		}
		if words = splitWords(line, words[:0]); len(words) == 0 {
			continue
		}
		if s.restoreLine(words) {
			return s.status
		}
	}
}

// rules is where a restore gets its lines. next calls before whenever the next
// line is not there yet.
type rules interface {
	next(before func()) (string, error)
}

func (s *session) endOfRules(err error) int {
	if err == io.EOF {
		return s.status
	}
	return s.say(statusRefused, fmt.Sprintf("%s: %v", s.Name, err))
}

// restoreLine takes one line and tells whether it is the last to be looked at.
func (s *session) restoreLine(words []string) (ends bool) {
	cmd, err := s.parser.parse(words)
	if err == nil && cmd.changes() {
		s.queue(cmd)
		return false
	}
	s.settle()
	if err == nil && cmd.Verb == VerbRestore {
		s.status = s.say(statusKernel, tryHelp(s.Name)) // it would never end
		return true
	}
	s.status, ends = s.line(words)
	return ends
}

// queue keeps a change for the next batch.
func (s *session) queue(c Command) {
	s.pending = append(s.pending, c.Change)
	s.verbs = append(s.verbs, c.Verb)
	if len(s.pending) >= batch {
		s.settle()
	}
}

// settle has the kernel carry out what is pending, and reports its verdicts in
// the order of the lines.
func (s *session) settle() {
	if len(s.pending) == 0 {
		return
	}
	for i, err := range s.kernel.Do(s.pending) {
		s.status = s.verdict(s.verbs[i], err)
	}
	s.pending, s.verbs = s.pending[:0], s.verbs[:0]
}

// uncommented leaves out the lines that ipvsadm-restore takes for comments.
type uncommented struct{ lines *lineReader }

func withoutComments(in io.Reader) uncommented { return uncommented{newLineReader(in)} }

func (u uncommented) next(before func()) (string, error) {
	for {
		line, err := u.lines.next(before)
		if err != nil || line == "" || line[0] != '#' {
			return line, err
		}
	}
}
