package ldirector

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

// Kind is what an [Event] is about.
type Kind uint8

// Kinds of events. The first group says what the kernel has done; these are the
// lines that people have filters for. The second says what became known of a
// server, the third what became of the kernel's table behind our back, the last
// how the Director itself fares.
const (
	Added    Kind = iota + 1 // a server is in the table that was not
	Restored                 // a server that was in has its weight
	Quiesced                 // a server is in the table with weight 0
	Deleted                  // a configured server left the table
	Purged                   // a server or a service left that is not configured
	ServiceAdded
	ServiceChanged

	CameUp
	WentDown
	SoftFailure  // one of several failures that it takes
	SoftReset    // well again before it took them all
	NotAsked     // a check that could not be made, for a fault of ours
	Inaccessible // still down; repeated as [Alert.Repeat] wants
	Reweighted   // the check asks for another weight
	NobodyServes // Hooks.Fallback start
	ServesAgain  // Hooks.Fallback stop
	DrainBegun
	DrainEmpty // no connection is left
	DrainEnded
	MaintenanceBegun
	MaintenanceEnded

	Drift    // somebody changed one of our entries, and it stays so
	Repaired // somebody changed one of our entries, and we take it back

	Refused    // the kernel refuses a change; said once for each reason
	Settled    // nothing is refused any more
	KernelLost // the table cannot be read; said once
	KernelBack
	Loaded // another configuration is in force
	GateOpened
	GateClosed
)

var kindNames = [...]string{
	Added: "added", Restored: "restored", Quiesced: "quiesced", Deleted: "deleted", Purged: "purged",
	ServiceAdded: "service-added", ServiceChanged: "service-changed",
	CameUp: "up", WentDown: "down", SoftFailure: "soft-failure", SoftReset: "soft-reset", NotAsked: "not-asked",
	Inaccessible: "inaccessible", Reweighted: "reweighted", NobodyServes: "nobody-serves", ServesAgain: "serves-again",
	DrainBegun: "drain-begun", DrainEmpty: "drain-empty", DrainEnded: "drain-ended",
	MaintenanceBegun: "maintenance-begun", MaintenanceEnded: "maintenance-ended",
	Drift: "drift", Repaired: "repaired", Refused: "refused", Settled: "settled",
	KernelLost: "kernel-lost", KernelBack: "kernel-back", Loaded: "loaded",
	GateOpened: "gate-opened", GateClosed: "gate-closed",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "event " + strconv.Itoa(int(k))
}

// MarshalText makes a Kind its name in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name of a Kind.
func (k *Kind) UnmarshalText(text []byte) error {
	i := slices.Index(kindNames[:], string(text))
	if i <= 0 {
		return fmt.Errorf("event %q: there is none of that name", text)
	}
	*k = Kind(i)
	return nil
}

// Phase is what the Director is doing as a whole. Its values are the words of
// emailalertstatus.
type Phase string

// A Director is Starting, or Reloading, until every server has been asked once.
const (
	Starting  Phase = "starting"
	Running   Phase = "running"
	Reloading Phase = "reloading"
	Stopping  Phase = "stopping"
)

// Event is something that happened, for a log, a mail, a hook.
type Event struct {
	Kind Kind      `json:"kind"`
	When time.Time `json:"when"`
	// Text is the line to log, without a newline. Its beginning is what
	// ldirectord logs, where ldirectord knows of such an event.
	Text  string `json:"text"`
	Phase Phase  `json:"phase"`
	// Service and Server are what it is about, as addresses; empty if nothing.
	Service string `json:"service,omitempty"`
	Server  string `json:"server,omitempty"`
	// Follows are the gates of the services that a GateOpened or GateClosed is about,
	// where not all services follow the same.
	Follows []string `json:"follows,omitempty"`
	// Mail says that Virtual.Alert wants to be told, if it wants to be told at all.
	Mail bool `json:"-"`
	// Virtual and Member are the configuration of what it is about, to be read
	// only; nil if it is about something else or not configured.
	Virtual *Virtual `json:"-"`
	Member  *Member  `json:"-"`
}

func (e Event) String() string { return e.Text }

// Label names a service as ldirectord does in its log: ADDRESS:PORT, or the
// number of a firewall mark.
func Label(k lvs.Key) string {
	if k.Mark != 0 {
		return strconv.FormatUint(uint64(k.Mark), 10)
	}
	return k.Addr.String()
}

// about is an event of a service.
func (v *virtual) about(kind Kind, now time.Time, format string, args ...any) Event {
	return Event{Kind: kind, When: now, Text: fmt.Sprintf(format, args...), Service: v.Service.Key.String(), Virtual: &v.Virtual}
}

// about is an event of a member. The text names it before what follows.
func (m *member) about(kind Kind, now time.Time, what, format string, args ...any) Event {
	e := m.v.about(kind, now, "%s %v (%s)%s", what, m.Destination.Addr, Label(m.v.Service.Key), fmt.Sprintf(format, args...))
	e.Server, e.Member = m.Destination.Addr.String(), &m.Member
	return e
}

// told is the event of a change that the kernel took.
func (p *Plan) told(c lvs.Change, now time.Time, phase Phase) Event {
	key := c.Service.Key
	e := Event{When: now, Service: key.String()}
	v := p.byKey[key]
	if v != nil {
		e.Virtual = &v.Virtual
	}
	switch c.Op {
	case lvs.AddService:
		e.Kind, e.Text = ServiceAdded, "Added virtual server: "+Label(key)
	case lvs.EditService:
		e.Kind, e.Text = ServiceChanged, "Changed virtual server: "+Label(key)
	case lvs.DeleteService:
		e.Kind, e.Text = Purged, fmt.Sprintf("Purged virtual server (%s): %s", phase.tag(), Label(key))
	default:
		v.toldServer(&e, c, phase)
	}
	return e
}

// toldServer words a change of a destination. v is nil for a service that is
// not configured.
func (v *virtual) toldServer(e *Event, c lvs.Change, phase Phase) {
	addr, weight := c.Destination.Addr, c.Destination.Weight
	e.Server, e.Mail = addr.String(), true
	what, m := "real", v.member(addr)
	switch {
	case v.fallbackAt(addr):
		what = "fallback"
	case m != nil:
		e.Member = &m.Member
	}
	line := func(kind Kind, word, rest string) {
		e.Kind = kind
		e.Text = fmt.Sprintf("%s %s server: %v (%s)%s", word, what, addr, Label(c.Service.Key), rest)
	}
	to := fmt.Sprintf(" (Weight set to %d)", weight)
	quiet := weight == 0 && m != nil && m.standing != Serving && m.standing != Unchecked
	switch {
	case c.Op == lvs.DeleteDestination && (m != nil || what == "fallback"):
		line(Deleted, "Deleted", "")
	case c.Op == lvs.DeleteDestination:
		line(Purged, "Purged", "")
		e.Text = fmt.Sprintf("Purged real server (%s): %v (%s)", phase.tag(), addr, Label(c.Service.Key))
	case quiet:
		line(Quiesced, "Quiescent", to)
	case c.Op == lvs.AddDestination:
		line(Added, "Added", to)
		// Nothing is known of it yet; that it is listed is no news for a mail.
		e.Mail = m == nil || m.standing != Unchecked
	default:
		line(Restored, "Restored", to)
	}
}

// purged words what the end of a service at the end of the director means to its
// servers that served: ldirectord removes, logs and mails them one by one, and
// there is hardly anything else to tell in emailalertstatus=stopping.
func (p *Plan) purged(key lvs.Key, now time.Time) []Event {
	v := p.byKey[key]
	if v == nil {
		return nil
	}
	var events []Event
	for _, s := range v.slots {
		if s.chosen.standing != Serving {
			continue
		}
		e := s.chosen.about(Purged, now, "Purged real server (stop):", "")
		e.Mail = true
		events = append(events, e)
	}
	return events
}

// tag is the word in brackets of ldirectord's lines about what it purges. It
// knows two: what is not stop is start.
func (p Phase) tag() string {
	if p == Stopping {
		return "stop"
	}
	return "start"
}

// fallbackAt tells whether an address is that of the fallback and of nobody else.
func (v *virtual) fallbackAt(addr netip.AddrPort) bool {
	return v != nil && v.Fallback != nil && v.Fallback.Addr == addr && v.member(addr) == nil
}
