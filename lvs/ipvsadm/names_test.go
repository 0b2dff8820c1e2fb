package ipvsadm

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
)

const testServices = `# comment
ftp		21/tcp
http		80/tcp		www	# WorldWideWeb HTTP
https		443/tcp
https		443/udp
shell		514/tcp		cmd syslog
syslog		514/udp
amqp		5672/tcp
amqp		5672/sctp
www		8000/tcp
bad		99999/tcp
bad		x/tcp
bad
raw		7/ddp
`

const testHostsFile = `127.0.0.1	localhost
::1		localhost ip6-localhost
172.31.99.1 vip.example vip alias.example # the VIP
172.31.99.1 second.example
172.31.99.2 Mixed.Example
172.31.99.3 vip.example
fd99::1 six.example
nonsense host
10.0.0.1
`

func systemNames(t *testing.T) *SystemNames {
	t.Helper()
	dir := t.TempDir()
	n := &SystemNames{ServicesFile: filepath.Join(dir, "services"), HostsFile: filepath.Join(dir, "hosts")}
	for file, text := range map[string]string{n.ServicesFile: testServices, n.HostsFile: testHostsFile} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestPortNames(t *testing.T) {
	n := systemNames(t)
	for _, c := range []struct {
		name  string
		proto lvs.Protocol
		want  uint16
	}{
		{"http", lvs.TCP, 80}, {"www", lvs.TCP, 80}, {"http", lvs.UDP, 0}, {"HTTP", lvs.TCP, 0}, {"https", lvs.UDP, 443},
		{"syslog", lvs.TCP, 514}, {"syslog", lvs.UDP, 514}, {"cmd", lvs.TCP, 514}, {"amqp", lvs.SCTP, 5672}, {"amqp", lvs.UDP, 0},
		{"bad", lvs.TCP, 0}, {"raw", lvs.TCP, 0}, {"21/tcp", lvs.TCP, 0}, {"#", lvs.TCP, 0}, {"http", 0, 0},
	} {
		if got, ok := n.Port(c.name, c.proto); got != c.want || ok != (c.want != 0) {
			t.Errorf("port of %s/%v: %d, %v; want %d", c.name, c.proto, got, ok, c.want)
		}
	}
	for _, c := range []struct {
		port  uint16
		proto lvs.Protocol
		want  string
	}{
		{80, lvs.TCP, "http"}, {80, lvs.UDP, ""}, {514, lvs.TCP, "shell"}, {514, lvs.UDP, "syslog"}, {5672, lvs.SCTP, "amqp"}, {0, lvs.TCP, ""}, {80, 0, ""},
	} {
		if got, ok := n.PortName(c.port, c.proto); got != c.want || ok != (c.want != "") {
			t.Errorf("name of %d/%v: %q, %v; want %q", c.port, c.proto, got, ok, c.want)
		}
	}
}

func TestHostNamesFromTheHostsFile(t *testing.T) {
	n := systemNames(t)
	for name, want := range map[string]string{
		"localhost": "127.0.0.1", "VIP": "172.31.99.1", "alias.example": "172.31.99.1", "mixed.example": "172.31.99.2",
		"vip.example": "172.31.99.1", "second.example": "172.31.99.1",
	} {
		if got, ok := n.Host(name); !ok || got.String() != want {
			t.Errorf("address of %s: %v, %v; want %s", name, got, ok, want)
		}
	}
	for addr, want := range map[string]string{
		"127.0.0.1": "localhost", "::1": "localhost", "172.31.99.1": "vip.example", "172.31.99.2": "Mixed.Example", "fd99::1": "six.example",
	} {
		if got, ok := n.HostName(netip.MustParseAddr(addr)); !ok || got != want {
			t.Errorf("name of %s: %q, %v; want %s", addr, got, ok, want)
		}
	}
}

func TestWhatLooksLikeANumberIsNotAskedFor(t *testing.T) {
	for _, s := range []string{"", "10.0.0.256", "1.2.3.4.5", "....", "4294967296"} {
		if a, ok := readIPv4Host(s, askedFor{t}); ok {
			t.Errorf("%q is %v", s, a)
		}
	}
}

// askedFor fails when a name is looked up.
type askedFor struct{ t *testing.T }

func (a askedFor) Host(name string) (netip.Addr, bool) {
	a.t.Errorf("asked for the host %q", name)
	return netip.Addr{}, false
}
func (a askedFor) Port(name string, _ lvs.Protocol) (uint16, bool) {
	a.t.Errorf("asked for the port %q", name)
	return 0, false
}
func (a askedFor) HostName(addr netip.Addr) (string, bool) {
	a.t.Errorf("asked for the name of %v", addr)
	return "", false
}
func (a askedFor) PortName(p uint16, _ lvs.Protocol) (string, bool) {
	a.t.Errorf("asked for the name of port %d", p)
	return "", false
}

func TestNumericLinesAskForNoName(t *testing.T) {
	for _, args := range [][]string{
		{"-A", "-t", "10.0.0.1:80"}, {"-a", "-t", "[fd00::1]:80", "-r", "[fd00::2]:80"}, {"-d", "-u", "10.0.0.1:53", "-r", "10.0.0.2:53"},
		{"-A", "-t", "10.0.0.1:80", "-p", "-M", "255.255.255.0"}, {"-A", "-t", "10.0.0.1:65536"},
	} {
		if _, err := Parse(args, numericPorts{askedFor{t}}); err != nil && args[2] != "10.0.0.1:65536" {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// numericPorts lets a port that is out of range be asked for, as the peer does.
type numericPorts struct{ askedFor }

func (numericPorts) Port(string, lvs.Protocol) (uint16, bool) { return 0, false }

// counting counts how often it is asked for a host.
type counting struct {
	Names
	asked int
}

func (c *counting) HostName(netip.Addr) (string, bool) {
	c.asked++
	return "", false
}

func TestAListingAsksOnceForAHost(t *testing.T) {
	names := &counting{Names: noNames{}}
	l := lister{printer: &printer{names: &cached{Names: names}}}
	st := bigState(3, 2)
	for i := range st {
		st[i].Destinations[0].Addr = netip.MustParseAddrPort("192.0.2.1:80")
	}
	l.table(st.View())
	if names.asked != 3+3+1 {
		t.Errorf("asked %d times for 7 hosts", names.asked)
	}
}
