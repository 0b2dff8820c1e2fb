package vrrplab

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestLife is the life of a pair of ours: election, hand-over, theft, death,
// return, end.
func TestLife(t *testing.T) {
	p := newPair(t)
	p.start(0)
	p.start(1)
	p.await("election", 0)

	p.smooth("standby", func() { p.vrrp(0, "standby"); p.await("standby", 1) },
		func() { p.vrrp(0, "resume"); p.await("resume", 0) })
	if out := p.vrrp(0, "status"); !strings.Contains(out, "BACKUP (standby)") || !strings.Contains(out, "10.1.0.2 (100)") {
		t.Errorf("status after standby:\n%s", out)
	}
	p.stop(0)
	p.start(0)
	lab.Eventually(t, patience, func() error {
		out, err := p.d[0].Try(lvsctl(), "vrrp", "status")
		if err != nil || !strings.Contains(out, "BACKUP (standby)") {
			return fmt.Errorf("standby did not last over a restart: %v\n%s", err, out)
		}
		return nil
	})
	p.await("still standby", 1)
	p.smooth("takeover", func() { p.vrrp(0, "takeover"); p.await("takeover", 0) },
		func() { p.vrrp(0, "standby"); p.await("standby again", 1) })
	p.vrrp(0, "resume")

	// Somebody takes the address away.
	p.d[0].Run("ip", "addr", "del", vip+"/24", "dev", "eth0")
	p.await("theft", 0)
	p.run[0].Await("removed from eth0 by somebody else; put back", patience)

	// Death.
	c := p.client.Ping(vip, spacing)
	lab.Eventually(t, patience, c.Alive)
	began := time.Now()
	p.crash(0)
	slow := time.Since(began) // its kernel answers until the cable is out
	lab.Eventually(t, patience, func() error {
		if !p.has(1) {
			return fmt.Errorf("after the crash nobody takes over")
		}
		return c.Alive()
	})
	felt := c.End()
	t.Logf("crash: longest gap %v, by the timers 783ms to 1083ms", felt.Gap.Round(time.Millisecond))
	if felt.Gap+slow < 400*time.Millisecond || felt.Gap > 10*time.Second { // its last advert may have been late
		t.Errorf("crash: the client waited %v, by the timers it is 783ms to 1083ms", felt.Gap)
	}

	// Return: what it left is cleaned up before it is master again.
	if !p.has(0) {
		t.Fatal("the crash left nothing, so there is nothing to clean up")
	}
	p.start(0)
	p.run[0].Await("removing "+vip+"/24 from eth0: it was left there", patience)
	p.await("clean, and in FAULT", 1)
	p.d[0].Plug("eth0")
	p.await("return", 0)

	p.smooth("stop", func() { p.stop(0); p.await("stop", 1) },
		func() { p.start(0); p.await("start", 0) })
	p.stop(1)
	p.await("end", -1)
}

// TestWithKeepalived: it holds nothing of what we do against us.
func TestWithKeepalived(t *testing.T) {
	needKeepalived(t)
	p := newPair(t)
	p.start(0)
	p.startPeer(1)
	p.await("election", 0)
	p.smooth("standby toward keepalived", func() { p.vrrp(0, "standby"); p.await("standby", 1) },
		func() { p.vrrp(0, "resume"); p.await("resume", 0) })
	p.vrrp(0, "resume")
	p.await("resume", 0)
	p.smooth("stop toward keepalived", func() { p.stop(0); p.await("stop", 1) },
		func() { p.start(0); p.await("start", 0) })
	p.start(0)
	p.await("we are back", 0)
	p.crash(0)
	lab.Eventually(t, patience, func() error {
		if !p.has(1) {
			return fmt.Errorf("keepalived does not take over")
		}
		return nil
	})
}

// TestManyAddresses: they come and go in a moment.
func TestManyAddresses(t *testing.T) {
	p := newPair(t)
	const n = 1000
	var more []string
	for i := range n {
		more = append(more, "--vip-excluded", fmt.Sprintf("10.2.%d.%d", i/200, i%200+1))
	}
	p.start(0, more...)
	count := func() int { return strings.Count(strings.Join(addresses(t, p.d[0]), " "), " 10.2.") }
	lab.Eventually(t, patience, func() error {
		if got := count(); got != n {
			time.Sleep(time.Second) // to count them takes time from those who set them
			return fmt.Errorf("%d addresses, want %d", got, n)
		}
		return nil
	})
	begin := time.Now()
	p.stop(0)
	took := time.Since(begin)
	for line := range strings.Lines(p.run[0].Output()) {
		if strings.Contains(line, "ting VIPs: done") || strings.Contains(line, "removing VIPs: done") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("%d addresses dropped, process ended: %v after SIGTERM (patience for a successor included)", n, took.Round(time.Millisecond))
	if took > 30*time.Second {
		t.Errorf("it took %v to drop them", took)
	}
	if got := count(); got != 0 || p.has(0) {
		t.Errorf("%d addresses are left", got)
	}
	if !strings.Contains(p.run[0].Output(), "removing VIPs: done") {
		t.Error("the log does not say that they were removed")
	}
}

// TestPrograms: exactly once, in order, with the peer's words.
func TestPrograms(t *testing.T) {
	p := newPair(t)
	const script = `#!/bin/sh
[ "$1" = slow ] && sleep 0.2
echo "$@" >>/var/told
`
	p.d[0].WriteFile("/etc/told.sh", script, 0o755)
	p.start(0, "--notify", "/etc/told.sh", "--notify-master", "/etc/told.sh slow master", "--notify-fault", "/etc/told.sh fault")
	told := func() []string {
		text, err := p.d[0].TryReadFile("/var/told")
		if err != nil {
			return nil // nothing yet
		}
		return strings.Split(strings.TrimSpace(text), "\n")
	}
	await := func(n int) {
		t.Helper()
		lab.Eventually(t, patience, func() error {
			if got := told(); len(got) < n {
				time.Sleep(look)
				return fmt.Errorf("only %q", got)
			}
			return nil
		})
	}
	await(3)
	p.d[0].Unplug("eth0")
	await(5)
	p.d[0].Plug("eth0")
	await(8)
	p.stop(0)
	want := []string{
		"INSTANCE VI_1 BACKUP 150", "slow master", "INSTANCE VI_1 MASTER 150",
		"fault", "INSTANCE VI_1 FAULT 150",
		"INSTANCE VI_1 BACKUP 150", "slow master", "INSTANCE VI_1 MASTER 150", "INSTANCE VI_1 STOP 150",
	}
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("programs were told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTrackedScript: the director whose script fails is in FAULT, and leaves no
// process behind.
func TestTrackedScript(t *testing.T) {
	p := newPair(t)
	p.d[0].WriteFile("/etc/well.sh", "#!/bin/sh\nsleep 1000 &\nsleep 987 & test ! -e /var/ill\n", 0o755)
	p.start(0, "--track-script", "/etc/well.sh", "--track-interval", "300ms", "--track-timeout", "30s")
	p.start(1)
	p.await("election", 0)
	p.d[0].WriteFile("/var/ill", "", 0o644)
	p.await("ill", 1)
	if out := p.vrrp(0, "status"); !strings.Contains(out, "script /etc/well.sh not up") {
		t.Errorf("status does not say why:\n%s", out)
	}
	p.d[0].Run("rm", "/var/ill")
	p.await("well again", 0)
	p.stop(0)
	lab.Eventually(t, patience, func() error { // who is killed needs a moment to go
		if out, err := p.d[0].Try("pgrep", "-f", "sleep 987"); err == nil {
			return fmt.Errorf("processes of the script are left: %s", out)
		}
		return nil
	})
}

// TestReplacement: the machines of a pair of keepalived are replaced one after the
// other, with the same files. There is no outage beyond a fail-over, and what
// people do with such a daemon works.
func TestReplacement(t *testing.T) {
	lab.Long(t)
	needKeepalived(t)
	p := newPair(t)
	p.startPeer(1)
	p.startPeer(0)
	p.await("a pair of keepalived", 0)
	c := p.client.Ping(vip, spacing)
	p.stop(1)
	p.startFile(1)
	p.run[1].Await("Startup complete", patience)
	p.await("the backup is replaced", 0)
	p.stop(0)
	p.await("the new one takes over", 1)
	p.startFile(0)
	p.await("the master is replaced", 0)
	felt := c.End()
	t.Logf("replacement: %v; keepalived's own fail-over is 183ms at least", felt)
	if felt.Gap > 10*time.Second {
		t.Errorf("the client waited %v", felt.Gap)
	}

	// A reload adds an address, and moves none.
	pid := strings.TrimSpace(p.d[0].ReadFile("/run/keepalived.pid"))
	if want := fmt.Sprint(p.run[0].Pid()); pid != want || strings.TrimSpace(p.d[0].ReadFile("/run/vrrp.pid")) != want {
		t.Errorf("the pid files say %s, not %s", pid, want)
	}
	before := strings.Count(p.run[1].Output(), "MASTER STATE")
	for i := range p.d {
		p.conf(1-i, "10.1.0.101")
		p.run[1-i].Signal(syscall.SIGHUP)
		p.run[1-i].Await("Reload complete", patience)
	}
	lab.Eventually(t, patience, func() error {
		if !slices.Contains(addresses(t, p.d[0]), "10.1.0.101/32") {
			time.Sleep(look)
			return fmt.Errorf("the new address is not there")
		}
		return nil
	})
	p.await("reload", 0)
	if n := strings.Count(p.run[1].Output(), "MASTER STATE"); n != before {
		t.Errorf("the backup was master %d times during the reload", n-before)
	}
	p.d[0].WriteFile(confFile, "vrrp_instance VI_1 {\n    intreface eth0\n", 0o644)
	p.run[0].Signal(syscall.SIGHUP)
	p.run[0].Await("the configuration in force stays", patience)
	p.await("a broken file", 0)
	p.run[0].Signal(syscall.SIGUSR2)
	p.run[0].Await("Printing VRRP stats", patience)
	p.stop(0)
	p.stop(1)
	p.await("end", -1)
	if _, err := p.d[0].TryReadFile("/run/keepalived.pid"); err == nil {
		t.Error("the pid file is still there")
	}
}
