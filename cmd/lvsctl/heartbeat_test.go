package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/heartbeat"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// pair is the tutorial's mutual pair as primary sees it, with states of the two
// groups.
func pair(states ...string) hbStatus {
	st := hbStatus{hbCluster: hbCluster{Node: "primary", Nodes: []string{"primary", "standby"}, Pings: []string{"10.0.0.254"}, AutoFailback: true,
		Groups: []hbGroup{{Name: "primary", Node: "primary"}, {Name: "standby", Node: "standby"}}}}
	for i, s := range states {
		one := appliance.InstanceStatus{Name: st.Groups[i].Name, State: s}
		if s == "BACKUP" {
			one.Master = "10.0.0.2"
		}
		st.Instances = append(st.Instances, one)
	}
	return st
}

// What an order is for, and where the election decides again once it has been
// carried out: never where the other node would take back at once what was taken, or
// we what was given.
func TestOrdersOfHeartbeat(t *testing.T) {
	for _, tt := range []struct{ verb, which, want, on, off string }{
		{"standby", "all", "primary standby", "standby", "primary standby"},
		{"standby", "local", "primary", "", "primary"},
		{"standby", "foreign", "standby", "standby", "standby"},
		{"standby", "failback", "standby", "standby", "standby"},
		{"takeover", "all", "primary standby", "primary", "primary standby"},
		{"takeover", "local", "primary", "primary", "primary"},
		{"takeover", "failback", "primary", "primary", "primary"},
		{"takeover", "foreign", "standby", "", "standby"},
	} {
		c := pair().hbCluster
		names := c.choose(tt.verb, tt.which)
		on := strings.Join(c.settled(tt.verb, names), " ")
		c.AutoFailback = false
		off := strings.Join(c.settled(tt.verb, names), " ")
		if got := strings.Join(names, " "); got != tt.want || on != tt.on || off != tt.off {
			t.Errorf("%s %s: for %q, settled %q with auto_failback, %q without; want %q, %q, %q", tt.verb, tt.which, got, on, off, tt.want, tt.on, tt.off)
		}
	}
}

func TestWhatANodeHas(t *testing.T) {
	for want, states := range map[string][]string{
		"all": {"MASTER", "MASTER"}, "local": {"MASTER", "BACKUP"}, "foreign": {"FAULT", "MASTER"}, "none": {"BACKUP", "BACKUP"}, "transition": {"MASTER", "LEAVING"},
	} {
		if got := pair(states...).holding(); got != want {
			t.Errorf("%v: %s, want %s", states, got, want)
		}
	}
	if got := pair().holding(); got != "none" {
		t.Errorf("without instances: %s", got)
	}
}

func TestNodeStatus(t *testing.T) {
	ipfail := pair("MASTER", "MASTER")
	ipfail.Instances[0].Tracked = []appliance.TrackStatus{{Name: config.TrackScript(heartbeat.PingScript("10.0.0.254")), Health: "down"}}
	for _, tt := range []struct {
		node, want string
		st         hbStatus
	}{
		{"primary", "active", pair("BACKUP", "BACKUP")},
		{"standby", "active", pair("MASTER", "BACKUP")},
		{"standby", "error: standby: not known: it is master of nothing, and in VRRP only a master speaks; ask there", pair("MASTER", "MASTER")},
		{"other", "error: no such node", pair("MASTER", "MASTER")},
		{"10.0.0.254", "dead", ipfail},
		{"10.0.0.254", "error: 10.0.0.254: not known: it is not pinged, or has not answered yet; ping nodes are pinged for ipfail", pair("MASTER", "MASTER")},
	} {
		got, err := (&clStatus{st: tt.st}).statusOf(tt.node)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.node, got, tt.want)
		}
	}
}

// memorySink keeps lines, unless it is full.
type memorySink struct {
	lines []string
	full  bool
}

func (m *memorySink) Write(lines []daemon.Line) error {
	if m.full {
		return errors.New("no space left on device")
	}
	for _, l := range lines {
		m.lines = append(m.lines, fmt.Sprintf("%d %s", l.Level, l.Text))
	}
	return nil
}

// A place that is full costs no line of the others, and is told there once.
func TestLogInSeveralPlaces(t *testing.T) {
	file, debug := &memorySink{full: true}, &memorySink{}
	all := hbSinks{{Sink: file, what: "/var/log/ha-log", most: daemon.Info}, {Sink: debug, what: "debug", most: daemon.Debug}}
	write := func(level daemon.Level, text string) error {
		return all.Write([]daemon.Line{{When: time.Now(), Level: level, Text: text}})
	}
	for _, text := range []string{"one", "two"} {
		if err := write(daemon.Info, text); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"6 one", "4 /var/log/ha-log does not take the log: no space left on device", "6 two"}; !slices.Equal(debug.lines, want) {
		t.Errorf("%q, want %q", debug.lines, want)
	}
	file.full = false
	if err := errors.Join(write(daemon.Info, "three"), write(daemon.Debug, "four")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(file.lines, []string{"6 three"}) || debug.lines[len(debug.lines)-1] != "7 four" {
		t.Errorf("%q, %q", file.lines, debug.lines)
	}
	file.full, debug.full = true, true
	if write(daemon.Info, "five") == nil {
		t.Error("a line that nobody took was not missed")
	}
}

func TestHeartbeatLogLine(t *testing.T) {
	line := hbLine(daemon.Line{When: time.Date(2013, 4, 15, 10, 2, 3, 0, time.Local), Level: daemon.Warning, Text: "late"})
	if !strings.HasPrefix(line, "heartbeat[") || !strings.HasSuffix(line, "]: 2013/04/15_10:02:03 WARN: late\n") {
		t.Errorf("%q", line)
	}
}
