package main

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// ear hears the adverts on a host's network.
type ear struct {
	mu     sync.Mutex
	heard  map[netip.Addr]time.Time // when each router was heard first
	rhythm [256]beat                // by virtual router
	woken  chan struct{}
}

// beat is how often a virtual router was heard.
type beat struct {
	count   int
	last    time.Time
	longest time.Duration // between two adverts
}

// listen begins to listen on eth0.
func listen(h *lab.Host) (*ear, error) {
	conn, err := h.TryListenPacket("ip4:112", "0.0.0.0")
	if err != nil {
		return nil, err
	}
	h.Do(func() {
		var card *net.Interface
		if card, err = net.InterfaceByName("eth0"); err == nil {
			err = ipv4.NewPacketConn(conn).JoinGroup(card, &net.IPAddr{IP: net.IPv4(224, 0, 0, 18)})
		}
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	e := &ear{woken: make(chan struct{}, 1)}
	e.forget()
	go e.listen(conn) // it ends with the process
	return e, nil
}

func (e *ear) listen(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if n < 8 || buf[2] == 0 { // priority 0 is a goodbye
			continue
		}
		now := time.Now()
		src, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP.To4())
		e.mu.Lock()
		if e.heard[src].IsZero() {
			e.heard[src] = now
		}
		e.rhythm[buf[1]].hear(now)
		e.mu.Unlock()
		select {
		case e.woken <- struct{}{}:
		default:
		}
	}
}

func (b *beat) hear(now time.Time) {
	b.count++
	if !b.last.IsZero() {
		b.longest = max(b.longest, now.Sub(b.last))
	}
	b.last = now
}

// forget begins anew.
func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard, e.rhythm = map[netip.Addr]time.Time{}, [256]beat{}
}

// await waits for an advert of a router since the last forget.
func (e *ear) await(from netip.Addr, limit time.Duration) bool {
	late := time.After(limit)
	for e.first(from).IsZero() {
		select {
		case <-e.woken:
		case <-late:
			return false
		}
	}
	return true
}

// first is when a router was heard first since the last forget.
func (e *ear) first(from netip.Addr) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard[from]
}

// beats are those of the first n virtual routers.
func (e *ear) beats(n int) []beat {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]beat(nil), e.rhythm[1:n+1]...)
}
