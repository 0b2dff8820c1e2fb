package inlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// cluster is a director between a client and two servers, by masquerading.
type cluster struct {
	*testing.T
	client, director, web1, web2 *lab.Host
	servers                      map[string]*lab.Server
	ipvs                         *kernel.Client // of the director
}

const (
	vip = "10.1.0.1"
	cf  = "/etc/ha.d/test.cf"
	pid = "/var/run/ldirectord.test.cf.pid"
	log = "/var/log/test.log"
)

func newCluster(t *testing.T) *cluster {
	n := lab.New(t)
	front, back := n.Bridge("front"), n.Bridge("back")
	c := &cluster{
		T:        t,
		client:   n.Host("client").Nic("eth0", front, "10.1.0.9/24"),
		director: n.Host("director").Nic("eth0", front, vip+"/24").Nic("eth1", back, "10.2.0.1/24"),
		web1:     n.Host("web1").Nic("eth0", back, "10.2.0.11/24"),
		web2:     n.Host("web2").Nic("eth0", back, "10.2.0.12/24"),
		servers:  map[string]*lab.Server{},
	}
	var err error
	c.director.Do(func() { c.ipvs, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.ipvs.Close() })
	c.director.SetSysctl("net.ipv4.ip_forward", "1")
	for _, web := range []*lab.Host{c.web1, c.web2} {
		web.Run("ip", "route", "add", "default", "via", "10.2.0.1")
		c.servers[web.Name()] = web.Serve(web.Name(), ":80")
		echo(t, web)
	}
	return c
}

// echo says everything back, on port 7.
func echo(t *testing.T, h *lab.Host) {
	l, err := h.TryListen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
}

// The service that stays as it is in all files, and one that does not.
const (
	steady = "checkinterval=1\nchecktimeout=30\nlogfile=\"" + log + "\"\n" +
		"virtual=10.1.0.1:7\n\treal=10.2.0.11:7 masq 5\n\treal=10.2.0.12:7 masq 5\n\tchecktype=connect\n\tscheduler=rr\n"
	web = "virtual=10.1.0.1:80\n\treal=10.2.0.11:80 masq %d\n\treal=10.2.0.12:80 masq\n\tscheduler=wrr\n\tservice=http\n"
)

func file(weight int) string { return steady + fmt.Sprintf(web, weight) }

func table(weight int) string {
	return fmt.Sprintf(`-A -t 10.1.0.1:7 -s rr
-a -t 10.1.0.1:7 -r 10.2.0.11:7 -m -w 5
-a -t 10.1.0.1:7 -r 10.2.0.12:7 -m -w 5
-A -t 10.1.0.1:80 -s wrr
-a -t 10.1.0.1:80 -r 10.2.0.11:80 -m -w %d
-a -t 10.1.0.1:80 -r 10.2.0.12:80 -m -w 1
`, weight)
}

func (c *cluster) write(text string) { c.director.WriteFile(cf, text, 0o644) }

func (c *cluster) ld(verb string) string {
	c.Helper()
	return c.director.Run(lvsctl(), "ldirectord", "test.cf", verb)
}

// table is what the director's kernel holds, as ipvsadm -S -n prints it. A
// program for each look would be most of a test's time.
func (c *cluster) table() string {
	c.Helper()
	t, err := c.ipvs.Read()
	if err != nil {
		c.Fatal(err)
	}
	return lvstest.Text(t)
}

func (c *cluster) wantTable(want string) {
	c.Helper()
	lab.Eventually(c, patience, func() error {
		if got := c.table(); got != want {
			return fmt.Errorf("the table is\n%s\nwant\n%s\nlog:\n%s", got, want, c.log())
		}
		return nil
	})
}

// log is what the daemon has written so far: nothing, while it starts.
func (c *cluster) log() string {
	c.Helper()
	text, err := c.director.TryReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Fatal(err)
	}
	return text
}

func (c *cluster) pid() int {
	c.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(c.director.ReadFile(pid)))
	if err != nil {
		c.Fatal(err)
	}
	return n
}

// reload lets the daemon read its file, and waits until it has said word once
// more.
func (c *cluster) reload(word string) {
	c.Helper()
	before := strings.Count(c.log(), word)
	if err := syscall.Kill(c.pid(), syscall.SIGHUP); err != nil {
		c.Fatal(err)
	}
	lab.Eventually(c, patience, func() error {
		if text := c.log(); strings.Count(text, word) == before {
			return fmt.Errorf("the log does not say %q again:\n%s", word, text)
		}
		return nil
	})
}

// dial opens a connection to the service that is not to be hurt.
func (c *cluster) dial() net.Conn {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := c.client.TryDial(ctx, "tcp", vip+":7")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { conn.Close() })
	return conn
}

// alive sends a word through a connection and wants it back.
func (c *cluster) alive(conn net.Conn, word string) {
	c.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		c.Fatal(err)
	}
	if _, err := io.WriteString(conn, word); err != nil {
		c.Fatalf("the connection is hurt: %v", err)
	}
	b := make([]byte, len(word))
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != word {
		c.Fatalf("the connection is hurt: %q, %v", b, err)
	}
}

const foreign = "-A -u 10.1.0.200:53 -s rr\n-a -u 10.1.0.200:53 -r 10.2.0.99:53 -m -w 1\n"

// touching are the lines of what is done to the service that stays as it is, once
// it is there.
var touching = regexp.MustCompile(`(Deleted|Restored|Quiescent|Purged) real server.*\(10\.1\.0\.1:7\).*|Changed virtual server: 10\.1\.0\.1:7`)

// A day in the life of a daemon; every step goes on from the one before.
func TestLdirectordNeverHurts(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.Input(foreign, lvsctl(), "ipvsadm-restore", "-n")
	c.write(file(1))
	c.ld("start")
	c.wantTable(table(1) + foreign)
	conn := c.dial()
	c.alive(conn, "at the start")

	t.Run("hundreds of reloads", func(t *testing.T) {
		c.T = t
		reloads := 200
		if testing.Short() {
			reloads = 50 // a busy machine takes a second and more for each
		}
		for i := range reloads {
			c.write(file(i%7 + 2))
			c.reload("Configuration loaded")
			c.alive(conn, "a word")
		}
		c.wantTable(table((reloads-1)%7+2) + foreign)
		if touched := touching.FindAllString(c.log(), -1); touched != nil {
			t.Errorf("the service that stayed the same was touched: %q", touched)
		}
	})
	t.Run("broken, empty and strange files", func(t *testing.T) {
		c.T = t
		before := c.table()
		for _, text := range []string{file(1) + "\tfrobnicate=1\n", "", "virtual=10.1.0.1:80\n\treal=nosuch.invalid:80 masq\n", "\x00\xff"} {
			c.write(text)
			c.reload("is not taken; the configuration in force stays")
			if got := c.table(); got != before {
				t.Fatalf("%q has changed the table:\n%s", text, got)
			}
			c.alive(conn, "a word")
		}
		out := c.director.Run(lvsctl(), "status")
		if !strings.Contains(out, "the file on disk is not in force") || !strings.Contains(out, cf+":1: error: ") {
			t.Errorf("status does not say what is wrong:\n%s", out)
		}
		if out := c.ld("status"); !strings.Contains(out, "is running with pid") {
			t.Errorf("status with a broken file: %s", out)
		}
		if out, err := c.director.Try(lvsctl(), "ldirectord", "test.cf", "restart"); err == nil || c.table() != before {
			t.Errorf("restart with a broken file: %v\n%s", err, out)
		}
		for _, instead := range []string{"true", "mkdir " + cf, "mkfifo " + cf, "ln -s /dev/zero " + cf, "ln -s " + cf + " " + cf} {
			c.director.Run("sh", "-c", "rm -rf "+cf+"; "+instead)
			c.reload("is not taken; the configuration in force stays")
			if got := c.table(); got != before {
				t.Fatalf("%s has changed the table:\n%s", instead, got)
			}
		}
		c.director.Run("rm", cf)
		c.write(file(3))
		c.reload("Configuration loaded")
		c.wantTable(table(3) + foreign)
	})
	t.Run("killed and started again", func(t *testing.T) {
		c.T = t
		c.kill()
		if got := c.table(); got != table(3)+foreign {
			t.Fatalf("the table has not outlived the daemon:\n%s", got)
		}
		if out, err := c.director.Try(lvsctl(), "ldirectord", "test.cf", "status"); err == nil || !strings.Contains(out, "ldirectord stale pid file "+pid) {
			t.Errorf("status after kill -9: %v\n%s", err, out)
		}
		c.servers["web2"].Close()
		said := len(c.log())
		c.ld("start")
		c.wantTable(strings.Replace(table(3), "-a -t 10.1.0.1:80 -r 10.2.0.12:80 -m -w 1\n", "", 1) + foreign)
		c.alive(conn, "a word")
		// The table is ahead of the log, which has a task of its own.
		lab.Eventually(c, patience, func() error {
			if text := c.log()[said:]; !strings.Contains(text, "Deleted real server: 10.2.0.12:80 (10.1.0.1:80)") {
				return fmt.Errorf("the log does not say what became of web2:\n%s", text)
			}
			return nil
		})
		text := c.log()[said:]
		if touched := touching.FindAllString(text, -1); touched != nil {
			t.Errorf("the service that stayed the same was touched: %q", touched)
		}
		c.servers["web2"] = c.web2.Serve("web2", ":80")
		c.wantTable(table(3) + foreign)
	})
	t.Run("restarted", func(t *testing.T) {
		c.T = t
		was := c.pid()
		c.write(steady) // the other service is no longer configured
		c.ld("restart")
		c.alive(conn, "a word")
		if got, want := c.table(), strings.SplitAfter(table(3), "10.2.0.12:7 -m -w 5\n")[0]+foreign; got != want || c.pid() == was {
			t.Fatalf("process %d, before %d; the table is\n%s\nwant\n%s", c.pid(), was, got, want)
		}
		// What a cluster's agent looks for, whatever the verb was.
		words := c.director.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.pid()))
		if !strings.HasSuffix(words, "\x00ldirectord\x00test.cf\x00start\x00") {
			t.Errorf("the daemon's command line is %q", words)
		}
		c.write(file(3))
		c.ld("restart")
		c.wantTable(table(3) + foreign)
		c.alive(conn, "a word")
	})
	t.Run("drain outlives the daemon", func(t *testing.T) {
		c.T = t
		drained := strings.Replace(table(3), "10.2.0.11:7 -m -w 5", "10.2.0.11:7 -m -w 0", 1) + foreign
		c.director.Run(lvsctl(), "drain", "10.2.0.11", "--virtual", vip+":7")
		c.wantTable(drained)
		c.alive(conn, "a word")
		c.kill()
		c.ld("start")
		c.write(file(3) + "# a comment\n")
		c.reload("Configuration loaded")
		c.wantTable(drained)
		c.ld("restart")
		c.alive(conn, "a word")
		c.wantTable(drained)
		out := c.director.Run(lvsctl(), "drain", "10.2.0.11", "--virtual", vip+":80", "--wait")
		if !strings.Contains(out, "10.2.0.11:80  draining  0 active") {
			t.Errorf("drain --wait: %s", out)
		}
		c.director.Run(lvsctl(), "undrain", "10.2.0.11")
		c.wantTable(table(3) + foreign)
	})
	t.Run("stop cleans up", func(t *testing.T) {
		c.T = t
		c.write("") // a daemon is to be stopped all the same
		c.ld("stop")
		if got := c.table(); got != foreign {
			t.Fatalf("after stop:\n%s", got)
		}
		c.write(strings.Replace(file(3), "checkinterval", "cleanstop=no\ncheckinterval", 1))
		c.ld("start")
		c.wantTable(table(3) + foreign)
		c.ld("stop")
		if got := c.table(); got != table(3)+foreign {
			t.Fatalf("after stop with cleanstop=no:\n%s", got)
		}
	})
}

// kill is kill -9.
func (c *cluster) kill() {
	c.Helper()
	n := c.pid()
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		c.Fatal(err)
	}
	lab.Eventually(c, patience, func() error {
		if err := syscall.Kill(n, 0); err == nil {
			return fmt.Errorf("process %d is there still", n)
		}
		return nil
	})
}
