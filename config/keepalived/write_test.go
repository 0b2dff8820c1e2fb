package keepalived

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// TestWriteLosesNothing: what a file means can be written again.
func TestWriteLosesNothing(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	checked := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "-- input --\n")
		if !ok {
			continue
		}
		input, _, _ := strings.Cut(rest, "\n-- ")
		f, _ := Parse("f.conf", []byte(input), Options{})
		s := f.Site()
		var b strings.Builder
		if err := Write(&b, s); err != nil {
			t.Fatal(err)
		}
		again, problems := Parse("written.conf", []byte(b.String()), Options{})
		if config.Errors(problems) {
			t.Errorf("%s: what is written has errors: %v\n%s", path, problems, b.String())
		}
		if lost := config.Lost(s, again.Site()); len(lost) > 0 {
			for _, l := range lost {
				t.Errorf("%s: %v", filepath.Base(path), l)
			}
		}
		if len(s.Instances)+len(s.Virtuals) > 0 {
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d files were written", checked)
	}
}

// TestWriteChecks: what becomes of the checks of other dialects. A server is never left
// to wait for a check that is not there, and one that was looked at is looked at.
func TestWriteChecks(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.11:53")
	url := check.HTTP{Addr: at, Method: "GET", Target: "http://www.example.com/x?y", Receive: `say "hi"\d`}
	for _, c := range []struct {
		name  string
		m     ldirector.Member
		want  string // words that stand in what is written, in this order
		lost  string
		never string // a word that does not
	}{
		{"none", ldirector.Member{}, "real_server 10.0.0.11 53 {", "", "alpha"},
		{"nobody asks", checked(check.None{}), "real_server", "", "alpha"},
		{"always well", checked(check.On{}), "real_server", "", "alpha"},
		{"combined of nothing", checked(check.Combined{Negotiate: check.None{}, Connect: check.On{}, N: 2}), "real_server", "", "alpha"},
		{"combined", checked(check.Combined{Negotiate: check.None{}, Connect: check.Connect{Addr: at}, N: 2}), "alpha TCP_CHECK", "the check (combined) becomes another one (connect)", "HTTP"},
		{"a database", checked(check.MySQL{SQL: check.SQL{Addr: at}}), "alpha TCP_CHECK", "the check (mysql) becomes another one (connect)", "MISC"},
		{"radius", checked(check.RADIUS{Addr: at}), "alpha UDP_CHECK", "the check (radius) becomes another one (udp)", "TCP_"},
		{"assumed", ldirector.Member{AssumeUp: true, Checks: checked(check.Connect{Addr: at}).Checks}, "TCP_CHECK", "", "alpha"},
		{"off", ldirector.Member{Off: true}, "weight 0", "server 10.0.0.11:53 is kept out, and then is in with weight 0 in place of 3", "alpha"},
		{"a name", checked(check.DNS{Addr: at, Name: "www.example.com", Receive: "10"}), "alpha DNS_CHECK type A name www.example.com", `dns: receive "10" is lost`, "UDP_"},
		{"a name's address", checked(check.DNS{Addr: at, Name: "10.0.0.1"}), "alpha UDP_CHECK", "the check (dns) becomes another one (udp)", "DNS_"},
		{"a name over TCP", checked(check.DNS{Addr: at, Name: "a.b", TCP: true}), "alpha TCP_CHECK", "the check (dns) becomes another one (connect)", "DNS_"},
		{"another site's page", checked(url), `path /x?y virtualhost www.example.com regex "say \x22hi\x22\d"`, `http: target "http://www.example.com/x?y" is lost`, `"hi"`},
		{"a proxy", checked(check.HTTP{Addr: at, Target: "http://a.b/", Proxy: true}), "alpha TCP_CHECK", "the check (http) becomes another one (connect)", "HTTP_"},
		{"perl", checked(check.Program{Path: "/x.pl", Args: []string{"a"}, Perl: true}), `misc_path "/usr/bin/perl /x.pl a"`, "", "HTTP_"},
		{"several pages", checked(check.All{check.HTTP{Addr: at, Target: "/a"}, url}), "HTTP_GET url path /a url path /x?y", "the check (all) is not the same", "TCP_"},
	} {
		c.m.Destination = lvs.Destination{Addr: at, Weight: 3}
		v := ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.UDP, netip.MustParseAddrPort("10.0.0.1:53")), "rr"),
			Members: []ldirector.Member{c.m}, Policy: ldirector.Policy{CleanStop: true}}
		s := config.Site{Virtuals: []ldirector.Virtual{v}}
		var b strings.Builder
		if err := Write(&b, s); err != nil {
			t.Fatal(err)
		}
		f, problems := Parse("written", []byte(b.String()), Options{})
		if config.Errors(problems) {
			t.Errorf("%s: %v\n%s", c.name, problems, b.String())
		}
		rest, lost := b.String(), fmt.Sprint(config.Lost(s, f.Site()))
		for _, word := range strings.Fields(c.want) {
			_, after, found := strings.Cut(rest, word)
			if !found {
				t.Errorf("%s: there is no %q in\n%s", c.name, word, b.String())
			}
			rest = after
		}
		if strings.Contains(b.String(), c.never) {
			t.Errorf("%s: there is %q in\n%s", c.name, c.never, b.String())
		}
		if !strings.Contains(lost, c.lost) || c.lost == "" && lost != "[]" {
			t.Errorf("%s: lost %s, want %s", c.name, lost, c.lost)
		}
	}
}

func checked(p check.Probe) ldirector.Member {
	return ldirector.Member{Checks: []check.Spec{{ID: "x", Probe: p, Interval: 10 * time.Second, Timeout: 6 * time.Second, Fall: 1, Rise: 1}}}
}
