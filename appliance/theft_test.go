package appliance

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Addresses that somebody takes away come back at once, and are announced.
func TestTheft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32", "10.0.0.101/32", "10.0.0.102/32")
		in.Addresses[2].Untracked = true
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(4 * time.Second)
		host.steal("eth0", "10.0.0.100/32", "10.0.0.101/32")
		time.Sleep(100 * time.Millisecond)
		if l, _ := host.Link("eth0", true); len(l.Addrs) != 4 {
			t.Errorf("100 ms later there are %v", l.Addrs)
		}
		if got := host.told("claims 10.0.0.100"); len(got) != 4 {
			t.Errorf("announced %q", got)
		}
		equal(t, "log", r.said("removed"), "4.010 (VI_1) 2 VIPs were removed by somebody else, 10.0.0.100/32 on eth0 first; put back; "+
			"no network manager has eth0, so look for a person or a script; to take a VIP away for good, type: lvsctl vrrp standby")
		host.steal("eth0", "10.0.0.102/32")
		time.Sleep(100 * time.Millisecond)
		if l, _ := host.Link("eth0", true); len(l.Addrs) != 3 {
			t.Errorf("an untracked address came back: %v", l.Addrs)
		}
		st, err := r.Status()
		if err != nil || st[0].Removed != 1 || st[0].LastRemoved.IsZero() {
			t.Errorf("status %+v, %v", st, err)
		}
		r.stop()
	})
}

// The log names who did it, and what to type.
func TestTheftByAManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		host.managers = []netif.Manager{{Name: "systemd-networkd", File: "/etc/systemd/network/10-lan.network"}}
		r := start(t, host, config.Site{Instances: []config.Instance{instance("VI_1", 51, "10.0.0.100/32")}}, nil)
		time.Sleep(4 * time.Second)
		host.steal("eth0", "10.0.0.100/32")
		time.Sleep(time.Second)
		got := strings.Join(r.said("removed"), "\n")
		if !strings.Contains(got, `systemd-networkd manages eth0; type: mkdir -p /etc/systemd/network/10-lan.network.d && printf '[Network]\nKeepConfiguration=static\n' >/etc/systemd/network/10-lan.network.d/keep.conf && networkctl reload`) {
			t.Error(got)
		}
		r.stop()
	})
}

// fight removes the address whenever it is there, for some time.
func fight(host *fakeHost, address string, d time.Duration) (times int) {
	p := netip.MustParsePrefix(address)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if l, _ := host.Link("eth0", true); l.Has(p) {
			host.steal("eth0", address)
			times++
		}
	}
	return times
}

// Who removes the address again and again is not answered all the time, nor is the
// log filled; whether the address is handed over is a choice.
func TestFight(t *testing.T) {
	for _, c := range []struct {
		policy   config.OnRemoved
		forfeits int // goodbyes in three minutes, with nobody to take over
	}{{config.Restore, 3}, {config.Keep, 0}} {
		t.Run(c.policy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := newFakeHost()
				in := instance("VI_1", 51, "10.0.0.100/32")
				in.OnRemoved = c.policy
				r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
				time.Sleep(4 * time.Second)
				times := fight(host, "10.0.0.100/32", 3*time.Minute)
				if times < 40 || times > 70 { // 20 at once, and then with every look
					t.Errorf("the address came back %d times in 3 minutes", times)
				}
				if n := len(r.said("removed from")); n > 4 {
					t.Errorf("%d log lines: %q", n, r.said("removed from"))
				}
				if n := len(r.said("sent 0 priority")); n > c.forfeits || c.forfeits > 0 && n == 0 {
					t.Errorf("given up %d times: %q", n, r.said(""))
				}
				if st, _ := r.Status(); st[0].State == "BACKUP" || st[0].Removed < 40 {
					t.Errorf("with nobody else there it is %s; %d removals", st[0].State, st[0].Removed)
				}
				time.Sleep(10 * time.Second)
				if l, _ := host.Link("eth0", true); !l.Has(netip.MustParsePrefix("10.0.0.100/32")) {
					t.Error("the address did not come back in the end")
				}
				time.Sleep(time.Minute)
				host.steal("eth0", "10.0.0.100/32")
				time.Sleep(time.Second)
				if l, _ := host.Link("eth0", true); !l.Has(netip.MustParsePrefix("10.0.0.100/32")) {
					t.Error("after a minute of peace it is not answered at once")
				}
				r.stop()
			})
		})
	}
}

// As keepalived does it: one removal, and somebody else may have it.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32")
		in.OnRemoved = config.Yield
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(4 * time.Second)
		host.steal("eth0", "10.0.0.100/32")
		time.Sleep(100 * time.Millisecond)
		if l, _ := host.Link("eth0", true); !l.Has(netip.MustParsePrefix("10.0.0.100/32")) {
			t.Error("it does not answer until a successor is heard")
		}
		for range 5 { // a weaker one, which was waiting
			host.hear("eth0", advertOf(in, "10.0.0.2", 50))
			time.Sleep(time.Second)
		}
		st, _ := r.Status()
		if l, _ := host.Link("eth0", true); st[0].State != "BACKUP" || len(l.Addrs) != 1 {
			t.Errorf("%s with %v", st[0].State, l.Addrs)
		}
		if got := r.said("handing over, as on_vip_removed says"); len(got) != 1 {
			t.Errorf("log: %q", r.said(""))
		}
		if st[0].YieldsUntil.IsZero() {
			t.Error("the status does not say for how long")
		}
		r.stop()
	})
}

// hear brings an advert to a device.
func (h *fakeHost) hear(link string, a vrrp.Advert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		if p.link == link && !p.closed {
			p.ch <- a
		}
	}
}

// advertOf is what another router of the instance says.
func advertOf(in config.Instance, from string, priority uint8) vrrp.Advert {
	return vrrp.Advert{Src: netip.MustParseAddr(from), Dst: vrrp.GroupIPv4, TTL: 255, Version: in.Version, Type: 1, VRID: in.VRID,
		Priority: priority, Interval: in.Interval, Addrs: advertised(&in)}
}

// An address that somebody has is left to him, and taken when it is free.
func TestRefuseDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		vip := netip.MustParseAddr("10.0.0.100")
		host.answers[vip] = "02:00:00:00:00:99"
		in := instance("VI_1", 51, "10.0.0.100/32")
		in.AskFirst = true
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(time.Minute)
		st, err := r.Status()
		if err != nil || st[0].State != "BACKUP" || !strings.Contains(st[0].Refused, "10.0.0.100 answers on eth0 at 02:00:00:00:00:99") || len(st[0].Duplicates) != 1 {
			t.Fatalf("status %+v, %v", st, err)
		}
		if got := host.told("addr add"); len(got) != 0 {
			t.Errorf("taken: %q", got)
		}
		if got := r.said("not taking over"); len(got) != 1 {
			t.Errorf("in a minute it is said %d times: %q", len(got), got)
		}
		host.mu.Lock()
		delete(host.answers, vip)
		host.mu.Unlock()
		time.Sleep(8 * time.Second)
		if st, _ = r.Status(); st[0].State != "MASTER" || st[0].Refused != "" || len(st[0].Duplicates) != 0 {
			t.Errorf("once it is free: %+v", st[0])
		}
		r.stop()
	})
}

// The dead do not answer: a question costs an election nothing.
func TestAskingIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32")
		in.AskFirst = true
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(5 * time.Second)
		if got := host.told("addr add"); len(got) != 1 || !strings.HasPrefix(got[0], "3.609") {
			t.Errorf("taken: %q", got)
		}
		r.stop()
	})
}

// Who uses our virtual_router_id in another way is in the log, at a bounded rate,
// and in the status; a master of lower priority is told to its program.
func TestOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32")
		file := t.TempDir() + "/told"
		in.Notify.LowerPriority = &config.Command{Words: []string{"/bin/sh", "-c", "echo lower >>" + file}}
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(4 * time.Second)
		stranger := advertOf(instance("OTHER", 51, "10.0.0.200/32", "10.0.0.201/32"), "10.0.0.77", 200)
		for range 60 {
			host.hear("eth0", stranger)
			host.hear("eth0", advertOf(in, "10.0.0.2", 50))
			time.Sleep(500 * time.Millisecond)
		}
		st, err := r.Status()
		if err != nil || st[0].State != "MASTER" || len(st[0].Foreign) != 1 {
			t.Fatalf("status %+v, %v", st, err)
		}
		f := st[0].Foreign[0]
		if f.Address != "10.0.0.77" || f.Adverts != 60 || fmt.Sprint(f.Addresses) != "[10.0.0.200 10.0.0.201]" || !strings.HasPrefix(f.Reason, "other virtual addresses") {
			t.Errorf("%+v", f)
		}
		if got := r.said("dropped advert from 10.0.0.77"); len(got) < 2 || len(got) > 4 || !strings.Contains(got[0], "it says [10.0.0.200 10.0.0.201]") {
			t.Errorf("log: %q", got)
		}
		if got := r.said("lower priority 50"); len(got) < 2 || len(got) > 4 {
			t.Errorf("log: %q", got)
		}
		r.stop()
		if n := len(linesOf(t, file)); n < 25 || n > 31 {
			t.Errorf("the program ran %d times in 30 intervals", n)
		}
	})
}

// dont_track_primary: the instance lives on while its interface is down.
func TestUntrackedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32")
		other := instance("VI_2", 52, "10.0.0.101/32")
		in.UntrackedLink = true
		r := start(t, host, config.Site{Instances: []config.Instance{in, other}}, nil)
		time.Sleep(4 * time.Second)
		l, _ := host.Link("eth0", true)
		l.Running = false
		host.setLink("eth0", &l)
		time.Sleep(time.Second)
		if st, _ := r.Status(); st[0].State != "MASTER" || st[1].State != "FAULT" {
			t.Errorf("without carrier: %s and %s", st[0].State, st[1].State)
		}
		// What goes with its device comes back with it, and nobody is blamed.
		host.steal("eth0", "10.0.0.100/32")
		time.Sleep(time.Second)
		l, _ = host.Link("eth0", true)
		l.Running = true
		host.setLink("eth0", &l)
		time.Sleep(time.Second)
		if got := r.said("removed"); !host.has(t, "eth0", "10.0.0.100/32") || len(got) != 0 {
			t.Errorf("with the carrier back: %v, %q", l.Addrs, got)
		}
		r.stop()
	})
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// A route that somebody takes away comes back with the next look, and is not missed
// by who has given it up.
func TestTheftOfARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := newFakeHost()
		in := instance("VI_1", 51, "10.0.0.100/32")
		dst := netip.MustParsePrefix("10.5.0.0/16")
		in.Routes = []config.Route{{Dst: dst, Via: netip.MustParseAddr("10.0.0.7")}}
		r := start(t, host, config.Site{Instances: []config.Instance{in}}, nil)
		time.Sleep(4 * time.Second)
		host.stealRoute(dst)
		time.Sleep(lookEvery)
		if got := host.told("route add"); len(got) != 2 {
			t.Errorf("routes added: %q", got)
		}
		for range 3 { // it is not told again and again
			host.stealRoute(dst)
			time.Sleep(lookEvery)
		}
		equal(t, "log", r.said("route to"), "5.000 (VI_1) route to 10.5.0.0/16 was removed by somebody else; put back")
		host.setLink("eth0", &Link{Index: 2, Ethernet: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}})
		time.Sleep(time.Second)
		host.stealRoute(dst) // as the kernel does it with those of a device that went down
		time.Sleep(2 * lookEvery)
		if got := host.told("route add"); len(got) != 5 {
			t.Errorf("in FAULT, routes added: %q", got)
		}
		r.stop()
	})
}
