package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
	"golang.org/x/sys/unix"
)

func tcpKey(s string) lvs.Key { return lvs.At(lvs.TCP, netip.MustParseAddrPort(s)) }
func udpKey(s string) lvs.Key { return lvs.At(lvs.UDP, netip.MustParseAddrPort(s)) }

// everything is a table in which each attribute has a value of its own.
func everything() lvs.Table {
	addr := netip.MustParseAddrPort
	full := lvs.Service{Key: tcpKey("10.0.0.1:80"), Scheduler: "sh", Flags: lvs.Persistent | lvs.Sched1 | lvs.Sched3, Timeout: 1234, Netmask: 0xffff0000}
	sip := lvs.Service{Key: udpKey("10.0.0.1:5060"), Scheduler: "wrr", Flags: lvs.Persistent | lvs.OnePacket, Timeout: 60, Netmask: 0xffffffff, PE: "sip"}
	six := lvs.Service{Key: tcpKey("[2001:db8::1]:443"), Scheduler: "mh", Flags: lvs.Persistent, Timeout: 300, Netmask: 64}
	t := lvs.State{
		{Service: full, Destinations: []lvs.DestinationState{
			{Destination: lvs.Destination{Addr: addr("10.9.0.2:80"), Method: lvs.Gate, Weight: 70000, Upper: 100000, Lower: 99999}},
			{Destination: lvs.Destination{Addr: addr("10.9.0.3:8080"), Method: lvs.Masq}},
			{Destination: lvs.Destination{Addr: addr("10.9.0.4:80"), Method: lvs.Tunnel, Weight: 1}},
			{Destination: lvs.Destination{Addr: addr("10.9.0.5:80"), Method: lvs.Tunnel, Weight: 2, Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelRemCsum}}},
			{Destination: lvs.Destination{Addr: addr("10.9.0.6:80"), Method: lvs.Tunnel, Weight: 1<<31 - 1, Tunnel: lvs.TunnelInfo{Type: lvs.GRE, Flags: lvs.TunnelCsum}}},
			{Destination: lvs.Destination{Addr: addr("[2001:db8:9::6]:80"), Method: lvs.Tunnel, Weight: 3}},
		}},
		{Service: sip, Destinations: []lvs.DestinationState{}},
		{Service: six, Destinations: []lvs.DestinationState{
			{Destination: lvs.Destination{Addr: addr("[2001:db8:9::2]:443"), Method: lvs.Masq, Weight: 1}},
			{Destination: lvs.Destination{Addr: addr("10.9.0.7:443"), Method: lvs.Tunnel, Weight: 1, Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 1}}},
		}},
		{Service: lvs.NewService(lvs.Key{Family: lvs.IPv4, Protocol: lvs.SCTP, Addr: addr("10.0.0.1:9")}, "lc")},
		{Service: lvs.NewService(lvs.Marked(4294967295, lvs.IPv4), "rr")},
		{Service: lvs.NewService(lvs.Marked(7, lvs.IPv6), "sed"), Destinations: []lvs.DestinationState{
			{Destination: lvs.Destination{Addr: addr("[2001:db8:9::2]:0"), Method: lvs.Gate, Weight: 1}},
		}},
	}
	return t.Table()
}

func install(t lvs.Table) (cs []lvs.Change) {
	for _, e := range t {
		cs = append(cs, lvs.Change{Op: lvs.AddService, Service: e.Service})
		for _, d := range e.Destinations {
			cs = append(cs, lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: e.Key}, Destination: d})
		}
	}
	return cs
}

func TestEveryAttributeComesBack(t *testing.T) {
	for _, way := range []string{"one by one", "as a batch"} {
		t.Run(way, func(t *testing.T) {
			newHost(t)
			c := open(t)
			want := everything()
			if way == "as a batch" {
				do(t, c, install(want)...)
			} else {
				for _, ch := range install(want) {
					do(t, c, ch)
				}
			}
			got, err := c.Read()
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("table is\n%swant\n%s", lvstest.Text(got), lvstest.Text(want))
			}
			for _, e := range want {
				s, err := c.ServiceState(e.Key)
				must(t, err)
				if one := (lvs.State{s}).Table(); !reflect.DeepEqual(one, lvs.Table{e}) {
					t.Errorf("%v alone is\n%swant\n%s", e.Key, lvstest.Text(one), lvstest.Text(lvs.Table{e}))
				}
			}
		})
	}
}

// The kernel lists services by hash, the newest of a hash first, marks last.
func TestOrderOfReading(t *testing.T) {
	newHost(t)
	c := open(t)
	keys := []lvs.Key{tcpKey("10.0.0.1:80"), udpKey("10.0.0.1:80"), tcpKey("10.0.0.2:80"), lvs.Marked(1, lvs.IPv4), lvs.Marked(1, lvs.IPv6)}
	for _, k := range keys {
		do(t, c, lvs.Change{Op: lvs.AddService, Service: lvs.NewService(k, "rr")})
	}
	for _, a := range []string{"10.9.0.3:80", "10.9.0.2:80", "10.9.0.4:80"} {
		do(t, c, lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: keys[0]},
			Destination: lvs.Destination{Addr: netip.MustParseAddrPort(a), Method: lvs.Gate, Weight: 1}})
	}
	s, err := c.State()
	must(t, err)
	if s[len(s)-1].Mark == 0 || s[len(s)-2].Mark == 0 {
		t.Errorf("the marks are not last: %v", s)
	}
	for _, svc := range s {
		t.Log(svc.Key)
		if svc.Key != keys[0] {
			continue
		}
		got := fmt.Sprint(svc.Destinations[0].Addr, svc.Destinations[1].Addr, svc.Destinations[2].Addr)
		if want := "10.9.0.4:80 10.9.0.2:80 10.9.0.3:80"; got != want {
			t.Errorf("destinations come as %s, want the newest first: %s", got, want)
		}
	}
}

// bulk is n changes, a tenth of which the kernel refuses, and the errno of each.
func bulk(n int) (cs []lvs.Change, errnos []syscall.Errno) {
	put := func(c lvs.Change, e syscall.Errno) { cs, errnos = append(cs, c), append(errnos, e) }
	for i := 0; len(cs) < n; i++ {
		k := lvs.At(lvs.TCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80))
		svc := lvs.NewService(k, "wlc")
		dst := lvs.Destination{Addr: netip.MustParseAddrPort("10.9.0.2:80"), Method: lvs.Gate, Weight: uint32(i)}
		put(lvs.Change{Op: lvs.AddService, Service: svc}, 0)
		put(lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst}, 0)
		dst.Weight++
		put(lvs.Change{Op: lvs.EditDestination, Service: svc, Destination: dst}, 0)
		if i%2 == 0 {
			continue
		}
		put(lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst}, unix.EEXIST)
		dst.Upper, dst.Lower = 1, 2
		put(lvs.Change{Op: lvs.EditDestination, Service: svc, Destination: dst}, unix.ERANGE)
		put(lvs.Change{Op: lvs.DeleteService, Service: svc}, 0)
		put(lvs.Change{Op: lvs.DeleteService, Service: svc}, unix.ESRCH)
		dst.Method = lvs.Bypass
		put(lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst}, unix.EINVAL)
	}
	return cs, errnos
}

func TestBatchGivesEachItsVerdict(t *testing.T) {
	newHost(t)
	c := open(t)
	cs, want := bulk(4000)
	for i, err := range c.Do(cs) {
		if errnoIn(err) != want[i] || (err == nil) != (want[i] == 0) {
			t.Fatalf("%v (change %d of %d): %v, want errno %d", cs[i], i, len(cs), err, want[i])
		}
	}
	s, err := c.State()
	must(t, err)
	services := 0
	for i, ch := range cs {
		if ch.Op == lvs.AddService && want[i] == 0 {
			services++
		}
		if ch.Op == lvs.DeleteService && want[i] == 0 {
			services--
		}
	}
	if len(s) != services {
		t.Fatalf("%d services are there, want %d", len(s), services)
	}
	for _, svc := range s {
		a := svc.Addr.Addr().As4()
		if want := uint32(a[2])<<8 + uint32(a[3]) + 1; len(svc.Destinations) != 1 || svc.Destinations[0].Weight != want {
			t.Fatalf("%v has %v, want one of weight %d", svc.Key, svc.Destinations, want)
		}
	}
}

// Every one of a full batch is refused: all refusals wait in the receive buffer.
func TestBatchOfRefusalsOnly(t *testing.T) {
	newHost(t)
	c := open(t)
	cs := make([]lvs.Change, 2*batchMessages+1)
	for i := range cs {
		cs[i] = lvs.Change{Op: lvs.DeleteService, Service: lvs.Service{Key: lvs.Marked(uint32(i+1), lvs.IPv4)}}
	}
	for i, err := range c.Do(cs) {
		if !errors.Is(err, lvs.ErrNoService) || errors.Is(err, ErrNoVerdict) {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	t.Logf("limits %+v", c.limits)
}

// A receive buffer that is too small, which the limits prevent, must not turn
// a refusal into a success.
func TestOverflowOfVerdicts(t *testing.T) {
	newHost(t)
	c := open(t)
	c.limits = limits{messages: batchMessages, bytes: batchBytes}
	must(t, unix.SetsockoptInt(c.conn.(*socket).fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10))
	cs := make([]lvs.Change, 500)
	for i := range cs {
		cs[i] = lvs.Change{Op: lvs.DeleteService, Service: lvs.Service{Key: lvs.Marked(uint32(i+1), lvs.IPv4)}}
	}
	known, lost := 0, 0
	for i, err := range c.Do(cs) {
		switch {
		case errors.Is(err, ErrNoVerdict):
			lost++
		case errors.Is(err, lvs.ErrNoService):
			known++
		default:
			t.Fatalf("change %d: %v", i, err)
		}
	}
	t.Logf("%d verdicts known, %d lost", known, lost)
	if known == 0 || lost == 0 {
		t.Error("the buffer did not overflow half-way, so this tests nothing")
	}
	do(t, c, lvs.Change{Op: lvs.Flush}) // the next request works again
}

// A conn renewed on another thread still speaks to the first namespace.
func TestRenewStaysInItsNamespace(t *testing.T) {
	newHost(t)
	c := open(t, OwnEncoderOnly())
	elsewhere := make(chan error)
	go func() {
		c.renew() // this goroutine's thread is not in the test's namespace
		elsewhere <- errors.Join(c.Do([]lvs.Change{{Op: lvs.AddService, Service: lvs.NewService(lvs.Marked(5, lvs.IPv4), "rr")}})...)
	}()
	must(t, <-elsewhere)
	if got := table(t, open(t)); got != "-A -f 5 -s rr\n" {
		t.Errorf("table is %q", got)
	}
}

func TestServiceStateOfNone(t *testing.T) {
	newHost(t)
	c := open(t)
	_, err := c.ServiceState(tcpKey("10.0.0.1:80"))
	var errno syscall.Errno
	if !errors.Is(err, lvs.ErrNoService) || !errors.As(err, &errno) || errno != unix.ESRCH {
		t.Errorf("%v is not ErrNoService with ESRCH", err)
	}
	s, err := c.State()
	if err != nil || len(s) != 0 {
		t.Errorf("an empty table reads %v, %v", s, err)
	}
}

func TestDaemons(t *testing.T) {
	newHost(t)
	c := open(t)
	group, group6 := netip.MustParseAddr("224.1.2.3"), netip.MustParseAddr("ff02::81")
	plain := lvs.Daemon{Role: lvs.Master, Interface: "eth0"}
	full := lvs.Daemon{Role: lvs.Backup, Interface: "eth0", SyncID: 255, MaxLen: 1400, Group: group, Port: 9000, TTL: 7}
	for _, step := range []struct {
		name  string
		do    func() error
		errno syscall.Errno
		want  string
	}{
		{"stop none", func() error { return c.StopDaemon(plain) }, unix.ESRCH, "[]"},
		{"unknown interface", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "nope0"}) }, unix.ENODEV, "[]"},
		{"unknown role", func() error { return c.StartDaemon(lvs.Daemon{Role: 3, Interface: "eth0"}) }, unix.EINVAL, "[]"},
		{"no interface", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master}) }, unix.ENODEV, "[]"},
		{"long interface", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "sixteen-bytes-xx"}) }, unix.EINVAL, "[]"},
		{"start", func() error { return c.StartDaemon(plain) }, 0, "[{master eth0 0 1472 224.0.0.81 8848 1}]"},
		{"start again", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", SyncID: 9}) }, unix.EEXIST, "[{master eth0 0 1472 224.0.0.81 8848 1}]"},
		{"start with all", func() error { return c.StartDaemon(full) }, 0, "[{master eth0 0 1472 224.0.0.81 8848 1} {backup eth0 255 1400 224.1.2.3 9000 7}]"},
		{"stop", func() error { return c.StopDaemon(plain) }, 0, "[{backup eth0 255 1400 224.1.2.3 9000 7}]"},
		{"stop backup by role alone", func() error { return c.StopDaemon(lvs.Daemon{Role: lvs.Backup}) }, 0, "[]"},
		{"IPv6 group", func() error {
			return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", Group: group6})
		}, 0, "[{master eth0 0 1452 ff02::81 8848 1}]"},
		{"stop IPv6", func() error { return c.StopDaemon(plain) }, 0, "[]"},
		{"group is not multicast", func() error {
			return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", Group: netip.MustParseAddr("10.0.0.1")})
		}, unix.EINVAL, "[]"},
		{"syncid 256", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", SyncID: 256}) }, unix.EINVAL, "[]"},
		{"largest maxlen", func() error { return c.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", MaxLen: 65507}) }, 0, "[{master eth0 0 65507 224.0.0.81 8848 1}]"},
		{"stop again", func() error { return c.StopDaemon(plain) }, 0, "[]"},
		{"mixed families", func() error {
			do(t, c, lvs.Change{Op: lvs.AddService, Service: lvs.NewService(tcpKey("[2001:db8::1]:80"), "rr")},
				lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: tcpKey("[2001:db8::1]:80")},
					Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.9.0.2:80"), Method: lvs.Tunnel, Weight: 1}})
			return c.StartDaemon(plain)
		}, unix.EINVAL, "[]"},
	} {
		err := step.do()
		var errno syscall.Errno
		errors.As(err, &errno)
		if errno != step.errno || (err == nil) != (errno == 0) {
			t.Errorf("%s: %v, want errno %d", step.name, err, step.errno)
		}
		list, err := c.Daemons()
		must(t, err)
		if list == nil {
			list = []lvs.Daemon{}
		}
		if got := fmt.Sprint(list); got != step.want {
			t.Errorf("%s: daemons are %s, want %s", step.name, got, step.want)
		}
	}
}

func TestTimeouts(t *testing.T) {
	newHost(t)
	c := open(t)
	for _, step := range []struct {
		set   lvs.Timeouts
		errno syscall.Errno
		want  lvs.Timeouts
	}{
		{lvs.Timeouts{}, 0, lvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}},
		{lvs.Timeouts{TCP: 1}, 0, lvs.Timeouts{TCP: 1, TCPFin: 120, UDP: 300}},
		{lvs.Timeouts{TCPFin: 2, UDP: 3}, 0, lvs.Timeouts{TCP: 1, TCPFin: 2, UDP: 3}},
		{lvs.Timeouts{TCP: 2678400, TCPFin: 2678400, UDP: 2678400}, 0, lvs.Timeouts{TCP: 2678400, TCPFin: 2678400, UDP: 2678400}},
		{lvs.Timeouts{TCP: 5, UDP: 1 << 31}, unix.EINVAL, lvs.Timeouts{TCP: 2678400, TCPFin: 2678400, UDP: 2678400}},
	} {
		err := c.SetTimeouts(step.set)
		var errno syscall.Errno
		errors.As(err, &errno)
		if errno != step.errno {
			t.Errorf("setting %v: %v, want errno %d", step.set, err, step.errno)
		}
		got, err := c.Timeouts()
		must(t, err)
		if got != step.want {
			t.Errorf("after %v they are %v, want %v", step.set, got, step.want)
		}
	}
}

func TestInfo(t *testing.T) {
	newHost(t)
	i, err := open(t).Info()
	must(t, err)
	if i.Version != 0x010201 || i.TableSize == 0 {
		t.Errorf("IPVS says %+v", i)
	}
}

// Traffic from the director to itself makes counters and connections.
func TestCountersAndConnections(t *testing.T) {
	newHost(t)
	c := open(t)
	k := udpKey("10.9.0.1:5060")
	svc := lvs.NewService(k, "rr")
	svc.Flags, svc.Timeout, svc.PE = lvs.Persistent, 60, "sip"
	server := netip.MustParseAddrPort("10.9.0.1:5070")
	do(t, c, lvs.Change{Op: lvs.AddService, Service: svc},
		lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: lvs.Destination{Addr: server, Method: lvs.Masq, Weight: 1}})
	from := sendUDP(t, "10.9.0.1:5060", "OPTIONS sip:x SIP/2.0\r\nCall-ID: first-call@x\r\n\r\n")

	s := counted(t, c, k)
	d := s.Destinations[0]
	if s.Stats.Conns != 1 || s.Stats.InPkts != 1 || s.Stats.InBytes < 50 || d.Stats.Conns != 1 {
		t.Errorf("counters are %+v and %+v", s.Stats, d.Stats)
	}
	if d.Inactive != 1 || d.Active != 0 || d.Persistent != 1 {
		t.Errorf("connections are %d active, %d inactive, %d persistent", d.Active, d.Inactive, d.Persistent)
	}
	var plain, template int
	for conn, err := range c.Connections() {
		must(t, err)
		t.Logf("%+v", conn)
		switch {
		case conn.Client == from && conn.Virtual == k.Addr && conn.Server == server && conn.Protocol == "UDP" && conn.State == "UDP" && conn.Expires > 0:
			plain++
		case conn.PE == "sip" && conn.Data != "" && conn.Server == server:
			template++
		}
	}
	if plain != 1 || template != 1 {
		t.Errorf("%d connections and %d templates, want one each", plain, template)
	}
	for _, scope := range []lvs.Service{svc, {}} {
		do(t, c, lvs.Change{Op: lvs.Zero, Service: scope})
		s, err := c.ServiceState(k)
		if err != nil || s.Stats.Conns != 0 || s.Destinations[0].Stats.InBytes != 0 {
			t.Errorf("zeroed counters are %+v (%v)", s, err)
		}
		sendUDP(t, "10.9.0.1:5060", "OPTIONS sip:x SIP/2.0\r\nCall-ID: second\r\n\r\n")
		if s = counted(t, c, k); s.Stats.Conns != 1 {
			t.Errorf("after zeroing and one packet %d connections are counted", s.Stats.Conns)
		}
	}
}

// counted waits for the kernel's estimator, which adds up every two seconds.
func counted(t *testing.T, c *Client, k lvs.Key) lvs.ServiceState {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s, err := c.ServiceState(k)
		must(t, err)
		if s.Stats.Conns != 0 && s.Destinations[0].Stats.Conns != 0 {
			return s
		}
	}
	t.Fatal("the kernel counted nothing in 30 s")
	return lvs.ServiceState{}
}

func sendUDP(t *testing.T, to, text string) netip.AddrPort {
	t.Helper()
	conn, err := net.Dial("udp", to)
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	must(t, err)
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A client stays in its namespace whichever thread uses it, through both
// sockets and the connection table.
func TestNamespacesStayApart(t *testing.T) {
	newHost(t)
	here := open(t)
	fd, err := unix.Open(threadNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	result := make(chan [3]string)
	go func() {
		defer close(result)
		runtime.LockOSThread()
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			return
		}
		there, err := Open()
		if err != nil {
			return
		}
		defer there.Close()
		named, err := Open(InNamespaceFD(fd))
		if err != nil {
			return
		}
		defer named.Close()
		add := func(c *Client, mark uint32, n int) {
			cs := make([]lvs.Change, n)
			for i := range cs {
				cs[i] = lvs.Change{Op: lvs.AddService, Service: lvs.NewService(lvs.Marked(mark+uint32(i), lvs.IPv4), "rr")}
			}
			c.Do(cs)
		}
		add(there, 100, 1)
		add(here, 1, 1) // moby's socket is opened here, for the other namespace
		add(named, 2, 1)
		add(named, 3, 10)
		for _, err := range named.Connections() {
			if err != nil {
				return
			}
		}
		add(there, 101, 10)
		if ok, err := isCurrent(fd); ok || err != nil {
			return
		}
		var r [3]string
		for i, c := range []*Client{here, named, there} {
			table, _ := c.Read()
			r[i] = fmt.Sprint(len(table), table[0].Key)
		}
		result <- r
	}()
	if got, want := <-result, [3]string{"12 FWM 1", "12 FWM 1", "11 FWM 100"}; got != want {
		t.Errorf("the tables are %q, want %q", got, want)
	}
	if here.moby.h == nil {
		t.Error("the single change did not go through moby/ipvs, so this tests only half")
	}
}

func TestOpenWithoutPrivilege(t *testing.T) {
	newHost(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	must(t, unix.Capset(&hdr, &none[0])) // of this thread, which ends with the test
	c, err := Open()
	var open *OpenError
	if c != nil || !errors.As(err, &open) || open.Errno != unix.EPERM || !errors.Is(err, lvs.ErrPermission) {
		t.Fatalf("%v is not an OpenError with EPERM", err)
	}
	t.Log(err)
}

func TestOpenInMissingNamespace(t *testing.T) {
	lab.Need(t)
	_, err := Open(InNamespace("/nonexistent"))
	if !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	t.Log(err)
}

// moby/ipvs would run whatever modprobe PATH has, and speak through logrus.
func TestMobyRunsNothing(t *testing.T) {
	if os.Getenv("KERNEL_TEST_CHILD") != "" {
		c := open(t)
		do(t, c, lvs.Change{Op: lvs.Flush})
		if c.moby.h == nil {
			t.Fatal("the change did not go through moby/ipvs")
		}
		return
	}
	lab.Need(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	must(t, os.WriteFile(filepath.Join(dir, "modprobe"), []byte("#!/bin/sh\n: >"+ran+"\nexit 1\n"), 0o755))
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestMobyRunsNothing$")
	cmd.Env = append(os.Environ(), "PATH="+dir, "KERNEL_TEST_CHILD=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "PASS\n" {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("moby/ipvs ran modprobe")
	}
}

// Two writers and a reader on one client, and a stranger who deletes what is
// being read.
func TestConcurrentUse(t *testing.T) {
	newHost(t)
	c, stranger := open(t), open(t)
	done := make(chan error, 3)
	churn := func(c *Client, base uint32) {
		for round := range 10 {
			for _, op := range []lvs.Op{lvs.AddService, lvs.DeleteService} {
				cs := make([]lvs.Change, 1+round*3)
				for i := range cs {
					cs[i] = lvs.Change{Op: op, Service: lvs.NewService(lvs.Marked(base+uint32(i), lvs.IPv4), "rr")}
				}
				if err := errors.Join(c.Do(cs)...); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}
	go churn(c, 1000)
	go churn(stranger, 2000)
	go func() {
		for range 20 {
			if _, err := c.State(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 3 {
		must(t, <-done)
	}
	if got := table(t, c); got != "" {
		t.Errorf("left over:\n%s", got)
	}
}

// thousand is a table of 1000 services with 5 destinations each.
func thousand() (t lvs.Table) {
	for i := range 1000 {
		k := lvs.At(lvs.TCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80))
		e := lvs.Entry{Service: lvs.NewService(k, "wlc")}
		for j := range 5 {
			e.Destinations = append(e.Destinations, lvs.Destination{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(j + 2)}), 80), Method: lvs.Gate, Weight: 1})
		}
		t = append(t, e)
	}
	return t
}

func BenchmarkInstallThousand(b *testing.B) {
	newHost(b)
	c := open(b)
	cs := install(thousand())
	for b.Loop() {
		do(b, c, cs...)
		b.StopTimer()
		do(b, c, lvs.Change{Op: lvs.Flush})
		b.StartTimer()
	}
}

func BenchmarkReadThousand(b *testing.B) {
	newHost(b)
	c := open(b)
	do(b, c, install(thousand())...)
	for b.Loop() {
		if s, err := c.State(); err != nil || len(s) != 1000 {
			b.Fatal(len(s), err)
		}
	}
}

// withoutDetails takes from a state what an outline does not tell.
func withoutDetails(s lvs.State, tunnels bool) lvs.State {
	out := make(lvs.State, len(s))
	for i, svc := range s {
		ds := make([]lvs.DestinationState, len(svc.Destinations))
		for j, d := range svc.Destinations {
			d.Upper, d.Lower, d.Persistent, d.Stats = 0, 0, 0, lvs.Stats{}
			if !tunnels {
				d.Tunnel = lvs.TunnelInfo{}
			}
			ds[j] = d
		}
		svc.Stats, svc.Destinations = lvs.Stats{}, ds
		out[i] = svc
	}
	return out
}

func seen(t *testing.T, v lvs.View) lvs.State {
	t.Helper()
	s := make(lvs.State, len(v.Services))
	for i, svc := range v.Services {
		ds, err := v.Destinations(i)
		must(t, err)
		svc.Destinations = append([]lvs.DestinationState{}, ds...)
		s[i] = svc
	}
	return s
}

// An outline is what netlink says, in the same order, and comes from the file.
func TestOutlineIsTheState(t *testing.T) {
	newHost(t)
	c := open(t)
	do(t, c, install(everything())...)
	do(t, c, lvs.Change{Op: lvs.AddService, Service: lvs.NewService(lvs.Marked(7, lvs.IPv4), "rr")},
		lvs.Change{Op: lvs.AddDestination, Service: lvs.Service{Key: lvs.Marked(7, lvs.IPv4)},
			Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.9.0.9:0"), Method: lvs.Gate, Weight: 9}})
	want, err := c.State()
	must(t, err)
	o, err := c.outline()
	must(t, err)
	for _, o.tunnels = range []bool{false, true} {
		v := lvs.View{Services: o.services, Destinations: func(i int) ([]lvs.DestinationState, error) { return c.outlined(o, i) }}
		if got, want := withoutDetails(seen(t, v), o.tunnels), withoutDetails(want, o.tunnels); !reflect.DeepEqual(got, want) {
			t.Errorf("with tunnels %v the outline is\n%v\nwant\n%v", o.tunnels, got, want)
		}
	}
}

// The kernel counts the services of all network namespaces when it prints the
// file and those of one when it goes on with the next page, so that beside
// another namespace's table the file skips services. Then netlink has to be asked.
func TestViewBesideAnotherNamespace(t *testing.T) {
	newHost(t)
	do(t, open(t), install(thousand()[:200])...)
	newHost(t)
	c := open(t)
	do(t, c, install(everything())...)
	do(t, c, install(thousand()[:200])...)
	if _, err := c.outline(); err == nil {
		t.Log("this kernel's file skips nothing")
	}
	want, err := c.State()
	must(t, err)
	for _, d := range []lvs.Detail{lvs.Full, lvs.Outline, lvs.OutlineAndTunnels} {
		v, err := c.View(d)
		must(t, err)
		if got, want := withoutDetails(seen(t, v), false), withoutDetails(want, false); !reflect.DeepEqual(got, want) {
			t.Errorf("detail %d: view is\n%v\nwant\n%v", d, got, want)
		}
	}
}

// A view reads destinations into small buffers first. Those of 60 fit a large one,
// those of 200 come in parts there too.
func TestViewOfManyDestinations(t *testing.T) {
	newHost(t)
	c := open(t)
	for i, n := range []int{3, 60, 200, 3} {
		svc := lvs.NewService(lvs.Marked(uint32(i+1), lvs.IPv4), "rr")
		cs := []lvs.Change{{Op: lvs.AddService, Service: svc}}
		for d := range n {
			cs = append(cs, lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: lvs.Destination{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), byte(d + 1)}), 80), Method: lvs.Gate, Weight: 1,
			}})
		}
		do(t, c, cs...)
	}
	want, err := c.State()
	must(t, err)
	for range 2 { // the second view begins where the first left its buffers
		v, err := c.View(lvs.Full)
		must(t, err)
		if got := seen(t, v); !reflect.DeepEqual(got, want) {
			t.Errorf("the view is\n%v\nwant\n%v", got, want)
		}
	}
}

// The file is that of the client's namespace, not of the thread that reads it.
func TestOutlineStaysInItsNamespace(t *testing.T) {
	newHost(t)
	c := open(t)
	do(t, c, install(everything())...)
	elsewhere := make(chan error)
	go func() {
		_, err := c.outline() // this goroutine's thread is not in the test's namespace
		elsewhere <- err
	}()
	must(t, <-elsewhere)
}

func BenchmarkViewThousand(b *testing.B) {
	newHost(b)
	c := open(b)
	do(b, c, install(thousand())...)
	for _, bb := range []struct {
		name string
		d    lvs.Detail
	}{{"full", lvs.Full}, {"outline", lvs.Outline}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v, err := c.View(bb.d)
				must(b, err)
				n := 0
				for i := range v.Services {
					ds, err := v.Destinations(i)
					must(b, err)
					n += len(ds)
				}
				if n != 5000 {
					b.Fatal(n)
				}
			}
		})
	}
}
