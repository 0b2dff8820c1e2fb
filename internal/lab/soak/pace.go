package soak

import (
	"fmt"
	"slices"
	"time"
)

// stall is a moment in which the machine did nothing for us.
type stall struct {
	at   time.Time
	for_ time.Duration
}

const (
	meterEvery = 20 * time.Millisecond
	// stallFrom is the lateness that counts: less than that is other programs of the
	// cluster having their turn.
	stallFrom = 60 * time.Millisecond
)

// meter measures how late this program wakes up.
func (r *run) meter() {
	last := time.Now()
	for r.going() {
		time.Sleep(meterEvery)
		now := time.Now()
		if late := now.Sub(last) - meterEvery; late > stallFrom {
			r.mu.Lock()
			r.stalls = append(r.stalls, stall{now, late})
			r.mu.Unlock()
		}
		last = now
	}
}

// stalled is how long the machine stood still between two moments. The lock is held.
func (r *run) stalled(from, to time.Time) time.Duration {
	sum := time.Duration(0)
	for i := len(r.stalls) - 1; i >= 0 && r.stalls[i].at.After(from); i-- {
		if r.stalls[i].at.Add(-r.stalls[i].for_).Before(to) {
			sum += r.stalls[i].for_
		}
	}
	return sum
}

// usualStart is what the start of a program takes in a guest on an idle machine of
// two processors.
const usualStart = 150 * time.Millisecond

// measure tells how many times slower than an idle machine this one is.
func (r *run) measure() (float64, error) {
	var took []time.Duration
	for range 5 {
		began := time.Now()
		if out, err := r.c.client.Try(r.c.lvsctl, "version"); err != nil {
			return 0, fmt.Errorf("%w\n%s", err, out)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	slow := float64(took[len(took)/2]) / float64(usualStart)
	return min(max(slow, 1), 10), nil
}

// settle waits for a state. Where it does not come that is a violation, with what is
// missing.
func (r *run) settle(what string, state func() error) bool {
	deadline := time.Now().Add(settlePatience)
	var err error
	said := time.Now()
	for time.Now().Before(deadline) {
		if err = state(); err == nil {
			return true
		}
		if time.Since(said) > sayEvery {
			said = time.Now()
			r.say("waiting: %v", err)
		}
		r.pause(watchEvery)
	}
	r.violate("%s: %v\n%s", what, err, r.logs())
	return false
}

// settlePatience is far longer than anything takes, whatever becomes of the machine
// meanwhile.
const (
	settlePatience = 5 * time.Minute
	sayEvery       = 10 * time.Second
)

// logs are the ends of the daemons' logs, with the times of the transcript.
func (r *run) logs() string {
	text := ""
	for _, name := range all {
		if p := r.c.proc(name); p != nil {
			text += name + ":\n" + tail(p.Stamped(r.began)) + "\n"
		}
	}
	return text
}
