package ldirector

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

func follow(gates ...string) func(*Virtual) { return func(v *Virtual) { v.Gates = gates } }

// Each of two groups has its services where it is master, and what belongs to nobody
// is everywhere.
func TestEachServiceFollowsItsOwnGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := make(chan []string)
		free := service(lvs.Marked(3, lvs.IPv4), Member{Destination: dst("c", 1), Name: servers["c"]})
		s := direct(t, newMoody(), Options{Gates: gates, Virtuals: []Virtual{
			service(vip, real("a", 1)).with(follow("n1")), service(vip2, real("b", 3)).with(follow("n2")), free,
		}})
		word := func(open ...string) {
			gates <- open
			synctest.Wait()
		}
		s.results(up("a"), up("b"))
		s.table("")
		s.said()
		word("n1")
		s.table("100:80: a=1\nFWM 3: c=1")
		s.expect(
			"This director serves the services of n1",
			"Another director serves the services of n2: they leave this one",
			"Added virtual server: 10.1.0.100:80",
			"Added real server: 10.1.0.11:80 (10.1.0.100:80) (Weight set to 1)",
			"Added virtual server: 3",
			"Added real server: 10.1.0.13:80 (3) (Weight set to 1)",
		)
		s.open("10.1.0.100:80=true 10.1.0.101:80=false 3=true")

		// What was done by hand, and a drain, is nothing to the gate of others.
		s.k.by(edit(vip, dst("a", 7)))
		s.wait(2 * defaultLook)
		if err := s.d.Drain(t.Context(), Selector{Server: "10.1.0.12"}, 0); err != nil {
			t.Fatal(err)
		}
		s.said()
		word("n1", "n2")
		s.table("100:80: a=7\n101:80: b=0\nFWM 3: c=1")
		s.expect(
			"This director serves the services of n2",
			"Added virtual server: 10.1.0.101:80",
			"Quiescent real server: 10.1.0.12:80 (10.1.0.101:80) (Weight set to 0)",
		)
		if err := s.d.Undrain(t.Context(), Selector{Server: "10.1.0.12"}); err != nil {
			t.Fatal(err)
		}
		s.results(down("b")) // checks go on, whoever serves
		s.said()
		word("n1")
		s.table("100:80: a=7\nFWM 3: c=1")
		s.results(up("b"))
		s.k.by(lvs.Change{Op: lvs.AddService, Service: lvs.NewService(vip2, "wrr")}) // by hand, on the wrong director
		s.wait(2 * defaultLook)
		s.table("100:80: a=7\nFWM 3: c=1")
		s.said()
		word("n1")
		word("n2")
		s.table("101:80: b=3\nFWM 3: c=1")
		s.expect(
			"Another director serves the services of n1: they leave this one",
			"This director serves the services of n2",
			"Added virtual server: 10.1.0.101:80",
			"Added real server: 10.1.0.12:80 (10.1.0.101:80) (Weight set to 3)",
			"Purged virtual server (start): 10.1.0.100:80",
		)
		word()
		s.table("FWM 3: c=1")
		snap, err := s.d.Snapshot(t.Context())
		if err != nil || !snap.Open {
			t.Errorf("one service is here always: %v %v", snap.Open, err)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		s.table("")
	})
}

// open is what the snapshot says of each service.
func (s *stage) open(want string) {
	s.t.Helper()
	snap, err := s.d.Snapshot(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, v := range snap.Virtuals {
		word := "=false"
		if v.Open {
			word = "=true"
		}
		got = append(got, v.Label+word)
		for _, m := range v.Members {
			if (m.Want != nil) != v.Open {
				s.t.Errorf("%s of %s is to be in the table: %v", m.Server, v.Label, m.Want != nil)
			}
		}
	}
	if got := strings.Join(got, " "); got != want {
		s.t.Errorf("open: %s, want %s", got, want)
	}
}

// A reload makes a service follow another gate. Where both are open the kernel feels
// nothing, and where one is, the service is there or not.
func TestAReloadMovesAServiceToAnotherGate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		open     []string
		from, to []string
		before   bool
		after    bool
		said     string
	}{
		{"both open", []string{"n1", "n2"}, []string{"n1"}, []string{"n2"}, true, true, "This director serves the services of n2"},
		{"to a closed one", []string{"n1"}, []string{"n1"}, []string{"n2"}, true, false, "Another director serves the services of n2: they leave this one"},
		{"to an open one", []string{"n2"}, []string{"n1"}, []string{"n2"}, false, true, "This director serves the services of n2"},
		{"to one of two", []string{"n1"}, []string{"n2"}, []string{"n1", "n2"}, false, true, "This director serves the services of n1 or n2"},
		{"to none", []string{"n1"}, []string{"n1"}, nil, true, true, ""},
		{"from none", []string{"n1"}, nil, []string{"n1"}, true, true, "This director serves the services of n1"},
		{"from none to a closed one", nil, nil, []string{"n1"}, true, false, "Another director serves the services of n1: they leave this one"},
		{"the same", []string{"n1"}, []string{"n1"}, []string{"n1"}, true, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gates := make(chan []string, 1)
				gates <- tt.open
				with := func(gates []string) []Virtual {
					other := service(lvs.Marked(3, lvs.IPv4)).with(follow("other"))
					return []Virtual{other, service(vip, real("a", 1), real("b", 3)).with(follow(gates...))}
				}
				is := func(there bool) string {
					if there {
						return "100:80: a=5 b=0"
					}
					return ""
				}
				s := direct(t, newMoody(), Options{Gates: gates, Virtuals: with(tt.from)})
				s.results(up("a"), up("b"))
				if err := s.d.Drain(t.Context(), Selector{Server: "10.1.0.12"}, 0); err != nil {
					t.Fatal(err)
				}
				want := is(tt.before)
				if tt.before {
					s.k.by(edit(vip, dst("a", 5)))
				}
				s.wait(2 * defaultLook)
				s.table(want)
				s.said()
				s.k.Taken()
				if err := s.d.Load(t.Context(), with(tt.to)); err != nil {
					t.Error(err)
				}
				want = is(tt.after)
				if !tt.before {
					want = strings.Replace(want, "a=5", "a=1", 1) // what was set by hand is gone with the service
				}
				s.table(want)
				var news []string
				for _, line := range s.said() {
					if strings.Contains(line, "director serves") {
						news = append(news, line)
					}
				}
				if got := strings.Join(news, "; "); got != tt.said {
					t.Errorf("said %q, want %q", got, tt.said)
				}
				if cs := s.k.Taken(); tt.before && tt.after && len(cs) > 0 {
					t.Errorf("the kernel felt it: %v", cs)
				}
				s.wait(time.Minute)
				s.table(want)
				if err := s.d.Load(t.Context(), with(tt.from)); err != nil {
					t.Error(err)
				}
				want = is(tt.before)
				if !tt.after {
					want = strings.Replace(want, "a=5", "a=1", 1)
				}
				s.table(want)
				s.stop()
			})
		})
	}
}

// What the kernel does not let go, and somebody removes, is not put back: another
// director serves it.
func TestAClosedServiceIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := make(chan []string, 1)
		gates <- []string{"n1"}
		k := newMoody()
		s := direct(t, k, Options{Gates: gates, Virtuals: []Virtual{service(vip, real("a", 1)).with(follow("n1"))}})
		s.results(up("a"))
		k.mood(func(lvs.Change) syscall.Errno { return syscall.EBUSY })
		gates <- nil
		synctest.Wait()
		s.table("100:80: a=1")
		k.mood(nil)
		k.by(lvs.Change{Op: lvs.DeleteService, Service: lvs.NewService(vip, "wrr")})
		s.wait(time.Minute)
		s.table("")
		for _, line := range s.said() {
			if strings.Contains(line, "by somebody") {
				t.Error(line)
			}
		}
		s.stop()
	})
}

// With one gate it need not be named, and another name for it is no news.
func TestOneGateByAnotherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := make(chan []string, 1)
		gates <- []string{"n2"}
		with := func(gates ...string) []Virtual { return []Virtual{service(vip).with(follow(gates...))} }
		s := direct(t, newMoody(), Options{Gates: gates, Virtuals: with("n1")})
		s.expect("No real server of 10.1.0.100:80 serves", "Another director serves: the services leave this one")
		for _, step := range []struct {
			follows string
			said    []string
		}{
			{"n3", []string{"Configuration loaded: 1 virtual servers"}},
			{"n2", []string{"Configuration loaded: 1 virtual servers", "This director serves", "Added virtual server: 10.1.0.100:80"}},
			{"n1", []string{"Configuration loaded: 1 virtual servers", "Another director serves: the services leave this one", "Purged virtual server (start): 10.1.0.100:80"}},
		} {
			if err := s.d.Load(t.Context(), with(step.follows)); err != nil {
				t.Error(err)
			}
			s.expect(step.said...)
		}
		s.stop()
	})
}
