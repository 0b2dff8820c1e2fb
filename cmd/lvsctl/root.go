package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// own runs a command of our own and returns its exit status.
func own(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetErr(forPeople{os.Stderr})
	if err := root.Execute(); err != nil {
		return complain(err)
	}
	return statusOK
}

// newRoot is the command tree. Nothing in it is global: a test, a manual page
// check and a completion each make their own.
func newRoot() *cobra.Command {
	var tellVersion bool
	root := &cobra.Command{
		Use:   "lvsctl",
		Short: "Run a Linux Virtual Server cluster",
		Long: `Lvsctl runs a Linux Virtual Server cluster: one program for its directors and
its real servers.

Compatibility commands speak a peer's language to the byte, and a link with the
peer's name (lvsctl install-links) replaces it. Our own commands share one
manner: --help ends in an example, -o json is for programs, errors name what to
do next, and nothing changes unless the verb says so.`,
		Example: `  lvsctl ipvsadm -Ln            # what this director forwards
  lvsctl install-links          # be ipvsadm from now on`,
		Args:          knownCommand,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tellVersion {
				_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine(versions()))
				return err
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&tellVersion, "version", false, "say what lvsctl version says")
	root.AddGroup(&cobra.Group{ID: "compat", Title: "Compatibility commands:"},
		&cobra.Group{ID: "own", Title: "Our own commands:"})
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, flagError(err)) })
	root.SetHelpCommandGroupID("own")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpFunc(printHelp)
	root.AddCommand(slices.Concat(ipvsadmCommands(), ldirectordCommands(), keepalivedCommands(), heartbeatCommands(), operateCommands(), siteCommands(), []*cobra.Command{
		runCommand(), vrrpCommand(), realserverCommand(), doctorCommand(), linksCommand(), completionCommand(root), versionCommand(),
	})...)
	helpCommand(root)
	return root
}

// helpCommand teaches cobra's own that a word which is no command is an error.
func helpCommand(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Short, cmd.Use = "Say how a command is used", "help [COMMAND...]"
		cmd.Long = "Help says how a command is used, as --help behind that command does."
		cmd.Example = "  lvsctl help vrrp run"
		cmd.Run = nil
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = knownCommand(about, rest)
			}
			if err != nil {
				return err
			}
			return about.Help()
		}
	}
}

// flagError says what is wrong with the value of a flag, without Go's words for it.
func flagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	kinds := map[string]string{"int": "a whole number", "uint32": "a whole number from 0", "uint16": "a number from 0 to 65535",
		"float64": "a number", "bool": "true or false", "duration": "a time such as 500ms, 30s or 10m"}
	kind, ok := kinds[bad.GetFlag().Value.Type()]
	if !ok {
		return err
	}
	return fmt.Errorf("--%s %q: it is %s", bad.GetFlag().Name, bad.GetValue(), kind)
}

// printHelp is cobra's own help with the example last: that is where the eye
// rests. It is code and not a template, because text/template makes the linker
// keep every method of every type, which a one-off ipvsadm would pay for at its
// start.
func printHelp(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s\n\nUsage:\n", strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short)))
	if cmd.Runnable() && !cmd.HasParent() || !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s [command]\n", cmd.CommandPath())
	}
	for _, g := range cmd.Groups() {
		fmt.Fprintf(w, "\n%s\n", g.Title)
		printCommands(w, cmd, g.ID)
	}
	if len(cmd.Groups()) == 0 && cmd.HasAvailableSubCommands() {
		fmt.Fprintln(w, "\nCommands:")
		printCommands(w, cmd, "")
	}
	if cmd.HasAvailableLocalFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", cmd.LocalFlags().FlagUsages())
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
}

func printCommands(w io.Writer, cmd *cobra.Command, group string) {
	for _, c := range cmd.Commands() {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(w, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
}

// knownCommand refuses the word that no command has taken.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	// Letters that may be wrong: in a short word two are half of it.
	cmd.SuggestionsMinimumDistance = min(2, 1+len(args[0])/5)
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %q?", err, near[0])
	}
	return usage(cmd, err)
}

// noArgs is cobra.NoArgs in our voice.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

// usage marks an error as one of the command line.
func usage(cmd *cobra.Command, err error) error {
	return &usageError{cmd.CommandPath(), err}
}

type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see '%s --help'", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// rootHint is what to do about an error that comes of being nobody.
func rootHint(err error) string {
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() == 0 || strings.Contains(err.Error(), "root") {
		return ""
	}
	return "; run it as root"
}

// complain prints an error in our voice and returns the exit status it means.
func complain(err error) int {
	var silent statusError
	if errors.As(err, &silent) {
		return int(silent)
	}
	fmt.Fprintf(os.Stderr, "lvsctl: %s\n", harmless(strings.TrimSpace(err.Error()))+rootHint(err))
	var wrong *usageError
	if errors.As(err, &wrong) {
		return statusUsage
	}
	var absent notFoundError
	if errors.As(err, &absent) {
		return statusNotFound
	}
	return statusFailed
}
