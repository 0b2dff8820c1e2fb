package vrrp

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// TestTranscripts runs scenarios and compares what the routers did and said with
// testdata/NAME.txt.
func TestTranscripts(t *testing.T) {
	for name, play := range scenes {
		t.Run(name, func(t *testing.T) {
			s := newSim(1)
			play(s)
			got := s.log.String()
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("transcript differs (-want +got); if that is right, run with -update:\n%s", d)
			}
		})
	}
}

// pair is r1 with priority 150 and r2 with 100; r1 starts first.
func pair(s *sim, change func(c *Instance)) (r1, r2 *node) {
	one := func(p uint8) []Instance {
		c := vi("VI_1", 51, p)
		c.Garp = Garp{Repeat: 5}
		if change != nil {
			change(&c)
		}
		return []Instance{c}
	}
	return s.add("r1", one(150)), s.add("r2", one(100))
}

func elected(s *sim, change func(c *Instance)) (r1, r2 *node) {
	r1, r2 = pair(s, change)
	s.mute = true
	r1.start()
	s.run(400 * time.Millisecond)
	r2.start()
	s.run(4600 * time.Millisecond)
	s.mute = false
	return r1, r2
}

var scenes = map[string]func(s *sim){
	"campaign": func(s *sim) {
		r1, r2 := pair(s, nil)
		r1.start()
		s.run(400 * time.Millisecond)
		r2.start()
		s.run(6 * time.Second)
		r1.crash()
		s.run(4 * time.Second)
	},
	"preempt": func(s *sim) {
		r1, r2 := pair(s, nil)
		r2.start()
		s.run(4 * time.Second)
		r1.start()
		s.run(5 * time.Second)
	},
	"preempt-delay": func(s *sim) {
		r1, r2 := pair(s, func(c *Instance) { c.PreemptDelay = 3 * time.Second })
		r2.start()
		s.run(4 * time.Second)
		r1.start()
		s.run(9 * time.Second)
	},
	"nopreempt": func(s *sim) {
		r1, r2 := pair(s, func(c *Instance) { c.NoPreempt = true })
		r2.start()
		s.run(4 * time.Second)
		r1.start()
		s.run(6 * time.Second)
		r2.do("SIGTERM", func(r *Router) []Step { return r.Stop(r2.now()) })
		s.run(2 * time.Second)
	},
	"stop": func(s *sim) {
		r1, _ := elected(s, nil)
		r1.do("SIGTERM", func(r *Router) []Step { return r.Stop(r1.now()) })
		s.run(2 * time.Second)
	},
	"stop-alone": func(s *sim) {
		r1, r2 := elected(s, nil)
		r2.crash()
		r1.do("SIGTERM", func(r *Router) []Step { return r.Stop(r1.now()) })
		s.run(3 * time.Second)
	},
	"stop-goodbye-lost": func(s *sim) {
		r1, _ := elected(s, nil)
		s.loss = 1
		r1.do("SIGTERM, its goodbye is lost", func(r *Router) []Step { return r.Stop(r1.now()) })
		s.loss = 0
		s.run(3 * time.Second)
	},
	"partition": func(s *sim) {
		r1, _ := elected(s, func(c *Instance) { c.Garp = DefaultGarp })
		s.printf("the network parts")
		r1.side = 1
		s.run(5300 * time.Millisecond)
		s.printf("the network is whole")
		r1.side = 0
		s.run(6 * time.Second)
	},
	"fault": func(s *sim) {
		r1, r2 := pair(s, func(c *Instance) {
			c.Track = []Tracked{{Name: "eth0"}, {Name: "chk", Weight: -60}}
		})
		for _, n := range []*node{r1, r2} {
			n.up["eth0"], n.up["chk"] = Up, Up
			n.start()
		}
		s.run(5 * time.Second)
		see := func(name string, h Health, what string) {
			r1.do(what, func(r *Router) []Step { return r.Observe(r1.now(), name, h) })
		}
		see("eth0", Down, "eth0 is down")
		s.run(2 * time.Second)
		see("eth0", Up, "eth0 is up")
		s.run(5 * time.Second)
		see("chk", Down, "chk fails")
		s.run(5 * time.Second)
		see("chk", Up, "chk works")
		s.run(5 * time.Second)
	},
	"standby": func(s *sim) {
		r1, r2 := elected(s, nil)
		order := func(n *node, what string, f func(r *Router) ([]Step, error)) {
			n.do(what, func(r *Router) []Step {
				out, err := f(r)
				if err != nil {
					s.printf("refused: %v", err)
				}
				return out
			})
			s.run(5 * time.Second)
		}
		order(r1, "standby", func(r *Router) ([]Step, error) { return r.Standby(r1.now()) })
		order(r1, "resume", func(r *Router) ([]Step, error) { return r.Resume(r1.now()) })
		order(r2, "takeover", func(r *Router) ([]Step, error) { return r.Takeover(r2.now()) })
		order(r1, "takeover", func(r *Router) ([]Step, error) { return r.Takeover(r1.now()) })
		order(r2, "resume", func(r *Router) ([]Step, error) { return r.Resume(r2.now()) })
		r2.crash()
		order(r1, "standby, with nobody to take over", func(r *Router) ([]Step, error) { return r.Standby(r1.now()) })
		r2.start()
		s.run(5 * time.Second)
	},
	"sync-group": func(s *sim) {
		set := func(p uint8) []Instance {
			a, b := vi("VI_1", 51, p), vi("VI_2", 52, p)
			a.Garp, b.Garp = Garp{Repeat: 5}, Garp{Repeat: 5}
			b.Link = "eth1"
			a.Track, b.Track = []Tracked{{Name: "eth0"}}, []Tracked{{Name: "eth1"}}
			return []Instance{a, b}
		}
		both := Group{"VG_1", []string{"VI_1", "VI_2"}}
		r1, r2 := s.add("r1", set(150), both), s.add("r2", set(100), both)
		for _, n := range []*node{r1, r2} {
			n.up["eth0"], n.up["eth1"] = Up, Up
			n.start()
		}
		s.run(5 * time.Second)
		r1.do("eth1 is down", func(r *Router) []Step { return r.Observe(r1.now(), "eth1", Down) })
		s.run(2 * time.Second)
		r1.do("eth1 is up", func(r *Router) []Step { return r.Observe(r1.now(), "eth1", Up) })
		s.run(5 * time.Second)
		r1.do("SIGTERM", func(r *Router) []Step { return r.Stop(r1.now()) })
		s.run(2 * time.Second)
	},
	"owners": func(s *sim) {
		r1, r2 := pair(s, func(c *Instance) { c.Priority = PriorityOwner })
		r1.start()
		s.run(1500 * time.Millisecond)
		r2.start()
		s.run(5 * time.Second)
	},
	"reload": func(s *sim) {
		r1, r2 := elected(s, nil)
		reload := func(n *node, what string, change func(c *Instance)) {
			c := n.set[0]
			change(&c)
			n.set = []Instance{c}
			n.do(what, func(r *Router) []Step {
				out, err := r.Set(n.now(), n.set, nil)
				if err != nil {
					s.printf("refused: %v", err)
				}
				return out
			})
			s.run(2500 * time.Millisecond)
		}
		reload(r1, "reload without a change", func(*Instance) {})
		reload(r2, "reload with another password", func(c *Instance) { c.Password = "4321" })
		s.run(4 * time.Second)
		reload(r2, "reload with the right password", func(c *Instance) { c.Password = "1234" })
		reload(r1, "reload with priority 90", func(c *Instance) { c.Priority = 90 })
		s.run(3 * time.Second)
		reload(r1, "reload with virtual_router_id 0", func(c *Instance) { c.VRID = 0 })
	},
}
