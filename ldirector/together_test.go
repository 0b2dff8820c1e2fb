package ldirector

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// farm is a set of servers as a probe meets them.
type farm struct {
	mu    sync.Mutex
	moods map[int]string // "" well, "refuse", "hang"
}

func (f *farm) set(mood string, servers ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range servers {
		f.moods[n] = mood
	}
}

type farmProbe struct {
	farm *farm
	n    int
}

func (p farmProbe) Check(ctx context.Context, _ check.Net) error {
	p.farm.mu.Lock()
	mood := p.farm.moods[p.n]
	p.farm.mu.Unlock()
	switch mood {
	case "refuse":
		return errors.New("connection refused")
	case "hang":
		<-ctx.Done()
		return errors.New("no answer")
	}
	return nil
}

func farmVirtuals(f *farm, services, each int, interval time.Duration) []Virtual {
	var vs []Virtual
	for s := range services {
		v := service(lvs.At(lvs.TCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(s), 1}), 80)))
		for i := range each {
			n := s*each + i
			v.Members = append(v.Members, Member{
				Destination: lvs.Destination{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(n >> 8), byte(n)}), 80), Method: lvs.Gate, Weight: 1},
				Checks:      []check.Spec{{ID: fmt.Sprint(n), Probe: farmProbe{f, n}, Interval: interval, Timeout: 3 * time.Second}},
			})
		}
		withFallback(&v)
		vs = append(vs, v)
	}
	return vs
}

// weighty lists the servers of the farm that get traffic.
func weighty(t lvs.Table) map[int]bool {
	in := map[int]bool{}
	for _, e := range t {
		for _, d := range e.Destinations {
			if b := d.Addr.Addr().As4(); b[0] == 10 && d.Weight > 0 {
				in[int(b[2])<<8|int(b[3])] = true
			}
		}
	}
	return in
}

// The Director with the real Runner: start, deaths of both kinds, return,
// reload. The times are those that are promised to users.
func TestDirectorAndRunnerTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const services, each = 200, 5
		const interval, timeout = time.Second, 3 * time.Second
		f := &farm{moods: map[int]string{}}
		f.set("refuse", 3)
		f.set("hang", 4)
		runner := check.NewRunner(nil, check.Options{})
		k := newMoody()
		d := New(Options{Kernel: k, Checks: runner, Virtuals: farmVirtuals(f, services, each, interval)})
		ctx, cancel := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		tasks.Go(func() { runner.Run(ctx) })
		tasks.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		wait := func(d time.Duration) map[int]bool {
			time.Sleep(d)
			synctest.Wait()
			table, _ := k.Kernel.Read()
			return weighty(table)
		}
		if in := wait(time.Second); len(in) != services*each-2 || in[3] || in[4] {
			t.Fatalf("%d servers in after a second; the dead: %v %v", len(in), in[3], in[4])
		}
		f.set("refuse", 10, 11, 12)
		if in := wait(interval + 100*time.Millisecond); in[10] || in[11] || in[12] {
			t.Error("a server that refuses is in after an interval")
		}
		for n := 500; n < 1000; n++ {
			f.set("hang", n)
		}
		if in := wait(interval + timeout + 200*time.Millisecond); len(in) != services*each-505 {
			t.Errorf("%d servers in after half of them hung", len(in))
		}
		f.set("refuse", 20)
		if in := wait(interval + 100*time.Millisecond); in[20] {
			t.Error("a server that refuses is in after an interval, while half of the others hang")
		}
		table, _ := k.Kernel.Read()
		if last := table[len(table)-1]; len(last.Destinations) != 1 || last.Destinations[0].Addr.Addr().String() != "127.0.0.1" {
			t.Errorf("a service of which all hang has %v", last.Destinations)
		}
		for n := range services * each {
			f.set("", n)
		}
		if in := wait(interval + timeout + 200*time.Millisecond); len(in) != services*each {
			t.Errorf("%d servers in after all came back", len(in))
		}
		k.Taken()
		if err := d.Load(ctx, farmVirtuals(f, services, each, interval)); err != nil {
			t.Error(err)
		}
		if wait(time.Minute); len(k.Taken()) > 0 {
			t.Error("an unchanged reload changed something")
		}
		snap, err := d.Snapshot(ctx)
		if err != nil || len(snap.Virtuals) != services || len(snap.Virtuals[0].Members[0].Checks[0].Last) == 0 {
			t.Errorf("snapshot: %v", err)
		}
		cancel()
		tasks.Wait()
		if table, _ := k.Kernel.Read(); len(table) != 0 {
			t.Errorf("left behind: %v", table)
		}
	})
}

// BenchmarkObserve is a result that changes nothing, and one that does, in a
// service of a thousand servers.
func BenchmarkObserve(b *testing.B) {
	p := NewPlan(farmVirtuals(&farm{}, 1, 1000, time.Second))
	for _, s := range p.Specs() {
		p.Observe(check.Result{ID: s.ID, Health: check.Up})
	}
	b.Run("nothing new", func(b *testing.B) {
		for b.Loop() {
			p.Observe(check.Result{ID: "500", Health: check.Up})
		}
	})
	b.Run("transition", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r := check.Result{ID: "500", Health: check.Up}
			if i%2 == 0 {
				r = check.Result{ID: "500", Health: check.Down, Outcome: check.Outcome{Err: errRefused}}
			}
			p.Observe(r)
		}
	})
}
