package ldirector

import (
	"math"
	"slices"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// settle works out anew what a service should look like, from everything that
// is known. It is the only place where that is decided.
func (p *Plan) settle(v *virtual, now time.Time) []Event {
	p.version++
	events := v.decide(now)
	for _, m := range v.members {
		events = append(events, p.stand(m, now)...)
	}
	v.choose()
	base := v.wanted()
	if !slices.Equal(base, v.base) {
		v.base, v.missing = base, false
	}
	v.forgetOldHands()
	v.want = v.withHands()
	return events
}

// decide says whether enough members are well.
func (v *virtual) decide(now time.Time) []Event {
	sum, pending := v.strength()
	need, slack := uint64(max(v.Policy.Quorum, 1)), uint64(v.Policy.Hysteresis)
	was := v.serving
	switch {
	case sum >= need+slack:
		v.serving = enough
	case (was == enough || was == undecided && v.assumed()) && sum > 0 && sum+slack >= need:
		v.serving = enough // between the two marks: stays as it is, or is assumed to be
	case was == undecided && pending:
		// The fallback waits for the first round of checks, so that it does not
		// come and go with every start.
	default:
		v.serving = nobody
	}
	switch {
	case v.serving == was:
		return nil
	case v.serving == nobody && v.Fallback != nil:
		return []Event{v.about(NobodyServes, now, "No real server of %s serves: the fallback %v does", Label(v.Service.Key), v.Fallback.Addr)}
	case v.serving == nobody:
		return []Event{v.about(NobodyServes, now, "No real server of %s serves", Label(v.Service.Key))}
	}
	return []Event{v.about(ServesAgain, now, "Real servers of %s serve", Label(v.Service.Key))}
}

// assumed tells whether members count as up that no check has decided about.
func (v *virtual) assumed() bool {
	return slices.ContainsFunc(v.members, func(m *member) bool { return m.AssumeUp && m.assumed })
}

// strength is the sum of the weights of the members that can serve, and whether
// one that cannot may yet turn out to.
func (v *virtual) strength() (sum uint64, pending bool) {
	for _, s := range v.slots {
		strong := uint64(0)
		for _, m := range s.members {
			switch h := m.health(); {
			case !m.available():
			case h == check.Unknown:
				pending = pending || m.unasked()
			case h == check.Up:
				strong = m.strength() // of equals the later counts
			}
		}
		sum += strong
	}
	return sum, pending
}

// strength counts a server that is configured with weight 0 as one, so that
// it keeps the fallback out as it does with ldirectord; only a quorum counts
// weights alone.
func (m *member) strength() uint64 {
	w, dynamic := m.weight()
	if w == 0 && !dynamic && m.v.Policy.Quorum <= 1 {
		return 1
	}
	return uint64(w)
}

// available tells whether nothing but its health keeps a member from serving.
func (m *member) available() bool { return !m.out() && m.excused == "" && m.drain == nil }

// out tells whether checktype=off keeps a member out. One that served when a
// reload switched its checks off goes on, as with ldirectord: nobody looks after
// it any more, but a reload takes no healthy server out.
func (m *member) out() bool { return m.Off && !m.assumed }

// health is the verdict of all checks of a member together.
func (m *member) health() check.Health {
	verdict := check.Up
	if m.out() {
		return check.Unknown
	}
	for _, c := range m.checks {
		switch {
		case c.health == check.Down:
			return check.Down
		case !c.proven && !m.assumed:
			verdict = check.Unknown
		}
	}
	return verdict
}

// unasked tells whether a check of the member has not been made even once.
func (m *member) unasked() bool {
	return slices.ContainsFunc(m.checks, func(c *checkup) bool { return !c.asked })
}

// weight is what a member has while it serves: as configured, unless its
// checks ask for less or more. Of several that ask, each has its say about the
// difference, as with keepalived's MISC_CHECKs.
func (m *member) weight() (w uint32, dynamic bool) {
	configured := int64(m.Destination.Weight)
	sum := configured
	for _, c := range m.checks {
		if asked, asks := c.weight(); asks {
			sum += int64(asked) - configured
			dynamic = true
		}
	}
	return uint32(min(max(sum, 0), math.MaxInt32)), dynamic
}

// stand gives a member its standing, and says so when it changes.
func (p *Plan) stand(m *member, now time.Time) []Event {
	was, is := m.standing, m.judge()
	if m.since.IsZero() {
		m.since = now
	}
	if was == is {
		return nil
	}
	m.standing, m.since = is, now
	m.nextCry = time.Time{}
	switch is {
	case Serving, Reserve:
		if was == Serving || was == Reserve {
			return nil
		}
		return []Event{m.about(CameUp, now, "Real server", " is up")}
	case Failed:
		return p.failed(m, was, now)
	case Maintained:
		p.cryAgain(m, now)
	}
	return nil
}

// failed words why a member is down.
func (p *Plan) failed(m *member, was Standing, now time.Time) []Event {
	p.cryAgain(m, now)
	events := []Event{m.about(WentDown, now, "Real server", " is down: %s", m.complaint())}
	if was == Unchecked {
		// It never served, so no change of the table will tell.
		events = append(events, m.inaccessible(now))
	}
	return events
}

func (m *member) inaccessible(now time.Time) Event {
	e := m.about(Inaccessible, now, "Inaccessible real server:", "")
	e.Mail = true
	return e
}

// cryAgain sets the deadline of the next reminder.
func (p *Plan) cryAgain(m *member, now time.Time) {
	if every := m.v.Alert.Repeat; every > 0 && !now.IsZero() {
		m.nextCry = now.Add(every)
		p.next = earlier(p.next, m.nextCry)
	}
}

// complaint is what the first failing check said.
func (m *member) complaint() string {
	for _, c := range m.checks {
		if c.health == check.Down && c.last.Err != nil {
			return c.last.Err.Error()
		}
	}
	return "its check failed"
}

func (m *member) judge() Standing {
	h := m.health()
	switch {
	case m.out():
		return Off
	case m.excused != "":
		return Maintained
	case h == check.Down:
		return Failed
	case m.drain != nil && m.drain.over:
		return Drained
	case m.drain != nil:
		return Draining
	case h == check.Unknown:
		return Unchecked
	case m.v.serving == nobody && m.v.Fallback != nil:
		return Reserve
	}
	return Serving
}

// choose settles who counts of members that the kernel cannot tell apart: one
// that serves before one that does not. Of equals with one name the later, which
// is the last word of the file about that server; of equals with several, whose
// ports are lost on the way to the kernel, whoever is in already, as ldirectord
// cannot add the other.
func (v *virtual) choose() {
	for i := range v.slots {
		s := &v.slots[i]
		for _, m := range s.members {
			is, was := m.standing.rank(), s.chosen.standing.rank()
			if is > was || is == was && m.Name == s.chosen.Name {
				s.chosen = m
			}
		}
	}
}

func (s Standing) rank() int {
	switch s {
	case Serving:
		return 2
	case Draining:
		return 1
	}
	return 0
}

// wanted lists the destinations that the service should have, by address.
func (v *virtual) wanted() []lvs.Destination {
	ds := make([]lvs.Destination, 0, len(v.slots)+1)
	for _, s := range v.slots {
		if d, in := s.chosen.placed(); in {
			ds = append(ds, d)
		}
	}
	switch {
	case v.Fallback == nil:
		return ds
	case v.serving != nobody && v.Policy.FallbackStays && v.member(v.Fallback.Addr) == nil:
		return put(ds, quiet(*v.Fallback))
	case v.serving != nobody:
		return ds
	}
	// A fallback that is also a member serves as the fallback.
	return put(ds, *v.Fallback)
}

// put puts a destination into a sorted list, in place of one with its address.
func put(ds []lvs.Destination, d lvs.Destination) []lvs.Destination {
	i, exists := slices.BinarySearchFunc(ds, d, compareAddr)
	if exists {
		ds[i] = d
		return ds
	}
	return slices.Insert(ds, i, d)
}

// placed is a member's entry, if it is to have one.
func (m *member) placed() (lvs.Destination, bool) {
	d := m.Destination
	switch m.standing {
	case Serving:
		d.Weight, _ = m.weight()
		return d, true
	case Draining:
		return quiet(d), true
	case Drained:
		return d, false
	case Unchecked:
		return quiet(d), m.quiescent() || m.found
	}
	return quiet(d), m.quiescent()
}

func (m *member) quiescent() bool { return m.v.Policy.Quiescent || m.Inhibit }

// quiet is a destination that gets nothing new. Its thresholds go as well:
// ldirectord edits it without naming them.
func quiet(d lvs.Destination) lvs.Destination {
	d.Weight, d.Upper, d.Lower = 0, 0, 0
	return d
}
