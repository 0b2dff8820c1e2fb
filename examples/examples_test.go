// Package examples holds complete clusters as stories (see internal/lab/scenario).
// Each one is a test here and a demonstration in make demo.
package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/lab/scenario"
)

// binVar names the folder of the lvsctl that the stories run; without it the test
// builds one.
const binVar = "LVSCTL_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if !lab.Inside() && os.Getenv(binVar) == "" {
		dir, err := os.MkdirTemp("", "lvsctl-bin-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv(binVar, dir)
	}
	return lab.Run(m)
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "lvsctl"), "../cmd/lvsctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func TestStories(t *testing.T) {
	lab.Need(t)
	files, err := filepath.Glob("*/story.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories (%v)", err)
	}
	tools := t.TempDir()
	if err := scenario.Tools(os.Getenv(binVar), tools); err != nil {
		t.Fatal(err)
	}
	scenario.Test(t, tools, files...)
}
