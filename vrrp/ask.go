package vrrp

import (
	"fmt"
	"time"
)

// Ask wants to know whether somebody has the addresses, before a silent master is
// followed; [Machine.Answer] takes the answer. It is for instances with AskFirst,
// and comes when an advert was missed, early enough to cost no time: a master that
// is dead answers nobody, but one whose VRRP alone is dead still has the addresses,
// and so has a machine that was given them by mistake.
//
// Nobody is asked where the addresses are somebody's with good reason: a master
// that said goodbye, or a live one of lower priority.
type Ask struct {
	Number uint64 // to be given back with the answer
}

func (Ask) action() {}

func (a Ask) String() string { return "ask" }

const (
	// askLead is how long before the deadline the question goes out.
	askLead = 700 * time.Millisecond
	// askPatience is how long an answer is waited for. Who cannot ask, takes: an
	// election must not hang on a question.
	askPatience = 2 * time.Second
	// refusedEvery is the pause between two reports of the same refusal.
	refusedEvery = time.Minute
)

// question is what a backup knows of the addresses. It begins anew with every
// advert of a master.
type question struct {
	at      time.Time // when to ask
	asked   time.Time // when it was asked; zero: not yet
	number  uint64
	known   bool   // there is an answer
	holder  string // the answer; empty: nobody
	invited bool   // there is no need to ask
	overdue bool   // the deadline has come, and waits for the answer
}

// prepareQuestion is called when the deadline is set. To ask before an advert was
// missed would be to ask all the time where intervals are short.
func (m *Machine) prepareQuestion(now time.Time) {
	m.question = question{}
	if m.cfg.AskFirst && m.priority != PriorityOwner {
		m.question.at = later(m.downAt.Add(-askLead), now.Add(m.interval*3/2))
	}
}

func (m *Machine) ask(now time.Time) {
	if m.question.invited {
		return
	}
	m.questions++
	m.question.at, m.question.asked, m.question.number = time.Time{}, now, m.questions
	m.do(Ask{m.questions})
}

// mayTake is asked when the deadline has come. Where it is false, the deadline has
// been set anew.
func (m *Machine) mayTake(now time.Time) bool {
	q := &m.question
	switch {
	case !m.cfg.AskFirst || m.priority == PriorityOwner || q.invited:
		return true
	case q.known && q.holder != "":
		m.refuse(now, q.holder)
		return false
	case q.known:
		return true
	case q.asked.IsZero():
		m.ask(now)
	case !now.Before(q.asked.Add(askPatience)):
		m.warn("whether somebody has the addresses could not be found out within %v; they are taken", askPatience)
		return true
	}
	q.overdue = true
	m.downAt = q.asked.Add(askPatience)
	return false
}

// Answer says who has the addresses, in words; nothing means nobody. An answer to
// an old question is none.
func (m *Machine) Answer(now time.Time, number uint64, holder string) []Action {
	q := &m.question
	if m.state != Backup || q.number != number || q.asked.IsZero() || q.known {
		return nil
	}
	q.known, q.holder = true, holder
	if q.overdue {
		m.downAt = now
		m.tickBackup(now)
	}
	return m.flush()
}

// refuse leaves the addresses to whoever has them, and tries again as if it were a
// master.
func (m *Machine) refuse(now time.Time, holder string) {
	if holder != m.refused || !now.Before(m.refusedAt.Add(refusedEvery)) {
		m.refusedAt = now
		m.warn("not taking over: %s; it is tried again", holder)
	}
	m.refused = holder
	m.arm(now, now.Add(m.cfg.masterDown(m.priority, m.interval)))
}

// Forfeit gives up what this host does not let us keep: a master hands over, as
// for Standby, and for some time leaves live masters of lower priority alone. With
// nobody else to speak it goes on.
func (m *Machine) Forfeit(now time.Time, why string, meek time.Duration) []Action {
	if m.state != Master || m.stopping {
		return nil
	}
	m.meekUntil = now.Add(meek)
	m.goodbye(now, why)
	return m.flush()
}

// Weaker says that a master heard another one of lower priority, at most once per
// interval.
type Weaker struct{ Peer Peer }

func (Weaker) action() {}

func (w Weaker) String() string {
	return fmt.Sprintf("%v has lower priority %d", w.Peer.Addr, w.Peer.Priority)
}
