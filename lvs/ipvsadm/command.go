package ipvsadm

import (
	"fmt"

	"github.com/lvsctl/lvsctl/lvs"
)

// Command is a command line that ipvsadm would carry out.
type Command struct {
	Verb     Verb
	Change   lvs.Change   // for the verbs that change the table
	Listing  Listing      // for VerbList and VerbSave
	Timeouts lvs.Timeouts // for VerbSetTimeouts
	Daemon   lvs.Daemon   // for VerbStartDaemon and VerbStopDaemon
}

// changes tells whether the command is a [lvs.Change].
func (c *Command) changes() bool { return c.Change.Op != 0 }

// Subject is what a listing is about.
type Subject uint8

// Subjects of a listing.
const (
	Services Subject = iota
	OneService
	Connections
	Timeouts
	Daemons
)

// Mode is the view of services and servers that a listing gives.
type Mode uint8

// Modes of a listing.
const (
	Plain Mode = iota
	Stats
	Rates
	Thresholds
	PersistentConns
	Tunnels
)

// Listing says what to list and how.
type Listing struct {
	Subject Subject
	Mode    Mode
	Key     lvs.Key // of OneService
	Numeric bool    // no look-ups of names
	Exact   bool    // large numbers in full
	NoSort  bool    // in the kernel's order
	JSON    bool    // ours: JSON in place of text
}

// Error is the refusal of a command line. Its text is what ipvsadm prints.
type Error struct {
	Text   string
	Status int // exit status: 2 for a bad value, 255 for a bad option
	// Ends tells whether the rest of a restore is not looked at any more.
	Ends bool
	// NoCommand tells that the line has no command; ipvsadm's text for it names
	// the program, and Text is empty.
	NoCommand bool
}

func (e *Error) Error() string {
	if e.NoCommand {
		return tryHelp("ipvsadm")
	}
	return e.Text
}

// Exit statuses of ipvsadm.
const (
	statusFine    = 0
	statusListing = 1   // a listing failed
	statusRefused = 2   // the program itself refuses
	statusKernel  = 255 // the kernel, or the option parser, refuses
)

var errNoCommand = &Error{Status: statusKernel, Ends: true, NoCommand: true}

// tryHelp is what ipvsadm answers to a line without a command.
func tryHelp(prog string) string {
	return fmt.Sprintf("Try `%s -h' or '%s --help' for more information.", prog, prog)
}

// refuse is ipvsadm's way out of a line it understands and does not like.
func refuse(format string, args ...any) error {
	return &Error{Text: fmt.Sprintf(format, args...), Status: statusRefused, Ends: true}
}
