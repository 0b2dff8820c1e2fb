package netif

import "github.com/vishvananda/netlink"

// Addrs takes steps that add and delete addresses, all of them even when some are
// refused, and returns one verdict each. What Do would ask for every step, it
// asks once for all: a thousand addresses take a fraction of a second.
func (k *Kernel) Addrs(steps []Step) []error {
	verdicts := make([]error, len(steps))
	links := map[string]netlink.Link{}
	for i, s := range steps {
		err := k.addr(s, links)
		if err != nil && !settled(s.Op, err) {
			verdicts[i] = &StepError{s, err}
		}
	}
	return verdicts
}

// addr is doAddr with a memory for links.
func (k *Kernel) addr(s Step, links map[string]netlink.Link) error {
	link := links[s.Addr.Link]
	if link == nil {
		var err error
		if link, err = k.link(s.Addr.Link); err != nil {
			return err
		}
		links[s.Addr.Link] = link
	}
	if s.Op == DelAddr {
		return k.h.AddrDel(link, kernelAddr(s.Addr))
	}
	return k.h.AddrAdd(link, kernelAddr(s.Addr))
}
