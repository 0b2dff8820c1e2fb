package soak

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

const (
	vip     = "10.0.0.100"
	web     = vip + ":80"   // each request a connection of its own
	talk    = vip + ":7000" // connections that last
	foreign = "10.0.9.9:99" // somebody else's service
	folder  = "/etc/lvsctl"
)

// cluster is two directors, two real servers and a client on one network.
type cluster struct {
	t       lab.T
	lvsctl  string
	byHand  []string // ipvsadm, of those who are not us
	client  *lab.Host
	hosts   map[string]*lab.Host
	servers map[string]*webServer
	variant variant // that the files say
	timing  timing

	mu    sync.Mutex
	procs map[string]*daemonRun // the one that runs, or has run last, by host
}

// daemonRun is one life of one of our daemons.
type daemonRun struct {
	*lab.Process
	began  time.Time
	frozen bool
	ended  bool // by us
	first  usage
	last   usage
}

var (
	lbs  = []string{"lb1", "lb2"}
	webs = []string{"web1", "web2"}
	all  = append(append([]string{}, lbs...), webs...)
)

var addrOf = map[string]string{"lb1": "10.0.0.1", "lb2": "10.0.0.2", "web1": "10.0.0.11", "web2": "10.0.0.12"}

func newCluster(t lab.T, lvsctl string) *cluster {
	n := lab.Open(t)
	lan := n.Bridge("lan")
	c := &cluster{t: t, lvsctl: lvsctl, client: n.Host("client").Nic("eth0", lan, "10.0.0.10/24"),
		hosts: map[string]*lab.Host{}, servers: map[string]*webServer{}, procs: map[string]*daemonRun{}, variant: variant{version: 1}}
	c.byHand = []string{lvsctl, "ipvsadm"}
	if peer, err := exec.LookPath("ipvsadm"); err == nil {
		c.byHand = []string{peer}
	}
	for _, name := range all {
		c.hosts[name] = n.Host(name).Nic("eth0", lan, addrOf[name]+"/24")
	}
	for _, name := range lbs {
		// As lvsctl doctor advises: a client may come again from a port that it has used.
		c.hosts[name].Run(append(slices.Clone(c.byHand), "-L", "-n")...) // loads it
		c.hosts[name].SetSysctl("net.ipv4.vs.expire_nodest_conn", "1")
	}
	for _, name := range webs {
		s := &webServer{name: name, host: c.hosts[name]}
		c.servers[name] = s
		if err := s.rise(); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return c
}

// variant is one content of the files. Every one of them serves the client alike.
type variant struct {
	version  int // of the folder that the links lead to
	services int
	routers  int
}

// ldirectord is the configuration of the services.
func (v variant) ldirectord(t timing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "checktimeout=%d\nnegotiatetimeout=%d\ncheckinterval=%d\n", t.timeout/time.Second, t.timeout/time.Second, t.interval/time.Second)
	real := func(port, weight int) {
		for _, name := range webs {
			fmt.Fprintf(&b, "\treal=%s:%d gate %d\n", addrOf[name], port, weight)
		}
	}
	fmt.Fprintf(&b, "virtual=%s\n", web)
	real(80, 1)
	b.WriteString("\tservice=http\n\trequest=\"/\"\n\treceive=\"web\"\n\tscheduler=rr\n\tprotocol=tcp\n\tquiescent=no\n")
	fmt.Fprintf(&b, "virtual=%s\n", talk)
	real(7000, 1+v.services&3)
	b.WriteString("\tchecktype=connect\n\tscheduler=wlc\n\tprotocol=tcp\n\tquiescent=yes\n")
	if v.services&4 != 0 {
		fmt.Fprintf(&b, "virtual=%s:81\n", vip)
		real(81, 1)
		b.WriteString("\tchecktype=connect\n\tcheckport=80\n\tscheduler=rr\n\tprotocol=tcp\n")
	}
	return b.String()
}

// keepalived is the configuration of the address, the same for both directors.
func (v variant) keepalived(t timing) string {
	more := ""
	if v.routers&1 != 0 {
		more = "\t\t10.0.0.101\n"
	}
	route := ""
	if v.routers&2 != 0 {
		route = "\t\t10.98.0.0/24 via 10.0.0.10\n"
	}
	return `global_defs {
	router_id soak
	lvs_sync_daemon eth0 VI_1
}
vrrp_instance VI_1 {
	interface eth0
	virtual_router_id 51
@lb1	priority 150
@lb2	priority 100
	advert_int ` + fmt.Sprint(int(t.advert/time.Second)) + `
	authentication {
		auth_type PASS
		auth_pass 1111
	}
	virtual_ipaddress {
		` + vip + `
` + more + `	}
	virtual_routes {
		10.99.0.0/24 via 10.0.0.10
` + route + `	}
}
`
}

// table is what the kernel of the active director holds.
func (v variant) table() table {
	t := table{}
	add := func(key string, port, weight int) {
		t[key] = map[string]string{}
		for _, name := range webs {
			t[key][fmt.Sprintf("%s:%d", addrOf[name], port)] = fmt.Sprintf("Route %d", weight)
		}
	}
	add("TCP "+web+" rr", 80, 1)
	add("TCP "+talk+" wlc", 7000, 1+v.services&3)
	if v.services&4 != 0 {
		add("TCP "+vip+":81 rr", 81, 1)
	}
	return t
}

// others is what belongs to somebody else.
func others() table {
	return table{"TCP " + foreign + " sh": {"10.0.0.12:99": "Masq 7"}, "FWM 7 rr": {"10.0.0.12:0": "Route 3"}}
}

// addresses are those that move.
func (v variant) addresses() []string {
	out := []string{vip + "/32"}
	if v.routers&1 != 0 {
		out = append(out, "10.0.0.101/32")
	}
	return out
}

func (v variant) routes() []string {
	out := []string{"10.99.0.0/24"}
	if v.routers&2 != 0 {
		out = append(out, "10.98.0.0/24")
	}
	return out
}

// layFiles makes the folder on a host as a ConfigMap is: names that lead through one
// link, which is moved in one step.
func (c *cluster) layFiles(name string) error {
	dir := fmt.Sprintf("%s/..v%d", folder, c.variant.version)
	return c.on(name, func() error {
		if err := writeFiles(dir, c.variant, c.timing); err != nil {
			return err
		}
		if err := link(fmt.Sprintf("..v%d", c.variant.version), folder+"/..data"); err != nil {
			return err
		}
		for _, f := range fileNames {
			if err := link("..data/"+f, folder+"/"+f); err != nil {
				return err
			}
		}
		return removeOthers(dir)
	})
}

var fileNames = []string{"ldirectord.cf", "keepalived.conf"}

func writeFiles(dir string, v variant, t timing) error {
	return errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(dir+"/ldirectord.cf", []byte(v.ldirectord(t)), 0o644),
		os.WriteFile(dir+"/keepalived.conf", []byte(v.keepalived(t)), 0o644))
}

// link makes or moves a link in one step.
func link(to, path string) error {
	if err := os.Remove(path + "~"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, path+"~"); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

func removeOthers(dir string) error {
	old, err := filepath.Glob(folder + "/..v*")
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range old {
		if d != dir {
			errs = append(errs, os.RemoveAll(d))
		}
	}
	return errors.Join(errs...)
}

// on does something to the files of a host.
func (c *cluster) on(name string, f func() error) error {
	var err error
	c.hosts[name].Do(func() { err = f() })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// start runs the daemon of a host.
func (c *cluster) start(name string) {
	args := []string{c.lvsctl, "run", "--services", "master"}
	if strings.HasPrefix(name, "web") {
		args = []string{c.lvsctl, "realserver", "run", "--from", folder}
	}
	p := c.hosts[name].Start(args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs[name] = &daemonRun{Process: p, began: time.Now()}
}

// proc is the life of a daemon that is the present one, or was the last.
func (c *cluster) proc(name string) *daemonRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[name]
}

// lives tells whether a daemon runs, and for how long. One that is frozen does not.
func (c *cluster) lives(name string) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.procs[name]
	if p == nil || p.ended || p.frozen || !p.Running() {
		return 0, false
	}
	return time.Since(p.began), true
}

// end ends a daemon with a signal, and waits for it.
func (c *cluster) end(name string, s syscall.Signal, patience time.Duration) error {
	p := c.proc(name)
	c.mu.Lock()
	p.ended, p.frozen = true, false
	c.mu.Unlock()
	if !p.Running() {
		return fmt.Errorf("%s had ended before its time: %w\n%s", name, p.Wait(), tail(p.Output()))
	}
	if err := healthy(p.Output()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Signal(s)
	deadline := time.Now().Add(patience)
	for p.Running() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still runs %v after %v\n%s", name, patience, s, tail(p.Output()))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.Wait(); err != nil && s == syscall.SIGTERM {
		return fmt.Errorf("%s ends with %w\n%s", name, err, tail(p.Output()))
	}
	return nil
}

// healthy looks for words in a log that no daemon of ours should ever write.
func healthy(log string) error {
	for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine ", "nil pointer"} {
		if strings.Contains(log, word) {
			return fmt.Errorf("the log says %q\n%s", word, log)
		}
	}
	return nil
}

func (c *cluster) freeze(name string, frozen bool) {
	p := c.proc(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	p.frozen = frozen
	s := syscall.SIGCONT
	if frozen {
		s = syscall.SIGSTOP
	}
	p.Signal(s)
}

// tail is the end of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return "  | " + strings.Join(lines[max(0, len(lines)-40):], "\n  | ")
}
