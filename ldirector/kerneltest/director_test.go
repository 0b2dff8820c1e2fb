// Package kerneltest lets a Director work on a kernel that has IPVS. It has
// tests only, apart from those of package ldirector because these run in the
// lab, which takes its time.
package kerneltest

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { lab.Main(m) }

var (
	vip     = lvs.At(lvs.TCP, netip.MustParseAddrPort("10.1.0.100:80"))
	foreign = lvs.At(lvs.TCP, netip.MustParseAddrPort("10.1.0.200:9000"))
)

type script struct{ results chan check.Result }

func (s script) Set([]check.Spec)              {}
func (s script) Results() <-chan check.Result  { return s.results }
func (s script) History(string) []check.Result { return nil }

func member(last byte, weight uint32) ldirector.Member {
	a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, last}), 80)
	return ldirector.Member{
		Destination: lvs.Destination{Addr: a, Method: lvs.Masq, Weight: weight, Upper: 50, Lower: 10},
		Name:        a.String(), Checks: []check.Spec{{ID: fmt.Sprint(last)}},
	}
}

func virtual(ms ...ldirector.Member) ldirector.Virtual {
	f := lvs.Destination{Addr: netip.MustParseAddrPort("10.1.0.9:80"), Method: lvs.Masq, Weight: 1}
	return ldirector.Virtual{
		Service: lvs.NewService(vip, "wrr"), Members: ms, Fallback: &f,
		Policy: ldirector.Policy{Quiescent: true, CleanStop: true},
	}
}

// stage is a Director on the kernel of a network namespace of its own.
type stage struct {
	t      *testing.T
	c      *kernel.Client
	d      *ldirector.Director
	checks script
	mu     sync.Mutex
	log    []string
	cancel context.CancelFunc
	ended  chan error
}

func direct(t *testing.T, c *kernel.Client, vs ...ldirector.Virtual) *stage {
	s := &stage{t: t, c: c, checks: script{make(chan check.Result)}, ended: make(chan error, 1)}
	s.d = ldirector.New(ldirector.Options{
		Kernel: c, Checks: s.checks, Virtuals: vs, Look: 100 * time.Millisecond,
		Report: func(e ldirector.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.log = append(s.log, e.Text)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { s.ended <- s.d.Run(ctx) }()
	return s
}

func (s *stage) result(last byte, up bool) {
	r := check.Result{ID: fmt.Sprint(last), When: time.Now(), Health: check.Up}
	if !up {
		r.Health, r.Err = check.Down, fmt.Errorf("connection refused")
	}
	s.checks.results <- r
}

func (s *stage) become(want string) {
	s.t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		table, err := s.c.Read()
		if err != nil {
			s.t.Fatal(err)
		}
		if got = text(table); got == want {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("the table is\n%s\nwant\n%s\nlog:\n%s", got, want, strings.Join(s.log, "\n"))
}

func text(t lvs.Table) string {
	var b strings.Builder
	for _, e := range t {
		fmt.Fprintf(&b, "%v %s:", e.Addr, e.Scheduler)
		for _, d := range e.Destinations {
			fmt.Fprintf(&b, " .%d=%d/%d", d.Addr.Addr().As4()[3], d.Weight, d.Upper)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestADirectorsLifeOnARealKernel(t *testing.T) {
	lab.Need(t)
	runtime.LockOSThread() // for good: the namespace ends with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	// Without an address the kernel calls no server's address a unicast one.
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	c, err := kernel.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	by := func(cs ...lvs.Change) {
		t.Helper()
		for _, err := range c.Do(cs) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	other := lvs.Change{Op: lvs.AddService, Service: lvs.NewService(foreign, "rr")}
	by(other)
	const theirs = "10.1.0.200:9000 rr:\n"

	s := direct(t, c, virtual(member(11, 1), member(12, 70000)))
	s.become("10.1.0.100:80 wrr: .11=0/0 .12=0/0\n" + theirs)
	s.result(11, true)
	s.result(12, false)
	s.become("10.1.0.100:80 wrr: .11=1/50 .12=0/0\n" + theirs)
	s.result(11, false)
	s.become("10.1.0.100:80 wrr: .9=1/0 .11=0/0 .12=0/0\n" + theirs)
	s.result(12, true)
	s.become("10.1.0.100:80 wrr: .11=0/0 .12=70000/50\n" + theirs)

	// Another's ipvsadm -e stays, another's ipvsadm -C is mended.
	edited := member(12, 5).Destination
	by(lvs.Change{Op: lvs.EditDestination, Service: lvs.NewService(vip, "wrr"), Destination: edited})
	time.Sleep(300 * time.Millisecond) // three looks, in which nothing may happen
	s.become("10.1.0.100:80 wrr: .11=0/0 .12=5/50\n" + theirs)
	by(lvs.Change{Op: lvs.Flush}, other)
	s.become("10.1.0.100:80 wrr: .11=0/0 .12=70000/50\n" + theirs)

	// A reload with another scheduler, a server more and one less; one that the
	// kernel does not have is refused, and the next is taken.
	after := virtual(member(12, 3), member(13, 1))
	after.Service.Scheduler = "no-such"
	if err := s.d.Load(t.Context(), []ldirector.Virtual{after}); err == nil {
		t.Error("an unknown scheduler is taken")
	}
	s.become("10.1.0.100:80 wrr: .12=3/50 .13=0/0\n" + theirs)
	after.Service.Scheduler = "wlc"
	if err := s.d.Load(t.Context(), []ldirector.Virtual{after}); err != nil {
		t.Error(err)
	}
	s.become("10.1.0.100:80 wlc: .12=3/50 .13=0/0\n" + theirs)
	if err := s.d.Drain(t.Context(), ldirector.Selector{Server: "10.1.0.12"}, 0); err != nil {
		t.Error(err)
	}
	s.become("10.1.0.100:80 wlc: .9=1/0 .12=0/0 .13=0/0\n" + theirs)

	s.cancel()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	s.become(theirs)
}
