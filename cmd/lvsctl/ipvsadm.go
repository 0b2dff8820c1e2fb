package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// ipvsadmMain and its two companions are the peer's programs. A one-off change
// must cost little more than the start of a process, so nothing is set up here
// that such a run does not need.
func ipvsadmMain(prog string, args []string) int { return peerProgram(prog).Run(args) }

func ipvsadmSaveMain(prog string, args []string) int { return peerProgram(prog).RunSave(args) }

func ipvsadmRestoreMain(prog string, args []string) int { return peerProgram(prog).RunRestore(args) }

func peerProgram(name string) *ipvsadm.Program {
	return &ipvsadm.Program{
		Name:   name,
		Open:   openKernel,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
	}
}

// openKernel leaves out moby/ipvs, whose socket and family look-up of its own
// cost a tenth of a one-off run; what stays running uses it.
func openKernel() (ipvsadm.Kernel, error) {
	k, err := kernel.Open(kernel.OwnEncoderOnly(), kernel.ModprobeStderr(os.Stderr))
	if err != nil {
		return nil, err // not k: a nil pointer in an interface is no nil interface
	}
	return k, nil
}

// ipvsadmCommands give the peer's programs a place in help and completion. They
// are never run from there: main dispatches them before cobra is made.
func ipvsadmCommands() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "ipvsadm",
			Short: "One-off commands on the kernel's table, as ipvsadm 1.31",
			Long: `Ipvsadm changes and lists the virtual services of this host, with the options,
the output and the exit status of ipvsadm 1.31. Every listing also has --json.
"lvsctl ipvsadm -h" lists the options, lvsctl-ipvsadm(8) explains them.`,
			Example: `  lvsctl ipvsadm -A -t 192.168.0.254:80 -s rr
  lvsctl ipvsadm -a -t 192.168.0.254:80 -r 192.168.0.11:80 -g
  lvsctl ipvsadm -Ln`,
			GroupID:            "compat",
			DisableFlagParsing: true,
			ValidArgsFunction:  completeIpvsadm,
			RunE: func(_ *cobra.Command, args []string) error {
				return statusError(ipvsadmMain("lvsctl ipvsadm", args))
			},
		},
		{
			Use:                "ipvsadm-save",
			Short:              "Print the table as rules",
			Long:               "Ipvsadm-save prints the table as rules that ipvsadm-restore reads. With -n, numbers instead of names.",
			Example:            "  lvsctl ipvsadm-save -n >/etc/ipvsadm.rules",
			GroupID:            "compat",
			DisableFlagParsing: true,
			ValidArgs:          []string{"-n"},
			RunE: func(_ *cobra.Command, args []string) error {
				return statusError(ipvsadmSaveMain("lvsctl ipvsadm-save", args))
			},
		},
		{
			Use:                "ipvsadm-restore",
			Short:              "Replace the table by rules from standard input",
			Long:               "Ipvsadm-restore empties the table and fills it with the rules on standard input.",
			Example:            "  lvsctl ipvsadm-restore </etc/ipvsadm.rules",
			GroupID:            "compat",
			DisableFlagParsing: true,
			ValidArgsFunction:  cobra.NoFileCompletions,
			RunE: func(_ *cobra.Command, args []string) error {
				return statusError(ipvsadmRestoreMain("lvsctl ipvsadm-restore", args))
			},
		},
	}
}

// completeIpvsadm offers what fits at the end of a line: options, and the
// services and servers that the kernel has now. Without a kernel it offers the
// options alone.
func completeIpvsadm(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	k, err := kernel.Open(kernel.WithoutModprobe())
	if err != nil {
		return ipvsadm.Complete(args, toComplete, nil), cobra.ShellCompDirectiveNoFileComp
	}
	defer k.Close()
	st, err := k.State()
	if err != nil {
		st = nil // to complete less is better than to print an error into a half-typed line
	}
	return ipvsadm.Complete(args, toComplete, st), cobra.ShellCompDirectiveNoFileComp
}
