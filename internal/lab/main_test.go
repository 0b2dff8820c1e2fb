package lab_test

import (
	"runtime"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func panicOrExit(*testing.T) { runtime.Goexit() }
