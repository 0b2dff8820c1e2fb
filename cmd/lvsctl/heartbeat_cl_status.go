package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/heartbeat"
)

// Exit statuses of cl_status.
const (
	clFailed    = 1 // heartbeat is stopped, the node is dead
	clParameter = 11
	clUnknown   = 13
)

const clUsageText = `Usage: cl_status <sub-command> [<options>] [<parameters>]

Sub-commands:
hbstatus
	Indicate if heartbeat is running on the local system.
listnodes [-p|-n]
	List the nodes in the cluster: -p only ping nodes, -n only the others.
nodestatus <node-name>
	List the node status: active, ping, dead.
nodetype <node-name>
	List the type of a node: normal, ping.
rscstatus
	Show the status of cluster resources: all, local, foreign, none, transition.
All take -m: an answer in a sentence.

In VRRP only the master of a group speaks. What a silent node does is not known, and
clientstatus, hblinkstatus, listhblinks, nodeweight, nodesite and hbparameter ask for
parts of heartbeat that are not there.
`

// clStatus is one call of cl_status.
type clStatus struct {
	out, err    io.Writer
	st          hbStatus
	human       bool
	pings, rest bool // listnodes -p, -n
}

var errNoNode = errors.New("no such node")

// noNode is what cl_status says of one.
const noNode = "Error. May be due to incorrect node name"

// clVerb is a sub-command: the number of its parameters, and what it does.
type clVerb struct {
	name   string
	least  int
	absent string // why there is none here
	do     func(c *clStatus, args []string) int
}

func clVerbs() []clVerb {
	const links = "heartbeat's links are not used: see lvsctl vrrp status"
	return []clVerb{
		{name: "hbstatus", do: (*clStatus).hbstatus},
		{name: "listnodes", do: (*clStatus).listnodes},
		{name: "nodestatus", least: 1, do: (*clStatus).nodestatus},
		{name: "nodetype", least: 1, do: (*clStatus).nodetype},
		{name: "rscstatus", do: (*clStatus).rscstatus},
		{name: "clientstatus", absent: "programs of heartbeat's have nobody to speak with"},
		{name: "hblinkstatus", absent: links},
		{name: "listhblinks", absent: links},
		{name: "nodeweight", absent: "nodes have no weight"},
		{name: "nodesite", absent: "nodes have no site"},
		{name: "hbparameter", absent: "the files have the parameters: see lvsctl heartbeat status --json"},
	}
}

func clVerbNames() []string {
	var names []string
	for _, v := range clVerbs() {
		if v.do != nil {
			names = append(names, v.name)
		}
	}
	return names
}

// clStatusMain is heartbeat's program of this name.
func clStatusMain(_ string, args []string) int {
	c := clStatus{out: os.Stdout, err: os.Stderr}
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(c.out, clUsageText)
		return statusOK
	}
	at := slices.IndexFunc(clVerbs(), func(v clVerb) bool { return v.name == args[0] })
	if at < 0 {
		fmt.Fprintf(c.err, "cl_status: ERROR: %s: invalid sub-command.\n", args[0])
		return clParameter
	}
	v := clVerbs()[at]
	if v.do == nil {
		fmt.Fprintf(c.err, "cl_status: ERROR: %s is not supported: %s\n", v.name, v.absent)
		return clUnknown
	}
	words, err := c.options(args[1:])
	if err != nil {
		fmt.Fprintf(c.err, "cl_status: ERROR: %v\n", err)
		return clParameter
	}
	if len(words) < v.least {
		fmt.Fprintln(c.err, "Not enough parameters.")
		return clParameter
	}
	client, err := hbClient(&daemonChoice{})
	if err == nil {
		c.st, err = askHeartbeat(context.Background(), client)
	}
	if err != nil {
		return c.stopped(v.name, err)
	}
	return v.do(&c, words)
}

func (c *clStatus) options(args []string) (words []string, err error) {
	for _, a := range args {
		switch {
		case a == "-m":
			c.human = true
		case a == "-p":
			c.pings = true
		case a == "-n":
			c.rest = true
		case strings.HasPrefix(a, "-"):
			return nil, fmt.Errorf("option %s is not supported", a)
		default:
			words = append(words, a)
		}
	}
	return words, nil
}

// stopped is the answer while no daemon runs.
func (c *clStatus) stopped(verb string, err error) int {
	if verb == "hbstatus" {
		fmt.Fprintln(c.out, "Heartbeat is stopped on this machine.")
		return clFailed
	}
	fmt.Fprintf(c.err, "cl_status: ERROR: Cannot signon with heartbeat\ncl_status: ERROR: REASON: %v\n", err)
	return clFailed
}

func (c *clStatus) hbstatus([]string) int {
	fmt.Fprintln(c.out, "Heartbeat is running on this machine.")
	return statusOK
}

func (c *clStatus) listnodes([]string) int {
	if c.human {
		fmt.Fprintln(c.out, "The nodes are as follow:")
	}
	if c.pings == c.rest || c.pings {
		for _, n := range c.st.Pings {
			fmt.Fprintln(c.out, n)
		}
	}
	if c.pings == c.rest || c.rest {
		for _, n := range c.st.Nodes {
			fmt.Fprintln(c.out, n)
		}
	}
	return statusOK
}

// tell prints an answer, alone or in a sentence.
func (c *clStatus) tell(answer, sentence string, args ...any) {
	if c.human {
		answer = fmt.Sprintf(sentence, args...)
	}
	fmt.Fprintln(c.out, answer)
}

func (c *clStatus) nodestatus(args []string) int {
	status, err := c.statusOf(args[0])
	switch {
	case errors.Is(err, errNoNode):
		fmt.Fprintln(c.err, noNode)
		return clParameter
	case err != nil:
		fmt.Fprintf(c.err, "cl_status: ERROR: %v\n", err)
		return clUnknown
	}
	c.tell(status, "The cluster node %s is %s", args[0], status)
	if status == "dead" {
		return clFailed
	}
	return statusOK
}

// statusOf is what can be known of a node: that it is this one, that it answers as a
// ping node, that it is master of a group.
func (c *clStatus) statusOf(node string) (string, error) {
	switch {
	case node == c.st.Node:
		return "active", nil
	case slices.Contains(c.st.Pings, node):
		return c.ping(node)
	case !slices.Contains(c.st.Nodes, node):
		return "", errNoNode
	}
	var addrs []string
	if len(c.st.Nodes) > 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		addrs, _ = net.DefaultResolver.LookupHost(ctx, node) // without them it is not known
	}
	speaks := func(s appliance.InstanceStatus) bool {
		return s.State == "BACKUP" && s.Master != "" && (len(c.st.Nodes) == 2 || slices.Contains(addrs, s.Master))
	}
	if slices.ContainsFunc(c.st.Instances, speaks) {
		return "active", nil
	}
	return "", fmt.Errorf("%s: not known: it is master of nothing, and in VRRP only a master speaks; ask there", node)
}

func (c *clStatus) ping(node string) (string, error) {
	for _, s := range c.st.Instances {
		for _, t := range s.Tracked {
			status := map[string]string{"up": "ping", "down": "dead"}[t.Health]
			if t.Name == config.TrackScript(heartbeat.PingScript(node)) && status != "" {
				return status, nil
			}
		}
	}
	return "", fmt.Errorf("%s: not known: it is not pinged, or has not answered yet; ping nodes are pinged for ipfail", node)
}

func (c *clStatus) nodetype(args []string) int {
	answer := "normal"
	switch {
	case slices.Contains(c.st.Pings, args[0]):
		answer = "ping"
	case !slices.Contains(c.st.Nodes, args[0]):
		fmt.Fprintln(c.err, noNode)
		return clParameter
	}
	c.tell(answer, "The node %s's type: %s", args[0], answer)
	return statusOK
}

func (c *clStatus) rscstatus([]string) int {
	c.tell(c.st.Holding, "This node is holding %s resources.", c.st.Holding)
	return statusOK
}
