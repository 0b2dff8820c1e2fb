package ldirectord

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lvsctl/lvsctl/lvs"
)

// maxRanges is the most real servers that all ranges of a file may stand for:
// far more than a kernel is happy with, few enough for our memory.
const maxRanges = 1 << 16

// resolveGlobalFallback looks the fallback's names up where it stands, for tcp
// and udp alike.
func (r *reader) resolveGlobalFallback(st *stmt) {
	for _, proto := range []string{"tcp", "udp"} {
		if text, hint := r.resolveFallback(st.fallback, st.family, proto); text != "" {
			r.refuse(when(r.i, atLine), r.i+1, text)
			r.wrong(r.i+1, st.name+": "+text, hint)
			return
		}
	}
}

// resolveFallback returns ldirectord's refusal, if there is one.
func (r *reader) resolveFallback(fb *fallback, f lvs.Family, proto string) (refusal, hint string) {
	var err error
	fb.addr, err = r.addr(fb.host, f)
	if err == errOffline {
		return "", ""
	}
	if err != nil {
		return fmt.Sprintf("invalid %v address or could not resolve for fallback server: %s", f, fb.host), err.Error()
	}
	if fb.port == "" || fb.port == "0" {
		fb.found = true
		return "", ""
	}
	fb.portNum, err = r.port(fb.port, proto)
	if err == errOffline {
		return "", ""
	}
	if err != nil {
		return "invalid port for fallback server", fmt.Sprintf("%s: %v", fb.port, err)
	}
	fb.found = true
	return "", ""
}

// finish does what ldirectord does at the end of each block.
func (r *reader) finish() {
	seen := map[string]*virtual{}
	expanded := 0
	for _, v := range r.f.virtuals {
		v.proto = v.protocol()
		r.finishFallback(v)
		r.finishHead(v)
		r.finishService(v)
		for _, re := range v.reals {
			r.finishReal(v, re, &expanded)
		}
		r.finishTwins(v, seen)
	}
}

// protocol is udp for a DNS port unless the block says otherwise.
func (v *virtual) protocol() string {
	switch h := v.stmt.head; {
	case h.mark != "":
		return "fwm"
	case v.settings["protocol"] != nil:
		return v.arg("protocol")
	case h.port == "53" || h.port == "domain":
		return "udp"
	}
	return "tcp"
}

func (r *reader) finishFallback(v *virtual) {
	st := v.settings[fallbackName(v.stmt.family)]
	if st == nil {
		return
	}
	fb := st.fallback
	if fb.port == "" {
		fb = &fallback{line: fb.line, host: fb.host, port: orElse(v.stmt.head.port, "0"), method: fb.method}
	}
	text, hint := r.resolveFallback(fb, st.family, v.proto)
	if text != "" {
		r.refuse(v.end(max(st.line, v.line("protocol"))), st.line, text)
		r.wrong(st.line, st.name+": "+text, hint)
	}
	st.fallback.addr, st.fallback.portNum, st.fallback.found = fb.addr, fb.portNum, fb.found
}

// end is when ldirectord looks up the names of a line of the block: at its end,
// or never if it does not see the line in it.
func (v *virtual) end(line int) int {
	if line > v.closed {
		return math.MaxInt
	}
	return when(v.closed, atBlockEnd)
}

func fallbackName(f lvs.Family) string {
	if f == lvs.IPv6 {
		return "fallback6"
	}
	return "fallback"
}

func (r *reader) finishHead(v *virtual) {
	h, family := v.stmt.head, v.stmt.family
	if h.mark != "" {
		mark, err := strconv.ParseUint(h.mark, 10, 32)
		v.found = err == nil && mark != 0
		v.key = lvs.Marked(uint32(mark), family)
		if !v.found {
			r.warn(v.stmt.line, fmt.Sprintf("firewall mark %s: IPVS cannot have it, so this virtual is left out", h.mark), "marks go from 1 to 4294967295")
		}
		return
	}
	addr, err := r.addr(h.host, family)
	if err == nil {
		var port uint16
		if port, err = r.port(h.port, v.proto); err == nil {
			v.found = true
			v.key = lvs.At(protocolNumber(v.proto), netip.AddrPortFrom(addr, port))
			return
		}
		err = fmt.Errorf("port %s: %w", h.port, err)
	} else {
		err = fmt.Errorf("host %s: %w", h.host, err)
	}
	if isOffline(err) {
		return
	}
	const text = "invalid address for virtual service"
	r.refuse(v.end(v.line("protocol")), v.stmt.line, text)
	r.wrong(v.stmt.line, v.stmt.name+"="+h.String()+": "+err.Error(), "give an address and port that this host can find")
}

func protocolNumber(proto string) lvs.Protocol {
	if proto == "udp" {
		return lvs.UDP
	}
	return lvs.TCP
}

// finishService finds the service to check: the one given, or that of the port.
func (r *reader) finishService(v *virtual) {
	v.service = v.arg("service")
	if v.service != "" {
		return
	}
	v.service = "none"
	if !v.found || v.proto == "fwm" {
		return
	}
	for name, port := range servicePorts() {
		if port == v.key.Addr.Port() {
			v.service = name
		}
	}
}

// finishReal looks a real server's names up, in ldirectord's order.
func (r *reader) finishReal(v *virtual, re *real, expanded *int) {
	refuse := func(theirs, ours, hint string) {
		r.refuse(v.end(re.line), re.line, theirs)
		r.wrong(re.line, ours, hint)
	}
	if re.format != "" {
		refuse(re.format, "real: neither address nor forwarding method found", "write ADDRESS:PORT gate, masq or ipip")
		return
	}
	known := r.finishRealAddr(v, re, refuse)
	known = known && r.finishRange(re, refuse, expanded)
	if re.rest != "" {
		r.finishFlags(v, re)
		known = known && slices.Contains(methodNames, re.method)
	}
	for _, n := range re.notes {
		if re.rest == "" {
			r.warn(re.line, "real: "+n.text, n.hint)
		}
	}
	re.found = known
}

// finishRealAddr reports whether address and port are known.
func (r *reader) finishRealAddr(v *virtual, re *real, refuse func(theirs, ours, hint string)) bool {
	family, known := v.stmt.family, true
	var err error
	if re.from, err = r.addr(re.host, family); err != nil {
		known = false
		if err != errOffline {
			refuse(fmt.Sprintf("invalid address (%s) for real server (could not resolve host)", re.host),
				fmt.Sprintf("real: host %s: %v", re.host, err), "give an address, or a name that this host can find")
		}
	}
	if re.portNum, err = r.port(orElse(re.port, "0"), ""); err != nil {
		known = false
		if err != errOffline {
			refuse(fmt.Sprintf("invalid port (%s) for real server (could not resolve port)", re.port),
				fmt.Sprintf("real: port %s: %v", re.port, err), "give a number, or a name of /etc/services")
		}
	}
	re.to = re.from
	if re.last == "" {
		return known
	}
	if re.to, err = r.addr(re.last, family); err != nil {
		known = false
		if err != errOffline {
			refuse(fmt.Sprintf("invalid address (%s) for real server (could not resolve end host)", re.last),
				fmt.Sprintf("real: host %s: %v", re.last, err), "give an address, or a name that this host can find")
		}
	}
	if family == lvs.IPv6 {
		refuse("Address range for IPv6 is not supported yet", "real6: there are no ranges of IPv6 addresses", "give each real server a line")
		return false
	}
	return known
}

func (r *reader) finishFlags(v *virtual, re *real) {
	r.refuse(v.end(re.line), re.line, re.rest)
	if !slices.Contains(methodNames, re.method) {
		text := "real: no forwarding method"
		if re.method != "" {
			text = fmt.Sprintf("real: %q is not a forwarding method", re.method)
		}
		r.wrong(re.line, text, methodHint(re.method))
		return
	}
	text := "real: " + plainWords(re.rest)
	if len(re.notes) > 0 {
		text = "real: " + re.notes[0].text
	}
	r.mended(re.line, text, fmt.Sprintf("write %q", re.String()))
}

// finishRange reports whether the range can be had.
func (r *reader) finishRange(re *real, refuse func(theirs, ours, hint string), expanded *int) bool {
	if re.last == "" {
		return true
	}
	if re.to.Less(re.from) {
		refuse(fmt.Sprintf("Invalid Range: %v-%v: First value must be greater than or equal to the second value", re.from, re.to),
			fmt.Sprintf("real: the range %v->%v ends before it begins", re.from, re.to), fmt.Sprintf("write %v->%v", re.to, re.from))
		return false
	}
	n := number(re.to) - number(re.from) + 1
	if n > maxRanges-uint64(*expanded) {
		r.wrong(re.line, fmt.Sprintf("real: the range %v->%v has %d addresses; the ranges of a file may have %d together", re.from, re.to, n, maxRanges),
			"give the servers that exist")
		return false
	}
	*expanded += int(n)
	return true
}

func number(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// finishTwins reports a virtual that is there twice. ldirectord also finds a
// twin of a virtual= line that is the last of the file: it reads it twice.
func (r *reader) finishTwins(v *virtual, seen map[string]*virtual) {
	const text = "duplicate virtual server"
	id := v.id()
	was := seen[id]
	seen[id] = v
	line := min(v.closed+1, len(r.f.Lines))
	if was != nil {
		r.refuse(v.end(v.line("protocol")), line, text)
		r.wrong(v.stmt.line, fmt.Sprintf("%s=%v is there already, on line %d", v.stmt.name, v.stmt.head, was.stmt.line), "put all real servers into one of them")
		v.found = false
		return
	}
	if v.at == len(r.f.Lines)-1 {
		r.refuse(when(v.closed, atBlockEnd), line, text)
		r.mended(v.stmt.line, "ldirectord stumbles over a virtual= line that is the last of the file", "add real servers, or an empty line")
	}
}

// id names a virtual as ldirectord does when it looks for twins.
func (v *virtual) id() string {
	h := v.stmt.head
	switch {
	case h.mark != "" && v.stmt.family == lvs.IPv6:
		return "fwm6:" + h.mark
	case h.mark != "":
		return "fwm:" + h.mark
	case v.found:
		return v.proto + ":" + v.key.Addr.String()
	}
	return v.proto + ":" + h.String()
}
