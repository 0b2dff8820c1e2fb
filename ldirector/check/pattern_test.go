package check

import (
	"strings"
	"testing"
	"time"
)

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		expr, text string
		want       bool
	}{
		{"Test Page", "<h1>Test Page</h1>", true},
		{"be+ta", "bta", false},
		{"OK$", "OK\n", true}, // Perl: $ also matches before the last newline
		{"OK$", "OK\n\n", false},
		{"OK$", "OKAY", false},
		{"^OK$", "no\nOK\nno", false},
		{"(?m)^OK$", "no\nOK\nno", true},
		{"(?i)it WORKS", "It works", true},
		{`192\.0\.2\.[56]`, "192.0.2.6", true},
		{`^(?!.*error).*ready`, "ready", true}, // look-around
		{`^(?!.*error).*ready`, "error ready", false},
		{`(?<=status: )up`, "status: up", true},
		{`(\w+) \1`, "up up", true}, // backreference
		{`(\w+) \1`, "up down", false},
		{`a++b`, "aaab", true}, // possessive
		{`a++ab`, "aaab", false},
		{`(?:ab|c){2,3}+c`, "abccc", true},
		{`(?:ab|c){2,3}+c`, "abcc", false},
		{`[^]]++]`, "abc]", true},
		{`(?>a+)ab`, "aaab", false},
		{`a\h+b`, "a \tb", true},
		{`[\h]b`, "\tb", true},
		{`a\R+b`, "a\r\n\r\nb", true},
		{`foo\Kbar`, "foobar", true},
		{`\Qa.b\E+`, "a.bbb", true},
		{`\Qa.b\E+`, "axb", false},
		{`\bOK\Z`, "all OK\n", true},
		{`x{a}`, "x{a}", true},
		{`\x{41}+B`, "AAB", true},
		{`[[:alpha:]]+\d`, "abc1", true},
	} {
		p, err := ParsePattern(tt.expr)
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		if got, err := p.Match([]byte(tt.text)); got != tt.want || err != nil {
			t.Errorf("%s on %q: %v, %v", tt.expr, tt.text, got, err)
		}
	}
	if p, err := ParsePattern(""); p != nil || err != nil {
		t.Error("an empty expression is not nil")
	}
	for _, bad := range []string{"(", "a**", "[", `\`, "(?<x", strings.Repeat("a", 5000)} {
		if p, err := ParsePattern(bad); err == nil {
			t.Errorf("%.10s compiled to %+v", bad, p)
		}
	}
}

// TestPatternCannotHang gives each engine the text that makes a backtracking one
// take for ever.
func TestPatternCannotHang(t *testing.T) {
	text := []byte(strings.Repeat("a", 5000) + "!")
	for _, expr := range []string{`^(a+)+$`, `^(?=a)(a+)+$`, `(?=x)|^(a|aa)+$`} {
		p, err := ParsePattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ok, err := p.Match(text)
		if ok || time.Since(start) > 30*maxBacktrack {
			t.Errorf("%s: %v, %v after %v", expr, ok, err, time.Since(start))
		}
		if p.back != nil && err == nil {
			t.Errorf("%s was not stopped", expr)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{`a++[^]]*+\x{41}(?:b){2}+`, `\Qa`, `[[:alpha:]`, `(?<n>a)\k<n>`, `{2}+`, `\`, `$`} {
		f.Add(s, "some text")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(text) > 1000 {
			return
		}
		p, err := ParsePattern(expr)
		if err != nil {
			return
		}
		p.Match([]byte(text))
	})
}
