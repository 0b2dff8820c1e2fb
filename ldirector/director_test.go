package ldirector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// moody is a kernel whose mood a test can change while a Director uses it.
type moody struct {
	*lvstest.Kernel
	mu       sync.Mutex
	refuse   func(lvs.Change) syscall.Errno
	unloaded bool
	tries    int           // changes that were tried
	takes    time.Duration // a look
	looks    int
}

func newMoody(entries ...lvs.Entry) *moody {
	m := &moody{Kernel: lvstest.New(entries...)}
	m.Kernel.Refuse = func(c lvs.Change) syscall.Errno {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.tries++
		switch {
		case m.unloaded:
			return syscall.ENOENT
		case m.refuse != nil:
			return m.refuse(c)
		}
		return 0
	}
	return m
}

func (m *moody) mood(refuse func(lvs.Change) syscall.Errno) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = refuse
}

func (m *moody) State() (lvs.State, error) {
	m.mu.Lock()
	unloaded, takes := m.unloaded, m.takes
	m.looks++
	m.mu.Unlock()
	time.Sleep(takes)
	if unloaded {
		return nil, syscall.ENOENT
	}
	return m.Kernel.State()
}

func (m *moody) Read() (lvs.Table, error) {
	st, err := m.State()
	return st.Table(), err
}

// unload is rmmod ip_vs: the table is gone with it.
func (m *moody) unload() {
	m.Kernel.Do([]lvs.Change{{Op: lvs.Flush}})
	m.mu.Lock()
	m.unloaded = true
	m.mu.Unlock()
}

func (m *moody) reload() {
	m.mu.Lock()
	m.unloaded = false
	m.mu.Unlock()
}

// by is a change made by somebody else.
func (m *moody) by(cs ...lvs.Change) {
	for _, err := range m.Kernel.Do(cs) {
		if err != nil {
			panic(err)
		}
	}
}

func edit(k lvs.Key, d lvs.Destination) lvs.Change {
	return lvs.Change{Op: lvs.EditDestination, Service: lvs.NewService(k, "wrr"), Destination: d}
}

// script makes the checks that a test tells it to.
type script struct {
	mu      sync.Mutex
	specs   []check.Spec
	sets    int
	results chan check.Result
}

func (s *script) Set(specs []check.Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs, s.sets = specs, s.sets+1
}
func (s *script) Results() <-chan check.Result  { return s.results }
func (s *script) History(string) []check.Result { return nil }

// stage is a Director at work, in a bubble of time.
type stage struct {
	t      *testing.T
	k      *moody
	checks *script
	d      *Director
	mu     sync.Mutex
	log    []Event
	saved  Saved
	cancel context.CancelFunc
	ended  chan error
}

func direct(t *testing.T, k *moody, o Options) *stage {
	s := &stage{t: t, k: k, checks: &script{results: make(chan check.Result)}, ended: make(chan error, 1)}
	o.Kernel, o.Checks = k, s.checks
	o.Report = func(e Event) {
		s.mu.Lock()
		s.log = append(s.log, e)
		s.mu.Unlock()
	}
	o.Save = func(saved Saved) { s.saved = saved }
	s.d = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { s.ended <- s.d.Run(ctx) }()
	synctest.Wait()
	return s
}

func (s *stage) results(rs ...check.Result) {
	for _, r := range rs {
		r.When = time.Now()
		s.checks.results <- r
	}
	synctest.Wait()
}

func (s *stage) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) table(want string) {
	s.t.Helper()
	t, _ := s.k.Kernel.Read()
	if got := short(t); got != want {
		s.t.Errorf("table:\n%s\nwant:\n%s\nlog:\n%s", got, want, strings.Join(s.said(), "\n"))
	}
}

// said takes the log so far.
func (s *stage) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, e := range s.log {
		lines = append(lines, e.Text)
	}
	s.log = nil
	return lines
}

func (s *stage) expect(want ...string) {
	s.t.Helper()
	if d := cmp.Diff(want, s.said()); d != "" {
		s.t.Errorf("log (-want +got):\n%s", d)
	}
}

func (s *stage) stop() error {
	s.cancel()
	return <-s.ended
}

func ab() []Virtual { return []Virtual{service(vip, real("a", 1), real("b", 3))} }

func TestTheLogOfADirectorsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ab()[0].with(withFallback).with(quiescent)
		v.Members[1].Checks[0].Fall = 2
		s := direct(t, newMoody(), Options{Virtuals: []Virtual{v}})
		s.table("100:80: a=0 b=0")
		s.expect(
			"Added virtual server: 10.1.0.100:80",
			"Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 0)",
			"Added real server: 10.1.0.12:80 (10.1.0.100:80) (Weight set to 0)",
		)
		s.results(up("a"))
		s.expect(
			"Real servers of 10.1.0.100:80 serve",
			"Real server 10.1.0.11:80 (10.1.0.100:80) is up",
			"Restored real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)",
		)
		s.results(down("b"))
		s.expect(
			"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
			"Inaccessible real server: 10.1.0.12:80 (10.1.0.100:80)",
		)
		s.results(down("a"))
		s.expect(
			"No real server of 10.1.0.100:80 serves: the fallback 127.0.0.1:80 does",
			"Real server 10.1.0.11:80 (10.1.0.100:80) is down: connection refused",
			"Added fallback server: 127.0.0.1:80 (10.1.0.100:80) (Weight set to 1)",
			"Quiescent real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 0)",
		)
		s.results(up("b"))
		s.table("100:80: a=0 b=3")
		s.expect(
			"Real servers of 10.1.0.100:80 serve",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is up",
			"Restored real server: 10.1.0.12:80 (10.1.0.100:80) (Weight set to 3)",
			"Deleted fallback server: 127.0.0.1:80 (10.1.0.100:80)",
		)
		if err := s.d.Load(t.Context(), []Virtual{service(vip, real("b", 3))}); err != nil {
			t.Error(err)
		}
		s.expect(
			"Configuration loaded: 1 virtual servers",
			"Purged real server (start): 10.1.0.11:80 (10.1.0.100:80)",
		)
		s.results(down("b"))
		s.said()
		s.results(up("b"))
		s.results(down("b"))
		s.expect(
			"Real servers of 10.1.0.100:80 serve",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is up",
			"Added real server: 10.1.0.12:80 (10.1.0.100:80) (Weight set to 3)",
			"No real server of 10.1.0.100:80 serves",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
			"Deleted real server: 10.1.0.12:80 (10.1.0.100:80)",
		)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.table("")
		s.expect("Purged virtual server (stop): 10.1.0.100:80")
	})
}

// What mail tells at the end of a director is who served until then.
func TestStopTellsOfEveryServerThatServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: ab()})
		s.results(up("a"), down("b"))
		s.expect(
			"Added virtual server: 10.1.0.100:80",
			"Real servers of 10.1.0.100:80 serve",
			"Real server 10.1.0.11:80 (10.1.0.100:80) is up",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
			"Inaccessible real server: 10.1.0.12:80 (10.1.0.100:80)",
			"Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)",
		)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.expect("Purged real server (stop): 10.1.0.11:80 (10.1.0.100:80)", "Purged virtual server (stop): 10.1.0.100:80")
	})
}

func TestARefusedChangeIsSaidOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		k.mood(func(c lvs.Change) syscall.Errno {
			if c.Op == lvs.AddDestination && nameOf(c.Destination.Addr.String()) == "a" {
				return syscall.ENOMEM
			}
			return 0
		})
		s := direct(t, k, Options{Virtuals: ab()})
		s.results(up("a"), up("b"))
		s.table("100:80: b=3") // b is not held up
		s.wait(time.Hour)
		s.table("100:80: b=3")
		refusals := 0
		for _, line := range s.said() {
			if strings.HasPrefix(line, "The kernel refuses to add destination 10.1.0.11:80 to TCP 10.1.0.100:80: cannot allocate memory") {
				refusals++
			}
		}
		if refusals != 1 {
			t.Errorf("said %d times, want once", refusals)
		}
		if tries := k.tries; tries < 200 || tries > 300 {
			t.Errorf("%d changes tried in an hour, want about one in 15 s", tries)
		}
		snap, _ := s.d.Snapshot(t.Context())
		if len(snap.Refused) != 1 {
			t.Errorf("the snapshot knows %q", snap.Refused)
		}
		k.mood(nil)
		s.wait(lastRetry)
		s.table("100:80: a=1 b=3")
		s.expect("Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)", "The kernel's table is as it should be again")
		s.stop()
	})
}

func TestAnUnknownSchedulerHoldsNobodyElseUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := service(vip2, Member{Destination: dst("a", 1)}).with(func(v *Virtual) { v.Service.Scheduler = "wrrr" })
		s := direct(t, newMoody(), Options{Virtuals: append(ab(), bad)})
		s.wait(time.Minute)
		s.expect(
			"Real servers of 10.1.0.101:80 serve",
			"Real server 10.1.0.11:80 (10.1.0.101:80) is up",
			"Added virtual server: 10.1.0.100:80",
			"The kernel refuses to add service TCP 10.1.0.101:80: no such scheduler or persistence engine; it is tried again",
		)
		s.results(up("b"))
		s.table("100:80: b=3")
		s.said()
		bad.Service.Scheduler = "wlc"
		if err := s.d.Load(t.Context(), append(ab(), bad)); err != nil {
			t.Errorf("the mended configuration is refused: %v", err)
		}
		s.table("100:80: b=3\n101:80: a=1")
		bad.Service.Scheduler = "wrrr"
		if err := s.d.Load(t.Context(), append(ab(), bad)); !errors.Is(err, lvs.ErrNoScheduler) {
			t.Errorf("Load says %v", err)
		}
		s.table("100:80: b=3\n101:80: a=1") // the service is edited, and stays when that fails
		s.stop()
	})
}

func TestTheModuleIsUnloadedUnderUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: append(ab(), service(vip2, real("a", 1)))})
		s.results(up("a"), up("b"))
		s.said()
		k.unload()
		s.wait(time.Minute)
		s.results(down("b"))
		s.expect(
			"The kernel's table cannot be read: no such file or directory; checks go on, and it is tried again",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
		)
		snap, err := s.d.Snapshot(t.Context())
		if err != nil || snap.KernelError == "" || time.Since(snap.Looked) < time.Minute {
			t.Errorf("the snapshot hides that the kernel is out of sight: %+v, %v", snap, err)
		}
		k.reload()
		s.wait(defaultLook)
		s.table("100:80: a=1\n101:80: a=1")
		s.expect(
			"The kernel's table can be read again",
			"All 2 virtual servers were removed by somebody (ipvsadm -C, or the module was loaded again); they are put back",
			"Added virtual server: 10.1.0.100:80",
			"Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)",
			"Added virtual server: 10.1.0.101:80",
			"Added real server: 10.1.0.11:80 (10.1.0.101:80) (Weight set to 1)",
		)
		s.stop()
	})
}

func TestTheModuleIsNotThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		k.unload()
		s := direct(t, k, Options{Virtuals: ab()})
		s.wait(time.Minute)
		if said := s.said(); len(said) != 1 {
			t.Errorf("said %q, want one line", said)
		}
		k.reload()
		s.wait(defaultLook)
		s.results(up("a"))
		s.table("100:80: a=1")
		s.stop()
	})
}

// Somebody's ipvsadm -e is seen at the next look, said once, and kept until the
// server's next transition, as suite scenario tamper-weight has it.
func TestAWeightSetByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: ab()})
		s.results(up("a"), up("b"))
		s.said()
		k.by(edit(vip, dst("b", 0)))
		s.wait(10 * defaultLook)
		s.results(up("a"), up("b"))
		s.table("100:80: a=1 b=0")
		s.expect("Real server 10.1.0.12:80 (10.1.0.100:80) was given weight 0 by somebody, in place of 3; it stays so until its state changes")
		snap, _ := s.d.Snapshot(t.Context())
		if m := snap.Virtuals[0].Members[1]; m.Drift == "" || *m.Kernel != 0 {
			t.Errorf("the snapshot does not know the drift: %+v", m)
		}
		s.results(down("b"))
		s.table("100:80: a=1")
		s.results(up("b"))
		s.table("100:80: a=1 b=3")
		s.stop()
	})
}

// The same, but we act before we have looked: the surprise is not taken for our
// own wish.
func TestASurpriseIsJudgedAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: ab(), Look: time.Hour})
		s.results(up("a"), up("b"))
		k.by(edit(vip, dst("a", 5)), lvs.Change{Op: lvs.DeleteDestination, Service: lvs.NewService(vip, "wrr"), Destination: dst("b", 3)})
		s.results(down("b"))
		s.table("100:80: a=5")
		s.results(up("b"))
		s.table("100:80: a=5 b=3")
		s.stop()
	})
}

// A table that takes long to read is read more rarely; one look that took long, because
// the machine had other things to do, changes nothing.
func TestLooksAreAfforded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		takes := func(d time.Duration) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.takes, k.looks = d, 0
		}
		looks := func(what string, least, most int) {
			t.Helper()
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.looks < least || k.looks > most {
				t.Errorf("%s: %d looks in a minute, want %d to %d", what, k.looks, least, most)
			}
		}
		takes(time.Second)
		s := direct(t, k, Options{Virtuals: ab()})
		s.wait(time.Second)
		takes(10 * time.Millisecond)
		s.wait(time.Minute)
		looks("after a slow start", 28, 32)
		takes(time.Second)
		s.wait(2 * defaultLook)
		takes(10 * time.Millisecond)
		s.wait(time.Minute)
		looks("after a slow moment", 28, 32)
		takes(400 * time.Millisecond)
		s.wait(time.Minute)
		takes(400 * time.Millisecond)
		s.wait(time.Minute)
		looks("a large table", 2, 4)
		s.stop()
	})
}

func TestAnotherClearsTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: ab()})
		s.results(up("a"), up("b"))
		k.by(lvs.Change{Op: lvs.Flush}, lvs.Change{Op: lvs.AddService, Service: lvs.NewService(foreignKey, "rr")})
		s.wait(defaultLook)
		s.table("100:80: a=1 b=3\n200:9000:")
		k.by(lvs.Change{Op: lvs.DeleteDestination, Service: lvs.NewService(vip, "wrr"), Destination: dst("b", 3)})
		s.wait(defaultLook)
		s.table("100:80: a=1 b=3\n200:9000:")
		s.stop()
		s.table("200:9000:")
	})
}

func TestTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := make(chan []string)
		vs := ab()
		vs[0].Gates = []string{"VI_1"}
		k := newMoody(held(dst("a", 1))[0])
		s := direct(t, k, Options{Virtuals: vs, Gates: gates})
		s.results(up("a"), up("b"))
		s.wait(time.Minute)
		s.table("100:80: a=1") // nobody has said whose turn it is
		s.said()
		gates <- nil
		synctest.Wait()
		s.table("")
		s.results(down("b"))
		s.wait(time.Minute)
		s.table("")
		gates <- []string{"VI_1"}
		synctest.Wait()
		s.table("100:80: a=1")
		gates <- []string{"VI_1"}
		synctest.Wait()
		close(gates)
		s.results(up("b"))
		s.table("100:80: a=1 b=3")
		s.expect(
			"Another director serves: the services leave this one",
			"Purged virtual server (start): 10.1.0.100:80",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
			"This director serves",
			"Added virtual server: 10.1.0.100:80",
			"Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)",
			"Real server 10.1.0.12:80 (10.1.0.100:80) is up",
			"Added real server: 10.1.0.12:80 (10.1.0.100:80) (Weight set to 3)",
		)
		s.stop()
	})
}

func TestStopLeavesWhatHasNoCleanStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody(lvs.Entry{Service: lvs.NewService(foreignKey, "rr")})
		keep := service(vip2, Member{Destination: dst("c", 1)}).with(func(v *Virtual) { v.Policy.CleanStop = false })
		s := direct(t, k, Options{Virtuals: append(ab(), keep)})
		s.results(up("a"))
		refused := false
		k.mood(func(lvs.Change) syscall.Errno { // the first try fails
			if refused {
				return 0
			}
			refused = true
			return syscall.ENOBUFS
		})
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.table("101:80: c=1\n200:9000:")
		if err := s.d.Load(t.Context(), nil); !errors.Is(err, ErrNotRunning) {
			t.Errorf("Load of a stopped director: %v", err)
		}
	})
}

// After kill -9 the next process finds the table, and takes nothing away from
// anybody while it learns the rest.
func TestARestartTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		vs := []Virtual{service(vip, real("a", 1), real("b", 3), real("c", 2)).with(withFallback)}
		first := direct(t, k, Options{Virtuals: vs})
		first.results(up("a"), up("b"), down("c"))
		if err := first.d.Drain(t.Context(), Selector{Server: "10.1.0.12"}, 0); err != nil {
			t.Fatal(err)
		}
		first.table("100:80: a=1 b=0")
		k.mood(func(lvs.Change) syscall.Errno { return syscall.EPERM }) // it is dead: its last wishes do not count
		first.stop()
		k.mood(nil)
		k.Taken()

		s := direct(t, k, Options{Virtuals: vs, Saved: first.saved})
		s.results(soft("a", 1))
		s.wait(time.Minute)
		if cs := k.Taken(); len(cs) > 0 {
			t.Errorf("the restart changed the table: %v", cs)
		}
		s.results(up("a"), up("b"), down("c"))
		s.table("100:80: a=1 b=0")
		if err := s.d.Undrain(t.Context(), Selector{Server: "10.1.0.12:80"}); err != nil {
			t.Fatal(err)
		}
		s.table("100:80: a=1 b=3")
		if len(s.saved.Drains) != 0 {
			t.Errorf("still saved: %+v", s.saved)
		}
		s.stop()
	})
}

func TestDrainShowsItsConnectionsAndItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		vs := ab()
		vs[0].Service.Flags, vs[0].Service.Timeout = lvs.Persistent, 300
		s := direct(t, k, Options{Virtuals: vs})
		s.results(up("a"), up("b"))
		k.CountDestination(vip, lvs.DestinationState{Destination: dst("b", 0), Active: 2, Persistent: 1})
		s.said()
		if err := s.d.Drain(t.Context(), Selector{Server: "10.1.0.12"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		s.wait(time.Minute)
		snap, _ := s.d.Snapshot(t.Context())
		if c := snap.Virtuals[0].Members[1].Connections; c == nil || *c != (Connections{Active: 2, Persistent: 1}) {
			t.Errorf("connections %+v", c)
		}
		k.CountDestination(vip, lvs.DestinationState{Destination: dst("b", 0)})
		s.wait(defaultLook)
		s.wait(time.Hour)
		s.table("100:80: a=1")
		s.expect(
			"Draining real server: 10.1.0.12:80 (10.1.0.100:80), to be removed after 1h0m0s; the service is persistent: known clients keep coming back until their template expires, unless net.ipv4.vs.expire_quiescent_template is 1",
			"Quiescent real server: 10.1.0.12:80 (10.1.0.100:80) (Weight set to 0)",
			"Drained real server: 10.1.0.12:80 (10.1.0.100:80): no connection is left",
			"Deleted real server: 10.1.0.12:80 (10.1.0.100:80)",
		)
		if err := s.d.Drain(t.Context(), Selector{Server: "10.9.9.9"}, 0); err == nil {
			t.Error("a server that is not configured can be drained")
		}
		s.stop()
	})
}

func TestReloadsTouchNothingThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		s := direct(t, k, Options{Virtuals: ab()})
		s.results(up("a"), up("b"))
		k.Taken()
		for i := range 300 {
			other := service(vip2, real("c", uint32(i)))
			if err := s.d.Load(t.Context(), append(ab(), other)); err != nil {
				t.Fatal(err)
			}
			if i%7 == 0 {
				s.results(up("c"))
			}
		}
		for _, c := range k.Taken() {
			if c.Service.Key == vip {
				t.Errorf("an unchanged service: %v", c)
			}
		}
		s.table("100:80: a=1 b=3\n101:80: c=299")
		s.stop()
	})
}

// Everything at once: results, reloads, foreign hands and a kernel that refuses
// at random. When the storm is over, the table is right.
func TestAfterAStormTheTableIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(30) {
			w := newWorld(seed, RepairAll)
			k := newMoody()
			s := direct(t, k, Options{Virtuals: ab(), Repair: RepairAll})
			moods := rand.New(rand.NewPCG(seed, 11))
			k.mood(func(lvs.Change) syscall.Errno {
				return pickOne(moods, 0, 0, 0, syscall.ENOBUFS, syscall.EINTR, syscall.ENOMEM)
			})
			for range 60 {
				switch w.r.IntN(4) {
				case 0:
					s.d.Load(t.Context(), append(ab(), service(vip2, real("c", uint32(w.r.IntN(5))))))
				case 1:
					k.Kernel.Do([]lvs.Change{w.tamper()})
				default:
					id := pickOne(w.r, "a", "b", "c")
					s.results(pickOne(w.r, up(id), down(id), ours(id)))
				}
				s.wait(time.Duration(w.r.IntN(1000)) * time.Millisecond)
			}
			k.mood(nil)
			if err := s.d.Load(t.Context(), ab()); err != nil && !strings.Contains(err.Error(), "no buffer") {
				t.Logf("seed %d: %v", seed, err)
			}
			s.results(up("a"), up("b"))
			s.wait(lastRetry + defaultLook)
			table, _ := k.Kernel.Read()
			table = slices.DeleteFunc(table, func(e lvs.Entry) bool { return e.Key == foreignKey })
			if got := short(table); got != "100:80: a=1 b=3" {
				t.Fatalf("seed %d:\n%s\nlog:\n%s", seed, got, strings.Join(s.said(), "\n"))
			}
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestSnapshotSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newMoody()
		v := service(vip, real("a", 1), real("b", 3), real("c", 2), Member{Destination: dst("f", 1), Off: true}).with(withFallback)
		v.Members[0].Checks[0].Fall = 3
		s := direct(t, k, Options{Virtuals: []Virtual{v}})
		s.results(up("a"), soft("a", 2), down("b"))
		s.d.Maintain(t.Context(), Maintenance{Files: []string{"10.1.0.13"}})
		k.by(lvs.Change{Op: lvs.AddDestination, Service: lvs.NewService(vip, "wrr"), Destination: lvs.Destination{Addr: vip.Addr, Weight: 1}})
		s.wait(time.Second)
		snap, err := s.d.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		vs := snap.Virtuals[0]
		for _, m := range slices.Concat(vs.Members, vs.Strangers) {
			got = append(got, fmt.Sprintf("%s %v: %s", nameOf(m.Server), m.Standing, m.Reason))
		}
		want := []string{
			"a serving: failed 2 times in a row, 3 take it out: connection refused",
			"b failed: connection refused",
			"c maintenance: maintenance file 10.1.0.13",
			"f off: switched off by checktype=off",
			"10.1.0.100:80 unchecked: not configured; it goes with the next reload",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		if vs.State != "serving" || vs.Strength != 1 || !vs.InKernel || snap.Phase != Starting {
			t.Errorf("%+v", vs)
		}
		s.stop()
	})
}
