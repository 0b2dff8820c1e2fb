package soak

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
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
