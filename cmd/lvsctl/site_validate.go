package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
)

type validateOptions struct {
	output
	siteFiles
	offline, strict bool
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
--online this host is asked too.

The exit status is 0 without errors and 5 with some; --strict takes warnings for
errors.`,
		Example: `  lvsctl validate /etc/keepalived/keepalived.conf
  lvsctl validate --online /etc/ha.d
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
			return o.run(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&o.online, "online", false, "ask this host too: its name, interfaces and addresses, and look names up")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "look at nothing but the files; this is what happens anyway")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "take warnings for errors")
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
	problems := l.Problems
	config.SortProblems(problems)
	a := o.answer(l, problems)
	if err := o.say(cmd.OutOrStdout(), a, func(w io.Writer) { printValidate(w, a, problems) }); err != nil {
		return err
	}
	if !a.OK {
		return statusError(statusInvalid)
	}
	return nil
}

func (o *validateOptions) answer(l *dialects.Loaded, problems []config.Problem) validateAnswer {
	a := validateAnswer{Version: 1, Files: []fileJSON{}, Problems: problemsJSON(problems),
		Services: len(l.Site.Virtuals), Routers: len(l.Site.Instances)}
	for _, f := range l.Files {
		a.Files = append(a.Files, fileJSON(f))
	}
	for _, p := range problems {
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

func printValidate(w io.Writer, a validateAnswer, problems []config.Problem) {
	sayAll(w, problems)
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
