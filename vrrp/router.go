package vrrp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Router is every machine of a host, and the sync groups that tie some of them
// together. Like a [Machine] it is pure, and not safe for concurrent use.
type Router struct {
	machines []*Machine // in the order of the last Set
	leaving  []*Machine // handing over, and gone then
	groups   []*group
	byRouter map[router]*Machine
	health   map[string]Health
	stopping bool
}

// Step is an action of one of the machines, or a [Transition] of a sync group:
// then Machine is nil.
type Step struct {
	Machine *Machine
	Group   string
	Action  Action
}

// Group names the instances that are master together or not at all. A member in
// FAULT takes all to FAULT, one that leaves MASTER takes all to BACKUP, and none
// becomes master before all could. Members need the same priorities relative to
// their peers. A thing that a member tracks with a weight counts for that member
// only, so give it no weight or track it everywhere.
type Group struct {
	Name    string
	Members []string
}

// NewRouter makes a router without instances.
func NewRouter() *Router {
	return &Router{byRouter: map[router]*Machine{}, health: map[string]Health{}}
}

// Set makes the router consist of these instances. Those that it has already
// (same Link, VRID and family) go on undisturbed, with what is new in their
// description; new ones start; those no longer named hand over and go. On an
// error nothing has changed.
func (r *Router) Set(now time.Time, instances []Instance, groups []Group) ([]Step, error) {
	if err := validate(instances, groups); err != nil {
		return nil, err
	}
	if r.stopping {
		return nil, errors.New("the router is stopping")
	}
	old := r.byRouter
	r.machines, r.byRouter = nil, make(map[router]*Machine, len(instances))
	var out []Step
	var fresh []*Machine
	kept := map[*Machine]bool{}
	for _, c := range instances {
		m := predecessor(old, &c, instances)
		kept[m] = true
		if m == nil {
			m = New(c)
			maps.Copy(m.health, r.health)
			m.priority = m.effective()
			fresh = append(fresh, m)
		} else {
			out = append(out, steps(m, m.Reload(now, c))...)
		}
		r.machines = append(r.machines, m)
		r.byRouter[c.router()] = m
	}
	r.regroup(groups)
	for _, m := range old {
		if !kept[m] {
			m.group = nil
			r.leaving = append(r.leaving, m)
		}
	}
	slices.SortFunc(r.leaving, func(a, b *Machine) int { return cmpName(a, b) })
	for _, m := range r.leaving {
		out = append(out, steps(m, m.Stop(now))...)
	}
	for _, m := range fresh {
		out = append(out, steps(m, m.Start(now))...)
	}
	r.forget()
	return append(out, r.settle(now)...), nil
}

// predecessor is the machine that goes on under a description: that of the same
// virtual router, else that of the same name, unless this is another's by now.
func predecessor(old map[router]*Machine, c *Instance, instances []Instance) *Machine {
	if m := old[c.router()]; m != nil {
		return m
	}
	for key, m := range old {
		taken := func(o Instance) bool { return o.router() == key }
		if c.follows(&m.cfg) && !slices.ContainsFunc(instances, taken) {
			return m
		}
	}
	return nil
}

func cmpName(a, b *Machine) int {
	switch {
	case a.cfg.Name < b.cfg.Name:
		return -1
	case a.cfg.Name > b.cfg.Name:
		return 1
	}
	return 0
}

func validate(instances []Instance, groups []Group) error {
	var errs []error
	names, routers, member := map[string]bool{}, map[router]string{}, map[string]string{}
	for i := range instances {
		c := &instances[i]
		errs = append(errs, c.Validate())
		if names[c.Name] {
			errs = append(errs, fmt.Errorf("instance %s: there are two of that name", c.Name))
		}
		if other, ok := routers[c.router()]; ok {
			errs = append(errs, fmt.Errorf("instance %s: instance %s has the same virtual_router_id %d on %s", c.Name, other, c.VRID, c.Link))
		}
		names[c.Name], routers[c.router()] = true, c.Name
	}
	for _, g := range groups {
		for _, name := range g.Members {
			if !names[name] {
				errs = append(errs, fmt.Errorf("sync group %s: there is no instance %s", g.Name, name))
			}
			if other, ok := member[name]; ok {
				errs = append(errs, fmt.Errorf("sync group %s: instance %s is in group %s already", g.Name, name, other))
			}
			member[name] = g.Name
		}
	}
	return errors.Join(errs...)
}

func (r *Router) regroup(groups []Group) {
	old := r.groups
	r.groups = nil
	for _, m := range r.machines {
		m.group = nil
	}
	for _, spec := range groups {
		g := &group{name: spec.Name}
		for _, m := range r.machines {
			if slices.Contains(spec.Members, m.cfg.Name) {
				m.group = g
				g.members = append(g.members, m)
			}
		}
		for _, o := range old {
			if o.name == g.name {
				g.reported = o.reported
			}
		}
		g.master = g.all(Master)
		r.groups = append(r.groups, g)
	}
}

// Machines are the machines in the order of the last Set, without those that are
// on their way out.
func (r *Router) Machines() []*Machine { return slices.Clone(r.machines) }

// Deadline is when Tick has something to do; the zero time is never.
func (r *Router) Deadline() time.Time {
	var first time.Time
	for m := range r.everyone {
		first = earliest(first, m.Deadline())
	}
	return first
}

// Tick does what is due.
func (r *Router) Tick(now time.Time) []Step {
	var out []Step
	for m := range r.everyone {
		if expired(m.Deadline(), now) {
			out = append(out, steps(m, m.Tick(now))...)
		}
	}
	r.forget()
	return append(out, r.settle(now)...)
}

// Recv gives an advert that came in on a link to the machine it is for. One for
// a virtual router that this host does not take part in is nobody's business.
func (r *Router) Recv(now time.Time, link string, a Advert) []Step {
	key := router{link: link, vrid: a.VRID, v4: a.Src.Is4()}
	if a.Dst.IsMulticast() {
		key.group = a.Dst
	}
	var out []Step
	if m := r.heard(key); m != nil {
		out = steps(m, m.Recv(now, a))
	}
	for _, m := range r.leaving {
		if m.cfg.router() == key {
			out = append(out, steps(m, m.Recv(now, a))...)
		}
	}
	if len(out) == 0 && len(r.groups) == 0 {
		return nil
	}
	return append(out, r.settle(now)...)
}

// heard is the machine that an advert is for. When none has its group, or its
// peers, a machine of the virtual_router_id judges it: it is worth a complaint,
// unless the group is that of another one here.
func (r *Router) heard(key router) *Machine {
	if m := r.byRouter[key]; m != nil {
		return m
	}
	for _, m := range r.machines {
		if c := &m.cfg; c.Link == key.link && c.VRID == key.vrid && c.Source.Is4() == key.v4 {
			return m
		}
	}
	return nil
}

// Observe says how a tracked thing is, to every machine that tracks it.
func (r *Router) Observe(now time.Time, name string, h Health) []Step {
	r.health[name] = h
	var out []Step
	for m := range r.everyone {
		out = append(out, steps(m, m.Observe(now, name, h))...)
	}
	return append(out, r.settle(now)...)
}

// Standby is [Machine.Standby] for the named instances, with all of their
// groups; no name means all instances.
func (r *Router) Standby(now time.Time, names ...string) ([]Step, error) {
	return r.order(now, names, func(m *Machine) ([]Action, error) { return m.Standby(now), nil })
}

// Takeover is [Machine.Takeover] in the same way. Nothing is done when one of
// the instances cannot.
func (r *Router) Takeover(now time.Time, names ...string) ([]Step, error) {
	chosen, err := r.choose(names)
	for _, m := range chosen {
		err = errors.Join(err, m.canSeize())
	}
	if err != nil {
		return nil, err
	}
	return r.order(now, names, func(m *Machine) ([]Action, error) { return m.Takeover(now) })
}

// Forfeit is [Machine.Forfeit] for an instance, with all of its group.
func (r *Router) Forfeit(now time.Time, name, why string, meek time.Duration) ([]Step, error) {
	return r.order(now, []string{name}, func(m *Machine) ([]Action, error) { return m.Forfeit(now, why, meek), nil })
}

// Answer is [Machine.Answer] for an instance; one that is not there has no
// question.
func (r *Router) Answer(now time.Time, name string, number uint64, holder string) []Step {
	i := slices.IndexFunc(r.machines, func(m *Machine) bool { return m.cfg.Name == name })
	if i < 0 {
		return nil
	}
	return append(steps(r.machines[i], r.machines[i].Answer(now, number, holder)), r.settle(now)...)
}

// Resume is [Machine.Resume] in the same way.
func (r *Router) Resume(now time.Time, names ...string) ([]Step, error) {
	return r.order(now, names, func(m *Machine) ([]Action, error) { return m.Resume(now), nil })
}

func (r *Router) order(now time.Time, names []string, do func(*Machine) ([]Action, error)) ([]Step, error) {
	chosen, err := r.choose(names)
	if err != nil {
		return nil, err
	}
	var out []Step
	for _, m := range chosen {
		acts, err := do(m)
		if err != nil {
			return out, err
		}
		out = append(out, steps(m, acts)...)
	}
	for _, g := range r.groups {
		g.master = g.all(Master) // to leave together is no reason to follow
	}
	return append(out, r.settle(now)...), nil
}

func (r *Router) choose(names []string) ([]*Machine, error) {
	if len(names) == 0 {
		return r.machines, nil
	}
	want := map[*Machine]bool{}
	for _, name := range names {
		i := slices.IndexFunc(r.machines, func(m *Machine) bool { return m.cfg.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no instance %s", name)
		}
		want[r.machines[i]] = true
		if g := r.machines[i].group; g != nil {
			for _, m := range g.members {
				want[m] = true
			}
		}
	}
	var chosen []*Machine
	for _, m := range r.machines {
		if want[m] {
			chosen = append(chosen, m)
		}
	}
	return chosen, nil
}

// Stop stops every machine: see [Machine.Stop]. It is over when Stopped says so.
func (r *Router) Stop(now time.Time) []Step {
	return r.end(func(m *Machine) []Action { return m.Stop(now) })
}

// Quit is Stop without waiting for successors.
func (r *Router) Quit(now time.Time) []Step {
	return r.end(func(m *Machine) []Action { return m.Quit(now) })
}

func (r *Router) end(stop func(*Machine) []Action) []Step {
	r.stopping = true
	var out []Step
	for m := range r.everyone {
		m.group = nil
		out = append(out, steps(m, stop(m))...)
	}
	r.groups = nil
	return out
}

// Stopped reports that every machine has come to its end after Stop or Quit.
func (r *Router) Stopped() bool {
	for m := range r.everyone {
		if !m.Stopped() {
			return false
		}
	}
	return r.stopping
}

// Status is a snapshot of all machines, those on their way out included.
func (r *Router) Status() []Status {
	var all []Status
	for m := range r.everyone {
		all = append(all, m.Status())
	}
	return all
}

func (r *Router) everyone(yield func(*Machine) bool) {
	for _, ms := range [2][]*Machine{r.machines, r.leaving} {
		for _, m := range ms {
			if !yield(m) {
				return
			}
		}
	}
}

// forget drops the machines that have left.
func (r *Router) forget() {
	r.leaving = slices.DeleteFunc(r.leaving, func(m *Machine) bool { return m.stopped })
}

func (r *Router) settle(now time.Time) []Step {
	var out []Step
	for _, g := range r.groups {
		out = append(out, g.settle(now)...)
	}
	return out
}

func steps(m *Machine, acts []Action) []Step {
	var out []Step
	for _, a := range acts {
		out = append(out, Step{Machine: m, Action: a})
	}
	return out
}

// group is a sync group at work.
type group struct {
	name     string
	members  []*Machine
	master   bool  // all members were master
	reported State // of the last transition of the whole
}

// ready reports that nothing but m's own word is missing for all to be master.
func (g *group) ready(m *Machine) bool {
	for _, o := range g.members {
		if o != m && o.state != Master && !o.eager {
			return false
		}
	}
	return true
}

// causeFor is the fault of another member.
func (g *group) causeFor(m *Machine) string {
	for _, o := range g.members {
		if o != m && len(faults(o.cfg.Track, o.health)) > 0 {
			return fmt.Sprintf("%s of sync group %s is in FAULT", o.cfg.Name, g.name)
		}
	}
	return ""
}

func (g *group) all(s State) bool {
	return !slices.ContainsFunc(g.members, func(m *Machine) bool { return m.state != s })
}

// settle moves the members that have to follow another one.
func (g *group) settle(now time.Time) []Step {
	for _, m := range g.members {
		m.refit(now)
	}
	if g.master && !g.all(Master) {
		g.master = false
		g.retreat(now)
	}
	if g.canAdvance() {
		g.advance(now)
	}
	g.master = g.all(Master)
	var out []Step
	for _, m := range g.members {
		out = append(out, steps(m, m.flush())...)
	}
	return append(out, g.report()...)
}

func (g *group) retreat(now time.Time) {
	for _, m := range g.members {
		if m.state == Master {
			m.follow(now, "another member of sync group "+g.name+" is no longer master")
		}
	}
}

func (g *group) canAdvance() bool {
	eager := false
	for _, m := range g.members {
		eager = eager || m.eager
		if m.state != Master && !m.eager {
			return false
		}
	}
	return eager
}

func (g *group) advance(now time.Time) {
	for _, m := range g.members {
		if m.eager {
			m.toMaster(now, "all of sync group "+g.name+" can be master")
		}
	}
}

// report is the transition of the whole: all master, one in fault, or backup.
func (g *group) report() []Step {
	s := Backup
	switch {
	case len(g.members) == 0 || g.all(Init):
		return nil
	case g.all(Master):
		s = Master
	case slices.ContainsFunc(g.members, func(m *Machine) bool { return m.state == Fault }):
		s = Fault
	case slices.ContainsFunc(g.members, func(m *Machine) bool { return m.state == Leaving }):
		return nil // not over yet
	}
	if s == g.reported {
		return nil
	}
	t := Transition{From: g.reported, To: s, Why: "sync group"}
	g.reported = s
	return []Step{{Group: g.name, Action: t}}
}
