package check

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
)

// plainHTTP is a check without TLS and without a proxy: one that a [glance]
// mostly suffices for.
type plainHTTP struct {
	*httpProbe
	begins opening
	line   string // of the last ordinary answer
}

func (p *plainHTTP) opening() *opening { return &p.begins }

// hear judges an answer that came in one piece. Redirections are not for a glance.
func (p *plainHTTP) hear(text []byte, ended bool) (out Outcome, enough bool) {
	if a, ok := p.ordinary(text); ok {
		return p.judge(exchange{peer: p.peer}, a), true
	}
	r := newReading()
	defer r.done()
	in := piece{text: text, ended: ended}
	a, err := p.read(&in, r)
	if in.short {
		return Outcome{}, false
	}
	x := exchange{peer: p.peer}
	if err != nil {
		return Outcome{Err: x.failed(wholeAnswer, in.why(err))}, true
	}
	if next, err := p.redirected(p.first, a); next != nil || err != nil {
		return Outcome{}, false
	}
	return p.judge(x, a), true
}

// goOn reads the answer as it comes.
func (p *plainHTTP) goOn(ctx context.Context, n Net, nc net.Conn) Outcome {
	r := newReading()
	defer r.done()
	x, ask := begin(ctx, p.peer), p.firstRequest()
	a, err := p.hearOut(ctx, nc, x, r)
	return p.follow(ctx, n, x, ask, r, a, err)
}

func (p *plainHTTP) hearOut(ctx context.Context, nc net.Conn, x exchange, r *reading) (answer, error) {
	c, err := endingWith(ctx, nc)
	if err != nil {
		return answer{}, x.failed("connection", err)
	}
	defer c.Close()
	c.left = p.MaxBody + maxHeader
	a, err := p.read(c, r)
	return a, x.failed(wholeAnswer, c.why(err))
}

// piece is the beginning of what a server says, or all of it.
type piece struct {
	text  []byte
	ended bool
	atEnd bool // it was read to its end
	short bool // and that was not the end of the answer
}

// Read implements io.Reader.
func (p *piece) Read(b []byte) (int, error) {
	n := copy(b, p.text)
	p.text = p.text[n:]
	if n > 0 {
		return n, nil
	}
	p.atEnd, p.short = true, !p.ended
	return 0, io.EOF
}

// why is the cause of a failure to read, as [conn.why] has it.
func (p *piece) why(err error) error {
	if p.atEnd {
		return io.EOF
	}
	return err
}

// ordinary reads an answer that has nothing special about it: a status that is
// wanted, a page of known length, no coding. Most are so, and to read them with
// net/http's parser costs a third of what a check costs besides the kernel. It
// understands nothing that the parser would understand otherwise.
func (p *plainHTTP) ordinary(text []byte) (a answer, ok bool) {
	if p.Method != http.MethodGet || !bytes.HasPrefix(text, []byte("HTTP/1.1 ")) && !bytes.HasPrefix(text, []byte("HTTP/1.0 ")) {
		return a, false
	}
	line, rest, found := bytes.Cut(text[len("HTTP/1.1 "):], crlf)
	if !found || len(line) < 5 || len(line) > 200 || line[3] != ' ' || !plainText(line) {
		return a, false
	}
	status, digits := number(line[:3])
	if !digits || status < 200 || status == http.StatusNoContent || redirects(status) || status == http.StatusNotModified || !p.wanted(status) {
		return a, false
	}
	length, body, ok := ordinaryHead(rest)
	if !ok || length > len(body) || length > p.MaxBody {
		return a, false
	}
	if string(line) != p.line {
		p.line = string(line)
	}
	return answer{status: status, line: p.line, body: body[:length]}, true
}

var crlf = []byte("\r\n")

// ordinaryHead reads headers of which only the length of the page matters.
func ordinaryHead(text []byte) (length int, body []byte, ok bool) {
	length = -1
	for {
		line, rest, found := bytes.Cut(text, crlf)
		if !found || !plainText(line) {
			return 0, nil, false
		}
		text = rest
		if len(line) == 0 {
			return length, text, length >= 0
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		switch {
		case !found || !token(name), isName(name, "Transfer-Encoding"), isName(name, "Content-Encoding"), isName(name, "Trailer"):
			return 0, nil, false
		case isName(name, "Content-Length"):
			n, digits := number(bytes.TrimSpace(value))
			if length >= 0 || !digits {
				return 0, nil, false
			}
			length = n
		}
	}
}

func isName(b []byte, name string) bool {
	return len(b) == len(name) && bytes.EqualFold(b, []byte(name))
}

// plainText tells whether there is nothing but printable ASCII.
func plainText(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// token tells whether a name is one that headers have in practice.
func token(b []byte) bool {
	for _, c := range b {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(b) > 0
}

// number reads a few decimal digits.
func number(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, 0 < len(b) && len(b) < 8
}
