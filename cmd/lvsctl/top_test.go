package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
)

func topState() lvs.State {
	at := netip.MustParseAddrPort
	dest := func(addr string, weight, active uint32, cps uint64) lvs.DestinationState {
		return lvs.DestinationState{Destination: lvs.Destination{Addr: at(addr), Weight: weight}, Active: active, Inactive: 2 * active,
			Stats: lvs.Stats{CPS: cps, InPPS: 10 * cps, InBPS: 1000 * cps}}
	}
	return lvs.State{
		{Service: lvs.NewService(lvs.At(lvs.UDP, at("10.0.0.1:53")), "rr"), Stats: lvs.Stats{CPS: 1, InBPS: 12_345_678}},
		{Service: lvs.NewService(lvs.At(lvs.TCP, at("10.0.0.1:80")), "wlc"), Stats: lvs.Stats{CPS: 7, InPPS: 70, InBPS: 7000},
			Destinations: []lvs.DestinationState{dest("10.0.0.2:80", 5, 3, 7), dest("10.0.0.3:80", 0, 1, 0)}},
	}
}

func TestTop(t *testing.T) {
	said := map[place]string{
		{"TCP 10.0.0.1:80", "10.0.0.2:80"}: "serving",
		{"TCP 10.0.0.1:80", "10.0.0.3:80"}: "draining",
		{}:                                 "other.cf: no answer",
	}
	var b bytes.Buffer
	printTop(&b, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), sorted(topState(), "rate"), said)
	want := `03:04:05  2 services, 4 active connections, 8 new/s, in 12M/s, out 0/s
other.cf: no answer
SERVICE / SERVER     WEIGHT  ACTIVE  INACT  NEW/S  IN PKT/S  OUT PKT/S  IN/S  OUT/S  STATE
TCP 10.0.0.1:80 wlc          4              7      70        0          7.0k  0      
  10.0.0.2:80        5       3       6      7      70        0          7.0k  0      serving
  10.0.0.3:80        0       1       2      0      0         0          0     0      draining
UDP 10.0.0.1:53 rr           0              1      0         0          12M   0      
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for order, first := range map[string]lvs.Protocol{"rate": lvs.TCP, "active": lvs.TCP, "bytes": lvs.UDP, "table": lvs.UDP} {
		if got := sorted(topState(), order)[0].Protocol; got != first {
			t.Errorf("--sort %s begins with %v", order, got)
		}
	}
}

func TestAmounts(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1.0k", 1549: "1.5k", 9949: "9.9k", 9950: "10k", 999_499: "999k",
		999_500: "1.0M", 12_345_678: "12M", 1 << 63: "9.2E", 1<<64 - 1: "18E"} {
		if got := amount(n); got != want {
			t.Errorf("amount(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestCutKeepsTheScreen(t *testing.T) {
	for lines, want := range map[int]string{1: "a\n", 2: "a\nb\n", 9: "a\nb\n"} {
		if got := string(cut([]byte("a\nb\n"), lines)); got != want {
			t.Errorf("%d lines: %q", lines, got)
		}
	}
}
