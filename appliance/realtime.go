package appliance

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// realTimePriority is low among real-time threads and above everything that is
	// not one.
	realTimePriority = 10
	// haste is the nice value of all other threads: they set and announce addresses.
	haste = -10
)

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

// hasten has the other threads of the process run before what else the machine
// does: what the loop decides in time they must do in time. Threads that come later
// begin as ordinary ones, and so does every program that we start, which is why it
// is not the process that is made to hurry.
func hasten() error {
	const tasks = "/proc/self/task"
	all, err := os.ReadDir(tasks)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range all {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := hastenThread(tid); !errors.Is(err, unix.ESRCH) { // it may have ended
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// hastenThread leaves alone what somebody has chosen.
func hastenThread(tid int) error {
	is, err := unix.SchedGetAttr(tid, 0)
	if err != nil || is.Policy != unix.SCHED_NORMAL || is.Nice != 0 {
		return err
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: haste, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	return unix.SchedSetAttr(tid, &attr, 0)
}
