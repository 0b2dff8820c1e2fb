// Package roundtrip tests the hand-over of internal/lab from outside: it runs a
// small test package through a guest and looks at what comes back.
package roundtrip

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guest is a program that hands itself over, in a folder of its own.
type guest struct {
	exe, dir string
}

func build(t *testing.T) *guest {
	t.Helper()
	return compile(t, "testdata/guest", "test", "-c", "-cover")
}

// compile runs go with args in the folder source.
func compile(t *testing.T, source string, args ...string) *guest {
	t.Helper()
	if _, err := exec.LookPath("linux.uml"); err != nil && os.Getenv("LVSCTL_UML") == "" {
		const msg = "no User Mode Linux to hand over to: apt-get install user-mode-linux kmod"
		if os.Getenv("LVSCTL_LAB") == "require" {
			t.Fatal(msg)
		}
		t.Skip(msg)
	}
	g := &guest{dir: t.TempDir()}
	g.exe = filepath.Join(g.dir, "program")
	cmd := exec.Command("go", append(args, "-o", g.exe, ".")...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return g
}

// command prepares a run in g's folder, in a guest even where this kernel has IPVS.
func (g *guest) command(env []string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.Command(g.exe, args...)
	cmd.Dir = g.dir
	cmd.Env = append(append(os.Environ(), "LVSCTL_LAB=uml"), env...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func (g *guest) run(t *testing.T, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd, out, errs := g.command(env, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestEverythingComesBack looks at one good run: bytes, files, coverage.
func TestEverythingComesBack(t *testing.T) {
	g := build(t)
	stdout, stderr, status := g.run(t, nil, "-test.run=^Test(Bytes|Flood|Lab|WritesHere)$", "-test.coverprofile=cover.out")

	if status != 0 {
		t.Errorf("status %d", status)
	}
	if stderr != "this is stderr\n" {
		t.Errorf("stderr: %q", stderr)
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	if !strings.Contains(stdout, string(all)) {
		t.Error("the 256 bytes came back changed")
	}
	if n := strings.Count(stdout, "x"); n != 1<<20+1 { // one in the 256 bytes
		t.Errorf("%d bytes of a flood of %d came back", n-1, 1<<20)
	}
	if !strings.Contains(stdout, "in a lab, for 1\n") || !strings.Contains(stdout, "PASS\ncoverage: ") {
		t.Errorf("stdout lacks the lab or the verdict: %q", stdout[max(0, len(stdout)-200):])
	}
	g.contains(t, "written", "by the guest")
	g.contains(t, "cover.out", "guest.go:4.25,5.11 1 1")
	if _, err := os.Stat("/etc/lvsctl-lab-was-here"); err == nil {
		t.Error("the guest wrote to this machine's /etc")
	}
}

func (g *guest) contains(t *testing.T, name, want string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s: %q, %v; want %q", name, text, err, want)
	}
}

func TestHowItEnds(t *testing.T) {
	g := build(t)
	for _, tt := range []struct {
		name, env, run string
		status         int
		stdout, stderr string
	}{
		{"well", "", "TestPure", 0, "PASS", ""},
		{"a test fails", "FAIL=1", "TestFails", 1, "as told", ""},
		{"the program exits", "EXIT=1", "TestExits", 7, "", ""},
		{"the kernel panics", "CRASH=1", "TestPanics", 125, "", "Kernel panic - not syncing: sysrq triggered crash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := g.run(t, []string{tt.env}, "-test.run=^"+tt.run+"$")
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
		})
	}
}

// TestProgram hands an ordinary program over.
func TestProgram(t *testing.T) {
	g := compile(t, "../labctl", "build")
	stdout, stderr, status := g.run(t, nil, "exec", "sh", "-c", `echo $#:"$1"; echo complaint >&2; exit 5`, "sh", "two  words; $HOME")
	if stdout != "1:two  words; $HOME\n" || stderr != "complaint\n" || status != 5 {
		t.Errorf("stdout %q, stderr %q, status %d", stdout, stderr, status)
	}
}

// TestTimeout: the time limit of go test works in the guest, stacks included.
func TestTimeout(t *testing.T) {
	g := build(t)
	stdout, stderr, status := g.run(t, []string{"HANG=1"}, "-test.run=^TestHangs$", "-test.timeout=2s")
	if status != 2 || !strings.Contains(stdout+stderr, "panic: test timed out after 2s") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// TestGuestDiesWithItsHost: neither ^C nor kill -9 leaves a kernel behind.
func TestGuestDiesWithItsHost(t *testing.T) {
	g := build(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(s.String(), func(t *testing.T) {
			cmd, stdout, stderr := g.command([]string{"HANG=1"}, "-test.run=^TestHangs$")
			cmd.Stdout, cmd.Stderr = nil, nil
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, len("hanging\n"))
			if _, err := io.ReadFull(pipe, line); err != nil || string(line) != "hanging\n" {
				t.Fatalf("%q %v %s%s", line, err, stdout, stderr)
			}
			guests := children(t, cmd.Process.Pid)
			if len(guests) == 0 {
				t.Fatal("no guest runs")
			}
			cmd.Process.Signal(s)
			cmd.Wait()
			for deadline := time.Now().Add(30 * time.Second); alive(guests); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%v still run", guests)
				}
			}
		})
	}
}

// children lists the processes below pid.
func children(t *testing.T, pid int) []string {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	below := map[string]bool{}
	below[strconv.Itoa(pid)] = true
	var pids []string
	for range 4 { // generations
		for _, line := range strings.Split(string(out), "\n") {
			f := strings.Fields(line)
			if len(f) == 2 && below[f[1]] && !below[f[0]] {
				below[f[0]] = true
				pids = append(pids, f[0])
			}
		}
	}
	return pids
}

func alive(pids []string) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}
