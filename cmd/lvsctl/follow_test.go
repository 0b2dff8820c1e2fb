package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// node is a node of heartbeat's in a folder, without a network. Sites that are put
// into force come out of puts.
type node struct {
	*hbDaemon
	t    *testing.T
	puts chan config.Site
	said *keptLines
}

func service(server string) string {
	return "virtual=10.9.9.9:80\n\tchecktype=on\n\treal=" + server + ":80 gate\n"
}

func startNode(t *testing.T, cf string) *node {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, puts: make(chan config.Site, 8), said: &keptLines{}}
	r := &hbRun{dir: t.TempDir(), name: hbName}
	n.hbDaemon = &hbDaemon{r: r}
	n.siteDaemon = &siteDaemon{kind: hbName, file: r.dir, waits: make(chan bool, 1), reload: n.again,
		put: func(s config.Site) error { n.puts <- s; return nil }}
	n.write("ha.cf", "node "+name+" other\nbcast lo\nauto_failback on\n")
	n.write("haresources", name+" 10.9.9.9/24/lo ldirectord::web.cf\n")
	n.write("authkeys", "auth 1\n1 crc\n")
	n.write("web.cf", cf)
	host, err := thisHost()
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.load(t.Context(), host, nil)
	if err != nil || config.Errors(l.Problems) {
		t.Fatal(err, l.Problems)
	}
	n.log = daemon.NewLog(n.said, nil)
	n.files = newFollower(n.changed, n.fault)
	n.taken(l)
	return n
}

func (n *node) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.r.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// changes writes the configuration of ldirectord, and tells the daemon of it.
func (n *node) changes(text string) {
	n.t.Helper()
	n.write("web.cf", text)
	n.changed(filepath.Join(n.r.dir, "web.cf"), daemon.Content{Data: []byte(text)})
}

// took are the servers and the addresses of the site that was put into force, "" when
// none was.
func (n *node) took() string {
	select {
	case s := <-n.puts:
		return describe(s)
	default:
		return ""
	}
}

func describe(s config.Site) string {
	var all []string
	for _, in := range s.Instances {
		for _, a := range in.Addresses {
			all = append(all, a.Prefix.String())
		}
	}
	for _, v := range s.Virtuals {
		for _, m := range v.Members {
			all = append(all, m.Destination.Addr.String())
		}
	}
	return strings.Join(all, " ")
}

// The configuration of ldirectord that haresources names is read again when it changes
// and says so, by ldirectord's rules.
func TestHeartbeatFollowsAutoreload(t *testing.T) {
	n := startNode(t, "autoreload=yes\n"+service("10.9.9.1"))
	if slices.ContainsFunc(n.inForce.Load().Problems, func(p config.Problem) bool { return strings.Contains(p.Text, "autoreload") }) {
		t.Errorf("autoreload is said not to count: %v", n.inForce.Load().Problems)
	}
	for _, step := range []struct{ what, text, want, refused string }{
		{"another server", "autoreload=yes\n" + service("10.9.9.2"), "10.9.9.9/24 10.9.9.2:80", ""},
		{"the same again", "autoreload=yes\n" + service("10.9.9.2"), "", ""},
		{"a broken one", "autoreload=yes\n" + service("10.9.9.3") + "\tfrobnicate=yes\n", "", "frobnicate"},
		{"noise", "autoreload=yes\n\x00\x01" + service("10.9.9.3"), "", "this is no text file (line 2 has the byte 0x00)"},
		{"the old one again", "autoreload=yes\n" + service("10.9.9.2"), "10.9.9.9/24 10.9.9.2:80", ""},
		{"an empty one", "", "", "no virtual service in it, while 1 are in force"},
		{"no more autoreload", service("10.9.9.4"), "10.9.9.9/24 10.9.9.4:80", ""},
		{"and then nothing counts", service("10.9.9.5"), "", ""},
	} {
		n.changes(step.text)
		if got := n.took(); got != step.want {
			t.Errorf("%s: in force came %q, want %q", step.what, got, step.want)
		}
		switch r := n.refused.Load(); {
		case (r != nil) != (step.refused != ""):
			t.Errorf("%s: refused %+v", step.what, r)
		case r != nil && !strings.Contains(fmt.Sprint(r.Problems), step.refused):
			t.Errorf("%s: refused for %v", step.what, r.Problems)
		}
	}
	n.readAgain()
	if got, want := n.took(), "10.9.9.9/24 10.9.9.5:80"; got != want {
		t.Errorf("an order to read again makes it %q, want %q", got, want)
	}
}

// Heartbeat's own files are not read on the way: nobody has said that they are ready.
func TestAutoreloadLeavesHaresources(t *testing.T) {
	n := startNode(t, "autoreload=yes\n"+service("10.9.9.1"))
	old, err := os.ReadFile(filepath.Join(n.r.dir, "haresources"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("haresources", strings.Replace(string(old), "10.9.9.9/24", "10.9.9.77/24", 1))
	n.changes("autoreload=yes\n" + service("10.9.9.2"))
	if got, want := n.took(), "10.9.9.9/24 10.9.9.2:80"; got != want {
		t.Errorf("autoreload: %q, want %q", got, want)
	}
	n.readAgain()
	if got, want := n.took(), "10.9.9.77/24 10.9.9.2:80"; got != want {
		t.Errorf("an order to read again: %q, want %q", got, want)
	}
}

// What is followed is what the files in force name.
func TestFollowsWhatIsNamed(t *testing.T) {
	n := startNode(t, "autoreload=yes\n"+service("10.9.9.1"))
	go func() {
		if err := n.files.run(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	wants := func(want string) {
		t.Helper()
		select {
		case s := <-n.puts:
			if got := describe(s); got != want {
				t.Fatalf("in force came %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q did not come into force", want)
		}
	}
	n.write("web.cf", "autoreload=yes\n"+service("10.9.9.2"))
	wants("10.9.9.9/24 10.9.9.2:80")
	haresources, err := os.ReadFile(filepath.Join(n.r.dir, "haresources"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("other.cf", "autoreload=yes\n"+service("10.9.9.3"))
	n.write("haresources", strings.Replace(string(haresources), "web.cf", "other.cf", 1))
	n.readAgain()
	wants("10.9.9.9/24 10.9.9.3:80")
	n.write("other.cf", "autoreload=yes\n"+service("10.9.9.4"))
	wants("10.9.9.9/24 10.9.9.4:80")
}
