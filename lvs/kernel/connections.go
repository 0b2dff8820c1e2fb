package kernel

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// connectionFile is the connection table, which netlink does not give.
const connectionFile = "/proc/thread-self/net/ip_vs_conn"

// maxConnectionLine is far beyond what the kernel writes: some 200 bytes, and
// at most 255 more of a persistence engine's data.
const maxConnectionLine = 4096

// Connections walks over the connection table, in the kernel's order, one line
// in memory at a time. A line that cannot be read yields an error and the walk
// goes on; an error of the file ends it.
func (c *Client) Connections() iter.Seq2[lvs.Connection, error] {
	return func(yield func(lvs.Connection, error) bool) {
		f, err := c.openConnections()
		if err != nil {
			yield(lvs.Connection{}, fmt.Errorf("read the connection table: %w", err))
			return
		}
		defer f.Close()
		for conn, err := range parseConnections(f) {
			if !yield(conn, err) {
				return
			}
		}
	}
}

// openConnections opens the file of our own namespace: it shows the namespace
// of the thread that opened it, whoever reads it.
func (c *Client) openConnections() (f *os.File, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return nil, err
	}
	ns, err := c.conn.Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the socket's network namespace: %w", err)
	}
	defer unix.Close(ns)
	err = inNamespace(ns, func() (err error) {
		f, err = os.Open(connectionFile)
		return err
	})
	return f, err
}

// parseConnections reads the text of ip_vs_conn.
func parseConnections(r io.Reader) iter.Seq2[lvs.Connection, error] {
	return func(yield func(lvs.Connection, error) bool) {
		br := bufio.NewReaderSize(r, maxConnectionLine)
		for n := 1; ; n++ {
			line, err := readLine(br)
			if err == io.EOF {
				return
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				yield(lvs.Connection{}, fmt.Errorf("line %d of the connection table: %w", n, err))
				return
			}
			if n == 1 {
				continue // the heading
			}
			var conn lvs.Connection
			if err == nil {
				conn, err = parseConnection(line)
			}
			if err != nil {
				err = fmt.Errorf("line %d of the connection table: %w", n, err)
			}
			if !yield(conn, err) {
				return
			}
		}
	}
}

// readLine returns a line without its end. Of one that is too long it keeps
// nothing and returns bufio.ErrBufferFull.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case err == io.EOF && len(line) > 0:
		return line, nil
	case err != bufio.ErrBufferFull:
		return nil, err
	}
	for err == bufio.ErrBufferFull {
		_, err = br.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return nil, fmt.Errorf("longer than %d bytes: %w", maxConnectionLine, bufio.ErrBufferFull)
}

// parseConnection reads a line: protocol, three addresses with their ports,
// state, seconds to live, and for a persistence engine its name and data. The
// data is the rest of the line, blanks and all.
func parseConnection(line []byte) (lvs.Connection, error) {
	var c lvs.Connection
	var field [9][]byte
	rest := line
	for i := range field {
		field[i], rest = nextField(rest)
	}
	if len(field[8]) == 0 {
		return c, fmt.Errorf("%q has too few fields", clip(line))
	}
	c.Protocol, c.State = internField(field[0]), internField(field[7])
	var errs [4]error
	c.Client, errs[0] = parseEndpoint(field[1], field[2])
	c.Virtual, errs[1] = parseEndpoint(field[3], field[4])
	c.Server, errs[2] = parseEndpoint(field[5], field[6])
	c.Expires, errs[3] = parseExpires(field[8])
	if err := errors.Join(errs[:]...); err != nil {
		return lvs.Connection{}, fmt.Errorf("%q: %w", clip(line), err)
	}
	pe, rest := nextField(rest)
	c.PE = internField(pe)
	c.Data = string(bytes.TrimSpace(rest))
	return c, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 200)] }

func nextField(b []byte) (field, rest []byte) {
	b = bytes.TrimLeft(b, " ")
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}

// internField spares an allocation for each of a million lines.
func internField(b []byte) string {
	switch string(b) {
	case "":
		return ""
	case "TCP":
		return "TCP"
	case "UDP":
		return "UDP"
	case "ESTABLISHED":
		return "ESTABLISHED"
	case "FIN_WAIT":
		return "FIN_WAIT"
	case "TIME_WAIT":
		return "TIME_WAIT"
	case "SYN_RECV":
		return "SYN_RECV"
	case "NONE":
		return "NONE"
	case "CLOSE":
		return "CLOSE"
	}
	return string(b)
}

// parseEndpoint reads an address, 8 hexadecimal digits or IPv6 text, and a port
// in hexadecimal.
func parseEndpoint(addr, port []byte) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q is no number", port)
	}
	if bytes.IndexByte(addr, ':') >= 0 {
		ip, err := netip.ParseAddr(string(bytes.Trim(addr, "[]")))
		if err != nil || ip.Zone() != "" {
			return netip.AddrPort{}, fmt.Errorf("address %q is no IPv6 address", addr)
		}
		return netip.AddrPortFrom(ip, uint16(p)), nil
	}
	var ip [4]byte
	if len(addr) != 8 {
		return netip.AddrPort{}, fmt.Errorf("address %q is no IPv4 address", addr)
	}
	if _, err := hex.Decode(ip[:], addr); err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is no IPv4 address", addr)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(p)), nil
}

// parseExpires reads seconds. The kernel subtracts unsigned numbers, so a timer
// that is just firing shows an enormous one: that is 0.
func parseExpires(b []byte) (time.Duration, error) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q are no seconds", b)
	}
	const most = uint64(1<<63-1) / uint64(time.Second)
	if n > most {
		return 0, nil
	}
	return time.Duration(n) * time.Second, nil
}
