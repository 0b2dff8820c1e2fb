package vrrp

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"
)

// Machine is one virtual router as this host takes part in it. It is not safe
// for concurrent use: one owner feeds it with what happens and does what it says.
//
// Times must not go backwards and must not jump: values of time.Now have the
// monotonic clock in them, and only their differences matter here.
type Machine struct {
	cfg      Instance
	to       []netip.Addr // where adverts go
	state    State
	mode     Mode
	priority uint8 // effective
	deposed  bool  // lost against another owner; 254 instead of 255
	stopping bool
	stopped  bool
	health   map[string]Health
	group    *group // nil outside of a sync group

	// Deadlines; the zero time is never.
	advertAt  time.Time // MASTER: the next advert
	downAt    time.Time // BACKUP: the master is dead. LEAVING: nobody will come
	againAt   time.Time // LEAVING: say goodbye once more
	releaseAt time.Time // BACKUP: let go of what was held as master
	announce  schedule  // MASTER: announcements to come
	warnAt    time.Time // BACKUP: the master is late
	silentTo  time.Time // MASTER by takeover: takes first and speaks then

	question  question  // BACKUP: are the addresses free?
	meekUntil time.Time // after Forfeit: leave live masters alone
	parting   string    // why we are LEAVING
	strangers strangers
	lowerTold time.Time // when a weaker master was last reported
	questions uint64    // asked so far
	refused   string    // by whom, as of the last answer
	refusedAt time.Time // when that was last reported

	interval  time.Duration // Master_Adver_Interval: what the master said, or our own
	preemptAt time.Time     // preempt_delay ends; zero when no weaker master was heard
	answered  time.Time     // when the last advert was sent
	eager     bool          // the master is dead, but the rest of the group is not ready
	master    Peer          // whom we obey; invalid when it said goodbye
	weaker    Peer          // a master of lower priority that speaks until it is our turn
	lost      netip.Addr    // whose silence made us MASTER
	since     time.Time     // of the last transition
	begins    time.Time     // from when on deadlines are counted

	stats Stats
	quiet [reasons]mute
	acts  []Action
}

// Peer is a router that was heard.
type Peer struct {
	Addr     netip.Addr // invalid when none was heard
	Priority uint8
}

// Stats count what happened since the machine was made.
type Stats struct {
	Sent, Received    uint64 // adverts, those with priority 0 included
	StopSent, StopGot uint64 // adverts with priority 0
	BecameMaster      uint64
	LeftMaster        uint64
	Dropped           Counts
}

// New makes a machine in state INIT. The instance must be valid. Nothing that it
// tracks has been observed yet.
func New(c Instance) *Machine {
	m := &Machine{cfg: c, to: c.destinations(), interval: c.Interval, health: map[string]Health{}}
	if c.StartStandby {
		m.mode = Standby
	}
	m.priority = m.effective()
	return m
}

// Instance is the description that the machine follows.
func (m *Machine) Instance() Instance { return m.cfg }

// State is the state of the protocol.
func (m *Machine) State() State { return m.state }

// Mode is what the operator asked for last.
func (m *Machine) Mode() Mode { return m.mode }

// Priority is the effective priority.
func (m *Machine) Priority() uint8 { return m.priority }

// Stopped reports that a [Machine.Stop] has come to its end.
func (m *Machine) Stopped() bool { return m.stopped }

// Deadline is when Tick has something to do; the zero time is never.
func (m *Machine) Deadline() time.Time {
	return earliest(m.advertAt, m.downAt, m.againAt, m.releaseAt, m.announce.next(), m.warnAt, m.question.at)
}

// Start begins to take part. Whatever of the instance is on the host was left by
// a crash, and is dropped even if we should soon be master: until then the
// addresses are another one's.
func (m *Machine) Start(now time.Time) []Action {
	if m.state != Init || m.stopping {
		return nil
	}
	m.since, m.begins = now, now.Add(m.cfg.StartDelay)
	m.do(Drop{})
	m.interval = m.cfg.Interval
	switch {
	case m.cause() != "":
		m.become(now, Fault, m.cause())
	case m.priority == PriorityOwner && m.cfg.StartDelay == 0: // RFC 5798 section 6.4.1 (110)
		m.toMaster(now, "the addresses are our own")
	default:
		m.become(now, Backup, "start")
		m.arm(now, later(m.in(now, m.firstWait()), now.Add(m.cfg.FirstWait)))
	}
	return m.flush()
}

func (m *Machine) firstWait() time.Duration {
	if m.priority == PriorityOwner {
		return 0 // as soon as the start is not delayed any more
	}
	return m.cfg.masterDown(m.priority, m.interval)
}

// in is a deadline after some time. As with keepalived that time is not counted while
// the start is delayed, whatever is heard in between.
func (m *Machine) in(now time.Time, wait time.Duration) time.Time {
	return later(now, m.begins).Add(wait)
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time) []Action {
	if due(&m.releaseAt, now) {
		m.do(Drop{})
	}
	switch m.state {
	case Master:
		m.tickMaster(now)
	case Backup:
		m.tickBackup(now)
	case Leaving:
		m.tickLeaving(now)
	}
	return m.flush()
}

func (m *Machine) tickMaster(now time.Time) {
	if expired(m.advertAt, now) {
		m.send(m.priority, now)
		m.advertAt = m.nextAdvert(now)
	}
	if n := m.announce.due(now, &m.cfg.Garp); n > 0 {
		m.do(Announce{n})
	}
}

// nextAdvert counts from the last deadline, so that lateness does not add up.
// After a missed one it counts from now: a burst would help nobody.
func (m *Machine) nextAdvert(now time.Time) time.Time {
	next := m.advertAt.Add(m.cfg.Interval)
	if !next.After(now) {
		next = now.Add(m.cfg.Interval)
	}
	return next
}

func (m *Machine) tickBackup(now time.Time) {
	if due(&m.warnAt, now) && m.master.Addr.IsValid() {
		m.warn("no advert from master %v for %v", m.master.Addr, m.cfg.WarnAfter)
	}
	if due(&m.question.at, now) {
		m.ask(now)
	}
	if !due(&m.downAt, now) || !m.mayTake(now) {
		return
	}
	// RFC 5798 section 6.4.2 (355)
	if m.group != nil && !m.group.ready(m) {
		m.eager = true
		return
	}
	m.toMaster(now, "master is down")
}

func (m *Machine) tickLeaving(now time.Time) {
	if due(&m.againAt, now) {
		m.send(PriorityStop, now) // the first may have been lost
	}
	if due(&m.downAt, now) {
		m.leave(now)
	}
}

// Recv judges an advert, and follows it if it is good. A dropped one touches no
// deadline.
func (m *Machine) Recv(now time.Time, a Advert) []Action {
	if m.state == Init {
		return nil
	}
	if why := m.cfg.judge(&a, m.master.Addr == a.Src); why != NoReason {
		m.dropped(now, why, a)
		return m.flush()
	}
	m.stats.Received++
	if a.Priority == PriorityStop {
		m.stats.StopGot++
	}
	switch m.state {
	case Master:
		m.recvMaster(now, &a)
	case Backup:
		m.recvBackup(now, &a)
	case Leaving:
		m.recvLeaving(now, &a)
	}
	return m.flush()
}

// recvBackup is RFC 5798 section 6.4.2 (405) to (450).
func (m *Machine) recvBackup(now time.Time, a *Advert) {
	if a.Priority == PriorityStop {
		m.masterStops(now)
		return
	}
	if a.Priority < m.priority && m.mayPreempt(now) {
		m.question.invited = true
		m.weaker = Peer{a.Src, a.Priority}
		return // it speaks, but when our deadline comes it is ours
	}
	if a.Priority >= m.priority {
		m.preemptAt = time.Time{}
	}
	m.obey(now, a)
}

// masterStops leaves one skew until it is our turn. RFC 5798 (410) sets the
// deadline; never to move it away keeps a storm of stops from holding us down.
func (m *Machine) masterStops(now time.Time) {
	if m.eager {
		return
	}
	m.downAt = earliest(m.downAt, m.in(now, m.cfg.skew(m.priority, m.interval)))
	m.master, m.weaker = Peer{}, Peer{}
	m.question = question{invited: true} // who says goodbye may still answer for a moment
}

// mayPreempt is called when a weaker master was heard. preempt_delay starts
// with the first of its adverts.
func (m *Machine) mayPreempt(now time.Time) bool {
	if (m.cfg.NoPreempt || now.Before(m.meekUntil)) && m.mode != Seized || m.mode == Standby {
		return false
	}
	if m.cfg.PreemptDelay == 0 || m.mode == Seized {
		return true
	}
	if m.preemptAt.IsZero() {
		m.preemptAt = now.Add(m.cfg.PreemptDelay)
	}
	return expired(m.preemptAt, now)
}

// obey takes the sender for our master, and its interval for the master's
// (version 3, RFC 5798 (430)).
func (m *Machine) obey(now time.Time, a *Advert) {
	if m.cfg.Version == 3 {
		m.interval = a.Interval
	}
	m.master, m.weaker = Peer{a.Src, a.Priority}, Peer{}
	m.eager = false
	m.refused = ""
	m.arm(now, m.in(now, m.cfg.masterDown(m.priority, m.interval)))
}

func (m *Machine) arm(now, down time.Time) {
	m.downAt = down
	m.prepareQuestion(now)
	m.warnAt = time.Time{}
	if m.cfg.WarnAfter > 0 {
		m.warnAt = now.Add(m.cfg.WarnAfter)
	}
}

// recvMaster is RFC 5798 section 6.4.3 (710) to (770).
func (m *Machine) recvMaster(now time.Time, a *Advert) {
	switch {
	case a.Priority == PriorityStop:
		m.answer(now)
	case a.Priority == m.priority && a.Src == m.cfg.Source:
		m.warn("an advert with our priority %d from our own address %v: is it set on another machine?", a.Priority, a.Src)
	case a.Priority > m.priority || a.Priority == m.priority && a.Src.Compare(m.cfg.Source) > 0:
		m.yield(now, a)
	default:
		m.outdo(now, a)
	}
}

// outdo tells a weaker master that we are there, and the clients that may have
// believed it where the addresses are.
func (m *Machine) outdo(now time.Time, a *Advert) {
	if !now.Before(m.lowerTold.Add(m.cfg.Interval)) {
		m.lowerTold = now
		m.do(Weaker{Peer{a.Src, a.Priority}})
	}
	if a.Priority == PriorityOwner {
		m.warn("%v claims to own the addresses (priority 255), as we do; one of the two has to be changed", a.Src)
	}
	if !m.cfg.LowerPrioNoAdvert {
		m.answer(now)
	}
	if m.cfg.Garp.LowerRepeat > 0 {
		m.do(Announce{m.cfg.Garp.LowerRepeat})
	}
	m.announce.again(now, m.cfg.Garp.LowerDelay, m.cfg.Garp.LowerRepeat)
}

// answer sends an advert at once, but no more than one in half of the smallest
// skew: to a flood one answer in that time says as much as thousands, and no
// backup can take over in between.
func (m *Machine) answer(now time.Time) {
	next := later(m.answered.Add(m.cfg.skew(PriorityOwner, m.cfg.Interval)/2), m.silentTo)
	if next.After(now) {
		m.advertAt = earliest(m.advertAt, next)
		return
	}
	m.send(m.priority, now)
	m.advertAt = now.Add(m.cfg.Interval)
}

// yield makes way for a better master. It has just begun to take the addresses:
// to keep them for a moment loses no packet of a client in between.
func (m *Machine) yield(now time.Time, a *Advert) {
	if m.cfg.HigherPrioSendAdvert || a.Src == m.lost {
		// It did not stop, it could not be heard: clients have believed us, and only
		// an advert of ours makes the winner announce itself again. RFC 5798 leaves
		// them where they are when the winner happens to speak first.
		m.send(m.priority, now)
	}
	if a.Priority == PriorityOwner && m.priority == PriorityOwner {
		m.deposed = true
		m.warn("%v owns the addresses too (priority 255): we go on with 254; one of the two has to be changed", a.Src)
		m.priority = m.effective()
	}
	m.become(now, Backup, fmt.Sprintf("%v has priority %d", a.Src, a.Priority))
	m.releaseAt = now.Add(m.linger())
	m.obey(now, a)
}

// toMaster sends the advert first, so that a weaker master has let go by the
// time of our announcements.
func (m *Machine) toMaster(now time.Time, why string) {
	m.becomeMaster(now, why)
	m.send(m.priority, now)
	m.advertAt = now.Add(m.cfg.Interval)
	m.hold(now)
}

// becomeMaster is the part of it that needs no network.
func (m *Machine) becomeMaster(now time.Time, why string) {
	m.become(now, Master, why)
	m.interval = m.cfg.Interval
	m.lost = m.master.Addr
	m.master = Peer{m.cfg.Source, m.priority}
}

func (m *Machine) hold(now time.Time) {
	m.do(Take{})
	if m.cfg.Garp.Repeat > 0 {
		m.do(Announce{m.cfg.Garp.Repeat})
	}
	m.announce.start(now, &m.cfg.Garp)
}

// takingTime is for a router that has sent its first advert, and only now sets its
// addresses and announces them. How long that takes has to do with its machine and
// nothing with the interval: a busy one lets it wait for tens of milliseconds.
const takingTime = 100 * time.Millisecond

// recvLeaving takes any master for the successor: whoever speaks has heard our
// goodbye, or did not need it.
func (m *Machine) recvLeaving(now time.Time, a *Advert) {
	if a.Priority == PriorityStop || a.Src == m.cfg.Source {
		return
	}
	if m.master.Addr != a.Src {
		m.downAt = now.Add(takingTime)
		m.againAt = time.Time{}
	}
	if m.cfg.Version == 3 {
		m.interval = a.Interval
	}
	m.master = Peer{a.Src, a.Priority}
}

// goodbye begins a hand-over: priority 0, and then silence while the addresses
// still answer. A second goodbye comes when the weakest successor should have
// spoken; one that heard only that is still in time before our patience ends.
func (m *Machine) goodbye(now time.Time, why string) {
	m.parting = why
	m.become(now, Leaving, why)
	m.send(PriorityStop, now)
	m.master = Peer{}
	m.againAt = now.Add(m.cfg.skew(1, m.cfg.Interval))
	m.downAt = now.Add(m.cfg.Patience())
}

// leave ends a hand-over.
func (m *Machine) leave(now time.Time) {
	heir := m.master.Addr
	switch {
	case m.stopping && heir.IsValid():
		m.halt(now, fmt.Sprintf("handed over to %v", heir))
	case m.stopping:
		m.halt(now, "stop; no successor was heard")
	case heir.IsValid():
		m.do(Drop{})
		m.become(now, Backup, fmt.Sprintf("handed over to %v", heir))
		m.arm(now, m.in(now, m.cfg.masterDown(m.priority, m.interval)))
	default:
		m.warn("%s: no other router took over, so we go on with priority %d until one does", m.parting, m.priority)
		m.toMaster(now, "no successor was heard")
	}
}

// Stop ends the machine's part: at once as backup, after a hand-over as master.
// It is over when Stopped says so.
func (m *Machine) Stop(now time.Time) []Action {
	switch {
	case m.stopping:
	case m.state == Master:
		m.stopping = true
		m.goodbye(now, "stop")
	case m.state == Leaving:
		m.stopping = true
	default:
		m.stopping = true
		m.halt(now, "stop")
	}
	return m.flush()
}

// Quit is Stop without waiting for a successor.
func (m *Machine) Quit(now time.Time) []Action {
	m.stopping = true
	if m.state == Master {
		m.send(PriorityStop, now)
	}
	if !m.stopped {
		m.halt(now, "stop at once")
	}
	return m.flush()
}

func (m *Machine) halt(now time.Time, why string) {
	m.do(Drop{})
	m.become(now, Init, why)
	m.stopped = true
}

// Standby gives up for good: a master hands over, and from then on the machine
// has priority 1 and leaves every live master alone, until Resume or Takeover. It
// still is the last resort: with nobody else to speak, it is master, and a master
// that finds no successor goes on. As an owner cannot be weak, Standby of
// priority 255 sends 1 as well.
func (m *Machine) Standby(now time.Time) []Action {
	m.setMode(now, Standby)
	if m.state == Master {
		m.goodbye(now, "standby")
	}
	return m.flush()
}

// Takeover makes the machine master now, with priority 254 until Resume or
// Standby, preempting whoever is master but an owner: any peer that follows the
// RFC yields to it. The addresses are taken first and the advert follows, so
// that the peer lets go of what is already answered for here.
func (m *Machine) Takeover(now time.Time) ([]Action, error) {
	if err := m.canSeize(); err != nil {
		return nil, err
	}
	m.setMode(now, Seized)
	switch m.state {
	case Backup:
		m.becomeMaster(now, "takeover")
		m.hold(now)
		m.silentTo = now.Add(m.linger())
		m.advertAt = m.silentTo
	case Leaving:
		m.toMaster(now, "takeover")
	case Master:
		m.send(m.priority, now)
		m.advertAt = now.Add(m.cfg.Interval)
	}
	return m.flush(), nil
}

func (m *Machine) canSeize() error {
	switch {
	case m.state == Fault:
		return fmt.Errorf("instance %s is in FAULT (%s): mend that first", m.cfg.Name, m.cause())
	case m.stopping || m.state == Init:
		return fmt.Errorf("instance %s is not running", m.cfg.Name)
	case m.state == Backup && m.master.Priority == PriorityOwner:
		return fmt.Errorf("instance %s: master %v has priority 255 and yields to nobody: stop it there", m.cfg.Name, m.master.Addr)
	case m.state == Backup && m.master.Priority == PriorityOwner-1 && m.master.Addr.Compare(m.cfg.Source) > 0:
		return fmt.Errorf("instance %s: master %v has priority 254 and the higher address: give standby there", m.cfg.Name, m.master.Addr)
	}
	return nil
}

// Resume ends Standby and Takeover: the election decides again.
func (m *Machine) Resume(now time.Time) []Action {
	m.setMode(now, Normal)
	if m.state == Leaving && !m.stopping {
		m.toMaster(now, "resume")
	}
	return m.flush()
}

func (m *Machine) setMode(now time.Time, mode Mode) {
	m.mode = mode
	m.preemptAt, m.meekUntil = time.Time{}, time.Time{}
	m.reprice(now)
}

// Observe says how a tracked thing is. What is not tracked is remembered for a
// reload.
func (m *Machine) Observe(now time.Time, name string, h Health) []Action {
	m.health[name] = h
	m.refit(now)
	return m.flush()
}

// Reload follows another description of the same virtual router. State and
// deadlines stay; a new priority counts from the next advert, a new interval from now.
func (m *Machine) Reload(now time.Time, c Instance) []Action {
	old := m.cfg
	m.cfg, m.to = c, c.destinations()
	if c.Priority != old.Priority {
		m.deposed = false
	}
	if c.Interval != old.Interval {
		m.changeInterval(now)
	}
	m.refit(now)
	return m.flush()
}

func (m *Machine) changeInterval(now time.Time) {
	if m.state != Backup || m.cfg.Version == 2 {
		m.interval = m.cfg.Interval
	}
	switch m.state {
	case Master:
		m.advertAt = earliest(m.advertAt, now.Add(m.cfg.Interval))
	case Backup:
		if m.eager {
			return
		}
		// Only ever away: to be late by one election is better than to disturb a master.
		m.arm(now, later(m.downAt, m.in(now, m.cfg.masterDown(m.priority, m.interval))))
	}
}

// refit follows a change of what is tracked.
func (m *Machine) refit(now time.Time) {
	m.reprice(now)
	why := m.cause()
	switch {
	case m.state == Init || m.stopping:
	case why != "" && m.state != Fault:
		m.toFault(now, why)
	case why == "" && m.state == Fault:
		m.become(now, Backup, "all is well again")
		m.interval = m.cfg.Interval
		m.arm(now, m.in(now, m.cfg.masterDown(m.priority, m.interval)))
	}
}

func (m *Machine) toFault(now time.Time, why string) {
	if m.state == Master {
		m.send(PriorityStop, now)
	}
	m.become(now, Fault, why)
	m.do(Drop{})
}

// follow leaves MASTER because another member of the group did. The network has
// not heard of it, so it is told.
func (m *Machine) follow(now time.Time, why string) {
	m.send(PriorityStop, now)
	m.become(now, Backup, why)
	m.releaseAt = now.Add(m.linger())
	m.arm(now, m.in(now, m.cfg.masterDown(m.priority, m.interval)))
}

// linger is how long the addresses stay after another master was heard: it may not
// have taken them yet. Two hold them for an interval at the most.
func (m *Machine) linger() time.Duration { return min(m.cfg.Interval, takingTime) }

// cause is why the machine cannot be master, or nothing.
func (m *Machine) cause() string {
	if names := faults(m.cfg.Track, m.health); len(names) > 0 {
		return strings.Join(names, ", ") + " not up"
	}
	if m.group != nil {
		return m.group.causeFor(m)
	}
	return ""
}

func (m *Machine) reprice(now time.Time) {
	p := m.effective()
	if p == m.priority {
		return
	}
	m.note("priority %d -> %d", m.priority, p)
	m.priority = p
	if m.state == Master {
		m.master.Priority = p
	}
}

func (m *Machine) effective() uint8 {
	base := m.cfg.Priority
	switch {
	case m.mode == Standby:
		return 1
	case m.mode == Seized && base != PriorityOwner:
		return PriorityOwner - 1
	case m.deposed:
		base = PriorityOwner - 1
	}
	return effective(base, m.cfg.Track, m.health)
}

// become changes the state, and forgets the deadlines of the old one.
func (m *Machine) become(now time.Time, s State, why string) {
	from := m.state
	m.state, m.since = s, now
	m.advertAt, m.downAt, m.againAt, m.warnAt, m.releaseAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	m.silentTo = time.Time{}
	m.announce = schedule{}
	m.question = question{}
	m.preemptAt = time.Time{}
	m.weaker = Peer{}
	m.eager = false
	if s != Backup {
		m.refused = ""
	}
	if s == Master {
		m.stats.BecameMaster++
	}
	if from == Master {
		m.stats.LeftMaster++
	}
	m.do(Transition{From: from, To: s, Priority: m.priority, Why: why})
}

func (m *Machine) send(priority uint8, now time.Time) {
	m.stats.Sent++
	if priority == PriorityStop {
		m.stats.StopSent++
	}
	m.answered = now
	m.do(Send{m.cfg.advert(priority), m.to})
}

// reportEvery is the pause between two reports of drops for one reason.
const reportEvery = 10 * time.Second

// mute remembers what has not been reported.
type mute struct {
	until time.Time
	count uint64
}

func (m *Machine) dropped(now time.Time, why Reason, a Advert) {
	m.stats.Dropped[why]++
	m.strangers.note(now, why, &a)
	q := &m.quiet[why]
	q.count++
	if now.Before(q.until) {
		return
	}
	m.do(Dropped{Reason: why, Advert: a, Count: q.count})
	*q = mute{until: now.Add(reportEvery)}
}

func (m *Machine) do(a Action) { m.acts = append(m.acts, a) }

func (m *Machine) note(format string, args ...any) { m.do(Note{false, fmt.Sprintf(format, args...)}) }
func (m *Machine) warn(format string, args ...any) { m.do(Note{true, fmt.Sprintf(format, args...)}) }

func (m *Machine) flush() []Action {
	acts := m.acts
	m.acts = nil
	return acts
}

// Status is what a machine can tell about itself.
type Status struct {
	Name             string
	Group            string // sync group, or nothing
	State            State
	Mode             Mode
	Priority, Base   uint8         // effective, and as configured
	Interval         time.Duration // our own
	MasterInterval   time.Duration // what the master said, version 3
	Master           Peer          // the last one heard and obeyed, or ourselves
	Weaker           Peer          // one of lower priority that speaks until it is our turn
	Since            time.Time     // of the last transition
	Deadline         time.Time     // the next one; zero is never
	Cause            string        // of FAULT
	Health           map[string]Health
	Stats            Stats
	Eager, Releasing bool // waits for its group; is no longer master but still holds
	Strangers        []Stranger
	Refused          string    // who has the addresses, so that they are not taken: see [Ask]
	MeekUntil        time.Time // after Forfeit
}

// Status is a snapshot.
func (m *Machine) Status() Status {
	s := Status{
		Name: m.cfg.Name, State: m.state, Mode: m.mode, Priority: m.priority, Base: m.cfg.Priority,
		Interval: m.cfg.Interval, MasterInterval: m.interval, Master: m.master, Weaker: m.weaker,
		Since: m.since, Deadline: m.Deadline(), Health: maps.Clone(m.health), Stats: m.stats,
		Eager: m.eager, Releasing: !m.releaseAt.IsZero(),
		Strangers: m.strangers.list(), Refused: m.refused, MeekUntil: m.meekUntil,
	}
	if m.group != nil {
		s.Group = m.group.name
	}
	if m.state == Fault {
		s.Cause = m.cause()
	}
	return s
}
