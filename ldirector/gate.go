package ldirector

import (
	"slices"
	"strings"
	"time"
)

// SetGates says which gates are open, in place of those before. A service whose
// gates are all closed has no table; what the checks say of it is still taken in,
// so that its table is complete the moment one opens. Until the first call all
// gates are open.
func (p *Plan) SetGates(open []string) {
	gates := make(map[string]bool, len(open))
	for _, name := range open {
		gates[name] = true
	}
	for _, v := range p.gate(gates) {
		v.forgetHands()
		p.version++
	}
}

// gate makes services follow the open gates, and tells for which that is another
// state than before.
func (p *Plan) gate(gates map[string]bool) []*virtual {
	p.gates = gates
	var turned []*virtual
	for _, v := range p.virtuals {
		if closed := !p.opens(v.Gates); closed != v.closed {
			v.closed = closed
			turned = append(turned, v)
		}
	}
	return turned
}

// opens tells whether something that follows gates is served here.
func (p *Plan) opens(gates []string) bool {
	return p.gates == nil || len(gates) == 0 || slices.ContainsFunc(gates, func(name string) bool { return p.gates[name] })
}

// serves tells whether this director is to serve anything, were there anything.
func (p *Plan) serves() bool {
	return len(p.virtuals) == 0 || slices.ContainsFunc(p.virtuals, func(v *virtual) bool { return !v.closed })
}

// side are the services that follow the same gates: they come and go together.
type side struct {
	gates []string
	open  bool
}

func (s side) name() string { return strings.Join(s.gates, " or ") }

// sides are those of all services, in the order of the configuration.
func (p *Plan) sides() []side {
	var all []side
	seen := make(map[string]bool)
	for _, v := range p.virtuals {
		s := side{v.Gates, !v.closed}
		if !seen[s.name()] {
			seen[s.name()] = true
			all = append(all, s)
		}
	}
	return all
}

// event says who serves; named says that other services have another side.
func (s side) event(now time.Time, named bool) Event {
	e := Event{Kind: GateClosed, When: now, Text: "Another director serves: the services leave this one"}
	if s.open {
		e.Kind, e.Text = GateOpened, "This director serves"
	}
	if !named {
		return e
	}
	e.Follows = s.gates
	e.Text = "Another director serves the services of " + s.name() + ": they leave this one"
	if s.open {
		e.Text = "This director serves the services of " + s.name()
	}
	return e
}
