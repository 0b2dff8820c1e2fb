package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
)

func printInstances(w io.Writer, st statusAnswer) {
	if len(st.Instances) > 0 {
		fmt.Fprintln(w)
		printInstanceTable(w, st.When, st.Instances)
	}
	printSync(w, st)
}

func printInstancesVerbose(w io.Writer, st statusAnswer) {
	for _, s := range st.Instances {
		fmt.Fprintln(w)
		printInstance(w, st.When, s)
	}
	printSync(w, st)
}

func printSync(w io.Writer, st statusAnswer) {
	for _, s := range st.Sync {
		fmt.Fprintf(w, "connection sync: %s on %s, id %d", s.Role, s.Interface, s.ID)
		if s.Error != "" {
			fmt.Fprintf(w, ": %s", s.Error)
		}
		fmt.Fprintln(w)
	}
}

// printInstanceTable is a line for each.
func printInstanceTable(w io.Writer, now time.Time, all []appliance.InstanceStatus) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tSTATE\tSINCE\tPRIORITY\tMASTER\tADDRESSES")
	for _, s := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, stateWords(s), since(now, s.Since), priorityWords(s), masterWords(s), addressWords(s))
	}
	_ = t.Flush() // w has the error too
	for _, s := range all {
		for _, line := range troubles(now, s) {
			fmt.Fprintf(w, "%s: %s\n", s.Name, line)
		}
	}
}

// stateWords is the state, and what an operator made of it.
func stateWords(s appliance.InstanceStatus) string {
	if s.Mode == "normal" {
		return s.State
	}
	return s.State + " (" + s.Mode + ")"
}

func priorityWords(s appliance.InstanceStatus) string {
	if s.Priority == s.Base || s.State == "WAITING" {
		return fmt.Sprint(s.Base)
	}
	return fmt.Sprintf("%d (of %d)", s.Priority, s.Base)
}

func masterWords(s appliance.InstanceStatus) string {
	switch {
	case s.State == "MASTER":
		return "here"
	case s.Weaker != "":
		return s.Weaker + " until it is our turn"
	case s.Master == "":
		return "-"
	}
	return fmt.Sprintf("%s (%d)", s.Master, s.MasterPriority)
}

func addressWords(s appliance.InstanceStatus) string {
	const most = 2
	var words []string
	for _, a := range s.Addresses[:min(len(s.Addresses), most)] {
		words = append(words, strings.Fields(a)[0])
	}
	if n := len(s.Addresses); n > most {
		words = append(words, fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(words, ", ")
}

// recent is how long something that happened is a trouble.
const recent = time.Minute

// troubles are what somebody has to look at.
func troubles(now time.Time, s appliance.InstanceStatus) []string {
	var lines []string
	if s.Cause != "" {
		lines = append(lines, s.Cause)
	}
	for _, h := range s.Holders {
		if h.Error != "" {
			lines = append(lines, h.Name+": "+h.Error)
		}
	}
	if s.Refused != "" {
		lines = append(lines, "not taking over: "+s.Refused)
	}
	for _, f := range s.Foreign {
		if now.Sub(f.Last) < recent {
			lines = append(lines, foreignWords(s, f))
		}
	}
	if s.Removed > 0 && now.Sub(s.LastRemoved) < recent {
		lines = append(lines, fmt.Sprintf("somebody else removes its addresses: %d times so far", s.Removed))
	}
	for _, d := range s.Duplicates {
		lines = append(lines, fmt.Sprintf("duplicate VIP: %v answers at %s as well", d.Address, strings.Join(d.MACs, ", ")))
	}
	return lines
}

// foreignWords tells of another user of the virtual_router_id.
func foreignWords(s appliance.InstanceStatus, f appliance.Foreign) string {
	text := fmt.Sprintf("%s uses virtual_router_id %d on %s in another way: %s", f.Address, s.VRID, s.Interface, f.Reason)
	if len(f.Addresses) > 0 {
		text += "; it has " + strings.Join(f.Addresses, ", ")
	}
	if f.More > 0 {
		text += fmt.Sprintf(" and %d more", f.More)
	}
	return fmt.Sprintf("%s (%d adverts)", text, f.Adverts)
}

// printInstance is everything about one.
func printInstance(w io.Writer, now time.Time, s appliance.InstanceStatus) {
	fmt.Fprintf(w, "%s: %s", s.Name, stateWords(s))
	if !s.Since.IsZero() {
		fmt.Fprintf(w, ", for %s", since(now, s.Since))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	for _, why := range troubles(now, s) {
		line("trouble", "%s", why)
	}
	line("priority", "%s", priorityWords(s))
	line("master", "%s", masterWords(s))
	line("adverts", "VRRPv%d, %s, virtual_router_id %d on %s from %s, every %v", s.Version, s.Family, s.VRID, s.Interface, orDash(s.Source), time.Duration(s.Interval*float64(time.Second)))
	if s.Group != "" {
		line("sync group", "%s", s.Group)
	}
	if s.File != "" {
		line("configured", "%s:%d", s.File, s.Line)
	}
	for _, a := range s.Addresses {
		line("address", "%s", a)
	}
	for _, h := range s.Holders {
		line("holds", "%s: %s", h.Name, map[bool]string{true: "yes", false: "no"}[h.Taken])
	}
	for _, tr := range s.Tracked {
		line("tracks", "%s: %s", trackWords(tr), tr.Health)
	}
	c := s.Counters
	line("counted", "%d adverts sent, %d received; became master %d times, left it %d times", c.AdvertsSent, c.AdvertsReceived, c.BecameMaster, c.ReleasedMaster)
	if s.Removed > 0 {
		line("counted", "addresses removed by somebody else %d times, last %s ago", s.Removed, since(now, s.LastRemoved))
	}
	if s.YieldsUntil.After(now) {
		line("yields", "to any other master, for %s more", since(s.YieldsUntil, now))
	}
	for _, why := range slices.Sorted(maps.Keys(c.Dropped)) {
		line("dropped", "%d adverts: %s", c.Dropped[why], why)
	}
	_ = t.Flush() // w has the error too
}

func trackWords(t appliance.TrackStatus) string {
	if t.Weight == 0 {
		return t.Name
	}
	return fmt.Sprintf("%s, weight %d", t.Name, t.Weight)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
