package ipvsadm_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

func TestLine(t *testing.T) {
	web := lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.1:80"))
	s := lvs.NewService(web, "wlc")
	six := lvs.NewService(lvs.Marked(7, lvs.IPv6), "sh")
	six.Flags, six.Timeout, six.Netmask = lvs.Persistent|lvs.Sched1|lvs.Sched3, 60, 64
	dns := lvs.NewService(lvs.At(lvs.UDP, netip.MustParseAddrPort("[fd00::1]:53")), "rr")
	dns.Flags, dns.PE = lvs.OnePacket, "sip"
	d := lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Method: lvs.Gate, Weight: 1}
	gue := lvs.Destination{Addr: netip.MustParseAddrPort("[fd00::2]:80"), Method: lvs.Tunnel, Weight: 5, Upper: 9, Lower: 3,
		Tunnel: lvs.TunnelInfo{Type: lvs.GUE, Port: 6080, Flags: lvs.TunnelCsum}}
	for _, c := range []struct {
		change lvs.Change
		want   string
	}{
		{lvs.Change{Op: lvs.AddService, Service: s}, "-A -t 10.0.0.1:80 -s wlc"},
		{lvs.Change{Op: lvs.EditService, Service: six}, "-E -f 7 -6 -s sh -p 60 -M 64 -b sh-fallback,flag-3"},
		{lvs.Change{Op: lvs.AddService, Service: dns}, "-A -u [fd00::1]:53 -s rr --pe sip -o"},
		{lvs.Change{Op: lvs.DeleteService, Service: s}, "-D -t 10.0.0.1:80"},
		{lvs.Change{Op: lvs.AddDestination, Service: s, Destination: d}, "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{lvs.Change{Op: lvs.EditDestination, Service: s, Destination: gue}, "-e -t 10.0.0.1:80 -r [fd00::2]:80 -i -w 5 --tun-type gue --tun-port 6080 --tun-csum -x 9 -y 3"},
		{lvs.Change{Op: lvs.DeleteDestination, Service: s, Destination: d}, "-d -t 10.0.0.1:80 -r 10.0.0.2:80"},
		{lvs.Change{Op: lvs.Flush}, "-C"},
		{lvs.Change{Op: lvs.Zero}, "-Z"},
		{lvs.Change{Op: lvs.Zero, Service: six}, "-Z -f 7 -6"},
	} {
		if got := ipvsadm.Line(c.change); got != c.want {
			t.Errorf("%v: %q, want %q", c.change, got, c.want)
		}
	}
}

// What Save writes, ParseRules reads, and folding it gives the table again.
func TestSavedRulesMakeTheSameTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		table := sayable(lvstest.Random(rng))
		var text strings.Builder
		if err := ipvsadm.Save(&text, table); err != nil {
			t.Fatal(err)
		}
		rules, problems := ipvsadm.ParseRules("saved", strings.NewReader(text.String()), testNames{})
		if len(problems) > 0 {
			t.Fatalf("%v in\n%s", problems, text.String())
		}
		got, errs := lvs.Table{}.Fold(changes(rules))
		for i, err := range errs {
			if err != nil {
				t.Fatalf("line %d: %v in\n%s", rules[i].Line, err, text.String())
			}
		}
		if len(got) != 0 && !reflect.DeepEqual(normal(got), normal(table)) {
			t.Fatalf("\n%s\nmakes %+v\nnot   %+v", text.String(), got, table)
		}
	}
}

// sayable gives servers that are not reached by -m the port of their service:
// the language cannot say anything else.
func sayable(t lvs.Table) lvs.Table {
	for i, e := range t {
		var cs []lvs.Change
		for _, d := range e.Destinations {
			if d.Method != lvs.Masq && e.Mark == 0 {
				d.Addr = netip.AddrPortFrom(d.Addr.Addr(), e.Addr.Port())
			}
			cs = append(cs, lvs.Change{Op: lvs.AddDestination, Service: e.Service, Destination: d})
		}
		one, _ := lvs.Table{{Service: e.Service}}.Fold(cs) // drops those that are now there twice
		t[i] = one[0]
	}
	return t
}

func changes(rules []ipvsadm.Rule) []lvs.Change {
	cs := make([]lvs.Change, len(rules))
	for i, r := range rules {
		cs[i] = r.Change
	}
	return cs
}

// normal has no difference between no destinations and a list of none.
func normal(t lvs.Table) lvs.Table {
	for i := range t {
		if len(t[i].Destinations) == 0 {
			t[i].Destinations = nil
		}
	}
	return t
}

func TestParseRulesKeepsLineNumbersAndGoesOn(t *testing.T) {
	text := "# web\n-A -t 10.0.0.1:80 -s rr # round robin\n\n  # more\nipvsadm -a -t 10.0.0.1:80 -r 10.0.0.2\n" +
		"-A -t 10.0.0.1:99999\n-Ln\n-X\n-a -t 10.0.0.1:80 -r 10.0.0.3 --bogus\n-d -t 10.0.0.1:80 -r 10.0.0.2:80"
	rules, problems := ipvsadm.ParseRules("web.rules", strings.NewReader(text), testNames{})
	var got []string
	for _, r := range rules {
		got = append(got, strings.Repeat("-", r.Line)+ipvsadm.Line(r.Change))
	}
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		"---A -t 10.0.0.1:80 -s rr",
		"------a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1",
		"-----------d -t 10.0.0.1:80 -r 10.0.0.2:80",
		"web.rules:6: illegal virtual server address[:port] specified",
		"web.rules:7: the command 'list' is no rule: only -A -E -D -a -e -d -C and -Z change the table",
		"web.rules:8: Try `ipvsadm -h' or 'ipvsadm --help' for more information.",
		"web.rules:9: --bogus: unknown option",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseRulesRefusesAnEndlessLine(t *testing.T) {
	_, problems := ipvsadm.ParseRules("f", strings.NewReader("-C\n"+strings.Repeat("x", 3<<20)), testNames{})
	if len(problems) != 1 || problems[0].String() != "f:2: line 2 is longer than 1048576 bytes: split it" {
		t.Errorf("problems %v", problems)
	}
}
