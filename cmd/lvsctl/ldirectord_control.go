package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

// statusAnswer is what the control socket tells about a daemon.
type statusAnswer struct {
	Version int    `json:"version"`
	Daemon  string `json:"daemon"` // its kind: "ldirectord", "vrrp"
	Name    string `json:"name"`
	File    string `json:"file"`
	PID     int    `json:"pid"`
	// Refused is the file on disk, when it is not in force for its problems.
	Refused *refusedFile `json:"refused_file,omitempty"`
	// Instances and Sync are of a daemon that moves addresses.
	Instances []appliance.InstanceStatus `json:"instances,omitempty"`
	Sync      []appliance.SyncStatus     `json:"sync,omitempty"`
	ldirector.Snapshot
}

// drainRequest names servers; the timeout is of drain only, 0 is none.
type drainRequest struct {
	Server         string  `json:"server"`
	Virtual        string  `json:"virtual,omitempty"`
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
}

// handoverRequest names the process that is meant to end.
type handoverRequest struct {
	PID int `json:"pid"`
}

// doneAnswer is the answer of a request that changes something.
type doneAnswer struct {
	Version int `json:"version"`
}

// eventsAnswer is what happened after a number; Next is the number to ask with
// the next time. Lost counts those that are forgotten already.
type eventsAnswer struct {
	Version int           `json:"version"`
	Next    uint64        `json:"next"`
	Lost    uint64        `json:"lost"`
	Events  []eventAnswer `json:"events"`
}

type eventAnswer struct {
	Number uint64 `json:"number"`
	// Kind is ldirector's name for it, or "instance".
	Kind string `json:"kind"`
	ldirector.Event
	// Instance and State are what an event is about that is not about a service.
	Instance string `json:"instance,omitempty"`
	State    string `json:"state,omitempty"` // when it has just been entered
}

// routes are what the control socket answers.
func (d *ldDaemon) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", d.serveStatus)
	mux.HandleFunc("GET /v1/events", d.events.serve)
	mux.HandleFunc("POST /v1/drain", d.serveDrain)
	mux.HandleFunc("POST /v1/undrain", d.serveDrain)
	mux.HandleFunc("POST /v1/reload", d.serveReload)
	mux.HandleFunc("POST /v1/handover", d.serveHandover)
	return mux
}

func (d *ldDaemon) serveStatus(w http.ResponseWriter, r *http.Request) {
	s, err := d.director.Snapshot(r.Context())
	if err != nil {
		daemon.Answer(w, http.StatusServiceUnavailable, nil, err)
		return
	}
	daemon.Answer(w, http.StatusOK, statusAnswer{
		Version: 1, Daemon: "ldirectord", Name: d.c.name, File: d.path, PID: os.Getpid(), Refused: d.reloads.refused.Load(), Snapshot: s,
	}, nil)
}

func (d *ldDaemon) serveDrain(w http.ResponseWriter, r *http.Request) {
	answerDrain(w, r, d.director, d.state.Kept)
}

// answerDrain is drain and undrain, by the last word of the path. What is answered
// outlives the daemon.
func answerDrain(w http.ResponseWriter, r *http.Request, d *ldirector.Director, kept func(context.Context)) {
	var q drainRequest
	if err := daemon.Decode(r, &q); err != nil {
		daemon.Answer(w, http.StatusBadRequest, nil, err)
		return
	}
	timeout, err := q.timeout()
	if err != nil {
		daemon.Answer(w, http.StatusBadRequest, nil, err)
		return
	}
	s := ldirector.Selector{Server: q.Server, Virtual: q.Virtual}
	if r.URL.Path == "/v1/drain" {
		err = d.Drain(r.Context(), s, timeout)
	} else {
		err = d.Undrain(r.Context(), s)
	}
	kept(r.Context())
	status := http.StatusOK
	if err != nil {
		status = http.StatusNotFound
	}
	daemon.Answer(w, status, doneAnswer{1}, err)
}

// longestDrain is a year: more is a slip of the pen.
const longestDrain = 366 * 24 * time.Hour

func (q drainRequest) timeout() (time.Duration, error) {
	if q.TimeoutSeconds < 0 || q.TimeoutSeconds > longestDrain.Seconds() {
		return 0, fmt.Errorf("timeout_seconds %v: it is 0 to %v", q.TimeoutSeconds, longestDrain.Seconds())
	}
	return time.Duration(q.TimeoutSeconds * float64(time.Second)), nil
}

func (d *ldDaemon) serveReload(w http.ResponseWriter, r *http.Request) {
	a, err := d.reloads.ask(r.Context())
	daemon.Answer(w, map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[err == nil], a, err)
}

// serveHandover ends the daemon without removing what the file has: the next one
// takes it over.
func (d *ldDaemon) serveHandover(w http.ResponseWriter, r *http.Request) {
	var q handoverRequest
	err := daemon.Decode(r, &q)
	if err == nil && q.PID != os.Getpid() {
		err = fmt.Errorf("pid %d: this daemon is %d", q.PID, os.Getpid())
	}
	if err != nil {
		daemon.Answer(w, http.StatusBadRequest, nil, err)
		return
	}
	a, err := d.reloads.ask(r.Context())
	if err == nil && !a.Taken {
		err = errors.New("the file is not taken, so there is nothing to hand over")
	}
	if err == nil {
		err = d.reloads.leave(r.Context())
	}
	if err != nil {
		daemon.Answer(w, http.StatusConflict, nil, err)
		return
	}
	d.log.Print(daemon.Info, "The table is left to the next daemon")
	daemon.Answer(w, http.StatusOK, doneAnswer{1}, nil)
	d.handedOver.Store(true)
	d.end()
}

// serve answers with the events from a number on.
func (ring *eventRing) serve(w http.ResponseWriter, r *http.Request) {
	var since uint64
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseUint(text, 10, 64); err != nil {
			daemon.Answer(w, http.StatusBadRequest, nil, fmt.Errorf("since=%q: it is the number of an event", text))
			return
		}
	}
	daemon.Answer(w, http.StatusOK, ring.since(since), nil)
}

// eventRing remembers the last events, keptEvents at least.
type eventRing struct {
	mu   sync.Mutex
	last []eventAnswer // in the order of their numbers, from 1
	next uint64
}

const keptEvents = 1000

func newEventRing() *eventRing { return &eventRing{next: 1} }

func (r *eventRing) add(e ldirector.Event) {
	e.Virtual, e.Member = nil, nil // a reload frees them
	r.keep(eventAnswer{Kind: e.Kind.String(), Event: e})
}

// addInstance remembers what happened to a virtual router.
func (r *eventRing) addInstance(e appliance.Event) {
	a := eventAnswer{Kind: "instance", Event: ldirector.Event{When: e.When, Text: e.Text}, Instance: cmp.Or(e.Instance, e.Group)}
	if e.Transition != nil {
		a.State = e.Transition.To.String()
	}
	r.keep(a)
}

func (r *eventRing) keep(e eventAnswer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == 2*keptEvents {
		r.last = r.last[:copy(r.last, r.last[keptEvents:])]
	}
	e.Number = r.next
	r.last = append(r.last, e)
	r.next++
}

// since are the events from a number on.
func (r *eventRing) since(n uint64) eventsAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = max(n, 1)
	a := eventsAnswer{Version: 1, Next: r.next, Events: []eventAnswer{}}
	oldest := r.next - uint64(len(r.last))
	if n < oldest {
		a.Lost = oldest - n
	}
	for _, e := range r.last {
		if e.Number >= n {
			a.Events = append(a.Events, e)
		}
	}
	return a
}

// askStatus asks a daemon how everything is.
func askStatus(ctx context.Context, c *daemon.Client) (statusAnswer, error) {
	var st statusAnswer
	err := c.Call(ctx, http.MethodGet, "/v1/status", nil, &st)
	return st, err
}
