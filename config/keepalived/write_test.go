package keepalived

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/config"
)

// TestWriteLosesNothing: what a file means can be written again.
func TestWriteLosesNothing(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	checked := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "-- input --\n")
		if !ok {
			continue
		}
		input, _, _ := strings.Cut(rest, "\n-- ")
		f, _ := Parse("f.conf", []byte(input), Options{})
		s := f.Site()
		var b strings.Builder
		if err := Write(&b, s); err != nil {
			t.Fatal(err)
		}
		again, problems := Parse("written.conf", []byte(b.String()), Options{})
		if config.Errors(problems) {
			t.Errorf("%s: what is written has errors: %v\n%s", path, problems, b.String())
		}
		if lost := config.Lost(s, again.Site()); len(lost) > 0 {
			for _, l := range lost {
				t.Errorf("%s: %v", filepath.Base(path), l)
			}
		}
		if len(s.Instances)+len(s.Virtuals) > 0 {
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d files were written", checked)
	}
}
