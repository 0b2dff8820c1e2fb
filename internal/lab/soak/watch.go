package soak

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is a kernel's table: by service, by destination, method and weight.
type table map[string]map[string]string

func (t table) String() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintln(&b, key)
		for _, d := range slices.Sorted(maps.Keys(t[key])) {
			fmt.Fprintf(&b, "  %s %s\n", d, t[key][d])
		}
	}
	return b.String()
}

func (t table) with(more table) table {
	out := maps.Clone(t)
	maps.Copy(out, more)
	return out
}

// readTable reads the kernel's own listing, so that nothing of ours is between.
func readTable() (table, error) {
	f, err := os.Open("/proc/thread-self/net/ip_vs")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// In one piece: a second read goes on at a place that the kernel counts with the
	// services of all network namespaces, and finds with those of this one.
	text := make([]byte, 4<<10)
	n, err := f.Read(text)
	if err != nil {
		return nil, err
	}
	text = text[:n]
	t := table{}
	var key string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "->" && key != "" && len(f) > 3 && f[1] != "RemoteAddress:Port":
			t[key][place(f[1])] = f[2] + " " + f[3]
		case len(f) > 2 && (f[0] == "TCP" || f[0] == "UDP"):
			key = f[0] + " " + place(f[1]) + " " + f[2]
			t[key] = map[string]string{}
		case len(f) > 2 && f[0] == "FWM":
			mark, _ := strconv.ParseUint(f[1], 16, 32)
			key = fmt.Sprintf("FWM %d %s", mark, f[2])
			t[key] = map[string]string{}
		}
	}
	return t, nil
}

// place turns 0A000064:0050 into 10.0.0.100:80.
func place(word string) string {
	ip, port, _ := strings.Cut(word, ":")
	b, err := hex.DecodeString(ip)
	if err != nil || len(b) != 4 {
		return word
	}
	n, _ := strconv.ParseUint(port, 16, 16)
	return fmt.Sprintf("%v:%d", netip.AddrFrom4([4]byte(b)), n)
}

// sight is how a host looks at one moment.
type sight struct {
	table table    // of a director
	addrs []string // with their length
	arp   string   // of a real server: the settings
}

func look1(isDirector bool) (sight, error) {
	var s sight
	var err error
	if isDirector {
		if s.table, err = readTable(); err != nil {
			return s, err
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return s, err
	}
	for _, a := range addrs {
		s.addrs = append(s.addrs, a.String())
	}
	if !isDirector {
		s.arp = arpSettings()
	}
	return s, nil
}

func arpSettings() string {
	var words []string
	for _, name := range []string{"all/arp_ignore", "all/arp_announce", "lo/arp_ignore", "lo/arp_announce"} {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name)
		if err != nil {
			return err.Error()
		}
		words = append(words, name+"="+strings.TrimSpace(string(text)))
	}
	return strings.Join(words, " ")
}

const watchEvery = 200 * time.Millisecond

// watch looks at a host until the end.
func (r *run) watch(name string) {
	isDirector := strings.HasPrefix(name, "lb")
	every := watchEvery
	if !isDirector {
		every *= 4
	}
	r.c.hosts[name].Do(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-r.done:
				return
			case <-tick.C:
			}
			s, err := look1(isDirector)
			if err != nil {
				r.violate("looking at %s: %v", name, err)
				return
			}
			r.judge(name, s)
		}
	})
}

// judge holds what is seen against what may be.
func (r *run) judge(name string, s sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.seen[name] = s
	if strings.HasPrefix(name, "web") {
		return
	}
	age, living := r.c.lives(name)
	for key, dests := range others() {
		have, ok := s.table[key]
		if now.Before(r.othersFrom) {
			break // somebody has cleared the table, and puts his own back
		}
		if !ok || !maps.Equal(have, dests) {
			r.violateLocked("%s: somebody else's service %s was touched; the table is\n%v", name, key, s.table)
		}
	}
	r.judgeServers(name, s, age, living, now)
	r.judgeMasters(name, s, age, living, now)
}

// judgeServers: who is known to be dead is not served from for longer than it takes
// to notice.
func (r *run) judgeServers(name string, s sight, age time.Duration, living bool, now time.Time) {
	for _, w := range webs {
		ill := r.ill[w]
		if ill == nil || !living {
			continue
		}
		since := now.Sub(ill.since)
		since = min(since, age) // a start takes over what is there, and has to look first
		if since <= r.bound(r.rule(ill.kind).timers, now.Add(-since), now) {
			continue
		}
		for key, dests := range s.table {
			port := ":80"
			if strings.Contains(key, ":7000") {
				port = ":7000"
			}
			if ill.kind == Hang && !strings.Contains(key, web+" ") || others()[key] != nil {
				continue
			}
			if d, ok := dests[addrOf[w]+port]; ok && !strings.HasSuffix(d, " 0") {
				r.violateLocked("%s: %s serves %v after %q on %s", name, key, since.Round(time.Millisecond), ill.kind, w)
				ill.since = now.Add(time.Hour) // once is enough
			}
		}
	}
}

// judgeMasters: two that live do not have the address for long.
func (r *run) judgeMasters(name string, s sight, age time.Duration, living bool, now time.Time) {
	other := lbs[0]
	if name == other {
		other = lbs[1]
	}
	_, otherLives := r.c.lives(other)
	both := living && otherLives && holds(s) && holds(r.seen[other])
	if !both || r.cut != "" { // two that cannot hear each other both have to be
		r.both = time.Time{}
		return
	}
	if r.both.IsZero() {
		r.both = now
	}
	r.longestBoth = max(r.longestBoth, now.Sub(r.both))
	if since := now.Sub(r.both); since > r.bound(r.advert, r.both, now) {
		r.violateLocked("both directors have had %s for %v", vip, since.Round(time.Millisecond))
		r.both = now.Add(time.Hour)
	}
}

func holds(s sight) bool { return slices.Contains(s.addrs, vip+"/32") }

// usage is what a process has of the machine.
type usage struct {
	rss     int64 // bytes
	fds     int
	threads int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB, %d descriptors, %d threads", float64(u.rss)/(1<<20), u.fds, u.threads)
}

func usageOf(pid int) (usage, error) {
	var u usage
	dir := fmt.Sprintf("/proc/%d", pid)
	text, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return u, fmt.Errorf("%s/statm: %q", dir, text)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return u, err
	}
	u.rss = pages * int64(os.Getpagesize())
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return u, err
	}
	tasks, err := filepath.Glob(dir + "/task/*")
	u.fds, u.threads = len(fds), len(tasks)
	return u, err
}

const (
	settledAge = 8 * time.Second // of a process whose use of the machine is typical
	weighEvery = 2 * time.Second
)

// weigh looks at what the daemons use.
func (r *run) weigh() {
	tick := time.NewTicker(weighEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
		for _, wire := range r.wires {
			wire.Forget(time.Now().Add(-sceneTime))
		}
		for _, name := range all {
			p := r.c.proc(name)
			if age, lives := r.c.lives(name); !lives || age < settledAge {
				continue
			}
			u, err := usageOf(p.Pid())
			if err != nil {
				continue // it is about to end
			}
			r.mu.Lock()
			if p.first == (usage{}) {
				p.first = u
			}
			p.last = u
			w := r.weight[name]
			age := time.Since(p.began)
			w.lives, w.threads = max(w.lives, age), max(w.threads, u.threads)
			w.rss, w.fds = max(w.rss, u.rss), max(w.fds, u.fds)
			lines := strings.Count(p.Output(), "\n")
			w.lines = max(w.lines, lines)
			r.weight[name] = w
			if most := firstLines + int(age/time.Second)*linesPerSecond; lines > most {
				r.violateLocked("%s has written %d lines in %v\n%s", name, lines, age.Round(time.Second), tail(p.Output()))
			}
			if u.threads > mostThreads {
				r.violateLocked("%s uses %v", name, u)
			}
			if u.rss > mostMemory {
				r.violateLocked("%s uses %v", name, u)
			}
			if u.fds > p.first.fds+moreDescriptors || u.rss > p.first.rss+moreMemory {
				r.violateLocked("%s begins with %v, and has %v after %v", name, p.first, u, time.Since(p.began).Round(time.Second))
			}
			r.mu.Unlock()
		}
	}
}

const (
	mostMemory      = 96 << 20
	moreMemory      = 48 << 20 // than at the age of settledAge: the collector's slack, and no more
	moreDescriptors = 40
	mostThreads     = 40
	mostGoroutines  = 100
	// Log lines: what a start tells, and what may be told of the events and their
	// consequences, of which there is about one in a second.
	firstLines     = 200
	linesPerSecond = 10
)
