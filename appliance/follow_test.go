package appliance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// fakeIPVS is a kernel whose table is in the diary of its host.
type fakeIPVS struct {
	*fakeSync
	table *lvstest.Kernel
	host  *fakeHost
}

func (k *fakeIPVS) SetTimeouts(lvs.Timeouts) error { return nil }
func (k *fakeIPVS) Read() (lvs.Table, error)       { return k.table.Read() }

func (k *fakeIPVS) Do(cs []lvs.Change) []error {
	verdicts := k.table.Do(cs)
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	for i, c := range cs {
		if verdicts[i] == nil && (c.Op == lvs.AddService || c.Op == lvs.DeleteService) {
			k.host.write("%v", c)
		}
	}
	return verdicts
}

// services are what the kernel has.
func (k *fakeIPVS) services(t *testing.T) string {
	t.Helper()
	have, err := k.table.Read()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range have {
		all = append(all, e.Key.Addr.String())
	}
	return strings.Join(all, " ")
}

func startWithIPVS(t *testing.T, site config.Site) (*running, *fakeIPVS) {
	t.Helper()
	host := newFakeHost()
	k := &fakeIPVS{fakeSync: &fakeSync{have: map[lvs.Role]lvs.Daemon{}}, table: lvstest.New(), host: host}
	r := start(t, host, site, func(o *Options) {
		o.IPVS = func() (IPVS, error) { return k, nil }
		o.Director.Checks = noChecks{}
	})
	return r, k
}

// serving is a service with a server that needs no check.
func serving(addr string, gates ...string) ldirector.Virtual {
	return ldirector.Virtual{
		Service: lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort(addr)), "rr"), Gates: gates,
		Members: []ldirector.Member{{Name: "10.0.0.11:80", Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.11:80"), Method: lvs.Masq, Weight: 1}}},
		Policy:  ldirector.Policy{CleanStop: true},
	}
}

func ofTwo(vs ...ldirector.Virtual) config.Site {
	return config.Site{Instances: []config.Instance{instance("A", 51, "10.0.0.100/32"), instance("B", 52, "10.0.0.200/32")}, Virtuals: vs}
}

// giveAway hands an instance over to another director, who is heard for some seconds.
func (r *running) giveAway(t *testing.T, name string) {
	t.Helper()
	if err := r.Standby(name); err != nil {
		t.Fatal(err)
	}
	for _, in := range ofTwo().Instances {
		for range 3 {
			if in.Name == name {
				r.host.hear("eth0", advertOf(in, "10.0.0.2", 50))
				time.Sleep(time.Second)
			}
		}
	}
	synctest.Wait()
}

// Each service is in the kernel while its own group is master, before its address
// comes and after it goes; that of the other group, and one that follows nobody, feel
// nothing.
func TestServicesFollowTheirInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, k := startWithIPVS(t, ofTwo(serving("10.0.0.100:80", "A"), serving("10.0.0.200:80", "B"), serving("10.0.0.9:80")))
		has := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := k.services(t); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		// steps are the changes of the table and of addresses since last asked.
		asked := 0
		steps := func() []string {
			all := k.host.told("")
			fresh := all[asked:]
			asked = len(all)
			var out []string
			for _, l := range fresh {
				_, what, _ := strings.Cut(l, " ")
				if strings.HasPrefix(what, "ip addr") || strings.Contains(what, ":80") {
					out = append(out, what)
				}
			}
			return out
		}
		has("backup of both", "10.0.0.9:80")
		time.Sleep(5 * time.Second)
		has("master of both", "10.0.0.9:80 10.0.0.100:80 10.0.0.200:80")
		taken := steps()
		for _, vip := range []string{"10.0.0.100", "10.0.0.200"} {
			before(t, taken, vip+":80", "add "+vip+"/32")
		}
		r.giveAway(t, "A")
		has("A is the other one's", "10.0.0.9:80 10.0.0.200:80")
		left := steps()
		before(t, left, "del 10.0.0.100/32", "10.0.0.100:80")
		if len(left) != 2 {
			t.Errorf("somebody else felt it: %q", left)
		}
		if err := r.Resume("A"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		has("A is back", "10.0.0.9:80 10.0.0.100:80 10.0.0.200:80")
		back := steps()
		before(t, back, "10.0.0.100:80", "add 10.0.0.100/32")
		if len(back) != 2 {
			t.Errorf("somebody else felt it: %q", back)
		}
		r.stop()
		has("the end", "")
	})
}

// before tells that one step came before another one.
func before(t *testing.T, steps []string, first, then string) {
	t.Helper()
	at := func(word string) int {
		return slices.IndexFunc(steps, func(s string) bool { return strings.Contains(s, word) })
	}
	if i, j := at(first), at(then); i < 0 || j < 0 || i > j {
		t.Errorf("%q is not before %q: %q", first, then, steps)
	}
}

// A reload moves a service from one group to another. Where this director is master of
// the new one the kernel feels nothing, also when nothing has followed that so far.
func TestAReloadMovesAServiceToAnotherInstance(t *testing.T) {
	const web = "10.0.0.100:80"
	for _, tt := range []struct {
		name     string
		from, to []ldirector.Virtual
		standby  string
		want     string // what the kernel has after it
		felt     string // what it was told
	}{
		{"both were followed", []ldirector.Virtual{serving(web, "A"), serving("10.0.0.200:80", "B")}, []ldirector.Virtual{serving(web, "B"), serving("10.0.0.200:80", "B")}, "", web + " 10.0.0.200:80", ""},
		{"nobody has followed B", []ldirector.Virtual{serving(web, "A")}, []ldirector.Virtual{serving(web, "B")}, "", web, ""},
		{"it has followed nobody", []ldirector.Virtual{serving(web)}, []ldirector.Virtual{serving(web, "B")}, "", web, ""},
		{"it follows nobody any more", []ldirector.Virtual{serving(web, "A")}, []ldirector.Virtual{serving(web)}, "", web, ""},
		{"A has left, B comes", []ldirector.Virtual{serving(web, "A")}, []ldirector.Virtual{serving(web, "B")}, "A", web, "add service"},
		{"B is the other one's", []ldirector.Virtual{serving(web, "A")}, []ldirector.Virtual{serving(web, "B")}, "B", "", "delete service"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, k := startWithIPVS(t, ofTwo(tt.from...))
				time.Sleep(5 * time.Second)
				if tt.standby != "" {
					r.giveAway(t, tt.standby)
				}
				before := len(k.host.told(web))
				if err := r.Set(ofTwo(tt.to...)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				if got := k.services(t); got != tt.want {
					t.Errorf("the kernel has %q, want %q", got, tt.want)
				}
				felt := k.host.told(web)[before:]
				if (tt.felt == "") != (len(felt) == 0) || len(felt) > 1 || tt.felt != "" && !strings.Contains(felt[0], tt.felt) {
					t.Errorf("the kernel was told %q, want %q", felt, tt.felt)
				}
				// From now on it goes with the group that it follows.
				if tt.standby == "" && len(tt.to[0].Gates) > 0 {
					r.giveAway(t, "B")
					if got := k.services(t); got != "" {
						t.Errorf("B is the other one's, and here is %s", got)
					}
				}
				r.stop()
			})
		})
	}
}

// A gate that was opened for a master that the reload takes away is closed again: its
// instance holds no door that would do it.
func TestAReloadTakesTheNewMasterAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, k := startWithIPVS(t, ofTwo(serving("10.0.0.100:80", "A")))
		time.Sleep(5 * time.Second)
		gone := ofTwo(serving("10.0.0.100:80", "B"))
		gone.Instances[1].Group = netip.MustParseAddr("224.0.0.99")
		gone.Instances[1].Link = "eth7"
		if err := r.Set(gone); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := k.services(t); got != "" {
			t.Errorf("B waits for its interface, and here is %s", got)
		}
		r.stop()
	})
}
