package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/vrrp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// open opens a socket on a host, for VRID 51 and 52.
func open(t *testing.T, h *lab.Host, o Options) *Socket {
	t.Helper()
	var s *Socket
	var err error
	h.Do(func() { s, err = Open(o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Filter([]uint8{51, 52}); err != nil {
		t.Fatal(err)
	}
	return s
}

func advert(version, vrid uint8, src, dst netip.Addr) vrrp.Advert {
	vip := addr("10.0.0.100")
	if src.Is6() {
		vip = addr("fe80::100")
	}
	return vrrp.Advert{
		Src: src, Dst: dst, TTL: 255, Version: version, Type: 1, VRID: vrid, Priority: 150,
		Interval: time.Second, Addrs: []netip.Addr{vip},
	}
}

// next is the next advert, or none within a time that is long even for a guest on a
// busy machine.
func next(t *testing.T, s *Socket) (vrrp.Advert, bool) {
	t.Helper()
	select {
	case a := <-s.Recv():
		return a, true
	case <-time.After(30 * time.Second):
		return vrrp.Advert{}, false
	}
}

func sourceOf(t *testing.T, h *lab.Host, ipv6 bool) netip.Addr {
	t.Helper()
	var a netip.Addr
	var err error
	h.Do(func() { a, err = Source("eth0", ipv6) })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAdvertsArrive sends each kind of advert from one host to another.
func TestAdvertsArrive(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	one := net.Host("r1").Nic("eth0", lan, "10.0.0.11/24", "2001:db8::11/64")
	two := net.Host("r2").Nic("eth0", lan, "10.0.0.12/24", "2001:db8::12/64")
	frames := two.Capture("eth0")
	if a := sourceOf(t, one, false); a != addr("10.0.0.11") {
		t.Errorf("IPv4 source %v", a)
	}
	for _, ipv6 := range []bool{false, true} {
		tx, rx := open(t, one, Options{Link: "eth0", IPv6: ipv6}), open(t, two, Options{Link: "eth0", IPv6: ipv6})
		from, to, group := sourceOf(t, one, ipv6), sourceOf(t, two, ipv6), vrrp.GroupIPv4
		versions := []uint8{2, 3}
		if ipv6 {
			versions, group = versions[1:], vrrp.GroupIPv6
		}
		for _, v := range versions {
			for _, dst := range []netip.Addr{group, to} {
				sent := advert(v, 51, from, dst)
				other := advert(v, 99, from, dst)
				if err := tx.Send(other); err != nil { // goes first, and nobody wants it
					t.Fatal(err)
				}
				if err := tx.Send(sent); err != nil {
					t.Fatal(err)
				}
				got, ok := next(t, rx)
				if !ok {
					t.Fatalf("version %d from %v to %v: nothing arrived\n%s", v, from, dst, strings.Join(frames.Lines(""), "\n"))
				}
				if got.Flaw != vrrp.NoReason || got.Src != from || got.Dst != dst || got.TTL != 255 || got.Version != v || got.VRID != 51 ||
					got.Priority != 150 || got.Interval != time.Second || !slices.Equal(got.Addrs, sent.Addrs) {
					t.Errorf("sent %+v, got %+v", sent, got)
				}
			}
		}
		select {
		case a := <-tx.Recv():
			t.Errorf("the sender hears itself: %+v", a)
		default:
		}
	}
	for _, f := range frames.Frames() {
		if len(f.Raw) > 23 && f.Raw[12] == 8 && f.Raw[23] == vrrp.Protocol && f.Raw[15] != 0xc0 {
			t.Errorf("type of service %#x: %s", f.Raw[15], f.Line)
		}
		if len(f.Raw) > 20 && f.Raw[12] == 0x86 && f.Raw[20] == vrrp.Protocol && f.Raw[14]<<4|f.Raw[15]>>4 != 0xc0 {
			t.Errorf("traffic class %#x: %s", f.Raw[14]<<4|f.Raw[15]>>4, f.Line)
		}
	}
}

// TestForeignSource sends from an address that the host does not have, as
// mcast_src_ip may say.
func TestForeignSource(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	tx := open(t, net.Host("r1").Nic("eth0", lan, "10.0.0.11/24"), Options{Link: "eth0"})
	rx := open(t, net.Host("r2").Nic("eth0", lan, "10.0.0.12/24"), Options{Link: "eth0"})
	if err := tx.Send(advert(2, 51, addr("10.0.0.77"), vrrp.GroupIPv4)); err != nil {
		t.Fatal(err)
	}
	if got, ok := next(t, rx); !ok || got.Src != addr("10.0.0.77") {
		t.Errorf("got %+v", got)
	}
}

// TestLinkGoesAndComes: a socket survives the interface: down and up, and
// replaced by another one of the same name.
func TestLinkGoesAndComes(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	one := net.Host("r1").Nic("eth0", lan, "10.0.0.11/24")
	two := net.Host("r2").Nic("eth0", lan, "10.0.0.12/24")
	tx, rx := open(t, one, Options{Link: "eth0"}), open(t, two, Options{Link: "eth0"})
	passes := func(what string) {
		t.Helper()
		lab.Eventually(t, 30*time.Second, func() error { // the bridge takes a moment
			if err := tx.Send(advert(2, 51, addr("10.0.0.11"), vrrp.GroupIPv4)); err != nil {
				return err
			}
			select {
			case <-rx.Recv():
				return nil
			case <-time.After(200 * time.Millisecond):
				return fmt.Errorf("%s: nothing arrives", what)
			}
		})
	}
	passes("at first")
	two.Run("ip", "link", "set", "eth0", "down")
	two.Run("ip", "link", "set", "eth0", "up")
	passes("down and up")
	two.Run("ip", "link", "del", "eth0")
	if err := rx.Refresh(); err == nil {
		t.Error("an interface that does not exist was found")
	}
	two.Nic("eth0", lan, "10.0.0.12/24")
	if err := rx.Refresh(); err != nil {
		t.Fatal(err)
	}
	passes("receiver's interface replaced")
	one.Run("ip", "link", "del", "eth0")
	if err := tx.Send(advert(2, 51, addr("10.0.0.11"), vrrp.GroupIPv4)); err == nil {
		t.Error("sent through an interface that does not exist")
	}
	one.Nic("eth0", lan, "10.0.0.11/24")
	passes("sender's interface replaced, nobody said so")
}

// TestPoll: the one who waits is woken by what arrives, by the time, and by others.
func TestPoll(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	two := net.Host("r2").Nic("eth0", lan, "10.0.0.12/24")
	tx := open(t, net.Host("r1").Nic("eth0", lan, "10.0.0.11/24"), Options{Link: "eth0"})
	poll, err := NewPoll()
	if err != nil {
		t.Fatal(err)
	}
	rx := open(t, two, Options{Link: "eth0", Poll: poll})
	passes := func(what string) {
		t.Helper()
		sending := make(chan error, 1)
		go func() {
			time.Sleep(50 * time.Millisecond) // usually the other one waits by then
			sending <- tx.Send(advert(2, 51, addr("10.0.0.11"), vrrp.GroupIPv4))
		}()
		for end := time.Now().Add(30 * time.Second); len(rx.ch) == 0; rx.Drain() {
			if poll.Wait(end); time.Now().After(end) {
				t.Fatalf("%s: nobody was woken", what)
			}
		}
		if err := <-sending; err != nil {
			t.Fatal(err)
		}
		if a := <-rx.Recv(); a.Src != addr("10.0.0.11") {
			t.Errorf("%s: got %+v", what, a)
		}
	}
	passes("first")
	passes("second")
	two.Run("ip", "link", "del", "eth0")
	two.Nic("eth0", lan, "10.0.0.12/24")
	if err := rx.Refresh(); err != nil {
		t.Fatal(err)
	}
	passes("interface replaced")

	begin := time.Now()
	for until := begin.Add(30 * time.Millisecond); time.Now().Before(until); {
		poll.Wait(until)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("30ms took %v", took)
	}
	poll.Wake() // before anybody waits: it counts all the same
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		time.AfterFunc(late, poll.Wake)
		begin = time.Now()
		if poll.Wait(begin.Add(time.Minute)); time.Since(begin) > 30*time.Second {
			t.Error("Wake wakes nobody")
		}
	}
	if err := rx.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-rx.Recv(); open {
		t.Error("the channel of a closed socket is open")
	}
	rx.Drain()
	if err := poll.Close(); err != nil {
		t.Error(err)
	}
	poll.Wake()
}

// TestDrainBringsTheNewest: more than the channel holds, and nobody reads.
func TestDrainBringsTheNewest(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	tx := open(t, net.Host("r1").Nic("eth0", lan, "10.0.0.11/24"), Options{Link: "eth0"})
	two := net.Host("r2").Nic("eth0", lan, "10.0.0.12/24")
	rx := open(t, two, Options{Link: "eth0"})
	before := delivered(t, two)
	for i := range Depth + 100 {
		a := advert(2, 51, addr("10.0.0.11"), vrrp.GroupIPv4)
		a.Priority = uint8(1 + i%200)
		if i == Depth+99 {
			a.Priority = 222
		}
		lab.Eventually(t, 30*time.Second, func() error { return tx.Send(a) }) // a busy kernel's queue is full for a while
	}
	lab.Eventually(t, 30*time.Second, func() error { // and it leaves them to a thread of its own
		if n := delivered(t, two) - before; n < Depth+100 {
			return fmt.Errorf("%d packets have arrived", n)
		}
		return nil
	})
	rx.Drain()
	if n := len(rx.ch); n != Depth {
		t.Errorf("%d adverts wait, want %d", n, Depth)
	}
	var last vrrp.Advert
	for len(rx.ch) > 0 {
		last = <-rx.ch
	}
	if last.Priority != 222 {
		t.Errorf("the last advert has priority %d", last.Priority)
	}
}

// delivered is how many IPv4 packets a host's kernel has handed to sockets.
func delivered(t *testing.T, h *lab.Host) int {
	t.Helper()
	var names []string
	for line := range strings.Lines(h.ReadFile("/proc/thread-self/net/snmp")) {
		words := strings.Fields(line)
		if words[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = words
			continue
		}
		n, err := strconv.Atoi(words[slices.Index(names, "InDelivers")])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatal("the kernel does not count what it delivers")
	return 0
}

// TestGarbage sends what is no advert: it is handed on with its flaw, or counted.
func TestGarbage(t *testing.T) {
	net := lab.New(t)
	lan := net.Bridge("lan")
	one := net.Host("r1").Nic("eth0", lan, "10.0.0.11/24")
	rx := open(t, net.Host("r2").Nic("eth0", lan, "10.0.0.12/24"), Options{Link: "eth0"})
	var fd int
	one.Do(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, vrrp.Protocol); err != nil {
			t.Error(err)
		}
	})
	defer unix.Close(fd)
	for _, c := range []struct {
		msg  []byte
		want vrrp.Reason
	}{
		{[]byte{0x21, 51}, vrrp.BadLength},
		{[]byte{0x21, 51, 100, 1, 1, 1, 0, 0}, vrrp.BadLength},
		{[]byte{0x41, 51, 100, 0, 0, 1, 0, 0}, vrrp.BadVersion},
		{append([]byte{0x21, 51, 100, 0, 0, 1, 0, 0}, make([]byte, 8)...), vrrp.BadChecksum},
		{append([]byte{0x21, 51, 100, 255, 0, 1, 0, 0}, make([]byte, 1400)...), vrrp.BadLength},
		{append([]byte{0x21, 51, 100, 255, 0, 1, 0, 0}, make([]byte, 9000)...), vrrp.BadLength},
	} {
		if err := unix.Sendto(fd, c.msg, 0, &unix.SockaddrInet4{Addr: [4]byte{10, 0, 0, 12}}); err != nil {
			t.Fatal(err)
		}
		got, ok := next(t, rx)
		if !ok || got.Flaw != c.want || got.VRID != 51 {
			t.Errorf("%d bytes: %v %+v, want %v", len(c.msg), ok, got, c.want)
		}
	}
	if n := rx.Strays(); n != 0 {
		t.Errorf("%d strays", n)
	}
}

// TestRefusals: what cannot work says so.
func TestRefusals(t *testing.T) {
	net := lab.New(t)
	h := net.Host("r1").Nic("eth0", net.Bridge("lan"))
	h.Do(func() {
		if _, err := Open(Options{Link: "eth9"}); err == nil || !strings.Contains(err.Error(), "eth9") {
			t.Errorf("open on no interface: %v", err)
		}
		if _, err := Source("eth0", false); err == nil || !strings.Contains(err.Error(), "no IPv4 address") {
			t.Errorf("source without address: %v", err)
		}
	})
	s := open(t, h, Options{Link: "eth0"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-s.Recv(); open {
		t.Error("the channel is open after Close")
	}
	if err := s.Send(advert(2, 51, addr("10.0.0.11"), vrrp.GroupIPv4)); err == nil {
		t.Error("sent after Close")
	}
}
