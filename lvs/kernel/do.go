package kernel

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// fewChanges is up to where changes go one at a time through moby/ipvs.
const fewChanges = 8

// Do takes the changes in order, all of them even when some are refused, and
// returns one verdict each: nil, or an error that wraps an *[lvs.ChangeError].
// [ErrNoVerdict] is in those whose answer was lost.
func (c *Client) Do(changes []lvs.Change) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	verdicts := make([]error, len(changes))
	todo := make([]int, 0, len(changes)) // positions of the changes that the kernel gets to see
	raw := c.plain || len(changes) > fewChanges
	for i, ch := range changes {
		if err := check(ch); err != nil {
			verdicts[i] = refusedHere(ch, err)
			continue
		}
		raw = raw || needsRaw(ch)
		todo = append(todo, i)
	}
	if !raw && c.useMoby() {
		for _, i := range todo {
			verdicts[i] = c.single(changes[i])
		}
		return verdicts
	}
	for len(todo) > 0 {
		n := c.batch(changes, todo, verdicts)
		todo = todo[n:]
	}
	return verdicts
}

// refusedHere is the verdict of a change that the kernel did not get to see.
func refusedHere(ch lvs.Change, err error) error {
	return fmt.Errorf("%w (%v)", &lvs.ChangeError{Change: ch, Errno: unix.EINVAL}, err)
}

// noVerdict is for a change whose answer was lost.
func noVerdict(ch lvs.Change, err error) error {
	errno := syscall.Errno(unix.EIO)
	if errors.Is(err, errSilent) {
		errno = unix.ETIMEDOUT
	}
	errors.As(err, &errno)
	return fmt.Errorf("%w: %w", &lvs.ChangeError{Change: ch, Errno: errno}, ErrNoVerdict)
}

// limits is how much one batch may be.
type limits struct {
	messages int
	bytes    int
}

// smallLimits fit the buffers that every socket has.
var smallLimits = limits{messages: fewChanges, bytes: 16 << 10}

const (
	batchBuffer   = 4 << 20 // asked for each direction; the kernel doubles it
	batchMessages = 1500
	batchBytes    = 1 << 20
	// errorCost is what one unread error takes from the receive buffer: some
	// 800 bytes on Linux 6.1, more where the request comes back with it.
	errorCost = 2048
	// sendCost is what the kernel keeps of the send buffer for itself.
	sendCost = 1024
)

// granted computes the limits that the kernel's buffers allow. Every message of
// a batch may be refused, and each refusal waits in the receive buffer until
// the batch has been taken, so it has to hold them all: one that did not fit
// would be a verdict lost.
func granted(send, receive int) limits {
	return limits{
		messages: max(1, min(batchMessages, receive/errorCost)),
		bytes:    min(batchBytes, send-sendCost),
	}
}

func (c *Client) batchLimits(n int) (limits, error) {
	if n <= smallLimits.messages {
		return smallLimits, nil
	}
	if c.limits == (limits{}) {
		send, receive, err := c.conn.Grow(batchBuffer)
		if err != nil {
			return limits{}, err
		}
		c.limits = granted(send, receive)
	}
	return c.limits, nil
}

// batch puts as many changes as one datagram may hold to the kernel, gives each
// its verdict, and returns how many they were. Only the last asks for an
// acknowledgement: a refusal comes without being asked for, and when the last
// one's answer is there, all others have been.
func (c *Client) batch(changes []lvs.Change, todo []int, verdicts []error) int {
	fail := func(todo []int, err error) int {
		for _, i := range todo {
			verdicts[i] = fmt.Errorf("%w (%v)", &lvs.ChangeError{Change: changes[i], Errno: errnoOf(err)}, err)
		}
		return len(todo)
	}
	if err := c.usable(); err != nil {
		return fail(todo, err)
	}
	lim, err := c.batchLimits(len(todo))
	if err != nil {
		return fail(todo, c.lost(err))
	}
	first := c.nextSeq(min(len(todo), lim.messages))
	n := c.encode(changes, todo, lim, first)
	todo = todo[:n]
	if err := c.conn.Send(c.out.b, false); err != nil {
		// A datagram is taken whole or not at all, so nothing was done.
		return fail(todo, c.lost(err))
	}
	b := newVerdicts(first, n)
	err = c.collect(b)
	for j, i := range todo {
		switch {
		case b.known[j]: // without an error, no answer is a yes
			verdicts[i] = lvs.Refused(changes[i], b.errnos[j])
		case err != nil:
			verdicts[i] = noVerdict(changes[i], err)
		}
	}
	return n
}

func errnoOf(err error) syscall.Errno {
	errno := syscall.Errno(unix.EIO)
	errors.As(err, &errno)
	return errno
}

// encode fills c.out within the limits and returns the number of changes in it,
// at least one.
func (c *Client) encode(changes []lvs.Change, todo []int, lim limits, first uint32) int {
	c.out.reset()
	n, last := 0, 0
	for n < len(todo) && n < lim.messages {
		before := len(c.out.b)
		c.out.change(c.family, 0, first+uint32(n), changes[todo[n]])
		if n > 0 && len(c.out.b) > lim.bytes {
			c.out.b = c.out.b[:before]
			break
		}
		n, last = n+1, before
	}
	c.out.askAck(last)
	return n
}

// askAck asks for the acknowledgement of the message that begins at start.
func (e *encoder) askAck(start int) {
	at := e.b[start+6:]
	native.PutUint16(at, native.Uint16(at)|unix.NLM_F_ACK)
}

// verdictsOf holds what the kernel said of a batch.
type verdictsOf struct {
	first  uint32
	errnos []syscall.Errno
	known  []bool
	last   bool // the last one has been answered, so the rest has been taken
}

func newVerdicts(first uint32, n int) *verdictsOf {
	return &verdictsOf{first: first, errnos: make([]syscall.Errno, n), known: make([]bool, n)}
}

// An error with the head of its request takes 36 bytes, with all of it the size
// of the request more.
const verdictBuffer = 2 * dumpBuffer / maxSlots

// collect reads verdicts until that of the last change. An error means that
// some may be missing.
func (c *Client) collect(b *verdictsOf) error {
	var bufs [maxSlots][]byte
	var sizes [maxSlots]int
	mem := c.memory()
	for i := range bufs {
		bufs[i] = mem[i*verdictBuffer : (i+1)*verdictBuffer]
	}
	for !b.last {
		n, err := c.conn.Receive(bufs[:], sizes[:], c.patience)
		if err == unix.ENOBUFS {
			c.drain(b, bufs[:], sizes[:])
			return c.lost(err)
		}
		if err != nil {
			return c.lost(err)
		}
		for i := range n {
			if err := b.datagram(bufs[i][:sizes[i]]); err != nil {
				return c.lost(err)
			}
		}
	}
	return nil
}

// drain takes the verdicts that came before the receive buffer overflowed. They
// are true, all others are unknown.
func (c *Client) drain(b *verdictsOf, bufs [][]byte, sizes []int) {
	for {
		n, err := c.conn.Receive(bufs, sizes, 0)
		if err != nil {
			return
		}
		for i := range n {
			if b.datagram(bufs[i][:sizes[i]]) != nil {
				return
			}
		}
	}
}

func (b *verdictsOf) datagram(data []byte) error {
	for len(data) > 0 {
		m, rest, err := nextMessage(data)
		if err != nil {
			return err
		}
		data = rest
		i := m.seq - b.first
		if m.typ != unix.NLMSG_ERROR || i >= uint32(len(b.known)) {
			continue
		}
		if b.errnos[i], err = m.errno(); err != nil {
			return err
		}
		b.known[i] = true
		b.last = b.last || int(i) == len(b.known)-1
	}
	return nil
}
