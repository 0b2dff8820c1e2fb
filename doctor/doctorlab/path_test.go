package doctorlab

import (
	"fmt"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// path follows a connection on all hosts at once: what each has to say of it.
func (c *cluster) path(target, director, server, client string) {
	c.t.Helper()
	watch := func(h *lab.Host) *lab.Process {
		p := h.Start(program(), "doctor", "--wait", "300ms", "--path", target, "--listen", "3m")
		p.Await("watching for connections", time.Minute)
		return p
	}
	c.weight(target, "0")
	d, r := watch(c.director), watch(c.r1)
	out := c.client.Run(program(), "doctor", "--wait", "300ms", "--path", target, "--listen", "30s")
	c.said(c.client, out, "path: the first packet left on eth0", client)
	for _, p := range []struct {
		host *lab.Host
		*lab.Process
		want []string
	}{{c.director, d, []string{"path: from ", director}}, {c.r1, r, []string{server, "path: the answer left on eth0"}}} {
		if err := p.Wait(); err != nil {
			c.t.Errorf("%v: %v", p.host, err)
		}
		c.said(p.host, p.Output(), p.want...)
	}
	c.weight(target, "1")
}

// weight is that of the second server, so that connections go to the first.
func (c *cluster) weight(target, w string) {
	servers := c.director.Run("ipvsadm", "-Sn")
	for line := range strings.Lines(servers) {
		words := strings.Fields(line)
		if words[0] == "-a" && words[2] == target && strings.Contains(words[4], "12") {
			c.director.Run(append([]string{"ipvsadm", "-e", "-t", target, "-r", words[4], "-w", w}, c.how...)...)
		}
	}
}

func (c *cluster) said(h *lab.Host, out string, want ...string) {
	c.t.Helper()
	for _, w := range append(want, "ok: nothing found") {
		if !strings.Contains(out, w) {
			c.t.Errorf("%v does not say %q:\n%s", h, w, out)
		}
	}
	if strings.Contains(out, "BROKEN") {
		c.t.Error(fmt.Sprint(h, " sees the way end:\n", out))
	}
}
