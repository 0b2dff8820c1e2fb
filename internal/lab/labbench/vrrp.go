package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Two pairs of directors, ours and keepalived's, run at the same time on networks
// of their own with the same files, and are made to fail in turn. What the timers
// alone decide is the same for both: a director is killed at the same points of its
// interval on both sides, so that medians of a few can be compared.
const (
	spacing   = 5 * time.Millisecond // of a client's requests
	benchVIP  = "10.9.0.100"
	benchVRID = 51
	strong    = 150
	weak      = 100
	// locktime is how long a Linux client sticks to an address that it has just learnt.
	locktime = 1300 * time.Millisecond
)

// failover is the whole part.
func (b *bench) failover() error {
	if err := act(b.failovers); err != nil {
		return err
	}
	return errors.Join(act(b.firstAdvert), act(b.manyAddresses), act(b.manyInstances))
}

// director is a machine of a pair.
type director struct {
	host *lab.Host
	addr netip.Addr
	run  *lab.Process
}

// directors is a pair, and the client that depends on it.
type directors struct {
	argv   []string // what both run, but for the file
	lvsctl string
	client *lab.Host
	d      [2]*director
	ear    *ear
}

// daemons are both sides' command lines, to which the file is added.
func (b *bench) daemons() [2][]string {
	return [2][]string{
		{b.lvsctl[0], "keepalived", "-n", "-l", "-P", "-f"},
		{b.keepalived, "-n", "-l", "-P", "-f"},
	}
}

func (b *bench) newDirectors(n *lab.Net, argv []string) (*directors, error) {
	wire := n.Bridge("wire")
	p := &directors{argv: argv, lvsctl: b.lvsctl[0], client: n.Host("client").Nic("eth0", wire, "10.9.0.9/24")}
	for i := range p.d {
		addr := netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)})
		p.d[i] = &director{host: n.Host(fmt.Sprintf("d%d", i+1)).Nic("eth0", wire, addr.String()+"/24"), addr: addr}
	}
	var err error
	p.ear, err = listen(p.client)
	return p, err
}

// configure writes the files. The first director comes back at once after its end.
func (p *directors) configure(interval time.Duration) {
	version := 2
	if interval < time.Second {
		version = 3
	}
	for i, d := range p.d {
		d.host.WriteFile("/etc/bench.conf", fmt.Sprintf(`vrrp_instance VI_1 {
    state %s
    interface eth0
    virtual_router_id %d
    version %d
    priority %d
    advert_int %g
    virtual_ipaddress {
        %s/24
    }
}
`, []string{"MASTER", "BACKUP"}[i], benchVRID, version, []int{strong, weak}[i], interval.Seconds(), benchVIP), 0o644)
	}
}

func (p *directors) start(i int) {
	p.d[i].run = p.d[i].host.Start(append(slices.Clone(p.argv), "/etc/bench.conf")...)
}

// end ends both.
func (p *directors) end() {
	for i := range slices.Backward(p.d[:]) {
		p.kill(i)
		p.forget(i)
	}
}

// kill ends a director and all that it has started, at one moment.
func (p *directors) kill(i int) {
	all := family(p.d[i].run.Pid())
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range all {
			_ = syscall.Kill(pid, s) // it may have ended
		}
	}
	p.d[i].run.Kill()
}

// forget is what the start of a machine does: no address is left of before, and no
// pid file.
func (p *directors) forget(i int) {
	p.d[i].host.Do(func() {
		for _, name := range []string{"keepalived", "vrrp"} {
			_ = os.Remove("/run/" + name + ".pid") // perhaps it has none
		}
	})
	if p.has(i) {
		p.d[i].host.Run("ip", "addr", "del", benchVIP+"/24", "dev", "eth0")
	}
	p.d[i].host.Plug("eth0")
}

func (p *directors) has(i int) (there bool) {
	p.d[i].host.Do(func() {
		all, _ := net.InterfaceAddrs() // nothing is no address
		there = slices.ContainsFunc(all, func(a net.Addr) bool { return a.String() == benchVIP+"/24" })
	})
	return there
}

// settle waits until exactly this director has the address.
func (p *directors) settle(holder int) error {
	for end := time.Now().Add(patience); p.has(0) != (holder == 0) || p.has(1) != (holder == 1); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s: the address is not on d%d alone after %v\n%s", p.argv[0], holder+1, patience, p.d[0].run.Output()+p.d[1].run.Output())
		}
	}
	return nil
}

// event is something that moves the addresses away from the first director.
type event struct {
	name string
	do   func(p *directors)
	undo func(p *directors)
	ours bool // keepalived has no such thing
}

var (
	crash = event{name: "crash",
		do:   func(p *directors) { p.d[0].host.Unplug("eth0"); p.kill(0) },
		undo: func(p *directors) { p.forget(0); p.start(0) }}
	stop = event{name: "SIGTERM",
		do:   func(p *directors) { p.d[0].run.Signal(syscall.SIGTERM) },
		undo: func(p *directors) { _ = p.d[0].run.Wait(); p.start(0) }}
	standby = event{name: "standby", ours: true,
		do:   func(p *directors) { p.d[0].host.Run(p.lvsctl, "vrrp", "standby") },
		undo: func(p *directors) { p.d[0].host.Run(p.lvsctl, "vrrp", "resume") }}
)

// feel is what a client feels of an event at a point of the interval, 0 to 1, and
// of the return of the first director.
func (p *directors) feel(e event, interval time.Duration, phase float64) (felt, back lab.Lost, err error) {
	c := p.client.Ping(benchVIP, spacing)
	time.Sleep(20 * spacing)
	p.ear.forget()
	if !p.ear.await(p.d[0].addr, patience) {
		return c.End(), back, fmt.Errorf("%s: the master is silent", p.argv[0])
	}
	time.Sleep(time.Duration(phase * float64(interval)))
	e.do(p)
	p.ear.forget()
	taken := p.ear.await(p.d[1].addr, patience)
	time.Sleep(max(interval/2, 300*time.Millisecond))
	felt = c.End()
	if !taken {
		return felt, back, fmt.Errorf("%s: nobody takes over after %s", p.argv[0], e.name)
	}
	time.Sleep(locktime)
	if e.name != crash.name { // of a dead one the address stays behind
		if err := p.settle(1); err != nil {
			return felt, back, err
		}
	}
	c = p.client.Ping(benchVIP, spacing)
	e.undo(p)
	err = p.settle(0)
	back = c.End()
	time.Sleep(locktime)
	return felt, back, err
}

// outcome is what the clients of one side felt.
type outcome struct {
	gaps []float64 // milliseconds
	lost int       // packets, of all
	most int       // of one
	back int       // packets, of all returns
}

func (o *outcome) add(felt, back lab.Lost) {
	o.gaps, o.lost, o.most = append(o.gaps, ms(felt.Gap)), o.lost+felt.Packets, max(o.most, felt.Packets)
	o.back += back.Packets
}

func (b *bench) failovers(t lab.T) error {
	n := lab.Open(t)
	var pairs [2]*directors
	for i, argv := range b.daemons() {
		var err error
		if pairs[i], err = b.newDirectors(n, argv); err != nil {
			return err
		}
	}
	for _, interval := range b.intervals {
		if err := b.at(interval, pairs, "", 1.05); err != nil {
			return err
		}
	}
	if lab.InGuest() || b.busy == 0 {
		return nil // with one processor that is as slow as a guest's it says nothing
	}
	idle := n.Host("busy")
	for range b.busy * runtime.NumCPU() {
		idle.Start("sh", "-c", "while :; do :; done")
	}
	return b.at(10*time.Millisecond, pairs, fmt.Sprintf(", %d programs a processor that never sleep", b.busy), 1.05)
}

// at measures with one interval.
func (b *bench) at(interval time.Duration, pairs [2]*directors, condition string, most float64) error {
	for _, p := range pairs {
		p.configure(interval)
		p.start(0)
		p.start(1)
	}
	for _, p := range pairs {
		defer p.end()
		if err := p.settle(0); err != nil {
			return err
		}
	}
	time.Sleep(locktime)
	for _, e := range []event{crash, stop, standby} {
		felt, err := b.eventAt(e, interval, pairs)
		if err != nil {
			return err
		}
		if b.verbose {
			fmt.Printf("advert_int %g%s, %s: lvsctl %v; keepalived %v\n", interval.Seconds(), condition, e.name, felt[0], felt[1])
		}
		b.tell(e, fmt.Sprintf("advert_int %g%s", interval.Seconds(), condition), felt, most)
	}
	return nil
}

func (b *bench) eventAt(e event, interval time.Duration, pairs [2]*directors) (felt [2]outcome, err error) {
	for i := range b.reps {
		phase := (float64(i) + 0.5) / float64(b.reps)
		for turn := range pairs {
			side := (i + turn) % 2
			if side == 1 && e.ours {
				continue
			}
			l, back, err := pairs[side].feel(e, interval, phase)
			if err != nil {
				return felt, err
			}
			felt[side].add(l, back)
		}
	}
	return felt, nil
}

// String is for those who look for the reason of a figure.
func (o outcome) String() string {
	return fmt.Sprintf("%.0f ms, %d packets, %d of returns", o.gaps, o.lost, o.back)
}

// tell makes rows of it. A client that asks every 5 ms cannot tell times that are
// nearer to each other.
func (b *bench) tell(e event, when string, felt [2]outcome, most float64) {
	us, they := middle(felt[0].gaps), 0.0
	if !e.ours {
		they = middle(felt[1].gaps)
	}
	what := when + ": " + e.name
	defer func() {
		b.note(fmt.Sprintf("  packets lost in %d returns", len(felt[0].gaps)), "", float64(felt[0].back), float64(felt[1].back))
	}()
	if e.name == crash.name {
		b.atMost(what+", a client's gap", "ms", us, they, most*they+ms(spacing), fmt.Sprintf("<= %gx + 5 ms", most))
		return
	}
	b.note(what+", a client's gap", "ms", us, they)
	b.atMost(fmt.Sprintf("  packets lost in %d times", len(felt[0].gaps)), "", float64(felt[0].lost), float64(felt[1].lost), 0, "none")
	b.note("  packets lost at the most", "", float64(felt[0].most), float64(felt[1].most))
}
