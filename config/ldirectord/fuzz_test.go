package ldirectord

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- input --\n")
		input, _, _ := strings.Cut(rest, "-- problems --\n")
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if strings.Contains(input, "->") {
			return // a range is many servers; TestRanges has those
		}
		checkVerdict(t, input, fakeNames{})
		checkCanonical(t, input, fakeNames{})
	})
}

// TestRandomFiles holds the laws of reading and printing over files made of the
// language's own words, good and bad.
func TestRandomFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 4000 {
		input := randomFile(r)
		checkVerdict(t, input, fakeNames{})
		if checkCanonical(t, input, fakeNames{}) {
			read++
		}
		if t.Failed() {
			return
		}
	}
	if read < 400 {
		t.Errorf("only %d of 4000 files were readable", read)
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomFile(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(3) {
		b.WriteString(randomLine(r, top, ""))
	}
	for range r.IntN(4) {
		fmt.Fprintf(&b, "%svirtual%s\n", pick(r, "", "", "", " "), pick(r, "=10.0.0.1:80", "=10.0.0.1:53", "=7", "=8 # mark", "=vip:http", "6=[fd00::1]:80", " = 10.0.0.2:389", "=10.0.0.3", "=[fd00::2]:25"))
		for range r.IntN(6) {
			b.WriteString(randomLine(r, pick(r, inner, inner, inner, inner, inner, top), pick(r, "\t", "\t", "    ", "\t", "     ", " ", "")))
		}
	}
	return b.String()
}

func randomLine(r *rand.Rand, in scope, indent string) string {
	if r.IntN(12) == 0 {
		return pick(r, "\n", "# a comment\n", "\t# a comment\n", "     \n", " \n", "// x\n")
	}
	key := pick(r, directiveNames(in)...)
	if in == inner && r.IntN(3) == 0 {
		key = "real"
	}
	value := pick(r, "5", "0", "yes", "no", "Yes", `"a b"`, `"x`, "“x”", "http", "tcp", "connect", "wlc", "10.0.0.1:80", "all", "none", "x y", `"a#b"`, "255.255.255.0", "24", "get", "", "/bin/x -y", "a@b.c, d@e.f")
	if strings.HasPrefix(key, "real") || strings.HasPrefix(key, "fallback") && r.IntN(4) > 0 {
		value = pick(r, "10.0.0.2:80", "10.0.0.3", "web1:http", "[fd00::2]:80", "10.0.0.4->10.0.0.6:80", "nobody:80") +
			pick(r, " gate", " masq", " ipip", "", " route") + pick(r, "", "", " 3", " -w 4", " x") +
			pick(r, "", "", ` "a", "b"`, ` "/a 1" "b"`, ` "", "x"`) + pick(r, "", "", " l:1 u:2", " u:2 l:1")
	}
	return indent + key + pick(r, "=", " = ", "=", ": ", " ") + value + pick(r, "", "", "", " # comment", "#c", " ", "\r", ";") + "\n"
}
