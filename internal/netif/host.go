package netif

import (
	"errors"
	"fmt"
	"syscall"
)

// Host is something that steps can be taken on: the [Kernel], or a fake.
type Host interface {
	// Snapshot reads the host as it is.
	Snapshot() (Snapshot, error)
	// Do takes one step. A step that finds its work done succeeds: an address
	// that is there already, a route that is gone already. The error is a
	// *StepError.
	Do(Step) error
}

// StepError is a step that the host refused.
type StepError struct {
	Step Step
	Err  error // a syscall.Errno, wherever the kernel gave one
}

func (e *StepError) Error() string {
	text := fmt.Sprintf("%v: %v", e.Step, e.Err)
	if hint := e.hint(); hint != "" {
		text += "; " + hint
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

// hint says what to do about the refusals that people meet.
func (e *StepError) hint() string {
	switch {
	case errors.Is(e.Err, syscall.EPERM):
		return "be root, or give the program CAP_NET_ADMIN"
	case errors.Is(e.Err, syscall.EACCES) && e.Step.Op == AddAddr:
		return "IPv6 is switched off on this link: sysctl -w " + ConfKey("ipv6", e.Step.Addr.Link, "disable_ipv6") + "=0"
	case errors.Is(e.Err, syscall.EROFS):
		return "/proc/sys is read-only here: set it from outside of the container"
	case errors.Is(e.Err, syscall.ENETUNREACH):
		return "the next hop is on no network of this host"
	case errors.Is(e.Err, syscall.ENODEV):
		return "there is no such device"
	}
	return ""
}

// InOrder takes the steps one after the other and stops at the first that is
// refused: what comes later may be safe only because of what comes before. It
// returns the steps that were taken, which is the truth, also after an error.
func InOrder(h Host, steps []Step) (done []Step, err error) {
	for i, s := range steps {
		if err := h.Do(s); err != nil {
			return steps[:i], err
		}
	}
	return steps, nil
}

// Each takes all steps, also after one was refused, for steps that do not rest on
// one another. It returns those that were taken and every error.
func Each(h Host, steps []Step) (done []Step, err error) {
	var errs []error
	for _, s := range steps {
		if err := h.Do(s); err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, s)
	}
	return done, errors.Join(errs...)
}

// Settled is whether the errno says that the work of a step was done already.
func settled(op Op, err error) bool {
	switch op {
	case AddAddr, AddRule:
		// Not the others: there the errno also means that something else
		// has the place.
		return errors.Is(err, syscall.EEXIST)
	case DelAddr:
		return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENODEV)
	case DelRoute:
		return errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENODEV)
	case DelRule:
		return errors.Is(err, syscall.ENOENT)
	case DelLink:
		return errors.Is(err, syscall.ENODEV)
	}
	return false
}
