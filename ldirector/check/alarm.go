package check

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm wakes the loop of the Runner.
type alarm interface {
	// set makes the alarm ring after d and forgets what was set before.
	set(d time.Duration)
	rings() <-chan time.Time
	stop()
}

// newAlarm is the alarm of the poller if the Net has one, else a timer.
func newAlarm(n Net) alarm {
	if h, ok := n.(Host); ok && h.poll != nil {
		if a, err := h.poll.newAlarm(); err == nil {
			return a
		}
	}
	t := time.NewTimer(time.Hour)
	return timerAlarm{t}
}

type timerAlarm struct{ *time.Timer }

func (a timerAlarm) set(d time.Duration)     { a.Reset(d) }
func (a timerAlarm) rings() <-chan time.Time { return a.C }
func (a timerAlarm) stop()                   { a.Stop() }

// fdAlarm is a timerfd in the poller's epoll. A timer of Go's that is the next
// one due wakes the monitor thread along with the one that has something to do,
// which makes a wake-up three times as dear.
type fdAlarm struct {
	fd int
	p  *poller
	c  chan time.Time
}

func (p *poller) newAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &fdAlarm{fd, p, make(chan time.Time, 1)}
	p.mu.Lock()
	p.watched[int32(fd)] = a
	p.mu.Unlock()
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		a.stop()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return a, nil
}

// set implements alarm. A timerfd that is set anew forgets that it rang, so it
// need not be read.
func (a *fdAlarm) set(d time.Duration) {
	t := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	// It can only fail for arguments that are not these.
	unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(a.fd), 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
}

func (a *fdAlarm) rings() <-chan time.Time { return a.c }

// happened implements watcher.
func (a *fdAlarm) happened(uint32) {
	select {
	case a.c <- time.Time{}:
	default: // the loop has yet to hear the last one
	}
}

func (a *fdAlarm) stop() {
	a.p.mu.Lock()
	delete(a.p.watched, int32(a.fd))
	a.p.mu.Unlock()
	unix.Close(a.fd)
}
