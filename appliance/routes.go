package appliance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
)

// routes are the virtual routes of one instance. They are a holder of their own,
// after the addresses: one that fails is tried again, and keeps no address away.
type routes struct {
	host  Host
	stays *atomic.Bool // see addresses

	running sync.Mutex

	mu   sync.Mutex // for what follows
	want []netif.Route
	gone []netif.Route
	held bool // all that is wanted is there, by our own doing; a route that is missing was taken away
}

func (*routes) String() string { return "routes" }

func routeOf(r config.Route, link string) netif.Route {
	out := netif.Route{
		Dst: r.Dst, Via: r.Via, Link: r.Link, Source: r.From, Scope: netif.Scope(r.Scope),
		Table: r.Table, Metric: r.Metric, Type: r.Type, OnLink: r.OnLink, Proto: netif.ProtoKeepalived,
	}
	if r.Type == "" && !out.Via.IsValid() && out.Link == "" {
		out.Link = link
	}
	return out
}

func (h *routes) use(in *config.Instance) (changed bool) {
	var want []netif.Route
	for _, r := range in.Routes {
		want = append(want, routeOf(r, in.Link))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Equal(want, h.want) {
		return false
	}
	for _, old := range h.want {
		if !slices.Contains(want, old) {
			h.gone = append(h.gone, old)
		}
	}
	h.want = want
	return true
}

// Take implements [vrrp.Holder].
func (h *routes) Take(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	h.mu.Lock()
	want, gone := h.want, h.gone
	h.mu.Unlock()
	if err := h.do(ctx, netif.DelRoute, gone); err != nil {
		return err
	}
	h.mu.Lock()
	h.gone = slices.DeleteFunc(h.gone, func(r netif.Route) bool { return slices.Contains(gone, r) })
	h.mu.Unlock()
	if err := h.do(ctx, netif.AddRoute, want); err != nil {
		return err
	}
	h.hold(true)
	return nil
}

func (h *routes) hold(held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
}

// missing are the routes that should be there and are not.
func (h *routes) missing() ([]netif.Route, error) {
	h.mu.Lock()
	want, held := h.want, h.held
	h.mu.Unlock()
	if !held || len(want) == 0 {
		return nil, nil
	}
	lacking, err := h.host.Lacking(want)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || !h.held { // dropped meanwhile: that is no theft
		return nil, err
	}
	return lacking, nil
}

// Drop implements [vrrp.Holder].
func (h *routes) Drop(ctx context.Context) error {
	h.running.Lock()
	defer h.running.Unlock()
	h.mu.Lock()
	all := slices.Concat(h.want, h.gone)
	h.held = false // from now on it is no theft
	h.mu.Unlock()
	if h.stays.Load() {
		return nil
	}
	slices.Reverse(all)
	if err := h.do(ctx, netif.DelRoute, all); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = nil
	return nil
}

func (h *routes) do(ctx context.Context, op netif.Op, all []netif.Route) error {
	var errs []error
	for _, r := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, h.host.Do(netif.Step{Op: op, Route: r}))
	}
	return errors.Join(errs...)
}
