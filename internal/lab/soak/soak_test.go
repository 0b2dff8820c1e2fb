package soak

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

// TestSoak: LVSCTL_SOAK_SEED replays a list of events, LVSCTL_SOAK_FOR has it go on for longer.
func TestSoak(t *testing.T) {
	lab.Need(t)
	o := Options{Lvsctl: filepath.Join(lab.Built(), "lvsctl"), Seed: 1, For: 30 * time.Second}
	if !testing.Short() {
		o.Seed, o.For = 2, 3*time.Minute
	}
	if word := os.Getenv("LVSCTL_SOAK_SEED"); word != "" {
		seed, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o.Seed = seed
	}
	if word := os.Getenv("LVSCTL_SOAK_FOR"); word != "" {
		d, err := time.ParseDuration(word)
		if err != nil {
			t.Fatal(err)
		}
		o.For = d
	}
	if testing.Verbose() {
		o.Log = os.Stderr
	}
	rep, err := Run(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(rep)
	for _, v := range rep.Violations {
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("to have it again: LVSCTL_SOAK_SEED=%d LVSCTL_SOAK_FOR=%v\n%s", o.Seed, o.For, rep.Transcript)
	}
}

// TestASeedIsAList: the same seed gives the same events.
func TestASeedIsAList(t *testing.T) {
	list := func(seed uint64) (out []Event) {
		p := newPlanner(seed)
		for range 500 {
			out = append(out, p.next())
		}
		return append(out, p.finish()...)
	}
	if a := list(7); !slices.Equal(a, list(7)) || slices.Equal(a, list(8)) {
		t.Error("a seed is not its list of events")
	}
}

// TestAListIsFair: whatever happens, somebody is left who can serve, and at the end
// all is healed.
func TestAListIsFair(t *testing.T) {
	for seed := range uint64(200) {
		p := newPlanner(seed)
		hurt := map[class]Event{}
		var list []Event
		for range 300 {
			list = append(list, p.next())
		}
		for i, e := range append(list, p.finish()...) {
			for c, ws := range wounds {
				if slices.ContainsFunc(ws, func(w wound) bool { return w.heal == e.Kind }) {
					was := hurt[c]
					if was.Kind == "" || was.Host != e.Host {
						t.Fatalf("seed %d, event %d: %v heals %v", seed, i, e, was)
					}
					delete(hurt, c)
				}
				if slices.ContainsFunc(ws, func(w wound) bool { return w.hurt == e.Kind }) {
					if was, is := hurt[c]; is {
						t.Fatalf("seed %d, event %d: %v while there is %v", seed, i, e, was)
					}
					hurt[c] = e
				}
			}
			if _, is := hurt[directors]; is && e.Kind == Flap {
				t.Fatalf("seed %d, event %d: %v while there is %v", seed, i, e, hurt[directors])
			}
			if was, is := hurt[servers]; is && e.Kind == FlapWeb && (was.Kind == CutWeb || e.Host != was.Host) {
				t.Fatalf("seed %d, event %d: %v while there is %v", seed, i, e, was)
			}
			if _, broken := hurt[files]; broken && e.Kind == Reload {
				t.Fatalf("seed %d, event %d: %v of broken files", seed, i, e)
			}
			if _, broken := hurt[files]; broken && (e.Kind == Start || e.Kind == Mend || e.Kind == StartKeep) {
				t.Fatalf("seed %d, event %d: %v with broken files", seed, i, e)
			}
			if was, is := hurt[servers]; is && was.Kind != KillKeep && was.Kind != StopKeep && e.Kind == TakeReal && e.Host != was.Host {
				t.Fatalf("seed %d, event %d: %v while there is %v", seed, i, e, was)
			}
		}
		if len(hurt) > 0 {
			t.Fatalf("seed %d: %v at the end", seed, hurt)
		}
	}
}
