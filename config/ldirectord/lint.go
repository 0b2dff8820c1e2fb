package ldirectord

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/ldirector/check"

	"github.com/lvsctl/lvsctl/config"
)

// lint warns of what ldirectord takes and nobody means.
func (r *reader) lint() {
	r.lintGlobals()
	patterns := map[string]error{}
	for _, v := range r.f.virtuals {
		r.lintHead(v)
		r.lintService(v)
		r.lintUnused(v)
		r.lintCheck(v)
		r.lintPatterns(v, patterns)
		r.lintReals(v)
		r.lintFallback(v.settings)
	}
	r.lintFallback(r.f.globals)
}

func (r *reader) lintFallback(s settings) {
	for _, name := range []string{"fallback", "fallback6"} {
		st := s[name]
		switch {
		case st == nil:
		case st.fallback.unnamed:
			r.warn(st.line, name+": without an address it is this host", "write "+name+"="+st.fallback.String())
		case st.fallback.passed != "":
			r.warn(st.line, name+": ldirectord passes over "+config.Quote(st.fallback.passed), "remove it")
		}
	}
}

func (r *reader) lintGlobals() {
	g := r.f.globals
	r.lintCounts(g)
	if st := g["supervised"]; st != nil && st.bare {
		r.warn(st.line, "supervised: without a value it will stop to be accepted", "write supervised=yes")
	}
	if st := g["logfile"]; st != nil && st.arg == "" {
		r.warn(st.line, "logfile: the name is empty", "give a path, or a facility of syslog")
	}
	if st := g["maintenancedir"]; st != nil && r.f.opt.IsDir != nil && !r.f.opt.IsDir(st.arg) {
		r.warn(st.line, fmt.Sprintf("maintenancedir: %q is no directory", st.arg), "make it, or nothing can be put into maintenance")
	}
	for _, name := range []string{"emailalertfreq", "emailalertstatus", "emailalertfrom"} {
		if st := g[name]; st != nil && !r.mails() {
			r.warn(st.line, name+": has no effect without emailalert", "add emailalert=ADDRESS")
		}
	}
}

func (r *reader) mails() bool {
	return r.f.globals["emailalert"] != nil ||
		slices.ContainsFunc(r.f.virtuals, func(v *virtual) bool { return v.settings["emailalert"] != nil })
}

// lintCounts looks at numbers: written 00 they are nought all the same.
func (r *reader) lintCounts(s settings) {
	for _, name := range []string{"checktimeout", "negotiatetimeout", "checkinterval", "checkcount", "failurecount"} {
		st := s[name]
		if st == nil {
			continue
		}
		if number32(st.arg) == 0 {
			r.warn(st.line, fmt.Sprintf("%s=%s: nought is taken as not set", name, st.arg), "give a number from 1")
		}
		if number32(st.arg) > 24*60*60 {
			r.warn(st.line, fmt.Sprintf("%s=%s: is more than a day", name, st.arg), "")
		}
	}
}

func fullAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func (r *reader) lintHead(v *virtual) {
	h := v.stmt.head
	text := strings.TrimLeft(r.f.Lines[v.at].Raw, blanks)
	_, value, _ := splitDirective(text)
	if h.mark == "" {
		if _, literal := aton(h.host); literal && !fullAddress(h.host) {
			r.warn(v.stmt.line, fmt.Sprintf("%s=%s: %s is read as %v", v.stmt.name, h, h.host, v.key.Addr.Addr()), "write the address in full")
		}
		return
	}
	word := firstField(value)
	if word == h.mark {
		return
	}
	hint := "write " + v.stmt.name + "=ADDRESS:PORT, or the mark alone"
	if fullAddress(word) {
		hint = fmt.Sprintf("write %s=%s:PORT", v.stmt.name, word)
	}
	if r.f.opt.Lenient {
		r.wrong(v.stmt.line, fmt.Sprintf("%s=%s: an address without a port; ldirectord takes it for firewall mark %s", v.stmt.name, word, h.mark), hint)
		v.found = false
		return
	}
	r.warn(v.stmt.line, fmt.Sprintf("%s=%s is taken for firewall mark %s", v.stmt.name, word, h.mark), hint)
}

func firstField(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		word, _, _ := strings.Cut(f[0], "#")
		return word
	}
	return ""
}

// lintService looks at what ipvsadm is told.
func (r *reader) lintService(v *virtual) {
	if st := v.settings["scheduler"]; st != nil && !slices.Contains(schedulers, st.arg) {
		r.warn(st.line, fmt.Sprintf("scheduler %q: no such scheduler is known, and without its scheduler there is no service", st.arg),
			orElse(config.DidYouMean(st.arg, schedulers), "the schedulers are "+strings.Join(schedulers, ", ")))
	}
	if st := v.settings["schedflags"]; st != nil {
		if _, ok := schedFlags(st.arg); !ok {
			r.warn(st.line, fmt.Sprintf("schedflags %q: no such flags, and ipvsadm refuses the service because of them", st.arg),
				"the flags are sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2 and flag-3")
		}
	}
	if st := v.settings["ops"]; st != nil && st.arg == "yes" && v.proto != "udp" {
		r.warn(st.line, "ops: one-packet scheduling is for udp only", "remove it, or add protocol=udp")
	}
	r.lintPersistent(v)
}

func (r *reader) lintPersistent(v *virtual) {
	p := v.settings["persistent"]
	if st := v.settings["netmask"]; st != nil {
		switch _, ok := readMask(st.arg); {
		case p == nil:
			r.warn(st.line, "netmask: has no effect without persistent", "add persistent=SECONDS")
		case !ok:
			r.warn(st.line, fmt.Sprintf("netmask %s: not a mask, so it is not used", st.arg), "write it like 255.255.255.0")
		}
	}
	if p == nil {
		return
	}
	if number32(p.arg) == 0 {
		r.warn(p.line, "persistent=0: ipvsadm refuses it, and then there is no service; taken as not persistent", "remove the line")
		return
	}
	if r.quiescent(v) {
		r.warn(p.line, "persistent with quiescent=yes: a server that is down keeps its clients until their persistence ends",
			"set the sysctl net.ipv4.vs.expire_quiescent_template=1, or quiescent=no")
	}
}

func (r *reader) quiescent(v *virtual) bool {
	return orElse(v.arg("quiescent"), r.f.globals.arg("quiescent")) == "yes"
}

// uses says which directives a kind of check looks at, beyond those of every
// virtual.
func uses(service string) []string {
	switch service {
	case "http", "https":
		return []string{"request", "receive", "virtualhost", "httpmethod"}
	case "http_proxy":
		return []string{"request", "receive", "httpmethod"}
	case "ftp", "ldap", "ldaps":
		return []string{"request", "receive", "login", "passwd"}
	case "simpletcp", "dns":
		return []string{"request", "receive"}
	case "mysql", "pgsql", "oracle":
		return []string{"request", "login", "passwd", "database"}
	case "pop", "pops", "imap", "imaps":
		return []string{"login", "passwd"}
	case "radius":
		return []string{"login", "passwd", "secret"}
	case "sip":
		return []string{"login"}
	}
	return nil // smtp, submission, nntp, none
}

// lintUnused finds directives that change nothing in this virtual.
func (r *reader) lintUnused(v *virtual) {
	kind := v.checkType()
	used := map[string]bool{}
	what := "checktype=" + kind
	if kind == "negotiate" || allDigits(kind) {
		what = "service=" + v.service
		for _, name := range uses(v.service) {
			used[name] = true
		}
	}
	used["checkcommand"] = strings.HasPrefix(kind, "external")
	used["checkport"] = kind != "on" && kind != "off" && kind != "ping" && !used["checkcommand"] && what != "service=none"
	used["checkcount"] = kind == "ping" || kind == "connect" && v.proto == "udp"
	for _, name := range []string{"request", "receive", "virtualhost", "httpmethod", "login", "passwd", "database", "secret", "checkcommand", "checkport", "checkcount"} {
		if st := v.settings[name]; st != nil && !used[name] {
			r.warn(st.line, name+": has no effect with "+what, "remove it, or change what is checked")
		}
	}
	if st := v.settings["load"]; st != nil {
		r.warn(st.line, "load: is accepted and never used", "remove it")
	}
	if st := v.settings["checkinterval"]; st != nil && r.f.globals.arg("fork") != "yes" {
		r.warn(st.line, "checkinterval: is ignored in a virtual unless fork=yes", "set it globally, or add fork=yes above")
	}
	r.lintTimeouts(v, kind, what)
}

// lintTimeouts finds a timeout that another one hides.
func (r *reader) lintTimeouts(v *virtual, kind, what string) {
	r.lintCounts(v.settings)
	connect := kind == "connect" || kind == "ping" || strings.HasPrefix(kind, "external") ||
		v.service == "ldap" || v.service == "ldaps" || v.service == "radius"
	negotiate := kind == "negotiate" && (!connect || v.service == "radius")
	c, n := v.settings["checktimeout"], v.settings["negotiatetimeout"]
	switch {
	case allDigits(kind): // uses both
	case c != nil && n != nil && !connect:
		r.warn(c.line, "checktimeout: has no effect here, "+what+" uses negotiatetimeout", "remove it")
	case c != nil && n != nil && !negotiate:
		r.warn(n.line, "negotiatetimeout: has no effect here, "+what+" uses checktimeout", "remove it")
	}
}

// lintCheck looks for checks that cannot tell well from ill.
func (r *reader) lintCheck(v *virtual) {
	kind, line := v.checkType(), max(v.line("checktype"), v.stmt.line)
	switch {
	case strings.HasPrefix(kind, "external"):
		r.lintExternal(v, line)
		return
	case kind != "negotiate" && !allDigits(kind):
		return
	}
	receive := v.settings["receive"]
	has := func(name string) bool { return v.settings[name] != nil }
	line = max(v.line("service"), v.stmt.line)
	switch v.service {
	case "none":
		if !has("service") && (v.found || v.proto == "fwm") {
			r.warn(line, "no service is known for this virtual, so its servers are taken as well without a look", "add service=NAME, or checktype=connect")
		}
	case "pop", "pops":
		if v.login == "" {
			r.warn(line, "service="+v.service+" without login: ldirectord does not even connect, and every server is well", "add login and passwd")
		}
	case "mysql", "pgsql", "oracle":
		if v.login == "" || !has("request") && !r.ownRequests(v) {
			r.warn(line, "service="+v.service+" without login and request: no server is ever well", "add login, passwd, database and request")
		}
	case "dns":
		if receive == nil && !r.ownRequests(v) {
			r.warn(line, "service=dns without receive: ldirectord finds no server well", "add receive with the address wanted")
		}
		if !has("request") && !r.ownRequests(v) {
			r.warn(line, "service=dns without request asks for the name \"\"", "add request with a name")
		}
	case "simpletcp":
		if receive == nil && !r.ownRequests(v) {
			r.warn(line, "service=simpletcp without receive: what ldirectord makes of the answer cannot be foretold", "add receive")
		}
	case "ftp":
		if receive == nil && !r.ownRequests(v) {
			r.warn(line, "service=ftp without receive: what ldirectord makes of the file cannot be foretold", "add request and receive")
		}
	case "radius":
		if !has("secret") {
			r.warn(line, "service=radius without secret: no server answers", "add secret")
		}
	}
	if v.arg("httpmethod") == "HEAD" && receive != nil && strings.HasPrefix(v.service, "http") {
		r.warn(receive.line, "receive: an answer to HEAD has no body to find it in", "use httpmethod=GET, or remove receive")
	}
}

func (r *reader) ownRequests(v *virtual) bool {
	return len(v.reals) > 0 && !slices.ContainsFunc(v.reals, func(re *real) bool { return !re.own })
}

func (r *reader) lintExternal(v *virtual, line int) {
	st := v.settings["checkcommand"]
	switch {
	case st == nil:
		r.warn(line, "checktype="+v.checkType()+" without checkcommand runs /bin/true: every server is well", "add checkcommand")
	case strings.ContainsAny(st.arg, blanks):
		r.warn(st.line, fmt.Sprintf("checkcommand: %q is taken as the path of one file, blanks and all", st.arg), "put the arguments into a script")
	}
}

// lintPatterns compiles what is to be received.
func (r *reader) lintPatterns(v *virtual, known map[string]error) {
	try := func(line int, pattern string) {
		err, ok := known[pattern]
		if !ok {
			_, err = check.ParsePattern(pattern)
			known[pattern] = err
		}
		if err != nil {
			r.warn(line, fmt.Sprintf("receive: %v", err), "ldirectord would die of it at the first check")
		}
	}
	if st := v.settings["receive"]; st != nil {
		try(st.line, st.arg)
	}
	for _, re := range v.reals {
		if re.own {
			try(re.line, re.receive)
		}
	}
}

func (r *reader) lintReals(v *virtual) {
	if len(v.reals) == 0 && v.found {
		r.warn(v.stmt.line, v.stmt.name+"="+v.stmt.head.String()+": has no real server", "add real=ADDRESS:PORT METHOD lines")
	}
	first := map[netip.AddrPort]int{}
	for _, re := range v.reals {
		if !re.found {
			continue
		}
		r.lintReal(v, re)
		if !v.found {
			continue
		}
		for a := re.from; ; a = a.Next() {
			d := v.destination(a, re.portNum, re.method).Addr
			if was, twice := first[d]; twice {
				r.warn(re.line, fmt.Sprintf("real: %v is in this virtual already, by line %d", d, was), "remove one; the last one that is well counts")
				break
			}
			first[d] = re.line
			if a == re.to {
				break
			}
		}
	}
}

func (r *reader) lintReal(v *virtual, re *real) {
	if number32(re.weight) > maxWeight {
		r.warn(re.line, fmt.Sprintf("real: weight %s is taken as %d, the most there is", re.weight, maxWeight), "")
	}
	if _, literal := aton(re.host); literal && !fullAddress(re.host) {
		r.warn(re.line, fmt.Sprintf("real: %s is read as %v", re.host, re.from), "write the address in full")
	}
	if l, u := number32(re.lower), number32(re.upper); u > 0 && l > u {
		r.warn(re.line, fmt.Sprintf("real: the lower threshold %d is above the upper one, %d", l, u), "swap them")
	}
	if !v.found || v.proto == "fwm" {
		return
	}
	port := v.key.Addr.Port()
	if re.portNum != 0 && re.portNum != port && re.method != "masq" {
		r.warn(re.line, fmt.Sprintf("real: %s cannot change the port; the server is sent packets for port %d, not %d", re.method, port, re.portNum),
			"use masq, or the virtual's port; checkport says where to check")
	}
	if re.portNum == 0 && re.method == "masq" {
		r.warn(re.line, "real: without a port, masq sends packets to port 0", fmt.Sprintf("write :%d", port))
	}
	if re.portNum == 0 && v.asks() && v.arg("checkport") == "" && v.checkPort(re) != port {
		r.warn(re.line, fmt.Sprintf("real: without a port it is checked on port %d, that of service %s", v.checkPort(re), v.service), fmt.Sprintf("write :%d", port))
	}
}

// asks tells whether a check connects to a port.
func (v *virtual) asks() bool {
	k := v.checkType()
	return k == "connect" && v.proto != "udp" || (k == "negotiate" || allDigits(k)) && v.service != "none"
}
