package kernel

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// scripted is a kernel that answers as a test says.
type scripted struct {
	t      *testing.T
	answer func(requests []message) []event // for each datagram that is sent
	queue  []event
	sent   [][]message
	closed int
	send   int // what Grow grants
	recv   int
	poor   bool // it cannot be renewed
}

// An event is a datagram, or what Receive fails with.
type event struct {
	data []byte
	err  error
}

func (s *scripted) Send(b []byte, _ bool) error {
	var ms []message
	for len(b) > 0 {
		m, rest, err := nextMessage(b)
		if err != nil {
			s.t.Fatalf("we sent a %v", err)
		}
		ms, b = append(ms, m), rest
	}
	s.sent = append(s.sent, ms)
	s.queue = append(s.queue, s.answer(ms)...)
	return nil
}

func (s *scripted) Receive(bufs [][]byte, sizes []int, _ time.Duration) (int, error) {
	n := 0
	for n < len(bufs) && len(s.queue) > 0 && s.queue[0].err == nil {
		sizes[n] = copy(bufs[n], s.queue[0].data)
		s.queue = s.queue[1:]
		n++
	}
	switch {
	case n > 0:
		return n, nil
	case len(s.queue) == 0:
		return 0, errSilent
	}
	err := s.queue[0].err
	s.queue = s.queue[1:]
	return 0, err
}

func (s *scripted) Grow(int) (int, int, error) { return s.send, s.recv, nil }
func (s *scripted) Namespace() (int, error)    { return -1, unix.ENOTTY }
func (s *scripted) Close() error               { s.closed++; s.queue = nil; return nil }

func (s *scripted) Renew() (conn, error) {
	if s.poor {
		return nil, unix.EMFILE
	}
	return s, nil
}

// client is one whose family is known, on a scripted kernel.
func client(t *testing.T, answer func([]message) []event) (*Client, *scripted) {
	s := &scripted{t: t, answer: answer, send: 4 << 20, recv: 4 << 20}
	c := newClient(s)
	c.family = 30
	return c, s
}

func datagram(ms ...[]byte) event {
	var b []byte
	for _, m := range ms {
		b = append(b, m...)
	}
	return event{data: b}
}

// reply is one message of the answer to m.
func reply(m message, typ, flags uint16, body ...byte) []byte {
	b := native.AppendUint32(nil, uint32(nlHeader+len(body)))
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, m.seq)
	b = native.AppendUint32(b, 0)
	b = append(b, body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func verdict(m message, errno syscall.Errno) []byte {
	body := native.AppendUint32(nil, uint32(-int32(errno)))
	return reply(m, unix.NLMSG_ERROR, 0, append(body, make([]byte, nlHeader)...)...)
}

func done(m message, errno syscall.Errno) []byte {
	return reply(m, unix.NLMSG_DONE, unix.NLM_F_MULTI, native.AppendUint32(nil, uint32(-int32(errno)))...)
}

// service is a part of a dump: the service of a mark.
func servicePart(m message, flags uint16, marks ...uint32) event {
	var all [][]byte
	for _, mark := range marks {
		var e encoder
		e.b = append(e.b, cmdNewService, 1, 0, 0)
		e.nestedService(lvs.NewService(lvs.Marked(mark, lvs.IPv4), "rr"), ^uint32(0))
		all = append(all, reply(m, 30, unix.NLM_F_MULTI|flags, e.b...))
	}
	return datagram(all...)
}

// emptyDests answers questions for destinations, others go to services.
func emptyDests(services func(m message, round int) []event) func([]message) []event {
	round := 0
	return func(ms []message) []event {
		if ms[0].body[0] == cmdGetDest {
			return []event{datagram(done(ms[0], 0))}
		}
		round++
		return services(ms[0], round)
	}
}

func marks(s lvs.State) (list []uint32) {
	for _, svc := range s {
		list = append(list, svc.Mark)
	}
	return list
}

func TestDumps(t *testing.T) {
	for _, tt := range []struct {
		name     string
		services func(m message, round int) []event
		want     string // marks, or a part of the error
		rounds   int
	}{
		{"one part", func(m message, _ int) []event {
			return []event{servicePart(m, 0, 1, 2), datagram(done(m, 0))}
		}, "[1 2]", 1},
		{"nothing", func(m message, _ int) []event { return []event{datagram(done(m, 0))} }, "[]", 1},
		{"an old kernel's end", func(m message, _ int) []event {
			return []event{datagram(reply(m, unix.NLMSG_DONE, unix.NLM_F_MULTI))}
		}, "[]", 1},
		{"end in the same part", func(m message, _ int) []event {
			e := servicePart(m, 0, 1)
			return []event{{data: append(e.data, done(m, 0)...)}}
		}, "[1]", 1},
		{"two parts that agree", func(m message, _ int) []event {
			return []event{servicePart(m, 0, 1), servicePart(m, 0, 2), datagram(done(m, 0))}
		}, "[1 2]", 2},
		{"torn once", func(m message, round int) []event {
			if round == 1 {
				return []event{servicePart(m, 0, 1), servicePart(m, 0, 3), datagram(done(m, 0))}
			}
			return []event{servicePart(m, 0, 1), servicePart(m, 0, 2, 3), datagram(done(m, 0))}
		}, "[1 2 3]", 3},
		{"interrupted", func(m message, round int) []event {
			if round == 1 {
				return []event{servicePart(m, unix.NLM_F_DUMP_INTR, 1), datagram(done(m, 0))}
			}
			return []event{servicePart(m, 0, 1, 2), datagram(done(m, 0))}
		}, "[1 2]", 2},
		// The third dump lacks 2 and 9: 2 is still there, 9 is not.
		{"never the same", func(m message, round int) []event {
			switch {
			case m.flags&unix.NLM_F_DUMP == 0 && strings.HasSuffix(string(m.body), "\x02\x00\x00\x00"):
				e := servicePart(m, 0, 2)
				native.PutUint16(e.data[6:], 0)
				return []event{e}
			case m.flags&unix.NLM_F_DUMP == 0:
				return []event{datagram(verdict(m, unix.ESRCH))}
			case round == 1:
				return []event{servicePart(m, 0, 1), servicePart(m, 0, 3), datagram(done(m, 0))}
			case round == 2:
				return []event{servicePart(m, 0, 1, 2), servicePart(m, 0, 9), datagram(done(m, 0))}
			}
			return []event{servicePart(m, 0, 1), servicePart(m, 0, 4), datagram(done(m, 0))}
		}, "[1 4 2]", 5},
		{"done with an errno", func(m message, _ int) []event {
			return []event{servicePart(m, 0, 1), datagram(done(m, unix.ENOMEM))}
		}, "cannot allocate memory", 1},
		{"refused", func(m message, _ int) []event { return []event{datagram(verdict(m, unix.EPERM))} }, "operation not permitted", 1},
		{"lost", func(m message, _ int) []event { return nil }, "did not answer", 1},
		{"lost half-way", func(m message, _ int) []event { return []event{servicePart(m, 0, 1)} }, "did not answer", 1},
		{"overflow", func(m message, _ int) []event { return []event{{err: unix.ENOBUFS}} }, "no buffer space", 1},
		{"truncated", func(m message, _ int) []event { return []event{{err: errTruncated}} }, "longer than its buffer", 1},
		{"late answer before", func(m message, _ int) []event {
			late := m
			late.seq--
			return []event{servicePart(late, 0, 7), datagram(verdict(late, unix.EPERM)), datagram(done(late, 0)), servicePart(m, 0, 1), datagram(done(m, 0))}
		}, "[1]", 1},
		{"short message", func(m message, _ int) []event { return []event{{data: []byte{20, 0, 0}}} }, "malformed", 1},
		{"too long a message", func(m message, _ int) []event {
			b := done(m, 0)
			native.PutUint32(b, 4000)
			return []event{{data: b}}
		}, "malformed", 1},
		{"verdict without errno", func(m message, _ int) []event {
			return []event{datagram(reply(m, unix.NLMSG_ERROR, 0))}
		}, "malformed", 1},
		{"no generic header", func(m message, _ int) []event {
			return []event{datagram(reply(m, 30, unix.NLM_F_MULTI))}
		}, "malformed", 1},
		{"no service", func(m message, _ int) []event {
			return []event{datagram(reply(m, 30, unix.NLM_F_MULTI, cmdNewService, 1, 0, 0))}
		}, "malformed", 1},
		{"noop", func(m message, _ int) []event {
			return []event{datagram(reply(m, unix.NLMSG_NOOP, unix.NLM_F_MULTI)), datagram(done(m, 0))}
		}, "[]", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rounds := 0
			c, s := client(t, emptyDests(func(m message, round int) []event { rounds = round; return tt.services(m, round) }))
			state, err := c.State()
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = strings.ReplaceAll(sprint(marks(state)), "<nil>", "[]")
			}
			if !strings.Contains(got, tt.want) || rounds != tt.rounds {
				t.Errorf("after %d questions: %s, want %s after %d", rounds, got, tt.want, tt.rounds)
			}
			var errno syscall.Errno
			refused := errors.As(err, &errno) && errno != unix.ENOBUFS
			if lost := err != nil && !refused; (s.closed == 1) != lost {
				t.Errorf("closed %d times after %v", s.closed, err)
			}
			// Whatever happened, the next question is answered.
			s.answer = emptyDests(func(m message, _ int) []event { return []event{datagram(done(m, 0))} })
			if _, err := c.State(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func add(mark uint32) lvs.Change {
	return lvs.Change{Op: lvs.AddService, Service: lvs.NewService(lvs.Marked(mark, lvs.IPv4), "rr")}
}

func adds(n int) (cs []lvs.Change) {
	for i := range n {
		cs = append(cs, add(uint32(i+1)))
	}
	return cs
}

func TestBatchAsksOnce(t *testing.T) {
	c, s := client(t, func(ms []message) []event {
		var out []event
		for i, m := range ms {
			last := i == len(ms)-1
			if asked := m.flags&unix.NLM_F_ACK != 0; asked != last {
				t.Fatalf("message %d of %d asks for an acknowledgement: %v", i, len(ms), asked)
			}
			switch {
			case i%10 == 3:
				out = append(out, datagram(verdict(m, unix.EEXIST)))
			case last:
				out = append(out, datagram(verdict(m, 0)))
			}
		}
		return out
	})
	verdicts := c.Do(adds(4000))
	if sizes := []int{len(s.sent[0]), len(s.sent[1]), len(s.sent[2])}; sizes[0] != 1500 || sizes[1] != 1500 || sizes[2] != 1000 {
		t.Errorf("batches of %v", sizes)
	}
	for i, err := range verdicts {
		if want := i%1500%10 == 3; errors.Is(err, lvs.ErrServiceExists) != want || (err != nil) != want {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}

func TestBatchLimits(t *testing.T) {
	for _, tt := range []struct{ send, recv, messages, bytes int }{
		{8 << 20, 8 << 20, 1500, 1 << 20},
		{425984, 425984, 208, 424960}, // without CAP_NET_ADMIN over the buffers
		{4608, 2304, 1, 3584},         // the least there is
	} {
		if got, want := granted(tt.send, tt.recv), (limits{tt.messages, tt.bytes}); got != want {
			t.Errorf("granted(%d, %d) = %+v, want %+v", tt.send, tt.recv, got, want)
		}
	}
	// The receive buffer decides how many, the send buffer how large: a message
	// has 76 bytes here.
	for _, tt := range []struct{ send, recv, want int }{{1 << 20, 40 << 10, 20}, {sendCost + 1000, 1 << 20, 13}} {
		c, s := client(t, ackLast)
		s.send, s.recv = tt.send, tt.recv
		for _, err := range c.Do(adds(50)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := len(s.sent[0]); got != tt.want {
			t.Errorf("with buffers of %d and %d a batch has %d messages, want %d", tt.send, tt.recv, got, tt.want)
		}
	}
}

func ackLast(ms []message) []event { return []event{datagram(verdict(ms[len(ms)-1], 0))} }

func TestBatchThatLosesVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events func(ms []message) []event
		errno  syscall.Errno
	}{
		{"silence", func(ms []message) []event { return []event{datagram(verdict(ms[3], unix.EEXIST))} }, unix.ETIMEDOUT},
		{"overflow", func(ms []message) []event {
			return []event{{err: unix.ENOBUFS}, datagram(verdict(ms[3], unix.EEXIST))}
		}, unix.ENOBUFS},
		{"malformed", func(ms []message) []event {
			return []event{datagram(verdict(ms[3], unix.EEXIST)), {data: []byte("xxx")}}
		}, unix.EIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := client(t, tt.events)
			for i, err := range c.Do(adds(20)) {
				var refused *lvs.ChangeError
				if !errors.As(err, &refused) {
					t.Fatalf("change %d: %v is no ChangeError", i, err)
				}
				if i == 3 && (errors.Is(err, ErrNoVerdict) || refused.Errno != unix.EEXIST) {
					t.Errorf("the known verdict is %v", err)
				}
				if i != 3 && (!errors.Is(err, ErrNoVerdict) || refused.Errno != tt.errno) {
					t.Errorf("change %d: %v, want no verdict, errno %d", i, err, tt.errno)
				}
			}
			if s.closed != 1 {
				t.Error("the socket was kept")
			}
		})
	}
}

// What the kernel would misread is refused before; the others still run.
func TestRefusedHere(t *testing.T) {
	svc := lvs.Service{Key: tcpKey("10.0.0.1:80"), Scheduler: "rr"}
	dst := func(m lvs.Method, addr string) lvs.Destination {
		return lvs.Destination{Addr: netip.MustParseAddrPort(addr), Method: m}
	}
	var key lvs.Service
	key.Key = lvs.Key{Family: lvs.IPv6, Protocol: lvs.TCP, Addr: netip.MustParseAddrPort("10.0.0.1:80")}
	long := svc
	long.Scheduler = strings.Repeat("x", 70000)
	nul := svc
	nul.PE = "si\x00p"
	for _, tt := range []struct {
		name   string
		change lvs.Change
		want   string
	}{
		{"bypass", lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst(lvs.Bypass, "10.0.0.2:80")}, "bypass is the kernel's own method: use gate, ipip or masq"},
		{"unknown method", lvs.Change{Op: lvs.EditDestination, Service: svc, Destination: dst(9, "10.0.0.2:80")}, "no forwarding method 9"},
		{"unknown change", lvs.Change{Op: 99, Service: svc}, "IPVS knows no change 99"},
		{"no change", lvs.Change{}, "IPVS knows no change 0"},
		{"flush of one", lvs.Change{Op: lvs.Flush, Service: svc}, "takes every service"},
		{"no address", lvs.Change{Op: lvs.AddService, Service: lvs.Service{Key: lvs.Key{Family: lvs.IPv4}}}, "the service has no address"},
		{"no server address", lvs.Change{Op: lvs.DeleteDestination, Service: svc}, "the destination has no address"},
		{"zone", lvs.Change{Op: lvs.AddDestination, Service: svc, Destination: dst(lvs.Gate, "[fe80::1%eth0]:80")}, "leave out %eth0"},
		{"family", lvs.Change{Op: lvs.AddService, Service: key}, "said to be IPv6 and its address is IPv4"},
		{"long name", lvs.Change{Op: lvs.AddService, Service: long}, "the name of the scheduler has 70000 bytes"},
		{"NUL", lvs.Change{Op: lvs.EditService, Service: nul}, "the name of the persistence engine has a NUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := client(t, ackLast)
			verdicts := c.Do([]lvs.Change{add(1), tt.change, add(2)})
			var refused *lvs.ChangeError
			if err := verdicts[1]; !errors.As(err, &refused) || refused.Errno != unix.EINVAL || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want EINVAL and %q", err, tt.want)
			}
			if verdicts[0] != nil || verdicts[2] != nil || len(s.sent[0]) != 2 {
				t.Errorf("the others: %v, %v", verdicts[0], verdicts[2])
			}
		})
	}
}

func TestDoNothing(t *testing.T) {
	c, s := client(t, ackLast)
	if got := c.Do(nil); len(got) != 0 || len(s.sent) != 0 {
		t.Errorf("%v, sent %v", got, s.sent)
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	c, _ := client(t, ackLast)
	c.seq = ^uint32(0) - 5
	for i, err := range c.Do(adds(20)) {
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}

// A daemon whose thread has not run yet is stopped with EINTR, and netlink
// answers nothing to that.
func TestStopDaemonThatNeverRan(t *testing.T) {
	c, _ := client(t, ackLast)
	if err := c.StopDaemon(lvs.Daemon{Role: lvs.Master}); err != nil {
		t.Error(err)
	}
	c, _ = client(t, func(ms []message) []event {
		return append([]event{datagram(verdict(ms[0], unix.ESRCH))}, ackLast(ms)...)
	})
	if err := c.StopDaemon(lvs.Daemon{Role: lvs.Master}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("%v, want ESRCH", err)
	}
}

func TestClosedClient(t *testing.T) {
	c, _ := client(t, ackLast)
	if _, err := c.Info(); err == nil {
		t.Error("an acknowledgement passes for an answer")
	}
	c.Close()
	if _, err := c.State(); !errors.Is(err, errClosed) {
		t.Errorf("reading a closed client: %v", err)
	}
	if err := c.Do(adds(1))[0]; !strings.Contains(sprint(err), string(errClosed)) {
		t.Errorf("changing through a closed client: %v", err)
	}
}

// An unloaded module comes back under another number, sooner or later.
func TestFamilyChanges(t *testing.T) {
	loaded := false
	c, _ := client(t, func(ms []message) []event {
		switch m := ms[0]; {
		case m.typ == genlController && loaded:
			return []event{familyReply(m, 31)}
		case m.typ == 31 && loaded:
			return []event{servicePart(m, 0, 1), datagram(done(m, 0))}
		case m.typ < 16:
			return nil // the kernel does not answer what is for netlink itself
		}
		return []event{datagram(verdict(ms[0], unix.ENOENT))}
	})
	for range 3 {
		if _, err := c.services(nil); err != syscall.Errno(unix.ENOENT) {
			t.Errorf("without the module: %v", err)
		}
	}
	loaded = true
	if s, err := c.services(nil); err != nil || len(s) != 1 || c.family != 31 {
		t.Errorf("%v, %v", s, err)
	}
}

// Without a descriptor for another socket the one at hand has to do.
func TestNoDescriptorForAnotherSocket(t *testing.T) {
	answer := emptyDests(func(m message, _ int) []event { return []event{servicePart(m, 0, 1), datagram(done(m, 0))} })
	c, s := client(t, answer)
	s.poor = true
	s.answer = func([]message) []event { return nil }
	if _, err := c.State(); !errors.Is(err, errSilent) {
		t.Errorf("without an answer: %v", err)
	}
	s.answer = answer
	if st, err := c.State(); err != nil || len(st) != 1 || !c.stale {
		t.Errorf("with the old socket: %v, %v", st, err)
	}
	s.poor = false
	if _, err := c.State(); err != nil || c.stale || s.closed != 1 {
		t.Errorf("with another one: %v, %d closed", err, s.closed)
	}
}

func familyReply(m message, family uint16) event {
	var e encoder
	e.b = append(e.b, 1, 2, 0, 0)
	e.str(ctrlAttrName, ipvsFamilyName)
	e.u16(ctrlAttrID, family)
	return datagram(reply(m, genlController, 0, e.b...))
}
