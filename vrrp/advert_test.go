package vrrp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

// packets were made by another implementation, after RFC 3768 and RFC 5798.
var packets = []struct {
	name, hex string
	want      Advert
}{
	{"version 2 with password", "213396020101ce990a0000640a0000653132333400000000", Advert{
		Src: addr("10.0.0.11"), Dst: GroupIPv4, TTL: 255, Version: 2, Type: 1, VRID: 51, Priority: 150, Interval: time.Second,
		AuthType: AuthPass, Auth: [8]byte{'1', '2', '3', '4'}, Addrs: addrs("10.0.0.100", "10.0.0.101")}},
	{"version 2 without", "21339602000134000a0000640a0000650000000000000000", Advert{
		Src: addr("10.0.0.11"), Dst: GroupIPv4, TTL: 255, Version: 2, Type: 1, VRID: 51, Priority: 150, Interval: time.Second,
		Addrs: addrs("10.0.0.100", "10.0.0.101")}},
	{"version 3", "31339601001e43af0a000064", Advert{
		Src: addr("10.0.0.11"), Dst: GroupIPv4, TTL: 255, Version: 3, Type: 1, VRID: 51, Priority: 150,
		Interval: 300 * time.Millisecond, Addrs: addrs("10.0.0.100")}},
	{"version 3 unicast", "31339601001e19b60a000064", Advert{
		Src: addr("10.0.0.11"), Dst: addr("10.0.0.12"), TTL: 64, Version: 3, Type: 1, VRID: 51, Priority: 150,
		Interval: 300 * time.Millisecond, Addrs: addrs("10.0.0.100")}},
	{"version 3, IPv6", "313396020ffffc61fe80000000000000000000000000010020010db8000000000000000000000100", Advert{
		Src: addr("fe80::1"), Dst: GroupIPv6, TTL: 255, Version: 3, Type: 1, VRID: 51, Priority: 150,
		Interval: MaxIntervalV3, Addrs: addrs("fe80::100", "2001:db8::100")}},
}

func TestPackets(t *testing.T) {
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for _, p := range packets {
		msg, err := hex.DecodeString(p.hex)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		got := d.Decode(p.want.Src, p.want.Dst, p.want.TTL, msg)
		if diff := cmp.Diff(p.want, got, equal); diff != "" {
			t.Errorf("%s: decoded (-want +got):\n%s", p.name, diff)
		}
		if b := p.want.Append(nil); !bytes.Equal(b, msg) {
			t.Errorf("%s: encoded %x, want %x", p.name, b, msg)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	v2, v3 := mustHex(packets[0].hex), mustHex(packets[2].hex)
	edit := func(b []byte, at int, v byte) []byte {
		b = slices.Clone(b)
		b[at] = v
		return b
	}
	for _, c := range []struct {
		name string
		src  string
		msg  []byte
		want Reason
	}{
		{"nothing", "10.0.0.11", nil, BadLength},
		{"less than a header", "10.0.0.11", v2[:7], BadLength},
		{"no room for the addresses", "10.0.0.11", v2[:12], BadLength},
		{"without the password field", "10.0.0.11", v2[:16], BadLength},
		{"a byte too much", "10.0.0.11", append(slices.Clone(v2), 0), BadLength},
		{"count over the packet", "10.0.0.11", edit(v2, 3, 200), BadLength},
		{"count under the packet", "10.0.0.11", edit(v3, 3, 0), BadLength},
		{"version 1", "10.0.0.11", edit(v2, 0, 0x11), BadVersion},
		{"version 4", "10.0.0.11", edit(v2, 0, 0x41), BadVersion},
		{"version 2 over IPv6", "fe80::1", v2, BadVersion},
	} {
		var d Decoder
		if a := d.Decode(addr(c.src), GroupIPv4, 255, c.msg); a.Flaw != c.want {
			t.Errorf("%s: %v, want %v", c.name, a.Flaw, c.want)
		}
	}
}

// TestOldUnicastSum holds that the checksum of an old keepalived is accepted,
// and nothing else that is not the right one.
func TestOldUnicastSum(t *testing.T) {
	a := packets[3].want
	a.Dst = GroupIPv4
	msg := a.Append(nil)
	var d Decoder
	if got := d.Decode(a.Src, addr("10.0.0.12"), 255, msg); got.Flaw != NoReason {
		t.Errorf("checksum over the group's address: %v", got.Flaw)
	}
	a.Dst, a.OldSum = addr("10.0.0.12"), true
	if !bytes.Equal(a.Append(nil), msg) {
		t.Error("an advert with the old checksum is not as an old keepalived sends it")
	}
	a.Dst, a.OldSum = addr("10.0.0.13"), false
	msg = a.Append(nil)
	if got := d.Decode(a.Src, addr("10.0.0.12"), 255, msg); got.Flaw != BadChecksum {
		t.Errorf("checksum over another address: %v", got.Flaw)
	}
}

// TestEveryBitCounts holds that no packet with one bit turned is taken for good
// by the instance that it was for.
func TestEveryBitCounts(t *testing.T) {
	for _, p := range packets {
		c := instanceFor(p.want)
		msg := mustHex(p.hex)
		for i := range len(msg) * 8 {
			b := slices.Clone(msg)
			b[i/8] ^= 1 << (i % 8)
			var d Decoder
			a := d.Decode(p.want.Src, p.want.Dst, p.want.TTL, b)
			if c.judge(&a, false) == NoReason {
				t.Errorf("%s: accepted with bit %d turned", p.name, i)
			}
		}
	}
}

func instanceFor(a Advert) Instance {
	c := Instance{Name: "VI_1", Link: "eth0", Version: a.Version, VRID: a.VRID, Priority: 100, Interval: a.Interval,
		Source: addr("10.0.0.12"), Addrs: a.Addrs}
	if a.Src.Is6() {
		c.Source = addr("fe80::2")
	}
	if a.AuthType == AuthPass {
		c.Password = string(bytes.TrimRight(a.Auth[:], "\x00"))
	}
	if !a.Dst.IsMulticast() {
		c.Peers = []netip.Addr{a.Src}
	}
	return c
}

// TestChecks turns an accepted advert into one of each kind to be dropped. The
// order is that of the checks: each advert also has all the later flaws.
func TestChecks(t *testing.T) {
	unicast := func(c *Instance) { c.Peers, c.CheckPeers = addrs("10.0.0.13"), true }
	flaws := []struct {
		want   Reason
		change func(a *Advert)
	}{
		{want: BadLength, change: func(a *Advert) { a.Flaw = BadLength }},
		{want: BadTTL, change: func(a *Advert) { a.TTL = 254 }},
		{want: BadVersion, change: func(a *Advert) { a.Version = 3 }},
		{want: BadVRID, change: func(a *Advert) { a.VRID = 52 }},
		{want: BadAuthType, change: func(a *Advert) { a.AuthType = AuthAH }},
		{want: BadPassword, change: func(a *Advert) { a.Auth[7] = 'x' }},
		{want: BadInterval, change: func(a *Advert) { a.Interval = 2 * time.Second }},
		{want: BadType, change: func(a *Advert) { a.Type = 2 }},
		{want: BadAddrs, change: func(a *Advert) { a.Addrs = addrs("10.0.0.100") }},
		{want: BadChecksum, change: func(a *Advert) { a.Flaw = BadChecksum }},
		{want: NotMulticast, change: func(a *Advert) { a.Dst = addr("10.0.0.12") }},
	}
	for i, f := range flaws {
		a := packets[0].want
		c := instanceFor(a)
		if got := c.judge(&a, false); got != NoReason {
			t.Fatalf("the good advert: %v", got)
		}
		for _, g := range flaws[i:] {
			if a.Flaw == NoReason || g.want != BadChecksum {
				g.change(&a)
			}
		}
		if got := c.judge(&a, false); got != f.want {
			t.Errorf("flaw %v: dropped for %v", f.want, got)
		}
	}
	for _, f := range []struct {
		want   Reason
		change func(a *Advert)
		config func(c *Instance)
	}{
		{NotUnicast, func(*Advert) {}, unicast},
		{UnknownPeer, func(a *Advert) { a.Dst = addr("10.0.0.12") }, unicast},
		{NoReason, func(a *Advert) { a.Dst, a.Src, a.TTL = addr("10.0.0.12"), addr("10.0.0.13"), 3 }, unicast},
		{NoReason, func(a *Advert) { slices.Reverse(a.Addrs) }, func(*Instance) {}},
		{BadAddrs, func(a *Advert) { a.Addrs[1] = a.Addrs[0] }, func(*Instance) {}},
		{BadAuthType, func(a *Advert) { a.AuthType = AuthNone }, func(*Instance) {}},
		{BadAuthType, func(*Advert) {}, func(c *Instance) { c.Password = "" }},
		{OtherGroup, func(*Advert) {}, func(c *Instance) { c.Group = addr("239.1.2.3") }},
		{NoReason, func(a *Advert) { a.Dst = addr("239.1.2.3") }, func(c *Instance) { c.Group = addr("239.1.2.3") }},
	} {
		a := packets[0].want
		a.Addrs = slices.Clone(a.Addrs)
		c := instanceFor(a)
		c.Addrs = addrs("10.0.0.100", "10.0.0.101")
		f.config(&c)
		f.change(&a)
		if got := c.judge(&a, false); got != f.want {
			t.Errorf("%+v: %v, want %v", a, got, f.want)
		}
	}
}

func TestSkipAddrCheck(t *testing.T) {
	a := packets[0].want
	c := instanceFor(a)
	c.SkipAddrCheck = true
	a.Addrs = addrs("10.0.0.100")
	if got := c.judge(&a, false); got != BadAddrs {
		t.Errorf("first advert of a master: %v", got)
	}
	if got := c.judge(&a, true); got != NoReason {
		t.Errorf("a later one: %v", got)
	}
}

// TestDecodeAllocatesNothing is about the steady state: the same master again and again.
func TestDecodeAllocatesNothing(t *testing.T) {
	for _, p := range packets {
		msg := mustHex(p.hex)
		c := instanceFor(p.want)
		var d Decoder
		n := testing.AllocsPerRun(100, func() {
			a := d.Decode(p.want.Src, p.want.Dst, p.want.TTL, msg)
			if c.judge(&a, false) != NoReason {
				t.Fatal("the packet was not accepted")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", p.name, n)
		}
	}
}

// FuzzDecode holds that nothing from the network is a panic, and that what is
// decoded and has the right sum is encoded to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, p := range packets {
		f.Add(mustHex(p.hex), p.want.Src.AsSlice(), p.want.Dst.AsSlice(), uint8(255))
	}
	f.Fuzz(func(t *testing.T, msg, src, dst []byte, ttl uint8) {
		from, ok := netip.AddrFromSlice(src)
		to, ok2 := netip.AddrFromSlice(dst)
		if !ok || !ok2 || from.Is4() != to.Is4() || from.Is4In6() || to.Is4In6() {
			return
		}
		var d Decoder
		a := d.Decode(from, to, ttl, msg)
		if len(a.Addrs) > MaxAddrs {
			t.Fatalf("%d addresses", len(a.Addrs))
		}
		c := instanceFor(packets[0].want)
		m := New(c)
		m.Start(time.Unix(0, 0))
		m.Recv(time.Unix(1, 0), a)
		reserved := a.Version == 3 && len(msg) > 4 && msg[4]>>4 != 0
		if a.Flaw != NoReason || a.Type != 1 || reserved || a.Version == 3 && !exactSum(a, msg) {
			return
		}
		if b := a.Append(nil); !sameMessage(b, msg) {
			t.Errorf("%x decodes to %+v, which encodes to %x", msg, a, b)
		}
	})
}

// exactSum reports that the sum is over the real destination.
func exactSum(a Advert, msg []byte) bool {
	return fold(sum(pseudo(&a, a.Dst, len(msg)), msg)) == 0xffff
}

// sameMessage compares two messages; 0 and 0xffff are the same sum.
func sameMessage(a, b []byte) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	for _, m := range [][]byte{a, b} {
		if m[6] == 0xff && m[7] == 0xff {
			m[6], m[7] = 0, 0
		}
	}
	return bytes.Equal(a, b)
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// BenchmarkBadAdvert is the price of one packet of a flood.
func BenchmarkBadAdvert(b *testing.B) {
	msg := mustHex(packets[0].hex)
	msg[20] ^= 1
	c := instanceFor(packets[0].want)
	m := New(c)
	now := time.Unix(1000, 0)
	m.Start(now)
	var d Decoder
	b.ReportAllocs()
	for b.Loop() {
		m.Recv(now, d.Decode(packets[0].want.Src, GroupIPv4, 255, msg))
	}
}

// One virtual_router_id may be on a link several times, as with keepalived: what
// tells the routers apart is where their adverts go.
func TestSameVRIDApart(t *testing.T) {
	usual, other, peer := vi("USUAL", 51, 100), vi("OTHER", 51, 100), vi("PEER", 51, 100)
	other.Group, peer.Peers = addr("224.0.0.99"), []netip.Addr{addr("10.0.0.9")}
	set := []Instance{usual, other, peer}
	for i := range set {
		set[i].Source = addr("10.0.0.1")
	}
	r, now := NewRouter(), time.Unix(1000, 0)
	if _, err := r.Set(now, set, nil); err != nil {
		t.Fatal(err)
	}
	now = r.Deadline()
	r.Tick(now)
	states := func() (out string) {
		for _, m := range r.Machines() {
			out += m.cfg.Name + " " + m.State().String() + "; "
		}
		return out
	}
	if got, want := states(), "USUAL MASTER; OTHER MASTER; PEER MASTER; "; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	better := func(dst netip.Addr) {
		a := set[0].advert(200)
		a.Src, a.Dst = addr("10.0.0.9"), dst
		r.Recv(now, "eth0", a)
	}
	better(addr("224.0.0.99"))
	if got, want := states(), "USUAL MASTER; OTHER BACKUP; PEER MASTER; "; got != want {
		t.Errorf("after an advert to the other group: %s, want %s", got, want)
	}
	better(addr("10.0.0.1"))
	if got, want := states(), "USUAL MASTER; OTHER BACKUP; PEER BACKUP; "; got != want {
		t.Errorf("after one of a peer: %s, want %s", got, want)
	}
	// One that goes elsewhere with its adverts is the same one, unless it is another's place.
	set[0].Group = addr("224.0.0.98")
	if _, err := r.Set(now, set, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := states(), "USUAL MASTER; OTHER BACKUP; PEER BACKUP; "; got != want {
		t.Errorf("with another group: %s, want %s", got, want)
	}
	set[1].Group = netip.Addr{}
	set[0].Group = addr("224.0.0.99")
	if _, err := r.Set(now, set, nil); err != nil {
		t.Fatal(err)
	}
	if len(r.Machines()) != 3 {
		t.Errorf("two that change places: %s", states())
	}
	set[1].Group = addr("224.0.0.99")
	if _, err := r.Set(now, set, nil); err == nil {
		t.Error("two with one group were taken")
	}
}

// BenchmarkTick200 is a turn of the loop of a host that is master of 200 virtual routers.
func BenchmarkTick200(b *testing.B) {
	var set []Instance
	for i := range 200 {
		c := vi("VI_"+string(rune('0'+i)), uint8(i+1), 100)
		c.Source = addr("10.0.0.1")
		set = append(set, c)
	}
	r := NewRouter()
	now := time.Unix(1000, 0)
	if _, err := r.Set(now, set, nil); err != nil {
		b.Fatal(err)
	}
	for range 200 {
		now = r.Deadline()
		r.Tick(now)
	}
	b.ReportAllocs()
	for b.Loop() {
		now = r.Deadline()
		r.Tick(now)
	}
}
