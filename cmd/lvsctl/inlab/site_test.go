package inlab

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
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
