package ldirector

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

// Repair says what becomes of changes that somebody else makes to our services.
// The services of others are never touched, and two things are never left: a
// server that gets weight while its checks do not say that it is well, and a
// fallback beside servers that serve.
type Repair uint8

const (
	// RepairMissing puts back services and servers that vanish, and leaves what
	// was edited or added by hand: an edit until what we want of that server
	// changes, an addition until the next reload. It is the default.
	//
	// ldirectord leaves edits as well. It also never misses what vanished, which
	// nobody wants: after an ipvsadm -C it keeps quiet and serves nobody.
	RepairMissing Repair = iota
	// RepairNothing leaves whatever is done by hand until what we want of that
	// server or service changes, as ldirectord does.
	RepairNothing
	// RepairAll takes every change back.
	RepairAll
)

// hand is what somebody made of one entry by hand, and what we wanted at that
// time: the tolerance ends when we want something else.
type hand struct {
	want, made     lvs.Destination
	wanted, stands bool // whether the entry was wanted; whether it is there
}

// Notice compares the table as we left it with the table as it is, and decides
// about every difference in our services: it stays, and Table says from now on
// what somebody made of it, or it is to be taken back, and Table says what it
// said. The events tell which.
func (p *Plan) Notice(left, truth lvs.Table, repair Repair, now time.Time) []Event {
	p.forgetLeft(truth)
	if lost := p.lost(left, truth); lost > 1 && repair != RepairNothing {
		return p.cleared(lost, now)
	}
	var events []Event
	for _, v := range p.virtuals {
		if v.closed {
			continue
		}
		i, had := left.Find(v.Service.Key)
		j, has := truth.Find(v.Service.Key)
		switch {
		case had && has:
			events = append(events, p.compare(v, left[i], truth[j], repair, now)...)
		case had && repair == RepairNothing:
			v.missing = true
			events = append(events, v.about(Drift, now, "Virtual server %s was removed by somebody; it stays so until one of its servers changes", Label(v.Service.Key)))
		case had:
			v.forgetHands()
			events = append(events, v.about(Repaired, now, "Virtual server %s was removed by somebody; it is put back", Label(v.Service.Key)))
		}
		v.want = v.withHands() // also when somebody has set right what somebody did, which is no event
	}
	p.version++
	return events
}

// lost counts our services that vanished; when all did, and there were several.
func (p *Plan) lost(left, truth lvs.Table) int {
	n := 0
	for _, e := range left {
		if v := p.byKey[e.Key]; v == nil || v.closed {
			continue
		}
		if _, has := truth.Find(e.Key); has {
			return 0
		}
		n++
	}
	return n
}

// cleared is one line for what would else be hundreds.
func (p *Plan) cleared(n int, now time.Time) []Event {
	p.version++
	for _, v := range p.virtuals {
		v.forgetHands()
	}
	e := Event{Kind: Repaired, When: now}
	e.Text = "All " + itoa(n) + " virtual servers were removed by somebody (ipvsadm -C, or the module was loaded again); they are put back"
	return []Event{e}
}

// forgetLeft ends our claim on services that are no longer configured and gone.
func (p *Plan) forgetLeft(truth lvs.Table) {
	for k := range p.leaving {
		if _, has := truth.Find(k); !has {
			delete(p.leaving, k)
		}
	}
}

func (p *Plan) compare(v *virtual, left, truth lvs.Entry, repair Repair, now time.Time) []Event {
	var events []Event
	if left.Service != truth.Service {
		events = append(events, v.compareService(truth.Service, repair, now)...)
	}
	for _, addr := range addresses(left.Destinations, truth.Destinations) {
		was, had := find(left.Destinations, addr)
		is, has := find(truth.Destinations, addr)
		if was != is || had != has {
			events = append(events, v.compareDestination(addr, is, has, repair, now)...)
		}
	}
	return events
}

func (v *virtual) compareService(made lvs.Service, repair Repair, now time.Time) []Event {
	switch {
	case made == v.Service:
		v.service = v.Service
		return nil
	case repair == RepairAll:
		return []Event{v.about(Repaired, now, "Virtual server %s was edited by somebody; it is set right", Label(v.Service.Key))}
	}
	v.service = made
	return []Event{v.about(Drift, now, "Virtual server %s was edited by somebody; it stays so until the next reload", Label(v.Service.Key))}
}

func (v *virtual) compareDestination(addr netip.AddrPort, made lvs.Destination, stands bool, repair Repair, now time.Time) []Event {
	want, wanted := find(v.base, addr)
	if want == made && wanted == stands {
		delete(v.hand, addr)
		return nil
	}
	verdict := v.about(Drift, now, "%s", "")
	if v.tolerates(addr, made, stands, repair) {
		if v.hand == nil {
			v.hand = make(map[netip.AddrPort]hand)
		}
		v.hand[addr] = hand{want, made, wanted, stands}
	} else {
		delete(v.hand, addr)
		verdict.Kind = Repaired
	}
	v.wordHand(&verdict, addr, hand{want, made, wanted, stands})
	return []Event{verdict}
}

// wordHand says what was done by whom, and what becomes of it.
func (v *virtual) wordHand(e *Event, addr netip.AddrPort, h hand) {
	e.Server = addr.String()
	if m := v.member(addr); m != nil {
		e.Member = &m.Member
	}
	e.Text = "Real server " + addr.String() + " (" + Label(v.Service.Key) + ") " + h.String() + "; "
	switch {
	case e.Kind == Repaired:
		e.Text += "that is taken back"
	case h.wanted:
		e.Text += "it stays so until its state changes"
	default:
		e.Text += "it stays so until the next reload"
	}
}

// String says what somebody did.
func (h hand) String() string {
	switch {
	case !h.stands:
		return "was removed by somebody"
	case !h.wanted:
		return "was added by somebody (weight " + itoa(h.made.Weight) + ")"
	case h.made.Weight != h.want.Weight:
		return "was given weight " + itoa(h.made.Weight) + " by somebody, in place of " + itoa(h.want.Weight)
	}
	return "was edited by somebody"
}

// tolerates tells whether a change by hand may stay.
func (v *virtual) tolerates(addr netip.AddrPort, made lvs.Destination, stands bool, repair Repair) bool {
	m := v.member(addr)
	switch {
	case repair == RepairAll:
		return false
	case !stands && repair == RepairNothing:
		return true
	case !stands:
		// ldirectord puts a quiescent server back only with readdquiescent.
		return m != nil && m.standing != Serving && m.standing != Draining && !v.Policy.ReaddQuiescent
	}
	return made.Weight == 0 || v.mayServe(addr)
}

// mayServe tells whether a server may have weight, were it by hand.
func (v *virtual) mayServe(addr netip.AddrPort) bool {
	if m := v.member(addr); m != nil {
		return m.standing == Serving
	}
	return !v.fallbackAt(addr) || v.serving == nobody
}

// forgetHands drops all that was tolerated.
func (v *virtual) forgetHands() {
	v.hand, v.service, v.missing = nil, v.Service, false
	v.want = v.base
}

// forgetOldHands drops what was tolerated for a state that is over.
func (v *virtual) forgetOldHands() {
	for addr, h := range v.hand {
		want, wanted := find(v.base, addr)
		if want != h.want || wanted != h.wanted || h.made.Weight > 0 && !v.mayServe(addr) {
			delete(v.hand, addr)
		}
	}
}

// withHands is what we want, but for what somebody else wanted.
func (v *virtual) withHands() []lvs.Destination {
	if len(v.hand) == 0 {
		return v.base
	}
	ds := slices.DeleteFunc(slices.Clone(v.base), func(d lvs.Destination) bool {
		_, changed := v.hand[d.Addr]
		return changed
	})
	for _, h := range v.hand {
		if h.stands {
			ds = put(ds, h.made)
		}
	}
	return ds
}

// addresses are those of two sorted lists together.
func addresses(a, b []lvs.Destination) []netip.AddrPort {
	as := make([]netip.AddrPort, 0, max(len(a), len(b)))
	for _, d := range a {
		as = append(as, d.Addr)
	}
	for _, d := range b {
		if _, both := find(a, d.Addr); !both {
			as = append(as, d.Addr)
		}
	}
	return as
}
