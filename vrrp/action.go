package vrrp

import (
	"fmt"
	"net/netip"
)

// State is a state of the protocol (RFC 5798 section 6.4), of which FAULT is
// keepalived's and LEAVING is ours.
type State uint8

const (
	Init    State = iota // not started, or stopped
	Backup               // another one is master, or nobody yet
	Master               // holds the addresses, and says so
	Fault                // something without which it cannot be master is not up
	Leaving              // said goodbye, and holds the addresses until the successor is heard
)

// String is the state as keepalived writes it in logs and for scripts.
func (s State) String() string {
	return [...]string{"INIT", "BACKUP", "MASTER", "FAULT", "LEAVING"}[s]
}

// Mode is what an operator asked of an instance.
type Mode uint8

const (
	Normal  Mode = iota
	Standby      // the weakest of all: priority 1, and never takes over from a live master
	Seized       // the strongest but for an owner: priority 254
)

// String is the word that the operator used for it.
func (m Mode) String() string { return [...]string{"normal", "standby", "takeover"}[m] }

// Action is something that a machine wants done. Actions are done in the order
// in which they are returned.
type Action interface {
	fmt.Stringer
	action()
}

// Send sends an advertisement to each of its destinations. Where the sum covers
// the destination, Advert.Dst has to be set for each.
type Send struct {
	Advert Advert
	To     []netip.Addr // not to be changed
}

// Take makes this host hold what a master holds. To take what is held already changes nothing.
type Take struct{}

// Drop makes this host let go of all that a master holds, whoever gave it.
type Drop struct{}

// Announce tells the network where the addresses are, with so many frames for each of them.
type Announce struct{ Repeat int }

// Transition is a change of state, done by the time it is reported.
type Transition struct {
	From, To State
	Priority uint8 // effective
	Why      string
}

// Dropped reports dropped advertisements, at a limited rate.
type Dropped struct {
	Reason Reason
	Advert Advert // the last one
	Count  uint64 // how many were dropped for this reason since the last report
}

// Note is worth a line in the log.
type Note struct {
	Warning bool
	Text    string
}

func (Send) action()       {}
func (Take) action()       {}
func (Drop) action()       {}
func (Announce) action()   {}
func (Transition) action() {}
func (Dropped) action()    {}
func (Note) action()       {}

func (s Send) String() string { return fmt.Sprintf("send priority %d to %v", s.Advert.Priority, s.To) }
func (Take) String() string   { return "take" }
func (Drop) String() string   { return "drop" }
func (a Announce) String() string {
	return fmt.Sprintf("announce x%d", a.Repeat)
}
func (t Transition) String() string {
	return fmt.Sprintf("%v -> %v, priority %d: %s", t.From, t.To, t.Priority, t.Why)
}
func (d Dropped) String() string {
	return fmt.Sprintf("dropped %d from %v: %s", d.Count, d.Advert.Src, d.Reason.Error())
}
func (n Note) String() string {
	if n.Warning {
		return "warning: " + n.Text
	}
	return n.Text
}
