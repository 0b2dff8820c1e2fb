package ldirectord

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// written is what becomes of a site that is written and read again, and what was
// lost on the way.
func written(t *testing.T, s config.Site) (text string, lost []config.Problem) {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	f, problems := Parse("written.cf", []byte(b.String()), Options{Hostname: "there"})
	if config.Errors(problems) || f.Refusal() != nil {
		t.Errorf("what is written has errors: %v, %v\n%s", problems, f.Refusal(), b.String())
	}
	return b.String(), config.Lost(s, f.Site())
}

// TestWriteLosesNothing: what the language has said it can say again.
func TestWriteLosesNothing(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	checked := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- input --\n")
		input, _, _ := strings.Cut(rest, "-- problems --\n")
		f, problems := Parse("f.cf", []byte(input), Options{Lenient: true, Resolver: fakeNames{}})
		if config.Errors(problems) || len(f.Virtuals()) == 0 {
			continue
		}
		checked++
		if out, lost := written(t, f.Site()); len(lost) > 0 {
			t.Errorf("%s: lost: %v\n%s", path, lost, out)
		}
	}
	if checked < 10 {
		t.Errorf("only %d files were written", checked)
	}
}

// TestWriteSaysWhatItLoses: what other dialects can say and this one cannot.
func TestWriteSaysWhatItLoses(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	member := func(spec check.Spec) ldirector.Member {
		return ldirector.Member{Destination: lvs.Destination{Addr: at("10.0.0.11:80"), Weight: 1}, Name: "10.0.0.11:80",
			Checks: []check.Spec{spec}, Source: ldirector.Source{File: "k.conf", Line: 7}}
	}
	v := ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.TCP, at("10.0.0.1:80")), "wlc"), Policy: ldirector.Policy{CleanStop: true, Quorum: 3},
		Source: ldirector.Source{File: "k.conf", Line: 1}}
	v.Members = []ldirector.Member{member(check.Spec{ID: "x", Interval: 1500 * time.Millisecond, Timeout: 3 * time.Second, RetryDelay: 3 * time.Second, Fall: 2, Rise: 1,
		Probe: check.HTTP{Addr: at("10.0.0.11:80"), Method: "GET", Target: "/", Digest: "abc"}})}
	sctp := ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.SCTP, at("10.0.0.1:80")), "wlc"), Source: ldirector.Source{File: "k.conf", Line: 20}}
	text, lost := written(t, config.Site{Virtuals: []ldirector.Virtual{v, sctp}})
	want := `k.conf:1: TCP 10.0.0.1:80: policy quorum 3 is lost, it becomes 1
k.conf:7: TCP 10.0.0.1:80: the check's interval 1.5s is lost, it becomes 2s
k.conf:7: TCP 10.0.0.1:80: the check's retry delay 3s is lost, it becomes 2s
k.conf:7: TCP 10.0.0.1:80: http: digest "abc" is lost
k.conf:20: SCTP 10.0.0.1:80 is left out
`
	got := ""
	for _, p := range lost {
		got += fmt.Sprintln(p)
	}
	if got != want {
		t.Errorf("lost\n%swant\n%s\nof\n%s", got, want, text)
	}
}
