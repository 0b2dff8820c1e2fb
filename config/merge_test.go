package config_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/heartbeat"
	"github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/config/rules"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

func fromRules(t *testing.T, name, text string) config.Site {
	t.Helper()
	s, problems := rules.Parse(name, []byte(text), rules.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

func fromKeepalived(name, text string) config.Site {
	f, _ := keepalived.Parse(name, []byte(text), keepalived.Options{})
	return f.Site()
}

func fromLdirectord(name, text string) config.Site {
	f, _ := ldirectord.Parse(name, []byte(text), ldirectord.Options{})
	return f.Site()
}

const (
	table = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 1\n-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 1\n"
	cf    = "virtual=10.0.0.1:80\n\treal=10.0.0.11:80 gate\n\treal=10.0.0.12:80 gate\n\tscheduler=rr\n\tchecktype=connect\n"
	conf  = "vrrp_script c {\nscript \"/bin/true\"\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.0.0.1\n}\ntrack_script {\nc\n}\n}\n"
)

func texts(ps []config.Problem) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// TestMergeAgrees: what two files say alike is there once, and the one that says
// more counts.
func TestMergeAgrees(t *testing.T) {
	for _, order := range [][]config.Site{
		{fromRules(t, "r", table), fromLdirectord("l", cf), fromKeepalived("k", conf), fromKeepalived("k2", conf)},
		{fromKeepalived("k", conf), fromLdirectord("l", cf), fromRules(t, "r", table)},
	} {
		s, problems := config.Merge(order...)
		if len(problems) > 0 {
			t.Errorf("%v", problems)
		}
		if len(s.Virtuals) != 1 || len(s.Instances) != 1 || len(s.Scripts) != 1 {
			t.Fatalf("%d services, %d instances, %d scripts", len(s.Virtuals), len(s.Instances), len(s.Scripts))
		}
		if len(s.Virtuals[0].Members[0].Checks) != 1 {
			t.Error("the service without checks was kept")
		}
	}
}

// TestMergeContradicts: each contradiction names both places.
func TestMergeContradicts(t *testing.T) {
	change := func(s, was, is string) string { return strings.Replace(s, was, is, 1) }
	const hint = "; say it in one of the two, or the same in both\n"
	for _, c := range []struct{ other, want string }{
		{change(table, "rr", "wlc"), "r:1: TCP 10.0.0.1:80: scheduler wlc here, rr there; the other place is l:1" + hint},
		{change(table, "-s rr", "-s rr -p 60"), "r:1: TCP 10.0.0.1:80: persistence 60 s here, 0 s there; the other place is l:1" + hint},
		{change(table, "-s rr", "-s rr -b flag-1"), "r:1: TCP 10.0.0.1:80: flags, netmask or persistence engine differ; the other place is l:1" + hint},
		{change(table, "-w 1", "-w 4"), "r:1: TCP 10.0.0.1:80: server 10.0.0.11:80 has weight 4 here, 1 there; the other place is l:1" + hint},
		{change(table, "-g -w 1", "-m -w 1"), "r:1: TCP 10.0.0.1:80: server 10.0.0.11:80 by masq here, by gate there; the other place is l:1" + hint},
		{change(table, "-w 1", "-w 1 -x 9"), "r:1: TCP 10.0.0.1:80: server 10.0.0.11:80 differs in thresholds or tunnel; the other place is l:1" + hint},
		{table + "-a -t 10.0.0.1:80 -r 10.0.0.13:80 -g -w 1\n", "r:1: TCP 10.0.0.1:80: server 10.0.0.13:80 is here only; the other place is l:1" + hint},
		{change(table, "-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 1\n", ""), "r:1: TCP 10.0.0.1:80: server 10.0.0.12:80 is there only; the other place is l:1" + hint},
	} {
		s, problems := config.Merge(fromLdirectord("l", cf), fromRules(t, "r", c.other))
		if got := texts(problems); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
		if !config.Errors(problems) || len(s.Virtuals) != 1 || s.Virtuals[0].Source.File != "l" {
			t.Errorf("the later one counts: %v", s.Virtuals)
		}
	}
	_, problems := config.Merge(fromKeepalived("k", conf), fromKeepalived("k2", change(change(conf, "_id 7", "_id 8"), "/bin/true", "/bin/false")))
	if got, want := texts(problems), "k2:4: instance V is another one at k:4"+hint+"k2:1: script c is another one at k:1"+hint; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	a, b := config.Site{Timeouts: lvs.Timeouts{TCP: 1}}, config.Site{Timeouts: lvs.Timeouts{TCP: 2}}
	if _, problems := config.Merge(a, b); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

// TestMergeFollows: a service that two files have is wanted wherever one of them
// wants it.
func TestMergeFollows(t *testing.T) {
	const said = "a:1: TCP 10.0.0.1:80: it does not follow n1 or n2: b:1 has it, too, and follows nobody; say it in one of the two\n"
	for _, tt := range []struct {
		a, b           []string
		want, problems string
	}{
		{nil, nil, "[]", ""},
		{[]string{"n1"}, []string{"n1"}, "[n1]", ""},
		{[]string{"n2"}, []string{"n1"}, "[n1 n2]", ""},
		{[]string{"n1", "n2"}, nil, "[]", said},
	} {
		a, b := fromLdirectord("a", cf), fromRules(t, "b", table)
		a.Virtuals[0].Gates, b.Virtuals[0].Gates = tt.a, tt.b
		for _, order := range [][]config.Site{{a, b}, {b, a}} {
			s, problems := config.Merge(order...)
			if got := fmt.Sprint(s.Virtuals[0].Gates); got != tt.want || texts(problems) != tt.problems || config.Errors(problems) {
				t.Errorf("%v and %v: %s, %s", tt.a, tt.b, got, texts(problems))
			}
		}
	}
}

// TestOnMasters: a service is where its address is.
func TestOnMasters(t *testing.T) {
	at := func(addr string, gates ...string) ldirector.Virtual {
		return ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort(addr)), "rr"), Gates: gates}
	}
	in := func(name string, addrs ...string) config.Instance {
		i := config.Instance{Instance: vrrp.Instance{Name: name}}
		for _, a := range addrs {
			i.Addresses = append(i.Addresses, config.Address{Prefix: netip.MustParsePrefix(a)})
		}
		return i
	}
	site := config.Site{
		Instances: []config.Instance{in("A", "10.0.0.1/24", "10.0.0.9/32"), in("B", "10.0.0.2/24", "fd00::2/64", "10.0.0.9/24")},
		Virtuals: []ldirector.Virtual{at("10.0.0.1:80"), at("10.0.0.2:80"), at("[fd00::2]:80"), at("10.0.0.9:80"), at("10.0.0.3:80"),
			{Service: lvs.NewService(lvs.Marked(7, lvs.IPv4), "rr")}, at("10.0.0.1:81", "B")},
	}
	follows := func(s config.Site) string {
		var all []string
		for _, v := range s.Virtuals {
			all = append(all, strings.Join(v.Gates, "+"))
		}
		return strings.Join(all, " ")
	}
	if got, want := follows(site.OnMasters()), "A B B A+B A+B A+B B"; got != want {
		t.Errorf("follow %s, want %s", got, want)
	}
	masters := site.OnMasters()
	if got := fmt.Sprint(masters.Followed()); got != "[A B]" {
		t.Errorf("followed: %s", got)
	}
	if got := follows(masters.Everywhere()); got != "      " {
		t.Errorf("everywhere: %q", got)
	}
	if got := follows(site); got != "      B" {
		t.Errorf("the site itself has changed: %q", got)
	}
}

// TestTable: with all servers well each is in with its weight, and the fallback
// is not.
func TestTable(t *testing.T) {
	s := fromLdirectord("l", "virtual=10.0.0.1:80\n\treal=10.0.0.11:80 gate 5\n\treal=10.0.0.12:80 gate\n\tfallback=127.0.0.1:80\n\tscheduler=rr\n\tchecktype=connect\n")
	var b strings.Builder
	if err := rules.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	if want := "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.11:80 -g -w 5\n-a -t 10.0.0.1:80 -r 10.0.0.12:80 -g -w 1\n"; b.String() != want {
		t.Errorf("%s", b.String())
	}
	if len(s.Virtuals[0].Members[0].Checks) != 1 {
		t.Error("Table took the checks of the site")
	}
}

// TestLost: what differs is said in words, and what means the same is not.
func TestLost(t *testing.T) {
	want := fromKeepalived("k", conf+"virtual_server 10.0.0.1 80 {\nprotocol TCP\nlvs_sched rr\nlvs_method DR\nquorum 2\nreal_server 10.0.0.11 80 {\nTCP_CHECK {\n}\n}\nreal_server 10.0.0.12 80 {\nTCP_CHECK {\n}\n}\n}\n")
	if lost := config.Lost(want, want); len(lost) > 0 {
		t.Errorf("of itself a site loses %v", lost)
	}
	got := texts(config.Lost(want, fromLdirectord("l", cf)))
	expected := `k:1: script c is left out
k:4: virtual router V is left out, and nothing raises its addresses
k:14: TCP 10.0.0.1:80: policy quorum 2 is lost, it becomes 1
k:19: TCP 10.0.0.1:80: that a server is taken for well until it fails is lost (2 servers)
k:19: TCP 10.0.0.1:80: the check's interval 1m0s is lost, it becomes 10s (2 servers)
k:19: TCP 10.0.0.1:80: the check's retry delay 1s is lost (2 servers)
k:19: TCP 10.0.0.1:80: the check's fall 2 is lost, it becomes 1 (2 servers)
`
	if got != expected {
		t.Errorf("got\n%swant\n%s", got, expected)
	}
	c, _ := heartbeat.Parse(heartbeat.Files{HaCf: heartbeat.File{Name: "ha.cf", Text: []byte("node a b\nbcast eth0\nwarntime 7\n")},
		Haresources: heartbeat.File{Name: "haresources", Text: []byte("a 10.0.0.1/24/eth0 ldirectord httpd vsftpd\n")}}, heartbeat.Options{})
	var b strings.Builder
	bound := c.Site()
	bound.Virtuals = fromLdirectord("l", cf).Virtuals
	bound.Virtuals[0].Gates = []string{"a"}
	if err := keepalived.Write(&b, bound); err != nil {
		t.Fatal(err)
	}
	got = texts(slices.DeleteFunc(config.Lost(bound, fromKeepalived("k", b.String())), func(p config.Problem) bool { return p.File == "l" }))
	expected = `haresources:1: instance a: warn after 7s is lost
haresources:1: instance a: resources httpd, vsftpd is lost
haresources:1: that services are there only where a is master is lost
`
	if got != expected {
		t.Errorf("got\n%swant\n%s\n%s", got, expected, b.String())
	}
	if wait := c.Site().Instances[0].FirstWait; wait != time.Minute {
		t.Errorf("first wait %v", wait)
	}
}
