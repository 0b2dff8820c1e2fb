// Labbench compares the speed of lvsctl with that of the programs it stands in
// for, and holds it to its targets:
//
//	labbench [-bin DIR] ipvsadm    tables, in one boot of the lab
//	labbench [-bin DIR] checks     checks and reloads, in one boot of the lab
//	labbench [-bin DIR] watching   a thousand servers, on this machine itself
//	labbench [-bin DIR] vrrp       fail-over, in one boot of the lab, and where
//	                               root's kernel is one, without a guest
//	labbench [-bin DIR] soak       a cluster that everything happens to, for an hour; SOAK=10m shortens it
//
// Its exit status is 1 when a target was missed.
//
// Absolute times of a lab tell little: system calls are dear there and the
// machine below it may be busy. So the two sides take turns, and what counts is
// the ratio of their medians.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func main() {
	lab.Init()
	bin := flag.String("bin", "bin", "the `folder` with lvsctl, lvsctl-unplugged and the empty program")
	rounds := flag.Int("rounds", 5, "how often each side restores and lists a large table")
	oneOffs := flag.Int("one-offs", 60, "how often each side adds and deletes one service")
	peer := flag.String("peer", "ipvsadm", "the `program` to compare with")
	b := bench{intervals: []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond}}
	flag.IntVar(&b.reps, "reps", 5, "vrrp: how often each side fails in each way")
	flag.IntVar(&b.busy, "busy", 2, "vrrp: `programs` a processor that keep the machine busy in the last series; 0 is no such series")
	flag.DurationVar(&b.manyFor, "many-for", time.Minute, "vrrp: how long 200 instances are listened to")
	flag.BoolVar(&b.verbose, "v", false, "vrrp: print each figure")
	flag.Func("intervals", "vrrp: `seconds` of advert_int, with commas between them; empty is no fail-over", b.setIntervals)
	flag.Parse()
	b.rounds, b.oneOffs = *rounds, *oneOffs
	none := func() error { return nil }
	measure, enter := b.all, lab.Enter
	switch flag.Arg(0) {
	case "ipvsadm":
	case "checks":
		measure = b.checks
	case "watching":
		measure, enter = b.watching, none
	case "vrrp":
		measure, enter = b.failover, lab.EnterNetwork
	case "soak":
		measure = b.soak
	default:
		fail(errors.New("what is to be measured? ipvsadm, checks, watching, vrrp or soak"))
	}
	if err := enter(); err != nil {
		fail(err)
	}
	if err := b.prepare(*bin, *peer); err != nil {
		fail(err)
	}
	before := load()
	err := measure()
	fmt.Printf("%s: load of the machine %s before, %s after\n", flag.Arg(0), before, load())
	b.print(os.Stdout)
	if err := errors.Join(err, os.RemoveAll(b.dir)); err != nil {
		fail(err)
	}
	if b.missed() {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "labbench:", err)
	os.Exit(1)
}

// row is one line of the result: a measure of both sides and what it has to be.
type row struct {
	what       string
	unit       string
	ours, them float64
	target     string
	met        bool
}

type bench struct {
	rounds, oneOffs   int
	lvsctl, peer, nop []string
	offline           string // lvsctl-unplugged
	keepalived        string
	dir, bin          string
	rows              []row

	reps      int // of each kind of fail-over
	busy      int // programs a processor
	manyFor   time.Duration
	intervals []time.Duration
	verbose   bool
}

func (b *bench) setIntervals(list string) error {
	b.intervals = nil
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return err
		}
		b.intervals = append(b.intervals, time.Duration(seconds*float64(time.Second)))
	}
	return nil
}

func (b *bench) prepare(bin, peer string) error {
	abs, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	b.bin = abs
	b.lvsctl = []string{filepath.Join(abs, "lvsctl"), "ipvsadm"}
	b.nop = []string{filepath.Join(abs, "empty")}
	b.offline = filepath.Join(abs, "lvsctl-unplugged")
	if b.peer, err = lookPath(peer); err != nil {
		return err
	}
	if path, err := exec.LookPath("keepalived"); err == nil {
		b.keepalived = path
	}
	b.dir, err = os.MkdirTemp("", "labbench-")
	return err
}

func lookPath(name string) ([]string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("the peer is missing: %w; apt-get install %s", err, name)
	}
	return []string{path}, nil
}

// cost is what one run of a program took.
type cost struct {
	wall time.Duration
	peak int64 // bytes resident at the most
}

func (b *bench) run(argv []string, stdin string, args ...string) (cost, string, error) {
	cmd := exec.Command(argv[0], slices.Concat(argv[1:], args)...)
	if stdin != "" {
		f, err := os.Open(stdin)
		if err != nil {
			return cost{}, "", err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		return cost{}, "", err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, "", fmt.Errorf("%v: %w", cmd, err)
	}
	c := cost{wall: time.Since(start), peak: maxRSS(cmd.ProcessState)}
	text, err := os.ReadFile(out.Name())
	return c, string(text), err
}

// duel runs both sides in turn and returns what each run of each cost.
func (b *bench) duel(n int, ours, them func() (cost, error)) (us, they []cost, err error) {
	for i := range n {
		sides := []func() error{
			func() error { c, err := ours(); us = append(us, c); return err },
			func() error { c, err := them(); they = append(they, c); return err },
		}
		if i%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return nil, nil, err
			}
		}
	}
	return us, they, nil
}

func median(cs []cost) float64 {
	ms := make([]float64, len(cs))
	for i, c := range cs {
		ms[i] = float64(c.wall) / float64(time.Millisecond)
	}
	slices.Sort(ms)
	return ms[len(ms)/2]
}

func peak(cs []cost) float64 {
	var most int64
	for _, c := range cs {
		most = max(most, c.peak)
	}
	return float64(most) / (1 << 20)
}

// faster holds us to being at least n times as fast as the peer.
func (b *bench) faster(what string, us, they []cost, n float64) {
	r := row{what: what, unit: "ms", ours: median(us), them: median(they)}
	r.target, r.met = fmt.Sprintf(">= %gx faster", n), r.them >= n*r.ours
	b.rows = append(b.rows, r)
}

func (b *bench) atMost(what, unit string, ours, them, limit float64, target string) {
	b.rows = append(b.rows, row{what, unit, ours, them, target, ours <= limit})
}

// bound holds us to a figure that no peer reaches.
func (b *bench) bound(what, unit string, ours, limit float64, target string) {
	b.rows = append(b.rows, row{what, unit, ours, 0, target, ours <= limit})
}

func (b *bench) atLeast(what, unit string, ours, limit float64, target string) {
	b.rows = append(b.rows, row{what, unit, ours, 0, target, ours >= limit})
}

func (b *bench) note(what, unit string, ours, them float64) {
	b.rows = append(b.rows, row{what, unit, ours, them, "", true})
}

func (b *bench) all() error {
	return errors.Join(
		b.table("1000x5", 1000, 5),
		b.table("2000x4", 2000, 4),
		b.oneOff(),
		b.program(),
	)
}

// table restores, saves and lists a table of services x servers.
func (b *bench) table(name string, services, servers int) error {
	rules := filepath.Join(b.dir, name)
	if err := writeRules(rules, services, servers); err != nil {
		return err
	}
	restore := func(who []string) func() (cost, error) {
		return func() (cost, error) {
			if _, _, err := b.run(b.peer, "", "-C"); err != nil {
				return cost{}, err
			}
			c, _, err := b.run(who, rules, "-R")
			return c, err
		}
	}
	us, they, err := b.duel(b.rounds, restore(b.lvsctl), restore(b.peer))
	if err != nil {
		return err
	}
	lines := services * (servers + 1)
	b.faster(fmt.Sprintf("-R %s (%d lines)", name, lines), us, they, 10)
	b.atMost("-R "+name+" peak memory", "MiB", peak(us), peak(they), peak(they)+25, "<= theirs + 25 MiB")
	for _, list := range [][]string{{"-Sn"}, {"-Ln"}, {"-Ln", "--stats"}} {
		if err := b.list(name, list); err != nil {
			return err
		}
	}
	_, _, err = b.run(b.peer, "", "-C")
	return err
}

func (b *bench) list(name string, args []string) error {
	var ours, theirs string
	us, they, err := b.duel(b.rounds,
		func() (c cost, err error) { c, ours, err = b.run(b.lvsctl, "", args...); return },
		func() (c cost, err error) { c, theirs, err = b.run(b.peer, "", args...); return })
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("%v of %s: the two outputs differ", args, name)
	}
	b.faster(fmt.Sprintf("%s %s", join(args), name), us, they, 3)
	return nil
}

// oneOff compares one add and one delete with the start of an empty program,
// since in a lab that start is nearly all there is.
func (b *bench) oneOff() error {
	const service = "10.255.255.1:80"
	pair := func(who []string) func() (cost, error) {
		return func() (cost, error) {
			add, _, err := b.run(who, "", "-A", "-t", service, "-s", "wlc")
			if err != nil {
				return add, err
			}
			del, _, err := b.run(who, "", "-D", "-t", service)
			add.wall = (add.wall + del.wall) / 2
			return add, err
		}
	}
	nop := func() (cost, error) {
		c, _, err := b.run(b.nop, "")
		return c, err
	}
	us, they, err := b.duel(b.oneOffs, pair(b.lvsctl), nop)
	if err != nil {
		return err
	}
	b.atMost("one -A or -D, against an empty Go program", "ms", median(us), median(they), 1.3*median(they), "<= 1.3x the empty one")
	_, peers, err := b.duel(b.oneOffs/2, pair(b.lvsctl), pair(b.peer))
	if err != nil {
		return err
	}
	b.note("one -A or -D, against ipvsadm", "ms", median(us), median(peers))
	b.note("  resident at the most", "MiB", peak(us), peak(peers))
	return nil
}

// program is what the file weighs.
func (b *bench) program() error {
	info, err := os.Stat(b.lvsctl[0])
	if err != nil {
		return err
	}
	size := float64(info.Size()) / (1 << 20)
	them, err := os.Stat(b.peer[0])
	if err != nil {
		return err
	}
	b.atMost("size of the program", "MiB", size, float64(them.Size())/(1<<20), 20, "<= 20 MiB")
	return nil
}

func (b *bench) missed() bool {
	return slices.ContainsFunc(b.rows, func(r row) bool { return !r.met })
}

func (b *bench) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "measure\tlvsctl\tpeer\tunit\tratio\ttarget\t\t")
	for _, r := range b.rows {
		verdict := ""
		if r.target != "" {
			verdict = map[bool]string{true: "met", false: "MISSED"}[r.met]
		}
		them, ratio := "-", "-"
		if r.them != 0 {
			them, ratio = fmt.Sprintf("%.1f", r.them), fmt.Sprintf("%.3f", r.ours/r.them)
		}
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t\n", r.what, r.ours, them, r.unit, ratio, r.target, verdict)
	}
	t.Flush()
}
