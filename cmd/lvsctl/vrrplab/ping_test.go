package vrrplab

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// spacing is the time between two requests of a client.
const spacing = 5 * time.Millisecond

// pinger is a client that asks the address for an echo again and again.
type pinger struct {
	conn net.PacketConn
	to   net.Addr
	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	sent     []time.Time
	answered []bool
}

// ping begins to ask from a host.
func ping(t *testing.T, from *lab.Host, to string) *pinger {
	t.Helper()
	conn, err := from.TryListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pinger{conn: conn, to: &net.IPAddr{IP: net.ParseIP(to)}, stop: make(chan struct{})}
	p.done.Go(p.ask)
	go p.listen()
	return p
}

const echoID = 0x5150

func (p *pinger) ask() {
	tick := time.NewTicker(spacing)
	defer tick.Stop()
	for seq := 0; ; seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: echoID, Seq: seq & 0xffff, Data: binary.BigEndian.AppendUint32(nil, uint32(seq))}}
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

func (p *pinger) listen() {
	buf := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		e, ok := m.Body.(*icmp.Echo)
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

// end stops asking, and tells how many requests were not answered and the longest
// time between two that were.
func (p *pinger) end() (lost int, gap time.Duration) {
	close(p.stop)
	p.done.Wait()
	time.Sleep(100 * time.Millisecond) // the last answers may be on their way
	p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	var last time.Time
	for i, ok := range p.answered {
		if !ok {
			lost++
			continue
		}
		if !last.IsZero() {
			gap = max(gap, p.sent[i].Sub(last))
		}
		last = p.sent[i]
	}
	return lost, gap
}

// alive tells whether something was answered lately.
func (p *pinger) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.answered[max(0, len(p.answered)-20):], true)
}
