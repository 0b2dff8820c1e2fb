package kernel

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNamespace is the network namespace of the calling thread. /proc/self
// would be that of the process's first thread.
const threadNamespace = "/proc/thread-self/ns/net"

// inNamespace calls f on a thread that is in the network namespace of fd.
func inNamespace(fd int, f func() error) error {
	runtime.LockOSThread()
	same, err := isCurrent(fd)
	if err != nil || same {
		defer runtime.UnlockOSThread()
		if err != nil {
			return err
		}
		return f()
	}
	home, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked: it must not serve other goroutines here.
		return fmt.Errorf("cannot return to the network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// isCurrent says whether the calling thread is in the network namespace of fd.
func isCurrent(fd int) (bool, error) {
	var there, here unix.Stat_t
	if err := unix.Fstat(fd, &there); err != nil {
		return false, err
	}
	if err := unix.Stat(threadNamespace, &here); err != nil {
		return false, err
	}
	return there.Dev == here.Dev && there.Ino == here.Ino, nil
}
