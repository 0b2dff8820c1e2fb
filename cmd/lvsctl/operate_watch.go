package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
)

// watchPause is the time between two questions to the daemon.
const watchPause = 300 * time.Millisecond

func watchCommand() *cobra.Command {
	var choice daemonChoice
	var out output
	last := 10
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow what happens to a running director",
		Long: `Watch prints what happens to the servers, services and instances of a running
daemon, a line for each event, until it is interrupted. It begins with the last ten
events. When the daemon is started anew it goes on with the new one. With -o json
each line is an object with number, kind, when, text and phase, and with service and
server, or instance and state, where the event is about them.`,
		Example: `  lvsctl watch
  lvsctl watch --last 0 --json | jq -r 'select(.kind == "down") | .server'`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			if last < 0 {
				return usage(cmd, fmt.Errorf("--last %d: it is a number of events, 0 or more", last))
			}
			c, err := choice.client(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			w := &watcher{client: c, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), json: out.format == "json"}
			return w.run(ctx, last)
		},
	}
	cmd.Flags().IntVar(&last, "last", last, "begin with this `number` of events that have happened already")
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

// watcher prints the events of a daemon in their order.
type watcher struct {
	client     *daemon.Client
	out, notes io.Writer
	json       bool
	next       uint64 // number of the event to ask for
	away       bool   // the daemon does not answer
}

// run prints until the context ends. A daemon that is not there at the beginning
// is an error; one that goes away later may come back.
func (w *watcher) run(ctx context.Context, last int) error {
	a, err := w.ask(ctx)
	if err != nil {
		return err
	}
	events := a.Events[max(0, len(a.Events)-last):]
	for {
		if err := w.print(events); err != nil {
			return err
		}
		w.next = a.Next
		if !pause(ctx, watchPause) {
			return nil
		}
		if a, err = w.askAgain(ctx); err != nil {
			return err
		}
		events = a.Events
	}
}

func (w *watcher) ask(ctx context.Context) (eventsAnswer, error) {
	var a eventsAnswer
	err := ask(ctx, w.client, http.MethodGet, fmt.Sprintf("/v1/events?since=%d", w.next), nil, &a)
	return a, err
}

// askAgain waits for a daemon that has gone away. Numbers that begin anew are
// those of another daemon.
func (w *watcher) askAgain(ctx context.Context) (eventsAnswer, error) {
	for {
		a, err := w.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return eventsAnswer{Next: w.next}, nil
		case errors.Is(err, daemon.ErrNoDaemon):
			w.note("the daemon does not answer any more; waiting for the next one")
			if !pause(ctx, watchPause) {
				return eventsAnswer{Next: w.next}, nil
			}
			continue
		case err != nil:
			return a, err
		}
		w.away = false
		if a.Next < w.next {
			w.next = 1
			continue
		}
		if a.Lost > 0 {
			fmt.Fprintf(w.notes, "lvsctl: %d events were faster than we asked\n", a.Lost)
		}
		return a, nil
	}
}

// note says once that the daemon is away.
func (w *watcher) note(text string) {
	if !w.away {
		fmt.Fprintln(w.notes, "lvsctl: "+text)
	}
	w.away = true
}

func (w *watcher) print(events []eventAnswer) error {
	for _, e := range events {
		line := e.When.Local().Format(time.DateTime) + " " + harmless(e.Text)
		if w.json {
			data, err := json.Marshal(e)
			if err != nil {
				return err
			}
			line = string(data)
		}
		if _, err := fmt.Fprintln(w.out, line); err != nil {
			return err
		}
	}
	return nil
}

// pause waits; false says that the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
