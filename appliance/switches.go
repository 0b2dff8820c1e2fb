package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// gate tells the director which instances are master here. Each is a gate of the
// virtual services that follow it.
type gate struct {
	mu      sync.Mutex
	masters map[string]bool
	begun   bool
	out     chan []string                              // what the director reads; the latest is kept
	settle  func(ctx context.Context, instance string) // returns when the director has opened that one
}

func newGate() *gate {
	return &gate{masters: map[string]bool{}, out: make(chan []string, 1)}
}

// begin has the director begin: services that follow nobody need not wait for a
// master.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun {
		g.tell()
	}
}

// set says whether an instance is master. What it returns waits for the director;
// nil when there is nothing to wait for.
func (g *gate) set(instance string, master bool) func(context.Context, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.masters[instance] == master {
		return g.settle
	}
	if master {
		g.masters[instance] = true
	} else {
		delete(g.masters, instance)
	}
	g.tell()
	return g.settle
}

// settles names what returns when the director has done as it was told.
func (g *gate) settles(f func(context.Context, string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle = f
}

func (g *gate) tell() {
	g.begun = true
	select {
	case <-g.out:
	default:
	}
	g.out <- slices.Sorted(maps.Keys(g.masters))
}

// doorkeeper is its gate as one instance holds it. It comes before the addresses:
// a client that finds the address without the service would be refused.
type doorkeeper struct {
	gate     *gate
	instance string
}

func (*doorkeeper) String() string { return "virtual services" }

// tablePatience is how long the addresses wait for the table.
const tablePatience = 250 * time.Millisecond

// Take implements [vrrp.Holder].
func (d *doorkeeper) Take(ctx context.Context) error {
	settle := d.gate.set(d.instance, true)
	if settle != nil {
		ctx, cancel := context.WithTimeout(ctx, tablePatience)
		defer cancel()
		settle(ctx, d.instance)
	}
	return nil
}

// Drop implements [vrrp.Holder].
func (d *doorkeeper) Drop(context.Context) error {
	d.gate.set(d.instance, false)
	return nil
}

// Syncer is the part of the kernel's IPVS that copies connections to other
// directors.
type Syncer interface {
	Daemons() ([]lvs.Daemon, error)
	StartDaemon(lvs.Daemon) error
	StopDaemon(lvs.Daemon) error
}

// syncs runs the sync daemons that the states want. The kernel takes its time to
// end one, so that happens in a task of its own, and nobody waits for it.
type syncs struct {
	say  func(Level, string)
	wake chan struct{}

	mu      sync.Mutex // for what follows
	kernel  Syncer
	want    []config.Sync
	masters map[string]bool
	err     error
	closing bool
}

func newSyncs(say func(Level, string)) *syncs {
	return &syncs{say: say, wake: make(chan struct{}, 1), masters: map[string]bool{}}
}

func (s *syncs) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *syncs) use(k Syncer, want []config.Sync) {
	s.change(func() { s.kernel, s.want = k, want })
}

// switcher is the sync daemon as one instance holds it.
type switcher struct {
	syncs    *syncs
	instance string
}

func (*switcher) String() string { return "connection sync" }

// Take implements [vrrp.Holder].
func (w *switcher) Take(context.Context) error {
	w.syncs.change(func() { w.syncs.masters[w.instance] = true })
	return nil
}

// Drop implements [vrrp.Holder].
func (w *switcher) Drop(context.Context) error {
	w.syncs.change(func() { delete(w.syncs.masters, w.instance) })
	return nil
}

// wanted are the daemons that should run now.
func (s *syncs) wanted() map[lvs.Role]lvs.Daemon {
	want := map[lvs.Role]lvs.Daemon{}
	if s.closing {
		return want
	}
	for _, c := range s.want {
		d := c.Daemon
		if c.Instance != "" {
			d.Role = lvs.Backup
			if s.masters[c.Instance] {
				d.Role = lvs.Master
			}
		}
		want[d.Role] = d
	}
	return want
}

const syncRetry = 2 * time.Second

// run is the task. At its end it stops what it has started.
func (s *syncs) run(ctx context.Context) {
	mine := map[lvs.Role]lvs.Daemon{}
	for {
		err := s.reach(mine)
		var again <-chan time.Time
		if s.remember(err) {
			again = time.After(syncRetry)
		}
		select {
		case <-s.wake:
		case <-again:
		case <-ctx.Done():
			s.change(func() { s.closing = true })
			s.remember(s.reach(mine))
			return
		}
	}
}

// remember says a failure once, and tells whether there is one.
func (s *syncs) remember(err error) bool {
	s.mu.Lock()
	old := s.err
	s.err = err
	s.mu.Unlock()
	if err != nil && (old == nil || old.Error() != err.Error()) {
		s.say(Error, fmt.Sprintf("connection sync: %v; it is tried again", err))
	}
	return err != nil
}

// reach makes the kernel run what is wanted. Daemons that somebody else has
// started in a role that nobody wants stay; one in a wanted role is replaced.
func (s *syncs) reach(mine map[lvs.Role]lvs.Daemon) error {
	s.mu.Lock()
	k, want := s.kernel, s.wanted()
	s.mu.Unlock()
	if k == nil || len(want) == 0 && len(mine) == 0 {
		return nil
	}
	have, err := k.Daemons()
	if err != nil {
		return err
	}
	running := map[lvs.Role]lvs.Daemon{}
	for _, d := range have {
		running[d.Role] = d
	}
	var errs []error
	// Stop first: a director that is both for a moment sends itself what it has.
	for _, role := range []lvs.Role{lvs.Master, lvs.Backup} {
		d, runs := running[role]
		w, wants := want[role]
		_, ours := mine[role]
		if runs && (wants && !fits(d, w) || !wants && (ours || s.switched())) {
			if err := k.StopDaemon(d); err != nil {
				errs = append(errs, err)
				continue
			}
			delete(running, role)
		}
		if !wants {
			delete(mine, role)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(want)) {
		if _, runs := running[role]; !runs {
			if err := k.StartDaemon(want[role]); err != nil {
				errs = append(errs, err)
				continue
			}
			s.say(Info, fmt.Sprintf("connection sync: %v daemon on %s, id %d", role, want[role].Interface, want[role].SyncID))
		}
		mine[role] = want[role]
	}
	return errors.Join(errs...)
}

// switched tells whether instances switch the daemons. One in a role that is not
// wanted now was then left by a crash, and is in the way.
func (s *syncs) switched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closing && slices.ContainsFunc(s.want, func(c config.Sync) bool { return c.Instance != "" })
}

// fits compares what was asked for; the kernel fills in the rest.
func fits(have, want lvs.Daemon) bool {
	return have.Interface == want.Interface && have.SyncID == want.SyncID &&
		(want.MaxLen == 0 || have.MaxLen == want.MaxLen) && (want.Port == 0 || have.Port == want.Port) &&
		(want.TTL == 0 || have.TTL == want.TTL) && (!want.Group.IsValid() || have.Group == want.Group)
}

// state is what is shown: the daemons that should run, and what stands in the way.
func (s *syncs) state() (want []lvs.Daemon, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wanted()
	for _, role := range slices.Sorted(maps.Keys(w)) {
		want = append(want, w[role])
	}
	return want, s.err
}
