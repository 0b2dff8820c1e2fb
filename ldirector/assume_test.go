package ldirector

import (
	"testing"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

func assumed(m Member) Member { m.AssumeUp = true; return m }

// keepalived's start: servers serve until their checks say otherwise, but for
// those with alpha.
func TestServersAssumedUp(t *testing.T) {
	quorum := func(q, slack uint32) func(*Virtual) {
		return func(v *Virtual) { v.Policy.Quorum, v.Policy.Hysteresis = q, slack }
	}
	a, b := assumed(real("a", 1)), assumed(real("b", 3))
	stays := func(v *Virtual) { v.Policy.FallbackStays = true }
	for name, c := range map[string]struct {
		v     Virtual
		have  lvs.Table
		start string
		told  []check.Result
		after string
	}{
		"both serve, and one goes":         {service(vip, a, b), nil, "100:80: a=1 b=3", []check.Result{down("b")}, "100:80: a=1"},
		"a failure that does not count":    {service(vip, a, b), nil, "100:80: a=1 b=3", []check.Result{soft("b", 1)}, "100:80: a=1 b=3"},
		"alpha waits":                      {service(vip, a, real("b", 3)), nil, "100:80: a=1", []check.Result{up("b")}, "100:80: a=1 b=3"},
		"weight 0 was left by somebody":    {service(vip, a), held(dst("a", 0)), "100:80: a=1", nil, "100:80: a=1"},
		"no sorry server at the start":     {service(vip, a, b).with(withFallback), nil, "100:80: a=1 b=3", []check.Result{down("a"), down("b")}, "100:80: f=1"},
		"the sorry server stays":           {service(vip, a, b).with(withFallback).with(stays), nil, "100:80: a=1 b=3 f=0", []check.Result{down("a"), down("b")}, "100:80: f=1"},
		"and goes back":                    {service(vip, a).with(withFallback).with(stays), nil, "100:80: a=1 f=0", []check.Result{down("a"), up("a")}, "100:80: a=1 f=0"},
		"the quorum is assumed as well":    {service(vip, a, b).with(withFallback).with(quorum(4, 1)), nil, "100:80: a=1 b=3", nil, "100:80: a=1 b=3"},
		"and is lost below its lower mark": {service(vip, a, b).with(withFallback).with(quorum(4, 1)), nil, "100:80: a=1 b=3", []check.Result{down("b")}, "100:80: f=1"},
		"and held at it":                   {service(vip, a, b).with(withFallback).with(quorum(4, 1)), nil, "100:80: a=1 b=3", []check.Result{down("a")}, "100:80: b=3"},
		"with alpha it is to be reached":   {service(vip, real("a", 1), real("b", 3)).with(quorum(4, 1)), nil, "100:80:", []check.Result{up("a"), up("b")}, "100:80: a=1 b=3"},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlan([]Virtual{c.v})
			p.Adopt(nil, c.have, now0)
			if got := short(p.Table()); got != c.start {
				t.Errorf("at the start %s\nwant %s", got, c.start)
			}
			for _, s := range p.Specs() {
				if want := s.ID == "a" && c.v.Members[0].AssumeUp; want && s.Initial != check.Up {
					t.Errorf("the check of %s begins as %v", s.ID, s.Initial)
				}
			}
			for _, r := range c.told {
				p.Observe(r)
			}
			if got := short(p.Table()); got != c.after {
				t.Errorf("after the answers %s\nwant %s", got, c.after)
			}
		})
	}
}

// A reload changes nothing about a server that was found to be down, and assumes
// a new one to be up.
func TestAssumedServersAndReload(t *testing.T) {
	old := NewPlan([]Virtual{service(vip, assumed(real("a", 1)), assumed(real("b", 1)))})
	old.Observe(down("a"))
	p := NewPlan([]Virtual{service(vip, assumed(real("a", 1)), assumed(real("b", 1)), assumed(real("c", 1)))})
	p.Adopt(old, old.Table(), now0)
	if got := short(p.Table()); got != "100:80: b=1 c=1" {
		t.Error(got)
	}
	p.Observe(up("a"))
	if got := short(p.Table()); got != "100:80: a=1 b=1 c=1" {
		t.Error(got)
	}
}
