package netif_test

import (
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// TestSettingsAreToldOf: what is written to a setting of the host is told, what is
// written to others and on other hosts is not.
func TestSettingsAreToldOf(t *testing.T) {
	n := lab.Open(t)
	h, other := n.Host("h"), n.Host("other")
	k := kernelOf(t, h)
	w, err := k.WatchSettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ignore, announce := netif.ConfKey("ipv4", "all", "arp_ignore"), netif.ConfKey("ipv4", "all", "arp_announce")
	told := func(when string) {
		t.Helper()
		select {
		case <-w.Written():
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: nothing was told", when)
		}
	}
	if err := w.Follow([]string{ignore, netif.ConfKey("ipv4", "no-such-device", "arp_ignore")}); err != nil {
		t.Fatal(err)
	}
	other.SetSysctl(ignore, "1")
	h.SetSysctl(announce, "2")
	select {
	case <-w.Written():
		t.Error("it tells of another host, or of a setting that it does not follow")
	default:
	}
	h.SetSysctl(ignore, "1")
	told("arp_ignore was written")
	if err := w.Follow([]string{announce}); err != nil {
		t.Fatal(err)
	}
	h.SetSysctl(announce, "1")
	told("arp_announce was written")
}
