package ipvsadm_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// The files in testdata/transcripts are conversations with ipvsadm 1.31 on
// Linux 6.1, recorded from the real program:
//
//	[name]
//	$ ARGS       a command line, words quoted as in a shell; $save and $restore are the scripts
//	< LINE       standard input; "<-" means that it ends without a newline
//	> LINE       standard output; ">-" the same
//	! LINE       standard error
//	= STATUS     exit status, when it is not 0
//	~            only the first line of the output is the peer's
//
// Here the same words are said to the fake kernel. Between the cases it is new.

type step struct {
	file         string
	line         int
	prog         string
	args         []string
	in, out, err string
	status       int
	firstLine    bool
}

type conversation struct {
	name  string
	steps []*step
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		for _, c := range readTranscripts(t, file) {
			t.Run(c.name, func(t *testing.T) {
				k := lvstest.New()
				for _, s := range c.steps {
					s.run(t, k)
				}
			})
		}
	}
}

func (s *step) run(t *testing.T, k ipvsadm.Kernel) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program(k, s.in, &out, &errs)
	run := map[string]func([]string) int{"$": p.Run, "$save": p.RunSave, "$restore": p.RunRestore}[s.prog]
	if s.prog == "$save" {
		p.Name = "ipvsadm-save"
	}
	status := run(s.args)
	at := fmt.Sprintf("%s:%d: %s %q", s.file, s.line, s.prog, s.args)
	if status != s.status {
		t.Errorf("%s: exit status %d, want %d", at, status, s.status)
	}
	got := out.String()
	if s.firstLine {
		got = got[:strings.Index(got, "\n")+1]
	}
	if got != s.out {
		t.Errorf("%s: standard output\n%s", at, difference(got, s.out))
	}
	if got := errs.String(); got != s.err {
		t.Errorf("%s: standard error\n%s", at, difference(got, s.err))
	}
}

func program(k ipvsadm.Kernel, in string, out, errs *bytes.Buffer) *ipvsadm.Program {
	return &ipvsadm.Program{
		Name: "ipvsadm", Open: func() (ipvsadm.Kernel, error) { return k, nil },
		Stdin: strings.NewReader(in), Stdout: out, Stderr: errs, Names: testNames{},
	}
}

// difference shows the first line that differs.
func difference(got, want string) string {
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, a, b)
		}
	}
	return "no difference"
}

func readTranscripts(t *testing.T, file string) []conversation {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cs []conversation
	var s *step
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || mark == "#":
		case line[0] == '[':
			cs = append(cs, conversation{name: strings.Trim(line, "[]")})
		case mark == "$" || mark == "$save" || mark == "$restore":
			s = &step{file: file, line: i + 1, prog: mark, args: shellWords(t, rest)}
			c := &cs[len(cs)-1]
			c.steps = append(c.steps, s)
		default:
			s.add(t, mark, rest)
		}
	}
	return cs
}

func (s *step) add(t *testing.T, mark, rest string) {
	t.Helper()
	switch mark {
	case "<":
		s.in += rest + "\n"
	case "<-":
		s.in = strings.TrimSuffix(s.in, "\n")
	case ">":
		s.out += rest + "\n"
	case ">-":
		s.out = strings.TrimSuffix(s.out, "\n")
	case "!":
		s.err += rest + "\n"
	case "~":
		s.firstLine = true
	case "=":
		if _, err := fmt.Sscan(rest, &s.status); err != nil {
			t.Fatalf("%s:%d: status %q: %v", s.file, s.line, rest, err)
		}
	default:
		t.Fatalf("%s:%d: cannot read %q", s.file, s.line, mark+" "+rest)
	}
}

// shellWords splits words that may be in single quotes.
func shellWords(t *testing.T, s string) (words []string) {
	t.Helper()
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		word := ""
		for s != "" && s[0] != ' ' {
			if s[0] == '\'' {
				inner, rest, ok := strings.Cut(s[1:], "'")
				if !ok {
					t.Fatalf("no end of quote in %q", s)
				}
				word, s = word+inner, rest
				continue
			}
			word, s = word+s[:1], s[1:]
		}
		words = append(words, word)
	}
	return words
}

// testNames is a small /etc/hosts and /etc/services.
type testNames struct{}

var testHosts = []struct{ addr, name, alias string }{
	{"127.0.0.1", "localhost", ""},
	{"172.31.99.1", "vip.example", "vip"},
	{"172.31.99.1", "alias.example", ""},
	{"172.31.99.2", "a-very-long-host-name-for-a-real-server.example.org", "rslong"},
	{"172.31.99.9", "Mixed.Case.Example", ""},
	{"172.31.99.10", "two.names", ""},
	{"172.31.99.11", "two.names", ""},
	{"172.31.99.12", "first.of.two", ""},
	{"172.31.99.12", "second.of.two", ""},
	{"fd99::1", "six.example", ""},
	{"fd99::2", "a-very-long-host-name-for-a-sixlong-server.example.org", "sixlong"},
	{"fd99::3", "a-host-name-of-more-than-fifty-nine-bytes-would-be-cut-at.that.example.org", ""},
}

var testPorts = []struct {
	name  string
	port  uint16
	proto lvs.Protocol
}{
	{"ftp", 21, lvs.TCP}, {"ssh", 22, lvs.TCP}, {"domain", 53, lvs.TCP}, {"domain", 53, lvs.UDP},
	{"http", 80, lvs.TCP}, {"www", 80, lvs.TCP}, {"https", 443, lvs.TCP}, {"https", 443, lvs.UDP},
	{"shell", 514, lvs.TCP}, {"syslog", 514, lvs.TCP}, {"syslog", 514, lvs.UDP}, {"who", 513, lvs.UDP}, {"sip", 5060, lvs.TCP}, {"sip", 5060, lvs.UDP},
	{"amqp", 5672, lvs.TCP}, {"amqp", 5672, lvs.SCTP}, {"http-alt", 8080, lvs.TCP}, {"mdns", 5353, lvs.UDP},
	{"ntp", 123, lvs.UDP}, {"rtmp", 1, lvs.SCTP}, {"tcpmux", 1, lvs.TCP}, {"echo", 7, lvs.TCP}, {"echo", 7, lvs.UDP},
	{"discard", 9, lvs.TCP}, {"discard", 9, lvs.UDP},
}

func (testNames) Host(name string) (netip.Addr, bool) {
	for _, h := range testHosts {
		a := netip.MustParseAddr(h.addr)
		if strings.EqualFold(name, h.name) || h.alias != "" && strings.EqualFold(name, h.alias) {
			return a, a.Is4()
		}
	}
	return netip.Addr{}, false
}

func (testNames) HostName(a netip.Addr) (string, bool) {
	for _, h := range testHosts {
		if h.addr == a.String() {
			return h.name, true
		}
	}
	return "", false
}

func (testNames) Port(name string, p lvs.Protocol) (uint16, bool) {
	for _, e := range testPorts {
		if e.name == name && e.proto == p {
			return e.port, true
		}
	}
	return 0, false
}

func (testNames) PortName(port uint16, p lvs.Protocol) (string, bool) {
	for _, e := range testPorts {
		if e.port == port && e.proto == p {
			return e.name, true
		}
	}
	return "", false
}
