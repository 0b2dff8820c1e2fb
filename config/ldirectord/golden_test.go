package ldirectord

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// TestGolden reads each testdata/*.txt: a line or more about the case, then the
// section "input", then what the test finds. The words "lenient" and "offline"
// in the text in front choose the options.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	about, rest, ok := strings.Cut(string(text), "-- input --\n")
	if !ok {
		t.Fatal("no section input")
	}
	input, _, _ := strings.Cut(rest, "-- problems --\n")
	opt := Options{Lenient: strings.Contains(about, "lenient"), Resolver: fakeNames{}, Append: appendable, IsDir: isDir}
	if strings.Contains(about, "offline") {
		opt.Resolver = nil
	}
	// Characters that an editor or a tool would spoil are written as escapes.
	source := strings.NewReplacer(`\r`, "\r", `\t`, "\t", `\_`, " ", `\ufeff`, bom, `\u3000`, "\u3000").Replace(input)
	got := about + "-- input --\n" + input + found("f.cf", source, opt)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != string(text) {
		t.Errorf("%s: run with -update and look at the difference; found:\n%s", path, got)
	}
}

// found is all that there is to say about a file, as text.
func found(name, source string, opt Options) string {
	f, problems := Parse(name, []byte(source), opt)
	var b strings.Builder
	b.WriteString("-- problems --\n")
	for _, p := range problems {
		fmt.Fprintf(&b, "%v: %v\n", p.Severity, p)
	}
	if all := f.Unlooked(); len(all) > 0 {
		b.WriteString("-- unlooked --\n")
		for _, p := range all {
			fmt.Fprintf(&b, "%v: %v\n", p.Severity, p)
		}
	}
	if r := f.Refusal(); r != nil {
		fmt.Fprintf(&b, "-- refusal --\n%s\n", r.Message(1))
	}
	b.WriteString("-- meaning --\n" + meaningText(f))
	b.WriteString("-- printed --\n" + printed(f))
	return b.String()
}

func printed(f *File) string {
	var b strings.Builder
	if err := f.Print(&b); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return b.String()
}

// meaningText is what a file means: globals that are not the default, then each
// virtual as ipvsadm would be told, with its checks and policy.
func meaningText(f *File) string {
	var b strings.Builder
	defaults := fmt.Sprintf("%+v", (&File{}).Globals())
	if g := fmt.Sprintf("%+v", f.Globals()); g != defaults {
		for i, field := range strings.Split(globalFields(f.Globals()), "\n") {
			if field != strings.Split(globalFields((&File{}).Globals()), "\n")[i] {
				b.WriteString(field + "\n")
			}
		}
	}
	for _, v := range f.Virtuals() {
		virtualText(&b, v)
	}
	return b.String()
}

func globalFields(g Globals) string {
	return fmt.Sprintf("checktimeout %v\nnegotiatetimeout %v\ncheckinterval %v\ncheckcount %d\nfailurecount %d\nautoreload %v\ncallback %q\n"+
		"fallbackcommand %q\nlogfile %q\nlogfacility %q\nexecute %q\nfork %v\nsupervised %v\nquiescent %v\nreaddquiescent %v\ncleanstop %v\nalert %+v\nmaintenancedir %q",
		g.CheckTimeout, g.NegotiateTimeout, g.CheckInterval, g.CheckCount, g.FailureCount, g.AutoReload, g.Callback, g.FallbackCommand,
		g.LogFile, g.LogFacility, g.Execute, g.Fork, g.Supervised, g.Quiescent, g.ReaddQuiescent, g.CleanStop, g.Alert, g.MaintenanceDir)
}

func virtualText(b *strings.Builder, v ldirector.Virtual) {
	s := v.Service
	fmt.Fprintf(b, "-A %v -s %s", s.Key, s.Scheduler)
	if s.Flags&lvs.Persistent != 0 {
		fmt.Fprintf(b, " -p %d", s.Timeout)
	}
	if s.Netmask != s.FullMask() {
		fmt.Fprintf(b, " -M %x", s.Netmask)
	}
	if extra := s.Flags &^ lvs.Persistent; extra != 0 {
		fmt.Fprintf(b, " flags %#x", uint32(extra))
	}
	b.WriteByte('\n')
	for _, m := range v.Members {
		fmt.Fprintf(b, "  -a %s\n", destinationText(m.Destination))
		if name := m.Destination.Addr.String(); m.Name != name || m.Host != "" || m.Off {
			fmt.Fprintf(b, "     name %q host %q off %v\n", m.Name, m.Host, m.Off)
		}
		for _, c := range m.Checks {
			fmt.Fprintf(b, "     check %s\n       %T%+v every %v within %v fall %d\n", c.ID, c.Probe, c.Probe, c.Interval, c.Timeout, c.Fall)
		}
	}
	if v.Fallback != nil {
		fmt.Fprintf(b, "  fallback %s\n", destinationText(*v.Fallback))
	}
	for _, extra := range []struct {
		what string
		is   bool
		text string
	}{
		{"policy", v.Policy != ldirector.Policy{CleanStop: true}, fmt.Sprintf("%+v", v.Policy)},
		{"hook", v.Hooks.Fallback != "", fmt.Sprintf("%q", v.Hooks.Fallback)},
		{"alert", v.Alert.To != nil, fmt.Sprintf("%+v", v.Alert)},
		{"name", v.Name+v.Comment+v.MonitorFile != "", fmt.Sprintf("%q comment %q monitorfile %q", v.Name, v.Comment, v.MonitorFile)},
	} {
		if extra.is {
			fmt.Fprintf(b, "  %s %s\n", extra.what, extra.text)
		}
	}
}

func destinationText(d lvs.Destination) string {
	s := fmt.Sprintf("%v %v -w %d", d.Addr, d.Method, d.Weight)
	if d.Upper+d.Lower > 0 {
		s += fmt.Sprintf(" -x %d -y %d", d.Upper, d.Lower)
	}
	return s
}

// fakeNames knows web1 and web2, in both families, and the well-known ports.
type fakeNames struct{}

func (fakeNames) Addr(host string, f lvs.Family) (netip.Addr, error) {
	known := map[string]string{"web1 IPv4": "10.0.0.11", "web2 IPv4": "10.0.0.12", "web1 IPv6": "fd00::11", "vip IPv4": "10.0.0.100"}
	a, ok := known[host+" "+f.String()]
	if !ok {
		return netip.Addr{}, errors.New("no such host")
	}
	return netip.MustParseAddr(a), nil
}

func (fakeNames) Port(name, protocol string) (uint16, error) {
	s := system{services: func() []service { return parseServices(wellKnown) }}
	return s.Port(name, protocol)
}

func appendable(path string) error {
	if strings.HasPrefix(path, "/nowhere") {
		return os.ErrPermission
	}
	return nil
}

func isDir(path string) bool { return !strings.HasPrefix(path, "/nowhere") }

// TestCanonicalForm holds the laws of the printer over the golden inputs: what
// is printed is what ldirectord takes, means the same, and prints as itself.
func TestCanonicalForm(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	checked := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- input --\n")
		input, _, _ := strings.Cut(rest, "-- problems --\n")
		if checkCanonical(t, input, fakeNames{}) {
			checked++
		}
	}
	if checked < 10 {
		t.Errorf("only %d files could be checked", checked)
	}
}

// checkCanonical tells whether the file is one that a person can read in full.
func checkCanonical(t *testing.T, input string, names Resolver) bool {
	t.Helper()
	opt := Options{Lenient: true, Resolver: names}
	f, problems := Parse("f.cf", []byte(input), opt)
	if f.Text() != strings.TrimSuffix(input, "\n") && input != "" {
		t.Errorf("the tree lost text:\n%q\n%q", input, f.Text())
	}
	if config.Errors(problems) {
		return false
	}
	once := printed(f)
	g, problems := Parse("f.cf", []byte(once), Options{Resolver: names})
	if r := g.Refusal(); r != nil {
		t.Errorf("ldirectord would refuse what is printed: %v\n%s\nof\n%s", r, once, input)
	}
	if config.Errors(problems) {
		t.Errorf("errors in what is printed: %v\n%s", problems, once)
	}
	if a, b := meaningText(f), meaningText(g); a != b {
		t.Errorf("printed, the file means something else:\n%s\n%s\nbefore\n%s\nafter\n%s", input, once, a, b)
	}
	if twice := printed(g); twice != once {
		t.Errorf("printing is not stable:\n%s\n%s", once, twice)
	}
	return true
}

// checkVerdict: strictly read, a file has errors exactly if ldirectord
// refuses it.
func checkVerdict(t *testing.T, input string, names Resolver) {
	t.Helper()
	f, problems := Parse("f.cf", []byte(input), Options{Resolver: names})
	if config.Errors(problems) != (f.Refusal() != nil) {
		t.Errorf("problems %v, refusal %v of\n%s", problems, f.Refusal(), input)
	}
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString("checkinterval=1\nquiescent=no\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "\n# service %d\nvirtual=10.1.%d.%d:80\n", i, i/250, i%250)
		for j := range 5 {
			fmt.Fprintf(&text, "\treal=10.2.%d.%d:80 gate %d \"a.html\", \"alpha\"  # server\n", i%250, j, j+1)
		}
		text.WriteString("\tservice=http\n\tscheduler=wlc\n")
	}
	src := []byte(text.String())
	b.SetBytes(int64(len(src)))
	b.ReportMetric(float64(strings.Count(text.String(), "\n")), "lines")
	for b.Loop() {
		f, problems := Parse("f.cf", src, Options{Resolver: fakeNames{}})
		if len(f.Virtuals()) != 1000 || len(problems) > 0 {
			b.Fatal(len(f.Virtuals()), problems)
		}
	}
}

// TestLargeFile keeps the reading of a large file, good or bad, well under a
// second where nothing else runs; what it would catch takes minutes.
func TestLargeFile(t *testing.T) {
	for name, line := range map[string]string{
		"heads":    "virtual=10.0.0.1:80\n",
		"unknown":  "\tnonsens=1\n",
		"lost":     "virtual=7\nreal=10.0.0.1 gate\n",
		"repeated": "virtual=7\n\trequest=\"x\"\n\trequest=\"x\"\n",
		"long":     strings.Repeat("x", 1000) + "\n",
		"quotes":   "virtual=7\n\treal=10.0.0.1 gate " + strings.Repeat(`"a" `, 200) + "\n",
	} {
		start := time.Now()
		Parse(name, []byte(strings.Repeat(line, 5000)), Options{Lenient: true})
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}
