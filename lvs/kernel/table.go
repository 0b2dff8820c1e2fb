package kernel

import (
	"slices"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a dump that comes in parts is taken again. The
// kernel resumes a dump by position and holds its lock for one part only, so a
// service deleted in between makes it skip another that nobody touched, and
// the kernel does not say so. Two dumps that agree are believed.
const dumpTries = 3

// Read returns the table as it is.
func (c *Client) Read() (lvs.Table, error) {
	s, err := c.State()
	if err != nil {
		return nil, err
	}
	return s.Table(), nil
}

// State returns the table with what the kernel counted, in the kernel's order.
// A service deleted while it is being read is left out.
func (c *Client) State() (lvs.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, err := c.services(nil)
	if err != nil {
		return nil, refusal("read the services", err, nil)
	}
	for i := range list {
		ds, err := c.destinations(list[i].Key)
		if err != nil {
			return nil, refusal("read the destinations of "+list[i].Key.String(), err, nil)
		}
		list[i].Destinations = slices.Clone(ds)
	}
	return list, nil
}

// ServiceState returns one service with its destinations. The error for one
// that is not there wraps ESRCH and [lvs.ErrNoService].
func (c *Client) ServiceState(k lvs.Key) (lvs.ServiceState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what := "read " + k.String()
	if err := checkKey(k); err != nil {
		return lvs.ServiceState{}, &Error{What: what, Errno: unix.EINVAL, Hint: err.Error()}
	}
	s, err := c.service(k)
	if err == nil {
		s.Destinations, err = c.destinations(k)
		s.Destinations = slices.Clone(s.Destinations)
	}
	if err == syscall.Errno(unix.ESRCH) {
		return s, &Error{What: what, Errno: unix.ESRCH, reason: lvs.ErrNoService}
	}
	return s, refusal(what, err, nil)
}

func (c *Client) service(k lvs.Key) (s lvs.ServiceState, err error) {
	seq := c.question(cmdGetService, 0)
	c.out.nestedKey(k)
	c.out.end()
	err = c.askOne(seq, func(b []byte) (err error) {
		s, err = serviceIn(b)
		return err
	})
	return s, err
}

func serviceIn(b []byte) (lvs.ServiceState, error) {
	v, err := nested(b, attrService)
	if err != nil {
		return lvs.ServiceState{}, err
	}
	return decodeService(v)
}

// services dumps the services until the list can be believed. It puts them into
// the memory that it is given.
func (c *Client) services(list lvs.State) (lvs.State, error) {
	var seen []lvs.Key
	for try := range dumpTries {
		var whole bool
		var err error
		list, whole, err = c.dumpServices(list[:0])
		if err == syscall.Errno(unix.ENOENT) && try == 0 && c.resolve() == nil {
			// The module was unloaded and loaded again: the family is another.
			list, whole, err = c.dumpServices(list[:0])
		}
		if err != nil {
			return nil, err
		}
		if whole || try > 0 && sameServices(seen, list) {
			return list, nil
		}
		if try == dumpTries-1 {
			return c.addUndeleted(list, seen)
		}
		seen = serviceKeys(list)
	}
	panic("unreachable")
}

// dumpServices dumps the services once. A dump that came in one part is whole.
func (c *Client) dumpServices(list lvs.State) (_ lvs.State, whole bool, err error) {
	c.room = dumpBuffer
	seq := c.question(cmdGetService, unix.NLM_F_DUMP)
	c.out.end()
	a, err := c.ask(seq, func(b []byte) error {
		s, err := serviceIn(b)
		list = append(list, s)
		return err
	})
	return list, a.whole(), err
}

func (a answer) whole() bool { return a.parts <= 1 && !a.interrupted }

func serviceKeys(list lvs.State) []lvs.Key {
	keys := make([]lvs.Key, len(list))
	for i := range list {
		keys[i] = list[i].Key
	}
	return keys
}

func sameServices(seen []lvs.Key, list lvs.State) bool {
	return slices.EqualFunc(seen, list, func(k lvs.Key, s lvs.ServiceState) bool { return k == s.Key })
}

// addUndeleted is for a table that changes faster than it can be dumped: what
// the last dump lacks and the one before had is asked for one by one.
func (c *Client) addUndeleted(list lvs.State, before []lvs.Key) (lvs.State, error) {
	have := make(map[lvs.Key]bool, len(list))
	for _, s := range list {
		have[s.Key] = true
	}
	for _, k := range before {
		if have[k] {
			continue
		}
		s, err := c.service(k)
		if err == syscall.Errno(unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// destinations dumps the destinations of a service until the list can be
// believed; after the last try it is taken as it is, because the kernel cannot
// be asked for a single one. The kernel answers for a missing service with an
// empty list. The list is good until the next call.
func (c *Client) destinations(k lvs.Key) ([]lvs.DestinationState, error) {
	var seen []lvs.DestinationState
	for try := range dumpTries {
		list, whole, err := c.dumpDestinations(k)
		if err != nil {
			return nil, err
		}
		if whole || try > 0 && sameDestinations(seen, list) {
			return list, nil
		}
		seen = slices.Clone(list)
		c.room = dumpBuffer
	}
	return seen, nil
}

func (c *Client) dumpDestinations(k lvs.Key) (list []lvs.DestinationState, whole bool, err error) {
	c.scratch = c.scratch[:0]
	seq := c.question(cmdGetDest, unix.NLM_F_DUMP)
	c.out.nestedKey(k)
	c.out.end()
	a, err := c.ask(seq, func(b []byte) error {
		v, err := nested(b, attrDest)
		if err != nil {
			return err
		}
		d, err := decodeDestination(v, k.Family)
		c.scratch = append(c.scratch, d)
		return err
	})
	return c.scratch, a.whole(), err
}

func sameDestinations(a, b []lvs.DestinationState) bool {
	return slices.EqualFunc(a, b, func(x, y lvs.DestinationState) bool { return x.Addr == y.Addr })
}
