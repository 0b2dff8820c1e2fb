package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// Exit statuses of ldirectord 4.12.
const (
	ldFailed  = 1 // cannot start, stale pid file, no such configuration
	ldStopped = 3
	ldUsage   = 255
)

// peerDirector is what the peer calls itself in its log.
const peerDirector = "Linux Director v1.186-ha"

var ldVerbs = []string{"start", "stop", "restart", "try-restart", "reload", "force-reload", "status"}

const ldUsageText = `Usage: %[1]s [-d|--debug] [--] [CONFIG] start|stop|restart|try-restart|reload|force-reload|status
       %[1]s --foreground [CONFIG] start
       %[1]s [CONFIG] status [--verbose] [--json]
       %[1]s -h|-?|--help | -v|--version
`

const ldHelpText = `
Keep the virtual services of CONFIG in the kernel, and in them the real servers
that answer their checks. CONFIG is looked for in /etc/ha.d, in /etc/ha.d/conf,
and then as it is; without one it is ldirectord.cf. "status --verbose" tells why
each server is where it is. With --foreground the daemon stays in front, as a
service manager wants it, and tells that how it is (sd_notify). The page lvsctl-ldirectord(8) has the directives.

Examples:
  %[1]s ldirectord.cf start
  %[1]s ldirectord.cf status --verbose
`

// ldCommand is one call of ldirectord.
type ldCommand struct {
	prog  string // how we were called, for messages
	debug bool
	// foreground stays in front, and is in all else the daemon that start makes: for
	// a service manager. The peer can do that only by its file (supervised=yes).
	foreground bool
	config     string // as typed
	name       string // of pid file, log lines, socket and state
	verb       string

	verbose, json bool // of status; the peer ignores words there

	path    string // of the file, as it was found
	missing bool   // it was not
}

// ldirectordMain is the peer's program.
func ldirectordMain(prog string, args []string) int {
	parent, detached := daemon.Detached()
	c, status := parseLdirectord(prog, args)
	if c == nil {
		return status
	}
	c.find()
	if detached {
		return c.detached(parent)
	}
	return c.run()
}

// parseLdirectord reads the arguments. Without a command the status says how to
// end.
func parseLdirectord(prog string, args []string) (*ldCommand, int) {
	c := &ldCommand{prog: prog}
	words, asked, err := c.options(args)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n"+ldUsageText, prog, err, prog)
		return nil, ldUsage
	case asked == "help":
		fmt.Printf(ldUsageText+ldHelpText, prog)
		return nil, statusOK
	case asked == "version":
		fmt.Printf("%s\nlvsctl %s stands in for it.\n", peerDirector, ownVersion())
		return nil, statusOK
	}
	if err := c.words(words); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n"+ldUsageText, prog, err, prog)
		return nil, ldUsage
	}
	return c, statusOK
}

// options takes what stands before the words, bundles of letters included.
func (c *ldCommand) options(args []string) (words []string, asked string, err error) {
	for i, a := range args {
		switch {
		case a == "--":
			return args[i+1:], asked, nil
		case a == "--debug":
			c.debug = true
		case a == "--foreground":
			c.foreground = true
		case a == "--help":
			asked = "help"
		case a == "--version" && asked == "":
			asked = "version"
		case strings.HasPrefix(a, "--") && a != "--version":
			return nil, "", fmt.Errorf("unknown option: %s", a)
		case len(a) < 2 || a[0] != '-':
			return args[i:], asked, nil
		default:
			if asked, err = c.letters(a[1:], asked); err != nil {
				return nil, "", err
			}
		}
	}
	return nil, asked, nil
}

func (c *ldCommand) letters(bundle, asked string) (string, error) {
	for _, l := range bundle {
		switch l {
		case 'd':
			c.debug = true
		case 'h', '?':
			asked = "help"
		case 'v':
			if asked == "" {
				asked = "version"
			}
		default:
			return "", fmt.Errorf("unknown option: %c", l)
		}
	}
	return asked, nil
}

// words are [CONFIG] COMMAND; the peer ignores what follows.
func (c *ldCommand) words(words []string) error {
	switch len(words) {
	case 0:
		return errors.New("what is to be done?")
	case 1:
		c.config, c.name, c.verb = "ldirectord.cf", "ldirectord", words[0]
	default:
		c.config, c.verb = words[0], words[1]
		c.name = filepath.Base(c.config)
	}
	if len(words) > 1 && words[0] == "status" && strings.HasPrefix(words[1], "--") {
		c.config, c.name, c.verb, words = "ldirectord.cf", "ldirectord", "status", append([]string{""}, words...)
	}
	if !slices.Contains(ldVerbs, c.verb) {
		return fmt.Errorf("unknown command %q", c.verb)
	}
	if c.verb == "status" {
		return c.statusOptions(words[min(2, len(words)):])
	}
	return nil
}

// statusOptions are ours: the peer ignores them, and so any other word.
func (c *ldCommand) statusOptions(words []string) error {
	for _, w := range words {
		switch {
		case w == "--verbose":
			c.verbose = true
		case w == "--json":
			c.json = true
		case strings.HasPrefix(w, "-"):
			return fmt.Errorf("status: unknown option: %s", w)
		}
	}
	return nil
}

// find looks for the file where the peer does.
func (c *ldCommand) find() {
	for _, path := range []string{"/etc/ha.d/" + c.config, "/etc/ha.d/conf/" + c.config, c.config} {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			c.path = path
			return
		}
	}
	c.path, c.missing = c.config, true
}

func (c *ldCommand) pidFile() *daemon.PidFile {
	return &daemon.PidFile{Path: "/var/run/ldirectord." + c.name + ".pid", Word: "ldirectord"}
}

func (c *ldCommand) socket() string { return socketOf(c.name) }

func (c *ldCommand) complain(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", c.prog, fmt.Sprintf(format, args...))
}

// run does what the verb says, in the process that the user waits for.
func (c *ldCommand) run() int {
	pid, stale := c.pidFile().Owner()
	switch c.verb {
	case "start":
		if pid != 0 {
			return c.already(pid)
		}
		return c.start(nil)
	case "restart":
		return c.restart(pid)
	case "try-restart":
		if pid == 0 {
			_, status := c.loose()
			return status
		}
		return c.restart(pid)
	case "stop":
		return c.stop(pid)
	case "reload", "force-reload":
		return c.reload(pid)
	}
	return c.status(pid, stale)
}

// already: the peer starts nothing then, but for a broken file it says so.
func (c *ldCommand) already(pid int) int {
	if _, status := c.loose(); status != statusOK {
		return status
	}
	c.journal(fmt.Sprintf("Invoking ldirectord invoked as: %s; it runs already with pid: %d", strings.Join(os.Args, " "), pid))
	return statusOK
}

// loaded is a configuration with what the daemon needs of it.
type loaded struct {
	src  []byte
	file *dialect.File
}

// strict reads the file as a start does. Problems are said; a status that is not
// 0 says that there is no configuration.
func (c *ldCommand) strict() (*loaded, int) {
	if c.missing {
		fmt.Fprintf(os.Stderr, "Config file %s not found\n", c.config)
		return nil, ldFailed
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupPatience)
	defer cancel()
	l, problems, err := c.load(strictOptions(ctx))
	if err != nil {
		c.complain("%v", err)
		return nil, ldFailed
	}
	sayProblems(os.Stderr, l.file, problems)
	if config.Errors(problems) {
		return nil, dialect.ExitStatus
	}
	return l, statusOK
}

// loose reads the file without looking at anything else: what stop and status
// need of it must not wait for a name server.
func (c *ldCommand) loose() (*loaded, int) {
	if c.missing {
		fmt.Fprintf(os.Stderr, "Config file %s not found\n", c.config)
		return nil, ldFailed
	}
	l, problems, err := c.load(dialect.Options{})
	if err != nil {
		c.complain("%v", err)
		return nil, ldFailed
	}
	if !config.Errors(problems) {
		return l, statusOK
	}
	sayProblems(os.Stderr, l.file, problems)
	return l, dialect.ExitStatus
}

func (c *ldCommand) load(o dialect.Options) (*loaded, []config.Problem, error) {
	src, err := daemon.ReadFile(c.path, 0)
	if err != nil {
		return nil, nil, err
	}
	file, problems := dialect.Parse(c.path, src, o)
	return &loaded{src, file}, problems, nil
}

// lookupPatience bounds all name look-ups of one reading.
const lookupPatience = 20 * time.Second

func strictOptions(ctx context.Context) dialect.Options {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return dialect.Options{Resolver: dialect.System(ctx), Append: appendable, IsDir: isFolder, Hostname: host}
}

func appendable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// sayProblems says the first error in the peer's form, because scripts look for
// it, and then all problems with what to do.
func sayProblems(w io.Writer, f *dialect.File, problems []config.Problem) {
	if r := f.Refusal(); r != nil {
		fmt.Fprintln(w, r.Message(os.Getpid()))
	}
	for _, p := range problems {
		fmt.Fprintln(w, harmless(problemText(p)))
	}
}

func severity(p config.Problem) string {
	if p.Severity == config.Error {
		return "error"
	}
	return "warning"
}

// journal adds a line to the daemon's log, in a process that is not the daemon.
// That it cannot be written is no reason not to do what was asked.
func (c *ldCommand) journal(text string) {
	l, problems, err := c.load(dialect.Options{})
	if err != nil || config.Errors(problems) {
		return
	}
	sink, err := fileSink(l.file.Globals(), c.name)
	if err == nil {
		_ = sink.Write([]daemon.Line{{When: time.Now(), Level: daemon.Info, Text: text}})
	}
}

func fileSink(g dialect.Globals, name string) (daemon.Sink, error) {
	if g.LogFacility != "" {
		return daemon.NewSyslogLog(g.LogFacility, "ldirectord")
	}
	return daemon.FileLog{Path: g.LogFile, Name: name}, nil
}

// ldirectordCommands give the peer a place in help and completion, as
// ipvsadmCommands do.
func ldirectordCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:   "ldirectord",
		Short: "Keep the servers that answer in the table, as ldirectord 4.12",
		Long: `Ldirectord keeps the virtual services of an ldirectord.cf in the kernel, and in
them the real servers that answer their checks, as ldirectord 4.12 does.
"lvsctl ldirectord -h" lists the verbs, lvsctl-ldirectord(8) explains them and
the directives.`,
		Example: `  lvsctl ldirectord /etc/ha.d/ldirectord.cf start
  lvsctl ldirectord ldirectord.cf status --verbose`,
		GroupID:            "compat",
		DisableFlagParsing: true,
		ValidArgsFunction:  completeLdirectord,
		RunE: func(_ *cobra.Command, args []string) error {
			return statusError(ldirectordMain("lvsctl ldirectord", args))
		},
	}}
}

// completeLdirectord offers the configurations of /etc/ha.d, and the verbs.
func completeLdirectord(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	switch {
	case len(words) == 0:
		found, err := filepath.Glob("/etc/ha.d/*.cf")
		if err != nil {
			found = nil // the pattern is ours, and right
		}
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return append(found, ldVerbs...), cobra.ShellCompDirectiveDefault
	case words[len(words)-1] == "status":
		return []string{"--verbose", "--json"}, cobra.ShellCompDirectiveNoFileComp
	case len(words) == 1 && !slices.Contains(ldVerbs, words[0]):
		return ldVerbs, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
