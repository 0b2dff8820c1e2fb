package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = ""

// versionAnswer is the JSON of lvsctl version.
type versionAnswer struct {
	Version int    `json:"version"` // of this answer's shape
	Lvsctl  string `json:"lvsctl"`
	Go      string `json:"go"`
	// The peers that we stand in for.
	Ipvsadm    string `json:"ipvsadm"`
	Ldirectord string `json:"ldirectord"`
	Keepalived string `json:"keepalived"`
}

func versionCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which lvsctl this is",
		Long:    "Version says which lvsctl this is, what built it, and which peers it stands in for.",
		Example: "  lvsctl version --json",
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			v := versions()
			return out.say(cmd.OutOrStdout(), v, func(w io.Writer) { fmt.Fprint(w, versionLine(v)) })
		},
	}
	out.flags(cmd)
	return cmd
}

func versions() versionAnswer {
	return versionAnswer{Version: 1, Lvsctl: ownVersion(), Go: runtime.Version(), Ipvsadm: "1.31", Ldirectord: "4.12", Keepalived: "2.2"}
}

func versionLine(v versionAnswer) string {
	return fmt.Sprintf("lvsctl %s (%s), in place of ipvsadm %s, ldirectord %s, keepalived %s\n", v.Lvsctl, v.Go, v.Ipvsadm, v.Ldirectord, v.Keepalived)
}

// ownVersion is the linker's word, or the module's when someone ran go install.
func ownVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
