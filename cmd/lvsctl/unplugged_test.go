package main

import (
	"fmt"
	"os"

	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// unplugged is "lvsctl ldirectord CONFIG start" on a kernel that lives in memory.
// With it the bench measures what watching costs on machines without IPVS: all
// of the daemon runs, and only the answers of netlink are missing.
func unplugged() {
	c, status := parseLdirectord("lvsctl-unplugged", os.Args[1:])
	if c == nil {
		os.Exit(status)
	}
	c.find()
	l, status := c.strict()
	if status != statusOK {
		os.Exit(status)
	}
	if err := c.serveUnplugged(l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(statusFailed)
	}
}

func (c *ldCommand) serveUnplugged(l *loaded) error {
	host, err := check.NewHost()
	if err != nil {
		return err
	}
	defer host.Close()
	d, err := c.assemble(c.path, l, lvstest.New(), host)
	if err != nil {
		return err
	}
	return d.run(nil)
}
