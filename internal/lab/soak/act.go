package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// act makes an event happen. What it returns is a trouble of the event itself, such
// as a program of ours that fails.
func (r *run) act(e *happened) error {
	c := r.c
	switch e.Kind {
	case Crash, Power, Stop, Start, Cut, Mend, Freeze, Thaw, Standby, Resume, Flap:
		return r.actDirector(e)
	case Refuse, Hang, Rise, CutWeb, MendWeb, Drain, Undrain, KillKeep, StopKeep, StartKeep, FlapWeb:
		return r.actServer(e)
	case GoodServices, GoodRouters, SwapFiles, BadFile, HalfFile, WholeFile:
		return r.actFiles(e)
	case Hup:
		for _, name := range all {
			// Who has just been started may not hear of signals yet.
			if age, lives := c.lives(name); lives && age > r.hearing() {
				c.proc(name).Signal(syscall.SIGHUP)
			}
		}
		return nil
	case Reload:
		return r.everyDirector("reload")
	case Ask:
		return r.askAll()
	case Clock:
		return r.setClock(time.Duration(e.Arg*e.Arg-20) * time.Minute)
	}
	return r.actForeign(e)
}

// hearing is the age from which a daemon can be spoken with.
func (r *run) hearing() time.Duration { return time.Duration(float64(2*time.Second) * r.slow) }

// patient is the time that a daemon has to end.
func (r *run) patient() time.Duration { return 2 * time.Minute }

func (r *run) actDirector(e *happened) error {
	c, h := r.c, r.c.hosts[e.Host]
	switch e.Kind {
	case Crash:
		if e.Arg&1 == 1 {
			return r.dump(e)
		}
		return c.end(e.Host, syscall.SIGKILL, r.patient())
	case Flap:
		return r.flap(e)
	case Power:
		r.setCut(e.Host)
		h.Unplug("eth0")
		return c.end(e.Host, syscall.SIGKILL, r.patient())
	case Stop:
		return c.end(e.Host, syscall.SIGTERM, r.patient())
	case Start:
		c.start(e.Host)
		// What it may cost counts from its first word: a busy machine takes its time
		// to begin a program.
		if !r.settle("a start", r.haveRead) {
			return nil
		}
	case Cut:
		r.setCut(e.Host)
		h.Unplug("eth0")
	case Mend:
		if !c.proc(e.Host).Running() {
			// Who has lost power begins with nothing.
			h.Run("ip", "addr", "flush", "dev", "eth0", "to", vip)
			h.Run("ip", "addr", "flush", "dev", "eth0", "to", "10.0.0.101")
			if err := r.clear(e.Host, func() { h.Run(append(slices.Clone(c.byHand), "-C")...) }); err != nil {
				return err
			}
			c.start(e.Host)
		}
		h.Plug("eth0")
		r.setCut("")
	case Freeze:
		c.freeze(e.Host, true)
	case Thaw:
		c.freeze(e.Host, false)
	case Standby, Resume:
		return r.order(e.Host, "vrrp", string(e.Kind))
	}
	return nil
}

// answerLimit is how long an idle machine may take for one of our commands, its start
// and the daemon's work included. A hand-over is the longest: it waits for the other
// router.
const answerLimit = 8 * time.Second

// order runs one of our commands on a host. One that a machine did not run, because
// it stood still, is given again: whoever gives it would do that, too.
func (r *run) order(name string, args ...string) error {
	const tries = 3
	for try := 1; ; try++ {
		began := time.Now()
		out, err := r.c.hosts[name].Try(append([]string{r.c.lvsctl}, args...)...)
		took := time.Since(began)
		r.mu.Lock()
		still := r.stalled(began, time.Now())
		r.mu.Unlock()
		if most := time.Duration(float64(answerLimit)*r.slow) + 3*still; took > most {
			r.violate("%s# lvsctl %s: it took %v, of which the machine stood still for %v", name, strings.Join(args, " "),
				took.Round(time.Millisecond), still.Round(time.Millisecond))
		}
		if err == nil {
			return nil
		}
		if try == tries || still < took/4 {
			return fmt.Errorf("%s# lvsctl %s: %w\n%s", name, strings.Join(args, " "), err, out)
		}
	}
}

// askAll has each daemon answer all that it can be asked.
func (r *run) askAll() error {
	errs := []error{r.everyDirector("status", "--verbose"), r.everyDirector("status", "--json"), r.everyDirector("vrrp", "status", "--json")}
	for _, name := range webs {
		if age, lives := r.c.lives(name); lives && age > r.hearing() {
			// What it tells depends on what has just been taken away; that it tells does not.
			out, err := r.c.hosts[name].Try(r.c.lvsctl, "realserver", "status")
			if !strings.Contains(out, vip) {
				errs = append(errs, fmt.Errorf("%s# lvsctl realserver status: %w\n%s", name, err, out))
			}
		}
	}
	return errors.Join(errs...)
}

// flap takes the network of a host away for a moment, in one of the ways in which that
// happens: the cable, the card, or the host's own address.
func (r *run) flap(e *happened) error {
	h, addr := r.c.hosts[e.Host], addrOf[e.Host]+"/24"
	var errs []error
	do := func(args ...string) {
		if out, err := h.Try(args...); err != nil {
			errs = append(errs, fmt.Errorf("%s# %s: %w\n%s", e.Host, strings.Join(args, " "), err, out))
		}
	}
	pause := time.Duration(e.Arg) * 20 * time.Millisecond
	switch way := e.Arg % 3; way {
	case 0:
		e.note = "cable"
		h.Unplug("eth0")
		r.pause(pause)
		h.Plug("eth0")
	case 1:
		e.note = "card"
		do("ip", "link", "set", "eth0", "down")
		r.pause(pause)
		do("ip", "link", "set", "eth0", "up")
	default:
		e.note = "address"
		do("ip", "addr", "del", addr, "dev", "eth0")
		r.pause(pause)
		do("ip", "addr", "add", addr, "dev", "eth0")
	}
	return errors.Join(errs...)
}

// dump kills a daemon with the one signal, of those that it does not handle, on which Go
// tells of all its goroutines.
func (r *run) dump(e *happened) error {
	p := r.c.proc(e.Host)
	age, _ := r.c.lives(e.Host)
	if err := r.c.end(e.Host, syscall.SIGABRT, r.patient()); err != nil {
		return err
	}
	n := strings.Count(p.Output(), "\ngoroutine ")
	e.note = fmt.Sprintf("%d goroutines", n)
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.weight[e.Host]
	w.goroutines = max(w.goroutines, n)
	r.weight[e.Host] = w
	if n == 0 && age > r.hearing() {
		r.violateLocked("%s does not tell of its goroutines:\n%s", e.Host, tail(p.Output()))
	}
	if n > mostGoroutines {
		r.violateLocked("%s had %d goroutines after %v:\n%s", e.Host, n, age.Round(time.Second), p.Output())
	}
	return nil
}

func (r *run) setCut(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = name
}

func (r *run) actServer(e *happened) error {
	c := r.c
	switch e.Kind {
	case Refuse:
		return c.servers[e.Host].die()
	case Hang:
		c.servers[e.Host].hang()
	case Rise:
		return c.servers[e.Host].rise()
	case CutWeb:
		c.hosts[e.Host].Unplug("eth0")
	case MendWeb:
		c.hosts[e.Host].Plug("eth0")
	case FlapWeb:
		return r.flap(e)
	case Drain, Undrain:
		verb := "drain"
		if e.Kind == Undrain {
			verb = "undrain"
		}
		return r.tellDirectors(verb, addrOf[e.Host])
	case KillKeep:
		if e.Arg&1 == 1 {
			return r.dump(e)
		}
		return c.end(e.Host, syscall.SIGKILL, r.patient())
	case StopKeep:
		return c.end(e.Host, syscall.SIGTERM, r.patient())
	case StartKeep:
		c.start(e.Host)
	}
	return nil
}

// tellDirectors gives an order that every director has to get, in its time: one that
// cannot hear it gets it as soon as it can, as from anybody who comes back to it.
func (r *run) tellDirectors(args ...string) error {
	for _, name := range lbs {
		r.owed[name] = append(r.owed[name], args)
	}
	return r.pay()
}

// pay gives directors the orders that they could not hear before.
func (r *run) pay() error {
	var errs []error
	for _, name := range lbs {
		for len(r.owed[name]) > 0 {
			if age, lives := r.c.lives(name); !lives || age < r.hearing() {
				break
			}
			args := r.owed[name][0]
			r.owed[name] = r.owed[name][1:]
			errs = append(errs, r.order(name, args...))
		}
	}
	return errors.Join(errs...)
}

// paid tells whether every director that lives has its orders.
func (r *run) paid() error {
	if err := r.pay(); err != nil {
		return err
	}
	for _, name := range lbs {
		if _, lives := r.c.lives(name); lives && len(r.owed[name]) > 0 {
			return fmt.Errorf("%s has not heard %v yet", name, r.owed[name])
		}
	}
	return nil
}

// everyDirector gives an order to those that can hear it.
func (r *run) everyDirector(args ...string) error {
	var errs []error
	for _, name := range lbs {
		if age, lives := r.c.lives(name); !lives || age < r.hearing() {
			continue // its socket may not be there yet
		}
		errs = append(errs, r.order(name, args...))
	}
	return errors.Join(errs...)
}

// actFiles changes the files on all hosts, one after the other, as people do.
func (r *run) actFiles(e *happened) error {
	v := &r.c.variant
	switch e.Kind {
	case GoodServices:
		v.services = e.Arg
	case GoodRouters:
		v.routers = e.Arg & 3
	case BadFile, HalfFile:
		return r.spoil(e)
	}
	return r.deliver(e.Kind == SwapFiles || e.Kind == WholeFile || e.Arg&1 == 0)
}

// deliver brings the files to all hosts: by the one link, or by a file for each that
// takes the place of the old one.
func (r *run) deliver(swap bool) error {
	if swap {
		r.c.variant.version++
	}
	var errs []error
	for _, name := range all {
		if swap {
			errs = append(errs, r.c.layFiles(name))
			continue
		}
		errs = append(errs, r.c.on(name, func() error { return replace(r.c.variant, r.timing) }))
	}
	return errors.Join(errs...)
}

func replace(v variant, t timing) error {
	var errs []error
	for name, text := range map[string]string{"ldirectord.cf": v.ldirectord(t), "keepalived.conf": v.keepalived(t)} {
		path := folder + "/..data/" + name
		errs = append(errs, os.WriteFile(path+"~", []byte(text), 0o644), os.Rename(path+"~", path))
	}
	return errors.Join(errs...)
}

// haveRead tells whether every director has read the files that it was started with:
// then it says who it is. On a slow machine that takes its time, and who is started has
// to find files that make sense.
func (r *run) haveRead() error {
	for _, name := range lbs {
		if _, lives := r.c.lives(name); lives && !strings.Contains(r.c.proc(name).Output(), "Starting ") {
			return fmt.Errorf("%s has not read its files yet", name)
		}
	}
	return nil
}

// spoil makes one of the files one that nobody should take.
func (r *run) spoil(e *happened) error {
	if !r.settle("a start", r.haveRead) {
		return nil
	}
	v := r.c.variant
	name, text := "ldirectord.cf", v.ldirectord(r.timing)
	if e.Arg&1 == 1 {
		name, text = "keepalived.conf", v.keepalived(r.timing)
	}
	bad := ""
	switch {
	case e.Kind == HalfFile:
		// In the middle of a word, where no dialect can think that it is the end.
		at := strings.Index(text, "virtual=") + len("virtual=10.0.")
		if name == "keepalived.conf" {
			at = strings.Index(text, "virtual_ipaddress {") + len("virtual_ipaddress {\n")
		}
		bad = text[:at]
	case e.Arg < 2:
		bad = strings.NewReplacer("real=10.0.0.11", "real=10.0.0.311", "interface eth0", "intreface eth0").Replace(text)
	case e.Arg < 4:
		bad = ""
	default:
		noise := rand.New(rand.NewPCG(uint64(e.Arg), 1))
		b := make([]byte, 3000)
		for i := range b {
			b[i] = byte(noise.UintN(256))
		}
		bad = string(b)
	}
	var errs []error
	for _, host := range all {
		errs = append(errs, r.c.on(host, func() error { return os.WriteFile(folder+"/..data/"+name, []byte(bad), 0o644) }))
	}
	return errors.Join(errs...)
}

// active is the director that is to be master by what has happened, if it is in a
// state to be one.
func (r *run) active() string {
	for _, name := range lbs {
		if r.hurt != name {
			return name
		}
	}
	return lbs[1]
}

// actForeign does what somebody else does by hand. What is not there cannot be taken
// away: that is no trouble.
func (r *run) actForeign(e *happened) error {
	c, host := r.c, r.active()
	by := func(args ...string) {
		out, err := c.hosts[host].Try(args...)
		if err != nil {
			e.note = strings.TrimSpace(out)
			e.harmless = true
		}
	}
	hand := func(args ...string) { by(append(slices.Clone(c.byHand), args...)...) }
	switch e.Kind {
	case TakeReal:
		hand("-d", "-t", web, "-r", addrOf[e.Host]+":80")
		e.Event.Host = host
	case SetWeight:
		hand("-e", "-t", web, "-r", addrOf[e.Host]+":80", "-g", "-w", "0")
		e.Event.Host = host
	case GiveWeight:
		// A weight by hand stays until somebody takes it back, or the director has
		// another reason to look at the server: another master, a check that fails.
		for _, host = range lbs {
			hand("-e", "-t", web, "-r", addrOf[e.Host]+":80", "-g", "-w", "1")
		}
	case TakeService:
		hand("-D", "-t", web)
	case AddForeign:
		return r.addMore(host, e.Arg)
	case ClearTable:
		return r.clear(host, func() { hand("-C") })
	case TakeVIP:
		by("ip", "addr", "del", vip+"/32", "dev", "eth0")
	case TakeRoute:
		by("ip", "route", "del", "10.99.0.0/24")
	case TakeLo:
		host = e.Host
		by("ip", "addr", "del", vip+"/32", "dev", "lo")
	case TakeLoRoute:
		host = e.Host
		by("ip", "route", "del", vip, "dev", "lo")
	case ResetARP:
		for _, dev := range []string{"all", "lo"} {
			c.hosts[e.Host].SetSysctl("net.ipv4.conf."+dev+".arp_ignore", "0")
			c.hosts[e.Host].SetSysctl("net.ipv4.conf."+dev+".arp_announce", "0")
		}
	default:
		return fmt.Errorf("there is no way to do %q", e.Kind)
	}
	return nil
}

// clear empties a table, and puts back what is somebody else's.
func (r *run) clear(name string, empty func()) error {
	others := func(from time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.othersFrom, r.more[name] = from, table{}
	}
	others(time.Now().Add(time.Hour))
	empty()
	err := r.addOthers(name)
	others(time.Now().Add(2 * watchEvery))
	return err
}

// addOthers puts somebody else's services into a table.
func (r *run) addOthers(name string) error {
	const rules = "-A -t " + foreign + " -s sh\n-a -t " + foreign + " -r 10.0.0.12:99 -m -w 7\n-A -f 7 -s rr\n-a -f 7 -r 10.0.0.12 -g -w 3\n"
	if out, err := r.c.hosts[name].TryInput(rules, append(slices.Clone(r.c.byHand), "-R")...); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// addMore has somebody add a service of his own, or take it away again.
func (r *run) addMore(name string, n int) error {
	place := fmt.Sprintf("10.0.8.%d:80", n)
	r.mu.Lock()
	more := r.more[name]
	if more == nil {
		more = table{}
		r.more[name] = more
	}
	_, there := more["TCP "+place+" rr"]
	if there {
		delete(more, "TCP "+place+" rr")
	} else {
		more["TCP "+place+" rr"] = map[string]string{}
	}
	r.mu.Unlock()
	args := []string{"-A", "-t", place, "-s", "rr"}
	if there {
		args = []string{"-D", "-t", place}
	}
	if out, err := r.c.hosts[name].Try(append(slices.Clone(r.c.byHand), args...)...); err != nil {
		return fmt.Errorf("%s: ipvsadm %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// setClock moves the clock of the machine, where it is ours alone.
func (r *run) setClock(by time.Duration) error {
	if !r.ownClock {
		return nil
	}
	tv := syscall.NsecToTimeval(time.Now().Add(by).UnixNano())
	return syscall.Settimeofday(&tv)
}
