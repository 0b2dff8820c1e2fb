// Package bootlab starts directors on hosts that are not ready for them yet, or on
// which something was lost.
package bootlab

import (
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func lvsctl() string { return filepath.Join(lab.Built(), "lvsctl") }
