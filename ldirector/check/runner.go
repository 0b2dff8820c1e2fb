package check

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options are the bounds of a [Runner]. The zero Options are sensible.
type Options struct {
	// MaxRunning is how many checks may be under way at once, each of them a
	// descriptor or two. 0 = 4096, or a quarter of RLIMIT_NOFILE if that is less.
	MaxRunning int
	// MaxFresh is how many of these may be younger than a quarter of a second,
	// that is, still at work and not waiting for a silent server. It keeps a
	// thousand checks that start together from being slow because of each
	// other. 0 = 256.
	MaxFresh int
	// MaxPrograms is how many checks that run a program may be under way.
	// 0 = 32.
	MaxPrograms int
	// Keep is how many results of each check [Runner.History] remembers. 0 = 10.
	Keep int
}

// freshFor is how long a check counts as fresh. A server that has not answered
// by then is slow or gone, and waiting for it costs memory but no time.
const freshFor = 250 * time.Millisecond

func (o Options) withDefaults() Options {
	if o.MaxRunning <= 0 {
		o.MaxRunning = min(4096, descriptors()/4)
	}
	o.MaxRunning = max(o.MaxRunning, 1)
	if o.MaxFresh <= 0 {
		o.MaxFresh = 256
	}
	if o.MaxPrograms <= 0 {
		o.MaxPrograms = 32
	}
	if o.Keep <= 0 {
		o.Keep = 10
	}
	return o
}

func descriptors() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(l.Cur)
}

// Runner keeps a set of checks going. One goroutine, [Runner.Run], owns all
// state; each check that is under way, and needs more than a glance, has a
// goroutine to itself, which tells the owner what it found.
type Runner struct {
	net     Net
	poll    *poller // nil where there are no glances
	opt     Options
	results chan Result
	done    chan finished
	tasks   chan task     // to goroutines that have made their check
	idle    atomic.Int32  // how many of those there are
	wake    chan struct{} // something was put into want

	mu      sync.Mutex
	want    []Spec // what Set last said, nil when taken
	history map[string]*ring

	// The rest belongs to Run.
	base    context.Context
	entries map[string]*entry
	agenda  schedule  // the idle, by their next start, and those under way, by their timeout
	light   fifo      // due, waiting for a place
	heavy   fifo      // the same, of checks that run a program
	fresh   []started // under way, in order of start, no older than freshFor
	running int
	progs   int
	born    uint32 // how many entries there ever were, for their phases
	size    int    // how many there are to be
	epoch   time.Time
	out     outbox
	stall   stall
}

// NewRunner returns a Runner without checks. Its [Runner.Run] must be called
// for anything to happen.
func NewRunner(n Net, o Options) *Runner {
	o = o.withDefaults()
	r := &Runner{
		net: n, opt: o,
		results: make(chan Result, 64),
		done:    make(chan finished, 64),
		tasks:   make(chan task),
		wake:    make(chan struct{}, 1),
		history: make(map[string]*ring),
		entries: make(map[string]*entry),
	}
	if h, ok := n.(Host); ok && h.Control == nil {
		r.poll = h.poll
	}
	return r
}

// Results is where every answer comes out, those of one ID in order. A slow
// reader holds nothing up: of the answers it has not taken, each ID keeps the
// latest and those that changed its health. The channel is closed when Run
// returns. A result of a check that was removed meanwhile may still come.
func (r *Runner) Results() <-chan Result { return r.results }

// Set makes specs the checks to run, whatever they were before. It returns at
// once and may be called before and during [Runner.Run], from any goroutine.
//
// A spec that is there already, equal in all fields, is not touched. One with a
// known ID and another content keeps its health and streak; if it is another
// probe that is checked at once. A new one is checked at once. Of two specs
// with the same ID the last counts.
func (r *Runner) Set(specs []Spec) {
	r.mu.Lock()
	r.want = append(make([]Spec, 0, len(specs)), specs...)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it has yet to look, and will find these
	}
}

// History returns the last results of a check, oldest first.
func (r *Runner) History(id string) []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history[id].list()
}

// entry is one check of the set.
type entry struct {
	spec   Spec
	probe  Probe   // prepared; nil until the first check could prepare it
	glance *glance // of probe, when it is a glancer
	streak Streak
	beat   time.Time // when the rhythm has the next start
	next   time.Time // when it really starts: at the beat, or sooner; when under way, when its time is over
	slot   int       // place in the schedule, -1 when not there
	state  state
	heavy  bool                    // the check under way runs a program
	cancel context.CancelCauseFunc // of the check under way
	again  bool                    // the check under way is of an older spec: drop its result, start anew
	gone   bool                    // removed while a check was under way
	unfair int                     // results in a row that we gave away for having been stopped
	unseen []Result                // answers waiting in the outbox
	losses int                     // answers dropped from there
}

type state uint8

const (
	idle state = iota
	queued
	running
)

// finished is what a check's goroutine reports.
type finished struct {
	e     *entry
	probe Probe
	when  time.Time
	took  time.Duration
	out   Outcome
}

type started struct {
	e    *entry
	when time.Time
}

// Run runs the checks until ctx ends, then waits for those under way, which end
// with it, and closes the results.
func (r *Runner) Run(ctx context.Context) {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	r.base, r.epoch = base, time.Now()
	defer close(r.results)
	clock := newAlarm(r.net)
	defer clock.stop()
	for now := time.Now(); ctx.Err() == nil; {
		r.startDue(now)
		// An alarm that is set too early costs a look at the schedule; setting it
		// anew for every event costs more. Once nothing is under way there will be
		// no event.
		if d := r.deadline(now); d.Before(r.stall.armed) || !r.stall.armed.After(now) || r.running == 0 && d.After(r.stall.armed) {
			r.stall.armed = d
			clock.set(d.Sub(now))
		}
		now = r.wait(ctx, clock.rings(), now)
	}
	for _, e := range r.entries {
		if e.state == running {
			e.cancel(context.Canceled)
		}
	}
	for r.running > 0 {
		<-r.done
		r.running--
	}
	close(r.tasks)
}

// wait takes one event, and the results of checks that came with it, and returns
// what time it is then.
func (r *Runner) wait(ctx context.Context, tick <-chan time.Time, now time.Time) time.Time {
	r.flush()
	var results chan<- Result
	if r.out.any() {
		results = r.results
	}
	select {
	case <-ctx.Done():
	case <-tick:
		now = r.now()
	case <-r.wake:
		now = r.now()
		r.take(now)
	case f := <-r.done:
		now = r.now()
		r.finish(now, f)
		for len(r.done) > 0 {
			r.finish(now, <-r.done)
		}
	case results <- r.out.peek():
		r.out.pop()
	}
	return now
}

// flush hands out results as far as there is room for them.
func (r *Runner) flush() {
	for r.out.any() {
		select {
		case r.results <- r.out.peek():
			r.out.pop()
		default:
			return
		}
	}
}

// now asks what time it is, and whether that is later than it should be. On some
// machines that is a system call, so it is asked once an event.
func (r *Runner) now() time.Time {
	now := time.Now()
	r.stall.woke(now)
	return now
}

// deadline is when the loop has to look again though nothing happened.
func (r *Runner) deadline(now time.Time) time.Time {
	d := now.Add(time.Hour)
	if len(r.agenda) > 0 {
		d = r.agenda[0].next
	}
	if !r.light.empty() && len(r.fresh) > 0 {
		d = earlier(d, r.fresh[0].when.Add(freshFor))
	}
	if r.running > 0 {
		d = earlier(d, now.Add(heartbeat))
	}
	return d
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// take makes what Set said true.
func (r *Runner) take(now time.Time) {
	r.mu.Lock()
	want := r.want
	r.want = nil
	r.mu.Unlock()
	if want == nil {
		return
	}
	named := make(map[string]Spec, len(want))
	for _, s := range want {
		named[s.ID] = s.withDefaults()
	}
	for id, e := range r.entries {
		if _, ok := named[id]; !ok && !e.gone {
			r.remove(e)
		}
	}
	r.size = len(named)
	for _, s := range want {
		r.put(now, named[s.ID])
	}
}

func (r *Runner) put(now time.Time, s Spec) {
	e := r.entries[s.ID]
	switch {
	case e == nil:
		e = &entry{slot: -1}
		r.entries[s.ID] = e
		r.begin(now, e, s)
	case e.gone:
		// It was removed and is wanted again before its last check has ended.
		e.gone, e.probe, e.glance, e.unfair = false, nil, nil, 0
		r.begin(now, e, s)
	case !reflect.DeepEqual(e.spec, s):
		r.change(now, e, s)
	}
}

// begin starts a check nothing is known of.
func (r *Runner) begin(now time.Time, e *entry, s Spec) {
	e.spec, e.streak = s, Streak{Health: s.Initial}
	r.mu.Lock()
	r.history[s.ID] = newRing(r.opt.Keep)
	r.mu.Unlock()
	e.beat = r.firstBeat(now, s)
	r.startNow(e)
}

// change gives a check another spec. Its streak stays. A check of the same probe
// that is under way stays as well.
func (r *Runner) change(now time.Time, e *entry, s Spec) {
	old := e.spec
	e.spec = s
	if old.Interval != s.Interval {
		e.beat = r.firstBeat(now, s)
		if e.state == idle {
			e.next = e.beat
			heap.Fix(&r.agenda, e.slot)
		}
	}
	if reflect.DeepEqual(old.Probe, s.Probe) {
		return
	}
	e.probe, e.glance = nil, nil
	if e.state == queued && runsProgram(old.Probe) != runsProgram(s.Probe) {
		r.unqueue(e)
	}
	r.startNow(e)
}

// startNow brings an entry's next check forward to now.
func (r *Runner) startNow(e *entry) {
	switch e.state {
	case idle:
		r.unschedule(e)
		r.enqueue(e)
	case running:
		e.again = true
		e.cancel(context.Canceled)
	}
}

func (r *Runner) remove(e *entry) {
	id := e.spec.ID
	r.mu.Lock()
	delete(r.history, id)
	r.mu.Unlock()
	r.out.forget(e)
	switch e.state {
	case running:
		e.gone = true
		e.cancel(context.Canceled)
		return
	case idle:
		r.unschedule(e)
	case queued:
		r.unqueue(e)
	}
	delete(r.entries, id)
}

func (r *Runner) unschedule(e *entry) {
	if e.slot >= 0 {
		heap.Remove(&r.agenda, e.slot)
	}
}

// firstBeat spreads the beats of many checks over their interval: multiples of
// the golden ratio lie evenly however many there are. They are then gathered
// into fewer moments, because waking up costs more than a check does: 20 checks
// in 10 moments each cost four times as much as 20 in one.
func (r *Runner) firstBeat(now time.Time, s Spec) time.Time {
	const golden = 2654435769 // 2^32 / 1.618...
	r.born++
	interval, moments := s.Interval, time.Duration(r.moments(s))
	moment := time.Duration(uint64(r.born*golden) * uint64(moments) >> 32)
	beat := r.epoch.Add(interval * moment / moments)
	if beat.After(now) {
		return beat
	}
	return beat.Add((now.Sub(beat)/interval + 1) * interval)
}

// moments is how many there are in the interval of a check: at least one a
// second, and as many as give each about twenty checks. Programs do not share:
// starting them is what costs.
func (r *Runner) moments(s Spec) int {
	const most = 100
	if runsProgram(s.Probe) {
		return most
	}
	return min(max(r.size/20, int(s.Interval/time.Second), 1), most)
}

func (r *Runner) enqueue(e *entry) {
	e.state = queued
	if runsProgram(e.spec.Probe) {
		r.heavy.push(e)
		return
	}
	r.light.push(e)
}

func (r *Runner) unqueue(e *entry) {
	r.light.drop(e)
	r.heavy.drop(e)
	e.state = idle
}

// startDue ends every check whose time is over, and starts every one whose time
// has come and for which there is place. What is to start within a few
// milliseconds goes along: one wake-up for many starts.
func (r *Runner) startDue(now time.Time) {
	for len(r.agenda) > 0 {
		e := r.agenda[0]
		ahead := min(e.spec.Interval/100, 5*time.Millisecond)
		if e.state == running {
			ahead = 0
		}
		if e.next.After(now.Add(ahead)) {
			break
		}
		heap.Pop(&r.agenda)
		if e.state == running {
			e.cancel(context.DeadlineExceeded)
			continue
		}
		r.enqueue(e)
	}
	r.age(now)
	for r.running < r.opt.MaxRunning && r.progs < r.opt.MaxPrograms && !r.heavy.empty() {
		r.progs++
		r.start(now, r.heavy.pop())
	}
	for r.running < r.opt.MaxRunning && len(r.fresh) < r.opt.MaxFresh && !r.light.empty() {
		e := r.light.pop()
		r.fresh = append(r.fresh, started{e, now})
		r.start(now, e)
	}
}

// age forgets the checks that are no longer fresh, or have ended.
func (r *Runner) age(now time.Time) {
	i := 0
	for i < len(r.fresh) && now.Sub(r.fresh[i].when) >= freshFor {
		i++
	}
	r.fresh = slices.Delete(r.fresh, 0, i)
}

func (r *Runner) start(now time.Time, e *entry) {
	e.state = running
	r.running++
	// The beat after this one; a check that had to wait for its place does not
	// shift those that follow.
	e.beat = beatAfter(e.beat, e.spec.Interval, now)
	e.heavy = runsProgram(e.spec.Probe)
	e.next = now.Add(e.spec.Timeout)
	heap.Push(&r.agenda, e)
	if r.glances(e) {
		r.look(now, e)
		return
	}
	ctx, cancel := context.WithCancelCause(r.base)
	e.cancel = cancel
	t := task{patience{ctx, e.spec.Timeout, e.next}, now, e, e.spec.Probe, e.probe}
	select {
	case r.tasks <- t:
	default: // nobody is idle
		go r.work(t)
	}
}

// glances tells whether a glance is what this check begins with.
func (r *Runner) glances(e *entry) bool {
	if r.poll == nil || e.glance != nil {
		return e.glance != nil
	}
	if e.probe == nil && readyAtOnce(e.spec.Probe) {
		if p, err := prepare(e.spec.Probe); err == nil { // else the check will say why not
			e.probe = p
		}
	}
	p, ok := e.probe.(glancer)
	if ok {
		e.glance = newGlance(r.poll, r.net, p, func(when time.Time, out Outcome) {
			r.done <- finished{e: e, probe: p, when: when, out: out}
		})
	}
	return ok
}

// readyAtOnce tells the probes whose preparation is no work.
func readyAtOnce(p Probe) bool {
	switch p := p.(type) {
	case Connect:
		return true
	case HTTP:
		return !p.Secure
	}
	return false
}

// look starts a glance.
func (r *Runner) look(now time.Time, e *entry) {
	e.cancel = e.glance.cancel
	if out, over := e.glance.start(r.base, now, e.spec.Timeout); over {
		r.finish(now, finished{e: e, probe: e.probe, when: now, out: out})
	}
}

// beatAfter is the first beat after now, of those that lie whole intervals from
// beat. A start up to a hundredth of an interval early has had its beat.
func beatAfter(beat time.Time, interval time.Duration, now time.Time) time.Time {
	soon := now.Add(interval / 100)
	if beat.After(soon) {
		return beat
	}
	missed := soon.Sub(beat)/interval + 1
	return beat.Add(missed * interval)
}

// task is one check to be made.
type task struct {
	ctx   context.Context
	now   time.Time
	e     *entry
	plain Probe
	ready Probe // plain prepared, nil when it was not yet
}

// maxIdle is how many goroutines wait for a next check to make: their stacks
// have grown to what a check needs, which costs a new one a tenth of its time.
const maxIdle = 32

// work is the goroutine of one check, and of those after it.
func (r *Runner) work(t task) {
	for ok := true; ok; {
		r.done <- r.make(t)
		if r.idle.Add(1) <= maxIdle {
			t, ok = <-r.tasks
		} else {
			ok = false
		}
		r.idle.Add(-1)
	}
}

func (r *Runner) make(t task) finished {
	f := finished{e: t.e, probe: t.ready, when: t.now}
	if t.ready == nil {
		f.probe, f.out.Err = prepare(t.plain)
	}
	if f.out.Err == nil {
		f.out = r.examine(t.ctx, f.probe)
	}
	return f
}

// examine runs a probe. The protocol libraries behind some of them are large,
// and read what a stranger sends: a panic there is a failed check of ours with
// the place in its words, not the end of every other check.
func (r *Runner) examine(ctx context.Context, p Probe) (out Outcome) {
	defer recovered(&out, new(bool))
	return examine(ctx, p, r.net)
}

// recovered, deferred, makes a panic the outcome of the check.
func recovered(out *Outcome, enough *bool) {
	if v := recover(); v != nil {
		*out, *enough = Outcome{Err: local(fmt.Errorf("defect in the check: %v\n%s", v, debug.Stack()))}, true
	}
}

// finish takes in what a check found.
func (r *Runner) finish(now time.Time, f finished) {
	e := f.e
	f.took = now.Sub(f.when)
	e.cancel(context.Canceled)
	r.unschedule(e)
	e.state, e.cancel = idle, nil
	r.running--
	if e.heavy {
		r.progs--
	}
	r.fresh = slices.DeleteFunc(r.fresh, func(s started) bool { return s.e == e })
	switch {
	case e.gone:
		delete(r.entries, e.spec.ID)
		return
	case e.again:
		e.again = false
		r.enqueue(e)
		return
	}
	e.probe = f.probe
	e.beat = beatAfter(e.beat, e.spec.Interval, now)
	e.next = e.beat
	r.judge(now, e, f)
	heap.Push(&r.agenda, e)
}

// judge turns an answer into a Result.
func (r *Runner) judge(now time.Time, e *entry, f finished) {
	res := Result{ID: e.spec.ID, When: f.when, Took: f.took, Outcome: f.out}
	retry := false
	switch {
	case f.out.Err == nil:
		e.unfair = 0
	case IsLocal(f.out.Err):
		res.Local = true
	case r.stall.during(f.when) && e.unfair == 0:
		// Once: on a machine so busy that we are late every time, a dead
		// server has to be found dead all the same.
		e.unfair++
		res.Local, retry = true, true
		res.Err = local(fmt.Errorf("%w (but we ourselves were stopped or starved meanwhile, so it will be asked again)", f.out.Err))
	default:
		e.unfair = 0
	}
	if !res.Local {
		e.streak, res.Changed = e.streak.Next(f.out.Err == nil, e.spec.Fall, e.spec.Rise)
	}
	res.Health, res.Fails, res.Wins = e.streak.Health, e.streak.Fails, e.streak.Wins
	r.mu.Lock()
	r.history[res.ID].add(res)
	r.mu.Unlock()
	r.out.push(e, res)
	e.next = e.retryAt(now, f.when, retry, !res.Local && res.Err != nil && res.Health == Up)
}

// retryAt is when to ask next if that is before the next beat.
func (e *entry) retryAt(now, start time.Time, atOnce, soft bool) time.Time {
	switch {
	case atOnce:
		return now
	case soft && e.spec.RetryDelay > 0:
		return earlier(e.next, start.Add(e.spec.RetryDelay))
	}
	return e.next
}
