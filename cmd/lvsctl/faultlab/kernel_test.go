package faultlab

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestTheModuleIsLoadedAgain: ip_vs goes away beneath the daemon, and comes back
// with another number for its netlink family.
func TestTheModuleIsLoadedAgain(t *testing.T) {
	lab.Need(t)
	if !lab.InGuest() {
		t.Skip("the module is this machine's; LVSCTL_LAB=uml runs this test in a guest")
	}
	r := newRig(t)
	r.begin(file(1), table(1))
	before := r.pid()
	// Stopped, because it would put the table back before the module can go.
	r.signal(syscall.SIGSTOP)
	r.lvs("ipvsadm", "-C")
	// The lab's own modprobe must not load it again behind the kernel's back.
	was := r.director.Sysctl("kernel.modprobe")
	r.director.SetSysctl("kernel.modprobe", "/nowhere")
	lab.Eventually(t, patience, func() error { // the tables of hosts of other tests may be about to go
		if out, err := r.director.Try("modprobe", "-r", "ip_vs_wrr", "ip_vs"); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	r.signal(syscall.SIGCONT)
	r.says(log, "The kernel's table cannot be read: .*; checks go on, and it is tried again")
	r.close("10.2.0.12")
	r.says(log, `10\.2\.0\.12:80 \(10\.1\.0\.1:80\) is down`)
	if out := r.lvs("status"); !strings.Contains(out, "the kernel's table cannot be read") {
		t.Errorf("status does not say so:\n%s", out)
	}
	r.director.SetSysctl("kernel.modprobe", was)
	r.director.Run("modprobe", "ip_vs")
	r.wantTable(without(table(1), "10.2.0.12"))
	r.says(log, "The kernel's table can be read again")
	r.open("10.2.0.12")
	r.wantTable(table(1))
	if r.pid() != before {
		t.Error("it is another process")
	}
}

// TestNetlinkFails: for a while much of what the daemon says to IPVS fails, in the
// ways in which netlink can.
func TestNetlinkFails(t *testing.T) {
	r := newRig(t)
	r.begin(file(1), table(1))
	for i, storm := range [][]string{
		{"recvmmsg:error=ENOBUFS:when=1+2", "sendto:error=EINTR:when=1+3"},
		{"recvmmsg:error=EBUSY:when=2+3", "sendto:error=ENOMEM:when=2+3"},
	} {
		weight, faults := i+2, fmt.Sprintf("/var/log/faults.%d", i)
		args := []string{"strace", "-f", "-qq", "-e", "trace=recvmmsg,sendto", "-o", faults, "-p", fmt.Sprint(r.pid())}
		for _, fault := range storm {
			args = append(args, "-e", "inject="+fault)
		}
		p := r.director.Start(args...)
		r.says(faults, "INJECTED")
		r.write(file(weight))
		r.signal(syscall.SIGHUP)
		r.lvs("ipvsadm", "-d", "-t", "10.1.0.1:80", "-r", "10.2.0.12:80")
		time.Sleep(2 * time.Second) // the length of the storm
		if err := p.Stop(); err == nil {
			t.Errorf("%q was over before it was to be: %s", storm, p.Output())
		}
		r.wantTable(table(weight))
	}
}
