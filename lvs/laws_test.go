package lvs_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// The laws that every front end leans on, on random tables. A failure names its
// seed; the seed alone makes the tables.
const rounds = 1000

func forSeeds(t *testing.T, law func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range uint64(rounds) {
		law(t, rand.New(rand.NewPCG(seed, 1)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func equal(t *testing.T, what string, got, want lvs.Table) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestFoldingTheDiffGivesWhatWasWanted(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have, want := lvstest.Random(r), lvstest.Random(r)
		cs := lvs.Diff(have, want, nil)
		got, errs := have.Fold(cs)
		if err := errors.Join(errs...); err != nil {
			t.Errorf("refused: %v", err)
		}
		equal(t, "fold(have, diff(have, want))", got, want)
		if again := lvs.Diff(got, want, nil); len(again) > 0 {
			t.Errorf("the second diff is not empty: %v", again)
		}
	})
}

func TestDiffTouchesOnlyOurs(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have, want := lvstest.Random(r), lvstest.Random(r)
		own := func(k lvs.Key) bool { return k.Protocol == lvs.TCP }
		got, _ := have.Fold(lvs.Diff(have, want, own))
		foreign := func(e lvs.Entry) bool { return !own(e.Key) }
		ours := func(e lvs.Entry) bool { return own(e.Key) }
		equal(t, "foreign services", slices.DeleteFunc(slices.Clone(got), ours), slices.DeleteFunc(slices.Clone(have), ours))
		equal(t, "our services", slices.DeleteFunc(slices.Clone(got), foreign), slices.DeleteFunc(slices.Clone(want), foreign))
	})
}

// A service that serves before and after serves at every step between: no
// prefix of the changes leaves it without a destination that has weight.
func TestDiffNeverStarvesAService(t *testing.T) {
	serves := func(tab lvs.Table, k lvs.Key) bool {
		i, ok := tab.Find(k)
		return ok && slices.ContainsFunc(tab[i].Destinations, func(d lvs.Destination) bool { return d.Weight > 0 })
	}
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have, want := lvstest.Random(r), lvstest.Random(r)
		step := have
		for _, c := range lvs.Diff(have, want, nil) {
			step, _ = step.With(c)
			for _, e := range have {
				if serves(have, e.Key) && serves(want, e.Key) && !serves(step, e.Key) {
					t.Errorf("%v has nobody left after: %v", e.Key, c)
				}
			}
		}
	})
}

func TestWithNeverChangesTheTableItIsGiven(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have := lvstest.Random(r)
		before := deepCopy(have)
		var cs []lvs.Change
		for range 10 {
			cs = append(cs, lvstest.RandomChange(r))
		}
		have.Fold(cs)
		have.With(cs[0])
		equal(t, "the table given", have, before)
	})
}

func TestFoldIsWithRepeated(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have := lvstest.Random(r)
		var cs []lvs.Change
		for range 12 {
			cs = append(cs, lvstest.RandomChange(r))
		}
		got, errs := have.Fold(cs)
		step := have
		for i, c := range cs {
			var err error
			step, err = step.With(c)
			if (err == nil) != (errs[i] == nil) || err != nil && err.Error() != errs[i].Error() {
				t.Errorf("%v: With says %v, Fold says %v", c, err, errs[i])
			}
		}
		equal(t, "fold", got, step)
		if !slices.IsSortedFunc(got, func(a, b lvs.Entry) int { return a.Key.Compare(b.Key) }) {
			t.Errorf("not sorted: %v", got)
		}
	})
}

// Whatever a kernel refuses on the way, Apply knows the table that it left, and
// is silent only when that is the one wanted.
func TestApplyReturnsTheTruth(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have, want := lvstest.Random(r), lvstest.Random(r)
		k := lvstest.New(have...)
		k.Refuse = func(lvs.Change) syscall.Errno { return []syscall.Errno{0, 0, 0, 0, syscall.ENOMEM}[r.IntN(5)] }
		reached, err := lvs.Apply(k, have, lvs.Diff(have, want, nil))
		truth, _ := k.Read()
		equal(t, "reached", reached, truth)
		if left := lvs.Diff(truth, want, nil); (err == nil) != (len(left) == 0) {
			t.Errorf("error %v, yet left to do: %v", err, left)
		}
	})
}

// Somebody else changes the table behind our back. A change that meets the
// difference makes Apply look again, and what it finds as wanted is no error.
func TestApplyNoticesThatItsTableIsStale(t *testing.T) {
	forSeeds(t, func(t *testing.T, r *rand.Rand) {
		have, want := lvstest.Random(r), lvstest.Random(r)
		k := lvstest.New(have...)
		for range 1 + r.IntN(3) {
			k.Do([]lvs.Change{lvstest.RandomChange(r)})
		}
		cs := lvs.Diff(have, want, nil)
		before, _ := k.Read()
		_, verdicts := before.Fold(cs)
		reached, err := lvs.Apply(k, have, cs)
		truth, _ := k.Read()
		if errors.Join(verdicts...) != nil {
			equal(t, "reached after a surprise", reached, truth)
		}
		for _, v := range verdicts {
			if wantErr := v != nil && !satisfied(truth, v); wantErr && err == nil {
				t.Errorf("swallowed: %v", v)
			}
		}
		if reached, err = lvs.Apply(k, truth, lvs.Diff(truth, want, nil)); err != nil {
			t.Errorf("second try, from the truth: %v", err)
		}
		equal(t, "second try", reached, want)
	})
}

// satisfied tells whether a refused change is nevertheless as it was wanted.
func satisfied(truth lvs.Table, refusal error) bool {
	var refused *lvs.ChangeError
	if !errors.As(refusal, &refused) {
		return false
	}
	c := refused.Change
	i, exists := truth.Find(c.Service.Key)
	if !exists {
		return c.Op == lvs.DeleteService || c.Op == lvs.DeleteDestination || c.Op == lvs.AddDestination
	}
	switch c.Op {
	case lvs.AddService, lvs.EditService:
		return truth[i].Service == c.Service
	case lvs.AddDestination, lvs.EditDestination:
		return slices.Contains(truth[i].Destinations, c.Destination)
	case lvs.DeleteDestination:
		_, exists := truth[i].Find(c.Destination.Addr)
		return !exists
	}
	return false
}

func deepCopy(t lvs.Table) lvs.Table {
	t = slices.Clone(t)
	for i := range t {
		t[i].Destinations = slices.Clone(t[i].Destinations)
	}
	return t
}
