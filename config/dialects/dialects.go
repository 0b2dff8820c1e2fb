// Package dialects knows all languages that a site can be written in: which one
// a file is in, and what several files say together.
package dialects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/config/rules"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
)

// Host is what the reading of files may ask. The zero value asks nobody: names
// stay names, and what depends on this host is left open.
type Host struct {
	// Node is the host's name, as uname -n prints it. Empty: not known, and the files
	// are read as any node of theirs reads them.
	Node string
	// Online looks names up, with LinkOf and Own for addresses.
	Online bool
	// LinkOf names the interface in whose subnet an address is, "" if none is.
	LinkOf func(netip.Addr) string
	// Own tells whether an address is one of this host's.
	Own func(netip.Addr) bool
	// HasLink tells whether there is an interface of a name.
	HasLink func(string) bool
	// User tells why there is no user of a name, for scripts to run as.
	User func(string) error
}

// text is a file as it was found.
type text struct {
	name string
	data []byte
	mode fs.FileMode
}

// part is what a file, or several that belong together, say.
type part struct {
	name     string // of the file; empty for heartbeat's together
	site     config.Site
	problems []config.Problem
	// outside are the settings of a daemon that no other dialect knows of.
	outside []outside
	// unlooked is what the site lacks because nobody looked its names up.
	unlooked []config.Problem
	// autoReload has ldirectord read the file again when it changes.
	autoReload bool
	// mistakes are what keepalived would not take as it is written, in its words.
	mistakes []string
}

// idle tells whether there is nothing in a part that a daemon would do, and nothing
// wrong that would explain it.
func (p part) idle() bool {
	return len(p.site.Virtuals)+len(p.site.Instances)+len(p.unlooked) == 0 && !config.Errors(p.problems)
}

// outside is a setting that a site has no place for. Those of ldirectord are known
// by their name.
type outside struct {
	key     string
	problem config.Problem
}

// dialect is one language. Another one is another line of table.
type dialect struct {
	name string
	// marks tells whether a line, with its words, is one that a file in this
	// language would have.
	marks func(line string, words []string) bool
	// read reads one file. nil: files of this dialect are read together, as
	// heartbeat's are.
	read func(ctx context.Context, t text, h Host) part
	// write writes a site. nil: nothing is translated into this dialect.
	write func(w io.Writer, s config.Site) error
	// looks are the rules of config/lint that reading a file applies itself, in
	// the dialect's own words.
	looks []string
}

// table is in the order in which a tie between dialects is decided.
func table() []dialect {
	return []dialect{
		{name: "rules", marks: marksRules, read: readRules, write: rules.Write},
		{name: "ldirectord", marks: marksLdirectord, read: readLdirectord, write: ldirectord.Write, looks: []string{"forward-port", "real-twice"}},
		{name: "keepalived", marks: marksKeepalived, read: readKeepalived, write: keepalived.Write, looks: []string{"forward-port", "real-twice"}},
		{name: haCf, marks: marksHaCf},
		{name: haresources, marks: marksHaresources, looks: []string{"vip-twice"}},
		{name: authkeys, marks: marksAuthkeys},
	}
}

// Looks tells whether reading a file of a dialect applies a rule of config/lint
// itself.
func Looks(name, rule string) bool {
	i := slices.IndexFunc(table(), func(d dialect) bool { return d.name == name })
	return i >= 0 && slices.Contains(table()[i].looks, rule)
}

// The three files of heartbeat.
const (
	haCf        = "ha.cf"
	haresources = "haresources"
	authkeys    = "authkeys"
)

// Names are the dialects that a file can be said to be in.
func Names() []string {
	var names []string
	for _, d := range table() {
		names = append(names, d.name)
	}
	return names
}

// Targets are the dialects that a site can be written in.
func Targets() []string {
	var names []string
	for _, d := range table() {
		if d.write != nil {
			names = append(names, d.name)
		}
	}
	return names
}

// CheckTarget is an error for a dialect that a site cannot be written in.
func CheckTarget(name string) error {
	if !slices.Contains(Targets(), name) {
		return fmt.Errorf("dialect %q: nothing is translated into it; there is %s", name, strings.Join(Targets(), ", "))
	}
	return nil
}

// Translate writes a site in a dialect. The problems say what that dialect could
// not say: they come from reading again what was written. An error among them is
// a line that the dialect has words for and does not take.
func Translate(w io.Writer, target string, s config.Site) ([]config.Problem, error) {
	if err := CheckTarget(target); err != nil {
		return nil, err
	}
	d := table()[slices.IndexFunc(table(), func(d dialect) bool { return d.name == target })]
	var b bytes.Buffer
	if err := d.write(&b, s); err != nil {
		return nil, err
	}
	again := d.read(context.Background(), text{data: b.Bytes()}, Host{})
	lost := config.Lost(s, again.site)
	for _, p := range again.problems {
		if p.Severity == config.Error {
			p.Text = fmt.Sprintf("line %d of what is written is not taken: %s", p.Line, p.Text)
			p.File, p.Line = "", 0
			lost = append(lost, p)
		}
	}
	_, err := w.Write(b.Bytes())
	return lost, err
}

func readRules(_ context.Context, t text, h Host) part {
	var opt rules.Options
	if h.Online {
		opt.Names = new(ipvsadm.SystemNames)
	}
	site, problems := rules.Parse(t.name, t.data, opt)
	return part{site: site, problems: problems}
}

func readLdirectord(ctx context.Context, t text, h Host) part {
	opt := ldirectord.Options{Lenient: true, Hostname: h.Node}
	if h.Online {
		opt.Resolver = ldirectord.System(ctx)
	}
	f, problems := ldirectord.Parse(t.name, t.data, opt)
	p := part{site: f.Site(), problems: problems, unlooked: f.Unlooked(), autoReload: f.Globals().AutoReload}
	for _, l := range f.Lines {
		if l.Kind == ldirectord.Global && slices.Contains(daemonSettings, l.Key) {
			p.outside = append(p.outside, outside{l.Key, config.Problem{File: t.name, Line: l.Number, Severity: config.Warning,
				Text: l.Key + " is a setting of ldirectord's daemon, and is left out"}})
		}
	}
	return p
}

// readKeepalived reads included files too.
func readKeepalived(_ context.Context, t text, h Host) part {
	opt := keepalived.Options{Include: readTexts, HasLink: h.HasLink, User: h.User}
	opt.ConfigID, _, _ = strings.Cut(h.Node, ".")
	f, problems := keepalived.Parse(t.name, t.data, opt)
	p := part{site: f.Site(), problems: problems, mistakes: f.Mistakes()}
	for _, text := range outsideKeepalived(f.Globals()) {
		p.outside = append(p.outside, outside{problem: config.Problem{File: t.name, Severity: config.Warning, Text: text + ", and is left out"}})
	}
	return p
}

// readTexts reads files that are included, if they are text.
func readTexts(pattern, from string) ([]keepalived.Text, error) {
	found, err := keepalived.ReadFiles(pattern, from)
	for _, f := range found {
		if p, none := config.NoText(f.Name, f.Text); none {
			return nil, errors.New(p.String())
		}
	}
	return found, err
}

// outsideKeepalived are the settings of keepalived's daemon that a file makes.
func outsideKeepalived(g keepalived.Globals) []string {
	var all []string
	if len(g.Mail.To) > 0 {
		all = append(all, "notification_email, with the rest about mail, is a setting of keepalived's daemon")
	}
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"enable_script_security", g.ScriptSecurity},
		{"dynamic_interfaces", g.DynamicInterfaces},
		{"umask", g.Umask != keepalived.DefaultUmask},
		{"lvs_flush", g.FlushAtStart},
		{"lvs_flush_on_stop", g.FlushAtStop},
		{"rs_init_notifies", g.InitNotifies},
		{"vrrp_priority", g.VRRPNice != 0},
		{"vrrp_rt_priority", g.VRRPRealTime != 0},
		{"checker_priority", g.CheckerNice != 0},
		{"checker_rt_priority", g.CheckerRealTime != 0},
	} {
		if s.set {
			all = append(all, s.name+" is a setting of keepalived's daemon")
		}
	}
	return all
}

var daemonSettings = []string{"autoreload", "callback", "execute", "logfile", "maintenancedir", "supervised"}
