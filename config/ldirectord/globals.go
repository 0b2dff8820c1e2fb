package ldirectord

import (
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
)

// Globals are the settings of the daemon, and what virtuals have that do not say
// otherwise; [File.Virtuals] has applied the latter already.
type Globals struct {
	// CheckTimeout and NegotiateTimeout are 0 when not set: each stands in for
	// the other then, see [File.Virtuals].
	CheckTimeout, NegotiateTimeout time.Duration
	CheckInterval                  time.Duration // 10 s when not set
	CheckCount                     int           // pings of one check, at least 1
	FailureCount                   int           // at least 1

	AutoReload bool
	// Callback is a program to run with the file's name after the file changed.
	Callback string
	// FallbackCommand is a shell command line.
	FallbackCommand string
	// LogFile is the path of the log. LogFacility is that of syslog, used when
	// LogFile is empty.
	LogFile, LogFacility string
	// Execute are configurations for which another instance is started, stopped,
	// reloaded and asked for its status along with this one.
	Execute    []string
	Fork       bool
	Supervised bool

	Quiescent, ReaddQuiescent, CleanStop bool

	// Alert.To may be empty: no mail.
	Alert          ldirector.Alert
	MaintenanceDir string
}

// DefaultLog is where ldirectord logs when it is not told where.
const DefaultLog = "/var/log/ldirectord.log"

// Globals are the global settings, with ldirectord's defaults.
func (f *File) Globals() Globals {
	s := f.globals
	g := Globals{
		CheckTimeout:     seconds(s.arg("checktimeout")),
		NegotiateTimeout: seconds(s.arg("negotiatetimeout")),
		CheckInterval:    seconds(orElse(s.arg("checkinterval"), "10")),
		CheckCount:       atLeastOne(s.arg("checkcount")),
		FailureCount:     atLeastOne(s.arg("failurecount")),
		AutoReload:       s.arg("autoreload") == "yes",
		Callback:         s.arg("callback"),
		FallbackCommand:  s.arg("fallbackcommand"),
		Fork:             s.arg("fork") == "yes",
		Supervised:       s.arg("supervised") == "yes",
		Quiescent:        s.arg("quiescent") == "yes",
		ReaddQuiescent:   s.arg("readdquiescent") == "yes",
		CleanStop:        s.arg("cleanstop") != "no",
		Alert:            f.alert(settings{}),
		MaintenanceDir:   s.arg("maintenancedir"),
	}
	g.LogFile = DefaultLog
	if st := s["logfile"]; st != nil {
		g.LogFile = st.arg
		if !strings.HasPrefix(st.arg, "/") {
			g.LogFile, g.LogFacility = "", st.arg
		}
	}
	for _, e := range f.executes {
		if e != "" {
			g.Execute = append(g.Execute, e)
		}
	}
	return g
}

// alert is what a virtual says of mail, or else the file.
func (f *File) alert(virtual settings) ldirector.Alert {
	get := func(name string) string { return orElse(virtual.arg(name), f.globals.arg(name)) }
	a := ldirector.Alert{
		From:   f.globals.arg("emailalertfrom"),
		Repeat: seconds(get("emailalertfreq")),
		SMTP:   get("smtp"),
	}
	for _, to := range strings.Split(get("emailalert"), ",") {
		if to = strings.Trim(to, blanks); to != "" {
			a.To = append(a.To, to)
		}
	}
	if states := get("emailalertstatus"); states != "" && !strings.Contains(states, "all") {
		a.Status = strings.Split(states, ",")
	}
	return a
}

// maxNumber bounds every number of a file: an int32, as in the kernel.
const maxNumber = 1<<31 - 1

// number32 reads digits; more than maxNumber is maxNumber.
func number32(digits string) int {
	if digits == "" {
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return maxNumber
	}
	return int(n)
}

func seconds(digits string) time.Duration { return time.Duration(number32(digits)) * time.Second }

func atLeastOne(digits string) int { return max(number32(digits), 1) }
