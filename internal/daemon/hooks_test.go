package daemon

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHooksRunInOrderWithTheirWords(t *testing.T) {
	out := filepath.Join(t.TempDir(), "log")
	var g gathered
	h := NewHooks(g.say)
	run(t, h)
	for i := range 20 {
		h.Do(Command{Name: "fallbackcommand", Shell: "printf '%s|' >>" + out, Argv: []string{fmt.Sprint(i), "10.0.0.1:80", "a'b \"c\" $d"}})
	}
	h.Do(Command{Name: "callback", Argv: []string{"/bin/sh", "-c", "echo end >>" + out}})
	read := func() string { b, _ := os.ReadFile(out); return string(b) }
	eventually(t, "all have run", func() bool { return strings.HasSuffix(read(), "end\n") })
	want := ""
	for i := range 20 {
		want += fmt.Sprintf(`%d|10.0.0.1:80|a'b "c" $d|`, i)
	}
	if got := strings.TrimSuffix(read(), "end\n"); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	if g.all() != "" {
		t.Errorf("complained: %s", g.all())
	}
}

func TestHooksThatFail(t *testing.T) {
	var g gathered
	h := NewHooks(g.say)
	run(t, h)
	h.Do(Command{Name: "callback", Argv: []string{"/no/such/program"}})
	h.Do(Command{Name: "callback", Shell: "echo oh no; exit 3"})
	h.Do(Command{Name: "callback"})
	h.Do(Command{Name: "callback", Shell: "head -c 1000000 /dev/zero | tr '\\0' x; false"})
	h.Do(Command{Name: "callback", Shell: "sleep 60 >/dev/null 2>&1 &"}) // leaves something running, and is well
	h.Do(Command{Name: "end", Shell: "false"})
	eventually(t, "all are said", func() bool { return strings.Contains(g.all(), "end false: exit status 1") })
	all := g.all()
	for _, want := range []string{"/no/such/program: no such file", "exit status 3: oh no", "there is nothing to run"} {
		if !strings.Contains(all, want) {
			t.Errorf("never said %q:\n%s", want, all)
		}
	}
	if len(all) > 3*maxOutput || strings.Count(all, "\n") != 4 {
		t.Errorf("%d bytes, %d lines", len(all), strings.Count(all, "\n")+1)
	}
}

// A command that hangs, ignores TERM and has children is gone after its time,
// all of it.
func TestHooksThatHangAreKilledWhole(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	var g gathered
	h := NewHooks(g.say)
	run(t, h)
	h.Do(Command{Name: "callback", Timeout: 500 * time.Millisecond, Shell: "trap '' TERM HUP; sleep 600 & echo $! $$ >" + pids + "; wait"})
	h.Do(Command{Name: "end", Shell: "false"})
	eventually(t, "the next has run", func() bool { return strings.Contains(g.all(), "end false") })
	if !strings.Contains(g.all(), "killed after 500ms") {
		t.Errorf("said: %s", g.all())
	}
	b, _ := os.ReadFile(pids)
	for _, word := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(word)
		must(t, err)
		eventually(t, "process "+word+" is gone", func() bool { return gone(pid) })
	}
}

// gone tells whether a process has ended, were it not yet collected by its
// parent.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func TestTooManyHooksAreRefused(t *testing.T) {
	var g gathered
	h := NewHooks(g.say)
	for range maxHooks + 2 {
		h.Do(Command{Name: "callback", Shell: "true"})
	}
	if n := strings.Count(g.all(), "not run, 256 commands wait already"); n != 2 {
		t.Errorf("%d refusals, want 2", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, h.Run(ctx))
}

// postOffice is a mail server that accepts everything and remembers it.
func postOffice(t *testing.T, greet bool) (addr string, mails <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	out := make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if greet {
					fmt.Fprint(conn, "220 post.lab\r\n")
				}
				attend(conn, out)
			}()
		}
	}()
	return l.Addr().String(), out
}

func attend(conn net.Conn, out chan<- string) {
	lines := bufio.NewScanner(conn)
	heard, data := "", false
	for lines.Scan() {
		heard += lines.Text() + "\n"
		switch {
		case data && lines.Text() == ".":
			data = false
			fmt.Fprint(conn, "250 taken\r\n")
			out <- heard
			heard = ""
		case data:
		case lines.Text() == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
		default:
			fmt.Fprint(conn, "250 fine\r\n")
		}
	}
}

func TestMailBySMTP(t *testing.T) {
	addr, mails := postOffice(t, true)
	var g gathered
	m := NewMailer(g.say)
	run(t, m)
	m.Send(Mail{From: "lb@lab", To: []string{"ops@lab", "boss@lab"}, SMTP: addr,
		Subject: "[Shop] Deleted real server: 10.1.0.12:80 (10.1.0.100:80)\r\nBcc: all@world", Body: "ldirectord host: x\n.\nend\n"})
	got := <-mails
	for _, want := range []string{
		"MAIL FROM:<lb@lab>", "RCPT TO:<ops@lab>", "RCPT TO:<boss@lab>",
		"From: lb@lab\nTo: ops@lab, boss@lab\nSubject: [Shop] Deleted real server: 10.1.0.12:80 (10.1.0.100:80)  Bcc: all@world\nDate: ",
		"\n\nldirectord host: x\n..\nend\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if g.all() != "" {
		t.Error(g.all())
	}
}

func TestMailServersThatDoNotAnswer(t *testing.T) {
	silent, _ := postOffice(t, false)
	good, mails := postOffice(t, true)
	var g gathered
	m := NewMailer(g.say)
	m.Timeout = 200 * time.Millisecond
	run(t, m)
	m.Send(Mail{To: []string{"a@b"}, Subject: "one", SMTP: silent})
	m.Send(Mail{To: []string{"a@b"}, Subject: "two", SMTP: "127.0.0.1:1"})
	m.Send(Mail{To: []string{"a@b\r\nDATA"}, Subject: "three", SMTP: good})
	m.Send(Mail{To: []string{"a@b"}, Subject: "four", SMTP: good})
	if got := <-mails; !strings.Contains(got, "Subject: four") {
		t.Errorf("%s", got)
	}
	for _, want := range []string{`mail "one" not sent: `, `mail "two" not sent: `, `mail "three" not sent: `} {
		if !strings.Contains(g.all(), want) {
			t.Errorf("never said %q:\n%s", want, g.all())
		}
	}
}

func TestMailByTheLocalMailer(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "sendmail")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" >"+dir+"/argv\ncat >"+dir+"/mail.tmp\nmv "+dir+"/mail.tmp "+dir+"/mail\n"), 0o755))
	var g gathered
	m := NewMailer(g.say)
	m.Sendmail = script
	run(t, m)
	m.Send(Mail{From: "LB <lb@lab>", To: []string{"ops@lab"}, Subject: "hello", Body: "there\n"})
	read := func(name string) string { b, _ := os.ReadFile(filepath.Join(dir, name)); return string(b) }
	eventually(t, "it is sent", func() bool { return read("mail") != "" })
	if got := read("argv"); got != "-oi -f lb@lab -- ops@lab\n" {
		t.Errorf("arguments %q", got)
	}
	if got := read("mail"); !strings.HasPrefix(got, "From: LB <lb@lab>\nTo: ops@lab\nSubject: hello\n") || !strings.HasSuffix(got, "\n\nthere\n") {
		t.Errorf("%q", got)
	}
}
