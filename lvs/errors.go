package lvs

import (
	"errors"
	"fmt"
	"syscall"
)

// Reasons for which a kernel refuses a change. errors.Is finds them in a
// [ChangeError], which also carries the errno.
var (
	ErrServiceExists     = errors.New("service already exists")
	ErrNoService         = errors.New("no such service")
	ErrDestinationExists = errors.New("destination already exists")
	ErrNoDestination     = errors.New("no such destination")
	ErrNoScheduler       = errors.New("no such scheduler or persistence engine")
	ErrPermission        = errors.New("CAP_NET_ADMIN is needed")
	ErrInvalid           = errors.New("the kernel finds it invalid")
	ErrRange             = errors.New("the lower threshold is above the upper one")
)

// ChangeError is the kernel's refusal of one change.
type ChangeError struct {
	Change Change
	Errno  syscall.Errno
}

// Refused is the verdict of a kernel that answered a change with errno, nil for
// errno 0.
func Refused(c Change, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &ChangeError{c, errno}
}

func (e *ChangeError) Error() string {
	if r := e.reason(); r != nil {
		return fmt.Sprintf("%v: %v", e.Change, r)
	}
	return fmt.Sprintf("%v: %v", e.Change, e.Errno)
}

// Unwrap returns the errno and, where it has one, the sentinel that says what
// this errno means for this change.
func (e *ChangeError) Unwrap() []error {
	if r := e.reason(); r != nil {
		return []error{e.Errno, r}
	}
	return []error{e.Errno}
}

// reason is the table of net/netfilter/ipvs/ip_vs_ctl.c, Linux 6.1: the same
// number means different things for different changes.
func (e *ChangeError) reason() error {
	dest := e.Change.Op >= AddDestination && e.Change.Op <= DeleteDestination
	switch e.Errno {
	case syscall.ESRCH:
		return ErrNoService
	case syscall.EEXIST:
		if dest {
			return ErrDestinationExists
		}
		return ErrServiceExists
	case syscall.ENOENT:
		if dest {
			return ErrNoDestination
		}
		return ErrNoScheduler
	case syscall.EPERM:
		return ErrPermission
	case syscall.EINVAL:
		return ErrInvalid
	case syscall.ERANGE:
		return ErrRange
	}
	return nil
}
