package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/config"
)

func TestAton(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "10": "0.0.0.10", "10.1": "10.0.0.1", "127.1": "127.0.0.1", "1.2.3": "1.2.0.3",
		"010.1": "8.0.0.1", "0x7f.1": "127.0.0.1", "300": "0.0.1.44", "0": "0.0.0.0", "4294967295": "255.255.255.255",
		"4294967296": "", "1.2.3.256": "", "256.1": "", "1.2.3.4.5": "", "": "", "a.b": "", "1..2": "", "08": "", "0x": "", "1.": "", "-1": "",
	} {
		a, ok := aton(in)
		got := ""
		if ok {
			got = a.String()
		}
		if got != want {
			t.Errorf("aton(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestServices: names are a matter of case, aliases count, and without a
// protocol the first entry is taken.
func TestServices(t *testing.T) {
	for _, c := range []struct {
		name, protocol string
		port           uint16
	}{
		{"http", "tcp", 80}, {"www", "tcp", 80}, {"www", "", 80}, {"domain", "udp", 53}, {"radius", "", 1812},
		{"HTTP", "tcp", 0}, {"http", "udp", 0}, {"nosuch", "", 0},
	} {
		port, err := fakeNames{}.Port(c.name, c.protocol)
		if port != c.port || (err == nil) != (c.port != 0) {
			t.Errorf("port of %s for %q: %d, %v", c.name, c.protocol, port, err)
		}
	}
}

// TestSystem looks up names that every host has.
func TestSystem(t *testing.T) {
	f, problems := Parse("f.cf", []byte("virtual=localhost:http\n\treal=localhost:domain masq\n"), Options{Resolver: System(context.Background())})
	v := f.Virtuals()
	if config.Errors(problems) || len(v) != 1 || v[0].Service.Addr.String() != "127.0.0.1:80" || v[0].Members[0].Name != "127.0.0.1:53" {
		t.Errorf("%v, %+v", problems, v)
	}
}

// TestTheReasonStaysTheSame: a name server that is not there gives one reason however
// often it is asked, and from whichever port.
func TestTheReasonStaysTheSame(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := socket.LocalAddr().String()
	socket.Close()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", nobody)
	}}
	asked, said := map[string]bool{}, map[string]bool{}
	for range 4 {
		_, err := r.LookupNetIP(t.Context(), "ip4", "web.example.")
		if err == nil {
			t.Fatal("somebody has answered")
		}
		asked[err.Error()], said[unknown(err).Error()] = true, true
	}
	if len(asked) < 2 || len(said) != 1 {
		t.Errorf("of %q it says %q", slices.Collect(maps.Keys(asked)), slices.Collect(maps.Keys(said)))
	}
	for want, err := range map[string]error{
		"no such host":                                    &net.DNSError{Err: "no such host", Name: "web", Server: "10.0.0.9:53", IsNotFound: true},
		"no name server has answered in time":             &net.DNSError{Err: "read udp 10.0.0.1:40123->10.0.0.9:53: i/o timeout", Name: "web", Server: "10.0.0.9:53", IsTimeout: true},
		"name server 10.0.0.9:53: server misbehaving":     &net.DNSError{Err: "server misbehaving", Name: "web", Server: "10.0.0.9:53", IsTemporary: true},
		"name server 10.0.0.9:53: network is unreachable": &net.DNSError{Err: "dial udp 10.0.0.9:53: connect: network is unreachable", Server: "10.0.0.9:53"},
		"something else":                                  errors.New("something else"),
	} {
		if got := unknown(err).Error(); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// countingNames counts what is asked.
type countingNames struct {
	fakeNames
	asked map[string]int
}

func (c countingNames) Port(name, protocol string) (uint16, error) {
	c.asked[name+"/"+protocol]++
	return c.fakeNames.Port(name, protocol)
}

// TestNamesAreAskedOnce: a file with one name a thousand times asks for it once.
func TestNamesAreAskedOnce(t *testing.T) {
	names := countingNames{asked: map[string]int{}}
	Parse("f.cf", []byte("virtual=7\n"+strings.Repeat("\treal=web1:http gate\n", 1000)), Options{Resolver: names})
	if fmt.Sprint(names.asked) != "map[http/:1]" {
		t.Errorf("asked for %v", names.asked)
	}
}

// TestRangesAreBounded: however many ranges a file has, its meaning fits into
// memory.
func TestRangesAreBounded(t *testing.T) {
	src := "virtual=7\n" + strings.Repeat("\treal=10.0.0.0->10.0.127.255:80 gate\n", 5) + "\treal=0.0.0.0->255.255.255.255 gate\n\tservice=http\n"
	f, problems := Parse("f.cf", []byte(src), Options{})
	if !config.Errors(problems) {
		t.Errorf("no error: %v", problems)
	}
	if n := len(f.Virtuals()[0].Members); n != 1<<15 {
		t.Errorf("%d members", n)
	}
}
