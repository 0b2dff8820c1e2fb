package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Signals turns signals into what a daemon does. Make one with [NewSignals].
type Signals struct {
	reload func()
	in     chan os.Signal
	exit   func(int)
	same   time.Duration // sameOrder
	stop   context.CancelFunc
	ctx    context.Context
}

// stopping are the signals at which ldirectord stops cleanly, as far as a
// process can survive them: those that a fault of the program raises (SEGV,
// ILL, BUS ...) end it at once.
var stopping = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGXCPU, syscall.SIGXFSZ}

// sameOrder is how long the first stopping signal may come again without meaning more:
// timeout(1), a terminal and process supervisors signal a process and then its
// group, which has it twice. A master that ended at that would leave its virtual
// addresses behind.
const sameOrder = time.Second

// NewSignals listens at once, so that no signal is lost between start and Run.
// HUP calls reload, which must not block. The first of TERM, INT, QUIT, XCPU and
// XFSZ ends the returned context; the second ends the process with status 128
// plus its number, whatever still runs, unless it is the same one within a second.
// PIPE is ignored.
func NewSignals(parent context.Context, reload func()) (*Signals, context.Context) {
	ctx, cancel := context.WithCancel(parent)
	s := &Signals{reload: reload, in: make(chan os.Signal, 16), exit: os.Exit, same: sameOrder, stop: cancel, ctx: ctx}
	// Heard and passed over: what is ignored would be ignored by the programs that
	// the daemon runs, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(s.in, append([]os.Signal{syscall.SIGHUP}, stopping...)...)
	go s.listen()
	return s, ctx
}

func (s *Signals) listen() {
	var first os.Signal
	var since time.Time
	for sig := range s.in {
		switch {
		case sig == syscall.SIGHUP:
			if s.ctx.Err() == nil {
				s.reload()
			}
		case s.ctx.Err() == nil:
			first, since = sig, time.Now()
			s.stop()
		case sig == first && time.Since(since) < s.same:
		default:
			s.exit(128 + int(sig.(syscall.Signal)))
		}
	}
}

// Close gives the signals back. It is called once the last task has ended.
func (s *Signals) Close() {
	signal.Stop(s.in)
	close(s.in)
	s.stop()
}
