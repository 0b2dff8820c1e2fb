package vrrplab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

const localnodeConf = `vrrp_instance VI_1 {
    state BACKUP
    interface eth0
    virtual_router_id 51
    version 3
    priority %d
    advert_int 1
    @lvsctl localnode
    virtual_ipaddress {
        10.1.0.100/24
    }
}
virtual_server 10.1.0.100 80 {
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 10.1.0.1 80 {
        TCP_CHECK {
            connect_timeout 3
        }
    }
    real_server 10.1.0.2 80 {
        TCP_CHECK {
            connect_timeout 3
        }
    }
}
`

// everywhere looks, as fast as it can, whether each director has the address
// somewhere, and tells how often one had it nowhere.
func (p *pair) everywhere() (stop func() (looks, without int64)) {
	var looks, without atomic.Int64
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, d := range p.d {
				looks.Add(1)
				has := func(a string) bool { return strings.HasPrefix(a, vip+"/") }
				if !slices.ContainsFunc(addresses(p, d), has) {
					without.Add(1)
				}
			}
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() (int64, int64) { close(end); <-done; return looks.Load(), without.Load() }
}

// TestLocalnode: both directors are real servers, too. Whoever is master, both
// serve, nothing goes round in circles, and only the master is found by ARP.
func TestLocalnode(t *testing.T) {
	p := newPair(t)
	var servers [2]*lab.Server
	for i, d := range p.d {
		servers[i] = d.Serve(fmt.Sprintf("d%d", i+1), ":80")
		d.WriteFile(confFile, fmt.Sprintf(localnodeConf, 150-50*i), 0o644)
		p.run[i] = d.Start(lvsctl(), "run", confFile)
	}
	p.await("election", 0)
	watch := p.everywhere()
	p.serves("d1 is master", 0, servers)
	p.vrrp(0, "standby")
	p.await("standby", 1)
	p.serves("d2 is master", 1, servers)
	p.vrrp(0, "resume")
	p.await("resume", 0)
	p.serves("d1 is master again", 0, servers)
	looks, without := watch()
	t.Logf("%d looks at the addresses", looks)
	if without > 0 {
		t.Errorf("in %d looks of %d a director had the address nowhere", without, looks)
	}
	for i, d := range p.d {
		p.stop(i)
		if left := addresses(t, d); slices.ContainsFunc(left, func(a string) bool { return strings.HasPrefix(a, vip) }) {
			t.Errorf("d%d: left at the end: %v", i+1, left)
		}
		if v := d.Sysctl("net.ipv4.conf.all.arp_ignore"); v != "0" {
			t.Errorf("d%d: arp_ignore is %s at the end", i+1, v)
		}
	}
}

// serves checks a pair with this master. On a machine that does something else as
// well the other one may be master for a moment, but not three times.
func (p *pair) serves(what string, master int, servers [2]*lab.Server) {
	p.Helper()
	const tries = 3
	for try := 1; ; try++ {
		wrong := p.served(what, master, servers)
		if len(wrong) == 0 {
			return
		}
		if try == tries {
			p.Fatalf("%s:\n%s", what, strings.Join(wrong, "\n"))
		}
	}
}

// served tells what is not as it should be.
func (p *pair) served(what string, master int, servers [2]*lab.Server) (wrong []string) {
	p.Helper()
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	lab.Eventually(p, patience, func() error {
		var tables [2]string
		for i, d := range p.d {
			out, err := d.Try(lvsctl(), "ipvsadm", "-Sn")
			if err != nil {
				return err
			}
			tables[i] = out
		}
		if strings.Count(tables[master], "-w 1") != 2 || strings.TrimSpace(tables[1-master]) != "" {
			time.Sleep(look)
			return errors.New(what + ": tables\n" + tables[0] + "and\n" + tables[1])
		}
		all := addresses(p, p.d[1-master])
		if !slices.Contains(all, vip+"/32") || slices.Contains(all, vip+"/24") || slices.Contains(addresses(p, p.d[master]), vip+"/32") {
			time.Sleep(look)
			return fmt.Errorf("%s: the backup has %v, the master %v", what, all, addresses(p, p.d[master]))
		}
		return nil
	})
	wire, before := p.d[1-master].Capture("eth0"), [2]int{servers[0].Hits(), servers[1].Hits()}
	arp := p.client.Capture("eth0")
	const requests = 20
	answers := map[string]int{}
	for range requests {
		_, _ = p.client.Try("ip", "neigh", "flush", "to", vip) // so that it asks; the kernel may just be using it
		lab.Eventually(p, patience, func() error {
			text, err := p.client.TryGet("http://" + vip + "/")
			answers[text]++
			return err
		})
	}
	if answers["d1"] == 0 || answers["d2"] == 0 {
		say("answers %v", answers)
	}
	if n := servers[0].Hits() + servers[1].Hits() - before[0] - before[1]; n != requests {
		say("%d requests were answered %d times", requests, n)
	}
	// What goes round in circles does so until its TTL is used up.
	frames := wire.Lines("> " + vip)
	if len(frames) == 0 || len(frames) > 20*requests {
		say("%d frames to the address passed the backup for %d requests", len(frames), requests)
	}
	mac := fmt.Sprintf("02:00:00:00:%02x:01", master+2)
	asked := 0
	for _, line := range arp.Lines("is-at") {
		if !strings.Contains(line, vip+" ") {
			continue
		}
		asked++
		if !strings.Contains(line, mac) {
			say("ARP: %s, want %s", line, mac)
		}
	}
	if asked == 0 {
		say("nobody was asked for the address")
	}
	p.Logf("%s: %d frames on the backup's wire for %d requests, %d ARP answers", what, len(frames), requests, asked)
	for _, c := range []*lab.Capture{wire, arp} {
		if err := c.Close(); err != nil {
			p.Error(err)
		}
	}
	return wrong
}
