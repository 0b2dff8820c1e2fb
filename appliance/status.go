package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// InstanceStatus is everything about one instance at one moment.
type InstanceStatus struct {
	Name      string `json:"name"`
	Group     string `json:"group,omitempty"`
	Interface string `json:"interface"`
	VRID      uint8  `json:"vrid"`
	Family    string `json:"family"` // "ipv4" or "ipv6"
	Version   uint8  `json:"vrrp_version"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`

	// State is MASTER, BACKUP, FAULT, LEAVING, INIT, or WAITING for one that
	// cannot run; Cause says why, in FAULT and WAITING.
	State string    `json:"state"`
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Mode is what an operator asked for: normal, standby or takeover.
	Mode     string  `json:"mode"`
	Priority uint8   `json:"priority"`      // effective
	Base     uint8   `json:"base_priority"` // as configured
	Interval float64 `json:"advert_interval"`
	// MasterInterval is what the master said, in seconds; our own otherwise.
	MasterInterval float64 `json:"master_advert_interval,omitempty"`
	Source         string  `json:"source,omitempty"`
	// Master is who is obeyed, or ourselves; empty when nobody was heard.
	Master         string `json:"master,omitempty"`
	MasterPriority uint8  `json:"master_priority,omitempty"`
	// Weaker is a master of lower priority, which speaks until it is our turn.
	Weaker string `json:"weaker_master,omitempty"`

	Addresses []string       `json:"addresses"`
	Holders   []HolderStatus `json:"holders"`
	// Resources are the services that run where the instance is master.
	Resources  []ResourceStatus `json:"resources,omitempty"`
	Tracked    []TrackStatus    `json:"tracked"`
	Duplicates []Duplicate      `json:"duplicates,omitempty"`
	// Refused is who has the addresses, so that they are not taken.
	Refused string `json:"refused,omitempty"`
	// Foreign are those who use the virtual_router_id in another way.
	Foreign []Foreign `json:"foreign_routers,omitempty"`
	// Removed is how often somebody else has removed addresses; YieldsUntil is how
	// long they are left to others because of that.
	Removed     uint64    `json:"addresses_removed_by_others,omitempty"`
	LastRemoved time.Time `json:"last_removed_by_others,omitzero"`
	YieldsUntil time.Time `json:"yields_until,omitzero"`

	Counters Counters `json:"counters"`

	// For front ends, which have formats of their own.
	VIPs      []netif.Addr `json:"-"`
	Garp      vrrp.Garp    `json:"-"`
	NoPreempt bool         `json:"-"`
	Password  bool         `json:"-"` // there is one
}

// Foreign is somebody on the link whose adverts have our virtual_router_id and do
// not fit: another cluster, or a peer that is set up in another way.
type Foreign struct {
	Address   string    `json:"address"`
	Reason    string    `json:"reason"`
	Version   uint8     `json:"vrrp_version"`
	Priority  uint8     `json:"priority"`
	Addresses []string  `json:"addresses"` // that it advertises, the first few
	More      int       `json:"more_addresses,omitempty"`
	Adverts   uint64    `json:"adverts"`
	Since     time.Time `json:"since"`
	Last      time.Time `json:"last"`
}

// HolderStatus is something that a master holds.
type HolderStatus struct {
	Name  string `json:"name"`
	Taken bool   `json:"taken"`
	Error string `json:"error,omitempty"`
}

// TrackStatus is something that an instance depends on.
type TrackStatus struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"`
	Health string `json:"health"` // up, down or unknown
}

// Counters count from the start of the instance.
type Counters struct {
	AdvertsSent     uint64            `json:"adverts_sent"`
	AdvertsReceived uint64            `json:"adverts_received"`
	StopsSent       uint64            `json:"priority_zero_sent"`
	StopsReceived   uint64            `json:"priority_zero_received"`
	BecameMaster    uint64            `json:"became_master"`
	ReleasedMaster  uint64            `json:"released_master"`
	Dropped         map[string]uint64 `json:"dropped,omitempty"`
}

// DroppedFor is how many adverts were not believed for a reason.
func (c Counters) DroppedFor(why vrrp.Reason) uint64 { return c.Dropped[why.Error()] }

// SyncStatus is a connection sync daemon that should run.
type SyncStatus struct {
	Role      string `json:"role"`
	Interface string `json:"interface"`
	ID        uint32 `json:"id"`
	Error     string `json:"error,omitempty"`
}

// serve fills in what is known of the services: their holder has only given the
// order.
func (s *InstanceStatus) serve(h *resources) {
	if h == nil {
		return
	}
	var fault error
	s.Resources, fault = h.status()
	for i := range s.Holders {
		one := &s.Holders[i]
		if one.Name != h.String() {
			continue
		}
		one.Taken = one.Taken && !slices.ContainsFunc(s.Resources, func(r ResourceStatus) bool { return r.State != stateRunning })
		if one.Error == "" && fault != nil {
			one.Error = strings.ReplaceAll(fault.Error(), "\n", "; ")
		}
	}
}

// Status tells everything about the instances, in the order of the site.
func (a *Appliance) Status() ([]InstanceStatus, error) {
	live, err := a.speaker.Status()
	if err != nil {
		return nil, ErrNotRunning
	}
	var site config.Site
	waiting, sources := map[string]string{}, map[string]netip.Addr{}
	services, thefts := map[string]*resources{}, map[string]defence{}
	err = a.order(func() {
		site = a.site
		for name, d := range a.thefts {
			thefts[name] = *d
		}
		for r, k := range a.kept {
			services[r.name] = k.resources
		}
		for k, v := range a.waiting {
			waiting[k] = v
		}
		for k, v := range a.sources {
			sources[k] = v
		}
	})
	if err != nil {
		return nil, err
	}
	out := []InstanceStatus{}
	for i := range site.Instances {
		in := &site.Instances[i]
		s := describe(in, &site)
		s.Duplicates = withHeard(a.probes.duplicates(in.Name), a.guard.heard(in.Name))
		if src := sources[in.Name]; src.IsValid() {
			s.Source = src.String()
		}
		at := slices.IndexFunc(live, func(m vrrp.MemberStatus) bool { return m.Name == in.Name })
		switch {
		case waiting[in.Name] != "":
			s.State, s.Cause = "WAITING", waiting[in.Name]
		case at >= 0:
			s.fill(live[at])
		}
		if s.State == "BACKUP" && s.Master != "" && s.Refused == "" {
			s.Duplicates = nil // what answered was the master
		}
		s.serve(services[in.Name])
		s.Removed, s.LastRemoved = thefts[in.Name].all, thefts[in.Name].last
		out = append(out, s)
	}
	return out, nil
}

// withHeard adds what was heard to what was found by asking.
func withHeard(asked, heard []Duplicate) []Duplicate {
	out := slices.Clone(asked)
	for _, h := range heard {
		at := slices.IndexFunc(out, func(d Duplicate) bool { return d.Address == h.Address && d.Link == h.Link })
		if at < 0 {
			out = append(out, h)
			continue
		}
		d := &out[at]
		d.When = h.When
		for _, mac := range h.MACs {
			if !slices.Contains(d.MACs, mac) {
				d.MACs = append(slices.Clip(d.MACs), mac)
			}
		}
	}
	return out
}

// describe is what is configured.
func describe(in *config.Instance, site *config.Site) InstanceStatus {
	s := InstanceStatus{
		Name: in.Name, Interface: in.Link, VRID: in.VRID, Family: "ipv4", Version: in.Version, State: "INIT", Mode: "normal",
		Base: in.Instance.Priority, Interval: in.Interval.Seconds(), File: in.Origin.File, Line: in.Origin.Line,
		Garp: in.Garp, NoPreempt: in.NoPreempt, Password: in.Password != "",
		Addresses: []string{}, Holders: []HolderStatus{}, Tracked: []TrackStatus{},
	}
	if in.IPv6 {
		s.Family = "ipv6"
	}
	for _, a := range in.Addresses {
		addr := addrOf(a, in.Link)
		s.VIPs, s.Addresses = append(s.VIPs, addr), append(s.Addresses, addr.String())
	}
	for _, t := range complete(in, site, netip.Addr{}, nil).Track {
		if t.Name == trackSource(in) {
			continue // nobody asked for it; when it fails it is the cause
		}
		s.Tracked = append(s.Tracked, TrackStatus{t.Name, t.Weight, "unknown"})
	}
	return s
}

// fill adds what lives.
func (s *InstanceStatus) fill(m vrrp.MemberStatus) {
	s.State, s.Cause, s.Since, s.Mode, s.Group = m.State.String(), m.Cause, m.Since, m.Mode.String(), m.Group
	s.Priority, s.Base, s.Interval = m.Priority, m.Base, m.Interval.Seconds()
	s.MasterInterval = m.MasterInterval.Seconds()
	if m.Master.Addr.IsValid() {
		s.Master, s.MasterPriority = m.Master.Addr.String(), m.Master.Priority
	}
	if m.Weaker.Addr.IsValid() {
		s.Weaker = m.Weaker.Addr.String()
	}
	for i, t := range s.Tracked {
		s.Tracked[i].Health = map[vrrp.Health]string{vrrp.Up: "up", vrrp.Down: "down", vrrp.Unknown: "unknown"}[m.Health[t.Name]]
	}
	for _, h := range m.Holders {
		one := HolderStatus{Name: h.Name, Taken: h.Taken}
		if h.Err != nil {
			one.Error = strings.ReplaceAll(h.Err.Error(), "\n", "; ")
		}
		s.Holders = append(s.Holders, one)
	}
	s.Counters = Counters{
		AdvertsSent: m.Stats.Sent, AdvertsReceived: m.Stats.Received, StopsSent: m.Stats.StopSent, StopsReceived: m.Stats.StopGot,
		BecameMaster: m.Stats.BecameMaster, ReleasedMaster: m.Stats.LeftMaster, Dropped: map[string]uint64{},
	}
	s.Refused, s.YieldsUntil = m.Refused, m.MeekUntil
	for _, o := range m.Strangers {
		s.Foreign = append(s.Foreign, foreignOf(o))
	}
	for r, n := range m.Stats.Dropped {
		if n > 0 {
			s.Counters.Dropped[vrrp.Reason(r).Error()] = n
		}
	}
}

func foreignOf(o vrrp.Stranger) Foreign {
	f := Foreign{Address: o.Addr.String(), Reason: o.Reason.Error(), Version: o.Version, Priority: o.Priority,
		Addresses: []string{}, More: o.More, Adverts: o.Count, Since: o.Since, Last: o.Last}
	for _, a := range o.Addrs {
		f.Addresses = append(f.Addresses, a.String())
	}
	return f
}

// Sync tells which connection sync daemons should run.
func (a *Appliance) Sync() []SyncStatus {
	want, err := a.syncs.state()
	out := []SyncStatus{}
	for _, d := range want {
		s := SyncStatus{Role: roleWord(d.Role), Interface: d.Interface, ID: d.SyncID}
		if err != nil {
			s.Error = err.Error()
		}
		out = append(out, s)
	}
	return out
}

func roleWord(r lvs.Role) string {
	if r == lvs.Master {
		return "master"
	}
	return "backup"
}

// masterOf is whom an instance hears as master: one that it obeys, or a weaker one
// until it is its own turn.
func (a *Appliance) masterOf(name string) netip.Addr {
	live, err := a.speaker.Status()
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range live {
		if m.Name == name {
			if m.Weaker.Addr.IsValid() {
				return m.Weaker.Addr
			}
			return m.Master.Addr
		}
	}
	return netip.Addr{}
}

// Standby hands the named instances over, or all. It lasts until Resume or
// Takeover, restarts included.
func (a *Appliance) Standby(names ...string) error { return a.mode(a.speaker.Standby, names) }

// Takeover makes this host master.
func (a *Appliance) Takeover(names ...string) error { return a.mode(a.speaker.Takeover, names) }

// Resume ends Standby and Takeover.
func (a *Appliance) Resume(names ...string) error { return a.mode(a.speaker.Resume, names) }

func (a *Appliance) mode(do func(...string) error, names []string) error {
	var err error
	orderErr := a.order(func() {
		if err = a.known(names); err != nil {
			return
		}
		if err = do(names...); err == nil {
			a.keepModes()
		}
	})
	if orderErr != nil {
		return orderErr
	}
	if errors.Is(err, vrrp.ErrNotRunning) {
		return ErrNotRunning
	}
	return err
}

// NoInstanceError is an order for an instance that is not there.
type NoInstanceError struct {
	Name string
	Have []string
}

func (e *NoInstanceError) Error() string {
	return fmt.Sprintf("instance %s: there is none of that name; there is %s", e.Name, strings.Join(e.Have, ", "))
}

func (a *Appliance) known(names []string) error {
	var have []string
	for _, in := range a.site.Instances {
		have = append(have, in.Name)
	}
	for _, name := range names {
		if !slices.Contains(have, name) {
			return &NoInstanceError{name, have}
		}
		if why := a.waiting[name]; why != "" {
			return fmt.Errorf("instance %s does not run: %s", name, why)
		}
	}
	return nil
}

// keepModes remembers who is in standby. An instance that only waits stays in it.
func (a *Appliance) keepModes() {
	live, err := a.speaker.Status()
	if err != nil {
		return
	}
	for _, m := range live {
		delete(a.standby, m.Name)
		if m.Mode == vrrp.Standby {
			a.standby[m.Name] = true
		}
	}
	if a.o.Save == nil {
		return
	}
	names := []string{}
	for name := range a.standby {
		names = append(names, name)
	}
	slices.Sort(names)
	a.o.Save(names)
}
