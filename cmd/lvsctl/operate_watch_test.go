package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

// ringServer answers for a daemon's events at a socket until it is stopped.
func ringServer(t *testing.T, path string, ring *eventRing) (stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/events", ring.serve)
	ctx, cancel := context.WithCancel(t.Context())
	c := daemon.NewControl(path, mux)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-c.Ready():
	case err := <-ended:
		t.Fatalf("control socket: %v", err)
	}
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("control socket: %v", err)
		}
	})
}

// lines is a writer that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the text has a part.
func (l *lines) await(t *testing.T, part string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(l.String(), part) {
			return
		}
	}
	t.Fatalf("no %q in:\n%s", part, l)
}

// Watch begins with the last events, tells each further one once, and goes on with
// the daemon that comes after.
func TestWatchFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.sock")
	ring := newEventRing()
	for i := range 5 {
		ring.add(ldirector.Event{Kind: ldirector.Loaded, Text: fmt.Sprintf("event %d", i+1)})
	}
	stop := ringServer(t, path, ring)
	defer stop()
	var out, notes lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &watcher{client: daemon.NewClient(path), out: &out, notes: &notes}
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx, 2) }()
	out.await(t, "event 5\n")
	ring.add(ldirector.Event{Kind: ldirector.WentDown, Text: "event 6"})
	out.await(t, "event 6\n")

	stop()
	notes.await(t, "lvsctl: the daemon does not answer any more; waiting for the next one\n")
	next := newEventRing()
	next.add(ldirector.Event{Kind: ldirector.Loaded, Text: "event A"})
	defer ringServer(t, path, next)()
	out.await(t, "event A\n")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var told []string
	for line := range strings.Lines(out.String()) {
		told = append(told, strings.Fields(line)[3])
	}
	if got := strings.Join(told, " "); got != "4 5 6 A" {
		t.Errorf("it told of events %s", got)
	}
	if n := strings.Count(notes.String(), "\n"); n != 1 {
		t.Errorf("notes:\n%s", notes.String())
	}
}

// In JSON each line is an event that can be read alone.
func TestWatchJSON(t *testing.T) {
	var out bytes.Buffer
	w := &watcher{out: &out, json: true}
	e := ldirector.Event{Kind: ldirector.WentDown, When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Text: "Quiescent <x>", Phase: ldirector.Running, Service: "TCP 10.0.0.1:80", Server: "10.0.0.2:80"}
	if err := w.print([]eventAnswer{{Number: 7, Kind: e.Kind.String(), Event: e}}); err != nil {
		t.Fatal(err)
	}
	want := `{"number":7,"kind":"down","when":"2026-01-02T03:04:05Z","text":"Quiescent \u003cx\u003e","phase":"running","service":"TCP 10.0.0.1:80","server":"10.0.0.2:80"}` + "\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}
