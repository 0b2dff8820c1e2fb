package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// house is a folder of resource scripts with a diary of what they were told.
type house struct {
	t   *testing.T
	dir string
}

func newHouse(t *testing.T, names ...string) house {
	h := house{t, t.TempDir()}
	for _, name := range names {
		h.script(name, "")
	}
	return h
}

// script makes one that behaves, but for the lines that come first; $verb is what it
// is told.
func (h house) script(name, lines string) {
	h.t.Helper()
	text := `#!/bin/sh
cd ` + h.dir + `
name=${0##*/}
for verb; do :; done
echo "$name $*" >>diary
` + lines + `
case $verb in
start) touch $name.up;;
stop) rm -f $name.up;;
status) if [ -e $name.up ]; then echo "$name is running..."; else echo "$name is stopped"; exit 3; fi;;
esac
`
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h house) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// told is what the scripts were told since the last time.
func (h house) told() []string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "diary"))
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	h.write("diary", "")
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

func (h house) options(o *Options) { o.Scripts = []string{filepath.Join(h.dir, "nowhere"), h.dir} }

func served(names ...string) config.Site {
	in := instance("VI_1", 51, "10.0.0.100/32")
	for _, n := range names {
		words := strings.Split(n, "::")
		in.Resources = append(in.Resources, config.Resource{Name: words[0], Args: words[1:]})
	}
	return config.Site{Instances: []config.Instance{in}}
}

// Services start from left to right after the addresses, and stop from right to left
// before they go. A crash's are stopped first.
func TestResources(t *testing.T) {
	h := newHouse(t, "web", "disk")
	h.write("web.up", "")
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		var first, atEnd []string
		host.refuse = func(s netif.Step) error { // with the lock of host
			if s.Op == netif.DelAddr && s.Addr.Prefix == netip.MustParsePrefix("10.0.0.100/32") {
				if atEnd = h.told(); first == nil {
					first = atEnd
				}
			}
			return nil
		}
		read := func(what *[]string) []string {
			host.mu.Lock()
			defer host.mu.Unlock()
			return *what
		}
		r := start(t, host, served("disk::r0::/srv", "web"), h.options)
		time.Sleep(time.Second)
		equal(t, "at the start", read(&first), "web status", "web stop", "disk r0 /srv status")
		if got := r.said("web runs already, and is stopped"); len(got) != 1 {
			t.Errorf("log: %q", r.said(""))
		}
		h.told()
		time.Sleep(4 * time.Second)
		equal(t, "as master", h.told(), "disk r0 /srv status", "disk r0 /srv start", "web status", "web start")
		all, err := r.Status()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "status", []string{fmt.Sprint(all[0].Resources), fmt.Sprint(all[0].Holders)}, "[{disk::r0::/srv running} {web running}]", "[{addresses true } {resources true }]")
		r.stop()
		equal(t, "before the address went", read(&atEnd), "web stop", "disk r0 /srv stop")
	})
}

// What a reload does not change goes on.
func TestResourcesReload(t *testing.T) {
	h := newHouse(t, "a", "b", "c")
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newFakeHost(), served("a", "b"), h.options)
		defer r.stop()
		time.Sleep(5 * time.Second)
		h.told()
		if err := r.Set(served("b", "c")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		equal(t, "told", h.told(), "a stop", "b status", "c status", "c start")
		if err := r.Set(served()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		equal(t, "at last", h.told(), "c stop", "b stop")
		if got := r.said("Entering"); len(got) != 2 {
			t.Errorf("the reloads were felt: %q", got)
		}
	})
}

// What does not start is said once and tried again, less and less often; what stands
// behind it waits.
func TestResourceThatFails(t *testing.T) {
	h := newHouse(t, "b")
	h.script("a", `[ $verb = start ] && [ ! -e mended ] && { echo one; echo "port 80 is taken" >&2; exit 1; }`)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newFakeHost(), served("a", "b"), h.options)
		time.Sleep(3700 * time.Millisecond) // master since 3.609
		h.told()
		time.Sleep(8 * time.Second)
		equal(t, "tries", h.told(), "a status", "a start", "a status", "a start", "a status", "a start")
		equal(t, "log", r.said("port 80"),
			"3.609 (VI_1) resource a: "+h.dir+"/a start: exit status 1: port 80 is taken; it is tried again")
		all, _ := r.Status()
		if got := fmt.Sprint(all[0].Resources, all[0].Holders[1].Taken); got != "[{a failed} {b stopped}] false" || !strings.Contains(all[0].Holders[1].Error, "port 80") {
			t.Errorf("status %s %q", got, all[0].Holders[1].Error)
		}
		h.write("mended", "")
		time.Sleep(10 * time.Second)
		equal(t, "mended", h.told(), "a status", "a start", "b status", "b start")
		r.stop()
		equal(t, "stop", h.told(), "b stop", "a stop")
	})
}

// Addresses that stay behind at the end keep what runs on them.
func TestResourcesStayBehind(t *testing.T) {
	h := newHouse(t, "a")
	h.script("b", `[ $verb = start ] && exit 1`)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newFakeHost(), served("a", "b"), func(o *Options) { h.options(o); o.KeepHeld = true })
		time.Sleep(5 * time.Second)
		r.stop()
		if told := strings.Join(h.told(), "\n"); strings.Contains(told, "stop") || !strings.Contains(told, "b start") {
			t.Errorf("told:\n%s", told)
		}
	})
}

// lone is a holder alone, with real time.
func lone(t *testing.T, h house, names ...string) (*resources, func() []string) {
	var mu sync.Mutex
	var log []string
	var busy sync.WaitGroup
	r := newResources(finder{folders: []string{h.dir}}, func(_ Level, text string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, text)
	}, new(atomic.Bool), &busy)
	r.use(&served(names...).Instances[0])
	t.Cleanup(busy.Wait)
	return r, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return log
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A start that hangs delays nobody, and is ended by the order to stop; the service is
// stopped even though its status does not show it.
func TestStartThatHangs(t *testing.T) {
	h := newHouse(t)
	h.script("slow", `[ $verb = start ] && { touch hangs; sleep 1000; }`)
	r, _ := lone(t, h, "slow")
	r.patience = 30 * time.Second
	if err := r.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "slow hangs", func() bool { _, err := os.Stat(filepath.Join(h.dir, "hangs")); return err == nil })
	if all, _ := r.status(); all[0].State != stateStarting {
		t.Errorf("status %v", all)
	}
	if err := r.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "told", h.told(), "slow status", "slow start", "slow stop")
}

// The addresses do not wait for a stop that hangs.
func TestStopThatHangs(t *testing.T) {
	h := newHouse(t)
	h.script("slow", `[ $verb = stop ] && while [ ! -e enough ]; do sleep 0.01; done`)
	h.write("slow.up", "")
	r, _ := lone(t, h, "slow")
	r.patience = time.Millisecond
	if err := r.Drop(t.Context()); err == nil || err.Error() != "still being stopped after 1ms; the addresses wait no longer" {
		t.Errorf("error %v", err)
	}
	h.write("enough", "")
	eventually(t, "slow is stopped", func() bool { all, _ := r.status(); return all[0].State == stateStopped })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.patience = time.Hour
	if err := r.Drop(ctx); err != nil && err != ctx.Err() {
		t.Errorf("another order: %v", err)
	}
}

// A daemon that a start leaves behind lives on, with somebody to listen to it, and
// keeps nobody waiting. A flood of words is no harm.
func TestStartLeavesADaemon(t *testing.T) {
	h := newHouse(t)
	h.write("flood", strings.Repeat("x", 1<<20))
	h.script("d", `[ $verb = start ] && { cat flood; (while [ ! -e $name.end ]; do echo alive; sleep 0.01; done; touch $name.ended) & }`)
	r, log := lone(t, h, "d")
	_ = r.Take(t.Context())
	eventually(t, "d runs", func() bool { all, _ := r.status(); return all[0].State == stateRunning })
	time.Sleep(2 * outputTime) // a daemon that is killed or deaf would be dead by then
	h.write("d.end", "")
	eventually(t, "the daemon ends by itself", func() bool { _, err := os.Stat(filepath.Join(h.dir, "d.ended")); return err == nil })
	if len(log()) != 2 || log()[0] != "Running "+h.dir+"/d start" {
		t.Errorf("log %q", log())
	}
}

func TestStatusWords(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		text string
		exit int
		want bool
	}{
		{"httpd (pid 2131) is running...", 0, true},
		{"OK", 0, true},
		{"Running", 0, true},
		{"httpd is stopped", 3, false},
		{"httpd is stopped", 0, false},
		{"apache2 is not running ... failed!", 3, false},
		{"apache2 is not running", 0, false},
		{"x is running", 3, false},
		{"x is running", 1, true}, // some scripts forget what status they leave
		{"broken: no TOKEN, overrunning", 0, false},
		{"", 0, false},
	} {
		h.write("words", tt.text)
		h.script("s", fmt.Sprintf("cat words; exit %d", tt.exit))
		s := service{script: filepath.Join(h.dir, "s"), name: "s"}
		if got := s.running(t.Context()); got != tt.want {
			t.Errorf("%q with exit status %d: running %v", tt.text, tt.exit, got)
		}
	}
}

// Folders come first, in their order; then units, where systemd runs.
func TestFindService(t *testing.T) {
	first, second := newHouse(t, "both"), newHouse(t, "both", "web")
	first.write("web", "no program")
	bin := newHouse(t)
	bin.script("systemctl", `case "$*" in
"show --property=LoadState unit.service") echo LoadState=loaded;;
show*) echo LoadState=not-found;;
"is-active unit.service") [ -e up ];;
"start unit.service") touch up;;
"stop unit.service") rm up;;
esac
exit`)
	t.Setenv("PATH", bin.dir+":"+os.Getenv("PATH"))
	f := finder{folders: []string{first.dir, second.dir}, systemd: bin.dir}
	find := func(name string, args ...string) string {
		s, err := f.service(t.Context(), config.Resource{Name: name, Args: args})
		if err != nil {
			return strings.NewReplacer(first.dir, "FIRST", second.dir, "SECOND").Replace(err.Error())
		}
		return strings.NewReplacer(first.dir, "FIRST", second.dir, "SECOND").Replace(s.line("start"))
	}
	equal(t, "found", []string{find("both", "a"), find("web"), find("unit"), find("unit", "a"), find("none"), find("../x"), find("-x")},
		"FIRST/both a start", "SECOND/web start", "systemctl start unit.service",
		"there is no executable unit in FIRST or SECOND, and the unit unit.service takes no arguments",
		"there is no executable none in FIRST or SECOND, and no unit none.service",
		`"../x" is no name of a script`, `"-x" is no name of a script`)
	s := service{name: "unit"}
	states := []string{fmt.Sprint(s.running(t.Context())), fmt.Sprint(s.run(t.Context(), "start")), fmt.Sprint(s.running(t.Context())), fmt.Sprint(s.run(t.Context(), "stop")), fmt.Sprint(s.running(t.Context()))}
	equal(t, "a unit", states, "false", "<nil>", "true", "<nil>", "false")
	f.systemd = filepath.Join(bin.dir, "absent")
	equal(t, "without systemd", []string{find("unit")}, "there is no executable unit in FIRST or SECOND")
}
