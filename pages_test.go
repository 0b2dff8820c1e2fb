package lvsctl

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/doctor"
)

// A link of a page, without its anchor.
var link = regexp.MustCompile(`\]\(([^)#]+)`)

// TestLinks: what the pages point at in the tree is there.
func TestLinks(t *testing.T) {
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "examples/*/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Errorf("%s: %d pages, %v", pattern, len(pages), err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(string(text), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
					t.Errorf("%s: %v", page, err)
				}
			}
		}
	}
}

// TestReadmeCounts: the doctor knows as many ways as the README says.
func TestReadmeCounts(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("knows %d ways", len(doctor.Rules())); !strings.Contains(string(text), want) {
		t.Errorf("README.md does not say that the doctor %s", want)
	}
}
