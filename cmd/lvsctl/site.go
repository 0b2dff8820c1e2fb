package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
)

// siteCommands work on files in any dialect.
func siteCommands() []*cobra.Command {
	return []*cobra.Command{validateCommand(), diffCommand(), applyCommand(), convertCommand()}
}

// siteFiles are the files that a command reads, and how.
type siteFiles struct {
	dialect string
	online  bool
	// tableOnly is for commands that make no address: an interface that this host does
	// not have is said, and is no reason not to make the table.
	tableOnly bool
	// expected tells of interfaces that the files may name though this host has none
	// of the name now; nil: none.
	expected func(link string) bool
}

func (f *siteFiles) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dialect, "dialect", "", "read all files as `"+strings.Join(dialects.Names(), "|")+"`; told by their content unless given")
	_ = cmd.RegisterFlagCompletionFunc("dialect", cobra.FixedCompletions(dialects.Names(), cobra.ShellCompDirectiveNoFileComp))
}

// someFiles wants at least one file.
func someFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(cmd, errors.New("which file? a configuration, a folder with some, or - for standard input"))
	}
	return nil
}

// load reads the files into one site.
func (f *siteFiles) load(cmd *cobra.Command, paths []string) (*dialects.Loaded, error) {
	return f.loadWithin(cmd.Context(), cmd, paths)
}

// loadWithin is the same; look-ups of names end with ctx.
func (f *siteFiles) loadWithin(ctx context.Context, cmd *cobra.Command, paths []string) (*dialects.Loaded, error) {
	host := dialects.Host{Online: f.online}
	if f.online {
		var err error
		if host, err = thisHost(); err != nil {
			return nil, err
		}
		if has := host.HasLink; f.expected != nil {
			host.HasLink = func(link string) bool { return has(link) || f.expected(link) }
		}
	}
	hasLink := host.HasLink
	if f.tableOnly {
		host.HasLink = nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	l, err := dialects.Load(ctx, paths, dialects.Options{Dialect: f.dialect, Host: host, Stdin: cmd.InOrStdin()})
	if err == nil && f.tableOnly && hasLink != nil {
		l.Problems = append(l.Problems, missingLinks(l.Site, hasLink)...)
		config.SortProblems(l.Problems)
	}
	var at *fs.PathError
	if errors.As(err, &at) && err == error(at) {
		err = fmt.Errorf("%s: %w", at.Path, at.Err) // "stat" tells nobody anything
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(err)
	}
	if err != nil && f.dialect != "" && !slices.Contains(dialects.Names(), f.dialect) {
		return nil, usage(cmd, err)
	}
	return l, err
}

// missingLinks are the interfaces of virtual routers that this host does not have.
func missingLinks(s config.Site, has func(string) bool) []config.Problem {
	var ps []config.Problem
	said := map[string]bool{}
	look := func(link string, at ldirector.Source) {
		if link == "" || said[link] || has(link) {
			return
		}
		said[link] = true
		ps = append(ps, config.Problem{File: at.File, Line: at.Line, Severity: config.Warning,
			Text: "interface " + link + ": this host has none of that name; the table does not need it, a daemon with these files would",
			Hint: "see them with: ip link"})
	}
	for _, in := range s.Instances {
		look(in.Link, in.Origin)
		for _, a := range in.Addresses {
			look(a.Link, a.Source)
		}
	}
	return ps
}

// thisHost is what files may ask of the host that they are read on.
func thisHost() (dialects.Host, error) {
	name, err := os.Hostname()
	if err != nil {
		return dialects.Host{}, err
	}
	have, err := snapshot()
	if err != nil {
		return dialects.Host{}, err
	}
	return dialects.Host{
		Node: name, Online: true,
		LinkOf: func(a netip.Addr) string {
			for _, own := range have.Addrs {
				if own.Prefix.Contains(a) && !own.Prefix.IsSingleIP() {
					return own.Link
				}
			}
			return ""
		},
		Own: func(a netip.Addr) bool { return len(have.Holders(a)) > 0 },
		HasLink: func(name string) bool {
			_, has := have.Link(name)
			return has
		},
		User: check.KnownUser,
	}, nil
}

func snapshot() (netif.Snapshot, error) {
	k, err := netif.Here()
	if err != nil {
		return netif.Snapshot{}, err
	}
	defer k.Close()
	return k.Snapshot()
}

// sayAll writes problems as a compiler would, with their severity.
func sayAll(w io.Writer, ps []config.Problem) {
	for _, p := range ps {
		fmt.Fprintln(w, problemText(p))
	}
}

// problemText is FILE:LINE: SEVERITY: TEXT; HINT.
func problemText(p config.Problem) string {
	place := cmp.Or(p.File, "lvsctl")
	if p.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, p.Line)
	}
	s := fmt.Sprintf("%s: %v: %s", place, p.Severity, p.Text)
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// problemJSON is a problem as it is told to programs.
type problemJSON struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Hint     string `json:"hint,omitempty"`
	Rule     string `json:"rule,omitempty"`
}

func problemOf(p config.Problem) problemJSON {
	return problemJSON{File: p.File, Line: p.Line, Severity: p.Severity.String(), Text: p.Text, Hint: p.Hint}
}

// refuseErrors says the problems of files that are about to be used, and refuses
// those with errors.
func refuseErrors(notes io.Writer, l *dialects.Loaded) error {
	sayAll(notes, l.Problems)
	if config.Errors(l.Problems) {
		fmt.Fprintln(notes, "lvsctl: nothing is done: the files have errors")
		return statusError(statusInvalid)
	}
	return nil
}
