package scenario

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// story writes a story to a folder of its own.
func story(t *testing.T, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a-story")
	file := filepath.Join(dir, "story.txtar")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const twoHosts = `bridge lan
host a b
nic a eth0 lan 10.0.0.1/24
nic b eth0 lan 10.0.0.2/24
`

// TestTold is one story with every command, as its reader sees it.
func TestTold(t *testing.T) {
	lab.Need(t)
	file := story(t, twoHosts+`
say 'Two hosts.'
say 'One serves.'
serve b :80 This is b
get a http://10.0.0.2/
expect '^This is b$' 'b answers'
requests a http://10.0.0.2/ 3
expect '^   3  This is b$' 'three times'
silence b :80
requests a http://10.0.0.2/ 1
expect 'connection refused' 'nobody answers any more'
file a /etc/greeting hello
on a cat /etc/greeting
! expect . 'nothing in it'
! on b cat /etc/greeting
expect 'No such file' 'a file of a is not one of b'
start b sh -c 'echo ready > /run/flag; exec sleep 1000'
await 30s '^ready$' b cat /run/flag
unplug b eth0
await 30s 'NO-CARRIER' b ip link show eth0
plug b eth0
await 30s 'state UP' b ip link show eth0
-- hello --
`)
	var told bytes.Buffer
	if err := Tell(&told, false, t.TempDir(), file); err != nil {
		t.Fatalf("%v\n%s", err, &told)
	}
	text := regexp.MustCompile(`(?m)^(\d+: .*|    link/.*)\n`).ReplaceAllString(told.String(), "") // of ip link
	text = regexp.MustCompile(`\(\d+(\.\d+)?m?s\)`).ReplaceAllString(text, "(TIME)")
	const want = `  a        eth0 on lan  10.0.0.1/24
  b        eth0 on lan  10.0.0.2/24

Two hosts.
One serves.
  b        web server on :80: This is b
a# get http://10.0.0.2/
This is b
  ok  b answers
a# get http://10.0.0.2/  (3 times)
   3  This is b
  ok  three times
  b        the web server on :80 has died
a# get http://10.0.0.2/  (1 times)
   1  error: Get "http://10.0.0.2/": dial tcp 10.0.0.2:80: connect: connection refused
  ok  nobody answers any more
  a        /etc/greeting
a# cat /etc/greeting
  ok  nothing in it
b# cat /etc/greeting
cat: /etc/greeting: No such file or directory
  ok  a file of a is not one of b
b# sh -c 'echo ready > /run/flag; exec sleep 1000' &
b# cat /run/flag
ready
  b        eth0 is unplugged
b# ip link show eth0
  b        eth0 is plugged in
b# ip link show eth0

OK: a-story: all 5 expectations hold (TIME)
`
	if text != want {
		t.Errorf("told:\n%s\nwant:\n%s", text, want)
	}
}

// TestFailures: what is wrong in a story, or with the cluster, ends it with the
// line and the reason.
func TestFailures(t *testing.T) {
	lab.Need(t)
	for _, tt := range []struct{ name, text, want string }{
		{"not so", "on a echo yes\nexpect no 'it is no'\n", "story.txtar:3: not so: it is no: no match for no in\nyes\n"},
		{"so", "on a echo yes\n! expect yes 'it is not yes'\n", "not so: it is not yes: a match for yes in"},
		{"a program fails", "on a sh -c 'echo words; exit 3'\n", "words\n\nFAIL: story.txtar:2: a: sh: exit status 3"},
		{"a program succeeds", "! on a true\n", "a: true succeeded"},
		{"no such program", "on a no-such-program\n", "no-such-program: executable file not found in $PATH"},
		{"no such host", "on c true\n", `there is no host "c"`},
		{"too few words", "on a\n", "usage: on HOST CMD..."},
		{"no server", "get a http://127.0.0.1/\n", "connection refused"},
		{"waits in vain", "await 100ms never a echo again\n", "after 100ms: a: no match for never in\nagain"},
		{"no such server", "silence a :80\n", "a serves nothing on :80"},
		{"bad pattern", "on a true\nexpect ( 'x'\n", "error parsing regexp"},
		{"no command", "frobnicate\n", `unknown command "frobnicate"`},
		{"bad address", "bridge lan\nnic a eth0 lan nonsense\n", "a: nic eth0: invalid CIDR address: nonsense"},
		{"skips", "skip 'no reason'\n", "no reason"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told bytes.Buffer
			file := story(t, "host a\n"+tt.text)
			err := Tell(&told, false, t.TempDir(), file)
			if err == nil {
				t.Fatalf("the story did not fail:\n%s", &told)
			}
			got := strings.ReplaceAll(told.String(), filepath.Dir(file)+"/", "")
			if !strings.Contains(got, tt.want) {
				t.Errorf("told:\n%s\nwithout %q", got, tt.want)
			}
			if !regexp.MustCompile(`\n\nFAILED: a-story \(.*\)\n$`).MatchString(got) {
				t.Errorf("no verdict:\n%s", got)
			}
		})
	}
}

func TestTools(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if err := Tools(bin, dir); err == nil || !strings.Contains(err.Error(), "no lvsctl in "+bin) {
		t.Errorf("an empty folder: %v", err)
	}
	program := filepath.Join(bin, "lvsctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Tools(bin, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"lvsctl"}, Names...) {
		if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != program {
			t.Errorf("%s -> %s, %v", name, got, err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for want, args := range map[string][]string{
		"ipvsadm -L -n":                 {"ipvsadm", "-L", "-n"},
		"sh -c 'a | b'":                 {"sh", "-c", "a | b"},
		`echo 'it'\''s' ''`:             {"echo", "it's", ""},
		"ip -6 addr add 2001:db8::1/64": {"ip", "-6", "addr", "add", "2001:db8::1/64"},
	} {
		if got := commandLine(args); got != want {
			t.Errorf("%q: got %s, want %s", args, got, want)
		}
	}
}

func TestOutputCannotMoveTheCursor(t *testing.T) {
	var b bytes.Buffer
	n := &narrator{w: &b}
	n.output("a\x1b[2Jb\tc\r\nlast")
	if got := b.String(); got != "a?[2Jb\tc\nlast\n" {
		t.Errorf("%q", got)
	}
}
