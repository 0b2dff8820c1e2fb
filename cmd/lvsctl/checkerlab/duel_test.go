package checkerlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// patience is for what takes a second or two on an idle machine.
const patience = 90 * time.Second

const (
	conf  = "/etc/keepalived/keepalived.conf"
	diary = "/run/diary."   // with a name: what notify scripts were called with
	note  = "/etc/note.sh"  // NAME WORD...: writes it
	exits = "/etc/exits.sh" // NAME: exits with the status that is in /run/NAME
)

// side is a director and the daemon on it.
type side struct {
	name string
	*lab.Host
	ipvs *kernel.Client
	run  *lab.Process
}

// duel is two directors that watch the same servers, 10.2.0.11 to .13: one with
// keepalived, one with us.
type duel struct {
	*testing.T
	farm    *lab.Host
	sides   [2]*side
	servers map[string]*lab.Server
}

func newDuel(t *testing.T) *duel {
	lab.Need(t)
	needKeepalived(t)
	n := lab.New(t)
	lan := n.Bridge("lan")
	d := &duel{T: t, servers: map[string]*lab.Server{},
		farm: n.Host("farm").Nic("eth0", lan, "10.2.0.11/24", "10.2.0.12/24", "10.2.0.13/24", "fd02::11/64", "fd02::12/64")}
	for i, name := range []string{"keepalived", "lvsctl"} {
		s := &side{name: name, Host: n.Host(name).Nic("eth0", lan, fmt.Sprintf("10.2.0.%d/24", i+1), fmt.Sprintf("fd02::%d/64", i+1))}
		var err error
		s.Do(func() { s.ipvs, err = kernel.Open() })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.ipvs.Close() })
		s.WriteFile(note, "#!/bin/sh\nname=$1; shift; echo \"$@\" >>"+diary+"$name\n", 0o755)
		s.WriteFile(exits, "#!/bin/sh\nread n </run/$1\nexit $n\n", 0o755)
		d.sides[i] = s
	}
	t.Cleanup(func() {
		for _, s := range d.sides {
			if s.run != nil && t.Failed() {
				t.Logf("%s:\n%s", s.name, s.run.Output())
			}
		}
	})
	return d
}

func needKeepalived(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("keepalived"); err == nil {
		return
	}
	const how = "keepalived is not installed: apt-get install keepalived"
	if os.Getenv("LVSCTL_LAB") == "require" {
		t.Fatal(how)
	}
	t.Skip(how)
}

// start runs both with a file.
func (d *duel) start(text string) {
	d.write(conf, "global_defs {\n script_user root\n enable_script_security\n}\n"+text)
	for i, program := range [][]string{{"keepalived"}, {lvsctl(), "keepalived"}} {
		d.sides[i].run = d.sides[i].Start(append(program, "-n", "-l", "-D", "-C", "-f", conf)...)
	}
}

func (d *duel) write(path, text string) {
	for _, s := range d.sides {
		s.WriteFile(path, text, 0o644)
	}
}

func (d *duel) signal(sig syscall.Signal) {
	for _, s := range d.sides {
		s.run.Signal(sig)
	}
}

// open starts web servers that answer every page with its path.
func (d *duel) open(addrs ...string) {
	for _, a := range addrs {
		d.handle(a, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Path) }))
	}
}

func (d *duel) handle(addr string, h http.Handler) { d.servers[addr] = d.farm.Handle(addr, h) }

func (d *duel) close(addrs ...string) {
	d.Helper()
	for _, a := range addrs {
		if err := d.servers[a].Close(); err != nil {
			d.Fatal(err)
		}
	}
}

// want waits until both have a table, as ipvsadm -S -n prints it.
func (d *duel) want(event, table string) {
	d.Helper()
	d.both(event, strings.ReplaceAll(strings.TrimSpace(table), "\t", "")+"\n", lvstest.Text)
}

// serves waits until the services of both have these servers: for each "NAME:", as
// its port, and the last part of each server's address with its weight, as "11=1".
func (d *duel) serves(event string, services ...string) {
	d.Helper()
	d.both(event, strings.Join(services, "\n"), short)
}

func short(t lvs.Table) string {
	lines := make([]string, len(t))
	for i, e := range t {
		lines[i] = fmt.Sprintf("%d:", e.Key.Addr.Port())
		for _, s := range e.Destinations {
			ip := s.Addr.Addr().AsSlice()
			lines[i] += fmt.Sprintf(" %d=%d", ip[len(ip)-1], s.Weight)
		}
	}
	return strings.Join(lines, "\n")
}

func (d *duel) both(event, want string, as func(lvs.Table) string) {
	d.Helper()
	for _, s := range d.sides {
		lab.Eventually(d, patience, func() error {
			t, err := s.ipvs.Read()
			if err != nil {
				return err
			}
			if got := as(t); got != want {
				return fmt.Errorf("%s: %s has\n%s\nwant\n%s", event, s.name, got, want)
			}
			return nil
		})
	}
}

// said waits until the notify scripts of a name have been called with these words by
// both, in this order.
func (d *duel) said(name string, lines ...string) {
	d.Helper()
	want := strings.Join(lines, "\n") + "\n"
	for _, s := range d.sides {
		lab.Eventually(d, patience, func() error {
			got, err := s.TryReadFile(diary + name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if got != want {
				return fmt.Errorf("the scripts %s of %s were called with\n%s\nwant\n%s", name, s.name, got, want)
			}
			return nil
		})
	}
}
