package wire

import (
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
