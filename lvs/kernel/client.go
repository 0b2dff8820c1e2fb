// Package kernel is the IPVS of the Linux kernel, over generic netlink.
//
// A [Client] reads the table and changes it. Two encoders stand behind it:
// moby/ipvs takes single ordinary changes (moby.go), our own (genl.go) takes all
// questions, batches, and what moby/ipvs cannot say: tunnels, mixed address
// families, partial flag masks, zeroing, sync daemons. Nobody outside can tell
// which of them was used.
package kernel

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/lvs"
	"golang.org/x/sys/unix"
)

// ErrNoVerdict is in the verdict of a change whose answer from the kernel was
// lost: it may have been done or not. Read the table to know.
const ErrNoVerdict = sentinel("the kernel's answer was lost, so it may have been done or not")

// sentinel is an error that costs nothing when the program starts.
type sentinel string

func (e sentinel) Error() string { return string(e) }

var _ lvs.Kernel = (*Client)(nil)

// A Client talks to the IPVS of one network namespace. It is safe for
// concurrent use; its requests go one after the other.
type Client struct {
	mu       sync.Mutex
	patience time.Duration // for one answer

	conn   conn  // nil when it could not be renewed, or was closed:
	gone   error // that is why
	stale  bool  // conn should be another one, which could not be had
	family uint16
	seq    uint32
	limits limits // of a batch on conn; zero until one was needed

	out   encoder
	in    []byte // receive memory, shared by questions and batches
	room  int    // bytes of it that one part of an answer may fill
	moby  mobyHandle
	plain bool // never moby

	// What would be allocated anew for each service otherwise.
	scratch []lvs.DestinationState
	parts   struct {
		bufs  [2][]byte
		sizes [2]int
	}
}

// An Option changes how [Open] opens.
type Option func(*options)

type options struct {
	nsPath     string
	noModprobe bool
	modprobe   []string
	stderr     io.Writer
	plain      bool
}

// InNamespace opens the IPVS of the network namespace that a path names, such
// as /run/netns/blue or /proc/123/ns/net. Without it the namespace is that of
// the thread that calls Open, whichever thread uses the client later.
func InNamespace(path string) Option { return func(o *options) { o.nsPath = path } }

// InNamespaceFD is [InNamespace] for an open descriptor, which stays the caller's.
func InNamespaceFD(fd int) Option {
	return InNamespace(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// WithoutModprobe does not try to load the module when IPVS is missing.
func WithoutModprobe() Option { return func(o *options) { o.noModprobe = true } }

// ModprobeStderr lets modprobe say its errors there. Without it they are part
// of the error that Open returns.
func ModprobeStderr(w io.Writer) Option { return func(o *options) { o.stderr = w } }

// OwnEncoderOnly sends single changes through genl.go too. A program that makes
// one change and ends is faster with it, by a second socket.
func OwnEncoderOnly() Option { return func(o *options) { o.plain = true } }

// replyPatience is how long an answer may take. The kernel answers before send
// returns, so an answer that is not there by then has been lost.
const replyPatience = 2 * time.Second

// Open finds IPVS in the kernel and asks it for its version; when that fails it
// runs "/sbin/modprobe -- ip_vs" once and tries again. The error is an
// *[OpenError].
func Open(opts ...Option) (*Client, error) {
	o := options{modprobe: []string{"/sbin/modprobe", "--", "ip_vs"}}
	for _, f := range opts {
		f(&o)
	}
	conn, dialErr := dial(o.nsPath)
	if dialErr != nil {
		return nil, openError("open a generic netlink socket", dialErr)
	}
	c := newClient(conn)
	c.plain = o.plain
	err := c.hello()
	if err == nil {
		return c, nil
	}
	if !o.noModprobe && err.noModule() {
		err.Modprobe = runModprobe(o)
		if err.Modprobe == nil {
			err = c.hello()
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// newClient is the second door: tests enter here with a scripted conn.
func newClient(c conn) *Client {
	return &Client{conn: c, patience: replyPatience, room: dumpBuffer}
}

func dial(nsPath string) (conn, error) {
	if nsPath != "" {
		return dialIn(nsPath)
	}
	return dialHere()
}

func dialHere() (conn, error) {
	s, err := dialSocket()
	if err != nil {
		return nil, err
	}
	return s, nil
}

func dialIn(nsPath string) (conn, error) {
	fd, err := unix.Open(nsPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", nsPath, err)
	}
	defer unix.Close(fd)
	var c conn
	err = inNamespace(fd, func() (err error) {
		c, err = dialHere()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", nsPath, err)
	}
	return c, nil
}

func runModprobe(o options) error {
	cmd := exec.Command(o.modprobe[0], o.modprobe[1:]...)
	if o.stderr != nil {
		cmd.Stderr = o.stderr
		return cmd.Run()
	}
	out, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// hello finds the family and asks for the version. Both are needed: anyone may
// look for the family, only CAP_NET_ADMIN may speak to it.
func (c *Client) hello() *OpenError {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.resolve(); err != nil {
		return openError(stepFind, err)
	}
	if _, err := c.info(); err != nil {
		return openError("ask IPVS for its version", err)
	}
	return nil
}

// OpenError says why the kernel's IPVS cannot be used.
type OpenError struct {
	Step     string        // what was tried last
	Errno    syscall.Errno // the kernel's reason; 0 when it gave none
	Modprobe error         // why loading the module failed, when that was tried
	Err      error
}

// stepFind is the only step in which ENOENT means that the module is missing.
const stepFind = "find IPVS in the kernel"

func (e *OpenError) noModule() bool { return e.Step == stepFind && e.Errno == unix.ENOENT }

func openError(step string, err error) *OpenError {
	e := &OpenError{Step: step, Err: err}
	errors.As(err, &e.Errno)
	return e
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("cannot %s: %v", e.Step, e.Err)
	if h := e.Hint(); h != "" {
		s += ": " + h
	}
	if e.Modprobe != nil {
		s += fmt.Sprintf(" (%v)", e.Modprobe)
	}
	return s
}

// Hint says what is missing and how to get it, "" when that is not known.
func (e *OpenError) Hint() string {
	if e.noModule() {
		return "the kernel module ip_vs is not loaded: run \"modprobe ip_vs\" as root; if there is no such module, install the distribution's full set of kernel modules or a kernel built with CONFIG_IP_VS"
	}
	switch e.Errno {
	case unix.EPERM, unix.EACCES:
		return "CAP_NET_ADMIN in the first user namespace is missing: run as root"
	case unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.ENOSYS:
		return "this kernel has no generic netlink, so it is no Linux with IPVS"
	}
	return ""
}

// Unwrap also finds [lvs.ErrPermission].
func (e *OpenError) Unwrap() []error {
	if e.Errno == unix.EPERM {
		return []error{e.Err, lvs.ErrPermission}
	}
	return []error{e.Err}
}

// Error is the kernel's refusal of something that is no change of the table.
type Error struct {
	What  string // "start the master sync daemon"
	Errno syscall.Errno
	Hint  string // what to do, "" when the errno says it all

	reason error // a sentinel of package lvs, nil without one
}

func (e *Error) Error() string {
	switch {
	case e.Hint != "":
		return fmt.Sprintf("%s: %v: %s", e.What, e.Errno, e.Hint)
	case e.reason != nil:
		return fmt.Sprintf("%s: %v", e.What, e.reason)
	}
	return fmt.Sprintf("%s: %v", e.What, e.Errno)
}

// Unwrap finds the errno, and [lvs.ErrPermission] or [lvs.ErrNoService] where
// the errno means that.
func (e *Error) Unwrap() []error {
	switch {
	case e.reason != nil:
		return []error{e.Errno, e.reason}
	case e.Errno == unix.EPERM:
		return []error{e.Errno, lvs.ErrPermission}
	}
	return []error{e.Errno}
}

// refusal makes an [Error] of an errno and leaves other errors as they are.
func refusal(what string, err error, hints map[syscall.Errno]string) error {
	if err == nil {
		return nil
	}
	errno, ok := err.(syscall.Errno)
	if !ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	return &Error{What: what, Errno: errno, Hint: hints[errno]}
}

// Close closes the sockets. The client can be used no more.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moby.close()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn, c.gone = nil, errClosed
	return err
}

const errClosed = sentinel("the client is closed")

// renew replaces a conn whose state is not known any more: answers may still be
// on their way that belong to no request. Without a descriptor for another one
// the old has to do until the next request: it alone knows the namespace, and
// late answers are told by their numbers.
func (c *Client) renew() {
	next, err := c.conn.Renew()
	c.stale = err != nil
	if err != nil {
		return
	}
	_ = c.conn.Close() // nothing is lost with it
	c.conn, c.limits = next, limits{}
}

// usable returns why there is no conn.
func (c *Client) usable() error {
	if c.conn == nil {
		return lostError{c.gone}
	}
	if c.stale {
		c.renew()
	}
	return nil
}

// nextSeq is the next sequence number; n of them follow each other from it on.
func (c *Client) nextSeq(n int) uint32 {
	first := c.seq + 1
	if first == 0 || first > ^uint32(0)-uint32(n) {
		first = 1
	}
	c.seq = first + uint32(n) - 1
	return first
}
