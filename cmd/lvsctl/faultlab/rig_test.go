package faultlab

import (
	"errors"
	"fmt"
	"io/fs"
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

// rig is a director between a client and a farm of servers, 10.2.0.11 to .13.
type rig struct {
	*testing.T
	client, director, farm *lab.Host
	servers                map[string]*lab.Server
	ipvs                   *kernel.Client // of the director
}

const (
	cf    = "/etc/ha.d/test.cf"
	pid   = "/var/run/ldirectord.test.cf.pid"
	log   = "/var/log/test.log"
	state = "/var/lib/lvsctl/test.cf.json"
)

func newRig(t *testing.T) *rig {
	lab.Need(t)
	n := lab.New(t)
	front, back := n.Bridge("front"), n.Bridge("back")
	r := &rig{
		T:        t,
		client:   n.Host("client").Nic("eth0", front, "10.1.0.9/24"),
		director: n.Host("director").Nic("eth0", back, "10.2.0.1/24").Nic("eth1", front, "10.1.0.1/24", "10.1.0.2/24"),
		farm:     n.Host("farm").Nic("eth0", back, "10.2.0.11/24", "10.2.0.12/24", "10.2.0.13/24"),
		servers:  map[string]*lab.Server{},
	}
	// A program for each look at the table would be most of a test's time.
	var err error
	r.director.Do(func() { r.ipvs, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.ipvs.Close() })
	r.director.SetSysctl("net.ipv4.ip_forward", "1")
	r.farm.Run("ip", "route", "add", "default", "via", "10.2.0.1")
	for _, ip := range []string{"10.2.0.11", "10.2.0.12"} {
		r.open(ip)
	}
	return r
}

func (r *rig) open(ip string) { r.servers[ip] = r.farm.Serve(ip, ip+":80") }

func (r *rig) close(ip string) {
	if err := r.servers[ip].Close(); err != nil {
		r.Fatal(err)
	}
}

// head begins every file here.
const head = "checkinterval=1\nchecktimeout=30\nlogfile=\"" + log + "\"\n"

// file is two services: one that is the same in all files, and one with a weight.
func file(weight int) string {
	return head + "virtual=10.1.0.1:80\n\treal=10.2.0.11:80 masq\n\treal=10.2.0.12:80 masq\n\tchecktype=connect\n" +
		fmt.Sprintf("virtual=10.1.0.2:80\n\treal=10.2.0.11:80 masq %d\n\tchecktype=connect\n", weight)
}

// table is what the kernel should hold of file(weight).
func table(weight int) string {
	return fmt.Sprintf(`-A -t 10.1.0.1:80 -s wrr
-a -t 10.1.0.1:80 -r 10.2.0.11:80 -m -w 1
-a -t 10.1.0.1:80 -r 10.2.0.12:80 -m -w 1
-A -t 10.1.0.2:80 -s wrr
-a -t 10.1.0.2:80 -r 10.2.0.11:80 -m -w %d
`, weight)
}

// without is a table that lacks the lines with a word.
func without(table, word string) string {
	return regexp.MustCompile(`(?m)^.*`+regexp.QuoteMeta(word)+`.*\n`).ReplaceAllString(table, "")
}

func (r *rig) write(text string) { r.director.WriteFile(cf, text, 0o644) }

func (r *rig) ld(verb string) string {
	r.Helper()
	return r.director.Run(lvsctl(), "ldirectord", "test.cf", verb)
}

// begin starts the daemon with a file, and waits for its table.
func (r *rig) begin(text, want string) {
	r.Helper()
	r.write(text)
	r.ld("start")
	r.wantTable(want)
}

// table is what the kernel holds, as ipvsadm -S -n prints it.
func (r *rig) table() string {
	r.Helper()
	t, err := r.ipvs.Read()
	if err != nil {
		r.Fatal(err)
	}
	return lvstest.Text(t)
}

func (r *rig) wantTable(want string) {
	r.Helper()
	lab.Eventually(r, patience, func() error {
		if got := r.table(); got != want {
			return fmt.Errorf("the table is\n%s\nwant\n%s\nlog:\n%s", got, want, r.log())
		}
		return nil
	})
}

// log is what the daemon has written so far: nothing, while it starts.
func (r *rig) log() string {
	r.Helper()
	text, err := r.director.TryReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Fatal(err)
	}
	return text
}

// says waits until a file matches.
func (r *rig) says(path, pattern string) {
	r.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	lab.Eventually(r, patience, func() error {
		if text, err := r.director.TryReadFile(path); err != nil || !re.MatchString(text) {
			return fmt.Errorf("%s does not say %s (%v):\n%s\nlog:\n%s", path, pattern, err, text, r.log())
		}
		return nil
	})
}

func (r *rig) pid() int {
	r.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(r.director.ReadFile(pid)))
	if err != nil {
		r.Fatal(err)
	}
	return n
}

func (r *rig) signal(s syscall.Signal) {
	r.Helper()
	if err := syscall.Kill(r.pid(), s); err != nil {
		r.Fatal(err)
	}
}

// kill is kill -9, and waits until the daemon is gone.
func (r *rig) kill() {
	r.Helper()
	n := r.pid()
	r.signal(syscall.SIGKILL)
	lab.Eventually(r, patience, func() error {
		if err := syscall.Kill(n, 0); err == nil {
			return fmt.Errorf("process %d is there still", n)
		}
		return nil
	})
}

// lvs runs a command of our own.
func (r *rig) lvs(args ...string) string {
	r.Helper()
	return r.director.Run(append([]string{lvsctl()}, args...)...)
}
