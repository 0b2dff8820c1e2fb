package check

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// glancer is a prepared Probe that mostly needs no more than a glance: connect,
// send one question, and the whole answer comes in one piece. That much is done
// without a goroutine for it: waking one three times costs as much as all that
// the kernel does for a connection.
type glancer interface {
	Probe
	opening() *opening
	// hear judges the first piece of an answer, and whether the answer ended with
	// it. It is not enough when there has to be more. It must be quick: other
	// checks wait meanwhile.
	hear(piece []byte, ended bool) (out Outcome, enough bool)
	// goOn is Examine after the question has been sent over c.
	goOn(ctx context.Context, n Net, c net.Conn) Outcome
}

// opening is what a glancer begins with. Where there is no question the
// connection itself is the answer.
type opening struct {
	addr     netip.AddrPort
	peer     string // addr in words
	question []byte
	abort    bool // end with a reset
	awaited  string
}

// maxGlance is the longest answer that is judged at a glance.
const maxGlance = 8 << 10

// glance makes the checks of one glancer, one at a time. Its connection belongs
// to the poller's goroutine; it is started and cancelled from another.
type glance struct {
	p     *poller
	n     Net
	probe glancer
	// over is told when a check began and what came of it, once for each that
	// start did not end at once. It must not be called with mu held.
	over func(when time.Time, out Outcome)
	// cancel is what ends the check that is under way, as a context would.
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	stage    stage
	fd       int // -1 when there is none, or it is the goroutine's that goes on
	unsent   []byte
	base     context.Context
	when     time.Time
	patience time.Duration
	stop     context.CancelCauseFunc // of the goroutine that goes on
}

func newGlance(p *poller, n Net, probe glancer, over func(time.Time, Outcome)) *glance {
	g := &glance{p: p, n: n, probe: probe, over: over, fd: -1}
	g.cancel = g.end
	return g
}

type stage uint8

const (
	resting stage = iota
	connecting
	asked
	handedOver
)

// start begins a check. Whoever starts it ends it in time with cancel. Where the
// outcome is clear at once, start returns it.
func (g *glance) start(base context.Context, now time.Time, patience time.Duration) (out Outcome, over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.probe.opening()
	g.base, g.when, g.patience, g.unsent = base, now, patience, o.question
	g.stage = connecting
	var err error
	if g.fd, err = openTCP(o.addr); err == nil {
		err = g.connect(o.addr)
	}
	if err != nil {
		return g.failed(err), true
	}
	return Outcome{}, false
}

func (g *glance) connect(addr netip.AddrPort) error {
	if err := connectTCP(g.fd, addr); err != nil && err != unix.EINPROGRESS {
		return os.NewSyscallError("connect", err)
	}
	return g.p.watch(g.fd, g)
}

// end ends the check that is under way, if one is. It may be called by the one
// who is to be told, so it does not wait for him.
func (g *glance) end(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.stage {
	case connecting, asked:
		go g.over(g.when, g.failed(cause))
	case handedOver:
		g.stop(cause)
	}
}

// happened implements watcher.
func (g *glance) happened(events uint32) {
	g.mu.Lock()
	out, over := g.step(events)
	when := g.when
	g.mu.Unlock()
	if over {
		g.over(when, out)
	}
}

// step does what the events allow. They may be those of an earlier connection
// with the same number: then the calls say that it is too soon.
func (g *glance) step(events uint32) (out Outcome, over bool) {
	if g.stage == connecting && events&writeEvents != 0 {
		if out, over = g.ask(events); over {
			return out, over
		}
	}
	if g.stage == asked && events&readEvents != 0 {
		return g.listen(events)
	}
	return Outcome{}, false
}

// ask sends the question over the connection that has come about, or not.
func (g *glance) ask(events uint32) (Outcome, bool) {
	if events&unix.EPOLLERR != 0 {
		if err := socketError(g.fd); err != nil {
			return g.failed(err), true
		}
	}
	if g.unsent == nil {
		if o := g.probe.opening(); o.abort {
			abortive(g.fd) // if that fails the end is an ordinary one, which is as good
		}
		g.close()
		return Outcome{}, true
	}
	n, errno := sendRaw(g.fd, g.unsent)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return Outcome{}, false
	default:
		g.stage = asked
		return g.failed(os.NewSyscallError("write", errno)), true
	}
	if g.unsent = g.unsent[n:]; len(g.unsent) == 0 {
		g.stage = asked
	}
	return Outcome{}, false
}

// listen takes the first piece of the answer.
func (g *glance) listen(events uint32) (Outcome, bool) {
	buf := g.p.piece[:]
	n, errno := rawIO(unix.SYS_READ, g.fd, buf)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return Outcome{}, false
	default:
		return g.failed(os.NewSyscallError("read", errno)), true
	}
	// epoll(7): a short read has emptied the socket; if it was known before that
	// nothing will follow, nothing is left.
	broken := events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	ended := n == 0 || n < len(buf) && events&unix.EPOLLRDHUP != 0 && !broken
	if n < len(buf) {
		if out, enough := g.hear(buf[:n], ended); enough {
			g.close()
			return out, true
		}
	}
	if n < len(buf) && !ended && !broken {
		events &^= unix.EPOLLIN
	}
	g.handOver(bytes.Clone(buf[:n]), events|unix.EPOLLOUT)
	return Outcome{}, false
}

func (g *glance) hear(piece []byte, ended bool) (out Outcome, enough bool) {
	defer recovered(&out, &enough)
	return g.probe.hear(piece, ended)
}

// handOver lets a goroutine go on: it knows the first piece of the answer, and
// what is to be expected of the socket.
func (g *glance) handOver(piece []byte, seen uint32) {
	c := &rawConn{p: g.p, fd: g.fd, remote: g.probe.opening().addr, seen: seen}
	c.cond.L = &c.mu
	g.p.rewatch(g.fd, c)
	ctx, stop := context.WithCancelCause(g.base)
	g.stop, g.stage, g.fd = stop, handedOver, -1
	go g.goOn(patience{ctx, g.patience, g.when.Add(g.patience)}, &begun{rawConn: c, head: piece})
}

func (g *glance) goOn(ctx context.Context, c net.Conn) {
	out := g.elsewhere(ctx, c)
	g.mu.Lock()
	g.stage = resting
	g.stop(nil)
	when := g.when
	g.mu.Unlock()
	g.over(when, out)
}

func (g *glance) elsewhere(ctx context.Context, c net.Conn) (out Outcome) {
	defer recovered(&out, new(bool))
	return g.probe.goOn(ctx, g.n, c)
}

// failed ends the check and words why.
func (g *glance) failed(err error) Outcome {
	o := g.probe.opening()
	x := exchange{peer: o.peer, patient: g.patience}
	awaited, op := o.awaited, "read"
	if g.stage == connecting {
		awaited, op = "connection", "dial"
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		err = &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(o.addr), Err: err}
	}
	g.close()
	return Outcome{Err: x.failed(awaited, err)}
}

func (g *glance) close() {
	g.stage = resting
	if g.fd >= 0 {
		g.p.forget(g.fd)
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(g.fd), 0, 0)
		g.fd = -1
	}
}

// begun is a connection over which something has come already.
type begun struct {
	*rawConn
	head []byte
}

// Read implements net.Conn.
func (c *begun) Read(b []byte) (int, error) {
	if len(c.head) == 0 {
		return c.rawConn.Read(b)
	}
	n := copy(b, c.head)
	c.head = c.head[n:]
	return n, nil
}

// abortive makes the end of a connection a reset.
func abortive(fd int) syscall.Errno {
	l := unix.Linger{Onoff: 1}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unix.SizeofLinger, 0)
	return errno
}
