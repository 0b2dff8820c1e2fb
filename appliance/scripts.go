package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"reflect"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/vrrp"
)

// scripts runs the programs that instances track. One goroutine calls its methods.
type scripts struct {
	observe func(name string, h vrrp.Health)
	say     func(Level, string)
	running map[string]*scriptTask
}

type scriptTask struct {
	script config.Script
	end    context.CancelFunc
	done   chan struct{}
	state  *verdict
}

func newScripts(observe func(string, vrrp.Health), say func(Level, string)) *scripts {
	return &scripts{observe: observe, say: say, running: map[string]*scriptTask{}}
}

// set makes these scripts run. One that stays as it is goes on undisturbed; one
// that is changed keeps its verdict until it has another.
func (s *scripts) set(all []config.Script) {
	want := map[string]config.Script{}
	for _, c := range all {
		want[c.Name] = c
	}
	var old = map[string]*verdict{}
	for name, t := range s.running {
		c, stays := want[name]
		if stays && reflect.DeepEqual(c, t.script) {
			delete(want, name)
			continue
		}
		t.end()
		<-t.done
		old[name] = t.state
		delete(s.running, name)
	}
	for name, c := range want {
		s.start(c, old[name])
	}
}

func (s *scripts) start(c config.Script, state *verdict) {
	if state == nil {
		state = &verdict{}
		if c.InitFail {
			s.observe(config.TrackScript(c.Name), vrrp.Down)
		}
	}
	state.rise, state.fall = max(c.Rise, 1), max(c.Fall, 1)
	ctx, end := context.WithCancel(context.Background())
	t := &scriptTask{c, end, make(chan struct{}), state}
	s.running[c.Name] = t
	go func() {
		defer close(t.done)
		s.run(ctx, t)
	}()
}

// close ends them all, and leaves no process of theirs behind.
func (s *scripts) close() {
	for _, t := range s.running {
		t.end()
	}
	for _, t := range s.running {
		<-t.done
	}
	clear(s.running)
}

const defaultInterval = time.Second

func (s *scripts) run(ctx context.Context, t *scriptTask) {
	c := t.script
	interval := c.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = interval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := examine(ctx, c, timeout)
		if ctx.Err() != nil {
			return
		}
		if h, news := t.state.add(err == nil); news {
			s.tell(c.Name, h, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *scripts) tell(name string, h vrrp.Health, err error) {
	if h == vrrp.Up {
		s.say(Info, fmt.Sprintf("VRRP_Script(%s) succeeded", name))
	} else {
		s.say(Warning, fmt.Sprintf("VRRP_Script(%s) failed: %v", name, err))
	}
	s.observe(config.TrackScript(name), h)
}

// examine asks what the script asks.
func examine(ctx context.Context, c config.Script, timeout time.Duration) error {
	if len(c.Hosts) > 0 {
		return echo(ctx, check.Host{}, c.Hosts, timeout)
	}
	return runScript(ctx, c.Command, timeout)
}

// echo asks hosts, one after the other, until one answers; each has its share of the
// timeout. The error has what was wrong with each.
func echo(ctx context.Context, n check.Net, hosts []string, timeout time.Duration) error {
	var errs []error
	for _, host := range hosts {
		err := echoOf(ctx, n, host, timeout/time.Duration(len(hosts)))
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
	}
	return errors.Join(errs...)
}

func echoOf(ctx context.Context, n check.Net, host string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addr, err := netip.ParseAddr(host)
	if err != nil {
		all, err := n.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return errors.New("no address")
		}
		addr = all[0].Unmap()
	}
	return check.Ping{Addr: addr, Wait: timeout}.Check(ctx, n)
}

// runScript runs it to its end or its timeout; nothing of its process group is left.
func runScript(ctx context.Context, c config.Command, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := check.Program{Path: c.Words[0], Args: c.Words[1:], User: c.User, Group: c.Group}
	return p.Examine(ctx, nil).Err
}

// verdict is what is known of a script: results in a row, and what they come to.
type verdict struct {
	rise, fall int
	known, up  bool
	row        int // results in a row that say otherwise
}

// add takes in a result, and tells the new verdict when it is one. The first
// result ever counts at once.
func (v *verdict) add(good bool) (h vrrp.Health, news bool) {
	h = vrrp.Down
	if good {
		h = vrrp.Up
	}
	if !v.known {
		v.known, v.up = true, good
		return h, true
	}
	if good == v.up {
		v.row = 0
		return h, false
	}
	v.row++
	need := v.fall
	if good {
		need = v.rise
	}
	if v.row < need {
		return h, false
	}
	v.up, v.row = good, 0
	return h, true
}

// usable tells why a script cannot be run at all; nil when it can.
func usable(c config.Script) error {
	if len(c.Hosts) > 0 {
		return nil
	}
	if len(c.Command.Words) == 0 {
		return fmt.Errorf("script %s: it has no command", c.Name)
	}
	if _, err := exec.LookPath(c.Command.Words[0]); err != nil {
		return fmt.Errorf("script %s: %w", c.Name, err)
	}
	if _, err := check.Credential(c.Command.User, c.Command.Group); err != nil {
		return fmt.Errorf("script %s: %w", c.Name, err)
	}
	return nil
}
