package appliance

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// lookEvery is how often the loop looks without being told to: a safety net, for
// the kernel tells of changes at once.
const lookEvery = 5 * time.Second

// watch begins to listen to the kernel. Where that fails, there are the looks.
func (a *Appliance) watch(ctx context.Context) <-chan netif.Event {
	events, err := a.o.Host.Watch(ctx)
	if err != nil {
		a.say(Error, "the kernel does not tell of changes: %v; addresses that are taken away come back only after %v", err, lookEvery)
		return nil
	}
	return events
}

// happened takes in an event, and those that come with it.
func (a *Appliance) happened(e netif.Event, more <-chan netif.Event) {
	n := news{stolen: map[string]bool{}}
	a.note(e, &n)
	var end <-chan time.Time
	for range gatherMost {
		if end == nil && len(n.stolen) > 0 {
			end = time.After(gatherTime)
		}
		next, ok := nextEvent(more, end)
		if !ok {
			break
		}
		a.note(next, &n)
	}
	if n.look {
		a.look()
		return
	}
	a.putBack(n.stolen, false)
}

const (
	// gatherTime is what an address waits for others that go with it: a thousand
	// of them are one theft.
	gatherTime = 10 * time.Millisecond
	gatherMost = 4096
)

// nextEvent waits for another event until end, or not at all.
func nextEvent(more <-chan netif.Event, end <-chan time.Time) (e netif.Event, ok bool) {
	if end == nil {
		select {
		case e, ok = <-more:
		default:
		}
		return e, ok
	}
	select {
	case e, ok = <-more:
	case <-end:
	}
	return e, ok
}

// news is what came of some events.
type news struct {
	stolen map[string]bool // instances that an address was taken from
	look   bool
}

func (a *Appliance) note(e netif.Event, n *news) {
	switch e.Kind {
	case netif.AddrRemoved:
		for r, k := range a.kept {
			if e.Link == loopback && k.localnode.wants(e.Prefix) {
				n.stolen[r.name] = true
			}
			if !k.addresses.holds(e.Link, e.Prefix) {
				continue
			}
			if l, err := a.o.Host.Link(e.Link, false); err == nil && !l.Running {
				k.addresses.fall(e.Link, e.Prefix)
				continue
			}
			n.stolen[r.name] = true
		}
		n.look = n.look || a.ownGone(e)
	case netif.AddrAdded:
		n.look = n.look || a.waitsFor(e.Link) || a.lacks(e.Link)
	default:
		n.look = true
	}
}

// waitsFor tells whether an instance on a device does not run yet.
func (a *Appliance) waitsFor(link string) bool {
	return slices.ContainsFunc(a.site.Instances, func(in config.Instance) bool {
		return in.Link == link && a.waiting[in.Name] != ""
	})
}

// ownGone tells whether an address is gone that adverts may come from.
func (a *Appliance) ownGone(e netif.Event) bool {
	return slices.ContainsFunc(a.site.Instances, func(in config.Instance) bool {
		virtual := func(v config.Address) bool { return v.Prefix == e.Prefix }
		return in.Link == e.Link && !in.Source.IsValid() && !slices.ContainsFunc(in.Addresses, virtual)
	})
}

// look compares what is with what should be: devices, addresses, routes, and instances
// that wait.
func (a *Appliance) look() {
	links := linkCache{host: a.o.Host, addrs: true}
	a.observeSources(&links)
	all := map[string]bool{}
	for r := range a.kept {
		all[r.name] = true
	}
	a.putBack(all, true)
	a.putRoutesBack()
	links = linkCache{host: a.o.Host, addrs: true}
	if len(a.waiting) > 0 || a.sourcesMoved(&links) {
		a.plan()
		return
	}
	for name := range a.links {
		a.observeLink(name, &links)
	}
}

// sourcesMoved tells whether adverts should come from another address now.
func (a *Appliance) sourcesMoved(links *linkCache) bool {
	virtual := virtualOf(&a.site)
	return slices.ContainsFunc(a.site.Instances, func(in config.Instance) bool {
		if in.Source.IsValid() {
			return false
		}
		now, err := sourceOf(links.get(in.Link), &in, virtual)
		return err == nil && a.sources[in.Name].IsValid() && a.sources[in.Name] != now
	})
}

// lookAtLinks tells the speaker about the devices that members track, before it
// hears of the members: they begin with what is known.
func (a *Appliance) lookAtLinks(members []vrrp.Member, links *linkCache) {
	tracked := map[string]bool{}
	for _, m := range members {
		for _, t := range m.Instance.Track {
			if name, ok := strings.CutPrefix(t.Name, config.TrackLink("")); ok {
				tracked[name] = true
			}
		}
	}
	for name := range a.links {
		if !tracked[name] {
			delete(a.links, name)
		}
	}
	for name := range tracked {
		a.observeLink(name, links)
	}
	a.observeSources(links)
}

// observeSources tells the speaker which instances have an address to send from, if
// that is news. Of a device that does not run nothing is said: that is another
// reason, and its IPv6 addresses come back with it.
func (a *Appliance) observeSources(links *linkCache) {
	virtual := virtualOf(&a.site)
	now := map[string]vrrp.Health{}
	for i := range a.site.Instances {
		in := &a.site.Instances[i]
		if !tracksSource(in) || a.waiting[in.Name] != "" {
			continue
		}
		l := links.get(in.Link)
		name, health := trackSource(in), vrrp.Up
		if _, err := sourceOf(l, in, virtual); err != nil && l.Running {
			health = vrrp.Down
		}
		if now[name] = health; a.own[name] != health {
			a.observed(name, health)
		}
	}
	a.own = now
}

// lacks tells whether an instance on a device has no address to send from.
func (a *Appliance) lacks(link string) bool {
	return slices.ContainsFunc(a.site.Instances, func(in config.Instance) bool {
		return in.Link == link && a.own[trackSource(&in)] == vrrp.Down
	})
}

// observeLink tells the speaker how a device is, if that is news.
func (a *Appliance) observeLink(name string, links *linkCache) {
	up := links.get(name).Running
	was, known := a.links[name]
	if known && was == up {
		return
	}
	a.links[name] = up
	h, word := vrrp.Down, "down"
	if up {
		h, word = vrrp.Up, "up"
	}
	if known || !up {
		a.say(Info, "Netlink reports %s %s", name, word)
	}
	a.observed(config.TrackLink(name), h)
}
