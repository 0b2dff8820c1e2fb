package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/realserver"
)

type doctorOptions struct {
	output
	setupFlags
	roles    []string
	probeARP []string
	path     string
	listen   time.Duration
	wait     time.Duration
	fix      bool

	role   doctor.Role  // of roles
	asked  []netip.Addr // of probeARP
	target netip.AddrPort
	setups []realserver.Setup // of setupFlags
}

func doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why the cluster does not work",
		Long: `Doctor examines this host, be it a director, a real server or a client, and tells
what keeps the cluster from working or will: each finding with what was seen, what
follows from it, and the commands that mend it. It changes nothing without --fix.

What a host is shows in its table and its addresses; --role says it where they do
not. On a real server --vip, --method and their like say what should be there, as
with lvsctl realserver; without them it is what realserver up remembers, and the
virtual addresses found on lo and on tunnels.

Doctor asks the network who has each virtual address (one ARP probe or neighbour
solicitation, which teaches nobody anything) and names all who answer. It listens to
the adverts of VRRP for as long as --listen says.

Exit status: 0 nothing found, 6 advice only, 4 something is wrong; 1 when the host
could not be read, 2 for a wrong command line.`,
		Example: `  lvsctl doctor
  lvsctl doctor --listen 5s                      # on a director with VRRP
  lvsctl doctor --probe-arp 192.168.131.252      # who answers, and who should not
  lvsctl doctor --vip 192.168.131.252            # on a real server
  lvsctl doctor --path 192.168.131.252:80        # on a client, the director and a real server at once
  lvsctl doctor --fix`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.read(cmd); err != nil {
				return err
			}
			return examine(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &o)
		},
	}
	o.setupFlags.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.roles, "role", nil, "what this host is: `director|realserver|client`, several with commas")
	f.StringSliceVar(&o.probeARP, "probe-arp", nil, "ask who has this `address`, and print all who answer")
	f.StringVar(&o.path, "path", "", "follow a connection to `VIP:PORT` as far as this host can see")
	f.DurationVar(&o.listen, "listen", 0, "listen for VRRP adverts, or with --path for connections, for this `time`")
	f.DurationVar(&o.wait, "wait", time.Second, "how much `time` to wait for answers of the network")
	f.BoolVar(&o.fix, "fix", false, "take the steps that need no decision of yours, printing each, and look again")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"director", "realserver", "client"}, cobra.ShellCompDirectiveNoFileComp))
	o.output.flags(cmd)
	return cmd
}

// maxListen keeps a mistyped --listen from seeming to hang.
const maxListen = time.Hour

func (o *doctorOptions) read(cmd *cobra.Command) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	for _, name := range o.roles {
		r, err := doctor.ParseRole(name)
		if err != nil {
			return usage(cmd, err)
		}
		o.role |= r
	}
	var err error
	if o.asked, err = parseAddrs("probe-arp", o.probeARP); err != nil {
		return usage(cmd, err)
	}
	if o.path != "" {
		if o.target, err = netip.ParseAddrPort(o.path); err != nil {
			return usage(cmd, fmt.Errorf("--path %q: write it as 192.168.131.252:80 or [2001:db8::252]:80", o.path))
		}
	}
	if o.listen < 0 || o.listen > maxListen {
		return usage(cmd, fmt.Errorf("--listen %v: it is at most %v", o.listen, maxListen))
	}
	if o.wait <= 0 || o.wait > time.Minute {
		return usage(cmd, fmt.Errorf("--wait %v: it is more than 0 and at most a minute", o.wait))
	}
	if o.setupFlags.given(cmd) {
		if o.setups, err = o.setupFlags.read(cmd); err != nil {
			return err
		}
	}
	return nil
}

// doctorAnswer is the JSON of doctor.
type doctorAnswer struct {
	Version  int              `json:"version"`
	Roles    []string         `json:"roles"`
	Rules    int              `json:"rules"` // that were tried
	Worst    string           `json:"worst"` // "", "advice" or "wrong"
	Fixed    []string         `json:"fixed"` // command lines that --fix took
	Findings []doctor.Finding `json:"findings"`
	Unknown  []string         `json:"unknown"` // what could not be examined, and why
	Probes   []doctor.Probe   `json:"probes"`
	Adverts  []advertAnswer   `json:"adverts"`
	Path     []doctor.Hop     `json:"path,omitempty"`
}

// advertAnswer is one sender of adverts.
type advertAnswer struct {
	Link     string       `json:"link"`
	VRID     uint8        `json:"vrid"`
	Source   netip.Addr   `json:"source"`
	Ours     bool         `json:"ours"`
	Version  uint8        `json:"version"`
	Priority uint8        `json:"priority"`
	Adverts  int          `json:"adverts"`
	VIPs     []netip.Addr `json:"vips"`
}

func examine(ctx context.Context, out, notes io.Writer, o *doctorOptions) error {
	k, err := netif.Here()
	if err != nil {
		return err
	}
	defer k.Close()
	facts, err := gather(ctx, k, o)
	if err != nil {
		return err
	}
	a := doctorAnswer{Version: 1, Fixed: []string{}, Findings: doctor.Examine(facts)}
	if o.fix {
		var fixErr error
		if a.Fixed, fixErr = mend(k, a.Findings); len(a.Fixed) > 0 {
			if facts, err = gather(ctx, k, o); err != nil {
				return err
			}
			a.Findings = doctor.Examine(facts)
		}
		if fixErr != nil {
			facts.Unknown = append(facts.Unknown, "mending: "+fixErr.Error())
		}
	}
	if o.target.IsValid() {
		if a.Path, err = follow(ctx, notes, k, facts, o); err != nil {
			return err
		}
	}
	a.fill(facts)
	if err := o.say(out, a, func(w io.Writer) { a.print(w, o) }); err != nil {
		return err
	}
	return a.status()
}

func (a *doctorAnswer) fill(f doctor.Facts) {
	a.Roles = f.Roles.Names()
	for _, r := range doctor.Rules() {
		if r.On&f.Roles != 0 {
			a.Rules++
		}
	}
	a.Worst = string(doctor.Worst(a.Findings))
	a.Unknown = append([]string{}, f.Unknown...)
	a.Probes = append([]doctor.Probe{}, f.Probes...)
	a.Adverts = []advertAnswer{}
	for _, h := range f.Adverts {
		v := h.Advert
		a.Adverts = append(a.Adverts, advertAnswer{h.Link, v.VRID, v.Src, h.Ours, v.Version, v.Priority, h.Count, v.Addrs})
	}
}

func (a *doctorAnswer) status() error {
	broken := slices.ContainsFunc(a.Path, func(h doctor.Hop) bool { return h.Broken })
	switch {
	case a.Worst == string(doctor.Wrong), broken:
		return statusError(statusDiffers)
	case a.Worst != "":
		return statusError(statusAdvice)
	}
	return nil
}

func (a *doctorAnswer) print(w io.Writer, o *doctorOptions) {
	for _, line := range a.Fixed {
		fmt.Fprintf(w, "mended: %s\n", line)
	}
	for _, p := range a.Probes {
		if slices.Contains(o.asked, p.VIP) {
			printProbe(w, p)
		}
	}
	if o.listen > 0 && !o.target.IsValid() {
		a.printAdverts(w, o.listen)
	}
	for _, h := range a.Path {
		fmt.Fprintln(w, h)
	}
	for _, f := range a.Findings {
		printFinding(w, f)
	}
	for _, u := range a.Unknown {
		fmt.Fprintf(w, "unknown: %s\n", u)
	}
	if len(a.Findings) == 0 {
		fmt.Fprintf(w, "ok: nothing found; %d rules for a %s\n", a.Rules, strings.Join(a.Roles, " and a "))
	}
}

func printFinding(w io.Writer, f doctor.Finding) {
	fmt.Fprintf(w, "%s: %s: %s\n  %s\n", f.Severity, f.Rule, f.What, f.Why)
	for i, line := range f.Fix {
		if i == 0 {
			fmt.Fprintln(w, "  mend it with:")
		}
		fmt.Fprintf(w, "    %s\n", line)
	}
}

func printProbe(w io.Writer, p doctor.Probe) {
	if p.Held {
		fmt.Fprintf(w, "probe: %v on %s: this host has it\n", p.VIP, p.Link)
	}
	for _, who := range p.Answers {
		how := "answers"
		if who.Asks {
			how = "asks for it too"
		}
		fmt.Fprintf(w, "probe: %v on %s: %v %s, after %v\n", p.VIP, p.Link, who, how, who.After.Round(10*time.Microsecond))
	}
	if !p.Held && len(p.Answers) == 0 {
		fmt.Fprintf(w, "probe: %v on %s: nobody answers\n", p.VIP, p.Link)
	}
}

func (a *doctorAnswer) printAdverts(w io.Writer, listened time.Duration) {
	if len(a.Adverts) == 0 {
		fmt.Fprintf(w, "adverts: none in %v\n", listened)
	}
	for _, h := range a.Adverts {
		who := h.Source.String()
		if h.Ours {
			who += " (this host)"
		}
		fmt.Fprintf(w, "adverts: VRID %d on %s: %s, version %d, priority %d, %d in %v, for %s\n", h.VRID, h.Link, who, h.Version, h.Priority, h.Adverts, listened,
			cmp.Or(strings.Trim(fmt.Sprint(h.VIPs), "[]"), "nothing"))
	}
}

// mend takes the steps of all findings, each step once. Those of one finding rest on
// one another, an address on the silence of ARP, so that they stop at the first that
// is refused; the next finding's go on.
func mend(k *netif.Kernel, found []doctor.Finding) (lines []string, err error) {
	lines = []string{}
	taken := map[string]bool{}
	var errs []error
	for _, f := range found {
		done, err := netif.InOrder(k, slices.DeleteFunc(slices.Clone(f.Steps), func(s netif.Step) bool { return taken[s.String()] }))
		errs = append(errs, err)
		for _, s := range done {
			taken[s.String()] = true
			lines = append(lines, s.String())
		}
	}
	return lines, errors.Join(errs...)
}
