package ipvsadm

import "strings"

// What the scanner says of a word that it cannot take; ipvsadm prints these
// behind the word.
const (
	unknownOption   = "unknown option"
	missingArgument = "missing argument"
	unwantedValue   = "option does not take an argument"
)

// scanner splits a command line into options with their values, as popt 1.19
// does: options may stand anywhere between other words, short ones cluster, a
// value is attached, behind "=", or the next word whatever it looks like.
type scanner struct {
	args    []string // the words after the program's name
	next    int      // the word to look at next
	cluster string   // what is left of a word of short options
	rest    bool     // "--" was seen: all that follows are words
	aside   []string // words that are no options
}

// typed is the word that the option scanned last, or its value, stood in.
// Messages quote it.
func (s *scanner) typed() string { return s.args[s.next-1] }

// scan returns the next option. At the end of the line w is nil and why is
// empty; otherwise a why that is not empty says what is wrong with [typed].
// given tells a value that is empty from one that is absent.
func (s *scanner) scan() (w *word, value string, given bool, why string) {
	if s.cluster != "" {
		return s.letter()
	}
	typed, ok := s.optionWord()
	if !ok {
		return nil, "", false, ""
	}
	if long, isLong := strings.CutPrefix(typed, "--"); isLong {
		return s.long(long)
	}
	s.cluster = typed[1:]
	return s.letter()
}

// optionWord goes to the next word that holds options and puts the others aside.
func (s *scanner) optionWord() (string, bool) {
	for s.next < len(s.args) {
		w := s.args[s.next]
		s.next++
		switch {
		case s.rest || len(w) < 2 || w[0] != '-':
			s.aside = append(s.aside, w)
		case w == "--":
			s.rest = true
		default:
			return w, true
		}
	}
	return "", false
}

func (s *scanner) long(text string) (*word, string, bool, string) {
	name, value, attached := strings.Cut(text, "=")
	w := findLong(name)
	switch {
	case w == nil:
		return nil, "", false, unknownOption
	case attached && w.value == noValue:
		return nil, "", false, unwantedValue
	case attached || w.value == noValue:
		return w, value, attached, ""
	}
	return s.nextValue(w)
}

// letter takes one option off the cluster. What follows it is its value when it
// takes one, and more options otherwise.
func (s *scanner) letter() (*word, string, bool, string) {
	w := findShort(s.cluster[0])
	rest := s.cluster[1:]
	s.cluster = ""
	value, equals := strings.CutPrefix(rest, "=")
	switch {
	case w == nil:
		return nil, "", false, unknownOption
	case w.value == noValue && equals:
		return nil, "", false, unwantedValue
	case w.value == noValue:
		s.cluster = rest
		return w, "", false, ""
	case rest != "":
		return w, value, true, ""
	}
	return s.nextValue(w)
}

// nextValue takes the next word as the value. Only an optional value is not
// taken from a word that looks like an option.
func (s *scanner) nextValue(w *word) (*word, string, bool, string) {
	if s.next == len(s.args) {
		if w.value == maybeValue {
			return w, "", false, ""
		}
		return nil, "", false, missingArgument
	}
	if w.value == maybeValue && strings.HasPrefix(s.args[s.next], "-") {
		return w, "", false, ""
	}
	s.next++
	return w, s.args[s.next-1], true, ""
}
