package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/vrrp"
)

// Where the peer writes what signals ask for; programs that watch it read there.
const (
	kaDataFile  = "/tmp/keepalived.data"
	kaStatsFile = "/tmp/keepalived.stats"
	kaJSONFile  = "/tmp/keepalived.json"
)

// statsBase is what the counters were when they were cleared.
type statsBase struct {
	mu   sync.Mutex
	base map[string]kaStats
}

// kaStats are the peer's counters, by its names.
type kaStats struct {
	AdvertRcvd        uint64 `json:"advert_rcvd"`
	AdvertSent        uint64 `json:"advert_sent"`
	BecomeMaster      uint64 `json:"become_master"`
	ReleaseMaster     uint64 `json:"release_master"`
	PacketLenErr      uint64 `json:"packet_len_err"`
	AdvertIntervalErr uint64 `json:"advert_interval_err"`
	IPTTLErr          uint64 `json:"ip_ttl_err"`
	InvalidTypeRcvd   uint64 `json:"invalid_type_rcvd"`
	AddrListErr       uint64 `json:"addr_list_err"`
	InvalidAuthtype   uint64 `json:"invalid_authtype"`
	AuthtypeMismatch  uint64 `json:"authtype_mismatch"`
	AuthFailure       uint64 `json:"auth_failure"`
	PriZeroRcvd       uint64 `json:"pri_zero_rcvd"`
	PriZeroSent       uint64 `json:"pri_zero_sent"`
}

func statsOf(s appliance.InstanceStatus) kaStats {
	c, dropped := s.Counters, s.Counters.DroppedFor
	return kaStats{
		AdvertRcvd: c.AdvertsReceived, AdvertSent: c.AdvertsSent, BecomeMaster: c.BecameMaster, ReleaseMaster: c.ReleasedMaster,
		PacketLenErr: dropped(vrrp.BadLength), AdvertIntervalErr: dropped(vrrp.BadInterval), IPTTLErr: dropped(vrrp.BadTTL),
		InvalidTypeRcvd: dropped(vrrp.BadType), AddrListErr: dropped(vrrp.BadAddrs), AuthtypeMismatch: dropped(vrrp.BadAuthType),
		AuthFailure: dropped(vrrp.BadPassword), PriZeroRcvd: c.StopsReceived, PriZeroSent: c.StopsSent,
	}
}

// less takes away what there was when the counters were cleared.
func (k kaStats) less(o kaStats) kaStats {
	return kaStats{
		k.AdvertRcvd - o.AdvertRcvd, k.AdvertSent - o.AdvertSent, k.BecomeMaster - o.BecomeMaster, k.ReleaseMaster - o.ReleaseMaster,
		k.PacketLenErr - o.PacketLenErr, k.AdvertIntervalErr - o.AdvertIntervalErr, k.IPTTLErr - o.IPTTLErr,
		k.InvalidTypeRcvd - o.InvalidTypeRcvd, k.AddrListErr - o.AddrListErr, k.InvalidAuthtype - o.InvalidAuthtype,
		k.AuthtypeMismatch - o.AuthtypeMismatch, k.AuthFailure - o.AuthFailure, k.PriZeroRcvd - o.PriZeroRcvd, k.PriZeroSent - o.PriZeroSent,
	}
}

// since are the counters of an instance since they were cleared; those of one that
// was made anew meanwhile are all new.
func (b *statsBase) since(s appliance.InstanceStatus) kaStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, base := statsOf(s), b.base[s.Name]
	if now.AdvertSent < base.AdvertSent || now.AdvertRcvd < base.AdvertRcvd {
		return now
	}
	return now.less(base)
}

func (b *statsBase) clear(all []appliance.InstanceStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.base = map[string]kaStats{}
	for _, s := range all {
		b.base[s.Name] = statsOf(s)
	}
}

// answer writes the file that a signal asks for.
func (d *kaDaemon) answer(s os.Signal) error {
	all, err := d.instances()
	if err != nil {
		return err
	}
	pid := os.Getpid()
	switch s {
	case syscall.SIGUSR1:
		d.log.Printf(daemon.Info, "Printing VRRP data for process(%d) on signal", pid)
		return writeDump(kaDataFile, kaData(all))
	case syscall.SIGUSR2:
		d.log.Printf(daemon.Info, "Printing VRRP stats for process(%d) on signal", pid)
		return writeDump(kaStatsFile, kaStatsText(all, &d.stats))
	case kaSignals["STATS_CLEAR"]:
		d.log.Printf(daemon.Info, "Clearing VRRP stats for process(%d) on signal", pid)
		text := kaStatsText(all, &d.stats)
		d.stats.clear(all)
		return writeDump(kaStatsFile, text)
	}
	d.log.Printf(daemon.Info, "Printing VRRP as json for process(%d) on signal", pid)
	text, err := kaJSON(all, &d.stats)
	if err != nil {
		return err
	}
	return writeDump(kaJSONFile, text)
}

// writeDump replaces a file in a folder where everybody may write: a link that
// somebody has put there is not followed.
func writeDump(path, text string) error {
	tmp, err := os.CreateTemp("/tmp", ".lvsctl-dump-")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// kaData is the file of SIGUSR1: of the peer's lines those that can be had here,
// with its names.
func kaData(all []appliance.InstanceStatus) string {
	var b strings.Builder
	b.WriteString("------< VRRP Topology >------\n")
	for _, s := range all {
		line := func(format string, args ...any) { fmt.Fprintf(&b, "   "+format+"\n", args...) }
		fmt.Fprintf(&b, " VRRP Instance = %s\n", s.Name)
		line("VRRP Version = %d", s.Version)
		if s.Group != "" {
			line("Sync group = %s", s.Group)
		}
		line("State = %s", keepalived.StateName(s.State))
		if s.Master != "" && s.State == "BACKUP" {
			line("Master router = %s", s.Master)
			line("Master priority = %d", s.MasterPriority)
		}
		line("Wantstate = %s", kaWant(s))
		line("Last transition = %.6f (%s)", seconds(s.Since), s.Since.Local().Format("Mon Jan _2 15:04:05.000000 2006"))
		line("Interface = %s", s.Interface)
		line("Using src_ip = %s", s.Source)
		line("Gratuitous ARP delay = %d", int(s.Garp.Delay.Seconds()))
		line("Gratuitous ARP repeat = %d", s.Garp.Repeat)
		line("Gratuitous ARP refresh = %d", int(s.Garp.Refresh.Seconds()))
		line("Gratuitous ARP refresh repeat = %d", s.Garp.RefreshRepeat)
		line("Gratuitous ARP lower priority delay = %d", int(s.Garp.LowerDelay.Seconds()))
		line("Gratuitous ARP lower priority repeat = %d", s.Garp.LowerRepeat)
		line("Virtual Router ID = %d", s.VRID)
		line("Priority = %d", s.Base)
		line("Effective priority = %d", s.Priority)
		line("Advert interval = %g sec", s.Interval)
		line("Preempt = %s", map[bool]string{true: "disabled", false: "enabled"}[s.NoPreempt])
		if n := len(s.VIPs); n > 0 {
			line("Virtual IP (%d):", n)
			for _, a := range kaAddresses(s) {
				line("  %s", a)
			}
		}
	}
	return b.String()
}

func kaWant(s appliance.InstanceStatus) string {
	if s.State == "MASTER" {
		return "MASTER"
	}
	return "BACKUP"
}

// kaAddresses are the addresses as the peer writes them.
func kaAddresses(s appliance.InstanceStatus) []string {
	held := keepalived.StateName(s.State) == "MASTER"
	out := []string{}
	for _, a := range s.VIPs {
		text := a.Prefix.String()
		if a.Prefix.IsSingleIP() {
			text = a.Prefix.Addr().String()
		}
		text += fmt.Sprintf(" dev %s scope %v", a.Link, a.Scope)
		if a.Label != "" {
			text += " label " + a.Label
		}
		if held {
			text += " set"
		}
		out = append(out, text)
	}
	return out
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// kaStatsText is the file of SIGUSR2.
func kaStatsText(all []appliance.InstanceStatus, base *statsBase) string {
	var b strings.Builder
	for _, s := range all {
		k := base.since(s)
		fmt.Fprintf(&b, "VRRP Instance: %s\n  Advertisements:\n    Received: %d\n    Sent: %d\n", s.Name, k.AdvertRcvd, k.AdvertSent)
		fmt.Fprintf(&b, "  Became master: %d\n  Released master: %d\n", k.BecomeMaster, k.ReleaseMaster)
		fmt.Fprintf(&b, "  Packet Errors:\n    Length: %d\n    TTL: %d\n    Invalid Type: %d\n    Advertisement Interval: %d\n    Address List: %d\n",
			k.PacketLenErr, k.IPTTLErr, k.InvalidTypeRcvd, k.AdvertIntervalErr, k.AddrListErr)
		fmt.Fprintf(&b, "  Authentication Errors:\n    Invalid Type: %d\n    Type Mismatch: %d\n    Failure: %d\n",
			k.InvalidAuthtype, k.AuthtypeMismatch, k.AuthFailure)
		fmt.Fprintf(&b, "  Priority Zero:\n    Received: %d\n    Sent: %d\n", k.PriZeroRcvd, k.PriZeroSent)
	}
	return b.String()
}

// kaJSONInstance is an instance in the file of --signum=JSON, by the peer's keys.
type kaJSONInstance struct {
	Data  kaJSONData `json:"data"`
	Stats kaStats    `json:"stats"`
}

type kaJSONData struct {
	Iname              string   `json:"iname"`
	DontTrackPrimary   int      `json:"dont_track_primary"`
	VmacIfname         string   `json:"vmac_ifname"`
	IfpIfname          string   `json:"ifp_ifname"`
	MasterPriority     uint8    `json:"master_priority"`
	LastTransition     float64  `json:"last_transition"`
	GarpDelay          int      `json:"garp_delay"`
	GarpRefresh        int      `json:"garp_refresh"`
	GarpRep            int      `json:"garp_rep"`
	GarpRefreshRep     int      `json:"garp_refresh_rep"`
	GarpLowerPrioDelay int      `json:"garp_lower_prio_delay"`
	GarpLowerPrioRep   int      `json:"garp_lower_prio_rep"`
	VRID               uint8    `json:"vrid"`
	BasePriority       uint8    `json:"base_priority"`
	EffectivePriority  uint8    `json:"effective_priority"`
	VipSet             bool     `json:"vipset"`
	AdverInt           float64  `json:"adver_int"`
	MasterAdverInt     float64  `json:"master_adver_int"`
	Accept             int      `json:"accept"`
	NoPreempt          bool     `json:"nopreempt"`
	State              int      `json:"state"`
	WantState          int      `json:"wantstate"`
	Version            uint8    `json:"version"`
	Vips               []string `json:"vips"`
	// AuthType is the peer's number. What is secret stays so: the peer's auth_data
	// is in a file under /tmp.
	AuthType int `json:"auth_type"`
}

func kaJSON(all []appliance.InstanceStatus, base *statsBase) (string, error) {
	out := []kaJSONInstance{}
	for _, s := range all {
		d := kaJSONData{
			Iname: s.Name, IfpIfname: s.Interface, MasterPriority: s.MasterPriority, LastTransition: seconds(s.Since),
			GarpDelay: int(s.Garp.Delay.Seconds()), GarpRefresh: int(s.Garp.Refresh.Seconds()), GarpRep: s.Garp.Repeat,
			GarpRefreshRep: s.Garp.RefreshRepeat, GarpLowerPrioDelay: int(s.Garp.LowerDelay.Seconds()), GarpLowerPrioRep: s.Garp.LowerRepeat,
			VRID: s.VRID, BasePriority: s.Base, EffectivePriority: s.Priority, VipSet: keepalived.StateName(s.State) == "MASTER",
			AdverInt: s.Interval, MasterAdverInt: s.MasterInterval, Accept: 1, NoPreempt: s.NoPreempt,
			State: keepalived.StateNumber(keepalived.StateName(s.State)), WantState: keepalived.StateNumber(kaWant(s)), Version: s.Version, Vips: kaAddresses(s),
		}
		if s.State == "MASTER" {
			d.MasterPriority = 0 // so the peer has it
		}
		if s.Password {
			d.AuthType = 1
		}
		out = append(out, kaJSONInstance{d, base.since(s)})
	}
	text, err := json.Marshal(out)
	return string(text), err
}
