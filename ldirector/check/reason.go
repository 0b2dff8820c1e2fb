package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// reason is an error whose text is written for a person and whose cause is kept
// for errors.Is.
type reason struct {
	text  string
	cause error
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.cause }

// localFault is a failure of ours, not of the server.
type localFault struct{ cause error }

func (l *localFault) Error() string { return l.cause.Error() }
func (l *localFault) Unwrap() error { return l.cause }

// local marks err as a fault of ours.
func local(err error) error { return &localFault{err} }

// IsLocal says whether a check failed for a reason that lies with us: out of
// descriptors, memory, ports or privilege. Such a failure says nothing of the
// server and must not take it down.
func IsLocal(err error) bool {
	if l := (*localFault)(nil); errors.As(err, &l) {
		return true
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return localErrno(errno)
	}
	return false
}

// localErrno tells which numbers speak of this host. EADDRNOTAVAIL is connect's
// word for "no free port of ours is left". EPERM is not here: a rule of our own
// firewall gives it for one destination, and that destination is not reachable.
func localErrno(e syscall.Errno) bool {
	switch e {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		return true
	}
	return false
}

// exchange is one conversation with one server: who, by when, and how far it
// came, so that a failure can be told in words.
type exchange struct {
	peer    string // as a person writes it: 10.0.0.2:80
	patient time.Duration
	ctx     context.Context // only asked why it ended
}

// begin notes what words a failure of this check will need.
func begin(ctx context.Context, peer string) exchange {
	x := exchange{peer: peer}
	x.ctx = ctx
	if p, ok := ctx.Value(patienceKey{}).(patience); ok {
		x.patient = p.d
	} else if end, ok := ctx.Deadline(); ok {
		x.patient = time.Until(end)
	}
	return x
}

type patienceKey struct{}

// patience is a context that knows the timeout it was given, for the words "no
// answer within 3 s": what is left of it is less, on a busy machine much less.
//
// The Runner's has no timer. Whoever made it cancels it at its end, with
// [context.DeadlineExceeded] as the cause, which is then its error.
type patience struct {
	context.Context
	d   time.Duration
	end time.Time
}

func (p patience) Deadline() (time.Time, bool) { return p.end, true }

func (p patience) Err() error { return context.Cause(p.Context) }

func (p patience) Value(key any) any {
	if _, ok := key.(patienceKey); ok {
		return p
	}
	return p.Context.Value(key)
}

// withTimeout is context.WithTimeout for a part of a check.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	end, _ := ctx.Deadline() // the parent's may be sooner
	return patience{ctx, d, end}, cancel
}

// within is the timeout in words; "2.999 s" is what nobody wrote.
func (x exchange) within() string {
	d := x.patient
	switch {
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	case d >= 100*time.Millisecond:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	if d <= 0 {
		return "in time"
	}
	if d%time.Second == 0 {
		return fmt.Sprintf("within %d s", d/time.Second)
	}
	return fmt.Sprintf("within %g s", d.Seconds())
}

// failed words a failed step. awaited is what was to come, without an article:
// "greeting", "answer", "end of the body".
func (x exchange) failed(awaited string, err error) error {
	if err == nil {
		return nil
	}
	if r := (*reason)(nil); errors.As(err, &r) {
		return err
	}
	return &reason{x.words(awaited, err), err}
}

// wrong is a failure that lies in what the server said.
func (x exchange) wrong(format string, args ...any) error {
	return &reason{fmt.Sprintf(format, args...), nil}
}

// late says whether the time of the check is over, however its failure looks:
// libraries see a context that was cancelled, or a connection that was closed.
func (x exchange) late() bool {
	return x.ctx != nil && errors.Is(context.Cause(x.ctx), context.DeadlineExceeded)
}

func (x exchange) words(awaited string, err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errTooMuch):
		return fmt.Sprintf("%s sends without end: more than %d bytes and still no %s", x.peer, maxAnswer, awaited)
	case errors.Is(err, context.Canceled) && !x.late():
		return "the check was stopped"
	case x.late(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no %s from %s %s", awaited, x.peer, x.within())
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused by " + x.peer
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host " + x.peer + ": nobody there answers ARP, or a router says so"
	case errors.Is(err, syscall.ENETUNREACH):
		return "network is unreachable: this host has no route to " + x.peer
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN):
		return fmt.Sprintf("%s reset the connection before any %s", x.peer, awaited)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return fmt.Sprintf("%s closed the connection before any %s", x.peer, awaited)
	case IsLocal(err):
		return fmt.Sprintf("cannot ask %s: %v", x.peer, localCause(err))
	}
	return fmt.Sprintf("no %s from %s: %v", awaited, x.peer, err)
}

// localCause adds the remedy an administrator can reach.
func localCause(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "this process is out of file descriptors (raise LimitNOFILE or ulimit -n)"
	case errors.Is(err, syscall.ENFILE):
		return "this host is out of file descriptors (raise fs.file-max)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no free local port or address (see net.ipv4.ip_local_port_range)"
	}
	return err.Error()
}

// clip shortens what a server said to what fits a log line, in one line.
func clip(s string, most int) string { return shorten(strings.Map(printable, s), most) }

// clipLines is clip for where lines may stay lines: a monitor file has its own
// way to write their ends.
func clipLines(s string, most int) string {
	return shorten(strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return r
		}
		return printable(r)
	}, s), most)
}

func shorten(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
