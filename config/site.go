package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Site is what the files of a director say together.
type Site struct {
	// RouterID is what the host calls itself in logs and mail; never on the wire.
	RouterID string

	// Virtuals follow instances: their Gates are the names of those of which one has
	// to be master here.
	Virtuals []ldirector.Virtual
	Timeouts lvs.Timeouts
	Sync     []Sync

	Instances []Instance
	Groups    []Group
	Scripts   []Script
}

// Sync is the kernel's connection synchronisation.
type Sync struct {
	Daemon lvs.Daemon // its Role is that of a director that Instance says nothing about
	// Instance is the one whose state decides the role: master here sends, any
	// other state receives. Empty: Daemon.Role, always.
	Instance string
	Source   ldirector.Source
}

// Instance is a virtual router and everything that its master holds.
type Instance struct {
	// The protocol's part. Link is the interface. Source may be invalid: the
	// interface's own address then, link-local for IPv6. Addrs are those of
	// Addresses that the adverts carry.
	vrrp.Instance
	IPv6 bool // the family of the adverts

	// StartMaster is "state MASTER" below priority 255. It gives nothing: keepalived
	// 2.2.7 waits three adverts and the skew all the same, alone or in a group. What
	// its author meant by it is for lint and for other dialects.
	StartMaster bool

	// VMAC names the macvlan that adverts and addresses are to be on, with the
	// virtual router's own MAC address; empty: none.
	VMAC string
	// PromoteSecondaries keeps the other addresses of a subnet when the first one
	// goes.
	PromoteSecondaries bool
	// UntrackedLink lets the instance live on while its own interface is down.
	UntrackedLink bool
	// OnRemoved is what a master does when somebody else removes its addresses.
	OnRemoved OnRemoved
	// LocalNode says that this director is a real server of the addresses, too:
	// while it is not master they are on lo, where nobody finds them by ARP.
	LocalNode bool

	Addresses []Address // in the order of the file
	Routes    []Route   // come after the addresses, go before them
	Resources []Resource
	Notify    Notify

	// GarpInterval and NAInterval are pauses between two announcements.
	GarpInterval, NAInterval time.Duration

	// Origin is the place in the file; Source is an address here.
	Origin ldirector.Source
}

// Address is a virtual address.
type Address struct {
	Prefix    netip.Prefix // host bits kept
	Link      string       // empty: the instance's
	Label     string       // IPv4, at most 15 bytes
	Broadcast netip.Addr   // IPv4
	Scope     uint8        // as rtnetlink numbers them: 0 global, 253 link, 254 host
	Peer      netip.Prefix // of a point-to-point link
	// DAD has the kernel look for another owner of an IPv6 address first, during
	// which the address does not work.
	DAD bool
	// Deprecated is IPv6 with preferred_lft 0: it serves and is no source address.
	Deprecated bool
	// Excluded is held like the others, and not in the adverts.
	Excluded bool
	// Untracked may vanish without anybody caring.
	Untracked bool
	Source    ldirector.Source
}

// NoSource tells whether a virtual address is Deprecated unless a file says
// otherwise, as keepalived has it: an IPv6 address alone. As a source it would be
// that of the director's tunnels, which real servers refuse, having it themselves.
func NoSource(p netip.Prefix) bool { return p.Addr().Is6() && p.IsSingleIP() }

// OnRemoved is what a master does when somebody else removes its addresses.
type OnRemoved uint8

// What it can do.
const (
	// Restore puts them back, and hands over when they do not stay.
	Restore OnRemoved = iota
	// Keep puts them back, always.
	Keep
	// Yield hands over at once, as keepalived does.
	Yield
)

var onRemovedWords = [...]string{Restore: "restore", Keep: "keep", Yield: "backup"}

// OnRemovedWords are the words for it, in files and on the command line.
func OnRemovedWords() []string { return onRemovedWords[:] }

// String is the word.
func (o OnRemoved) String() string {
	if int(o) < len(onRemovedWords) {
		return onRemovedWords[o]
	}
	return fmt.Sprintf("OnRemoved(%d)", uint8(o))
}

// ParseOnRemoved reads the word.
func ParseOnRemoved(word string) (o OnRemoved, ok bool) {
	at := slices.Index(onRemovedWords[:], word)
	return OnRemoved(max(at, 0)), at >= 0
}

// Route is a virtual route.
type Route struct {
	Dst    netip.Prefix
	Via    netip.Addr
	Link   string
	From   netip.Addr // preferred source address
	Scope  uint8
	Table  int // 0: the main one
	Metric int
	// Type is blackhole, unreachable, prohibit or throw; empty is a usual route.
	Type string
	// OnLink has the kernel believe that Via is there, whatever its addresses say.
	OnLink bool
	Source ldirector.Source
}

// Resource is a service that runs where the instance is master: a heartbeat
// resource script, started after what stands before it and stopped first.
type Resource struct {
	Name string
	Args []string
	// After is how many of the Addresses stand before it.
	After  int
	Source ldirector.Source
}

// VirtualRouter is what there can be one of on a host.
type VirtualRouter struct {
	Link  string
	VRID  uint8
	IPv6  bool
	Group netip.Addr // where its adverts go; invalid: to peers
}

// VirtualRouter tells which one in is: as with keepalived, a virtual_router_id may
// be there several times on a link when the adverts go to different groups, or to
// peers.
func (in *Instance) VirtualRouter() VirtualRouter {
	r := VirtualRouter{Link: in.Link, VRID: in.VRID, IPv6: in.IPv6}
	switch {
	case len(in.Peers) > 0:
	case in.Group.IsValid():
		r.Group = in.Group
	case in.IPv6:
		r.Group = vrrp.GroupIPv6
	default:
		r.Group = vrrp.GroupIPv4
	}
	return r
}

// Group is a sync group: its members are master together or not at all.
type Group struct {
	vrrp.Group
	Notify Notify
	Track  []vrrp.Tracked // of all members
	Source ldirector.Source
}

// Notify are the programs to tell about transitions.
type Notify struct {
	Master, Backup, Fault, Stop, Deleted *Command
	// SayDeleted has Any hear DELETED of an instance that a reload has taken away, as it
	// does where Deleted is given; without either it hears FAULT, as keepalived has it.
	SayDeleted bool
	// LowerPriority is told when a master hears an advert of lower priority.
	LowerPriority *Command
	// Any gets four more words: INSTANCE or GROUP, the name, the state, the priority.
	Any *Command
}

// Command is a program with its arguments; no shell is between unless it is the
// program.
type Command struct {
	Words       []string
	User, Group string // empty: the default of the site
	Source      ldirector.Source
}

// Script is a program whose exit status tells whether something is well.
type Script struct {
	Name    string
	Command Command
	// Hosts, addresses or names, are asked for an ICMP echo in place of running
	// Command, which does the same for programs that know no other way: one that
	// answers is enough.
	Hosts             []string
	Interval, Timeout time.Duration
	Rise, Fall        int // results in a row; the first result ever counts at once
	// InitFail counts it as down until the first result; without it the instances
	// that depend on it wait.
	InitFail bool
	// Weight is that of instances that do not say otherwise. See [vrrp.Tracked].
	Weight int
	Source ldirector.Source
}

// TrackLink is the name under which an instance tracks an interface: see [vrrp.Tracked].
func TrackLink(name string) string { return "interface " + name }

// TrackScript is the name under which an instance tracks a script: see [vrrp.Tracked].
func TrackScript(name string) string { return "script " + name }
