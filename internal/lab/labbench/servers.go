package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// realServer is a small web server that notes when it is asked, and can be unwell.
type realServer struct {
	addr   netip.AddrPort
	listen func(network, addr string) (net.Listener, error)

	mu       sync.Mutex
	listener net.Listener // nil while it refuses
	hangs    bool
	held     []net.Conn // while it hangs
	asked    int
	last     time.Time
	longest  time.Duration // between two questions
	shortest time.Duration
}

// farm is many real servers.
type farm []*realServer

// newFarm starts n servers at 127.64.0.1, 127.64.0.2 and so on, or from another
// first address.
func newFarm(first string, n int, listen func(network, addr string) (net.Listener, error)) (farm, error) {
	at, err := netip.ParseAddrPort(first)
	if err != nil {
		return nil, err
	}
	f := make(farm, n)
	ip := at.Addr()
	for i := range f {
		f[i] = &realServer{addr: netip.AddrPortFrom(ip, at.Port()), listen: listen}
		if err := f[i].rise(); err != nil {
			return nil, errors.Join(err, f.close())
		}
		ip = ip.Next()
	}
	return f, nil
}

func (f farm) close() error {
	var errs []error
	for _, s := range f {
		if s != nil {
			errs = append(errs, s.refuse())
		}
	}
	return errors.Join(errs...)
}

// rise makes a server well again.
func (s *realServer) rise() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = false
	for _, c := range s.held {
		c.Close()
	}
	s.held = nil
	if s.listener != nil {
		return nil
	}
	l, err := s.listen("tcp", s.addr.String())
	if err != nil {
		return err
	}
	s.listener = l
	go s.accept(l)
	return nil
}

// refuse makes a server refuse connections.
func (s *realServer) refuse() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	err := s.listener.Close()
	s.listener = nil
	return err
}

// hang makes a server take connections and say nothing.
func (s *realServer) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = true
}

func (s *realServer) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if !s.holds(c) {
			go answer(c)
		}
	}
}

// holds notes the question, and keeps the connection if the server hangs.
func (s *realServer) holds(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.asked++; s.asked > 1 {
		gap := now.Sub(s.last)
		s.longest = max(s.longest, gap)
		if s.shortest == 0 || gap < s.shortest {
			s.shortest = gap
		}
	}
	s.last = now
	if s.hangs {
		s.held = append(s.held, c)
	}
	return s.hangs
}

const page = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n"

// answer serves one page. A client that stops in the middle is none of ours.
func answer(c net.Conn) {
	defer c.Close()
	var question []byte
	for buf := make([]byte, 1024); !bytes.Contains(question, []byte("\r\n\r\n")); {
		n, err := c.Read(buf)
		if err != nil || len(question) > 64<<10 {
			return
		}
		question = append(question, buf[:n]...)
	}
	_, _ = io.WriteString(c, page)
}

// forget begins to count anew.
func (f farm) forget() {
	for _, s := range f {
		s.mu.Lock()
		s.asked, s.longest, s.shortest = 0, 0, 0
		s.mu.Unlock()
	}
}

// rhythm is how a farm was asked since forget.
type rhythm struct {
	asked             int // in all
	least             int // by the one asked least
	longest, shortest time.Duration
}

func (f farm) rhythm() rhythm {
	r := rhythm{least: 1 << 30, shortest: time.Hour}
	for _, s := range f {
		s.mu.Lock()
		r.asked += s.asked
		r.least = min(r.least, s.asked)
		r.longest = max(r.longest, s.longest)
		if s.shortest > 0 {
			r.shortest = min(r.shortest, s.shortest)
		}
		s.mu.Unlock()
	}
	return r
}

// ldirectordConfig watches the farm, five servers a service, once a second.
func (f farm) ldirectordConfig() string {
	var w bytes.Buffer
	w.WriteString("checktimeout=3\nnegotiatetimeout=3\ncheckinterval=1\nautoreload=no\nquiescent=yes\nfork=no\nsupervised=yes\n")
	for i, s := range f {
		if i%perService == 0 {
			fmt.Fprintf(&w, "virtual=%s:80\n\tscheduler=rr\n\tprotocol=tcp\n\tservice=http\n\tchecktype=negotiate\n"+
				"\trequest=\"index.html\"\n\treceive=\"OK\"\n", vip(i/perService))
		}
		fmt.Fprintf(&w, "\treal=%v masq 1\n", s.addr)
	}
	return w.String()
}

// keepalivedConfig is the same for keepalived.
func (f farm) keepalivedConfig() string {
	var w bytes.Buffer
	w.WriteString("global_defs {\n router_id bench\n checker_log_all_failures false\n}\n")
	for i, s := range f {
		if i%perService == 0 {
			fmt.Fprintf(&w, "virtual_server %s 80 {\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n alpha\n", vip(i/perService))
		}
		fmt.Fprintf(&w, " real_server %v %d {\n  weight 1\n  inhibit_on_failure\n  HTTP_GET {\n   url {\n    path /index.html\n    status_code 200\n   }\n"+
			"   connect_timeout 3\n   retry 0\n   delay_before_retry 1\n   warmup 0\n  }\n }\n", s.addr.Addr(), s.addr.Port())
		if i%perService == perService-1 || i == len(f)-1 {
			w.WriteString("}\n")
		}
	}
	return w.String()
}

const perService = 5

func vip(n int) string { return fmt.Sprintf("172.16.%d.%d", n>>8, n&255) }
