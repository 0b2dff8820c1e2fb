package ipvsadm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
)

// Kernel is what ipvsadm needs of a kernel. Errors carry a [syscall.Errno] that
// errors.As finds: ESRCH for a service or daemon that is not there, and so on,
// as Linux answers.
type Kernel interface {
	lvs.Kernel
	State() (lvs.State, error) // in the kernel's order
	ServiceState(lvs.Key) (lvs.ServiceState, error)
	Info() (lvs.Info, error)
	Timeouts() (lvs.Timeouts, error)
	SetTimeouts(lvs.Timeouts) error
	Daemons() ([]lvs.Daemon, error) // the master first
	StartDaemon(lvs.Daemon) error
	StopDaemon(lvs.Daemon) error
	// Connections yields an error instead of, or after, connections.
	Connections() iter.Seq2[lvs.Connection, error]
}

// viewer is what a Kernel may be besides: one that can be listed without all of
// its table in memory, and faster where little of it is wanted. What it says of
// a destination it may have from a place that is only good to look at.
type viewer interface {
	View(lvs.Detail) (lvs.View, error)
}

// view returns the table in at least the given detail.
func view(k Kernel, d lvs.Detail) (lvs.View, error) {
	if v, ok := k.(viewer); ok {
		return v.View(d)
	}
	st, err := k.State()
	return st.View(), err
}

// Program is one run of ipvsadm, ipvsadm-save or ipvsadm-restore.
type Program struct {
	Name   string                 // argv[0], for messages
	Open   func() (Kernel, error) // called once, unless help is all that is wanted; fails without IPVS or the right to use it
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Names  Names // nil for those of this host
}

// Run is ipvsadm: it carries out a command line, without the program's name,
// and returns the exit status.
func (p *Program) Run(args []string) int {
	if v := helpVerb(args); v != 0 {
		return p.explain(v)
	}
	return p.with(func(s *session) int {
		if len(args) == 0 {
			return s.run(Command{Verb: VerbList})
		}
		status, _ := s.line(args)
		return status
	})
}

// helpVerb returns VerbHelp or VerbVersion when that is what a line asks for.
// Neither needs a kernel.
func helpVerb(args []string) Verb {
	s := scanner{args: args}
	if w, _, _, why := s.scan(); why == "" && w != nil && (w.verb == VerbHelp || w.verb == VerbVersion) {
		return w.verb
	}
	return 0
}

// RunSave is ipvsadm-save: it prints the table as rules. All it listens to is
// -n; other words that are no options mean nothing to it.
func (p *Program) RunSave(args []string) int {
	save := []string{"-S"}
	for _, a := range args {
		switch {
		case a == "-n":
			save = []string{"-S", "-n"}
		case len(a) > 0 && a[0] == '-':
			fmt.Fprintf(p.Stderr, "%s: Script to save the IPVS table to stdout.\n"+
				"   With the -n option, prints out the table in numeric format.\n", p.Name)
			return statusListing
		}
	}
	q := *p
	q.Name = "ipvsadm"
	return q.Run(save)
}

// maxRules is how much ipvsadm-restore reads: a million rules several times over.
const maxRules = 256 << 20

// RunRestore is ipvsadm-restore: it replaces the table by the rules on standard
// input. Arguments mean nothing to it. It reads all of the input before it
// touches the table, so that a slow or broken writer does not leave it empty.
func (p *Program) RunRestore([]string) int {
	q := *p
	q.Name = "ipvsadm"
	return q.with(func(s *session) int {
		text, err := io.ReadAll(io.LimitReader(p.Stdin, maxRules+1))
		if err != nil {
			return s.say(statusRefused, "ipvsadm-restore: reading the rules: "+err.Error())
		}
		if len(text) > maxRules {
			return s.say(statusRefused, fmt.Sprintf("ipvsadm-restore: more than %d bytes of rules: use ipvsadm -R, which needs no copy of them", maxRules))
		}
		s.queue(Command{Verb: VerbClear, Change: lvs.Change{Op: lvs.Flush}})
		return s.restore(withoutComments(bytes.NewReader(text)))
	})
}

// with opens the kernel for one session.
func (p *Program) with(do func(*session) int) int {
	s := &session{Program: p, out: printer{w: p.Stdout}}
	s.parser.names = p.Names
	if p.Names == nil {
		s.parser.names = new(SystemNames)
	}
	k, err := p.Open()
	if err != nil {
		status := s.say(statusRefused, "Can't initialize ipvs: "+openText(err)+
			"\nAre you sure that IP Virtual Server is built in the kernel or as module?")
		s.hint(openHint(err))
		return status
	}
	s.kernel = k
	status := do(s)
	if c, ok := k.(io.Closer); ok {
		c.Close() // nothing is lost with it: every request was answered
	}
	return s.finish(status)
}

// session is a program with its kernel open.
type session struct {
	*Program
	kernel Kernel
	parser parser
	out    printer
	hinted bool

	pending []lvs.Change // lines of a restore that the kernel has not seen yet
	verbs   []Verb       // of pending
	status  int          // of the last line done
}

// finish writes what is left, and reports output that did not arrive.
func (s *session) finish(status int) int {
	s.out.flush()
	if s.out.err != nil && !errors.Is(s.out.err, syscall.EPIPE) {
		fmt.Fprintf(s.Stderr, "%s: writing the output: %v\n", s.Name, s.out.err)
	}
	if s.out.err != nil && status == statusFine {
		return statusListing
	}
	return status
}

// say prints a message of one line or more and returns status.
func (s *session) say(status int, text string) int {
	s.out.flush() // what came before it is seen before it
	io.WriteString(s.Stderr, text+"\n")
	return status
}

// hint adds a line of ours, once.
func (s *session) hint(text string) {
	if text != "" && !s.hinted {
		s.hinted = true
		io.WriteString(s.Stderr, text+"\n")
	}
}

// line carries out a command line. ends tells whether it is the last one of a
// restore, whatever follows.
func (s *session) line(args []string) (status int, ends bool) {
	cmd, err := s.parser.parse(args)
	if err != nil {
		e := err.(*Error)
		text := e.Text
		if e.NoCommand {
			text = tryHelp(s.Name)
		}
		return s.say(e.Status, text), e.Ends
	}
	switch cmd.Verb {
	case VerbHelp, VerbVersion:
		s.out.flush()
		return s.explain(cmd.Verb), true
	case VerbRestore:
		return s.restore(newLineReader(s.Stdin)), false
	}
	status = s.run(cmd)
	return status, status == statusListing
}

// run carries out a command that needs the kernel.
func (s *session) run(c Command) int {
	switch c.Verb {
	case VerbList, VerbSave:
		return s.list(&c)
	case VerbSetTimeouts:
		return s.verdict(c.Verb, s.kernel.SetTimeouts(c.Timeouts))
	case VerbStartDaemon:
		return s.verdict(c.Verb, s.kernel.StartDaemon(c.Daemon))
	case VerbStopDaemon:
		return s.verdict(c.Verb, s.kernel.StopDaemon(c.Daemon))
	}
	return s.verdict(c.Verb, s.kernel.Do([]lvs.Change{c.Change})[0])
}

// verdict reports the kernel's answer to a command.
func (s *session) verdict(v Verb, err error) int {
	if err == nil {
		return statusFine
	}
	status := s.say(statusKernel, ErrorText(v, err))
	s.hint(hint(err))
	return status
}

// list carries out -L and -S.
func (s *session) list(c *Command) int {
	s.out.names = nil
	if !c.Listing.Numeric {
		s.out.names = &cached{Names: s.parser.names}
	}
	var err error
	switch l := &c.Listing; {
	case c.Verb == VerbSave:
		err = s.save()
	case l.JSON:
		err = s.json(l)
	case l.Subject == Services:
		err = s.services(l)
	case l.Subject == OneService:
		err = s.oneService(l)
	case l.Subject == Connections:
		err = s.connections(l)
	case l.Subject == Timeouts:
		err = s.timeouts()
	case l.Subject == Daemons:
		err = s.daemons()
	}
	if err != nil {
		status := s.say(statusListing, listingText(err))
		s.hint(hint(err))
		return status
	}
	return statusFine
}

// listingText is what ipvsadm says when a listing fails.
func listingText(err error) string {
	var file *os.PathError
	if errors.As(err, &file) {
		return "cannot open file " + file.Path
	}
	return ErrorText(VerbList, err)
}

func (s *session) save() error {
	v, err := view(s.kernel, lvs.OutlineAndTunnels)
	if err != nil {
		return err
	}
	r := ruler{printer: &s.out}
	return r.table(v, false)
}

func (s *session) services(l *Listing) error {
	info, err := s.kernel.Info()
	if err != nil {
		return err
	}
	v, err := view(s.kernel, l.Mode.detail())
	if err != nil {
		return err
	}
	text := lister{printer: &s.out, Listing: *l}
	text.title(info)
	text.heading()
	return text.table(v)
}

// detail is what a mode prints of a destination.
func (m Mode) detail() lvs.Detail {
	switch m {
	case Plain:
		return lvs.Outline
	case Tunnels:
		return lvs.OutlineAndTunnels
	}
	return lvs.Full
}

func (s *session) oneService(l *Listing) error {
	st, err := s.kernel.ServiceState(l.Key)
	if err != nil {
		return err
	}
	text := lister{printer: &s.out, Listing: *l}
	text.heading()
	text.service(&st, st.Destinations)
	return nil
}

// connections prints the connection table as it is read: it may have millions
// of lines.
func (s *session) connections(l *Listing) error {
	engines := l.Mode == PersistentConns
	headed := false
	for c, err := range s.kernel.Connections() {
		if err != nil {
			return err
		}
		if !headed {
			s.out.connectionHeading(engines)
			headed = true
		}
		s.out.connection(&c, engines)
		if s.out.err != nil {
			return nil // nobody reads on; finish reports it
		}
	}
	if !headed {
		s.out.connectionHeading(engines)
	}
	return nil
}

func (s *session) timeouts() error {
	t, err := s.kernel.Timeouts()
	if err == nil {
		s.out.timeouts(t)
	}
	return err
}

func (s *session) daemons() error {
	ds, err := s.kernel.Daemons()
	for _, d := range ds {
		s.out.daemon(d)
	}
	return err
}
