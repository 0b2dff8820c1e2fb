// Package ldirector decides which table a director should have right now: what
// was configured, seen through what the checks say and what an operator asked.
//
// A [Plan] is that decision as a pure value; a Director keeps a kernel in step
// with it.
package ldirector

import (
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Virtual is a virtual service, the servers behind it, and the policy by which
// they serve.
type Virtual struct {
	Service  lvs.Service
	Name     string // what people call it, may be empty; in alerts and in status
	Comment  string
	Members  []Member
	Fallback *lvs.Destination // serves while no member does; weight at least 1
	Policy   Policy
	Hooks    Hooks
	Alert    Alert
	// MonitorFile gets a line for every answer of a check; empty: nothing does.
	MonitorFile string
	// Gates are the names of gates of which one has to be open for the service to be
	// in the kernel; none: it always is. See [Options.Gates].
	Gates  []string
	Source Source
}

// Member is a real server of a virtual service.
type Member struct {
	// Destination is what the kernel gets when the member is well.
	Destination lvs.Destination
	// Name is the member's address with the port that it was configured with,
	// "10.0.0.2:80": the name in logs, alerts and of files in the maintenance
	// folder. For gate and ipip that port may differ from the kernel's.
	Name string
	// Host is the name that was configured in place of an address, or empty.
	Host string
	// Checks must all say well. Without any the member is always well.
	// Specs with the same ID, in whatever virtual, are one check.
	Checks []check.Spec
	// Off asks nobody after the member, and keeps it out (checktype=off), unless
	// it served when a reload switched it off.
	Off bool
	// Inhibit overrides Policy.Quiescent for this member alone.
	Inhibit bool
	// AssumeUp has the member serve from the start until its checks say otherwise
	// (keepalived without alpha); without it a member waits for them.
	AssumeUp bool
	// NotifyUp and NotifyDown run when the member comes up or goes down; nil:
	// nothing does.
	NotifyUp, NotifyDown *Command
	Source               Source
}

// Policy says what follows when members come and go.
type Policy struct {
	// Quiescent leaves a member that is not well in the table with weight 0;
	// without it the member is removed.
	Quiescent bool
	// ReaddQuiescent puts an absent member that is not well into the table, with
	// weight 0.
	ReaddQuiescent bool
	// CleanStop removes the service from the kernel when the director stops.
	CleanStop bool
	// Quorum is the sum of weights below which the fallback serves; 0 and 1 mean:
	// when nobody serves. Hysteresis is how much above and below it must be
	// crossed.
	Quorum, Hysteresis uint32
	// FallbackStays keeps the fallback in the table while members serve, with
	// weight 0 (keepalived's sorry_server_inhibit).
	FallbackStays bool
}

// Hooks are the commands that run when nobody serves any more, and when somebody
// does again.
type Hooks struct {
	// Fallback is a shell command line; it gets "start" or "stop", the virtual
	// and the protocol as further words.
	Fallback string
	// QuorumUp and QuorumDown run as they are; nil: nothing does.
	QuorumUp, QuorumDown *Command
	// AtStop runs QuorumDown, and NotifyDown of every member that is up, when the
	// director stops as well (keepalived's omega).
	AtStop bool
}

// Command is a program with its arguments. There is no shell between.
type Command struct {
	Words       []string
	User, Group string // to run as; empty: the default of the site
}

// Alert says who is told by mail.
type Alert struct {
	To     []string
	From   string
	Repeat time.Duration // 0: once
	Status []string      // states of the daemon in which mail is sent; empty: all
	SMTP   string        // host; empty: the local mailer
}

// Source is the place in a file that something came from.
type Source struct {
	File string
	Line int
}
