package ipvsadm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// refusing is a kernel that answers everything with one errno.
type refusing struct {
	*lvstest.Kernel
	errno syscall.Errno
}

func (r refusing) Do(cs []lvs.Change) []error {
	errs := make([]error, len(cs))
	for i, c := range cs {
		errs[i] = lvs.Refused(c, r.errno)
	}
	return errs
}
func (r refusing) State() (lvs.State, error) { return nil, r.errno }
func (r refusing) ServiceState(lvs.Key) (lvs.ServiceState, error) {
	return lvs.ServiceState{}, r.errno
}
func (r refusing) Timeouts() (lvs.Timeouts, error) { return lvs.Timeouts{}, r.errno }
func (r refusing) SetTimeouts(lvs.Timeouts) error  { return r.errno }
func (r refusing) Daemons() ([]lvs.Daemon, error)  { return nil, r.errno }
func (r refusing) StartDaemon(lvs.Daemon) error    { return r.errno }
func (r refusing) StopDaemon(lvs.Daemon) error     { return r.errno }

const invalid = "Invalid operation.  Possibly wrong module version, address not unicast, ..."

func TestKernelRefusalsInThePeersWords(t *testing.T) {
	lines := []string{
		"-A -t 10.0.0.1:80", "-E -t 10.0.0.1:80", "-D -t 10.0.0.1:80", "-Z", "-C",
		"-a -t 10.0.0.1:80 -r 10.0.0.2", "-e -t 10.0.0.1:80 -r 10.0.0.2", "-d -t 10.0.0.1:80 -r 10.0.0.2",
		"-L -t 10.0.0.1:80", "-L", "-S", "--set 1 2 3", "--start-daemon master", "--stop-daemon master",
		"-L --timeout", "-L --daemon",
	}
	special := map[string]map[syscall.Errno]string{
		"-A":             {syscall.EEXIST: "Service already exists", syscall.ENOENT: "Scheduler or persistence engine not found"},
		"-E":             {syscall.ESRCH: "No such service", syscall.ENOENT: "Scheduler or persistence engine not found"},
		"-D":             {syscall.ESRCH: "No such service"},
		"-Z":             {syscall.ESRCH: "No such service"},
		"-L":             {syscall.ESRCH: "No such service"},
		"-S":             {syscall.ESRCH: "No such service"},
		"-a":             {syscall.ESRCH: "Service not defined", syscall.EEXIST: "Destination already exists"},
		"-e":             {syscall.ESRCH: "Service not defined", syscall.ENOENT: "No such destination"},
		"-d":             {syscall.ESRCH: "Service not defined", syscall.ENOENT: "No such destination"},
		"--start-daemon": {syscall.EEXIST: "Daemon has already run"},
		"--stop-daemon":  {syscall.ESRCH: "No daemon is running"},
	}
	general := map[syscall.Errno]string{
		syscall.EPERM: "Permission denied (you must be root)", syscall.EINVAL: invalid,
		syscall.ENOPROTOOPT: "Protocol not available", syscall.ENOMEM: "Memory allocation problem",
		syscall.EOPNOTSUPP: "Operation not supported with IPv6", syscall.EAFNOSUPPORT: "Operation not supported with specified address family",
		syscall.EMSGSIZE: "Module is wrong version", syscall.ENODEV: "No such device", syscall.ERANGE: "Numerical result out of range",
		syscall.ESRCH: "No such process", syscall.EEXIST: "File exists", syscall.ENOENT: "No such file or directory", syscall.EBUSY: "Device or resource busy",
	}
	for _, line := range lines {
		for errno, want := range general {
			args := strings.Fields(line)
			if text, ok := special[args[0]][errno]; ok {
				want = text
			}
			var out, errs bytes.Buffer
			status := program(refusing{lvstest.New(), errno}, "", &out, &errs).Run(args)
			wantStatus := 255
			if args[0] == "-L" || args[0] == "-S" {
				wantStatus = 1
			}
			first, rest, _ := strings.Cut(errs.String(), "\n")
			if first != want || status != wantStatus || out.Len() > 0 {
				t.Errorf("%s with %v: status %d, %q, %q; want %d, %q", line, errno, status, errs.String(), out.String(), wantStatus, want)
			}
			if hinted := strings.HasPrefix(rest, "hint: "); hinted != (errno == syscall.EPERM) {
				t.Errorf("%s with %v: after the first line: %q", line, errno, rest)
			}
		}
	}
}

func TestWithoutIPVS(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
		hint   string
	}{
		{syscall.ENOENT, "Protocol not available", "modprobe ip_vs"},
		{syscall.EPERM, "Permission denied (you must be root)", "CAP_NET_ADMIN"},
		{errors.New("no netlink here"), "no netlink here", ""},
	} {
		var out, errs bytes.Buffer
		p := program(nil, "", &out, &errs)
		p.Open = func() (ipvsadm.Kernel, error) { return nil, c.err }
		for _, line := range []string{"", "-Q", "-A", "-L"} {
			errs.Reset()
			if status := p.Run(strings.Fields(line)); status != 2 {
				t.Errorf("%v: ipvsadm %s: exit status %d", c.err, line, status)
			}
			want := "Can't initialize ipvs: " + c.reason + "\nAre you sure that IP Virtual Server is built in the kernel or as module?\n"
			rest, ok := strings.CutPrefix(errs.String(), want)
			if !ok || !strings.Contains(rest, c.hint) || (rest == "") != (c.hint == "") {
				t.Errorf("%v: ipvsadm %s: %q", c.err, line, errs.String())
			}
		}
		for _, line := range []string{"-h", "--version", "word -h"} {
			out.Reset()
			if status := p.Run(strings.Fields(line)); status != 0 || !strings.HasPrefix(out.String(), "ipvsadm v1.31 ") {
				t.Errorf("ipvsadm %s: exit status %d, %q", line, status, out.String())
			}
		}
	}
}

type badWriter struct{ err error }

func (w badWriter) Write([]byte) (int, error) { return 0, w.err }

func TestOutputThatDoesNotArriveIsReported(t *testing.T) {
	for _, args := range [][]string{{"-L"}, {"-S"}, {"-h"}, {"-L", "--timeout"}, {"-L", "--json"}} {
		var errs bytes.Buffer
		p := program(lvstest.New(lvs.Entry{Service: lvs.NewService(lvs.Marked(1, lvs.IPv4), "rr")}), "", nil, &errs)
		p.Stdout = badWriter{syscall.ENOSPC}
		if status := p.Run(args); status != 1 || errs.String() != "ipvsadm: writing the output: no space left on device\n" {
			t.Errorf("%s: exit status %d, %q", args, status, errs.String())
		}
	}
}

type closing struct {
	*lvstest.Kernel
	closed int
}

func (c *closing) Close() error { c.closed++; return nil }

func TestKernelIsClosed(t *testing.T) {
	k := &closing{Kernel: lvstest.New()}
	program(k, "", new(bytes.Buffer), new(bytes.Buffer)).Run([]string{"-Q"})
	if k.closed != 1 {
		t.Errorf("closed %d times", k.closed)
	}
}

// lineless is a kernel whose connection table cannot be read, at once or later.
type lineless struct {
	*lvstest.Kernel
	err   error
	after int
}

func (l lineless) Connections() iter.Seq2[lvs.Connection, error] {
	return func(yield func(lvs.Connection, error) bool) {
		for range l.after {
			if !yield(connection, nil) {
				return
			}
		}
		yield(lvs.Connection{}, l.err)
	}
}

var connection = lvs.Connection{
	Protocol: "UDP", Client: netip.MustParseAddrPort("10.1.0.1:3000"), Virtual: netip.MustParseAddrPort("10.9.9.9:53"),
	Server: netip.MustParseAddrPort("10.2.0.1:53"), State: "UDP", Expires: 61 * time.Second,
}

func TestConnectionsThatCannotBeRead(t *testing.T) {
	missing := &os.PathError{Op: "open", Path: "/proc/net/ip_vs_conn", Err: syscall.ENOENT}
	for _, c := range []struct {
		args      string
		k         lineless
		out, errs string
	}{
		{"-L -c", lineless{err: missing}, "", "cannot open file /proc/net/ip_vs_conn\n"},
		{"-L -c --json", lineless{err: missing}, "", "cannot open file /proc/net/ip_vs_conn\n"},
		{"-L -n -c", lineless{err: errors.New("line 3 is no connection"), after: 1},
			"IPVS connection entries\npro expire state       source             virtual            destination\nUDP 01:01  UDP         10.1.0.1:3000      10.9.9.9:53        10.2.0.1:53\n",
			"line 3 is no connection\n"},
	} {
		var out, errs bytes.Buffer
		c.k.Kernel = lvstest.New()
		status := program(c.k, "", &out, &errs).Run(strings.Fields(c.args))
		first, _, _ := strings.Cut(errs.String(), "\nhint")
		if status != 1 || out.String() != c.out || strings.TrimSuffix(first, "\n")+"\n" != c.errs {
			t.Errorf("%s: exit status %d\n%q\n%q", c.args, status, out.String(), errs.String())
		}
	}
}

// full is a kernel with one of everything.
func full() *lvstest.Kernel {
	web := lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.1:80")), "sh")
	web.Flags, web.Timeout, web.Netmask, web.PE = lvs.Persistent|lvs.Sched2|lvs.Sched3, 60, 0xffffff00, "sip"
	server := lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Method: lvs.Tunnel, Weight: 3, Upper: 9, Lower: 4,
		Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelRemCsum}}
	six := lvs.NewService(lvs.Marked(7, lvs.IPv6), "wlc")
	six.Flags, six.Timeout, six.Netmask = lvs.Persistent|lvs.OnePacket, 5, 64
	k := lvstest.New(lvs.Entry{Service: web, Destinations: []lvs.Destination{server}}, lvs.Entry{Service: six})
	k.Count(web.Key, lvs.Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 5, CPS: 6, InPPS: 7, OutPPS: 8, InBPS: 9, OutBPS: 1 << 60})
	k.CountDestination(web.Key, lvs.DestinationState{Destination: server, Active: 11, Inactive: 12, Persistent: 13, Stats: lvs.Stats{Conns: 14}})
	with := connection
	with.PE, with.Data = "sip", "call \"1\""
	k.Connect(connection, with)
	k.StartDaemon(lvs.Daemon{Role: lvs.Master, Interface: "eth0", SyncID: 5})
	return k
}

func TestJSON(t *testing.T) {
	for _, args := range []string{"-L", "-L -t 10.0.0.1:80", "-L -c", "-L --timeout", "-L --daemon"} {
		var out, errs bytes.Buffer
		if status := program(full(), "", &out, &errs).Run(append(strings.Fields(args), "--json")); status != 0 {
			t.Errorf("%s: exit status %d: %s", args, status, errs.String())
		}
		name := "testdata/json/" + strings.NewReplacer(" ", "", "10.0.0.1:80", "", "-", "").Replace(args) + ".json"
		if !json.Valid(out.Bytes()) {
			t.Errorf("%s: not JSON:\n%s", args, out.String())
		}
		golden(t, name, out.String())
	}
	var out bytes.Buffer
	program(lvstest.New(), "", &out, new(bytes.Buffer)).Run([]string{"-L", "-c", "--json"})
	if !json.Valid(out.Bytes()) {
		t.Errorf("no connections: not JSON:\n%s", out.String())
	}
}

// golden compares with a file, or writes it when UPDATE_GOLDEN is set.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s", name, difference(got, string(want)))
	}
}

// Every key that the JSON has is in its manual.
func TestJSONManualNamesEveryKey(t *testing.T) {
	manual, err := os.ReadFile("../../docs/ipvsadm-json.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"-L", "-L -c", "-L --timeout", "-L --daemon"} {
		var out bytes.Buffer
		program(full(), "", &out, new(bytes.Buffer)).Run(append(strings.Fields(args), "--json"))
		for _, key := range regexp.MustCompile(`"([a-z_0-9]+)":`).FindAllStringSubmatch(out.String(), -1) {
			if !strings.Contains(string(manual), "`"+key[1]+"`") {
				t.Errorf("%s: the manual does not explain %q", args, key[1])
			}
		}
	}
}
