package vrrp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Instance describes one virtual router as this host takes part in it. The zero
// values of the optional fields are keepalived's defaults, but for Garp, for
// which there is [DefaultGarp].
type Instance struct {
	Name     string        // unique on this host
	Link     string        // where adverts go through: usually an interface. Link, VRID and family are what makes a virtual router
	Version  uint8         // 2 or 3; IPv6 needs 3
	VRID     uint8         // 1..255
	Priority uint8         // 1..255, before tracking; 255 is the address owner
	Interval time.Duration // version 2: whole seconds 1..255; version 3: 0.01 s .. 40.95 s
	Source   netip.Addr    // source address of adverts, which also decides between equal priorities
	Addrs    []netip.Addr  // what the adverts carry: at least one, at most MaxAddrs, all of Source's family
	Password string        // version 2: PASS, cut to 8 bytes; empty means no authentication

	Group         netip.Addr   // multicast to this group; invalid means the protocol's own
	Peers         []netip.Addr // unicast to these instead of multicast
	PeerTTL       uint8        // TTL or hop limit of adverts to Peers, 1..255; 0 means 255
	OldPeerSum    bool         // version 3: the checksum that keepalived before 2.0 wants of unicast; see [Advert.OldSum]
	CheckPeers    bool         // accept adverts of Peers only (check_unicast_src)
	SkipAddrCheck bool         // check the addresses of only the first advert of each master

	StartStandby bool          // begin with Standby: it was ordered before a restart
	NoPreempt    bool          // do not take over from a live master of lower priority
	PreemptDelay time.Duration // respect a live master of lower priority that long
	DownAdverts  int           // a master is dead after this many silent intervals; 0 means 3
	FirstWait    time.Duration // the first deadline after start is at least that far away (heartbeat's initdead)
	StartDelay   time.Duration // deadlines are counted from this long after start at the earliest (keepalived's vrrp_startup_delay)
	WarnAfter    time.Duration // report a master that has been silent for this long (heartbeat's warntime); 0 is never
	AskFirst     bool          // do not take addresses that somebody has who is no master: see [Ask]

	LowerPrioNoAdvert    bool // as master answer adverts of lower priority with announcements only
	HigherPrioSendAdvert bool // send one more advert before yielding, so that the winner announces itself again
	Garp                 Garp
	Track                []Tracked
}

// Garp is the schedule of the announcements (gratuitous ARP, unsolicited
// neighbour advertisements) of a master.
type Garp struct {
	Repeat        int           // frames for each address at once on becoming master
	Delay         time.Duration // the same again after this time; 0 is never
	Refresh       time.Duration // announce again and again at this interval; 0 is never
	RefreshRepeat int           // frames for each address at a refresh
	LowerRepeat   int           // frames after an advert of lower priority: clients may have believed the other
	LowerDelay    time.Duration // the same again after this time; 0 is never
}

// DefaultGarp is what keepalived does when it is not told.
var DefaultGarp = Garp{
	Repeat: 5, Delay: 5 * time.Second, RefreshRepeat: 1,
	LowerRepeat: 5, LowerDelay: 5 * time.Second,
}

// Validate reports everything that makes the instance impossible.
func (c *Instance) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("instance %s: "+format, append([]any{c.Name}, args...)...))
		}
	}
	bad(c.Name == "", "it needs a name")
	bad(c.VRID == 0, "virtual_router_id 0 is not in 1..255")
	bad(c.Priority == 0, "priority 0 is not in 1..255")
	bad(!c.Source.IsValid(), "it has no source address: give the interface one, or say which with mcast_src_ip")
	bad(len(c.Addrs) == 0, "it has no virtual address")
	bad(len(c.Addrs) > MaxAddrs, "%d virtual addresses: an advert has room for %d, the rest has to be excluded from it", len(c.Addrs), MaxAddrs)
	for _, a := range slices.Concat(c.Addrs, c.Peers) {
		bad(c.Source.IsValid() && a.Is4() != c.Source.Is4(), "address %v is not of the family of the source address %v", a, c.Source)
	}
	for _, p := range c.Peers {
		bad(p == c.Source, "its own address %v is in the list of peers", p)
		bad(p.IsMulticast(), "peer %v is a multicast address", p)
	}
	bad(c.Group.IsValid() && (!c.Group.IsMulticast() || c.Source.IsValid() && c.Group.Is4() != c.Source.Is4()),
		"%v is no multicast group of the family of the source address %v", c.Group, c.Source)
	bad(c.DownAdverts < 0 || c.DownAdverts > 100, "%d silent intervals before a master is dead are not in 1..100", c.DownAdverts)
	bad(c.PreemptDelay < 0 || c.FirstWait < 0 || c.StartDelay < 0 || c.WarnAfter < 0, "a time is negative")
	bad(c.Garp.Delay < 0 || c.Garp.Refresh < 0 || c.Garp.LowerDelay < 0, "an announcement time is negative")
	errs = append(errs, c.validateVersion())
	return errors.Join(errs...)
}

func (c *Instance) validateVersion() error {
	switch {
	case c.Version == 2 && c.Source.IsValid() && !c.Source.Is4():
		return fmt.Errorf("instance %s: IPv6 needs VRRP version 3", c.Name)
	case c.Version == 2 && (c.Interval < time.Second || c.Interval > MaxIntervalV2 || c.Interval%time.Second != 0):
		return fmt.Errorf("instance %s: interval %v is not in 1..255 whole seconds, all that VRRP version 2 can say", c.Name, c.Interval)
	case c.Version == 3 && (c.Interval < 10*time.Millisecond || c.Interval > MaxIntervalV3 || c.Interval%(10*time.Millisecond) != 0):
		return fmt.Errorf("instance %s: interval %v is not in 0.01 s .. 40.95 s in steps of 0.01 s, all that VRRP version 3 can say", c.Name, c.Interval)
	case c.Version == 3 && c.Password != "":
		return fmt.Errorf("instance %s: VRRP version 3 has no authentication", c.Name)
	case c.Version != 2 && c.Version != 3:
		return fmt.Errorf("instance %s: VRRP version %d is not 2 or 3", c.Name, c.Version)
	}
	return nil
}

// skew is Skew_Time: in version 2 part of a second (RFC 3768 section 6.1), in
// version 3 part of the master's interval (RFC 5798 section 6.1).
func (c *Instance) skew(priority uint8, master time.Duration) time.Duration {
	unit := master
	if c.Version == 2 {
		unit = time.Second
	}
	return unit * time.Duration(256-int(priority)) / 256
}

// masterDown is Master_Down_Interval (same places).
func (c *Instance) masterDown(priority uint8, master time.Duration) time.Duration {
	return time.Duration(c.downAdverts())*master + c.skew(priority, master)
}

func (c *Instance) downAdverts() int {
	if c.DownAdverts == 0 {
		return 3
	}
	return c.DownAdverts
}

// Delay is the StartDelay with which the first deadline is when FirstWait has it, to
// the millisecond; without a FirstWait it is StartDelay itself.
func (c *Instance) Delay() time.Duration {
	if c.FirstWait == 0 {
		return c.StartDelay
	}
	return max(c.StartDelay, (c.FirstWait - c.masterDown(c.Priority, c.Interval)).Round(time.Millisecond))
}

// leastPatience is for successors on machines that are busy for longer than their
// intervals are.
const leastPatience = 250 * time.Millisecond

// Patience is how long a leaving master waits for its successor: the skew of the
// weakest successor there can be, plus one interval, but at least a quarter of a
// second.
func (c *Instance) Patience() time.Duration {
	return max(c.skew(1, c.Interval)+c.Interval, leastPatience)
}

// advert is what the instance says with a priority, but for its destination.
func (c *Instance) advert(priority uint8) Advert {
	a := Advert{
		Src: c.Source, TTL: 255, Version: c.Version, Type: advertisement, VRID: c.VRID,
		Priority: priority, Interval: c.Interval, Addrs: c.Addrs,
	}
	if c.Password != "" {
		a.AuthType = AuthPass
		copy(a.Auth[:], c.Password)
	}
	if len(c.Peers) > 0 {
		a.OldSum = c.OldPeerSum
		if c.PeerTTL != 0 {
			a.TTL = c.PeerTTL
		}
	}
	return a
}

// group is where multicast goes.
func (c *Instance) group() netip.Addr {
	switch {
	case c.Group.IsValid():
		return c.Group
	case c.Source.Is4():
		return GroupIPv4
	}
	return GroupIPv6
}

// destinations are where adverts go.
func (c *Instance) destinations() []netip.Addr {
	if len(c.Peers) > 0 {
		return c.Peers
	}
	return []netip.Addr{c.group()}
}

// judge is the list of checks that an advert has to pass (RFC 3768 section
// 7.1, RFC 5798 section 7.1), in the order in which keepalived makes them.
// knownMaster says that the sender's addresses have been checked before.
func (c *Instance) judge(a *Advert, knownMaster bool) Reason {
	unicast := len(c.Peers) > 0
	ours := c.advert(0)
	switch {
	case a.Flaw == BadLength:
		return BadLength
	case a.TTL != 255 && !unicast: // unicast may be routed
		return BadTTL
	case a.Flaw == BadVersion || a.Version != c.Version || a.Src.Is4() != c.Source.Is4():
		return BadVersion
	case a.VRID != c.VRID:
		return BadVRID
	case a.AuthType != ours.AuthType:
		return BadAuthType
	case c.Password != "" && subtle.ConstantTimeCompare(a.Auth[:], ours.Auth[:]) != 1:
		return BadPassword
	case c.Version == 2 && a.Interval != c.Interval:
		return BadInterval
	case a.Version == 3 && a.Interval == 0: // would make the master dead at once
		return BadInterval
	case a.Type != advertisement:
		return BadType
	case !(c.SkipAddrCheck && knownMaster) && !sameAddrs(a.Addrs, c.Addrs):
		return BadAddrs
	case a.Flaw == BadChecksum:
		return BadChecksum
	case unicast && a.Dst.IsMulticast():
		return NotUnicast
	case !unicast && !a.Dst.IsMulticast():
		return NotMulticast
	case !unicast && a.Dst != c.group():
		return OtherGroup
	case c.CheckPeers && !slices.Contains(c.Peers, a.Src):
		return UnknownPeer
	}
	return NoReason
}

// sameAddrs compares two lists whose order does not matter. They are nearly
// always in the same order; if not, it takes the square of at most MaxAddrs.
func sameAddrs(got, want []netip.Addr) bool {
	if slices.Equal(got, want) {
		return true
	}
	if len(got) != len(want) {
		return false
	}
	for _, a := range want {
		if !slices.Contains(got, a) {
			return false
		}
	}
	return true
}

// router is what tells virtual routers apart. As with keepalived, one
// virtual_router_id may be there several times on a link when the adverts go
// separate ways: to different groups, or to peers.
type router struct {
	link  string
	vrid  uint8
	v4    bool
	group netip.Addr // invalid: unicast
}

func (c *Instance) router() router {
	r := router{link: c.Link, vrid: c.VRID, v4: c.Source.Is4()}
	if len(c.Peers) == 0 {
		r.group = c.group()
	}
	return r
}

// follows tells whether c can take the place of o without a new election: an
// instance that has changed its group or its peers serves on.
func (c *Instance) follows(o *Instance) bool {
	return c.Name == o.Name && c.Link == o.Link && c.VRID == o.VRID && c.Source.Is4() == o.Source.Is4()
}

// Health is what is known of a tracked thing.
type Health uint8

// A thing is Unknown until it was observed for the first time.
const (
	Unknown Health = iota
	Up
	Down
)

// Tracked is something that an instance depends on: an interface, a script, a
// process. The name is the observer's choice; see [Router.Observe].
type Tracked struct {
	Name string
	// Weight 0: the instance is in FAULT while the thing is not up. Above 0: added
	// to the priority while it is up. Below 0: subtracted while it is down.
	Weight int
	// Reverse is keepalived's: without a weight up counts as down, and down as up;
	// with one, what would be added is subtracted, and what would be subtracted added.
	Reverse bool
}

func (t Tracked) turn(h Health) Health {
	switch {
	case t.Reverse && h == Up:
		return Down
	case t.Reverse && h == Down:
		return Up
	}
	return h
}

func (t Tracked) sign() int {
	if t.Reverse {
		return -1
	}
	return 1
}

// effective is the priority that the tracked things leave of base. An owner
// keeps 255: its addresses are its own whatever happens.
func effective(base uint8, track []Tracked, health map[string]Health) uint8 {
	if base == PriorityOwner {
		return PriorityOwner
	}
	p := int(base)
	for _, t := range track {
		h := health[t.Name]
		if t.Weight > 0 && h == Up || t.Weight < 0 && h == Down {
			p = max(math.MinInt16, min(math.MaxInt16, p+t.sign()*t.Weight))
		}
	}
	return uint8(max(1, min(PriorityOwner-1, p)))
}

// faults are the names of the things without weight that are not up.
func faults(track []Tracked, health map[string]Health) []string {
	var names []string
	for _, t := range track {
		if t.Weight == 0 && t.turn(health[t.Name]) != Up {
			names = append(names, t.Name)
		}
	}
	return names
}
