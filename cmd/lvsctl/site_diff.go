package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// plan is what has to change so that the table is what the files want.
type plan struct {
	have, want lvs.Table
	changes    []lvs.Change
	// alone are services that no file has, and that stay.
	alone    []lvs.Key
	virtuals map[lvs.Key]ldirector.Virtual
}

// planFor compares. Without prune, services that are in no file are somebody
// else's.
func planFor(site config.Site, have lvs.Table, prune bool) plan {
	p := plan{have: have, want: site.Table(), virtuals: map[lvs.Key]ldirector.Virtual{}}
	for _, v := range site.Virtuals {
		p.virtuals[v.Service.Key] = v
	}
	own := func(k lvs.Key) bool {
		_, ours := p.virtuals[k]
		return prune || ours
	}
	p.changes = lvs.Diff(have, p.want, own)
	for _, e := range have {
		if !own(e.Key) {
			p.alone = append(p.alone, e.Key)
		}
	}
	return p
}

// changeJSON is a change as it is told to programs.
type changeJSON struct {
	Op     string `json:"op"` // add, edit, delete
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
}

// diffAnswer is the JSON of diff, and of apply --dry-run.
type diffAnswer struct {
	Version   int          `json:"version"`
	Same      bool         `json:"same"`
	Changes   []changeJSON `json:"changes"`
	LeftAlone []string     `json:"left_alone"`
}

func (p plan) answer() diffAnswer {
	a := diffAnswer{Version: 1, Same: len(p.changes) == 0, Changes: []changeJSON{}, LeftAlone: []string{}}
	for _, c := range p.changes {
		at := p.place(c)
		a.Changes = append(a.Changes, changeJSON{opWord(c.Op), ipvsadm.Line(c), p.reason(c), at.File, at.Line})
	}
	for _, k := range p.alone {
		a.LeftAlone = append(a.LeftAlone, k.String())
	}
	return a
}

func opWord(op lvs.Op) string {
	switch op {
	case lvs.AddService, lvs.AddDestination:
		return "add"
	case lvs.EditService, lvs.EditDestination:
		return "edit"
	}
	return "delete"
}

// place is where a file asks for what a change makes; nowhere for what goes.
func (p plan) place(c lvs.Change) ldirector.Source {
	v, ok := p.virtuals[c.Service.Key]
	if !ok || c.Op == lvs.DeleteDestination {
		return ldirector.Source{}
	}
	if c.Op == lvs.AddDestination || c.Op == lvs.EditDestination {
		for _, m := range v.Members {
			if m.Destination.Addr == c.Destination.Addr {
				return m.Source
			}
		}
	}
	return v.Source
}

// reason says why a change is needed.
func (p plan) reason(c lvs.Change) string {
	switch c.Op {
	case lvs.AddService, lvs.AddDestination:
		return "not in the table"
	case lvs.EditService:
		if was, ok := p.was(c.Service.Key); ok {
			return serviceDelta(was.Service, c.Service)
		}
	case lvs.EditDestination:
		if was, ok := p.was(c.Service.Key); ok {
			if i, there := was.Find(c.Destination.Addr); there {
				return destinationDelta(was.Destinations[i], c.Destination)
			}
		}
	case lvs.DeleteDestination:
		if v, ok := p.virtuals[c.Service.Key]; ok {
			return goes(v, c.Destination.Addr)
		}
	}
	return "in no file"
}

func (p plan) was(k lvs.Key) (lvs.Entry, bool) {
	i, ok := p.have.Find(k)
	if !ok {
		return lvs.Entry{}, false
	}
	return p.have[i], true
}

// goes says why a server of a service goes.
func goes(v ldirector.Virtual, addr netip.AddrPort) string {
	for _, m := range v.Members {
		if m.Destination.Addr == addr && m.Off {
			return "kept out by " + config.Place(m.Source)
		}
	}
	return "in no file"
}

func serviceDelta(was, is lvs.Service) string {
	var d deltas
	d.add("scheduler", was.Scheduler, is.Scheduler)
	d.add("persistence", persistence(was), persistence(is))
	d.add("netmask", fmt.Sprintf("%#x", was.Netmask), fmt.Sprintf("%#x", is.Netmask))
	d.add("engine", cmp.Or(was.PE, "none"), cmp.Or(is.PE, "none"))
	d.add("flags", fmt.Sprintf("%#x", uint32(was.Flags&^lvs.Persistent)), fmt.Sprintf("%#x", uint32(is.Flags&^lvs.Persistent)))
	return d.String()
}

func persistence(s lvs.Service) string {
	if s.Flags&lvs.Persistent == 0 {
		return "off"
	}
	return fmt.Sprintf("%ds", s.Timeout)
}

func destinationDelta(was, is lvs.Destination) string {
	var d deltas
	d.add("weight", was.Weight, is.Weight)
	d.add("method", was.Method, is.Method)
	d.add("upper threshold", was.Upper, is.Upper)
	d.add("lower threshold", was.Lower, is.Lower)
	d.add("tunnel", tunnelText(was.Tunnel), tunnelText(is.Tunnel))
	return d.String()
}

func tunnelText(t lvs.TunnelInfo) string {
	return fmt.Sprintf("%v port %d flags %d", t.Type, t.Port, t.Flags)
}

// deltas are what changes, in words.
type deltas []string

func (d *deltas) add(what string, was, is any) {
	if was != is {
		*d = append(*d, fmt.Sprintf("%s %v -> %v", what, was, is))
	}
}

func (d deltas) String() string { return strings.Join(d, ", ") }

// print writes the changes in ipvsadm's words, the reasons behind them.
func (p plan) print(w io.Writer, colour bool) {
	a := p.answer()
	width := 0
	for _, c := range a.Changes {
		width = max(width, min(len(c.Rule), 70))
	}
	for _, c := range a.Changes {
		sign, code := map[string]string{"add": "+", "edit": "~", "delete": "-"}[c.Op], map[string]string{"add": green, "edit": yellow, "delete": red}[c.Op]
		place := config.Place(ldirector.Source{File: c.File, Line: c.Line})
		if place != "" {
			place += ": "
		}
		line := fmt.Sprintf("%s %-*s  # %s%s", sign, width, c.Rule, place, c.Reason)
		fmt.Fprintln(w, painted(harmless(line), code, colour))
	}
}

// Colours of a terminal (ECMA-48, SGR).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func painted(text, code string, colour bool) string {
	if !colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// onColour: for a person at a terminal, who may not want it (no-color.org).
func onColour() bool {
	return onTerminal(1) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func onTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// note says which services stay as they are.
func (p plan) note(w io.Writer) {
	if len(p.alone) == 0 {
		return
	}
	var names []string
	for _, k := range p.alone {
		names = append(names, k.String())
	}
	if len(names) > 3 {
		names = append(names[:3], "...")
	}
	fmt.Fprintf(w, "lvsctl: left alone, in no file: %s; --prune removes what is in no file\n", strings.Join(names, ", "))
}

type diffOptions struct {
	output
	siteFiles
	against string
	prune   bool
}

func diffCommand() *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff FILE...",
		Short: "Compare the table with what files want",
		Long: `Diff compares the kernel's table with the one that files want, and prints what
would have to change: + is added, ~ is changed, - is removed, in the words of
ipvsadm, with the place in the files and the reason. It changes nothing. The exit
status is 0 if nothing differs and 4 if something does.

Files are in any dialect, and several make one site; see lvsctl validate. Where
they have checks, the table wanted is the one with all servers well: each is in
with its weight. A server that a running daemon has taken out is a difference.

Services that no file has are left alone, unless --prune is given.`,
		Example: `  lvsctl diff /etc/ha.d/ldirectord.cf
  lvsctl diff --prune keepalived.conf
  ssh lb2 ipvsadm -Sn | lvsctl diff --against - /etc/ha.d`,
		GroupID: "own",
		Args:    someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return o.run(cmd, args)
		},
	}
	cmd.Flags().StringVar(&o.against, "against", "", "compare with the rules in a `file` (ipvsadm -S), not with the kernel's table")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "services that no file has are to go")
	o.siteFiles.flags(cmd)
	o.output.flags(cmd)
	return cmd
}

func (o *diffOptions) run(cmd *cobra.Command, args []string) error {
	o.online, o.tableOnly = o.against == "", true
	l, err := o.load(cmd, args)
	if err != nil {
		return err
	}
	if err := refuseErrors(cmd.ErrOrStderr(), l); err != nil {
		return err
	}
	have, err := o.have(cmd)
	if err != nil {
		return err
	}
	p := planFor(l.Site, have, o.prune)
	if err := o.sayAsIs(cmd.OutOrStdout(), p.answer(), func(w io.Writer) { p.print(w, onColour()) }); err != nil {
		return err
	}
	p.note(cmd.ErrOrStderr())
	if len(p.changes) > 0 {
		return statusError(statusDiffers)
	}
	return nil
}

// have is the table to compare with.
func (o *diffOptions) have(cmd *cobra.Command) (lvs.Table, error) {
	if o.against == "" {
		k, err := kernel.Open(kernel.ModprobeStderr(os.Stderr))
		if err != nil {
			return nil, err
		}
		defer k.Close()
		return k.Read()
	}
	l, err := dialects.Load(cmd.Context(), []string{o.against}, dialects.Options{Dialect: "rules", Stdin: cmd.InOrStdin()})
	if err != nil {
		return nil, err
	}
	if err := refuseErrors(cmd.ErrOrStderr(), l); err != nil {
		return nil, err
	}
	return l.Site.Table(), nil
}
