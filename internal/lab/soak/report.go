package soak

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func (r *Report) String() string {
	var b strings.Builder
	r.Print(&b)
	return b.String()
}

// Print writes what came of a run as tables.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "seed %d: %v; %d requests, %d lost (%d because the machine stood still); %d long connections broken; both directors had the address for %v at the most; the machine is %.1f times slower than an idle one, so that %v are granted beside the timers\n",
		r.Seed, r.Took.Round(time.Second), r.Asked, r.Lost, r.Excused, r.Broken, r.LongestTwo.Round(time.Millisecond), r.Slow,
		time.Duration(float64(apply)*r.Slow).Round(time.Millisecond))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EVENT\tTIMES\tLAST LOSS\tTIMERS\tBROKEN\tRULE")
	for _, k := range r.kinds() {
		y := r.ByKind[k]
		fmt.Fprintf(t, "%s\t%d\t%v\t%v\t%d\t%s\n", k, y.Events, y.Worst.Round(time.Millisecond), y.Timers.Round(time.Millisecond), y.Broke, cmp.Or(y.Why, "it costs nothing"))
	}
	fmt.Fprintln(t, "\nHOST\tFIRST\tLAST\tMOST\tOLDEST")
	for _, name := range all {
		y := r.Weight[name]
		fmt.Fprintf(t, "%s\t%v\t%v\t%.1f MiB, %d descriptors, %d threads, %d goroutines, %d log lines\t%v\n",
			name, y.First, y.Last, float64(y.rss)/(1<<20), y.fds, y.threads, y.goroutines, y.lines, y.lives.Round(time.Second))
	}
	_ = t.Flush() // w has the error too
	verdict := "OK"
	if len(r.Violations) > 0 {
		verdict = fmt.Sprintf("%d VIOLATIONS", len(r.Violations))
	}
	fmt.Fprintln(w, verdict)
}

// kinds are those that have happened, the costly ones first.
func (r *Report) kinds() []Kind {
	var out []Kind
	for k := range r.ByKind {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(r.ByKind[b].Timers, r.ByKind[a].Timers), cmp.Compare(a, b))
	})
	return out
}

// scene is what can be seen of a violation: the directors, who is said to have the
// address, and what was on the wires shortly before: ARP, and the requests without an
// answer. The lock is held.
func (r *run) scene() string {
	var b strings.Builder
	for _, name := range lbs {
		fmt.Fprintf(&b, "%s has %v and\n%v", name, r.seen[name].addrs, r.seen[name].table)
	}
	from := time.Now().Add(-sceneTime)
	lost := unanswered(r.wires["client"].Since(from))
	for name, wire := range r.wires {
		for _, f := range wire.Since(from) {
			if strings.Contains(f.Line, "ARP") || slices.ContainsFunc(lost, func(who string) bool { return strings.Contains(f.Line, who) }) {
				fmt.Fprintf(&b, "%9.3f  %-6s  %v > %v %s\n", f.At.Sub(r.began).Seconds(), name, f.Src, f.Dst, f.Line)
			}
		}
	}
	for _, name := range lbs {
		r.c.hosts[name].Do(func() {
			text, err := os.ReadFile("/proc/thread-self/net/ip_vs_conn")
			if err != nil {
				fmt.Fprintln(&b, err)
			}
			for line := range strings.Lines(string(text)) {
				for _, who := range lost {
					_, port, _ := strings.Cut(who, "10.0.0.10.")
					n, _ := strconv.Atoi(port)
					if strings.Contains(line, fmt.Sprintf("0A00000A %04X", n)) {
						fmt.Fprintf(&b, "%s: %s", name, line)
					}
				}
			}
		})
	}
	r.c.client.Do(func() {
		out, err := os.ReadFile("/proc/thread-self/net/arp")
		fmt.Fprintf(&b, "client: %s%v\n", out, err)
	})
	return b.String()
}

// sceneTime is how far back what was on the wire is told, and remembered.
const sceneTime = 5 * time.Second

// unanswered are the places at which the client waits for a service that says nothing.
func unanswered(frames []lab.Frame) []string {
	var open []string
	for _, f := range frames {
		words := strings.Fields(f.Line)
		if len(words) < 6 || words[0] != "IP" {
			continue
		}
		from, to, flags := words[1], strings.TrimSuffix(words[3], ":"), words[5]
		switch {
		case strings.HasPrefix(flags, "[S]") && !slices.Contains(open, from):
			open = append(open, from)
		case strings.HasPrefix(flags, "[S.]"):
			open = slices.DeleteFunc(open, func(o string) bool { return o == to })
		}
	}
	return open
}
