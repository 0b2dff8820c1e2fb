package check

import (
	"slices"
	"time"
)

// schedule is a heap of checks, soonest next first.
type schedule []*entry

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].next.Before(s[j].next) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].slot, s[j].slot = i, j
}

// Push implements heap.Interface.
func (s *schedule) Push(x any) {
	e := x.(*entry)
	e.slot = len(*s)
	*s = append(*s, e)
}

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	last := len(*s) - 1
	e := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	e.slot = -1
	return e
}

// fifo is a queue of checks. Its array is used again and again.
type fifo struct {
	all  []*entry
	head int // those before it are gone
}

func (q *fifo) empty() bool   { return q.head == len(q.all) }
func (q *fifo) first() *entry { return q.all[q.head] }

func (q *fifo) push(e *entry) {
	if q.head > len(q.all)/2 {
		q.all = slices.Delete(q.all, 0, q.head)
		q.head = 0
	}
	q.all = append(q.all, e)
}

func (q *fifo) pop() *entry {
	e := q.all[q.head]
	q.all[q.head] = nil
	q.head++
	return e
}

func (q *fifo) drop(e *entry) {
	q.all = slices.DeleteFunc(slices.Delete(q.all, 0, q.head), func(w *entry) bool { return w == e })
	q.head = 0
}

// ring is the last results of one check. A nil ring is empty and stays so.
type ring struct {
	kept []Result
	most int
	next int
}

func newRing(most int) *ring { return &ring{most: most} }

func (r *ring) add(res Result) {
	if r == nil {
		return
	}
	if len(r.kept) < r.most {
		r.kept = append(r.kept, res)
		return
	}
	r.kept[r.next] = res
	r.next = (r.next + 1) % r.most
}

func (r *ring) list() []Result {
	if r == nil {
		return nil
	}
	return append(slices.Clone(r.kept[r.next:]), r.kept[:r.next]...)
}

// maxUnseen is how many results of one check wait for a slow reader.
const maxUnseen = 8

// outbox holds the results that nobody has taken yet, and hands them out in
// order. Its size is bounded by the number of checks.
type outbox struct{ line fifo }

func (o *outbox) any() bool { return !o.line.empty() }

// peek is the next result to go out, a zero one when there is none.
func (o *outbox) peek() Result {
	if o.line.empty() {
		return Result{}
	}
	e := o.line.first()
	res := e.unseen[0]
	res.Skipped = e.losses
	return res
}

func (o *outbox) pop() {
	e := o.line.pop()
	e.losses = 0
	e.unseen = slices.Delete(e.unseen, 0, 1) // of a few, mostly one
	if len(e.unseen) > 0 {
		o.line.push(e)
	}
}

// push adds a result. A waiting one that changed nothing gives way to it; when
// there are too many changes, the two oldest go, which undo each other.
func (o *outbox) push(e *entry, res Result) {
	n := len(e.unseen)
	switch {
	case n == 0:
		o.line.push(e)
	case !e.unseen[n-1].Changed:
		e.unseen = e.unseen[:n-1]
		e.losses++
	case n >= maxUnseen:
		e.unseen = slices.Delete(e.unseen, 0, 2)
		e.losses += 2
	}
	e.unseen = append(e.unseen, res)
}

// forget drops what is waiting of a check that is no more.
func (o *outbox) forget(e *entry) {
	o.line.drop(e)
	e.unseen, e.losses = nil, 0
}

// heartbeat is how often the loop looks at the clock while checks are under
// way. If it is late by more than maxLate, so were they.
const (
	heartbeat = 250 * time.Millisecond
	maxLate   = 500 * time.Millisecond
)

// stall knows when the process last stood still: SIGSTOP, a suspended guest, a
// host that gave us no processor. Timeouts run out meanwhile though nobody was
// there to read the answer.
type stall struct {
	armed time.Time // when the loop is to wake up at the latest
	last  time.Time // when it was last found late
}

// woke notes that the loop runs.
func (s *stall) woke(now time.Time) {
	if !s.armed.IsZero() && now.Sub(s.armed) > maxLate {
		s.last = now
	}
}

// during says whether we stood still at some time after t.
func (s *stall) during(t time.Time) bool { return s.last.After(t) }
