// Package scenario runs stories about clusters. A story is one text file: the
// network, what happens in it, what must be true, and the words that explain it.
// The same file is a test (Test) and a demonstration (Tell).
//
// The file is a testscript (github.com/rogpeppe/go-internal/testscript) with the
// commands of the lab:
//
//	bridge NAME...                    switches
//	host NAME...                      machines
//	nic HOST CARD BRIDGE ADDR...      a card with addresses, plugged into a switch
//	serve HOST ADDR TEXT...           a web server that answers TEXT
//	silence HOST ADDR                 end that web server
//	file HOST PATH FILE               put FILE of the story on a machine
//	[!] on HOST CMD...                run a program; it must (not) succeed
//	start HOST CMD...                 run a program in the background
//	get HOST URL                      request a page
//	requests HOST URL N               request it N times, and count who answered
//	traffic HOST URL EVERY            request it again and again from now on
//	gap TEXT...                       how the traffic fared since the last gap; TEXT says what happened
//	answer HOST ADDR TEXT...          a UDP server that answers TEXT
//	ask HOST ADDR N                   ask it N times, from N ports, and count who answered
//	await LIMIT PATTERN HOST CMD...   repeat a program until its output matches
//	unplug HOST CARD, plug HOST CARD  pull a cable, put it back
//	say TEXT...                       tell the reader something; a line is a line
//	[!] expect PATTERN TEXT...        the last output must (not) match; TEXT says what that means
//
// Patterns are regular expressions in which ^ and $ match at every line.
package scenario

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Names are the names under which lvsctl stands in for other programs.
var Names = []string{"ipvsadm", "ipvsadm-save", "ipvsadm-restore", "ldirectord", "keepalived", "hb_standby", "hb_takeover", "cl_status"}

// Tools makes, in the empty folder dir, links by all its names to the lvsctl in
// the folder bin. dir then goes first in the PATH of a story's hosts.
func Tools(bin, dir string) error {
	lvsctl, err := filepath.Abs(filepath.Join(bin, "lvsctl"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(lvsctl); err != nil {
		return fmt.Errorf("no lvsctl in %s (make build makes one in bin): %w", bin, err)
	}
	for _, name := range append([]string{"lvsctl"}, Names...) {
		if err := os.Symlink(lvsctl, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Test runs stories as tests, one after the other; tools is a folder that Tools made.
func Test(t *testing.T, tools string, files ...string) {
	lab.Need(t)
	for _, file := range files {
		// The name of the folder, since all stories are called story.txtar.
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			testscript.Run(t, params(tools, file, silent{}))
		})
	}
}

func params(tools, file string, v voice) testscript.Params {
	return testscript.Params{
		Files: []string{file},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", tools+":"+env.Getenv("PATH"))
			env.Setenv("TERM", os.Getenv("TERM"))
			env.Values[key{}] = &stage{voice: v, hosts: map[string]*lab.Host{}, bridges: map[string]*lab.Bridge{}, servers: map[string]*lab.Server{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"bridge":   command(bridge),
			"host":     command(host),
			"nic":      command(nic),
			"serve":    command(serve),
			"silence":  command(silence),
			"file":     command(file_),
			"on":       either(on),
			"start":    command(start),
			"get":      command(get),
			"requests": command(requests),
			"traffic":  command(traffic_),
			"gap":      command(gap),
			"answer":   command(answer),
			"ask":      command(ask),
			"await":    command(await),
			"unplug":   command(unplug),
			"plug":     command(plug),
			"say":      command(say),
			"expect":   either(expect),
			"shell":    command(shell),
		},
	}
}

// key finds the stage among a script's values.
type key struct{}

// stage is what a story has built so far.
type stage struct {
	*testscript.TestScript
	voice   voice
	net     *lab.Net
	hosts   map[string]*lab.Host
	bridges map[string]*lab.Bridge
	servers map[string]*lab.Server // by host and address
	traffic *traffic
	last    string // output of the last command, for expect
	held    int    // expectations that held
}

// Helper and Cleanup make the stage a lab.T.
func (s *stage) Helper() {}

func (s *stage) Cleanup(f func()) { s.Defer(f) }

// command is one that can only succeed, either one that may be told to fail.
func command(f func(*stage, []string)) func(*testscript.TestScript, bool, []string) {
	return either(func(s *stage, not bool, args []string) {
		if not {
			s.Fatalf("this command cannot be negated")
		}
		f(s, args)
	})
}

func either(f func(*stage, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, not bool, args []string) {
		s := ts.Value(key{}).(*stage)
		s.TestScript = ts
		if s.net == nil {
			s.net = lab.Open(s)
			s.net.SetDir(ts.Getenv("WORK"))
			s.net.SetEnv([]string{
				"PATH=" + ts.Getenv("PATH"), "HOME=/root", "LC_ALL=C.UTF-8",
				"WORK=" + ts.Getenv("WORK"), "TERM=" + ts.Getenv("TERM"),
			})
		}
		f(s, not, args)
	}
}

// usage fails unless there are at least n arguments.
func (s *stage) usage(args []string, n int, form string) {
	if len(args) < n {
		s.Fatalf("usage: %s", form)
	}
}

func (s *stage) host(name string) *lab.Host {
	h := s.hosts[name]
	if h == nil {
		s.Fatalf("there is no host %q", name)
	}
	return h
}

// result is the output of a command: for the reader, for expect, and for
// testscript's own stdout command.
func (s *stage) result(text string) {
	s.last = text
	s.voice.output(text)
	io.WriteString(s.Stdout(), text)
}

func bridge(s *stage, args []string) {
	s.usage(args, 1, "bridge NAME...")
	for _, name := range args {
		if s.bridges[name] != nil {
			s.Fatalf("bridge %q is there already", name)
		}
		s.bridges[name] = s.net.Bridge(name)
	}
}

func host(s *stage, args []string) {
	s.usage(args, 1, "host NAME...")
	for _, name := range args {
		if s.hosts[name] != nil {
			s.Fatalf("host %q is there already", name)
		}
		s.hosts[name] = s.net.Host(name)
	}
}

func nic(s *stage, args []string) {
	s.usage(args, 3, "nic HOST CARD BRIDGE ADDR...")
	b := s.bridges[args[2]]
	if b == nil {
		s.Fatalf("there is no bridge %q", args[2])
	}
	s.host(args[0]).Nic(args[1], b, args[3:]...)
	s.voice.fact(fmt.Sprintf("%-8s %s on %s  %s", args[0], args[1], args[2], strings.Join(args[3:], " ")))
}

func serve(s *stage, args []string) {
	s.usage(args, 3, "serve HOST ADDR TEXT...")
	text := strings.Join(args[2:], " ")
	s.servers[args[0]+" "+args[1]] = s.host(args[0]).Serve(text+"\n", args[1])
	s.voice.fact(fmt.Sprintf("%-8s web server on %s: %s", args[0], args[1], text))
}

func silence(s *stage, args []string) {
	s.usage(args, 2, "silence HOST ADDR")
	server := s.servers[args[0]+" "+args[1]]
	if server == nil {
		s.Fatalf("%s serves nothing on %s", args[0], args[1])
	}
	s.Check(server.Close())
	delete(s.servers, args[0]+" "+args[1])
	s.voice.fact(fmt.Sprintf("%-8s the web server on %s has died", args[0], args[1]))
}

func file_(s *stage, args []string) {
	s.usage(args, 3, "file HOST PATH FILE")
	s.host(args[0]).WriteFile(args[1], s.ReadFile(args[2]), 0o644)
	s.voice.fact(fmt.Sprintf("%-8s %s", args[0], args[1]))
}

func on(s *stage, not bool, args []string) {
	s.usage(args, 2, "on HOST CMD...")
	h := s.host(args[0])
	s.voice.command(h.Name(), commandLine(args[1:]))
	out, err := h.Try(args[1:]...)
	s.result(out)
	if err != nil && !not {
		s.Fatalf("%s: %s: %v", h, args[1], err)
	}
	if err == nil && not {
		s.Fatalf("%s: %s succeeded", h, args[1])
	}
}

func start(s *stage, args []string) {
	s.usage(args, 2, "start HOST CMD...")
	h := s.host(args[0])
	s.voice.command(h.Name(), commandLine(args[1:])+" &")
	h.Start(args[1:]...)
}

func get(s *stage, args []string) {
	s.usage(args, 2, "get HOST URL")
	h := s.host(args[0])
	s.voice.command(h.Name(), "get "+args[1])
	s.result(h.Get(args[1]))
}

func requests(s *stage, args []string) {
	s.usage(args, 3, "requests HOST URL N")
	h := s.host(args[0])
	n, err := strconv.Atoi(args[2])
	if err != nil || n < 1 {
		s.Fatalf("requests: %q is not a number of requests", args[2])
	}
	s.voice.command(h.Name(), fmt.Sprintf("get %s  (%d times)", args[1], n))
	s.count(n, func() (string, error) { return h.TryGet(args[1]) })
}

// count asks n times and tells how often each answer came.
func (s *stage) count(n int, ask func() (string, error)) {
	counts := map[string]int{}
	for range n {
		body, err := ask()
		if err != nil {
			body = "error: " + err.Error()
		}
		counts[strings.TrimSpace(body)]++
	}
	var lines []string
	for answer, count := range counts {
		lines = append(lines, fmt.Sprintf("%4d  %s\n", count, answer))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[6:], b[6:]) })
	s.result(strings.Join(lines, ""))
}

func answer(s *stage, args []string) {
	s.usage(args, 3, "answer HOST ADDR TEXT...")
	text := strings.Join(args[2:], " ")
	conn, err := s.host(args[0]).TryListenPacket("udp", args[1])
	s.Check(err)
	s.Cleanup(func() { conn.Close() })
	go echo(conn, text)
	s.voice.fact(fmt.Sprintf("%-8s UDP server on %s: %s", args[0], args[1], text))
}

// echo answers every datagram with a text until the socket is closed.
func echo(conn net.PacketConn, text string) {
	buf := make([]byte, 1500)
	for {
		_, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo([]byte(text), from) // the client notices what does not come
	}
}

// askPatience is for an answer that comes at once when it comes.
const askPatience = 20 * time.Second

func ask(s *stage, args []string) {
	s.usage(args, 3, "ask HOST ADDR N")
	h := s.host(args[0])
	n, err := strconv.Atoi(args[2])
	if err != nil || n < 1 {
		s.Fatalf("ask: %q is not a number of questions", args[2])
	}
	s.voice.command(h.Name(), fmt.Sprintf("ask %s  (%d times)", args[1], n))
	s.count(n, func() (string, error) { return question(h, args[1]) })
}

// question sends one datagram from a port of its own.
func question(h *lab.Host, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askPatience)
	defer cancel()
	conn, err := h.TryDial(ctx, "udp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	k, err := conn.Read(buf)
	return string(buf[:k]), err
}

func await(s *stage, args []string) {
	s.usage(args, 4, "await LIMIT PATTERN HOST CMD...")
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		s.Fatalf("await: %v", err)
	}
	pattern := s.pattern(args[1])
	h := s.host(args[2])
	s.voice.command(h.Name(), commandLine(args[3:]))
	lab.Eventually(s, limit, func() error {
		out, err := h.Try(args[3:]...)
		s.last = out
		if err != nil {
			return fmt.Errorf("%s: %s: %w\n%s", h, args[3], err, out)
		}
		if !pattern.MatchString(out) {
			return fmt.Errorf("%s: no match for %s in\n%s", h, args[1], out)
		}
		return nil
	})
	s.result(s.last)
}

func unplug(s *stage, args []string) {
	s.usage(args, 2, "unplug HOST CARD")
	s.host(args[0]).Unplug(args[1])
	s.voice.fact(fmt.Sprintf("%-8s %s is unplugged", args[0], args[1]))
}

func plug(s *stage, args []string) {
	s.usage(args, 2, "plug HOST CARD")
	s.host(args[0]).Plug(args[1])
	s.voice.fact(fmt.Sprintf("%-8s %s is plugged in", args[0], args[1]))
}

func say(s *stage, args []string) { s.voice.say(strings.Join(args, " ")) }

func expect(s *stage, not bool, args []string) {
	s.usage(args, 2, "expect PATTERN TEXT...")
	text := strings.Join(args[1:], " ")
	if s.pattern(args[0]).MatchString(s.last) == not {
		word := "no match"
		if not {
			word = "a match"
		}
		s.Fatalf("not so: %s: %s for %s in\n%s", text, word, args[0], s.last)
	}
	s.held++
	s.voice.holds(text)
}

func (s *stage) pattern(text string) *regexp.Regexp {
	re, err := regexp.Compile("(?m)" + text)
	if err != nil {
		s.Fatalf("%v", err)
	}
	return re
}
