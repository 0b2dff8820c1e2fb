package inlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
	"github.com/lvsctl/lvsctl/vrrp/wire"
)

const (
	siteBefore = "-A -t 10.1.0.1:80 -s rr\n-a -t 10.1.0.1:80 -r 10.2.0.11:80 -m -w 1\n-A -u 10.1.0.1:53 -s rr\n"
	siteAfter  = "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.2.0.12:80 -m -w 1\n-A -u 10.1.0.1:53 -s rr\n"
)

// apply runs lvsctl apply, and wants an exit status.
func (c *cluster) apply(status int, args ...string) string {
	c.Helper()
	out, err := c.director.Try(append([]string{lvsctl(), "apply"}, args...)...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		c.Fatal(err)
	}
	if got != status {
		c.Fatalf("apply %v: exit status %d, want %d\n%s", args, got, status, out)
	}
	return out
}

func (c *cluster) wantNow(want string) {
	c.Helper()
	if got := c.table(); got != want {
		c.Fatalf("the table is\n%s\nwant\n%s", got, want)
	}
}

// TestApply: the table becomes what the files want, or stays as it is.
func TestApply(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.WriteFile("/etc/before.rules", siteBefore, 0o644)
	c.director.WriteFile("/etc/after.cf", "virtual=10.1.0.1:80\n\treal=10.2.0.12:80 masq\n\tscheduler=wlc\n\tservice=http\n", 0o644)
	c.director.WriteFile("/etc/refused.rules", "-A -t 10.1.0.2:80 -s rr\n-a -t 10.1.0.2:80 -r 10.2.0.11:80 -m\n"+
		"-A -t 10.1.0.1:80 -s rr\n-A -t 10.1.0.3:80 -s nosuch\n", 0o644)
	c.apply(0, "--dry-run", "/etc/before.rules")
	c.wantNow("")
	c.apply(0, "/etc/before.rules")
	c.wantNow(siteBefore)
	if out := c.apply(0, "/etc/before.rules"); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second apply says\n%s", out)
	}
	// The kernel knows no such scheduler: nothing is changed.
	if out := c.apply(1, "/etc/refused.rules"); !strings.Contains(out, "the table is as it was") {
		t.Errorf("refused, it says\n%s", out)
	}
	c.wantNow(siteBefore)
	c.apply(0, "/etc/after.cf")
	c.wantNow(siteAfter)
	// An interface that is not here says that the file is another director's. The table
	// needs none.
	c.director.WriteFile("/etc/after.conf", "vrrp_instance V {\ninterface nosuch0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.1.0.1 dev nosuch1\n}\n}\n"+
		"virtual_server 10.1.0.1 80 {\nprotocol TCP\nlb_algo wlc\nlb_kind NAT\nreal_server 10.2.0.12 80 {\n}\n}\n", 0o644)
	if out := c.apply(0, "/etc/after.conf"); !strings.Contains(out, "/etc/after.conf:1: warning: interface nosuch0: ") ||
		!strings.Contains(out, "/etc/after.conf:5: warning: interface nosuch1: ") || !strings.Contains(out, "nothing to do") {
		t.Errorf("for an interface that is not here it says\n%s", out)
	}
	c.apply(0, "--prune", "/etc/after.cf")
	c.wantNow(strings.TrimSuffix(siteAfter, "-A -u 10.1.0.1:53 -s rr\n"))
}

// TestApplyConfirm: changes that nobody confirms undo themselves, whatever became
// of who made them.
func TestApplyConfirm(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.WriteFile("/etc/before.rules", siteBefore, 0o644)
	c.director.WriteFile("/etc/after.cf", "virtual=10.1.0.1:80\n\treal=10.2.0.12:80 masq\n\tscheduler=wlc\n\tservice=http\n", 0o644)
	c.apply(0, "/etc/before.rules")
	if out := c.apply(3, "--confirmed"); !strings.Contains(out, "no change waits") {
		t.Errorf("with nothing to confirm: %s", out)
	}

	// Confirmed in time, they stay; and can be confirmed once.
	c.apply(0, "--confirm", "10m", "/etc/after.cf")
	c.wantNow(siteAfter)
	if out := c.apply(1, "/etc/before.rules"); !strings.Contains(out, "changes wait to be confirmed") {
		t.Errorf("with changes that wait: %s", out)
	}
	c.apply(0, "--confirmed")
	c.wantNow(siteAfter)
	if out := c.apply(3, "--confirmed"); !strings.Contains(out, "the changes stay") {
		t.Errorf("confirmed twice: %s", out)
	}

	// Taken back by hand.
	c.apply(0, "--confirm", "10m", "/etc/before.rules")
	c.wantNow(siteBefore)
	c.apply(0, "--rollback")
	c.wantNow(siteAfter)

	// Not confirmed: the command is long gone when they are taken back. What
	// somebody else has done meanwhile stays.
	c.apply(0, "--confirm", "2s", "/etc/before.rules")
	c.director.Run(lvsctl(), "ipvsadm", "-A", "-f", "7", "-s", "rr")
	c.wantTable(siteAfter + "-A -f 7 -s rr\n")
	if out := c.apply(3, "--confirmed"); !strings.Contains(out, "not confirmed in time, and taken back") {
		t.Errorf("confirmed too late: %s", out)
	}
}

// TestApplyTerminal: Enter at the terminal confirms, and a terminal that dies
// does not.
func TestApplyTerminal(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.WriteFile("/etc/before.rules", siteBefore, 0o644)
	c.director.WriteFile("/etc/after.cf", "virtual=10.1.0.1:80\n\treal=10.2.0.12:80 masq\n\tscheduler=wlc\n\tservice=http\n", 0o644)
	c.apply(0, "/etc/before.rules")
	command := fmt.Sprintf("%s apply --confirm 10m /etc/after.cf", lvsctl())
	p := c.director.Start("script", "-qefc", command, "/dev/null")
	p.Await("Enter keeps it", patience)
	c.wantNow(siteAfter)
	// The terminal goes, with a hang-up; the guard is in another session.
	if err := p.Stop(); err == nil {
		t.Log("script ended by itself")
	}
	c.wantNow(siteAfter)
	if out := c.apply(0, "--rollback"); !strings.Contains(out, "taken back") {
		t.Errorf("%s", out)
	}
	c.wantNow(siteBefore)

	command = fmt.Sprintf("%s apply --confirm 10m /etc/after.cf", lvsctl())
	out := c.director.Input("\n", "script", "-qefc", command, "/dev/null")
	if !strings.Contains(out, "confirmed: the changes stay") {
		t.Errorf("after Enter it says\n%s", out)
	}
	c.wantNow(siteAfter)

	// A terminal that dies in the middle: the changes undo themselves.
	p = c.director.Start("script", "-qefc", fmt.Sprintf("%s apply --confirm 5s /etc/before.rules", lvsctl()), "/dev/null")
	p.Await("Enter keeps it", patience)
	_ = p.Stop()
	c.wantTable(siteAfter)
}

// TestValidateOnline: what only the host and its network can tell.
func TestValidateOnline(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.director.WriteFile("/etc/hosts", "127.0.0.1 localhost\n10.1.0.2 lb1\n10.1.0.3 lb1\n", 0o644)
	c.director.WriteFile("/etc/k.conf", `vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        10.1.0.1/24
        10.7.0.1
    }
}
virtual_server 10.1.0.1 80 {
    protocol TCP
    lvs_sched rr
    lvs_method DR
    real_server 10.2.0.1 80 { }
    real_server 10.2.0.11 80 { }
}
`, 0o644)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.client.Do(func() { stranger(c.T, stop) })
	}()
	out, err := c.director.Try(lvsctl(), "validate", "--online", "--listen", "5s", "/etc/k.conf")
	close(stop)
	<-done
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("validate: %v", err)
	}
	for _, want := range []string{
		"/etc/k.conf:1: error: VRID 51 on eth0 is somebody else's: 10.1.0.9 speaks for 10.1.0.77; choose another virtual_router_id; nobody was heard with 52 [vrid-foreign]",
		"/etc/k.conf:5: warning: 10.1.0.1 is this host's own address (10.1.0.1/24 on eth0); choose an address that no host has [vip-is-host]",
		"/etc/k.conf:6: warning: 10.7.0.1 is in no network of eth0 (10.1.0.0/24): nobody there looks for it;",
		"/etc/k.conf:13: warning: server 10.2.0.1 is this director: as backup it would balance what the master sends it, in a circle;",
		"/etc/hosts:3: warning: lb1 is 10.1.0.3 here, and 10.1.0.2 on line 2;",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// stranger is another cluster that uses our number.
func stranger(t *testing.T, stop <-chan struct{}) {
	s, err := wire.Open(wire.Options{Link: "eth0"})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-stop:
			return
		case <-beat.C:
		}
		err := s.Send(vrrp.Advert{Src: netip.MustParseAddr("10.1.0.9"), Dst: vrrp.GroupIPv4, TTL: 255, Version: 2, Type: 1,
			VRID: 51, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.77")}})
		if err != nil {
			t.Error(err)
			return
		}
	}
}
