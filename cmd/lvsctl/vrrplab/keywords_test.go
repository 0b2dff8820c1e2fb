package vrrplab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
)

// TestKeywordsOnTheWire: what the less usual keywords change on the wire is what
// keepalived makes of them: each follows the other's adverts, and yields.
func TestKeywordsOnTheWire(t *testing.T) {
	lab.Long(t)
	needKeepalived(t)
	for _, c := range []struct {
		name, globals, instance string
		to                      string // where d1's adverts go
		ttl                     byte
	}{
		{"another group", "vrrp_mcast_group4 239.9.9.9", "", "239.9.9.9", 255},
		{"another group of an instance", "", "mcast_dst_ip 239.9.9.10", "239.9.9.10", 255},
		{"unicast with a TTL and the old checksum", "", "unicast_peer {\n        10.1.0.%[2]d\n    }\n    unicast_ttl 5\n    old_unicast_checksum", "10.1.0.2", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			for i, d := range p.d {
				text := fmt.Sprintf("global_defs {\n    %s\n}\nvrrp_instance VI_1 {\n    interface eth0\n    virtual_router_id 51\n    version 3\n    priority %d\n    advert_int 0.3\n    "+
					strings.ReplaceAll(c.instance, "%[2]d", fmt.Sprint(2-i))+"\n    virtual_ipaddress {\n        %s/24\n    }\n}\n", c.globals, 150-50*i, vip)
				d.WriteFile(confFile, text, 0o644)
			}
			frames := p.d[1].Capture("eth0")
			p.startWith(1, "keepalived")
			p.await("keepalived alone", 1)
			p.startWith(0, lvsctl(), "keepalived")
			p.await("we are better", 0)
			p.stop(0)
			p.await("we have stopped", 1)
			ours := 0
			for _, f := range frames.Frames() {
				if f.Out || len(f.Raw) < 38 || f.Raw[12] != 8 || f.Raw[13] != 0 || f.Raw[23] != vrrp.Protocol {
					continue
				}
				ours++
				if to := fmt.Sprintf("%d.%d.%d.%d", f.Raw[30], f.Raw[31], f.Raw[32], f.Raw[33]); to != c.to || f.Raw[22] != c.ttl {
					t.Fatalf("an advert to %s with TTL %d, want %s with %d: %s", to, f.Raw[22], c.to, c.ttl, f.Line)
				}
			}
			if ours == 0 {
				t.Error("no advert of ours was seen")
			}
			if out := p.run[1].Output(); strings.Contains(strings.ToLower(out), "checksum") {
				t.Errorf("keepalived speaks of checksums:\n%s", out)
			}
		})
	}
}

// startWith runs a program with the file that is there.
func (p *pair) startWith(i int, program ...string) {
	p.Helper()
	p.run[i] = p.d[i].Start(append(program, "-n", "-l", "-D", "-P", "-f", confFile)...)
}

// TestStateMasterGivesNothing: below priority 255 it is no head start, with keepalived
// and with us. With one a machine of lower priority would begin as master whenever
// the first advert of the live one comes a moment late.
func TestStateMasterGivesNothing(t *testing.T) {
	needKeepalived(t)
	p := newPair(t)
	for i, program := range [][]string{{"keepalived"}, {lvsctl(), "keepalived"}} {
		p.d[i].WriteFile(confFile, fmt.Sprintf("vrrp_instance VI_1 {\n    state MASTER\n    interface eth0\n    virtual_router_id %d\n    priority 150\n"+
			"    virtual_ipaddress {\n        10.1.0.%d\n    }\n}\n", 51+i, 100+i), 0o644)
		began := time.Now()
		p.startWith(i, program...)
		lab.Eventually(t, patience, func() error {
			if have := addresses(t, p.d[i]); !slices.Contains(have, fmt.Sprintf("10.1.0.%d/32", 100+i)) {
				return fmt.Errorf("%s has %v", program, have)
			}
			return nil
		})
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("%s was master after %v", program, took)
		}
	}
}
