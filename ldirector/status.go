package ldirector

import (
	"fmt"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// Snapshot is everything there is to know at one moment: what is wanted, what
// the kernel has, and why.
type Snapshot struct {
	When  time.Time `json:"when"`
	Phase Phase     `json:"phase"`
	// Open is false while the director is not the one to serve any of the services.
	Open bool `json:"open"`
	// Looked is when the kernel's table was last read; what the snapshot says of
	// the kernel is as old as that. KernelError says why it is not newer.
	Looked      time.Time `json:"looked"`
	KernelError string    `json:"kernel_error,omitempty"`
	// Refused are the changes that the kernel does not take, with its reasons.
	Refused  []string        `json:"refused,omitempty"`
	Virtuals []VirtualStatus `json:"virtuals"`
}

// VirtualStatus is a service and its members.
type VirtualStatus struct {
	Service string `json:"service"` // as [lvs.Key.String] has it
	Label   string `json:"label"`   // as ldirectord's log has it
	Name    string `json:"name,omitempty"`
	Comment string `json:"comment,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	// State is "serving", "nobody", or "starting" while that is undecided.
	State     string `json:"state"`
	Scheduler string `json:"scheduler"`
	// Persistent is how long a client keeps its server, in seconds; 0 is not at all.
	Persistent uint32 `json:"persistent_seconds,omitempty"`
	InKernel   bool   `json:"in_kernel"`
	// Open is false while another director is to serve it. Follows are the gates of
	// which one has to be open for that to be this one; none: it always is.
	Open    bool     `json:"open"`
	Follows []string `json:"follows,omitempty"`
	Drift   string   `json:"drift,omitempty"`
	// Refused is why the kernel does not take the service, or a change of it.
	Refused string `json:"refused,omitempty"`
	// Strength is the sum of the weights that serve, Quorum what it takes.
	Strength uint64         `json:"strength"`
	Quorum   uint64         `json:"quorum"`
	Members  []MemberStatus `json:"members"`
	Fallback *MemberStatus  `json:"fallback,omitempty"`
	// Strangers are servers in our service that nobody configured.
	Strangers []MemberStatus `json:"strangers,omitempty"`
}

// MemberStatus is a server: where it is, and why.
type MemberStatus struct {
	Server   string    `json:"server"` // as the kernel knows it
	Name     string    `json:"name,omitempty"`
	Method   string    `json:"method"`
	File     string    `json:"file,omitempty"`
	Line     int       `json:"line,omitempty"`
	Standing Standing  `json:"standing"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	// Want and Kernel are the weight that it should have and the one it has; nil
	// when it should not be, or is not, in the table.
	Want   *uint32 `json:"want"`
	Kernel *uint32 `json:"kernel"`
	Drift  string  `json:"drift,omitempty"`
	// Refused is why the kernel does not take the server, or a change of it.
	Refused string `json:"refused,omitempty"`
	// Connections are nil when the kernel did not tell.
	Connections *Connections  `json:"connections,omitempty"`
	Drain       *DrainStatus  `json:"drain,omitempty"`
	Checks      []CheckStatus `json:"checks,omitempty"`
}

// Connections are what the kernel counts for one server.
type Connections struct {
	Active     uint32 `json:"active"`
	Inactive   uint32 `json:"inactive"`
	Persistent uint32 `json:"persistent"`
}

// DrainStatus is a drain under way or over.
type DrainStatus struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"`
	Over  bool      `json:"over"`
	Empty bool      `json:"empty"`
}

// CheckStatus is one check of a server.
type CheckStatus struct {
	ID     string        `json:"id"`
	Health string        `json:"health"`
	Fails  int           `json:"fails"`
	Wins   int           `json:"wins"`
	Last   []CheckResult `json:"last,omitempty"` // oldest first
}

// CheckResult is one answer.
type CheckResult struct {
	When    time.Time `json:"when"`
	Took    float64   `json:"took"` // seconds
	Well    bool      `json:"well"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	// Ours says that the check could not be made, which is no verdict.
	Ours bool `json:"ours,omitempty"`
}

// status describes all services. st is what the kernel holds; history gives the
// last results of a check and may be nil.
func (p *Plan) status(st lvs.State, counted bool, history func(string) []check.Result) []VirtualStatus {
	kernel := make(map[lvs.Key]lvs.ServiceState, len(st))
	for _, s := range st {
		kernel[s.Key] = s
	}
	out := make([]VirtualStatus, 0, len(p.virtuals))
	for _, v := range p.virtuals {
		k, in := kernel[v.Service.Key]
		out = append(out, v.status(k, in, counted, history))
	}
	return out
}

func (v *virtual) status(k lvs.ServiceState, in, counted bool, history func(string) []check.Result) VirtualStatus {
	strength, _ := v.strength()
	s := VirtualStatus{
		Service: v.Service.Key.String(), Label: Label(v.Service.Key), Name: v.Name, Comment: v.Comment,
		File: v.Source.File, Line: v.Source.Line, State: v.serving.String(), Scheduler: v.service.Scheduler, Persistent: v.service.Timeout,
		InKernel: in, Open: !v.closed, Follows: v.Gates, Strength: strength, Quorum: uint64(max(v.Policy.Quorum, 1)),
	}
	switch {
	case v.missing:
		s.Drift = "was removed by somebody"
	case v.service != v.Service:
		s.Drift = "was edited by somebody"
	}
	view := serverView{v: v, counted: counted, kernel: make(map[string]lvs.DestinationState, len(k.Destinations))}
	for _, d := range k.Destinations {
		view.kernel[d.Addr.String()] = d
	}
	for _, m := range v.members {
		s.Members = append(s.Members, view.member(m, history))
	}
	if v.Fallback != nil && v.fallbackAt(v.Fallback.Addr) {
		f := view.fallback()
		s.Fallback = &f
	}
	for _, d := range k.Destinations {
		if _, left := view.kernel[d.Addr.String()]; left {
			s.Strangers = append(s.Strangers, view.stranger(d))
		}
	}
	return s
}

func (v *VirtualStatus) blame(server, why string) {
	if v.Fallback != nil && v.Fallback.Server == server {
		v.Fallback.Refused = why
	}
	for _, ms := range [][]MemberStatus{v.Members, v.Strangers} {
		for i := range ms {
			if ms[i].Server == server {
				ms[i].Refused = why
			}
		}
	}
}

func (s serving) String() string {
	return [...]string{"starting", "serving", "nobody"}[s]
}

// serverView describes servers of one service; those it has described leave its
// map, and who is left is a stranger.
type serverView struct {
	v       *virtual
	counted bool
	kernel  map[string]lvs.DestinationState
	taken   map[string]lvs.DestinationState
}

func (w *serverView) base(d lvs.Destination) MemberStatus {
	s := MemberStatus{Server: d.Addr.String(), Method: d.Method.String()}
	if want, in := find(w.v.want, d.Addr); in && !w.v.closed {
		s.Want = &want.Weight
	}
	if h, drifted := w.v.hand[d.Addr]; drifted {
		s.Drift = h.String()
	}
	if k, in := w.take(s.Server); in {
		s.Kernel = &k.Weight
		if w.counted {
			s.Connections = &Connections{k.Active, k.Inactive, k.Persistent}
		}
	}
	return s
}

// take finds a server in the kernel's list, again for its twins.
func (w *serverView) take(server string) (lvs.DestinationState, bool) {
	if d, in := w.kernel[server]; in {
		delete(w.kernel, server)
		if w.taken == nil {
			w.taken = make(map[string]lvs.DestinationState)
		}
		w.taken[server] = d
		return d, true
	}
	d, in := w.taken[server]
	return d, in
}

func (w *serverView) member(m *member, history func(string) []check.Result) MemberStatus {
	s := w.base(m.Destination)
	s.Name, s.File, s.Line = m.Name, m.Source.File, m.Source.Line
	s.Standing, s.Since, s.Reason = m.standing, m.since, m.reason()
	if m.drain != nil {
		s.Drain = &DrainStatus{m.drain.since, m.drain.until, m.drain.over, m.drain.empty}
	}
	for _, c := range m.checks {
		s.Checks = append(s.Checks, c.status(history))
	}
	return s
}

func (w *serverView) fallback() MemberStatus {
	s := w.base(*w.v.Fallback)
	s.Standing, s.Reason = Reserve, "waits until no real server serves"
	switch {
	case w.v.serving == nobody && w.v.Policy.Quorum > 1:
		s.Standing, s.Reason = Serving, fmt.Sprintf("the real servers do not reach the quorum of %d", w.v.Policy.Quorum)
	case w.v.serving == nobody:
		s.Standing, s.Reason = Serving, "no real server serves"
	}
	return s
}

func (w *serverView) stranger(d lvs.DestinationState) MemberStatus {
	s := w.base(d.Destination)
	s.Reason = "not configured; it goes with the next reload"
	return s
}

// reason says in words why a member stands where it does.
func (m *member) reason() string {
	switch m.standing {
	case Unchecked:
		return m.waiting()
	case Serving:
		return m.wellness()
	case Reserve:
		return fmt.Sprintf("well, but the servers that are do not reach the quorum of %d", max(m.v.Policy.Quorum, 1))
	case Draining:
		return m.draining()
	case Drained:
		return "drained by an operator, and the time for it is over"
	case Failed:
		return m.complaint() + m.besides()
	case Maintained:
		return "maintenance file " + m.excused + m.besides()
	case Off:
		return "switched off by checktype=off"
	}
	return m.standing.String()
}

func (m *member) draining() string {
	if m.drain.empty {
		return "drained by an operator: no connection is left"
	}
	return "drained by an operator: connections stay, new ones go elsewhere"
}

// besides is what would keep a server out if the first reason were gone.
func (m *member) besides() string {
	s := ""
	if m.standing == Maintained && m.health() == check.Down {
		s += "; besides, its check fails: " + m.complaint()
	}
	if m.drain != nil {
		s += "; besides, it is drained by an operator"
	}
	return s
}

func (m *member) waiting() string {
	for _, c := range m.checks {
		if c.last.Local && c.last.Err != nil {
			return "could not be checked yet: " + c.last.Err.Error()
		}
	}
	if m.found {
		return "found with weight 0; its first check has not ended"
	}
	return "its first check has not ended"
}

func (m *member) wellness() string {
	if m.Off {
		return "was well when checktype=off ended its checks"
	}
	for _, c := range m.checks {
		switch {
		case c.last.Err != nil && c.last.Local:
			return "was well when it could last be checked: " + c.last.Err.Error()
		case c.last.Err != nil:
			return fmt.Sprintf("failed %d times in a row, %d take it out: %v", c.last.Fails, max(c.spec.Fall, 1), c.last.Err)
		case !c.proven:
			return "found in service; its first check has not ended"
		}
	}
	s := "well"
	if len(m.checks) == 0 {
		s = "not checked"
	}
	switch w, asked := m.weight(); {
	case asked && w != m.Destination.Weight:
		s += fmt.Sprintf("; its check asks for weight %d, configured is %d", w, m.Destination.Weight)
	case w == 0:
		s += "; weight 0 gets no new connections"
	}
	return s
}

func (c *checkup) status(history func(string) []check.Result) CheckStatus {
	s := CheckStatus{ID: c.spec.ID, Health: c.health.String(), Fails: c.last.Fails, Wins: c.last.Wins}
	results := []check.Result{c.last}
	if history != nil {
		results = history(c.spec.ID)
	} else if !c.asked {
		results = nil
	}
	for _, r := range results {
		s.Last = append(s.Last, CheckResult{
			When: r.When, Took: r.Took.Seconds(), Well: r.Err == nil, Reason: errorText(r.Err), Message: r.Message, Ours: r.Local,
		})
	}
	return s
}
