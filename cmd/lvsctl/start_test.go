package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
)

// notedUntil is a standard error that tells when a text is in it.
type notedUntil struct {
	mu    sync.Mutex
	text  string
	until string
	then  func()
}

func (n *notedUntil) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text += string(b)
	if n.until != "" && strings.Contains(n.text, n.until) {
		n.then()
	}
	return len(b), nil
}

func (n *notedUntil) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text
}

// A start waits for names, says what for once, and once more when it is something
// else. What does not pass ends it.
func TestStartWaitsForNames(t *testing.T) {
	nobody := func(name string) config.Problem {
		return config.Problem{File: "web.cf", Line: 3, Severity: config.Error, Text: "host " + name + ": no such host"}
	}
	const waits = "lvsctl: heartbeat run: waiting until this host can make sense of the files\n"
	slip := config.Problem{File: "web.cf", Line: 1, Severity: config.Error, Text: "frobnicate: no such word"}
	for name, tt := range map[string]struct {
		found [][]config.Problem // each time
		said  string
		end   []config.Problem
	}{
		"nothing is wrong": {found: [][]config.Problem{nil}},
		"a slip":           {found: [][]config.Problem{{slip}}, end: []config.Problem{slip}},
		"a name":           {found: [][]config.Problem{{nobody("a")}, {nobody("a")}, {nobody("a")}, nil}, said: "web.cf:3: error: host a: no such host\n" + waits},
		"another name": {found: [][]config.Problem{{nobody("a")}, {nobody("b")}, {nobody("b")}, nil},
			said: "web.cf:3: error: host a: no such host\n" + waits + "web.cf:3: error: host b: no such host\n" + waits},
		"a slip after a name": {found: [][]config.Problem{{nobody("a")}, {slip}}, said: "web.cf:3: error: host a: no such host\n" + waits, end: []config.Problem{slip}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, reads := time.Now(), 0
				notes := &notedUntil{}
				s := &starter{command: "heartbeat run", notes: notes,
					load: func(context.Context) (*dialects.Loaded, error) {
						reads++
						return &dialects.Loaded{Problems: tt.found[reads-1]}, nil
					},
					passes: func() bool { return !slices.Contains(tt.found[reads-1], slip) }}
				l, err := s.await(t.Context())
				if err != nil || !slices.Equal(l.Problems, tt.end) || notes.String() != tt.said {
					t.Errorf("%v, %v, said %q, want %q", l, err, notes, tt.said)
				}
				if reads != len(tt.found) || time.Since(begin) != time.Duration(reads-1)*namesPause {
					t.Errorf("read %d times in %v", reads, time.Since(begin))
				}
			})
		})
	}
}

// Whoever waits looks at once when SIGHUP tells it that the files are better now, and
// ends without a word when it is told to.
func TestStartThatWaitsHearsSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, reads := time.Now(), 0
		s := &starter{notes: &notedUntil{}, hup: make(earlyHup, 1), passes: func() bool { return true },
			load: func(context.Context) (*dialects.Loaded, error) {
				reads++
				return &dialects.Loaded{Problems: []config.Problem{{Severity: config.Error}}}, nil
			}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() { s.hup <- syscall.SIGHUP })
		time.AfterFunc(2*time.Second, cancel)
		if l, err := s.await(ctx); l != nil || err != nil || reads != 2 || time.Since(begin) != 2*time.Second {
			t.Errorf("%v, %v, %d times in %v", l, err, reads, time.Since(begin))
		}
	})
}

// heartbeat run waits for a name in the configuration of ldirectord that haresources
// names, and not for a cluster that it is no node of.
func TestHeartbeatWaitsForNames(t *testing.T) {
	node, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("w", 70) // which no name server is asked for: 63 is the most
	for what, tt := range map[string]struct{ node, want string }{
		"a node":  {node, "waiting until this host can make sense of the files"},
		"no node": {"x-" + node, "not started: the files have errors"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"ha.cf": "bcast eth0\nnode " + tt.node + " other\n", "authkeys": "auth 1\n1 crc\n",
				"haresources": tt.node + " 192.0.2.7/24/eth0 ldirectord::web.cf\n",
				"web.cf":      "virtual=192.0.2.7:80\n\treal=" + name + ":80 gate\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			notes := &notedUntil{until: "waiting until", then: cancel}
			var cmd cobra.Command
			cmd.SetContext(ctx)
			cmd.SetErr(notes)
			err := (&hbRun{dir: dir, name: hbName}).run(&cmd)
			if waited := err == nil; waited != (tt.node == node) || !strings.Contains(notes.String(), tt.want) {
				t.Errorf("%v, said\n%s", err, notes)
			}
			if !strings.Contains(notes.String(), "web.cf:2: error: ") {
				t.Errorf("it does not say which name:\n%s", notes)
			}
		})
	}
}

// Files that have become noise are one problem on a reload, and refused.
func TestNoiseIsRefused(t *testing.T) {
	const good = "vrrp_instance V {\n\tinterface eth0\n\tvirtual_router_id 7\n\tvirtual_ipaddress {\n\t\t192.0.2.1\n\t}\n}\n"
	path := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(path, []byte(strings.Replace(good, "interface", "\x00\x02\n}{", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var cmd cobra.Command
	cmd.SetContext(t.Context())
	r := &siteRun{runOptions: &runOptions{}, cmd: &cmd, paths: []string{path}, d: &siteDaemon{file: path}}
	got := r.again()
	want := path + ": error: this is no text file (line 2 has the byte 0x00); name a configuration"
	if len(got.problems) != 1 || problemText(got.problems[0]) != want || got.waits {
		t.Errorf("%v, waits %v", got.problems, got.waits)
	}
}
