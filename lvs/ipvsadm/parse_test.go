package ipvsadm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
)

// noNames knows no name at all.
type noNames struct{}

func (noNames) Host(string) (netip.Addr, bool)               { return netip.Addr{}, false }
func (noNames) HostName(netip.Addr) (string, bool)           { return "", false }
func (noNames) Port(string, lvs.Protocol) (uint16, bool)     { return 0, false }
func (noNames) PortName(uint16, lvs.Protocol) (string, bool) { return "", false }

// The transcripts hold the grammar against the peer. Here are the places in
// which we differ from it on purpose, and the bounds of what is read.
func TestParseWhereThePeerIsWrong(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"-A -t [1.2.3.4]:80", "illegal virtual server address[:port] specified"},
		{"-A -t [localhost]:80", "illegal virtual server address[:port] specified"},
		{"-A -t 10.0.0.1:80 -p -M 24", "-A -t 10.0.0.1:80 -s wlc -p 360 -M 255.255.255.0"},
		{"-A -t 10.0.0.1:80 -p -M 0", "-A -t 10.0.0.1:80 -s wlc -p 360 -M 0.0.0.0"},
		{"-A -t 10.0.0.1:80 -p -M 32", "-A -t 10.0.0.1:80 -s wlc -p 360"},
		{"-A -t [fd00::1]:80 -p -M 64x", "illegal ipv6 netmask specified"},
		{"-A -t 10.0.0.1:80 -b ,", "invalid scheduler flag `,'"},
		{"-A -t 10.0.0.1:80 -b=", "invalid scheduler flag `'"},
		{"-A -f 4294967295", "-A -f 4294967295 -s wlc"},
		{"-A -t 10.0.0.1:80 -s " + strings.Repeat("x", 20), "-A -t 10.0.0.1:80 -s " + strings.Repeat("x", 15)},
		{"-A -u 10.0.0.1:80 --pe " + strings.Repeat("x", 20), "-A -u 10.0.0.1:80 -s wlc --pe " + strings.Repeat("x", 15)},
		{"-Z -t 0.0.0.0:0", "-Z -t 0.0.0.0:0"},
		{"-Z", "-Z"},
	} {
		if got := outcome(strings.Fields(c.line)); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
}

// outcome is the change that a line makes, or its refusal.
func outcome(args []string) string {
	cmd, err := Parse(args, noNames{})
	if err != nil {
		return err.Error()
	}
	return Line(cmd.Change)
}

func TestNumberReadsLikeStrtol(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"5", 5, true}, {" 5", 5, true}, {"\t\n\v\f\r5", 5, true}, {"+5", 5, true}, {"-5", -5, true}, {"-0", 0, true},
		{"007", 7, true}, {"100", 100, true}, {"-100", -100, true},
		{"", 0, false}, {" ", 0, false}, {"+", 0, false}, {"-", 0, false}, {"+-5", 0, false}, {"--5", 0, false},
		{"5 ", 0, false}, {"5x", 0, false}, {"0x5", 0, false}, {"1_0", 0, false}, {"+ 5", 0, false}, {"++5", 0, false},
		{"101", 0, false}, {"-101", 0, false}, {"99999999999999999999", 0, false}, {"٣", 0, false},
	} {
		n, ok := number(c.in, -100, 100)
		if ok != c.ok || ok && n != c.want {
			t.Errorf("number(%q) = %d, %v; want %d, %v", c.in, n, ok, c.want, c.ok)
		}
	}
}

func TestAddressesPrintLikeInetNtop(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"::", "::"}, {"::1", "::1"}, {"::ffff", "::ffff"}, {"::1:0", "::0.1.0.0"}, {"::102:304", "::1.2.3.4"},
		{"::1:0:2", "::1:0:2"}, {"::ffff:1.2.3.4", "::ffff:1.2.3.4"}, {"fd00:0:0:1::1", "fd00:0:0:1::1"},
		{"1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"}, {"10.0.0.1", "10.0.0.1"},
	} {
		if got := string(appendAddr(nil, netip.MustParseAddr(c.in))); got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}

// Whatever the words are, the answer is a command or one of ipvsadm's two
// statuses, and a change that is a command prints as a line that is the same
// change.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"-A\x00-t\x0010.0.0.1:80\x00-s\x00rr", "-a\x00-t\x00[fd00::1]:80\x00-r\x00fd00::2\x00-i\x00--tun-type=gue\x00--tun-port\x009",
		"-LnX\x00--stats", "--set\x001\x002\x003", "--start-daemon=master\x00--mcast-group\x00ff02::1", "-Af1\x00-6\x00-p\x00-bflag-1,flag-3", "-p\x00--\x00-x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		cmd, err := Parse(args, noNames{})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != statusRefused && e.Status != statusKernel {
				t.Fatalf("%q: %v", args, err)
			}
			return
		}
		if !cmd.changes() {
			return
		}
		if !isWord(cmd.Change.Service.Scheduler) || !isWord(cmd.Change.Service.PE) {
			return // a shell can type it, a line of rules cannot
		}
		text := Line(cmd.Change)
		again, err := Parse(strings.Fields(text), noNames{})
		if err != nil || again.Change != cmd.Change {
			t.Fatalf("%q\nprints as %q\nwhich is   %+v, %v\nnot        %+v", args, text, again.Change, err, cmd.Change)
		}
	})
}

func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Without an option of the table, or with one too many, a command is refused by
// name.
func TestEveryCommandAndOptionIsInTheTable(t *testing.T) {
	for i := range words {
		w := &words[i]
		if w.isCommand() {
			if grammarRules[w.verb].name == "" {
				t.Errorf("--%s has no row", w.long)
			}
			continue
		}
		if w.opt != optFree && optionNames[w.opt] == "" {
			t.Errorf("--%s has no name", w.long)
		}
		if w.long != "" && findLong(w.long) != w || w.short != 0 && findShort(w.short) != w {
			t.Errorf("-%c --%s stands for two options", w.short, w.long)
		}
	}
	var all options
	for _, r := range grammarRules {
		all |= r.need | r.may | r.one
	}
	for o := range numOptions {
		if !all.has(o) {
			t.Errorf("no command takes '%s'", optionNames[o])
		}
	}
}

func TestUsageNamesEveryWord(t *testing.T) {
	for i := range words {
		if w := &words[i]; w.long != "" && !strings.Contains(usageText, "--"+w.long) {
			t.Errorf("the usage does not name --%s", w.long)
		}
	}
	if !strings.Contains(usageText[strings.Index(usageText, "Example:"):], "PROG -Ln\n") {
		t.Error("the usage does not end in an example")
	}
}

// The peer's order on random addresses, against the definition done slowly.
func TestSortIsAMergeSortBySignedDifference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := rng.IntN(12)
		v := make([]uint32, n)
		for i := range v {
			v[i] = rng.Uint32() &^ 0xffffff
		}
		var s sorter
		order := s.sort(n, func(i, j int) int { return difference(v[i], v[j]) })
		var got []uint32
		for _, i := range order {
			got = append(got, v[i])
		}
		if want := slowSort(v); !slices.Equal(got, want) {
			t.Fatalf("%x: %x, want %x", v, got, want)
		}
	}
}

func slowSort(v []uint32) []uint32 {
	if len(v) < 2 {
		return v
	}
	a, b := slowSort(v[:len(v)/2]), slowSort(v[len(v)/2:])
	var out []uint32
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && int32(a[0]-b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return out
}

// The order of the peer, from the order in which the kernel had them: where the
// comparison runs in rings, nothing but the same way of sorting gives it.
func TestOrderOfThePeer(t *testing.T) {
	text, err := os.ReadFile("testdata/order.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(string(text), "\n[")[1:] {
		name, lines, _ := strings.Cut(section, "]\n")
		var st lvs.State
		var want []string
		for line := range strings.Lines(lines) {
			have, sorted, ok := strings.Cut(line, "|")
			if !ok {
				continue
			}
			want = append(want, strings.TrimSpace(sorted))
			key, server := entryOf(t, strings.TrimSpace(have))
			if server.IsValid() {
				last := &st[len(st)-1]
				last.Destinations = append(last.Destinations, lvs.DestinationState{Destination: lvs.Destination{Addr: server}})
				continue
			}
			st = append(st, lvs.ServiceState{Service: lvs.NewService(key, "rr")})
		}
		if got := inOrder(st); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// entryOf reads a service, "TCP 10.0.0.1:80" or "FWM 7 IPv6", or a server,
// "-> 10.0.0.2:80".
func entryOf(t *testing.T, text string) (lvs.Key, netip.AddrPort) {
	t.Helper()
	kind, rest, _ := strings.Cut(text, " ")
	var mark uint32
	if n, err := fmt.Sscanf(rest, "%d", &mark); kind == "FWM" && n == 1 && err == nil {
		if strings.HasSuffix(rest, " IPv6") {
			return lvs.Marked(mark, lvs.IPv6), netip.AddrPort{}
		}
		return lvs.Marked(mark, lvs.IPv4), netip.AddrPort{}
	}
	addr := netip.MustParseAddrPort(rest)
	if kind == "->" {
		return lvs.Key{}, addr
	}
	return lvs.At(protocolOf(kind), addr), netip.AddrPort{}
}

func inOrder(st lvs.State) (lines []string) {
	var services, servers sorter
	for _, i := range serviceOrder(&services, st, false) {
		lines = append(lines, st[i].Key.String())
		ds := st[i].Destinations
		for _, j := range serverOrder(&servers, ds, false) {
			lines = append(lines, "-> "+ds[j].Addr.String())
		}
	}
	return lines
}
