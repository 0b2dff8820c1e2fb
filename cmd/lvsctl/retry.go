package main

import "time"

// The pauses between attempts to look up the names in files: the first one, and the
// longest that it grows to. A name server that is away for a minute keeps nobody
// waiting for long, and one that is away for a day is not bothered.
const (
	namesPause    = 5 * time.Second
	namesPauseMax = time.Minute
)

// waiting is said when a reload failed only for what this host could not tell just
// then: the address of a name, mostly.
const waiting = "this host cannot make sense of it yet: it is tried again until it can, or until the file changes"

// retry is when files are tried again that wait for this host. It is a deadline in
// the state of the task that reads them.
type retry struct {
	pause time.Duration
	timer *time.Timer // nil: nothing waits
}

// due tells when; without anything to try, never.
func (r *retry) due() <-chan time.Time {
	if r.timer == nil {
		return nil
	}
	return r.timer.C
}

// later has the files tried again, each time after a longer pause.
func (r *retry) later() {
	pause := min(max(2*r.pause, namesPause), namesPauseMax)
	r.drop()
	r.pause, r.timer = pause, time.NewTimer(pause)
}

// drop forgets what waits.
func (r *retry) drop() {
	if r.timer != nil {
		r.timer.Stop()
	}
	*r = retry{}
}
