package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// must is for the steps of a story that are not what it is about.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// next is what a watch tells next.
func next(t *testing.T, w *Watch) Content {
	t.Helper()
	select {
	case c := <-w.Changes():
		return c
	case <-time.After(15 * time.Second):
		t.Fatal("no change is told")
		return Content{}
	}
}

func wantContent(t *testing.T, w *Watch, want string) {
	t.Helper()
	if c := next(t, w); c.Err != nil || string(c.Data) != want {
		t.Fatalf("told %q, %v; want %q", c.Data, c.Err, want)
	}
}

func wantFault(t *testing.T, w *Watch, want string) {
	t.Helper()
	if c := next(t, w); c.Err == nil || !strings.Contains(c.Err.Error(), want) {
		t.Fatalf("told %q, %v; want a fault with %q", c.Data, c.Err, want)
	}
}

// Every way in which people and programs change a file. Each story is told
// twice: with the kernel's help, and by looking alone.
func TestWatchSeesEveryWayOfEditing(t *testing.T) {
	for name, story := range map[string]func(t *testing.T, path string, w *Watch){
		"in place": func(t *testing.T, path string, w *Watch) {
			must(t, write(path, "two"))
			wantContent(t, w, "two")
		},
		"rename": func(t *testing.T, path string, w *Watch) {
			must(t, write(path+".tmp", "two"), os.Rename(path+".tmp", path))
			wantContent(t, w, "two")
		},
		"vim: move away, write anew, remove": func(t *testing.T, path string, w *Watch) {
			must(t, os.Rename(path, path+"~"), write(path, "two"), os.Remove(path+"~"))
			for c := next(t, w); string(c.Data) != "two"; c = next(t, w) {
				if c.Err == nil {
					t.Fatalf("told %q", c.Data)
				}
			}
		},
		"same size, time set back": func(t *testing.T, path string, w *Watch) {
			must(t, write(path, "eno"), os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
			wantContent(t, w, "eno")
		},
		"slowly": func(t *testing.T, path string, w *Watch) {
			h, err := os.Create(path)
			must(t, err)
			for i := range 6 {
				_, err := fmt.Fprintf(h, "line %d\n", i)
				must(t, err)
				time.Sleep(40 * time.Millisecond) // longer than it takes to settle
			}
			must(t, h.Close())
			wantContent(t, w, "line 0\nline 1\nline 2\nline 3\nline 4\nline 5\n")
		},
		"touched, or saved as it was": func(t *testing.T, path string, w *Watch) {
			now := time.Now()
			must(t, os.Chtimes(path, now, now), os.Chmod(path, 0o600), write(path, "one"), write(path, "two"))
			wantContent(t, w, "two")
		},
		"removed and made again": func(t *testing.T, path string, w *Watch) {
			must(t, os.Remove(path))
			wantFault(t, w, "no such file")
			must(t, write(path, "one"))
			wantContent(t, w, "one") // the fault is over, which is news
		},
		"the folder is removed and made again": func(t *testing.T, path string, w *Watch) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			wantFault(t, w, "no such file")
			must(t, os.Mkdir(filepath.Dir(path), 0o755), write(path, "two"))
			wantContent(t, w, "two")
			must(t, write(path, "three"))
			wantContent(t, w, "three")
		},
		"a directory, a fifo, a device, a giant": func(t *testing.T, path string, w *Watch) {
			must(t, os.Remove(path), os.Mkdir(path, 0o755))
			for c := next(t, w); !strings.Contains(c.Err.Error(), "is a directory"); c = next(t, w) {
			}
			must(t, os.Remove(path), syscall.Mkfifo(path, 0o644))
			for c := next(t, w); !strings.Contains(c.Err.Error(), "not a regular file (p"); c = next(t, w) {
			}
			must(t, os.Remove(path), os.Symlink("/dev/zero", path))
			for c := next(t, w); !strings.Contains(c.Err.Error(), "not a regular file (D"); c = next(t, w) {
			}
			must(t, os.Remove(path), write(path, "x"), os.Truncate(path, 1<<30))
			for c := next(t, w); c.Err == nil || !strings.Contains(c.Err.Error(), "1073741824 bytes"); c = next(t, w) {
			}
			must(t, write(path, "two"))
			wantContent(t, w, "two")
		},
	} {
		for _, how := range []string{"told", "polled"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "etc")
				path := filepath.Join(dir, "ldirectord.cf")
				must(t, os.Mkdir(dir, 0o755), write(path, "one"))
				w := watch(t, path, how)
				story(t, path, w)
			})
		}
	}
}

// watch begins to watch a file whose content "one" is known. What is told does
// not wait for polling, but for the folder that is not there; what is polled is
// not told.
func watch(t *testing.T, path, how string) *Watch {
	t.Helper()
	w := NewWatch(path, []byte("one"))
	w.Settle = 20 * time.Millisecond
	w.Poll = 300 * time.Millisecond
	if how == "polled" {
		w.Poll = 15 * time.Millisecond
		w.deaf = true
	}
	w.Warn = func(err error) { t.Errorf("warned: %v", err) }
	run(t, w)
	return w
}

// A file that a rename puts in place is complete, and not waited for; one that is
// written where it stands is waited for, however new it is.
func TestARenamedFileIsComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ldirectord.cf")
	must(t, write(path, "one"))
	one := stampOf(path)
	must(t, write(path+".new", "two"))
	time.Sleep(100 * time.Millisecond) // many ticks of the clock of inodes
	must(t, os.Rename(path+".new", path))
	two := stampOf(path)
	if !two.renamed(one) {
		t.Errorf("%+v in place of %+v is not seen as renamed", two, one)
	}
	if one.renamed(stamp{}) || two.renamed(stamp{errno: "gone"}) || two.renamed(two) {
		t.Error("renamed in place of nothing")
	}
	must(t, write(path, "three"))
	if three := stampOf(path); three.renamed(two) {
		t.Errorf("%+v in place of %+v is seen as renamed", three, two)
	}
	must(t, os.Rename(path, path+"~"), write(path, "four"))
	if four := stampOf(path); four.renamed(two) {
		t.Errorf("%+v is seen as renamed", four)
	}
}

// A ConfigMap: the file is a link into ..data, which is a link to a folder with
// a date, and an update puts another link in its place.
func TestWatchFollowsAConfigMap(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, version), 0o755), write(filepath.Join(dir, version, "lb.cf"), text),
			os.Symlink(version, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..1", "one")
	path := filepath.Join(dir, "lb.cf")
	must(t, os.Symlink("..data/lb.cf", path))
	w := watch(t, path, "told")
	publish("..2", "two")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	wantContent(t, w, "two")
	publish("..3", "three")
	wantContent(t, w, "three")
}

func TestManyEditsEndOnTheLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.cf")
	must(t, write(path, "one"))
	w := watch(t, path, "told")
	told := 0
	for i := range 100 {
		must(t, write(path, fmt.Sprint(i)))
		time.Sleep(2 * time.Millisecond)
	}
	for c := next(t, w); string(c.Data) != "99"; c = next(t, w) {
		told++
	}
	if told > 20 {
		t.Errorf("100 edits were told as %d", told)
	}
}

func TestWatchesLeaveNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("watched", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lb.cf")
		must(t, write(path, "one"))
		watch(t, path, "told")
	})
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

func TestReadFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 100), 0o644))
	if _, err := ReadFile(path, 99); err == nil {
		t.Error("100 bytes are read with a limit of 99")
	}
	if b, err := ReadFile(path, 100); err != nil || len(b) != 100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := ReadFile("/proc/self/mem", 0); err == nil {
		t.Error("memory is a file")
	}
	if _, err := ReadFile("/dev/null", 0); err == nil {
		t.Error("a device is a file")
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "maint")
	f := NewFolder(dir)
	f.Poll = 50 * time.Millisecond
	run(t, f)
	want := func(want ...string) {
		t.Helper()
		for {
			select {
			case names := <-f.Names():
				if slices.Equal(names, want) {
					return
				}
			case <-time.After(15 * time.Second):
				t.Fatalf("never %q", want)
			}
		}
	}
	want()
	must(t, os.Mkdir(dir, 0o755), write(filepath.Join(dir, "10.0.0.2"), ""), write(filepath.Join(dir, "10.0.0.1:80"), ""))
	want("10.0.0.1:80", "10.0.0.2")
	must(t, os.Remove(filepath.Join(dir, "10.0.0.2")))
	want("10.0.0.1:80")
	must(t, os.RemoveAll(dir))
	want()
}
