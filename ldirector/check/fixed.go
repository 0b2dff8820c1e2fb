package check

import (
	"context"
	"errors"
)

// On is always well: checktype=on.
type On struct{}

// Check implements [Probe].
func (On) Check(context.Context, Net) error { return nil }

// None is the negotiate check of a service nobody knows how to ask: always
// well, without looking.
type None struct{}

// Check implements [Probe].
func (None) Check(context.Context, Net) error { return nil }

// Off is never well: checktype=off keeps the real servers out.
type Off struct{}

// Check implements [Probe].
func (Off) Check(context.Context, Net) error {
	return errors.New("checking is off (checktype=off): the server is not to be used")
}
