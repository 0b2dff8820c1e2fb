package soak

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is what happens in one event.
type Kind string

// The kinds. Those that hurt come with one that heals.
const (
	// of directors
	Crash   Kind = "kill -9 director"
	Power   Kind = "power failure of director"
	Stop    Kind = "SIGTERM director"
	Start   Kind = "start director"
	Cut     Kind = "unplug director"
	Mend    Kind = "plug director"
	Freeze  Kind = "SIGSTOP director"
	Thaw    Kind = "SIGCONT director"
	Standby Kind = "standby"
	Resume  Kind = "resume"
	Flap    Kind = "link of director flaps"

	// of real servers
	Refuse    Kind = "web server dies"
	Hang      Kind = "web server hangs"
	Rise      Kind = "web server is well again"
	CutWeb    Kind = "unplug real server"
	MendWeb   Kind = "plug real server"
	Drain     Kind = "drain"
	Undrain   Kind = "undrain"
	KillKeep  Kind = "kill -9 realserver run"
	StopKeep  Kind = "SIGTERM realserver run"
	StartKeep Kind = "start realserver run"
	FlapWeb   Kind = "link of real server flaps"

	// of files
	GoodServices Kind = "new ldirectord.cf"
	GoodRouters  Kind = "new keepalived.conf"
	SwapFiles    Kind = "symlink swap"
	BadFile      Kind = "broken file"
	HalfFile     Kind = "half a file"
	WholeFile    Kind = "whole files again"
	Hup          Kind = "SIGHUP"
	Reload       Kind = "reload"
	Ask          Kind = "all that can be asked"

	// of somebody else
	TakeReal    Kind = "ipvsadm -d"
	TakeService Kind = "ipvsadm -D"
	ClearTable  Kind = "ipvsadm -C"
	SetWeight   Kind = "ipvsadm -e -w 0"
	GiveWeight  Kind = "ipvsadm -e -w 1"
	AddForeign  Kind = "ipvsadm -A of another's"
	TakeVIP     Kind = "ip addr del VIP"
	TakeRoute   Kind = "ip route del"
	TakeLo      Kind = "ip addr del VIP dev lo"
	TakeLoRoute Kind = "ip route del VIP dev lo"
	ResetARP    Kind = "sysctl arp_*=0"
	Clock       Kind = "clock set"
)

// Event is one thing that happens, Pause after the one before.
type Event struct {
	Pause time.Duration
	Kind  Kind
	Host  string // empty: all
	Arg   int    // what it means depends on the kind
}

func (e Event) String() string {
	s := string(e.Kind)
	if e.Host != "" {
		s = e.Host + ": " + s
	}
	if e.Arg != 0 {
		s += fmt.Sprintf(" (%d)", e.Arg)
	}
	return s
}

// class is what may be hurt once at a time: a pair survives one loss, not two.
type class int

const (
	directors class = iota
	servers
	files
	classes
)

// wound is a way to hurt, and what heals it.
type wound struct {
	hurt, heal Kind
	often      int
}

var wounds = map[class][]wound{
	directors: {{Crash, Start, 3}, {Power, Mend, 2}, {Stop, Start, 3}, {Cut, Mend, 3}, {Freeze, Thaw, 2}, {Standby, Resume, 3}},
	servers:   {{Refuse, Rise, 4}, {Hang, Rise, 3}, {CutWeb, MendWeb, 3}, {Drain, Undrain, 4}, {KillKeep, StartKeep, 2}, {StopKeep, StartKeep, 1}, {SetWeight, GiveWeight, 2}},
	files:     {{BadFile, WholeFile, 4}, {HalfFile, WholeFile, 4}},
}

// once are events that nothing has to heal.
var once = []Kind{
	GoodServices, GoodServices, GoodRouters, SwapFiles, SwapFiles, Hup, Reload, Ask, Ask,
	Flap, Flap, FlapWeb,
	TakeReal, TakeReal, TakeService, ClearTable, AddForeign,
	TakeVIP, TakeVIP, TakeRoute, TakeLo, TakeLo, TakeLoRoute, ResetARP, ResetARP, Clock,
}

// open is a wound that is to be healed, after so many more events.
type open struct {
	heal  Kind
	host  string
	after int
}

// planner makes one event after the other. It knows nothing of what comes of them:
// so a seed is one list, on every machine.
type planner struct {
	r       *rand.Rand
	open    [classes]*open
	touched string // the real server that somebody has just taken out of the table
}

func newPlanner(seed uint64) *planner {
	return &planner{r: rand.New(rand.NewPCG(seed, 0x6c7673))}
}

// next is the next event. Now and then many follow closely, mostly there is time to
// see what one alone has done.
func (p *planner) next() Event {
	e := p.choose()
	e.Pause = time.Duration(100+p.r.IntN(2400)) * time.Millisecond
	p.touched = ""
	if e.Kind == TakeReal {
		p.touched = e.Host
	}
	if p.r.IntN(5) == 0 {
		e.Pause = time.Duration(p.r.IntN(100)) * time.Millisecond
	}
	return e
}

func (p *planner) choose() Event {
	for c, o := range p.open {
		if o == nil {
			continue
		}
		if o.after--; o.after < 0 {
			return p.heal(class(c))
		}
	}
	if p.r.IntN(5) < 2 {
		if e, ok := p.hurt(class(p.r.IntN(int(classes)))); ok {
			return e
		}
	}
	return p.single()
}

// heal ends a wound. What is started again has to find files that make sense: who
// broke them is not the one whom we test.
func (p *planner) heal(c class) Event {
	o := p.open[c]
	if (o.heal == Start || o.heal == Mend || o.heal == StartKeep) && p.open[files] != nil {
		o.after = 0
		return p.heal(files)
	}
	p.open[c] = nil
	return Event{Kind: o.heal, Host: o.host}
}

func (p *planner) hurt(c class) (Event, bool) {
	if p.open[c] != nil {
		return Event{}, false
	}
	w := p.pick(wounds[c])
	host := ""
	switch c {
	case directors:
		host = fmt.Sprintf("lb%d", 1+p.r.IntN(2))
	case servers:
		host = fmt.Sprintf("web%d", 1+p.r.IntN(2))
		if p.touched != "" {
			host = p.touched // the other one is all there is
		}
	}
	p.open[c] = &open{w.heal, host, p.r.IntN(5)}
	return Event{Kind: w.hurt, Host: host, Arg: p.r.IntN(7)}, true
}

func (p *planner) pick(all []wound) wound {
	sum := 0
	for _, w := range all {
		sum += w.often
	}
	n := p.r.IntN(sum)
	for _, w := range all {
		if n -= w.often; n < 0 {
			return w
		}
	}
	panic("unreachable")
}

func (p *planner) single() Event {
	e := Event{Kind: once[p.r.IntN(len(once))], Arg: 1 + p.r.IntN(7)}
	switch e.Kind {
	case TakeReal:
		e.Host = fmt.Sprintf("web%d", 1+p.r.IntN(2))
	case TakeLo, TakeLoRoute, ResetARP:
		e.Host = fmt.Sprintf("web%d", 1+p.r.IntN(2))
		if o := p.open[servers]; o != nil {
			// One real server is enough to be hurt; and who keeps no address up puts
			// none back.
			e.Host = o.host
			if o.heal == StartKeep {
				e.Kind = Hup
				e.Host = ""
			}
		}
	case Flap:
		if p.open[directors] != nil {
			return Event{Kind: Hup, Arg: e.Arg} // the other one is all there is
		}
		e.Host = fmt.Sprintf("lb%d", 1+p.r.IntN(2))
	case FlapWeb:
		e.Host = fmt.Sprintf("web%d", 1+p.r.IntN(2))
		switch o := p.open[servers]; {
		case o == nil:
		case o.heal == MendWeb: // a flap would mend it
			return Event{Kind: Hup, Arg: e.Arg}
		default:
			e.Host = o.host
		}
	case GoodServices, GoodRouters, SwapFiles, Reload:
		if p.open[files] != nil {
			return p.heal(files)
		}
	}
	// A server whose twin is hurt is the last one.
	if o := p.open[servers]; o != nil && o.heal != StartKeep && e.Kind == TakeReal {
		e.Host = o.host
	}
	return e
}

// finish heals what is open.
func (p *planner) finish() []Event {
	var all []Event
	for _, c := range []class{files, directors, servers} {
		if p.open[c] != nil {
			e := p.heal(c)
			e.Pause = time.Second
			all = append(all, e)
		}
	}
	return all
}
