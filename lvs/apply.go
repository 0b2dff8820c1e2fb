package lvs

import (
	"errors"
	"fmt"
)

// Apply makes the changes and returns the table truly reached: have with every
// change that the kernel took. The error joins the refusals that matter.
//
// A refusal that shows have to be out of date (something to add is there
// already, something to edit or delete is not) makes Apply read the table
// again. What is then as it was wanted is no error: to delete what somebody
// else has deleted succeeds.
func Apply(k Kernel, have Table, cs []Change) (Table, error) {
	if len(cs) == 0 {
		return have, nil
	}
	verdicts := k.Do(cs)
	taken := make([]Change, 0, len(cs))
	stale := false
	for i, c := range cs {
		if verdicts[i] == nil {
			taken = append(taken, c)
		}
		stale = stale || surprising(verdicts[i])
	}
	reached, misfits := have.Fold(taken)
	stale = stale || errors.Join(misfits...) != nil
	if stale {
		truth, err := k.Read()
		if err != nil {
			return reached, fmt.Errorf("%w (and the table cannot be read: %w)", errors.Join(verdicts...), err)
		}
		reached = truth
	}
	return reached, complaints(reached, cs, verdicts)
}

// surprising tells whether a refusal contradicts the table that the changes
// were made for.
func surprising(err error) bool {
	return errors.Is(err, ErrServiceExists) || errors.Is(err, ErrDestinationExists) ||
		errors.Is(err, ErrNoService) || errors.Is(err, ErrNoDestination)
}

// complaints joins the refusals that leave something undone. The destinations
// of a service that could not be added are not mentioned: its own refusal says
// it all.
func complaints(reached Table, cs []Change, verdicts []error) error {
	var errs []error
	missing := map[Key]bool{}
	for i, c := range cs {
		if verdicts[i] == nil || reached.satisfies(c) {
			continue
		}
		if c.Op == AddService {
			missing[c.Service.Key] = true
		} else if missing[c.Service.Key] && errors.Is(verdicts[i], ErrNoService) {
			continue
		}
		errs = append(errs, verdicts[i])
	}
	return errors.Join(errs...)
}

// satisfies tells whether the table is as a change would leave it.
func (t Table) satisfies(c Change) bool {
	i, exists := t.Find(c.Service.Key)
	switch c.Op {
	case AddService, EditService:
		return exists && t[i].Service == c.Service
	case DeleteService:
		return !exists
	case Flush:
		return len(t) == 0
	case AddDestination, EditDestination:
		return exists && t[i].has(c.Destination)
	case DeleteDestination:
		if !exists {
			return true
		}
		_, there := t[i].Find(c.Destination.Addr)
		return !there
	}
	return false
}

func (e Entry) has(d Destination) bool {
	i, exists := e.Find(d.Addr)
	return exists && e.Destinations[i] == d
}
