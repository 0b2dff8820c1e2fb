package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxFrames is where a capture stops to remember.
const maxFrames = 100_000

// Frame is one Ethernet frame as a card saw it.
type Frame struct {
	At       time.Time
	Out      bool // sent by this host
	Src, Dst net.HardwareAddr
	Line     string // as tcpdump -n would show it, more or less: see Decode
	Raw      []byte
}

// Capture records the frames of a card while the test runs.
type Capture struct {
	host   *Host
	nic    string
	socket *os.File

	mu     sync.Mutex
	frames []Frame
	err    error
}

// Capture starts to record; it has begun when Capture returns.
func (h *Host) Capture(nic string) *Capture {
	h.net.t.Helper()
	c := &Capture{host: h, nic: nic}
	var err error
	h.Do(func() { err = c.open() })
	h.net.check(wrap(err, h.name+": capture "+nic))
	h.closes(c)
	h.others.Go(c.record)
	return c
}

func (c *Capture) open() error {
	card, err := net.InterfaceByName(c.nic)
	if err != nil {
		return err
	}
	all := htons(unix.ETH_P_ALL)
	// Protocol 0 receives nothing until bind names card and protocol together.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	c.socket = os.NewFile(uintptr(fd), "capture of "+c.nic)
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: card.Index})
}

func htons(n uint16) uint16 { return n<<8 | n>>8 } // the lab's machines are little-endian

func (c *Capture) record() {
	conn, err := c.socket.SyscallConn()
	if err != nil {
		c.stop(err)
		return
	}
	buf := make([]byte, 1<<16)
	for {
		var n int
		var from unix.Sockaddr
		var recvErr error
		err := conn.Read(func(fd uintptr) bool {
			n, from, recvErr = unix.Recvfrom(int(fd), buf, 0)
			return recvErr != unix.EAGAIN
		})
		if err = errors.Join(err, recvErr); err != nil {
			c.stop(err)
			return
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok {
			c.add(buf[:n], link.Pkttype == unix.PACKET_OUTGOING)
		}
	}
}

func (c *Capture) add(frame []byte, out bool) {
	raw := append([]byte(nil), frame...)
	f := Frame{At: time.Now(), Out: out, Line: Decode(raw), Raw: raw}
	if len(raw) >= 12 {
		f.Dst, f.Src = raw[:6:6], raw[6:12:12]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) < maxFrames {
		c.frames = append(c.frames, f)
	}
}

func (c *Capture) stop(err error) {
	if errors.Is(err, os.ErrClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Close ends the capture; what it has recorded stays.
func (c *Capture) Close() error { return c.socket.Close() }

// Frames are those recorded so far.
func (c *Capture) Frames() []Frame {
	c.host.net.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		c.host.net.t.Fatalf("%s: capture %s: %v", c.host, c.nic, c.err)
	}
	return append([]Frame(nil), c.frames...)
}

// Since are those recorded since a moment, also when the test has failed.
func (c *Capture) Since(from time.Time) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames[c.first(from):])
}

// Forget forgets those of before a moment: a test that goes on for long needs it.
func (c *Capture) Forget(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = slices.Clone(c.frames[c.first(before):])
}

// first is the index of the first frame since a moment. The lock is held.
func (c *Capture) first(from time.Time) int {
	n, _ := slices.BinarySearchFunc(c.frames, from, func(f Frame, t time.Time) int { return f.At.Compare(t) })
	return n
}

// Lines are the frames recorded so far that contain text, decoded.
func (c *Capture) Lines(text string) []string {
	c.host.net.t.Helper()
	var lines []string
	for _, f := range c.Frames() {
		if strings.Contains(f.Line, text) {
			lines = append(lines, f.Line)
		}
	}
	return lines
}

// Await waits for a frame whose line contains text, and returns the first one.
func (c *Capture) Await(text string, limit time.Duration) Frame {
	c.host.net.t.Helper()
	var found Frame
	Eventually(c.host.net.t, limit, func() error {
		frames := c.Frames()
		for _, f := range frames {
			if strings.Contains(f.Line, text) {
				found = f
				return nil
			}
		}
		return fmt.Errorf("%s: no %q among %d frames on %s:\n%s", c.host, text, len(frames), c.nic, strings.Join(c.Lines(""), "\n"))
	})
	return found
}
