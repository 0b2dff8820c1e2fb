// Package vrrplab runs pairs of directors on test hosts with a real kernel.
package vrrplab

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestMain lets tests that mostly wait do so together, on a guest's one processor too.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl")
}

func lvsctl() string { return filepath.Join(lab.Built(), "lvsctl") }
