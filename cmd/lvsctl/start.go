package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// starter reads the files of a daemon for its start.
type starter struct {
	command string // as the person at the terminal knows it: "heartbeat run"
	load    func(context.Context) (*dialects.Loaded, error)
	// passes tells whether the errors of the files are all of this host's making, and
	// may pass: as a name without an address does, while there is no name server.
	passes func() bool
	notes  io.Writer
	hup    earlyHup
}

// newStarter is a starter that SIGHUP does not end from now on.
func newStarter(cmd *cobra.Command, command string, load func(context.Context) (*dialects.Loaded, error), passes func() bool) *starter {
	return &starter{command: command, load: load, passes: passes, notes: cmd.ErrOrStderr(), hup: listenHup()}
}

// read reads the files until they have no errors that may pass. Other errors are with
// the answer. No answer means that a signal came.
func (s *starter) read(ctx context.Context) (*dialects.Loaded, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop() // from here on signals are the daemon's
	return s.await(ctx)
}

func (s *starter) await(ctx context.Context) (*dialects.Loaded, error) {
	var said []config.Problem
	for {
		l, err := s.load(ctx)
		if err != nil || !config.Errors(l.Problems) || !s.passes() {
			return l, err
		}
		if ctx.Err() != nil {
			return nil, nil // it may be the reason why no name was found
		}
		// Once; and once more for somebody who has mended one name of two.
		if !slices.Equal(said, l.Problems) {
			sayAll(s.notes, l.Problems)
			fmt.Fprintf(s.notes, "lvsctl: %s: waiting until this host can make sense of the files\n", s.command)
		}
		said = l.Problems
		select {
		case <-ctx.Done():
			return nil, nil
		case <-s.hup:
		case <-time.After(namesPause):
		}
	}
}

// earlyHup is SIGHUP while there is no daemon yet that hears it: who waits for a name
// server must not die of being told that the files are better now.
type earlyHup chan os.Signal

func listenHup() earlyHup {
	hup := make(earlyHup, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup
}

func (h earlyHup) close() { signal.Stop(h) }

// early does what was asked for after the files were read, and before signals were the
// daemon's.
func (d *siteDaemon) early(hup earlyHup) daemon.Task {
	return daemon.Func("early reload", func(ctx context.Context) error {
		select {
		case <-d.app.Ready():
		case <-ctx.Done():
			return nil
		}
		select {
		case <-hup:
			d.readAgain()
		default:
		}
		return nil
	})
}
