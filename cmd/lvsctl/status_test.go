package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// told are checks whose results a test tells.
type told struct {
	mu      sync.Mutex
	results chan check.Result
	history map[string][]check.Result
}

func (c *told) Set([]check.Spec)             {}
func (c *told) Results() <-chan check.Result { return c.results }

func (c *told) History(id string) []check.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history[id]
}

func (c *told) tell(r check.Result) {
	r.When, r.Took = time.Now(), 1500*time.Microsecond
	c.mu.Lock()
	c.history[r.ID] = append(c.history[r.ID], r)
	c.mu.Unlock()
	c.results <- r
	synctest.Wait()
}

func (c *told) up(id string) { c.tell(check.Result{ID: id, Health: check.Up, Wins: 1}) }
func (c *told) down(id string) {
	c.fails(id, check.Down, 1, errors.New("HTTP 503 from "+id+", wanted 2xx"))
}

func (c *told) fails(id string, h check.Health, n int, err error) {
	c.tell(check.Result{ID: id, Health: h, Fails: n, Outcome: check.Outcome{Err: err}})
}

// scene is a director on a kernel of its own, in a bubble of time.
type scene struct {
	*told
	kernel   *lvstest.Kernel
	director *ldirector.Director
	line     int
}

// server is a member with one check whose ID is its address.
func (s *scene) server(addr string, weight uint32, change ...func(*ldirector.Member)) ldirector.Member {
	s.line++
	m := ldirector.Member{
		Destination: lvs.Destination{Addr: netip.MustParseAddrPort(addr), Method: lvs.Masq, Weight: weight},
		Name:        addr, Checks: []check.Spec{{ID: addr, Fall: 3}}, Source: ldirector.Source{File: "/etc/ha.d/web.cf", Line: s.line},
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

func (s *scene) service(addr string, members ...ldirector.Member) ldirector.Virtual {
	key := lvs.At(lvs.TCP, netip.MustParseAddrPort(addr))
	return ldirector.Virtual{
		Service: lvs.NewService(key, "wrr"), Members: members, Policy: ldirector.Policy{CleanStop: true},
		Source: ldirector.Source{File: "/etc/ha.d/web.cf", Line: members[0].Source.Line - 1},
	}
}

func off(m *ldirector.Member)       { m.Off = true }
func unchecked(m *ldirector.Member) { m.Checks = nil }

// inKernel is what stood in the table before the director came.
func inKernel(addr string, ds ...lvs.Destination) lvs.Entry {
	return lvs.Entry{Service: lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort(addr)), "wrr"), Destinations: ds}
}

func (s *scene) by(op lvs.Op, service, server string, weight uint32) {
	c := lvs.Change{Op: op, Service: inKernel(service).Service}
	if server != "" {
		c.Destination = lvs.Destination{Addr: netip.MustParseAddrPort(server), Method: lvs.Masq, Weight: weight}
	}
	for _, err := range s.kernel.Do([]lvs.Change{c}) {
		if err != nil {
			panic(err)
		}
	}
}

// play sets up every standing that there is, each with every reason for it.
func (s *scene) play(t *testing.T) statusAnswer {
	s.told = &told{results: make(chan check.Result), history: map[string][]check.Result{}}
	found := func(addr string, weight uint32) lvs.Destination {
		return lvs.Destination{Addr: netip.MustParseAddrPort(addr), Method: lvs.Masq, Weight: weight}
	}
	s.kernel = lvstest.New(inKernel("10.1.0.1:80", found("10.2.0.4:80", 1), found("10.2.0.5:80", 0)))
	refused := ""
	s.kernel.Refuse = func(c lvs.Change) syscall.Errno {
		if c.Op == lvs.AddDestination && c.Destination.Addr.String() == refused {
			return syscall.ENOMEM
		}
		return 0
	}
	s.line = 10
	waits := s.service("10.1.0.1:80", // nothing is decided here
		s.server("10.2.0.1:80", 1), s.server("10.2.0.2:80", 1), s.server("10.2.0.3:80", 1), s.server("10.2.0.4:80", 1), s.server("10.2.0.5:80", 1))
	s.line = 20
	serves := s.service("10.1.0.2:80",
		s.server("10.2.1.1:80", 1), s.server("10.2.1.2:80", 1), s.server("10.2.1.3:80", 1), s.server("10.2.1.4:80", 1, unchecked),
		s.server("10.2.1.5:80", 5), s.server("10.2.1.6:80", 0), s.server("10.2.1.7:80", 2), s.server("10.2.1.8:80", 2), s.server("10.2.1.9:80", 2))
	serves.Name, serves.Comment = "Shop", "ask Ann"
	serves.Service.Flags, serves.Service.Timeout = serves.Service.Flags|lvs.Persistent, 600
	fallback := found("127.0.0.1:80", 1)
	serves.Fallback = &fallback
	s.line = 40
	out := s.service("10.1.0.3:80",
		s.server("10.2.2.1:80", 1), s.server("10.2.2.2:80", 1), s.server("10.2.2.3:80", 1), s.server("10.2.2.4:80", 1), s.server("10.2.2.5:80", 1, off),
		s.server("10.2.2.6:80", 1), s.server("10.2.2.7:80", 1), s.server("10.2.2.8:80", 1))
	out.Policy.Quiescent, out.Fallback = true, &fallback
	s.line = 60
	few := s.service("10.1.0.4:80", s.server("10.2.3.1:80", 1), s.server("10.2.3.2:80", 1))
	few.Policy.Quorum, few.Fallback = 2, &fallback
	s.line = 70
	gone := s.service("10.1.0.5:80", s.server("10.2.4.1:80", 1))
	gone.Service.Scheduler = "wrrr"

	s.director = ldirector.New(ldirector.Options{Kernel: s.kernel, Checks: s.told, Virtuals: []ldirector.Virtual{waits, serves, out, few, gone}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.director.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	synctest.Wait()

	s.tell(check.Result{ID: "10.2.0.2:80", Local: true, Outcome: check.Outcome{Err: errors.New("too many open files")}})
	for _, id := range []string{"10.2.1.1:80", "10.2.1.2:80", "10.2.1.3:80", "10.2.1.6:80", "10.2.1.7:80", "10.2.1.8:80", "10.2.3.1:80", "10.2.4.1:80"} {
		s.up(id)
	}
	refused = "10.2.1.9:80"
	s.up("10.2.1.9:80")
	s.fails("10.2.1.2:80", check.Up, 2, errors.New("no answer from 10.2.1.2:80 within 5 s"))
	s.tell(check.Result{ID: "10.2.1.3:80", Health: check.Up, Local: true, Outcome: check.Outcome{Err: errors.New("too many open files")}})
	s.tell(check.Result{ID: "10.2.1.5:80", Health: check.Up, Wins: 1, Outcome: check.Outcome{Weight: 3, Weighted: true}})
	for _, id := range []string{"10.2.2.1:80", "10.2.2.2:80", "10.2.2.6:80"} {
		s.down(id)
	}
	s.down("10.2.3.2:80")
	for _, id := range []string{"10.2.2.3:80", "10.2.2.4:80", "10.2.2.7:80", "10.2.2.8:80"} {
		s.up(id)
	}
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	must(s.director.Drain(ctx, ldirector.Selector{Server: "10.2.2.3"}, 0))
	must(s.director.Drain(ctx, ldirector.Selector{Server: "10.2.2.4"}, time.Minute))
	must(s.director.Drain(ctx, ldirector.Selector{Server: "10.2.2.6"}, 0))
	must(s.director.Drain(ctx, ldirector.Selector{Server: "10.2.2.8"}, time.Hour))
	must(s.director.Maintain(ctx, ldirector.Maintenance{Files: []string{"10.2.2.2", "10.2.2.7:80"}}))
	time.Sleep(90 * time.Second)
	s.by(lvs.EditDestination, "10.1.0.2:80", "10.2.1.7:80", 9)
	s.by(lvs.AddDestination, "10.1.0.2:80", "10.2.9.9:80", 1)
	time.Sleep(5 * time.Second)
	snap, err := s.director.Snapshot(ctx)
	must(err)
	return statusAnswer{Version: 1, Daemon: "ldirectord", Name: "web.cf", File: "/etc/ha.d/web.cf", PID: 4711, Snapshot: snap,
		Refused: &refusedFile{When: time.Now(), File: "/etc/ha.d/web.cf", Problems: []fileProblem{
			{"/etc/ha.d/web.cf", 12, "error", "unknown directive: frobnicate", "did you mean fallback?"}}}}
}

// From what status, status --verbose, why and --json say of any server one can
// read why it is where it is.
func TestStatusOfEveryStanding(t *testing.T) {
	defer func(was *time.Location) { time.Local = was }(time.Local)
	time.Local = time.UTC
	synctest.Test(t, func(t *testing.T) {
		var s scene
		st := s.play(t)
		seen := map[ldirector.Standing]bool{}
		var all []found
		for _, v := range st.Virtuals {
			for _, m := range v.Members {
				seen[m.Standing] = true
				all = append(all, found{Virtual: v.Service, MemberStatus: m})
				if m.Reason == "" || m.Reason == m.Standing.String() {
					t.Errorf("%s in %s has the reason %q", m.Server, v.Service, m.Reason)
				}
			}
		}
		for standing := ldirector.Unchecked; standing <= ldirector.Off; standing++ {
			if !seen[standing] {
				t.Errorf("no server is %v", standing)
			}
		}
		golden(t, "status.txt", printStatus(st))
		golden(t, "verbose.txt", printStatusVerbose(st))
		golden(t, "why.txt", func(w io.Writer) { printWhy(w, all) })
		golden(t, "status.json", func(w io.Writer) {
			e := json.NewEncoder(w)
			e.SetIndent("", " ")
			if err := e.Encode(st); err != nil {
				t.Error(err)
			}
		})
		lost := statusAnswer{Name: "web.cf", File: "/etc/ha.d/web.cf", PID: 4711, Snapshot: st.Snapshot}
		lost.KernelError, lost.Virtuals = "read the services: no such file or directory", nil
		golden(t, "lost.txt", printStatusVerbose(lost))
	})
}

// Who has no table yet does not say that another director has the services.
func TestStatusWithoutATable(t *testing.T) {
	for why, want := range map[string]string{"": "", "no module": "the virtual services wait for the kernel: no module\n"} {
		var b strings.Builder
		printHead(&b, statusAnswer{Daemon: "lvsctl", Name: "lvsctl", PID: 7, Snapshot: ldirector.Snapshot{Phase: ldirector.Running, Open: true, KernelError: why}})
		if got := strings.TrimPrefix(b.String(), "lvsctl lvsctl is running with pid: 7 (running)\n"); got != want {
			t.Errorf("without a table (%q): %q, want %q", why, got, want)
		}
	}
}

// Of two groups one is the other director's: that is said where it is so.
func TestStatusOfAnothersServices(t *testing.T) {
	mine := ldirector.VirtualStatus{Service: "TCP 10.1.0.1:80", Scheduler: "rr", InKernel: true, Open: true, Follows: []string{"node1"}}
	theirs := ldirector.VirtualStatus{Service: "TCP 10.1.0.2:80", Scheduler: "rr", Follows: []string{"node2", "node3"}}
	head := "lvsctl lvsctl is running with pid: 7 (running)\n"
	lines := map[string]string{
		mine.Service:   "\nTCP 10.1.0.1:80: 0 of 0 servers serve, scheduler rr\n",
		theirs.Service: "\nTCP 10.1.0.2:80: 0 of 0 servers serve, scheduler rr, not in the kernel: another director serves node2 or node3\n",
	}
	for _, tt := range []struct {
		open bool
		vs   []ldirector.VirtualStatus
		want string
	}{
		{true, []ldirector.VirtualStatus{mine, theirs}, head + lines[mine.Service] + lines[theirs.Service]},
		{false, []ldirector.VirtualStatus{theirs}, head + "another director serves: the services are not in this one's kernel\n" + lines[theirs.Service]},
	} {
		var b strings.Builder
		printStatus(statusAnswer{Daemon: "lvsctl", Name: "lvsctl", PID: 7, Snapshot: ldirector.Snapshot{Phase: ldirector.Running, Open: tt.open, Virtuals: tt.vs}})(&b)
		if b.String() != tt.want {
			t.Errorf("got\n%swant\n%s", b.String(), tt.want)
		}
	}
}

func golden(t *testing.T, name string, print func(io.Writer)) {
	t.Helper()
	var b bytes.Buffer
	print(&b)
	path := "testdata/status/" + name
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", name, d)
	}
}
