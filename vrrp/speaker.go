package vrrp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"time"
)

// Transport is a link to the other routers. All instances of one link and
// family share one.
type Transport interface {
	// Send sends an advert to its Dst. It must not wait.
	Send(Advert) error
	// Recv is where adverts arrive, the own ones excluded. It is closed when the
	// link is gone for good.
	Recv() <-chan Advert
}

// A Transport may have more to offer.
type (
	// Drainer is a Transport that can bring up what the host has received.
	Drainer interface {
		// Drain returns when everything that had arrived at the host before the
		// call is in the channel, as far as that has room; the newest is kept.
		Drain()
	}
	// Refresher is a Transport that may have to begin anew when its interface has
	// come back as another one. It is called when an instance leaves FAULT.
	Refresher interface {
		Refresh() error
	}
	// Filterer is a Transport that can ignore what is for other virtual routers.
	Filterer interface {
		Filter(vrids []uint8) error
	}
	// Joiner is a Transport that can hear other multicast groups than the
	// protocol's own: these, and no others.
	Joiner interface {
		Join(groups []netip.Addr) error
	}
)

// Waiter waits for the transports that were opened with it, on the thread of the
// caller. These transports are Drainers, and nothing comes into their channels but
// by Drain.
type Waiter interface {
	// Wait returns at the latest then, and before when something has arrived, or
	// after Wake. It may also return for no reason.
	Wait(until time.Time)
	// Wake ends the Wait that is under way or the next one. Anybody may call it, also
	// after Run has ended.
	Wake()
}

// Member is an instance with what it needs outside of the protocol.
type Member struct {
	Instance  Instance
	Transport Transport
	Holders   []Holder // taken in order, dropped in reverse
}

// Report is an action that was done, or a problem. Instance or Group is set.
type Report struct {
	Time            time.Time
	Instance, Group string
	Action          Action // every kind, and Held for the steps of holders
}

// MemberStatus is a machine's status and that of its holders.
type MemberStatus struct {
	Status
	Holders []HolderStatus
}

// HolderStatus tells whether a holder is taken, and what went wrong last.
type HolderStatus struct {
	Name  string
	Taken bool
	Err   error
}

// ErrNotRunning is the answer to orders outside of Run.
var ErrNotRunning = errors.New("vrrp: the speaker is not running")

// Speaker is the loop around a [Router]: one goroutine that owns it and asks
// what time it is. It uses the transports, and closes one that is an io.Closer
// when no member is left that uses it.
type Speaker struct {
	// Report is told everything that happens, in order for each instance; may be
	// nil. It is called by several goroutines and must be quick: adverts wait for it.
	Report func(Report)
	// Prepare, if set, is called once by Run on the operating system thread that
	// the loop will keep, for example to ask for real-time scheduling.
	Prepare func() error
	// Waiter, if set, is what the loop waits with, instead of the channels of the
	// transports. It is closed at the end if it is an io.Closer.
	Waiter Waiter

	inbox   chan func(now time.Time)
	ended   chan struct{}
	router  *Router
	members map[*Machine]*member
	buried  []*member // dropping
	links   []Transport
	names   map[Transport]string    // the instances' name for a link
	sick    map[Transport]time.Time // when its last error was reported
}

// member is a Member at work.
type member struct {
	Member
	keeper *keeper
}

// NewSpeaker makes a speaker without members.
func NewSpeaker() *Speaker {
	return &Speaker{
		inbox: make(chan func(time.Time), 1), ended: make(chan struct{}),
		router: NewRouter(), members: map[*Machine]*member{}, sick: map[Transport]time.Time{},
	}
}

// Run speaks until the context ends, then hands over, drops everything, and
// returns; an error says what could not be dropped. It can be called once.
func (s *Speaker) Run(ctx context.Context) error {
	defer close(s.ended)
	if s.Prepare != nil {
		runtime.LockOSThread() // not unlocked: the thread ends with the loop, with all that was done to it
		if err := s.Prepare(); err != nil {
			s.report(nil, "", Note{true, err.Error()})
		}
	}
	if s.Waiter != nil {
		defer context.AfterFunc(ctx, s.Waiter.Wake)()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop := ctx.Done()
	for !s.router.Stopped() {
		if s.turn(timer, stop) {
			stop = nil
			s.act(s.router.Stop(time.Now()))
		}
	}
	return s.end()
}

// turn waits for one thing to happen, and reports that it was the end.
func (s *Speaker) turn(timer *time.Timer, stop <-chan struct{}) bool {
	// A router without deadlines is looked at now and then.
	until := time.Now().Add(time.Hour)
	if d := s.router.Deadline(); !d.IsZero() {
		until = d
	}
	if s.Waiter != nil {
		return s.look(until, stop)
	}
	timer.Reset(time.Until(until))
	return s.once(timer, stop)
}

// look waits with the Waiter, and then looks at everything. A deadline comes after
// what had arrived before it.
func (s *Speaker) look(until time.Time, stop <-chan struct{}) bool {
	s.Waiter.Wait(until)
	if !time.Now().Before(until) {
		s.tick()
	} else {
		s.listen()
	}
	select {
	case f := <-s.inbox:
		f(time.Now())
		s.Waiter.Wake() // there may be more
	case <-stop:
		return true
	default:
	}
	return false
}

// listen takes in what the host has received.
func (s *Speaker) listen() {
	for _, l := range s.links {
		if d, ok := l.(Drainer); ok {
			d.Drain()
		}
		s.drain(l)
	}
}

// once is turn without a Waiter.
func (s *Speaker) once(timer *time.Timer, stop <-chan struct{}) bool {
	const others = 3
	cases := make([]reflect.SelectCase, 0, others+len(s.links))
	add := func(ch any) {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	add(stop)
	add(timer.C)
	add(s.inbox)
	for _, l := range s.links {
		add(l.Recv())
	}
	switch i, v, open := reflect.Select(cases); {
	case i == 0:
		return true
	case i == 1:
		s.tick()
	case i == 2:
		v.Interface().(func(time.Time))(time.Now())
	case open:
		l := s.links[i-others]
		s.recv(l, v.Interface().(Advert))
		s.drain(l) // there may be more of them, and each turn of the loop has its price
	default:
		s.unlink(s.links[i-others])
	}
	return false
}

// tick looks at what has arrived before it believes that a deadline was missed:
// this process may have been stopped, or the machine busy.
func (s *Speaker) tick() {
	late := time.Since(s.router.Deadline())
	s.listen()
	s.act(s.router.Tick(time.Now()))
	if late > 500*time.Millisecond && late < 24*time.Hour {
		s.report(nil, "", Note{true, fmt.Sprintf("a timer was %v late: this machine is overloaded, or the process was stopped", late.Round(time.Millisecond))})
	}
}

// drain takes what is in the channel, but a flood does not get all our time.
func (s *Speaker) drain(l Transport) {
	for range 4096 {
		select {
		case a, open := <-l.Recv():
			if !open {
				return // the loop will see it
			}
			s.recv(l, a)
		default:
			return
		}
	}
}

func (s *Speaker) recv(from Transport, a Advert) {
	s.act(s.router.Recv(time.Now(), s.names[from], a))
}

func (s *Speaker) act(out []Step) {
	gone := false
	for _, st := range out {
		if st.Machine == nil {
			s.report(nil, st.Group, st.Action)
			continue
		}
		m := s.members[st.Machine]
		switch a := st.Action.(type) {
		case Send:
			s.send(st.Machine, m, a)
		case Take:
			m.keeper.take()
		case Drop:
			m.keeper.drop()
		case Announce:
			m.keeper.tell(a.Repeat)
		case Transition:
			gone = gone || a.To == Init
			if a.From == Fault {
				s.refresh(st.Machine, m)
			}
		}
		s.report(st.Machine, "", st.Action)
	}
	if gone {
		s.bury()
	}
}

func (s *Speaker) send(machine *Machine, m *member, a Send) {
	for _, to := range a.To {
		a.Advert.Dst = to
		err := m.Transport.Send(a.Advert)
		if err == nil || time.Since(s.sick[m.Transport]) < reportEvery {
			continue
		}
		s.sick[m.Transport] = time.Now()
		s.report(machine, "", Note{true, fmt.Sprintf("advert to %v: %v", to, err)})
	}
}

func (s *Speaker) refresh(machine *Machine, m *member) {
	r, ok := m.Transport.(Refresher)
	if !ok {
		return
	}
	if err := r.Refresh(); err != nil {
		s.report(machine, "", Note{true, err.Error()})
	}
}

func (s *Speaker) report(m *Machine, group string, a Action) {
	if s.Report == nil {
		return
	}
	r := Report{Time: time.Now(), Group: group, Action: a}
	if m != nil {
		r.Instance = m.cfg.Name
	}
	s.Report(r)
}

// bury ends the keepers of machines that have stopped.
func (s *Speaker) bury() {
	for machine, m := range s.members {
		if machine.Stopped() && !s.router.stopping {
			m.keeper.close()
			s.buried = append(s.buried, m)
			delete(s.members, machine)
			s.relink()
		}
	}
	s.buried = slices.DeleteFunc(s.buried, func(m *member) bool { return m.keeper.ended() })
}

// dropTime is how long holders may take at the end.
const dropTime = 5 * time.Second

// end waits for everything to be dropped.
func (s *Speaker) end() error {
	for _, m := range s.members {
		m.keeper.close()
		s.buried = append(s.buried, m)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dropTime)
	defer cancel()
	var errs []error
	for _, m := range s.buried {
		select {
		case <-m.keeper.done:
		case <-ctx.Done():
			errs = append(errs, m.leftovers())
			m.keeper.abandon()
		}
	}
	clear(s.members)
	s.relink()
	if c, ok := s.Waiter.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (m *member) leftovers() error {
	var errs []error
	for _, h := range m.keeper.status() {
		if h.Taken || h.Err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %s is not dropped after %v: %w", m.Instance.Name, h.Name, dropTime, h.Err))
		}
	}
	return errors.Join(errs...)
}

// relink makes the list of links that of the members, and closes the others.
func (s *Speaker) relink() {
	vrids := map[Transport][]uint8{}
	groups := map[Transport][]netip.Addr{}
	s.names = map[Transport]string{}
	var links []Transport
	for machine := range s.router.everyone {
		m := s.members[machine]
		if m == nil {
			continue
		}
		if vrids[m.Transport] == nil {
			links = append(links, m.Transport)
		}
		vrids[m.Transport] = append(vrids[m.Transport], m.Instance.VRID)
		s.names[m.Transport] = m.Instance.Link
		if g := machine.cfg.group(); !slices.Contains(groups[m.Transport], g) {
			groups[m.Transport] = append(groups[m.Transport], g)
		}
	}
	for _, old := range s.links {
		if vrids[old] == nil {
			s.unuse(old)
		}
	}
	s.links = links
	for _, l := range links {
		if j, ok := l.(Joiner); ok {
			if err := j.Join(groups[l]); err != nil {
				s.report(nil, "", Note{true, err.Error()})
			}
		}
		f, ok := l.(Filterer)
		if !ok {
			continue
		}
		if err := f.Filter(vrids[l]); err != nil {
			s.report(nil, "", Note{true, fmt.Sprintf("filter for virtual_router_id %v: %v", vrids[l], err)})
		}
	}
}

func (s *Speaker) unuse(t Transport) {
	delete(s.sick, t)
	if c, ok := t.(io.Closer); ok {
		if err := c.Close(); err != nil {
			s.report(nil, "", Note{true, err.Error()})
		}
	}
}

// unlink is for a transport that has ended by itself.
func (s *Speaker) unlink(t Transport) {
	s.links = slices.DeleteFunc(s.links, func(l Transport) bool { return l == t })
	s.report(nil, "", Note{true, fmt.Sprintf("link %s does not receive any more", s.names[t])})
}

// call has the loop do something.
func (s *Speaker) call(f func(now time.Time)) error {
	done := make(chan struct{})
	select {
	case s.inbox <- func(now time.Time) { defer close(done); f(now) }:
	case <-s.ended:
		return ErrNotRunning
	}
	if s.Waiter != nil {
		s.Waiter.Wake()
	}
	select {
	case <-done:
		return nil
	case <-s.ended:
	}
	select {
	case <-done: // it was the last one
		return nil
	default:
		return ErrNotRunning
	}
}

// Set makes the speaker consist of these members: see [Router.Set]. On an error
// nothing has changed. Like all orders it waits until Run is running.
func (s *Speaker) Set(members []Member, groups []Group) error {
	var err error
	callErr := s.call(func(now time.Time) { err = s.set(now, members, groups) })
	return errors.Join(callErr, err)
}

func (s *Speaker) set(now time.Time, members []Member, groups []Group) error {
	instances := make([]Instance, len(members))
	for i, m := range members {
		instances[i] = m.Instance
	}
	out, err := s.router.Set(now, instances, groups)
	if err != nil {
		return err
	}
	for i, machine := range s.router.machines {
		s.adopt(machine, members[i])
	}
	s.relink()
	s.act(out)
	return nil
}

func (s *Speaker) adopt(machine *Machine, m Member) {
	old := s.members[machine]
	if old == nil {
		report := func(h Held) {
			if s.Report != nil {
				s.Report(Report{Time: time.Now(), Instance: m.Instance.Name, Action: h})
			}
		}
		s.members[machine] = &member{m, newKeeper(m.Holders, m.Instance.Garp.Repeat, report)}
		return
	}
	old.Member = m
	old.keeper.replace(m.Holders, m.Instance.Garp.Repeat)
}

// Observe says how a tracked thing is: see [Router.Observe].
func (s *Speaker) Observe(name string, h Health) error {
	return s.call(func(now time.Time) { s.act(s.router.Observe(now, name, h)) })
}

// Standby hands over the named instances, or all: see [Machine.Standby]. It
// does not wait for the end of the hand-over.
func (s *Speaker) Standby(names ...string) error { return s.ordered(s.router.Standby, names) }

// Takeover makes this host master: see [Machine.Takeover].
func (s *Speaker) Takeover(names ...string) error { return s.ordered(s.router.Takeover, names) }

// Resume ends Standby and Takeover: see [Machine.Resume].
func (s *Speaker) Resume(names ...string) error { return s.ordered(s.router.Resume, names) }

func (s *Speaker) ordered(do func(time.Time, ...string) ([]Step, error), names []string) error {
	var err error
	callErr := s.call(func(now time.Time) {
		var out []Step
		out, err = do(now, names...)
		s.act(out)
	})
	return errors.Join(callErr, err)
}

// Forfeit gives up what this host does not let the named instance keep: see
// [Machine.Forfeit].
func (s *Speaker) Forfeit(name, why string, meek time.Duration) error {
	var err error
	callErr := s.call(func(now time.Time) {
		var out []Step
		out, err = s.router.Forfeit(now, name, why, meek)
		s.act(out)
	})
	return errors.Join(callErr, err)
}

// Answer answers an [Ask] that was reported: see [Machine.Answer].
func (s *Speaker) Answer(name string, number uint64, holder string) error {
	return s.call(func(now time.Time) { s.act(s.router.Answer(now, name, number, holder)) })
}

// Quit ends everything without waiting for successors; Run returns then.
func (s *Speaker) Quit() error {
	return s.call(func(now time.Time) { s.act(s.router.Quit(now)) })
}

// Retake takes what the named instance holds once more if it is master, and
// announces it: somebody has taken it away, or a holder should hold something
// else now.
func (s *Speaker) Retake(name string) error {
	return s.call(func(time.Time) {
		for machine, m := range s.members {
			if machine.cfg.Name == name {
				m.keeper.retake(machine.cfg.Garp.Repeat)
			}
		}
	})
}

// Status is a snapshot of everything.
func (s *Speaker) Status() ([]MemberStatus, error) {
	var all []MemberStatus
	err := s.call(func(time.Time) {
		for machine := range s.router.everyone {
			st := MemberStatus{Status: machine.Status()}
			if m := s.members[machine]; m != nil {
				st.Holders = m.keeper.status()
			}
			all = append(all, st)
		}
	})
	return all, err
}
