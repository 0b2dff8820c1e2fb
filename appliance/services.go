package appliance

import (
	"context"
	"errors"
	"slices"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
)

// useServices brings the virtual services and the sync daemons in line with the
// site.
func (a *Appliance) useServices() {
	if a.ipvs == nil && a.needsIPVS() {
		a.openIPVS()
	}
	a.gate.use(len(a.site.ServeOn) == 0)
	if a.ipvs == nil {
		return
	}
	a.syncs.use(a.ipvs, a.site.Sync)
	if (a.site.Timeouts != lvs.Timeouts{}) {
		a.warn(a.ipvs.SetTimeouts(a.site.Timeouts))
	}
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
	o.Kernel, o.Virtuals, o.Gate = a.ipvs, a.virtuals(), a.gate.out
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
	a.gate.settles(func(ctx context.Context) { opened(ctx, d) })
}

// opened returns when the director's table is in the kernel. One question is not
// enough: the director may take it before the order to open.
func opened(ctx context.Context, d *ldirector.Director) {
	for ctx.Err() == nil {
		if s, err := d.Snapshot(ctx); err != nil || s.Open {
			return
		}
	}
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
