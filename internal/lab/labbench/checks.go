package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// stage is a network for the bench; it stands in for a test.
type stage struct{ cleanups []func() }

// broken is what Fatalf panics with.
type broken struct{ error }

func (s *stage) Helper()          {}
func (s *stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *stage) Fatalf(format string, args ...any) {
	panic(broken{fmt.Errorf(format, args...)})
}

// act runs f on a stage, and strikes it.
func act(f func(lab.T) error) (err error) {
	s := &stage{}
	defer func() {
		if b, ok := recover().(broken); ok {
			err = b.error
		}
		for _, c := range slices.Backward(s.cleanups) {
			c()
		}
	}()
	return f(s)
}

// checks compares with keepalived, on a real kernel, where system calls are what
// costs.
func (b *bench) checks() error {
	return errors.Join(act(b.againstKeepalived), act(b.editInTheKernel))
}

// cluster is a director and a host that plays all real servers.
type cluster struct {
	director, servers *lab.Host
}

func newCluster(t lab.T) *cluster {
	n := lab.Open(t)
	wire := n.Bridge("wire")
	c := &cluster{
		director: n.Host("director").Nic("eth0", wire, "10.0.0.1/24"),
		servers:  n.Host("servers").Nic("eth0", wire, "10.0.0.2/24"),
	}
	c.servers.Run("ip", "route", "add", "local", "10.64.0.0/16", "dev", "lo")
	c.director.Run("ip", "route", "add", "10.64.0.0/16", "via", "10.0.0.2")
	return c
}

var destinationLine = regexp.MustCompile(`(?m)^  -> ([0-9A-F]{8}:[0-9A-F]{4})\s+\w+\s+(\d+)`)

// weights are those in the kernel, by hexadecimal address.
func (c *cluster) weights() map[string]int {
	in := map[string]int{}
	for _, m := range destinationLine.FindAllStringSubmatch(c.director.ReadFile("/proc/thread-self/net/ip_vs"), -1) {
		in[m[1]], _ = strconv.Atoi(m[2])
	}
	return in
}

// await waits until the table is as it should be, and says how long that took.
func (c *cluster) await(begun time.Time, right func(map[string]int) bool) (time.Duration, error) {
	for {
		in := c.weights()
		took := time.Since(begun)
		switch {
		case right(in):
			return took, nil
		case took > patience:
			return took, fmt.Errorf("the table is not right after %v", patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitLine is await for one server. The guest has one processor, and the table is
// long: to read all of it at every look would take what is to be measured.
func (c *cluster) awaitLine(begun time.Time, address string, weight int) (time.Duration, error) {
	line := regexp.MustCompile(`(?m)^  -> ` + address + `\s+\w+\s+` + strconv.Itoa(weight) + `\s`)
	for {
		table := c.director.ReadFile("/proc/thread-self/net/ip_vs")
		took := time.Since(begun)
		switch {
		case line.MatchString(table):
			return took, nil
		case took > patience:
			return took, fmt.Errorf("%s has not got weight %d after %v", address, weight, patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// againstKeepalived compares the start and the cost of checks of twenty servers.
func (b *bench) againstKeepalived(t lab.T) error {
	c := newCluster(t)
	f, err := newFarm("10.64.0.1:80", 20, c.servers.TryListen)
	if err != nil {
		return err
	}
	defer f.close()
	c.director.WriteFile("/etc/bench.cf", f.ldirectordConfig(), 0o644)
	c.director.WriteFile("/etc/keepalived.conf", f.keepalivedConfig(), 0o644)
	sides := [][]string{
		{b.lvsctl[0], "ldirectord", "/etc/bench.cf", "start"},
		{"keepalived", "--check", "--dont-fork", "--use-file", "/etc/keepalived.conf", "--pid", "/run/ka.pid", "--checkers_pid", "/run/kac.pid"},
	}
	starts, costs := make([][]float64, 2), make([][]float64, 2)
	for round := range 3 {
		for turn := range sides {
			i := (round + turn) % 2
			start, cost, err := c.watch(f, sides[i])
			if err != nil {
				return fmt.Errorf("%v: %w", sides[i], err)
			}
			starts[i], costs[i] = append(starts[i], start), append(costs[i], cost)
		}
	}
	us, they := middle(starts[0]), middle(starts[1])
	b.atMost("20 servers: start until all are verified up", "ms", us, they, they, "<= keepalived's")
	us, they = middle(costs[0]), middle(costs[1])
	b.atMost("  processor time of 1,000 HTTP checks", "ms", us, they, 1.2*they, "<= 1.2x keepalived's")
	return nil
}

// watch runs a watcher for a while: how long its start took, and what a thousand
// checks of it cost, in milliseconds.
func (c *cluster) watch(f farm, argv []string) (start, cost float64, err error) {
	c.director.Run("ipvsadm", "-C")
	begun := time.Now()
	p := c.director.Start(argv...)
	defer func() { err = errors.Join(err, p.Stop()) }()
	took, err := c.await(begun, func(in map[string]int) bool {
		up := 0
		for _, w := range in {
			up += min(w, 1)
		}
		return up == len(f)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, p.Output())
	}
	time.Sleep(2 * time.Second)
	f.forget()
	before := usage(p.Pid())
	time.Sleep(window)
	spent := usage(p.Pid()) - before
	return ms(took), ms(spent) / float64(f.rhythm().asked) * 1000, nil
}

func middle(xs []float64) float64 {
	return slices.Sorted(slices.Values(xs))[len(xs)/2]
}

// editInTheKernel edits one of 500 services and waits for the kernel's table.
func (b *bench) editInTheKernel(t lab.T) error {
	c := newCluster(t)
	f := make(farm, 500)
	for i := range f {
		f[i] = &realServer{addr: placeOf(i)}
	}
	const path = "/etc/bench.cf"
	c.director.WriteFile(path, fiveHundred(f, 1), 0o644)
	p := c.director.Start(b.lvsctl[0], "ldirectord", path, "start")
	all, err := c.await(time.Now(), func(in map[string]int) bool { return len(in) == len(f) })
	if err != nil {
		return fmt.Errorf("%w: %s", err, p.Output())
	}
	b.note("500 services: start until the table is complete", "ms", ms(all), 0)
	edited := hexadecimal(f[250])
	var took []float64
	for weight := 2; weight < 9; weight++ {
		time.Sleep(time.Second)
		text := fiveHundred(f, weight)
		c.director.WriteFile(path+"~", text, 0o644)
		begun := time.Now()
		var saved error
		c.director.Do(func() { saved = os.Rename(path+"~", path) })
		if saved != nil {
			return saved
		}
		d, err := c.awaitLine(begun, edited, weight)
		if err != nil {
			return fmt.Errorf("%w: %s", err, p.Output())
		}
		took = append(took, ms(d))
	}
	b.bound("  from an edit to the kernel, median of seven", "ms", middle(took), 300, "<= 300")
	return p.Stop()
}

// hexadecimal is an address as /proc/net/ip_vs has it.
func hexadecimal(s *realServer) string {
	ip := s.addr.Addr().As4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[0], ip[1], ip[2], ip[3], s.addr.Port())
}
