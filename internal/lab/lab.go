package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Environment variables. insideVar is ours alone: it tells a program, and
// whatever that program starts, that it already runs in a lab.
const (
	modeVar   = "LVSCTL_LAB"
	umlVar    = "LVSCTL_UML"
	memVar    = "LVSCTL_LAB_MEM"
	rwVar     = "LVSCTL_LAB_RW"
	insideVar = "LVSCTL_LAB_INSIDE"
)

// Main is the whole TestMain of a package whose tests need a lab. It runs the
// tests in a process of their own, here or in a guest (see the package comment),
// and exits.
func Main(m *testing.M) {
	exit(run(m))
}

func exit(status int, moved bool) {
	if moved {
		// Not os.Exit, which would have this process write its coverage: none.
		unix.Exit(status)
	}
	os.Exit(status)
}

// Run is Main for a TestMain that has something to clean up: it returns the exit
// status. In the process that go test started it returns without having run any
// test itself, because another one ran them all.
func Run(m *testing.M) int {
	status, _ := run(m)
	return status
}

func run(m *testing.M) (status int, moved bool) {
	if listsOnly(os.Args) {
		return m.Run(), false
	}
	status, moved, err := handOver(hasIPVS)
	if moved {
		return status, true
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		forgetTestLog()
	}
	return m.Run(), false
}

// Init is the first line of a program that calls [Enter]. It returns at once,
// except in the one process in which the program is the first of a guest: that is
// not to look at its arguments or do anything else.
func Init() {
	if os.Getpid() != 1 {
		return
	}
	if job := os.Getenv(jobVar); job != "" {
		bootGuest(job) // does not return
	}
	if os.Getenv(insideVar) != insideFirst {
		return
	}
	if err := settleHere(); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		os.Exit(statusBroken)
	}
}

// Enter does for an ordinary program what Main does for tests. It returns when the
// program runs in a lab, and otherwise runs the program again in a guest, with the
// same arguments, and exits with its status. The error says why there is no lab.
func Enter() error { return enter(hasIPVS) }

// EnterNetwork is Enter for a program that needs no IPVS: root's own kernel will do.
func EnterNetwork() error { return enter(func() bool { return true }) }

func enter(fits func() bool) error {
	status, ran, err := handOver(fits)
	if ran {
		unix.Exit(status)
	}
	return err
}

// Inside reports whether this process was already handed over. A TestMain that
// prepares something slow, such as building a program, does it when Inside is
// false, before it calls Run, and passes the result on in an environment variable:
// in a guest everything takes many times longer.
func Inside() bool {
	Init() // whoever asks before Run must not prepare anything in the guest's first process
	return os.Getenv(insideVar) != ""
}

// Need ends the test when there is no lab: it fails under LVSCTL_LAB=require and
// is skipped otherwise, in both cases with the way to get one.
func Need(t interface {
	Helper()
	Skip(...any)
	Fatal(...any)
}) {
	t.Helper()
	// Read within the test, so that go test's cache knows that the result depends on it.
	mode := os.Getenv(modeVar)
	if Inside() {
		return
	}
	_, err := where(mode, hasIPVS)
	if err == nil {
		err = errors.New("no lab: this package lacks func TestMain(m *testing.M) { lab.Main(m) }")
		t.Fatal(err)
	}
	if mode == "require" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// handOver runs this program again where there is a lab that fits, unless this is that run
// already; ran reports that it did. The error is why there is no lab at all.
func handOver(fits func() bool) (status int, ran bool, err error) {
	if Inside() {
		return 0, false, nil
	}
	kernel, err := where(os.Getenv(modeVar), fits)
	if err != nil {
		return 0, false, err
	}
	if kernel != "" {
		return runGuest(kernel), true, nil
	}
	if status, err = runHere(); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
	}
	return status, true, nil
}

// where decides the place: a guest under the User Mode Linux kernel whose path it
// returns, here when the path is empty and this kernel fits, or nowhere, and the
// error says why.
func where(mode string, fits func() bool) (kernel string, err error) {
	switch mode {
	case "", "require", "uml":
	case "off":
		return "", errors.New("no lab: LVSCTL_LAB=off")
	default:
		return "", fmt.Errorf("no lab: LVSCTL_LAB=%q is not one of require, off, uml", mode)
	}
	if mode != "uml" && os.Geteuid() == 0 && fits() && canUnshare() {
		return "", nil
	}
	if raceEnabled {
		return "", errors.New("no lab: the race detector cannot run in User Mode Linux; run without -race, or as root on a kernel that has ip_vs")
	}
	return findUML()
}

func findUML() (string, error) {
	if path := os.Getenv(umlVar); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(abs); err != nil {
			return "", fmt.Errorf("no lab: LVSCTL_UML: %w", err)
		}
		return abs, nil
	}
	for _, name := range []string{"linux.uml", "linux"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("no lab: neither root on a kernel that has ip_vs, nor User Mode Linux; " +
		"to get one: apt-get install user-mode-linux kmod iproute2 (or name a kernel in LVSCTL_UML), or run as root after modprobe ip_vs")
}

// hasIPVS asks for the module first: the file exists only once ip_vs is loaded.
func hasIPVS() bool {
	const table = "/proc/net/ip_vs"
	if _, err := os.Stat(table); err == nil {
		return true
	}
	if exec.Command("modprobe", "-q", "ip_vs").Run() != nil {
		return false
	}
	_, err := os.Stat(table)
	return err == nil
}

// canUnshare reports whether root here may make namespaces: root in an ordinary
// container may not. A child tries, so that this process keeps its own.
func canUnshare() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID}
	return cmd.Run() == nil
}

// listsOnly: go test -list runs no test, so it needs no lab.
func listsOnly(args []string) bool {
	return slices.ContainsFunc(args[1:], func(a string) bool {
		return strings.HasPrefix(a, "-test.list=")
	})
}

// forgetTestLog keeps a run without a lab out of go test's cache (it caches no
// run whose log of inputs is missing), or the skipped tests would still be
// reported from there after a lab was installed.
func forgetTestLog() {
	os.Args = slices.DeleteFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile=")
	})
}

// InGuest reports whether the tests run in a guest, which is theirs alone: its
// clock may be set and its modules unloaded. Elsewhere both are the machine's.
func InGuest() bool { return os.Getenv(insideVar) == insideGuest }
