package appliance

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

// What a reload takes away goes down: keepalived runs notify_down for each server that
// served, and quorum_down for a service that had its quorum. What did not serve is
// nothing to speak of.
func TestHooksOfWhatAReloadRemoves(t *testing.T) {
	type was struct {
		down     string // servers that were found down before the reload
		noQuorum bool
		fallback bool
	}
	for name, tt := range map[string]struct {
		before was
		after  string // services and their servers after the reload
		early  string // what runs before the table is the new one
		want   string // what runs with the reload
	}{
		"nothing goes":            {after: "v:ab w:cd"},
		"a server":                {after: "v:a w:cd", want: "b"},
		"one that was down":       {before: was{down: "b"}, after: "v:a w:cd", early: "b"},
		"all are replaced":        {after: "v:xy w:cd", want: "a b"},
		"a service":               {after: "v:ab", want: "c d w-quorum"},
		"a service, one was down": {before: was{down: "c"}, after: "v:ab", early: "c", want: "d w-quorum"},
		"a service, all were down": {before: was{down: "cd", noQuorum: true}, after: "v:ab",
			early: "c d w-quorum"},
		"a service below its quorum":           {before: was{down: "c", noQuorum: true}, after: "v:ab", early: "c w-quorum", want: "d"},
		"a service below its quorum: sorry":    {before: was{down: "c", noQuorum: true, fallback: true}, after: "v:ab", early: "c w-quorum"},
		"a server below the quorum: sorry":     {before: was{down: "c", noQuorum: true, fallback: true}, after: "v:ab w:c", early: "c w-quorum"},
		"a service that comes back as another": {after: "v:ab u:cd", want: "c d w-quorum"},
	} {
		t.Run(name, func(t *testing.T) {
			diary := filepath.Join(t.TempDir(), "diary")
			write := func(word string) *ldirector.Command {
				return &ldirector.Command{Words: []string{"/bin/sh", "-c", `echo "$0" >>"$1"`, word, diary}}
			}
			site := func(text string) []ldirector.Virtual {
				var vs []ldirector.Virtual
				for _, service := range strings.Fields(text) {
					name, servers, _ := strings.Cut(service, ":")
					at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, name[0]}), 80)
					v := ldirector.Virtual{Service: lvs.NewService(lvs.At(lvs.TCP, at), "rr"),
						Hooks: ldirector.Hooks{QuorumUp: write("never"), QuorumDown: write(name + "-quorum")}}
					if tt.before.fallback {
						v.Fallback = &lvs.Destination{Addr: at}
					}
					for _, s := range strings.Split(servers, "") {
						v.Members = append(v.Members, ldirector.Member{Name: s, AssumeUp: true, NotifyUp: write("never"), NotifyDown: write(s)})
					}
					vs = append(vs, v)
				}
				return vs
			}
			h := newHooks(func(_ Level, text string) { t.Error(text) })
			old := site("v:ab w:cd")
			h.use(old)()
			for i := range old {
				for j := range old[i].Members {
					if m := &old[i].Members[j]; strings.Contains(tt.before.down, m.Name) {
						h.hear(ldirector.Event{Kind: ldirector.WentDown, Virtual: &old[i], Member: m})
					}
				}
			}
			if tt.before.noQuorum {
				h.hear(ldirector.Event{Kind: ldirector.NobodyServes, Virtual: &old[1]})
			}
			farewell := h.use(site(tt.after))
			for i := range old { // a check's last word about who is about to go
				h.hear(ldirector.Event{Kind: ldirector.CameUp, Virtual: &old[i], Member: &ldirector.Member{Name: "gone", NotifyUp: write("never")}})
			}
			farewell()
			h.end()
			h.settle(t.Context())
			got, err := os.ReadFile(diary)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			// Those of two services run side by side.
			ran, want := strings.Fields(string(got)), strings.Fields(tt.early+" "+tt.want)
			slices.Sort(ran)
			slices.Sort(want)
			if !slices.Equal(ran, want) {
				t.Errorf("ran %q, want %q", ran, want)
			}
		})
	}
}
