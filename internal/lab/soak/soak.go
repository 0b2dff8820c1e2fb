// Package soak lets a small cluster live through everything that happens to one:
// two directors (lvsctl run) and two real servers (lvsctl realserver run), raised
// from the same two files, with a client that never stops asking.
//
// What happens is chosen at random from a seed, so that the same seed is the same
// list of events again. Each kind of event has a bound: how long after it a request
// may still be lost, by which rule of the files or of VRRP. A request that is lost
// later than that, a server that is known to be dead and still served from, two
// masters, a touched service of somebody else's, or anything left over at the end is
// a violation.
//
// Bounds are those of an idle machine, times how much slower this one is than that,
// and more for each moment in which it stood still.
package soak

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Options are those of one run.
type Options struct {
	Lvsctl string        // the program
	Seed   uint64        // of the events
	For    time.Duration // how long events go on
	Log    io.Writer     // gets the transcript as it comes; nil: nobody
}

// Report is what came of a run.
type Report struct {
	Seed       uint64
	Slow       float64 // how many times slower than an idle machine this one is
	Took       time.Duration
	Asked      int
	Lost       int
	Excused    int // of those lost: no event is to blame, but the machine stood still
	Broken     int // connections that last
	ByKind     map[Kind]Tally
	Weight     map[string]Weight // by host
	LongestTwo time.Duration     // in which both directors had the address
	Violations []string
	Transcript string
}

// Tally is what events of one kind came to.
type Tally struct {
	Events int
	Worst  time.Duration // until the last request was lost
	Broke  int           // connections
	Timers time.Duration // what the rule allows on a machine that does its work in no time
	Why    string
}

// Weight is what the daemon of a host has used.
type Weight struct {
	First, Last usage // of the life that came to the end
	rss         int64 // at the most, of all lives
	fds         int
	threads     int
	goroutines  int           // of those that were asked
	lines       int           // of the log, in the life that wrote the most
	lives       time.Duration // the longest
}

// Most is the most that any life has used, and the age of the oldest.
func (w Weight) Most() (bytes int64, descriptors int, age time.Duration) {
	return w.rss, w.fds, w.lives
}

// happened is an event with what came of it.
type happened struct {
	Event
	at, done time.Time
	gap      time.Duration // until the last request that was lost
	broke    int
	harmless bool // it met nothing that it could hurt
	note     string
}

// illness is why a real server cannot serve, since when.
type illness struct {
	kind  Kind
	since time.Time
}

// run is one run.
type run struct {
	o    Options
	c    *cluster
	slow float64
	timing
	rules    map[Kind]rule
	dialled  atomic.Uint32 // connections of the client
	ownClock bool
	wires    map[string]*lab.Capture // what each host sends and hears
	done     chan struct{}
	tasks    sync.WaitGroup
	began    time.Time

	// Of the thread of events alone.
	hurt string                // the director that is hurt
	owed map[string][][]string // orders that a director could not hear yet

	mu          sync.Mutex
	serving     bool // the client has to be served
	asked, lost int
	excused     int // of those lost: the machine stood still
	broken      int
	byServer    map[string]int
	lastAnswer  time.Time
	talkGap     time.Duration
	events      []*happened
	stalls      []stall
	seen        map[string]sight
	ill         map[string]*illness
	cut         string // the director without a network
	othersFrom  time.Time
	more        map[string]table // services that somebody has added, by host
	both        time.Time
	longestBoth time.Duration
	weight      map[string]Weight
	violations  []string
	told        map[string]bool // violations, each once
	log         strings.Builder
}

// Run lives through one run. The error is a lab that does not work; what the cluster
// did wrong is in the report.
func Run(t lab.T, o Options) (*Report, error) {
	r := &run{o: o, done: make(chan struct{}), byServer: map[string]int{}, seen: map[string]sight{}, ill: map[string]*illness{},
		owed: map[string][][]string{}, more: map[string]table{}, told: map[string]bool{}, weight: map[string]Weight{}, began: time.Now(), ownClock: lab.InGuest()}
	r.c = newCluster(t, o.Lvsctl)
	r.wires = map[string]*lab.Capture{"client": r.c.client.Capture("eth0")}
	for _, name := range all {
		r.wires[name] = r.c.hosts[name].Capture("eth0")
	}
	var err error
	if r.slow, err = r.measure(); err != nil {
		return nil, err
	}
	r.timing = timingFor(r.slow)
	r.rules, r.c.timing = r.timing.rules(), r.timing
	r.say("seed %d, %v of events; this machine is %.1f times slower than an idle one: adverts and checks every %v", o.Seed, o.For, r.slow, r.advert)
	before, err := r.snapshots()
	if err != nil {
		return nil, err
	}
	r.tasks.Go(r.meter)
	err = r.live()
	r.halt()
	err = errors.Join(err, r.leave(before))
	return r.report(), err
}

// halt ends the tasks.
func (r *run) halt() {
	close(r.done)
	r.tasks.Wait()
}

func (r *run) going() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// pause waits, unless the end comes first.
func (r *run) pause(d time.Duration) {
	select {
	case <-r.done:
	case <-time.After(d):
	}
}

// live raises the cluster, and has everything happen to it.
func (r *run) live() error {
	for _, name := range all {
		if err := r.c.layFiles(name); err != nil {
			return err
		}
	}
	for _, name := range lbs {
		if err := r.addOthers(name); err != nil {
			return err
		}
	}
	for _, name := range append(slices.Clone(webs), lbs...) {
		r.c.start(name)
	}
	for _, name := range all {
		r.tasks.Go(func() { r.watch(name) })
	}
	r.tasks.Go(r.weigh)
	r.tasks.Go(r.ask)
	if !r.settle("the cluster does not come up", r.whole) {
		return nil
	}
	for n := range talkers {
		r.tasks.Go(func() { r.talker(n) })
	}
	r.mu.Lock()
	r.serving, r.asked = true, 0
	r.mu.Unlock()
	r.say("up after %v", time.Since(r.began).Round(time.Millisecond))
	r.happen()
	if !r.settle("its orders", r.paid) || !r.settle("it does not come to rest", r.whole) {
		return nil
	}
	r.pause(2 * time.Second)
	r.mu.Lock()
	r.serving = false
	r.mu.Unlock()
	return nil
}

// happen lets the events happen.
func (r *run) happen() {
	p := newPlanner(r.o.Seed)
	end := time.Now().Add(r.o.For)
	for time.Now().Before(end) && r.well() {
		r.one(p.next())
	}
	if !r.well() {
		r.say("what the programs said:\n%s", r.logs())
	}
	for _, e := range p.finish() {
		r.one(e)
	}
}

// well: after a few violations the rest tells nothing new.
func (r *run) well() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.violations) < 5
}

// one lets an event happen.
func (r *run) one(e Event) {
	r.pause(e.Pause)
	if (isHurt(e.Kind) || e.Kind == Flap) && !r.settle("it does not get well before "+e.String(), r.ready) {
		return
	}
	if !r.settle("its orders before "+e.String(), r.paid) {
		return // a drain that should have ended leaves no server to what comes
	}
	if isHurt(e.Kind) {
		r.hurt = e.Host
	}
	h := &happened{Event: e, at: time.Now(), done: time.Now().Add(time.Hour)}
	h.harmless = r.spares(e)
	r.mu.Lock()
	r.events = append(r.events, h)
	r.mu.Unlock()
	err := r.act(h)
	r.mu.Lock()
	h.done = time.Now()
	r.sicken(e, h.done)
	note := h.note
	r.mu.Unlock()
	if note != "" {
		note = ": " + note
	}
	r.say("%v%s", h.Event, note)
	if err != nil {
		r.violate("%v: %v", h.Event, err)
	}
	if e.Kind == Start || e.Kind == Mend || e.Kind == Thaw || e.Kind == Resume {
		r.hurt = ""
	}
}

// isHurt is true of what takes a director or a real server away.
func isHurt(k Kind) bool {
	return slices.ContainsFunc(wounds[directors], func(w wound) bool { return w.hurt == k })
}

// spares tells whether an event cannot cost the client anything: it befalls the
// director that is not the active one.
func (r *run) spares(e Event) bool { return e.Host == lbs[1] }

// sicken remembers which real server cannot serve. The lock is held.
func (r *run) sicken(e Event, since time.Time) {
	switch e.Kind {
	case Refuse, Hang, CutWeb:
		r.ill[e.Host] = &illness{e.Kind, since}
	case Rise, MendWeb:
		delete(r.ill, e.Host)
	}
}

func (r *run) report() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := &Report{Seed: r.o.Seed, Slow: r.slow, Took: time.Since(r.began), Asked: r.asked, Lost: r.lost, Excused: r.excused, Broken: r.broken,
		ByKind: map[Kind]Tally{}, Weight: maps.Clone(r.weight), LongestTwo: r.longestBoth, Violations: r.violations, Transcript: r.log.String()}
	for _, e := range r.events {
		t := rep.ByKind[e.Kind]
		t.Events++
		t.Worst, t.Broke = max(t.Worst, e.gap), t.Broke+e.broke
		t.Timers, t.Why = max(0, r.rule(e.Kind).timers), r.rule(e.Kind).why
		rep.ByKind[e.Kind] = t
	}
	for _, name := range all {
		w := rep.Weight[name]
		if p := r.c.proc(name); p != nil {
			w.First, w.Last = p.first, p.last
		}
		rep.Weight[name] = w
	}
	return rep
}

// say writes a line of the transcript.
func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sayLocked(format, args...)
}

func (r *run) sayLocked(format string, args ...any) {
	line := fmt.Sprintf("%9.3f  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	r.log.WriteString(line)
	if r.o.Log != nil {
		_, _ = io.WriteString(r.o.Log, line) // the report has it too
	}
}

func (r *run) violate(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violateLocked(format, args...)
}

// violateLocked remembers a violation, with the logs around it.
func (r *run) violateLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.told[text] {
		return
	}
	r.told[text] = true
	r.sayLocked("VIOLATION: %s", text)
	if len(r.violations) < 3 { // the next ones are mostly the same
		r.sayLocked("as it is:\n%s%s", r.scene(), r.logs())
	}
	if len(r.violations) < 20 {
		r.violations = append(r.violations, fmt.Sprintf("after %v: %s", time.Since(r.began).Round(time.Millisecond), text))
	}
}
