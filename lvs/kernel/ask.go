package kernel

import (
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// The kernel sizes a part of a dump by the largest buffer that its socket has
// been read into so far, up to 32 KiB. The first it sizes by itself, 8 KiB at the
// most, so no buffer may be smaller than that.
const (
	dumpBuffer  = 32 << 10
	smallBuffer = 8 << 10 // for some twenty destinations
)

// An answer tells how a question was answered.
type answer struct {
	parts       int  // datagrams that carried something
	interrupted bool // the kernel saw the table change under the dump
}

// ask sends the message that stands in c.out and calls visit for the payload of
// each message that answers it. The kernel's refusal is a syscall.Errno. After
// any other error the conn is a new one.
func (c *Client) ask(seq uint32, visit func([]byte) error) (answer, error) {
	return c.converse(seq, true, visit)
}

// askOne is ask for a question that one message answers.
func (c *Client) askOne(seq uint32, visit func([]byte) error) error {
	a, err := c.ask(seq, visit)
	if err == nil && a.parts == 0 {
		return c.lost(malformedError("an acknowledgement in place of an answer"))
	}
	return err
}

// tell is ask for an order, which is only acknowledged and may take its time.
func (c *Client) tell(seq uint32) error {
	_, err := c.converse(seq, false, func([]byte) error { return nil })
	return err
}

func (c *Client) converse(seq uint32, quick bool, visit func([]byte) error) (answer, error) {
	if err := c.usable(); err != nil {
		return answer{}, err
	}
	if err := c.conn.Send(c.out.b, quick); err != nil {
		return answer{}, c.lost(err)
	}
	x := exchange{seq: seq, visit: visit}
	for !x.done {
		// Reading the first part makes the kernel prepare the next one, so that
		// one system call takes both: mostly everything and the end of a dump.
		mem := c.memory()
		c.parts.bufs = [2][]byte{mem[:c.room], mem[dumpBuffer:][:c.room]}
		n, err := c.conn.Receive(c.parts.bufs[:], c.parts.sizes[:], c.patience)
		if err != nil {
			return x.answer, c.lost(err)
		}
		for i := range n {
			if err := x.datagram(c.parts.bufs[i][:c.parts.sizes[i]]); err != nil {
				return x.answer, c.lost(err)
			}
		}
	}
	if x.errno != 0 {
		return x.answer, x.errno
	}
	return x.answer, nil
}

// A lostError is a failure of the conversation itself, not a refusal.
type lostError struct{ err error }

func (e lostError) Error() string { return "talking to IPVS: " + e.err.Error() }

// Unwrap hides nothing, not even an errno of the socket.
func (e lostError) Unwrap() error { return e.err }

func (c *Client) lost(err error) error {
	c.renew()
	return lostError{err}
}

func (c *Client) memory() []byte {
	if c.in == nil {
		c.in = make([]byte, 2*dumpBuffer)
	}
	return c.in
}

// readSmall prepares for many short answers. To make room for 32 KiB each time
// takes the kernel a sixth of what it does for a service with a few destinations.
// Only a new socket forgets the buffers of the old one; without one, the old serves.
func (c *Client) readSmall() {
	fresh, err := c.conn.Renew()
	if err != nil {
		return
	}
	_ = c.conn.Close() // nothing is lost with it
	c.conn, c.limits, c.room, c.stale = fresh, limits{}, smallBuffer, false
}

// exchange follows the answer to one question.
type exchange struct {
	answer
	seq   uint32
	visit func([]byte) error
	errno syscall.Errno
	done  bool
}

func (x *exchange) datagram(b []byte) error {
	carried := false
	for len(b) > 0 && !x.done {
		m, rest, err := nextMessage(b)
		if err != nil {
			return err
		}
		b = rest
		if m.seq != x.seq {
			continue // the late answer to a question given up
		}
		x.interrupted = x.interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		if m.typ == unix.NLMSG_ERROR || m.typ == unix.NLMSG_DONE {
			x.done = true
			x.errno, err = m.errno()
			if err != nil {
				return err
			}
			continue
		}
		if m.typ == unix.NLMSG_NOOP {
			continue
		}
		carried = true
		x.done = m.flags&unix.NLM_F_MULTI == 0
		p, err := m.payload()
		if err != nil {
			return err
		}
		if err := x.visit(p); err != nil {
			return err
		}
	}
	if carried {
		x.parts++
	}
	return nil
}

// question begins a message of the family IPVS in c.out.
func (c *Client) question(cmd uint8, flags uint16) (seq uint32) {
	seq = c.nextSeq(1)
	c.out.reset()
	c.out.begin(c.family, flags, seq, cmd, ipvsGenlVersion)
	return seq
}

// noFamily is a number that no family has. The kernel refuses what is sent to it
// with ENOENT, and so the family is looked for again once the module is back; to
// 0 it would not answer at all.
const noFamily = 0xffff

// resolve asks the controller for the number of the family IPVS.
func (c *Client) resolve() error {
	seq := c.nextSeq(1)
	c.out.reset()
	c.out.begin(genlController, 0, seq, ctrlGetFamily, 1)
	c.out.str(ctrlAttrName, ipvsFamilyName)
	c.out.end()
	// Not quick: for an unknown family the kernel may look for a module first.
	c.family = noFamily
	_, err := c.converse(seq, false, func(b []byte) error {
		family, err := decodeFamily(b)
		if err == nil {
			c.family = family
		}
		return err
	})
	if err == nil && c.family == noFamily {
		return c.lost(malformedError("a family without a number"))
	}
	return err
}

func (c *Client) info() (info lvs.Info, err error) {
	seq := c.question(cmdGetInfo, 0)
	c.out.end()
	err = c.askOne(seq, func(b []byte) (err error) {
		info, err = decodeInfo(b)
		return err
	})
	return info, err
}

// Info asks IPVS for its version and the size of its connection table.
func (c *Client) Info() (lvs.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := c.info()
	return info, refusal("ask IPVS for its version", err, nil)
}

// Timeouts returns the idle timeouts of connections.
func (c *Client) Timeouts() (lvs.Timeouts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var t lvs.Timeouts
	seq := c.question(cmdGetConfig, 0)
	c.out.end()
	err := c.askOne(seq, func(b []byte) (err error) {
		t, err = decodeTimeouts(b)
		return err
	})
	return t, refusal("read the timeouts", err, nil)
}

// Daemons returns the sync daemons that run, the master first.
func (c *Client) Daemons() ([]lvs.Daemon, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []lvs.Daemon
	seq := c.question(cmdGetDaemon, unix.NLM_F_DUMP)
	c.out.end()
	_, err := c.ask(seq, func(b []byte) error {
		v, err := nested(b, attrDaemon)
		if err != nil {
			return err
		}
		d, err := decodeDaemon(v)
		list = append(list, d)
		return err
	})
	return list, refusal("read the sync daemons", err, nil)
}

// StartDaemon starts a sync daemon. The kernel's reasons to refuse it: EEXIST,
// one of this role runs; ENODEV, no such interface; EINVAL, a value is out of
// its range or a service has destinations of the other address family, which
// the sync protocol cannot carry.
func (c *Client) StartDaemon(d lvs.Daemon) error {
	what := "start the " + d.Role.String() + " sync daemon"
	if err := checkName("interface", d.Interface); err != nil {
		return &Error{What: what, Errno: unix.EINVAL, Hint: err.Error()}
	}
	// The sync protocol has one byte for it. The kernel takes more and sends it cut.
	if d.SyncID > 255 {
		return &Error{What: what, Errno: unix.EINVAL, Hint: "the sync id is 0 to 255"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seq := c.question(cmdNewDaemon, unix.NLM_F_ACK)
	c.out.daemon(d)
	c.out.end()
	err := c.tell(seq)
	return refusal(what, err, map[syscall.Errno]string{
		unix.EEXIST: "one runs already: stop it first",
		unix.ENODEV: "there is no interface " + d.Interface,
		unix.EINVAL: "a value is out of its range, or a destination has another address family than its service: these and sync daemons exclude each other",
	})
}

// StopDaemon stops the sync daemon of a role; nothing else of d counts. The
// kernel refuses it with ESRCH when none runs.
func (c *Client) StopDaemon(d lvs.Daemon) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.stopDaemon(d.Role)
	return refusal("stop the "+d.Role.String()+" sync daemon", err, map[syscall.Errno]string{
		unix.ESRCH: "none runs",
	})
}

// stopDaemon asks for no acknowledgement of its own: a daemon whose thread has
// not yet run ends with EINTR, and that is the one errno for which netlink sends
// nothing, so whoever waits for it waits for ever. The acknowledgement of a
// second, harmless message says that the first was taken; a refusal comes unasked.
func (c *Client) stopDaemon(r lvs.Role) error {
	if err := c.usable(); err != nil {
		return err
	}
	first := c.nextSeq(2)
	c.out.reset()
	c.out.begin(c.family, 0, first, cmdDelDaemon, ipvsGenlVersion)
	at := c.out.nest(attrDaemon)
	c.out.u32(daemonState, uint32(r))
	c.out.close(at)
	c.out.end()
	c.out.begin(c.family, unix.NLM_F_ACK, first+1, cmdGetInfo, ipvsGenlVersion)
	c.out.end()
	if err := c.conn.Send(c.out.b, false); err != nil {
		return c.lost(err)
	}
	v := newVerdicts(first, 2)
	if err := c.collect(v); err != nil {
		return err
	}
	if v.errnos[0] != 0 {
		return v.errnos[0]
	}
	return nil
}

// SetTimeouts sets the idle timeouts of connections; 0 keeps what there is.
func (c *Client) SetTimeouts(t lvs.Timeouts) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seq := c.question(cmdSetConfig, unix.NLM_F_ACK)
	c.out.u32(attrTimeoutTCP, t.TCP)
	c.out.u32(attrTimeoutTCPFin, t.TCPFin)
	c.out.u32(attrTimeoutUDP, t.UDP)
	c.out.end()
	err := c.tell(seq)
	return refusal("set the timeouts", err, map[syscall.Errno]string{
		unix.EINVAL: "each is 0 to 2678400 seconds",
	})
}
