package vrrplab

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestReplacementUnderTraffic: a running pair of keepalived that balances with IPVS
// is replaced one machine at a time, with the same files, while a client makes
// requests. The addresses move when a master is stopped or comes back and at no
// other time, and of an outage there is at most one fail-over.
func TestReplacementUnderTraffic(t *testing.T) {
	needKeepalived(t)
	c := balanced(pairWith(t, 2))
	p := c.pair
	for i := range p.d {
		p.run[i] = p.d[i].Start("keepalived", "-n", "-l", "-D", "-f", confFile)
	}
	p.await("a pair of keepalived", 0)
	c.table(0)
	c.table(1)
	traffic := c.begin()

	p.stop(1)
	p.replace(1)
	c.table(1)
	p.await("the backup is replaced", 0)
	t.Logf("the backup is replaced: %v", traffic.look())
	if out := p.run[1].Output(); strings.Contains(out, "MASTER STATE") {
		t.Errorf("the new backup was master:\n%s", out)
	}

	p.stop(0)
	p.await("the new one takes over", 1)
	t.Logf("the master is stopped, which is the fail-over: %v", traffic.look())
	p.replace(0)
	p.await("the master is replaced", 0)
	c.table(0)
	t.Logf("the master is replaced: %v", traffic.look())

	p.stop(0)
	p.await("a stop of the new pair", 1)
	p.replace(0)
	p.await("and its return", 0)
	t.Logf("the new master is stopped and comes back: %v", traffic.look())
	traffic.end()
	for i, times := range []int{1, 2} {
		if n := strings.Count(p.run[i].Output(), "Entering MASTER STATE"); n != times {
			t.Errorf("d%d was master %d times, want %d", i+1, n, times)
		}
	}
}

// replace starts us with the file of the keepalived that was there before.
func (p *pair) replace(i int) {
	p.Helper()
	p.run[i] = p.d[i].Start(lvsctl(), "keepalived", "-n", "-l", "-D", "-f", confFile)
	p.run[i].Await("Startup complete", patience)
}

// cluster is a pair with two real servers behind it (LVS-DR).
type cluster struct{ *pair }

func balanced(p *pair) *cluster {
	servers := ""
	for i, h := range p.servers {
		addr := fmt.Sprintf("10.1.0.%d", 21+i)
		h.SetSysctl("net.ipv4.conf.all.arp_ignore", "1")
		h.SetSysctl("net.ipv4.conf.all.arp_announce", "2")
		h.Run("ip", "addr", "add", vip+"/32", "dev", "lo")
		h.Serve(h.Name(), ":80")
		servers += fmt.Sprintf(`
    real_server %s 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 20
        }
    }`, addr)
	}
	for i := range p.d {
		p.d[i].WriteFile(confFile, fmt.Sprintf(`vrrp_instance VI_1 {
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority %d
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass 1111
    }
    virtual_ipaddress {
        %s/24
    }
}
virtual_server %s 80 {
    delay_loop 3
    lb_algo rr
    lb_kind DR
    protocol TCP%s
}
`, 150-50*i, vip, vip, servers), 0o644)
	}
	return &cluster{p}
}

// table waits until a director has both real servers in its kernel.
func (c *cluster) table(i int) {
	c.Helper()
	lab.Eventually(c.T, patience, func() error {
		got := c.d[i].ReadFile("/proc/thread-self/net/ip_vs")
		if strings.Count(got, "Route   1 ") != len(c.servers) {
			time.Sleep(look)
			return fmt.Errorf("the table of d%d is\n%s", i+1, got)
		}
		return nil
	})
}

// requests is a client that asks for a page again and again, with a connection each.
type requests struct {
	from *lab.Host
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	asked   int
	failed  int
	well    time.Time     // the end of the last request that was answered
	longest time.Duration // between two answers
}

func (c *cluster) begin() *requests {
	r := &requests{from: c.client, stop: make(chan struct{}), well: time.Now()}
	r.done.Go(r.run)
	c.Cleanup(r.end)
	return r
}

// end may be called again.
func (r *requests) end() {
	r.mu.Lock()
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.mu.Unlock()
	r.done.Wait()
}

func (r *requests) run() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.note(r.one())
		case <-r.stop:
			return
		}
	}
}

func (r *requests) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if err != nil {
		r.failed++
		return
	}
	now := time.Now()
	r.longest, r.well = max(r.longest, now.Sub(r.well)), now
}

// one gives up before the kernel would ask a second time: an outage is to be seen as
// long as it is.
func (r *requests) one() error {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	conn, err := r.from.TryDial(ctx, "tcp", vip+":80")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.ReadAll(conn)
	return err
}

// felt is what was felt since the last look.
type felt struct {
	asked, failed int
	longest       time.Duration
}

func (f felt) String() string {
	return fmt.Sprintf("%d of %d requests failed, at most %v without an answer", f.failed, f.asked, f.longest.Round(10*time.Millisecond))
}

func (r *requests) look() felt {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := felt{r.asked, r.failed, r.longest}
	r.asked, r.failed, r.longest = 0, 0, 0
	return f
}
