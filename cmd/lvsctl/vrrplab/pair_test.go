package vrrplab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// patience is for what takes a few intervals on an idle machine, and much longer on a busy one.
const patience = 2 * time.Minute

const vip = "10.1.0.100"

// spacing is the time between two requests of a client.
const spacing = 5 * time.Millisecond

// pair is two directors and a client on one network, and what they balance.
type pair struct {
	*testing.T
	net     *lab.Net
	lan     *lab.Bridge
	client  *lab.Host
	d       [2]*lab.Host
	run     [2]*lab.Process
	servers []*lab.Host
}

func newPair(t *testing.T) *pair { return pairWith(t, 0) }

// pairWith is a pair with so many real servers.
func pairWith(t *testing.T, servers int) *pair {
	n := lab.New(t)
	lan := n.Bridge("lan")
	p := &pair{T: t, net: n, lan: lan, client: n.Host("client").Nic("eth0", lan, "10.1.0.9/24")}
	for i := range p.d {
		p.d[i] = n.Host(fmt.Sprintf("d%d", i+1)).Nic("eth0", lan, fmt.Sprintf("10.1.0.%d/24", i+1))
	}
	for i := range servers {
		p.servers = append(p.servers, n.Host(fmt.Sprintf("web%d", i+1)).Nic("eth0", lan, fmt.Sprintf("10.1.0.%d/24", 21+i)))
	}
	t.Cleanup(func() {
		for i, r := range p.run {
			if r != nil && t.Failed() {
				t.Logf("d%d:\n%s", i+1, r.Output())
			}
		}
	})
	return p
}

// start runs one of us; the first director has the higher priority.
func (p *pair) start(i int, more ...string) {
	p.Helper()
	args := []string{lvsctl(), "vrrp", "run", "--debug", "--interface", "eth0", "--vrid", "51",
		"--priority", fmt.Sprint(150 - 50*i), "--advert-int", "0.3", "--vip", vip + "/24"}
	p.run[i] = p.d[i].Start(append(args, more...)...)
}

const confFile = "/etc/keepalived/keepalived.conf"

// conf writes a director's file, with more addresses than the usual one.
func (p *pair) conf(i int, more ...string) {
	p.d[i].WriteFile(confFile, fmt.Sprintf(`vrrp_instance VI_1 {
    state BACKUP
    interface eth0
    virtual_router_id 51
    version 3
    priority %d
    advert_int 0.3
    virtual_ipaddress {
        %s/24
        %s
    }
}
`, 150-50*i, vip, strings.Join(more, "\n        ")), 0o644)
}

// startPeer runs keepalived with the same settings.
func (p *pair) startPeer(i int) {
	p.Helper()
	p.conf(i)
	p.run[i] = p.d[i].Start("keepalived", "-n", "-l", "-D", "-P", "-f", confFile)
}

// startFile runs us with keepalived's file and options.
func (p *pair) startFile(i int) {
	p.Helper()
	p.run[i] = p.d[i].Start(lvsctl(), "keepalived", "-n", "-l", "-D", "-P", "-f", confFile)
}

func needKeepalived(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("keepalived"); err == nil {
		return
	}
	const how = "keepalived is not installed: apt-get install keepalived"
	if os.Getenv("LVSCTL_LAB") == "require" {
		t.Fatal(how)
	}
	t.Skip(how)
}

// addresses are those of a host. No program is started for it: in a guest each one
// is felt by the directors.
func addresses(t testing.TB, h *lab.Host) []string {
	t.Helper()
	var out []string
	h.Do(func() {
		all, err := net.InterfaceAddrs()
		if err != nil {
			t.Error(err)
		}
		for _, a := range all {
			out = append(out, a.String())
		}
	})
	return out
}

func (p *pair) has(i int) bool {
	p.Helper()
	return slices.Contains(addresses(p, p.d[i]), vip+"/24")
}

// look is the pause between two looks at what takes an interval.
const look = 50 * time.Millisecond

// await waits until exactly this director has the address, and for longer than an
// interval; -1 is none.
func (p *pair) await(what string, holder int) {
	p.Helper()
	lab.Eventually(p, patience, func() error {
		for range 2 {
			for i := range p.d {
				if p.has(i) != (i == holder) {
					time.Sleep(look)
					return fmt.Errorf("%s: d%d has the address: %v", what, i+1, i != holder)
				}
			}
			time.Sleep(350 * time.Millisecond)
		}
		return nil
	})
}

// vrrp gives an order to a director.
func (p *pair) vrrp(i int, args ...string) string {
	p.Helper()
	return p.d[i].Run(append([]string{lvsctl(), "vrrp"}, args...)...)
}

// smooth does something that must not lose a packet. A machine that does something
// else as well may be late once, not three times; undo brings everything back.
func (p *pair) smooth(what string, do, undo func()) {
	p.Helper()
	const tries = 3
	for try := 1; ; try++ {
		c := p.client.Ping(vip, spacing)
		lab.Eventually(p, patience, func() error {
			if err := c.Alive(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
		do()
		time.Sleep(500 * time.Millisecond)
		felt := c.End()
		p.Logf("%s: %v", what, felt)
		if felt.Packets == 0 {
			return
		}
		if try == tries {
			p.Fatalf("%s: %d packets of a client were lost, the third time", what, felt.Packets)
		}
		undo()
	}
}

func (p *pair) stop(i int) {
	p.Helper()
	p.run[i].Signal(syscall.SIGTERM)
	lab.Eventually(p, patience, func() error {
		if p.run[i].Running() {
			time.Sleep(look)
			return fmt.Errorf("d%d still runs", i+1)
		}
		return nil
	})
	if err := p.run[i].Wait(); err != nil {
		p.Errorf("d%d ends with %v", i+1, err)
	}
}

// crash ends a director as a power failure does: its network and its processes are
// gone at once. It is held first, so that it does not see its network go and clean up.
func (p *pair) crash(i int) {
	p.run[i].Signal(syscall.SIGSTOP)
	p.d[i].Unplug("eth0")
	p.run[i].Kill()
}
