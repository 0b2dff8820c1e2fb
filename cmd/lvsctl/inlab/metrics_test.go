package inlab

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// What a neighbour reads at /metrics is what the kernel counts, and what becomes of
// servers and daemons.
func TestMetrics(t *testing.T) {
	lab.Need(t)
	c := newCluster(t)
	c.write(file(2))
	c.ld("start")
	c.wantTable(table(2))
	router := c.director.Start(lvsctl(), "vrrp", "run", "--interface", "eth0", "--vrid", "51", "--vip", "10.1.0.50", "--advert-int", "0.1")
	exporter := c.director.Start(lvsctl(), "metrics", "--listen", "10.2.0.1:9650")
	exporter.Await("listening at http://10.2.0.1:9650/metrics", patience)
	for range 10 {
		c.client.Get("http://" + vip + "/")
	}
	c.wantFigures(
		"lvsctl_table_read 1",
		`lvsctl_service_connections_total{service="TCP 10.1.0.1:80"} 10`,
		`lvsctl_destination_weight{service="TCP 10.1.0.1:80",server="10.2.0.11:80"} 2`,
		`lvsctl_daemon_up{daemon="test.cf"} 1`,
		`lvsctl_daemon_info{daemon="test.cf",kind="ldirectord",file="/etc/ha.d/test.cf"} 1`,
		`lvsctl_daemon_running{daemon="test.cf"} 1`,
		`lvsctl_virtual_serving{daemon="test.cf",service="TCP 10.1.0.1:80",name=""} 1`,
		`lvsctl_virtual_strength{daemon="test.cf",service="TCP 10.1.0.1:80",name=""} 3`,
		`lvsctl_server_standing{daemon="test.cf",service="TCP 10.1.0.1:80",server="10.2.0.12:80",standing="serving"} 1`,
		`lvsctl_daemon_up{daemon="vrrp"} 1`,
		`lvsctl_instance_master{daemon="vrrp",iname="VI_1"} 1`,
		"keepalived_up 1",
		`keepalived_vrrp_state{iname="VI_1",intf="eth0",vrid="51",ip_address="10.1.0.50"} 2`,
		`keepalived_become_master_total{iname="VI_1",intf="eth0",vrid="51"} 1`,
	)
	lab.Eventually(t, patience, func() error { // the last packets of a connection come after its answer
		st, err := c.ipvs.State()
		if err != nil {
			return err
		}
		var counted []string
		for _, s := range st {
			for _, d := range s.Destinations {
				counted = append(counted, fmt.Sprintf("lvsctl_destination_incoming_bytes_total{service=\"%v\",server=\"%v\"} %d", s.Key, d.Addr, d.Stats.InBytes))
			}
		}
		return c.figures(counted...)
	})

	c.servers["web2"].Close()
	c.director.Run(lvsctl(), "drain", "10.2.0.11", "--virtual", vip+":80", "--name", "test.cf")
	c.write(file(2) + "\tfrobnicate=1\n")
	c.reload("is not taken; the configuration in force stays")
	router.Signal(syscall.SIGSTOP) // it takes connections, and does not answer
	c.wantFigures(`lvsctl_daemon_up{daemon="vrrp"} 0`, `lvsctl_daemon_up{daemon="test.cf"} 1`)
	router.Signal(syscall.SIGCONT)
	c.wantFigures(`lvsctl_daemon_up{daemon="vrrp"} 1`)
	router.Kill()
	c.wantFigures(
		`lvsctl_server_standing{daemon="test.cf",service="TCP 10.1.0.1:80",server="10.2.0.12:80",standing="failed"} 1`,
		`lvsctl_server_standing{daemon="test.cf",service="TCP 10.1.0.1:80",server="10.2.0.11:80",standing="draining"} 1`,
		`lvsctl_destination_weight{service="TCP 10.1.0.1:80",server="10.2.0.11:80"} 0`,
		`lvsctl_file_refused{daemon="test.cf"} 1`,
		`lvsctl_daemon_up{daemon="vrrp"} 0`,
		"keepalived_up 0",
	)
	if once := c.director.Run(lvsctl(), "metrics"); !strings.Contains(once, "lvsctl_daemon_up{daemon=\"vrrp\"} 0\n") {
		t.Errorf("lvsctl metrics says otherwise:\n%s", once)
	}
	if page, err := c.web1.TryGet("http://10.2.0.1:9650/v1/status"); err == nil {
		t.Errorf("what is said on the control socket can be read from the network:\n%s", page)
	}
	if err := exporter.Stop(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
}

func (c *cluster) wantFigures(lines ...string) {
	c.Helper()
	lab.Eventually(c, patience, func() error { return c.figures(lines...) })
}

// figures says which of the lines are not on the page.
func (c *cluster) figures(lines ...string) error {
	page, err := c.web1.TryGet("http://10.2.0.1:9650/metrics")
	if err != nil {
		return err
	}
	for _, line := range lines {
		if !strings.Contains(page, "\n"+line+"\n") {
			return fmt.Errorf("no %s in\n%s", line, page)
		}
	}
	return nil
}
