package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The test binary is also the program that is detached, and the one that is
// killed while it stores its state.
func TestMain(m *testing.M) {
	if parent, ok := Detached(); ok {
		detachedProgram(parent)
		return
	}
	if path := os.Getenv("STORE_FOR_EVER"); path != "" {
		s := NewStateFile(path, 1)
		for i := 0; ; i++ {
			if err := s.Store(bigState(i)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// eventually waits for a condition that other processes or the kernel bring
// about. The time is a limit for a broken program, not a wait.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run runs a task until the test ends, and wants it to end well.
func run(t *testing.T, task Task) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%v: %v", task, err)
			}
		case <-time.After(15 * time.Second):
			t.Errorf("%v does not end", task)
		}
	})
	if !AllReady(t.Context(), task) {
		t.Fatalf("%v is never ready", task)
	}
}

type gathered struct {
	mu   sync.Mutex
	said []string
}

func (g *gathered) say(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, err.Error())
}

func (g *gathered) all() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.said, "\n")
}

func TestServeEndsAllWhenOneFails(t *testing.T) {
	bad := errors.New("no such thing")
	ended := false
	err := Serve(t.Context(),
		Func("patient", func(ctx context.Context) error { <-ctx.Done(); ended = true; return nil }),
		Func("brief", func(context.Context) error { return nil }),
		Func("broken", func(context.Context) error { return bad }))
	if !errors.Is(err, bad) || !strings.HasPrefix(err.Error(), "broken: ") || !ended {
		t.Errorf("Serve: %v; the patient one ended: %v", err, ended)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, Func("patient", func(ctx context.Context) error { <-ctx.Done(); return nil })); err != nil {
		t.Errorf("an ordinary end: %v", err)
	}
}

func TestSignals(t *testing.T) {
	reloads := make(chan bool, 10)
	s, ctx := NewSignals(t.Context(), func() { reloads <- true })
	defer s.Close()
	exits := make(chan int, 1)
	s.exit = func(code int) { exits <- code }
	s.same = time.Hour
	me := os.Getpid()
	send := func(sig syscall.Signal) {
		if err := syscall.Kill(me, sig); err != nil {
			t.Fatal(err)
		}
	}
	send(syscall.SIGPIPE)
	send(syscall.SIGHUP)
	<-reloads
	if ctx.Err() != nil {
		t.Error("HUP stops us")
	}
	send(syscall.SIGTERM)
	<-ctx.Done()
	send(syscall.SIGTERM) // as timeout(1) does: no second order
	send(syscall.SIGINT)
	if code := <-exits; code != 130 {
		t.Errorf("the second signal exits with %d, want 130", code)
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ldirectord.web.cf.pid")
	word := filepath.Base(os.Args[0]) // in our command line
	f := &PidFile{Path: path, Word: word}
	owner := func(wantPid int, wantStale bool) {
		t.Helper()
		if pid, stale := (&PidFile{Path: path, Word: word}).Owner(); pid != wantPid || stale != wantStale {
			t.Errorf("owner %d, stale %v; want %d, %v", pid, stale, wantPid, wantStale)
		}
	}
	owner(0, false)
	if err := f.Take(); err != nil {
		t.Fatal(err)
	}
	owner(os.Getpid(), false)
	if b, _ := os.ReadFile(path); string(b) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("the file holds %q", b)
	}
	if err := (&PidFile{Path: path, Word: word}).Take(); !errors.Is(err, ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	owner(0, false)
	for _, stale := range []string{"", "x", "0\n", "-1\n", "1\n", "99999999\n", "4\x00"} { // 1 is not us
		if err := os.WriteFile(path, []byte(stale), 0o644); err != nil {
			t.Fatal(err)
		}
		owner(0, true)
	}
	if err := f.Take(); err != nil {
		t.Errorf("a stale file is in the way: %v", err)
	}
	if err := os.WriteFile(path+".other", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	if err := f.Release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("Release removes a file that is not ours any more")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	owner(0, true) // and does not wait for a writer
}

func detachedProgram(parent *Parent) {
	switch os.Args[1] {
	case "good.cf":
		if err := parent.Started(); err != nil {
			os.Exit(1)
		}
		time.Sleep(time.Minute)
	case "bad.cf":
		parent.Failed(errors.New("bad.cf:3: no such thing"))
	case "silent.cf":
		time.Sleep(time.Minute)
	case "crash.cf":
		os.Exit(7)
	}
}

func TestDetach(t *testing.T) {
	pid, err := Detach([]string{"ldirectord", "good.cf", "start"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if pid <= 1 || pid == os.Getpid() {
		t.Fatalf("the daemon is process %d", pid) // to kill that would be a disaster
	}
	defer func() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}()
	proc := "/proc/" + strconv.Itoa(pid)
	if b, _ := os.ReadFile(proc + "/cmdline"); string(b) != "ldirectord\x00good.cf\x00start\x00" {
		t.Errorf("its command line is %q", b)
	}
	for fd := range 3 {
		if to, _ := os.Readlink(proc + "/fd/" + strconv.Itoa(fd)); to != "/dev/null" {
			t.Errorf("its descriptor %d is %s", fd, to)
		}
	}
	eventually(t, "it works in /", func() bool { to, _ := os.Readlink(proc + "/cwd"); return to == "/" })
	stat, _ := os.ReadFile(proc + "/stat")
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); fields[3] != strconv.Itoa(pid) {
		t.Errorf("its session is %s, want its own", fields[3])
	}
	for config, want := range map[string]string{"bad.cf": "bad.cf:3: no such thing", "crash.cf": "ended before it ran"} {
		if _, err := Detach([]string{"ldirectord", config, "start"}, time.Minute); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
	if _, err := Detach([]string{"ldirectord", "silent.cf", "start"}, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not say") {
		t.Errorf("silent.cf: %v", err)
	}
}

func TestNotify(t *testing.T) {
	for name, addr := range map[string]string{"path": filepath.Join(t.TempDir(), "notify"), "abstract": "@lvsctl-test-" + strconv.Itoa(os.Getpid())} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			t.Setenv("NOTIFY_SOCKET", addr)
			hear := func() string {
				b := make([]byte, 1024)
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, _ := conn.Read(b)
				return string(b[:n])
			}
			n := Notify{Warn: func(err error) { t.Log(err) }}
			n.Reloading()
			if got := hear(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
				t.Errorf("reloading: %q", got)
			}
			n.Ready()
			n.Status("12 of 12\nserve")
			n.Stopping()
			for _, want := range []string{"READY=1", "STATUS=12 of 12 serve", "STOPPING=1"} {
				if got := hear(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			t.Setenv("WATCHDOG_USEC", "40000")
			t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
			sick := make(chan bool, 1)
			run(t, n.Watchdog(func(context.Context) error {
				select {
				case <-sick:
					return errors.New("not so well")
				default:
					return nil
				}
			}))
			if got := hear(); got != "WATCHDOG=1" {
				t.Errorf("watchdog: %q", got)
			}
		})
	}
}

func TestNotifyWithoutAManagerDoesNothing(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := Notify{Warn: func(err error) { t.Error(err) }}
	n.Ready()
	if err := n.Watchdog(nil).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFileLogForm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ldirectord.log")
	l := NewLog(FileLog{Path: path, Name: "web.cf"}, nil)
	run(t, l)
	l.Printf(Info, "Added real server: %s", "10.0.0.1:80 (10.0.0.9:80) (Weight set to 1)\n")
	read := func() string { b, _ := os.ReadFile(path); return string(b) }
	eventually(t, "the line is written", func() bool { return read() != "" })
	date, rest, _ := strings.Cut(read(), "|")
	if want := fmt.Sprintf("web.cf|%d] Added real server: 10.0.0.1:80 (10.0.0.9:80) (Weight set to 1)\n", os.Getpid()); rest != want {
		t.Errorf("%q, want %q", rest, want)
	}
	if _, err := time.ParseInLocation("[Mon Jan _2 15:04:05 2006", date, time.Local); err != nil {
		t.Error(err)
	}
	if err := os.Rename(path, path+".1"); err != nil { // logrotate
		t.Fatal(err)
	}
	l.Print(Info, "after\x1b[31m\nrotation")
	eventually(t, "the new file has the next line", func() bool { return strings.HasSuffix(read(), "] after [31m rotation\n") })
}

func TestAFullDiskIsSaidElsewhere(t *testing.T) {
	var else_ bytes.Buffer
	l := NewLog(FileLog{Path: "/dev/full"}, WriterLog{W: &else_, Journal: true})
	l.Print(Warning, "something happened")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	if got := else_.String(); !strings.HasPrefix(got, "<4>something happened\n<3>cannot log: write /dev/full: no space left") {
		t.Errorf("%q", got)
	}
}

// full is a sink that takes nothing for a while.
type full struct {
	mu   sync.Mutex
	room bool
	has  []string
}

func (f *full) Write(lines []Line) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.room {
		return errors.New("no space left")
	}
	for _, l := range lines {
		f.has = append(f.has, l.Text)
	}
	return nil
}

// What a full disk does not take is written when there is room, in its order.
func TestLinesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var elsewhere bytes.Buffer
		f := &full{}
		l := NewLog(f, WriterLog{W: &elsewhere})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = l.Run(ctx) }()
		for i := range maxLines + 10 {
			l.Printf(Info, "line %d", i)
			synctest.Wait()
		}
		if n := strings.Count(elsewhere.String(), "cannot log: no space left"); n != 1 {
			t.Errorf("the reason is said %d times elsewhere", n)
		}
		f.mu.Lock()
		f.room = true
		f.mu.Unlock()
		time.Sleep(lateAgain)
		synctest.Wait()
		l.Print(Info, "after")
		synctest.Wait()
		n := len(f.has)
		if n != maxLines+2 || f.has[0] != "10 lines were dropped here: the log could not keep up" || f.has[1] != "line 10" {
			t.Fatalf("%d lines, from %q", n, f.has[:2])
		}
		if last := f.has[n-2:]; last[0] != fmt.Sprintf("line %d", maxLines+9) || last[1] != "after" {
			t.Errorf("at the end %q", last)
		}
		cancel()
		synctest.Wait()
	})
}

// A line that had room for its half only is not left as a half.
func TestHalfALineIsTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("a line\nhalf"), 0o644))
	h, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer h.Close()
	takeBack(h, 4)
	if b, _ := os.ReadFile(path); string(b) != "a line\n" {
		t.Errorf("%q", b)
	}
}

type stuck chan bool

func (s stuck) Write([]Line) error { <-s; return nil }

func TestASlowLogHoldsNobodyUp(t *testing.T) {
	s := make(stuck)
	l := NewLog(s, nil)
	done := make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = l.Run(ctx); close(done) }()
	for range 3 * maxLines {
		l.Print(Info, "x")
	}
	if n := l.dropped.Load(); n < maxLines {
		t.Errorf("%d lines dropped of three times what can wait", n)
	}
	cancel()
	close(s)
	<-done
	if n := l.dropped.Load(); n != 0 {
		t.Errorf("%d drops were never confessed", n)
	}
}

func TestFacilities(t *testing.T) {
	if _, err := NewSyslogLog("local9", "x"); err == nil {
		t.Error("local9 is no facility")
	}
	if _, err := NewSyslogLog("local7", "x"); err != nil {
		t.Error(err)
	}
}
