package vrrp

import "time"

// A deadline is a point in time; the zero time is never.

func expired(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// due reports that a deadline has come, and takes it away.
func due(t *time.Time, now time.Time) bool {
	if !expired(*t, now) {
		return false
	}
	*t = time.Time{}
	return true
}

func earliest(ts ...time.Time) time.Time {
	var first time.Time
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// schedule is a master's announcements to come.
type schedule struct {
	againAt   time.Time
	repeat    int // frames then
	refreshAt time.Time
}

func (s *schedule) start(now time.Time, g *Garp) {
	s.again(now, g.Delay, g.Repeat)
	if g.Refresh > 0 {
		s.refreshAt = now.Add(g.Refresh)
	}
}

// again arranges one more announcement after a delay.
func (s *schedule) again(now time.Time, delay time.Duration, repeat int) {
	if delay > 0 && repeat > 0 {
		s.againAt, s.repeat = now.Add(delay), repeat
	}
}

func (s *schedule) next() time.Time { return earliest(s.againAt, s.refreshAt) }

// due is the number of frames to send now.
func (s *schedule) due(now time.Time, g *Garp) int {
	n := 0
	if due(&s.againAt, now) {
		n = s.repeat
	}
	if due(&s.refreshAt, now) {
		n = max(n, g.RefreshRepeat)
		s.refreshAt = now.Add(max(g.Refresh, time.Second)) // reloaded to 0: the last one
		if g.Refresh == 0 {
			s.refreshAt = time.Time{}
		}
	}
	return n
}
