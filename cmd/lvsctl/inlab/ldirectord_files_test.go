package inlab

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestLdirectordFiles: what a configuration makes the daemon read, write and run.
func TestLdirectordFiles(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.WriteFile("/etc/hosts", "10.2.0.12 web2.lab web2\n", 0o644)
	c.director.Run("mkdir", "/etc/out")
	c.director.WriteFile("/etc/callback", "#!/bin/sh\necho $# $* >>/var/log/callback\n", 0o755)
	c.director.WriteFile("/etc/fallback", "#!/bin/sh\necho $# $* >>/var/log/fallback\n", 0o755)
	c.director.WriteFile("/etc/ha.d/child.cf", "logfile=\"/var/log/child.log\"\nvirtual=10.1.0.1:81\n\treal=10.2.0.11:80 masq\n\tchecktype=on\n", 0o644)
	const extra = "autoreload=yes\ncallback=\"/etc/callback\"\nmaintenancedir=/etc/out\nexecute=child.cf\nfork=yes\n"
	more := func(weight int) string {
		return extra + file(weight) + "\tfallbackcommand=/etc/fallback\n\tmonitorfile=\"/var/log/monitor\"\n"
	}
	const child = "-A -t 10.1.0.1:81 -s wrr\n-a -t 10.1.0.1:81 -r 10.2.0.11:80 -m -w 1\n"
	c.director.Run("touch", "/etc/out/10.2.0.11:80")
	c.write(more(1))
	c.ld("start")
	without1 := strings.Replace(table(1), "-a -t 10.1.0.1:80 -r 10.2.0.11:80 -m -w 1\n", "", 1)

	c.wantTable(without1 + child)
	if strings.Contains(c.log(), "Added real server: 10.2.0.11:80") {
		t.Errorf("a server in maintenance was in for a moment:\n%s", c.log())
	}
	c.says(log, "fork=yes: one process")
	if n := strings.Count(c.log(), "fork=yes: one process"); n != 1 {
		t.Errorf("fork=yes is explained %d times", n)
	}
	c.director.Run("rm", "/etc/out/10.2.0.11:80")
	c.wantTable(table(1) + child)
	c.director.Run("touch", "/etc/out/web2:80") // by name
	c.wantTable(strings.Replace(table(1), "-a -t 10.1.0.1:80 -r 10.2.0.12:80 -m -w 1\n", "", 1) + child)
	c.director.Run("rm", "/etc/out/web2:80")
	c.wantTable(table(1) + child)

	c.says("/var/log/monitor", `^\[.*\] \[\d+\] negotiate http tcp 10\.2\.0\.11 80 .*\[up\] `)
	c.servers["web1"].Close()
	c.says("/var/log/monitor", `10\.2\.0\.11 80 .*\[down\] `)
	c.servers["web2"].Close()
	c.says("/var/log/fallback", `^3 start 10\.1\.0\.1:80 tcp$`)
	c.servers["web2"] = c.web2.Serve("web2", ":80")
	c.says("/var/log/fallback", `^3 stop 10\.1\.0\.1:80 tcp\n\z`)
	c.servers["web1"] = c.web1.Serve("web1", ":80")

	// as an editor saves it
	c.director.WriteFile(cf+".new", more(9), 0o644)
	c.director.Run("mv", cf+".new", cf)
	c.wantTable(table(9) + child)
	c.says("/var/log/callback", `^1 `+regexp.QuoteMeta(cf)+`$`)

	// without the child, and into another log
	c.director.WriteFile(cf, strings.ReplaceAll(strings.Replace(more(9), "execute=child.cf\n", "", 1), log, "/var/log/other.log"), 0o644)
	c.wantTable(table(9))
	c.says("/var/log/other.log", `^\[.*\|test\.cf\|\d+\] The log goes on here; before it was in `+log+`$`)
	c.servers["web1"].Close()
	c.servers["web2"].Close()
	c.says("/var/log/fallback", `\n3 start 10\.1\.0\.1:80 tcp\n\z`)
	c.ld("stop")
	c.says("/var/log/fallback", `\n3 stop 10\.1\.0\.1:80 tcp\n\z`) // what was begun is ended
	c.wantTable("")
}

// TestLdirectordInFront: -d and supervised=yes stay, and end cleanly.
func TestLdirectordInFront(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.write(file(1))
	p := c.director.Start(lvsctl(), "ldirectord", "-d", "test.cf", "start")
	c.wantTable(table(1))
	p.Await("Starting Linux Director", patience)
	if err := p.Stop(); err != nil {
		t.Errorf("-d: %v\n%s", err, p.Output())
	}
	c.wantTable("")
	c.write("supervised=yes\n" + file(1))
	p = c.director.Start(lvsctl(), "ldirectord", "test.cf", "start")
	c.wantTable(table(1))
	p.Await("Starting Linux Director", patience)
	if !regexp.MustCompile(`(?m)^\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\] Starting Linux Director`).MatchString(p.Output()) {
		t.Errorf("supervised=yes: %s", p.Output())
	}
	// It has no pid file, and yet the second start is refused.
	lab.Eventually(c, patience, func() error {
		_, err := c.director.Try("test", "-S", "/run/lvsctl/test.cf.sock")
		return err
	})
	if out, err := c.director.Try(lvsctl(), "ldirectord", "test.cf", "start"); err == nil || !strings.Contains(out, "is running already") {
		t.Errorf("supervised=yes, a second time: %v\n%s", err, out)
	}
	c.wantTable(table(1))
	if err := p.Stop(); err != nil {
		t.Errorf("supervised=yes: %v\n%s", err, p.Output())
	}
	c.wantTable("")
}

// says waits until a file matches.
func (c *cluster) says(path, pattern string) {
	c.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	lab.Eventually(c, patience, func() error {
		text, err := c.director.Try("cat", path)
		if err != nil || !re.MatchString(text) {
			return fmt.Errorf("%s does not say %s (%v):\n%s\nlog:\n%s", path, pattern, err, text, c.log())
		}
		return nil
	})
}
