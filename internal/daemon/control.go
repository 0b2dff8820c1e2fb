package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Control serves HTTP on a unix socket: the way in for commands of the same
// program. A daemon listens nowhere else.
type Control struct {
	Path    string // "/run/lvsctl/NAME.sock"
	Handler http.Handler

	ready chan struct{}
}

const (
	maxClients = 64
	maxRequest = 1 << 20
	maxAnswer  = 256 << 20 // of a server that the client trusts, but not without bound
)

// NewControl serves h at path.
func NewControl(path string, h http.Handler) *Control {
	return &Control{Path: path, Handler: h, ready: make(chan struct{})}
}

// Ready implements [Task].
func (c *Control) Ready() <-chan struct{} { return c.ready }

func (c *Control) String() string { return "control socket " + c.Path }

// Run implements [Task]. The socket is for its owner and group (0660). One that
// a dead process left behind is replaced; one that answers is an error.
func (c *Control) Run(ctx context.Context) error {
	l, err := listen(c.Path)
	if err != nil {
		return err
	}
	mine, _ := os.Lstat(c.Path)
	close(c.ready)
	err = serve(ctx, l, c.Handler)
	if there, e := os.Lstat(c.Path); e == nil && os.SameFile(mine, there) {
		_ = os.Remove(c.Path)
	}
	return err
}

// listen makes the socket under another name first: it has its mode before
// anybody can find it.
func listen(path string) (net.Listener, error) {
	if err := MakeFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := vacate(path); err != nil {
		return nil, err
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: next, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will have another name by then
	if err = os.Chmod(next, 0o660); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(next))
	}
	return l, nil
}

// vacate makes sure that nobody listens at path, and that what is there is no
// more than a socket.
func vacate(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket (%v)", path, st.Mode())
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("%s: another process answers there", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil // left behind; the rename replaces it
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Holder is the process of our network namespace that answers at a control
// socket, 0 when none does. One of another namespace has another kernel's table
// to look after, and is none of our business.
func Holder(path string) int {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	rc, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	var peer *unix.Ucred
	if rc.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return 0
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", peer.Pid))
	ours, mine := os.Readlink("/proc/thread-self/ns/net")
	if err != nil || mine != nil || theirs != ours {
		return 0
	}
	return int(peer.Pid)
}

// limited is a listener with a bound on its connections.
type limited struct {
	net.Listener
	places chan struct{}
}

func limit(l net.Listener, n int) net.Listener {
	return &limited{l, make(chan struct{}, n)}
}

// Accept implements [net.Listener].
func (l *limited) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &place{Conn: c, free: func() { <-l.places }}, nil
}

type place struct {
	net.Conn
	free func()
	once sync.Once
}

// Close implements [net.Conn].
func (p *place) Close() error {
	p.once.Do(p.free)
	return p.Conn.Close()
}

// problem is how an error travels.
type problem struct {
	Error string `json:"error"`
}

// Decode reads a request's body into v: one JSON value without unknown fields,
// of at most a megabyte. An empty body leaves v as it is.
func Decode(r *http.Request, v any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("the request is not as it should be: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the request goes on after its value")
	}
	return nil
}

// Answer sends v, or the error that stood in its way, with a status.
func Answer(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		v = problem{err.Error()}
	}
	b, e := json.Marshal(v)
	if e != nil {
		status = http.StatusInternalServerError
		b, _ = json.Marshal(problem{e.Error()})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who asked may have gone
}

// Client speaks with a [Control].
type Client struct {
	Path string
	http http.Client
}

// NewClient speaks with the socket at path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{Path: path, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// ErrNoDaemon says that nobody listens at the socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Call sends in, if it is not nil, and decodes the answer into out, if it is not
// nil. An error status gives the error's words.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.Stream(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s: the answer to %s is garbled: %w", c.Path, path, err)
	}
	return nil
}

// Stream is Call for an answer that comes bit by bit.
func (c *Client) Stream(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	r, w := io.Pipe()
	defer r.Close()
	var body io.Reader = http.NoBody
	if in != nil {
		go func() { w.CloseWithError(json.NewEncoder(w).Encode(in)) }()
		body = r
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lvsctl"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w at %s", ErrNoDaemon, c.Path)
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%s: %w; it is for root and for the group that the socket has", c.Path, os.ErrPermission)
		}
		if failed := new(url.Error); errors.As(err, &failed) {
			err = failed.Err // without a method and an address that nobody typed
		}
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	var p problem
	if err := json.NewDecoder(io.LimitReader(res.Body, maxRequest)).Decode(&p); err != nil || p.Error == "" {
		return nil, fmt.Errorf("%s: %s", c.Path, res.Status)
	}
	return nil, errors.New(p.Error)
}
