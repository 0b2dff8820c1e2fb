package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

// resources are the services of one instance: started from left to right once it
// has the addresses, stopped from right to left before they go.
//
// A service may take a minute to start, and the announcements of the addresses
// wait until all holders are taken. So Take only gives the order: a goroutine of
// its own carries it out, tells what fails, and tries again.
type resources struct {
	find  finder
	say   func(Level, string)
	stays *atomic.Bool // see addresses
	busy  *sync.WaitGroup
	// patience is how long addresses wait: dropPatience.
	patience time.Duration

	mu      sync.Mutex // for what follows
	want    []config.Resource
	gone    []config.Resource // no longer configured, and maybe running
	began   bool              // what was running before us has been looked at
	hold    bool              // what was ordered last
	waiting []chan error      // of orders that nobody has begun to carry out
	working bool
	wake    chan struct{}
	cancel  context.CancelFunc // ends a start under way
	started map[string]bool    // we have at least tried to
	states  map[string]string  // for the status
	fault   error              // of the last round
}

var _ vrrp.Holder = (*resources)(nil)

func newResources(find finder, say func(Level, string), stays *atomic.Bool, busy *sync.WaitGroup) *resources {
	return &resources{find: find, say: say, stays: stays, busy: busy, patience: dropPatience,
		wake: make(chan struct{}, 1), cancel: func() {}, started: map[string]bool{}, states: map[string]string{}}
}

func (*resources) String() string { return "resources" }

const (
	// dropPatience is how long addresses wait for the services on them to stop. It
	// is less than what a Speaker waits for its holders at the end: an address that
	// stays behind is worse than a service that stops without it.
	dropPatience = 4 * time.Second
	// A start that failed is tried again after a second, and then after twice as
	// long each time: every try may cost the host more than it can bring.
	firstAgain = time.Second
	lastAgain  = 30 * time.Second
)

func sameResource(a, b config.Resource) bool {
	return a.Name == b.Name && slices.Equal(a.Args, b.Args)
}

func keyOf(r config.Resource) string {
	return strings.Join(append([]string{r.Name}, r.Args...), "::")
}

// use changes what is to run, and tells whether that is another list.
func (h *resources) use(in *config.Instance) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.EqualFunc(h.want, in.Resources, sameResource) {
		return false
	}
	stays := func(r config.Resource) bool {
		return slices.ContainsFunc(in.Resources, func(o config.Resource) bool { return sameResource(r, o) })
	}
	for _, r := range h.want {
		if !stays(r) {
			h.gone = append(h.gone, r)
		}
	}
	h.gone = slices.DeleteFunc(h.gone, stays)
	h.want = slices.Clone(in.Resources)
	return true
}

// Take implements [vrrp.Holder]: it gives the order to start what does not run, and
// does not wait. What becomes of it is in the log and in the status.
func (h *resources) Take(context.Context) error {
	h.order(true)
	return nil
}

// Drop implements [vrrp.Holder]: it stops what runs, and waits for it, but not
// longer than the addresses can.
func (h *resources) Drop(ctx context.Context) error {
	if h.stays.Load() {
		h.leave()
		return nil
	}
	select {
	case err := <-h.order(false):
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(h.patience):
		return fmt.Errorf("still being stopped after %v; the addresses wait no longer", h.patience)
	}
}

// leave lets what runs run, and tries to start nothing more.
func (h *resources) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = false
	h.rouse()
}

func (h *resources) rouse() {
	select {
	case h.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// order says what is to be, and returns where the outcome of the next round comes.
// A start under way is ended by the order to stop, never the reverse: half a stop
// looks like a service that runs.
func (h *resources) order(hold bool) <-chan error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold && !hold {
		h.cancel()
	}
	h.hold = hold
	outcome := make(chan error, 1)
	h.waiting = append(h.waiting, outcome)
	if !h.working {
		h.working = true
		h.busy.Go(h.work)
	}
	h.rouse()
	return outcome
}

// round is a consistent view of what is to be done.
type round struct {
	ctx        context.Context
	hold       bool
	first      bool
	want, gone []config.Resource
	waiting    []chan error
}

// next is the next round; none when nothing is left to do.
func (h *resources) next(failed bool) (r round, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.wake: // it has been heard
	default:
	}
	if len(h.waiting) == 0 && !(failed && h.hold) {
		h.working = false
		return round{}, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	r = round{ctx, h.hold, !h.began, h.want, slices.Clone(h.gone), h.waiting}
	h.waiting, h.began = nil, true
	return r, true
}

// work carries orders out until they are.
func (h *resources) work() {
	failed, pause := false, firstAgain
	for {
		r, more := h.next(failed)
		if !more {
			return
		}
		err := h.obey(r)
		h.cancel()
		h.note(r, err)
		for _, w := range r.waiting {
			w <- err
		}
		// Who ordered a stop orders it again; a start is ours to repeat.
		failed = err != nil && r.hold
		if !failed {
			pause = firstAgain
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastAgain)
		case <-h.wake:
		}
	}
}

// note remembers the outcome of a round, and tells what is new about a start: the
// answer to the order to stop is told by who gave it.
func (h *resources) note(r round, err error) {
	h.mu.Lock()
	old := h.fault
	h.fault = err
	if err == nil || !r.hold {
		h.gone = slices.DeleteFunc(h.gone, func(o config.Resource) bool {
			return !h.started[keyOf(o)] && slices.ContainsFunc(r.gone, func(g config.Resource) bool { return sameResource(o, g) })
		})
	}
	h.mu.Unlock()
	if err == nil || !r.hold || r.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	if old == nil || old.Error() != err.Error() {
		h.say(Error, strings.ReplaceAll(err.Error(), "\n", "; ")+"; it is tried again")
	}
}

// obey stops what is no longer wanted, and starts the others up to the first that
// does not: those behind it may need it.
func (h *resources) obey(r round) error {
	var errs []error
	for _, g := range slices.Backward(r.gone) {
		errs = append(errs, h.stop(r, g))
	}
	if !r.hold {
		for _, s := range slices.Backward(r.want) {
			errs = append(errs, h.stop(r, s))
		}
		return errors.Join(errs...)
	}
	for _, s := range r.want {
		if err := h.start(r.ctx, s); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(errs...)
}

func (h *resources) start(ctx context.Context, r config.Resource) error {
	s, err := h.find.service(ctx, r)
	if err == nil && s.running(ctx) {
		h.mark(r, true, stateRunning)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		h.mark(r, false, stateFailed)
		return fmt.Errorf("resource %s: %w", keyOf(r), err)
	}
	h.mark(r, true, stateStarting)
	h.say(Info, fmt.Sprintf("Running %s", s.line("start")))
	began := time.Now()
	if err := s.run(ctx, "start"); err != nil {
		h.mark(r, true, stateFailed)
		return fmt.Errorf("resource %s: %w", keyOf(r), err)
	}
	h.mark(r, true, stateRunning)
	h.say(Info, fmt.Sprintf("resource %s started in %v", keyOf(r), time.Since(began).Round(time.Millisecond)))
	return nil
}

// stop stops what runs, or may: a start that was cut short is not always seen by
// status.
func (h *resources) stop(r round, one config.Resource) error {
	ctx := context.WithoutCancel(r.ctx)
	s, err := h.find.service(ctx, one)
	if err != nil {
		h.mark(one, false, stateStopped)
		if r.first {
			h.say(Warning, fmt.Sprintf("%s:%d: resource %s: %v; this node could not start it", one.Source.File, one.Source.Line, keyOf(one), err))
		}
		return nil // nothing is there that could run
	}
	ours := h.ours(one)
	if !ours && !s.running(ctx) {
		h.mark(one, false, stateStopped)
		return nil
	}
	if r.first && !ours {
		h.say(Warning, fmt.Sprintf("resource %s runs already, and is stopped: a crash has left it, or something else starts it; what moves with the addresses must not start at boot (systemctl disable)", keyOf(one)))
	}
	h.mark(one, ours, stateStopping)
	h.say(Info, fmt.Sprintf("Running %s", s.line("stop")))
	if err := s.run(ctx, "stop"); err != nil {
		h.mark(one, true, stateFailed)
		return fmt.Errorf("resource %s: %w", keyOf(one), err)
	}
	h.mark(one, false, stateStopped)
	return nil
}

// What is known of a resource.
const (
	stateUnknown  = "unknown"
	stateStarting = "starting"
	stateRunning  = "running"
	stateStopping = "stopping"
	stateStopped  = "stopped"
	stateFailed   = "failed"
)

func (h *resources) mark(r config.Resource, started bool, state string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started[keyOf(r)], h.states[keyOf(r)] = started, state
}

func (h *resources) ours(r config.Resource) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.started[keyOf(r)]
}

// ResourceStatus is a service that runs where the instance is master.
type ResourceStatus struct {
	Name  string `json:"name"`  // with its arguments, as in haresources
	State string `json:"state"` // unknown, starting, running, stopping, stopped, failed
}

// status is what is known of each, and what went wrong last.
func (h *resources) status() (all []ResourceStatus, fault error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.want {
		s := ResourceStatus{keyOf(r), h.states[keyOf(r)]}
		if s.State == "" {
			s.State = stateUnknown
		}
		all = append(all, s)
	}
	return all, h.fault
}
