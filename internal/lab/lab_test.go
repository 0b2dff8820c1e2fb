package lab_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

func TestTheKernelHasIPVS(t *testing.T) {
	lab.Need(t)
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		t.Fatal(err)
	}
}

func TestHostsReachEachOther(t *testing.T) {
	n := lab.New(t)
	lan := n.Bridge("lan")
	client := n.Host("client").Nic("eth0", lan, "192.168.131.10/24", "2001:db8::10/64")
	web1 := n.Host("web1").Nic("eth0", lan, "192.168.131.147/24", "2001:db8::147/64")
	web := web1.Serve("This is web1", ":80")

	for _, url := range []string{"http://192.168.131.147/", "http://[2001:db8::147]/"} {
		if got := client.Get(url); got != "This is web1" {
			t.Errorf("%s: %q", url, got)
		}
	}
	if web.Hits() != 2 {
		t.Errorf("web1 answered %d requests, want 2", web.Hits())
	}
	if got := client.Run("hostname"); got != "client\n" {
		t.Errorf("hostname says %q", got)
	}
}

func TestCaptureSeesWhoAsks(t *testing.T) {
	n := lab.New(t)
	lan := n.Bridge("lan")
	client := n.Host("client").Nic("eth0", lan, "192.168.131.10/24")
	web1 := n.Host("web1").Nic("eth0", lan, "192.168.131.147/24")
	web1.Serve("This is web1", ":80")

	seen := web1.Capture("eth0")
	client.Get("http://192.168.131.147/")
	seen.Await("ARP who-has 192.168.131.147 tell 192.168.131.10", patience)
	reply := seen.Await("ARP reply 192.168.131.147 is-at 02:00:00:00:02:01", patience)
	if !reply.Out || reply.Dst.String() != "02:00:00:00:01:01" {
		t.Errorf("the reply goes to %s, out %t", reply.Dst, reply.Out)
	}
	seen.Await(" > 192.168.131.147.80: Flags [S], length 0", patience)
}

func TestEveryHostHasItsOwnIPVSTable(t *testing.T) {
	n := lab.New(t)
	lk1, lk2 := n.Host("lk1"), n.Host("lk2")
	lk1.Run("ipvsadm", "-A", "-t", "192.168.0.254:80", "-s", "rr")
	if got := lk1.Run("ipvsadm", "-Sn"); got != "-A -t 192.168.0.254:80 -s rr\n" {
		t.Errorf("lk1 has %q", got)
	}
	if got := lk2.Run("ipvsadm", "-Sn"); got != "" {
		t.Errorf("lk2 has %q", got)
	}
}

func TestFilesOfAHostAreItsOwn(t *testing.T) {
	n := lab.New(t)
	a, b := n.Host("a"), n.Host("b")
	for _, path := range []string{"/etc/lvsctl/x.cf", "/var/lib/lvsctl/state", "/run/lvsctl.pid", "/var/run/other.pid"} {
		a.WriteFile(path, "a's", 0o644)
		if got := a.Run("cat", path); got != "a's" {
			t.Errorf("a reads %q from %s", got, path)
		}
		if out, err := b.Try("cat", path); err == nil {
			t.Errorf("b sees %s: %q", path, out)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("the lab itself sees %s", path)
		}
	}
	shared := filepath.Join(t.TempDir(), "file")
	a.WriteFile(shared, "for all", 0o644)
	if got := b.ReadFile(shared); got != "for all" {
		t.Errorf("b reads %q", got)
	}
}

// TestFilesOfTheMachineAreNot: what this machine has where our programs look for their
// files is not there for a host, whenever it was written.
func TestFilesOfTheMachineAreNot(t *testing.T) {
	lab.Need(t)
	const dir = "/etc/keepalived"
	write := func(name string) {
		if !lab.InGuest() {
			return // it is somebody's
		}
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(filepath.Join(dir, name)) })
	}
	write("before.conf")
	h := lab.New(t).Host("h")
	h.WriteFile(dir+"/own.conf", "", 0o644)
	write("after.conf")
	if got := h.Run("ls", "-A", dir); got != "own.conf\n" {
		t.Errorf("the host sees\n%s", got)
	}
}

func TestSettingsOfAHostAreItsOwn(t *testing.T) {
	n := lab.New(t)
	a, b := n.Host("a"), n.Host("b")
	a.SetSysctl("net.ipv4.ip_forward", "1")
	if a.Sysctl("net.ipv4.ip_forward") != "1" || b.Sysctl("net/ipv4/ip_forward") != "0" {
		t.Error("ip_forward of one host is that of the other")
	}
}

func TestUnplugTakesTheCarrier(t *testing.T) {
	n := lab.New(t)
	lan := n.Bridge("lan")
	a := n.Host("a").Nic("eth0", lan, "10.0.0.1/24")
	carrier := func(want string) {
		t.Helper()
		lab.Eventually(t, patience, func() error {
			if got := strings.TrimSpace(a.ReadFile("/sys/class/net/eth0/carrier")); got != want {
				return fmt.Errorf("carrier is %s, want %s", got, want)
			}
			return nil
		})
	}
	carrier("1")
	a.Unplug("eth0")
	carrier("0")
	a.Plug("eth0")
	carrier("1")
}

func TestProcesses(t *testing.T) {
	n := lab.New(t)
	a := n.Host("a")
	p := a.Start("sh", "-c", "trap 'echo told to end; exit 3' TERM; echo started; while :; do sleep 0.01; done")
	p.Await("started", patience)
	if err := p.Stop(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("ended with %v", err)
	}
	if got := p.Output(); got != "started\ntold to end\n" {
		t.Errorf("wrote %q", got)
	}
	if _, err := a.Try("no-such-program"); err == nil {
		t.Error("a program that is not there ran")
	}
	if got := a.Input("in and out", "cat"); got != "in and out" {
		t.Errorf("cat: %q", got)
	}
}

// TestNothingStays counts what a test with everything leaves: a daemon that left
// its parent, a server, a capture, three hosts.
func TestNothingStays(t *testing.T) {
	lab.Need(t)
	before := settled(t)
	t.Run("cluster", func(t *testing.T) {
		n := lab.New(t)
		lan := n.Bridge("lan")
		for i := range 3 {
			h := n.Host(fmt.Sprint("h", i)).Nic("eth0", lan, fmt.Sprintf("10.0.0.%d/24", i+1))
			h.Serve("x", ":80")
			h.Capture("eth0")
			h.Run("sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 &")
			h.Start("sleep", "3600")
		}
		if got := leftovers(t); got.processes < before.processes+6 || got.namespaces < before.namespaces+3 {
			t.Errorf("%+v is too few for three hosts, before them %+v: this test cannot count", got, before)
		}
	})
	lab.Eventually(t, patience, func() error {
		if after := leftovers(t); after.more(before) || after.files > before.files {
			return fmt.Errorf("left %+v, was %+v", after, before)
		}
		return nil
	})
}

// settled are the leftovers once nothing changes any more: what the test before this
// one has ended needs a moment to go.
func settled(t *testing.T) left {
	t.Helper()
	l := leftovers(t)
	lab.Eventually(t, patience, func() error {
		time.Sleep(100 * time.Millisecond)
		was := l
		if l = leftovers(t); l != was {
			return fmt.Errorf("%+v, a moment ago %+v", l, was)
		}
		return nil
	})
	return l
}

type left struct{ processes, namespaces, files int }

// more tells whether something is left that was not there before.
func (l left) more(before left) bool {
	return l.processes > before.processes || l.namespaces > before.namespaces
}

func leftovers(t *testing.T) left {
	t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	spaces := map[string]bool{}
	var l left
	for _, pid := range pids {
		status, err := os.ReadFile(pid + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			continue
		}
		if cmd, _ := os.ReadFile(pid + "/cmdline"); len(cmd) == 0 {
			continue // a thread of the kernel
		}
		l.processes++
		if ns, err := os.Readlink(pid + "/ns/net"); err == nil {
			spaces[ns] = true
		}
	}
	l.namespaces = len(spaces)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	l.files = len(files)
	return l
}

func TestParallel(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			n := lab.New(t)
			lan := n.Bridge("lan")
			a := n.Host("a").Nic("eth0", lan, "10.0.0.1/24")
			n.Host("b").Nic("eth0", lan, "10.0.0.2/24").Serve(fmt.Sprint("net ", i), ":80")
			if got := a.Get("http://10.0.0.2/"); got != fmt.Sprint("net ", i) {
				t.Errorf("net %d answers %q", i, got)
			}
		})
	}
}

// again runs one test of this binary as on a machine whose kernel has IPVS, which
// is what a guest is.
func again(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	lab.Need(t)
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+test+"$")
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LVSCTL_LAB") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func TestHere(t *testing.T) {
	out, err := again(t, "TestHostsReachEachOther").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestHostsReachEachOther") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = again(t, "TestToldToFail", "FAIL=1").CombinedOutput()
	if err == nil || err.Error() != "exit status 1" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestToldToFail(t *testing.T) {
	if os.Getenv("FAIL") != "" {
		t.Fatal("as told")
	}
}

func TestToldToHang(t *testing.T) {
	if os.Getenv("HANG") == "" {
		return
	}
	h := lab.New(t).Host("h")
	h.Run("sh", "-c", "setsid sleep 3600 >/dev/null 2>&1 &")
	fmt.Println("hanging")
	h.Run("sleep", "3600")
}

// TestHereDiesWhole: who kills the process that go test knows kills all.
func TestHereDiesWhole(t *testing.T) {
	lab.Need(t)
	before := settled(t)
	cmd := again(t, "TestToldToHang", "HANG=1")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); lines.Scan() && lines.Text() != "hanging"; {
	}
	if got := leftovers(t); got.namespaces <= before.namespaces {
		t.Errorf("%+v while it runs, %+v before", got, before)
	}
	cmd.Process.Kill()
	cmd.Wait()
	lab.Eventually(t, patience, func() error {
		if after := leftovers(t); after.more(before) {
			return fmt.Errorf("left %+v, was %+v", after, before)
		}
		return nil
	})
}

func TestFatalInDoEndsTheTest(t *testing.T) {
	n := lab.New(t)
	a := n.Host("a")
	reached := false
	done := make(chan struct{})
	go func() { // as the test's own goroutine would
		defer close(done)
		a.Do(func() { panicOrExit(t) })
		reached = true
	}()
	<-done
	if reached {
		t.Error("Do returned after its function had ended the goroutine")
	}
}
