package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/config/lint"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
	"github.com/lvsctl/lvsctl/vrrp/wire"
)

type validateOptions struct {
	output
	siteFiles
	offline, strict bool
	peers           []string
	hosts           string
	listen          time.Duration
}

func validateCommand() *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Find what is wrong in files",
		Long: `Validate reads files and says all that is wrong in them: what the program they
were written for would refuse or misread, what the files contradict each other in,
and what is allowed and most likely not meant.

Each file may be in any dialect, which its content tells: ldirectord.cf,
keepalived.conf, heartbeat's ha.cf, haresources and authkeys, or the rules of
ipvsadm -S, also those in a shell script. A folder such as /etc/ha.d is read as
heartbeat reads it. Several files make one site.

Nothing but the files is looked at: no interface, no name server, no kernel. With
--online this host is asked too: whether it has the interfaces, whether a real
server is this director, whether a virtual address is somebody's own already, and
whether /etc/hosts tells all names apart.

With --peer the files of the other director are held against these: a password, an
interval or an address that is not the same makes two masters.

The exit status is 0 without errors and 5 with some; --strict takes warnings for
errors.`,
		Example: `  lvsctl validate /etc/keepalived/keepalived.conf
  lvsctl validate --online --listen 4s /etc/ha.d
  lvsctl validate keepalived.conf --peer lb2/keepalived.conf
  lvsctl validate --strict --json site.rules`,
		GroupID: "own",
		Args:    someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.online && o.offline {
				return usage(cmd, fmt.Errorf("--online and --offline exclude each other"))
			}
			if o.listen != 0 && (!o.online || o.listen < 0 || o.listen > time.Minute) {
				return usage(cmd, fmt.Errorf("--listen %v: it goes with --online, and for a minute at most", o.listen))
			}
			return o.run(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&o.online, "online", false, "ask this host too: its name, interfaces and addresses, and look names up")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "look at nothing but the files; this is what happens anyway")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "take warnings for errors")
	cmd.Flags().StringSliceVar(&o.peers, "peer", nil, "`files` of the other director, to compare these with")
	cmd.Flags().DurationVar(&o.listen, "listen", 0, "with --online: listen for this `time` (4s) to who speaks VRRP on the interfaces")
	cmd.Flags().StringVar(&o.hosts, "hosts", "", "look at this hosts `file` too; with --online at /etc/hosts")
	o.siteFiles.flags(cmd)
	o.output.flags(cmd)
	return cmd
}

// validateAnswer is the JSON of validate.
type validateAnswer struct {
	Version  int           `json:"version"`
	OK       bool          `json:"ok"`
	Files    []fileJSON    `json:"files"`
	Problems []problemJSON `json:"problems"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Services int           `json:"services"`
	Servers  int           `json:"servers"`
	Routers  int           `json:"virtual_routers"`
}

type fileJSON struct {
	Name    string `json:"name"`
	Dialect string `json:"dialect"`
}

func (o *validateOptions) run(cmd *cobra.Command, args []string) error {
	l, err := o.load(cmd, args)
	if err != nil {
		return err
	}
	problems, err := o.problems(cmd, l)
	if err != nil {
		return err
	}
	a := o.answer(l, problems)
	if err := o.say(cmd.OutOrStdout(), a, func(w io.Writer) { printValidate(w, a, problems) }); err != nil {
		return err
	}
	if !a.OK {
		return statusError(statusInvalid)
	}
	return nil
}

// problems are those of the files and those that the rules find, sorted.
func (o *validateOptions) problems(cmd *cobra.Command, l *dialects.Loaded) ([]lint.Finding, error) {
	var all []lint.Finding
	for _, p := range slices.Concat(l.Problems, l.Idle) {
		all = append(all, lint.Finding{Problem: p})
	}
	all = append(all, unsaid(l, lint.Site(l.Site))...)
	if len(o.peers) > 0 {
		peer, err := o.load(cmd, o.peers)
		if err != nil {
			return nil, err
		}
		all = append(all, againstPeer(l, peer)...)
	}
	if o.online {
		have, err := snapshot()
		if err != nil {
			return nil, err
		}
		all = append(all, lint.WithHost(l.Site, hostOf(have))...)
		o.hosts = cmp.Or(o.hosts, "/etc/hosts")
	}
	if o.listen > 0 {
		heard, err := listen(cmd.Context(), l.Site, o.listen)
		if err != nil {
			return nil, err
		}
		all = append(all, lint.Listening(l.Site, heard)...)
	}
	if o.hosts != "" {
		text, err := daemon.ReadFile(o.hosts, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, lint.Hosts(o.hosts, text)...)
	}
	slices.SortStableFunc(all, func(a, b lint.Finding) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return all, nil
}

// againstPeer holds the files against those of the other director. What is wrong in
// those is said over there, unless there is nothing else in them.
func againstPeer(l, peer *dialects.Loaded) []lint.Finding {
	if len(peer.Site.Instances)+len(peer.Site.Virtuals) > 0 || !config.Errors(peer.Problems) {
		return lint.Pair(l.Site, peer.Site)
	}
	var all []lint.Finding
	for _, p := range peer.Problems {
		all = append(all, lint.Finding{Problem: p})
	}
	return all
}

// maxHeard bounds what is kept of a network that talks without end.
const maxHeard = 10000

// listen hears who speaks VRRP where the site's instances are.
func listen(ctx context.Context, s config.Site, howLong time.Duration) ([]lint.Heard, error) {
	ctx, cancel := context.WithTimeout(ctx, howLong)
	defer cancel()
	type ear struct {
		link string
		ipv6 bool
	}
	ears := map[ear]bool{}
	heard := make(chan lint.Heard)
	var listening sync.WaitGroup
	for _, in := range s.Instances {
		e := ear{in.Link, in.IPv6}
		if ears[e] || in.Link == "" {
			continue
		}
		ears[e] = true
		socket, err := wire.Open(wire.Options{Link: e.link, IPv6: e.ipv6})
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", e.link, err)
		}
		defer socket.Close()
		if err := socket.Filter(allVRIDs()); err != nil {
			return nil, fmt.Errorf("listening on %s: %w", e.link, err)
		}
		listening.Go(func() { hear(ctx, e.link, socket, heard) })
	}
	go func() {
		listening.Wait()
		close(heard)
	}()
	var all []lint.Heard
	for h := range heard {
		if len(all) < maxHeard {
			all = append(all, h)
		}
	}
	return all, nil
}

func hear(ctx context.Context, link string, from vrrp.Transport, to chan<- lint.Heard) {
	for {
		select {
		case <-ctx.Done():
			return
		case a, open := <-from.Recv():
			if !open {
				return
			}
			to <- lint.Heard{Link: link, Advert: a}
		}
	}
}

func allVRIDs() []uint8 {
	all := make([]uint8, 255)
	for i := range all {
		all[i] = uint8(i + 1)
	}
	return all
}

// unsaid leaves out what reading the file has said in its own words.
func unsaid(l *dialects.Loaded, found []lint.Finding) []lint.Finding {
	in := map[string]string{}
	for _, f := range l.Files {
		in[f.Name] = f.Dialect
	}
	return slices.DeleteFunc(found, func(f lint.Finding) bool { return dialects.Looks(in[f.File], f.Rule) })
}

// hostOf is what the rules want to know of a host.
func hostOf(have netif.Snapshot) lint.Host {
	var h lint.Host
	for _, l := range have.Links {
		h.Links = append(h.Links, l.Name)
	}
	for _, a := range have.Addrs {
		h.Addrs = append(h.Addrs, lint.Addr{Link: a.Link, Prefix: a.Prefix})
	}
	return h
}

func (o *validateOptions) answer(l *dialects.Loaded, problems []lint.Finding) validateAnswer {
	a := validateAnswer{Version: 1, Files: []fileJSON{}, Problems: []problemJSON{},
		Services: len(l.Site.Virtuals), Routers: len(l.Site.Instances)}
	for _, f := range l.Files {
		a.Files = append(a.Files, fileJSON{f.Name, f.Dialect})
	}
	for _, p := range problems {
		j := problemOf(p.Problem)
		j.Rule = p.Rule
		a.Problems = append(a.Problems, j)
		if p.Severity == config.Error {
			a.Errors++
		} else {
			a.Warnings++
		}
	}
	for _, v := range l.Site.Virtuals {
		a.Servers += len(v.Members)
	}
	a.OK = a.Errors == 0 && (a.Warnings == 0 || !o.strict)
	return a
}

func printValidate(w io.Writer, a validateAnswer, problems []lint.Finding) {
	for _, p := range problems {
		rule := ""
		if p.Rule != "" {
			rule = " [" + p.Rule + "]"
		}
		fmt.Fprintf(w, "%s%s\n", problemText(p.Problem), rule)
	}
	verdict := "ok"
	if !a.OK {
		verdict = "not ok"
	}
	fmt.Fprintf(w, "%s: %s, %s; %s, %s, %s in %s\n", verdict,
		count(a.Errors, "error"), count(a.Warnings, "warning"), count(a.Services, "virtual service"),
		count(a.Servers, "real server"), count(a.Routers, "virtual router"), count(len(a.Files), "file"))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
