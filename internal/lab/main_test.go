package lab_test

import (
	"os"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestTheKernelHasIPVS(t *testing.T) {
	lab.Need(t)
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		t.Fatal(err)
	}
}
