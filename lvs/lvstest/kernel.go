// Package lvstest is a kernel to test with: it remembers, it refuses what Linux
// refuses, and it prints itself in the notation of ipvsadm -S.
package lvstest

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
)

// Kernel is an IPVS that lives in memory. Make one with [New]; it is safe for
// concurrent use, but for its exported fields, which are set before use.
type Kernel struct {
	// Refuse, when set, is asked first: a result other than 0 is the verdict.
	Refuse func(lvs.Change) syscall.Errno
	// Unreadable, when not 0, is what every read answers.
	Unreadable syscall.Errno
	// Schedulers and Engines are what the kernel has modules for.
	Schedulers, Engines map[string]bool
	// Broadcasts are the addresses that the host's routes call broadcast.
	Broadcasts []netip.Addr
	// Interfaces are those on which a sync daemon can run, with their MTU.
	Interfaces map[string]int

	mu       sync.Mutex
	table    lvs.Table
	taken    []lvs.Change
	counts   map[counted]lvs.DestinationState
	stats    map[lvs.Key]lvs.Stats
	conns    []lvs.Connection
	daemons  map[lvs.Role]lvs.Daemon
	timeouts lvs.Timeouts
}

type counted struct {
	key  lvs.Key
	addr netip.AddrPort
}

// New is a kernel as Linux 6.1 boots: an empty table, all modules at hand, one
// interface eth0.
func New(entries ...lvs.Entry) *Kernel {
	k := &Kernel{
		Schedulers: set("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "none"),
		Engines:    set("sip"),
		Interfaces: map[string]int{"eth0": 1500, "lo": 65536},
		counts:     map[counted]lvs.DestinationState{},
		stats:      map[lvs.Key]lvs.Stats{},
		daemons:    map[lvs.Role]lvs.Daemon{},
		timeouts:   lvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300},
	}
	k.table = lvs.Table(slices.Clone(entries))
	slices.SortFunc(k.table, func(a, b lvs.Entry) int { return a.Key.Compare(b.Key) })
	return k
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Read returns the table.
func (k *Kernel) Read() (lvs.Table, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Unreadable != 0 {
		return nil, k.Unreadable
	}
	return clone(k.table), nil
}

// clone keeps callers from writing into our memory through a shared slice.
func clone(t lvs.Table) lvs.Table {
	t = slices.Clone(t)
	for i := range t {
		t[i].Destinations = slices.Clone(t[i].Destinations)
	}
	return t
}

// Do takes the changes in order.
func (k *Kernel) Do(cs []lvs.Change) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := make([]error, len(cs))
	for i, c := range cs {
		errs[i] = k.do(c)
	}
	return errs
}

func (k *Kernel) do(c lvs.Change) error {
	if k.Refuse != nil {
		if errno := k.Refuse(c); errno != 0 {
			return lvs.Refused(c, errno)
		}
	}
	next, err := k.table.With(c)
	if err != nil {
		return err
	}
	if errno := k.host(c); errno != 0 {
		return lvs.Refused(c, errno)
	}
	k.table = next
	k.taken = append(k.taken, c)
	k.count(c)
	return nil
}

// host is what depends on more than the table: the schedulers and engines at
// hand, the host's routes, and the sync daemon, whose protocol has no room for a
// server of another family.
func (k *Kernel) host(c lvs.Change) syscall.Errno {
	s, d := c.Service, c.Destination
	switch c.Op {
	case lvs.AddService, lvs.EditService:
		if !k.Schedulers[s.Scheduler] || s.PE != "" && !k.Engines[s.PE] {
			return syscall.ENOENT
		}
	case lvs.AddDestination, lvs.EditDestination:
		mixed := lvs.FamilyOf(d.Addr.Addr()) != s.Family
		if mixed && len(k.daemons) > 0 || c.Op == lvs.AddDestination && slices.Contains(k.Broadcasts, d.Addr.Addr()) {
			return syscall.EINVAL
		}
	}
	return 0
}

// count forgets the counters of what is gone or zeroed.
func (k *Kernel) count(c lvs.Change) {
	gone := func(at counted) bool {
		i, exists := k.table.Find(at.key)
		if !exists {
			return true
		}
		_, exists = k.table[i].Find(at.addr)
		return !exists
	}
	maps.DeleteFunc(k.counts, func(at counted, _ lvs.DestinationState) bool { return gone(at) })
	maps.DeleteFunc(k.stats, func(key lvs.Key, _ lvs.Stats) bool {
		_, exists := k.table.Find(key)
		return !exists
	})
	if c.Op != lvs.Zero {
		return
	}
	all := c.Service.Key == (lvs.Key{})
	maps.DeleteFunc(k.stats, func(key lvs.Key, _ lvs.Stats) bool { return all || key == c.Service.Key })
	for at, d := range k.counts {
		if all || at.key == c.Service.Key {
			d.Stats = lvs.Stats{} // connections stay, only the counters start again
			k.counts[at] = d
		}
	}
}

// Taken returns the changes that were taken since the last call.
func (k *Kernel) Taken() []lvs.Change {
	k.mu.Lock()
	defer k.mu.Unlock()
	cs := k.taken
	k.taken = nil
	return cs
}

// Count sets what the kernel has counted for a service.
func (k *Kernel) Count(key lvs.Key, s lvs.Stats) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats[key] = s
}

// CountDestination sets the connections and counters of a destination; what
// else d says is ignored.
func (k *Kernel) CountDestination(key lvs.Key, d lvs.DestinationState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[counted{key, d.Addr}] = d
}

// State returns the table with what was counted.
func (k *Kernel) State() (lvs.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Unreadable != 0 {
		return nil, k.Unreadable
	}
	st := make(lvs.State, len(k.table))
	for i, e := range k.table {
		st[i] = k.state(e)
	}
	return st, nil
}

// ServiceState returns one service with what was counted.
func (k *Kernel) ServiceState(key lvs.Key) (lvs.ServiceState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Unreadable != 0 {
		return lvs.ServiceState{}, k.Unreadable
	}
	i, exists := k.table.Find(key)
	if !exists {
		return lvs.ServiceState{}, lvs.Refused(lvs.Change{Service: lvs.Service{Key: key}}, syscall.ESRCH)
	}
	return k.state(k.table[i]), nil
}

func (k *Kernel) state(e lvs.Entry) lvs.ServiceState {
	s := lvs.ServiceState{Service: e.Service, Stats: k.stats[e.Key]}
	for _, d := range e.Destinations {
		ds := k.counts[counted{e.Key, d.Addr}]
		ds.Destination = d
		s.Destinations = append(s.Destinations, ds)
	}
	return s
}

// Info is that of Linux 6.1 with the default connection table.
func (k *Kernel) Info() (lvs.Info, error) {
	return lvs.Info{Version: 0x010201, TableSize: 4096}, nil
}

// Timeouts returns the timeouts.
func (k *Kernel) Timeouts() (lvs.Timeouts, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.timeouts, nil
}

// SetTimeouts sets those that are not 0.
func (k *Kernel) SetTimeouts(t lvs.Timeouts) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	set := func(have *uint32, want uint32) {
		if want != 0 {
			*have = want
		}
	}
	set(&k.timeouts.TCP, t.TCP)
	set(&k.timeouts.TCPFin, t.TCPFin)
	set(&k.timeouts.UDP, t.UDP)
	return nil
}

// Daemons returns the sync daemons that run, the master first.
func (k *Kernel) Daemons() ([]lvs.Daemon, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ds []lvs.Daemon
	for _, r := range []lvs.Role{lvs.Master, lvs.Backup} {
		if d, ok := k.daemons[r]; ok {
			ds = append(ds, d)
		}
	}
	return ds, nil
}

// StartDaemon refuses what the kernel refuses, and fills in its defaults.
func (k *Kernel) StartDaemon(d lvs.Daemon) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, running := k.daemons[d.Role]; running {
		return syscall.EEXIST
	}
	mtu, ok := k.Interfaces[d.Interface]
	switch {
	case k.mixed():
		return syscall.EINVAL
	case !ok:
		return syscall.ENODEV
	}
	k.daemons[d.Role] = withDefaults(d, mtu)
	return nil
}

func withDefaults(d lvs.Daemon, mtu int) lvs.Daemon {
	headers := 20 + 8 // of IPv4 and UDP
	if d.Group.Is6() {
		headers = 40 + 8
	}
	if !d.Group.IsValid() {
		d.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	if d.Port == 0 {
		d.Port = 8848
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	if d.MaxLen == 0 {
		d.MaxLen = uint16(min(mtu-headers, 65507))
	}
	return d
}

func (k *Kernel) mixed() bool {
	for _, e := range k.table {
		for _, d := range e.Destinations {
			if lvs.FamilyOf(d.Addr.Addr()) != e.Family {
				return true
			}
		}
	}
	return false
}

// StopDaemon stops the daemon of d's role.
func (k *Kernel) StopDaemon(d lvs.Daemon) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, running := k.daemons[d.Role]; !running {
		return syscall.ESRCH
	}
	delete(k.daemons, d.Role)
	return nil
}

// Connect adds lines to the connection table.
func (k *Kernel) Connect(cs ...lvs.Connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns = append(k.conns, cs...)
}

// Connections returns the connection table.
func (k *Kernel) Connections() iter.Seq2[lvs.Connection, error] {
	k.mu.Lock()
	defer k.mu.Unlock()
	conns := slices.Clone(k.conns)
	return func(yield func(lvs.Connection, error) bool) {
		for _, c := range conns {
			if !yield(c, nil) {
				return
			}
		}
	}
}

var _ lvs.Kernel = (*Kernel)(nil)
