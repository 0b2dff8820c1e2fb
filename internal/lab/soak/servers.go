package soak

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// webServer is what a real server serves: a page on port 80, and a talk on 7000 that
// lasts as long as the client wants. It can die and hang.
type webServer struct {
	name string
	host *lab.Host

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]bool
	hangs     bool
}

// rise makes it well.
func (s *webServer) rise() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = false
	s.drop()
	if len(s.listeners) > 0 {
		return nil
	}
	s.conns = map[net.Conn]bool{}
	for _, port := range []string{":80", ":7000"} {
		l, err := s.host.TryListen("tcp4", port)
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, l)
		go s.accept(l, port == ":7000")
	}
	return nil
}

// drop ends all connections. The lock is held.
func (s *webServer) drop() {
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

// die ends it, connections included.
func (s *webServer) die() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	s.listeners = nil
	s.drop()
	return errors.Join(errs...)
}

// hang has its page not come: connections are taken, and nothing is said. Talks go on.
func (s *webServer) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = true
}

func (s *webServer) accept(l net.Listener, talks bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		hangs := s.hangs && !talks
		s.mu.Unlock()
		if !hangs {
			go s.serve(c, talks)
		}
	}
}

func (s *webServer) serve(c net.Conn, talks bool) {
	defer func() {
		c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
	}()
	if talks {
		if _, err := io.WriteString(c, s.name+"\n"); err == nil {
			_, _ = io.Copy(c, c) // until the client has gone
		}
		return
	}
	in := bufio.NewReader(io.LimitReader(c, 64<<10))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"+s.name+"\n")
}
