// Package checkerlab runs keepalived and us side by side, from one file and before
// the same servers, and wants the same table of both after each event.
package checkerlab

import (
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func lvsctl() string { return filepath.Join(lab.Built(), "lvsctl") }
