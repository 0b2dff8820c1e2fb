package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a probe whose server is a function. Its Name makes it plain data.
type fake struct {
	Name string
	lab  *fakeLab
}

// fakeLab is what all fakes of a test have in common: what they answer, and what
// was seen of them.
type fakeLab struct {
	lock    sync.Mutex
	lasts   func(name string) time.Duration
	verdict func(name string) error
	starts  map[string][]time.Time
	busy    map[string]int
	most    int
	now     int
	overlap bool
}

func newFakeLab() *fakeLab {
	return &fakeLab{
		lasts:   func(string) time.Duration { return time.Millisecond },
		verdict: func(string) error { return nil },
		starts:  map[string][]time.Time{}, busy: map[string]int{},
	}
}

func (l *fakeLab) set(f func()) {
	l.lock.Lock()
	defer l.lock.Unlock()
	f()
}

func (f fake) Check(ctx context.Context, _ Net) error {
	l := f.lab
	l.lock.Lock()
	l.starts[f.Name] = append(l.starts[f.Name], time.Now())
	l.busy[f.Name]++
	l.overlap = l.overlap || l.busy[f.Name] > 1
	l.now++
	l.most = max(l.most, l.now)
	d := l.lasts(f.Name)
	l.lock.Unlock()
	defer l.set(func() { l.busy[f.Name]--; l.now-- })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.verdict(f.Name)
}

// bench is a running Runner, ended with its test.
type bench struct {
	*Runner
	*fakeLab
	stop func()
}

func startBench(o Options) *bench {
	b := &bench{fakeLab: newFakeLab()}
	b.Runner = NewRunner(nil, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	b.stop = func() { cancel(); <-done }
	return b
}

func (b *bench) spec(id string, every time.Duration) Spec {
	return Spec{ID: id, Probe: fake{id, b.fakeLab}, Interval: every, Timeout: 3 * time.Second}
}

func (b *bench) drain() (all []Result) {
	synctest.Wait()
	for {
		select {
		case r, ok := <-b.Results():
			if !ok {
				return all
			}
			all = append(all, r)
			synctest.Wait()
		default:
			return all
		}
	}
}

// TestRhythm holds the promise of the interval: of thousands of checks, every
// one starts every second within a tenth, none overlaps itself, no more than
// about twenty start at once, and the first round is over within one interval.
func TestRhythm(t *testing.T) {
	for _, n := range []int{1, 1000, 4000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := startBench(Options{})
				defer b.stop()
				go func() {
					for range b.Results() {
					}
				}()
				begin := time.Now()
				specs := make([]Spec, n)
				for i := range specs {
					specs[i] = b.spec(fmt.Sprint(i), time.Second)
				}
				b.Set(specs)
				time.Sleep(10 * time.Second)
				b.lock.Lock()
				defer b.lock.Unlock()
				perTick := map[int64]int{}
				for id, starts := range b.starts {
					if d := starts[0].Sub(begin); d > 200*time.Millisecond {
						t.Fatalf("first check of %s after %v", id, d)
					}
					if len(starts) < 10 || len(starts) > 11 {
						t.Fatalf("%s: %d checks in 10 s", id, len(starts))
					}
					for i := 2; i < len(starts); i++ {
						if d := starts[i].Sub(starts[i-1]); d < 900*time.Millisecond || d > 1100*time.Millisecond {
							t.Fatalf("%s: %v between two checks", id, d)
						}
					}
					for _, s := range starts[1:] {
						perTick[s.Sub(begin).Milliseconds()/10]++
					}
				}
				if b.overlap {
					t.Error("a check overlapped itself")
				}
				for tick, c := range perTick {
					if most := max(2*n/100, 25); c > most {
						t.Errorf("%d starts within 10 ms at %d ms, want no more than %d", c, tick*10, most)
					}
				}
			})
		})
	}
}

// TestHalfHanging is the case the peer fails at: half of the servers silent, the
// others keep their rhythm and the silent ones are found within interval + timeout.
func TestHalfHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		b := startBench(Options{})
		defer b.stop()
		var hang atomic.Bool
		b.lasts = func(id string) time.Duration {
			if hang.Load() && id[0] == 'h' {
				return time.Hour
			}
			return 5 * time.Millisecond
		}
		specs := make([]Spec, n)
		for i := range specs {
			specs[i] = b.spec(fmt.Sprintf("%c%d", "hg"[i%2], i), time.Second)
		}
		down := map[string]time.Time{}
		go func() {
			for r := range b.Results() {
				if r.Changed && r.Health == Down {
					b.set(func() { down[r.ID] = time.Now() })
				}
			}
		}()
		b.Set(specs)
		time.Sleep(5 * time.Second)
		hang.Store(true)
		hung := time.Now()
		time.Sleep(6 * time.Second)
		b.lock.Lock()
		defer b.lock.Unlock()
		if len(down) != n/2 {
			t.Fatalf("%d down, want %d", len(down), n/2)
		}
		for id, when := range down {
			if d := when.Sub(hung); d > 4200*time.Millisecond {
				t.Errorf("%s found after %v", id, d)
			}
		}
		for id, starts := range b.starts {
			for i := 2; id[0] == 'g' && i < len(starts); i++ {
				if d := starts[i].Sub(starts[i-1]); d > 1100*time.Millisecond {
					t.Fatalf("%s: %v between two checks while others hang", id, d)
				}
			}
		}
		if b.overlap {
			t.Error("a check overlapped itself")
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{MaxRunning: 50, MaxFresh: 10})
		defer b.stop()
		go func() {
			for range b.Results() {
			}
		}()
		b.lasts = func(string) time.Duration { return time.Hour }
		var specs []Spec
		for i := range 500 {
			specs = append(specs, b.spec(fmt.Sprint(i), time.Second))
		}
		b.Set(specs)
		time.Sleep(time.Millisecond)
		b.set(func() {
			if b.most != 10 {
				t.Errorf("%d fresh checks at once, want 10", b.most)
			}
		})
		time.Sleep(time.Minute)
		b.lock.Lock()
		defer b.lock.Unlock()
		if b.most != 50 {
			t.Errorf("%d checks at once, want 50", b.most)
		}
		// 500 checks of 3 s in 50 places: each has its turn every 30 s.
		for id, s := range b.starts {
			if len(s) < 2 {
				t.Errorf("%s was checked %d times: the queue is not fair", id, len(s))
			}
		}
		if len(b.starts) != 500 {
			t.Errorf("%d of 500 were checked", len(b.starts))
		}
	})
}

// TestSetIdempotent changes nothing by saying the same again, at any moment.
func TestSetIdempotent(t *testing.T) {
	history := func(again bool) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			b := startBench(Options{})
			defer b.stop()
			b.lasts = func(string) time.Duration { return 700 * time.Millisecond }
			specs := func() (s []Spec) {
				for i := range 20 {
					s = append(s, b.spec(fmt.Sprint(i), time.Second))
				}
				return s
			}
			begin := time.Now()
			b.Set(specs())
			for range 40 {
				time.Sleep(137 * time.Millisecond)
				if again {
					b.Set(specs())
				}
				for _, r := range b.drain() {
					out = append(out, fmt.Sprint(r.ID, r.When.Sub(begin).Round(50*time.Millisecond), r.Health, r.Changed, r.Wins))
				}
			}
		})
		return out
	}
	once, often := history(false), history(true)
	if len(once) == 0 || fmt.Sprint(sorted(once)) != fmt.Sprint(sorted(often)) {
		t.Errorf("Set of the same specs disturbed the checks:\n%v\n%v", once, often)
	}
}

func sorted(s []string) []string {
	s = append([]string(nil), s...)
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

func TestSetChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		bad := errors.New("bad")
		b.verdict = func(string) error { return bad }
		s := b.spec("a", time.Second)
		s.Fall, s.Initial = 3, Up
		b.Set([]Spec{s})
		time.Sleep(2500 * time.Millisecond) // checks at 0, 1 and 2 s
		rs := b.drain()
		if len(rs) != 3 || rs[1].Fails != 2 || rs[1].Health != Up || rs[2].Health != Down {
			t.Fatalf("before the change: %v", rs)
		}

		// Another probe under the same ID: checked at once, streak kept.
		s.Probe = fake{"b", b.fakeLab}
		b.Set([]Spec{s})
		time.Sleep(10 * time.Millisecond)
		rs = b.drain()
		if len(rs) != 1 || rs[0].Fails != 4 || rs[0].Health != Down || rs[0].Changed {
			t.Fatalf("after the change: %v", rs)
		}
		if h := b.History("a"); len(h) != 4 || h[3].Fails != 4 {
			t.Fatalf("history %v", h)
		}

		// Removed: no more checks, no history.
		b.Set(nil)
		time.Sleep(time.Minute)
		if rs = b.drain(); len(rs) != 0 || b.History("a") != nil {
			t.Fatalf("after removal: %v, %v", rs, b.History("a"))
		}

		// Back again: nothing is remembered.
		b.Set([]Spec{{ID: "a", Probe: fake{"b", b.fakeLab}}})
		time.Sleep(10 * time.Millisecond)
		rs = b.drain()
		if len(rs) != 1 || rs[0].Fails != 1 || rs[0].Health != Down || !rs[0].Changed {
			t.Fatalf("back again: %v", rs)
		}
	})
}

// TestSetWhileRunning replaces, removes and restores a check that is under way.
func TestSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		b.lasts = func(string) time.Duration { return time.Second }
		spec := func(name string) []Spec {
			return []Spec{{ID: "x", Probe: fake{name, b.fakeLab}, Interval: 10 * time.Second}}
		}
		b.Set(spec("one"))
		time.Sleep(500 * time.Millisecond)
		b.Set(spec("two")) // calls one off
		time.Sleep(600 * time.Millisecond)
		if rs := b.drain(); len(rs) != 0 {
			t.Fatalf("result of a check that was replaced: %v", rs)
		}
		b.Set(nil)
		b.Set(spec("three"))
		time.Sleep(100 * time.Millisecond)
		b.Set(nil)
		synctest.Wait()
		b.Set(spec("two"))
		time.Sleep(1100 * time.Millisecond)
		rs := b.drain()
		if len(rs) != 1 || rs[0].Health != Up || rs[0].Took != time.Second {
			t.Fatalf("want one result of two: %v", rs)
		}
		if b.overlap {
			t.Error("overlap")
		}
	})
}

// TestSetProperty drives a Runner with random Sets and random answers and holds
// it to a model of the streaks.
func TestSetProperty(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			srv := rand.New(rand.NewPCG(seed, 2)) // only under the lab's lock
			b := startBench(Options{MaxRunning: 1 + rnd.IntN(20), MaxFresh: 1 + rnd.IntN(20)})
			b.lasts = func(string) time.Duration { return time.Duration(srv.IntN(4000)) * time.Millisecond }
			b.verdict = func(string) error {
				switch srv.IntN(4) {
				case 0:
					return errors.New("bad")
				case 1:
					return syscall.EMFILE
				}
				return nil
			}
			model := map[string]Streak{}
			last := map[string]time.Time{}
			for range 40 {
				var specs []Spec
				for i := range 15 {
					if rnd.IntN(3) > 0 {
						s := b.spec(fmt.Sprint(i), time.Duration(1+rnd.IntN(3))*time.Second)
						s.Probe = fake{fmt.Sprint(i, rnd.IntN(2)), b.fakeLab}
						s.Fall, s.Rise = 1+rnd.IntN(3), 1
						specs = append(specs, s)
					}
				}
				b.Set(specs)
				time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
				for _, r := range b.drain() {
					if r.When.Before(last[r.ID]) {
						t.Fatalf("seed %d: results of %s out of order", seed, r.ID)
					}
					last[r.ID] = r.When
					old, known := model[r.ID]
					if r.Local && known && r.Health != old.Health && r.Health != Unknown {
						t.Fatalf("seed %d: a local fault changed %v to %v", seed, old.Health, r.Health)
					}
					if r.Err != nil && !r.Local && r.Fails == 0 || r.Err == nil && r.Wins == 0 {
						t.Fatalf("seed %d: streak of %v", seed, r)
					}
					model[r.ID] = Streak{Health: r.Health}
				}
			}
			if b.overlap {
				t.Fatalf("seed %d: overlap", seed)
			}
			b.stop()
			for range b.Results() {
			}
			b.set(func() {
				if b.fakeLab.now != 0 {
					t.Errorf("seed %d: %d checks outlive Run", seed, b.fakeLab.now)
				}
			})
		})
	}
}

// TestLocalFault never takes a server down for a fault of ours.
func TestLocalFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		var err error
		b.verdict = func(string) error { return err }
		b.Set([]Spec{b.spec("a", time.Second)})
		time.Sleep(100 * time.Millisecond)
		for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.EADDRNOTAVAIL, local(errors.New("x"))} {
			b.set(func() { err = fmt.Errorf("dial: %w", e) })
			b.drain()
			time.Sleep(2 * time.Second)
			for _, r := range b.drain() {
				if !r.Local || r.Health != Up || r.Changed || r.Err == nil {
					t.Errorf("%v: %+v", e, r)
				}
			}
		}
		b.set(func() { err = syscall.ECONNREFUSED })
		time.Sleep(time.Second)
		rs := b.drain()
		if len(rs) != 1 || rs[0].Health != Down || !rs[0].Changed {
			t.Errorf("a real failure: %v", rs)
		}
	})
}

// TestSlowReader takes nothing for a while: checks go on, memory is bounded, the
// latest state comes out, and changes come in pairs or not at all.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		n := 0
		b.verdict = func(string) error {
			if n++; n/3%2 == 1 {
				return errors.New("bad")
			}
			return nil
		}
		b.Set([]Spec{b.spec("a", time.Second)})
		time.Sleep(1000 * time.Second)
		rs := b.drain()
		if len(rs) > 64+maxUnseen+1 {
			t.Errorf("%d results were kept", len(rs))
		}
		seen, health := 0, Unknown
		for _, r := range rs {
			if r.Changed != (r.Health != health) {
				t.Errorf("%+v after %v", r, health)
			}
			health = r.Health
			seen += 1 + r.Skipped
		}
		if seen != n {
			t.Errorf("%d results seen or counted as skipped, of %d", seen, n)
		}
		if h := b.History("a"); h[len(h)-1].When != rs[len(rs)-1].When {
			t.Error("the last result that came out is not the last one there was")
		}
	})
}

func TestRetryDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		b.verdict = func(string) error { return errors.New("bad") }
		s := b.spec("a", 10*time.Second)
		s.Fall, s.Initial, s.RetryDelay = 3, Up, time.Second
		b.Set([]Spec{s})
		time.Sleep(2100 * time.Millisecond)
		rs := b.drain()
		if len(rs) != 3 || rs[2].Health != Down || !rs[2].Changed {
			t.Fatalf("%v", rs)
		}
		time.Sleep(3 * time.Second)
		if rs = b.drain(); len(rs) != 0 {
			t.Errorf("a server that is down is asked at the interval, not the retry delay: %v", rs)
		}
	})
}

// TestPanic keeps a defect in one protocol from ending all checks.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBench(Options{})
		defer b.stop()
		b.verdict = func(string) error { panic("library") }
		s := b.spec("a", time.Second)
		s.Initial = Up
		b.Set([]Spec{s})
		time.Sleep(100 * time.Millisecond)
		rs := b.drain()
		if len(rs) != 1 || !rs[0].Local || rs[0].Health != Up {
			t.Errorf("%+v", rs)
		}
	})
}

func TestStall(t *testing.T) {
	t0 := time.Now()
	var s stall
	s.woke(t0)
	s.armed = t0.Add(heartbeat)
	s.woke(t0.Add(heartbeat + maxLate))
	if s.during(t0) {
		t.Error("late by what a busy machine may take")
	}
	s.armed = t0.Add(heartbeat)
	s.woke(t0.Add(15 * time.Second))
	if !s.during(t0) || s.during(t0.Add(15*time.Second)) {
		t.Error("a stop of 15 s was not seen, or is seen too long")
	}
}

// TestStalledTimeouts plays a stop of the process: all timers have run out, and
// nobody is down for it. A second time, the failures count.
func TestStalledTimeouts(t *testing.T) {
	r := NewRunner(nil, Options{})
	now := time.Now()
	e := &entry{spec: Spec{ID: "a", Interval: time.Second}.withDefaults(), streak: Streak{Health: Up}, slot: -1}
	r.stall.last = now
	f := finished{e: e, when: now.Add(-3 * time.Second), out: Outcome{Err: context.DeadlineExceeded}}
	e.next = now.Add(time.Hour)
	r.judge(now, e, f)
	if res := r.out.peek(); !res.Local || res.Health != Up || !e.next.Equal(now) {
		t.Errorf("%+v, next in %v", res, e.next.Sub(now))
	}
	r.out.pop()
	r.judge(now, e, f)
	if res := r.out.peek(); res.Local || res.Health != Down {
		t.Errorf("%+v", res)
	}
}

func TestStreak(t *testing.T) {
	for _, tt := range []struct {
		from       Health
		fall, rise int
		answers    string // + well, - not
		want       string // U D ? after each
	}{
		{Unknown, 1, 1, "+-+", "UDU"},
		{Unknown, 3, 3, "+--+---", "UUUUUUD"},
		{Unknown, 3, 1, "-", "D"},
		{Up, 3, 1, "---+", "UUDU"},
		{Down, 3, 2, "+-++", "DDDU"},
		{Down, 1, 1, "---+", "DDDU"},
	} {
		s, got := Streak{Health: tt.from}, ""
		for _, a := range tt.answers {
			var changed bool
			was := s.Health
			s, changed = s.Next(a == '+', tt.fall, tt.rise)
			if changed != (was != s.Health) {
				t.Errorf("%v: changed = %v from %v to %v", tt, changed, was, s.Health)
			}
			got += string("?UD"[s.Health])
		}
		if got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}
