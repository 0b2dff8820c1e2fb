package faultlab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// dial opens a connection through a service, with a word from the other end.
func (r *rig) dial(addr string) *net.TCPConn {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := r.client.TryDial(ctx, "tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		r.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// hold accepts connections, says a word, and keeps them open.
func (r *rig) hold(addr string) {
	l, err := r.farm.TryListen("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "hello")
			go func() { _, _ = io.Copy(io.Discard, conn); conn.Close() }()
		}
	}()
}

// fails wants a command to end with a status and a word.
func (r *rig) fails(status, word string, args ...string) {
	r.Helper()
	out, err := r.director.Try(append([]string{lvsctl()}, args...)...)
	if err == nil || err.Error() != "exit status "+status || !strings.Contains(out, word) {
		r.Errorf("%q: %v, want exit status %s and %q:\n%s", args, err, status, word, out)
	}
}

// TestDrain follows connections to their end.
func TestDrain(t *testing.T) {
	r := newRig(t)
	r.fails("3", "no daemon answers", "drain", "10.2.0.11")
	r.hold("10.2.0.11:7")
	r.hold("10.2.0.12:7")
	r.begin(head+"virtual=10.1.0.1:7\n\treal=10.2.0.11:7 masq\n\treal=10.2.0.12:7 masq\n\tchecktype=connect\n\tscheduler=rr\n",
		"-A -t 10.1.0.1:7 -s rr\n-a -t 10.1.0.1:7 -r 10.2.0.11:7 -m -w 1\n-a -t 10.1.0.1:7 -r 10.2.0.12:7 -m -w 1\n")
	conns := []*net.TCPConn{r.dial("10.1.0.1:7"), r.dial("10.1.0.1:7")} // one each
	r.fails("3", "not in "+cf, "drain", "10.2.0.99")
	r.fails("2", "unexpected argument", "drain", "10.2.0.11", "10.2.0.12")
	r.fails("2", "a time to come", "drain", "10.2.0.11", "--timeout", "-1s")
	p := r.director.Start(lvsctl(), "drain", "10.2.0.11", "--wait")
	p.Await("TCP 10.1.0.1:7  10.2.0.11:7  draining  1 active, 0 inactive, 0 persistent", patience)
	if !p.Running() {
		t.Errorf("with a connection left: %s", p.Output())
	}
	for _, c := range conns {
		_ = c.SetLinger(0) // a reset, which the kernel forgets in 10 s
		c.Close()
	}
	lab.Eventually(t, 2*patience, func() error {
		if p.Running() {
			return fmt.Errorf("drain --wait goes on: %s", p.Output())
		}
		return nil
	})
	if err := p.Wait(); err != nil || !strings.Contains(p.Output(), "draining  0 active, 0 inactive, 0 persistent") {
		t.Errorf("%v\n%s", err, p.Output())
	}
	r.says(log, `Drained real server: 10\.2\.0\.11:7 \(10\.1\.0\.1:7\): no connection is left`)
	r.lvs("undrain", "10.2.0.11")
	r.lvs("undrain", "10.2.0.11") // which is not drained: nothing to do
	r.wantTable("-A -t 10.1.0.1:7 -s rr\n-a -t 10.1.0.1:7 -r 10.2.0.11:7 -m -w 1\n-a -t 10.1.0.1:7 -r 10.2.0.12:7 -m -w 1\n")
	r.dial("10.1.0.1:7")
	r.dial("10.1.0.1:7")
	out := r.lvs("drain", "10.2.0.11", "--timeout", "2s", "--wait")
	if !strings.Contains(out, "1 active, 0 inactive, 0 persistent  until ") || !strings.Contains(out, "10.2.0.11:7  drained") {
		t.Errorf("--timeout --wait: %s", out)
	}
	r.wantTable("-A -t 10.1.0.1:7 -s rr\n-a -t 10.1.0.1:7 -r 10.2.0.12:7 -m -w 1\n")
	r.ld("restart")
	r.wantTable("-A -t 10.1.0.1:7 -s rr\n-a -t 10.1.0.1:7 -r 10.2.0.12:7 -m -w 1\n") // and stays drained
	p = r.director.Start(lvsctl(), "drain", "10.2.0.12", "--wait")
	p.Await("draining  1 active", patience)
	r.lvs("undrain", "10.2.0.12")
	if err := p.Wait(); err == nil || !strings.Contains(p.Output(), "somebody has ended the drain") {
		t.Errorf("undrained meanwhile: %v\n%s", err, p.Output())
	}
}

// TestDrainOfAPersistentService: what keeps known clients coming is said, with
// the setting that ends it, and that does.
func TestDrainOfAPersistentService(t *testing.T) {
	r := newRig(t)
	const knob = "net.ipv4.vs.expire_quiescent_template"
	r.director.SetSysctl(knob, "0")
	r.begin(strings.Replace(file(1), "\tchecktype", "\tpersistent=600\n\tchecktype", 1),
		strings.Replace(table(1), "10.1.0.1:80 -s wrr", "10.1.0.1:80 -s wrr -p 600", 1))
	known := r.client.Get("http://10.1.0.1/")
	out := r.lvs("drain", known, "--virtual", "10.1.0.1")
	if !strings.Contains(out, "TCP 10.1.0.1:80 is persistent for 600 s") || !strings.Contains(out, "sysctl -w "+knob+"=1") {
		t.Errorf("the advice is missing:\n%s", out)
	}
	r.says(log, "Draining real server: "+known+":80 .*the service is persistent: .*"+knob+" is 1")
	lab.Eventually(t, patience, func() error { // a template is counted
		if out := r.lvs("why", known, "--virtual", "10.1.0.1"); !strings.Contains(out, " 1 persistent") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if got := r.client.Get("http://10.1.0.1/"); got != known {
		t.Errorf("with %s=0 the client is sent to %s, before it was %s", knob, got, known)
	}
	r.director.SetSysctl(knob, "1")
	if got := r.client.Get("http://10.1.0.1/"); got == known {
		t.Errorf("with %s=1 the client still comes to %s", knob, got)
	}
	if out := r.lvs("drain", known, "--virtual", "10.1.0.1"); strings.Contains(out, "sysctl") {
		t.Errorf("advice that was followed is given again:\n%s", out)
	}
}

// post is a mail server that takes everything.
func (r *rig) post(addr string) (mails func() string) {
	l, err := r.farm.TryListen("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var all strings.Builder
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprint(conn, "220 post\r\n")
				data := false
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					line := lines.Text()
					mu.Lock()
					fmt.Fprintln(&all, line)
					mu.Unlock()
					switch {
					case data && line != ".":
						continue
					case line == "DATA":
						fmt.Fprint(conn, "354 go on\r\n")
					default:
						fmt.Fprint(conn, "250 fine\r\n")
					}
					data = line == "DATA"
				}
			}()
		}
	}()
	return func() string { mu.Lock(); defer mu.Unlock(); return all.String() }
}

// datagrams are those that come to a unix socket of the director.
func (r *rig) datagrams(path string) <-chan string {
	var conn *net.UnixConn
	var err error
	r.director.Do(func() { conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}) })
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		b := make([]byte, 64<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			out <- string(b[:n])
		}
	}()
	return out
}

// await takes datagrams until one has a word.
func await(t *testing.T, in <-chan string, word string) string {
	t.Helper()
	var heard []string
	late := time.After(patience)
	for {
		select {
		case d, open := <-in:
			if strings.Contains(d, word) {
				return d
			}
			if heard = append(heard, d); open {
				continue
			}
		case <-late:
		}
		t.Fatalf("never heard %q, but %q", word, heard)
	}
}

// TestMailAndLogs: a server's death reaches the mail server, the local mailer and
// the system's log; the log file may be moved away.
func TestMailAndLogs(t *testing.T) {
	r := newRig(t)
	mails := r.post("10.2.0.13:25")
	r.director.WriteFile("/etc/sbin/sendmail", "#!/bin/sh\n{ echo \"$@\"; cat; } >>/var/log/sendmail\n", 0o755)
	r.director.Run("mount", "--bind", "/etc/sbin", "/usr/sbin")
	const alert = "emailalert=\"ops@lab, boss@lab\"\nemailalertfrom=lb@lab\nemailalertstatus=running\n"
	with := strings.NewReplacer("virtual=10.1.0.1:80\n", "virtual=10.1.0.1:80\n\tservicename=Shop\n\tcomment=ours\n\tsmtp=10.2.0.13\n").Replace(file(1))
	r.begin(alert+with, table(1))
	r.says(log, `Added real server: 10\.2\.0\.12:80`)
	r.director.Run("mv", log, log+".1") // as logrotate does
	r.close("10.2.0.11")
	lab.Eventually(t, patience, func() error {
		for _, want := range []string{
			"MAIL FROM:<lb@lab>", "RCPT TO:<ops@lab>", "RCPT TO:<boss@lab>", "Subject: [Shop] Deleted real server: 10.2.0.11:80 (10.1.0.1:80)",
			"ldirectord host: director", "Daemon-Status: running", "Service name: Shop", "Comment: ours",
		} {
			if got := mails(); !strings.Contains(got, want) || strings.Contains(got, "10.1.0.2:80") {
				return fmt.Errorf("no %q in\n%s\nlog:\n%s", want, got, r.log())
			}
		}
		return nil
	})
	r.says("/var/log/sendmail", `^-oi -f lb@lab -- ops@lab boss@lab$`)
	r.says("/var/log/sendmail", `^Subject: Deleted real server: 10\.2\.0\.11:80 \(10\.1\.0\.2:80\)$`)
	r.says(log, `Deleted real server: 10\.2\.0\.11:80`)
	if old := r.director.ReadFile(log + ".1"); strings.Contains(old, "Deleted real server") {
		t.Errorf("the file that was moved away is written on:\n%s", old)
	}

	lines := r.datagrams("/run/log") // where it is looked for, if not at /dev/log
	if _, err := r.director.Try("test", "-e", "/dev/log"); err == nil {
		r.director.Run("mount", "--bind", "/run/log", "/dev/log")
	}
	r.write(strings.Replace(with, `"`+log+`"`, `"local3"`, 1))
	r.lvs("reload")
	r.open("10.2.0.11")
	if d := await(t, lines, "Added real server: 10.2.0.11:80 (10.1.0.1:80)"); !strings.HasPrefix(d, "<158>") || !strings.Contains(d, " ldirectord[") {
		t.Errorf("syslog hears %q", d)
	}
}

// TestTheServiceManagerHears what the daemon does (sd_notify).
func TestTheServiceManagerHears(t *testing.T) {
	r := newRig(t)
	told := r.datagrams("/run/notify")
	r.write(file(1))
	p := r.director.Start("env", "NOTIFY_SOCKET=/run/notify", "WATCHDOG_USEC=4000000", lvsctl(), "ldirectord", "--foreground", "test.cf", "start")
	await(t, told, "READY=1")
	r.wantTable(table(1))
	await(t, told, "WATCHDOG=1")
	await(t, told, "WATCHDOG=1")
	if out := r.ld("status"); !strings.Contains(out, fmt.Sprintf("is running with pid: %d", p.Pid())) {
		t.Errorf("status: %s", out)
	}
	r.ld("start") // there is one already
	for text, taken := range map[string]bool{file(2): true, "nonsense\n": false, "": false} {
		r.write(text)
		p.Signal(syscall.SIGHUP)
		if d := await(t, told, "RELOADING=1"); !strings.Contains(d, "\nMONOTONIC_USEC=") {
			t.Errorf("a reload is told by %q", d)
		}
		await(t, told, "READY=1")
		if taken {
			r.wantTable(table(2))
		}
	}
	r.director.Run("rm", cf)
	p.Signal(syscall.SIGHUP)
	await(t, told, "RELOADING=1")
	await(t, told, "READY=1")
	r.wantTable(table(2))
	if err := p.Stop(); err != nil {
		t.Errorf("stop: %v\n%s", err, p.Output())
	}
	await(t, told, "STOPPING=1")
	r.wantTable("")
	if _, err := r.director.TryReadFile(pid); err == nil {
		t.Error("the pid file is left behind")
	}
}
