package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

type topOptions struct {
	interval time.Duration
	count    int
	order    string
}

// topOrders are the figures that services can be sorted by.
var topOrders = []string{"rate", "bytes", "active", "table"}

func topCommand() *cobra.Command {
	o := topOptions{interval: 2 * time.Second, order: "rate"}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Rates and connections of every service, live",
		Long: `Top shows the kernel's table with its rates and connections, busiest service
first, and beside each server where a running daemon says it stands. On a terminal
it repaints until it is interrupted; elsewhere it prints one round after the other.

The rates are the kernel's own averages, which it renews every two seconds. For
programs there is lvsctl ipvsadm -L -n --rate --json.`,
		Example: `  lvsctl top
  lvsctl top --sort active --count 1`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			k, err := kernel.Open()
			if err != nil {
				return err
			}
			defer k.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return o.run(ctx, cmd.OutOrStdout(), k)
		},
	}
	cmd.Flags().DurationVar(&o.interval, "interval", o.interval, "the `time` between two rounds, 100ms or more")
	cmd.Flags().IntVar(&o.count, "count", 0, "end after this `number` of rounds")
	cmd.Flags().StringVar(&o.order, "sort", o.order, "the busiest first, by `rate|bytes|active|table`: connections a second, bytes a second, active connections, or as ipvsadm lists them")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topOrders, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *topOptions) check(cmd *cobra.Command) error {
	switch {
	case o.interval < 100*time.Millisecond:
		return usage(cmd, fmt.Errorf("--interval %v: it is 100ms or more", o.interval))
	case o.count < 0:
		return usage(cmd, fmt.Errorf("--count %d: it is a number of rounds, 0 for no end", o.count))
	case !slices.Contains(topOrders, o.order):
		return usage(cmd, fmt.Errorf("--sort %q: there is rate, bytes, active and table", o.order))
	}
	return nil
}

func (o *topOptions) run(ctx context.Context, out io.Writer, k *kernel.Client) error {
	rows, paints := terminalRows(out)
	for round := 1; ; round++ {
		st, err := k.State()
		if err != nil {
			return err
		}
		var b bytes.Buffer
		printTop(&b, time.Now(), sorted(st, o.order), standings(ctx))
		text := []byte(harmless(b.String()))
		if paints {
			text = append([]byte("\x1b[H\x1b[J"), cut(text, rows-1)...) // home, clear
		} else if round > 1 {
			text = append([]byte("\n"), text...)
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
		if round == o.count || !pause(ctx, o.interval) {
			return nil
		}
	}
}

// terminalRows is the height of a terminal, if out is one.
func terminalRows(out io.Writer) (int, bool) {
	f, ok := out.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Row == 0 {
		return 24, true // a serial console does not know
	}
	return max(int(size.Row), 3), true
}

// cut keeps the first lines of a text.
func cut(text []byte, lines int) []byte {
	for i, c := range text {
		if c != '\n' {
			continue
		}
		if lines--; lines == 0 {
			return text[:i+1]
		}
	}
	return text
}

// sorted brings the busiest services to the front. Equals stay in the kernel's
// order.
func sorted(st lvs.State, order string) lvs.State {
	load := map[string]func(lvs.ServiceState) uint64{
		"rate":   func(s lvs.ServiceState) uint64 { return s.Stats.CPS },
		"bytes":  func(s lvs.ServiceState) uint64 { return s.Stats.InBPS + s.Stats.OutBPS },
		"active": active,
		"table":  func(lvs.ServiceState) uint64 { return 0 },
	}[order]
	slices.SortStableFunc(st, func(a, b lvs.ServiceState) int { return cmp.Compare(load(b), load(a)) })
	return st
}

func active(s lvs.ServiceState) (n uint64) {
	for _, d := range s.Destinations {
		n += uint64(d.Active)
	}
	return n
}

// place is a server of a service, in the words of a status.
type place struct{ service, server string }

// standings are what the running daemons say of their servers. One that does not
// answer says nothing: the kernel's figures are there all the same.
func standings(ctx context.Context) map[place]string {
	said := map[place]string{}
	for _, name := range running() {
		var st statusAnswer
		err := ask(ctx, daemon.NewClient(socketOf(name)), http.MethodGet, "/v1/status", nil, &st)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				said[place{}] = fmt.Sprintf("%s: %v", name, err)
			}
			continue
		}
		for _, v := range st.Virtuals {
			for _, m := range servers(v) {
				said[place{v.Service, m.Server}] = m.Standing.String()
			}
		}
	}
	return said
}

// printTop is one round.
func printTop(w io.Writer, now time.Time, st lvs.State, said map[place]string) {
	var total lvs.Stats
	var conns uint64
	for _, s := range st {
		conns += active(s)
		total.CPS += s.Stats.CPS
		total.InBPS += s.Stats.InBPS
		total.OutBPS += s.Stats.OutBPS
	}
	fmt.Fprintf(w, "%s  %d services, %d active connections, %d new/s, in %s/s, out %s/s\n", now.Format(time.TimeOnly),
		len(st), conns, total.CPS, amount(total.InBPS), amount(total.OutBPS))
	if trouble, ok := said[place{}]; ok {
		fmt.Fprintf(w, "%s\n", trouble)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE / SERVER\tWEIGHT\tACTIVE\tINACT\tNEW/S\tIN PKT/S\tOUT PKT/S\tIN/S\tOUT/S\tSTATE")
	for _, s := range st {
		fmt.Fprintf(t, "%v %s\t\t%d\t\t%s\t\n", s.Key, s.Scheduler, active(s), rates(s.Stats))
		for _, d := range s.Destinations {
			fmt.Fprintf(t, "  %v\t%d\t%d\t%d\t%s\t%s\n", d.Addr, d.Weight, d.Active, d.Inactive, rates(d.Stats),
				said[place{s.Key.String(), d.Addr.String()}])
		}
	}
	_ = t.Flush() // w has the error too
}

func rates(s lvs.Stats) string {
	return fmt.Sprintf("%d\t%d\t%d\t%s\t%s", s.CPS, s.InPPS, s.OutPPS, amount(s.InBPS), amount(s.OutBPS))
}

// amount is a number of bytes that the eye takes in: 999, 1.5k, 23M.
func amount(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	f := float64(n)
	for _, unit := range "kMGTPE" {
		if f /= 1000; f < 999.5 {
			if f < 9.95 {
				return fmt.Sprintf("%.1f%c", f, unit)
			}
			return fmt.Sprintf("%.0f%c", f, unit)
		}
	}
	return strconv.FormatUint(n, 10)
}
