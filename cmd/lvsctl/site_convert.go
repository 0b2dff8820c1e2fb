package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
)

func convertCommand() *cobra.Command {
	var f siteFiles
	var to string
	cmd := &cobra.Command{
		Use:   "convert --to DIALECT FILE...",
		Short: "Translate files from one dialect into another",
		Long: `Convert reads files in any dialect, several of them as one site, and prints that
site in another dialect. What that dialect cannot say is told on standard error,
each thing with its place in the files: it is found by reading again what was
written, so what is not told is not lost. Files with errors are not translated.

A server whose check the other dialect does not know is looked at in the nearest
way that cannot take out a server that is well. Where nothing can be asked nobody
looks, and the report says so.`,
		Example: `  lvsctl convert --to keepalived /etc/ha.d >keepalived.conf
  lvsctl convert --to ldirectord keepalived.conf >ldirectord.cf
  lvsctl convert --to rules ldirectord.cf | lvsctl ipvsadm-restore`,
		GroupID: "own",
		Args:    someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage(cmd, errors.New("into which dialect? --to "+strings.Join(dialects.Targets(), "|")))
			}
			if err := dialects.CheckTarget(to); err != nil { // before all that may be wrong in the files
				return usage(cmd, err)
			}
			return f.convert(cmd, args, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `dialect` to write: "+strings.Join(dialects.Targets(), ", "))
	cmd.Flags().BoolVar(&f.online, "online", false, "look up the names of hosts, which are else left out")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(dialects.Targets(), cobra.ShellCompDirectiveNoFileComp))
	f.flags(cmd)
	return cmd
}

func (f *siteFiles) convert(cmd *cobra.Command, args []string, to string) error {
	l, err := f.load(cmd, args)
	if err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	if err := refuseErrors(notes, l); err != nil {
		return err
	}
	var b bytes.Buffer
	lost, err := dialects.Translate(&b, to, l.Site)
	if err != nil {
		return err
	}
	lost = slices.Concat(lost, l.Outside, l.Unlooked)
	config.SortProblems(lost)
	for _, p := range lost {
		fmt.Fprintf(notes, "%v\n", p)
	}
	if _, err := cmd.OutOrStdout().Write(b.Bytes()); err != nil {
		return err
	}
	if config.Errors(lost) {
		return errors.New("what was written is not all good; mend the lines that are named")
	}
	return nil
}
