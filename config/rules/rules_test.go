package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// story is a file, what is said of it, and the site that it makes.
type story struct{ name, text, problems, rules string }

var stories = []story{
	{"saved", `-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1
-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 2 -x 9 -y 3
-A -f 7 -6 -s sh -b flag-1 -p 300
-a -f 7 -r [fd00::1]:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
`, "r:5: error: -a -f 7 -r [fd00::1]:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum: no such service; add the service in front of it, with -A\n",
		`-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1
-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 2 -x 9 -y 3
-A -f 7 -6 -s sh -p 300 -b sh-fallback
`},
	{"a life", `-A -t 10.0.0.1:80
-C
-A -t 10.0.0.2:80 -s rr
-a -t 10.0.0.2:80 -r 10.0.0.11
-e -t 10.0.0.2:80 -r 10.0.0.11 -w 5
-E -t 10.0.0.2:80 -s wrr
-A -u 10.0.0.2:53 -s rr
-D -u 10.0.0.2:53
-a -t 10.0.0.2:80 -r 10.0.0.12
-d -t 10.0.0.2:80 -r 10.0.0.12
`, "", "-A -t 10.0.0.2:80 -s wrr\n-a -t 10.0.0.2:80 -r 10.0.0.11:80 -g -w 5\n"},
	{"wrong", `-A -t 10.0.0.1:80 -s rr
-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.0.0.11
-a -t 10.0.0.1:80 -r 10.0.0.11
-d -t 10.0.0.1:80 -r 10.0.0.12
-a -t 10.0.0.9:80 -r 10.0.0.11
-L -n
-A -t web1:80 -s rr
-A -t 10.0.0.3:http -s rr  # a port has a name here
nonsense
`, `r:2: error: -A -t 10.0.0.1:80 -s rr: service already exists; line 1 adds it; -E changes a service
r:4: error: -a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1: destination already exists; line 3 adds it; -e changes a server
r:5: error: -d -t 10.0.0.1:80 -r 10.0.0.12:80: no such destination; add the server in front of it, with -a
r:6: error: -a -t 10.0.0.9:80 -r 10.0.0.11:80 -g -w 1: no such service; add the service in front of it, with -A
r:7: error: the command 'list' is no rule: only -A -E -D -a -e -d -C and -Z change the table
r:8: error: illegal virtual server address[:port] specified; names of hosts are not looked up here; write an address
r:10: error: no rule: there is no command in it; a rule begins with -A, -E, -D, -a, -e or -d
`, "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1\n-A -t 10.0.0.3:80 -s rr\n"},
	// The fourth tutorial's script, as printed.
	{"tutorial", `#! /bin/bash

ipvsadm -C

ipvsadm -A -t 192.168.0.254:80 -s rr

ipvsadm -a -t 192.168.0.254:80 -r 192.168.131.143:80 -g→指的是lk1 IP

ipvsadm -a -t 192.168.0.254:80 -r 192.168.131.147:80 -g→指的是web1 IP
`, `r:7: warning: "→指的是lk1 IP" is taken for a remark; write # in front of it
r:9: warning: "→指的是web1 IP" is taken for a remark; write # in front of it
`, `-A -t 192.168.0.254:80 -s rr
-a -t 192.168.0.254:80 -r 192.168.131.143:80 -g -w 1
-a -t 192.168.0.254:80 -r 192.168.131.147:80 -g -w 1
`},
	{"script", `#!/bin/sh
VIP=10.0.0.1
export RIP1="10.0.0.11"
IPVS=/sbin/ipvsadm
. /etc/rc.d/init.d/functions
case "$1" in
start)
	/sbin/ifconfig eth0:0 $VIP broadcast $VIP netmask 255.255.255.255 up
	/sbin/ipvsadm -C
	/sbin/ipvsadm -At $VIP:80 -s rr -p 600
	$IPVS -a -t ${VIP}:80 -r $RIP1:80 -g >/dev/null 2>&1
	$IPVS -a -t ${VIP}:80 -r $RIP2:80 -g
	/sbin/ipvsadm -L -n
	/sbin/ipvsadm
	;;
stop)
	/sbin/ipvsadm -C
esac
`, `r:5: warning: a shell script: its ipvsadm lines are read, 7 others from here on are not; loops and conditions are not followed; run the script and save the table with ipvsadm -S -n if it has any
r:12: error: the value of $RIP2 is not known, so the line is left out; write the value itself
`, "-A -t 10.0.0.1:80 -s rr -p 600\n-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1\n"},
}

func TestParse(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			site, problems := Parse("r", []byte(s.text), Options{})
			got := ""
			for _, p := range problems {
				got += fmt.Sprintf("%s:%d: %v: %s", p.File, p.Line, p.Severity, p.Text)
				if p.Hint != "" {
					got += "; " + p.Hint
				}
				got += "\n"
			}
			if got != s.problems {
				t.Errorf("problems\n%swant\n%s", got, s.problems)
			}
			if got := printed(t, site); got != s.rules {
				t.Errorf("rules\n%swant\n%s", got, s.rules)
			}
		})
	}
}

func printed(t *testing.T, s config.Site) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPlaces: a service and a server are where their last rule stands.
func TestPlaces(t *testing.T) {
	site, problems := Parse("r", []byte("-A -t 10.0.0.1:80\n\n-a -t 10.0.0.1:80 -r 10.0.0.2\n-e -t 10.0.0.1:80 -r 10.0.0.2 -w 3\n"), Options{})
	if len(problems) > 0 || len(site.Virtuals) != 1 || len(site.Virtuals[0].Members) != 1 {
		t.Fatal(problems, site)
	}
	v := site.Virtuals[0]
	if v.Source.Line != 1 || v.Members[0].Source.Line != 4 || v.Members[0].Name != "10.0.0.2:80" || v.Service.Scheduler != "wlc" {
		t.Errorf("%+v", v)
	}
}

// TestNames: with names, those of hosts are looked up.
func TestNames(t *testing.T) {
	site, problems := Parse("r", []byte("-A -t web1:www -s rr\n"), Options{Names: names{}})
	if len(problems) > 0 || site.Virtuals[0].Service.Addr != netip.MustParseAddrPort("10.0.0.7:80") {
		t.Error(problems, site)
	}
}

type names struct{}

func (names) Host(name string) (netip.Addr, bool) {
	return netip.MustParseAddr("10.0.0.7"), name == "web1"
}
func (names) Port(name string, _ lvs.Protocol) (uint16, bool) { return 80, name == "www" }
func (names) HostName(netip.Addr) (string, bool)              { return "", false }
func (names) PortName(uint16, lvs.Protocol) (string, bool)    { return "", false }

// TestLarge: ten thousand rules are read well under a second on an idle machine.
func TestLarge(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "-A -t 10.1.%d.%d:80 -s rr\n", i/250, i%250)
		for j := range 9 {
			fmt.Fprintf(&b, "-a -t 10.1.%d.%d:80 -r 10.2.%d.%d:80 -g -w 1\n", i/250, i%250, j, i%250)
		}
	}
	start := time.Now()
	site, problems := Parse("r", []byte(b.String()), Options{})
	if len(site.Virtuals) != 1000 || len(problems) > 0 {
		t.Fatal(len(site.Virtuals), problems)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%v", took)
	}
	if printed(t, site) != b.String() {
		t.Error("what is written is not what was read")
	}
}

// FuzzParse: nothing crashes, and rules without errors are read again as the same
// table.
func FuzzParse(f *testing.F) {
	for _, s := range stories {
		f.Add([]byte(s.text))
	}
	f.Add([]byte("-A -t 10.0.0.1:80 \x00#\n\x00\n")) // words that are empty
	f.Fuzz(func(t *testing.T, text []byte) {
		site, problems := Parse("r", text, Options{})
		if config.Errors(problems) {
			return
		}
		once := printed(t, site)
		again, problems := Parse("r", []byte(once), Options{})
		if config.Errors(problems) {
			t.Fatalf("%v of\n%s\nwritten for\n%s", problems, once, text)
		}
		if twice := printed(t, again); twice != once {
			t.Errorf("%q became %q", once, twice)
		}
		if lost := config.Lost(site, again); len(lost) > 0 {
			t.Errorf("%v of %s", lost, text)
		}
	})
}
