package main

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/rules"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

func siteOf(t *testing.T, text string) config.Site {
	t.Helper()
	s, problems := rules.Parse("site.rules", []byte(text), rules.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

const before = `-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1
-A -t 10.0.0.1:443 -s rr
-a -t 10.0.0.1:443 -r 10.0.0.11:443 -g -w 1
-A -u 10.0.0.9:53 -s rr
`

const after = `-A -t 10.0.0.1:80 -s wlc
-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 1
-A -t 10.0.0.2:80 -s rr
-a -t 10.0.0.2:80 -r 10.0.0.11:80 -g -w 1
-A -t 10.0.0.1:443 -s rr
-a -t 10.0.0.1:443 -r 10.0.0.11:443 -g -w 1
`

// TestPlanLeavesOthersAlone: what is in no file goes only with prune.
func TestPlanLeavesOthersAlone(t *testing.T) {
	have, want := siteOf(t, before).Table(), siteOf(t, after)
	p := planFor(want, have, false)
	if len(p.alone) != 1 || p.alone[0].String() != "UDP 10.0.0.9:53" {
		t.Errorf("left alone: %v", p.alone)
	}
	reached, _ := have.Fold(p.changes)
	if got, want := lvstest.Text(reached), lvstest.Text(want.Table())+"-A -u 10.0.0.9:53 -s rr\n"; got != want {
		t.Errorf("without prune:\n%s\nwant\n%s", got, want)
	}
	p = planFor(want, have, true)
	reached, _ = have.Fold(p.changes)
	if got, want := lvstest.Text(reached), lvstest.Text(want.Table()); got != want {
		t.Errorf("with prune:\n%s\nwant\n%s", got, want)
	}
}

// TestRefusedIsTakenBack: whichever change is refused, the table is as it was.
func TestRefusedIsTakenBack(t *testing.T) {
	have, want := siteOf(t, before).Table(), siteOf(t, after)
	changes := planFor(want, have, true).changes
	for i := range changes {
		k := lvstest.New(have...)
		k.Refuse = func(c lvs.Change) syscall.Errno {
			if c == changes[i] {
				return syscall.ENOMEM
			}
			return 0
		}
		err := makeSo(k, have, changes)
		if err == nil {
			t.Fatalf("change %d was refused and nothing said", i)
		}
		got, _ := k.Read()
		if a, b := lvstest.Text(got), lvstest.Text(have); a != b {
			t.Errorf("change %d (%v) was refused (%v), and the table is\n%s\nwant\n%s", i, changes[i], err, a, b)
		}
		if !strings.Contains(err.Error(), "the table is as it was") && !strings.Contains(err.Error(), "no other was made") {
			t.Errorf("it says %q", err)
		}
	}
}

// TestRefusedBothWays: what cannot be taken back either is said.
func TestRefusedBothWays(t *testing.T) {
	have, want := siteOf(t, before).Table(), siteOf(t, after)
	changes := planFor(want, have, false).changes
	k := lvstest.New(have...)
	k.Refuse = func(c lvs.Change) syscall.Errno {
		if c.Op == lvs.EditService || c.Op == lvs.DeleteService {
			return syscall.ENOMEM
		}
		return 0
	}
	if err := makeSo(k, have, changes); err == nil || !strings.Contains(err.Error(), "taking back the others failed too") {
		t.Errorf("%v", err)
	}
}

// TestSomebodyAlwaysServes: a service that has a server before and after has one
// after every single change, on random tables.
func TestSomebodyAlwaysServes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	looked := 0
	for range 300 {
		have, want := lvstest.Random(r), lvstest.Random(r)
		must := map[lvs.Key]bool{}
		for _, e := range have {
			if i, there := want.Find(e.Key); there && serves(e) && serves(want[i]) {
				must[e.Key] = true
			}
		}
		now := have
		for _, c := range lvs.Diff(have, want, nil) {
			var err error
			if now, err = now.With(c); err != nil {
				t.Fatal(err)
			}
			for k := range must {
				i, there := now.Find(k)
				if looked++; !there || !serves(now[i]) {
					t.Fatalf("after %v nobody serves %v", c, k)
				}
			}
		}
	}
	if looked < 100 {
		t.Errorf("only %d looks", looked)
	}
}

func serves(e lvs.Entry) bool {
	for _, d := range e.Destinations {
		if d.Weight > 0 {
			return true
		}
	}
	return false
}

// TestUndo: only the services that were changed are put back.
func TestUndo(t *testing.T) {
	have, want := siteOf(t, before).Table(), siteOf(t, after)
	p := planFor(want, have, false)
	w := pending{Before: have}
	for _, c := range p.changes {
		w.Touched = append(w.Touched, c.Service.Key)
	}
	k := lvstest.New(have...)
	if err := makeSo(k, have, p.changes); err != nil {
		t.Fatal(err)
	}
	other := lvs.NewService(lvs.Marked(7, lvs.IPv4), "rr") // somebody else's, meanwhile
	k.Do([]lvs.Change{{Op: lvs.AddService, Service: other}})
	if err := w.undo(k); err != nil {
		t.Fatal(err)
	}
	got, _ := k.Read()
	if text := lvstest.Text(got); text != lvstest.Text(have)+"-A -f 7 -s rr\n" {
		t.Errorf("put back:\n%s", text)
	}
}

// TestPrintColour: one colour for each sign, and none when nobody asked.
func TestPrintColour(t *testing.T) {
	p := planFor(siteOf(t, after), siteOf(t, before).Table(), true)
	var plain, coloured strings.Builder
	p.print(&plain, false)
	p.print(&coloured, true)
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("%q", plain.String())
	}
	signs := map[string]string{"\x1b[32m": "+ ", "\x1b[33m": "~ ", "\x1b[31m": "- "}
	lines := strings.Split(strings.TrimSuffix(coloured.String(), "\n"), "\n")
	for _, line := range lines {
		if len(line) < 7 || signs[line[:5]] != line[5:7] || !strings.HasSuffix(line, "\x1b[0m") {
			t.Errorf("%q", line)
		}
	}
	if len(lines) != len(p.changes) {
		t.Errorf("%d lines for %d changes", len(lines), len(p.changes))
	}
}
