package check

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script writes a shell script into dir.
func script(t *testing.T, dir, text string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "chk")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("#!/bin/sh\n" + text + "\n"); err != nil {
		t.Fatal(err)
	}
	f.Chmod(0o755)
	f.Close()
	return f.Name()
}

// gone waits until no process whose pid is in file is alive.
func gone(t *testing.T, file string) {
	t.Helper()
	var alive []string
	for range 100 {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		alive = nil
		for _, pid := range strings.Fields(string(b)) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
			// A zombie is dead; who has to reap it is init's matter.
			if syscall.Kill(n, 0) == nil && !strings.Contains(string(stat), ") Z ") {
				alive = append(alive, pid)
			}
		}
		if len(alive) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("processes %v are left", alive)
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	note := "echo $$ >> " + pids + "; "
	notExec := filepath.Join(dir, "plain")
	if err := os.WriteFile(notExec, []byte("exit 0;"), 0o600); err != nil {
		t.Fatal(err)
	}
	noShebang := filepath.Join(dir, "binary")
	if err := os.WriteFile(noShebang, []byte("\x01\x02\x03"), 0o700); err != nil {
		t.Fatal(err)
	}
	perlTest := filepath.Join(dir, "check.pl")
	if err := os.WriteFile(perlTest, []byte(`exit($ARGV[2] eq "10.0.0.11" ? 0 : 3);`), 0o600); err != nil {
		t.Fatal(err)
	}
	four := []string{"10.0.0.1", "80", "10.0.0.11", "8080"}
	for name, tt := range map[string]struct {
		p    Program
		want string
		took time.Duration // at least; 0 = at once
	}{
		"well":                   {Program{Path: script(t, dir, "exit 0")}, "", 0},
		"arguments":              {Program{Path: script(t, dir, `[ "$#$1$2$3$4" = 410.0.0.18010.0.0.118080 ]`), Args: four}, "", 0},
		"down":                   {Program{Path: script(t, dir, "echo no database; exit 3")}, "exits with 3: no database", 0},
		"stderr":                 {Program{Path: script(t, dir, "echo broken >&2; exit 1")}, "exits with 1: broken", 0},
		"signal":                 {Program{Path: script(t, dir, "kill -9 $$")}, `died of signal 9`, 0},
		"stdin":                  {Program{Path: script(t, dir, "cat; exit 0")}, "", 0},
		"hangs":                  {Program{Path: script(t, dir, note+"sleep 60")}, "did not end within 0.5 s, and was killed", 500},
		"ignores TERM":           {Program{Path: script(t, dir, note+"trap '' TERM; while :; do sleep 1; done")}, "did not end within 0.5 s", 500},
		"forks":                  {Program{Path: script(t, dir, note+"(sh -c 'echo $$ >> "+pids+"; sleep 60')& wait")}, "did not end", 500},
		"leaks a child":          {Program{Path: script(t, dir, "sleep 60 & echo $! >> "+pids)}, "", 0},
		"leaks a stubborn child": {Program{Path: script(t, dir, "sh -c 'trap \"\" TERM HUP; sleep 60' & echo $! >> "+pids)}, "", 0},
		"floods":                 {Program{Path: script(t, dir, note+"exec yes")}, "did not end", 500},
		"floods, ends":           {Program{Path: script(t, dir, "yes | head -c 1000000; exit 4")}, "exits with 4: y", 0},
		"not there":              {Program{Path: "/nowhere/chk"}, "/nowhere/chk is not there", 0},
		"not executable":         {Program{Path: notExec}, `is not executable .chmod \+x.`, 0},
		"no program":             {Program{Path: noShebang}, "a script needs a first line", 0},
		"perl":                   {Program{Path: perlTest, Args: four, Perl: true}, "", 0},
		"perl, down":             {Program{Path: perlTest, Args: []string{"1", "2", "3", "4"}, Perl: true}, "exits with 3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := 500 * time.Millisecond
			if tt.took == 0 {
				patience = 30 * time.Second
			}
			start := time.Now()
			err := once(tt.p, patience)
			wantVerdict(t, err, tt.want)
			if IsLocal(err) {
				t.Error("is held to be a fault of ours")
			}
			if d := time.Since(start); d < tt.took*time.Millisecond || d > patience+20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	t.Cleanup(func() { gone(t, pids) })
}

func TestProgramOutcome(t *testing.T) {
	dir := t.TempDir()
	for status, want := range map[int]Outcome{
		0: {Message: "hello"}, 2: {Message: "hello", Weighted: true}, 255: {Message: "hello", Weight: 253, Weighted: true},
	} {
		p := Program{Path: script(t, dir, fmt.Sprintf("echo hello; exit %d", status)), Dynamic: true}
		got := p.Examine(context.Background(), nil)
		got.Message = strings.TrimSpace(got.Message)
		if got != want {
			t.Errorf("exit %d: %+v, wanted %+v", status, got, want)
		}
	}
	p := Program{Path: script(t, dir, "yes | head -c 100000"), Dynamic: true}
	if got := p.Examine(context.Background(), nil); len(got.Message) > 1100 {
		t.Errorf("%d bytes of output are kept", len(got.Message))
	}
}

// TestProgramsAtOnce starts many and counts how many run.
func TestProgramsAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := script(t, dir, "mkdir "+dir+"/run.$$; ls -d "+dir+"/run.* | wc -l >> "+dir+"/counts; sleep 0.05; rmdir "+dir+"/run.$$")
	r := NewRunner(Host{}, Options{MaxPrograms: 3})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.Run(ctx)
	var specs []Spec
	for i := range 20 {
		specs = append(specs, Spec{ID: fmt.Sprint(i), Probe: Program{Path: path}, Interval: time.Hour, Timeout: 10 * time.Second})
	}
	r.Set(specs)
	for range specs {
		if res := <-r.Results(); res.Health != Up {
			t.Error(res)
		}
	}
	b, err := os.ReadFile(dir + "/counts")
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, f := range strings.Fields(string(b)) {
		n, _ := strconv.Atoi(f)
		most = max(most, n)
	}
	if most > 3 || most < 2 {
		t.Errorf("%d programs at once, wanted up to 3", most)
	}
}

// TestMain lets the test binary be the victim of TestStopCont and TestNoFile, and
// sees that nothing is left running when all tests are over.
func TestMain(m *testing.M) {
	if addr := os.Getenv("CHECK_VICTIM"); addr != "" {
		victim(addr)
		return
	}
	before := runtime.NumGoroutine()
	var err error
	if polled, err = NewHost(); err != nil {
		panic(err)
	}
	code := m.Run()
	polled.Close()
	// The fuzzing engine has goroutines of its own.
	if code == 0 && flag.Lookup("test.fuzz").Value.String() == "" && leaked(before) {
		code = 1
	}
	os.Exit(code)
}

// leaked waits a little for goroutines to end.
func leaked(before int) bool {
	for range 600 {
		if runtime.NumGoroutine() <= before {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("goroutines are left:")
	pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
	return true
}

// TestStopCont stops a checking process for longer than its timeout and lets it
// go on. The server answers slowly enough for checks to be under way each time.
func TestStopCont(t *testing.T) {
	addr := serve(t, slowPage)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHECK_VICTIM="+addr.String())
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for range 2 {
		cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(2 * time.Second)
		cmd.Process.Signal(syscall.SIGCONT)
		time.Sleep(1500 * time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if strings.Contains(out.String(), "down") || strings.Count(out.String(), "up") < 20 {
		t.Errorf("while it was stopped and after:\n%s", out.String())
	}
}

// TestNoFile takes all descriptors away from a checking process for a while.
func TestNoFile(t *testing.T) {
	addr := serve(t, slowPage)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHECK_VICTIM="+addr.String(), "CHECK_NOFILE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	if strings.Contains(text, "down") || !strings.Contains(text, "up true cannot ask") || !strings.Contains(text, "out of file descriptors") {
		t.Errorf("without descriptors:\n%s", text)
	}
	if last := strings.Split(strings.TrimSpace(text), "\n"); last[len(last)-1] != "up false <nil>" {
		t.Errorf("the last check: %s", last[len(last)-1])
	}
}
