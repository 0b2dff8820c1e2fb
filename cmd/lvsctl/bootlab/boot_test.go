package bootlab

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// looks is longer than several looks at what is waited for.
const looks = 12 * time.Second

// TestTheNetworkIsLate: no card, no carrier, no address. The director says what it
// waits for, each once, and is master without having been it in between.
func TestTheNetworkIsLate(t *testing.T) {
	r := newRig(t)
	r.start("--services", "master")
	r.run.Await("(VI_1) cannot run: interface eth0: no such network interface", patience)
	r.director.Nic("eth0", r.lan)
	r.director.Unplug("eth0")
	r.run.Await("(VI_1) cannot run: eth0 has no IPv4 address", patience)
	r.says("WAITING", "vrrp", "status")
	time.Sleep(looks)
	if r.hasVIP() || r.table() != "" {
		t.Errorf("without an address of its own it has %v, %s", r.hasVIP(), r.table())
	}
	r.director.Run("ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
	r.run.Await("(VI_1) waits no longer", patience)
	time.Sleep(looks)
	if r.hasVIP() || r.table() != "" {
		t.Errorf("without a carrier it has %v, %s", r.hasVIP(), r.table())
	}
	r.director.Plug("eth0")
	r.wantVIP()
	r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
	r.once("cannot run: interface eth0")
	r.once("cannot run: eth0 has no IPv4 address")
	r.once("Entering MASTER STATE")
	if out := r.run.Output(); strings.Count(out, "FAULT STATE") > 1 {
		t.Errorf("it flaps:\n%s", out)
	}
}

// TestOnlyCheckedServersServe: at a start on an empty table, who does not answer is
// never in it, not for a moment.
func TestOnlyCheckedServersServe(t *testing.T) {
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	if err := r.servers["10.0.0.12"].Close(); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	served := false
	go r.director.Do(func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			text, err := r.director.TryReadFile("/proc/thread-self/net/ip_vs")
			served = served || err == nil && strings.Contains(text, "0A00000C:0050")
		}
	})
	r.start()
	r.wantTable(tableOf("10.0.0.11"))
	close(stop)
	<-done
	if served {
		t.Error("10.0.0.12, which answers nobody, was in the table")
	}
}

// TestTheModuleIsLate: the kernel has no IPVS, and then it has.
func TestTheModuleIsLate(t *testing.T) {
	lab.Need(t)
	if !lab.InGuest() {
		t.Skip("the module is this machine's; LVSCTL_LAB=uml runs this test in a guest")
	}
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	// The lab's own modprobe must not load it behind our back.
	was := r.director.Sysctl("kernel.modprobe")
	r.director.SetSysctl("kernel.modprobe", "/nowhere")
	r.director.Run("mount", "--bind", "/bin/false", "/sbin/modprobe")
	lab.Eventually(t, patience, func() error { // the tables of hosts of other tests may be about to go
		out, err := r.farm.Try("sh", "-c", "lsmod | sed -n 's/^\\(ip_vs_[a-z]*\\).*/\\1/p' | while read m; do modprobe -r $m; done; modprobe -r ip_vs")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	t.Cleanup(func() { r.farm.Run("modprobe", "ip_vs") })
	r.start()
	r.wantVIP() // what needs no IPVS works
	r.run.Await("waiting for it", patience)
	time.Sleep(looks)
	r.once("waiting for it")
	if out := r.lvs("status"); !strings.Contains(out, "the virtual services wait for the kernel: cannot find IPVS in the kernel") || strings.Contains(out, "another director") {
		t.Errorf("the status does not say what is missing:\n%s", out)
	}
	r.director.SetSysctl("kernel.modprobe", was)
	r.director.Run("umount", "/sbin/modprobe")
	r.run.Await("the kernel has IPVS now", patience)
	r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
	if err := r.run.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestTheResolverIsLate: a real server is a name, and at first there is nobody to ask.
func TestTheResolverIsLate(t *testing.T) {
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	r.director.WriteFile("/etc/resolv.conf", "nameserver 10.0.0.99\noptions timeout:1 attempts:1\n", 0o644) // nobody is there
	r.director.WriteFile("/etc/lvsctl/ldirectord.cf", strings.Replace(services, "10.0.0.12", "web2.example", 1), 0o644)
	r.start()
	r.run.Await("waiting until this host can make sense of the files", patience)
	time.Sleep(looks)
	r.once("waiting until this host can make sense of the files")
	if n := strings.Count(r.run.Output(), "host web2.example: "); n != 1 {
		t.Errorf("web2.example was named %d times", n)
	}
	if r.hasVIP() || r.table() != "" {
		t.Errorf("half of the files are in force: %s", r.table())
	}
	r.run.Signal(syscall.SIGHUP) // which has it look again, and no more
	r.director.WriteFile("/etc/hosts", "10.0.0.12 web2.example\n", 0o644)
	r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
	r.wantVIP()
}

// TestHeartbeatsResolverIsLate: the same for a node of heartbeat's, which has no network
// card at first either. It can be told to stop while it waits.
func TestHeartbeatsResolverIsLate(t *testing.T) {
	r := newRig(t)
	node := strings.TrimSpace(r.director.Run("uname", "-n"))
	r.director.WriteFile("/etc/resolv.conf", "nameserver 10.0.0.99\noptions timeout:1 attempts:1\n", 0o644) // nobody is there
	for name, text := range map[string]string{
		"ha.cf": "bcast eth0\nkeepalive 1\ndeadtime 4\ninitdead 8\nauto_failback on\nnode " + node + " other\n", "authkeys": "auth 1\n1 sha1 secret\n",
		"haresources": node + " " + vip + "/32/eth0 ldirectord::web.cf\n", "web.cf": strings.Replace(services, "10.0.0.12", "web2.example", 1),
	} {
		r.director.WriteFile("/etc/ha.d/"+name, text, 0o600)
	}
	const waits = "lvsctl: heartbeat run: waiting until this host can make sense of the files"
	begin := func() {
		t.Helper()
		r.run = r.director.Start(lvsctl(), "heartbeat", "run")
		r.run.Await(waits, patience)
	}
	begin()
	if err := r.run.Stop(); err != nil {
		t.Errorf("a stop while it waits: %v", err)
	}
	begin()
	time.Sleep(looks)
	r.once(waits)
	if n := strings.Count(r.run.Output(), "host web2.example: "); n != 1 {
		t.Errorf("web2.example was named %d times", n)
	}
	r.run.Signal(syscall.SIGHUP) // which has it look again, and no more
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	r.director.WriteFile("/etc/hosts", "10.0.0.12 web2.example\n", 0o644)
	r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
	r.wantVIP()
	if err := r.run.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

const stateFile = "/var/lib/lvsctl/lvsctl-lvsctl.json"

// TestWhatIsKept: a drain and a standby outlive a kill. A state file that is torn is
// said, and costs what it kept, and nothing else; one that is absent not a word.
func TestWhatIsKept(t *testing.T) {
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	// again kills the director, does something to its state, and starts it.
	again := func(damage string) {
		t.Helper()
		r.run.Signal(syscall.SIGKILL)
		_ = r.run.Wait() // it was killed
		r.director.Run("sh", "-c", damage)
		r.start()
		r.run.Await("Entering MASTER STATE", patience) // what the one before has left proves nothing
	}
	drained := strings.Replace(tableOf("10.0.0.11", "10.0.0.12"), "12:80 -g -w 1", "12:80 -g -w 0", 1)
	r.start()
	r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
	r.wantVIP()
	r.lvs("drain", "10.0.0.12")
	r.wantTable(drained)
	lab.Eventually(t, patience, func() error {
		if text, err := r.director.TryReadFile(stateFile); err != nil || !strings.Contains(text, "10.0.0.12") {
			return fmt.Errorf("the drain is not kept: %v\n%s", err, text)
		}
		return nil
	})
	again(":")
	r.says("drain", "status")
	r.wantTable(drained)
	r.wantVIP()

	for _, damage := range []string{"truncate -s 20 " + stateFile, "rm " + stateFile} {
		again(damage)
		r.wantTable(tableOf("10.0.0.11", "10.0.0.12"))
		r.wantVIP()
		want := 0
		if strings.HasPrefix(damage, "truncate") {
			want = 1
		}
		if n := strings.Count(r.run.Output(), "cannot be used, what it kept is forgotten"); n != want {
			t.Errorf("%s: said %d times, want %d\n%s", damage, n, want, r.run.Output())
		}
	}
	if err := r.run.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if left := r.director.Run("sh", "-c", "ls -A /var/lib/lvsctl | grep lvsctl-lvsctl || true"); strings.TrimSpace(left) != "" && strings.TrimSpace(left) != "lvsctl-lvsctl.json" {
		t.Errorf("left in /var/lib/lvsctl:\n%s", left)
	}
}

// TestARealServersStateIsTorn: what realserver run keeps is forgotten, and it goes on.
func TestARealServersStateIsTorn(t *testing.T) {
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	args := []string{lvsctl(), "realserver", "run", "--vip", "10.0.0.200"}
	has := func() {
		t.Helper()
		lab.Eventually(t, patience, func() error {
			if out := r.director.Run("ip", "addr", "show", "dev", "lo"); !strings.Contains(out, "10.0.0.200/32") {
				return fmt.Errorf("10.0.0.200 is not there:\n%s", out)
			}
			return nil
		})
	}
	r.run = r.director.Start(args...)
	has()
	for _, damage := range []string{"for f in /var/lib/lvsctl/*; do echo '{\"ver' >$f; done", "rm -r /var/lib/lvsctl"} {
		r.run.Kill()
		r.director.Run("sh", "-c", damage+"; ip addr del 10.0.0.200/32 dev lo")
		r.run = r.director.Start(args...)
		has()
	}
	if err := r.run.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestHeartbeatsProgramsReachRun: lvsctl run with heartbeat's files answers them.
func TestHeartbeatsProgramsReachRun(t *testing.T) {
	r := newRig(t)
	r.director.Nic("eth0", r.lan, "10.0.0.1/24")
	r.director.Run("rm", "-r", "/etc/lvsctl")
	r.director.WriteFile("/etc/ha.d/ha.cf", "keepalive 1\ndeadtime 4\ninitdead 4\nbcast eth0\nauto_failback off\nnode director other\n", 0o644)
	r.director.WriteFile("/etc/ha.d/haresources", "director 10.0.0.100/32/eth0 httpd\n", 0o644)
	r.director.WriteFile("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
	r.director.WriteFile("/etc/ha.d/resource.d/httpd", "#!/bin/sh\ncase $1 in\nstart) touch /run/httpd;;\nstop) rm -f /run/httpd;;\nstatus) test -e /run/httpd && echo running || echo stopped;;\nesac\n", 0o755)
	r.start()
	r.run.Await("VRRP is spoken in place of heartbeat's protocol", patience)
	r.says("all", "cl_status", "rscstatus")
	r.says("httpd running", "heartbeat", "status")
	if out := r.lvs("cl_status", "listnodes"); out != "director\nother\n" {
		t.Errorf("listnodes: %q", out)
	}
	// Nobody takes over: it goes on, and says so.
	out, err := r.director.Try(lvsctl(), "hb_standby")
	if err == nil || !strings.Contains(out, "no other node takes over") {
		t.Errorf("hb_standby: %v\n%s", err, out)
	}
	if out := r.lvs("hb_takeover"); out != "" {
		t.Errorf("hb_takeover: %s", out)
	}
	r.says("all", "cl_status", "rscstatus")

	// Without heartbeat's files the same daemon is none of heartbeat's.
	r.director.WriteFile("/etc/lvsctl/keepalived.conf", routers, 0o644)
	if err := r.run.Stop(); err != nil {
		t.Error(err)
	}
	r.start("/etc/lvsctl/keepalived.conf")
	r.wantVIP()
	if out, err := r.director.Try(lvsctl(), "cl_status", "hbstatus"); err == nil || !strings.Contains(out, "Heartbeat is stopped") {
		t.Errorf("cl_status hbstatus: %v\n%s", err, out)
	}
}
