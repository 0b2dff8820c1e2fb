package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/vrrp"
)

// Poll is a [vrrp.Waiter] for the sockets that were opened with it. The loop waits
// in the kernel on its own thread: what arrives and what is due wakes that thread
// and no other. By way of Go's scheduler two ordinary threads would have to run
// first, each of which a busy machine lets wait, whatever the priority of the loop.
type Poll struct {
	epoll, timer, bell int

	begun time.Time // of the last Wait in the kernel; like quick the caller's
	quick int       // how many times in a row that was soon after the one before

	mu     sync.Mutex // for what follows
	closed bool
}

var _ vrrp.Waiter = (*Poll)(nil)

// NewPoll makes one without sockets.
func NewPoll() (*Poll, error) {
	p := &Poll{epoll: -1, timer: -1, bell: -1}
	err := p.open()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("poll: %w", err), p.Close())
	}
	return p, nil
}

func (p *Poll) open() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	// The timeout of epoll_wait counts milliseconds, and epoll_pwait2 is too young.
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	return errors.Join(p.add(p.timer), p.add(p.bell))
}

// add is edge-triggered: an error that stays, or a flood that is not read to its
// end, must not keep the loop from sleeping. Closing a descriptor takes it away.
func (p *Poll) add(fd int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)})
}

// Wait implements [vrrp.Waiter].
func (p *Poll) Wait(until time.Time) {
	left := time.Until(until)
	if left <= 0 {
		return
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}
	if err := unix.TimerfdSettime(p.timer, 0, &at, nil); err != nil {
		time.Sleep(min(left, time.Millisecond)) // it cannot fail for these arguments
		return
	}
	p.pace(left)
	var events [16]unix.EpollEvent
	// EINTR is a reason to look, too: nobody is harmed by a turn more.
	_, _ = unix.EpollWait(p.epoll, events[:], -1)
}

// In a flood each packet would wake the thread, which costs more than to judge it.
const (
	soon   = time.Millisecond
	enough = 16
)

// pace lets some packets come together once many have come one after the other.
func (p *Poll) pace(left time.Duration) {
	if time.Since(p.begun) >= soon {
		p.quick = 0
	} else {
		p.quick++
	}
	if p.quick >= enough {
		pause := unix.NsecToTimespec(int64(min(left, soon)))
		_ = unix.Nanosleep(&pause, nil) // EINTR: it was long enough
	}
	p.begun = time.Now()
}

// Wake implements [vrrp.Waiter].
func (p *Poll) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.bell, one[:]) // it is full after 2^64 of them
}

// Close ends it. Nobody must be waiting.
func (p *Poll) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	for _, fd := range []int{p.epoll, p.timer, p.bell} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
