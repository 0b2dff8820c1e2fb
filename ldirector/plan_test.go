package ldirector

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// The network of these tests: a VIP, servers a, b, c and a fallback f.
var (
	vip  = lvs.At(lvs.TCP, netip.MustParseAddrPort("10.1.0.100:80"))
	vip2 = lvs.At(lvs.TCP, netip.MustParseAddrPort("10.1.0.101:80"))
	now0 = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

	servers = map[string]string{"a": "10.1.0.11:80", "b": "10.1.0.12:80", "c": "10.1.0.13:80", "f": "127.0.0.1:80"}
)

func dst(name string, weight uint32) lvs.Destination {
	return lvs.Destination{Addr: netip.MustParseAddrPort(servers[name]), Method: lvs.Gate, Weight: weight}
}

// real is a server with one check, whose ID is its name.
func real(name string, weight uint32) Member {
	return Member{Destination: dst(name, weight), Name: servers[name], Checks: []check.Spec{{ID: name}}}
}

func service(k lvs.Key, members ...Member) Virtual {
	return Virtual{Service: lvs.NewService(k, "wrr"), Members: members, Policy: Policy{CleanStop: true}}
}

func (v Virtual) with(f func(*Virtual)) Virtual {
	f(&v)
	return v
}

func quiescent(v *Virtual)    { v.Policy.Quiescent = true }
func withFallback(v *Virtual) { d := dst("f", 1); v.Fallback = &d }

// short prints a table with the names of the test's servers: "80: a=1 b=0".
func short(t lvs.Table) string {
	var lines []string
	for _, e := range t {
		line := strings.TrimPrefix(e.Key.String(), "TCP 10.1.0.") + ":"
		for _, d := range e.Destinations {
			line += " " + nameOf(d.Addr.String()) + "=" + fmt.Sprint(d.Weight)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func nameOf(addr string) string {
	for n, a := range servers {
		if a == addr {
			return n
		}
	}
	return addr
}

var errRefused = errors.New("connection refused")

func up(id string) check.Result {
	return check.Result{ID: id, When: now0, Health: check.Up, Wins: 1}
}

func down(id string) check.Result {
	return check.Result{ID: id, When: now0, Health: check.Down, Fails: 1, Outcome: check.Outcome{Err: errRefused}}
}

func soft(id string, fails int) check.Result {
	return check.Result{ID: id, When: now0, Health: check.Up, Fails: fails, Outcome: check.Outcome{Err: errRefused}}
}

func ours(id string) check.Result {
	return check.Result{ID: id, When: now0, Local: true, Outcome: check.Outcome{Err: errors.New("too many open files")}}
}

// say runs a story's step, and returns what the plan said.
type step func(p *Plan) []Event

func results(rs ...check.Result) step {
	return func(p *Plan) (es []Event) {
		for _, r := range rs {
			es = append(es, p.Observe(r)...)
		}
		return es
	}
}

func draining(server string, timeout time.Duration) step {
	return func(p *Plan) []Event {
		es, err := p.Drain(Selector{Server: server}, timeout, now0)
		if err != nil {
			panic(err)
		}
		return es
	}
}

func undraining(server string) step {
	return func(p *Plan) []Event {
		es, err := p.Undrain(Selector{Server: server}, now0)
		if err != nil {
			panic(err)
		}
		return es
	}
}

func files(names ...string) step {
	return func(p *Plan) []Event { return p.Maintain(Maintenance{Files: names}, now0) }
}

func later(d time.Duration) step {
	return func(p *Plan) []Event { return p.Tick(now0.Add(d)) }
}

// Each story is told to a plan step by step; after each the table is as it says.
func TestPlanTellsTheTable(t *testing.T) {
	ab := service(vip, real("a", 1), real("b", 3))
	type then struct {
		step  step
		table string
	}
	for name, story := range map[string]struct {
		virtuals []Virtual
		start    string
		steps    []then
	}{
		"nobody serves before he is checked": {
			[]Virtual{ab}, "100:80:", []then{
				{results(up("a")), "100:80: a=1"},
				{results(up("b")), "100:80: a=1 b=3"},
				{results(down("b")), "100:80: a=1"},
				{results(down("a")), "100:80:"},
				{results(up("b")), "100:80: b=3"},
			},
		},
		"quiescent": {
			[]Virtual{ab.with(quiescent)}, "100:80: a=0 b=0", []then{
				{results(up("a"), up("b")), "100:80: a=1 b=3"},
				{results(down("b")), "100:80: a=1 b=0"},
				{results(up("b")), "100:80: a=1 b=3"},
			},
		},
		"inhibit is quiescent for one": {
			[]Virtual{ab.with(func(v *Virtual) { v.Members = []Member{real("a", 1), real("b", 1)}; v.Members[0].Inhibit = true })},
			"100:80: a=0", []then{{results(up("a"), up("b"), down("a"), down("b")), "100:80: a=0"}},
		},
		"the fallback waits for the first round, then serves only while nobody does": {
			[]Virtual{ab.with(withFallback)}, "100:80:", []then{
				{results(down("a")), "100:80:"},
				{results(down("b")), "100:80: f=1"},
				{results(up("a")), "100:80: a=1"},
				{results(up("b"), down("a")), "100:80: b=3"},
				{results(down("b")), "100:80: f=1"},
			},
		},
		"the fallback beside quiescent servers": {
			[]Virtual{ab.with(quiescent).with(withFallback)}, "100:80: a=0 b=0", []then{
				{results(down("a"), down("b")), "100:80: a=0 b=0 f=1"},
				{results(up("b")), "100:80: a=0 b=3"},
			},
		},
		"a fault of ours is no verdict, but ends the wait": {
			[]Virtual{ab.with(withFallback)}, "100:80:", []then{
				{results(ours("a"), down("b")), "100:80: f=1"},
				{results(up("a")), "100:80: a=1"},
				{results(ours("a")), "100:80: a=1"},
			},
		},
		"failures that do not count yet": {
			[]Virtual{ab}, "100:80:", []then{
				{results(up("a"), soft("a", 1), soft("a", 2)), "100:80: a=1"},
				{results(down("a")), "100:80:"},
			},
		},
		"without checks": {
			[]Virtual{service(vip, Member{Destination: dst("a", 2)}, Member{Destination: dst("b", 0)}).with(withFallback)},
			"100:80: a=2 b=0", nil,
		},
		"configured weight 0 keeps the fallback out": {
			[]Virtual{service(vip, real("a", 0)).with(withFallback)}, "100:80:", []then{{results(up("a")), "100:80: a=0"}},
		},
		"off, and the fallback": {
			[]Virtual{service(vip, Member{Destination: dst("a", 1), Off: true}).with(withFallback)}, "100:80: f=1", nil,
		},
		"off, quiescent": {
			[]Virtual{service(vip, Member{Destination: dst("a", 1), Off: true}).with(withFallback).with(quiescent)}, "100:80: a=0 f=1", nil,
		},
		"a shared check": {
			[]Virtual{service(vip, real("a", 1)), service(vip2, real("a", 2)).with(withFallback)}, "100:80:\n101:80:", []then{
				{results(up("a")), "100:80: a=1\n101:80: a=2"},
				{results(down("a")), "100:80:\n101:80: f=1"},
			},
		},
		"two checks must both be well": {
			[]Virtual{service(vip, Member{Destination: dst("a", 1), Checks: []check.Spec{{ID: "x"}, {ID: "y"}}})}, "100:80:", []then{
				{results(up("x")), "100:80:"},
				{results(up("y")), "100:80: a=1"},
				{results(down("x")), "100:80:"},
			},
		},
		"the same server twice: who serves wins, of equals the later": {
			[]Virtual{service(vip, real("a", 1), Member{Destination: dst("a", 7), Name: servers["a"], Checks: []check.Spec{{ID: "a2"}}})}, "100:80:", []then{
				{results(up("a")), "100:80: a=1"},
				{results(up("a2")), "100:80: a=7"},
				{results(down("a2")), "100:80: a=1"},
			},
		},
		"two servers that are one to the kernel: whoever is in stays": {
			[]Virtual{service(vip, real("a", 1), Member{Destination: dst("a", 7), Name: "10.1.0.11:8081", Checks: []check.Spec{{ID: "a2"}}})}, "100:80:", []then{
				{results(up("a")), "100:80: a=1"},
				{results(up("a2")), "100:80: a=1"},
				{results(down("a")), "100:80: a=7"},
				{results(up("a")), "100:80: a=7"},
				{results(down("a2")), "100:80: a=1"},
			},
		},
		"the same service twice: the first counts": {
			[]Virtual{service(vip, Member{Destination: dst("a", 1)}), service(vip, Member{Destination: dst("b", 1)})}, "100:80: a=1", nil,
		},
		"a quorum sums weights, and has hysteresis": {
			[]Virtual{service(vip, real("a", 2), real("b", 3), real("c", 1)).with(withFallback).with(func(v *Virtual) { v.Policy.Quorum, v.Policy.Hysteresis = 3, 1 })},
			"100:80:", []then{
				{results(up("a"), down("b"), down("c")), "100:80: f=1"}, // 2 < 3+1
				{results(up("c")), "100:80: f=1"},                       // 3 < 3+1
				{results(up("b")), "100:80: a=2 b=3 c=1"},
				{results(down("b")), "100:80: a=2 c=1"}, // 3
				{results(down("c")), "100:80: a=2"},     // 2 >= 3-1
				{results(up("c"), down("a")), "100:80: f=1"},
			},
		},
		"a drain keeps the entry and lets the fallback in": {
			[]Virtual{ab.with(withFallback)}, "100:80:", []then{
				{results(up("a"), up("b")), "100:80: a=1 b=3"},
				{draining("10.1.0.12", 0), "100:80: a=1 b=0"},
				{draining("10.1.0.11:80", 0), "100:80: a=0 b=0 f=1"},
				{results(down("a")), "100:80: b=0 f=1"},
				{undraining("10.1.0.12"), "100:80: b=3"},
				{results(up("a")), "100:80: a=0 b=3"},
			},
		},
		"a drain with a time": {
			[]Virtual{ab}, "100:80:", []then{
				{results(up("a"), up("b")), "100:80: a=1 b=3"},
				{draining("10.1.0.12", time.Minute), "100:80: a=1 b=0"},
				{later(59 * time.Second), "100:80: a=1 b=0"},
				{later(time.Minute), "100:80: a=1"},
				{undraining("10.1.0.12"), "100:80: a=1 b=3"},
			},
		},
		"maintenance is at once and over at once": {
			[]Virtual{ab}, "100:80:", []then{
				{results(up("a"), up("b")), "100:80: a=1 b=3"},
				{files("10.1.0.12:80"), "100:80: a=1"},
				{files("10.1.0.11"), "100:80: b=3"},
				{files("nobody", "10.1.0.12:8080"), "100:80: a=1 b=3"},
			},
		},
		"a weight that the check asks for": {
			[]Virtual{service(vip, real("a", 10)).with(withFallback)}, "100:80:", []then{
				{results(weighted("a", 4)), "100:80: a=4"},
				{results(soft("a", 1)), "100:80: a=4"},
				{results(weighted("a", 0)), "100:80: f=1"},
				{results(weighted("a", -5)), "100:80: f=1"},
				{results(up("a")), "100:80: a=10"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlan(story.virtuals)
			p.Adopt(nil, nil, now0)
			if got := short(p.Table()); got != story.start {
				t.Fatalf("at start:\n%s\nwant:\n%s", got, story.start)
			}
			for i, s := range story.steps {
				s.step(p)
				if got := short(p.Table()); got != s.table {
					t.Fatalf("after step %d:\n%s\nwant:\n%s", i+1, got, s.table)
				}
			}
		})
	}
}

func weighted(id string, w int) check.Result {
	r := up(id)
	r.Weighted, r.Weight = true, w
	return r
}

// keepalived's rule for several MISC_CHECKs with misc_dynamic: each has its say
// about the difference from the configured weight.
func TestSeveralChecksAskForWeights(t *testing.T) {
	m := real("a", 5)
	m.Checks = append(m.Checks, check.Spec{ID: "b"})
	p := NewPlan([]Virtual{service(vip, assumed(m))})
	p.Adopt(nil, nil, now0)
	for _, c := range []struct {
		told check.Result
		want string
	}{
		{weighted("a", 7), "100:80: a=7"},
		{weighted("b", 10), "100:80: a=12"},
		{weighted("a", 0), "100:80: a=5"},
		{weighted("b", 0), "100:80: a=0"},
		{weighted("a", 253), "100:80: a=248"},
		{up("b"), "100:80: a=253"},
		{up("a"), "100:80: a=5"},
	} {
		p.Observe(c.told)
		if got := short(p.Table()); got != c.want {
			t.Fatalf("after %s asked for %d: %s, want %s", c.told.ID, c.told.Weight, got, c.want)
		}
	}
}

func TestQuiescentServersHaveNoThresholds(t *testing.T) {
	m := real("a", 5)
	m.Destination.Upper, m.Destination.Lower = 20, 10
	p := NewPlan([]Virtual{service(vip, m).with(quiescent)})
	p.Observe(up("a"))
	if d := p.Table()[0].Destinations[0]; d.Upper != 20 || d.Lower != 10 || d.Weight != 5 {
		t.Errorf("serving: %+v", d)
	}
	p.Observe(down("a"))
	if d := p.Table()[0].Destinations[0]; d.Upper != 0 || d.Lower != 0 || d.Weight != 0 {
		t.Errorf("quiescent: %+v", d)
	}
}

func held(ds ...lvs.Destination) lvs.Table {
	return lvs.Table{{Service: lvs.NewService(vip, "wrr"), Destinations: ds}}
}

func TestStartAdoptsWhatTheKernelHolds(t *testing.T) {
	abc := service(vip, real("a", 1), real("b", 3), real("c", 1)).with(withFallback)
	for name, c := range map[string]struct {
		v    Virtual
		have lvs.Table
		want string
		up   []string // whose checks begin as up
	}{
		"an empty kernel":                        {abc, nil, "100:80:", nil},
		"who has weight goes on, the rest waits": {abc, held(dst("a", 1), dst("b", 2)), "100:80: a=1 b=3", []string{"a", "b"}},
		"weight 0 keeps its entry until checked": {abc, held(dst("a", 1), dst("b", 0)), "100:80: a=1 b=0", []string{"a"}},
		"the fallback goes on alone":             {abc, held(dst("f", 1)), "100:80: f=1", nil},
		"no fallback beside a server":            {abc, held(dst("a", 1), dst("f", 1)), "100:80: a=1", []string{"a"}},
		"who is not configured goes":             {service(vip, real("a", 1)), held(dst("a", 1), dst("b", 4)), "100:80: a=1", []string{"a"}},
		"off goes":                               {service(vip, Member{Destination: dst("a", 1), Off: true}), held(dst("a", 1)), "100:80:", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlan([]Virtual{c.v})
			p.Adopt(nil, c.have, now0)
			if got := short(p.Table()); got != c.want {
				t.Errorf("%s\nwant:\n%s", got, c.want)
			}
			var ups []string
			for _, s := range p.Specs() {
				if s.Initial == check.Up {
					ups = append(ups, s.ID)
				}
			}
			if d := cmp.Diff(c.up, ups); d != "" {
				t.Errorf("specs with Initial up (-want +got):\n%s", d)
			}
		})
	}
}

// A server that was found in service lends its good name to nobody: another
// service with the same check waits for a real answer, and a failure that does
// not count yet is none.
func TestAdoptedHealthIsOfTheMemberNotOfTheCheck(t *testing.T) {
	p := NewPlan([]Virtual{service(vip, real("a", 1)), service(vip2, real("a", 1))})
	p.Adopt(nil, held(dst("a", 1)), now0)
	for _, s := range []struct {
		r    check.Result
		want string
	}{
		{soft("a", 1), "100:80: a=1\n101:80:"},
		{up("a"), "100:80: a=1\n101:80: a=1"},
	} {
		p.Observe(s.r)
		if got := short(p.Table()); got != s.want {
			t.Errorf("after %v:\n%s\nwant:\n%s", s.r, got, s.want)
		}
	}
}

// off is a server with checktype=off.
func off(name string, weight uint32) Member { return Member{Destination: dst(name, weight), Off: true} }

func TestReloadKeepsWhatIsKnown(t *testing.T) {
	before := []Virtual{service(vip, real("a", 1), real("b", 3)).with(withFallback)}
	renamed := real("b", 3)
	renamed.Checks = []check.Spec{{ID: "b-other-request"}}
	renamedA := real("a", 1)
	renamedA.Checks = []check.Spec{{ID: "a-other-request"}}
	for name, c := range map[string]struct {
		after []Virtual
		want  string
	}{
		"nothing changes":                               {before, "100:80: a=1"},
		"a weight":                                      {[]Virtual{service(vip, real("a", 9), real("b", 3)).with(withFallback)}, "100:80: a=9"},
		"a server more, a server less":                  {[]Virtual{service(vip, real("a", 1), real("c", 1)).with(withFallback)}, "100:80: a=1"},
		"the dead server with other checks":             {[]Virtual{service(vip, real("a", 1), renamed).with(withFallback)}, "100:80: a=1"},
		"the live server with other checks":             {[]Virtual{service(vip, renamedA, real("b", 3)).with(withFallback)}, "100:80: a=1"},
		"all servers are new: no flash of the fallback": {[]Virtual{service(vip, real("c", 1)).with(withFallback)}, "100:80:"},
		"a service more, with a known server":           {append([]Virtual{service(vip2, real("a", 2), real("b", 1))}, before...), "100:80: a=1\n101:80: a=2"},
		"a service less":                                {nil, ""},
		"now quiescent":                                 {[]Virtual{before[0].with(quiescent)}, "100:80: a=1 b=0"},
		"checks switched off: who serves goes on":       {[]Virtual{service(vip, off("a", 2), off("b", 3)).with(withFallback)}, "100:80: a=2"},
		"the same, quiescent":                           {[]Virtual{service(vip, off("a", 2), off("b", 3)).with(quiescent)}, "100:80: a=2 b=0"},
		"a new server, switched off, stays out":         {[]Virtual{service(vip, off("c", 2)).with(withFallback)}, "100:80: f=1"},
	} {
		t.Run(name, func(t *testing.T) {
			old := NewPlan(before)
			old.Adopt(nil, nil, now0)
			results(up("a"), up("b"), down("b"))(old)
			p := NewPlan(c.after)
			p.Adopt(old, old.Table(), now0)
			if got := short(p.Table()); got != c.want {
				t.Errorf("%s\nwant:\n%s", got, c.want)
			}
			if !p.Owns(vip) {
				t.Error("the service of before is not ours to remove")
			}
		})
	}
}

func TestServicesWithoutCleanStopLeaveWithTheirConfiguration(t *testing.T) {
	old := NewPlan([]Virtual{service(vip, real("a", 1)).with(func(v *Virtual) { v.Policy.CleanStop = false })})
	p := NewPlan(nil)
	p.Adopt(old, nil, now0)
	if !p.Owns(vip) {
		t.Error("a service that left the configuration is not ours to remove")
	}
}

func TestDrainsAndMaintenanceOutliveAReloadAndARestart(t *testing.T) {
	vs := []Virtual{service(vip, real("a", 1), real("b", 3), real("c", 1))}
	old := NewPlan(vs)
	results(up("a"), up("b"), up("c"))(old)
	draining("10.1.0.11", 0)(old)
	files("10.1.0.12")(old)
	const want = "100:80: a=0 c=1"

	reloaded := NewPlan(vs)
	if es := reloaded.Adopt(old, old.Table(), now0); len(es) != 0 {
		t.Errorf("an unchanged reload says: %v", es)
	}
	if got := short(reloaded.Table()); got != want {
		t.Errorf("after a reload: %s, want %s", got, want)
	}

	restarted := NewPlan(vs)
	restarted.Restore(reloaded.Save(), now0)
	files("10.1.0.12")(restarted)
	restarted.Adopt(nil, old.Table(), now0)
	if got := short(restarted.Table()); got != want {
		t.Errorf("after a restart: %s, want %s", got, want)
	}
}

func TestEventsSayWhatPeopleGrepFor(t *testing.T) {
	p := NewPlan([]Virtual{service(vip, real("a", 1), real("b", 3)).with(func(v *Virtual) { v.Members[1].Checks[0].Fall = 2 }).with(withFallback)})
	p.Adopt(nil, nil, now0)
	var got []string
	for _, s := range []step{results(up("a"), up("b")), results(soft("b", 1)), results(up("b")), results(soft("b", 1), down("b"), down("b")), results(down("a")), results(up("b"))} {
		for _, e := range s(p) {
			got = append(got, e.Text)
		}
	}
	want := []string{
		"Real servers of 10.1.0.100:80 serve",
		"Real server 10.1.0.11:80 (10.1.0.100:80) is up",
		"Real server 10.1.0.12:80 (10.1.0.100:80) is up",
		"Soft failure real server: 10.1.0.12:80 (10.1.0.100:80) failure 1/2: connection refused",
		"Resetting soft failure count: 10.1.0.12:80 (10.1.0.100:80)",
		"Soft failure real server: 10.1.0.12:80 (10.1.0.100:80) failure 1/2: connection refused",
		"Real server 10.1.0.12:80 (10.1.0.100:80) is down: connection refused",
		"No real server of 10.1.0.100:80 serves: the fallback 127.0.0.1:80 does",
		"Real server 10.1.0.11:80 (10.1.0.100:80) is down: connection refused",
		"Real servers of 10.1.0.100:80 serve",
		"Real server 10.1.0.12:80 (10.1.0.100:80) is up",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestWhatSomebodyElseDid(t *testing.T) {
	abf := service(vip, real("a", 1), real("b", 3)).with(withFallback)
	for name, c := range map[string]struct {
		v      Virtual
		first  step
		made   lvs.Table
		repair Repair
		kind   Kind // of what is said, 0 for nothing
		after  string
		next   step
		then   string
	}{
		"a weight stays until the next transition": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 0)), RepairMissing, Drift, "100:80: a=1 b=0",
			results(down("b"), up("b")), "100:80: a=1 b=3",
		},
		"the transition of another does not count": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 7)), RepairMissing, Drift, "100:80: a=1 b=7",
			results(down("a")), "100:80: b=7",
		},
		"unless all is repaired": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 0)), RepairAll, Repaired, "100:80: a=1 b=3", nil, "",
		},
		"a dead server is not given weight": {
			abf.with(quiescent), results(up("a"), down("b")), held(dst("a", 1), dst("b", 3)), RepairNothing, Repaired, "100:80: a=1 b=0", nil, "",
		},
		"a dead server is not added": {
			abf, results(up("a"), down("b")), held(dst("a", 1), dst("b", 3)), RepairMissing, Repaired, "100:80: a=1", nil, "",
		},
		"a server that vanished is put back": {
			abf, results(up("a"), up("b")), held(dst("a", 1)), RepairMissing, Repaired, "100:80: a=1 b=3", nil, "",
		},
		"or left, by option, until its next transition": {
			abf, results(up("a"), up("b")), held(dst("a", 1)), RepairNothing, Drift, "100:80: a=1",
			results(down("b"), up("b")), "100:80: a=1 b=3",
		},
		"a quiescent server that vanished stays away": {
			abf.with(quiescent), results(up("a"), down("b")), held(dst("a", 1)), RepairMissing, Drift, "100:80: a=1",
			results(up("b")), "100:80: a=1 b=3",
		},
		"but not with readdquiescent": {
			abf.with(quiescent).with(func(v *Virtual) { v.Policy.ReaddQuiescent = true }), results(up("a"), down("b")), held(dst("a", 1)),
			RepairMissing, Repaired, "100:80: a=1 b=0", nil, "",
		},
		"the service vanished": {
			abf, results(up("a"), up("b")), nil, RepairMissing, Repaired, "100:80: a=1 b=3", nil, "",
		},
		"the service vanished, by option": {
			abf, results(up("a"), up("b")), nil, RepairNothing, Drift, "", results(down("a")), "100:80: b=3",
		},
		"a stranger stays": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 3), dst("c", 5)), RepairMissing, Drift, "100:80: a=1 b=3 c=5",
			results(down("a")), "100:80: b=3 c=5",
		},
		"the fallback is not put beside servers": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 3), dst("f", 1)), RepairNothing, Repaired, "100:80: a=1 b=3", nil, "",
		},
		"nothing happened": {
			abf, results(up("a"), up("b")), held(dst("a", 1), dst("b", 3)), RepairAll, 0, "100:80: a=1 b=3", nil, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlan([]Virtual{c.v})
			p.Adopt(nil, nil, now0)
			c.first(p)
			es := p.Notice(p.Table(), c.made, c.repair, now0)
			switch {
			case c.kind == 0 && len(es) > 0, c.kind != 0 && (len(es) != 1 || es[0].Kind != c.kind):
				t.Errorf("events %q, want one %v", es, c.kind)
			}
			if got := short(p.Table()); got != c.after {
				t.Errorf("after:\n%s\nwant:\n%s", got, c.after)
			}
			if c.next == nil {
				return
			}
			reload := NewPlan([]Virtual{c.v})
			reload.Adopt(p, p.Table(), now0)
			if got := short(reload.Table()); got != c.after && !strings.Contains(name, "stranger") && name != "the service vanished, by option" {
				t.Errorf("an unchanged reload makes of it:\n%s\nwant:\n%s", got, c.after)
			}
			c.next(p)
			if got := short(p.Table()); got != c.then {
				t.Errorf("then:\n%s\nwant:\n%s", got, c.then)
			}
		})
	}
}

func TestSettingRightByHandEndsTheDrift(t *testing.T) {
	p := NewPlan([]Virtual{service(vip, real("a", 1))})
	p.Observe(up("a"))
	want := p.Table()
	p.Notice(want, held(dst("a", 4)), RepairMissing, now0)
	p.Notice(p.Table(), want, RepairMissing, now0)
	if len(p.virtuals[0].hand) != 0 {
		t.Errorf("still drifting: %v", p.virtuals[0].hand)
	}
}

func TestRemindersOfServersThatAreDown(t *testing.T) {
	p := NewPlan([]Virtual{service(vip, real("a", 1)).with(func(v *Virtual) { v.Alert.Repeat = time.Minute })})
	p.Adopt(nil, nil, now0)
	p.Observe(up("a"))
	p.Observe(down("a"))
	for _, s := range []struct {
		after time.Duration
		want  int
	}{{59 * time.Second, 0}, {time.Minute, 1}, {time.Minute, 0}, {2 * time.Minute, 1}} {
		es := p.Tick(now0.Add(s.after))
		if len(es) != s.want {
			t.Errorf("after %v: %v", s.after, es)
		}
		for _, e := range es {
			if e.Text != "Inaccessible real server: 10.1.0.11:80 (10.1.0.100:80)" || !e.Mail {
				t.Errorf("%+v", e)
			}
		}
	}
	p.Observe(up("a"))
	if es := p.Tick(now0.Add(time.Hour)); len(es) != 0 {
		t.Errorf("of a server that is up: %v", es)
	}
}

func TestSelectors(t *testing.T) {
	m := real("a", 1)
	m.Name = "web1:http"
	v6 := real("b", 1)
	v6.Destination.Addr = netip.MustParseAddrPort("[fd00::1]:80")
	p := NewPlan([]Virtual{service(vip, m, v6).with(func(v *Virtual) { v.Name = "shop" }), service(lvs.Marked(7, lvs.IPv4), m)})
	for s, want := range map[Selector]int{
		{"10.1.0.11", ""}: 2, {"10.1.0.11:80", "10.1.0.100"}: 1, {"web1", "7"}: 1, {"web1:http", "shop"}: 1, {"10.1.0.11", "TCP 10.1.0.100:80"}: 1,
		{"fd00::1", ""}: 1, {"[fd00::1]", ""}: 1, {"[fd00::1]:80", "10.1.0.100:80"}: 1,
		{"10.1.0.11:81", ""}: 0, {"10.1.0.1", ""}: 0, {"web", ""}: 0, {"10.1.0.11", "8"}: 0, {"", ""}: 0,
	} {
		ms, err := p.selected(s)
		if len(ms) != want || (err == nil) != (want > 0) {
			t.Errorf("%+v selects %d servers (%v), want %d", s, len(ms), err, want)
		}
	}
}
