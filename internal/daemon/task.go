// Package daemon is how a long-running program behaves, whatever it does: its
// tasks and their end, signals, pid file, readiness, logs, watched files, state
// that outlives it, a control socket, mail and hooks.
//
// Everything here that takes time (a full disk, a slow mail server, a command
// that hangs) happens in a task of its own. What the rest of the program calls
// never blocks; its queues are bounded and say what they had to drop.
package daemon

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Task is something that runs as long as the program does.
type Task interface {
	// Run works until ctx ends, and returns nil then. An error ends the program.
	Run(ctx context.Context) error
	// Ready is closed when the task does its work. nil means: at once.
	Ready() <-chan struct{}
	// String names the task in errors.
	String() string
}

// Serve runs tasks until ctx ends or one of them fails, and returns when all
// have ended: the first failure, or nil. A task that ends by itself without an
// error ends nobody else.
func Serve(ctx context.Context, tasks ...Task) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		g.Go(func() error {
			if err := t.Run(ctx); err != nil {
				return fmt.Errorf("%v: %w", t, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// AllReady waits until all tasks are ready; false means that ctx ended first.
func AllReady(ctx context.Context, tasks ...Task) bool {
	for _, t := range tasks {
		ready := t.Ready()
		if ready == nil {
			continue
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Func is a Task made of a function. It is ready at once.
func Func(name string, run func(context.Context) error) Task { return funcTask{name, run} }

type funcTask struct {
	name string
	run  func(context.Context) error
}

func (f funcTask) Run(ctx context.Context) error { return f.run(ctx) }
func (f funcTask) Ready() <-chan struct{}        { return nil }
func (f funcTask) String() string                { return f.name }
