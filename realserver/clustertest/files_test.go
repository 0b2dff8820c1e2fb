package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

const site = `checkinterval=1
virtual=192.168.1.100:80
	real=192.168.1.11:80 gate
	real=192.168.1.12:80 gate
virtual6=[2001:db8:1::100]:80
	real6=[2001:db8:1::11]:80 gate
`

const siteFile = "/etc/ha.d/ldirectord.cf"

// The director's own file says what a real server needs, in every command.
func TestFromTheDirectorsFile(t *testing.T) {
	c := onOneNetwork(t)
	h := c.servers[0]
	for _, h := range append(c.servers, c.client) {
		h.WriteFile(siteFile, site, 0o644)
	}
	before := c.snapshot(h)
	if _, err := h.Try(lvsctl("check", "--from", siteFile)...); exitStatus(err) != 4 {
		t.Errorf("check before: %v", err)
	}
	dry := h.Run(lvsctl("up", "--from", siteFile, "--dry-run")...)
	if got := h.Run(lvsctl("up", "--from", siteFile)...); got != dry {
		t.Errorf("the dry run said\n%sand this was done:\n%s", dry, got)
	}
	h.Run(lvsctl("check", "--from", siteFile)...)
	if out := c.servers[1].Run(lvsctl("up", "--from", siteFile, "--dry-run")...); strings.Contains(out, vip6) {
		t.Errorf("rs2 does not serve %s:\n%s", vip6, out)
	}
	out, err := c.client.Try(lvsctl("up", "--from", siteFile)...)
	if exitStatus(err) != 3 || !strings.Contains(out, "no service has a real server with an address of this host (192.168.1.1, 2001:db8:1::1)") {
		t.Errorf("on a host that the file does not know: %v\n%s", err, out)
	}
	h.Run(lvsctl("down", "--from", siteFile)...)
	sameHost(t, before, c.snapshot(h))
	h.WriteFile(siteFile, strings.Replace(site, "checkinterval=1", "checkinterval=often", 1), 0o644)
	if out, err := h.Try(lvsctl("up", "--from", siteFile)...); exitStatus(err) != 5 || !strings.Contains(out, siteFile+":1: ") {
		t.Errorf("a file with an error: %v\n%s", err, out)
	}
}

// Run puts back what goes, follows the file, and leaves everything at its end.
func TestRunKeeps(t *testing.T) {
	c := onOneNetwork(t)
	h := c.servers[0]
	h.WriteFile(siteFile, site, 0o644)
	before := c.snapshot(h)
	p := h.Start(lvsctl("run", "--from", siteFile)...)
	check := lvsctl("check", "--vip", vip4+","+vip6)
	stands := func(when string, args []string) {
		t.Helper()
		lab.Eventually(t, 30*time.Second, func() error {
			if out, err := h.Try(args...); err != nil {
				return fmt.Errorf("%s: %w\n%s\n%s", when, err, out, p.Output())
			}
			return nil
		})
	}
	stands("at the start", check)
	h.Run("ip", "addr", "del", vip4+"/32", "dev", "lo")
	stands("an address was taken away", check)
	p.Await("was undone by somebody, done again: ip addr add "+vip4+"/32", 30*time.Second)
	h.SetSysctl("net.ipv4.conf.all.arp_ignore", "0")
	stands("ARP was loosened", check)
	if took := fastest(t, h, 5); took > time.Second {
		t.Errorf("ARP is loose for %v at the least: the writes are not told of, or not heard\n%s", took, p.Output())
	}
	// As from a container: a /proc of its own, whose writes nobody is told of.
	h.Run("sh", "-c", "mkdir -p /run/else && mount -t proc proc /run/else && echo 0 >/run/else/sys/net/ipv4/conf/all/arp_ignore; umount /run/else && rmdir /run/else")
	stands("ARP was loosened where nobody is told", check)
	h.Run("ip", "addr", "del", "192.168.1.11/24", "dev", "eth0") // its own address flaps
	h.Run("ip", "addr", "add", "192.168.1.11/24", "brd", "+", "dev", "eth0")

	h.WriteFile(siteFile, "virtual=nonsense\n", 0o644)
	p.Await("not taken", 30*time.Second)
	stands("a broken file", check)

	h.WriteFile(siteFile, strings.ReplaceAll(site, vip4, "192.168.1.101"), 0o644)
	stands("another address", lvsctl("check", "--vip", "192.168.1.101,"+vip6))
	lab.Eventually(t, 30*time.Second, func() error {
		if _, err := h.Try("sh", "-c", "ip addr show dev lo | grep -q "+vip4); err == nil {
			return fmt.Errorf("%s is still there\n%s", vip4, p.Output())
		}
		return nil
	})
	if err := p.Stop(); err != nil {
		t.Errorf("run: %v\n%s", err, p.Output())
	}
	h.Run(lvsctl("check", "--vip", "192.168.1.101,"+vip6)...)
	h.Run(lvsctl("down", "--all")...)
	sameHost(t, before, c.snapshot(h))
}

// fastest is the least of several times for which ARP stays loose. Whoever looks every
// two seconds, and at nothing else, needs all but these for each time after the first.
func fastest(t *testing.T, h *lab.Host, times int) time.Duration {
	const key = "net.ipv4.conf.all.arp_ignore"
	least := time.Hour
	for i := range times + 1 {
		h.SetSysctl(key, "0")
		began := time.Now()
		lab.Eventually(t, 30*time.Second, func() error {
			if now := h.Sysctl(key); now != "1" {
				return fmt.Errorf("%s is %s", key, now)
			}
			return nil
		})
		if i > 0 {
			least = min(least, time.Since(began))
		}
	}
	return least
}
