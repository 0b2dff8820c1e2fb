package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// PidFile is a file with the number of a running process, one line.
type PidFile struct {
	Path string
	// Word must be in the process's command line, or the file is stale: numbers
	// are used again.
	Word string

	held *os.File
}

// ErrRunning says that the file belongs to a living process.
var ErrRunning = errors.New("is running already")

// Owner tells who runs: pid is 0 when nobody does, and stale says that the file
// is there all the same. An unreadable or garbled file is stale.
func (f *PidFile) Owner() (pid int, stale bool) {
	b, err := readSome(f.Path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	n, parse := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || parse != nil || n <= 0 {
		return 0, true
	}
	words, err := readSome(fmt.Sprintf("/proc/%d/cmdline", n), 64<<10)
	if err != nil || !bytes.Contains(words, []byte(f.Word)) {
		return 0, true
	}
	return n, false
}

// Take writes our number into the file. Two that start at the same moment
// cannot both succeed: the file stays locked until Release or our death. The
// error is [ErrRunning] when another one holds it.
func (f *PidFile) Take() error {
	if pid, _ := f.Owner(); pid != 0 && pid != os.Getpid() {
		return fmt.Errorf("process %d %w (%s)", pid, ErrRunning, f.Path)
	}
	h, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(h.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		h.Close()
		return fmt.Errorf("another process %w (it holds %s)", ErrRunning, f.Path)
	}
	line := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if st, e := h.Stat(); e == nil && st.Size() == 0 {
		err = h.Chmod(0o644) // a new one: others look here, whatever the umask
	}
	if err == nil {
		err = h.Truncate(0)
	}
	if err == nil {
		_, err = h.WriteAt(line, 0)
	}
	if err != nil {
		h.Close()
		return fmt.Errorf("writing %s: %w", f.Path, err)
	}
	f.held = h
	return nil
}

// Release removes the file, if it is still ours.
func (f *PidFile) Release() error {
	if f.held == nil {
		return nil
	}
	defer f.held.Close()
	ours, err := f.held.Stat()
	if err != nil {
		return err
	}
	f.held = nil
	there, err := os.Lstat(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !os.SameFile(ours, there) {
		return err
	}
	return os.Remove(f.Path)
}

// readSome reads at most n bytes, and never waits for a writer of a fifo.
func readSome(path string, n int64) ([]byte, error) {
	h, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return io.ReadAll(io.LimitReader(h, n))
}
