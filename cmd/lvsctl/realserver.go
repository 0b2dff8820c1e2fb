package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/realserver"
)

func realserverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "realserver",
		Short: "Make this host a real server",
		Long: `Realserver gives this host what a real server needs: the virtual addresses,
routes and tunnels, and silence about those addresses on the network.

  dr   The director passes packets on by their Ethernet address (ipvsadm -g). The
       real server has the virtual address on lo, and answers the client itself.
       It must not answer when the network asks who has the address: see
       lvsctl-realserver-dr(8).
  tun  The director wraps packets (ipvsadm -i), in IP, GUE or GRE. The real server
       unwraps them and answers the client itself: lvsctl-realserver-tun(8).
  nat  The director rewrites packets (ipvsadm -m). The real server needs the
       director as its default gateway and nothing else: lvsctl-realserver-nat(8).`,
		Example: `  lvsctl realserver up --vip 192.168.131.252 --dry-run   # what would be done
  lvsctl realserver up --vip 192.168.131.252 --persist
  lvsctl realserver status`,
		GroupID: "own",
		Args:    knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(realserverUp(), realserverDown(), realserverRun(), realserverLook("status"), realserverLook("check"))
	return cmd
}

// setupFlags are the flags that say a setup.
type setupFlags struct {
	vips, gateways []string
	from           []string
	method, tunnel string
	setup          realserver.Setup
}

func (f *setupFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVar(&f.vips, "vip", nil, "a virtual `address`, IPv4 or IPv6; several with commas")
	fl.StringSliceVar(&f.from, "from", nil, "the director's configuration `file`: the virtual addresses, methods and tunnels of the services in which this host is a real server")
	fl.StringVar(&f.method, "method", "dr", "how the director forwards: `dr|tun|nat`")
	fl.StringVar(&f.setup.Interface, "interface", "", "the `device` of the virtual addresses; lo for dr, the tunnel's own for tun")
	fl.StringVar(&f.setup.Label, "label", "", "the first IPv4 address's `label`; lo:0 for dr")
	fl.StringVar(&f.tunnel, "tunnel", "", "what tun unwraps: `ipip|gue|gre`; ipip unless told otherwise")
	fl.Uint16Var(&f.setup.Port, "port", 0, "the UDP `port` of tunnel gue; 6080 unless told otherwise")
	fl.StringSliceVar(&f.gateways, "gateway", nil, "nat: the director's inside `address`, to be the default gateway")
	fl.BoolVar(&f.setup.NoRoute, "no-route", false, "leave out the host route to each IPv4 address")
	fl.BoolVar(&f.setup.KeepARP, "keep-arp", false, "leave the ARP settings alone")
	_ = cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions([]string{"dr", "tun", "nat"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("tunnel", cobra.FixedCompletions([]string{"ipip", "gue", "gre"}, cobra.ShellCompDirectiveNoFileComp))
}

// read turns the flags into setups that make sense: one, or with --from one for
// each way in which the director hands packets to this host.
func (f *setupFlags) read(cmd *cobra.Command) ([]realserver.Setup, error) {
	if len(f.from) > 0 {
		return f.readFiles(cmd)
	}
	s, err := f.base(cmd)
	if err != nil {
		return nil, err
	}
	return []realserver.Setup{s}, checkSetups(cmd, s)
}

// base is the setup that the flags say, as far as they say one.
func (f *setupFlags) base(cmd *cobra.Command) (realserver.Setup, error) {
	s := f.setup
	s.Method, s.Tunnel = realserver.Method(f.method), realserver.Tunnel(f.tunnel)
	var err error
	if s.VIPs, err = parseAddrs("vip", f.vips); err != nil {
		return s, usage(cmd, err)
	}
	if s.Gateways, err = parseAddrs("gateway", f.gateways); err != nil {
		return s, usage(cmd, err)
	}
	return s, nil
}

func checkSetups(cmd *cobra.Command, setups ...realserver.Setup) error {
	for _, s := range setups {
		if err := s.Check(); err != nil {
			return usage(cmd, fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
	}
	return nil
}

// given is whether the command line says a setup at all.
func (f *setupFlags) given(cmd *cobra.Command) bool {
	return slices.ContainsFunc([]string{"vip", "method", "gateway", "from"}, cmd.Flags().Changed)
}

func parseAddrs(flag string, words []string) ([]netip.Addr, error) {
	var ips []netip.Addr
	for _, word := range words {
		ip, err := netip.ParseAddr(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("--%s %q: not an IP address; write it as 192.168.131.252 or 2001:db8::252", flag, word)
		}
		ips = append(ips, ip)
	}
	return ips, nil
}

// stepsAnswer is the JSON of up and down.
type stepsAnswer struct {
	Version  int                  `json:"version"`
	DryRun   bool                 `json:"dry_run"`
	Changed  bool                 `json:"changed"`
	Steps    []string             `json:"steps"` // command lines, those that were taken
	Files    []string             `json:"files"` // that were written or removed
	Findings []realserver.Finding `json:"findings"`
}

func newAnswer(dryRun bool) stepsAnswer {
	return stepsAnswer{Version: 1, DryRun: dryRun, Steps: []string{}, Files: []string{}, Findings: []realserver.Finding{}}
}

type upOptions struct {
	output
	setupFlags
	dryRun  bool
	persist string
}

func realserverUp() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Raise virtual addresses",
		Long: `Up gives this host the virtual addresses, so that ARP is silent before the first
of them exists. What is there already is left as it is: a second up does nothing.
What was changed is remembered, and down takes it back. With --from the director's
own file says what this host needs; lvsctl realserver run goes on to follow it.

Each line of the answer is the command that the step stands for.`,
		Example: `  lvsctl realserver up --vip 192.168.131.252,2001:db8::252
  lvsctl realserver up --vip 192.168.131.252 --method tun --tunnel gue --port 6080
  lvsctl realserver up --method nat --gateway 10.0.0.1
  lvsctl realserver up --from /etc/ha.d/ldirectord.cf
  lvsctl realserver up --vip 192.168.131.252 --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			setups, err := o.read(cmd)
			if err != nil {
				return err
			}
			if o.persist != "" && !slices.Contains(persistFormats, o.persist) {
				return usage(cmd, fmt.Errorf("--persist %q: there is %s", o.persist, strings.Join(persistFormats, ", ")))
			}
			return raise(cmd.OutOrStdout(), cmd.ErrOrStderr(), setups, o)
		},
	}
	o.setupFlags.flags(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the commands, and do nothing")
	cmd.Flags().StringVar(&o.persist, "persist", "", "after a restart too: `systemd` writes a unit and a sysctl file; ifcfg, ifupdown and networkd print what to write")
	cmd.Flags().Lookup("persist").NoOptDefVal = "systemd"
	o.output.flags(cmd)
	return cmd
}

var persistFormats = []string{"systemd", "ifcfg", "ifupdown", "networkd"}

func raise(out, notes io.Writer, setups []realserver.Setup, o upOptions) error {
	store, err := openStore(!o.dryRun)
	if err != nil {
		return err
	}
	defer store.close()
	store.tell(notes)
	k, have, err := look()
	if err != nil {
		return err
	}
	defer k.Close()
	a := newAnswer(o.dryRun)
	for _, s := range setups {
		if err := store.state.Conflict(s); err != nil {
			return err
		}
		a.Findings = append(a.Findings, realserver.Inspect(have, s)...)
	}
	if err := refuse(a.Findings); err != nil {
		return err
	}
	if o.persist != "" && o.persist != "systemd" {
		return printPersist(out, realserver.Format(o.persist), remembered(store.state, have, setups))
	}
	f := &fitter{host: k, store: store, have: have, dryRun: o.dryRun}
	for _, s := range setups {
		if err = f.raise(s, true); err != nil {
			break
		}
	}
	a.add(f.taken)
	if err == nil && o.persist == "systemd" {
		a.Files, err = persist(store.state, o.dryRun)
	}
	a.Changed = !o.dryRun && len(a.Steps)+len(a.Files) > 0
	return answer(out, &o.output, a, err)
}

// remembered is the state once all setups are up.
func remembered(st realserver.State, have netif.Snapshot, setups []realserver.Setup) realserver.State {
	for _, s := range setups {
		st = realserver.Remember(st, have, s)
	}
	return st
}

// answer tells what was done, also when something failed after it.
func answer(out io.Writer, o *output, a stepsAnswer, err error) error {
	text := func(w io.Writer) {
		if err == nil || len(a.Steps)+len(a.Files) > 0 { // else "nothing to do" would be a lie
			printSteps(w, a)
		}
	}
	if sayErr := o.say(out, a, text); err == nil {
		err = sayErr
	}
	return err
}

func (a *stepsAnswer) add(steps []netif.Step) {
	for _, s := range steps {
		a.Steps = append(a.Steps, s.String())
	}
}

func printSteps(w io.Writer, a stepsAnswer) {
	for _, line := range a.Steps {
		fmt.Fprintln(w, line)
	}
	for _, file := range a.Files {
		fmt.Fprintf(w, "# %s\n", file)
	}
	if len(a.Steps)+len(a.Files) == 0 {
		fmt.Fprintln(w, "# nothing to do")
	}
}

// refuse keeps us from making a host worse.
func refuse(findings []realserver.Finding) error {
	var wrong []string
	for _, f := range findings {
		if f.Level != realserver.Wrong {
			continue
		}
		text := f.What + ": " + f.Why
		if f.Fix != "" {
			text += "; mend it with: " + f.Fix
		}
		wrong = append(wrong, text)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(wrong, "\n"))
}

// look opens the kernel and reads the host.
func look() (*netif.Kernel, netif.Snapshot, error) {
	k, err := netif.Here()
	if err != nil {
		return nil, netif.Snapshot{}, err
	}
	have, err := k.Snapshot()
	if err != nil {
		k.Close()
		return nil, have, fmt.Errorf("reading addresses, routes and settings: %w", err)
	}
	return k, have, nil
}

// printPersist prints files for those who keep them elsewhere. It changes nothing.
func printPersist(out io.Writer, format realserver.Format, st realserver.State) error {
	files, err := realserver.Persist(format, "", st.Setups())
	if err != nil {
		return err
	}
	for i, f := range files {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "# %s\n%s", f.Path, f.Text)
	}
	return nil
}

type downOptions struct {
	output
	setupFlags
	all    bool
	dryRun bool
}

func realserverDown() *cobra.Command {
	var o downOptions
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take virtual addresses away again",
		Long: `Down takes back exactly what up did: addresses and routes that up found there
stay, settings get the value again that they had. An address goes before ARP is
loosened. What several addresses need stays until the last of them goes.

When nothing is known of an address, because the file that remembers was lost, the
address and its route go and ARP stays silent, which does no harm.`,
		Example: `  lvsctl realserver down --vip 192.168.131.252
  lvsctl realserver down --all --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			setups, err := o.which(cmd)
			if err != nil {
				return err
			}
			return lower(cmd.OutOrStdout(), cmd.ErrOrStderr(), setups, o)
		},
	}
	o.setupFlags.flags(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "everything that up has done")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the commands, and do nothing")
	o.output.flags(cmd)
	return cmd
}

// which is what is to go: all, all of a method, or some addresses.
func (o *downOptions) which(cmd *cobra.Command) ([]realserver.Setup, error) {
	switch {
	case o.all && o.given(cmd):
		return nil, usage(cmd, fmt.Errorf("--all is everything: name nothing else with it"))
	case o.all:
		return []realserver.Setup{{}}, nil
	case !o.given(cmd):
		return nil, usage(cmd, fmt.Errorf("what shall go? name addresses with --vip or --from, or --all"))
	case len(o.vips)+len(o.from) == 0: // of a method, all
		s := realserver.Setup{Method: realserver.Method(o.method)}
		if !slices.Contains([]realserver.Method{realserver.DR, realserver.TUN, realserver.NAT}, s.Method) {
			return nil, usage(cmd, fmt.Errorf("method %q: there is dr, tun and nat", s.Method))
		}
		return []realserver.Setup{s}, nil
	}
	return o.read(cmd)
}

func lower(out, notes io.Writer, setups []realserver.Setup, o downOptions) error {
	store, err := openStore(!o.dryRun)
	if err != nil {
		return err
	}
	defer store.close()
	store.tell(notes)
	k, have, err := look()
	if err != nil {
		return err
	}
	defer k.Close()
	f := &fitter{host: k, store: store, have: have, dryRun: o.dryRun}
	for _, s := range setups {
		if err = f.down(s); err != nil {
			break
		}
	}
	a := newAnswer(o.dryRun)
	a.add(f.taken)
	if err == nil {
		a.Files, err = unpersist(store.state, o.dryRun)
	}
	a.Changed = !o.dryRun && len(a.Steps)+len(a.Files) > 0
	return answer(out, &o.output, a, err)
}
