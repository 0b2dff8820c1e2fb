package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
)

// maintenance is the task that follows maintenancedir and tells the director
// which servers it names. Names are looked up here, where a slow name server
// holds nothing up, and only if a file in the folder is no address.
type maintenance struct {
	d       *ldDaemon
	folders chan string
	servers chan map[netip.Addr][]string // as configured, by name
	applied chan struct{}                // closed when the director knows the folder
}

const (
	lookupsAtOnce = 16
	// Names are asked for again that often, as long as they matter.
	lookupAgain = time.Minute
	// One address may take so long.
	reversePatience = 3 * time.Second
)

func newMaintenance(d *ldDaemon) *maintenance {
	return &maintenance{d: d, folders: make(chan string, 1), servers: make(chan map[netip.Addr][]string, 1), applied: make(chan struct{})}
}

// folder follows another folder; empty is none. One goroutine at a time calls it.
func (m *maintenance) folder(path string) { replaceIn(m.folders, path) }

// know tells which servers there are.
func (m *maintenance) know(vs []ldirector.Virtual) {
	servers := map[netip.Addr][]string{}
	for _, v := range vs {
		for _, member := range v.Members {
			a := member.Destination.Addr.Addr()
			servers[a] = withShort(servers[a], member.Host)
		}
	}
	replaceIn(m.servers, servers)
}

// replaceIn puts v into a channel with one place, in place of what nobody has
// taken.
func replaceIn[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}

// first waits until the director knows who is in maintenance.
func (m *maintenance) first(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*reversePatience)
	defer cancel()
	select {
	case <-m.applied:
	case <-ctx.Done():
	}
}

func (m *maintenance) Ready() <-chan struct{} { return nil }
func (m *maintenance) String() string         { return "maintenance" }

// Run implements [daemon.Task].
func (m *maintenance) Run(ctx context.Context) error {
	var (
		path, files = "", []string(nil)
		servers     map[netip.Addr][]string
		names       <-chan []string
		end         = func() {}
		again       = time.NewTicker(lookupAgain)
		once        sync.Once
	)
	defer func() { end() }()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case next := <-m.folders:
			if next == path && next != "" {
				continue
			}
			end()
			path, files, names = next, nil, nil
			end = func() {}
			if next != "" {
				names, end = m.follow(ctx, next)
				continue // its first names come at once
			}
		case servers = <-m.servers:
			if path != "" && files == nil {
				continue
			}
		case files = <-names:
			if files == nil {
				files = []string{}
			}
		case <-again.C:
			if !namesMatter(files) {
				continue
			}
		}
		m.apply(ctx, files, servers)
		once.Do(func() { close(m.applied) })
	}
}

func (m *maintenance) follow(ctx context.Context, path string) (<-chan []string, func()) {
	ctx, cancel := context.WithCancel(ctx)
	f := daemon.NewFolder(path)
	f.Warn = m.d.fault
	go func() { _ = f.Run(ctx) }() // it ends with ctx, and never fails
	return f.Names(), cancel
}

func (m *maintenance) apply(ctx context.Context, files []string, servers map[netip.Addr][]string) {
	told := ldirector.Maintenance{Files: files, Names: servers}
	if namesMatter(files) {
		told.Names = lookUp(ctx, servers)
	}
	_ = m.d.director.Maintain(ctx, told) // it fails only when we are ending
}

// namesMatter tells whether a file's name is not an address.
func namesMatter(files []string) bool {
	return slices.ContainsFunc(files, func(f string) bool {
		if _, err := netip.ParseAddrPort(f); err == nil {
			return false
		}
		_, err := netip.ParseAddr(strings.Trim(f, "[]"))
		return err != nil
	})
}

// lookUp adds the names that a reverse look-up gives to those that are configured.
func lookUp(ctx context.Context, servers map[netip.Addr][]string) map[netip.Addr][]string {
	found := make(map[netip.Addr][]string, len(servers))
	var mu sync.Mutex
	var all sync.WaitGroup
	places := make(chan struct{}, lookupsAtOnce)
	ctx, cancel := context.WithTimeout(ctx, reversePatience)
	defer cancel()
	for addr, names := range servers {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			known := slices.Clone(names)
			hosts, err := net.DefaultResolver.LookupAddr(ctx, addr.String())
			if err == nil { // a server without a name has no file by name
				for _, h := range hosts {
					known = withShort(known, strings.TrimSuffix(h, "."))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			found[addr] = known
		})
	}
	all.Wait()
	return found
}

// withShort adds a name, and the name without its domain.
func withShort(names []string, name string) []string {
	short, _, _ := strings.Cut(name, ".")
	for _, n := range []string{name, short} {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
