package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

const (
	requestEvery = 40 * time.Millisecond
	// requestLimit is how long a request may take: less than the second after which
	// TCP repeats its first packet, so that a loss is seen as one.
	requestLimit = 700 * time.Millisecond
	talkEvery    = 100 * time.Millisecond
	// talkLimit is what TCP needs to repeat what was lost in a fail-over.
	talkLimit = 15 * time.Second
	talkers   = 3
)

// dial opens a connection from the port that has not been used for longest, half an
// hour and more. It is called on the client's thread.
//
// A client that comes again from a port that it has used within two minutes is sent
// where it was sent then, be that server dead or not: IPVS knows the connection for so
// long, and one that it has heard of from the other director belongs to no server of
// its table. Many clients rarely do; ours is one, and is to be as many.
func (r *run) dial(ctx context.Context, to string) (net.Conn, error) {
	const first, ports = 1024, 1<<16 - 1024
	for {
		port := first + int(r.dialled.Add(1)%ports)
		d := net.Dialer{FallbackDelay: -1, LocalAddr: &net.TCPAddr{Port: port}} // all on this thread
		c, err := d.DialContext(ctx, "tcp4", to)
		if !errors.Is(err, syscall.EADDRINUSE) { // by a connection that lasts
			return c, err
		}
	}
}

// request asks for the page, with a connection of its own. It is called on the
// client's thread.
func (r *run) request(limit time.Duration) (server string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := r.dial(ctx, web)
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(c, 4<<10))
	if err != nil {
		return "", err
	}
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	if body = strings.TrimSpace(body); body == "" {
		return "", errors.New("an empty answer")
	}
	return body, nil
}

// ask is the client: one request after the other, until the end.
func (r *run) ask() {
	r.c.client.Do(func() {
		tick := time.NewTicker(requestEvery)
		defer tick.Stop()
		for {
			select {
			case <-r.done:
				return
			case <-tick.C:
			}
			began := time.Now()
			server, err := r.request(time.Duration(float64(requestLimit) * r.slow))
			r.answered(began, server, err)
		}
	})
}

// answered notes what came of a request. One that failed must be of some event's
// doing.
func (r *run) answered(began time.Time, server string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if err == nil {
		r.byServer[server]++
		r.lastAnswer = began
		return
	}
	if !r.serving {
		return
	}
	r.lost++
	e, left := r.excuse(began)
	if (e == nil || left < 0) && r.overloaded(began) {
		r.excused++
		return
	}
	if e == nil {
		r.violateLocked("a request was lost for no reason: %v", err)
		return
	}
	gap := began.Sub(e.at)
	if gap > e.gap {
		e.gap = gap
	}
	if left < 0 {
		r.violateLocked("a request was lost %v after %q: %v; %s: %v at most", gap.Round(time.Millisecond), e.Event, err, r.rule(e.Kind).why,
			r.bound(r.rule(e.Kind).timers, e.at, began).Round(time.Millisecond))
	}
}

// excuse finds the event that may have cost a request that began then: of those
// whose time is not over the one that leaves most, else the last one of all that
// may cost anything. left is what remains of its time.
func (r *run) excuse(began time.Time) (best *happened, left time.Duration) {
	for i := len(r.events) - 1; i >= 0; i-- {
		e := r.events[i]
		if began.Sub(e.done) > time.Minute && best != nil {
			break
		}
		rule := r.rule(e.Kind)
		if rule.timers == free || e.harmless || e.at.After(began.Add(time.Duration(float64(requestLimit)*r.slow))) {
			continue
		}
		rest := r.bound(rule.timers, e.at, began) - began.Sub(e.done)
		if best == nil || rest > left && left < 0 {
			best, left = e, rest
		}
	}
	return best, left
}

// overloaded tells whether the machine has stood still so much around a request that
// it may have been lost by that alone: the request itself came too late, or checks
// and adverts before it did.
func (r *run) overloaded(began time.Time) bool {
	return r.stalled(began.Add(-watchEvery), began.Add(requestLimit)) > requestLimit/4 ||
		r.stalled(began.Add(-r.silence()), began) > r.timeout/2
}

// talker is a connection that lasts.
func (r *run) talker(n int) {
	r.c.client.Do(func() {
		for r.going() {
			if err := r.converse(n); err != nil && r.going() {
				r.pause(200 * time.Millisecond)
			}
		}
	})
}

func (r *run) converse(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	c, err := r.dial(ctx, talk)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	if err := c.SetDeadline(time.Now().Add(talkLimit)); err != nil {
		return err
	}
	server, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	server = strings.TrimSpace(server)
	began := time.Now()
	for i := 0; r.going(); i++ {
		said := fmt.Sprintf("%d\n", i)
		sent := time.Now()
		if err := c.SetDeadline(sent.Add(time.Duration(float64(talkLimit) * r.slow))); err != nil {
			return err
		}
		if _, err = io.WriteString(c, said); err == nil {
			var heard string
			if heard, err = in.ReadString('\n'); err == nil && heard != said {
				err = fmt.Errorf("it heard %q in answer to %q", heard, said)
			}
		}
		if err != nil {
			r.broke(server, began, sent, err)
			return err
		}
		r.mu.Lock()
		r.talkGap = max(r.talkGap, time.Since(sent))
		r.mu.Unlock()
		r.pause(talkEvery)
	}
	return nil
}

// breaksFor is how long after an event connections may still break: those that said
// nothing meanwhile notice late.
const breaksFor = 10 * time.Second

// broke notes the end of a talk. Some events may end some.
func (r *run) broke(server string, began, sent time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.serving {
		return
	}
	r.broken++
	for _, e := range r.events {
		rule := r.rule(e.Kind)
		if !rule.breaks || e.harmless || strings.HasPrefix(e.Host, "web") && e.Host != server {
			continue
		}
		if sent.After(e.at.Add(-breaksFor)) && sent.Before(e.done.Add(r.bound(rule.timers+breaksFor, e.at, sent))) {
			e.broke++
			return
		}
	}
	r.violateLocked("a connection to %s that stood for %v broke for no reason: %v", server, sent.Sub(began).Round(time.Millisecond), err)
}
