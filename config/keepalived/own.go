package keepalived

import (
	"fmt"
	"strings"

	"github.com/lvsctl/lvsctl/config"
)

// ownID is a config id that we answer to beside the host's: a line that begins
// with "@lvsctl" is for us, and keepalived passes over it without a word.
// "@^lvsctl" is for keepalived alone.
const ownID = "lvsctl"

// own is a keyword that keepalived does not have.
func own(mean func(*reader, *stmt)) *keyword {
	return &keyword{mean: func(r *reader, s *stmt) {
		theirs := fmt.Sprintf("Unknown keyword '%s'", s.words[0])
		if !r.ours[s.place] {
			r.theirs(s.place, theirs, statusTest)
			r.problem(s.place, config.Warning, fmt.Sprintf("%s is a keyword of lvsctl's own, which keepalived does not know", s.words[0]),
				fmt.Sprintf("write @%s %s, a line that keepalived passes over", ownID, s.text))
		}
		mean(r, s)
	}}
}

// choice reads one of some words. It is false for another one.
func (r *reader) choice(s *stmt, words []string) (string, bool) {
	for _, w := range words {
		if s.arg(1) == w {
			return w, true
		}
	}
	r.problem(s.place, config.Error, fmt.Sprintf("%s %s: it is %s", s.words[0], config.Quote(s.arg(1)), strings.Join(words, " or ")), config.DidYouMean(s.arg(1), words))
	return "", false
}

func (r *reader) onRemoved(s *stmt) {
	if w, ok := r.choice(s, config.OnRemovedWords()); ok {
		r.inst.OnRemoved, _ = config.ParseOnRemoved(w) // one of its own words
	}
}

func (r *reader) onDuplicate(s *stmt) {
	if w, ok := r.choice(s, []string{"alarm", "refuse"}); ok {
		r.inst.AskFirst = w == "refuse"
	}
}
