package ldirectord

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/lvs"
)

// scope is where a directive stands.
type scope uint8

const (
	top scope = 1 << iota
	inner
	both = top | inner
)

// directive is a word of the language and how ldirectord reads what is behind
// its "=".
type directive struct {
	name  string
	where scope
	style style
	// take is ldirectord's reading of a value: what it keeps, or why it refuses
	// the file, in its words.
	take func(value string, in scope) (kept, refusal string)
}

// style is how a directive's value is written.
type style uint8

const (
	word   style = iota // a word or a number; what follows it does not matter
	whole               // the rest of the line, trailing blanks and all
	quoted              // in double quotes, which must be there
	loose               // in double quotes, or the rest of the line
	list                // of mail addresses: the rest of the line, perhaps in quotes
	server              // real and fallback, which have files of their own
)

// Refusals whose full text needs more than the value.
const (
	unknownCommand = "Unknown command"
	monitorRefused = "unable to open monitorfile "
)

const deprecated = "connecttimeout directive deprecated in favour of negotiatetimeout"

// directives is the language. "virtual" and "virtual6" are not here: they begin
// a block. It is made when it is first needed, as patterns are.
var directives = sync.OnceValue(func() map[string]directive {
	return map[string]directive{
		"checktimeout":     {where: both, take: count("invalid check timeout", false)},
		"negotiatetimeout": {where: both, take: count("invalid negotiate timeout", false)},
		"checkinterval": {where: both, take: byScope(count("invalid check interval", true),
			count("invalid checkinterval", true))},
		"checkcount":   {where: both, take: count("invalid check count", true)},
		"failurecount": {where: both, take: count("invalid failure count", true)},
		"connecttimeout": {where: both, take: func(string, scope) (string, string) {
			return "", deprecated
		}},
		"timeout": {where: top, take: func(string, scope) (string, string) {
			return "", "timeout directive deprecated in favour of checktimeout and negotiatetimeout"
		}},
		"fallback":         {where: both, style: server},
		"fallback6":        {where: both, style: server},
		"fallbackcommand":  {where: both, style: loose, take: fallbackCommand},
		"quiescent":        {where: both, style: whole, take: yesNo("quiescent")},
		"cleanstop":        {where: both, style: whole, take: yesNo("cleanstop")},
		"emailalert":       {where: both, style: list, take: mailList},
		"emailalertfreq":   {where: both, take: mailFrequency},
		"emailalertstatus": {where: both, style: whole, take: mailStates},
		"smtp":             {where: both, take: matching(`^[0-9A-Za-z._+-]+`, "invalid SMTP server address")},

		"autoreload":     {where: top, style: whole, take: yesNo("autoreload")},
		"callback":       {where: top, style: quoted, take: inQuotes("")},
		"logfile":        {where: top, style: quoted, take: inQuotes("")},
		"execute":        {where: top, style: whole, take: rest("")},
		"fork":           {where: top, style: whole, take: yesNo("fork")},
		"supervised":     {where: top, style: whole, take: yesNo("supervised")},
		"readdquiescent": {where: top, style: whole, take: yesNo("readdquiescent")},
		"emailalertfrom": {where: top, style: whole, take: rest("no email from address specified")},
		"maintenancedir": {where: top, style: whole, take: rest("maintenance directory not specified")},

		"real":         {where: inner, style: server},
		"real6":        {where: inner, style: server},
		"request":      {where: inner, style: quoted, take: inQuotes("no request string specified")},
		"receive":      {where: inner, style: quoted, take: inQuotes("invalid receive string")},
		"checktype":    {where: inner, take: checkType},
		"checkcommand": {where: inner, style: loose, take: quotesOrRest("invalid check command")},
		"checkport":    {where: inner, take: checkPort},
		"login":        {where: inner, style: quoted, take: inQuotes("invalid login string")},
		"passwd":       {where: inner, style: quoted, take: inQuotes("invalid password")},
		"database":     {where: inner, style: quoted, take: inQuotes("invalid database")},
		"secret":       {where: inner, style: quoted, take: inQuotes("invalid secret")},
		"load":         {where: inner, style: quoted, take: load},
		"scheduler": {where: inner, take: matching(`[a-z]+`,
			"invalid scheduler, should be only lowercase letters (a-z)")},
		"persistent":  {where: inner, take: matching(`[0-9]+`, "invalid persistent timeout")},
		"schedflags":  {where: inner, take: matching(`[^\t-\r ]+`, "invalid sched-flags")},
		"netmask":     {where: inner, style: whole, take: rest("")}, // by family, see block
		"protocol":    {where: inner, take: matching(`[0-9A-Za-z_]+`, "invalid protocol")},
		"ops":         {where: inner, style: whole, take: yesNo("ops")},
		"service":     {where: inner, take: serviceName},
		"httpmethod":  {where: inner, take: httpMethod},
		"virtualhost": {where: inner, style: list, take: virtualHost},
		"monitorfile": {where: inner, style: loose, take: quotesOrRest(monitorRefused + ": No such file or directory")},
		"servicename": {where: inner, style: whole, take: rest("")},
		"comment":     {where: inner, style: whole, take: rest("")},
	}
})

// directiveNamed finds a directive by its exact name.
func directiveNamed(name string) (directive, bool) {
	d, ok := directives()[name]
	d.name = name
	return d, ok
}

// directiveNames are all directives of a scope, for hints.
func directiveNames(in scope) []string {
	all := []string{"virtual", "virtual6"}
	for name, d := range directives() {
		if d.where&in != 0 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

var (
	serviceNames = []string{"dns", "ftp", "http", "https", "http_proxy", "imap", "imaps", "ldap", "ldaps", "mysql",
		"nntp", "none", "oracle", "pop", "pops", "radius", "pgsql", "simpletcp", "sip", "smtp", "submission"}
	checkTypes  = []string{"connect", "negotiate", "ping", "off", "on", "external", "external-perl"}
	methodNames = []string{"gate", "masq", "ipip"}
	schedulers  = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}
	alertStates = []string{"all", "none", "starting", "running", "stopping", "reloading"}
)

// servicePorts are the standard ports of the services that can be asked. A
// virtual on one of these ports is checked with that service.
var servicePorts = sync.OnceValue(func() map[string]uint16 {
	return map[string]uint16{
		"ftp": 21, "smtp": 25, "dns": 53, "http": 80, "pop": 110, "nntp": 119, "imap": 143, "ldap": 389, "https": 443,
		"submission": 587, "ldaps": 636, "imaps": 993, "pops": 995, "oracle": 1521, "radius": 1812, "http_proxy": 3128,
		"mysql": 3306, "sip": 5060, "pgsql": 5432,
	}
})

type taker = func(value string, in scope) (kept, refusal string)

func byScope(global, virtual taker) taker {
	return func(v string, in scope) (string, string) {
		if in == top {
			return global(v, in)
		}
		return virtual(v, in)
	}
}

var digits = pattern{src: `[0-9]+`}

// count takes the first digits of a value. Nought is refused where it is
// written "0"; written "00" ldirectord lets it pass, but for the global
// timeouts. Global refusals end with the word "value".
func count(refusal string, zeros bool) taker {
	return func(v string, in scope) (string, string) {
		n := digits.re().FindString(v)
		bad := n == "" || n == "0" || in == top && !zeros && strings.Trim(n, "0") == ""
		switch {
		case bad && in == top:
			return "", refusal + " value"
		case bad:
			return "", refusal
		}
		return n, ""
	}
}

func yesNo(name string) taker {
	return func(v string, _ scope) (string, string) {
		if v != "yes" && v != "no" {
			return "", name + " must be 'yes' or 'no'"
		}
		return v, ""
	}
}

// between takes what stands between a leading double quote and the last one.
func between(v string) (string, bool) {
	last := strings.LastIndexByte(v, '"')
	if last < 1 || v[0] != '"' {
		return "", false
	}
	return v[1:last], true
}

// inQuotes needs the quotes; an empty string is refused unless there is nothing
// to say about it.
func inQuotes(empty string) taker {
	return func(v string, _ scope) (string, string) {
		s, ok := between(v)
		switch {
		case !ok:
			return "", unknownCommand
		case s == "":
			return "", empty
		}
		return s, ""
	}
}

func quotesOrRest(empty string) taker {
	return func(v string, _ scope) (string, string) {
		s, ok := between(v)
		if !ok {
			s = v
		}
		if s == "" {
			return "", empty
		}
		return s, ""
	}
}

func rest(empty string) taker {
	return func(v string, _ scope) (string, string) {
		if v == "" {
			return "", empty
		}
		return v, ""
	}
}

// matching takes the first match of a pattern.
func matching(pattern, refusal string) taker {
	re := regexp.MustCompile(pattern)
	return func(v string, _ scope) (string, string) {
		m := re.FindString(v)
		if m == "" {
			return "", refusal
		}
		return m, ""
	}
}

// fallbackCommand leaves the quotes of a global command to the shell.
func fallbackCommand(v string, in scope) (string, string) {
	if in == top {
		return rest("invalid fallback command")(v, in)
	}
	return quotesOrRest("invalid fallback command")(v, in)
}

func withSlash(request string) string {
	if strings.HasPrefix(request, "/") {
		return request
	}
	return "/" + request
}

var words = pattern{src: `[0-9A-Za-z_]+`}

func load(v string, in scope) (string, string) {
	s, refusal := inQuotes("invalid string for load testing")(v, in)
	if refusal != "" {
		return "", refusal
	}
	w := words.re().FindString(s)
	if w == "" {
		return "", "invalid string for load testing"
	}
	return w, ""
}

var dashed = pattern{src: `[0-9A-Za-z_-]+`}

func checkType(v string, _ scope) (string, string) {
	if n := digits.re().FindString(v); n != "" {
		return n, ""
	}
	if t := dashed.re().FindString(v); slices.Contains(checkTypes, t) {
		return t, ""
	}
	return "", `checktype must be "connect", "negotiate", "on", "off", "ping", "external", "external-perl" or a positive number`
}

func checkPort(v string, _ scope) (string, string) {
	n := digits.re().FindString(v)
	if n == "" {
		return "", "invalid port"
	}
	if p, err := strconv.ParseUint(n, 10, 16); err != nil || p == 0 {
		return "", "checkport must be in range 1..65536"
	}
	return n, ""
}

func serviceName(v string, _ scope) (string, string) {
	if s := words.re().FindString(v); slices.Contains(serviceNames, s) {
		return s, ""
	}
	return "", "service must be dns, ftp, http, https, http_proxy, imap, imaps, ldap, ldaps, mysql, nntp, none, " +
		"oracle, pop, pops, radius, pgsql, simpletcp, sip, smtp or submission"
}

func httpMethod(v string, _ scope) (string, string) {
	if m := strings.ToUpper(words.re().FindString(v)); m == "GET" || m == "HEAD" {
		return m, ""
	}
	return "", "httpmethod must be GET or HEAD"
}

var upToQuote = pattern{src: `^"?([^"]*)`}

func virtualHost(v string, _ scope) (string, string) {
	return upToQuote.re().FindStringSubmatch(v)[1], ""
}

var enclosed = pattern{src: `^"([^"]*)"$`}

func mailList(v string, _ scope) (string, string) {
	if m := enclosed.re().FindStringSubmatch(v); m != nil {
		v = m[1]
	}
	if v == "" {
		return "", "no email address specified"
	}
	return v, ""
}

var leadingDigits = pattern{src: `^[0-9]+`}

func mailFrequency(v string, _ scope) (string, string) {
	if n := leadingDigits.re().FindString(v); n != "" {
		return n, ""
	}
	return "", "invalid email alert frequency"
}

var commas = pattern{src: `[\t-\r ]*,[\t-\r ]*`}

// mailStates takes a list of states. An empty one is as good as none.
func mailStates(v string, _ scope) (string, string) {
	states := commas.re().Split(v, -1)
	for len(states) > 0 && states[len(states)-1] == "" {
		states = states[:len(states)-1]
	}
	if len(states) == 0 {
		return "none", ""
	}
	none := slices.Contains(states, "none")
	for _, s := range states {
		switch {
		case !slices.Contains(alertStates, s):
			return "", `invalid email alert status at: "` + s + `"`
		case none && s != "none":
			return "", `invalid email alert status: "` + s + `" specified with "none"`
		}
	}
	return strings.Join(states, ","), ""
}

var dottedQuad = pattern{src: `^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`}

func acceptNetmask(v string, f lvs.Family) string {
	if f == lvs.IPv6 {
		if n, err := strconv.ParseUint(v, 10, 8); err != nil || n < 1 || n > 128 {
			return "invalid netmask: a prefix length between 1 and 128 is required"
		}
		return ""
	}
	if !dottedQuad.re().MatchString(v) {
		return "invalid netmask: dotted quad notation is required"
	}
	return ""
}
