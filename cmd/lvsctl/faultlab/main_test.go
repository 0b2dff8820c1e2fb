// Package faultlab lets the whole program meet faults on a real kernel: of files,
// disks, descriptors, clocks, netlink, and of what it runs.
package faultlab

import (
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func lvsctl() string { return filepath.Join(lab.Built(), "lvsctl") }
