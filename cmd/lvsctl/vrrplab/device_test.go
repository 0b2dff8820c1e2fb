package vrrplab

import (
	"slices"
	"testing"
	"time"
)

// TestDevice: whatever happens to the master's network card, one director has the
// address while it cannot be the master, and it is the master again when it can.
func TestDevice(t *testing.T) {
	p := newPair(t)
	p.start(0)
	p.start(1)
	p.await("election", 0)
	d := p.d[0]
	own := func(verb string) { d.Run("ip", "addr", verb, "10.1.0.1/24", "dev", "eth0") }

	own("del") // takes the virtual address of the same subnet with it
	p.await("without an address of its own", 1)
	own("add")
	p.await("with its address", 0)

	d.Input("link set eth0 down\nlink set eth0 name lan7\nlink set lan7 up\n", "ip", "-batch", "-")
	p.await("renamed", 1)
	d.Input("link set lan7 down\nlink set lan7 name eth0\nlink set eth0 up\n", "ip", "-batch", "-")
	p.await("its name is back", 0)

	d.Run("ip", "link", "del", "eth0")
	p.await("no device", 1)
	d.Nic("eth0", p.lan, "10.1.0.1/24") // another index
	p.await("another device of the name", 0)

	for range 20 {
		d.Unplug("eth0")
		time.Sleep(50 * time.Millisecond)
		d.Plug("eth0")
		time.Sleep(50 * time.Millisecond)
	}
	p.await("after flaps", 0)
	p.stop(0)
	p.await("end", 1)
	if got := addresses(t, d); slices.Contains(got, vip+"/24") || !slices.Contains(got, "10.1.0.1/24") {
		t.Errorf("d1 ends with %v", got)
	}
}
