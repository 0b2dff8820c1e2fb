package netif

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// EventKind is what happened to a link or an address.
type EventKind uint8

// What a watch tells.
const (
	AddrAdded EventKind = iota + 1 // also when one that is there changes
	AddrRemoved
	LinkWentUp   // administratively up, and it has a carrier
	LinkWentDown // told to, or the carrier was lost
	LinkRemoved
	// Lost says that events were lost, because more came than could be kept: read
	// a snapshot, it alone knows the truth now.
	Lost
)

func (k EventKind) String() string {
	names := [...]string{"", "address added", "address removed", "link up", "link down", "link removed", "events lost"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown event"
}

// Event is something that happened, by whoever's hand: also by ours.
type Event struct {
	Kind   EventKind
	Link   string
	Prefix netip.Prefix // of an address
}

// watchBuffer is the kernel's queue for us, in bytes: some ten thousand events.
const watchBuffer = 1 << 20

// Watch tells of changes of addresses and links until the context ends; then the
// channel is closed. It begins with what happens after its return. A reader that
// is slow loses nothing but may see Lost.
func (k *Kernel) Watch(ctx context.Context) (<-chan Event, error) {
	w := &watch{k: k, names: k.linkNames(), running: map[int]bool{}, out: make(chan Event)}
	if err := w.subscribe(ctx); err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w.out, nil
}

// watch is owned by its goroutine.
type watch struct {
	k       *Kernel
	names   map[int]string
	running map[int]bool // what was last told of each link
	out     chan Event

	cancel context.CancelFunc
	addrs  chan netlink.AddrUpdate
	links  chan netlink.LinkUpdate
}

func (w *watch) subscribe(ctx context.Context) error {
	ctx, w.cancel = context.WithCancel(ctx)
	w.addrs, w.links = make(chan netlink.AddrUpdate), make(chan netlink.LinkUpdate)
	return w.k.inside(func() error {
		err := netlink.AddrSubscribeWithOptions(w.addrs, ctx.Done(), netlink.AddrSubscribeOptions{ReceiveBufferSize: watchBuffer})
		if err != nil {
			w.cancel()
			return err
		}
		err = netlink.LinkSubscribeWithOptions(w.links, ctx.Done(), netlink.LinkSubscribeOptions{ReceiveBufferSize: watchBuffer, ListExisting: true})
		if err != nil {
			w.cancel()
			go drain(w.addrs)
		}
		return err
	})
}

func (w *watch) run(ctx context.Context) {
	defer close(w.out)
	for ctx.Err() == nil {
		w.pass(ctx)
		w.cancel()
		go drain(w.addrs)
		go drain(w.links)
		if !w.tell(ctx, Event{Kind: Lost}) || !w.again(ctx) {
			return
		}
	}
}

// pass hands events on until a subscription ends, which one does when its queue
// overflows.
func (w *watch) pass(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u, ok := <-w.addrs:
			if !ok || !w.tell(ctx, w.addrEvent(u)) {
				return
			}
		case u, ok := <-w.links:
			if !ok {
				return
			}
			if e, news := w.linkEvent(u); news && !w.tell(ctx, e) {
				return
			}
		}
	}
}

// again subscribes anew, at most once in a tenth of a second.
func (w *watch) again(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
		w.names = w.k.linkNames()
		if w.subscribe(ctx) == nil {
			return true
		}
	}
}

func (w *watch) tell(ctx context.Context, e Event) bool {
	select {
	case <-ctx.Done():
		return false
	case w.out <- e:
		return true
	}
}

func (w *watch) addrEvent(u netlink.AddrUpdate) Event {
	e := Event{Kind: AddrRemoved, Link: w.names[u.LinkIndex], Prefix: ourPrefix(&u.LinkAddress)}
	if u.NewAddr {
		e.Kind = AddrAdded
	}
	return e
}

// linkEvent is false for what nobody asked about: the kernel tells of a link for
// many reasons, and of all links when the watch begins.
func (w *watch) linkEvent(u netlink.LinkUpdate) (Event, bool) {
	const linkGone = 17 // RTM_DELLINK
	const bridge = 7    // AF_BRIDGE
	a := u.Attrs()
	if u.Family == bridge {
		return Event{}, false // of its being a bridge's port; it says "removed" when it leaves the bridge
	}
	if u.Header.Type == linkGone {
		delete(w.names, a.Index)
		delete(w.running, a.Index)
		return Event{Kind: LinkRemoved, Link: a.Name}, true
	}
	w.names[a.Index] = a.Name
	up := a.Flags&net.FlagUp != 0 && a.OperState != netlink.OperDown && a.OperState != netlink.OperLowerLayerDown
	was, known := w.running[a.Index]
	w.running[a.Index] = up
	if !known || was == up {
		return Event{}, false
	}
	if up {
		return Event{Kind: LinkWentUp, Link: a.Name}, true
	}
	return Event{Kind: LinkWentDown, Link: a.Name}, true
}

// drain lets the library's goroutine end: it may be waiting for us to take one more.
func drain[T any](ch <-chan T) {
	for range ch {
	}
}
