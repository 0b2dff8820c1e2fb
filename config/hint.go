package config

import (
	"fmt"
	"strings"
)

// nearest is the word that someone who wrote this may have meant, or "". People
// get first letters right, so among equals a word with the same one is nearer.
func nearest(wrote string, words []string) string {
	wrote = strings.ToLower(wrote)
	if wrote == "" || len(wrote) > 40 {
		return ""
	}
	best, at := "", 2*3
	for _, w := range words {
		d := distance(wrote, strings.ToLower(w))
		if 2*d >= max(len(w), len(wrote)) {
			continue
		}
		if d *= 2; strings.ToLower(w)[0] != wrote[0] {
			d++
		}
		if d < at {
			best, at = w, d
		}
	}
	return best
}

// DidYouMean is a hint with the nearest word, or "".
func DidYouMean(wrote string, words []string) string {
	if w := nearest(wrote, words); w != "" {
		return fmt.Sprintf("did you mean %q?", w)
	}
	return ""
}

// distance counts the letters to insert, drop, replace or swap with a neighbour
// to get from a to b.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// Quote shows text of a file in a message, shortened.
func Quote(s string) string {
	const most = 60
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return fmt.Sprintf("%q", s)
}
