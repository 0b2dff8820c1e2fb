package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"
)

// What is promised of a watcher whose interval is a second and whose timeout is
// three, in this machine's own time: no lab, the real servers on loopback, and a
// kernel that lives in memory, because only few machines have IPVS.
const (
	interval = time.Second
	timeout  = 3 * time.Second
	window   = 20 * time.Second // in which checks are counted
)

// patience ends what does not come.
const patience = 2 * time.Minute

func (b *bench) watching() error {
	return errors.Join(
		b.againstLdirectord(20),
		b.againstLdirectord(200),
		b.thousand(),
		b.editOfFiveHundred(),
	)
}

// farmAt is where the servers of a farm begin. All of 127.0.0.0/8 is ours.
const farmAt = "127.64.0.1:18080"

// daemonProcess is a watcher that runs in the foreground.
type daemonProcess struct {
	cmd *exec.Cmd
	out *io.PipeReader

	mu      sync.Mutex
	weights map[string]int       // by server, as the log says
	since   map[string]time.Time // when they came to be
	ended   chan struct{}
}

// weightLine is a line of the log about the weight of a server.
var weightLine = regexp.MustCompile(`(?:Added|Quiescent|Restored) real server: (\S+) .*\(Weight set to (\d+)\)`)

// begin starts a watcher.
func begin(argv ...string) (*daemonProcess, error) {
	r, w := io.Pipe()
	d := &daemonProcess{cmd: exec.Command(argv[0], argv[1:]...), out: r, weights: map[string]int{}, since: map[string]time.Time{}, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go d.read()
	go func() {
		_ = d.cmd.Wait() // how it ended does not matter, it was told to
		w.Close()
	}()
	return d, nil
}

func (d *daemonProcess) read() {
	defer close(d.ended)
	lines := bufio.NewScanner(d.out)
	for lines.Scan() {
		m := weightLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		d.mu.Lock()
		weight := 0
		fmt.Sscan(m[2], &weight)
		d.weights[m[1]], d.since[m[1]] = weight, time.Now()
		d.mu.Unlock()
	}
}

func (d *daemonProcess) stop() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
		<-d.ended
	}
}

// await waits until the log has said that weight of all these servers, and
// returns when it said it of the last.
func (d *daemonProcess) await(weight int, servers ...*realServer) (time.Time, error) {
	for end := time.Now().Add(patience); ; {
		last, missing := d.reached(weight, servers)
		switch {
		case missing == "":
			return last, nil
		case time.Now().After(end):
			return last, fmt.Errorf("%s did not get weight %d in %v", missing, weight, patience)
		}
		select {
		case <-d.ended:
			return last, fmt.Errorf("%v has ended before its time", d.cmd)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *daemonProcess) reached(weight int, servers []*realServer) (last time.Time, missing string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range servers {
		w, known := d.weights[s.addr.String()]
		if !known || w != weight {
			return last, s.addr.String()
		}
		if t := d.since[s.addr.String()]; t.After(last) {
			last = t
		}
	}
	return last, ""
}

// unplugged starts our watcher on a kernel in memory.
func (b *bench) unplugged(config string) (*daemonProcess, error) {
	path := filepath.Join(b.dir, "bench.cf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return begin(b.offline, path, "start")
}

// ldirectord starts the peer. Its check loop is untouched; its talk with ipvsadm,
// several commands for each change, is cut short: it would be most of the cost.
// The mount namespace is for the folders that it wants to exist and be its own.
func (b *bench) ldirectord(config string) (*daemonProcess, error) {
	path, err := exec.LookPath("ldirectord")
	if err != nil {
		return nil, fmt.Errorf("the peer is missing: %w; apt-get install ldirectord", err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for sub, instead := range map[string]string{"ld_read_ipvsadm": "return {};", "system_wrapper": "return 0;"} {
		at := regexp.MustCompile(`\nsub ` + sub + `\s*\{`)
		if len(at.FindAllIndex(source, -1)) != 1 {
			return nil, fmt.Errorf("%s is not the ldirectord we know: it has no sub %s", path, sub)
		}
		source = at.ReplaceAll(source, []byte("${0} "+instead))
	}
	program, file := filepath.Join(b.dir, "ldirectord"), filepath.Join(b.dir, "peer.cf")
	if err := errors.Join(os.WriteFile(program, source, 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
		return nil, err
	}
	alone := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		alone = append(alone, "--map-root-user")
	}
	script := "mount -t tmpfs none /run && mkdir /run/resource-agents && exec perl \"$@\""
	return begin(slices.Concat(alone, []string{"sh", "-c", script, "sh", program, file, "start"})...)
}

// againstLdirectord compares what a thousand checks cost, with n servers.
func (b *bench) againstLdirectord(n int) error {
	f, err := newFarm(farmAt, n, net.Listen)
	if err != nil {
		return err
	}
	defer f.close()
	sides := []func(string) (*daemonProcess, error){b.unplugged, b.ldirectord}
	costs := make([][]float64, len(sides))
	for range 2 {
		for i, start := range sides {
			ms, err := f.costOf(start)
			if err != nil {
				return err
			}
			costs[i] = append(costs[i], ms)
		}
	}
	us, they := slices.Min(costs[0]), slices.Min(costs[1])
	b.atMost(fmt.Sprintf("processor time of 1,000 HTTP checks, %d servers", n), "ms", us, they, they/10, "<= ldirectord's / 10")
	return nil
}

// costOf is the processor time of a thousand checks, in milliseconds.
func (f farm) costOf(start func(string) (*daemonProcess, error)) (float64, error) {
	f.forget()
	d, err := start(f.ldirectordConfig())
	if err != nil {
		return 0, err
	}
	defer d.stop()
	if err := f.everyoneAsked(d, 2); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second)
	f.forget()
	before := usage(d.cmd.Process.Pid)
	time.Sleep(window)
	spent := usage(d.cmd.Process.Pid) - before
	return spent.Seconds() * 1000 / float64(f.rhythm().asked) * 1000, nil
}

// everyoneAsked waits until each server was asked so many times.
func (f farm) everyoneAsked(d *daemonProcess, times int) error {
	for end := time.Now().Add(patience); f.rhythm().least < times; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%v: not all servers were asked %d times in %v", d.cmd, times, patience)
		}
	}
	return nil
}

// thousand holds our watcher to what is promised with a thousand servers.
func (b *bench) thousand() error {
	f, err := newFarm(farmAt, 1000, net.Listen)
	if err != nil {
		return err
	}
	defer f.close()
	begun := time.Now()
	d, err := b.unplugged(f.ldirectordConfig())
	if err != nil {
		return err
	}
	defer d.stop()
	up, err := d.await(1, f...)
	if err != nil {
		return err
	}
	b.note("1,000 servers: start until all are verified up", "ms", ms(up.Sub(begun)), 0)
	time.Sleep(2 * time.Second)
	b.steady(f, d)
	return errors.Join(b.death(f, d, "one refuses", 1, 5), b.halfHangs(f, d))
}

// steady looks at the rhythm when nothing happens.
func (b *bench) steady(f farm, d *daemonProcess) {
	f.forget()
	before, begun := usage(d.cmd.Process.Pid), time.Now()
	time.Sleep(window)
	spent, took, r := usage(d.cmd.Process.Pid)-before, time.Since(begun), f.rhythm()
	b.bound("  mean interval of the one asked least", "ms", ms(took)/float64(r.least), 1.1*ms(interval), "<= 1100")
	b.bound("  longest time between two checks of a server", "ms", ms(r.longest), 1.1*ms(interval), "<= 1100")
	b.atLeast("  shortest time between two checks of a server", "ms", ms(r.shortest), 0.9*ms(interval), ">= 900")
	b.note("  processor time of 1,000 checks", "ms", ms(spent)/float64(r.asked)*1000, 0)
	b.bound("  resident memory", "MiB", float64(resident(d.cmd.Process.Pid))/(1<<20), 64, "< 64")
}

// death measures how long a dead server stays, the worst of some.
func (b *bench) death(f farm, d *daemonProcess, what string, step, times int) error {
	worst := time.Duration(0)
	for range times {
		time.Sleep(rand.N(interval))
		s := f[rand.IntN(len(f)/step)*step]
		died := time.Now()
		if err := s.refuse(); err != nil {
			return err
		}
		out, err := d.await(0, s)
		if err != nil {
			return err
		}
		worst = max(worst, out.Sub(died))
		if err := s.rise(); err != nil {
			return err
		}
		if _, err := d.await(1, s); err != nil {
			return err
		}
	}
	b.bound("  "+what+": out of the table, worst of some", "ms", ms(worst), ms(interval)+100, "<= interval + 100")
	return nil
}

// halfHangs lets every second server hang at once, and then one more refuse.
func (b *bench) halfHangs(f farm, d *daemonProcess) error {
	var hung []*realServer
	for i := 1; i < len(f); i += 2 {
		hung = append(hung, f[i])
	}
	died := time.Now()
	for _, s := range hung {
		s.hang()
	}
	out, err := d.await(0, hung...)
	if err != nil {
		return err
	}
	b.bound("  half of them hang at once: all out", "ms", ms(out.Sub(died)), ms(interval+timeout)+200, "<= interval + timeout + 200")
	if err := b.death(f, d, "one refuses while half hang", 2, 5); err != nil {
		return err
	}
	risen := time.Now()
	for _, s := range hung {
		if err := s.rise(); err != nil {
			return err
		}
	}
	back, err := d.await(1, hung...)
	b.note("  half of them come back: all in", "ms", ms(back.Sub(risen)), 0)
	return err
}

// editOfFiveHundred edits one of 500 services and waits for the kernel.
func (b *bench) editOfFiveHundred() error {
	f := make(farm, 500)
	for i := range f {
		f[i] = &realServer{addr: placeOf(i)}
	}
	path := filepath.Join(b.dir, "bench.cf")
	d, err := b.unplugged(fiveHundred(f, 1))
	if err != nil {
		return err
	}
	defer d.stop()
	if _, err := d.await(1, f...); err != nil {
		return err
	}
	worst := time.Duration(0)
	for weight := 2; weight < 12; weight++ {
		time.Sleep(rand.N(interval))
		if err := os.WriteFile(path+"~", []byte(fiveHundred(f, weight)), 0o644); err != nil {
			return err
		}
		saved := time.Now()
		if err := os.Rename(path+"~", path); err != nil {
			return err
		}
		done, err := d.await(weight, f[250])
		if err != nil {
			return err
		}
		worst = max(worst, done.Sub(saved))
	}
	b.bound("500 services: from an edit to the kernel, worst of ten", "ms", ms(worst), 300, "<= 300")
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
