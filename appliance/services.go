package appliance

import (
	"context"
	"errors"
	"slices"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// useServices brings the virtual services and the sync daemons in line with the
// site.
func (a *Appliance) useServices() {
	if a.ipvs == nil && a.needsIPVS() {
		a.openIPVS()
	}
	a.gate.begin()
	if a.ipvs == nil {
		return
	}
	a.syncs.use(a.ipvs, a.site.Sync)
	if (a.site.Timeouts != lvs.Timeouts{}) {
		a.warn(a.ipvs.SetTimeouts(a.site.Timeouts))
	}
	a.openDoors()
	switch {
	case a.director != nil:
		farewell := a.hooks.use(a.site.Virtuals)
		if err := a.director.Load(a.ctx, a.virtuals()); err != nil {
			a.say(Error, "virtual services: %v", err)
		}
		farewell()
	case len(a.site.Virtuals) > 0:
		a.startDirector()
	}
}

func (a *Appliance) needsIPVS() bool {
	return len(a.site.Virtuals) > 0 || len(a.site.Sync) > 0 || a.site.Timeouts != lvs.Timeouts{}
}

// openIPVS is tried again with every look while it fails: a module may be late at
// boot. It is said once.
func (a *Appliance) openIPVS() {
	if a.o.IPVS == nil {
		a.say(Error, "this command has no virtual services")
		return
	}
	k, err := a.o.IPVS()
	switch {
	case err == nil && a.noIPVS != "":
		a.say(Info, "virtual services: the kernel has IPVS now")
	case err != nil && err.Error() != a.noIPVS:
		a.say(Error, "virtual services: %v; waiting for it", err)
	}
	if err != nil {
		a.noIPVS = err.Error()
		return
	}
	a.ipvs, a.noIPVS = k, ""
}

// NoIPVS is why there are no virtual services though the site has some; empty: there
// are, or it has none.
func (a *Appliance) NoIPVS() string {
	why := ""
	if err := a.order(func() { why = a.noIPVS }); err != nil {
		return ""
	}
	return why
}

// lookForIPVS begins with the virtual services once the kernel can have them.
func (a *Appliance) lookForIPVS() {
	if a.ipvs == nil && a.o.IPVS != nil && a.needsIPVS() {
		a.useServices()
	}
}

func (a *Appliance) startDirector() {
	o := a.o.Director
	o.Kernel, o.Virtuals, o.Gates = a.ipvs, a.virtuals(), a.gate.out
	tell := o.Report
	o.Report = func(e ldirector.Event) {
		a.hooks.hear(e)
		if tell != nil {
			tell(e)
		}
	}
	a.hooks.use(a.site.Virtuals) // the first ones: nobody leaves
	a.director = ldirector.New(o)
	a.tasks.Go(func() {
		if err := a.director.Run(a.ctx); err != nil {
			a.say(Error, "%v", err)
		}
	})
	d := a.director
	a.gate.settles(func(ctx context.Context, instance string) { opened(ctx, d, instance) })
}

// opened returns when the services that follow an instance are in the kernel. One
// question is not enough: the director may take it before the order to open.
func opened(ctx context.Context, d *ldirector.Director, instance string) {
	for ctx.Err() == nil {
		if open, err := d.Open(ctx, instance); err != nil || open {
			return
		}
	}
}

// openDoors opens the gates of masters that have not held the door so far: services
// that begin to follow them with a reload are to stay in the kernel. The director
// hears of it before it hears of the services.
func (a *Appliance) openDoors() {
	followed := a.site.Followed()
	var fresh []string
	for r, k := range a.kept {
		if !k.bound && slices.Contains(followed, r.name) {
			fresh = append(fresh, r.name)
		}
	}
	if len(fresh) == 0 {
		return
	}
	live, err := a.speaker.Status()
	if err != nil {
		return // we are being stopped
	}
	ctx, cancel := context.WithTimeout(a.ctx, tablePatience)
	defer cancel()
	for _, m := range live {
		if m.State != vrrp.Master || !slices.Contains(fresh, m.Name) {
			continue
		}
		a.ajar = append(a.ajar, m.Name)
		if settle := a.gate.set(m.Name, true); settle != nil {
			settle(ctx, m.Name)
		}
	}
}

// closeDoors takes back what was opened for an instance that came to nothing: it has
// no door that would do so.
func (a *Appliance) closeDoors(members []vrrp.Member) {
	for _, name := range a.ajar {
		if !slices.ContainsFunc(members, func(m vrrp.Member) bool { return m.Instance.Name == name }) {
			a.gate.set(name, false)
		}
	}
	a.ajar = nil
}

// virtuals are those of the site; what is to stay behind at the end is not cleaned
// up there.
func (a *Appliance) virtuals() []ldirector.Virtual {
	if !a.o.KeepServices {
		return a.site.Virtuals
	}
	vs := slices.Clone(a.site.Virtuals)
	for i := range vs {
		vs[i].Policy.CleanStop = false
	}
	return vs
}

// Director is the director of the virtual services, nil while there are none.
func (a *Appliance) Director() *ldirector.Director {
	var d *ldirector.Director
	if err := a.order(func() { d = a.director }); errors.Is(err, ErrNotRunning) {
		return nil
	}
	return d
}
