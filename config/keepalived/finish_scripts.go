package keepalived

import (
	"fmt"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
)

// scriptUser is who runs the scripts of a file that names nobody, if there is such
// a user.
const scriptUser = "keepalived_script"

// unknownUser tells why a script cannot be run as somebody.
func (r *reader) unknownUser(name string) error {
	if r.opt.User == nil {
		return nil
	}
	return r.opt.User(name)
}

// finishUser settles who runs scripts that do not name somebody. Behind
// enable_script_security that is never root, unless the file says root.
func (r *reader) finishUser() {
	if r.g.ScriptUser != "" || r.opt.User == nil {
		return
	}
	if r.opt.User(scriptUser) == nil {
		r.g.ScriptUser = scriptUser
		return
	}
	r.noUser = r.g.ScriptSecurity
}

// runs tells whether there is somebody to run a command, and reports it if not.
// user is the one that the command names, or "".
func (r *reader) runs(at place, what, user string) bool {
	if user != "" {
		err := r.unknownUser(user)
		if err != nil {
			r.wrong(at, fmt.Sprintf("Failed to set uid/gid for %s - removing", what), fmt.Sprintf("%s: %v; it is not run", what, err), "make that user, or name another one")
		}
		return err == nil
	}
	if r.noUser {
		r.wrong(at, fmt.Sprintf("Unable to set default user %s for script", scriptUser), fmt.Sprintf("%s: enable_script_security is there, and nobody to run it as; it is not run", what),
			"write script_user USER into global_defs, or make the user "+scriptUser)
	}
	return !r.noUser
}

func (r *reader) finishScripts() {
	for _, sc := range r.scripts {
		path := sc.Command.Words[0]
		if !r.runs(sc.place, "vrrp_script "+sc.Name, sc.Command.User) {
			sc.broken = true
			continue
		}
		if sc.Command.User == "" {
			sc.Command.User, sc.Command.Group = r.g.ScriptUser, r.g.ScriptGroup
		}
		if r.opt.Executable == nil {
			continue
		}
		if err := r.opt.Executable(path); err != nil {
			r.wrong(sc.place, "", fmt.Sprintf("vrrp_script %s: %s: %v; it is not tracked", sc.Name, path, err), "")
			r.theirs(r.whole(sc.place), fmt.Sprintf("Disabling track script %s since not found/accessible", sc.Name), statusTest)
			sc.broken = true
		}
	}
}

// finishNotify: a script whose user is not there is tried nevertheless, and fails
// each time; keepalived does not look for the user before either.
func (r *reader) finishNotify(n *config.Notify) {
	for _, c := range []**config.Command{&n.Master, &n.Backup, &n.Fault, &n.Stop, &n.Deleted, &n.LowerPriority, &n.Any} {
		if *c == nil || (*c).User != "" {
			continue
		}
		if !r.runs(place{(*c).Source.File, (*c).Source.Line}, "the notify script "+(*c).Words[0], "") {
			*c = nil
			continue
		}
		(*c).User, (*c).Group = r.g.ScriptUser, r.g.ScriptGroup
	}
}

// runAs says who runs a service's or server's command, or takes it away.
func (r *reader) runAs(at place, c **ldirector.Command) {
	if *c == nil || (*c).User != "" {
		return
	}
	if !r.runs(at, "the notify script "+(*c).Words[0], "") {
		*c = nil
		return
	}
	(*c).User, (*c).Group = r.g.ScriptUser, r.g.ScriptGroup
}

// hasScripts remembers a command for questions about its safety.
func (r *reader) hasScripts(s *stmt, c *config.Command) {
	r.commands = append(r.commands, complaint{config.Problem{File: s.file, Line: s.line, Text: c.Words[0]}, 0})
}

// finishSecurity: keepalived complains of every script that it would run as long
// as enable_script_security is not there, but only once.
func (r *reader) finishSecurity() {
	if r.g.ScriptSecurity || r.opt.Executable == nil || r.noLink {
		return
	}
	for _, c := range r.commands {
		if r.heard(c) && r.opt.Executable(c.Text) == nil {
			r.theirs(place{}, "SECURITY VIOLATION - scripts are being executed but script_security not enabled.", statusSecurity)
			r.problem(place{c.File, c.Line}, config.Warning, fmt.Sprintf("%s is run without enable_script_security, so that whoever can write to it is root", c.Text),
				"write enable_script_security and script_user into global_defs")
			return
		}
	}
}
