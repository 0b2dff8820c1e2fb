package doctorlab

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Without the module. Only a guest's kernel is ours to take it from: on a machine of
// somebody's the rule is left to its table test.
func TestNoIPVS(t *testing.T) {
	n := lab.New(t)
	h := n.Host("director").Nic("eth0", n.Bridge("lan"), "192.168.1.2/24")
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err != nil || !strings.Contains(string(cpu), "User Mode Linux") {
		t.Logf("this kernel is not a guest's (%v): ip_vs stays", err)
		return
	}
	lab.Eventually(t, time.Minute, func() error { // the tables of hosts of other tests may be about to go
		out, err := h.Try("sh", "-c", "for m in $(grep -o '^ip_vs[a-z_]*' /proc/modules); do rmmod $m; done; ! grep ^ip_vs /proc/modules")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	t.Cleanup(func() { h.Run("modprobe", "ip_vs") })
	a := examine(t, h, "--role", "director")
	if got := a.rules(); len(got) != 1 || got[0] != "ipvs-missing" {
		t.Errorf("found %q", got)
	}
	// The step is one that --fix takes, and then nothing is left.
	a = examine(t, h, "--role", "director", "--fix")
	if len(a.Fixed) != 1 || a.Fixed[0] != "modprobe ip_vs" || len(a.Findings) > 0 {
		t.Errorf("--fix took %q and left %q", a.Fixed, a.rules())
	}
}
