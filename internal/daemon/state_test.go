package daemon

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

type state struct {
	N       int
	Ballast string
}

// bigState does not fit into one write of a pipe or a page.
func bigState(n int) state { return state{n, strings.Repeat("x", 64<<10)} }

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "down", "state.json")
	s := NewStateFile(path, 1)
	got := state{N: 7}
	if err := s.Load(&got); err != nil || got.N != 7 {
		t.Errorf("absent: %+v, %v", got, err)
	}
	if err := s.Store(state{N: 8}); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(&got); err != nil || got.N != 8 {
		t.Errorf("stored: %+v, %v", got, err)
	}
	if err := NewStateFile(path, 2).Load(&got); err == nil {
		t.Error("another version is read")
	}
	whole, _ := os.ReadFile(path)
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if n == len(whole)-1 {
			break // only the newline is missing
		}
		if err := s.Load(&got); err == nil {
			t.Errorf("torn after %d bytes, and read", n)
		}
	}
}

func TestStateIsOldOrNewWheneverWeAreKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	last := -1
	for round := range 25 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "STORE_FOR_EVER="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Stat(path)
		eventually(t, "it has stored something", func() bool {
			now, err := os.Stat(path)
			return err == nil && (before == nil || !os.SameFile(before, now))
		})
		time.Sleep(time.Duration(round*97%1000) * 10 * time.Microsecond) // somewhere in the middle
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		var got state
		if err := NewStateFile(path, 1).Load(&got); err != nil || len(got.Ballast) != 64<<10 {
			t.Fatalf("round %d: %v", round, err)
		}
		last = max(last, got.N)
	}
	if last < 0 {
		t.Error("nothing was ever stored")
	}
}

func TestPutKeepsTheLast(t *testing.T) {
	s := NewStateFile(filepath.Join(t.TempDir(), "state.json"), 1)
	for n := range 100 {
		s.Put(state{N: n})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Keep(func(err error) { t.Error(err) }).Run(ctx); err != nil {
		t.Error(err)
	}
	var got state
	if err := s.Load(&got); err != nil || got.N != 99 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A value that cannot be stored is stored as soon as it can.
func TestAStateThatCannotBeKeptIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewStateFile(filepath.Join(file, "state.json"), 1)
	var g gathered
	run(t, s.Keep(g.say))
	s.Put(state{N: 7})
	eventually(t, "it is said", func() bool { return strings.Contains(g.all(), "state cannot be kept") })
	must(t, os.Remove(file))
	eventually(t, "it is said to be over", func() bool { return strings.Contains(g.all(), "state is kept again") })
	var got state
	if err := s.Load(&got); err != nil || got.N != 7 {
		t.Errorf("kept: %+v, %v", got, err)
	}
	if n := strings.Count(g.all(), "cannot be kept"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"data":{"N":1}}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"data":[[[[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v state
		if decodeState(b, 1, &v) != nil {
			return
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(envelope{1, data})
		if err != nil {
			t.Fatal(err)
		}
		var w state
		if err := decodeState(again, 1, &w); err != nil || w != v {
			t.Errorf("%q reads as %+v, then as %+v (%v)", b, v, w, err)
		}
	})
}

// What was put before Kept is on the disk after it, also when the disk takes nothing
// at first: then Kept does not wait for better days.
func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folder")
	s := NewStateFile(filepath.Join(dir, "state.json"), 1)
	var g gathered
	run(t, s.Keep(g.say))
	for n := range 50 {
		s.Put(state{N: n})
		s.Kept(t.Context())
		var got state
		if err := s.Load(&got); err != nil || got.N != n {
			t.Fatalf("%+v, %v, want %d", got, err, n)
		}
	}
	must(t, os.RemoveAll(dir))
	must(t, os.WriteFile(dir, nil, 0o600))
	s.Put(state{N: 50})
	s.Kept(t.Context())
	if !strings.Contains(g.all(), "state cannot be kept") {
		t.Errorf("said: %q", g.all())
	}
	must(t, os.Remove(dir))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	NewStateFile(filepath.Join(dir, "other.json"), 1).Kept(ended) // nobody keeps it
}

// Whatever the umask: others find the socket and the pid files, and nobody else reads
// what is kept.
func TestFoldersUnderAUmask(t *testing.T) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	top := t.TempDir()
	wants := func(path string, want fs.FileMode) {
		t.Helper()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	dir := filepath.Join(top, "a/b/c")
	for range 2 { // the second time it is there
		if err := MakeFolder(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Dir(dir), filepath.Join(top, "a")} {
		wants(path, 0o755)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := MakeFolder(dir); err != nil {
		t.Fatal(err)
	}
	wants(dir, 0o700) // somebody's choice
	p := &PidFile{Path: filepath.Join(top, "p.pid"), Word: "x"}
	if err := p.Take(); err != nil {
		t.Fatal(err)
	}
	wants(p.Path, 0o644)
	if err := p.Release(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := MakeFolder(path); err == nil {
			t.Errorf("%s is a folder", path)
		}
	}
}
