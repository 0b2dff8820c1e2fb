package check

import (
	"context"
	"time"
)

// Combined is ldirectord's checktype=N: one full negotiate check, then N that
// only connect. A failed connect, and a failed negotiate, make the next check a
// negotiate one; so does the start.
type Combined struct {
	Negotiate, Connect Probe
	// N is how many connects follow one negotiate.
	N int
	// ConnectTimeout is the part of the Spec's timeout a connect may use.
	// 0 = all of it.
	ConnectTimeout time.Duration
}

// Check runs the negotiate check: without memory every check is the first.
func (p Combined) Check(ctx context.Context, n Net) error {
	return p.Negotiate.Check(ctx, n)
}

// Prepare implements [Preparer]: what it returns remembers how many connects
// there were.
func (p Combined) Prepare() (Probe, error) {
	neg, err := prepare(p.Negotiate)
	if err != nil {
		return nil, err
	}
	con, err := prepare(p.Connect)
	if err != nil {
		return nil, err
	}
	return &combined{negotiate: neg, connect: con, timeout: p.ConnectTimeout, n: p.N, connects: p.N}, nil
}

func (p Combined) runsProgram() bool { return runsProgram(p.Negotiate) || runsProgram(p.Connect) }

type combined struct {
	negotiate, connect Probe
	timeout            time.Duration
	n, connects        int
}

func (c *combined) Check(ctx context.Context, n Net) error { return c.Examine(ctx, n).Err }

func (c *combined) Examine(ctx context.Context, n Net) Outcome {
	if c.connects >= c.n {
		return c.full(ctx, n)
	}
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = withTimeout(ctx, c.timeout)
		defer cancel()
	}
	out := examine(ctx, c.connect, n)
	if c.connects++; out.Err != nil {
		c.connects = c.n
	}
	return out
}

func (c *combined) full(ctx context.Context, n Net) Outcome {
	out := examine(ctx, c.negotiate, n)
	if out.Err == nil {
		c.connects = 0
	}
	return out
}

// All is well when each of its probes is, asked in order: keepalived's HTTP_GET
// with several urls.
type All []Probe

// Check implements [Probe].
func (p All) Check(ctx context.Context, n Net) error { return p.Examine(ctx, n).Err }

// Examine implements [Examiner]: the outcome of the first failure, or the last.
func (p All) Examine(ctx context.Context, n Net) (out Outcome) {
	for _, probe := range p {
		if out = examine(ctx, probe, n); out.Err != nil {
			return out
		}
	}
	return out
}

// Prepare implements [Preparer].
func (p All) Prepare() (Probe, error) {
	ready := make(All, len(p))
	for i, probe := range p {
		var err error
		if ready[i], err = prepare(probe); err != nil {
			return nil, err
		}
	}
	return ready, nil
}

func (p All) runsProgram() bool {
	for _, probe := range p {
		if runsProgram(probe) {
			return true
		}
	}
	return false
}

// prepare makes a probe ready, if it has anything to prepare.
func prepare(p Probe) (Probe, error) {
	if pp, ok := p.(Preparer); ok {
		return pp.Prepare()
	}
	return p, nil
}

// examine asks for as much as the probe has to say.
func examine(ctx context.Context, p Probe, n Net) Outcome {
	if e, ok := p.(Examiner); ok {
		return e.Examine(ctx, n)
	}
	return Outcome{Err: p.Check(ctx, n)}
}

// runsProgram tells the probes that start a process: few of those may run at once.
func runsProgram(p Probe) bool {
	r, ok := p.(interface{ runsProgram() bool })
	return ok && r.runsProgram()
}
