// Package vrrplab runs pairs of directors on test hosts with a real kernel.
package vrrplab

import (
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func lvsctl() string { return filepath.Join(lab.Built(), "lvsctl") }
