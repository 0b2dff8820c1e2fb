package vrrplab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

// two are the addresses of two groups: the first director prefers the first one.
var two = [2]string{"10.1.0.100", "10.1.0.200"}

// groups are two directors that are active for a group each.
type groups struct {
	*pair
	ipvs [2]*kernel.Client
}

func newGroups(t *testing.T) *groups {
	g := &groups{pair: pairWith(t, 1)}
	web := g.servers[0]
	web.Serve("web1", ":80")
	web.Run(lvsctl(), "realserver", "up", "--vip", two[0], "--vip", two[1])
	for i, d := range g.d {
		var err error
		d.Do(func() { g.ipvs[i], err = kernel.Open() })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.ipvs[i].Close() })
		for n, vip := range two {
			d.WriteFile(fmt.Sprintf("/etc/ha.d/%d.cf", n+1), fmt.Sprintf("checkinterval=1\nchecktimeout=30\nvirtual=%s:80\n\treal=10.1.0.21:80 gate\n\tscheduler=rr\n\tchecktype=connect\n", vip), 0o644)
		}
	}
	return g
}

// carry waits until each director has the addresses of these groups, and their
// services alone. The client is served all the same.
func (g *groups) carry(when string, want ...[]string) {
	g.Helper()
	lab.Eventually(g, patience, func() error {
		for i := range g.d {
			held := slices.DeleteFunc(addresses(g, g.d[i]), func(a string) bool { return !slices.Contains(two[:], strings.TrimSuffix(a, "/24")) })
			slices.Sort(held)
			table, err := g.ipvs[i].Read()
			if err != nil {
				return err
			}
			var services, vips []string
			for _, e := range table {
				if len(e.Destinations) == 1 {
					services = append(services, e.Key.Addr.Addr().String())
				}
			}
			for _, vip := range want[i] {
				vips = append(vips, vip+"/24")
			}
			if !slices.Equal(services, want[i]) || !slices.Equal(held, vips) {
				return fmt.Errorf("%s: d%d has the services of %v and the addresses %v, want %v", when, i+1, services, held, want[i])
			}
		}
		return nil
	})
	for _, vip := range two {
		if got := g.client.Get("http://" + vip + "/"); !strings.Contains(got, "web1") {
			g.Errorf("%s: %s answers %q", when, vip, got)
		}
	}
}

// follows is what the status of a director says of each service.
func (g *groups) follows(i int) string {
	g.Helper()
	var st struct{ Virtuals []ldirector.VirtualStatus }
	if err := json.Unmarshal([]byte(g.d[i].Run(lvsctl(), "status", "--json")), &st); err != nil {
		g.Fatal(err)
	}
	var all []string
	for _, v := range st.Virtuals {
		all = append(all, fmt.Sprintf("%s %v open %v in kernel %v", v.Label, v.Follows, v.Open, v.InKernel))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// dies takes the second director from the network, and gives it back.
func (g *groups) dies() {
	g.Helper()
	first, second, both, none := []string{two[0]}, []string{two[1]}, two[:], []string(nil)
	g.carry("at the start", first, second)
	g.d[1].Unplug("eth0")
	g.carry("d2 is dead", both, none)
	g.d[1].Plug("eth0")
	g.carry("d2 is back", first, second)
}

// TestEachLineHasItsServices: each of two lines of haresources names a configuration
// of ldirectord. A node carries the services of its own line, and of the other one's
// while that node is dead.
func TestEachLineHasItsServices(t *testing.T) {
	lab.Need(t)
	g := newGroups(t)
	const lines = "d1 10.1.0.100/24/eth0 ldirectord::1.cf\nd2 10.1.0.200/24/eth0 ldirectord::2.cf\n"
	write := func(haresources string) {
		for _, d := range g.d {
			d.WriteFile("/etc/ha.d/haresources", haresources, 0o644)
		}
	}
	write(lines)
	for i, d := range g.d {
		d.WriteFile("/etc/ha.d/ha.cf", "keepalive 500ms\ndeadtime 2\nwarntime 1\ninitdead 2\nauto_failback on\nbcast eth0\nnode d1 d2\n", 0o644)
		d.WriteFile("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
		g.run[i] = d.Start(lvsctl(), "heartbeat", "run")
	}
	g.dies()
	const want = "10.1.0.100:80 [d1] open true in kernel true\n10.1.0.200:80 [d2] open false in kernel false"
	if got := g.follows(0); got != want {
		t.Errorf("the status of d1 says\n%s\nwant\n%s", got, want)
	}
	if out := g.d[0].Run(lvsctl(), "status"); !strings.Contains(out, "not in the kernel: another director serves d2") {
		t.Errorf("the status of d1 says\n%s", out)
	}
	g.run[0].Await("Another director serves the services of d2: they leave this one", patience)
	g.run[1].Await("This director serves the services of d2", patience)

	// A reload moves a service to the other line, whose node has it at once.
	write("d1 10.1.0.100/24/eth0 ldirectord::1.cf\nd2 10.1.0.200/24/eth0 ldirectord::2.cf ldirectord::1.cf\n")
	for _, d := range g.d {
		d.Run(lvsctl(), "reload")
	}
	lab.Eventually(g, patience, func() error {
		const want = "10.1.0.100:80 [d1 d2] open true in kernel true\n10.1.0.200:80 [d2] open true in kernel true"
		if got := g.follows(1); got != want {
			return fmt.Errorf("the status of d2 says\n%s\nwant\n%s", got, want)
		}
		return nil
	})
	write(lines)
	for _, d := range g.d {
		d.Run(lvsctl(), "reload")
	}
	g.carry("as it was", []string{two[0]}, []string{two[1]})
}

// TestBothKindsOfFilesFollowTheirInstances: a service of keepalived.conf and one of
// ldirectord.cf are each where their address is.
func TestBothKindsOfFilesFollowTheirInstances(t *testing.T) {
	lab.Need(t)
	g := newGroups(t)
	instance := func(name string, n, priority int) string {
		return fmt.Sprintf("vrrp_instance %s {\nstate BACKUP\ninterface eth0\nvirtual_router_id %d\nversion 3\npriority %d\nadvert_int 0.3\nvirtual_ipaddress {\n%s/24\n}\n}\n",
			name, 51+n, priority, two[n])
	}
	service := fmt.Sprintf("virtual_server %s 80 {\nprotocol TCP\nlb_algo rr\nlb_kind DR\ndelay_loop 1\nreal_server 10.1.0.21 80 {\nTCP_CHECK {\nconnect_timeout 30\n}\n}\n}\n", two[0])
	for i, d := range g.d {
		d.WriteFile(confFile, instance("A", 0, 150-50*i)+instance("B", 1, 100+50*i)+service, 0o644)
		g.run[i] = d.Start(lvsctl(), "run", "--services", "master", confFile, "/etc/ha.d/2.cf")
	}
	g.dies()
	const want = "10.1.0.100:80 [A] open false in kernel false\n10.1.0.200:80 [B] open true in kernel true"
	if got := g.follows(1); got != want {
		t.Errorf("the status of d2 says\n%s\nwant\n%s", got, want)
	}
}
