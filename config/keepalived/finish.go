package keepalived

import (
	"fmt"
	"slices"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/lvs"
)

// finish does what can be done only when everything was read.
func (r *reader) finish() {
	r.finishGarp()
	r.finishUser()
	r.finishScripts()
	for _, i := range r.instances {
		r.finishInstance(i)
	}
	r.finishGroups()
	for _, i := range r.instances {
		r.finishTracking(i)
	}
	r.finishTwins()
	r.finishUnused()
	r.finishSync()
	seen := map[lvs.Key]place{}
	for _, v := range r.services {
		r.finishService(v, seen)
	}
	r.finishSecurity()
	if r.noLink {
		r.theirs(place{}, "Non-existent interface specified in configuration", statusTest)
	}
	s := &r.f.site
	s.RouterID = r.g.RouterID
	for _, i := range r.instances {
		if !i.impossible {
			s.Instances = append(s.Instances, i.Instance)
		}
	}
	for _, g := range r.groups {
		if len(g.Members) > 0 {
			s.Groups = append(s.Groups, config.Group{Group: g.Group.Group, Notify: g.Notify, Track: g.Track, Source: g.Source})
		}
	}
	for _, sc := range r.scripts {
		if sc.used && !sc.broken {
			s.Scripts = append(s.Scripts, sc.Script)
		}
	}
	r.f.globals = r.g
}

// finishGarp: after an advert of lower priority the addresses are announced as on
// becoming master, unless the file says otherwise.
func (r *reader) finishGarp() {
	g := &r.g.Garp
	g.LowerDelay, g.LowerRepeat = g.Delay, g.Repeat
	if r.lowerDelay != nil {
		g.LowerDelay = *r.lowerDelay
	}
	if r.lowerRepeat != nil {
		g.LowerRepeat = *r.lowerRepeat
	}
}

func (r *reader) finishUnused() {
	for _, sc := range r.scripts {
		if !sc.used && !sc.broken {
			r.problem(sc.place, config.Warning, fmt.Sprintf("vrrp_script %s is tracked by nobody; it is not run", sc.Name), "name it in track_script of an instance")
		}
	}
}

// finishSync: the daemon's number is that of its instance unless it has one.
// Without an instance the host sends and receives, as keepalived has it.
func (r *reader) finishSync() {
	d := r.sync
	if d == nil {
		return
	}
	sync := func(role lvs.Role) config.Sync {
		daemon := d.daemon
		daemon.Role = role
		return config.Sync{Daemon: daemon, Instance: d.instance, Source: d.source()}
	}
	if d.instance == "" {
		r.f.site.Sync = []config.Sync{sync(lvs.Master), sync(lvs.Backup)}
		return
	}
	at := slices.IndexFunc(r.instances, func(i *instance) bool { return i.Name == d.instance && !i.impossible })
	if at < 0 {
		// keepalived -t does not get as far as to notice.
		r.problem(d.place, config.Error, fmt.Sprintf("lvs_sync_daemon: there is no vrrp_instance %s; the daemon is not started", d.instance), "")
		return
	}
	if !d.hasID {
		d.daemon.SyncID = uint32(r.instances[at].VRID)
	}
	r.f.site.Sync = []config.Sync{sync(lvs.Backup)}
}
