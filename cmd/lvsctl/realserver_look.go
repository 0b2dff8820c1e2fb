package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/realserver"
)

type lookOptions struct {
	output
	setupFlags
}

// lookAnswer is the JSON of status and check.
type lookAnswer struct {
	Version int                 `json:"version"`
	OK      bool                `json:"ok"`
	Setups  []realserver.Status `json:"setups"`
}

// realserverLook is status or check: the same look, one for people and one for
// programs.
func realserverLook(verb string) *cobra.Command {
	var o lookOptions
	cmd := &cobra.Command{
		Use:   verb,
		Short: map[string]string{"status": "Show what is up and what is missing", "check": "Say by the exit status whether all is up"}[verb],
		Long: map[string]string{
			"status": `Status shows each virtual address, its device and route, whether ARP is silent, and
the command for whatever is missing. It looks at what up has remembered, or at what
the options say, and changes nothing.`,
			"check": `Check is status for programs: it exits with 0 when nothing is missing, with 4 when
something is, and with 3 when nothing is known to be up and no option says what
should be. It prints what is missing, and changes nothing.`,
		}[verb],
		Example: "  lvsctl realserver " + verb + "\n  lvsctl realserver " + verb + " --vip 192.168.131.252 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			var asked []realserver.Setup
			if o.given(cmd) {
				setups, err := o.read(cmd)
				if err != nil {
					return err
				}
				asked = setups
			}
			return lookAt(cmd.OutOrStdout(), cmd.ErrOrStderr(), asked, &o.output, verb == "check")
		},
	}
	o.setupFlags.flags(cmd)
	o.output.flags(cmd)
	return cmd
}

func lookAt(out, notes io.Writer, asked []realserver.Setup, o *output, check bool) error {
	store, err := openStore(false)
	if err != nil {
		return err
	}
	store.tell(notes)
	if len(asked) == 0 {
		asked = store.state.Setups()
	}
	if len(asked) == 0 {
		fmt.Fprintln(notes, "lvsctl: realserver: nothing is up; name what should be with --vip or --from")
		return statusError(statusNotFound)
	}
	k, have, err := look()
	if err != nil {
		return err
	}
	defer k.Close()
	files, err := realserver.ReadLeftovers(os.DirFS("/"))
	if err != nil {
		fmt.Fprintf(notes, "lvsctl: looking for what others left: %v\n", err)
	}
	a := lookAnswer{Version: 1, OK: true, Setups: []realserver.Status{}}
	for _, s := range asked {
		st := realserver.Look(have, s)
		st.Findings = append(st.Findings, realserver.Leftovers(files, s)...)
		st.Persistent = persistent(store.state, s)
		st.OK = st.OK && !realserver.Broken(st.Findings)
		a.OK = a.OK && st.OK
		a.Setups = append(a.Setups, st)
	}
	if err := o.sayAsIs(out, a, func(w io.Writer) { printLook(w, a, check, onColour()) }); err != nil {
		return err
	}
	if check && !a.OK {
		return statusError(statusDiffers)
	}
	return nil
}

func printLook(w io.Writer, a lookAnswer, onlyMissing, colour bool) {
	for _, st := range a.Setups {
		for _, v := range st.VIPs {
			if !onlyMissing || !v.OK {
				printVIP(w, st, v, colour)
			}
		}
		for _, s := range st.Settings {
			if !s.OK {
				fmt.Fprintf(w, "%s: %s\n", painted("missing", red, colour), s.Line)
			}
		}
		for _, f := range st.Findings {
			if !onlyMissing || f.Level == realserver.Wrong {
				fmt.Fprintln(w, f)
			}
		}
		if !onlyMissing && !st.Persistent {
			fmt.Fprintln(w, "note: a restart undoes it; lvsctl realserver up --persist brings it back")
		}
	}
}

func printVIP(w io.Writer, st realserver.Status, v realserver.VIPStatus, colour bool) {
	place := v.Interface
	if v.Label != "" {
		place = v.Label
	}
	if place != "" {
		place = " on " + place
	}
	verdict := painted("ok", green, colour)
	if !v.OK {
		verdict = painted("not ok", red, colour)
	}
	arp := "silent"
	if !v.Silent {
		arp = "answers ARP"
	}
	fmt.Fprintf(w, "%s: %v%s, method %s, %s\n", verdict, v.VIP, place, st.Method, arp)
	for _, line := range v.Missing {
		fmt.Fprintf(w, "%s: %s\n", painted("missing", red, colour), line)
	}
}
