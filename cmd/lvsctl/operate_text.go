package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
)

// String is the problem as a compiler would print it, with its severity first.
func (p fileProblem) String() string {
	place := p.File
	if p.Line > 0 {
		place += ":" + strconv.Itoa(p.Line)
	}
	s := fmt.Sprintf("%s: %s: %s", place, p.Severity, p.Text)
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

func printStatus(st statusAnswer) func(io.Writer) {
	return func(w io.Writer) {
		printHead(w, st)
		printInstances(w, st)
		for _, v := range st.Virtuals {
			fmt.Fprintf(w, "\n%s: %s\n", v.Service, virtualLine(v))
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, m := range servers(v) {
				fmt.Fprintf(t, "  %s\t%s\tweight %s\n", m.Server, m.word, weight(m.MemberStatus))
			}
			_ = t.Flush() // w has the error too
		}
	}
}

func printStatusVerbose(st statusAnswer) func(io.Writer) {
	return func(w io.Writer) {
		printHead(w, st)
		printInstancesVerbose(w, st)
		for _, v := range st.Virtuals {
			fmt.Fprintf(w, "\n%s: %s\n", v.Service, virtualLine(v))
			printPlace(w, v)
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "  SERVER\tSTATE\tSINCE\tWEIGHT\tACTIVE\tINACTIVE\tPERSISTENT\tWHY")
			for _, m := range servers(v) {
				fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", m.Server, m.word, since(st.When, m.Since), weight(m.MemberStatus), connections(m.MemberStatus), why(m.MemberStatus))
			}
			_ = t.Flush()
		}
	}
}

// printHead says how the daemon itself fares.
func printHead(w io.Writer, st statusAnswer) {
	fmt.Fprintf(w, "%s is running with pid: %d (%s)\n", daemonWords(st), st.PID, st.Phase)
	if r := st.Refused; r != nil {
		fmt.Fprintf(w, "the file on disk is not in force, since %s:\n", r.When.Local().Format(time.DateTime))
		for _, p := range r.Problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
		if r.TriedAgain {
			fmt.Fprintf(w, "  %s\n", waiting)
		}
	}
	if !st.Open {
		fmt.Fprintln(w, "another director serves: the services are not in this one's kernel")
	}
	switch {
	case st.KernelError != "" && st.Looked.IsZero():
		fmt.Fprintf(w, "the virtual services wait for the kernel: %s\n", st.KernelError)
	case st.KernelError != "":
		fmt.Fprintf(w, "the kernel's table cannot be read, what follows is of %s: %s\n", st.Looked.Local().Format(time.DateTime), st.KernelError)
	}
	for _, why := range st.Snapshot.Refused {
		fmt.Fprintf(w, "the kernel refuses to %s\n", why)
	}
}

// daemonWords names a daemon; one that was told everything by its command line has
// no file.
func daemonWords(st statusAnswer) string {
	kind := cmp.Or(st.Daemon, "ldirectord")
	if st.File == "" {
		return kind + " " + st.Name
	}
	return kind + " for " + st.File
}

func virtualLine(v ldirector.VirtualStatus) string {
	n := 0
	for _, m := range v.Members {
		if m.Standing == ldirector.Serving && m.Kernel != nil {
			n++
		}
	}
	words := []string{fmt.Sprintf("%d of %d servers serve, scheduler %s", n, len(v.Members), v.Scheduler)}
	if v.Persistent > 0 {
		words = append(words, fmt.Sprintf("persistent %d s", v.Persistent))
	}
	switch {
	case v.InKernel:
	case !v.Open && len(v.Follows) > 0:
		words = append(words, "not in the kernel: another director serves "+strings.Join(v.Follows, " or "))
	default:
		words = append(words, "not in the kernel")
	}
	if v.Refused != "" {
		words = append(words, "the kernel refuses to "+v.Refused)
	}
	if v.Drift != "" {
		words = append(words, v.Drift)
	}
	return strings.Join(words, ", ")
}

func printPlace(w io.Writer, v ldirector.VirtualStatus) {
	s := ""
	if v.File != "" {
		s = fmt.Sprintf("%s:%d", v.File, v.Line)
	}
	for _, word := range []string{v.Name, v.Comment} {
		if word != "" {
			s += "  " + word
		}
	}
	if s != "" {
		fmt.Fprintf(w, "  %s\n", strings.TrimSpace(s))
	}
}

// row is a server as a list has it.
type row struct {
	word string // for where it stands
	ldirector.MemberStatus
}

// servers are all servers of a service, with the fallback and strangers.
func servers(v ldirector.VirtualStatus) []row {
	var rows []row
	for _, m := range v.Members {
		rows = append(rows, row{m.Standing.String(), m})
	}
	if v.Fallback != nil {
		f := *v.Fallback
		f.Reason = "fallback: " + f.Reason
		rows = append(rows, row{f.Standing.String(), f})
	}
	for _, s := range v.Strangers {
		rows = append(rows, row{"stranger", s})
	}
	return rows
}

// weight is what the kernel has, and what it should have when that is another.
func weight(m ldirector.MemberStatus) string {
	word := func(w *uint32) string {
		if w == nil {
			return "-"
		}
		return strconv.FormatUint(uint64(*w), 10)
	}
	is, want := word(m.Kernel), word(m.Want)
	if is == want || m.Drift != "" {
		return is
	}
	return is + " (wanted " + want + ")"
}

func connections(m ldirector.MemberStatus) string {
	if m.Connections == nil {
		return "-\t-\t-"
	}
	c := m.Connections
	return fmt.Sprintf("%d\t%d\t%d", c.Active, c.Inactive, c.Persistent)
}

func since(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	d := now.Sub(then)
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

func why(m ldirector.MemberStatus) string {
	s := m.Reason
	if d := m.Drain; d != nil && !d.Until.IsZero() && !d.Over {
		s += "; it is removed at " + d.Until.Local().Format(time.DateTime)
	}
	if m.Refused != "" {
		s += "; the kernel refuses to " + m.Refused
	}
	if m.Drift != "" {
		s += "; " + m.Drift
	}
	return s
}

func printWhy(w io.Writer, fs []found) {
	for i, f := range fs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s in %s: %v, for %s\n", f.Server, f.Virtual, f.Standing, since(time.Now(), f.Since))
		fmt.Fprintf(w, "  why        %s\n", why(f.MemberStatus))
		fmt.Fprintf(w, "  weight     %s\n", weight(f.MemberStatus))
		if c := f.Connections; c != nil {
			fmt.Fprintf(w, "  clients    %d active, %d inactive, %d persistent\n", c.Active, c.Inactive, c.Persistent)
		}
		if f.File != "" {
			fmt.Fprintf(w, "  configured %s:%d, as %s\n", f.File, f.Line, f.Name)
		}
		for _, c := range f.Checks {
			printCheck(w, c)
		}
	}
}

func printCheck(w io.Writer, c ldirector.CheckStatus) {
	fmt.Fprintf(w, "  check      %s\n", c.ID)
	for _, r := range c.Last {
		verdict := "well"
		switch {
		case r.Ours:
			verdict = "not asked: " + r.Reason
		case !r.Well:
			verdict = r.Reason
		}
		took := time.Duration(r.Took * float64(time.Second)).Round(100 * time.Microsecond)
		fmt.Fprintf(w, "    %s  %8v  %s\n", r.When.Local().Format(time.TimeOnly), took, verdict)
	}
}
