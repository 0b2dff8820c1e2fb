package checkerlab

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// dns answers every question with a code, of which 0 is well, until it is closed.
func dns(c net.PacketConn, code *atomic.Int32) {
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if n < 12 || code.Load() < 0 {
			continue
		}
		b[2], b[3] = 0x84, byte(code.Load()) // an answer, by one who knows
		c.WriteTo(b[:n], from)
	}
}

// echo answers every datagram with a text and what came, unless the text is empty.
func echo(c net.PacketConn, text *atomic.Value) {
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if t := text.Load().(string); t != "" {
			c.WriteTo(append([]byte(t), b[:n]...), from)
		}
	}
}

// smtp greets with a code, and takes only the HELO of probe.example.com.
func smtp(l net.Listener, greeting *atomic.Int32) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(c, "%d mail.example.com\r\n", greeting.Load())
			for s := bufio.NewScanner(c); s.Scan(); {
				switch line := s.Text(); {
				case line == "HELO probe.example.com":
					fmt.Fprint(c, "250 hello\r\n")
				case strings.HasPrefix(line, "QUIT"):
					fmt.Fprint(c, "221 bye\r\n")
					return
				default:
					fmt.Fprint(c, "550 who?\r\n")
				}
			}
		}()
	}
}

func (d *duel) packets(addr string) net.PacketConn {
	c, err := d.farm.TryListenPacket("udp", addr)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { c.Close() })
	return c
}

func (d *duel) listen(addr string) net.Listener {
	l, err := d.farm.TryListen("tcp", addr)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { l.Close() })
	return l
}

// exit has the scripts of a name exit with a status.
func (d *duel) exit(name string, status int) { d.write("/run/"+name, fmt.Sprintln(status)) }

// misc is a check by a script that exits as it is told.
func misc(name string, more ...string) string {
	return fmt.Sprintf("MISC_CHECK { misc_path \"%s %s\"\nmisc_timeout 60\n%s }", exits, name, strings.Join(more, "\n"))
}

// The checks that are no web servers' business.
func TestChecks(t *testing.T) {
	lab.Long(t)
	d := newDuel(t)
	d.farm.SetSysctl("net.ipv4.icmp_ratelimit", "0") // each datagram to a closed port is answered
	var code, greeting atomic.Int32
	var reply atomic.Value
	greeting.Store(220)
	reply.Store("ok")
	nameServer := d.packets("10.2.0.11:53")
	go dns(nameServer, &code)
	go echo(d.packets("10.2.0.11:7"), &reply)
	go smtp(d.listen("10.2.0.11:25"), &greeting)
	d.open("10.2.0.11:80")
	for _, name := range []string{"plain", "dyn", "one", "two", "both"} {
		d.exit(name, 0)
	}
	checks := []string{
		"DNS_CHECK { connect_port 53\nname example.com\ntype A\nretry 1 }",
		"DNS_CHECK { connect_port 53\nretry 1 }",
		"UDP_CHECK { connect_port 7\npayload 6869\nrequire_reply 6F6B6869\nconnect_timeout 1 }",
		"UDP_CHECK { connect_port 9\nconnect_timeout 6 }", // longer than ARP takes to give up,
		"SMTP_CHECK { connect_port 25\nhelo_name probe.example.com }",
		"PING_CHECK { connect_timeout 1 }",
		misc("plain"),
		"weight 5\n" + misc("dyn", "misc_dynamic"),
		"weight 5\n" + misc("one", "misc_dynamic") + "\n" + misc("two", "misc_dynamic"),
		misc("both") + "\nTCP_CHECK { connect_port 80 }",
	}
	text := ""
	for i, c := range checks {
		text += webService(1000+i, "delay_loop 3\nretry 1\ndelay_before_retry 0.2\nwarmup 0\nconnect_timeout 2", c)
	}
	d.start(text)
	state := []string{"1000: 11=1", "1001: 11=1", "1002: 11=1", "1003:", "1004: 11=1", "1005: 11=1", "1006: 11=1", "1007: 11=5", "1008: 11=5", "1009: 11=1"}
	d.serves("start", state...)

	reply.Store("no")
	greeting.Store(421)
	d.exit("plain", 1)
	d.exit("dyn", 12)
	d.exit("one", 9)
	d.exit("both", 3)
	code.Store(2)
	now := func(i int, s string) { state[i] = strings.TrimSuffix(fmt.Sprintf("%d: %s", 1000+i, s), " ") }
	now(0, "")
	now(1, "")
	now(2, "")
	now(4, "")
	now(6, "")
	now(7, "11=10")
	now(8, "11=7")
	now(9, "")
	d.serves("bad answers", state...)

	reply.Store("")
	greeting.Store(220)
	d.exit("plain", 0)
	d.exit("dyn", 2)
	d.exit("two", 12)
	d.exit("both", 0)
	code.Store(3)
	d.close("10.2.0.11:80")
	now(4, "11=1")
	now(6, "11=1")
	now(7, "11=0")
	now(8, "11=12")
	d.serves("others", state...)

	code.Store(0)
	reply.Store("ok")
	d.exit("dyn", 1)
	d.exit("one", 1)
	d.open("10.2.0.11:80")
	now(0, "11=1")
	now(1, "11=1")
	now(2, "11=1")
	now(7, "")
	now(8, "")
	now(9, "11=1")
	d.serves("well again, but for programs", state...)

	d.exit("dyn", 255)
	d.exit("one", 0)
	d.exit("two", 0)
	now(7, "11=253")
	now(8, "11=5")
	d.serves("and programs", state...)
	nameServer.Close()
	d.farm.Run("ip", "addr", "del", "10.2.0.11/24", "dev", "eth0")
	for i := range state {
		now(i, "")
	}
	now(6, "11=1")
	now(7, "11=253")
	now(8, "11=5")
	d.serves("a dead machine", state...)
}
