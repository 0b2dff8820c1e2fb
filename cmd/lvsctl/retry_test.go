package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// nameServer knows web, while it is there.
type nameServer struct {
	mu    sync.Mutex
	away  bool
	asked []time.Duration // since it was made
	made  time.Time
}

func (n *nameServer) Addr(host string, _ lvs.Family) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, time.Since(n.made))
	if n.away || host != "web" {
		return netip.Addr{}, errors.New("server misbehaving")
	}
	return netip.MustParseAddr("10.0.0.7"), nil
}

func (n *nameServer) Port(string, string) (uint16, error) { return 0, errors.New("no such service") }

// goes takes it away or brings it back, and forgets who has asked.
func (n *nameServer) goes(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away, n.asked = away, nil
}

// tried is when it was asked, in seconds since it was made.
func (n *nameServer) tried() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, d := range n.asked {
		all = append(all, strconv.Itoa(int(d.Seconds())))
	}
	return strings.Join(all, " ")
}

// reloading is an ldirectord that runs in a bubble, with its own kernel and log.
type reloading struct {
	*ldDaemon
	kernel *lvstest.Kernel
	names  *nameServer
	said   *keptLines
	news   chan daemon.Content
}

const byName = "virtual=10.0.0.1:80\n\tchecktype=on\n\treal=web:80 gate\n"

func startReloading(t *testing.T) *reloading {
	c := &ldCommand{prog: "ldirectord", path: "web.cf", name: "web.cf", debug: true}
	src := []byte("autoreload=yes\nvirtual=10.0.0.1:80\n\tchecktype=on\n\treal=10.0.0.2:80 gate\n")
	file, problems := dialect.Parse(c.path, src, dialect.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := &reloading{kernel: lvstest.New(), names: &nameServer{made: time.Now()}, said: &keptLines{}, news: make(chan daemon.Content)}
	d, err := c.assemble("web.cf", &loaded{src, file}, r.kernel, check.Host{})
	if err != nil {
		t.Fatal(err)
	}
	r.ldDaemon, d.log = d, daemon.NewLog(r.said, nil)
	d.reloads.news = r.news
	d.reloads.options = func(context.Context) dialect.Options { return dialect.Options{Resolver: r.names} }
	for _, run := range []func(context.Context) error{d.log.Run, d.director.Run, d.reloads.Run} {
		go func() {
			if err := run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	if _, err := d.director.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// change is another content of the file.
func (r *reloading) change(text string) {
	r.news <- daemon.Content{Data: []byte(text)}
	synctest.Wait()
}

func (r *reloading) servers(t *testing.T) string {
	table, err := r.kernel.Read()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range table {
		for _, d := range e.Destinations {
			all = append(all, d.Addr.String())
		}
	}
	return strings.Join(all, " ")
}

// A file whose names nobody can look up just then is tried again until somebody can,
// ever more seldom, and what is said of it is said once.
func TestReloadWaitsForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startReloading(t)
		r.names.goes(true)
		r.change(byName)
		refused := r.reloads.refused.Load()
		if refused == nil || !refused.TriedAgain || r.servers(t) != "10.0.0.2:80" {
			t.Fatalf("refused: %+v, servers %s", refused, r.servers(t))
		}
		time.Sleep(4*time.Minute - time.Second)
		synctest.Wait()
		if got, want := r.names.tried(), "0 5 15 35 75 135 195"; got != want {
			t.Errorf("tried at %s, want %s", got, want)
		}
		if again := r.reloads.refused.Load(); again == nil || !again.TriedAgain || !again.When.Equal(refused.When) {
			t.Errorf("refused after some attempts: %+v", again)
		}
		r.names.goes(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.servers(t); got != "10.0.0.7:80" {
			t.Errorf("servers: %s", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, want := r.names.tried(), "255"; got != want || r.reloads.refused.Load() != nil {
			t.Errorf("tried at %s, want %s; refused %v", got, want, r.reloads.refused.Load())
		}
		counts := map[string]int{}
		for _, line := range r.said.lines {
			counts[line]++
		}
		for _, line := range []string{waiting, "Configuration file 'web.cf' is not taken; the configuration in force stays",
			"Configuration file 'web.cf' can be made sense of now - reread new configuration"} {
			if counts[line] != 1 {
				t.Errorf("said %d times: %s\n%q", counts[line], line, r.said.lines)
			}
		}
	})
}

// What waits is forgotten once the file has another content, taken or not.
func TestReloadThatWaitsEndsWithTheFile(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a good one": {"autoreload=yes\nvirtual=10.0.0.1:80\n\tchecktype=on\n\treal=10.0.0.3:80 gate\n", "10.0.0.3:80"},
		"a bad one":  {byName + "\tfrobnicate=yes\n", "10.0.0.2:80"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startReloading(t)
				r.names.goes(true)
				r.change(byName)
				r.change(tt.text)
				if refused := r.reloads.refused.Load(); refused != nil && refused.TriedAgain {
					t.Errorf("still waits: %+v", refused)
				}
				r.names.goes(false)
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := r.servers(t); got != tt.want || r.names.tried() != "" {
					t.Errorf("servers: %s, want %s; tried at %s", got, tt.want, r.names.tried())
				}
			})
		})
	}
}

// siteReadings is a site daemon whose files are what a test says.
type siteReadings struct {
	*siteDaemon
	said *keptLines

	// With the lock of the daemon.
	next        reading // what a reload finds
	reads, puts int
}

func startSite(t *testing.T) *siteReadings {
	r := &siteReadings{said: &keptLines{}}
	r.siteDaemon = &siteDaemon{kind: "lvsctl", file: "web.cf", waits: make(chan bool, 1), log: daemon.NewLog(r.said, nil),
		reload: func() reading { r.reads++; return r.next }, put: func(config.Site) error { r.puts++; return nil }}
	for _, run := range []func(context.Context) error{r.log.Run, r.tries} {
		go func() {
			if err := run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	return r
}

// finds is what reloads find from now on.
func (r *siteReadings) finds(next reading) {
	r.busy.Lock()
	defer r.busy.Unlock()
	r.next = next
}

// after lets time pass, and tells how often the files were read and taken in it.
func (r *siteReadings) after(d time.Duration) (reads, puts int) {
	r.busy.Lock()
	r.reads, r.puts = 0, 0
	r.busy.Unlock()
	time.Sleep(d)
	synctest.Wait()
	r.busy.Lock()
	defer r.busy.Unlock()
	return r.reads, r.puts
}

func TestSiteWaitsForNames(t *testing.T) {
	lost := reading{problems: []config.Problem{{File: "web.cf", Line: 3, Severity: config.Error, Text: "real=web: server misbehaving"}}, waits: true}
	wrong := reading{problems: []config.Problem{{File: "web.cf", Line: 3, Severity: config.Error, Text: "frobnicate: no such word"}}}
	for name, tt := range map[string]struct {
		then    reading
		puts    int
		refused bool
		said    string
	}{
		"until it can be read": {then: reading{}, puts: 1, said: "Reload complete"},
		"until it is wrong":    {then: wrong, refused: true, said: "the file has errors: the configuration in force stays"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startSite(t)
				r.finds(lost)
				if a := r.readAgain(); a.Taken || !a.TriedAgain {
					t.Errorf("the answer is %+v", a)
				}
				if reads, puts := r.after(4 * time.Minute); reads != 6 || puts != 0 {
					t.Errorf("%d attempts in four minutes, %d were taken", reads, puts)
				}
				synctest.Wait()
				want := []string{"Reloading ...", "web.cf:3: error: real=web: server misbehaving", "the file has errors: the configuration in force stays", waiting}
				if !slices.Equal(r.said.lines, want) {
					t.Errorf("said\n%q, want\n%q", r.said.lines, want)
				}
				r.finds(tt.then)
				if reads, puts := r.after(time.Hour); reads != 1 || puts != tt.puts {
					t.Errorf("then %d attempts, %d taken", reads, puts)
				}
				if got := r.refused.Load(); (got != nil) != tt.refused || got != nil && got.TriedAgain {
					t.Errorf("refused: %+v", got)
				}
				if last := r.said.lines[len(r.said.lines)-1]; last != tt.said {
					t.Errorf("at the end it says %q", last)
				}
			})
		})
	}
}

// Somebody who asks in between is answered, and ends the waiting.
func TestSiteThatWaitsIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSite(t)
		r.finds(reading{problems: []config.Problem{{Severity: config.Error}}, waits: true})
		r.readAgain()
		r.after(3 * time.Minute)
		r.readAgain() // which begins with short pauses again
		if reads, _ := r.after(16 * time.Second); reads != 2 {
			t.Errorf("%d attempts in 16 seconds", reads)
		}
		r.finds(reading{})
		if a := r.readAgain(); !a.Taken || a.TriedAgain || r.refused.Load() != nil {
			t.Errorf("the answer is %+v, refused %+v", a, r.refused.Load())
		}
		if reads, _ := r.after(time.Hour); reads != 0 {
			t.Errorf("%d attempts after it was taken", reads)
		}
	})
}

// Status and reload tell it.
func TestWaitingIsTold(t *testing.T) {
	var status, answer, problems strings.Builder
	p := []fileProblem{{File: "web.cf", Line: 3, Severity: "error", Text: "real=web: server misbehaving"}}
	printHead(&status, statusAnswer{Name: "web.cf", Refused: &refusedFile{File: "web.cf", Problems: p, TriedAgain: true}, Snapshot: ldirector.Snapshot{Open: true}})
	printReload(&answer, &problems, reloadAnswer{Problems: p, TriedAgain: true})
	for what, got := range map[string]string{"status": status.String(), "reload": answer.String()} {
		if !strings.Contains(got, waiting) {
			t.Errorf("%s says %q", what, got)
		}
	}
}
