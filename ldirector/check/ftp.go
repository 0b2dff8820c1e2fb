package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// FTP logs in and fetches a file.
//
// The data connection is an active one first, opened by the server to us: that
// is what the peer's checks in fact do, so the servers that pass them allow it.
// Where it fails, a passive one is tried, to the server's own address whatever
// it announces: behind LVS that is often the virtual one, which would lead us to
// some other server.
type FTP struct {
	Addr            netip.AddrPort
	Login, Password string
	// File is fetched with its leading "/". "" or "/" with no Receive: the login
	// is all that is looked at.
	File string
	// Receive is a Perl expression to be found in the file. "" = it only has to
	// be there.
	Receive string
}

// Check implements [Probe].
func (p FTP) Check(ctx context.Context, n Net) error {
	ready, err := p.Prepare()
	if err != nil {
		return err
	}
	return ready.Check(ctx, n)
}

// Prepare implements [Preparer].
func (p FTP) Prepare() (Probe, error) {
	receive, err := ParsePattern(p.Receive)
	if err != nil {
		return nil, local(fmt.Errorf("receive: %w", err))
	}
	if err := plain("login, passwd or request", p.Login+p.Password+p.File); err != nil {
		return nil, err
	}
	return ftpProbe{p, receive}, nil
}

type ftpProbe struct {
	FTP
	receive *Pattern
}

// Check implements [Probe].
func (p ftpProbe) Check(ctx context.Context, n Net) error {
	l, err := talk(ctx, n, p.Addr, nil)
	if err != nil {
		return err
	}
	defer l.close()
	if err := p.login(l); err != nil {
		return err
	}
	if p.receive != nil || p.File != "" && p.File != "/" {
		data, cut, err := p.fetch(ctx, n, l)
		if err != nil {
			return err
		}
		if err := l.match(p.receive, data, p.File, cut); err != nil {
			return err
		}
	}
	l.bye("QUIT")
	return nil
}

func (p ftpProbe) login(l *lines) error {
	if _, _, err := l.code(2, "greeting"); err != nil {
		return err
	}
	code, _, err := l.ask(0, "answer to USER", "USER %s", p.Login)
	if err == nil && code == 331 {
		_, _, err = l.ask(2, "answer to PASS", "PASS %s", p.Password)
	} else if err == nil && code/100 != 2 {
		err = l.wrong("answer to USER from %s is %d, wanted 230 or 331", l.peer, code)
	}
	if err != nil {
		return err
	}
	if _, _, err := l.ask(2, "answer to CWD", "CWD /"); err != nil {
		return err
	}
	_, _, err = l.ask(2, "answer to TYPE", "TYPE I")
	return err
}

// fetch gets the file over an active connection, or a passive one.
func (p ftpProbe) fetch(ctx context.Context, n Net, l *lines) ([]byte, bool, error) {
	data, cut, err := p.active(ctx, n, l)
	if noData := (*noDataConn)(nil); err != nil && errors.As(err, &noData) && ctx.Err() == nil {
		return p.passive(ctx, n, l)
	}
	return data, cut, err
}

// noDataConn says that no data connection came about, which the other mode may
// still bring.
type noDataConn struct{ cause error }

func (e *noDataConn) Error() string { return e.cause.Error() }
func (e *noDataConn) Unwrap() error { return e.cause }

func (p ftpProbe) active(ctx context.Context, n Net, l *lines) ([]byte, bool, error) {
	ours, err := netip.ParseAddrPort(l.raw.LocalAddr().String())
	if err != nil {
		return nil, false, &noDataConn{err}
	}
	ln, err := n.Listen(ctx, "tcp", netip.AddrPortFrom(ours.Addr(), 0).String())
	if err != nil {
		return nil, false, &noDataConn{l.failed("data connection", err)}
	}
	defer ln.Close()
	if _, _, err := l.ask(2, "answer to PORT", "%s", portCommand(ln.Addr())); err != nil {
		return nil, false, &noDataConn{err}
	}
	code, _, err := l.ask(1, "answer to RETR", "RETR %s", p.File)
	if err != nil && code == 425 {
		return nil, false, &noDataConn{err}
	}
	if err != nil {
		return nil, false, err
	}
	c, err := p.accept(ctx, ln)
	if err != nil {
		return nil, false, l.failed("data connection", err)
	}
	defer c.Close()
	return p.read(ctx, l, c)
}

// accept waits for the server itself to connect, not for anyone else who does.
func (p ftpProbe) accept(ctx context.Context, ln net.Listener) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		from, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err == nil && from.Addr().Unmap() == p.Addr.Addr().Unmap() {
			return c, nil
		}
		c.Close()
	}
}

// portCommand announces a listener: PORT for IPv4, EPRT (RFC 2428) for IPv6.
func portCommand(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().Is6() && !ap.Addr().Is4In6() {
		return fmt.Sprintf("EPRT |2|%s|%d|", ap.Addr().WithZone(""), ap.Port())
	}
	b := ap.Addr().Unmap().As4()
	return fmt.Sprintf("PORT %d,%d,%d,%d,%d,%d", b[0], b[1], b[2], b[3], ap.Port()>>8, ap.Port()&255)
}

func (p ftpProbe) passive(ctx context.Context, n Net, l *lines) ([]byte, bool, error) {
	port, err := p.passivePort(l)
	if err != nil {
		return nil, false, err
	}
	c, err := dial(ctx, n, "tcp", netip.AddrPortFrom(p.Addr.Addr(), port).String())
	if err != nil {
		return nil, false, l.failed("data connection", err)
	}
	defer c.Close()
	if _, _, err := l.ask(1, "answer to RETR", "RETR %s", p.File); err != nil {
		return nil, false, err
	}
	return p.read(ctx, l, c)
}

// passivePort asks where to connect to and takes only the port of the answer.
func (p ftpProbe) passivePort(l *lines) (uint16, error) {
	if p.Addr.Addr().Is6() {
		_, text, err := l.ask(2, "answer to EPSV", "EPSV")
		if err != nil {
			return 0, err
		}
		_, s, _ := strings.Cut(text, "|||")
		port, err := strconv.ParseUint(strings.TrimRight(s, "|). \n"), 10, 16)
		if err != nil {
			return 0, l.wrong("answer to EPSV from %s names no port: %q", l.peer, clip(text, 120))
		}
		return uint16(port), nil
	}
	_, text, err := l.ask(2, "answer to PASV", "PASV")
	if err != nil {
		return 0, err
	}
	var b [6]uint8
	_, s, _ := strings.Cut(text, "(")
	if _, err := fmt.Sscanf(s, "%d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]); err != nil {
		return 0, l.wrong("answer to PASV from %s names no port: %q", l.peer, clip(text, 120))
	}
	return uint16(b[4])<<8 | uint16(b[5]), nil
}

// read reads the file, as far as it is looked at, and the word that it is whole.
func (p ftpProbe) read(ctx context.Context, l *lines, c net.Conn) (data []byte, cut bool, err error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(l.raw.end); err != nil {
		return nil, false, l.failed("file", err)
	}
	data, err = io.ReadAll(io.LimitReader(c, maxAnswer))
	if err != nil && !errors.Is(err, errTooMuch) {
		return nil, false, l.failed("end of the file", err)
	}
	if len(data) == maxAnswer {
		return data, true, nil // there may be no end
	}
	_, _, err = l.code(2, "end of the transfer")
	return data, false, err
}
