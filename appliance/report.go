package appliance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/vrrp"
)

// reporter turns what the Speaker reports into events and runs the notify
// programs. Its goroutine owns what they were told.
type reporter struct {
	box   *mailbox
	out   func(Event)
	hurry chan struct{}
	// changed hears of every transition of an instance; it does not block.
	changed func(instance string, t vrrp.Transition)
	// asked hears of every question of an instance; it does not block.
	asked func(instance string, number uint64)

	instances, groups map[string]*told
	unseen            map[string]bool // what the instances track and nobody has looked at yet
	states            map[string]vrrp.State
}

func newReporter(out func(Event)) *reporter {
	if out == nil {
		out = func(Event) {}
	}
	return &reporter{box: newMailbox(), out: out, hurry: make(chan struct{}),
		instances: map[string]*told{}, groups: map[string]*told{}, unseen: map[string]bool{}, states: map[string]vrrp.State{}}
}

// report takes in what the Speaker says. Most of it is work, not news.
func (r *reporter) report(rep vrrp.Report) {
	switch a := rep.Action.(type) {
	case vrrp.Ask:
		if r.asked != nil {
			r.asked(rep.Instance, a.Number)
		}
	case vrrp.Transition:
		r.box.put(rep, true)
	case vrrp.Note, vrrp.Dropped, vrrp.Held, vrrp.Weaker:
		r.box.put(rep, false)
	}
}

// newConfig is what the reporter is told before the Speaker is.
type newConfig struct {
	instances []config.Instance
	groups    []config.Group
}

// seen is a tracked thing of which the first word was heard.
type seen string

func (r *reporter) say(level Level, instance, text string) {
	r.box.put(Event{When: time.Now(), Level: level, Instance: instance, Text: text}, false)
}

// run works until the box is closed and empty.
func (r *reporter) run() {
	for {
		items, lost := r.box.take()
		if len(items) == 0 {
			r.sayGoodbye()
			return
		}
		for _, i := range items {
			r.one(i)
		}
		if lost > 0 {
			r.emit(Event{When: time.Now(), Level: Warning, Text: fmt.Sprintf("%d reports were lost: more came than could be written", lost)})
		}
	}
}

// sayGoodbye tells the programs of groups: a group has no machine that stops.
func (r *reporter) sayGoodbye() {
	for name, t := range r.groups {
		if t.last != "" {
			t.hear(vrrp.Transition{To: vrrp.Init}, r.sequenceOf(name))
		}
	}
}

func (r *reporter) one(item any) {
	switch i := item.(type) {
	case Event:
		r.emit(i)
	case newConfig:
		r.use(i)
	case unseenThings:
		for _, name := range i {
			r.unseen[name] = true
		}
	case seen:
		delete(r.unseen, string(i))
	case vrrp.Report:
		r.hear(i)
	}
}

// unseenThings are names that instances track and nobody has looked at yet.
type unseenThings []string

func (r *reporter) emit(e Event) {
	if e.Instance != "" {
		e.Text = "(" + e.Instance + ") " + e.Text
	}
	r.out(e)
}

func (r *reporter) use(c newConfig) {
	for _, t := range r.instances {
		t.gone = true
	}
	for _, t := range r.groups {
		t.gone = true
	}
	for i := range c.instances {
		in := &c.instances[i]
		if t := r.instances[in.Name]; t != nil {
			t.replace(routerOf(in), r.sequenceOf(in.Name))
		}
		adopt(r.instances, "INSTANCE", in.Name, in.Notify).router = routerOf(in)
	}
	for _, g := range c.groups {
		adopt(r.groups, "GROUP", g.Name, g.Notify)
	}
	for name, t := range r.groups {
		if t.gone { // a group has no machine that would say goodbye
			delete(r.groups, name)
			t.end()
		}
	}
}

func adopt(all map[string]*told, kind, name string, n config.Notify) *told {
	t := all[name]
	if t == nil {
		t = &told{kind: kind, name: name}
		all[name] = t
	}
	t.notify, t.gone = n, false
	return t
}

func (t *told) end() {
	if t.seq != nil {
		t.seq.close()
		t.seq = nil
	}
}

func (r *reporter) hear(rep vrrp.Report) {
	switch a := rep.Action.(type) {
	case vrrp.Transition:
		r.transition(rep, a)
	case vrrp.Note:
		level := Info
		if a.Warning {
			level = Warning
		}
		r.emit(Event{When: rep.Time, Level: level, Instance: rep.Instance, Group: rep.Group, Text: a.Text})
	case vrrp.Dropped:
		r.emit(Event{When: rep.Time, Level: Warning, Instance: rep.Instance, Text: fmt.Sprintf(
			"dropped advert from %v (%d since the last report): %s%s", a.Advert.Src, a.Count, a.Reason.Error(), saysText(a))})
	case vrrp.Held:
		r.emit(heldEvent(rep, a))
	case vrrp.Weaker:
		r.weaker(rep, a)
	}
}

// weakerEvery is the pause between two lines about masters of lower priority.
const weakerEvery = 10 * time.Second

// weaker runs the program for adverts of lower priority.
func (r *reporter) weaker(rep vrrp.Report, w vrrp.Weaker) {
	t := r.instances[rep.Instance]
	if t == nil {
		return
	}
	if rep.Time.Sub(t.weaker) >= weakerEvery {
		t.weaker = rep.Time
		r.emit(Event{When: rep.Time, Level: Info, Instance: rep.Instance,
			Text: fmt.Sprintf("Received advert from %v with lower priority %d", w.Peer.Addr, w.Peer.Priority)})
	}
	t.run(t.notify.LowerPriority, r.sequenceOf(rep.Instance))
}

// saysText is what a dropped advert says itself, where that is what is wrong.
func saysText(d vrrp.Dropped) string {
	switch d.Reason {
	case vrrp.BadVersion:
		return fmt.Sprintf(" (%d)", d.Advert.Version)
	case vrrp.BadInterval:
		return fmt.Sprintf(" (it says %v)", d.Advert.Interval)
	case vrrp.BadAddrs:
		const most = 4
		text := fmt.Sprint(d.Advert.Addrs[:min(len(d.Advert.Addrs), most)])
		if n := len(d.Advert.Addrs) - most; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		return "; it says " + text
	}
	return ""
}

func heldEvent(rep vrrp.Report, h vrrp.Held) Event {
	e := Event{When: rep.Time, Level: Debug, Instance: rep.Instance}
	verb := map[string]string{"take": "setting", "drop": "removing", "announce": "announcing"}[h.What]
	what := map[string]string{"addresses": "VIPs"}[h.Holder]
	if what == "" {
		what = h.Holder
	}
	e.Text = fmt.Sprintf("%s %s: done in %v", verb, what, h.Took.Round(100*time.Microsecond))
	if h.Err != nil {
		e.Level = Error
		e.Text = fmt.Sprintf("%s %s: %s; it is tried again", verb, what, strings.ReplaceAll(h.Err.Error(), "\n", "; "))
	}
	return e
}

// waits tells whether an instance is in FAULT only because nobody has looked yet:
// that is the beginning, and nothing to be alarmed by.
func (r *reporter) waits(tr vrrp.Transition) bool {
	if tr.From != vrrp.Init || tr.To != vrrp.Fault {
		return false
	}
	for _, name := range strings.Split(strings.TrimSuffix(tr.Why, " not up"), ", ") {
		if !r.unseen[name] {
			return false
		}
	}
	return true
}

func (r *reporter) transition(rep vrrp.Report, tr vrrp.Transition) {
	e := Event{When: rep.Time, Level: Notice, Instance: rep.Instance, Group: rep.Group, Transition: &tr}
	if rep.Group != "" {
		e.Text = fmt.Sprintf("VRRP_Group(%s) Syncing instances to %v state", rep.Group, tr.To)
		r.emit(e)
		if t := r.groups[rep.Group]; t != nil {
			t.hear(tr, r.sequenceOf(rep.Group))
		}
		return
	}
	if r.waits(tr) {
		e.Level = Info
		e.Text = "waits for the first word on " + strings.TrimSuffix(tr.Why, " not up")
		r.emit(e)
		return
	}
	e.Text = transitionText(tr)
	r.emit(e)
	if r.changed != nil {
		r.changed(rep.Instance, tr)
	}
	t := r.instances[rep.Instance]
	if t == nil {
		return
	}
	if tr.To == vrrp.Init && t.replaced > 0 {
		t.replaced-- // that was told when it was replaced
		return
	}
	t.hear(tr, r.sequenceOf(rep.Instance))
	if tr.To == vrrp.Init && t.gone {
		delete(r.instances, rep.Instance)
		t.end()
	}
}

func transitionText(tr vrrp.Transition) string {
	switch tr.To {
	case vrrp.Leaving:
		return fmt.Sprintf("sent 0 priority: %s; the addresses answer until a successor is heard", tr.Why)
	case vrrp.Init:
		return "Stopped: " + tr.Why
	}
	return fmt.Sprintf("Entering %v STATE: %s, priority %d", tr.To, tr.Why, tr.Priority)
}

func (r *reporter) sequenceOf(name string) func() *sequence {
	return func() *sequence {
		return newSequence(func(l Level, text string) {
			r.out(Event{When: time.Now(), Level: l, Text: "(" + name + ") " + text})
		}, r.hurry)
	}
}

// settle ends the programs: what has not begun after the context's end begins at
// once, and nobody waits for it. It is called when run has ended.
func (r *reporter) settle(ctx context.Context) {
	var all []*sequence
	for _, m := range []map[string]*told{r.instances, r.groups} {
		for _, t := range m {
			if t.seq != nil {
				all = append(all, t.seq)
				t.end()
			}
		}
	}
	stop := context.AfterFunc(ctx, func() { close(r.hurry) })
	defer stop()
	for _, s := range all {
		<-s.done
	}
}
