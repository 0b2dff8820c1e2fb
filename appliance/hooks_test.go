package appliance

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// A server that is found as it was assumed to be has not changed: keepalived calls
// notify_up only of one that was down, and notify_down only of one that was up.
func TestHooksRunOnChangeOnly(t *testing.T) {
	diary := filepath.Join(t.TempDir(), "diary")
	write := func(word string) *ldirector.Command {
		return &ldirector.Command{Words: []string{"/bin/sh", "-c", `echo "$0" >>"$1"`, word, diary}}
	}
	member := func(name string, assumed bool) ldirector.Member {
		return ldirector.Member{Name: name, AssumeUp: assumed, NotifyUp: write(name + " up"), NotifyDown: write(name + " down")}
	}
	v := ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.1:80")), "rr"),
		Members: []ldirector.Member{member("a", true), member("alpha", false)}, Hooks: ldirector.Hooks{AtStop: true}}
	h := newHooks(func(_ Level, text string) { t.Error(text) })
	hear := func(kind ldirector.Kind, i int) {
		h.hear(ldirector.Event{Kind: kind, Virtual: &v, Member: &v.Members[i]})
	}

	h.use([]ldirector.Virtual{v})
	hear(ldirector.CameUp, 0)   // as assumed
	hear(ldirector.WentDown, 1) // its first check fails
	hear(ldirector.CameUp, 1)
	hear(ldirector.WentDown, 0)
	hear(ldirector.CameUp, 0)
	v.Members = append(v.Members, member("new", true))
	h.use([]ldirector.Virtual{v})
	hear(ldirector.CameUp, 2) // assumed at the reload
	hear(ldirector.WentDown, 1)
	h.end()
	h.settle(t.Context())

	got, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	if want := "alpha up\na down\na up\nalpha down\na down\nnew down\n"; string(got) != want {
		t.Errorf("ran %q\nwant %q", strings.Split(string(got), "\n"), strings.Split(want, "\n"))
	}
}
