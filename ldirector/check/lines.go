package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"
)

// lines is a conversation in lines, as SMTP, POP3, IMAP, NNTP and FTP are.
type lines struct {
	exchange
	*textproto.Reader
	raw  *conn
	conn net.Conn // raw, or TLS over it
}

// maxLine is the longest line taken. RFC 5321 and its kin end at 512 to 8192.
const maxLine = 8 << 10

// talk connects for a conversation, over TLS if cfg is not nil.
func talk(ctx context.Context, n Net, addr netip.AddrPort, cfg *tls.Config) (*lines, error) {
	l := &lines{exchange: begin(ctx, addr.String())}
	c, err := dial(ctx, n, "tcp", l.peer)
	if err != nil {
		return nil, l.failed("connection", err)
	}
	l.raw, l.conn = c, c
	c.left = 64 << 10 // far more than any of these conversations, TLS included
	if cfg != nil {
		if l.conn, err = l.overTLS(ctx, c, cfg); err != nil {
			c.Close()
			return nil, err
		}
	}
	l.Reader = textproto.NewReader(bufio.NewReaderSize(l.conn, 1024))
	return l, nil
}

func (l *lines) close() { l.raw.Close() }

// say sends one line.
func (l *lines) say(format string, args ...any) error {
	_, err := fmt.Fprintf(l.conn, format+"\r\n", args...)
	return err
}

// hear reads one line.
func (l *lines) hear(awaited string) (string, error) {
	s, err := l.ReadLine()
	if err == nil && len(s) > maxLine {
		err = errTooMuch
	}
	if err != nil {
		return "", l.failed(awaited, err)
	}
	return s, nil
}

// code reads a reply of three digits, of one line or many, that has to begin
// with want (2 = any 2xx, 0 = any at all).
func (l *lines) code(want int, awaited string) (int, string, error) {
	code, text, err := l.ReadResponse(0)
	if e := (textproto.ProtocolError)(""); errors.As(err, &e) {
		return 0, "", &reason{fmt.Sprintf("%s from %s is not of its protocol: %s", awaited, l.peer, clip(string(e), 120)), err}
	}
	if err != nil {
		return 0, "", l.failed(awaited, err)
	}
	if want != 0 && code/100 != want {
		return code, text, l.wrong("%s from %s is \"%d %s\", wanted %dxx", awaited, l.peer, code, clip(text, 120), want)
	}
	return code, text, nil
}

// ask sends a line and reads the reply.
func (l *lines) ask(want int, awaited, format string, args ...any) (int, string, error) {
	if err := l.say(format, args...); err != nil {
		return 0, "", l.failed(awaited, err)
	}
	return l.code(want, awaited)
}

// farewell is how long a server may take to answer QUIT. Its verdict is given.
const farewell = time.Second

// bye takes leave politely, so that the server does not log a lost connection.
// Whatever comes back, or does not, changes nothing any more.
func (l *lines) bye(format string, args ...any) {
	if l.say(format, args...) != nil {
		return
	}
	if l.raw.Conn.SetReadDeadline(time.Now().Add(farewell)) == nil {
		_, _ = io.CopyN(io.Discard, l.R, maxLine)
	}
}

// plain refuses what would end a line early and begin another command.
func plain(what, s string) error {
	if strings.ContainsAny(s, "\r\n\x00") {
		return local(fmt.Errorf("%s holds a line end", what))
	}
	return nil
}

// mailTLS prepares the TLS side of a mail protocol.
func mailTLS(on bool, t TLS, addr netip.AddrPort) (*tls.Config, error) {
	if !on {
		return nil, nil
	}
	return t.config(addr.Addr().WithZone("").String())
}
