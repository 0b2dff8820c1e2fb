package faultlab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestTheClockIsSet: checks, looks at the table and drains keep their rhythm.
func TestTheClockIsSet(t *testing.T) {
	lab.Need(t)
	if !lab.InGuest() {
		t.Skip("the clock is this machine's; LVSCTL_LAB=uml runs this test in a guest")
	}
	r := newRig(t)
	// 10.1.0.3 has no check whose results would wake anybody.
	quiet := "-A -t 10.1.0.3:80 -s wrr\n-a -t 10.1.0.3:80 -r 10.2.0.13:80 -m -w 1\n"
	r.begin(file(1)+"virtual=10.1.0.3:80\n\treal=10.2.0.13:80 masq\n\tchecktype=on\n", table(1)+quiet)
	r.lvs("drain", "10.2.0.13", "--timeout", "1h")
	drained := table(1) + strings.Replace(quiet, "-w 1", "-w 0", 1)
	const year = 400 * 24 * time.Hour
	for _, jump := range []time.Duration{year, -year - 2*time.Hour} {
		setClock(t, jump)
		r.wantTable(drained)
		r.lvs("ipvsadm", "-d", "-t", "10.1.0.3:80", "-r", "10.2.0.13:80") // by hand
		r.close("10.2.0.12")
		r.wantTable(without(drained, "10.2.0.12"))
		r.open("10.2.0.12")
		r.wantTable(drained)
	}
	// Nothing but looks at the table is left to wake the daemon. The clock ends
	// where it was.
	setClock(t, 4*time.Hour)
	r.write(head + "virtual=10.1.0.3:80\n\treal=10.2.0.13:80 masq\n\tchecktype=on\n")
	r.lvs("reload")
	setClock(t, -2*time.Hour)
	r.lvs("ipvsadm", "-d", "-t", "10.1.0.3:80", "-r", "10.2.0.13:80")
	r.wantTable(strings.Replace(quiet, "-w 1", "-w 0", 1))
}

// setClock moves the guest's clock, which nobody else uses.
func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	tv := syscall.NsecToTimeval(time.Now().Add(by).UnixNano())
	if err := syscall.Settimeofday(&tv); err != nil {
		t.Fatal(err)
	}
}

// TestNoDescriptors takes all descriptors away from the daemon. No server is
// called dead for that, and all is well when they are back.
func TestNoDescriptors(t *testing.T) {
	r := newRig(t)
	r.begin(file(1), table(1))
	r.says(log, "10.2.0.12:80 .* is up")
	limit := func(n string) { r.director.Run("prlimit", "--pid", fmt.Sprint(r.pid()), "--nofile="+n) }
	limit("3:65536")
	time.Sleep(4 * time.Second) // some rounds of checks
	if got := r.table(); got != table(1) {
		t.Errorf("without descriptors:\n%s", got)
	}
	r.lvs("ipvsadm", "-d", "-t", "10.1.0.1:80", "-r", "10.2.0.12:80") // by hand
	r.write(file(2))
	r.signal(syscall.SIGHUP)
	time.Sleep(2 * time.Second)
	limit("1024:65536")
	r.says(log, `Cannot check real server: 10\.2\.0\.12:80 .*out of file descriptors`) // written late
	r.says(log, "too many open files")
	r.signal(syscall.SIGHUP)
	r.wantTable(table(2))
	if strings.Contains(r.log(), "is down") {
		t.Errorf("a server was called dead:\n%s", r.log())
	}
	r.close("10.2.0.12")
	r.wantTable(without(table(2), "10.2.0.12"))
	if out := r.lvs("status"); !strings.Contains(out, "1 of 2 servers serve") {
		t.Errorf("status: %s", out)
	}
}

// TestDiskFull: log, state and monitor file have no room. The table is right all
// the time, and what has to be kept is kept as soon as there is room.
func TestDiskFull(t *testing.T) {
	r := newRig(t)
	for _, dir := range []string{"/var/log", "/var/lib/lvsctl"} {
		r.director.Run("mkdir", "-p", dir)
		r.director.Run("mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", dir)
	}
	fill := func(dir string) { _, _ = r.director.Try("dd", "if=/dev/zero", "of="+dir+"/filler", "bs=1k") }
	const monitor = "/var/log/monitor"
	text := strings.Replace(file(1), "virtual=10.1.0.2", "\tmonitorfile=\""+monitor+"\"\nvirtual=10.1.0.2", 1)
	fill("/var/log")
	fill("/var/lib/lvsctl")
	r.begin(text, table(1))
	r.close("10.2.0.12")
	r.wantTable(without(table(1), "10.2.0.12"))
	r.lvs("drain", "10.2.0.11", "--virtual", "10.1.0.2")
	drained := strings.Replace(table(1), "-A -t 10.1.0.2:80 -s wrr\n-a -t 10.1.0.2:80 -r 10.2.0.11:80 -m -w 1", "-A -t 10.1.0.2:80 -s wrr\n-a -t 10.1.0.2:80 -r 10.2.0.11:80 -m -w 0", 1)
	r.wantTable(without(drained, "10.2.0.12"))
	r.write(strings.Replace(text, "10.1.0.1:80\n\treal=10.2.0.11:80 masq", "10.1.0.1:80\n\treal=10.2.0.11:80 masq 3", 1))
	r.lvs("reload")
	heavy := strings.Replace(drained, "10.1.0.1:80 -r 10.2.0.11:80 -m -w 1", "10.1.0.1:80 -r 10.2.0.11:80 -m -w 3", 1)
	r.wantTable(without(heavy, "10.2.0.12"))
	r.director.Run("rm", "/var/log/filler", "/var/lib/lvsctl/filler")
	for _, late := range []string{
		`state cannot be kept, and would not outlive a restart: .*no space left`, `state is kept again`,
		`monitorfile cannot be written, its lines are lost: .*no space left`, `10\.2\.0\.12:80 \(10\.1\.0\.1:80\) is down`,
	} {
		r.says(log, late)
	}
	r.says(monitor, `^\[.*\] \[\d+\] connect tcp 10\.2\.0\.11 80 .*\[up\] `)
	r.kill()
	r.open("10.2.0.12")
	r.ld("start")
	r.wantTable(heavy) // the drain has outlived it
	for n, line := range strings.Split(strings.TrimSuffix(r.log(), "\n"), "\n") {
		if !regexp.MustCompile(`^\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\|test\.cf\|\d+\] `).MatchString(line) {
			t.Errorf("line %d of the log is torn: %q", n+1, line)
		}
	}
}

// TestKilledAtAnyMoment kills the daemon in the middle of what it does. The
// table never holds less than it did, and the next start brings the new state.
func TestKilledAtAnyMoment(t *testing.T) {
	r := newRig(t)
	r.begin(file(1), table(1))
	steady := without(table(1), "10.1.0.2:80")
	for i := range 4 {
		weight := i + 2
		r.write(file(weight))
		moment := time.Duration(i) * 20 * time.Millisecond
		if i%2 == 0 {
			r.signal(syscall.SIGHUP)
			time.Sleep(moment)
			r.kill()
		} else {
			r.kill()
			p := r.director.Start(lvsctl(), "ldirectord", "test.cf", "start")
			time.Sleep(moment)
			// The daemon and the process that waits for it are not one group.
			if _, err := r.director.TryReadFile(pid); err == nil {
				if n, err := strconv.Atoi(strings.TrimSpace(r.director.ReadFile(pid))); err == nil {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
			_ = p.Wait() // it says that the daemon has ended, or that it runs
		}
		if got := r.table(); !strings.Contains(got, steady) || strings.Count(got, "10.1.0.2:80") != 2 {
			t.Fatalf("after kill %d:\n%s", i, got)
		}
		r.ld("start")
		r.wantTable(table(weight))
	}
	left := r.director.Run("sh", "-c", "ls /run/lvsctl /var/lib/lvsctl")
	if strings.Count(left, "test.cf") > 3 {
		t.Errorf("files pile up:\n%s", left)
	}
}

// TestStateIsTornOrAbsent: what it kept is forgotten, and that is said.
func TestStateIsTornOrAbsent(t *testing.T) {
	r := newRig(t)
	r.begin(file(1), table(1))
	for i, damage := range []string{`echo '{"version":1,"da' >%s`, "rm -f %s"} {
		r.kill()
		r.director.Run("sh", "-c", fmt.Sprintf(damage, state))
		r.ld("start")
		r.wantTable(table(1))
		// Its absence is not worth a word.
		lab.Eventually(t, patience, func() error {
			text := r.log()
			if n := strings.Count(text, "cannot be used, what it kept is forgotten"); n != 1 || strings.Count(text, "Starting Linux Director") != i+2 {
				return fmt.Errorf("%s: said %d times:\n%s", damage, n, text)
			}
			return nil
		})
	}
}

// TestRunCannotBeWritten: a daemon that nobody could find again is not started;
// one in front that a supervisor knows works without its socket.
func TestRunCannotBeWritten(t *testing.T) {
	r := newRig(t)
	r.director.Input(table(7), lvsctl(), "ipvsadm-restore", "-n") // of a daemon before
	r.write(file(1))
	r.director.Run("mount", "-o", "remount,bind,ro", "/run")
	out, err := r.director.Try(lvsctl(), "ldirectord", "test.cf", "start")
	if err == nil || !strings.Contains(out, filepath.Base(pid)) || !strings.Contains(out, "read-only file system") || r.table() != table(7) {
		t.Errorf("start: %v\n%s\n%s", err, out, r.table())
	}
	r.write("supervised=yes\n" + file(1))
	p := r.director.Start(lvsctl(), "ldirectord", "test.cf", "start")
	r.wantTable(table(1))
	p.Await("No control socket:", patience)
	if err := p.Stop(); err != nil {
		t.Errorf("supervised: %v\n%s", err, p.Output())
	}
	r.wantTable("")
}

// TestTheResolverIsDead: nobody waits for it but who needs it. A name in the
// maintenance folder, which has to be looked up for each server, delays no check.
func TestTheResolverIsDead(t *testing.T) {
	r := newRig(t)
	r.director.WriteFile("/etc/resolv.conf", "nameserver 10.2.0.99\noptions timeout:1 attempts:1\n", 0o644) // nobody is there
	r.director.WriteFile("/etc/out/web9", "", 0o644)
	named := "maintenancedir=/etc/out\n" + strings.Replace(file(1), "10.2.0.12:80", "web2.example:80", 1)
	r.write(named)
	out, err := r.director.Try(lvsctl(), "ldirectord", "test.cf", "start")
	if err == nil || !strings.Contains(out, "web2.example") || r.table() != "" {
		t.Errorf("start: %v\n%s", err, out)
	}
	r.director.WriteFile("/etc/hosts", "10.2.0.12 web2.example\n", 0o644) // which needs no resolver
	r.begin(named, table(1))
	r.write(strings.Replace(file(2), "10.2.0.12:80", "web3.example:80", 1))
	r.signal(syscall.SIGHUP)
	r.says(log, "Reloading Linux Director Daemon config on signal")
	r.close("10.2.0.12")
	r.wantTable(without(table(1), "10.2.0.12"))
	r.says(log, "is not taken; the configuration in force stays")
	r.says(log, "error: "+cf+":6: .*web3.example")
	r.write(file(3))
	r.lvs("reload")
	r.wantTable(without(table(3), "10.2.0.12"))
	r.open("10.2.0.12")
	r.wantTable(table(3))
}

// TestTheFileIsChanged in all ways in which files are, with autoreload.
func TestTheFileIsChanged(t *testing.T) {
	r := newRig(t)
	auto := func(weight int) string { return "autoreload=yes\n" + file(weight) }
	r.begin(auto(1), table(1))
	sh := func(format string, args ...any) {
		r.director.Run("sh", "-c", "set -e; cd /etc/ha.d; "+fmt.Sprintf(format, args...))
	}
	// bad makes the file one that is not taken: word is said once more, and the
	// table stays.
	bad := func(weight int, word, format string, args ...any) {
		t.Helper()
		before := strings.Count(r.log(), word)
		sh(format, args...)
		lab.Eventually(t, patience, func() error {
			if strings.Count(r.log(), word) == before {
				return fmt.Errorf("%q is not said again:\n%s", word, r.log())
			}
			return nil
		})
		if got := r.table(); got != table(weight) {
			t.Fatalf("%s has changed the table:\n%s", format, got)
		}
	}
	// as a ConfigMap is: the folder that a link leads to is another one
	for weight, dir := range map[int]string{2: "..one", 3: "..two"} {
		r.director.WriteFile("/etc/ha.d/"+dir+"/test.cf", auto(weight), 0o644)
	}
	sh("ln -s ..one ..data; ln -sf ..data/test.cf new; mv -T new test.cf")
	r.wantTable(table(2))
	sh("ln -s ..two next; mv -T next ..data; rm -r ..one")
	r.wantTable(table(3))
	bad(3, "no such file or directory; the configuration in force stays", "rm test.cf")
	bad(3, "is a directory, not a file; the configuration in force stays", "mkdir test.cf")
	sh("rmdir test.cf")
	r.write(auto(4))
	r.wantTable(table(4))
	// Emptied, and written again bit by bit: nothing but the whole is taken.
	r.director.WriteFile("/etc/ha.d/whole", auto(5), 0o644)
	h := r.director.Start("sh", "-c", "exec >"+cf+"; sleep 1; head -n 7 /etc/ha.d/whole; sleep 1; tail -n +8 /etc/ha.d/whole")
	r.wantTable(table(5))
	if err := h.Wait(); err != nil {
		t.Error(err, h.Output())
	}
	const refused = "is not taken; the configuration in force stays"
	bad(5, refused, "truncate -s 60 test.cf")
	bad(5, refused, "head -c 3000 /dev/urandom >test.cf")
	bad(5, "no virtual service in it, while 2 are in force", ": >test.cf")
	sh("cp whole test.cf")
	r.close("10.2.0.12")
	r.wantTable(without(table(5), "10.2.0.12"))
	sh("sed 's/masq 5/masq 6/' whole >x; mv x test.cf")
	r.wantTable(without(table(6), "10.2.0.12"))
	if strings.Contains(r.log(), "Purged virtual server") {
		t.Errorf("a service left on the way:\n%s", r.log())
	}
}

// TestCheckPrograms that hang, fork, ignore TERM, leak children or print without
// end: down after the timeout, nothing is left, and nobody else waits.
func TestCheckPrograms(t *testing.T) {
	r := newRig(t)
	var text strings.Builder
	text.WriteString(head + "fork=yes\nvirtual=10.1.0.1:80\n\treal=10.2.0.11:80 masq\n\treal=10.2.0.12:80 masq\n\tchecktype=connect\n")
	for i, body := range []string{
		"sleep 600", "trap '' TERM HUP INT; while :; do sleep 600; done", "sleep 600 & sleep 600 & wait",
		"(trap '' TERM; sleep 600) & exit 1", "sleep 600 & exit 1", "exec yes",
	} {
		interval, timeout := 1, 4
		if body == "exec yes" {
			interval = 60 // while it prints, a slow machine does nothing else
		}
		if strings.HasSuffix(body, "exit 1") {
			timeout = 60 // it has the time to exit that it needs
		}
		path := fmt.Sprintf("/etc/check%d", i)
		r.director.WriteFile(path, "#!/bin/sh\necho $$ >>/var/log/programs\n"+body+"\n", 0o755)
		fmt.Fprintf(&text, "virtual=10.1.1.%d:80\n\treal=10.2.0.11:80 masq\n\tchecktype=external\n\tchecktimeout=%d\n\tcheckinterval=%d\n\tcheckcommand=%s\n", i+1, timeout, interval, path)
	}
	r.write(text.String())
	r.ld("start")
	whole := without(table(1), "10.1.0.2:80")
	for i := range 6 {
		whole += fmt.Sprintf("-A -t 10.1.1.%d:80 -s wrr\n", i+1)
	}
	r.wantTable(whole)
	for _, why := range []string{"check0 did not end within 4 s, and was killed", "check1 did not end", "check2 did not end", "check3 exits with 1", "check4 exits with 1", "check5 did not end"} {
		r.says(log, "is down: /etc/"+why)
	}
	r.close("10.2.0.12")
	r.wantTable(without(whole, "10.2.0.12"))
	r.open("10.2.0.12")
	r.wantTable(whole)
	r.ld("stop")
	lab.Eventually(t, patience, func() error {
		for _, word := range strings.Fields(r.director.ReadFile("/var/log/programs")) {
			if n, err := strconv.Atoi(word); err == nil && groupLives(n) {
				return fmt.Errorf("of program %d something is left", n)
			}
		}
		return nil
	})
}

// groupLives tells whether a process of a group is alive, zombies apart.
func groupLives(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false // the pattern is ours, and right
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) > 2 && fields[0] != "Z" && fields[2] == fmt.Sprint(group) {
			return true
		}
	}
	return false
}
