package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

func vrrpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vrrp",
		Short: "Move the director's addresses between machines",
		Long: `Vrrp keeps virtual addresses on one of several directors: the master holds them,
and when it is gone the best of the others takes them. It speaks VRRP version 2
and 3 as keepalived does, with lvsctl or keepalived on the other machines.

A master that stops, or is told to stand by, answers on the addresses until its
successor is heard: no packet is lost.`,
		Example: `  lvsctl vrrp run --interface eth0 --vrid 51 --priority 150 --vip 192.168.131.252
  lvsctl vrrp status
  lvsctl vrrp standby          # before maintenance; resume afterwards`,
		GroupID: "own",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(vrrpRunCommand(), vrrpStatusCommand())
	for _, v := range vrrpVerbs {
		cmd.AddCommand(vrrpVerbCommand(v))
	}
	return cmd
}

// vrrpVerb is an order to a running daemon.
type vrrpVerb struct{ name, short, long, example string }

var vrrpVerbs = []vrrpVerb{
	{"standby", "Hand the addresses over, and stay in the background",
		`Standby hands instances over to another machine: a master says goodbye, answers on
the addresses until its successor is heard, and only then lets go of them, so that
no packet is lost. From then on the instance leaves every live master alone, with
priority 1, until resume or takeover, restarts included. When no other machine
takes over it goes on serving. Without names it is for all instances of the daemon.`,
		"  lvsctl vrrp standby\n  lvsctl vrrp standby VI_1"},
	{"takeover", "Become master now",
		`Takeover makes this machine master now, with priority 254 until resume or standby.
The master before yields as soon as it hears of that, and the addresses are here by
then. It fails where the master has priority 255, or an instance is in FAULT.
Without names it is for all instances of the daemon.`,
		"  lvsctl vrrp takeover\n  lvsctl vrrp takeover VI_1"},
	{"resume", "Let the election decide again",
		`Resume ends standby and takeover: the instance has its own priority again, and the
election decides. Without names it is for all instances of the daemon.`,
		"  lvsctl vrrp resume\n  lvsctl vrrp resume VI_1"},
}

func vrrpVerbCommand(v vrrpVerb) *cobra.Command {
	var choice daemonChoice
	var out output
	cmd := &cobra.Command{
		Use:     v.name + " [INSTANCE...]",
		Short:   v.short,
		Long:    v.long,
		Example: v.example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := choice.instances(cmd)
			if err != nil {
				return err
			}
			return orderMode(cmd, c, &out, v.name, args)
		},
		ValidArgsFunction: completeInstances(&choice),
	}
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

// orderMode gives the order, and waits until nobody is leaving any more.
func orderMode(cmd *cobra.Command, c *daemon.Client, out *output, verb string, names []string) error {
	ctx := cmd.Context()
	if _, err := askInstances(ctx, c, names); err != nil {
		return err // 3, not 1, for an instance that is not there
	}
	if err := ask(ctx, c, http.MethodPost, "/v1/"+verb, modeRequest{Instances: names}, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handoverPatience)
	defer cancel()
	all, err := askInstances(cmd.Context(), c, names)
	leaving := func(s appliance.InstanceStatus) bool { return s.State == "LEAVING" }
	for err == nil && slices.ContainsFunc(all, leaving) && pause(ctx, 50*time.Millisecond) {
		all, err = askInstances(cmd.Context(), c, names)
	}
	if err != nil {
		return err
	}
	return out.say(cmd.OutOrStdout(), instancesAnswer{1, all}, func(w io.Writer) { printInstanceTable(w, time.Now(), all) })
}

// handoverPatience is more than a hand-over takes at any usual interval.
const handoverPatience = 30 * time.Second

// instancesAnswer is the JSON of vrrp status, standby, takeover and resume.
type instancesAnswer struct {
	Version   int                        `json:"version"`
	Instances []appliance.InstanceStatus `json:"instances"`
}

// askInstances asks for the named instances, or all.
func askInstances(ctx context.Context, c *daemon.Client, names []string) ([]appliance.InstanceStatus, error) {
	var st statusAnswer
	if err := ask(ctx, c, http.MethodGet, "/v1/status", nil, &st); err != nil {
		return nil, err
	}
	if len(st.Instances) == 0 {
		return nil, notFound(fmt.Errorf("%s has no instances", daemonWords(st)))
	}
	if len(names) == 0 {
		return st.Instances, nil
	}
	found := []appliance.InstanceStatus{}
	for _, name := range names {
		at := slices.IndexFunc(st.Instances, func(s appliance.InstanceStatus) bool { return s.Name == name })
		if at < 0 {
			return nil, notFound(fmt.Errorf("instance %s: there is none of that name; there is %s", name, strings.Join(instanceNames(st), ", ")))
		}
		found = append(found, st.Instances[at])
	}
	return found, nil
}

func instanceNames(st statusAnswer) []string {
	var names []string
	for _, s := range st.Instances {
		names = append(names, s.Name)
	}
	return names
}

// instances speaks with the daemon that was chosen, or with the only one that has
// instances.
func (c *daemonChoice) instances(cmd *cobra.Command) (*daemon.Client, error) {
	if c.name != "" || c.socket != "" {
		return c.client(cmd)
	}
	var found []string
	for _, name := range running() {
		ctx, cancel := context.WithTimeout(context.Background(), askPatience)
		st, err := askStatus(ctx, daemon.NewClient(socketOf(name)))
		cancel()
		if err == nil && len(st.Instances) > 0 {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return nil, notFound(fmt.Errorf("no daemon in %s has instances; start one with lvsctl vrrp run", runFolder))
	case 1:
		return daemon.NewClient(socketOf(found[0])), nil
	}
	return nil, usage(cmd, errors.New("which daemon? --name "+strings.Join(found, ", --name ")))
}

func completeInstances(choice *daemonChoice) completer {
	return completeFrom(choice.instances, func(st statusAnswer, args []string) []string {
		return slices.DeleteFunc(instanceNames(st), func(name string) bool { return slices.Contains(args, name) })
	})
}

func vrrpStatusCommand() *cobra.Command {
	var choice daemonChoice
	var out output
	cmd := &cobra.Command{
		Use:   "status [INSTANCE...]",
		Short: "Who holds the addresses, and why",
		Long: `Status tells of the instances of a running daemon: state and priority, who is
master, which addresses they have, what they hold and what went wrong with it, what
they track, and what they have counted. Without names it tells of all.`,
		Example: "  lvsctl vrrp status\n  lvsctl vrrp status VI_1 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := choice.instances(cmd)
			if err != nil {
				return err
			}
			all, err := askInstances(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return out.say(cmd.OutOrStdout(), instancesAnswer{1, all}, func(w io.Writer) {
				for i, s := range all {
					if i > 0 {
						fmt.Fprintln(w)
					}
					printInstance(w, time.Now(), s)
				}
			})
		},
		ValidArgsFunction: completeInstances(&choice),
	}
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}
