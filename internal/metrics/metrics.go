// Package metrics says what a director does in the words of Prometheus: the names
// and labels, and the text. It asks nobody: who calls it has looked.
package metrics

import (
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Host is a director at one moment.
type Host struct {
	Version string // of lvsctl
	// Table is what the kernel holds, if TableRead.
	Table     lvs.State
	TableRead bool
	Daemons   []Daemon
}

// Daemon is one daemon of lvsctl on this host. When it does not answer there is
// no more than its name.
type Daemon struct {
	Name        string
	Up          bool   // it answers
	Kind, File  string // as in its status
	FileRefused bool
	Instances   []appliance.InstanceStatus
	Sync        []appliance.SyncStatus
	ldirector.Snapshot
}

// Write prints all figures in Prometheus' text format 0.0.4, always in the same
// order. The error is the writer's.
func (h *Host) Write(w io.Writer) error {
	s := &sheet{said: map[string]bool{}}
	s.put(buildInfo, 1, h.Version)
	s.yes(tableRead, h.TableRead)
	for _, svc := range h.Table {
		s.kernel(svc)
	}
	routers := false
	for i := range h.Daemons {
		s.daemon(&h.Daemons[i])
		routers = routers || len(h.Daemons[i].Instances) > 0
	}
	s.yes(keepalivedUp, routers)
	return s.write(w)
}

// kernel is what the kernel counts.
func (s *sheet) kernel(svc lvs.ServiceState) {
	service := svc.Key.String()
	s.traffic(serviceConnections, svc.Stats, service)
	for _, d := range svc.Destinations {
		server := d.Addr.String()
		s.traffic(destinationConnections, d.Stats, service, server)
		s.put(destinationActive, float64(d.Active), service, server)
		s.put(destinationInactive, float64(d.Inactive), service, server)
		s.put(destinationPersistent, float64(d.Persistent), service, server)
		s.put(destinationWeight, float64(d.Weight), service, server)
	}
}

// traffic is five counters, which stand in the catalogue in this order.
func (s *sheet) traffic(first metric, c lvs.Stats, labels ...string) {
	for i, n := range []uint64{c.Conns, c.InPkts, c.OutPkts, c.InBytes, c.OutBytes} {
		s.put(first+metric(i), float64(n), labels...)
	}
}

func (s *sheet) daemon(d *Daemon) {
	s.yes(daemonUp, d.Up, d.Name)
	if !d.Up {
		return
	}
	s.put(daemonInfo, 1, d.Name, d.Kind, d.File)
	s.yes(fileRefused, d.FileRefused, d.Name)
	s.yes(daemonRunning, d.Phase == ldirector.Running, d.Name)
	s.yes(kernelError, d.KernelError != "", d.Name)
	s.put(refusedChanges, float64(len(d.Refused)), d.Name)
	s.moment(kernelLooked, d.Looked, d.Name)
	for i := range d.Virtuals {
		s.virtual(d.Name, &d.Virtuals[i])
	}
	for i := range d.Instances {
		s.instance(d.Name, &d.Instances[i])
	}
	for _, y := range d.Sync {
		s.yes(syncRunning, y.Error == "", d.Name, y.Role, y.Interface)
	}
}

// moment is a time in seconds since 1970; there is none for what never was.
func (s *sheet) moment(m metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.put(m, float64(t.UnixMilli())/1000, labels...)
	}
}

func (s *sheet) virtual(daemon string, v *ldirector.VirtualStatus) {
	labels := []string{daemon, v.Service, v.Name}
	s.yes(virtualServing, v.State == "serving", labels...)
	s.yes(virtualOpen, v.Open, labels...)
	s.yes(virtualInKernel, v.InKernel, labels...)
	s.put(virtualStrength, float64(v.Strength), labels...)
	s.put(virtualQuorum, float64(v.Quorum), labels...)
	s.yes(virtualDrift, v.Drift != "", labels...)
	s.put(virtualStrangers, float64(len(v.Strangers)), labels...)
	for i := range v.Members {
		s.server(daemon, v.Service, &v.Members[i])
	}
}

func (s *sheet) server(daemon, service string, m *ldirector.MemberStatus) {
	labels := []string{daemon, service, m.Server}
	s.yes(serverServing, m.Standing == ldirector.Serving, labels...)
	s.put(serverStanding, 1, daemon, service, m.Server, m.Standing.String())
	s.moment(serverSince, m.Since, labels...)
	if m.Want != nil {
		s.put(serverWanted, float64(*m.Want), labels...)
	}
	s.yes(serverDrift, m.Drift != "", labels...)
	for _, c := range m.Checks {
		s.check(c, daemon, service, m.Server, c.ID)
	}
}

func (s *sheet) check(c ldirector.CheckStatus, labels ...string) {
	if c.Health != "unknown" {
		s.yes(checkUp, c.Health == "up", labels...)
	}
	s.put(checkFails, float64(c.Fails), labels...)
	if n := len(c.Last); n > 0 {
		s.put(checkTook, c.Last[n-1].Took, labels...)
	}
}

func (s *sheet) instance(daemon string, in *appliance.InstanceStatus) {
	s.yes(instanceMaster, keepalived.StateName(in.State) == "MASTER", daemon, in.Name)
	s.put(instancePriority, float64(in.Priority), daemon, in.Name)
	s.put(instanceMode, 1, daemon, in.Name, in.Mode)
	s.moment(instanceSince, in.Since, daemon, in.Name)
	s.put(instanceDuplicates, float64(len(in.Duplicates)), daemon, in.Name)
	s.put(instanceForeign, float64(len(in.Foreign)), daemon, in.Name)
	s.put(instanceRemoved, float64(in.Removed), daemon, in.Name)
	for _, why := range slices.Sorted(maps.Keys(in.Counters.Dropped)) {
		s.put(instanceDropped, float64(in.Counters.Dropped[why]), daemon, in.Name, short(why))
	}
	for _, h := range in.Holders {
		s.yes(holderTaken, h.Taken, daemon, in.Name, h.Name)
	}
	for _, r := range in.Resources {
		s.yes(resourceRunning, r.State == "running", daemon, in.Name, r.Name)
	}
	for _, t := range in.Tracked {
		if t.Health != "unknown" {
			s.yes(trackedUp, t.Health == "up", daemon, in.Name, t.Name)
		}
	}
	s.keepalived(in)
}

// short is a reason without its advice.
func short(reason string) string {
	return reason[:strings.IndexAny(reason+",", ",;")]
}

// keepalived is an instance in the words of its exporter.
func (s *sheet) keepalived(in *appliance.InstanceStatus) {
	router := []string{in.Name, in.Interface, strconv.Itoa(int(in.VRID))}
	for _, a := range in.Addresses {
		address, link := placeOf(a, in.Interface)
		s.put(keepalivedState, float64(keepalived.StateNumber(keepalived.StateName(in.State))), in.Name, link, router[2], address)
	}
	c, dropped := in.Counters, in.Counters.DroppedFor
	for _, one := range []struct {
		metric metric
		n      uint64
	}{
		{keepalivedReceived, c.AdvertsReceived}, {keepalivedSent, c.AdvertsSent},
		{keepalivedBecame, c.BecameMaster}, {keepalivedReleased, c.ReleasedMaster},
		{keepalivedZeroReceived, c.StopsReceived}, {keepalivedZeroSent, c.StopsSent},
		{keepalivedLength, dropped(vrrp.BadLength)}, {keepalivedInterval, dropped(vrrp.BadInterval)},
		{keepalivedTTL, dropped(vrrp.BadTTL)}, {keepalivedType, dropped(vrrp.BadType)},
		{keepalivedAddresses, dropped(vrrp.BadAddrs)}, {keepalivedAuthType, dropped(vrrp.BadAuthType)},
		{keepalivedPassword, dropped(vrrp.BadPassword)},
	} {
		s.put(one.metric, float64(one.n), router...)
	}
}

// placeOf takes an address of a status apart ("10.0.0.1/24 dev eth0"): the address
// as keepalived's own dump has it, without /32 or /128, and its device.
func placeOf(text, link string) (address, device string) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return "", link
	}
	address = words[0]
	if p, err := netip.ParsePrefix(address); err == nil && p.IsSingleIP() {
		address = p.Addr().String()
	}
	if i := slices.Index(words, "dev"); i >= 0 && i+1 < len(words) {
		link = words[i+1]
	}
	return address, link
}
