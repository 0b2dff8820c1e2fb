package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// alone is one director on a network of its own, and a host that listens.
func (b *bench) alone(n *lab.Net, argv []string, config string) (*directors, error) {
	p, err := b.newDirectors(n, argv)
	if err != nil {
		return nil, err
	}
	p.d[0].host.WriteFile("/etc/bench.conf", config, 0o644)
	return p, nil
}

// owner is an instance that speaks at once.
func owner(vrid int, addresses string) string {
	return fmt.Sprintf(`vrrp_instance VI_%d {
    state MASTER
    interface eth0
    virtual_router_id %d
    priority 255
    advert_int 1
    virtual_ipaddress {
%s    }
}
`, vrid, vrid, addresses)
}

// firstAdvert is the time from exec to the first word.
func (b *bench) firstAdvert(t lab.T) error {
	n := lab.Open(t)
	var took [2][]float64
	for i, argv := range b.daemons() {
		p, err := b.alone(n, argv, owner(benchVRID, "        "+benchVIP+"/24\n"))
		if err != nil {
			return err
		}
		for range b.reps {
			p.ear.forget()
			begun := time.Now()
			p.start(0)
			if !p.ear.await(p.d[0].addr, patience) {
				return fmt.Errorf("%s does not speak\n%s", argv[0], p.d[0].run.Output())
			}
			took[i] = append(took[i], ms(p.ear.first(p.d[0].addr).Sub(begun)))
			p.kill(0)
			p.forget(0)
		}
	}
	us, they := middle(took[0]), middle(took[1])
	if lab.InGuest() {
		b.note("from exec to the first advert of an owner", "ms", us, they)
		return nil
	}
	b.atMost("from exec to the first advert of an owner", "ms", us, they, 100, "< 100")
	return nil
}

// manyAddresses is what a master of 200 addresses keeps in memory.
func (b *bench) manyAddresses(t lab.T) error {
	const many = 200
	n := lab.Open(t)
	var lines strings.Builder
	for i := range many {
		fmt.Fprintf(&lines, "        10.9.1.%d/16\n", i+1)
	}
	var size [2]float64
	for i, argv := range b.daemons() {
		p, err := b.alone(n, argv, owner(benchVRID, lines.String()))
		if err != nil {
			return err
		}
		p.start(0)
		if !p.ear.await(p.d[0].addr, patience) {
			return fmt.Errorf("%s does not speak\n%s", argv[0], p.d[0].run.Output())
		}
		time.Sleep(8 * time.Second) // until after the second announcement
		size[i] = float64(resident(p.d[0].run.Pid())) / (1 << 20)
		p.kill(0)
	}
	b.atMost(fmt.Sprintf("%d addresses: resident memory", many), "MiB", size[0], size[1], 32, "< 32")
	return nil
}

// manyInstances looks at the rhythm of 200 masters on one host, of both sides at
// the same time.
func (b *bench) manyInstances(t lab.T) error {
	const many = 200
	n := lab.Open(t)
	var config strings.Builder
	for i := range many {
		config.WriteString(owner(i+1, fmt.Sprintf("        10.9.1.%d/16\n", i+1)))
	}
	var sides [2]*directors
	for i, argv := range b.daemons() {
		var err error
		if sides[i], err = b.alone(n, argv, config.String()); err != nil {
			return err
		}
		sides[i].start(0)
	}
	for _, p := range sides {
		if err := p.allSpeak(many); err != nil {
			return err
		}
	}
	time.Sleep(8 * time.Second)
	var spent [2]time.Duration
	for i, p := range sides {
		spent[i] = -usage(p.d[0].run.Pid())
		p.ear.forget()
	}
	begun := time.Now()
	time.Sleep(b.manyFor)
	took := time.Since(begun)
	var missed, longest, share, size [2]float64
	for i, p := range sides {
		share[i] = 100 * float64(spent[i]+usage(p.d[0].run.Pid())) / float64(took)
		missed[i], longest[i] = regularity(p.ear.beats(many), took)
		size[i] = float64(resident(p.d[0].run.Pid())) / (1 << 20)
	}
	b.atMost(fmt.Sprintf("%d instances, %v: adverts missed", many, b.manyFor), "", missed[0], missed[1], 0, "none")
	b.note("  longest time between two adverts", "ms", longest[0], longest[1])
	if lab.InGuest() {
		b.note("  share of a processor", "%", share[0], share[1])
	} else {
		b.atMost("  share of a processor", "%", share[0], share[1], 2, "< 2")
	}
	b.note("  resident memory", "MiB", size[0], size[1])
	return nil
}

// allSpeak waits until each of the first n virtual routers was heard.
func (p *directors) allSpeak(n int) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		silent := 0
		for _, beat := range p.ear.beats(n) {
			if beat.count == 0 {
				silent++
			}
		}
		if silent == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d of %d instances are silent after %v\n%s", p.argv[0], silent, n, patience, p.d[0].run.Output())
		}
	}
}

// regularity counts the adverts that did not come in a time in which each router
// should have spoken every second, and the longest silence. One is missed when the
// next came after one and a half intervals.
func regularity(beats []beat, took time.Duration) (missed, longest float64) {
	for _, b := range beats {
		missed += math.Max(0, math.Floor(took.Seconds())-1-float64(b.count))
		if b.longest > 1500*time.Millisecond {
			missed++
		}
		longest = math.Max(longest, ms(b.longest))
	}
	return missed, longest
}
