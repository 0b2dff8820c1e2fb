package lvs

import (
	"net/netip"
	"slices"
	"time"
)

// State is one sighting of a kernel's table: the services with what the kernel
// counted for them, in the kernel's own order. A [Table] is the part of it that
// somebody decides.
type State []ServiceState

// ServiceState is a service as the kernel has it.
type ServiceState struct {
	Service
	Stats        Stats
	Destinations []DestinationState
}

// DestinationState is a destination as the kernel has it.
type DestinationState struct {
	Destination
	Active     uint32 // connections in an active state
	Inactive   uint32 // connections in any other state
	Persistent uint32 // persistence templates
	Stats      Stats
}

// Stats are the counters of a service or a destination, and the rates that the
// kernel's two-second estimator made of them.
type Stats struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
	CPS, InPPS, OutPPS, InBPS, OutBPS         uint64 // a second
}

// Table forgets the counters and the order.
func (s State) Table() Table {
	t := make(Table, len(s))
	for i, svc := range s {
		ds := make([]Destination, len(svc.Destinations))
		for j, d := range svc.Destinations {
			ds[j] = d.Destination
		}
		slices.SortFunc(ds, func(a, b Destination) int { return a.Addr.Compare(b.Addr) })
		t[i] = Entry{Service: svc.Service, Destinations: ds}
	}
	slices.SortFunc(t, func(a, b Entry) int { return a.Key.Compare(b.Key) })
	return t
}

// Timeouts are the idle timeouts of connections, in seconds 0..2678400.
// When set, 0 keeps the value that the kernel has.
type Timeouts struct {
	TCP, TCPFin, UDP uint32
}

// Info is what IPVS says of itself.
type Info struct {
	Version   uint32 // 0x010201 is 1.2.1
	TableSize uint32 // buckets of the connection table
}

// Role is the side of connection synchronisation that a sync daemon takes.
type Role uint32

// Roles, with the kernel's values. A director may run one daemon of each.
const (
	Master Role = 1
	Backup Role = 2
)

func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Backup:
		return "backup"
	}
	return "unknown"
}

// Daemon is a connection sync daemon. Zero values of the last four are the
// kernel's defaults (the interface's MTU, 224.0.0.81, 8848, 1).
type Daemon struct {
	Role      Role
	Interface string     // at most 15 bytes
	SyncID    uint32     // 0..255
	MaxLen    uint16     // bytes of a sync message, 1..65507
	Group     netip.Addr // multicast
	Port      uint16
	TTL       uint8
}

// Connection is a line of the kernel's connection table.
type Connection struct {
	Protocol string // as the kernel names it: "TCP", "IP" for templates of firewall marks
	Client   netip.AddrPort
	Virtual  netip.AddrPort // of a firewall mark's template: the mark written as an address
	Server   netip.AddrPort
	State    string
	Expires  time.Duration
	PE, Data string // persistence engine and what it keys on
}

// Detail is how much of a destination a [View] has to know.
type Detail uint8

// Details of a view. An outline lacks a destination's tunnel, thresholds,
// persistence templates and counters, or has them: it does not tell.
const (
	Full Detail = iota
	Outline
	OutlineAndTunnels
)

// View is one sighting of a kernel's table for those who go through it once: the
// destinations of a service are there when they are asked for, and not all at
// once. To decide about changes, take a [State].
type View struct {
	Services State // in the kernel's order; their Destinations need not be set
	// Destinations returns those of Services[i], in the kernel's order. They
	// are good until the next call.
	Destinations func(i int) ([]DestinationState, error)
}

// View is the state as a view that knows everything.
func (s State) View() View {
	return View{s, func(i int) ([]DestinationState, error) { return s[i].Destinations, nil }}
}
