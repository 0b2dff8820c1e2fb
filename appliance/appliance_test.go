package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The whole life of one instance.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		host.links["eth0"].Addrs = append(host.links["eth0"].Addrs, netip.MustParsePrefix("10.0.0.100/32"))
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32")}}, nil)
		time.Sleep(5 * time.Second)
		r.stop()
		equal(t, "host", host.told(""),
			"0.000 ip addr del 10.0.0.100/32 dev eth0",
			"3.609 advert vrid 51 priority 100 from 10.0.0.1 with 2 addresses",
			"3.609 ip addr add 10.0.0.100/32 dev eth0",
			"3.609 ip addr add 10.0.0.101/32 dev eth0",
			"3.609 eth0 claims 10.0.0.100", "3.609 eth0 claims 10.0.0.101",
			"3.609 eth0 claims 10.0.0.100", "3.609 eth0 claims 10.0.0.101",
			"4.609 advert vrid 51 priority 100 from 10.0.0.1 with 2 addresses",
			"5.000 advert vrid 51 priority 0 from 10.0.0.1 with 2 addresses",
			"5.996 advert vrid 51 priority 0 from 10.0.0.1 with 2 addresses",
			"6.996 ip addr del 10.0.0.101/32 dev eth0",
			"6.996 ip addr del 10.0.0.100/32 dev eth0")
		log := r.said("VI_1")
		slices.Sort(log) // what is said at one moment comes in any order
		equal(t, "log", log,
			"0.000 (VI_1) Entering BACKUP STATE: start, priority 100",
			"0.000 (VI_1) removing 10.0.0.100/32 from eth0: it was left there, or somebody has set it; an address that moves belongs in no other configuration of this host",
			"3.609 (VI_1) Entering MASTER STATE: master is down, priority 100",
			"5.000 (VI_1) sent 0 priority: stop; the addresses answer until a successor is heard",
			"6.996 (VI_1) Stopped: stop; no successor was heard")
		if !host.ports[0].closed {
			t.Error("the transport is still open")
		}
	})
}

// A reload is felt by what it changes, and by nothing else.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		site := config.Site{Instances: []config.Instance{
			instance("STAYS", 1, "10.0.0.101/32"), instance("CHANGES", 2, "10.0.0.102/32", "10.0.0.103/32"), instance("GOES", 3, "10.0.0.104/32"),
		}}
		r := start(t, host, site, nil)
		time.Sleep(6 * time.Second)
		before := len(host.told(""))
		next := config.Site{Instances: []config.Instance{
			instance("STAYS", 1, "10.0.0.101/32"), instance("CHANGES", 2, "10.0.0.103/32", "10.0.0.105/32"), instance("COMES", 4, "10.0.0.106/32"),
		}}
		if err := r.Set(next); err != nil {
			t.Fatal(err)
		}
		bad := config.Site{Instances: []config.Instance{instance("STAYS", 1)}}
		if err := r.Set(bad); err == nil {
			t.Error("an instance without addresses was taken")
		}
		time.Sleep(5 * time.Second)
		var steps []string
		for _, l := range host.told("")[before:] {
			if strings.Contains(l, "ip addr") {
				steps = append(steps, l)
			}
		}
		equal(t, "changes", steps,
			"6.000 ip addr del 10.0.0.102/32 dev eth0", "6.000 ip addr add 10.0.0.105/32 dev eth0",
			"7.996 ip addr del 10.0.0.104/32 dev eth0", "9.609 ip addr add 10.0.0.106/32 dev eth0")
		for _, vrid := range []int{1, 2} {
			if got := len(host.told(fmt.Sprintf("advert vrid %d ", vrid))); got != 8 { // 3.609 ... 10.609
				t.Errorf("vrid %d: %d adverts in 11 seconds, want 8", vrid, got)
			}
		}
		if got := host.told("claims 10.0.0.101"); len(got) != 2 {
			t.Errorf("the instance that stays was announced again: %q", got)
		}
		if got := host.told("claims 10.0.0.105"); len(got) != 2 {
			t.Errorf("the new address was announced: %q", got)
		}
		r.stop()
		if l, _ := host.Link("eth0", true); len(l.Addrs) != 1 {
			t.Errorf("left: %v", l.Addrs)
		}
	})
}

// A director whose device has lost the address that adverts come from leaves the
// field to others, also when the virtual addresses of its subnet went with it.
func TestOwnAddressGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/24")}}, nil)
		time.Sleep(4 * time.Second)
		host.setLink("eth0", &Link{Index: 2, Running: true, Ethernet: true})
		time.Sleep(time.Second)
		s, err := r.Status()
		if err != nil || s[0].State != "FAULT" || s[0].Cause != "own IPv4 address on eth0 not up" || len(s[0].Tracked) != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		if l, _ := host.Link("eth0", true); len(l.Addrs) > 0 {
			t.Errorf("still there: %v", l.Addrs)
		}
		if got := r.said("removed by somebody"); len(got) > 0 {
			t.Errorf("called a theft: %q", got)
		}
		host.setLink("eth0", &Link{Index: 2, Running: true, Ethernet: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24")}})
		time.Sleep(5 * time.Second)
		if s, err := r.Status(); err != nil || s[0].State != "MASTER" || s[0].Source != "10.0.0.7" {
			t.Errorf("%+v, %v", s, err)
		}
		r.stop()
	})
}

// One address that the kernel refuses keeps no other away, nor does a route.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		refused := true
		host.refuse = func(s netif.Step) error {
			if refused && (s.Op == netif.AddRoute || s.Op == netif.AddAddr && s.Addr.Prefix.String() == "10.0.0.100/32") {
				return &netif.StepError{Step: s, Err: syscall.EINVAL}
			}
			return nil
		}
		in := instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32")
		in.Routes = []config.Route{{Dst: netip.MustParsePrefix("10.5.0.0/16"), Via: netip.MustParseAddr("10.0.0.7")}}
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(5 * time.Second)
		equal(t, "log", r.said("tried again"),
			"3.609 (VI_1) setting VIPs: ip addr add 10.0.0.100/32 dev eth0: invalid argument; it is tried again",
			"3.609 (VI_1) setting routes: ip route add 10.5.0.0/16 via 10.0.0.7 proto keepalived: invalid argument; it is tried again")
		st, err := r.Status()
		if err != nil || st[0].State != "MASTER" || st[0].Holders[0].Taken || !strings.Contains(st[0].Holders[0].Error, "10.0.0.100/32") {
			t.Errorf("status %+v, %v", st, err)
		}
		if l, _ := host.Link("eth0", true); !l.Has(netip.MustParsePrefix("10.0.0.101/32")) {
			t.Error("the other address is not there")
		}
		host.mu.Lock()
		refused = false
		host.mu.Unlock()
		time.Sleep(2 * time.Second)
		if st, _ = r.Status(); !st[0].Holders[0].Taken || !st[0].Holders[1].Taken {
			t.Errorf("after the repair: %+v", st[0].Holders)
		}
		r.stop()
		// At the start, where a holder may be told twice, and once at the end.
		got := host.told("route del")
		late := slices.DeleteFunc(slices.Clone(got), func(line string) bool { return strings.HasPrefix(line, "0.000 ") })
		if len(got) < 2 || len(late) != 1 {
			t.Errorf("routes deleted: %q", got)
		}
	})
}

// An instance whose interface is not there waits for it, and the others run.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		late := instance("LATE", 52, "10.1.0.100/32")
		late.Link = "eth1"
		site := config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32"), late},
			Groups: []config.Group{{Group: vrrp.Group{Name: "G", Members: []string{"VI_1"}}}}}
		r := start(t, host, site, nil)
		time.Sleep(4 * time.Second)
		st, err := r.Status()
		if err != nil || st[0].State != "MASTER" || st[1].State != "WAITING" || !strings.Contains(st[1].Cause, "interface eth1") {
			t.Errorf("status %+v, %v", st, err)
		}
		if err := r.Standby("LATE"); err == nil {
			t.Error("an instance that does not run is in standby")
		}
		var none *NoInstanceError
		if err := r.Standby("NONE"); !errors.As(err, &none) {
			t.Errorf("standby of an instance that is not there: %v", err)
		}
		host.setLink("eth1", &Link{Index: 3, Running: true, Ethernet: true})
		time.Sleep(time.Second)
		if st, _ = r.Status(); st[1].State != "WAITING" || !strings.Contains(st[1].Cause, "no IPv4 address") {
			t.Errorf("without an address: %+v", st[1])
		}
		host.setLink("eth1", &Link{Index: 3, Running: true, Ethernet: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}})
		time.Sleep(4 * time.Second)
		if st, _ = r.Status(); st[1].State != "MASTER" || st[1].Source != "10.1.0.1" {
			t.Errorf("with its address: %+v", st[1])
		}
		host.setLink("eth1", nil)
		time.Sleep(time.Second)
		if st, _ = r.Status(); st[1].State != "FAULT" || st[0].State != "MASTER" {
			t.Errorf("without its device: %+v", st)
		}
		equal(t, "log", r.said("eth1"),
			"0.000 (LATE) cannot run: interface eth1: no such network interface; it waits until that is mended",
			"4.000 (LATE) cannot run: eth1 has no IPv4 address of its own to send adverts from; it waits until that is mended",
			"9.000 Netlink reports eth1 down",
			"9.000 (LATE) Entering FAULT STATE: interface eth1 not up, priority 100")
		r.stop()
	})
}

// Standby is told to whoever keeps it, and a start with it begins with it.
func TestStandbyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		var kept [][]string
		site := config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32"), instance("VI_2", 52, "10.0.0.101/32")}}
		r := start(t, host, site, func(o *Options) {
			o.Standby = []string{"VI_2"}
			o.Save = func(names []string) { kept = append(kept, names) }
		})
		st, err := r.Status()
		if err != nil || st[0].Mode != "normal" || st[1].Mode != "standby" || st[1].Priority != 1 {
			t.Errorf("status %+v, %v", st, err)
		}
		for _, do := range []func(...string) error{r.Standby, r.Resume} {
			if err := do("VI_1"); err != nil {
				t.Error(err)
			}
		}
		if err := r.Resume(); err != nil {
			t.Error(err)
		}
		if got, want := fmt.Sprint(kept), "[[VI_1 VI_2] [VI_2] []]"; got != want {
			t.Errorf("kept %v, want %v", got, want)
		}
		r.stop()
		if err := r.Standby(); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A second owner of an address is an alarm, while we wait and when we have it.
func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		host.answers[netip.MustParseAddr("10.0.0.100")] = "02:00:00:00:00:99"
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32")}}, nil)
		time.Sleep(9 * time.Second)
		got := r.said("duplicate")
		if len(got) != 2 || !strings.Contains(got[0], "but no VRRP master is heard") || !strings.Contains(got[1], "02:00:00:00:00:99 as well") {
			t.Errorf("log: %q", got)
		}
		st, err := r.Status()
		if err != nil || len(st[0].Duplicates) != 1 || st[0].Duplicates[0].Address.String() != "10.0.0.100" {
			t.Errorf("status %+v, %v", st, err)
		}
		if at := host.told("addr add 10.0.0.100"); len(at) != 1 || !strings.HasPrefix(at[0], "3.609") {
			t.Errorf("the question delayed the election: %q", at)
		}
		r.stop()
	})
}

// A master of lower priority has the addresses with good reason until it is our turn:
// that is no alarm, and the status says who it is.
func TestWeakerMasterIsNoDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		host.answers[netip.MustParseAddr("10.0.0.100")] = "02:00:00:00:00:99"
		in := instance("VI_1", 51, "10.0.0.100/32")
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(900 * time.Millisecond) // until its next advert
		for range 2 {
			host.hear("eth0", advertOf(in, "10.0.0.2", 50))
			time.Sleep(time.Second)
		}
		if got := r.said("duplicate"); len(got) != 0 {
			t.Errorf("log: %q", got)
		}
		st, err := r.Status()
		if err != nil || st[0].State != "BACKUP" || st[0].Weaker != "10.0.0.2" || len(st[0].Duplicates) != 0 {
			t.Errorf("status %+v, %v", st, err)
		}
		time.Sleep(time.Second)
		if st, err := r.Status(); err != nil || st[0].State != "MASTER" || st[0].Weaker != "" {
			t.Errorf("after it: %+v, %v", st, err)
		}
		r.stop()
	})
}

// The programs of an instance and of its group, in order, once each; what a reload
// takes away is told as well.
func TestPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, file := newFakeHost(), t.TempDir()+"/told"
		command := func(words ...string) *config.Command {
			return &config.Command{Words: append([]string{"/bin/sh", "-c", `echo "$@" >>` + file, "sh"}, words...)}
		}
		a, b := instance("A", 1, "10.0.0.101/32"), instance("B", 2, "10.0.0.102/32")
		a.Notify = config.Notify{Master: command("a is master"), Any: command(), Stop: command("a stops")}
		b.Notify = config.Notify{Any: command(), Fault: command("b is gone")}
		group := config.Group{Group: vrrp.Group{Name: "G", Members: []string{"A"}}, Notify: config.Notify{Any: command()}}
		r := start(t, host, config.Site{Instances: []config.Instance{a, b}, Groups: []config.Group{group}}, nil)
		time.Sleep(5 * time.Second)
		if err := r.Set(config.Site{Instances: []config.Instance{a}, Groups: []config.Group{group}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := r.Standby("A"); err != nil { // nobody takes over: no change to tell
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		r.stop()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		of := func(word string) []string {
			var out []string
			for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if strings.Contains(l, word) {
					out = append(out, l)
				}
			}
			return out
		}
		equal(t, "A", append(of("INSTANCE A"), of("a ")...),
			"INSTANCE A BACKUP 100", "INSTANCE A MASTER 100", "INSTANCE A STOP 1", "a is master", "a stops")
		equal(t, "B", append(of("INSTANCE B"), of("b ")...), "INSTANCE B BACKUP 100", "INSTANCE B MASTER 100", "INSTANCE B FAULT 100", "b is gone")
		equal(t, "G", of("GROUP G"), "GROUP G BACKUP 0", "GROUP G MASTER 0", "GROUP G STOP 0")
	})
}

// An instance that becomes another virtual router is one that ends, and one that
// begins: its programs hear it in this order, and as keepalived says it.
func TestProgramsOfAnother(t *testing.T) {
	for _, c := range []struct {
		deleted bool
		word    string
	}{{false, "FAULT"}, {true, "DELETED"}} {
		synctest.Test(t, func(t *testing.T) {
			host, file := newFakeHost(), t.TempDir()+"/told"
			in := instance("A", 1, "10.0.0.101/32")
			in.Notify = config.Notify{SayDeleted: c.deleted, Any: &config.Command{Words: []string{"/bin/sh", "-c", `echo "$@" >>` + file, "sh"}}}
			r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
			time.Sleep(5 * time.Second)
			in.VRID = 2
			if err := r.Set(config.Site{Instances: []config.Instance{in}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			r.stop()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "A", strings.Split(strings.TrimSpace(string(text)), "\n"),
				"INSTANCE A BACKUP 100", "INSTANCE A MASTER 100", "INSTANCE A "+c.word+" 100",
				"INSTANCE A BACKUP 100", "INSTANCE A MASTER 100", "INSTANCE A STOP 100")
		})
	}
}

// A kernel that does not remove addresses at first is asked again: none is left behind.
func TestSlowEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32")}}, nil)
		time.Sleep(5 * time.Second)
		end := time.Now().Add(12 * time.Second)
		host.mu.Lock()
		host.refuse = func(s netif.Step) error {
			if s.Op == netif.DelAddr && time.Now().Before(end) {
				return &netif.StepError{Step: s, Err: syscall.EBUSY}
			}
			return nil
		}
		host.mu.Unlock()
		r.stop()
		if l, _ := host.Link("eth0", true); len(l.Addrs) != 1 {
			t.Errorf("left: %v", l.Addrs)
		}
	})
}

func TestSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		const key = "net.ipv4.conf.eth0.promote_secondaries"
		host.sysctls[key] = "0"
		in := instance("VI_1", 51, "10.0.0.100/24")
		in.PromoteSecondaries = true
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		if v, _ := host.Sysctl(key); v != "1" {
			t.Errorf("%s is %s", key, v)
		}
		r.stop()
		if v, _ := host.Sysctl(key); v != "0" {
			t.Errorf("after the end %s is %s", key, v)
		}
	})
}

func TestCheck(t *testing.T) {
	vmac, mcast, link, dup := instance("A", 1, "10.0.0.1/32"), instance("A", 1, "10.0.0.1/32"), instance("A", 1, "10.0.0.1/32"), instance("B", 1, "10.0.0.1/32")
	vmac.VMAC, mcast.Group, link.Link = "vrrp.1", netip.MustParseAddr("10.0.0.19"), ""
	good := instance("A", 1, "10.0.0.1/32")
	apart, peer := instance("B", 1, "10.0.0.2/32"), instance("C", 1, "10.0.0.3/32")
	apart.Group, peer.Peers = netip.MustParseAddr("224.0.0.99"), []netip.Addr{netip.MustParseAddr("10.0.0.9")}
	if err := Check(config.Site{Instances: []config.Instance{good, apart, peer}}); err != nil {
		t.Errorf("one virtual_router_id with two groups and a peer: %v", err)
	}
	follows := func(name string) []ldirector.Virtual {
		return []ldirector.Virtual{{Service: lvs.NewService(lvs.Marked(1, lvs.IPv4), "rr"), Gates: []string{name}}}
	}
	for want, site := range map[string]config.Site{
		"":                          {Instances: []config.Instance{good}, Virtuals: follows("A")},
		"use_vmac is not supported": {Instances: []config.Instance{vmac}},
		"10.0.0.19 is no multicast": {Instances: []config.Instance{mcast}},
		"it has no interface":       {Instances: []config.Instance{link}},
		"no virtual address":        {Instances: []config.Instance{instance("A", 1)}},
		"two of that name":          {Instances: []config.Instance{good, good}},
		"the same virtual_router":   {Instances: []config.Instance{good, dup}},
		"bound to instance C":       {Instances: []config.Instance{good}, Virtuals: follows("C")},
		"sync is bound to":          {Instances: []config.Instance{good}, Sync: []config.Sync{{Instance: "C"}}},
		"there is no instance C":    {Instances: []config.Instance{good}, Groups: []config.Group{{Group: vrrp.Group{Name: "G", Members: []string{"A", "C"}}}}},
	} {
		err := Check(site)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		rise, fall    int
		results, want string // + good, - bad; U and D are news, . is none
	}{
		{1, 1, "+-+", "UDU"}, {1, 1, "--+", "D.U"}, {2, 3, "+--+---++", "U.....D.U"}, {3, 3, "-+++", "D..U"},
	} {
		v := verdict{rise: tt.rise, fall: tt.fall}
		got := ""
		for _, r := range tt.results {
			h, news := v.add(r == '+')
			switch {
			case !news:
				got += "."
			case h == vrrp.Up:
				got += "U"
			default:
				got += "D"
			}
		}
		if got != tt.want {
			t.Errorf("rise %d fall %d, %s: %s, want %s", tt.rise, tt.fall, tt.results, got, tt.want)
		}
	}
}
