// Package check answers one question: is this one server well?
//
// A [Probe] asks one server once, in one protocol. A [Spec] says how often and
// with what patience. A [Streak] turns single answers into up and down. The
// [Runner] keeps a set of Specs going, each at its own rhythm, and reports
// every answer as a [Result].
//
// Nothing here knows of virtual services, weights or the kernel's table.
package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Probe asks one server, once, whether it is well.
//
// Check returns nil when it is. Otherwise the error says what was found and
// what was wanted, in words for a person: "HTTP 503 from 10.0.0.2:80, wanted
// 2xx". An error for which [IsLocal] holds says that we could not ask, which
// is no verdict on the server.
//
// Check ends when ctx does, whatever the server sends or does not send, and
// keeps a bounded part of it in memory.
//
// A Probe is plain data: two that are deeply equal (reflect.DeepEqual) are the
// same check, which is how the Runner knows what a reload has left unchanged.
type Probe interface {
	Check(ctx context.Context, n Net) error
}

// Examiner is a Probe with more to say than well or not.
type Examiner interface {
	Probe
	Examine(ctx context.Context, n Net) Outcome
}

// Outcome is the whole answer of one check.
type Outcome struct {
	// Err is what [Probe.Check] returns.
	Err error
	// Message is what the server said, for a log: a status line, the beginning
	// of a body. At most a kilobyte, often empty.
	Message string
	// Weight is what the server asks its weight to be, when Weighted.
	Weight   int
	Weighted bool
}

// Preparer is a Probe with work to be done once, not at every check: an
// expression to compile, a file of certificates to read, state to keep from one
// check to the next. What Prepare returns is used by one check at a time.
type Preparer interface {
	Probe
	Prepare() (Probe, error)
}

// Net is what a Probe may touch. [Host] is the real one. A test brings its own;
// so does a caller who wants checks to leave by a certain device.
type Net interface {
	// DialContext is that of [net.Dialer], for the networks tcp, udp,
	// ip4:icmp and ip6:ipv6-icmp. address is a literal one with its port.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens a TCP listener, for the data connection of active FTP.
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	// LookupNetIP is that of [net.Resolver], for a redirection to a name.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Health is what we know of a server.
type Health uint8

// Unknown is a server no check has decided about yet.
const (
	Unknown Health = iota
	Up
	Down
)

func (h Health) String() string {
	switch h {
	case Unknown:
		return "unknown"
	case Up:
		return "up"
	case Down:
		return "down"
	}
	return fmt.Sprintf("health %d", uint8(h))
}

// What a [Spec] gets for a field left at zero.
const (
	DefaultInterval = 10 * time.Second
	DefaultTimeout  = 5 * time.Second
)

// Spec is one check to be repeated.
type Spec struct {
	// ID names the check; a Spec of the same ID replaces this one.
	ID    string
	Probe Probe
	// Interval is the time from one start to the next, whatever a check takes;
	// a check that takes longer skips beats and never overlaps itself.
	// 0 = [DefaultInterval].
	Interval time.Duration
	// Timeout is the most one check may take from its start. 0 = [DefaultTimeout].
	Timeout time.Duration
	// RetryDelay is the time to the next start after a failure that has not
	// yet taken the server down. 0 = no hurry, the next beat of Interval.
	RetryDelay time.Duration
	// Fall is how many failures in a row take an up server down, Rise how many
	// good answers bring a down one up. 0 = 1.
	Fall, Rise int
	// Initial is the health to begin with when the ID is new: Up for a server
	// found in service, which then has its Fall failures like any other.
	Initial Health
}

func (s Spec) withDefaults() Spec {
	if s.Interval <= 0 {
		s.Interval = DefaultInterval
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	s.Fall, s.Rise = max(s.Fall, 1), max(s.Rise, 1)
	return s
}

// Result is one answer and what followed from it.
type Result struct {
	ID   string
	When time.Time // start of the check
	Took time.Duration
	Outcome
	// Local says that the fault was ours (no descriptor, no memory, we were
	// stopped): Health is as before and the server will be asked again.
	Local bool
	// Health after this answer, and whether this answer changed it.
	Health  Health
	Changed bool
	// Fails and Wins are the lengths of the present streak, one of them 0.
	Fails, Wins int
	// Skipped counts results of the same ID that were dropped unseen before
	// this one because their reader was slow. A change of health is dropped
	// only together with the change back.
	Skipped int
}

func (r Result) String() string {
	if r.Err == nil {
		return fmt.Sprintf("%s: %v, well after %v", r.ID, r.Health, r.Took.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s: %v: %v", r.ID, r.Health, r.Err)
}
