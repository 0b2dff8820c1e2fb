package wire

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
)

// kind is a way to speak VRRP.
type kind struct {
	name     string
	version  uint8
	interval time.Duration
	password string
	vip      netip.Prefix
	unicast  bool
}

var kinds = []kind{
	{"v2 with password", 2, time.Second, "1234", netip.MustParsePrefix("10.0.0.100/24"), false},
	{"v3", 3, 500 * time.Millisecond, "", netip.MustParsePrefix("10.0.0.100/24"), false},
	{"v3 IPv6", 3, 500 * time.Millisecond, "", netip.MustParsePrefix("fe80::100/64"), false},
	{"v3 unicast", 3, 500 * time.Millisecond, "", netip.MustParsePrefix("10.0.0.100/24"), true},
}

// TestWithKeepalived pairs a speaker with a real keepalived in both roles.
func TestWithKeepalived(t *testing.T) {
	if testing.Short() {
		// Eight pairs hold elections against the clock of a program that is not
		// ours: on a machine that does something else as well they are late.
		t.Skip("minutes on a quiet machine: make test-all runs it")
	}
	if _, err := exec.LookPath("keepalived"); err != nil {
		const how = "keepalived is not installed: apt-get install keepalived"
		if os.Getenv("LVSCTL_LAB") == "require" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	for _, k := range kinds {
		t.Run(k.name+", we are better", func(t *testing.T) { t.Parallel(); weAreBetter(t, newPair(t, k, 150, 100)) })
		t.Run(k.name+", it is better", func(t *testing.T) { t.Parallel(); itIsBetter(t, newPair(t, k, 100, 150)) })
	}
}

// weAreBetter: preemption, hand-over in both directions, a dead link.
func weAreBetter(t *testing.T, p *pair) {
	p.startPeer()
	p.await("alone", false, true)
	p.start()
	p.await("we are back", true, false)
	p.order("standby", p.speaker.Standby("VI_1"))
	p.await("standby", false, true)
	p.handedOver("standby")
	p.order("resume", p.speaker.Resume("VI_1"))
	p.await("resume", true, false)
	p.ours.Unplug("eth0")
	p.await("our cable is out", true, true)
	p.ours.Plug("eth0")
	p.await("our cable is back", true, false)
	p.stop()
	p.await("we stop", false, true)
	p.handedOver("stop")
}

// itIsBetter: a takeover that it does not want, its graceful stop, its death.
func itIsBetter(t *testing.T, p *pair) {
	p.start()
	p.startPeer()
	p.await("election", false, true)
	p.order("takeover", p.speaker.Takeover("VI_1"))
	p.await("takeover", true, false)
	p.order("resume", p.speaker.Resume("VI_1"))
	p.await("resume", false, true)
	if err := p.peer.Stop(); err != nil {
		t.Errorf("keepalived: %v", err)
	}
	p.await("it stops", true, false)
	p.startPeer()
	p.await("it is back", false, true)
	p.peer.Kill()
	p.theirs.Run("ip", "addr", "del", p.kind.vip.String(), "dev", "eth0")
	p.await("it is dead", true, false)
	p.stop()
	if st := p.stats; st.Dropped.Total() != 0 {
		t.Errorf("adverts of keepalived were dropped: %+v", st)
	}
}

// pair is a speaker and a keepalived.
type pair struct {
	t            *testing.T
	kind         kind
	ours, theirs *lab.Host
	speaker      *vrrp.Speaker
	member       vrrp.Member
	end          func()
	ended        chan error
	peer         *lab.Process
	conf         string
	stats        vrrp.Stats

	mu  sync.Mutex
	log []string
	// handed is whether the peer had the address whenever we dropped it.
	handed []bool
	held   bool
}

func newPair(t *testing.T, k kind, ourPriority, theirPriority uint8) *pair {
	net := lab.New(t)
	lan := net.Bridge("lan")
	p := &pair{t: t, kind: k,
		ours:   net.Host("ours").Nic("eth0", lan, "10.0.0.11/24"),
		theirs: net.Host("theirs").Nic("eth0", lan, "10.0.0.12/24"),
	}
	v6 := k.vip.Addr().Is6()
	source, other := sourceOf(t, p.ours, v6), sourceOf(t, p.theirs, v6)
	c := vrrp.Instance{
		Name: "VI_1", Link: "eth0", Version: k.version, VRID: 51, Priority: ourPriority, Interval: k.interval,
		Source: source, Addrs: []netip.Addr{k.vip.Addr()}, Password: k.password, Garp: vrrp.DefaultGarp,
	}
	if k.unicast {
		c.Peers, c.CheckPeers = []netip.Addr{other}, true
	}
	p.member = vrrp.Member{Instance: c, Holders: []vrrp.Holder{p}}
	p.conf = keepalivedConf(k, theirPriority, other, source)
	p.theirs.WriteFile("/etc/keepalived/keepalived.conf", p.conf, 0o600)
	t.Cleanup(func() {
		if p.end != nil {
			p.stop()
		}
		if t.Failed() {
			t.Logf("ours:\n%s", strings.Join(p.log, "\n"))
			if p.peer != nil {
				t.Logf("keepalived:\n%s", p.peer.Output())
			}
		}
	})
	return p
}

func keepalivedConf(k kind, priority uint8, own, peer netip.Addr) string {
	extra := ""
	if k.password != "" {
		extra += fmt.Sprintf("    authentication {\n        auth_type PASS\n        auth_pass %s\n    }\n", k.password)
	}
	if k.unicast {
		extra += fmt.Sprintf("    unicast_src_ip %v\n    unicast_peer {\n        %v\n    }\n", own, peer)
	}
	return fmt.Sprintf(`vrrp_instance VI_1 {
    state BACKUP
    interface eth0
    virtual_router_id 51
    version %d
    priority %d
    advert_int %g
%s    virtual_ipaddress {
        %v
    }
}
`, k.version, priority, k.interval.Seconds(), extra, k.vip)
}

func (p *pair) startPeer() {
	p.peer = p.theirs.Start("keepalived", "-n", "-l", "-D", "-P", "-f", "/etc/keepalived/keepalived.conf")
}

func (p *pair) start() {
	p.t.Helper()
	poll, err := NewPoll()
	if err != nil {
		p.t.Fatal(err)
	}
	p.member.Transport = open(p.t, p.ours, Options{Link: "eth0", IPv6: p.kind.vip.Addr().Is6(), Poll: poll})
	p.speaker = vrrp.NewSpeaker()
	p.speaker.Waiter = poll
	begin := time.Now()
	p.speaker.Report = func(r vrrp.Report) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log = append(p.log, fmt.Sprintf("%8.3f %v", time.Since(begin).Seconds(), r.Action))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.end, p.ended = cancel, make(chan error, 1)
	speaker, ended := p.speaker, p.ended
	go func() { ended <- speaker.Run(ctx) }()
	if err := p.speaker.Set([]vrrp.Member{p.member}, nil); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) stop() {
	p.t.Helper()
	if st, err := p.speaker.Status(); err != nil {
		p.t.Error(err)
	} else {
		p.stats = st[0].Stats
	}
	p.end()
	p.end = nil
	if err := <-p.ended; err != nil {
		p.t.Error(err)
	}
}

func (p *pair) order(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// Take, Drop and Announce make the pair the holder of its own address.
func (p *pair) Take(context.Context) error {
	_, err := p.ours.Try("ip", "addr", "replace", p.kind.vip.String(), "dev", "eth0", "nodad")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
	return err
}

func (p *pair) Drop(context.Context) error {
	p.mu.Lock()
	held := p.held
	p.held = false
	p.mu.Unlock()
	if !held {
		return nil
	}
	there := p.has(p.theirs)
	p.mu.Lock()
	p.handed = append(p.handed, there)
	p.mu.Unlock()
	_, err := p.ours.Try("ip", "addr", "del", p.kind.vip.String(), "dev", "eth0")
	return err
}

func (p *pair) has(h *lab.Host) bool {
	out, err := h.Try("ip", "-o", "addr", "show", "dev", "eth0")
	return err == nil && strings.Contains(out, " "+p.kind.vip.String()+" ")
}

// await waits until exactly these have the address, and looks again a moment later.
func (p *pair) await(what string, ours, theirs bool) {
	p.t.Helper()
	lab.Eventually(p.t, 20*time.Second, func() error {
		for range 2 {
			if a, b := p.has(p.ours), p.has(p.theirs); a != ours || b != theirs {
				return fmt.Errorf("%s: we have the address: %v, keepalived has it: %v", what, a, b)
			}
			time.Sleep(p.kind.interval)
		}
		return nil
	})
}

// handedOver holds that keepalived had the address before we let it go.
func (p *pair) handedOver(what string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.handed) == 0 || !p.handed[len(p.handed)-1] {
		p.t.Errorf("%s: the address was dropped before keepalived had it", what)
	}
}
