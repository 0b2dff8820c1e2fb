package ldirectord

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Virtuals are the virtual services of the file, complete with defaults and
// checks. Left out are those, and real servers, of which [Parse] said that they
// cannot be had, and those whose names were not looked up.
//
// Real servers of several virtuals that are asked the same question have checks
// with the same ID, and so are asked once. The ID is ldirectord's own, as it
// stands in a monitor file. Where two virtuals give a check of the same ID
// different settings (a login, a timeout), ldirectord uses those of the first
// for both; here the other one gets an ID and a check of its own.
func (f *File) Virtuals() []ldirector.Virtual {
	m := meaning{f: f, g: f.Globals(), specs: map[string]check.Spec{}}
	var all []ldirector.Virtual
	for _, v := range f.virtuals {
		if v.found {
			all = append(all, m.virtual(v))
		}
	}
	return all
}

type meaning struct {
	f     *File
	g     Globals
	specs map[string]check.Spec // by ID
}

func (m *meaning) virtual(v *virtual) ldirector.Virtual {
	return ldirector.Virtual{
		Service:     v.lvsService(),
		Name:        v.arg("servicename"),
		Comment:     v.arg("comment"),
		Members:     m.members(v),
		Fallback:    m.fallback(v),
		Policy:      m.policy(v),
		Hooks:       ldirector.Hooks{Fallback: orElse(v.arg("fallbackcommand"), m.g.FallbackCommand)},
		Alert:       m.f.alert(v.settings),
		MonitorFile: v.arg("monitorfile"),
		Source:      ldirector.Source{File: m.f.Name, Line: v.stmt.line},
	}
}

func (m *meaning) policy(v *virtual) ldirector.Policy {
	p := ldirector.Policy{Quiescent: m.g.Quiescent, ReaddQuiescent: m.g.ReaddQuiescent, CleanStop: m.g.CleanStop}
	if q := v.arg("quiescent"); q != "" {
		p.Quiescent = q == "yes"
	}
	if c := v.arg("cleanstop"); c != "" {
		p.CleanStop = c == "yes"
	}
	return p
}

// lvsService is the service as ldirectord has ipvsadm make it.
func (v *virtual) lvsService() lvs.Service {
	s := lvs.NewService(v.key, orElse(v.arg("scheduler"), "wrr"))
	if v.proto == "udp" && v.arg("ops") == "yes" {
		s.Flags |= lvs.OnePacket
	}
	if n := number32(v.arg("persistent")); n > 0 {
		s.Flags |= lvs.Persistent
		s.Timeout = uint32(n)
		if mask, ok := readMask(v.arg("netmask")); ok {
			s.Netmask = mask
		}
	}
	flags, _ := schedFlags(v.arg("schedflags"))
	s.Flags |= flags
	return s
}

// readMask reads a dotted quad into a mask in host byte order, or a prefix
// length as it is.
func readMask(s string) (uint32, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return uint32(number(a)), true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint32(n), err == nil
}

// schedFlags reads ipvsadm's words for the flags of a scheduler.
func schedFlags(s string) (flags lvs.Flags, ok bool) {
	bits := map[string]lvs.Flags{
		"flag-1": lvs.Sched1, "sh-fallback": lvs.Sched1, "mh-fallback": lvs.Sched1,
		"flag-2": lvs.Sched2, "sh-port": lvs.Sched2, "mh-port": lvs.Sched2,
		"flag-3": lvs.Sched3,
	}
	if s == "" {
		return 0, true
	}
	for _, w := range strings.Split(s, ",") {
		bit, known := bits[w]
		if !known {
			return 0, false
		}
		flags |= bit
	}
	return flags, true
}

var lvsMethods = map[string]lvs.Method{"gate": lvs.Gate, "masq": lvs.Masq, "ipip": lvs.Tunnel}

// destination is a server as the kernel gets it: only masq keeps a port other
// than the virtual's.
func (v *virtual) destination(addr netip.Addr, port uint16, method string) lvs.Destination {
	m := lvsMethods[method]
	if v.proto != "fwm" && m != lvs.Masq {
		port = v.key.Addr.Port()
	}
	return lvs.Destination{Addr: netip.AddrPortFrom(addr, port), Method: m, Weight: 1}
}

// fallback is the virtual's own or the global one. A global one without a port
// gets the virtual's; and it serves marks too, for which ldirectord loses it.
func (m *meaning) fallback(v *virtual) *lvs.Destination {
	name := fallbackName(v.stmt.family)
	st := v.settings[name]
	if st == nil {
		st = m.f.globals[name]
	}
	if st == nil || !st.fallback.found {
		return nil
	}
	port := st.fallback.portNum
	if st.fallback.port == "" && v.proto != "fwm" {
		port = v.key.Addr.Port()
	}
	d := v.destination(st.fallback.addr, port, st.fallback.method)
	return &d
}

// members expands the real= lines. Two for the same address and port with different
// questions are two servers to ldirectord as well: the one that is well serves. Of
// two with the same question the last one counts, at the place of the first.
func (m *meaning) members(v *virtual) []ldirector.Member {
	var all []ldirector.Member
	type asked struct{ name, request, receive string }
	at := map[asked]int{}
	for _, re := range v.reals {
		if !re.found {
			continue
		}
		for a := re.from; ; a = a.Next() {
			mem := m.member(v, re, a)
			how := asked{mem.Name, re.request, re.receive}
			if i, twice := at[how]; twice {
				all[i] = mem
			} else {
				at[how] = len(all)
				all = append(all, mem)
			}
			if a == re.to {
				break
			}
		}
	}
	return all
}

// maxWeight is what ipvsadm, and so ldirectord, can set.
const maxWeight = 65535

func (m *meaning) member(v *virtual, re *real, a netip.Addr) ldirector.Member {
	d := v.destination(a, re.portNum, re.method)
	if re.weight != "" {
		d.Weight = uint32(min(number32(re.weight), maxWeight))
	}
	d.Lower, d.Upper = uint32(number32(re.lower)), uint32(number32(re.upper))
	mem := ldirector.Member{
		Destination: d,
		Name:        netip.AddrPortFrom(a, re.portNum).String(),
		Off:         v.arg("checktype") == "off",
		Source:      ldirector.Source{File: m.f.Name, Line: re.line},
	}
	if re.last == "" && isName(re.host) {
		mem.Host = re.host
	}
	if spec, ok := m.spec(v, re, a); ok {
		mem.Checks = []check.Spec{m.shared(v, spec)}
	}
	return mem
}

// isName tells a host name from an address in any form.
func isName(host string) bool {
	_, v4 := aton(host)
	return !v4 && !strings.HasPrefix(host, "[")
}

// shared gives a check the ID of an equal one, or one of its own.
func (m *meaning) shared(v *virtual, s check.Spec) check.Spec {
	for {
		was, ok := m.specs[s.ID]
		if !ok || reflect.DeepEqual(was, s) {
			m.specs[s.ID] = s
			return s
		}
		s.ID += " of " + v.key.String()
	}
}

// timeouts are the effective ones: each of the two kinds stands in for the
// other before the global ones are looked at.
func (m *meaning) timeouts(v *virtual) (connect, negotiate time.Duration) {
	c, n := seconds(v.arg("checktimeout")), seconds(v.arg("negotiatetimeout"))
	connect = firstOf(c, n, m.g.CheckTimeout, m.g.NegotiateTimeout, 5*time.Second)
	negotiate = firstOf(n, c, m.g.NegotiateTimeout, m.g.CheckTimeout, 30*time.Second)
	return connect, negotiate
}

func firstOf(ds ...time.Duration) time.Duration {
	for _, d := range ds {
		if d > 0 {
			return d
		}
	}
	return 0
}

// interval: a virtual has its own only if the file asks for a process for each
// virtual.
func (m *meaning) interval(v *virtual) time.Duration {
	own := time.Duration(0)
	if m.g.Fork {
		own = seconds(v.arg("checkinterval"))
	}
	return firstOf(own, m.g.CheckInterval, time.Second)
}
