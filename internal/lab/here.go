package lab

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file is the hand-over on a machine whose own kernel has IPVS: the program
// runs again as the first process of a process namespace. Hosts, daemons and all
// then end with it, however it ends; a test that is killed leaves nothing behind.

// Values of insideVar.
const (
	insideFirst = "first" // the first process of the namespace, not yet settled
	insideHere  = "here"
	insideGuest = "uml"
)

// runHere runs this program again and returns its exit status.
func runHere() (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return statusBroken, err
	}
	// Pdeathsig works when the *thread* ends that started the process, so it has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(exe)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), insideVar+"="+insideFirst)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return statusBroken, err
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s) // it may have ended already
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return statusBroken, err
	}
	return exitStatus(cmd.ProcessState), nil
}

// exitStatus is as the shell reports it.
func exitStatus(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// settleHere makes /proc show the new namespace.
func settleHere() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", ""); err != nil {
		return err
	}
	return os.Setenv(insideVar, insideHere)
}
