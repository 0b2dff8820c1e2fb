package lvstest_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// The fake does what the real kernel does: lvs/kernel runs the same table in the
// lab.
func TestBehaviours(t *testing.T) {
	for _, b := range lvstest.Behaviours {
		t.Run(b.Name, func(t *testing.T) {
			k := lvstest.New()
			k.Broadcasts = []netip.Addr{netip.MustParseAddr("10.9.0.255")}
			if err := errors.Join(k.Do(b.Setup)...); err != nil {
				t.Fatalf("setup: %v", err)
			}
			for _, d := range b.Daemons {
				if err := k.StartDaemon(d); err != nil {
					t.Fatalf("setup: %v", err)
				}
			}
			err := k.Do([]lvs.Change{b.Change})[0]
			var got syscall.Errno
			if err != nil && !errors.As(err, &got) {
				t.Fatalf("an error without an errno: %v", err)
			}
			if got != b.Errno {
				t.Errorf("%v: errno %d (%v), want %d (%v)", b.Change, got, got, b.Errno, b.Errno)
			}
			table, err := k.Read()
			if err != nil {
				t.Fatal(err)
			}
			if got := lvstest.Text(table); got != b.Want {
				t.Errorf("table\n%swant\n%s", got, b.Want)
			}
		})
	}
}
