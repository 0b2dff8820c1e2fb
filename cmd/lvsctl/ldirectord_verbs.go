package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// How long to wait for a daemon to begin or to end.
const (
	startPatience = 60 * time.Second
	stopPatience  = 30 * time.Second
)

// start brings up the daemon, and returns when it holds its pid file and the
// table. l is the configuration, if it was read already.
func (c *ldCommand) start(l *loaded) int {
	status := statusOK
	if l == nil {
		if l, status = c.strict(); status != statusOK {
			return status
		}
	}
	if c.debug || c.foreground || l.file.Globals().Supervised {
		return c.inFront(l)
	}
	_, err := daemon.Detach(c.daemonArgv(), startPatience)
	if err != nil {
		c.complain("%v", err)
		return ldFailed
	}
	return statusOK
}

// daemonArgv is what the daemon has as its command line: "PROG CONFIG start", in
// this order, is what the cluster's agent looks for when it has to kill it.
func (c *ldCommand) daemonArgv() []string {
	argv := []string{os.Args[0]}
	if c.prog != os.Args[0] {
		argv = append(argv, os.Args[1]) // lvsctl ldirectord
	}
	if c.name != "ldirectord" || c.config != "ldirectord.cf" {
		argv = append(argv, c.config)
	}
	return append(argv, "start")
}

// detached is the daemon's own process.
func (c *ldCommand) detached(parent *daemon.Parent) int {
	l, status := c.strict()
	if status != statusOK {
		// The parent has read it a moment ago, and said what is wrong.
		parent.Failed(fmt.Errorf("%s changed while the daemon started; try again", c.path))
		return status
	}
	if err := c.serve(l, parent); err != nil {
		parent.Failed(err)
		return ldFailed
	}
	return statusOK
}

func (c *ldCommand) inFront(l *loaded) int {
	if err := c.serve(l, nil); err != nil {
		c.complain("%v", err)
		return ldFailed
	}
	return statusOK
}

// restart reads the file first: a broken one must not cost the daemon that runs.
// The table stays as it is while one daemon takes over from the other, so that no
// connection is lost; services that the file no longer has are removed.
func (c *ldCommand) restart(pid int) int {
	l, status := c.strict()
	if status != statusOK {
		return status
	}
	if pid != 0 {
		end := c.ended
		if c.askHandover(pid) != nil {
			end = c.end // without its socket there is the peer's way
		}
		if err := end(pid); err != nil {
			c.complain("%v", err)
			return ldFailed
		}
	}
	return c.start(l)
}

// stop waits until the services are removed, which the peer does not: what comes
// next (a reboot, the end of a container) would meet a table half cleaned. It
// does not need the file.
func (c *ldCommand) stop(pid int) int {
	if status := c.inspect(pid); status != statusOK || pid == 0 {
		return status
	}
	c.journal("Invoking ldirectord invoked as: " + strings.Join(os.Args, " "))
	if err := c.end(pid); err != nil {
		c.complain("%v", err)
		return ldFailed
	}
	return statusOK
}

// inspect says what is wrong with the file when a daemon runs that does not need
// it; without one the peer's status for such a file is the answer.
func (c *ldCommand) inspect(pid int) int {
	_, status := c.loose()
	if status != statusOK && pid != 0 {
		c.complain("the file is not in order, but the daemon with pid %d has the last one that was", pid)
		return statusOK
	}
	return status
}

// askHandover asks the daemon to end and to leave the table to the next one.
func (c *ldCommand) askHandover(pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), reloadPatience)
	defer cancel()
	return daemon.NewClient(c.socket()).Call(ctx, http.MethodPost, "/v1/handover", handoverRequest{pid}, nil)
}

// end ends the daemon and waits for its pid file to go.
func (c *ldCommand) end(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d cannot be stopped: %w", pid, err)
	}
	return c.ended(pid)
}

func (c *ldCommand) ended(pid int) error {
	deadline := time.Now().Add(stopPatience)
	for time.Now().Before(deadline) {
		if now, _ := c.pidFile().Owner(); now != pid {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("process %d has not ended within %v; its log says what it waits for", pid, stopPatience)
}

// reload lets the daemon read the file. A broken one is said here too; the
// daemon then keeps what it has.
func (c *ldCommand) reload(pid int) int {
	_, status := c.loose()
	if pid == 0 {
		if status == statusOK {
			status = ldFailed
		}
		return status
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		c.complain("process %d cannot be told: %v", pid, err)
		return ldFailed
	}
	return status
}

func (c *ldCommand) status(pid int, stale bool) int {
	if c.verbose || c.json {
		return c.statusVerbose()
	}
	if status := c.inspect(pid); status != statusOK {
		return status
	}
	if pid != 0 {
		fmt.Fprintf(os.Stderr, "ldirectord for %s is running with pid: %d\n", c.path, pid)
		c.statusOfChildren()
		return statusOK
	}
	status := ldStopped
	if stale {
		fmt.Fprintf(os.Stderr, "ldirectord stale pid file %s for %s\n", c.pidFile().Path, c.path)
		status = ldFailed
	}
	fmt.Printf("ldirectord is stopped for %s\n", c.path)
	return status
}

// statusVerbose asks the daemon itself.
func (c *ldCommand) statusVerbose() int {
	ctx, cancel := context.WithTimeout(context.Background(), askPatience)
	defer cancel()
	st, err := askStatus(ctx, daemon.NewClient(c.socket()))
	if errors.Is(err, daemon.ErrNoDaemon) {
		fmt.Printf("ldirectord is stopped for %s\n", c.path)
		return ldStopped
	}
	if err != nil {
		c.complain("%v", err)
		return ldFailed
	}
	out := output{format: "text"}
	if c.json {
		out.format = "json"
	}
	if err := out.say(os.Stdout, st, printStatusVerbose(st)); err != nil {
		c.complain("%v", err)
		return ldFailed
	}
	return statusOK
}

func (c *ldCommand) statusOfChildren() {
	l, problems, err := c.load(dialect.Options{})
	if err != nil || len(problems) > 0 && l.file.Refusal() != nil {
		return
	}
	for _, child := range l.file.Globals().Execute {
		argv, err := childArgv(child, "status")
		if err != nil {
			c.complain("%v", err)
			return
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			c.complain("execute=%s: %v", child, err)
		}
	}
}

// childArgv runs a verb for another configuration (execute=).
func childArgv(config, verb string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if filepath.Base(self) == "ldirectord" {
		return []string{self, config, verb}, nil // a copy under the peer's name
	}
	return []string{self, "ldirectord", config, verb}, nil
}
