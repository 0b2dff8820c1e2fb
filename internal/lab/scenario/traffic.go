package scenario

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// traffic is a client that requests a page again and again.
type traffic struct {
	mu      sync.Mutex
	asked   int
	lost    int
	last    time.Time     // the end of the last request that was answered
	longest time.Duration // between two answers
	stop    chan struct{}
	ended   chan struct{}
}

func traffic_(s *stage, args []string) {
	s.usage(args, 3, "traffic HOST URL EVERY")
	h := s.host(args[0])
	every, err := time.ParseDuration(args[2])
	if err != nil || every <= 0 {
		s.Fatalf("traffic: %q is not a time", args[2])
	}
	if s.traffic != nil {
		s.Fatalf("traffic: there is some already")
	}
	t := &traffic{last: time.Now(), stop: make(chan struct{}), ended: make(chan struct{})}
	s.traffic = t
	s.Cleanup(func() { close(t.stop); <-t.ended })
	go t.run(h, args[1], every)
	s.voice.fact(fmt.Sprintf("%-8s requests %s every %v from now on", h.Name(), args[1], every))
}

// run asks one after the other: a request that hangs is part of the gap.
func (t *traffic) run(h *lab.Host, url string, every time.Duration) {
	defer close(t.ended)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-tick.C:
		}
		_, err := h.TryGet(url)
		t.note(time.Now(), err)
	}
}

func (t *traffic) note(now time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if err != nil {
		t.lost++
		return
	}
	t.longest = max(t.longest, now.Sub(t.last))
	t.last = now
}

// gapPatience is how long the traffic may take to flow again.
const gapPatience = 60 * time.Second

// gap waits until a request is answered, and tells what went before.
func gap(s *stage, args []string) {
	s.usage(args, 1, "gap TEXT...")
	if s.traffic == nil {
		s.Fatalf("gap: there is no traffic")
	}
	t, from := s.traffic, time.Now()
	lab.Eventually(s, gapPatience, func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.last.Before(from) {
			return fmt.Errorf("no request was answered since %v; %d of %d were lost", t.last.Format(time.TimeOnly), t.lost, t.asked)
		}
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	s.result(fmt.Sprintf("requests are answered: %d asked, %d lost, at most %v between two answers\n",
		t.asked, t.lost, t.longest.Round(time.Millisecond)))
	t.asked, t.lost, t.longest = 0, 0, 0
	s.voice.say(strings.Join(args, " "))
}
