package vrrplab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
	"github.com/lvsctl/lvsctl/vrrp/wire"
)

// status is a director's instance, as its JSON tells it.
func (p *pair) status(i int) (appliance.InstanceStatus, error) {
	out, err := p.d[i].Try(lvsctl(), "vrrp", "status", "--json")
	if err != nil {
		return appliance.InstanceStatus{}, fmt.Errorf("%w: %s", err, out)
	}
	var answer struct{ Instances []appliance.InstanceStatus }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Instances) != 1 {
		return appliance.InstanceStatus{}, fmt.Errorf("%v: %s", err, out)
	}
	return answer.Instances[0], nil
}

// until waits for something in a director's status.
func (p *pair) until(i int, what string, is func(appliance.InstanceStatus) bool) (s appliance.InstanceStatus) {
	p.Helper()
	lab.Eventually(p, patience, func() (err error) {
		if s, err = p.status(i); err == nil && !is(s) {
			err = fmt.Errorf("%s: not yet: %+v", what, s)
		}
		if err != nil {
			time.Sleep(2 * look)
		}
		return err
	})
	return s
}

// TestThief: a program that removes the address whenever it is there does not get
// all of the director's time; in the end the address goes where it is left alone,
// and stays there.
func TestThief(t *testing.T) {
	lab.Long(t)
	p := newPair(t)
	// What networkd would have said of the link.
	index := strings.TrimSpace(p.d[0].Run("cat", "/sys/class/net/eth0/ifindex"))
	p.d[0].WriteFile("/run/systemd/netif/links/"+index, "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/10-lan.network\n", 0o644)
	p.start(0)
	p.start(1)
	p.await("election", 0)
	thief := p.d[0].Start("sh", "-c", "while :; do ip addr del "+vip+"/24 dev eth0 2>/dev/null; sleep 0.1; done")
	p.run[0].Await("systemd-networkd manages eth0; type: mkdir -p /etc/systemd/network/10-lan.network.d", patience)
	p.run[0].Await("it does not stay, so it is handed over", patience)
	p.until(1, "the other one takes it", func(s appliance.InstanceStatus) bool { return s.State == "MASTER" })
	s := p.until(0, "it leaves it there", func(s appliance.InstanceStatus) bool { return s.State == "BACKUP" })
	if s.Removed < 10 || s.YieldsUntil.IsZero() {
		t.Errorf("status: %d removals, yields until %v", s.Removed, s.YieldsUntil)
	}
	if n := strings.Count(p.run[0].Output(), "removed from eth0 by somebody else"); n > 5 {
		t.Errorf("%d log lines about the thief", n)
	}
	time.Sleep(3 * time.Second) // ten intervals
	p.await("it stays there", 1)
	thief.Kill()
	p.vrrp(0, "resume")
	p.await("resume", 0)
}

// TestYieldAsKeepalived: one removal, and the other director has the address.
func TestYieldAsKeepalived(t *testing.T) {
	p := newPair(t)
	p.start(0, "--on-vip-removed", "backup")
	p.start(1)
	p.await("election", 0)
	p.d[0].Run("ip", "addr", "del", vip+"/24", "dev", "eth0")
	p.await("handed over", 1)
	p.run[0].Await("handing over, as on_vip_removed says", patience)
	if s := p.until(0, "and it stays there", func(s appliance.InstanceStatus) bool { return s.State == "BACKUP" }); s.YieldsUntil.IsZero() {
		t.Error("it would come back at once")
	}
	p.vrrp(0, "resume")
	p.await("resume", 0)
}

// TestDuplicate: an address that another machine has is an alarm, or is left to it.
func TestDuplicate(t *testing.T) {
	p := newPair(t)
	const vip6 = "2001:db8:1::100"
	for i, d := range p.d {
		d.Run("ip", "addr", "add", fmt.Sprintf("2001:db8:1::%d/64", i+1), "dev", "eth0", "nodad")
	}
	p.client.Run("ip", "addr", "add", "2001:db8:1::9/64", "dev", "eth0", "nodad")
	for _, c := range []struct{ address, have string }{{vip, vip + "/32"}, {vip6, vip6 + "/128"}} {
		p.client.Run("ip", "addr", "add", c.have, "dev", "eth0")
		args := []string{lvsctl(), "vrrp", "run", "--interface", "eth0", "--vrid", "51", "--vrrp-version", "3", "--advert-int", "0.5", "--vip", c.address}
		p.run[0] = p.d[0].Start(append(args, "--on-duplicate", "refuse")...)
		s := p.until(0, "refused", func(s appliance.InstanceStatus) bool { return s.Refused != "" })
		if s.State != "BACKUP" || !strings.Contains(s.Refused, c.address+" answers on eth0 at 02:00:00:00:01:01") {
			t.Errorf("%s: %s, %q", c.address, s.State, s.Refused)
		}
		if out := p.vrrp(0, "status"); !strings.Contains(out, "not taking over: duplicate VIP") {
			t.Errorf("status:\n%s", out)
		}
		p.run[0].Await("not taking over", patience)
		// Once it is free, it is taken.
		p.client.Run("ip", "addr", "del", c.have, "dev", "eth0")
		p.until(0, "free", func(s appliance.InstanceStatus) bool { return s.State == "MASTER" && s.Refused == "" })
		p.stop(0)
		// Without the option it is taken in any case, and said.
		p.client.Run("ip", "addr", "add", c.have, "dev", "eth0")
		p.run[0] = p.d[0].Start(args...)
		p.until(0, "alarm", func(s appliance.InstanceStatus) bool { return s.State == "MASTER" && len(s.Duplicates) == 1 })
		p.run[0].Await("duplicate VIP: "+c.address+" is here, and answers on eth0", patience)
		p.stop(0)
		p.client.Run("ip", "addr", "del", c.have, "dev", "eth0")
	}
}

// TestRefusalCostsNoFailover: with a master that is dead, the question delays
// nothing that a client would feel; with one whose VRRP alone is dead, the addresses
// stay where they are.
func TestRefusalCostsNoFailover(t *testing.T) {
	p := newPair(t)
	p.start(0, "--advert-int", "1", "--vrrp-version", "3")
	p.start(1, "--advert-int", "1", "--vrrp-version", "3", "--on-duplicate", "refuse")
	p.await("election", 0)
	p.run[0].Kill() // the process alone: the address stays, and answers
	p.until(1, "left where it is", func(s appliance.InstanceStatus) bool { return s.Refused != "" })
	if p.has(1) || !p.has(0) {
		t.Error("both have the address")
	}
	p.d[0].Unplug("eth0") // now the machine is gone
	p.until(1, "taken", func(s appliance.InstanceStatus) bool { return s.State == "MASTER" })
}

// TestForeignRouter: another user of our virtual_router_id is seen by name.
func TestForeignRouter(t *testing.T) {
	p := newPair(t)
	p.start(0)
	p.await("election", 0)
	var s *wire.Socket
	var err error
	p.client.Do(func() { s, err = wire.Open(wire.Options{Link: "eth0"}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	send := func() {
		err := s.Send(vrrp.Advert{Src: netip.MustParseAddr("10.1.0.9"), Dst: vrrp.GroupIPv4, TTL: 255, Version: 3, Type: 1, VRID: 51, Priority: 200,
			Interval: 300 * time.Millisecond, Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.200")}})
		if err != nil {
			t.Fatal(err)
		}
	}
	got := p.until(0, "heard", func(s appliance.InstanceStatus) bool { send(); return len(s.Foreign) == 1 && s.Foreign[0].Adverts > 2 })
	f := got.Foreign[0]
	if f.Address != "10.1.0.9" || f.Priority != 200 || strings.Join(f.Addresses, " ") != "10.1.0.200" || got.State != "MASTER" {
		t.Errorf("%s, %+v", got.State, f)
	}
	for _, line := range []string{p.d[0].Run(lvsctl(), "status"), p.vrrp(0, "status")} {
		if !strings.Contains(line, "10.1.0.9 uses virtual_router_id 51 on eth0 in another way: other virtual addresses") {
			t.Errorf("not in the status:\n%s", line)
		}
	}
	p.run[0].Await("dropped advert from 10.1.0.9", patience)
}
