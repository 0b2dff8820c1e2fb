package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/config"
	dialect "github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// Exit statuses of keepalived 2.2.
const (
	kaFatal      = 1
	kaConfig     = 2
	kaConfigTest = 5
	kaNoConfig   = 6
)

// peerKeepalived is what the peer calls itself.
const peerKeepalived = "Keepalived v2.2.7 (01/16,2022)"

const defaultKeepalivedConf = "/etc/keepalived/keepalived.conf"

const kaUsageText = `Usage: %s [OPTION...]
  -f, --use-file=FILE          Use the specified configuration file
                                default '/etc/keepalived/keepalived.conf'
  -P, --vrrp                   Only the vrrp_instances
  -C, --check                  Only the virtual_servers
  -l, --log-console            Log to standard error, in place of syslog
  -D, --log-detail             Detailed log
  -S, --log-facility=FACILITY  0-7, local0-local7, user or daemon (default)
  -G, --no-syslog              Do not log via syslog
  -u, --umask=MASK             umask for files that are written
  -V, --dont-release-vrrp      Leave addresses and routes behind at the end
  -I, --dont-release-ipvs      Leave the virtual servers behind at the end
  -n, --dont-fork              Stay in the foreground
  -d, --dump-conf              Log the configuration as it was understood
  -p, --pid=FILE               pid file of the daemon (/run/keepalived.pid)
  -r, --vrrp_pid=FILE          pid file while there are instances (/run/vrrp.pid)
  -c, --checkers_pid=FILE      pid file while there are virtual servers (/run/checkers.pid)
  -s, --namespace=NAME         Run in the network namespace NAME
  -i, --config-id=ID           Lines that begin with @ID count, those with @^ID do not
                                default: the host's name up to the first dot
  -e, --all-config             A file that is to be included and is not there is an error
      --signum=NAME            Print the number of STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON
  -t, --config-test[=LOG_FILE] Say what is wrong with the configuration, and exit
      --offline                With -t: do not ask this host for its interfaces and programs
  -v, --version                Print the version
  -h, --help                   Print this
Accepted, and without a meaning here:
  -B, -R, -X, -a, -m, --all, -b FILE, -M PATTERN
`

const kaHelpText = `
Runs the instances and virtual servers of a keepalived.conf as it is. One process
does all of it. "lvsctl vrrp status", "standby", "takeover" and "resume" speak with
it; the page lvsctl-keepalived(8) tells more.

Examples:
  %[1]s -t -f /etc/keepalived/keepalived.conf
  %[1]s -n -l -D -f /etc/keepalived/keepalived.conf
`

// kaCommand is one call of keepalived.
type kaCommand struct {
	prog, file           string
	foreground, console  bool
	detail, dump         bool
	noSyslog, strict     bool
	vrrpOnly, checkOnly  bool
	keepVRRP, keepIPVS   bool
	test, offline        bool
	testLog              string
	facility             string
	pid, vrrpPid, chkPid string
	configID, namespace  string
	umask                int

	// Of vrrp run --file.
	noPids bool
	name   string      // of the daemon; empty: the file's
	log    daemon.Sink // nil: as the options say
}

// kaOption is an option of the peer.
type kaOption struct {
	short    byte
	long     string
	arg      byte // 0 none, '=' needed, '?' may be given with "=" only
	set      func(c *kaCommand, v string) error
	ignored  bool // for us: one process, no children
	declined string
}

var kaOptions = []kaOption{
	{short: 'f', long: "use-file", arg: '=', set: func(c *kaCommand, v string) error { c.file = v; return nil }},
	{short: 'P', long: "vrrp", set: func(c *kaCommand, _ string) error { c.vrrpOnly = true; return nil }},
	{short: 'C', long: "check", set: func(c *kaCommand, _ string) error { c.checkOnly = true; return nil }},
	{short: 'B', long: "no_bfd", ignored: true},
	{long: "all", ignored: true},
	{short: 'l', long: "log-console", set: func(c *kaCommand, _ string) error { c.console = true; return nil }},
	{short: 'D', long: "log-detail", set: func(c *kaCommand, _ string) error { c.detail = true; return nil }},
	{short: 'S', long: "log-facility", arg: '=', set: setFacility},
	{short: 'G', long: "no-syslog", set: func(c *kaCommand, _ string) error { c.noSyslog = true; return nil }},
	{short: 'g', long: "log-file", arg: '?', declined: "there is no log file of our own: send standard error to one, or let syslog do it"},
	{short: 'u', long: "umask", arg: '=', set: setUmask},
	{short: 'X', long: "release-vips", ignored: true}, // addresses are always released
	{short: 'V', long: "dont-release-vrrp", set: func(c *kaCommand, _ string) error { c.keepVRRP = true; return nil }},
	{short: 'I', long: "dont-release-ipvs", set: func(c *kaCommand, _ string) error { c.keepIPVS = true; return nil }},
	{short: 'R', long: "dont-respawn", ignored: true},
	{short: 'n', long: "dont-fork", set: func(c *kaCommand, _ string) error { c.foreground = true; return nil }},
	{short: 'd', long: "dump-conf", set: func(c *kaCommand, _ string) error { c.dump = true; return nil }},
	{short: 'p', long: "pid", arg: '=', set: func(c *kaCommand, v string) error { c.pid = v; return nil }},
	{short: 'r', long: "vrrp_pid", arg: '=', set: func(c *kaCommand, v string) error { c.vrrpPid = v; return nil }},
	{short: 'c', long: "checkers_pid", arg: '=', set: func(c *kaCommand, v string) error { c.chkPid = v; return nil }},
	{short: 'b', long: "bfd_pid", arg: '=', ignored: true},
	{short: 'T', long: "genhash", declined: "the hash of a page is: curl -s URL | md5sum"},
	{short: 'a', long: "address-monitoring", ignored: true},
	{short: 'x', long: "snmp", declined: "there is no SNMP; lvsctl status --json has what it would tell"},
	{short: 'A', long: "snmp-agent-socket", arg: '=', declined: "there is no SNMP; lvsctl status --json has what it would tell"},
	{short: 's', long: "namespace", arg: '=', set: func(c *kaCommand, v string) error { c.namespace = v; return nil }},
	{short: 'm', long: "core-dump", ignored: true},
	{short: 'M', long: "core-dump-pattern", arg: '?', ignored: true},
	{short: 'e', long: "all-config", set: func(c *kaCommand, _ string) error { c.strict = true; return nil }},
	{short: 'i', long: "config-id", arg: '=', set: func(c *kaCommand, v string) error { c.configID = v; return nil }},
	{short: 't', long: "config-test", arg: '?', set: func(c *kaCommand, v string) error { c.test, c.testLog = true, v; return nil }},
	{long: "offline", set: func(c *kaCommand, _ string) error { c.offline = true; return nil }},
}

func setFacility(c *kaCommand, v string) error {
	c.facility = v
	if len(v) == 1 && v[0] >= '0' && v[0] <= '7' {
		c.facility = "local" + v
	}
	_, err := daemon.NewSyslogLog(c.facility, "Keepalived")
	return err
}

func setUmask(c *kaCommand, v string) error {
	n, err := strconv.ParseUint(v, 0, 16)
	if err != nil || n > 0o777 {
		return fmt.Errorf("umask %q: it is a number up to 0777", v)
	}
	c.umask = int(n)
	return nil
}

// keepalivedMain is the peer's program.
func keepalivedMain(prog string, args []string) int {
	parent, detached := daemon.Detached()
	c, status := parseKeepalived(prog, args)
	if c == nil {
		return status
	}
	if c.test {
		return c.configTest()
	}
	if c.namespace != "" && os.Getenv(inNamespaceVar) != c.namespace {
		return c.enter()
	}
	if c.umask >= 0 {
		syscall.Umask(c.umask)
	}
	switch {
	case detached:
		return c.serveDetached(parent)
	case c.foreground:
		return c.say(c.serve(nil))
	}
	return c.background()
}

// parseKeepalived reads the arguments as getopt_long does. Without a command the
// status says how to end.
func parseKeepalived(prog string, args []string) (*kaCommand, int) {
	c := &kaCommand{prog: prog, file: defaultKeepalivedConf, umask: -1, facility: "daemon"}
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "-v" || a == "--version":
			fmt.Fprintf(os.Stderr, "%s\n\nlvsctl %s stands in for it.\n", peerKeepalived, ownVersion())
			return nil, statusOK
		case a == "-h" || a == "--help":
			fmt.Printf(kaUsageText+kaHelpText, prog, prog)
			return nil, statusOK
		case strings.HasPrefix(a, "--signum"):
			return nil, printSignum(prog, a, args)
		}
		rest, err := c.option(a, args)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n"+kaUsageText, prog, err, prog)
			return nil, kaFatal
		}
		args = rest
	}
	c.finish()
	return c, statusOK
}

// option takes one argument, and those that belong to it.
func (c *kaCommand) option(a string, rest []string) ([]string, error) {
	if long, ok := strings.CutPrefix(a, "--"); ok && long != "" {
		return c.long(long, rest)
	}
	if len(a) < 2 || a[0] != '-' || a == "--" {
		return nil, fmt.Errorf("unexpected argument %q", a)
	}
	for i := 1; i < len(a); i++ {
		at := slices.IndexFunc(kaOptions, func(o kaOption) bool { return o.short == a[i] })
		if at < 0 {
			return nil, fmt.Errorf("invalid option -- '%c'", a[i])
		}
		o := kaOptions[at]
		switch {
		case o.arg == 0:
			if err := o.apply(c, ""); err != nil {
				return nil, err
			}
			continue
		case o.arg == '?':
			return rest, o.apply(c, strings.TrimPrefix(a[i+1:], "="))
		case i+1 < len(a):
			return rest, o.apply(c, a[i+1:])
		case len(rest) == 0:
			return nil, fmt.Errorf("option requires an argument -- '%c'", a[i])
		}
		return rest[1:], o.apply(c, rest[0])
	}
	return rest, nil
}

func (c *kaCommand) long(word string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(word, "=")
	var found []kaOption
	for _, o := range kaOptions {
		if o.long == name {
			found = []kaOption{o}
			break
		}
		if strings.HasPrefix(o.long, name) {
			found = append(found, o) // getopt_long takes what is long enough
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("unrecognized option '--%s'", name)
	}
	o := found[0]
	switch {
	case o.arg == 0 && given:
		return nil, fmt.Errorf("option '--%s' doesn't allow an argument", o.long)
	case o.arg == '=' && !given:
		if len(rest) == 0 {
			return nil, fmt.Errorf("option '--%s' requires an argument", o.long)
		}
		value, rest = rest[0], rest[1:]
	}
	return rest, o.apply(c, value)
}

func (o kaOption) apply(c *kaCommand, v string) error {
	switch {
	case o.declined != "":
		return fmt.Errorf("--%s: %s", o.long, o.declined)
	case o.ignored:
		return nil
	}
	return o.set(c, v)
}

// finish fills in what was not said.
func (c *kaCommand) finish() {
	dir := "/run"
	if c.namespace != "" {
		dir = filepath.Join("/run/keepalived", c.namespace)
	}
	for _, p := range []struct {
		to   *string
		name string
	}{{&c.pid, "keepalived.pid"}, {&c.vrrpPid, "vrrp.pid"}, {&c.chkPid, "checkers.pid"}} {
		if *p.to == "" {
			*p.to = filepath.Join(dir, p.name)
		}
	}
	if c.configID == "" {
		if host, err := os.Hostname(); err == nil {
			c.configID, _, _ = strings.Cut(host, ".")
		}
	}
}

// kaSignals are the numbers of --signum; JSON is SIGRTMIN+2 as glibc counts.
var kaSignals = map[string]syscall.Signal{
	"STOP": syscall.SIGTERM, "RELOAD": syscall.SIGHUP, "DATA": syscall.SIGUSR1, "STATS": syscall.SIGUSR2,
	"STATS_CLEAR": 37, "JSON": 36,
}

func printSignum(prog, a string, rest []string) int {
	_, name, given := strings.Cut(a, "=")
	if !given && len(rest) > 0 {
		name = rest[0]
	}
	s, ok := kaSignals[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "Unknown sigfunc %s\n", name)
		return kaFatal
	}
	fmt.Println(int(s))
	return statusOK
}

// read reads the file. Interfaces that are not there are no problem of a daemon:
// the instance waits for them.
func (c *kaCommand) read(ask bool) (*dialect.File, []config.Problem, error) {
	src, err := daemon.ReadFile(c.file, 0)
	if err != nil {
		return nil, nil, err
	}
	o := dialect.Options{Include: dialect.ReadFiles, ConfigID: c.configID}
	if !c.offline {
		o.User = check.KnownUser
	}
	if ask {
		o.HasLink = func(name string) bool { _, err := net.InterfaceByName(name); return err == nil }
		o.Executable = executable
	}
	f, problems := dialect.Parse(c.file, src, o)
	return f, problems, nil
}

// executable tells why a program cannot be run. One without a slash is looked for
// where a shell looks.
func executable(program string) error {
	if strings.Contains(program, "/") {
		return unix.Access(program, unix.X_OK)
	}
	_, err := exec.LookPath(program)
	return err
}

// configTest is -t. What the peer complains about comes first, in its words.
func (c *kaCommand) configTest() int {
	var w io.Writer = forPeople{os.Stderr}
	if c.testLog != "" {
		f, err := os.OpenFile(c.testLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", c.prog, err)
			return kaFatal
		}
		defer f.Close()
		w = f
	}
	f, problems, err := c.read(!c.offline)
	if err != nil {
		// The peer says so too, and exits with 0.
		fmt.Fprintf(w, "Unable to find configuration file %s (%v)\n", c.file, err)
		return kaConfigTest
	}
	for _, line := range f.Complaints() {
		fmt.Fprintln(w, line)
	}
	for _, p := range problems {
		fmt.Fprintf(w, "%v: %v\n", p.Severity, p)
	}
	status := f.ExitStatus()
	if status == statusOK && config.Errors(problems) {
		status = kaConfigTest
	}
	return status
}

// inNamespaceVar tells that the namespace was entered already.
const inNamespaceVar = "LVSCTL_IN_NETNS"

// enter runs this program again in the network namespace: a running program has
// threads, and only one of them could go there.
func (c *kaCommand) enter() int {
	err := c.exec()
	fmt.Fprintf(os.Stderr, "%s: network namespace %s: %v\n", c.prog, c.namespace, err)
	return kaFatal
}

func (c *kaCommand) exec() error {
	runtime.LockOSThread()
	ns, err := os.Open(filepath.Join("/run/netns", filepath.Base(c.namespace)))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), inNamespaceVar+"="+c.namespace))
}

// background starts the daemon, and returns when it has begun.
func (c *kaCommand) background() int {
	if status, err := c.readable(); err != nil {
		return c.say(status, err)
	}
	if pid, _ := (&daemon.PidFile{Path: c.pid, Word: pidWord}).Owner(); pid != 0 {
		return c.say(statusOK, alreadyRunning(fmt.Errorf("process %d %w (%s)", pid, daemon.ErrRunning, c.pid)))
	}
	if _, err := daemon.Detach(os.Args, startPatience); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.prog, err)
		return kaFatal
	}
	return statusOK
}

// readable refuses to start without a file, or with one that has nothing in it.
func (c *kaCommand) readable() (int, error) {
	f, _, err := c.read(false)
	if err != nil {
		return kaConfig, fmt.Errorf("Unable to find configuration file %s (%v)", c.file, err) //lint:ignore ST1005 the peer's words
	}
	if site := c.site(f); len(site.Instances) == 0 && len(site.Virtuals) == 0 {
		return kaNoConfig, fmt.Errorf("%s configures nothing to run", c.file)
	}
	return statusOK, nil
}

// serveDetached is the daemon's own process.
func (c *kaCommand) serveDetached(parent *daemon.Parent) int {
	status, err := c.serve(parent)
	if err != nil {
		parent.Failed(err)
	}
	return status
}

// say prints why a daemon ended in the foreground.
func (c *kaCommand) say(status int, err error) int {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.prog, err)
	}
	return status
}

// site is what the file wants, without what -P and -C leave out.
func (c *kaCommand) site(f *dialect.File) config.Site {
	site := f.Site()
	if c.vrrpOnly && !c.checkOnly {
		site.Virtuals = nil
	}
	if c.checkOnly && !c.vrrpOnly {
		site.Instances, site.Groups, site.Scripts = nil, nil, nil
		site.Sync = slices.DeleteFunc(slices.Clone(site.Sync), func(s config.Sync) bool { return s.Instance != "" })
	}
	return site
}

// consoleLog writes lines as keepalived does with -l.
type consoleLog struct{ w io.Writer }

// Write implements [daemon.Sink].
func (l consoleLog) Write(lines []daemon.Line) error {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line.When.Format(time.ANSIC) + ": " + line.Text + "\n")
	}
	_, err := io.WriteString(l.w, b.String())
	return err
}

// discard is a log that nobody reads: -G without -l.
type discard struct{}

// Write implements [daemon.Sink].
func (discard) Write([]daemon.Line) error { return nil }

func (c *kaCommand) sink() (daemon.Sink, error) {
	switch {
	case c.log != nil:
		return c.log, nil
	case c.console && daemon.ToJournal():
		return daemon.WriterLog{W: os.Stderr, Journal: true}, nil
	case c.console:
		return consoleLog{os.Stderr}, nil
	case c.noSyslog:
		return discard{}, nil
	}
	return daemon.NewSyslogLog(c.facility, "Keepalived")
}

func keepalivedCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:   "keepalived",
		Short: "Run a keepalived.conf, as keepalived 2.2",
		Long: `Keepalived runs the instances and virtual servers of a keepalived.conf as it
stands, with the options, signals, pid files and log lines of keepalived 2.2.
"lvsctl keepalived -h" lists the options, lvsctl-keepalived(8) explains them.`,
		Example: `  lvsctl keepalived -t -f /etc/keepalived/keepalived.conf
  lvsctl keepalived -n -l -D -f /etc/keepalived/keepalived.conf`,
		GroupID:            "compat",
		DisableFlagParsing: true,
		ValidArgsFunction:  completeKeepalived,
		RunE: func(_ *cobra.Command, args []string) error {
			return statusError(keepalivedMain("lvsctl keepalived", args))
		},
	}}
}

// completeKeepalived offers the options, and files where one is wanted.
func completeKeepalived(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 && args[len(args)-1] == "--signum" {
		return slices.Sorted(maps.Keys(kaSignals)), cobra.ShellCompDirectiveNoFileComp
	}
	if !strings.HasPrefix(word, "-") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var words []string
	for _, o := range kaOptions {
		if o.declined == "" && !o.ignored {
			words = append(words, "--"+o.long)
		}
	}
	return append(words, "--signum", "--version", "--help"), cobra.ShellCompDirectiveNoFileComp
}
