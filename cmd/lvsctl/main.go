// Lvsctl runs a Linux Virtual Server cluster: one program for its directors and
// its real servers.
//
// It has two manners. Compatibility commands speak a peer's language to the
// byte and are reached by name too: a link called ipvsadm is an ipvsadm. They
// are dispatched here, before anything of our own command line is set up. Our
// own commands are cobra's; see root.go.
package main

import (
	"os"
	"path/filepath"
)

func main() { os.Exit(run(os.Args)) }

// run is the whole program: argv in, exit status out.
func run(argv []string) int {
	if len(argv) == 0 {
		argv = []string{"lvsctl"}
	}
	if peer := peers[filepath.Base(argv[0])]; peer != nil {
		return peer(argv[0], argv[1:])
	}
	if len(argv) > 1 {
		if peer := peers[argv[1]]; peer != nil {
			return peer(argv[0]+" "+argv[1], argv[2:])
		}
	}
	return own(argv[1:])
}

// peers are the programs we stand in for, by name. Each is told what it is
// called in its messages, and its arguments as they were typed.
var peers = map[string]func(prog string, args []string) int{
	"ipvsadm":         ipvsadmMain,
	"ipvsadm-save":    ipvsadmSaveMain,
	"ipvsadm-restore": ipvsadmRestoreMain,
	"ldirectord":      ldirectordMain,
	"keepalived":      keepalivedMain,
	"hb_standby":      hbStandbyMain,
	"hb_takeover":     hbTakeoverMain,
	"cl_status":       clStatusMain,
}
