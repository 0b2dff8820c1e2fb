package appliance

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHasten: threads hurry, the programs that they start do not.
func TestHasten(t *testing.T) {
	mayHurry := func() bool {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: -1}
		return unix.SchedSetAttr(0, &attr, 0) == nil
	}
	allowed := false
	done := make(chan struct{})
	go func() { // on a thread that ends with the test
		defer close(done)
		runtime.LockOSThread()
		if allowed = mayHurry(); !allowed {
			return
		}
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			t.Error(err)
		}
		if err := hastenThread(unix.Gettid()); err != nil {
			t.Error(err)
		}
		got, err := unix.SchedGetAttr(0, 0)
		if err != nil || got.Nice != haste {
			t.Errorf("nice is %d (%v), want %d", got.Nice, err, haste)
		}
		out, err := exec.Command("nice").Output()
		if err != nil || strings.TrimSpace(string(out)) != "0" {
			t.Errorf("a program was started with nice %q (%v), want 0", out, err)
		}
		chosen := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: 5}
		if err := unix.SchedSetAttr(0, &chosen, 0); err != nil {
			t.Error(err)
		}
		if err := hastenThread(unix.Gettid()); err != nil {
			t.Error(err)
		}
		if got, _ := unix.SchedGetAttr(0, 0); got.Nice != 5 {
			t.Errorf("nice 5, which somebody has chosen, became %d", got.Nice)
		}
	}()
	<-done
	if err := hasten(); allowed && err != nil {
		t.Error(err)
	} else if !allowed && err == nil {
		t.Error("no error, though this process must not hurry")
	}
}
