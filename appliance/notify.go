package appliance

import (
	"slices"
	"strconv"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/vrrp"
)

// told are the programs of an instance or a group, and what they know.
type told struct {
	kind, name string // INSTANCE or GROUP, as programs read it
	notify     config.Notify
	last       string // the state that was told last; no program hears the same twice in a row
	gone       bool   // no longer configured
	priority   uint8  // that was told last
	router     router // which virtual router it is
	replaced   int    // so many routers of this name are on their way out, and were told of
	seq        *sequence
	weaker     time.Time // when the log was last told of a master of lower priority
}

// word is the state in the language of the programs; empty is none of theirs. A
// machine that is leaving still serves.
func (t *told) word(s vrrp.State) string {
	switch s {
	case vrrp.Master:
		return "MASTER"
	case vrrp.Backup:
		return "BACKUP"
	case vrrp.Fault:
		return "FAULT"
	case vrrp.Init:
		switch {
		case !t.gone:
			return "STOP"
		case t.notify.Deleted != nil || t.notify.SayDeleted:
			return "DELETED"
		}
		return "FAULT" // what the peer says of an instance that a reload has taken away
	}
	return ""
}

func (t *told) special(word string) *config.Command {
	return map[string]*config.Command{
		"MASTER": t.notify.Master, "BACKUP": t.notify.Backup, "FAULT": t.notify.Fault,
		"STOP": t.notify.Stop, "DELETED": t.notify.Deleted,
	}[word]
}

// hear runs what is to be run on a transition: first the program of the state,
// then the one of all states, which is told what it is about.
func (t *told) hear(tr vrrp.Transition, newSeq func() *sequence) {
	word := t.word(tr.To)
	if word == "" || word == t.last {
		return
	}
	t.last, t.priority = word, tr.Priority
	priority := int(tr.Priority)
	if t.kind == "GROUP" {
		priority = 0
	}
	t.run(t.special(word), newSeq)
	t.run(t.notify.Any, newSeq, t.kind, t.name, word, strconv.Itoa(priority))
}

// replace tells of the end of a router whose name is another router's now: before
// anything is heard of that one, and as the peer does for one that is removed.
func (t *told) replace(by router, newSeq func() *sequence) {
	if t.router != by && t.last != "" {
		t.gone = true
		t.hear(vrrp.Transition{To: vrrp.Init, Priority: t.priority}, newSeq)
		t.gone, t.last = false, ""
		t.replaced++
	}
	t.router = by
}

func (t *told) run(c *config.Command, newSeq func() *sequence, more ...string) {
	if c == nil || len(c.Words) == 0 {
		return
	}
	if t.seq == nil {
		t.seq = newSeq()
	}
	as, err := check.Credential(c.User, c.Group)
	t.seq.do(job{words: slices.Concat(c.Words, more), as: as, err: err})
}
