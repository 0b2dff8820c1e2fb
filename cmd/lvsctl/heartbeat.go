package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config/heartbeat"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

func heartbeatCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heartbeat",
		Short: "Run a pair of nodes by the files of heartbeat",
		Long: `Heartbeat runs what ha.cf, haresources and authkeys describe: which node has which
addresses and services, and when the other takes them. It speaks VRRP in place of
heartbeat's protocol, so all nodes have to change to it together.

Services are scripts in resource.d or /etc/init.d, or systemd units. An ldirectord
among them is the director in this program: the virtual services of its configuration
are in the kernel of the node that is active for that line, and of no other.`,
		Example: `  lvsctl validate --online /etc/ha.d
  lvsctl heartbeat run
  lvsctl heartbeat standby     # before maintenance; takeover afterwards`,
		GroupID: "own",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(heartbeatRunCommand(), heartbeatStatusCommand())
	for _, v := range heartbeatVerbs {
		cmd.AddCommand(heartbeatVerbCommand(v))
	}
	return cmd
}

// hbSelections are the groups that an order can be for, all of them first.
var hbSelections = []string{"all", "local", "foreign", "failback"}

var heartbeatVerbs = []vrrpVerb{
	{"standby", "Give groups of resources up to the other node",
		`Standby gives groups up: the services stop once the other node has been heard to take
over, and then the addresses go. local are the groups that prefer this node, foreign
or failback the others; without a word it is for all.

A group that prefers this node stays on the other one until takeover here, or until
that one gives it up or dies; a restart brings nothing back. When no other node takes
over, this one goes on.`,
		"  lvsctl heartbeat standby\n  lvsctl heartbeat standby foreign"},
	{"takeover", "Take groups of resources over from the other node",
		`Takeover makes this node the active one: the other one yields as soon as it hears of
that. local or failback are the groups that prefer this node, foreign the others;
without a word it is for all. It fails for a group that is in FAULT here.`,
		"  lvsctl heartbeat takeover\n  lvsctl heartbeat takeover local"},
}

func heartbeatVerbCommand(v vrrpVerb) *cobra.Command {
	choice := daemonChoice{}
	var out output
	cmd := &cobra.Command{
		Use:       v.name + " [" + strings.Join(hbSelections, "|") + "]",
		Short:     v.short,
		Long:      v.long,
		Example:   v.example,
		ValidArgs: hbSelections,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			which, err := hbSelection(args)
			if err != nil {
				return usage(cmd, err)
			}
			c, err := hbClient(&choice)
			if err != nil {
				return err
			}
			st, err := hbOrder(cmd.Context(), c, v.name, which)
			if err != nil {
				return err
			}
			return out.say(cmd.OutOrStdout(), st, st.print)
		},
	}
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

func hbSelection(args []string) (string, error) {
	switch {
	case len(args) == 0:
		return hbSelections[0], nil
	case len(args) > 1:
		return "", fmt.Errorf("unexpected argument %q", args[1])
	case !slices.Contains(hbSelections, args[0]):
		return "", fmt.Errorf("%q: it is one of %s", args[0], strings.Join(hbSelections, ", "))
	}
	return args[0], nil
}

func heartbeatStatusCommand() *cobra.Command {
	choice := daemonChoice{}
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Which node has which resources",
		Long: `Status tells of each line of haresources: which node it prefers, whether this node
has it, since when and why, and how its services are.`,
		Example: "  lvsctl heartbeat status\n  lvsctl heartbeat status --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := hbClient(&choice)
			if err != nil {
				return err
			}
			st, err := askHeartbeat(cmd.Context(), c)
			if err != nil {
				return err
			}
			return out.say(cmd.OutOrStdout(), st, st.print)
		},
	}
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

// hbCluster is what the files say, as the daemon tells it.
type hbCluster struct {
	Version      int       `json:"version"`
	Node         string    `json:"node"`
	Nodes        []string  `json:"nodes"`
	Pings        []string  `json:"ping_nodes"`
	AutoFailback bool      `json:"auto_failback"`
	Groups       []hbGroup `json:"groups"`
}

// hbGroup is a line of haresources.
type hbGroup struct {
	Name      string   `json:"name"`
	Node      string   `json:"node"` // that it prefers
	VRID      uint8    `json:"vrid"`
	Resources []string `json:"resources"`
}

func clusterAnswer(c *heartbeat.Cluster) hbCluster {
	a := hbCluster{Version: 1, Node: c.Self, Nodes: slices.Clone(c.Nodes), Pings: []string{}, AutoFailback: c.AutoFailback, Groups: []hbGroup{}}
	for _, p := range c.Pings {
		a.Pings = append(a.Pings, p.Name)
	}
	for _, g := range c.Groups {
		one := hbGroup{Name: g.Name, Node: g.Node, VRID: g.VRID, Resources: []string{}}
		for _, r := range g.Resources {
			one.Resources = append(one.Resources, strings.Join(append([]string{r.Name}, r.Args...), "::"))
		}
		a.Groups = append(a.Groups, one)
	}
	return a
}

// choose names the groups that an order is for. failback brings them home: what is
// given up is the others', what is taken is our own.
func (c hbCluster) choose(verb, which string) []string {
	if which == "failback" {
		which = map[string]string{"standby": "foreign", "takeover": "local"}[verb]
	}
	var names []string
	for _, g := range c.Groups {
		if which == "all" || (which == "local") == (g.Node == c.Node) {
			names = append(names, g.Name)
		}
	}
	return names
}

// settled names the groups that would stay where they are if the election decided
// again: an order that has been carried out need not last there.
func (c hbCluster) settled(verb string, names []string) []string {
	var out []string
	for _, g := range c.Groups {
		ours := g.Node == c.Node
		if slices.Contains(names, g.Name) && (!c.AutoFailback || ours == (verb == "takeover")) {
			out = append(out, g.Name)
		}
	}
	return out
}

// hbStatus is the answer of status, standby and takeover.
type hbStatus struct {
	hbCluster
	Holding   string                     `json:"holding"` // all, local, foreign, none, transition
	Instances []appliance.InstanceStatus `json:"instances"`
}

func askHeartbeat(ctx context.Context, c *daemon.Client) (st hbStatus, err error) {
	if err := ask(ctx, c, http.MethodGet, "/v1/heartbeat", nil, &st.hbCluster); err != nil {
		return st, err
	}
	var all statusAnswer
	if err := ask(ctx, c, http.MethodGet, "/v1/status", nil, &all); err != nil {
		return st, err
	}
	st.Instances = all.Instances
	st.Holding = st.holding()
	return st, nil
}

func (st hbStatus) instance(name string) appliance.InstanceStatus {
	at := slices.IndexFunc(st.Instances, func(s appliance.InstanceStatus) bool { return s.Name == name })
	if at < 0 {
		return appliance.InstanceStatus{Name: name, State: "WAITING"} // between two configurations
	}
	return st.Instances[at]
}

// holding is cl_status rscstatus: whose resources this node has.
func (st hbStatus) holding() string {
	here, foreignHere, all := false, false, true
	for _, g := range st.Groups {
		s := st.instance(g.Name)
		switch {
		case s.State == "LEAVING":
			return "transition"
		case s.State != "MASTER":
			all = false
		case g.Node == st.Node:
			here = true
		default:
			foreignHere = true
		}
	}
	switch {
	case all && (here || foreignHere):
		return "all"
	case here:
		return "local" // and foreign ones may be among them where there are three nodes
	case foreignHere:
		return "foreign"
	}
	return "none"
}

func (st hbStatus) print(w io.Writer) {
	failback := "off: resources stay where they are"
	if st.AutoFailback {
		failback = "on: resources return to the node that they prefer"
	}
	holding := strings.NewReplacer("none", "no", "transition", "to give up").Replace(st.Holding)
	fmt.Fprintf(w, "%s has %s resources; auto_failback is %s\n\n", st.Node, holding, failback)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tPREFERS\tHERE\tSINCE\tMASTER\tADDRESSES\tSERVICES")
	for _, g := range st.Groups {
		s := st.instance(g.Name)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Name, g.Node, stateWords(s), since(time.Now(), s.Since), masterWords(s), addressWords(s), serviceWords(g, s))
	}
	_ = t.Flush() // w has the error too
	for _, g := range st.Groups {
		for _, line := range troubles(time.Now(), st.instance(g.Name)) {
			fmt.Fprintf(w, "%s: %s\n", g.Name, line)
		}
	}
}

// serviceWords are the services of a group and how they are. A director has no state
// of its own: it works where the group is.
func serviceWords(g hbGroup, s appliance.InstanceStatus) string {
	var words []string
	for _, name := range g.Resources {
		at := slices.IndexFunc(s.Resources, func(r appliance.ResourceStatus) bool { return r.Name == name })
		if at < 0 {
			words = append(words, name)
			continue
		}
		words = append(words, name+" "+s.Resources[at].State)
	}
	return orDash(strings.Join(words, ", "))
}

// hbClient speaks with the daemon that was chosen, or with the one that has the files
// of heartbeat.
func hbClient(choice *daemonChoice) (*daemon.Client, error) {
	switch {
	case choice.socket != "":
		return daemon.NewClient(choice.socket), nil
	case choice.name != "":
		return daemon.NewClient(socketOf(choice.name)), nil
	}
	names := running()
	slices.SortStableFunc(names, func(a, b string) int { // our own name first
		return btoi(b == hbName) - btoi(a == hbName)
	})
	for _, name := range names {
		ctx, cancel := context.WithTimeout(context.Background(), askPatience)
		c := daemon.NewClient(socketOf(name))
		var found hbCluster
		err := c.Call(ctx, http.MethodGet, "/v1/heartbeat", nil, &found)
		cancel()
		if err == nil && len(found.Nodes) > 0 {
			return c, nil
		}
	}
	return nil, notFound(fmt.Errorf("no daemon in %s runs the files of heartbeat; start one with lvsctl heartbeat run", runFolder))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hbOrder gives an order and waits for what comes of it. Where nothing would change
// any more if the election decided again, it does: the next order, on whatever node,
// finds the priorities as they were.
func hbOrder(ctx context.Context, c *daemon.Client, verb, which string) (st hbStatus, err error) {
	if st, err = askHeartbeat(ctx, c); err != nil {
		return st, err
	}
	names := st.choose(verb, which)
	if len(names) == 0 {
		return st, notFound(fmt.Errorf("%s: no group is %s here", verb, which))
	}
	if err := ask(ctx, c, http.MethodPost, "/v1/"+verb, modeRequest{Instances: names}, nil); err != nil {
		return st, err
	}
	if st, err = hbAwait(ctx, c, verb, names); err != nil {
		return st, err
	}
	var stuck []string
	for _, name := range names {
		if verb == "standby" && st.instance(name).State == "MASTER" {
			stuck = append(stuck, name)
		}
	}
	if settled := st.settled(verb, names); len(settled) > 0 {
		if err := ask(ctx, c, http.MethodPost, "/v1/resume", modeRequest{Instances: settled}, nil); err != nil {
			return st, err
		}
	}
	if len(stuck) > 0 {
		return st, fmt.Errorf("%s: no other node takes over, so this one goes on; is heartbeat running there, and are the files the same?", strings.Join(stuck, ", "))
	}
	return askHeartbeat(ctx, c)
}

// hbAwait waits until an order has been carried out: nobody is leaving, and who is to
// take over has.
func hbAwait(ctx context.Context, c *daemon.Client, verb string, names []string) (hbStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, handoverPatience)
	defer cancel()
	for {
		st, err := askHeartbeat(ctx, c)
		if err != nil {
			return st, err
		}
		under := slices.ContainsFunc(names, func(name string) bool {
			state := st.instance(name).State
			return state == "LEAVING" || verb == "takeover" && state != "MASTER"
		})
		if !under {
			return st, nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return st, fmt.Errorf("%s is not done after %v; see lvsctl heartbeat status", verb, handoverPatience)
		}
	}
}

// hbStandbyMain and hbTakeoverMain are heartbeat's programs of these names.
func hbStandbyMain(prog string, args []string) int  { return hbOrderMain(prog, "standby", args) }
func hbTakeoverMain(prog string, args []string) int { return hbOrderMain(prog, "takeover", args) }

func hbOrderMain(prog, verb string, args []string) int {
	which, err := hbSelection(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "usage:\n%s [%s]\n", prog, "all|foreign|local|failback")
		if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
			return statusOK
		}
		return statusFailed
	}
	c, err := hbClient(&daemonChoice{})
	if err == nil && verb == "standby" {
		fmt.Printf("%s Going standby [%s].\n", time.Now().Format(hbDate), which)
	}
	if err == nil {
		_, err = hbOrder(context.Background(), c, verb, which)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", prog, harmless(err.Error()))
		return statusFailed
	}
	return statusOK
}

func heartbeatCommands() []*cobra.Command {
	compat := func(name, short, long, example string, main func(string, []string) int, words []string) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, Long: long, Example: example, GroupID: "compat", DisableFlagParsing: true, ValidArgs: words,
			RunE: func(_ *cobra.Command, args []string) error {
				return statusError(main("lvsctl "+name, args))
			},
		}
	}
	return []*cobra.Command{
		heartbeatCommand(),
		compat("hb_standby", "Give groups of resources up, as heartbeat's program", "Hb_standby [all|foreign|local|failback] is lvsctl heartbeat standby.",
			"  lvsctl hb_standby", hbStandbyMain, hbSelections),
		compat("hb_takeover", "Take groups of resources over, as heartbeat's program", "Hb_takeover [all|foreign|local|failback] is lvsctl heartbeat takeover.",
			"  lvsctl hb_takeover local", hbTakeoverMain, hbSelections),
		compat("cl_status", "Tell of the cluster, as heartbeat's program", "Cl_status SUB-COMMAND tells what can be known of a cluster in which only the master\nof a group speaks.",
			"  lvsctl cl_status rscstatus -m", clStatusMain, clVerbNames()),
	}
}

// hbDate is the date in heartbeat's logs.
const hbDate = "2006/01/02_15:04:05"
