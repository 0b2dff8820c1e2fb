// Package clustertest raises whole clusters with the program alone, on a real
// kernel: a director with lvsctl vrrp and lvsctl ipvsadm, real servers with lvsctl
// realserver, and a client that must be answered.
package clustertest

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/netif"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

const (
	vip4 = "192.168.1.100"
	vip6 = "2001:db8:1::100"
)

// cluster is a client, a director and two real servers.
type cluster struct {
	t        *testing.T
	client   *lab.Host
	director *lab.Host
	servers  []*lab.Host
	before   []netif.Snapshot
}

// onOneNetwork is for DR and TUN: all four on one wire.
func onOneNetwork(t *testing.T) *cluster {
	n := lab.New(t)
	lan := n.Bridge("lan")
	c := &cluster{t: t}
	c.client = n.Host("client").Nic("eth0", lan, "192.168.1.1/24", "2001:db8:1::1/64")
	c.director = n.Host("director").Nic("eth0", lan, "192.168.1.2/24", "2001:db8:1::2/64")
	for i := range 2 {
		h := n.Host(fmt.Sprintf("rs%d", i+1)).Nic("eth0", lan, fmt.Sprintf("192.168.1.%d/24", 11+i), fmt.Sprintf("2001:db8:1::%d/64", 11+i))
		c.servers = append(c.servers, h)
	}
	return c
}

// behindTheDirector is for NAT: the client is on another network.
func behindTheDirector(t *testing.T) *cluster {
	n := lab.New(t)
	lan, inside := n.Bridge("lan"), n.Bridge("inside")
	c := &cluster{t: t}
	c.client = n.Host("client").Nic("eth0", lan, "192.168.1.1/24", "2001:db8:1::1/64")
	c.director = n.Host("director").Nic("eth0", lan, "192.168.1.2/24", "2001:db8:1::2/64").
		Nic("eth1", inside, "10.0.0.1/24", "2001:db8:2::1/64")
	c.director.SetSysctl("net.ipv4.ip_forward", "1")
	c.director.SetSysctl("net.ipv6.conf.all.forwarding", "1")
	for i := range 2 {
		h := n.Host(fmt.Sprintf("rs%d", i+1)).Nic("eth0", inside, fmt.Sprintf("10.0.0.%d/24", 11+i), fmt.Sprintf("2001:db8:2::%d/64", 11+i))
		c.servers = append(c.servers, h)
	}
	return c
}

// services fills the director's table; how are ipvsadm's options of a server.
func (c *cluster) services(net4, net6 string, how ...string) {
	for vip, net := range map[string]string{vip4: net4, "[" + vip6 + "]": net6} {
		c.director.Run(ipvsadm("-A", "-t", vip+":80", "-s", "rr")...)
		for i := range c.servers {
			rip := net + fmt.Sprint(11+i)
			if strings.Contains(net, ":") {
				rip = "[" + rip + "]"
			}
			c.director.Run(ipvsadm(append([]string{"-a", "-t", vip + ":80", "-r", rip + ":80"}, how...)...)...)
		}
	}
}

// raise gives the director the VIPs; what comes back takes them away again. As the
// owner of the addresses it is master at once.
func (c *cluster) raise() (lower func()) {
	c.t.Helper()
	before := c.snapshot(c.director)
	p := c.director.Start(filepath.Join(lab.Built(), "lvsctl"), "vrrp", "run", "--interface", "eth0", "--vrid", "51", "--priority", "255",
		"--vip", vip4, "--vip-excluded", vip6)
	lab.Eventually(c.t, 30*time.Second, func() error {
		have := c.snapshot(c.director)
		for _, vip := range []string{vip4, vip6} {
			if len(have.Holders(netip.MustParseAddr(vip))) == 0 {
				return fmt.Errorf("the director has no %s:\n%s", vip, p.Output())
			}
		}
		return nil
	})
	return func() {
		c.t.Helper()
		if err := p.Stop(); err != nil {
			c.t.Errorf("vrrp run: %v\n%s", err, p.Output())
		}
		c.director.Run(ipvsadm("-C")...)
		sameHost(c.t, before, c.snapshot(c.director))
	}
}

func ipvsadm(args ...string) []string {
	return append([]string{filepath.Join(lab.Built(), "lvsctl"), "ipvsadm"}, args...)
}

func lvsctl(args ...string) []string {
	return append([]string{filepath.Join(lab.Built(), "lvsctl"), "realserver"}, args...)
}

// answered is whether both servers answer the client, of both families.
func (c *cluster) answered(when string) {
	c.t.Helper()
	for _, url := range []string{"http://" + vip4 + "/", "http://[" + vip6 + "]/"} {
		lab.Eventually(c.t, 20*time.Second, func() error {
			hits := map[string]int{}
			for range 4 {
				text, err := c.client.TryGet(url)
				if err != nil {
					return fmt.Errorf("%s: %w", when, err)
				}
				hits[text]++
			}
			if hits["rs1"] != 2 || hits["rs2"] != 2 {
				return fmt.Errorf("%s: %s was answered by %v", when, url, hits)
			}
			return nil
		})
	}
}

// onlyTheDirectorAnswers is what ARP and neighbour discovery say of the VIPs.
func (c *cluster) onlyTheDirectorAnswers() {
	c.t.Helper()
	w, err := c.kernel(c.client).Wire("eth0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Close()
	for _, vip := range []string{vip4, vip6} {
		answers, err := w.Probe(c.t.Context(), netip.MustParseAddr(vip), netif.Probing{Count: 2, Interval: 100 * time.Millisecond, Wait: 300 * time.Millisecond})
		if err != nil {
			c.t.Fatal(err)
		}
		if len(answers) != 1 || answers[0].MAC != "02:00:00:00:02:01" {
			c.t.Errorf("%s is answered for by %+v", vip, answers)
		}
	}
}

func (c *cluster) kernel(h *lab.Host) *netif.Kernel {
	c.t.Helper()
	var k *netif.Kernel
	var err error
	h.Do(func() { k, err = netif.InNamespace("/proc/thread-self/ns/net") })
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { k.Close() })
	return k
}

func (c *cluster) snapshot(h *lab.Host) netif.Snapshot {
	c.t.Helper()
	s, err := c.kernel(h).Snapshot()
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// up raises all servers, twice: the second time there is nothing to do.
func (c *cluster) up(args []string) {
	c.t.Helper()
	for _, h := range c.servers {
		out := h.Run(lvsctl(append([]string{"up"}, args...)...)...)
		if strings.Contains(out, "nothing to do") {
			c.t.Errorf("%v: nothing was done", h)
		}
		if out := h.Run(lvsctl(append([]string{"up"}, args...)...)...); out != "# nothing to do\n" {
			c.t.Errorf("%v, a second time: %s", h, out)
		}
		h.Run(lvsctl("check")...)
	}
}

// down takes all servers down, and they are as they were found.
func (c *cluster) down() {
	c.t.Helper()
	for i, h := range c.servers {
		h.Run(lvsctl("down", "--all")...)
		sameHost(c.t, c.before[i], c.snapshot(h))
		if out := h.Run(lvsctl("down", "--all")...); out != "# nothing to do\n" {
			c.t.Errorf("%v, a second time: %s", h, out)
		}
	}
}

// sameHost compares all addresses, routes, rules, ports and settings. The device
// that a tunnel's module makes stays, as long as the module does; it is down, bare,
// and has the settings of a new device.
func sameHost(t *testing.T, before, after netif.Snapshot) {
	t.Helper()
	var known []netif.Link
	for _, l := range after.Links {
		if _, ok := before.Link(l.Name); ok {
			known = append(known, l)
			forgetNew(before, after, l)
			continue
		}
		if l.Up {
			t.Errorf("%s stays up", l.Name)
		}
		for key := range after.Sysctls {
			if strings.Contains(key, ".conf."+l.Name+".") {
				delete(after.Sysctls, key)
			}
		}
	}
	after.Links, after.Modules = known, before.Modules
	if diff := cmp.Diff(before, after, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the host is not as it was found (-before +after):\n%s", diff)
	}
}

// forgetNew leaves out the IPv6 settings of a tunnel's own device that the kernel
// makes when it first goes up, in a namespace that began with the device.
func forgetNew(before, after netif.Snapshot, l netif.Link) {
	for key := range after.Sysctls {
		_, old := before.Sysctls[key]
		if !old && l.NoARP && strings.HasPrefix(key, netif.ConfKey("ipv6", l.Name, "")) {
			delete(after.Sysctls, key)
		}
	}
}

func (c *cluster) serve() {
	for _, h := range c.servers {
		h.Serve(h.Name(), ":80")
	}
	for _, h := range c.servers {
		c.before = append(c.before, c.snapshot(h))
	}
}

// strict is rp_filter as Red Hat sets it.
func (c *cluster) strict() {
	for _, h := range c.servers {
		h.SetSysctl("net.ipv4.conf.all.rp_filter", "1")
		h.SetSysctl("net.ipv4.conf.default.rp_filter", "1")
	}
}

func TestClusters(t *testing.T) {
	vips := vip4 + "," + vip6
	for _, test := range []struct {
		name  string
		build func(*testing.T) *cluster
		net   [2]string
		how   []string // ipvsadm's options
		up    []string // ours
	}{
		{"DR", onOneNetwork, [2]string{"192.168.1.", "2001:db8:1::"}, []string{"-g"}, []string{"--vip", vips}},
		{"TUN ipip", onOneNetwork, [2]string{"192.168.1.", "2001:db8:1::"}, []string{"-i"}, []string{"--vip", vips, "--method", "tun"}},
		{"TUN gue", onOneNetwork, [2]string{"192.168.1.", "2001:db8:1::"}, []string{"-i", "--tun-type", "gue", "--tun-port", "6080", "--tun-nocsum"},
			[]string{"--vip", vips, "--method", "tun", "--tunnel", "gue"}},
		{"TUN gre", onOneNetwork, [2]string{"192.168.1.", "2001:db8:1::"}, []string{"-i", "--tun-type", "gre", "--tun-nocsum"},
			[]string{"--vip", vips, "--method", "tun", "--tunnel", "gre"}},
		{"NAT", behindTheDirector, [2]string{"10.0.0.", "2001:db8:2::"}, []string{"-m"}, []string{"--vip", vips, "--method", "nat", "--gateway", "10.0.0.1,2001:db8:2::1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.build(t)
			lower := c.raise()
			c.services(test.net[0], test.net[1], test.how...)
			if strings.HasPrefix(test.name, "TUN") {
				c.strict()
			}
			c.serve()
			c.up(test.up)
			c.answered("up")
			c.onlyTheDirectorAnswers()
			c.down()
			c.up(test.up)
			c.answered("up again")
			c.down()
			lower()
		})
	}
}

// The state's file under /var/lib is torn, then both copies are gone: down still
// works.
func TestStateFilesLost(t *testing.T) {
	c := onOneNetwork(t)
	h := c.servers[0]
	before := c.snapshot(h)
	const kept, copied = "/var/lib/lvsctl/realserver.json", "/run/lvsctl/realserver.json"
	h.Run(lvsctl("up", "--vip", vip4)...)
	h.WriteFile(kept, h.ReadFile(kept)[:20], 0o600)
	h.Run(lvsctl("down", "--all")...)
	sameHost(t, before, c.snapshot(h))

	h.Run(lvsctl("up", "--vip", vip4)...)
	h.Run("rm", kept, copied)
	out := h.Run(lvsctl("down", "--vip", vip4)...)
	want := "ip route del " + vip4 + " dev lo scope link src " + vip4 + "\nip addr del " + vip4 + "/32 dev lo\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is persistent is written once, is found by status, and goes with the last
// address. Files of others stay.
func TestPersist(t *testing.T) {
	c := onOneNetwork(t)
	h := c.servers[0]
	const sysctls, unit = "/etc/sysctl.d/90-lvsctl-realserver.conf", "/etc/systemd/system/lvsctl-realserver.service"
	h.Run(lvsctl("up", "--vip", vip4, "--persist")...)
	if text := h.ReadFile(sysctls); !strings.Contains(text, "net.ipv4.conf.all.arp_ignore = 1\n") {
		t.Errorf("%s:\n%s", sysctls, text)
	}
	if text := h.ReadFile(unit); !strings.Contains(text, "realserver up --method dr --vip "+vip4+"\n") {
		t.Errorf("%s:\n%s", unit, text)
	}
	if out := h.Run(lvsctl("up", "--vip", vip4, "--persist")...); out != "# nothing to do\n" {
		t.Errorf("a second time: %s", out)
	}
	if out := h.Run(lvsctl("status")...); !strings.HasPrefix(out, "ok: "+vip4+" on lo:0, method dr, silent\n") || strings.Contains(out, "restart") {
		t.Errorf("status: %s", out)
	}
	h.Run("ip", "addr", "del", vip4+"/32", "dev", "lo")
	if out, err := h.Try(lvsctl("check")...); exitStatus(err) != 4 || !strings.Contains(out, "missing: ip addr add "+vip4) {
		t.Errorf("check, with the address gone: %v\n%s", err, out)
	}
	h.Run(lvsctl("down", "--all")...)
	for _, path := range []string{sysctls, unit} {
		if _, err := h.Try("test", "-e", path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if _, err := h.Try(lvsctl("check")...); exitStatus(err) != 3 {
		t.Errorf("check, with nothing up: %v", err)
	}
	h.WriteFile(sysctls, "net.ipv4.conf.all.arp_ignore = 0\n", 0o644)
	if _, err := h.Try(lvsctl("up", "--vip", vip4, "--persist")...); exitStatus(err) != 1 {
		t.Errorf("over a file of someone else: %v", err)
	}
	if text := h.ReadFile(sysctls); text != "net.ipv4.conf.all.arp_ignore = 0\n" {
		t.Errorf("a file of someone else is now:\n%s", text)
	}
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// The lines that the tutorials have people type, before and after ours.
func TestByHandBeforeAndAfter(t *testing.T) {
	c := onOneNetwork(t)
	h := c.servers[0]
	h.Run("ip", "addr", "add", vip4+"/32", "dev", "lo", "label", "lo:0") // ifconfig lo:0 VIP netmask 255.255.255.255 up
	h.Run("ip", "route", "add", vip4, "dev", "lo")                       // route add -host VIP dev lo:0
	h.SetSysctl("net.ipv4.conf.lo.arp_ignore", "1")
	h.SetSysctl("net.ipv4.conf.lo.arp_announce", "2")
	found := c.snapshot(h)
	out, err := h.Try(lvsctl("status", "--vip", vip4)...)
	for _, want := range []string{"not ok: " + vip4 + " on lo:0, method dr, answers ARP", "missing: sysctl -w net.ipv4.conf.all.arp_ignore=1",
		"note: arp_ignore is set on lo and not on all: that hides nothing"} {
		if !strings.Contains(out, want) {
			t.Errorf("status (%v) does not say %q:\n%s", err, want, out)
		}
	}
	got := strings.Split(strings.TrimSpace(h.Run(lvsctl("up", "--vip", vip4)...)), "\n")
	want := []string{"sysctl -w net.ipv4.conf.all.arp_ignore=1", "sysctl -w net.ipv4.conf.all.arp_announce=2",
		"sysctl -w net.ipv4.conf.default.arp_ignore=1", "sysctl -w net.ipv4.conf.default.arp_announce=2"}
	if !slices.Equal(got, want) {
		t.Errorf("up after the tutorial: %q", got)
	}
	h.Run(lvsctl("down", "--all")...)
	sameHost(t, found, c.snapshot(h))
}
