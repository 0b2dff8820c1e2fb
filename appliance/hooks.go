package appliance

import (
	"context"
	"slices"
	"sync"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// hooks are the programs that virtual services want to have run: when a server
// comes up or goes down, when enough of them serve or too few. Those of one service
// run one after the other.
type hooks struct {
	say   func(Level, string)
	hurry chan struct{}

	mu       sync.Mutex // for what follows
	services map[lvs.Key]*serviceHooks
	ended    []*sequence
}

type serviceHooks struct {
	virtual *ldirector.Virtual
	up      map[string]bool // members, by name
	quorum  bool            // enough of them serve
	seq     *sequence
}

func newHooks(say func(Level, string)) *hooks {
	return &hooks{say: say, hurry: make(chan struct{}), services: map[lvs.Key]*serviceHooks{}}
}

// use names the services. What is known of those that stay is kept. What it returns
// is for when the table is that of the new services: it runs what those that have gone
// want to have run.
func (h *hooks) use(vs []ldirector.Virtual) (farewell func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[lvs.Key]*serviceHooks{}
	var left []parting
	for i := range vs {
		v := &vs[i]
		s := h.services[v.Service.Key]
		if s == nil {
			s = &serviceHooks{}
			for _, m := range v.Members {
				s.quorum = s.quorum || m.AssumeUp
			}
		}
		left = append(left, parting{s: s, members: s.members(v)})
		next[v.Service.Key] = s
		delete(h.services, v.Service.Key)
	}
	for _, s := range h.services {
		p := parting{s: s, members: s.serving(), ends: true}
		if s.quorum {
			p.quorumDown = s.virtual.Hooks.QuorumDown
		}
		left = append(left, p)
	}
	h.services = next
	return func() { h.part(left) }
}

// parting is what leaves with a reload, of a service or all of it.
type parting struct {
	s          *serviceHooks
	members    []ldirector.Member // that served
	quorumDown *ldirector.Command // of a service that had its quorum
	ends       bool
}

// part runs what belongs to a removal. keepalived runs quorum_down also for a service
// of which all servers are replaced, and has no quorum_up after it although the new
// ones serve: here only the loss of the quorum is one, which is an event of its own.
func (h *hooks) part(left []parting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range left {
		for _, m := range p.members {
			h.run(p.s, m.NotifyDown)
		}
		h.run(p.s, p.quorumDown)
		if p.ends {
			h.close(p.s)
		}
	}
}

// members takes over a service's configuration. What is known of members that stay
// is kept; the answer are those that served and do not stay.
func (s *serviceHooks) members(v *ldirector.Virtual) []ldirector.Member {
	up := map[string]bool{}
	for _, m := range v.Members {
		was, known := s.up[m.Name]
		up[m.Name] = was || !known && m.AssumeUp
	}
	gone := slices.DeleteFunc(s.serving(), func(m ldirector.Member) bool { _, stays := up[m.Name]; return stays })
	s.virtual, s.up = v, up
	return gone
}

// serving are the members that are up and in the table: while the fallback serves
// nobody else does, and keepalived says nothing of who is taken away then.
func (s *serviceHooks) serving() []ldirector.Member {
	if s.virtual == nil || !s.quorum && s.virtual.Fallback != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.virtual.Members), func(m ldirector.Member) bool { return !s.up[m.Name] })
}

// close lets a service's programs run to their end.
func (h *hooks) close(s *serviceHooks) {
	if s.seq != nil {
		s.seq.close()
		h.ended = append(h.ended, s.seq)
		s.seq = nil
	}
}

// hear runs what belongs to an event.
func (h *hooks) hear(e ldirector.Event) {
	if e.Virtual == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.services[e.Virtual.Service.Key]
	if s == nil {
		return
	}
	switch e.Kind {
	case ldirector.CameUp, ldirector.WentDown:
		if e.Member != nil {
			h.member(s, e.Member, e.Kind == ldirector.CameUp)
		}
	case ldirector.ServesAgain:
		s.quorum = true
		h.run(s, e.Virtual.Hooks.QuorumUp)
	case ldirector.NobodyServes:
		s.quorum = false
		h.run(s, e.Virtual.Hooks.QuorumDown)
	}
}

// member runs what belongs to a change of a member. That one is found as it was
// assumed to be is none.
func (h *hooks) member(s *serviceHooks, m *ldirector.Member, up bool) {
	if was, known := s.up[m.Name]; was == up || !known { // one that is about to be removed is not known any more
		return
	}
	s.up[m.Name] = up
	if up {
		h.run(s, m.NotifyUp)
	} else {
		h.run(s, m.NotifyDown)
	}
}

// run must be called with the lock.
func (h *hooks) run(s *serviceHooks, c *ldirector.Command) {
	if c == nil || len(c.Words) == 0 {
		return
	}
	if s.seq == nil {
		s.seq = newSequence(h.say, h.hurry)
	}
	as, err := check.Credential(c.User, c.Group)
	s.seq.do(job{words: slices.Clone(c.Words), as: as, err: err})
}

// end runs what services want to have run when the director stops.
func (h *hooks) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.services {
		if s.virtual.Hooks.AtStop {
			for _, m := range s.virtual.Members {
				if s.up[m.Name] {
					h.run(s, m.NotifyDown)
				}
			}
			if s.quorum {
				h.run(s, s.virtual.Hooks.QuorumDown)
			}
		}
		h.close(s)
	}
	h.services = map[lvs.Key]*serviceHooks{}
}

// settle waits for them until the context ends; what has not begun by then begins
// at once, and nobody waits for it.
func (h *hooks) settle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { close(h.hurry) })
	defer stop()
	for _, s := range h.ended {
		<-s.done
	}
}
