package ldirector

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// loop is the state of a running Director. Only Run's goroutine touches it.
type loop struct {
	opt   Options
	plan  *Plan
	phase Phase
	mute  bool            // no word of the gates has come yet
	said  map[string]bool // whether we serve, as it was last said, by the gates that services follow

	have     lvs.Table // as we left it, or as we last saw it
	state    lvs.State // the sighting, when the kernel counts
	counted  bool
	looked   time.Time // of the last good look, zero before the first
	nextLook time.Time
	reads    []time.Duration // what the last ones took
	lost     error           // why the last look failed
	lostFor  time.Duration

	done     uint64 // version of the plan that the kernel was last told
	again    bool   // the kernel has to be told again, whatever the version
	refusals map[lvs.Change]refusal
	retry    time.Time // when the soonest refusal is tried again, zero for none
}

// refusal is a change that the kernel does not take.
type refusal struct {
	why   string
	err   error
	delay time.Duration
	until time.Time
}

// A refused change, and a kernel that cannot be read, are tried again after
// firstRetry, then after twice that time and so on up to lastRetry.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// batch is how many results are taken in before the kernel is told. It bounds
// how long a storm of results can keep a command waiting.
const batch = 512

func newLoop(o Options) *loop {
	l := &loop{opt: o, phase: Starting, mute: o.Gates != nil, refusals: make(map[lvs.Change]refusal)}
	l.plan = NewPlan(o.Virtuals)
	return l
}

func (l *loop) report(events ...Event) {
	for _, e := range events {
		e.Phase = l.phase
		l.opt.Report(e)
	}
}

func (l *loop) say(kind Kind, now time.Time, format string, args ...any) {
	l.report(Event{Kind: kind, When: now, Text: fmt.Sprintf(format, args...)})
}

// turn does all that is due now.
func (l *loop) turn(now time.Time) {
	l.report(l.plan.Tick(now)...)
	if l.dueToLook(now) || !l.retry.IsZero() && !now.Before(l.retry) {
		l.look(now)
	}
	l.converge(now)
	if l.phase != Running && !l.looked.IsZero() && !l.plan.Pending() {
		l.phase = Running
	}
	l.keep()
}

// dueToLook lets whoever is awake anyway look a little early: being woken for it
// costs more than the look.
func (l *loop) dueToLook(now time.Time) bool {
	early := l.opt.Look / 4
	if l.lost != nil {
		early = 0
	}
	return !now.Before(l.nextLook.Add(-early))
}

// deadline is when turn has something to do though nothing happened.
func (l *loop) deadline(now time.Time) time.Time {
	return earlier(earlier(now.Add(time.Hour), l.plan.Deadline()), earlier(l.nextLook, l.retry))
}

// observe takes a result in, and those that have come meanwhile.
func (l *loop) observe(r check.Result, more <-chan check.Result) {
	for n := 1; ; n++ {
		l.report(l.plan.Observe(r)...)
		if n == batch {
			return
		}
		var ok bool
		select {
		case r, ok = <-more:
			if !ok {
				return
			}
		default:
			return
		}
	}
}

func (l *loop) setGates(open []string, now time.Time) {
	l.plan.SetGates(open)
	l.mute = false
	l.sayGates(now)
}

// sayGates says who serves, where that is news. As long as all services are served
// by one director it need not say which are meant.
func (l *loop) sayGates(now time.Time) {
	if l.mute || l.opt.Gates == nil {
		return
	}
	all := l.plan.sides()
	said := make(map[string]bool, len(all))
	for _, s := range all {
		was, known := l.said[s.name()]
		if !known && len(all) == 1 && len(l.said) == 1 { // by another name the same as before
			for _, was = range l.said {
				known = true
			}
		}
		said[s.name()] = s.open
		if known && was == s.open || len(all) > 1 && len(s.gates) == 0 {
			continue // no news, or what is served always
		}
		l.report(s.event(now, len(all) > 1))
	}
	l.said = said
}

// look reads the kernel's table and lets the plan judge what others changed.
func (l *loop) look(now time.Time) bool {
	began := time.Now()
	truth, err := l.read()
	if err != nil {
		l.cannotRead(err, now)
		return false
	}
	if l.lost != nil {
		l.say(KernelBack, now, "The kernel's table can be read again")
		l.lost, l.lostFor, l.again = nil, 0, true
	}
	first := l.looked.IsZero()
	l.looked, l.nextLook = now, now.Add(max(l.opt.Look, 50*l.cost(time.Since(began))))
	if first {
		l.begin(truth, now)
		return true
	}
	l.notice(truth, now)
	l.report(l.plan.Emptied(l.state, now)...)
	return true
}

// cost is what a look takes, which tells how often it can be afforded: the least of the
// last three, and nothing before there are so many. A busy machine that lets us wait in
// the middle of one makes it no dearer.
func (l *loop) cost(took time.Duration) time.Duration {
	const kept = 3
	l.reads = append(l.reads, took)
	if len(l.reads) < kept {
		return 0
	}
	l.reads = l.reads[len(l.reads)-kept:]
	return slices.Min(l.reads)
}

func (l *loop) read() (lvs.Table, error) {
	k, counts := l.opt.Kernel.(Counter)
	if !counts {
		return l.opt.Kernel.Read()
	}
	st, err := k.State()
	if err != nil {
		return nil, err
	}
	l.state, l.counted = st, true
	return st.Table(), nil
}

func (l *loop) cannotRead(err error, now time.Time) {
	if l.lost == nil || l.lost.Error() != err.Error() {
		l.say(KernelLost, now, "The kernel's table cannot be read: %v; checks go on, and it is tried again", err)
	}
	l.lost = err
	l.lostFor = min(max(2*l.lostFor, firstRetry), l.opt.Look)
	l.nextLook = now.Add(l.lostFor)
	l.retry = time.Time{} // nothing can be tried before a look
}

// begin is the first sight of the table: the plan adopts what serves.
func (l *loop) begin(truth lvs.Table, now time.Time) {
	l.have = truth
	l.plan.Restore(l.opt.Saved, now)
	l.report(l.plan.Adopt(nil, truth, now)...)
	l.opt.Checks.Set(l.plan.Specs())
}

// notice lets the plan judge the difference between the table that we left and
// the one that there is.
func (l *loop) notice(truth lvs.Table, now time.Time) {
	if !l.mute && !same(l.have, truth) {
		l.report(l.plan.Notice(l.have, truth, l.opt.Repair, now)...)
		l.again = true
	}
	l.have = truth
}

func same(a, b lvs.Table) bool {
	return slices.EqualFunc(a, b, func(a, b lvs.Entry) bool {
		return a.Service == b.Service && slices.Equal(a.Destinations, b.Destinations)
	})
}

// converge makes the kernel's table the plan's. What the kernel refuses is left
// for later, so that it holds nothing else up.
func (l *loop) converge(now time.Time) {
	if l.mute || l.looked.IsZero() || l.lost != nil {
		return
	}
	l.again = l.again || !l.retry.IsZero() && !now.Before(l.retry)
	// A change that meets a surprise makes Apply look again; what is then
	// different is done in the next step.
	for range 4 {
		if l.done == l.plan.version && !l.again {
			return
		}
		l.done, l.again = l.plan.version, false
		if !l.step(now) {
			return
		}
	}
	l.retry = earlier(l.retry, now.Add(firstRetry))
}

// step makes the changes that are due once. It tells whether the table turned
// out to be another than we thought.
func (l *loop) step(now time.Time) (surprised bool) {
	changes := lvs.Diff(l.have, l.plan.Table(), l.plan.Owns)
	try := l.patient(changes, now)
	if len(try) == 0 {
		l.settled(now)
		return false
	}
	k := &recorder{Kernel: l.opt.Kernel}
	reached, err := lvs.Apply(k, l.have, try)
	expected, _ := l.have.Fold(k.taken)
	l.have = expected
	for _, c := range k.taken {
		delete(l.refusals, c)
		l.report(l.plan.told(c, now, l.phase))
	}
	if surprised = !same(expected, reached); surprised {
		l.notice(reached, now)
	}
	l.plan.forgetLeft(l.have)
	if err != nil {
		l.refused(k.refused, now)
	}
	l.settled(now)
	return surprised
}

// recorder remembers what the kernel said to each change.
type recorder struct {
	lvs.Kernel
	taken   []lvs.Change
	refused []refused
}

type refused struct {
	change lvs.Change
	err    error
}

// Do implements [lvs.Kernel].
func (r *recorder) Do(cs []lvs.Change) []error {
	verdicts := r.Kernel.Do(cs)
	for i, c := range cs {
		if verdicts[i] == nil {
			r.taken = append(r.taken, c)
		} else {
			r.refused = append(r.refused, refused{c, verdicts[i]})
		}
	}
	return verdicts
}

// patient leaves out what was refused a short time ago, and what cannot be done
// without it; and it forgets refusals of what nobody wants any more.
func (l *loop) patient(changes []lvs.Change, now time.Time) []lvs.Change {
	if len(l.refusals) == 0 {
		return changes
	}
	still := make(map[lvs.Change]refusal, len(l.refusals))
	absent := map[lvs.Key]bool{}
	var try []lvs.Change
	for _, c := range changes {
		if c.Op == lvs.AddDestination && absent[c.Service.Key] {
			continue // and its own refusal, if any, waits for that of the service
		}
		r, known := l.refusals[c]
		if known {
			still[c] = r
		}
		if !known || !now.Before(r.until) {
			try = append(try, c)
		} else if c.Op == lvs.AddService {
			absent[c.Service.Key] = true
		}
	}
	l.refusals = still
	return try
}

// refused notes the refusals. Each is said when it is new, or has a new reason;
// the servers of a service that was refused are not mentioned.
func (l *loop) refused(rs []refused, now time.Time) {
	absent := map[lvs.Key]bool{}
	for _, r := range rs {
		if r.change.Op == lvs.AddService {
			absent[r.change.Service.Key] = true
		}
		follows := r.change.Op == lvs.AddDestination && absent[r.change.Service.Key] && errors.Is(r.err, lvs.ErrNoService)
		if follows || l.moot(r) {
			continue
		}
		was := l.refusals[r.change]
		is := refusal{why: r.err.Error(), err: r.err, delay: min(max(2*was.delay, firstRetry), lastRetry)}
		is.until = now.Add(is.delay)
		l.refusals[r.change] = is
		if was.why != is.why {
			e := Event{Kind: Refused, When: now, Text: fmt.Sprintf("The kernel refuses to %v; it is tried again", r.err), Service: r.change.Service.Key.String()}
			if v := l.plan.byKey[r.change.Service.Key]; v != nil {
				e.Virtual = &v.Virtual
			}
			l.report(e)
		}
	}
}

// moot tells whether a refused change is not wanted any more: somebody else had
// made it already.
func (l *loop) moot(r refused) bool {
	return !slices.Contains(lvs.Diff(l.have, l.plan.Table(), l.plan.Owns), r.change)
}

// settled sets the time of the next try, and says when none is needed any more.
func (l *loop) settled(now time.Time) {
	had := !l.retry.IsZero()
	l.retry = time.Time{}
	for _, r := range l.refusals {
		l.retry = earlier(l.retry, r.until)
	}
	if had && l.retry.IsZero() {
		l.say(Settled, now, "The kernel's table is as it should be again")
	}
}

// load puts another configuration into force.
func (l *loop) load(vs []Virtual, now time.Time) error {
	next := NewPlan(vs)
	if l.looked.IsZero() {
		// Nothing has been adopted yet: the table will be, by this plan.
		next.files = l.plan.files
		next.gate(l.plan.gates)
		l.plan = next
	} else {
		l.phase = Reloading
		events := next.Adopt(l.plan, l.have, now)
		l.plan = next
		l.opt.Checks.Set(next.Specs())
		l.say(Loaded, now, "Configuration loaded: %d virtual servers", len(next.virtuals))
		l.report(events...)
	}
	l.sayGates(now)
	l.turn(now)
	return l.complaints()
}

// complaints joins what the kernel refuses at the moment.
func (l *loop) complaints() error {
	errs := make([]error, 0, len(l.refusals)+1)
	for _, r := range l.refusals {
		errs = append(errs, r.err)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if l.lost != nil {
		errs = append(errs, l.lost)
	}
	return errors.Join(errs...)
}

// keep saves what has to outlive us, when it changed.
func (l *loop) keep() {
	if l.plan.unsaved {
		l.plan.unsaved = false
		l.opt.Save(l.plan.Save())
	}
}

func (l *loop) snapshot(now time.Time) Snapshot {
	if now.Sub(l.looked) >= time.Second/2 {
		l.look(now)
		l.converge(now)
	}
	s := Snapshot{When: now, Phase: l.phase, Open: !l.mute && l.plan.serves(), Looked: l.looked}
	if l.lost != nil {
		s.KernelError = l.lost.Error()
	}
	for _, r := range l.refusals {
		s.Refused = append(s.Refused, r.why)
	}
	slices.Sort(s.Refused)
	s.Virtuals = l.plan.status(l.sighting(), l.counted, l.opt.Checks.History)
	for i := range s.Virtuals {
		s.Virtuals[i].Open = s.Virtuals[i].Open && !l.mute
	}
	l.blame(s.Virtuals)
	return s
}

// blame puts each refusal to the service or the server that it is about.
func (l *loop) blame(vs []VirtualStatus) {
	for c, r := range l.refusals {
		service := c.Service.Key.String()
		i := slices.IndexFunc(vs, func(v VirtualStatus) bool { return v.Service == service })
		switch {
		case i < 0: // it leaves
		case !c.Destination.Addr.IsValid():
			vs[i].Refused = r.why
		default:
			vs[i].blame(c.Destination.Addr.String(), r.why)
		}
	}
}

// sighting is what the kernel holds: the counters of the last look, with the
// weights of what was done since.
func (l *loop) sighting() lvs.State {
	counted := make(map[lvs.Key]lvs.ServiceState, len(l.state))
	for _, s := range l.state {
		counted[s.Key] = s
	}
	st := make(lvs.State, len(l.have))
	for i, e := range l.have {
		st[i].Service = e.Service
		seen := make(map[lvs.Destination]lvs.DestinationState)
		for _, d := range counted[e.Key].Destinations {
			seen[lvs.Destination{Addr: d.Addr}] = d
		}
		for _, d := range e.Destinations {
			ds := seen[lvs.Destination{Addr: d.Addr}]
			ds.Destination = d
			st[i].Destinations = append(st[i].Destinations, ds)
		}
	}
	return st
}

// stop removes the services that have cleanstop. It tries a few times, because
// nobody will after it.
func (l *loop) stop(now time.Time) error {
	l.phase = Stopping
	if l.mute || l.looked.IsZero() {
		return nil
	}
	var err error
	for range 3 {
		var truth lvs.Table
		if truth, err = l.read(); err != nil {
			continue
		}
		changes := lvs.Diff(truth, l.plan.Remains(truth), l.plan.Owns)
		k := &recorder{Kernel: l.opt.Kernel}
		_, err = lvs.Apply(k, truth, changes)
		for _, c := range k.taken {
			if c.Op == lvs.DeleteService {
				l.report(l.plan.purged(c.Service.Key, now)...)
			}
			l.report(l.plan.told(c, now, l.phase))
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("not everything could be removed: %w", err)
}
