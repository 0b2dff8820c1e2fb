// Package doctor knows why a Linux Virtual Server cluster does not work.
//
// Facts are what one host shows: its network, its IPVS table, who answers on the
// wire, which adverts pass, what its firewall does. A Rule looks at them and finds
// one kind of fault: [Rules] is the table of all. Nothing here reads a host or
// changes one, so that every rule can be tried on facts that a test has made up.
//
// A rule speaks only of what the facts prove. What could not be read is in
// Facts.Unknown and is told as such; it is never taken for health.
package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/realserver"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Role is what a host does in a cluster. A host may have several: a director that
// is a real server too.
type Role uint8

// The roles, and all of them.
const (
	Director Role = 1 << iota
	RealServer
	Client
	Anyone = Director | RealServer | Client
)

var roleNames = []string{"director", "realserver", "client"}

// Names are those of the roles.
func (r Role) Names() []string {
	names := []string{}
	for i, name := range roleNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String names the roles, with commas between them.
func (r Role) String() string { return strings.Join(r.Names(), ",") }

// MarshalText writes the names.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Role) UnmarshalText(text []byte) error {
	*r = 0
	for name := range strings.SplitSeq(string(text), ",") {
		one, err := ParseRole(name)
		if err != nil {
			return err
		}
		*r |= one
	}
	return nil
}

// ParseRole reads one of the names "director", "realserver" and "client".
func ParseRole(name string) (Role, error) {
	i := slices.Index(roleNames, name)
	if i < 0 {
		return 0, fmt.Errorf("role %q: there is %s", name, strings.Join(roleNames, ", "))
	}
	return 1 << i, nil
}

// Severity is how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	Wrong  Severity = "wrong"  // it does not work, or stops with the next failover
	Advice Severity = "advice" // it works, and will hurt in a case that is named
)

// Finding is one fault, with the reason to believe in it.
type Finding struct {
	Rule     string   `json:"rule"`
	On       Role     `json:"on"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"` // what was seen, with values
	Why      string   `json:"why"`  // what follows from it
	// Fix are command lines, to be typed in this order. Those for another host
	// begin with a comment that names it.
	Fix []string `json:"fix"`
	// Steps are those of the lines that can be taken here and now, without a
	// decision that only a person can make.
	Steps []netif.Step `json:"-"`
}

// Worst is the severity of the worst finding, "" for none.
func Worst(found []Finding) Severity {
	worst := Severity("")
	for _, f := range found {
		if f.Severity == Wrong {
			return Wrong
		}
		worst = f.Severity
	}
	return worst
}

// mend adds steps to a finding, as lines and as steps.
func (f Finding) mend(steps ...netif.Step) Finding {
	for _, s := range steps {
		f.Fix = append(f.Fix, s.String())
		f.Steps = append(f.Steps, s)
	}
	return f
}

// say adds lines that only a person can type.
func (f Finding) say(lines ...string) Finding {
	f.Fix = append(f.Fix, lines...)
	return f
}

func wrong(what, why string) Finding  { return Finding{Severity: Wrong, What: what, Why: why} }
func advice(what, why string) Finding { return Finding{Severity: Advice, What: what, Why: why} }

// Rule is one kind of fault.
type Rule struct {
	Name  string
	On    Role   // where it applies
	About string // the fault, in half a line
	Test  func(Facts) []Finding
}

// Examine tries all rules that apply to the host's roles.
func Examine(f Facts) []Finding {
	found := []Finding{}
	for _, r := range Rules() {
		if r.On&f.Roles == 0 {
			continue
		}
		for _, x := range r.Test(f) {
			x.Rule, x.On = r.Name, r.On&f.Roles
			if x.Fix == nil {
				x.Fix = []string{}
			}
			found = append(found, x)
		}
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return -cmp.Compare(a.Severity, b.Severity) }) // "wrong" before "advice"
	return found
}

// MaxConnections bounds the sample of the connection table.
const MaxConnections = 20000

// Facts are what one host shows. What was not looked at is empty, and rules that
// need it find nothing then.
type Facts struct {
	Roles   Role
	Release string // of the kernel: "6.1.0-28-amd64"
	Host    netif.Snapshot

	IPVS        IPVS
	Table       lvs.State
	Daemons     []lvs.Daemon
	Connections []lvs.Connection // the first MaxConnections

	// Setups are what this host is or should be as a real server.
	Setups []realserver.Setup

	Probes     []Probe
	Neighbours []netif.Neighbour
	Adverts    []Heard
	Firewall   Firewall
	Managers   []Manager

	// Wanted are the schedulers that configuration files ask for, and Available
	// those that the kernel has or can load; Available is nil when that is not
	// known.
	Wanted    []Wanted
	Available []string

	Unknown []string // what could not be read, and why
}

// IPVS is whether the kernel's IPVS could be asked.
type IPVS struct {
	Missing string `json:"missing,omitempty"` // the kernel has none at present: its words
	Denied  string `json:"denied,omitempty"`  // we may not ask it
}

// Probe is the question on a link who has an address.
type Probe struct {
	VIP     netip.Addr `json:"vip"`
	Link    string     `json:"link"`
	Answers []Who      `json:"answers"` // this host's own answer is not among them
	// Held is whether this host has the address on that link, or on another one and
	// would answer for it there.
	Held bool `json:"held"`
}

// Who is one that answered.
type Who struct {
	netif.Answer
	// Names are the addresses that this host knows behind that Ethernet address.
	Names []netip.Addr `json:"names"`
}

// Heard is one sender of VRRP adverts for one virtual router on one link.
type Heard struct {
	Link   string
	Ours   bool // sent by this host
	Count  int
	Advert vrrp.Advert // the last one
}

// Manager is a program that manages a link and may take away addresses that are
// not of its own making.
type Manager struct {
	Name string // "systemd-networkd", "NetworkManager"
	Link string
	File string // the configuration that it uses for the link, if that is known
	Text string // of that file and its drop-ins
}

// Wanted is a scheduler that a configuration asks for.
type Wanted struct {
	Scheduler, Where string
}

// Guess is the roles that a host's facts show. A host that shows none is a client.
func Guess(f Facts) Role {
	var r Role
	if len(f.Table) > 0 || len(f.Daemons) > 0 || len(f.Wanted) > 0 || f.IPVS.Denied != "" {
		r |= Director
	}
	if len(f.Setups) > 0 {
		r |= RealServer
	}
	if r == 0 {
		return Client
	}
	return r
}

// GuessSetups are the setups that a real server's addresses show: virtual addresses
// are those of one host's length on a tunnel, or on lo and of a network that is on
// one of its wires. Others on lo are what routers have.
func GuessSetups(s netif.Snapshot) []realserver.Setup {
	vips := map[realserver.Method][]netip.Addr{}
	var methods []realserver.Method
	for _, a := range s.Addrs {
		ip := a.Prefix.Addr()
		m := carrierMethod(s, a.Link)
		if m == "" || ip.IsLoopback() || ip.IsLinkLocalUnicast() || !a.Prefix.IsSingleIP() || slices.Contains(vips[m], ip) {
			continue
		}
		if m == realserver.DR && len(Where(s, ip)) == 0 {
			continue
		}
		if len(vips[m]) == 0 {
			methods = append(methods, m)
		}
		vips[m] = append(vips[m], ip)
	}
	var setups []realserver.Setup
	for _, m := range methods {
		setups = append(setups, realserver.Setup{Method: m, VIPs: vips[m], Tunnel: tunnelOf(s, m)})
	}
	return setups
}

func carrierMethod(s netif.Snapshot, link string) realserver.Method {
	l, _ := s.Link(link)
	switch {
	case l.Loopback:
		return realserver.DR
	case slices.Contains([]string{"ipip", "gre", "ip6tnl", "ip6gre"}, l.Kind):
		return realserver.TUN
	}
	return ""
}

// tunnelOf tells GUE from bare IPIP by the port that unwraps it.
func tunnelOf(s netif.Snapshot, m realserver.Method) realserver.Tunnel {
	if m != realserver.TUN {
		return ""
	}
	for _, a := range s.Addrs {
		if l, _ := s.Link(a.Link); l.Kind == "gre" || l.Kind == "ip6gre" {
			return realserver.GRE
		}
	}
	return realserver.IPIP
}
