package daemon

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Processors is the task that lets the process run on one processor, and on
// more only while one is not enough. A daemon that sleeps, works for a
// millisecond and sleeps again pays more for waking other threads than they
// help: on two processors a check of a server costs it twice as much. Where
// GOMAXPROCS is set it does nothing.
func Processors() Task {
	return Func("processors", func(ctx context.Context) error {
		if os.Getenv("GOMAXPROCS") != "" {
			return nil
		}
		most := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(1)
		tick := time.NewTicker(processorsAgain)
		defer tick.Stop()
		for n, last, spent := 1, time.Now(), processorTime(); ; {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				total := processorTime()
				if next := processors(n, most, float64(total-spent)/float64(now.Sub(last))); next != n {
					n = next
					runtime.GOMAXPROCS(n)
				}
				last, spent = now, total
			}
		}
	})
}

// processorsAgain is the time between two looks at what we use.
const processorsAgain = 5 * time.Second

// processors is how many of at most most to use, after load of the n in use
// were busy.
func processors(n, most int, load float64) int {
	switch {
	case load > 0.6*float64(n):
		return min(2*n, most)
	case load < 0.2*float64(n):
		return max(n/2, 1)
	}
	return n
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0 // it cannot fail for these arguments
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
