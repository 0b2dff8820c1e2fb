package ldirector

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Plan says which table a director should have now. It is a value without a
// clock or a socket: what it is told goes in, a table comes out, and the same
// story always gives the same table. Times that it is handed serve to date
// events and to end drains.
//
// A Plan is not safe for concurrent use; a [Director] owns one.
type Plan struct {
	virtuals []*virtual // as configured, each key once
	byKey    map[lvs.Key]*virtual
	checks   map[string]*checkup
	leaving  map[lvs.Key]bool // services to be removed: ours before, configured no longer
	files    Maintenance
	gates    map[string]bool // those that are open; nil: all are
	version  uint64          // of what Table would say; grows with every possible change
	next     time.Time       // the soonest deadline, zero for none
	unsaved  bool            // what Save says has changed
}

// virtual is a service with what we know of it.
type virtual struct {
	Virtual
	members []*member
	slots   []slot // sorted by address
	serving serving
	base    []lvs.Destination // what we want, sorted by address
	hand    map[netip.AddrPort]hand
	service lvs.Service // what we want, or what somebody made of it
	missing bool        // somebody removed the service, and it stays so
	closed  bool        // another director serves it
	want    []lvs.Destination
}

// slot is an address in a service, with the members that were configured for
// it. The kernel has one entry for them; mostly there is one member.
type slot struct {
	addr    netip.AddrPort
	members []*member
	chosen  *member // the one that the entry is for
}

// serving tells whether the members of a service suffice.
type serving uint8

const (
	undecided serving = iota // some member has never been asked
	enough
	nobody
)

// checkup is what one check has found so far.
type checkup struct {
	spec    check.Spec
	health  check.Health
	proven  bool // health rests on an answer, and not on what the kernel held when we came
	asked   bool // there was a result, of whatever kind
	last    check.Result
	asks    bool // for a weight
	asksFor uint32
	members []*member
}

// member is a server with what we know of it.
type member struct {
	Member
	v        *virtual
	slot     int
	checks   []*checkup
	assumed  bool // counts as up until its checks have decided: it was in service when we came, or is to be
	found    bool // was in the table with weight 0 when we came
	drain    *drain
	excused  string // the maintenance file that keeps it out
	standing Standing
	since    time.Time // of standing
	nextCry  time.Time // when to repeat that it is down
}

// Standing is the place of a server and the reason for it.
type Standing uint8

// Standings, from a server that no check has decided about to one that works.
const (
	Unchecked  Standing = iota // no verdict yet: gets no traffic
	Serving                    // well
	Reserve                    // well, but too few are for the quorum, so the fallback serves
	Draining                   // weight 0: keeps its connections, gets no new ones
	Drained                    // the time for that is over: out
	Failed                     // a check says down
	Maintained                 // a maintenance file keeps it out
	Off                        // switched off in the configuration
)

var standingNames = [...]string{"unchecked", "serving", "reserve", "draining", "drained", "failed", "maintenance", "off"}

func (s Standing) String() string {
	if int(s) < len(standingNames) {
		return standingNames[s]
	}
	return fmt.Sprintf("standing %d", uint8(s))
}

// MarshalText makes a Standing its name in JSON.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a Standing.
func (s *Standing) UnmarshalText(text []byte) error {
	i := slices.Index(standingNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("standing %q: there is none of that name", text)
	}
	*s = Standing(i)
	return nil
}

// NewPlan is the plan for a configuration of which nothing is known yet: no
// server serves before its checks say that it is well, but for those without
// checks and those that are assumed to be up. Of several virtuals with the same key the first counts; of several
// members with the same address the last that is well.
func NewPlan(vs []Virtual) *Plan {
	p := &Plan{
		byKey:   make(map[lvs.Key]*virtual, len(vs)),
		checks:  make(map[string]*checkup),
		leaving: make(map[lvs.Key]bool),
	}
	for _, c := range vs {
		if p.byKey[c.Service.Key] == nil {
			p.addVirtual(c)
		}
	}
	for _, v := range p.virtuals {
		p.settle(v, time.Time{})
	}
	return p
}

func (p *Plan) addVirtual(c Virtual) {
	v := &virtual{Virtual: c, service: c.Service}
	p.virtuals = append(p.virtuals, v)
	p.byKey[c.Service.Key] = v
	for _, mc := range c.Members {
		m := &member{Member: mc, v: v, assumed: mc.AssumeUp}
		v.members = append(v.members, m)
		if m.Off {
			continue // nobody asks after it
		}
		for _, s := range m.Checks {
			p.addCheck(s, m)
		}
	}
	v.makeSlots()
}

func (v *virtual) makeSlots() {
	sorted := slices.Clone(v.members)
	slices.SortStableFunc(sorted, func(a, b *member) int { return a.Destination.Addr.Compare(b.Destination.Addr) })
	for _, m := range sorted {
		if n := len(v.slots); n == 0 || v.slots[n-1].addr != m.Destination.Addr {
			v.slots = append(v.slots, slot{addr: m.Destination.Addr, chosen: m})
		}
		s := &v.slots[len(v.slots)-1]
		s.members = append(s.members, m)
		m.slot = len(v.slots) - 1
	}
}

// member finds a configured server by the address that the kernel knows. It may
// be asked of a service that is not configured, which has none.
func (v *virtual) member(addr netip.AddrPort) *member {
	if v == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(v.slots, addr, func(s slot, a netip.AddrPort) int { return s.addr.Compare(a) })
	if !ok {
		return nil
	}
	return v.slots[i].chosen
}

func (p *Plan) addCheck(s check.Spec, m *member) {
	c := p.checks[s.ID]
	if c == nil {
		c = &checkup{spec: s}
		p.checks[s.ID] = c
	}
	if !slices.Contains(m.checks, c) {
		c.members = append(c.members, m)
		m.checks = append(m.checks, c)
	}
}

// Specs are the checks that the plan needs, each once, in the order of the
// configuration. Initial is Up where a member that was found in service depends
// on it.
func (p *Plan) Specs() []check.Spec {
	specs := make([]check.Spec, 0, len(p.checks))
	seen := make(map[string]bool, len(p.checks))
	for _, v := range p.virtuals {
		for _, m := range v.members {
			for _, c := range m.checks {
				if !seen[c.spec.ID] {
					seen[c.spec.ID] = true
					specs = append(specs, c.specified())
				}
			}
		}
	}
	return specs
}

func (c *checkup) specified() check.Spec {
	s := c.spec
	if !c.proven && slices.ContainsFunc(c.members, func(m *member) bool { return m.assumed }) {
		s.Initial = check.Up
	}
	return s
}

// Owns tells whether a service is ours to change: it is configured, or it was
// until we were told otherwise.
func (p *Plan) Owns(k lvs.Key) bool { return p.byKey[k] != nil || p.leaving[k] }

// Table is the table to have now.
func (p *Plan) Table() lvs.Table {
	t := make(lvs.Table, 0, len(p.virtuals))
	for _, v := range p.virtuals {
		if !v.missing && !v.closed {
			t = append(t, lvs.Entry{Service: v.service, Destinations: v.want})
		}
	}
	slices.SortFunc(t, func(a, b lvs.Entry) int { return a.Key.Compare(b.Key) })
	return t
}

// Remains is the table to leave behind at the end: what has cleanstop is gone,
// what has not is as it is in have.
func (p *Plan) Remains(have lvs.Table) lvs.Table {
	return slices.DeleteFunc(slices.Clone(have), func(e lvs.Entry) bool {
		v := p.byKey[e.Key]
		return v != nil && v.Policy.CleanStop || p.leaving[e.Key]
	})
}

// Pending tells whether some server has never been asked: a start or a reload
// is over when none is left.
func (p *Plan) Pending() bool {
	for _, c := range p.checks {
		if !c.asked {
			return true
		}
	}
	return false
}

// Observe takes in the result of a check. A result of an unknown check changes
// nothing: the check may have been removed while it ran.
func (p *Plan) Observe(r check.Result) []Event {
	c := p.checks[r.ID]
	if c == nil {
		return nil
	}
	now := r.When.Add(r.Took)
	before := *c
	c.asked, c.last = true, r
	if r.Local {
		events := c.notAsked(before, now)
		if !before.asked {
			events = append(events, p.settleAll(c, now)...)
		}
		return events
	}
	c.health = r.Health
	c.proven = c.proven || r.Err == nil || r.Health == check.Down
	events := c.soft(before, now)
	c.hearWeight()
	reweighted := c.asks != before.asks || c.asks && c.asksFor != before.asksFor
	if before.asked && c.health == before.health && c.proven == before.proven && !reweighted {
		return events
	}
	if reweighted && c.asks {
		events = append(events, c.reweighted(now)...)
	}
	return append(events, p.settleAll(c, now)...)
}

// settleAll takes a changed check to all services that have members with it.
func (p *Plan) settleAll(c *checkup, now time.Time) []Event {
	var events []Event
	done := make(map[*virtual]bool, 1)
	for _, m := range c.members {
		if !done[m.v] {
			done[m.v] = true
			events = append(events, p.settle(m.v, now)...)
		}
	}
	return events
}

// soft words the failures that do not count yet, once for each member.
func (c *checkup) soft(before checkup, now time.Time) []Event {
	var events []Event
	for _, m := range c.members {
		switch {
		case c.last.Err != nil && c.health == check.Up:
			events = append(events, m.about(SoftFailure, now, "Soft failure real server:", " failure %d/%d: %v", c.last.Fails, max(c.spec.Fall, 1), c.last.Err))
		case c.last.Err == nil && before.health == check.Up && before.last.Fails > 0 && !before.last.Local:
			events = append(events, m.about(SoftReset, now, "Resetting soft failure count:", ""))
		}
	}
	return events
}

// notAsked words a fault of ours, when it is another than before.
func (c *checkup) notAsked(before checkup, now time.Time) []Event {
	if before.last.Local && errorText(before.last.Err) == errorText(c.last.Err) {
		return nil
	}
	var events []Event
	for _, m := range c.members {
		events = append(events, m.about(NotAsked, now, "Cannot check real server:", ": %v; it stays as it is (%v)", c.last.Err, m.standing))
	}
	return events
}

func (c *checkup) reweighted(now time.Time) []Event {
	var events []Event
	for _, m := range c.members {
		events = append(events, m.about(Reweighted, now, "Weight asked for by the check of real server:", ": %d", c.asksFor))
	}
	return events
}

// weight is what the check asks for, in the kernel's range, if it asks. A
// failure that does not count yet leaves what was asked for before.
func (c *checkup) weight() (w uint32, asks bool) {
	return c.asksFor, c.asks
}

func (c *checkup) hearWeight() {
	if c.last.Err == nil {
		c.asks, c.asksFor = c.last.Weighted, uint32(min(max(c.last.Weight, 0), math.MaxInt32))
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// compareAddr orders destinations as a table does.
func compareAddr(a, b lvs.Destination) int { return a.Addr.Compare(b.Addr) }

// find is the destination at an address in a sorted list.
func find(ds []lvs.Destination, addr netip.AddrPort) (lvs.Destination, bool) {
	i, ok := slices.BinarySearchFunc(ds, addr, func(d lvs.Destination, a netip.AddrPort) int { return d.Addr.Compare(a) })
	if !ok {
		return lvs.Destination{}, false
	}
	return ds[i], true
}

// earlier is the sooner of two deadlines, of which zero is none. It goes by the
// clock that cannot be set, wherever both have it: after somebody has set the
// other one back, an hour from now is not before a second from then.
func earlier(a, b time.Time) time.Time {
	switch {
	case a.IsZero():
		return b
	case b.IsZero() || !b.Before(a):
		return a
	}
	return b
}
