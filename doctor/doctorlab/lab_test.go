// Package doctorlab makes the faults that doctor knows, on a real kernel, and sees
// the program name each of them and nothing else. Its findings' own command lines
// mend what can be mended on the spot.
package doctorlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
	"github.com/lvsctl/lvsctl/vrrp/wire"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

const (
	vip4 = "192.168.1.100"
	vip6 = "2001:db8:1::100"
)

// cluster is a client, a director and two real servers.
type cluster struct {
	t                        *testing.T
	client, director, r1, r2 *lab.Host
	how                      []string // ipvsadm's options of a server
}

func (c *cluster) servers() []*lab.Host { return []*lab.Host{c.r1, c.r2} }

// onOneNetwork is for DR and TUN: all four on one wire.
func onOneNetwork(t *testing.T) *cluster {
	n := lab.New(t)
	lan := n.Bridge("lan")
	c := &cluster{t: t}
	c.client = n.Host("client").Nic("eth0", lan, "192.168.1.1/24", "2001:db8:1::1/64")
	c.director = n.Host("director").Nic("eth0", lan, "192.168.1.2/24", vip4+"/32", "2001:db8:1::2/64")
	c.director.Run("ip", "-6", "addr", "add", vip6+"/128", "dev", "eth0", "nodad", "preferred_lft", "0")
	c.r1 = n.Host("rs1").Nic("eth0", lan, "192.168.1.11/24", "2001:db8:1::11/64")
	c.r2 = n.Host("rs2").Nic("eth0", lan, "192.168.1.12/24", "2001:db8:1::12/64")
	return c
}

// behindTheDirector is for NAT: the client is on another network.
func behindTheDirector(t *testing.T) *cluster {
	n := lab.New(t)
	lan, inside := n.Bridge("lan"), n.Bridge("inside")
	c := &cluster{t: t}
	c.client = n.Host("client").Nic("eth0", lan, "192.168.1.1/24", "2001:db8:1::1/64")
	c.director = n.Host("director").Nic("eth0", lan, "192.168.1.2/24", vip4+"/32", "2001:db8:1::2/64", vip6+"/128").
		Nic("eth1", inside, "10.0.0.1/24", "2001:db8:2::1/64")
	c.director.SetSysctl("net.ipv4.ip_forward", "1")
	c.director.SetSysctl("net.ipv6.conf.all.forwarding", "1")
	c.r1 = n.Host("rs1").Nic("eth0", inside, "10.0.0.11/24", "2001:db8:2::11/64")
	c.r2 = n.Host("rs2").Nic("eth0", inside, "10.0.0.12/24", "2001:db8:2::12/64")
	return c
}

// services fills the director's table; how are ipvsadm's options of a server.
func (c *cluster) services(net4, net6 string, how ...string) {
	c.how = how
	for _, s := range [][2]string{{vip4, net4 + "%d"}, {"[" + vip6 + "]", "[" + net6 + "%d]"}} {
		c.director.Run("ipvsadm", "-A", "-t", s[0]+":80", "-s", "rr")
		for n := range 2 {
			rip := fmt.Sprintf(s[1], 11+n)
			c.director.Run(append([]string{"ipvsadm", "-a", "-t", s[0] + ":80", "-r", rip + ":80"}, how...)...)
		}
	}
}

func program() string { return filepath.Join(lab.Built(), "lvsctl") }

// up raises the real servers and lets them serve.
func (c *cluster) up(args ...string) {
	for _, h := range c.servers() {
		h.Run(append([]string{program(), "realserver", "up"}, args...)...)
		h.Serve(h.Name(), ":80")
	}
}

// answered is whether both servers answer the client: the cluster works.
func (c *cluster) answered() {
	c.t.Helper()
	for _, url := range []string{"http://" + vip4 + "/", "http://[" + vip6 + "]/"} {
		lab.Eventually(c.t, 30*time.Second, func() error {
			hits := map[string]int{}
			for range 4 {
				text, err := c.client.TryGet(url)
				if err != nil {
					return err
				}
				hits[text]++
			}
			if hits["rs1"] != 2 || hits["rs2"] != 2 {
				return fmt.Errorf("%s was answered by %v", url, hits)
			}
			return nil
		})
	}
}

// answer is what the tests read of doctor's JSON.
type answer struct {
	Roles    []string
	Worst    string
	Findings []doctor.Finding
	Unknown  []string
	Fixed    []string
	status   int
}

func (a answer) rules() []string {
	var names []string
	for _, f := range a.Findings {
		if !slices.Contains(names, f.Rule) {
			names = append(names, f.Rule)
		}
	}
	return names
}

// examine runs doctor on a host. In the lab nobody is farther than a bridge, so that
// answers are waited for a shorter time than on a network of cables.
func examine(t *testing.T, h *lab.Host, args ...string) answer {
	t.Helper()
	return parse(t, h, append([]string{program(), "doctor", "--json", "--wait", "300ms"}, args...))
}

func parse(t *testing.T, h *lab.Host, line []string) answer {
	t.Helper()
	out, err := h.Try(line...)
	var a answer
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		a.status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v: %q: %v\n%s", h, line, err, out)
	}
	if want := map[string]int{"": 0, "advice": 6, "wrong": 4}[a.Worst]; a.status != want {
		t.Errorf("%v: exit status %d with worst %q", h, a.status, a.Worst)
	}
	return a
}

// healthy sees no finding on any host.
func (c *cluster) healthy() {
	c.t.Helper()
	c.mended()
	c.well("healthy", c.r2)
	c.well("healthy", c.client, "--probe-arp", vip4+","+vip6)
}

// mended sees none on the hosts where faults are made.
func (c *cluster) mended() {
	c.t.Helper()
	c.well("healthy", c.director)
	c.well("healthy", c.r1)
}

func (c *cluster) well(when string, h *lab.Host, args ...string) {
	c.t.Helper()
	a := examine(c.t, h, args...)
	if len(a.Findings) > 0 || len(a.Unknown) > 0 {
		text, _ := h.Try(append([]string{program(), "doctor"}, args...)...)
		c.t.Errorf("%s, %v as %v: %v, unknown %q\n%s", when, h, a.Roles, a.rules(), a.Unknown, text)
	}
}

// fault is a fault that is made, found and mended.
type fault struct {
	rule string
	on   *lab.Host // that doctor examines
	args []string  // of doctor
	make string    // shell lines on that host
	// own says that the lines of the finding are typed on that host; others are for
	// another host, or need a decision. undo are shell lines that come after them.
	own  bool
	undo string
	// fix has doctor itself take the steps, in place of typing the lines.
	fix bool
	// before and after are for what a shell cannot do, or another host has to.
	before, after func()
	// quick faults are made by the short tests too: those that only a kernel and a
	// wire can prove.
	quick bool
}

// try makes faults one after the other.
func (c *cluster) try(faults ...fault) {
	c.t.Helper()
	for _, f := range faults {
		if testing.Short() && !f.quick {
			continue
		}
		c.t.Run(f.rule+" on "+f.on.Name(), f.try)
	}
}

func (f fault) try(t *testing.T) {
	if f.before != nil {
		f.before()
	}
	if f.make != "" {
		f.on.Run("sh", "-e", "-c", f.make)
	}
	a := examine(t, f.on, f.args...)
	// The kernel's counters are up to two seconds late.
	for end := time.Now().Add(20 * time.Second); len(a.rules()) == 0 && time.Now().Before(end); {
		a = examine(t, f.on, f.args...)
	}
	if got := a.rules(); !slices.Equal(got, []string{f.rule}) || len(a.Unknown) > 0 {
		text, _ := f.on.Try(append([]string{program(), "doctor"}, f.args...)...)
		t.Errorf("found %q, unknown %q\n%s", got, a.Unknown, text)
	}
	if f.fix {
		if a := examine(t, f.on, append(f.args, "--fix")...); len(a.Fixed) == 0 || len(a.Findings) > 0 {
			t.Errorf("--fix took %q and left %q", a.Fixed, a.rules())
		}
	}
	script := f.undo
	if f.own {
		script = strings.Join(append(a.lines(t), f.undo), "\n")
	}
	if script != "" {
		if out, err := f.on.Try("sh", "-e", "-c", script); err != nil {
			t.Errorf("%s\n%v: %s", script, err, out)
		}
	}
	if f.after != nil {
		f.after()
	}
}

// lines are those that the findings name, comments apart, each once.
func (a answer) lines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, x := range a.Findings {
		for _, line := range x.Fix {
			if !slices.Contains(lines, line) && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 {
		t.Error("the findings name no line that mends them")
	}
	return lines
}

// adverts sends the adverts of a virtual router until it is stopped.
func (c *cluster) adverts(h *lab.Host, vrid uint8, source string, vips ...string) (stop func()) {
	c.t.Helper()
	var s *wire.Socket
	var err error
	h.Do(func() { s, err = wire.Open(wire.Options{Link: "eth0"}) })
	if err != nil {
		c.t.Fatal(err)
	}
	a := vrrp.Advert{Src: netip.MustParseAddr(source), Dst: vrrp.GroupIPv4, TTL: 255, Version: 3, Type: 1, VRID: vrid, Priority: 100, Interval: time.Second}
	for _, vip := range vips {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(vip))
	}
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				ended <- s.Close()
				return
			case <-tick.C:
				if err := s.Send(a); err != nil {
					ended <- errors.Join(err, s.Close())
					return
				}
			}
		}
	}()
	return func() {
		close(done)
		if err := <-ended; err != nil {
			c.t.Errorf("adverts of %v: %v", h, err)
		}
	}
}

// during makes a pair of before and after of something that is stopped.
func during(start ...func() func()) (before, after func()) {
	var stops []func()
	return func() {
			for _, s := range start {
				stops = append(stops, s())
			}
		}, func() {
			for _, stop := range stops {
				stop()
			}
		}
}

// iptables is a rule of the firewall, and the line that takes it and every other of
// its table away. The lab's kernel has the older filters only.
func iptables(rule string) (make, undo string) {
	table := ""
	if words := strings.Fields(rule); words[0] == "-t" {
		table = words[0] + " " + words[1] + " "
	}
	return "iptables-legacy " + rule, "iptables-legacy " + table + "-F"
}
