package ldirectord

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// head is what a virtual= line says: a mark, or a host and a port.
type head struct {
	mark       string
	host, port string
}

var (
	headName = pattern{src: `^([0-9A-Za-z._+-]+):([0-9A-Za-z_-]+)`}
	headIPv6 = pattern{src: `^\[([0-9A-Fa-f:]+)\]:([0-9A-Za-z_-]+)`}
)

// readHead reads the value of virtual= or virtual6=, as ldirectord does: what
// follows the address does not matter.
func readHead(v string, f lvs.Family) (*head, string) {
	if m := headName.re().FindStringSubmatch(v); m != nil {
		return &head{host: m[1], port: m[2]}, ""
	}
	if mark := leadingDigits.re().FindString(v); mark != "" {
		return &head{mark: mark}, ""
	}
	m := headIPv6.re().FindStringSubmatch(v)
	if m == nil {
		return nil, "invalid address for virtual server"
	}
	if f == lvs.IPv4 {
		return nil, `cannot specify an IPv6 address here. please use "virtual6" instead.`
	}
	if _, err := netip.ParseAddr(m[1]); err != nil {
		return nil, "invalid ipv6 address for virtual server"
	}
	return &head{host: "[" + m[1] + "]", port: m[2]}, ""
}

func (h *head) String() string {
	if h.mark != "" {
		return h.mark
	}
	return h.host + ":" + h.port
}

// real is a real= line.
type real struct {
	line       int
	host, last string // last is the end of a range, or ""
	port       string // "" is port 0
	method     string
	weight     string // "" is 1
	// request and receive are the server's own; both or neither.
	own              bool
	request, receive string
	lower, upper     string

	// format and rest are ldirectord's refusals: at once, and after the names
	// have been looked up.
	format, rest string
	// notes are the places where ldirectord goes wrong without a word.
	notes []note

	from, to netip.Addr
	portNum  uint16
	found    bool // from, to and portNum are known
}

// note is something to be said about a line, with what to do.
type note struct{ text, hint string }

const host = `[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[A-Za-z0-9.-]+|\[[0-9A-f:]+\]`

var (
	realLine = pattern{src: `(` + host + `)(?:->(` + host + `))?(?::([A-Za-z0-9_-]+))?[\t-\r ]+(.*)`}

	realMethod  = pattern{src: `([0-9A-Za-z_]+)(.*)`}
	realWeight  = pattern{src: `[\t-\r ]+([0-9]+)(.*)`}
	realStrings = pattern{src: `[\t-\r ]+"(.*)"[, ][\t-\r ]*"(.*)"(.*)`}
	realLower   = pattern{src: `[\t-\r ]+l:([0-9]+)(.*)`}
	realUpper   = pattern{src: `[\t-\r ]+u:([0-9]+)(.*)`}
)

// readReal reads the value of real= or real6=. It finds what was meant, which
// for a line that ldirectord takes is what ldirectord finds, unless there are
// notes.
func readReal(v string) *real {
	m := realLine.re().FindStringSubmatchIndex(v)
	if m == nil {
		return &real{format: "invalid address for real server (wrong format)"}
	}
	group := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return v[m[2*i]:m[2*i+1]]
	}
	r := &real{host: group(1), last: group(2), port: group(3)}
	r.passedOver(v[:m[0]])
	r.readFlags(group(4))
	return r
}

func (r *real) passedOver(text string) {
	if strings.TrimSpace(text) != "" {
		r.notes = append(r.notes, note{"ldirectord passes over " + config.Quote(text), "remove it"})
	}
}

// readFlags reads what is behind the address.
func (r *real) readFlags(flags string) {
	m := realMethod.re().FindStringSubmatchIndex(flags)
	if m == nil || !slices.Contains(methodNames, flags[m[2]:m[3]]) {
		r.rest = "forward method must be gate, masq or ipip"
		if m != nil {
			r.method = flags[m[2]:m[3]]
		}
		return
	}
	r.method = flags[m[2]:m[3]]
	r.passedOver(flags[:m[2]])
	theirs := ldirectordFlags(flags[m[4]:])
	r.rest = theirs.refusal
	r.meantFlags(flags[m[4]:])
	r.compare(theirs)
}

// peerFlags is what ldirectord makes of the flags of a real server.
type peerFlags struct {
	weight, lower, upper string
	own                  bool
	request, receive     string
	slashed              bool
	refusal              string
}

// ldirectordFlags takes one thing after the other out of the flags, each time
// forgetting all that stood before it.
func ldirectordFlags(flags string) (p peerFlags) {
	if m := realWeight.re().FindStringSubmatch(flags); m != nil {
		p.weight, flags = m[1], m[2]
	}
	if m := realStrings.re().FindStringSubmatch(flags); m != nil {
		p.request, p.receive, p.own, flags = withSlash(m[1]), m[2], true, m[3]
		// A request with a slash in front makes ldirectord forget the match,
		// and with it the receive string and the rest of the line.
		if strings.HasPrefix(m[1], "/") {
			p.slashed, p.own, p.receive = true, false, ""
			return p
		}
	}
	if m := realLower.re().FindStringSubmatch(flags); m != nil {
		p.lower, flags = m[1], m[2]
	}
	if m := realUpper.re().FindStringSubmatch(flags); m != nil {
		p.upper, flags = m[1], m[2]
	}
	if strings.TrimSpace(flags) != "" {
		p.refusal = fmt.Sprintf(`Invalid real server line, around "%s"`, flags)
	}
	return p
}

// meantFlags reads the flags with the strings kept apart from the rest, and
// the thresholds in any order.
func (r *real) meantFlags(flags string) {
	before, after := flags, ""
	quoteAt := strings.IndexByte(flags, '"')
	if quoteAt > 0 {
		// The blank in front of the strings belongs to them.
		before, after = flags[:quoteAt-1], flags[quoteAt-1:]
		if m := realStrings.re().FindStringSubmatch(after); m != nil {
			r.own, r.request, r.receive, after = true, withSlash(m[1]), m[2], m[3]
		}
	}
	if m := realWeight.re().FindStringSubmatch(before); m != nil {
		r.weight = m[1]
	}
	for _, part := range []string{before, after} {
		if m := realLower.re().FindStringSubmatch(part); m != nil {
			r.lower = m[1]
		}
		if m := realUpper.re().FindStringSubmatch(part); m != nil {
			r.upper = m[1]
		}
	}
	r.leftOver(before, after)
}

var understood = pattern{src: `[\t-\r ]+(?:[lu]:)?[0-9]+`}

func (r *real) leftOver(parts ...string) {
	for _, p := range parts {
		r.passedOver(understood.re().ReplaceAllString(p, ""))
	}
}

// compare notes where ldirectord's reading of the flags goes wrong.
func (r *real) compare(p peerFlags) {
	if p.slashed {
		r.notes = append(r.notes, note{"ldirectord forgets the receive string, and all behind it, of a request that begins with a slash",
			"for ldirectord, write the request without its slash: \"" + r.request[1:] + "\""})
		return
	}
	if p.refusal != "" {
		return
	}
	if r.weight != p.weight {
		r.notes = append(r.notes, note{"ldirectord takes the number " + p.weight + " within the strings as the weight",
			"write the weight in front of the strings"})
		return
	}
	if r.upper != p.upper || r.lower != p.lower {
		r.notes = append(r.notes, note{"ldirectord loses a threshold that is not behind all else, l: before u:",
			"write l:N u:N at the end"})
	}
	if r.own != p.own || r.own && (r.request != p.request || r.receive != p.receive) {
		r.notes = append(r.notes, note{"ldirectord does not see the request and receive strings here", "write them as \"REQUEST\", \"RECEIVE\" behind the weight"})
	}
}

// readable tells whether the line can be written anew without loss.
func (r *real) readable() bool {
	return r.format == "" && slices.Contains(methodNames, r.method)
}

// String is the line's value in the form that every reader takes the same way.
func (r *real) String() string {
	s := r.host
	if r.last != "" {
		s += "->" + r.last
	}
	if r.port != "" {
		s += ":" + r.port
	}
	s += " " + r.method
	switch {
	case r.weight != "":
		s += " " + r.weight
	case r.own:
		s += " 1" // else digits in the strings would be the weight
	}
	if r.own {
		s += fmt.Sprintf(` "%s", "%s"`, r.request[1:], r.receive)
	}
	if r.lower != "" {
		s += " l:" + r.lower
	}
	if r.upper != "" {
		s += " u:" + r.upper
	}
	return s
}

// fallback is a fallback= line.
type fallback struct {
	line       int
	host, port string
	method     string
	passed     string // words that ldirectord passes over
	unnamed    bool   // host was not given, it is this one

	addr    netip.Addr
	portNum uint16
	found   bool
}

var trailingPort = pattern{src: `:([A-Za-z0-9_-]+)$`}

// readFallback reads the value of a fallback= line: of its last two words the
// first is the server, the second the method; a lone word is the server.
func readFallback(v string) (*fallback, string) {
	fb := &fallback{method: "gate"}
	w := strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || '\t' <= c && c <= '\r' })
	switch len(w) {
	case 0:
	case 1:
		fb.host = w[0]
	default:
		fb.host, fb.method = w[len(w)-2], w[len(w)-1]
		fb.passed = strings.Join(w[:len(w)-2], " ")
	}
	if m := trailingPort.re().FindStringSubmatchIndex(fb.host); m != nil {
		fb.port = fb.host[m[2]:]
		fb.host = fb.host[:m[0]]
	}
	if !slices.Contains(methodNames, fb.method) {
		return fb, "forward method must be gate, masq or ipip"
	}
	return fb, ""
}

func (fb *fallback) String() string {
	s := fb.host
	if fb.port != "" {
		s += ":" + fb.port
	}
	return s + " " + fb.method
}

// methodAlias is the forwarding method that other programs have another word for,
// or "".
func methodAlias(wrote string) string {
	switch wrote {
	case "dr", "g", "gw", "gateway", "gatewaying", "direct", "route":
		return "gate"
	case "nat", "m", "masquerade", "masquerading":
		return "masq"
	case "tun", "i", "tunnel", "tunneling":
		return "ipip"
	}
	return ""
}

func methodHint(wrote string) string {
	wrote = strings.ToLower(wrote)
	if m := methodAlias(wrote); m != "" {
		return fmt.Sprintf("ldirectord's word for it is %q", m)
	}
	if h := config.DidYouMean(wrote, methodNames); h != "" {
		return h
	}
	return "write gate (direct routing), masq (NAT) or ipip (tunnel) behind the address"
}
