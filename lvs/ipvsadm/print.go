package ipvsadm

import (
	"io"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lvsctl/lvsctl/lvs"
)

const (
	flushAt     = 32 << 10
	maxEndpoint = 59 // bytes of host:port that ipvsadm has room for
)

// printer collects text and writes it in large pieces. After the first write
// that fails it writes no more; err keeps the reason.
type printer struct {
	w   io.Writer
	buf []byte
	err error

	names Names // nil: numbers only
}

// reserve makes room for a piece at once. To get there by doubling would touch
// twice the memory.
func (p *printer) reserve() { p.buf = slices.Grow(p.buf, flushAt+1<<10) }

// row ends a line, and writes what has come together when it is much.
func (p *printer) row() {
	p.buf = append(p.buf, '\n')
	if len(p.buf) >= flushAt {
		p.flush()
	}
}

func (p *printer) flush() {
	if p.err == nil && len(p.buf) > 0 {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

func (p *printer) str(s string) { p.buf = append(p.buf, s...) }

// left puts s at the left of a column; a longer s makes the column wider.
func (p *printer) left(s string, width int) {
	p.pad(width, p.put(s))
}

// put appends s and returns where it began, for [printer.pad].
func (p *printer) put(s string) (start int) {
	start = len(p.buf)
	p.buf = append(p.buf, s...)
	return start
}

// pad fills with blanks what was appended since start.
func (p *printer) pad(width, start int) {
	for n := len(p.buf) - start; n < width; n++ {
		p.buf = append(p.buf, ' ')
	}
}

// count puts a number at the left of a column.
func (p *printer) count(n uint32, width int) {
	start := len(p.buf)
	p.buf = strconv.AppendUint(p.buf, uint64(n), 10)
	p.pad(width, start)
}

func (p *printer) number(n uint64) { p.buf = strconv.AppendUint(p.buf, n, 10) }

// right puts a number at the right of a column, with a unit behind it or 0.
func (p *printer) right(n uint64, width int, unit byte) {
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], n, 10)
	for i := len(d); i < width; i++ {
		p.buf = append(p.buf, ' ')
	}
	p.buf = append(p.buf, d...)
	if unit != 0 {
		p.buf = append(p.buf, unit)
	}
}

// large prints a counter, shortened to decimal thousands unless it is to be
// exact.
func (p *printer) large(n uint64, exact bool) {
	switch {
	case n < 1e8:
		p.right(n, 9, 0)
	case exact:
		p.buf = append(p.buf, ' ')
		p.number(n)
	case n < 1e9:
		p.right(n/1e3, 8, 'K')
	case n < 1e11:
		p.right(n/1e6, 8, 'M')
	case n < 1e14:
		p.right(n/1e9, 8, 'G')
	default:
		p.right(n/1e12, 8, 'T')
	}
}

// endpoint prints host:port, as numbers or names.
func (p *printer) endpoint(a netip.AddrPort, proto lvs.Protocol) {
	start := len(p.buf)
	if v6 := a.Addr().Is6(); v6 {
		p.buf = append(p.buf, '[')
		p.host(a.Addr())
		p.buf = append(p.buf, ']')
	} else {
		p.host(a.Addr())
	}
	p.buf = append(p.buf, ':')
	p.port(a.Port(), proto)
	p.cut(start, maxEndpoint)
}

func (p *printer) host(a netip.Addr) {
	if p.names != nil {
		if name, ok := p.names.HostName(a); ok {
			p.str(name)
			return
		}
	}
	p.buf = appendAddr(p.buf, a)
}

// port prints a port by name where it has one; a mark has no protocol, so its
// servers' ports have no names.
func (p *printer) port(port uint16, proto lvs.Protocol) {
	if p.names != nil && port != 0 {
		if name, ok := p.names.PortName(port, proto); ok {
			p.str(name)
			return
		}
	}
	p.number(uint64(port))
}

// cut shortens what was appended since start.
func (p *printer) cut(start, most int) {
	if len(p.buf)-start > most {
		p.buf = p.buf[:start+most]
	}
}

// mask prints the netmask of a service: dotted, or a prefix length.
func (p *printer) mask(s *lvs.Service) {
	if s.Family == lvs.IPv6 {
		p.number(uint64(s.Netmask))
		return
	}
	p.buf = ipv4Addr(s.Netmask).AppendTo(p.buf)
}

// listFlags are the names of scheduler flags in listings. For sh and mh, flag 3
// has none there.
func (p *printer) listFlags(s *lvs.Service, all bool) {
	names := [3]string{"flag-1", "flag-2", "flag-3"}
	switch s.Scheduler {
	case "sh":
		names = [3]string{"sh-fallback", "sh-port", ""}
	case "mh":
		names = [3]string{"mh-fallback", "mh-port", ""}
	}
	if all && names[2] == "" {
		names[2] = "flag-3"
	}
	comma := false
	for i, bit := range [3]lvs.Flags{lvs.Sched1, lvs.Sched2, lvs.Sched3} {
		if s.Flags&bit == 0 || names[i] == "" {
			continue
		}
		if comma {
			p.buf = append(p.buf, ',')
		}
		p.str(names[i])
		comma = true
	}
}
