package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
)

// binVar names the folder of a program that is built already.
const binVar = "LVSCTL_BIN"

// MainBuilt is [Main] for a package whose tests run a program of this module: pkg
// is its import path. The program is built first, on the machine where go test
// was started, because in a guest that would take minutes; LVSCTL_BIN names a
// folder that has it already. [Built] tells the tests where it is.
func MainBuilt(m *testing.M, pkg string) {
	remove, err := build(pkg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	status, moved := run(m)
	remove()
	exit(status, moved)
}

// Built is the folder of the program that [MainBuilt] built.
func Built() string { return os.Getenv(binVar) }

func build(pkg string) (remove func(), err error) {
	nothing := func() {}
	if Inside() || Built() != "" {
		return nothing, nil
	}
	dir, err := os.MkdirTemp("", "lvsctl-bin-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, path.Base(pkg)), pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return func() { os.RemoveAll(dir) }, os.Setenv(binVar, dir)
}
