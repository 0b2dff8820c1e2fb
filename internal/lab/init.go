package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file is the half of the hand-over that runs in the guest, where this
// program is the first process: it makes the guest a machine, runs itself again
// as an ordinary process in it, leaves the exit status in a file and switches the
// guest off.

// bootGuest does not return.
func bootGuest(dir string) {
	if err := guestInit(dir); err != nil {
		fmt.Println("lab: the guest's first process:", err) // the kernel's console
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1) // a kernel panic: still better than to hang
}

func guestInit(dir string) error {
	j, err := loadJob(dir)
	if err != nil {
		return err
	}
	if err := makeMachine(append(j.RW, dir)); err != nil {
		return err
	}
	go stopWithHost(dir)
	status, err := j.run()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, statusFile), []byte(strconv.Itoa(status)), 0o600)
}

func loadJob(dir string) (*job, error) {
	text, err := os.ReadFile(filepath.Join(dir, jobFile))
	if err != nil {
		return nil, err
	}
	var j job
	return &j, json.Unmarshal(text, &j)
}

// makeMachine turns the read-only view of the host's files into a machine's root:
// an overlay that can be written, the kernel's own file systems, the folders that
// are shared with the host, loopback, and the modules every test needs.
func makeMachine(shared []string) error {
	const staging = "/tmp" // of the host's view only; the overlay shows the host's /tmp
	const root = staging + "/root"
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return mount("proc", "/proc", "proc", "") },
		func() error { return mount("tmpfs", staging, "tmpfs", "mode=755") },
		func() error { return mkdirs(root, staging+"/upper", staging+"/work") },
		func() error { return loadOverlay(release) },
		func() error {
			return mount("overlay", root, "overlay", "lowerdir=/,upperdir="+staging+"/upper,workdir="+staging+"/work")
		},
		func() error { return mountSystem(root) },
		func() error { return share(root, shared) },
		func() error { return linkModules(root, release) },
		func() error { return enterRoot(root) },
		func() error { return unix.Sethostname([]byte("lab")) },
		raiseLoopback,
		raiseLimits,
		loadModules,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func mountSystem(root string) error {
	for _, m := range []struct{ kind, dir, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
	} {
		if err := mkdirs(root + m.dir); err != nil {
			return err
		}
		if err := mount(m.kind, root+m.dir, m.kind, m.options); err != nil {
			return err
		}
	}
	return nil
}

// share mounts the host's own folders over their place in the overlay.
func share(root string, folders []string) error {
	for _, dir := range folders {
		if err := mkdirs(root + dir); err != nil {
			return err
		}
		if err := mount("none", root+dir, "hostfs", dir); err != nil {
			return err
		}
	}
	return nil
}

// moduleDirs: Debian's package keeps the guest kernel's modules apart from the
// host's; others install them where a machine has its own.
var moduleDirs = []string{"/usr/lib/uml/modules/", "/lib/modules/"}

// loadOverlay loads the module by its path: modprobe finds it only once
// /lib/modules/RELEASE exists, which needs the overlay.
func loadOverlay(release string) error {
	for _, dir := range moduleDirs {
		f, err := os.Open(dir + release + "/kernel/fs/overlayfs/overlay.ko")
		if err != nil {
			continue
		}
		defer f.Close()
		err = unix.FinitModule(int(f.Fd()), "", 0)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", f.Name(), err)
		}
		return nil
	}
	return nil // part of the kernel, or the mount will say that it is missing
}

func linkModules(root, release string) error {
	if _, err := os.Stat(moduleDirs[0] + release); err != nil {
		return nil
	}
	if err := os.MkdirAll(root+"/lib/modules", 0o755); err != nil {
		return err
	}
	err := os.Symlink(moduleDirs[0]+release, root+"/lib/modules/"+release)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// enterRoot pivots instead of using chroot: the kernel loads modules by running
// /sbin/modprobe from the first process's root, where it has to find them.
func enterRoot(root string) error {
	old := root + "/tmp/.old" // in the overlay's upper layer
	if err := mkdirs(old); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/tmp/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	return os.Remove("/tmp/.old")
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// raiseLimits: the first process starts with 1024 open files at most.
func raiseLimits() error {
	const files = 1 << 20
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: files})
}

// loadModules: IPv6 does not load itself when a program asks for it, and ip_vs
// only for the first netlink request, not for a look at /proc/net/ip_vs. The
// others would, but one modprobe for all is much quicker than one for each.
func loadModules() error {
	out, err := exec.Command("/sbin/modprobe", "-a", "ipv6", "ip_vs", "bridge", "veth").CombinedOutput()
	if err != nil {
		return fmt.Errorf("modprobe: %w: %s (is the package kmod installed?)", err, out)
	}
	return nil
}

// stopWithHost switches the guest off when the host's end of the lifeline closes:
// the process that started this guest is gone, perhaps too suddenly to clean up.
func stopWithHost(dir string) {
	// A plain blocking read: a hang-up wakes no poller, so os.File would sleep on.
	line, err := unix.Open("/dev/tty3", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Println("lab: the lifeline to the host:", err)
		return
	}
	for {
		n, err := unix.Read(line, make([]byte, 64))
		if err != unix.EINTR && n <= 0 {
			break
		}
	}
	removeShared(dir)
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// removeShared removes a folder of the host that is mounted here: a mount point
// cannot be removed, so it goes by way of its parent.
func removeShared(dir string) {
	if mount("none", "/run", "hostfs", filepath.Dir(dir)) == nil {
		os.RemoveAll(filepath.Join("/run", filepath.Base(dir)))
	}
}

// run starts the program and waits for it, burying whatever other process ends
// meanwhile, as the first process of a machine has to.
func (j *job) run() (status int, err error) {
	out, err := openOutputs(j)
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(j.Exe, j.Args, &syscall.ProcAttr{
		Dir:   j.Dir,
		Env:   j.environ(),
		Files: out.files(),
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: j.Terminal},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s in %s: %w", j.Exe, j.Dir, err)
	}
	out.started()
	status = waitFor(pid)
	unix.Kill(-1, unix.SIGKILL) // whatever it left; in a guest -1 is all but ourselves
	return status, out.drain()
}

// environ is the host's own, and the word that this is the lab.
func (j *job) environ() []string {
	env := slices.DeleteFunc(slices.Clone(j.Env), func(kv string) bool {
		return strings.HasPrefix(kv, "PATH=")
	})
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range j.Env {
		if old, ok := strings.CutPrefix(kv, "PATH="); ok && old != "" {
			path = old + ":" + path // an ordinary user's PATH lacks the sbin folders
		}
	}
	return append(env, "PATH="+path, insideVar+"="+insideGuest)
}

func waitFor(child int) (status int) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return statusBroken
		case pid == child && ws.Signaled():
			return 128 + int(ws.Signal()) // as the shell reports it
		case pid == child:
			return ws.ExitStatus()
		}
	}
}

// outputs carry the program's stdout and stderr to the host. The program writes to
// pipes, as under go test on the host, and not to the terminals behind them.
type outputs struct {
	stdin, stdout, stderr *os.File // the program's
	ttys                  []*os.File
	copies                sync.WaitGroup
	mu                    sync.Mutex
	err                   error
}

func openOutputs(j *job) (*outputs, error) {
	o := &outputs{}
	if j.Terminal {
		tty, err := os.OpenFile("/dev/tty1", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		size := &unix.Winsize{Row: j.Rows, Col: j.Cols}
		if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, size); err != nil {
			return nil, err
		}
		o.ttys = []*os.File{tty}
		o.stdin, o.stdout, o.stderr = tty, tty, tty
		return o, nil
	}
	var err error
	if o.stdin, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	if o.stdout, err = o.pipeTo("/dev/tty1"); err != nil {
		return nil, err
	}
	o.stderr, err = o.pipeTo("/dev/tty2")
	return o, err
}

// pipeTo returns the writing end of a pipe whose bytes reach the terminal as they are.
func (o *outputs) pipeTo(name string) (*os.File, error) {
	tty, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	makeRaw(mode)
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.ttys = append(o.ttys, tty)
	o.copies.Go(func() {
		if _, err := io.Copy(tty, r); err != nil {
			o.mu.Lock()
			o.err = errors.Join(o.err, err)
			o.mu.Unlock()
		}
	})
	return w, nil
}

func (o *outputs) files() []uintptr {
	return []uintptr{o.stdin.Fd(), o.stdout.Fd(), o.stderr.Fd()}
}

// started closes our copies, so that the pipes end when the program does.
func (o *outputs) started() {
	if o.stdout == o.stdin {
		return // the terminal itself
	}
	o.stdin.Close()
	o.stdout.Close()
	o.stderr.Close()
}

// drain returns when the host has every byte.
func (o *outputs) drain() error {
	o.copies.Wait()
	for _, tty := range o.ttys {
		// TCSBRK with an argument is tcdrain(3). A program that had the terminal for
		// its own has hung it up by ending, and there is nothing left to wait for.
		err := unix.IoctlSetInt(int(tty.Fd()), unix.TCSBRK, 1)
		if err != nil && !(tty == o.stdin && errors.Is(err, unix.EIO)) {
			return err
		}
	}
	return o.err
}

func mount(source, dir, kind, options string) error {
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return nil
}

func mkdirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
