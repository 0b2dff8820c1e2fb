package kernel

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { lab.Main(m) }

// newHost moves the test's thread into a network namespace of its own, which
// dies with the test, and makes it the host that [lvstest.Behaviour] speaks of.
func newHost(t testing.TB) {
	t.Helper()
	lab.Need(t)
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	must(t, netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Flags: 0x1000}}))
	eth0, err := netlink.LinkByName("eth0")
	must(t, err)
	addr, err := netlink.ParseAddr("10.9.0.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(eth0, addr))
	must(t, netlink.LinkSetMulticastOn(eth0))
	must(t, netlink.LinkSetUp(eth0))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, opts ...Option) *Client {
	t.Helper()
	c, err := Open(opts...)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func do(t testing.TB, c *Client, changes ...lvs.Change) {
	t.Helper()
	for _, err := range c.Do(changes) {
		must(t, err)
	}
}

func table(t testing.TB, c *Client) string {
	t.Helper()
	got, err := c.Read()
	must(t, err)
	return lvstest.Text(got)
}

// errnoIn is the kernel's number in a verdict.
func errnoIn(err error) syscall.Errno {
	var c *lvs.ChangeError
	if errors.As(err, &c) {
		return c.Errno
	}
	return 0
}

// The same behaviours through both encoders: what they leave is the same table.
func TestBehaviours(t *testing.T) {
	for _, path := range []struct {
		name string
		opts []Option
	}{{"moby", nil}, {"own", []Option{OwnEncoderOnly()}}} {
		for _, b := range lvstest.Behaviours {
			t.Run(path.name+"/"+b.Name, func(t *testing.T) {
				newHost(t)
				c := open(t, path.opts...)
				do(t, c, b.Setup...)
				for _, d := range b.Daemons {
					must(t, c.StartDaemon(d))
				}
				err := c.Do([]lvs.Change{b.Change})[0]
				if errnoIn(err) != b.Errno || (err == nil) != (b.Errno == 0) {
					t.Errorf("the kernel says %v, want errno %d (%v)", err, b.Errno, b.Errno)
				}
				if got := table(t, c); got != b.Want {
					t.Errorf("table is\n%swant\n%s", got, b.Want)
				}
			})
		}
	}
}
