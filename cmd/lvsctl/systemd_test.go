package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const unitFolder = "../../examples/systemd"

// Every command line of the units is one that this program takes.
func TestUnitsAndCommandsAgree(t *testing.T) {
	lines := 0
	for _, unit := range units(t) {
		for _, found := range regexp.MustCompile(`(?m)^Exec\w+=/usr/local/sbin/lvsctl (.*)$`).FindAllStringSubmatch(readUnit(t, unit), -1) {
			lines++
			args := strings.Fields(strings.ReplaceAll(found[1], "%i", "web.cf"))
			if args[0] == "ldirectord" {
				if c, status := parseLdirectord("ldirectord", args[1:]); c == nil || !c.foreground || c.verb != "start" {
					t.Errorf("%s: %s: %+v, exit status %d", unit, found[0], c, status)
				}
				continue
			}
			if args[0] == "keepalived" {
				if c, status := parseKeepalived("keepalived", slices.DeleteFunc(args[1:], isVariable)); c == nil || !c.foreground || c.daemonName() != "keepalived" {
					t.Errorf("%s: %s: %+v, exit status %d", unit, found[0], c, status)
				}
				continue
			}
			cmd, rest, err := newRoot().Find(args)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			path := strings.TrimPrefix(cmd.CommandPath(), "lvsctl ")
			if err != nil || !strings.HasPrefix(found[1], path) || cmd.Flags().NArg() > 0 {
				t.Errorf("%s: %s: %v", unit, found[0], err)
			}
		}
	}
	if lines < 9 {
		t.Errorf("%d command lines in %s", lines, unitFolder)
	}
}

func isVariable(word string) bool { return strings.HasPrefix(word, "$") }

// systemd's own opinion, where it is installed. A program that is there stands in
// for ours, and the peer's unit for the distribution's.
func TestSystemdTakesTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/usr/local/sbin/lvsctl", "/bin/sh")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("lvsctl-ldirectord@web.cf.service", readUnit(t, "lvsctl-ldirectord@.service"))
	put("ldirectord.service", "[Service]\nType=forking\nPIDFile=/run/ldirectord.ldirectord.pid\nExecStart=/bin/sh start\nExecStop=/bin/sh stop\nExecReload=/bin/sh reload\n")
	put("ldirectord.service.d/lvsctl.conf", readUnit(t, "ldirectord.service.d-lvsctl.conf"))
	put("keepalived.service", "[Service]\nType=notify\nExecStart=/bin/sh --dont-fork $DAEMON_ARGS\nExecReload=/bin/kill -HUP $MAINPID\n")
	put("keepalived.service.d/lvsctl.conf", readUnit(t, "keepalived.service.d-lvsctl.conf"))
	put("lvsctl-heartbeat.service", readUnit(t, "lvsctl-heartbeat.service"))
	put("lvsctl.service", readUnit(t, "lvsctl.service"))
	put("lvsctl-metrics.service", readUnit(t, "lvsctl-metrics.service"))
	put("lvsctl-realserver-run.service", readUnit(t, "lvsctl-realserver-run.service"))
	for _, unit := range []string{"lvsctl-ldirectord@web.cf.service", "ldirectord.service", "keepalived.service", "lvsctl-heartbeat.service", "lvsctl.service", "lvsctl-metrics.service", "lvsctl-realserver-run.service"} {
		out, err := exec.Command(analyze, "--man=no", "verify", filepath.Join(dir, unit)).CombinedOutput()
		// It has opinions on units of this machine, too.
		if err != nil || regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(dir)).Match(out) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

func units(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(unitFolder + "/*")
	if err != nil || len(found) == 0 {
		t.Fatalf("no units in %s (%v)", unitFolder, err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

func readUnit(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(unitFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
