package lvs

import "slices"

// Diff returns the changes that turn have into want, as few as there can be,
// and in an order that serves clients all the way: what is new comes first,
// then what changes (a server that gets weight before one that loses it), and
// only then what goes. Folding them over have gives want.
//
// Services for which own is false stay as they are, wherever they stand; a nil
// own means that all are ours.
func Diff(have, want Table, own func(Key) bool) []Change {
	var d differ
	ours := func(k Key) bool { return own == nil || own(k) }
	i, j := 0, 0
	for i < len(have) || j < len(want) {
		switch order := nextKey(have[i:], want[j:]); {
		case order < 0:
			if ours(have[i].Key) {
				d.remove = append(d.remove, Change{Op: DeleteService, Service: have[i].Service})
			}
			i++
		case order > 0:
			if ours(want[j].Key) {
				d.addEntry(want[j])
			}
			j++
		default:
			if ours(want[j].Key) {
				d.entry(have[i], want[j])
			}
			i++
			j++
		}
	}
	return slices.Concat(d.add, d.edit, d.raise, d.lower, d.remove)
}

// nextKey compares the heads of two sorted tables; an empty table comes last.
func nextKey(have, want Table) int {
	switch {
	case len(have) == 0:
		return 1
	case len(want) == 0:
		return -1
	}
	return have[0].Key.Compare(want[0].Key)
}

type differ struct {
	add, edit, raise, lower, remove []Change
}

func (d *differ) addEntry(e Entry) {
	d.add = append(d.add, Change{Op: AddService, Service: e.Service})
	for _, dst := range e.Destinations {
		d.add = append(d.add, Change{Op: AddDestination, Service: e.Service, Destination: dst})
	}
}

func (d *differ) entry(have, want Entry) {
	if have.Service != want.Service {
		d.edit = append(d.edit, Change{Op: EditService, Service: want.Service})
	}
	i, j := 0, 0
	for i < len(have.Destinations) || j < len(want.Destinations) {
		switch order := nextDestination(have.Destinations[i:], want.Destinations[j:]); {
		case order < 0:
			d.remove = append(d.remove, Change{Op: DeleteDestination, Service: want.Service, Destination: have.Destinations[i]})
			i++
		case order > 0:
			d.add = append(d.add, Change{Op: AddDestination, Service: want.Service, Destination: want.Destinations[j]})
			j++
		default:
			d.destination(want.Service, have.Destinations[i], want.Destinations[j])
			i++
			j++
		}
	}
}

func nextDestination(have, want []Destination) int {
	switch {
	case len(have) == 0:
		return 1
	case len(want) == 0:
		return -1
	}
	return have[0].Addr.Compare(want[0].Addr)
}

func (d *differ) destination(s Service, have, want Destination) {
	if have == want {
		return
	}
	c := Change{Op: EditDestination, Service: s, Destination: want}
	if want.Weight < have.Weight {
		d.lower = append(d.lower, c)
	} else {
		d.raise = append(d.raise, c)
	}
}
