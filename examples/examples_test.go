// Package examples holds complete clusters as stories (see internal/lab/scenario).
// Each one is a test here and a demonstration in make demo.
package examples

import (
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/lab/scenario"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func TestStories(t *testing.T) {
	lab.Need(t)
	files, err := filepath.Glob("*/story.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories (%v)", err)
	}
	tools := t.TempDir()
	if err := scenario.Tools(lab.Built(), tools); err != nil {
		t.Fatal(err)
	}
	scenario.Test(t, tools, files...)
}
