package vrrp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Holder is something that a master holds: addresses, routes, the right to
// serve. Both methods may be called again when nothing has changed, and Drop
// also for what was never taken. They should give up when the context ends: the
// state has changed again. Holders are compared with ==, so they are pointers.
type Holder interface {
	Take(context.Context) error
	Drop(context.Context) error
}

// Announcer is a Holder that can tell the network where its addresses are, with
// so many frames for each of them: the first for every address before the second
// for any.
type Announcer interface {
	Announce(ctx context.Context, repeat int) error
}

// retryAfter is the pause before what failed is tried again.
const retryAfter = time.Second

// keeper takes and drops the holders of one instance in a goroutine of its own,
// so that none of them can delay an advertisement. Only the latest order counts:
// a Take that is under way when a Drop is ordered is cancelled.
type keeper struct {
	report func(Held)
	wake   chan struct{}
	done   chan struct{}

	mu       sync.Mutex // for what follows
	want     bool
	again    bool // take even what is taken
	announce int
	holders  []Holder
	former   []Holder // no longer wanted by anybody
	closing  bool
	hopeless bool // do not try any longer
	cancel   context.CancelFunc
	repeat   int // frames for a holder that is taken later than the others
	problems map[Holder]problem
	owed     map[Holder]bool // has missed the announcement
	reached  map[Holder]bool // taken or dropped, as wanted when it was done; absent is not known
}

// Held reports a step of a holder.
type Held struct {
	Holder string
	What   string // take, drop, announce
	Err    error
	Took   time.Duration
}

func (Held) action() {}

// problem is what went wrong last with a holder.
type problem struct {
	err  error
	at   time.Time
	what string
}

func (h Held) String() string {
	if h.Err != nil {
		return fmt.Sprintf("%s %s: %v", h.What, h.Holder, h.Err)
	}
	return fmt.Sprintf("%s %s: done", h.What, h.Holder)
}

func newKeeper(holders []Holder, repeat int, report func(Held)) *keeper {
	k := &keeper{
		report: report, holders: slices.Clone(holders), repeat: repeat,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		cancel: func() {}, problems: map[Holder]problem{}, owed: map[Holder]bool{}, reached: map[Holder]bool{},
	}
	go k.run()
	return k
}

// change gives a new order. The step under way is cancelled if it goes the wrong way.
func (k *keeper) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.want
	f()
	if k.want != before {
		k.cancel()
		clear(k.owed)
	}
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (k *keeper) take() { k.change(func() { k.want = true }) }
func (k *keeper) drop() { k.change(func() { k.want, k.announce = false, 0 }) }

// retake takes everything again, if it should be held at all.
func (k *keeper) retake(repeat int) {
	k.change(func() { k.again, k.announce = true, max(k.announce, repeat) })
}

func (k *keeper) tell(repeat int) { k.change(func() { k.announce = max(k.announce, repeat) }) }

// replace changes what is held. What is no longer among it is dropped.
func (k *keeper) replace(holders []Holder, repeat int) {
	k.change(func() {
		k.repeat = repeat
		for _, h := range holders {
			k.owed[h] = k.owed[h] || !slices.Contains(k.holders, h)
		}
		for _, h := range k.holders {
			if !slices.Contains(holders, h) {
				k.former = append(k.former, h)
			}
		}
		k.holders = slices.Clone(holders)
	})
}

// close ends the keeper once everything is dropped.
func (k *keeper) close() { k.change(func() { k.want, k.closing = false, true }) }

func (k *keeper) ended() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

// abandon ends the keeper, dropped or not.
func (k *keeper) abandon() {
	k.change(func() { k.hopeless = true; k.cancel() })
}

// status is what is held, and what went wrong with it.
func (k *keeper) status() []HolderStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []HolderStatus
	for _, h := range k.holders {
		taken, known := k.reached[h]
		all = append(all, HolderStatus{nameOf(h), known && taken, k.problems[h].err})
	}
	return all
}

// order is a consistent view of what is to be done.
type order struct {
	want, closing   bool
	hopeless        bool
	announce        int
	holders, former []Holder
	ctx             context.Context
}

func (k *keeper) read() (order, context.CancelFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.again {
		clear(k.reached)
		k.again = false
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	o := order{k.want, k.closing, k.hopeless, k.announce, k.holders, slices.Clone(k.former), ctx}
	k.announce = 0
	return o, cancel
}

func (k *keeper) run() {
	defer close(k.done)
	for {
		o, cancel := k.read()
		if o.hopeless {
			cancel()
			return
		}
		well := k.obey(o)
		cancel()
		if well && o.closing {
			return
		}
		var retry <-chan time.Time
		if !well {
			retry = time.After(retryAfter)
		}
		select {
		case <-k.wake:
		case <-retry:
		}
	}
}

// obey goes as far as it can: one holder that fails stops no other.
func (k *keeper) obey(o order) (well bool) {
	well = true
	for _, h := range slices.Backward(o.former) {
		if k.step(o.ctx, h, "drop", false, h.Drop) {
			k.leave(h)
		} else {
			well = false
		}
	}
	if !o.want {
		for _, h := range slices.Backward(o.holders) {
			well = k.step(o.ctx, h, "drop", false, h.Drop) && well
		}
		return well
	}
	for _, h := range o.holders {
		well = k.step(o.ctx, h, "take", true, h.Take) && well
	}
	for _, h := range o.holders {
		k.tellOf(h, &o)
	}
	return well
}

// tellOf announces a holder that is taken, if it is to be.
func (k *keeper) tellOf(h Holder, o *order) {
	a, can := h.(Announcer)
	if !can || !k.has(h, true) || o.ctx.Err() != nil {
		return
	}
	n := max(o.announce, k.debt(h))
	if n == 0 {
		return
	}
	start := time.Now()
	if err := a.Announce(o.ctx, n); err != nil && o.ctx.Err() == nil {
		k.report(Held{nameOf(h), "announce", err, time.Since(start)})
	}
}

// debt is the announcement that a holder has missed.
func (k *keeper) debt(h Holder) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.owed[h] {
		return 0
	}
	delete(k.owed, h)
	return k.repeat
}

// step takes or drops one holder, unless that is done already.
func (k *keeper) step(ctx context.Context, h Holder, what string, taken bool, do func(context.Context) error) bool {
	if k.has(h, taken) {
		return true
	}
	if ctx.Err() != nil || k.tooSoon(h, what) {
		return false
	}
	k.unsettle(h)
	start := time.Now()
	err := do(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return false // not a failure: another order has come
	}
	if k.note(h, what, taken, err) {
		k.report(Held{nameOf(h), what, err, time.Since(start)})
	}
	return err == nil
}

// note remembers the outcome of a step, and reports that it is news: the same
// failure every second is not.
func (k *keeper) note(h Holder, what string, taken bool, err error) (news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.problems, h)
		k.reached[h] = taken
		return true
	}
	old := k.problems[h]
	k.problems[h] = problem{err, time.Now(), what}
	k.owed[h] = taken
	return old.err == nil || old.err.Error() != err.Error()
}

// tooSoon keeps an order that has nothing to do with it from trying again what failed just now.
func (k *keeper) tooSoon(h Holder, what string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.problems[h]
	return p.err != nil && p.what == what && time.Since(p.at) < retryAfter
}

func (k *keeper) has(h Holder, taken bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, known := k.reached[h]
	return known && v == taken
}

// unsettle: whatever comes of a step, the holder is not as it was.
func (k *keeper) unsettle(h Holder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.reached, h)
}

// leave forgets a former holder.
func (k *keeper) leave(h Holder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.former = slices.DeleteFunc(k.former, func(o Holder) bool { return o == h })
	delete(k.reached, h)
	delete(k.problems, h)
	delete(k.owed, h)
}

// nameOf is what a holder calls itself.
func nameOf(h Holder) string {
	if s, ok := h.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", h)
}
