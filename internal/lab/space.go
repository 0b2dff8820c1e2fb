package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// space is the set of namespaces that makes a host. A namespace lives as long as
// a process is in it or its file is open.
type space struct {
	net, mnt, uts *os.File
}

// newSpace makes the namespaces on a thread that ends with this call.
func newSpace(hostname string) (*space, error) {
	var s space
	var err error
	onThread(func() { err = s.create(hostname) })
	if err != nil {
		s.close()
		return nil, err
	}
	return &s, nil
}

func (s *space) create(hostname string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("new namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return err
	}
	if err := privateFiles(); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return err
	}
	var err error
	for _, ns := range []struct {
		file **os.File
		name string
	}{{&s.net, "net"}, {&s.mnt, "mnt"}, {&s.uts, "uts"}} {
		if *ns.file, err = os.Open("/proc/thread-self/ns/" + ns.name); err != nil {
			return err
		}
	}
	return nil
}

// privateFiles gives this thread's mount namespace its own /run, /etc and /var,
// and a /sys that shows its own network devices (/proc follows the reader).
func privateFiles() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := mount("sysfs", "/sys", "sysfs", ""); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/var"} {
		if err := overlay(dir); err != nil {
			return err
		}
	}
	return forget(ours...)
}

// ours are the folders in which the program and its peers look for what they are to
// do. What this machine has there is none of a test host's business: it may be a
// director itself, and somebody may write to them this very moment.
var ours = []string{"/etc/lvsctl", "/etc/ha.d", "/etc/keepalived", "/var/lib/lvsctl"}

// forget empties the folders that are there. One that is made anew in an overlay hides
// all of the old one, also what comes into that later.
func forget(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// overlay lets a folder be written without anyone else seeing it.
func overlay(dir string) error {
	upper, work := "/run/.lab"+dir+"/upper", "/run/.lab"+dir+"/work"
	if err := mkdirs(upper, work); err != nil {
		return err
	}
	return mount("overlay", dir, "overlay", "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
}

// do runs f on a thread in the namespaces.
func (s *space) do(f func()) error {
	var err error
	onThread(func() {
		if err = s.enter(); err == nil {
			f()
		}
	})
	return err
}

func (s *space) enter() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	// Threads share root and working directory, and such a thread may not change
	// its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, ns := range []struct {
		file *os.File
		kind int
	}{{s.net, unix.CLONE_NEWNET}, {s.uts, unix.CLONE_NEWUTS}, {s.mnt, unix.CLONE_NEWNS}} {
		if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
	}
	return unix.Chdir(dir) // not os.Chdir, which would remember it for the whole program
}

// onThread runs f on an operating system thread of its own, which ends with f:
// a goroutine that exits locked takes its thread with it. A panic in f, or an exit
// as t.Fatal does it, carries on in the caller.
func onThread(f func()) {
	var failure any
	finished := false
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		defer func() { failure = recover() }()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and stands for the whole process in
			// /proc. While this goroutine holds it, f gets another.
			defer runtime.UnlockOSThread()
			onThread(f)
			finished = true
			return
		}
		f()
		finished = true
	}()
	<-done
	if failure != nil {
		panic(failure)
	}
	if !finished {
		runtime.Goexit()
	}
}

func (s *space) sysctl(key, value string) error {
	var err error
	if doErr := s.do(func() { err = os.WriteFile(sysctlFile(key), []byte(value), 0) }); doErr != nil {
		return doErr
	}
	return wrap(err, "sysctl "+key+"="+value)
}

// sysctlFile accepts both notations of sysctl(8); an interface whose name has a
// dot needs the one with slashes.
func sysctlFile(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return "/proc/sys/" + key
}

// close lets go of the namespaces.
func (s *space) close() {
	for _, f := range []*os.File{s.net, s.mnt, s.uts} {
		if f != nil {
			f.Close()
		}
	}
}

// killAll ends every process in the namespaces, however it left its parent.
func killAll(spaces []*space) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids, err := processes(spaces)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		time.Sleep(pollEvery)
	}
}

// processes lists those whose network is one of these. The namespaces were made
// here, so whatever runs in them was started from here.
func processes(spaces []*space) ([]int, error) {
	var ours []os.FileInfo
	for _, s := range spaces {
		info, err := s.net.Stat()
		if err != nil {
			return nil, err
		}
		ours = append(ours, info)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		info, err := os.Stat(dir + "/ns/net")
		if err != nil || !slices.ContainsFunc(ours, func(o os.FileInfo) bool { return os.SameFile(o, info) }) {
			continue // ended meanwhile, or elsewhere
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// group is for exec.Cmd: a process group of its own, so that what the program
// starts ends with it.
func group() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
