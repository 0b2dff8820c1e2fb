package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// tryLimit is how long a request may take whose failure is told to the caller: he
	// may be waiting for something, and ask again.
	tryLimit = 5 * time.Second
	// getLimit is that of one that has to be answered, however busy the machine is.
	getLimit = time.Minute
)

// Server is a small web server on a host.
type Server struct {
	http *http.Server
	addr net.Addr
	hits atomic.Int64
}

// Hits counts the requests it has answered.
func (s *Server) Hits() int { return int(s.hits.Load()) }

// Addr is where it listens; of use after ":0".
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends the server, connections included.
func (s *Server) Close() error { return s.http.Close() }

// Serve starts a web server that answers every request with text and closes the
// connection, so that each request is a connection of its own.
func (h *Host) Serve(text, addr string) *Server {
	h.net.t.Helper()
	return h.Handle(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, text)
	}))
}

// Handle starts a web server of any kind. The handler itself does not run in the
// host's namespaces; only the sockets are there.
func (h *Host) Handle(addr string, handler http.Handler) *Server {
	h.net.t.Helper()
	l, err := h.TryListen("tcp", addr)
	h.net.check(wrap(err, h.name+": listen on "+addr))
	s := &Server{addr: l.Addr()}
	s.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		handler.ServeHTTP(w, r)
	})}
	s.http.SetKeepAlivesEnabled(false)
	h.others.Go(func() { s.http.Serve(l) })
	h.closes(s)
	return s
}

// TryListen is net.Listen on the host. The caller closes it.
func (h *Host) TryListen(network, addr string) (l net.Listener, err error) {
	// Multipath TCP, Go's default, has the kernel look for a module for a second.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	if doErr := h.space.do(func() { l, err = lc.Listen(context.Background(), network, addr) }); doErr != nil {
		return nil, doErr
	}
	return l, err
}

// TryListenPacket is net.ListenPacket on the host. The caller closes it.
func (h *Host) TryListenPacket(network, addr string) (c net.PacketConn, err error) {
	if doErr := h.space.do(func() { c, err = net.ListenPacket(network, addr) }); doErr != nil {
		return nil, doErr
	}
	return c, err
}

// TryDial is net.Dial from the host; addr is a literal address and port.
func (h *Host) TryDial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	// Trying two families at once would open the socket on another thread, elsewhere.
	d := net.Dialer{FallbackDelay: -1}
	if doErr := h.space.do(func() { c, err = d.DialContext(ctx, network, addr) }); doErr != nil {
		return nil, doErr
	}
	return c, err
}

// Client is an HTTP client on the host. Every request is a connection of its own.
func (h *Host) Client() *http.Client {
	return &http.Client{
		Timeout:   tryLimit,
		Transport: &http.Transport{DialContext: h.TryDial, DisableKeepAlives: true},
	}
}

// Get requests a page from the host and returns its body; anything but 200 fails
// the test.
func (h *Host) Get(url string) string {
	h.net.t.Helper()
	c := h.Client()
	c.Timeout = getLimit
	body, err := get(c, url)
	h.net.check(wrap(err, h.name))
	return body
}

// TryGet is Get that returns the error.
func (h *Host) TryGet(url string) (string, error) { return get(h.Client(), url) }

func get(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return string(body), fmt.Errorf("GET %s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
