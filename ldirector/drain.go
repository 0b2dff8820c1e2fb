package ldirector

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

// drain keeps a member at weight 0.
type drain struct {
	since time.Time
	until time.Time // zero: no end
	over  bool      // until has passed
	empty bool      // its last connection has ended, and we said so
}

// Selector names members as a person does.
type Selector struct {
	// Server is an address, an address and port, or a name as configured.
	Server string
	// Virtual narrows it to one service: an address, an address and port, a
	// firewall mark, a name, or the listing's "TCP 10.0.0.1:80". Empty: all.
	Virtual string
}

func (s Selector) String() string {
	if s.Virtual == "" {
		return s.Server
	}
	return s.Server + " of " + s.Virtual
}

func (s Selector) selects(m *member) bool {
	if s.Server == "" {
		return false // not the servers without a name
	}
	if !matches(s.Server, m.Destination.Addr) && s.Server != m.Name && s.Server != host(m.Name) {
		return false
	}
	k := m.v.Service.Key
	return s.Virtual == "" || s.Virtual == Label(k) || s.Virtual == k.String() ||
		m.v.Name != "" && s.Virtual == m.v.Name || k.Mark == 0 && matches(s.Virtual, k.Addr)
}

// matches tells whether a word names an address, with its port or without.
func matches(word string, a netip.AddrPort) bool {
	if ap, err := netip.ParseAddrPort(word); err == nil {
		return ap == a
	}
	ip, err := netip.ParseAddr(strings.Trim(word, "[]"))
	return err == nil && ip == a.Addr()
}

// host is the part of "web1:http" that names a host, brackets and all.
func host(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		return name[:i]
	}
	return name
}

func (p *Plan) selected(s Selector) ([]*member, error) {
	var ms []*member
	for _, v := range p.virtuals {
		for _, m := range v.members {
			if s.selects(m) {
				ms = append(ms, m)
			}
		}
	}
	if len(ms) == 0 {
		return nil, fmt.Errorf("no real server %v is configured", s)
	}
	return ms, nil
}

// Drain takes servers out gently: weight 0, connections stay. After timeout
// they are removed with what connections they still have; with 0 they stay at
// weight 0. A second Drain of a server starts its time anew. An error says that
// nothing of that name is configured.
func (p *Plan) Drain(s Selector, timeout time.Duration, now time.Time) ([]Event, error) {
	ms, err := p.selected(s)
	if err != nil {
		return nil, err
	}
	p.unsaved = true
	var events []Event
	for _, m := range ms {
		m.drain = &drain{since: now}
		if timeout > 0 {
			m.drain.until = now.Add(timeout)
			p.next = earlier(p.next, m.drain.until)
		}
		events = append(events, m.about(DrainBegun, now, "Draining real server:", "%s", m.drainAdvice(timeout)))
		events = append(events, p.settle(m.v, now)...)
	}
	return events, nil
}

// drainAdvice is what an operator has to know about this drain.
func (m *member) drainAdvice(timeout time.Duration) string {
	s := ""
	if timeout > 0 {
		s = ", to be removed after " + timeout.String()
	}
	if m.v.Service.Flags&lvs.Persistent != 0 {
		s += "; the service is persistent: known clients keep coming back until their template expires, unless net.ipv4.vs.expire_quiescent_template is 1"
	}
	return s
}

// Undrain ends drains. Servers that were not drained are left as they are.
func (p *Plan) Undrain(s Selector, now time.Time) ([]Event, error) {
	ms, err := p.selected(s)
	if err != nil {
		return nil, err
	}
	p.unsaved = true
	var events []Event
	for _, m := range ms {
		if m.drain == nil {
			continue
		}
		m.drain = nil
		events = append(events, m.about(DrainEnded, now, "Drain ended of real server:", ""))
		events = append(events, p.settle(m.v, now)...)
	}
	return events, nil
}

// Emptied takes in the connections that the kernel counts, and tells which
// drains have come to their end.
func (p *Plan) Emptied(st lvs.State, now time.Time) []Event {
	var events []Event
	for _, s := range st {
		v := p.byKey[s.Key]
		if v == nil {
			continue
		}
		for _, d := range s.Destinations {
			m := v.member(d.Addr)
			if m == nil || m.drain == nil || m.drain.empty || m.standing != Draining || d.Active+d.Inactive+d.Persistent > 0 {
				continue
			}
			m.drain.empty = true
			events = append(events, m.about(DrainEmpty, now, "Drained real server:", ": no connection is left"))
		}
	}
	return events
}

// Draining tells whether any server is being drained, that is, whether anybody
// wants to see connections.
func (p *Plan) Draining() bool {
	for _, v := range p.virtuals {
		for _, m := range v.members {
			if m.standing == Draining && !m.drain.empty {
				return true
			}
		}
	}
	return false
}

// Deadline is when Tick has something to do, zero for never.
func (p *Plan) Deadline() time.Time { return p.next }

// Tick ends the drains whose time is over and repeats what is still down.
func (p *Plan) Tick(now time.Time) []Event {
	if p.next.IsZero() || now.Before(p.next) {
		return nil
	}
	p.next = time.Time{}
	var events []Event
	for _, v := range p.virtuals {
		for _, m := range v.members {
			events = append(events, p.tick(m, now)...)
		}
	}
	return events
}

func (p *Plan) tick(m *member, now time.Time) []Event {
	var events []Event
	if d := m.drain; d != nil && !d.over && !d.until.IsZero() {
		if now.Before(d.until) {
			p.next = earlier(p.next, d.until)
		} else {
			d.over = true
			events = append(events, p.settle(m.v, now)...)
		}
	}
	if !m.nextCry.IsZero() {
		if !now.Before(m.nextCry) {
			events = append(events, m.inaccessible(now))
			m.nextCry = now.Add(m.v.Alert.Repeat)
			if m.v.Alert.Repeat <= 0 {
				m.nextCry = time.Time{} // a reload has ended the reminders
			}
		}
		p.next = earlier(p.next, m.nextCry)
	}
	return events
}

// Maintenance is the content of the maintenance folder: names of servers that
// are to be out, with what names are known for addresses.
type Maintenance struct {
	// Files are the names found: RIP:PORT, RIP, NAME:PORT, NAME, where PORT is
	// the port as configured and an IPv6 address stands in brackets.
	Files []string
	// Names are what a reverse lookup gave for an address, with and without its
	// domain. Who looks them up takes care that it holds nothing up.
	Names map[netip.Addr][]string
}

// Maintain makes the servers named by files leave at once, whatever their
// checks say, and gives the others back to their checks.
func (p *Plan) Maintain(files Maintenance, now time.Time) []Event {
	p.files = files
	var events []Event
	for _, v := range p.virtuals {
		events = append(events, p.maintain(v, now)...)
	}
	return events
}

func (p *Plan) maintain(v *virtual, now time.Time) []Event {
	var events []Event
	for _, m := range v.members {
		was := m.excused
		m.excused = p.files.excuse(m)
		switch {
		case was == "" && m.excused != "":
			events = append(events, m.about(MaintenanceBegun, now, "Maintenance of real server:", ": file %s", m.excused))
		case was != "" && m.excused == "":
			events = append(events, m.about(MaintenanceEnded, now, "Maintenance ended of real server:", ""))
		}
	}
	if len(events) > 0 {
		events = append(events, p.settle(v, now)...)
	}
	return events
}

// excuse is the file that names a member, empty when none does.
func (f Maintenance) excuse(m *member) string {
	if len(f.Files) == 0 {
		return ""
	}
	for _, name := range m.fileNames(f.Names[m.Destination.Addr.Addr()]) {
		if slices.Contains(f.Files, name) {
			return name
		}
	}
	return ""
}

func (m *member) fileNames(known []string) []string {
	ip := m.Destination.Addr.Addr().String()
	if m.Destination.Addr.Addr().Is6() {
		ip = "[" + ip + "]"
	}
	port := m.configuredPort()
	names := []string{m.Name, host(m.Name), ip + ":" + port, ip, m.Destination.Addr.String()}
	for _, n := range known {
		names = append(names, n+":"+port, n)
	}
	return names
}

// configuredPort is the port in the member's name: for gate and ipip the kernel
// has the service's.
func (m *member) configuredPort() string {
	if port := strings.TrimPrefix(m.Name[len(host(m.Name)):], ":"); port != "" {
		return port
	}
	return itoa(m.Destination.Addr.Port())
}

func itoa[T int | uint16 | uint32](n T) string { return strconv.FormatInt(int64(n), 10) }

// Saved is what has to outlive the process and is not in the kernel: drains.
type Saved struct {
	Drains []SavedDrain `json:"drains"`
}

// SavedDrain is one server at weight 0.
type SavedDrain struct {
	Service lvs.Key        `json:"service"`
	Server  netip.AddrPort `json:"server"`
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until,omitzero"` // zero: no end
}

// Save is what Restore wants after a restart.
func (p *Plan) Save() Saved {
	var s Saved
	for _, v := range p.virtuals {
		for _, m := range v.members {
			if m.drain != nil {
				s.Drains = append(s.Drains, SavedDrain{v.Service.Key, m.Destination.Addr, m.drain.since, m.drain.until})
			}
		}
	}
	return s
}

// Restore brings drains back. It comes before Adopt. Drains of servers that are
// no longer configured are forgotten.
func (p *Plan) Restore(s Saved, now time.Time) {
	for _, d := range s.Drains {
		v := p.byKey[d.Service]
		if v == nil {
			continue
		}
		for _, m := range v.members {
			if m.Destination.Addr == d.Server {
				m.drain = &drain{since: d.Since, until: d.Until, over: !d.Until.IsZero() && !now.Before(d.Until)}
				p.next = earlier(p.next, d.Until)
			}
		}
	}
}
