package ipvsadm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// ruleWords are what random rules are made of: a few good lines, and the ways
// in which lines go wrong.
var ruleWords = []string{
	"-A -t 10.0.0.%d:80 -s rr", "-A -u 10.0.0.%d:53 -s wlc -o", "-E -t 10.0.0.%d:80 -s sh -b sh-port", "-D -t 10.0.0.%d:80",
	"-a -t 10.0.0.%d:80 -r 10.1.0.1:80 -g -w 1", "-a -t 10.0.0.%d:80 -r 10.1.0.2:80 -m -w 2", "-e -t 10.0.0.%d:80 -r 10.1.0.1 -g -w 7",
	"-d -t 10.0.0.%d:80 -r 10.1.0.1:80", "-a -f %d -r 10.0.0.1", "-A -t 10.0.0.%d:80 -s nosuch", "-Z -t 10.0.0.%d:80", "-C", "-Z",
	"-A -f %d --bogus", "-A -f %d -s", "", "  ", "ipvsadm -A -f %d",
	"-Ln -t 10.0.0.%d:80", "-Ln", "-Sn", "-Ln --stats", "--set 1 2 %d", "-L --timeout", "--start-daemon master --mcast-interface nosuch%d", "--stop-daemon backup",
	"-A -t 10.0.0.%d:80 extra", "-A -t x%d", "# %d", "-R", "-v", "-L -c",
}

func randomRules(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(60) {
		w := ruleWords[rng.IntN(18)] // mostly changes
		if rng.IntN(12) == 0 {
			w = ruleWords[rng.IntN(len(ruleWords))]
		}
		if strings.Contains(w, "%d") {
			w = fmt.Sprintf(w, 1+rng.IntN(4))
		}
		b.WriteString(w + "\n")
	}
	return b.String()
}

// A word of a rule is a C string to ipvsadm: a NUL ends the word, and what follows
// it up to the next blank is lost. The line goes on.
func TestRestoreNUL(t *testing.T) {
	for _, c := range []struct{ in, same string }{
		{"-A -f 1 -s rr\x00x\n", "-A -f 1 -s rr\n"},
		{"-A -f 1\x00 -s rr\n", "-A -f 1 -s rr\n"},
		{"ipvsadm\x00x -A -f 1\n-A -f 2\x00", "-A -f 1\n-A -f 2"},
		{"-A -t 10.0.0.1:80\x00\n-D -t 10.0.0.1:80 --nosort\x00\n", "-A -t 10.0.0.1:80\n-D -t 10.0.0.1:80 --nosort\n"},
	} {
		if got, want := restored(strings.NewReader(c.in)), restored(strings.NewReader(c.same)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q makes %+v, want %+v", c.in, got, want)
		}
	}
	// A word of nothing else is an empty one, and one too many.
	if got := restored(strings.NewReader("-A -f 1 \x00x\n")); got.err != "unexpected argument \n" {
		t.Errorf("an empty word: %+v", got)
	}
}

// Batches must not show: a restore is what its lines are, one by one. This is
// the law of -R written down slowly.
func TestRestoreIsItsLinesOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		text := randomRules(rng)
		want := oneByOne(t, text)
		for name, in := range map[string]io.Reader{
			"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text)),
		} {
			if got := restored(in); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s:\n%s\nmakes %+v\nwant  %+v", name, text, got, want)
			}
		}
	}
}

type result struct {
	status   int
	out, err string
	table    string
}

func restored(in io.Reader) result {
	k := lvstest.New()
	var out, errs bytes.Buffer
	p := program(k, "", &out, &errs)
	p.Stdin = in
	status := p.Run([]string{"-R"})
	return result{status, out.String(), errs.String(), rulesOf(k)}
}

func rulesOf(k *lvstest.Kernel) string {
	table, _ := k.Read()
	var b strings.Builder
	ipvsadm.Save(&b, table)
	return b.String()
}

// oneByOne runs every line as a program of its own, and stops where -R does.
func oneByOne(t *testing.T, text string) (r result) {
	t.Helper()
	k := lvstest.New()
	for line := range strings.SplitSeq(text, "\n") {
		args := strings.Fields(strings.ReplaceAll(line, "ipvsadm", ""))
		if len(args) == 0 {
			continue
		}
		var out, errs bytes.Buffer
		status := program(k, "", &out, &errs).Run(args)
		ends := status == 1 || status == 2 || args[0] == "-v" || strings.HasPrefix(errs.String(), "Try `")
		if args[0] == "-R" {
			status, ends = 255, true
			errs.WriteString("Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n")
		}
		r.status, r.out, r.err = status, r.out+out.String(), r.err+errs.String()
		if ends {
			break
		}
	}
	r.table = rulesOf(k)
	return r
}

// watched is input that looks into the kernel before it gives more.
type watched struct {
	lines []string
	check func(given int)
	given int
}

func (w *watched) Read(b []byte) (int, error) {
	w.check(w.given)
	if w.given == len(w.lines) {
		return 0, io.EOF
	}
	n := copy(b, w.lines[w.given]+"\n")
	w.given++
	return n, nil
}

func TestRestoreDoesWhatItHasBeforeItWaits(t *testing.T) {
	k := lvstest.New()
	in := &watched{check: func(given int) {
		if table, _ := k.Read(); len(table) != given {
			t.Errorf("%d services after %d lines", len(table), given)
		}
	}}
	for i := range 5 {
		in.lines = append(in.lines, fmt.Sprintf("-A -f %d", i+1))
	}
	if r := program(k, "", new(bytes.Buffer), new(bytes.Buffer)); true {
		r.Stdin = in
		r.Run([]string{"-R"})
	}
	if in.given != 5 {
		t.Errorf("read %d lines", in.given)
	}
}

// batches counts how changes come.
type batches struct {
	*lvstest.Kernel
	sizes []int
}

func (b *batches) Do(cs []lvs.Change) []error {
	b.sizes = append(b.sizes, len(cs))
	return make([]error, len(cs))
}

func TestRestoreSendsBatches(t *testing.T) {
	k := &batches{Kernel: lvstest.New()}
	in := strings.Repeat("-A -f 1\n", 4000)
	if status := program(k, in, new(bytes.Buffer), new(bytes.Buffer)).Run([]string{"-R"}); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	if want := []int{1500, 1500, 1000}; !reflect.DeepEqual(k.sizes, want) {
		t.Errorf("batches of %v, want %v", k.sizes, want)
	}
}

func TestRestoreRefusesAnEndlessLine(t *testing.T) {
	r := restored(strings.NewReader("-A -f 1\n-A -f 2 -s " + strings.Repeat("x", 2<<20)))
	want := result{2, "", "ipvsadm: line 2 is longer than 1048576 bytes: split it\n", "-A -f 1 -s wlc\n"}
	if r != want {
		t.Errorf("%+v", r)
	}
	long := "-A -f 1 -s " + strings.Repeat("x", 1<<20-50)
	if r := restored(strings.NewReader(long)); r.err != "Scheduler or persistence engine not found\n" {
		t.Errorf("a long line: %+v", r)
	}
}

func TestRestoreReportsInputThatBreaks(t *testing.T) {
	in := io.MultiReader(strings.NewReader("-A -f 1\n-A -f 2"), iotest.ErrReader(errors.New("the disk is gone")))
	want := result{2, "", "ipvsadm: reading line 2: the disk is gone\n", "-A -f 1 -s wlc\n"}
	if r := restored(in); r != want {
		t.Errorf("%+v", r)
	}
}

// The script reads everything first: input that breaks leaves the table as it is.
func TestRestoreScriptReadsBeforeItClears(t *testing.T) {
	k := lvstest.New(lvs.Entry{Service: lvs.NewService(lvs.Marked(1, lvs.IPv4), "rr")})
	var out, errs bytes.Buffer
	p := program(k, "", &out, &errs)
	p.Stdin = io.MultiReader(strings.NewReader("-A -f 2\n"), iotest.ErrReader(errors.New("the disk is gone")))
	if status := p.RunRestore(nil); status != 2 || errs.String() != "ipvsadm-restore: reading the rules: the disk is gone\n" {
		t.Errorf("exit status %d, %q", status, errs.String())
	}
	if got := rulesOf(k); got != "-A -f 1 -s rr\n" {
		t.Errorf("the table is now\n%s", got)
	}
}

func TestRestoreHintsOnce(t *testing.T) {
	k := lvstest.New()
	k.Refuse = func(lvs.Change) syscall.Errno { return syscall.EPERM }
	var out, errs bytes.Buffer
	program(k, "-A -f 1\n-A -f 2\n", &out, &errs).Run([]string{"-R"})
	lines := strings.Split(strings.TrimSuffix(errs.String(), "\n"), "\n")
	if len(lines) != 3 || lines[0] != lines[2] || !strings.HasPrefix(lines[1], "hint: ") {
		t.Errorf("%q", lines)
	}
}

func FuzzRestore(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		f.Add(randomRules(rng))
	}
	f.Add("-A -t 10.0.0.1:80\r\n\t-a\v-t\x00x\n-R")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		a := restored(strings.NewReader(text))
		if b := restored(iotest.OneByteReader(strings.NewReader(text))); a != b {
			t.Fatalf("%q\nat once:       %+v\nbyte by byte:  %+v", text, a, b)
		}
	})
}

// nowhere is a kernel that takes everything.
type nowhere struct{ *lvstest.Kernel }

func (nowhere) Do(cs []lvs.Change) []error { return make([]error, len(cs)) }

func restoreInput(services, servers int) string {
	var b strings.Builder
	for i := range services {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		fmt.Fprintf(&b, "-A -t %v:80 -s rr\n", addr)
		for j := range servers {
			fmt.Fprintf(&b, "-a -t %v:80 -r 172.%d.%d.%d:80 -g -w 1\n", addr, 16+j, i>>8, i&255)
		}
	}
	return b.String()
}

func BenchmarkRestore(b *testing.B) {
	in := restoreInput(1000, 9) // 10,000 lines
	k := nowhere{lvstest.New()}
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if status := program(k, in, new(bytes.Buffer), new(bytes.Buffer)).Run([]string{"-R"}); status != 0 {
			b.Fatal(status)
		}
	}
}
