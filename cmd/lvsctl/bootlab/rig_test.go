package bootlab

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// patience is for what takes seconds on an idle machine.
const patience = 2 * time.Minute

const vip = "10.0.0.100"

// routers is a virtual router on eth0, services two real servers behind its address.
const (
	routers = `vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 51
	priority 150
	advert_int 1
	virtual_ipaddress {
		` + vip + `
	}
}
`
	services = `checkinterval=1
checktimeout=30
quiescent=no
virtual=` + vip + `:80
	real=10.0.0.11:80 gate
	real=10.0.0.12:80 gate
	checktype=connect
	scheduler=rr
`
)

// rig is a director and a farm of two servers on one network.
type rig struct {
	*testing.T
	lan            *lab.Bridge
	director, farm *lab.Host
	servers        map[string]*lab.Server
	run            *lab.Process
}

// newRig has a director without a network card.
func newRig(t *testing.T) *rig {
	n := lab.New(t)
	lan := n.Bridge("lan")
	r := &rig{T: t, lan: lan, director: n.Host("director"), servers: map[string]*lab.Server{}}
	r.farm = n.Host("farm").Nic("eth0", lan, "10.0.0.11/24", "10.0.0.12/24")
	for _, ip := range []string{"10.0.0.11", "10.0.0.12"} {
		r.servers[ip] = r.farm.Serve(ip, ip+":80")
	}
	r.director.WriteFile("/etc/lvsctl/keepalived.conf", routers, 0o644)
	r.director.WriteFile("/etc/lvsctl/ldirectord.cf", services, 0o644)
	t.Cleanup(func() {
		if t.Failed() && r.run != nil {
			t.Logf("the director:\n%s", r.run.Output())
		}
	})
	return r
}

func (r *rig) start(args ...string) {
	r.Helper()
	r.run = r.director.Start(append([]string{lvsctl(), "run"}, args...)...)
}

// table is what the director's kernel holds, as ipvsadm -S -n prints it.
func (r *rig) table() string {
	r.Helper()
	var text string
	var err error
	r.director.Do(func() {
		var k *kernel.Client
		if k, err = kernel.Open(); err != nil {
			return
		}
		defer k.Close()
		t, e := k.Read()
		text, err = lvstest.Text(t), e
	})
	if err != nil {
		r.Fatal(err)
	}
	return text
}

// tableOf has the service with these servers.
func tableOf(ips ...string) string {
	text := "-A -t " + vip + ":80 -s rr\n"
	for _, ip := range ips {
		text += "-a -t " + vip + ":80 -r " + ip + ":80 -g -w 1\n"
	}
	return text
}

func (r *rig) wantTable(want string) {
	r.Helper()
	lab.Eventually(r, patience, func() error {
		if got := r.table(); got != want {
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
		return nil
	})
}

func (r *rig) hasVIP() bool {
	r.Helper()
	has := false
	r.director.Do(func() {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			r.Error(err)
		}
		for _, a := range addrs {
			has = has || a.String() == vip+"/32"
		}
	})
	return has
}

func (r *rig) wantVIP() {
	r.Helper()
	lab.Eventually(r, patience, func() error {
		if !r.hasVIP() {
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("%s is not there", vip)
		}
		return nil
	})
}

// once holds us to having said something, and not again and again.
func (r *rig) once(text string) {
	r.Helper()
	r.run.Await(text, patience)
	if n := strings.Count(r.run.Output(), text); n != 1 {
		r.Errorf("%q was said %d times", text, n)
	}
}

// lvs runs a command of our own on the director.
func (r *rig) lvs(args ...string) string {
	r.Helper()
	return r.director.Run(append([]string{lvsctl()}, args...)...)
}

// say waits until one of our commands says something.
func (r *rig) says(word string, args ...string) {
	r.Helper()
	lab.Eventually(r, patience, func() error {
		out, err := r.director.Try(append([]string{lvsctl()}, args...)...)
		if err != nil || !strings.Contains(out, word) {
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("%v says (%v)\n%s", args, err, out)
		}
		return nil
	})
}
