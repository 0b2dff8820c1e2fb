package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

// askPatience is how long an answer of a daemon on the same host may take.
const askPatience = 10 * time.Second

// daemonChoice says which daemon a command speaks with.
type daemonChoice struct{ name, socket string }

func (c *daemonChoice) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.name, "name", "", "the `name` of the daemon: its configuration's, as in ldirectord.cf")
	cmd.Flags().StringVar(&c.socket, "socket", "", "the `path` of its control socket, in place of a name")
	_ = cmd.RegisterFlagCompletionFunc("name", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return running(), cobra.ShellCompDirectiveNoFileComp
	})
}

// client speaks with the daemon that was chosen, or with the only one there is.
func (c *daemonChoice) client(cmd *cobra.Command) (*daemon.Client, error) {
	switch {
	case c.name != "" && c.socket != "":
		return nil, usage(cmd, errors.New("--name and --socket both choose a daemon; give one"))
	case c.socket != "":
		return daemon.NewClient(c.socket), nil
	case c.name != "":
		return daemon.NewClient(socketOf(filepath.Base(c.name))), nil
	}
	names := running()
	switch len(names) {
	case 0:
		return nil, notFound(fmt.Errorf("no daemon answers in %s; start one with lvsctl run FILE, or with lvsctl ldirectord CONFIG start", runFolder))
	case 1:
		return daemon.NewClient(socketOf(names[0])), nil
	}
	return nil, usage(cmd, fmt.Errorf("which daemon? --name %s", strings.Join(names, ", --name ")))
}

// running are the names of the daemons whose sockets answer.
func running() []string {
	sockets, err := filepath.Glob(socketOf("*"))
	if err != nil {
		return nil // the pattern is ours, and right
	}
	var names []string
	for _, s := range sockets {
		conn, err := net.DialTimeout("unix", s, askPatience)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			continue // left behind by a daemon that was killed
		}
		if err == nil { // else it is there, and busy
			conn.Close()
		}
		names = append(names, nameOf(s))
	}
	return names
}

// notFoundError is exit status 3.
type notFoundError struct{ error }

func notFound(err error) error { return notFoundError{err} }

func (e notFoundError) Unwrap() error { return e.error }

// ask is one question to a daemon.
func ask(ctx context.Context, c *daemon.Client, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	err := c.Call(ctx, method, path, in, out)
	if errors.Is(err, daemon.ErrNoDaemon) {
		if names := running(); len(names) > 0 {
			err = fmt.Errorf("%w; those that do: --name %s", err, strings.Join(names, ", --name "))
		}
		return notFound(err)
	}
	return err
}

func operateCommands() []*cobra.Command {
	return []*cobra.Command{statusCommand(), whyCommand(), drainCommand(), undrainCommand(), reloadCommand(), watchCommand(), topCommand(), metricsCommand()}
}

func statusCommand() *cobra.Command {
	var choice daemonChoice
	var out output
	var verbose bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What a running director does",
		Long: `Status asks a running daemon for its virtual services and their servers: which
of them serve, and with --verbose why each is where it is. A file that the daemon
does not take for its problems is named first.`,
		Example: `  lvsctl status
  lvsctl status --name ldirectord.cf --verbose`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := choice.client(cmd)
			if err != nil {
				return err
			}
			var st statusAnswer
			if err := ask(cmd.Context(), c, http.MethodGet, "/v1/status", nil, &st); err != nil {
				return err
			}
			text := printStatus(st)
			if verbose {
				text = printStatusVerbose(st)
			}
			return out.say(cmd.OutOrStdout(), st, text)
		},
	}
	cmd.Flags().BoolVar(&verbose, "verbose", false, "say why, since when, and with how many connections")
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

// selection is a server, in all services or in one.
type selection struct{ server, virtual string }

func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.virtual, "virtual", "", "only in this `service`: its address with or without port, its mark or its name")
}

func (s selection) String() string {
	if s.virtual == "" {
		return s.server
	}
	return s.server + " in " + s.virtual
}

// oneServer is the argument of a command that is about a server.
func oneServer(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage(cmd, errors.New("which server? its address, with or without port"))
	case 1:
		return nil
	}
	return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
}

// found is a server in a service.
type found struct {
	Virtual string `json:"virtual"`
	ldirector.MemberStatus

	persistent uint32
}

// in finds the servers that are meant.
func (s selection) in(st statusAnswer) []found {
	var fs []found
	for _, v := range st.Virtuals {
		if s.virtual != "" && s.virtual != v.Service && s.virtual != v.Label && s.virtual != v.Name && !isAddress(s.virtual, v.Label) {
			continue
		}
		for _, m := range v.Members {
			if s.server == m.Name || isAddress(s.server, m.Server) || isHostOf(s.server, m.Name) {
				fs = append(fs, found{v.Service, m, v.Persistent})
			}
		}
	}
	return fs
}

// isAddress tells whether a word is an address with its port, or without.
func isAddress(word, addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return false
	}
	if w, err := netip.ParseAddrPort(word); err == nil {
		return w == a
	}
	w, err := netip.ParseAddr(strings.Trim(word, "[]"))
	return err == nil && w == a.Addr()
}

func isHostOf(word, name string) bool {
	host, _, err := net.SplitHostPort(name)
	return err == nil && strings.Trim(word, "[]") == host
}

// completer offers words for a half-typed line.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFrom offers words of a daemon's status. A daemon that does not answer
// offers none: nothing is said into a half-typed line.
func completeFrom(choose func(*cobra.Command) (*daemon.Client, error), words func(st statusAnswer, args []string) []string) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := choose(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		st, err := askStatus(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(st, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeServers offers the servers of the daemon, once each, for one argument.
func completeServers(choice *daemonChoice) completer {
	return completeFrom(choice.client, func(st statusAnswer, args []string) []string {
		var names []string
		for _, v := range st.Virtuals {
			for _, m := range v.Members {
				if len(args) == 0 && !slices.Contains(names, m.Server) {
					names = append(names, m.Server)
				}
			}
		}
		return names
	})
}

func whyCommand() *cobra.Command {
	var choice daemonChoice
	var sel selection
	var out output
	cmd := &cobra.Command{
		Use:   "why RIP[:PORT]",
		Short: "Why a server is where it is",
		Long: `Why tells of one real server, in each service that has it: where it stands and
since when, where it is configured, which weight it has and should have, and what
its last checks found.`,
		Example: `  lvsctl why 192.168.0.64
  lvsctl why 192.168.0.64:80 --virtual 192.168.0.147:80`,
		GroupID: "own",
		Args:    oneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			sel.server = args[0]
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := choice.client(cmd)
			if err != nil {
				return err
			}
			servers, err := sel.ask(cmd.Context(), c)
			if err != nil {
				return err
			}
			return out.say(cmd.OutOrStdout(), serversAnswer{1, servers}, func(w io.Writer) { printWhy(w, servers) })
		},
	}
	sel.flags(cmd)
	choice.flags(cmd)
	out.flags(cmd)
	cmd.ValidArgsFunction = completeServers(&choice)
	return cmd
}

// serversAnswer is the JSON of why and drain.
type serversAnswer struct {
	Version int     `json:"version"`
	Servers []found `json:"servers"`
}

// ask finds the servers as they are now.
func (s selection) ask(ctx context.Context, c *daemon.Client) ([]found, error) {
	var st statusAnswer
	if err := ask(ctx, c, http.MethodGet, "/v1/status", nil, &st); err != nil {
		return nil, err
	}
	fs := s.in(st)
	if len(fs) == 0 {
		return nil, notFound(fmt.Errorf("server %s: not in %s; lvsctl status lists those that are", s, st.File))
	}
	return fs, nil
}

func reloadCommand() *cobra.Command {
	var choice daemonChoice
	var out output
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Let a director read its file again",
		Long: `Reload lets a running daemon read its file, waits, and tells what came of it. A
file with errors changes nothing: they are listed, and the exit status is 5. What
did not change in the file is not touched in the kernel.`,
		Example: "  lvsctl reload --name ldirectord.cf",
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := choice.client(cmd)
			if err != nil {
				return err
			}
			return reload(cmd, c, &out)
		},
	}
	choice.flags(cmd)
	out.flags(cmd)
	return cmd
}

// reloadPatience allows for name servers that do not answer, also to a reading that
// is under way.
const reloadPatience = 2*lookupPatience + askPatience

func reload(cmd *cobra.Command, c *daemon.Client, out *output) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), reloadPatience)
	defer cancel()
	var a reloadAnswer
	if err := c.Call(ctx, http.MethodPost, "/v1/reload", nil, &a); err != nil {
		if errors.Is(err, daemon.ErrNoDaemon) {
			return notFound(err)
		}
		return err
	}
	if err := out.say(cmd.OutOrStdout(), a, func(w io.Writer) { printReload(w, cmd.ErrOrStderr(), a) }); err != nil {
		return err
	}
	if !a.Taken {
		return statusError(statusInvalid)
	}
	return nil
}

func printReload(w, problems io.Writer, a reloadAnswer) {
	for _, p := range a.Problems {
		fmt.Fprintf(problems, "%s\n", p)
	}
	switch {
	case a.TriedAgain:
		fmt.Fprintln(w, "not taken: the configuration in force stays;", waiting)
	case !a.Taken:
		fmt.Fprintln(w, "not taken: the configuration in force stays")
	case a.Refused != "":
		fmt.Fprintf(w, "taken, but the kernel refuses a part, which is tried again: %s\n", strings.ReplaceAll(a.Refused, "\n", "; "))
	default:
		fmt.Fprintln(w, "taken")
	}
}
