// Package inlab runs the program's daemons on test hosts with a real kernel.
package inlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// binVar names the folder of the lvsctl that is tested; without it one is built.
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
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "lvsctl"), "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func lvsctl() string { return filepath.Join(os.Getenv(binVar), "lvsctl") }
