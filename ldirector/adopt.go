package ldirector

import (
	"net/netip"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Adopt takes over what is known when a plan begins: from the plan before it
// (nil at a start), and from the table that the kernel holds.
//
// At a start a configured server that the kernel gives traffic counts as up
// until its checks say otherwise, so that a restart breaks no connection; every
// other one waits for its checks. At a reload health, streaks, drains,
// maintenance and what was set by hand stay with the servers that stay, whatever
// else changes about them, and nothing changes in a service that is configured
// as before. A server that was down stays out though its check be another one now.
//
// Services that are no longer configured leave the table, whatever their
// cleanstop: that is about the end of the director, as with ldirectord.
func (p *Plan) Adopt(old *Plan, have lvs.Table, now time.Time) []Event {
	p.unsaved = true // drains of servers that are gone need not be kept
	if old != nil {
		p.inherit(old)
	}
	for _, v := range p.virtuals {
		var before *virtual
		if old != nil {
			before = old.byKey[v.Service.Key]
		}
		i, exists := have.Find(v.Service.Key)
		var entry lvs.Entry
		if exists {
			entry = have[i]
		}
		v.adopt(before, entry)
		for _, m := range v.members {
			m.excused = p.files.excuse(m)
		}
	}
	var events []Event
	for _, v := range p.virtuals {
		events = append(events, p.settle(v, now)...)
	}
	return events
}

// inherit takes what belongs to the plan as a whole, and the checks.
func (p *Plan) inherit(old *Plan) {
	p.files, p.version, p.next = old.files, old.version+1, old.next
	p.gate(old.gates)
	for k := range old.leaving {
		if p.byKey[k] == nil {
			p.leaving[k] = true
		}
	}
	for k := range old.byKey {
		if p.byKey[k] == nil {
			p.leaving[k] = true
		}
	}
	for id, c := range p.checks {
		if was := old.checks[id]; was != nil {
			c.health, c.proven, c.asked, c.last, c.asks, c.asksFor = was.health, was.proven, was.asked, was.last, was.asks, was.asksFor
		}
	}
}

func (v *virtual) adopt(old *virtual, entry lvs.Entry) {
	v.serving = undecided
	pool := make(map[netip.AddrPort][]*member)
	if old != nil {
		for _, m := range old.members {
			pool[m.Destination.Addr] = append(pool[m.Destination.Addr], m)
		}
	}
	for _, m := range v.members {
		if was := pick(pool, m); was != nil {
			m.inherit(was)
		} else {
			m.standing = Unchecked
			d, in := find(entry.Destinations, m.Destination.Addr)
			m.assumed = m.AssumeUp || !m.Off && in && (d.Weight > 0 || m.Destination.Weight == 0)
			m.found = in && d.Weight == 0
		}
	}
	if old == nil {
		v.adoptFallback(entry)
		return
	}
	if !v.closed { // what is not in the kernel was not changed there
		v.adoptHands(old)
	}
	v.serving = old.serving
	if sum, pending := v.strength(); sum == 0 && pending && v.serving == enough {
		v.serving = undecided // all servers are new: wait for the first of them
	}
}

// pick takes the old member for a new one: of several with its address one of
// the same name, or the next.
func pick(pool map[netip.AddrPort][]*member, m *member) *member {
	ms := pool[m.Destination.Addr]
	if len(ms) == 0 {
		return nil
	}
	best := 0
	for i, o := range ms {
		if o.Name == m.Name {
			best = i
			break
		}
	}
	was := ms[best]
	pool[m.Destination.Addr] = append(append([]*member(nil), ms[:best]...), ms[best+1:]...)
	return was
}

func (m *member) inherit(was *member) {
	m.assumed = was.health() == check.Up
	m.found = was.found || was.standing == Draining
	m.drain = was.drain
	m.standing, m.since, m.nextCry = was.standing, was.since, was.nextCry
}

// adoptFallback finds the fallback serving, left so by whoever was here before.
func (v *virtual) adoptFallback(entry lvs.Entry) {
	if v.Fallback == nil || v.member(v.Fallback.Addr) != nil {
		return
	}
	if d, in := find(entry.Destinations, v.Fallback.Addr); in && d.Weight > 0 {
		if sum, _ := v.strength(); sum == 0 {
			v.serving = nobody
		}
	}
}

// adoptHands keeps what was set by hand on servers that are still configured.
// What was added by hand goes with the reload, as it does with ldirectord.
func (v *virtual) adoptHands(old *virtual) {
	for addr, h := range old.hand {
		if !h.wanted && (v.member(addr) == nil || old.member(addr) == nil) {
			continue
		}
		if v.hand == nil {
			v.hand = make(map[netip.AddrPort]hand)
		}
		v.hand[addr] = h
	}
}
