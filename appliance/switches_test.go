package appliance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// fakeSync is the kernel's sync daemons.
type fakeSync struct {
	mu     sync.Mutex
	have   map[lvs.Role]lvs.Daemon
	diary  []string
	refuse error
}

func (k *fakeSync) Daemons() ([]lvs.Daemon, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []lvs.Daemon
	for _, d := range k.have {
		out = append(out, d)
	}
	return out, nil
}

func (k *fakeSync) StartDaemon(d lvs.Daemon) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		return k.refuse
	}
	if _, runs := k.have[d.Role]; runs {
		return syscall.EEXIST
	}
	k.have[d.Role] = d
	k.diary = append(k.diary, fmt.Sprintf("start %s %s", roleWord(d.Role), d.Interface))
	return nil
}

func (k *fakeSync) StopDaemon(d lvs.Daemon) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, runs := k.have[d.Role]; !runs {
		return syscall.ESRCH
	}
	delete(k.have, d.Role)
	k.diary = append(k.diary, "stop "+roleWord(d.Role))
	return nil
}

func (k *fakeSync) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.diary
	k.diary = nil
	return out
}

func TestSyncFollowsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeSync{have: map[lvs.Role]lvs.Daemon{lvs.Master: {Role: lvs.Master, Interface: "eth9"}}} // left by a crash
		var log []string
		s := newSyncs(func(_ Level, text string) { log = append(log, text) })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.run(ctx) }()
		want := []config.Sync{{Daemon: lvs.Daemon{Interface: "eth0", SyncID: 7}, Instance: "VI_1"}}
		step := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := k.lines(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		s.use(k, want)
		step("begin", "stop master", "start backup eth0")
		w := &switcher{s, "VI_1"}
		_ = w.Take(ctx)
		step("master", "stop backup", "start master eth0")
		_ = w.Take(ctx)
		step("again")
		k.mu.Lock()
		k.refuse = syscall.ENODEV
		k.mu.Unlock()
		_ = w.Drop(ctx)
		step("refused", "stop master")
		if n := len(log); n == 0 || !strings.Contains(log[n-1], "tried again") {
			t.Errorf("log %q", log)
		}
		k.mu.Lock()
		k.refuse = nil
		k.mu.Unlock()
		time.Sleep(2 * syncRetry)
		step("tried again", "start backup eth0")
		want[0].Daemon.Interface = "eth1"
		s.use(k, slices.Clone(want))
		step("another device", "stop backup", "start backup eth1")
		stop()
		<-ended
		step("end", "stop backup")
	})
}

func TestGate(t *testing.T) {
	g := newGate()
	look := func(what string, want string) {
		t.Helper()
		got := "nothing"
		select {
		case open := <-g.out:
			got = fmt.Sprint(open)
		default:
		}
		if got != want {
			t.Errorf("%s: told %s, want %s", what, got, want)
		}
	}
	g.begin()
	look("begin", "[]")
	g.begin()
	look("a reload", "nothing")
	a, b := &doorkeeper{g, "A"}, &doorkeeper{g, "B"}
	for _, s := range []struct {
		what string
		do   func(context.Context) error
		want string
	}{
		{"B is master", b.Take, "[B]"}, {"A too", a.Take, "[A B]"}, {"told again", a.Take, "nothing"},
		{"A is not", a.Drop, "[B]"}, {"nobody", b.Drop, "[]"}, {"again", b.Drop, "nothing"},
	} {
		if err := s.do(t.Context()); err != nil {
			t.Error(err)
		}
		look(s.what, s.want)
	}
	_ = a.Take(t.Context())
	_ = a.Drop(t.Context())
	look("the latest counts", "[]")
}
