package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// lines is a conversation in lines, as SMTP, POP3, IMAP, NNTP and FTP are.
type lines struct {
	exchange
	in   *bufio.Reader
	raw  *conn
	conn net.Conn // raw, or TLS over it
}

// maxLine is the longest line taken. RFC 5321 and its kin end at 512 or 2048.
const maxLine = 4 << 10

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
	l.in = bufio.NewReaderSize(l.conn, maxLine)
	return l, nil
}

func (l *lines) close() { l.raw.Close() }

// say sends one line.
func (l *lines) say(format string, args ...any) error {
	_, err := fmt.Fprintf(l.conn, format+"\r\n", args...)
	return err
}

// hear reads one line, which has to be whole: a line that stops in the middle is
// no answer, whatever it begins with.
func (l *lines) hear(awaited string) (string, error) {
	b, err := l.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", l.wrong("%s from %s is a line of more than %d bytes", awaited, l.peer, maxLine)
	}
	if err != nil {
		return "", l.failed(awaited, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// code reads a reply of three digits, of one line or many (RFC 959, 4.2), that
// has to begin with want (2 = any 2xx, 0 = any at all).
func (l *lines) code(want int, awaited string) (int, string, error) {
	first, err := l.hear(awaited)
	if err != nil {
		return 0, "", err
	}
	code, more, ok := replyCode(first)
	if !ok {
		return 0, "", l.wrong("%s from %s is %q, wanted three digits and a text", awaited, l.peer, clip(first, 120))
	}
	for more {
		line, err := l.hear("end of the " + awaited)
		if err != nil {
			return 0, "", err
		}
		c, again, ok := replyCode(line)
		more = !ok || c != code || again
	}
	text := strings.TrimLeft(first[3:], " -")
	if want != 0 && code/100 != want {
		return code, text, l.wrong("%s from %s is \"%d %s\", wanted %dxx", awaited, l.peer, code, clip(text, 120), want)
	}
	return code, text, nil
}

// replyCode takes a line of a reply apart; more says that it is not the last.
func replyCode(line string) (code int, more, ok bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, false
	}
	for _, d := range []byte(line[:3]) {
		if d < '0' || d > '9' {
			return 0, false, false
		}
		code = code*10 + int(d-'0')
	}
	return code, len(line) > 3 && line[3] == '-', true
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

// bye takes leave politely, and waits for the answer, so that the server does not
// log a lost connection. Whatever comes changes nothing any more.
func (l *lines) bye(format string, args ...any) {
	if l.say(format, args...) != nil {
		return
	}
	if l.raw.Conn.SetReadDeadline(earlier(l.raw.end, time.Now().Add(farewell))) == nil {
		_, _ = l.in.ReadSlice('\n')
	}
}

// plain refuses what would end a line early and begin another command.
func plain(what, s string) error {
	if strings.ContainsAny(s, "\r\n\x00") {
		return local(fmt.Errorf("%s holds a line end", what))
	}
	return nil
}

// mailbox is what [IMAP] and [POP] are made of.
type mailbox struct {
	Addr            netip.AddrPort
	Secure          bool
	TLS             TLS
	Login, Password string
}

// openMailbox connects, through TLS where that is wanted. Nothing has been read
// yet.
func openMailbox(ctx context.Context, n Net, m mailbox) (*lines, error) {
	if err := plain("login or passwd", m.Login+m.Password); err != nil {
		return nil, err
	}
	var cfg *tls.Config
	if m.Secure {
		var err error
		if cfg, err = m.TLS.config(m.Addr.Addr().WithZone("").String()); err != nil {
			return nil, err
		}
	}
	return talk(ctx, n, m.Addr, cfg)
}
