package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Page serves HTTP on a TCP address. It is for what everybody may read who can
// reach that address: the control socket is another one.
type Page struct {
	Address string // "127.0.0.1:9650"
	Handler http.Handler

	at    net.Addr
	ready chan struct{}
}

// NewPage serves h at address. Port 0 is any that is free.
func NewPage(address string, h http.Handler) *Page {
	return &Page{Address: address, Handler: h, ready: make(chan struct{})}
}

// Ready implements [Task].
func (p *Page) Ready() <-chan struct{} { return p.ready }

// At is where it listens, once it is ready.
func (p *Page) At() net.Addr { return p.at }

func (p *Page) String() string { return "page " + p.Address }

// Run implements [Task].
func (p *Page) Run(ctx context.Context) error {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", p.Address)
	if err != nil {
		return err
	}
	p.at = l.Addr()
	close(p.ready)
	return serve(ctx, l, p.Handler)
}

// serve answers until ctx ends, and gives what is under way a second then. Nobody
// who asks can hold it up: connections, requests and their time are bounded.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxRequest),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // a handler that streams moves it with a ResponseController
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(limit(l, maxClients)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
