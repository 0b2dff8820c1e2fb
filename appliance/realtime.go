package appliance

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// realTimePriority is low among real-time threads and above everything that is
// not one.
const realTimePriority = 10

// RealTime asks for real-time scheduling of the calling thread, for adverts that
// are on time on a busy machine. Programs that we start do not inherit it. It is
// made for [vrrp.Speaker.Prepare].
func RealTime() error {
	// What the loop has started must be able to run while the loop waits in the
	// kernel, and the loop while something else runs: with one place for both, each
	// would wait until Go notices.
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2)
	}
	attr := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: realTimePriority,
	}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("no real-time scheduling (%w): on a busy machine adverts may be late; CAP_SYS_NICE and a real-time share of the control group allow it", err)
	}
	return nil
}
