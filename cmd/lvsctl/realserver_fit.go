package main

import (
	"fmt"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/realserver"
)

// fitter leads a host up or down, setup after setup.
type fitter struct {
	host   netif.Host
	store  *stateStore
	have   netif.Snapshot
	dryRun bool
	taken  []netif.Step // or, in a dry run, those that would be
}

// raise brings a setup up. What it finds is to come back on the way down, if it is
// the first time; later on, what it finds is only what somebody has undone.
func (f *fitter) raise(s realserver.Setup, first bool) error {
	steps := realserver.Steps(f.have, s, f.store.state, true)
	next := f.store.state
	if first {
		next = realserver.Remember(next, f.have, s)
	}
	if f.dryRun {
		f.store.state, f.taken = next, append(f.taken, steps...)
		return f.imagine(steps)
	}
	if len(steps) == 0 && !first {
		return nil
	}
	if err := f.store.save(next); err != nil { // before the first step: see realserver.State
		return err
	}
	f.store.state = next
	done, err := netif.InOrder(f.host, steps)
	f.taken = append(f.taken, done...)
	if err != nil {
		return err
	}
	f.have, err = f.host.Snapshot()
	return err
}

// imagine has the host as it would be, for the setup that comes next.
func (f *fitter) imagine(steps []netif.Step) error {
	for _, step := range steps {
		after, err := f.have.With(step)
		if err != nil {
			return fmt.Errorf("%v: %w", step, err)
		}
		f.have = after
	}
	return nil
}

// down is the way back. What is forgotten is forgotten once it is gone.
func (f *fitter) down(s realserver.Setup) error {
	steps := realserver.Steps(f.have, s, f.store.state, false)
	next := realserver.Forget(f.store.state, f.have, s)
	if f.dryRun {
		f.store.state, f.taken = next, append(f.taken, steps...)
		return f.imagine(steps)
	}
	done, err := netif.InOrder(f.host, steps)
	f.taken = append(f.taken, done...)
	if err != nil {
		return err
	}
	if err := f.store.save(next); err != nil {
		return err
	}
	f.store.state = next
	f.have, err = f.host.Snapshot()
	return err
}
