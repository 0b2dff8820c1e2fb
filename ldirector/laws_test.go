package ldirector

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// world is everything around a Plan in a random story: a kernel, the checks as
// the Runner would make them, and an oracle that knows only what a person would.
type world struct {
	r       *rand.Rand
	k       *lvstest.Kernel
	have    lvs.Table
	p       *Plan
	config  []Virtual
	streaks map[string]check.Streak
	repair  Repair

	verdict map[string]check.Health // the last word of each check
	drained map[string]bool         // "service server"
	excused []string
	known   map[string]bool // "service server" that were up before the last reload
	open    []string        // gates
	log     []string
}

func newWorld(seed uint64, repair Repair) *world {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 7)), k: lvstest.New(), repair: repair, streaks: map[string]check.Streak{},
		verdict: map[string]check.Health{}, drained: map[string]bool{}, known: map[string]bool{},
	}
	w.k.Do([]lvs.Change{{Op: lvs.AddService, Service: lvs.NewService(foreignKey, "rr")}})
	w.have, _ = w.k.Read()
	w.config = w.randomConfig()
	w.p = NewPlan(w.config)
	w.p.SetGates(nil)
	w.p.Adopt(nil, w.have, now0)
	w.set(w.p.Specs())
	w.converge()
	w.k.Taken()
	return w
}

var foreignKey = lvs.At(lvs.TCP, netip.MustParseAddrPort("10.1.0.200:9000"))

func (w *world) randomConfig() []Virtual {
	var vs []Virtual
	for _, k := range []lvs.Key{vip, vip2} {
		if w.r.IntN(6) == 0 {
			continue
		}
		v := service(k)
		for _, n := range []string{"a", "b", "c"} {
			if w.r.IntN(4) > 0 {
				m := real(n, uint32(1+w.r.IntN(3)))
				m.Checks[0].ID = fmt.Sprint(n, w.r.IntN(2)) // now and then with another request
				m.Checks[0].Fall = 1 + w.r.IntN(2)
				v.Members = append(v.Members, m)
			}
		}
		v.Policy.Quiescent = w.r.IntN(2) == 0
		v.Policy.ReaddQuiescent = w.r.IntN(2) == 0
		if w.r.IntN(2) == 0 {
			withFallback(&v)
		}
		v.Gates = pickOne(w.r, nil, []string{"x"}, []string{"y"}, []string{"x", "y"})
		vs = append(vs, v)
	}
	return vs
}

// set does to the streaks what the Runner does to its checks.
func (w *world) set(specs []check.Spec) {
	next := map[string]check.Streak{}
	for _, s := range specs {
		if was, ok := w.streaks[s.ID]; ok {
			next[s.ID] = was
		} else {
			next[s.ID] = check.Streak{Health: s.Initial}
			delete(w.verdict, s.ID)
		}
	}
	w.streaks = next
}

func (w *world) step() {
	w.log = append(w.log, "")
	say := func(format string, args ...any) { w.log[len(w.log)-1] = fmt.Sprintf(format, args...) }
	switch w.r.IntN(13) {
	case 0:
		say("reload")
		w.reload()
	case 1, 2:
		s := Selector{Server: servers[pickOne(w.r, "a", "b", "c")]}
		say("drain %v", s)
		if _, err := w.p.Drain(s, 0, now0); err == nil {
			w.markDrained(s, true)
		}
	case 3:
		s := Selector{Server: servers[pickOne(w.r, "a", "b", "c")]}
		say("undrain %v", s)
		if _, err := w.p.Undrain(s, now0); err == nil {
			w.markDrained(s, false)
		}
	case 4:
		w.excused = nil
		if w.r.IntN(2) == 0 {
			w.excused = []string{servers[pickOne(w.r, "a", "b", "c")]}
		}
		say("maintenance %v", w.excused)
		w.p.Maintain(Maintenance{Files: w.excused}, now0)
	case 5, 6:
		c := w.tamper()
		say("somebody does: %v %v", c, c.Destination.Weight)
		w.k.Do([]lvs.Change{c})
		truth, _ := w.k.Read()
		w.p.Notice(w.have, truth, w.repair, now0)
		w.have = truth
	case 7:
		w.open = pickOne(w.r, nil, []string{"x"}, []string{"y"}, []string{"x", "y"})
		say("open %v", w.open)
		w.p.SetGates(w.open)
	default:
		say("result %v", w.result())
	}
	w.converge()
}

func (w *world) markDrained(s Selector, to bool) {
	for _, v := range w.config {
		for _, m := range v.Members {
			if m.Destination.Addr.String() == s.Server {
				w.drained[id(v, m)] = to
			}
		}
	}
}

func id(v Virtual, m Member) string {
	return v.Service.Key.String() + " " + m.Destination.Addr.String()
}

func (w *world) reload() {
	known := map[string]bool{}
	drained := map[string]bool{}
	next := w.randomConfig()
	for _, v := range w.config {
		for _, m := range v.Members {
			known[id(v, m)] = w.up(v, m)
		}
	}
	for _, v := range next {
		for _, m := range v.Members {
			if _, stays := known[id(v, m)]; stays {
				drained[id(v, m)] = w.drained[id(v, m)]
			} else {
				// New to us, but perhaps somebody has given it weight.
				d, in := w.inKernel(v, m)
				known[id(v, m)] = in && d.Weight > 0
			}
		}
	}
	p := NewPlan(next)
	p.Adopt(w.p, w.have, now0)
	w.p, w.config, w.known, w.drained = p, next, known, drained
	w.set(p.Specs())
}

func (w *world) inKernel(v Virtual, m Member) (lvs.Destination, bool) {
	i, ok := w.have.Find(v.Service.Key)
	if !ok {
		return lvs.Destination{}, false
	}
	return find(w.have[i].Destinations, m.Destination.Addr)
}

// here tells whether a service is to be in this director's kernel.
func (w *world) here(v Virtual) bool {
	return len(v.Gates) == 0 || slices.ContainsFunc(v.Gates, func(name string) bool { return slices.Contains(w.open, name) })
}

// up is what a person would say of a server.
func (w *world) up(v Virtual, m Member) bool {
	switch w.verdict[m.Checks[0].ID] {
	case check.Up:
		return true
	case check.Down:
		return false
	}
	return w.known[id(v, m)]
}

func (w *world) result() string {
	ids := make([]string, 0, len(w.streaks))
	for id := range w.streaks {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return "of nobody"
	}
	slices.Sort(ids)
	r := check.Result{ID: ids[w.r.IntN(len(ids))], When: now0}
	if w.r.IntN(8) == 0 {
		r.Local, r.Err, r.Health = true, errRefused, w.streaks[r.ID].Health
		w.p.Observe(r)
		return r.String()
	}
	if w.r.IntN(2) == 0 {
		r.Err = errRefused
	}
	var next check.Streak
	next, r.Changed = w.streaks[r.ID].Next(r.Err == nil, w.fall(r.ID), 1)
	w.streaks[r.ID] = next
	r.Health, r.Fails, r.Wins = next.Health, next.Fails, next.Wins
	if r.Err == nil || r.Health == check.Down {
		w.verdict[r.ID] = r.Health
	}
	w.p.Observe(r)
	return r.String()
}

func (w *world) fall(id string) int { return w.p.checks[id].spec.Fall }

func (w *world) tamper() lvs.Change {
	c := lvs.Change{Service: lvs.NewService(pickOne(w.r, vip, vip, vip2, foreignKey), "wrr"), Destination: dst(pickOne(w.r, "a", "b", "c", "f"), uint32(w.r.IntN(3)))}
	c.Op = pickOne(w.r, lvs.AddDestination, lvs.EditDestination, lvs.EditDestination, lvs.DeleteDestination, lvs.DeleteService)
	return c
}

func pickOne[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (w *world) converge() {
	want := w.p.Table()
	w.have, _ = lvs.Apply(w.k, w.have, lvs.Diff(w.have, want, w.p.Owns))
	w.p.forgetLeft(w.have)
}

// expected is the oracle: what a person would want the table to be, each
// service on its own, when nothing done by hand is left.
func (w *world) expected(v Virtual) map[string]uint32 {
	want := map[string]uint32{}
	serve := false
	for _, m := range v.Members {
		d := m.Destination
		up, maintained := w.up(v, m), slices.Contains(w.excused, d.Addr.String())
		down := w.verdict[m.Checks[0].ID] == check.Down
		switch {
		case maintained, down:
			if v.Policy.Quiescent {
				want[d.Addr.String()] = 0
			}
		case w.drained[id(v, m)]:
			want[d.Addr.String()] = 0
		case up:
			want[d.Addr.String()] = d.Weight
			serve = true
		case v.Policy.Quiescent:
			want[d.Addr.String()] = 0
		}
	}
	if !serve && v.Fallback != nil {
		want[v.Fallback.Addr.String()] = 1
	}
	return want
}

func forWorlds(t *testing.T, repair Repair, law func(t *testing.T, w *world)) {
	t.Helper()
	for seed := range uint64(600) {
		w := newWorld(seed, repair)
		for range 40 {
			w.step()
			if law(t, w); t.Failed() {
				t.Fatalf("seed %d, after:\n%s\ntable:\n%s", seed, strings.Join(w.log, "\n"), short(w.have))
			}
		}
	}
}

func TestTheTableIsWhatAPersonWouldWant(t *testing.T) {
	forWorlds(t, RepairAll, func(t *testing.T, w *world) {
		for _, v := range w.config {
			i, ok := w.have.Find(v.Service.Key)
			if ok != w.here(v) {
				t.Errorf("%v of %v is there: %v, with %v open", v.Service.Key, v.Gates, ok, w.open)
				return
			}
			if !ok {
				continue
			}
			want := w.expected(v)
			for _, d := range w.have[i].Destinations {
				weight, in := want[d.Addr.String()]
				if !in && d.Weight == 0 && w.unjudged(v, d) {
					continue // found in the kernel with weight 0: keeps its connections until it is checked
				}
				if !in || weight != d.Weight {
					t.Errorf("%v: %v has weight %d; want %d, %v", v.Service.Key, d.Addr, d.Weight, weight, in)
				}
				delete(want, d.Addr.String())
			}
			if f := v.Fallback; f != nil && w.p.byKey[v.Service.Key].serving == undecided && w.anyUnasked(v) {
				delete(want, f.Addr.String()) // it waits for the first round
			}
			for addr := range want {
				t.Errorf("%v: %v is missing", v.Service.Key, addr)
			}
		}
	})
}

func (w *world) unjudged(v Virtual, d lvs.Destination) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool {
		return m.Destination.Addr == d.Addr && w.verdict[m.Checks[0].ID] == check.Unknown
	})
}

func (w *world) anyUnasked(v Virtual) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return !w.p.checks[m.Checks[0].ID].asked })
}

// Whatever anybody does, in whatever order, and whatever may stay that was done
// by hand.
func TestNobodyIsSentToAServerThatIsDown(t *testing.T) {
	for _, repair := range []Repair{RepairMissing, RepairNothing, RepairAll} {
		forWorlds(t, repair, func(t *testing.T, w *world) {
			for _, v := range w.config {
				i, ok := w.have.Find(v.Service.Key)
				if !ok {
					continue
				}
				served := false
				for _, m := range v.Members {
					d, in := find(w.have[i].Destinations, m.Destination.Addr)
					if in && d.Weight > 0 && !w.up(v, m) {
						t.Errorf("%v sends clients to %v", v.Service.Key, d.Addr)
					}
					served = served || in && d.Weight > 0
				}
				if v.Fallback == nil {
					continue
				}
				if d, in := find(w.have[i].Destinations, v.Fallback.Addr); in && d.Weight > 0 && served {
					t.Errorf("%v has its fallback beside servers", v.Service.Key)
				}
			}
		})
	}
}

func TestForeignServicesAreNeverTouched(t *testing.T) {
	forWorlds(t, RepairAll, func(t *testing.T, w *world) {
		for _, c := range w.k.Taken() {
			if c.Service.Key == foreignKey && !strings.Contains(w.log[len(w.log)-1], "somebody does: "+c.String()) {
				t.Errorf("%v", c)
			}
		}
	})
}

func TestAnUnchangedReloadTouchesNothing(t *testing.T) {
	forWorlds(t, RepairMissing, func(t *testing.T, w *world) {
		w.k.Taken()
		stranger := slices.ContainsFunc(w.p.virtuals, func(v *virtual) bool {
			for addr, h := range v.hand {
				if !h.wanted && v.member(addr) == nil {
					return true
				}
			}
			return v.service != v.Service
		})
		p := NewPlan(w.config)
		events := p.Adopt(w.p, w.have, now0.Add(time.Second))
		w.p = p
		w.set(p.Specs())
		w.converge()
		if cs := w.k.Taken(); len(cs) > 0 && !stranger {
			t.Errorf("the kernel was told: %v", cs)
		}
		if len(events) > 0 {
			t.Errorf("said: %v", events)
		}
	})
}
