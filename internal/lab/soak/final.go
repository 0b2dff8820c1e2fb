package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ready tells whether the cluster can lose a director: the active one serves, and the
// other one waits for its turn. A real server may be ill meanwhile.
func (r *run) ready() error { return r.roles(false) }

// whole tells whether everything is as the files say.
func (r *run) whole() error {
	if err := r.roles(true); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range webs {
		s := r.seen[name]
		for _, want := range r.c.variant.webAddresses() {
			if !slices.Contains(s.addrs, want) {
				return fmt.Errorf("%s lacks %s: %v", name, want, s.addrs)
			}
		}
		if s.arp != "all/arp_ignore=1 all/arp_announce=2 lo/arp_ignore=1 lo/arp_announce=2" {
			return fmt.Errorf("%s has %s", name, s.arp)
		}
	}
	return nil
}

// webAddresses are those of the services, on lo of each real server.
func (v variant) webAddresses() []string { return []string{vip + "/32"} }

// lastState is the last state that a director says it has entered.
func lastState(log string) string {
	at := strings.LastIndex(log, "(VI_1) Entering ")
	if at < 0 {
		return ""
	}
	word, _, _ := strings.Cut(log[at+len("(VI_1) Entering "):], " ")
	return word
}

func (r *run) roles(exact bool) error {
	for i, name := range lbs {
		age, lives := r.c.lives(name)
		if !lives {
			return fmt.Errorf("%s does not run", name)
		}
		want := []string{"MASTER", "BACKUP"}[i]
		if state := lastState(r.c.proc(name).Output()); state != want {
			return fmt.Errorf("%s runs since %v, and is %s, not %s", name, age.Round(time.Millisecond), state, want)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	active, passive := r.seen[lbs[0]], r.seen[lbs[1]]
	v := r.c.variant
	for _, a := range v.addresses() {
		if !slices.Contains(active.addrs, a) || slices.Contains(passive.addrs, a) {
			return fmt.Errorf("%s: lb1 has %v, lb2 has %v", a, active.addrs, passive.addrs)
		}
	}
	want := v.table().with(others()).with(r.more[lbs[0]])
	if exact && !same(active.table, want) {
		return fmt.Errorf("the table of lb1 is\n%vinstead of\n%v", active.table, want)
	}
	if len(active.table["TCP "+web+" rr"]) == 0 {
		return fmt.Errorf("lb1 has no %s:\n%v", web, active.table)
	}
	if want := others().with(r.more[lbs[1]]); !same(passive.table, want) {
		return fmt.Errorf("the table of lb2 is\n%vinstead of\n%v", passive.table, want)
	}
	if exact && len(active.addrs) != 2+len(v.addresses())+countIPv6(active.addrs) {
		return fmt.Errorf("lb1 has more than it should: %v", active.addrs)
	}
	return nil
}

func countIPv6(addrs []string) int {
	n := 0
	for _, a := range addrs {
		if strings.Contains(a, ":") {
			n++
		}
	}
	return n
}

func same(a, b table) bool {
	return maps.EqualFunc(a, b, maps.Equal)
}

// footprint is all of a host that we may change.
type footprint struct {
	addrs, routes, rules, sysctls, files string
	table                                table
}

// snapshots are the hosts as they are.
func (r *run) snapshots() (map[string]footprint, error) {
	out := map[string]footprint{}
	for _, name := range all {
		h := r.c.hosts[name]
		f := footprint{
			addrs:  h.Run("ip", "-br", "addr"),
			routes: h.Run("ip", "route", "show", "table", "all"),
			rules:  h.Run("ip", "rule"),
		}
		err := r.c.on(name, func() (err error) {
			var errs [3]error
			f.sysctls, errs[0] = sysctls()
			f.files, errs[1] = ownFiles()
			f.table, errs[2] = readTable()
			return errors.Join(errs[:]...)
		})
		if err != nil {
			return nil, err
		}
		out[name] = f
	}
	return out, nil
}

// ownFiles are the files that the host has, and others do not: those of /run, where the
// lab also keeps what was written to /etc and /var. Those that stay for good reason are
// left out: configuration, locks, and what the daemons remember.
func ownFiles() (string, error) {
	var b strings.Builder
	err := filepath.WalkDir("/run", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, kept := range []string{"/run/.lab/etc/upper/lvsctl/*", "/run/.lab/etc/upper/lvsctl/*/*", "/run/lvsctl/*.lock", "/run/.lab/var/upper/lib/lvsctl/*.json"} {
			if ok, err := filepath.Match(kept, path); ok || err != nil {
				return err
			}
		}
		fmt.Fprintln(&b, path)
		return nil
	})
	return b.String(), err
}

// sysctls are the settings that we or the peers ever touch.
func sysctls() (string, error) {
	var b strings.Builder
	for _, pattern := range []string{"conf/*/arp_*", "conf/*/promote_secondaries", "conf/*/rp_filter", "conf/*/accept_local", "conf/*/send_redirects", "ip_forward", "vs/*"} {
		files, err := filepath.Glob("/proc/sys/net/ipv4/" + pattern)
		if err != nil {
			return "", err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s=%s", strings.TrimPrefix(f, "/proc/sys/net/"), text)
		}
	}
	return b.String(), nil
}

// leave ends the daemons, and looks at what is left.
func (r *run) leave(before map[string]footprint) error {
	r.checkRoutes()
	r.checkSync("MASTER", "BACKUP")
	r.checkState()
	for _, name := range append(slices.Clone(lbs), webs...) {
		p := r.c.proc(name)
		if p == nil || !p.Running() {
			r.violate("%s does not run at the end\n%s", name, r.logs())
			continue
		}
		if err := r.c.end(name, syscall.SIGTERM, r.patient()); err != nil {
			r.violate("%v", err)
		}
	}
	r.checkSync("", "")
	for _, name := range webs {
		// What realserver run has done stays at its end, until down takes it back.
		if err := r.order(name, "realserver", "down", "--all"); err != nil {
			r.violate("%v", err)
		}
	}
	after, err := r.snapshots()
	if err != nil {
		return err
	}
	for _, name := range all {
		r.compare(name, before[name], after[name])
	}
	return r.leftovers()
}

func (r *run) compare(name string, before, after footprint) {
	for what, two := range map[string][2]string{
		"addresses": {before.addrs, after.addrs}, "routes": {before.routes, after.routes}, "rules": {before.rules, after.rules},
		"settings": {before.sysctls, after.sysctls}, "files": {before.files, after.files},
	} {
		if two[0] != two[1] {
			r.violate("%s: %s before\n%sand after\n%s", name, what, two[0], two[1])
		}
	}
	want := table{}
	if strings.HasPrefix(name, "lb") {
		want = others().with(r.more[name])
	}
	if !same(after.table, want) {
		r.violate("%s: in the table at the end:\n%vinstead of\n%v", name, after.table, want)
	}
}

// checkRoutes: a master has the routes of the files, and nobody else has.
func (r *run) checkRoutes() {
	for i, name := range lbs {
		text := r.c.hosts[name].Run("ip", "route")
		for _, dst := range []string{"10.98.0.0/24", "10.99.0.0/24"} {
			want := i == 0 && slices.Contains(r.c.variant.routes(), dst)
			if has := strings.Contains(text, dst); has != want {
				r.violate("%s: the route to %s is there: %v, should be: %v\n%s", name, dst, has, want, text)
			}
		}
	}
}

// checkSync: the master tells its connections, the backup hears of them; at the end
// nobody does.
func (r *run) checkSync(states ...string) {
	for i, name := range lbs {
		out := r.c.hosts[name].Run(append(slices.Clone(r.c.byHand), "-L", "--daemon")...)
		state := ""
		for _, word := range []string{"MASTER", "BACKUP"} {
			if strings.Contains(strings.ToUpper(out), word) {
				state += word
			}
		}
		if state != states[i] {
			r.violate("%s: the sync daemon is %q, not %q:\n%s", name, state, states[i], out)
		}
	}
}

// checkState: what the daemons keep is whole, and says that nobody is drained or in
// standby.
func (r *run) checkState() {
	for _, name := range lbs {
		err := r.c.on(name, func() error {
			text, err := os.ReadFile("/var/lib/lvsctl/lvsctl-lvsctl.json")
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nothing had to be kept
			}
			if err != nil {
				return err
			}
			var kept struct {
				Data struct {
					Standby []string `json:"standby"`
				} `json:"data"`
			}
			if err := json.Unmarshal(text, &kept); err != nil {
				return fmt.Errorf("%w: %s", err, text)
			}
			if len(kept.Data.Standby) > 0 {
				return fmt.Errorf("standby is still kept: %s", text)
			}
			return nil
		})
		if err != nil {
			r.violate("state file: %v", err)
		}
		if out := r.c.hosts[name].Run(r.c.lvsctl, "status"); strings.Contains(out, "drain") || strings.Contains(out, "standby") {
			r.violate("%s: the status at the end:\n%s", name, out)
		}
	}
}

// leftovers are files and processes that nobody needs any more.
func (r *run) leftovers() error {
	for _, name := range all {
		err := r.c.on(name, func() error {
			var left []string
			for _, pattern := range []string{"/run/lvsctl/*", "/var/lib/lvsctl/*~", "/var/lib/lvsctl/*.tmp*", "/var/lib/lvsctl/.*"} {
				files, err := filepath.Glob(pattern)
				if err != nil {
					return err
				}
				left = append(left, files...)
			}
			left = slices.DeleteFunc(left, func(f string) bool { return strings.HasSuffix(f, ".lock") })
			if len(left) > 0 {
				r.violate("%s: files are left: %v", name, left)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if pids := r.c.hosts[name].Processes(); len(pids) > 0 {
			r.violate("%s: processes %v are left", name, pids)
		}
	}
	return nil
}
