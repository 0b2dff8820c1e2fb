package main

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// A server behind gate is in the kernel with the service's port, whatever port the
// file gives it for its checks. The peer then takes it for another one at every
// start and reload, and takes it away for a moment.
func TestAServerWithAnotherPortBehindGateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, problems := dialect.Parse("web.cf", []byte("virtual=10.1.0.1:80\n\treal=10.2.0.1:8080 gate\n\tchecktype=connect\n"), dialect.Options{})
		virtuals := file.Virtuals()
		if len(virtuals) != 1 {
			t.Fatal(problems)
		}
		held := inKernel("10.1.0.1:80", lvs.Destination{Addr: netip.MustParseAddrPort("10.2.0.1:80"), Method: lvs.Gate, Weight: 1})
		k := lvstest.New(held)
		c := &told{results: make(chan check.Result), history: map[string][]check.Result{}}
		d := ldirector.New(ldirector.Options{Kernel: k, Checks: c, Virtuals: virtuals})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		c.up(virtuals[0].Members[0].Checks[0].ID)
		for range 3 {
			if err := d.Load(ctx, file.Virtuals()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		if taken := k.Taken(); len(taken) > 0 {
			t.Errorf("a start and three reloads have done %v", taken)
		}
		cancel()
		<-ended
	})
}
