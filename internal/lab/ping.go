package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	xicmp "golang.org/x/net/icmp"
	xipv4 "golang.org/x/net/ipv4"
)

// Pinger is a client that asks an IPv4 address for an echo again and again, and
// remembers what was answered. That costs much less than a program, whose start
// the other hosts of a guest would feel.
type Pinger struct {
	conn  net.PacketConn
	to    net.Addr
	every time.Duration
	stop  chan struct{}
	done  sync.WaitGroup

	mu       sync.Mutex
	sent     []time.Time
	answered []bool
}

// Ping begins to ask from the host, once in every. End ends it.
func (h *Host) Ping(to string, every time.Duration) *Pinger {
	h.net.t.Helper()
	conn, err := h.TryListenPacket("ip4:icmp", "0.0.0.0")
	h.net.check(wrap(err, h.name+": ping "+to))
	p := &Pinger{conn: conn, to: &net.IPAddr{IP: net.ParseIP(to)}, every: every, stop: make(chan struct{})}
	p.done.Go(p.ask)
	go p.listen()
	return p
}

// echoID marks our requests; the number in full is in their data.
const echoID = 0x5150

func (p *Pinger) ask() {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for seq := 0; ; seq++ {
		m := xicmp.Message{Type: xipv4.ICMPTypeEcho, Body: &xicmp.Echo{ID: echoID, Seq: seq & 0xffff, Data: binary.BigEndian.AppendUint32(nil, uint32(seq))}}
		data, err := m.Marshal(nil)
		if err != nil {
			panic(err) // of our own making
		}
		p.mu.Lock()
		p.sent, p.answered = append(p.sent, time.Now()), append(p.answered, false)
		p.mu.Unlock()
		_, _ = p.conn.WriteTo(data, p.to) // what cannot be sent is not answered
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

func (p *Pinger) listen() {
	buf := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := xicmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != xipv4.ICMPTypeEchoReply {
			continue
		}
		e, ok := m.Body.(*xicmp.Echo)
		if !ok || e.ID != echoID || len(e.Data) != 4 {
			continue
		}
		p.mu.Lock()
		if seq := int(binary.BigEndian.Uint32(e.Data)); seq < len(p.answered) {
			p.answered[seq] = true
		}
		p.mu.Unlock()
	}
}

// Alive tells whether one of the last twenty requests was answered, and with an
// error if none was.
func (p *Pinger) Alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.answered[max(0, len(p.answered)-20):], true) {
		return nil
	}
	return fmt.Errorf("nobody answers at %v", p.to)
}

// Lost is what a client felt.
type Lost struct {
	Packets int           // requests without an answer
	Gap     time.Duration // the longest time between two answered ones, with others in between
}

func (l Lost) String() string {
	return fmt.Sprintf("%d packets lost, longest gap %v", l.Packets, l.Gap.Round(time.Millisecond))
}

// lastLimit is how long the answer to the last request may be on its way: on a busy
// machine this program is late to see it.
const lastLimit = 5 * time.Second

// awaitLast waits until the last request is answered; those before it then are, too,
// if they ever will be.
func (p *Pinger) awaitLast() {
	for end := time.Now().Add(lastLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		p.mu.Lock()
		answered := p.answered[len(p.answered)-1]
		p.mu.Unlock()
		if answered {
			return
		}
	}
}

// End stops asking.
func (p *Pinger) End() Lost {
	close(p.stop)
	p.done.Wait()
	p.awaitLast()
	p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	var l Lost
	var last time.Time
	silent := false
	for i, ok := range p.answered {
		if !ok {
			l.Packets++
			silent = true
			continue
		}
		if silent && !last.IsZero() { // else it is we who were late
			l.Gap = max(l.Gap, p.sent[i].Sub(last))
		}
		last, silent = p.sent[i], false
	}
	return l
}
