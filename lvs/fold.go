package lvs

import (
	"net/netip"
	"slices"
	"syscall"
)

// maxWeight is the largest weight: the kernel keeps it as a C int.
const maxWeight = 1<<31 - 1

// maxName is how long the name of a scheduler or persistence engine can be:
// netlink refuses a longer one before anything else is looked at.
const maxName = 15

// With returns the table after one change, or the table as it was and the
// refusal (a *ChangeError) that Linux 6.1 would answer.
//
// It knows what follows from the table alone. Which schedulers and engines are
// loaded, who is asking, and which addresses are the host's own are facts of a
// host: lvstest adds them.
func (t Table) With(c Change) (Table, error) {
	next, errs := t.Fold([]Change{c})
	return next, errs[0]
}

// Fold takes many changes in order, each one as With would, and returns the
// table reached and one verdict a change.
func (t Table) Fold(cs []Change) (Table, []error) {
	f := folder{entries: make(map[Key]Entry, len(t)), shared: make(map[Key]bool, len(t))}
	for _, e := range t {
		f.entries[e.Key] = e
		f.shared[e.Key] = true
	}
	errs := make([]error, len(cs))
	for i, c := range cs {
		errs[i] = Refused(c, f.take(c))
	}
	return f.table(), errs
}

// folder is a table that is being changed.
type folder struct {
	entries map[Key]Entry
	shared  map[Key]bool // its destinations still belong to the table we came from
}

func (f *folder) table() Table {
	t := make(Table, 0, len(f.entries))
	for _, e := range f.entries {
		t = append(t, e)
	}
	slices.SortFunc(t, func(a, b Entry) int { return a.Key.Compare(b.Key) })
	return t
}

// take follows ip_vs_genl_set_cmd of Linux 6.1, including the order of its
// checks: it decides which refusal a change that is wrong twice gets.
func (f *folder) take(c Change) syscall.Errno {
	key := c.Service.Key
	e, exists := f.entries[key]
	switch {
	case c.Op == Flush:
		clear(f.entries)
		return 0
	case c.Op == Zero && key == (Key{}):
		return 0
	case key.Family != IPv4 && key.Family != IPv6:
		return syscall.EAFNOSUPPORT
	case c.Op <= EditService && max(len(c.Service.Scheduler), len(c.Service.PE)) > maxName:
		return syscall.EINVAL
	case c.Op == AddService:
		return f.addService(c, exists)
	case !exists:
		return syscall.ESRCH
	}
	switch c.Op {
	case Zero:
		return 0
	case EditService:
		return f.editService(c, e)
	case DeleteService:
		delete(f.entries, key)
		return 0
	case AddDestination, EditDestination, DeleteDestination:
		return f.destination(c, e)
	}
	return syscall.EINVAL
}

func (f *folder) addService(c Change, exists bool) syscall.Errno {
	if exists {
		return syscall.EEXIST
	}
	if errno := checkService(c.Service); errno != 0 {
		return errno
	}
	f.entries[c.Service.Key] = Entry{Service: c.Service}
	delete(f.shared, c.Service.Key)
	return 0
}

func (f *folder) editService(c Change, e Entry) syscall.Errno {
	s := c.Service
	s.Flags = s.Flags&^c.KeepFlags | e.Flags&c.KeepFlags
	if errno := checkService(s); errno != 0 {
		return errno
	}
	e.Service = s
	f.entries[s.Key] = e
	return 0
}

func checkService(s Service) syscall.Errno {
	switch {
	case s.Scheduler == "":
		return syscall.ENOENT
	case s.Family == IPv6 && (s.Netmask < 1 || s.Netmask > 128):
		return syscall.EINVAL
	}
	return 0
}

func (f *folder) destination(c Change, e Entry) syscall.Errno {
	d := c.Destination
	i, exists := e.Find(d.Addr)
	if c.Op != DeleteDestination {
		if errno := checkDestination(e.Service, d); errno != 0 {
			return errno
		}
	}
	switch {
	case c.Op == AddDestination && exists:
		return syscall.EEXIST
	case c.Op != AddDestination && !exists:
		return syscall.ENOENT
	case c.Op == AddDestination && !reachable(d.Addr.Addr()):
		return syscall.EINVAL
	}
	if f.shared[e.Key] {
		e.Destinations = slices.Clone(e.Destinations)
		delete(f.shared, e.Key)
	}
	switch c.Op {
	case AddDestination:
		e.Destinations = slices.Insert(e.Destinations, i, d)
	case EditDestination:
		e.Destinations[i] = d
	case DeleteDestination:
		e.Destinations = slices.Delete(e.Destinations, i, i+1)
	}
	f.entries[e.Key] = e
	return 0
}

func checkDestination(s Service, d Destination) syscall.Errno {
	switch {
	case FamilyOf(d.Addr.Addr()) != s.Family && d.Method != Tunnel:
		return syscall.EINVAL
	case d.Weight > maxWeight, d.Lower > d.Upper:
		return syscall.ERANGE
	case d.Tunnel.Type == GUE && d.Tunnel.Port == 0:
		return syscall.EINVAL
	}
	return 0
}

// reachable tells whether the kernel takes an address for a new destination:
// inet_addr_type must call it unicast or local, which for IPv4 leaves out
// 0.0.0.0/8, multicast and the limited broadcast, for IPv6 the unspecified
// address, multicast, link-local and IPv4-mapped ones.
func reachable(a netip.Addr) bool {
	if !a.IsValid() || a.IsMulticast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b != [4]byte{255, 255, 255, 255}
	}
	return !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.Is4In6()
}
