package appliance

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// noChecks are the checks of servers that have none.
type noChecks struct{}

func (noChecks) Set([]check.Spec)              {}
func (noChecks) Results() <-chan check.Result  { return nil }
func (noChecks) History(string) []check.Result { return nil }

// slowKernel takes its time, as with a large table.
type slowKernel struct{ lvs.Kernel }

func (k slowKernel) Read() (lvs.Table, error) {
	time.Sleep(10 * time.Millisecond)
	return k.Kernel.Read()
}

func (k slowKernel) Do(cs []lvs.Change) []error {
	time.Sleep(10 * time.Millisecond)
	return k.Kernel.Do(cs)
}

// A client that finds the address and not the services is refused. So the door is
// open once the kernel has them, and not when the director was told: which of two
// orders a busy director takes first is left to chance.
func TestTheDoorIsOpenOnceTheServicesAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := netip.MustParseAddrPort
		web := ldirector.Virtual{
			Service: lvs.NewService(lvs.At(lvs.TCP, at("10.0.0.100:80")), "rr"),
			Members: []ldirector.Member{{Name: "10.0.0.1:80", Destination: lvs.Destination{Addr: at("10.0.0.1:80"), Method: lvs.Gate, Weight: 1}}},
			Policy:  ldirector.Policy{CleanStop: true},
			Gates:   []string{"VI_1"},
		}
		kernel, g := lvstest.New(), newGate()
		d := ldirector.New(ldirector.Options{Kernel: slowKernel{kernel}, Checks: noChecks{}, Virtuals: []ldirector.Virtual{web}, Gates: g.out})
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		g.begin()
		g.settles(func(ctx context.Context, instance string) { opened(ctx, d, instance) })
		door := &doorkeeper{g, "VI_1"}
		for range 40 { // one question alone comes too early every second time
			go func() { _, _ = d.Snapshot(ctx) }()
			synctest.Wait() // the director reads the table
			if err := door.Take(ctx); err != nil {
				t.Fatal(err)
			}
			have, err := kernel.Read()
			if err != nil || len(have) != 1 || len(have[0].Destinations) != 1 {
				t.Fatalf("the door is open on %q (%v)", lvstest.Text(have), err)
			}
			if err := door.Drop(ctx); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if have, err := kernel.Read(); err != nil || len(have) > 0 {
				t.Fatalf("the door is closed on %q (%v)", lvstest.Text(have), err)
			}
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
