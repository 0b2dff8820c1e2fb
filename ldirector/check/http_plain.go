package check

import (
	"context"
	"io"
	"net"
)

// plainHTTP is a check without TLS and without a proxy: one that a [glance]
// mostly suffices for.
type plainHTTP struct {
	*httpProbe
	begins opening
}

func (p *plainHTTP) opening() *opening { return &p.begins }

// hear judges an answer that came in one piece. Redirections are not for a glance.
func (p *plainHTTP) hear(text []byte, ended bool) (out Outcome, enough bool) {
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
