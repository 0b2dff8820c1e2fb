package keepalived

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCompare holds our verdict on files against that of the real keepalived, in
// a network namespace that has the interfaces that they name. It is run by hand:
//
//	KEEPALIVED_FILES='/some/folder/*.conf' go test -run TestCompare -v
func TestCompare(t *testing.T) {
	pattern := os.Getenv("KEEPALIVED_FILES")
	if pattern == "" {
		t.Skip("KEEPALIVED_FILES names no files")
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { compare(t, path) })
	}
}

var (
	linkName = regexp.MustCompile(`(?m)\b(?:interface|dev|track_interface\s*\{\s*|lvs_sync_daemon)\s+([A-Za-z][\w.-]*)`)
)

func compare(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".txt") { // a golden file
		c, _ := readCase(t, path)
		text = []byte(c.input)
		path = filepath.Join(t.TempDir(), "k.conf")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]bool{"lo": true}
	for _, m := range linkName.FindAllStringSubmatch(string(text), -1) {
		links[m[1]] = true
	}
	theirs, words := real(t, path, links)
	f, problems := Parse(path, text, Options{Include: ReadFiles, ConfigID: "lb1",
		Resolve:    func(string) error { return errors.New("no name server in this namespace") },
		HasLink:    func(name string) bool { return links[name] },
		Executable: func(p string) error { _, err := exec.LookPath(p); return err }})
	same := "same"
	if f.ExitStatus() != theirs {
		same = "DIFFERS"
		t.Errorf("status: they %d, we %d", theirs, f.ExitStatus())
	}
	t.Logf("status %d, %s", theirs, same)
	ours := f.Complaints()
	for _, w := range words {
		if !slices.ContainsFunc(ours, func(o string) bool { return strings.HasSuffix(o, withoutPlace(w)) }) {
			t.Logf("only they: %s", w)
		}
	}
	for _, o := range ours {
		if !slices.ContainsFunc(words, func(w string) bool { return withoutPlace(w) == withoutPlace(o) }) {
			t.Logf("only we:   %s", o)
		}
	}
	for _, p := range problems {
		t.Logf("           %v %v", p.Severity, p)
	}
}

var placed = regexp.MustCompile(`^\((?:.*: )?Line \d+\) `)

func withoutPlace(s string) string { return placed.ReplaceAllString(s, "") }

// real is what keepalived -t says.
func real(t *testing.T, path string, links map[string]bool) (status int, words []string) {
	t.Helper()
	script := "ip link set lo up\n"
	for l := range links {
		if l != "lo" {
			script += fmt.Sprintf("ip link add %s type veth peer name p%d; ip link set %s up; ip addr add 10.255.0.1/24 dev %s\n", l, len(script), l, l)
		}
	}
	script += fmt.Sprintf("timeout 30 keepalived -i lb1 -t -l -f %s 2>&1; echo status $?", path)
	out, err := exec.Command("unshare", "-rn", "sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	status, err = strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], "status "))
	if err != nil {
		t.Fatalf("%s", out)
	}
	for _, l := range lines[:len(lines)-1] {
		if !slices.Contains(words, l) {
			words = append(words, l)
		}
	}
	return status, words
}
