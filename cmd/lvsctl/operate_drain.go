package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

type drainOptions struct {
	output
	daemonChoice
	selection
	timeout time.Duration
	wait    bool
}

func drainCommand() *cobra.Command {
	var o drainOptions
	cmd := &cobra.Command{
		Use:   "drain RIP[:PORT]",
		Short: "Take a server out without breaking a connection",
		Long: `Drain gives a server weight 0, in every service that has it or in one: its
connections stay, new ones go elsewhere. It lasts over reloads and restarts until
lvsctl undrain. With --timeout the server is removed when the time is over,
whatever connections it still has. With --wait the command shows how they become
fewer, and ends with the last one.

In a persistent service the clients that a server has come back to it until their
templates expire; sysctl net.ipv4.vs.expire_quiescent_template=1 ends that.`,
		Example: `  lvsctl drain 192.168.0.64 --wait
  lvsctl drain 192.168.0.64:80 --virtual 192.168.0.147:80 --timeout 10m`,
		GroupID: "own",
		Args:    oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.server = args[0]
			return drain(cmd, &o)
		},
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "remove the server after this `time`, as in 30s or 10m")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "show its connections until there is none")
	o.selection.flags(cmd)
	o.daemonChoice.flags(cmd)
	o.output.flags(cmd)
	cmd.ValidArgsFunction = completeServers(&o.daemonChoice)
	return cmd
}

func drain(cmd *cobra.Command, o *drainOptions) error {
	c, err := o.begin(cmd)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := o.ask(ctx, c); err != nil {
		return err // 3, not 1, for a server that is not there
	}
	q := drainRequest{Server: o.server, Virtual: o.virtual, TimeoutSeconds: o.timeout.Seconds()}
	if err := ask(ctx, c, http.MethodPost, "/v1/drain", q, nil); err != nil {
		return err
	}
	servers, err := o.ask(ctx, c)
	if err != nil {
		return err
	}
	advise(forPeople{os.Stderr}, servers)
	if o.wait {
		servers, err = o.watch(ctx, cmd.OutOrStdout(), c, servers)
	}
	if err != nil || o.wait && o.format == "text" {
		return err
	}
	return o.say(cmd.OutOrStdout(), serversAnswer{1, servers}, func(w io.Writer) {
		for _, f := range servers {
			fmt.Fprintln(w, drainLine(f))
		}
	})
}

// begin checks what all of drain's kin have in common.
func (o *drainOptions) begin(cmd *cobra.Command) (*daemon.Client, error) {
	if err := o.output.check(cmd); err != nil {
		return nil, err
	}
	if o.timeout < 0 || o.timeout > longestDrain {
		return nil, usage(cmd, fmt.Errorf("timeout %v: it is a time to come, of at most a year", o.timeout))
	}
	return o.daemonChoice.client(cmd)
}

// advise names what keeps clients on a drained server.
func advise(w io.Writer, servers []found) {
	const knob = "/proc/sys/net/ipv4/vs/expire_quiescent_template"
	for _, f := range servers {
		if f.persistent == 0 {
			continue
		}
		if b, err := os.ReadFile(knob); err == nil && strings.TrimSpace(string(b)) == "1" {
			return
		}
		fmt.Fprintf(w, "lvsctl: %s is persistent for %d s: known clients come back to a drained server; sysctl -w net.ipv4.vs.expire_quiescent_template=1 ends that\n", f.Virtual, f.persistent)
		return
	}
}

func drainLine(f found) string {
	s := fmt.Sprintf("%s  %s  %v", f.Virtual, f.Server, f.Standing)
	if c := f.Connections; c != nil {
		s += fmt.Sprintf("  %d active, %d inactive, %d persistent", c.Active, c.Inactive, c.Persistent)
	}
	if f.Drain != nil && !f.Drain.Until.IsZero() && !f.Drain.Over {
		s += "  until " + f.Drain.Until.Local().Format(time.TimeOnly)
	}
	return s
}

// watch tells each change until nothing is left to wait for.
func (o *drainOptions) watch(ctx context.Context, w io.Writer, c *daemon.Client, servers []found) ([]found, error) {
	told := map[string]string{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting := 0
		for _, f := range servers {
			line := drainLine(f)
			if o.format == "text" && told[f.Virtual+f.Server] != line {
				fmt.Fprintln(w, line)
			}
			told[f.Virtual+f.Server] = line
			if f.Drain == nil {
				return nil, fmt.Errorf("%s in %s: somebody has ended the drain", f.Server, f.Virtual)
			}
			if !emptied(f) {
				waiting++
			}
		}
		if waiting == 0 {
			return servers, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("interrupted; the drain goes on, lvsctl undrain ends it")
		case <-tick.C:
		}
		var err error
		if servers, err = o.ask(ctx, c); err != nil {
			return nil, err
		}
	}
}

// emptied tells whether a drained server has nothing left.
func emptied(f found) bool {
	return f.Drain.Empty || f.Drain.Over || f.Standing != ldirector.Draining || f.Kernel == nil
}

func undrainCommand() *cobra.Command {
	var o drainOptions
	cmd := &cobra.Command{
		Use:     "undrain RIP[:PORT]",
		Short:   "Give a drained server back to its checks",
		Long:    "Undrain ends a drain: a server that is well has its weight again.",
		Example: "  lvsctl undrain 192.168.0.64",
		GroupID: "own",
		Args:    oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.server = args[0]
			c, err := o.begin(cmd)
			if err != nil {
				return err
			}
			if _, err := o.ask(cmd.Context(), c); err != nil {
				return err
			}
			q := drainRequest{Server: o.server, Virtual: o.virtual}
			if err := ask(cmd.Context(), c, http.MethodPost, "/v1/undrain", q, nil); err != nil {
				return err
			}
			servers, err := o.ask(cmd.Context(), c)
			if err != nil {
				return err
			}
			return o.say(cmd.OutOrStdout(), serversAnswer{1, servers}, func(w io.Writer) {
				for _, f := range servers {
					fmt.Fprintln(w, drainLine(f))
				}
			})
		},
	}
	o.selection.flags(cmd)
	o.daemonChoice.flags(cmd)
	o.output.flags(cmd)
	cmd.ValidArgsFunction = completeServers(&o.daemonChoice)
	return cmd
}
