package appliance

import (
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/vrrp"
)

// Level is how bad an event is. The values are those of syslog.
type Level int

// Levels in use.
const (
	Error   Level = 3
	Warning Level = 4
	Notice  Level = 5
	Info    Level = 6
	Debug   Level = 7
)

// Event is something that happened, for a log.
type Event struct {
	When     time.Time
	Level    Level
	Instance string // or empty
	Group    string // or empty
	// Text is the line, with the instance in front, in keepalived's words where it
	// has words for it.
	Text string
	// Transition is set for changes of state.
	Transition *vrrp.Transition
}

// mailbox is a queue without end whose sender never waits: adverts are behind it.
// What may be lost is lost when so many wait that nobody can be reading.
type mailbox struct {
	mu     sync.Mutex
	items  []any
	lost   int
	wake   chan struct{}
	closed bool
}

const mailboxRoom = 10000

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (b *mailbox) put(item any, must bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= mailboxRoom && !must {
		b.lost++
		return
	}
	b.items = append(b.items, item)
	b.ring()
}

func (b *mailbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close lets take end once everything is taken.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.ring()
}

// take waits for what there is; nothing means the end.
func (b *mailbox) take() (items []any, lost int) {
	for {
		b.mu.Lock()
		items, lost = b.items, b.lost
		b.items, b.lost = nil, 0
		closed := b.closed
		b.mu.Unlock()
		if len(items) > 0 || closed {
			return items, lost
		}
		<-b.wake
	}
}
