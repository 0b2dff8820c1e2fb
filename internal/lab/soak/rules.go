package soak

import "time"

// timing are the settings of the cluster that bounds follow from. They are in its
// files.
type timing struct {
	advert   time.Duration
	interval time.Duration // checkinterval
	timeout  time.Duration // checktimeout
}

// timingFor is what a machine can keep that is so many times slower than an idle
// one: whoever runs a director on it would choose such settings too.
func timingFor(slow float64) timing {
	unit := time.Second
	switch {
	case slow > 6:
		unit = 3 * time.Second
	case slow > 3:
		unit = 2 * time.Second
	}
	return timing{advert: unit, interval: unit, timeout: 2 * unit}
}

// silence is how long a backup waits for a master that says nothing: three adverts
// and the skew of its priority, which is 100 (RFC 9568, section 6.1).
func (t timing) silence() time.Duration { return 3*t.advert + (256-100)*t.advert/256 }

// apply is what is granted, on an idle machine, for a change to be made and to reach
// the neighbours.
const apply = 600 * time.Millisecond

// rule is what an event may cost a client.
type rule struct {
	// timers is how long after the event a request may still be lost, beside what
	// the machine needs to do its work; -1: not at all.
	timers time.Duration
	// breaks says that connections that last may break: all, or those of the real
	// server in question.
	breaks bool
	why    string
}

const free = -1

// rules name each kind that may cost anything. All others cost nothing.
func (t timing) rules() map[Kind]rule {
	const (
		silent   = "three adverts and the skew"
		forwards = "three adverts and the skew; the kernel forwards meanwhile"
		hands    = "a master hands over before it lets go"
		returns  = "who returns waits for three adverts and the skew; what is on its way then is the other one's"
		two      = "two masters hear of each other within an advert"
		again    = "it is put back at once"
		claims   = "who was asked meanwhile is told otherwise: at most a second later, and by a new master after ten"
	)
	return map[Kind]rule{
		Crash:   {t.silence(), true, forwards},
		Power:   {t.silence(), true, silent},
		Cut:     {t.silence(), true, silent},
		Freeze:  {t.silence(), true, forwards},
		Stop:    {0, true, hands},
		Standby: {0, true, hands},
		Resume:  {t.silence(), true, returns},
		Thaw:    {t.advert, true, two},
		Mend:    {t.silence(), true, returns},
		Flap:    {2 * t.silence(), true, "three adverts and the skew, until the other one takes over, and again if it has not yet"},
		Start:   {t.silence(), true, "a start clears what a crash has left; if nobody has taken over yet, it is three adverts and the skew"},

		Refuse: {t.interval, true, "an interval, until a check is refused"},
		Hang:   {t.interval + t.timeout, true, "an interval and the timeout of the check"},
		CutWeb: {t.interval + t.timeout, true, "an interval and the timeout of the check"},

		FlapWeb: {0, true, "what was on its way to the server"},

		TakeReal:    {0, true, "what was on its way to the server"},
		TakeService: {2 * t.interval, true, "it is put back within two intervals"},
		ClearTable:  {2 * t.interval, true, "it is put back within two intervals"},
		TakeVIP:     {0, false, again},
		TakeLo:      {0, false, again},
		TakeLoRoute: {0, false, again},
		ResetARP:    {11 * time.Second, true, claims},
	}
}

// rule is that of a kind.
func (r *run) rule(k Kind) rule {
	if known, ok := r.rules[k]; ok {
		return known
	}
	return rule{timers: free}
}

// bound is how long a kind of event may cost requests on this machine: its timers, and
// the work, which a slow machine does slowly. Each moment in which the machine stood
// still, then or shortly before, counts thrice: the two directors and the client may each have waited for
// their turn. The lock is held.
func (r *run) bound(timers time.Duration, from, to time.Time) time.Duration {
	return timers + time.Duration(float64(apply)*r.slow) + 3*r.stalled(from.Add(-r.timeout), to)
}
