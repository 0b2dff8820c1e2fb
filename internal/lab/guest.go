package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file is the half of the hand-over that runs on this machine: it starts the
// guest, passes its output on, and sees to it that the guest ends. Its other half
// is init.go.

// job is what the guest has to run. It travels as a file in the job's folder,
// because a kernel's command line is short and splits at blanks.
type job struct {
	Exe      string   // this program
	Args     []string // with the name it was called by
	Env      []string
	Dir      string   // working directory
	RW       []string // folders of this machine that the guest may change
	Terminal bool     // the program talks to a terminal
	Rows     uint16   // size of that terminal
	Cols     uint16
}

// Names in the job's folder.
const (
	jobFile    = "job"
	initLink   = "init"   // to the program: a path without blanks, however the program is called
	statusFile = "status" // exit status, in decimal; its absence means that the guest died
)

// jobVar reaches the guest's first process in its environment: the kernel passes
// on every key=value of its command line that it does not know itself.
const jobVar = "LVSCTL_LAB_JOB"

// Exit statuses of our own, as env and timeout use them.
const (
	statusBroken = 125 // the guest did not do its work
	statusSignal = 130 // interrupted
)

// runGuest runs this program in a guest and returns its exit status. Whatever
// goes wrong is told on stderr.
func runGuest(kernel string) int {
	dir, err := os.MkdirTemp("/tmp", "lvsctl-lab-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		return statusBroken
	}
	defer os.RemoveAll(dir)
	status, err := newGuest(kernel, dir).run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
	}
	return status
}

type guest struct {
	kernel string
	dir    string // the job's folder
	limit  time.Duration
	log    tail // what the kernel prints
}

func newGuest(kernel, dir string) *guest {
	return &guest{kernel: kernel, dir: dir, limit: timeLimit(os.Args)}
}

func (g *guest) run() (int, error) {
	j, err := newJob()
	if err != nil {
		return statusBroken, err
	}
	if err := j.save(g.dir); err != nil {
		return statusBroken, err
	}
	if j.Terminal {
		restore, err := rawTerminal(0)
		if err != nil {
			return statusBroken, err
		}
		defer restore()
	}
	ended, err := g.boot(j.Terminal)
	if err != nil {
		return g.status(err)
	}
	return g.status(ended)
}

// newJob describes this very process.
func newJob() (*job, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	j := &job{Exe: exe, Args: os.Args, Env: os.Environ(), Dir: dir, RW: writable(os.Args, dir)}
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil && isTerminal(1) && hasTTY() {
		j.Terminal, j.Rows, j.Cols = true, size.Row, size.Col
	}
	return j, nil
}

func (j *job) save(dir string) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, jobFile), text, 0o600); err != nil {
		return err
	}
	return os.Symlink(j.Exe, filepath.Join(dir, initLink))
}

// boot runs the kernel to its end. The error is how it ended.
func (g *guest) boot(terminal bool) (ended, err error) {
	var w wires
	defer w.close()
	console := w.from(&g.log)
	stdout := w.stdout(terminal)
	stderr := w.from(os.Stderr)
	life, err := w.lifeline()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(g.kernel, g.kernelArgs(terminal)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(memory()))
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{stdout, stderr, life} // 3, 4, 5
	if !terminal {
		// ^C has to reach the guest through us. With a terminal it comes as a byte,
		// and from a process group of its own the guest could not read it.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if w.err != nil {
		return nil, w.err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.handedOver()
	ended = g.watch(cmd, w.cut)
	w.wait()
	return ended, nil
}

// kernelArgs is the guest's command line. con0 is the kernel's own console, con1
// and con2 are stdout and stderr of the program, con3 is the lifeline: when this
// process goes, however it goes, its end of that line closes and the guest stops.
func (g *guest) kernelArgs(terminal bool) []string {
	out := "con1=null,fd:3"
	if terminal {
		out = "con1=fd:3"
	}
	return []string{
		"mem=" + memory(), "uml_dir=" + g.dir, "umid=guest", "noreboot", "panic=-1",
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "loglevel=4",
		"init=" + filepath.Join(g.dir, initLink), jobVar + "=" + g.dir,
		"con=null", "con0=null,fd:1", out, "con2=null,fd:4", "con3=fd:5,null",
	}
}

// watch waits for the kernel to end, and ends it when it is told to or when the
// tests should long be over: then the guest itself hangs, since -test.timeout
// works inside as anywhere.
func (g *guest) watch(cmd *exec.Cmd, cut func()) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var late <-chan time.Time
	if g.limit > 0 {
		late = time.After(g.limit)
	}
	select {
	case err := <-done:
		return err
	case s := <-signals:
		stop(cmd, cut, done)
		return interrupted{s}
	case <-late:
		stop(cmd, cut, done)
		return fmt.Errorf("the guest still ran after %v and was ended", g.limit)
	}
}

type interrupted struct{ os.Signal }

func (i interrupted) Error() string { return "ended by signal: " + i.String() }

// stop asks the guest to switch itself off by cutting its lifeline. One that does
// not is killed, with the processes that the kernel keeps for those inside.
func stop(cmd *exec.Cmd, cut func(), done <-chan error) {
	cut()
	select {
	case <-done:
		return
	case <-time.After(2 * time.Second):
	}
	if cmd.SysProcAttr == nil {
		cmd.Process.Kill() // its group is ours
	} else {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	<-done
}

// status is what the program left, or why it left nothing.
func (g *guest) status(ended error) (int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, statusFile))
	if err == nil {
		return strconv.Atoi(string(text))
	}
	var sig interrupted
	if errors.As(ended, &sig) {
		return statusSignal, ended
	}
	if ended == nil {
		ended = errors.New("the guest stopped before the program ended")
	}
	return statusBroken, fmt.Errorf("%s: %w; the last lines of its console:\n%s", g.kernel, ended, g.log.String())
}

// wires are the pipes between this process and the guest. The guest gets pipes
// rather than our own files, because it would make those non-blocking, also for
// the others who have them open.
type wires struct {
	theirs []*os.File
	ours   []*os.File
	copies sync.WaitGroup
	err    error
}

// from returns the end that the guest writes to; what it writes goes to sink.
func (w *wires) from(sink io.Writer) *os.File {
	r, wr, err := os.Pipe()
	if err != nil {
		w.err = err
		return nil
	}
	w.theirs = append(w.theirs, wr)
	w.copies.Go(func() {
		io.Copy(sink, r)
		io.Copy(io.Discard, r) // our reader has gone: do not block the guest
		r.Close()
	})
	return wr
}

// stdout returns what the program's output goes to: the terminal itself, opened
// anew for the reason above, or our stdout.
func (w *wires) stdout(terminal bool) *os.File {
	if !terminal {
		return w.from(os.Stdout)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.err = err
		return nil
	}
	w.theirs = append(w.theirs, tty)
	return tty
}

// lifeline returns the end the guest reads; nothing is ever written to the other.
// It is a pair of sockets, because the guest's kernel does not see a pipe close:
// it waits for "readable", and a closed pipe is only "hung up".
func (w *wires) lifeline() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "lifeline"), os.NewFile(uintptr(fds[1]), "lifeline")
	w.theirs, w.ours = append(w.theirs, theirs), append(w.ours, ours)
	return theirs, nil
}

// handedOver closes our copies of the guest's ends.
func (w *wires) handedOver() {
	for _, f := range w.theirs {
		f.Close()
	}
	w.theirs = nil
}

// wait returns when all output has come through.
func (w *wires) wait() { w.copies.Wait() }

// cut closes the lifeline.
func (w *wires) cut() {
	for _, f := range w.ours {
		f.Close()
	}
	w.ours = nil
}

func (w *wires) close() {
	w.handedOver()
	w.cut()
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - tailSize; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.ReplaceAll(bytes.TrimSpace(t.text), []byte("\r"), nil)
	if len(text) == 0 {
		return "  (none)"
	}
	return "  " + strings.ReplaceAll(string(text), "\n", "\n  ")
}

// memory of a guest. It is the guest's upper limit, taken from this machine only
// as far as it is used; go test runs several packages, so several guests, at once.
func memory() string {
	if m := os.Getenv(memVar); m != "" {
		return m
	}
	return "1G"
}

// memoryDir is where the kernel keeps the file that is its memory. A container's
// /dev/shm is often 64 MB, or not executable, and the guest would die of it.
func memoryDir(mem string) string {
	var fs unix.Statfs_t
	const shm = "/dev/shm"
	if unix.Statfs(shm, &fs) != nil || fs.Flags&unix.ST_NOEXEC != 0 {
		return "/tmp"
	}
	if fs.Bavail*uint64(fs.Bsize) < byteSize(mem) {
		return "/tmp"
	}
	return shm
}

// byteSize reads 512M or 2G; what it cannot read it takes for one gigabyte, and
// the kernel will complain of it.
func byteSize(mem string) uint64 {
	units := map[byte]uint64{'k': 1 << 10, 'K': 1 << 10, 'm': 1 << 20, 'M': 1 << 20, 'g': 1 << 30, 'G': 1 << 30}
	unit, ok := units[mem[len(mem)-1]]
	n, err := strconv.ParseUint(mem[:len(mem)-1], 10, 32)
	if !ok || err != nil {
		return 1 << 30
	}
	return n * unit
}

// writable lists the folders that have to be this machine's own in the guest: the
// working directory, where golden files and new fuzz inputs go, and the folder of
// every file that go test wants written.
func writable(args []string, dir string) []string {
	folders := []string{dir}
	add := func(path string) {
		if path == "" {
			return
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		folders = append(folders, path)
	}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "-test.coverprofile", "-test.testlogfile", "-test.cpuprofile", "-test.memprofile",
			"-test.blockprofile", "-test.mutexprofile", "-test.trace":
			add(filepath.Dir(value))
		case "-test.gocoverdir", "-test.outputdir", "-test.fuzzcachedir":
			add(value)
		}
	}
	add(os.Getenv("GOCOVERDIR"))
	for _, path := range filepath.SplitList(os.Getenv(rwVar)) {
		add(path)
	}
	slices.Sort(folders) // a folder comes before those below it
	return slices.Compact(folders)
}

// timeLimit allows for the boot and for go test's own way of stopping a test
// binary; without -test.timeout there is no limit.
func timeLimit(args []string) time.Duration {
	const grace = 45 * time.Second
	for _, arg := range args[1:] {
		value, ok := strings.CutPrefix(arg, "-test.timeout=")
		if !ok {
			continue
		}
		if d, err := time.ParseDuration(value); err == nil && d > 0 {
			return d + grace
		}
	}
	return 0
}

// hasTTY: a terminal that is not the controlling one cannot be opened by that name.
func hasTTY() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	tty.Close()
	return true
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// rawTerminal hands every key to the guest, whose own terminal then gives ^C and
// the line editing their meaning.
func rawTerminal(fd int) (restore func(), err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *old
	makeRaw(&raw)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

// makeRaw is termios(3)'s cfmakeraw: no byte is changed, added or acted upon.
func makeRaw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}
