package main

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

func TestLdirectordWords(t *testing.T) {
	for _, tt := range []struct {
		args string
		want ldCommand
	}{
		{"start", ldCommand{config: "ldirectord.cf", name: "ldirectord", verb: "start"}},
		{"a/web.cf stop", ldCommand{config: "a/web.cf", name: "web.cf", verb: "stop"}},
		{"-d web.cf start", ldCommand{debug: true, config: "web.cf", name: "web.cf", verb: "start"}},
		{"--debug -- web.cf start", ldCommand{debug: true, config: "web.cf", name: "web.cf", verb: "start"}},
		{"web.cf reload more words", ldCommand{config: "web.cf", name: "web.cf", verb: "reload"}},
		{"web.cf status --verbose --json", ldCommand{config: "web.cf", name: "web.cf", verb: "status", verbose: true, json: true}},
		{"status --verbose", ldCommand{config: "ldirectord.cf", name: "ldirectord", verb: "status", verbose: true}},
		{"web.cf status more", ldCommand{config: "web.cf", name: "web.cf", verb: "status"}},
	} {
		c, status := parseLdirectord("ldirectord", strings.Fields(tt.args))
		if c == nil {
			t.Errorf("%s: exit status %d", tt.args, status)
			continue
		}
		tt.want.prog = "ldirectord"
		if *c != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.args, *c, tt.want)
		}
	}
}

func TestMonitorText(t *testing.T) {
	when := time.Date(2026, 11, 22, 3, 59, 39, 0, time.Local)
	pid := "[" + strconv.Itoa(os.Getpid()) + "] "
	for _, tt := range []struct {
		r    check.Result
		want string
	}{
		{check.Result{ID: `negotiate:http:tcp:10.0.0.2:80:::1:gate:\/x\.html:ok`, When: when, Outcome: check.Outcome{Message: "200 OK"}},
			"negotiate http tcp 10.0.0.2 80 1 gate /x.html ok [up] 200 OK\n"},
		{check.Result{ID: "connect:tcp:10.0.0.2:80:::1:gate::", When: when},
			"connect tcp 10.0.0.2 80 1 gate  [up] -\n"},
		{check.Result{ID: "a:b", When: when, Outcome: check.Outcome{Err: errors.New("100% | no\r\n")}},
			"a b [down] 100%25 %7c no%0d%0a\n"},
	} {
		if got := monitorText(tt.r); got != "[Sun Nov 22 03:59:39 2026] "+pid+tt.want {
			t.Errorf("%q, want %q behind date and pid", got, tt.want)
		}
	}
}

func TestWhoGetsMail(t *testing.T) {
	for _, tt := range []struct {
		states string
		phase  ldirector.Phase
		want   bool
	}{
		{"", ldirector.Starting, true},
		{"running,stopping", ldirector.Running, true},
		{"running,stopping", ldirector.Starting, false},
		{"none", ldirector.Running, false},
		{"none,running", ldirector.Running, false},
	} {
		var states []string
		if tt.states != "" {
			states = strings.Split(tt.states, ",")
		}
		if got := wanted(states, tt.phase); got != tt.want {
			t.Errorf("%q in %s: %v", tt.states, tt.phase, got)
		}
	}
	m := mailOf(ldirector.Event{Text: "Deleted", Phase: ldirector.Running, Virtual: &ldirector.Virtual{
		Name: "Shop", Comment: "ours", Alert: ldirector.Alert{To: []string{"a@b"}, From: "c@d", SMTP: "mx"},
	}}, "web.cf")
	if m.Subject != "[Shop] Deleted" || m.From != "c@d" || m.SMTP != "mx" || !slices.Equal(m.To, []string{"a@b"}) {
		t.Errorf("%+v", m)
	}
	for _, line := range []string{"Log-Message: [Shop] Deleted\n", "Daemon-Status: running\n", "Service name: Shop\n", "Comment: ours\n"} {
		if !strings.Contains(m.Body, line) {
			t.Errorf("no %q in %q", line, m.Body)
		}
	}
}

func TestFallbackCommand(t *testing.T) {
	for want, k := range map[string]lvs.Key{
		"start 10.0.0.1:80 tcp":      {Protocol: lvs.TCP, Addr: netip.MustParseAddrPort("10.0.0.1:80")},
		"start [2001:db8::1]:53 udp": {Family: lvs.IPv6, Protocol: lvs.UDP, Addr: netip.MustParseAddrPort("[2001:db8::1]:53")},
		"start :0 fwm":               {Mark: 7},
	} {
		v := &ldirector.Virtual{Service: lvs.Service{Key: k}, Hooks: ldirector.Hooks{Fallback: "x"}}
		if got := strings.Join(fallbackCommand(v, "start").Argv, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEventRing(t *testing.T) {
	r := newEventRing()
	if a := r.since(0); a.Next != 1 || a.Lost != 0 || len(a.Events) != 0 {
		t.Errorf("empty: %+v", a)
	}
	for range 5*keptEvents + 7 {
		r.add(ldirector.Event{Kind: ldirector.CameUp, Virtual: &ldirector.Virtual{}})
	}
	next := uint64(5*keptEvents + 8)
	if a := r.since(next - 2); a.Next != next || a.Lost != 0 || len(a.Events) != 2 || a.Events[0].Number != next-2 || a.Events[0].Virtual != nil {
		t.Errorf("the last two: %+v", a)
	}
	a := r.since(1)
	if n := len(a.Events); n < keptEvents || n > 2*keptEvents || a.Lost+uint64(n) != next-1 || a.Events[n-1].Number != next-1 {
		t.Errorf("all: %d events, %d lost", len(a.Events), a.Lost)
	}
	if a := r.since(next + 100); len(a.Events) != 0 || a.Next != next {
		t.Errorf("from the future: %+v", a)
	}
}

func TestSelection(t *testing.T) {
	st := statusAnswer{Snapshot: ldirector.Snapshot{Virtuals: []ldirector.VirtualStatus{
		{Service: "TCP 10.0.0.100:80", Label: "10.0.0.100:80", Name: "Shop", Members: []ldirector.MemberStatus{
			{Server: "10.0.0.1:80", Name: "10.0.0.1:8080"}, {Server: "[2001:db8::1]:80", Name: "[2001:db8::1]:80"}}},
		{Service: "FWM 3", Label: "3", Members: []ldirector.MemberStatus{{Server: "10.0.0.1:0", Name: "10.0.0.1:0"}}},
	}}}
	for _, tt := range []struct {
		server, virtual string
		want            int
	}{
		{"10.0.0.1", "", 2}, {"10.0.0.1:80", "", 1}, {"10.0.0.1:8080", "", 1}, {"10.0.0.2", "", 0}, {"", "", 0},
		{"2001:db8::1", "", 1}, {"[2001:db8::1]", "", 1}, {"[2001:db8::1]:80", "", 1},
		{"10.0.0.1", "3", 1}, {"10.0.0.1", "Shop", 1}, {"10.0.0.1", "10.0.0.100", 1}, {"10.0.0.1", "10.0.0.100:81", 0}, {"10.0.0.1", "FWM 3", 1},
	} {
		if got := len((selection{tt.server, tt.virtual}).in(st)); got != tt.want {
			t.Errorf("%q in %q: %d servers, want %d", tt.server, tt.virtual, got, tt.want)
		}
	}
}

func TestNamesMatter(t *testing.T) {
	for _, tt := range []struct {
		files string
		want  bool
	}{
		{"", false}, {"10.0.0.1 10.0.0.1:80 [2001:db8::1] [2001:db8::1]:80", false}, {"10.0.0.1 web1", true}, {"web1:80", true},
	} {
		if got := namesMatter(strings.Fields(tt.files)); got != tt.want {
			t.Errorf("%q: %v", tt.files, got)
		}
	}
	if got := withShort(withShort(nil, "web1.lab"), "web1"); !slices.Equal(got, []string{"web1.lab", "web1"}) {
		t.Errorf("%q", got)
	}
}

// Every directive of the dialect has a place on the page.
func TestLdirectordPageAgrees(t *testing.T) {
	src, err := os.ReadFile("../../man/lvsctl-ldirectord.8")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.NewReplacer(`\fB`, "", `\fR`, "", `\`, "").Replace(string(src))
	for _, verb := range ldVerbs {
		if !strings.Contains(page, verb) {
			t.Errorf("the page does not name %s", verb)
		}
	}
	for _, d := range strings.Fields(`checktimeout negotiatetimeout checkinterval checkcount failurecount autoreload callback fallback fallback6
		fallbackcommand logfile execute fork supervised quiescent readdquiescent emailalert emailalertfreq emailalertstatus emailalertfrom
		smtp cleanstop maintenancedir virtual virtual6 real real6 checktype service checkcommand checkport request receive httpmethod
		virtualhost login passwd database secret load scheduler persistent netmask schedflags protocol ops monitorfile servicename comment`) {
		if !strings.Contains(page, "\n"+d+" = ") && !strings.Contains(page, d+", ") && !strings.Contains(page, ", "+d+" = ") {
			t.Errorf("the page does not explain %s", d)
		}
	}
}
