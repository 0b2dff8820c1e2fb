package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/lvs"
)

// expireNodest: a connection whose server is no longer in the table keeps its entry
// and loses its packets, in silence, until it times out.
func expireNodest(f Facts) []Finding {
	if !f.sysctl("net.ipv4.vs.expire_nodest_conn", "0") {
		return nil
	}
	count, example := 0, lvs.Connection{}
	for _, c := range f.Connections {
		// A template has no state, and what has ended misses nothing.
		if !slices.Contains([]string{"NONE", "TIME_WAIT", "CLOSE"}, c.State) && f.orphaned(c) {
			count, example = count+1, c
		}
	}
	if count == 0 {
		return nil
	}
	return []Finding{advice(fmt.Sprintf("connections to servers that the table no longer has: %d, as %v to %v", count, example.Client, example.Server),
		"their packets are dropped without a word, and a client that uses its port again waits too; with expire_nodest_conn they are told at once").
		mend(f.set("net.ipv4.vs.expire_nodest_conn", "1"))}
}

// orphaned is whether a connection's service is in the table and its server is not.
func (f Facts) orphaned(c lvs.Connection) bool {
	for _, s := range f.Table {
		if s.Service.Addr == c.Virtual && strings.EqualFold(s.Protocol.String(), c.Protocol) {
			return !slices.ContainsFunc(s.Destinations, func(d lvs.DestinationState) bool { return d.Addr == c.Server })
		}
	}
	return false
}

func expireQuiescent(f Facts) []Finding {
	var found []Finding
	if !f.sysctl("net.ipv4.vs.expire_quiescent_template", "0") {
		return nil
	}
	for p := range f.pairs(lvs.Masq, lvs.Gate, lvs.Tunnel, lvs.Local) {
		if p.Flags&lvs.Persistent == 0 || p.Weight > 0 {
			continue
		}
		found = append(found, advice(fmt.Sprintf("server %v of %v has weight 0, clients stick to servers for %d s, and expire_quiescent_template is 0", p.DestinationState.Addr, p.Key, p.Timeout),
			"clients that know the server are sent to it again and again, also when it is dead, for as long as they come back in time").
			mend(f.set("net.ipv4.vs.expire_quiescent_template", "1")))
	}
	return found
}

// connReuse has two sides. With mode 0 a client that uses a port again is sent to
// the server it had, also one of weight 0. With mode 1 and conntrack, kernels before
// 5.9 drop the first SYN of such a client, which tries again a second later.
func connReuse(f Facts) []Finding {
	const key = "net.ipv4.vs.conn_reuse_mode"
	if f.sysctl(key, "0") {
		for p := range f.pairs(lvs.Masq, lvs.Gate, lvs.Tunnel) {
			if p.Weight == 0 && p.Protocol != lvs.UDP && !f.sysctl("net.ipv4.vs.expire_nodest_conn", "1") {
				return []Finding{advice(fmt.Sprintf("%s is 0, and server %v of %v has weight 0", key, p.DestinationState.Addr, p.Key),
					"a client that uses a port again is sent to the server that it had, although that one takes no new connections").mend(f.set(key, "1"))}
			}
		}
		return nil
	}
	if f.sysctl(key, "1") && f.sysctl("net.ipv4.vs.conntrack", "1") && olderThan(f.Release, 5, 9) && len(f.Table) > 0 {
		return []Finding{advice(fmt.Sprintf("%s and conntrack are 1 on kernel %s", key, f.Release),
			"before Linux 5.9 a client that uses a port again loses its first packet and waits a second").mend(f.set(key, "0"))}
	}
	return nil
}

// olderThan compares a kernel's release; one that cannot be read is not older.
func olderThan(release string, major, minor int) bool {
	words := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(words) < 2 {
		return false
	}
	a, errA := strconv.Atoi(words[0])
	b, errB := strconv.Atoi(words[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}

// sloppyTCP: both directors compute the same server, but the new master would refuse
// packets of connections that it has not seen begin.
func sloppyTCP(f Facts) []Finding {
	if !f.sysctl("net.ipv4.vs.sloppy_tcp", "0") || len(f.Daemons) > 0 || len(f.Adverts) == 0 {
		return nil
	}
	for _, s := range f.Table {
		if s.Protocol == lvs.TCP && slices.Contains([]string{"sh", "mh", "dh"}, s.Scheduler) && len(s.Destinations) > 0 {
			return []Finding{advice(fmt.Sprintf("%v is scheduled by %s, there is a second director and no sync daemon, and sloppy_tcp is 0", s.Key, s.Scheduler),
				"the other director would choose the same servers, but refuses connections in whose middle it takes over").mend(f.set("net.ipv4.vs.sloppy_tcp", "1"))}
		}
	}
	return nil
}

func syncLink(f Facts) []Finding {
	var found []Finding
	for _, d := range f.Daemons {
		l, ok := f.Host.Link(d.Interface)
		switch {
		case !ok:
			found = append(found, wrong(fmt.Sprintf("the %v sync daemon uses %s, which is not there", d.Role, d.Interface), "connections are not passed on, and a failover breaks them").
				say(restart(d, "INTERFACE", 0)...))
		case !l.Up:
			found = append(found, wrong(fmt.Sprintf("the %v sync daemon uses %s, which is down", d.Role, d.Interface), "connections are not passed on, and a failover breaks them").
				mend(netif.Step{Op: netif.LinkUp, Link: netif.Link{Name: d.Interface}}))
		}
	}
	return found
}

// restart are the lines that start a sync daemon anew, on a link, with a size of
// messages; 0 leaves the size to the kernel.
func restart(d lvs.Daemon, link string, maxLen int) []string {
	start := fmt.Sprintf("ipvsadm --start-daemon %v --mcast-interface %s --syncid %d", d.Role, link, d.SyncID)
	if maxLen > 0 {
		start += fmt.Sprintf(" --sync-maxlen %d", maxLen)
	}
	return []string{fmt.Sprintf("ipvsadm --stop-daemon %v", d.Role), start}
}

// syncMTU: a message that is cut into fragments is lost with any one of them.
func syncMTU(f Facts) []Finding {
	var found []Finding
	for _, d := range f.Daemons {
		l, ok := f.Host.Link(d.Interface)
		headers := 28 // IPv4 and UDP
		if d.Group.Is6() {
			headers = 48
		}
		if !ok || d.Role != lvs.Master || int(d.MaxLen)+headers <= l.MTU {
			continue
		}
		found = append(found, advice(fmt.Sprintf("the master sync daemon sends messages of %d bytes, and %s carries %d", int(d.MaxLen)+headers, d.Interface, l.MTU),
			"each is cut into fragments, and with one of them the whole message is lost").
			say(restart(d, d.Interface, l.MTU-headers)...))
	}
	return found
}
