package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
)

// vrrpPolicy is what instances do about those who take their addresses away, or
// have them, as options say it: of vrrp run for its instance, of run for all that
// are in the files.
type vrrpPolicy struct {
	removed   string
	duplicate string
	localnode bool
}

var duplicateWords = []string{"alarm", "refuse"}

func (p *vrrpPolicy) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.removed, "on-vip-removed", "", "when somebody else removes an address `restore|keep|backup`: put it back and hand over when it does not stay, only put it back, or hand over at once; restore without it")
	f.StringVar(&p.duplicate, "on-duplicate", "", "when somebody has an address and no master is heard `alarm|refuse`: take it and say so, or leave it to him; alarm without it")
	f.BoolVar(&p.localnode, "localnode", false, "this director is a real server of the addresses, too: they are on lo, hidden from ARP, while it is not master")
	_ = cmd.RegisterFlagCompletionFunc("on-vip-removed", cobra.FixedCompletions(config.OnRemovedWords(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("on-duplicate", cobra.FixedCompletions(duplicateWords, cobra.ShellCompDirectiveNoFileComp))
}

func (p *vrrpPolicy) check() error {
	if p.removed != "" && !slices.Contains(config.OnRemovedWords(), p.removed) {
		return fmt.Errorf("--on-vip-removed %q: it is %s", p.removed, strings.Join(config.OnRemovedWords(), " or "))
	}
	if p.duplicate != "" && !slices.Contains(duplicateWords, p.duplicate) {
		return fmt.Errorf("--on-duplicate %q: it is %s", p.duplicate, strings.Join(duplicateWords, " or "))
	}
	return nil
}

// apply makes the options count for an instance, whatever its file says.
func (p *vrrpPolicy) apply(in *config.Instance) {
	if o, ok := config.ParseOnRemoved(p.removed); ok {
		in.OnRemoved = o
	}
	if p.duplicate != "" {
		in.AskFirst = p.duplicate == "refuse"
	}
	in.LocalNode = in.LocalNode || p.localnode
}
