package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// completionCommand replaces cobra's own, which knows nothing of the names that
// links give us.
func completionCommand(root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Completion prints a script for bash, zsh or fish. It completes commands, options,
and what is alive: the services and real servers of the kernel's table, the servers
of a running daemon. The peers' names (ipvsadm, ldirectord, keepalived, hb_standby
...) are completed as well. Bash needs the package bash-completion for it.`,
		Example: `  lvsctl completion bash >/usr/share/bash-completion/completions/lvsctl
  source <(lvsctl completion zsh)
  lvsctl completion fish >~/.config/fish/completions/lvsctl.fish`,
		GroupID:   "own",
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, fmt.Errorf("which shell? bash, zsh or fish"))
			}
			return printCompletion(cmd, root, args[0])
		},
	}
	return cmd
}

func printCompletion(cmd, root *cobra.Command, shell string) error {
	w := cmd.OutOrStdout()
	var err error
	var peers string
	switch shell {
	case "bash":
		err, peers = root.GenBashCompletionV2(w, true), bashPeers
	case "zsh":
		err, peers = root.GenZshCompletion(w), zshPeers
	case "fish":
		err, peers = root.GenFishCompletion(w, true), fishPeers
	default:
		return usage(cmd, fmt.Errorf("shell %q: no completion for it; there is bash, zsh and fish", shell))
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, peers)
	return err
}

// A line that begins with a peer's name is completed as if it began with
// "lvsctl NAME".
const (
	bashPeers = `
__lvsctl_peer()
{
    local name=${COMP_WORDS[0]##*/}
    COMP_LINE="lvsctl $name${COMP_LINE#"${COMP_WORDS[0]}"}"
    COMP_WORDS=(lvsctl "$name" "${COMP_WORDS[@]:1}")
    COMP_CWORD=$((COMP_CWORD + 1))
    COMP_POINT=${#COMP_LINE}
    __start_lvsctl
}
complete -o default -F __lvsctl_peer ipvsadm ldirectord keepalived hb_standby hb_takeover cl_status
`
	zshPeers = `
_lvsctl_peer()
{
    words=(lvsctl ${words[1]:t} "${words[@]:1}")
    (( CURRENT++ ))
    _lvsctl
}
compdef _lvsctl_peer ipvsadm ldirectord keepalived hb_standby hb_takeover cl_status
`
	fishPeers = `
complete -c ipvsadm -f -a '(lvsctl __complete ipvsadm (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null | string match -v ":*")'
complete -c keepalived -a '(lvsctl __complete keepalived (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null | string match -v ":*")'
complete -c hb_standby -f -a 'all local foreign failback'
complete -c hb_takeover -f -a 'all local foreign failback'
complete -c cl_status -f -a '(lvsctl __complete cl_status (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null | string match -v ":*")'
complete -c ldirectord -a '(lvsctl __complete ldirectord (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null | string match -v ":*")'
`
)
