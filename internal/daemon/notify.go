package daemon

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify tells the service manager how we are. Without one (NOTIFY_SOCKET is
// not set) all of it does nothing.
type Notify struct {
	// Warn gets a message when the manager cannot be told.
	Warn func(error)
}

func (n Notify) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil && n.Warn != nil {
		n.Warn(err)
	}
}

// Ready says that we do our work: at the end of the start and of each reload.
func (n Notify) Ready() { n.send(daemon.SdNotifyReady) }

// Reloading says that a reload has begun. systemd wants the time with it, on
// its own clock (Type=notify-reload).
func (n Notify) Reloading() {
	n.send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that we are about to end.
func (n Notify) Stopping() { n.send(daemon.SdNotifyStopping) }

// Status is a line for systemctl status.
func (n Notify) Status(line string) { n.send("STATUS=" + oneLine(line)) }

// Watchdog is the task that tells the manager we are alive, twice in each
// WatchdogSec, as long as alive says so within that time. Without a watchdog it
// has nothing to do.
func (n Notify) Watchdog(alive func(context.Context) error) Task {
	return Func("watchdog", func(ctx context.Context) error {
		every, err := daemon.SdWatchdogEnabled(false)
		if err != nil || every <= 0 {
			return err
		}
		tick := time.NewTicker(every / 2)
		defer tick.Stop()
		for {
			n.pat(ctx, every/2, alive)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (n Notify) pat(ctx context.Context, patience time.Duration, alive func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := alive(ctx); err == nil {
		n.send(daemon.SdNotifyWatchdog)
	} else if n.Warn != nil {
		n.Warn(err)
	}
}
