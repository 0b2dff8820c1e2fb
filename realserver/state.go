package realserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// State is what the way up did, kept for the way down. It has to be stored before
// the first step is taken: a step that is then never taken does no harm, since the
// way down looks at the host as well.
type State struct {
	Version int        `json:"version"` // 1
	VIPs    []VIPState `json:"vips"`    // with NAT one without an address, if a gateway was set
	// Shared are the steps that serve all VIPs: settings, devices, ports. They are
	// taken back with the last VIP that wants them.
	Shared []netif.Step `json:"shared"`
}

// VIPState is one VIP that is up by our doing. One whose Steps are empty was there
// when we came; the way down leaves it.
type VIPState struct {
	VIP       netip.Addr   `json:"vip,omitzero"`
	Method    Method       `json:"method"`
	Interface string       `json:"interface,omitempty"`
	Label     string       `json:"label,omitempty"`
	Tunnel    Tunnel       `json:"tunnel,omitempty"`
	Port      uint16       `json:"port,omitempty"`
	NoRoute   bool         `json:"no_route,omitempty"`
	KeepARP   bool         `json:"keep_arp,omitempty"`
	Gateways  []netip.Addr `json:"gateways,omitempty"`
	Steps     []netif.Step `json:"steps"`
}

// Remember is the state once the setup is up on a host that is now as have says.
func Remember(st State, have netif.Snapshot, s Setup) State {
	next := State{Version: 1, VIPs: slices.Clone(st.VIPs), Shared: slices.Clone(st.Shared)}
	for _, key := range s.keys() {
		i := slices.IndexFunc(next.VIPs, func(v VIPState) bool { return v.VIP == key })
		if i < 0 {
			next.VIPs = append(next.VIPs, s.vipState(key))
			continue
		}
		next.VIPs[i].Gateways = mergeGateways(next.VIPs[i].Gateways, s.Gateways)
	}
	for _, w := range Explain(have, s) {
		if w.Done {
			continue
		}
		if !w.VIP.IsValid() {
			next.Shared = remember(next.Shared, w.Step)
			continue
		}
		i := slices.IndexFunc(next.VIPs, func(v VIPState) bool { return v.VIP == w.VIP })
		next.VIPs[i].Steps = remember(slices.Clone(next.VIPs[i].Steps), w.Step)
	}
	slices.SortStableFunc(next.VIPs, func(a, b VIPState) int { return a.VIP.Compare(b.VIP) })
	return next
}

// mergeGateways keeps the gateway of a family that the new ones do not have.
func mergeGateways(old, now []netip.Addr) []netip.Addr {
	merged := slices.Clone(now)
	for _, gw := range old {
		if !slices.ContainsFunc(now, func(n netip.Addr) bool { return n.Is6() == gw.Is6() }) {
			merged = append(merged, gw)
		}
	}
	return merged
}

// Conflict is why a setup cannot go up beside what is up: a VIP of it is up in
// another way.
func (st State) Conflict(s Setup) error {
	var errs []error
	for _, v := range st.VIPs {
		if !v.VIP.IsValid() || !slices.Contains(s.VIPs, v.VIP) {
			continue
		}
		now, then := s, v.setup()
		now.Label, then.Label = "", ""
		if !alike(now, then) {
			errs = append(errs, fmt.Errorf("%v is up by method %s in another way; take it down first: lvsctl realserver down --vip %v", v.VIP, v.Method, v.VIP))
		}
	}
	return errors.Join(errs...)
}

// remember adds a step. One on the same thing is replaced: that it is to be done
// again means that the host has been restarted, or that someone else undid it, and
// what is found now is what has to come back.
func remember(steps []netif.Step, step netif.Step) []netif.Step {
	for i, old := range steps {
		if sameThing(old, step) {
			steps[i] = step
			return steps
		}
	}
	return append(steps, step)
}

func sameThing(a, b netif.Step) bool {
	return a.Op == b.Op && a.Addr.Key() == b.Addr.Key() && a.Route.Dst == b.Route.Dst && a.Route.Link == b.Route.Link &&
		a.Route.Metric == b.Route.Metric && a.Link.Name == b.Link.Name && a.Fou == b.Fou && a.Module == b.Module && a.Sysctl.Key == b.Sysctl.Key
}

// Forget is the state once the setup is down.
func Forget(st State, have netif.Snapshot, s Setup) State {
	going := st.going(s)
	gone := st.unshared(have, going)
	next := State{Version: 1}
	for _, v := range st.VIPs {
		if !slices.ContainsFunc(going, func(g VIPState) bool { return g.VIP == v.VIP }) {
			next.VIPs = append(next.VIPs, v)
		}
	}
	for _, step := range st.Shared {
		if !slices.ContainsFunc(gone, func(g netif.Step) bool { return sameThing(g, step) }) {
			next.Shared = append(next.Shared, step)
		}
	}
	return next
}

// keys are what the state knows a setup by: its VIPs. With NAT that is the zero
// address, since there is nothing of a VIP on the host.
func (s Setup) keys() []netip.Addr {
	if s.Method != NAT {
		return s.VIPs
	}
	if len(s.Gateways) == 0 {
		return nil // nothing is done, so there is nothing to remember
	}
	return []netip.Addr{{}}
}

func (s Setup) vipState(vip netip.Addr) VIPState {
	return VIPState{VIP: vip, Method: s.Method, Interface: s.Interface, Label: s.Label, Tunnel: s.Tunnel, Port: s.Port,
		NoRoute: s.NoRoute, KeepARP: s.KeepARP, Gateways: s.Gateways, Steps: []netif.Step{}}
}

// setup is what a VIP was raised with.
func (v VIPState) setup() Setup {
	s := Setup{Method: v.Method, Interface: v.Interface, Label: v.Label, Tunnel: v.Tunnel, Port: v.Port,
		NoRoute: v.NoRoute, KeepARP: v.KeepARP, Gateways: v.Gateways}
	if v.VIP.IsValid() {
		s.VIPs = []netip.Addr{v.VIP}
	}
	return s
}

// Setups are the setups that are up, VIPs that were raised alike in one.
func (st State) Setups() []Setup {
	var setups []Setup
	for _, v := range st.VIPs {
		s := v.setup()
		i := slices.IndexFunc(setups, func(t Setup) bool { return alike(s, t) })
		if i < 0 {
			setups = append(setups, s)
			continue
		}
		setups[i].VIPs = append(setups[i].VIPs, s.VIPs...)
	}
	return setups
}

func alike(a, b Setup) bool {
	gateways := slices.Equal(a.Gateways, b.Gateways)
	return gateways && a.Method == b.Method && a.Interface == b.Interface && a.Label == b.Label && a.Tunnel == b.Tunnel && a.Port == b.Port &&
		a.NoRoute == b.NoRoute && a.KeepARP == b.KeepARP
}

func (st State) knows(vip netip.Addr) bool {
	return slices.ContainsFunc(st.VIPs, func(v VIPState) bool { return v.VIP == vip })
}

// going are the VIPs that a setup takes down: those it names, however they were
// raised; without names all of its method; without a method all.
func (st State) going(s Setup) []VIPState {
	var going []VIPState
	for _, v := range st.VIPs {
		goes := s.Method == "" || s.Method == v.Method
		if v.VIP.IsValid() && len(s.VIPs) > 0 {
			goes = slices.Contains(s.VIPs, v.VIP)
		}
		if goes {
			going = append(going, v)
		}
	}
	return going
}

// unshared are the shared steps that no VIP wants any more.
func (st State) unshared(have netif.Snapshot, going []VIPState) []netif.Step {
	if len(going) == 0 {
		return nil
	}
	var wanted []netif.Step
	for _, v := range st.VIPs {
		if slices.ContainsFunc(going, func(g VIPState) bool { return g.VIP == v.VIP }) {
			continue
		}
		for _, w := range Explain(have, v.setup()) {
			wanted = append(wanted, w.Step)
		}
	}
	var left []netif.Step
	for _, step := range st.Shared {
		if !slices.ContainsFunc(wanted, func(w netif.Step) bool { return sameThing(w, step) }) {
			left = append(left, step)
		}
	}
	return left
}

// Limits of a state that is read back.
const (
	maxStateSize = 4 << 20
	maxSteps     = 64 // of a VIP; we take no more than three
)

// Decode reads a stored state. What it does not understand it refuses: a torn file
// must not be taken for one that remembers nothing.
func Decode(data []byte) (State, error) {
	var st State
	if len(data) > maxStateSize {
		return st, fmt.Errorf("state: %d bytes, at most %d", len(data), maxStateSize)
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return State{}, fmt.Errorf("state: %w", err)
	}
	if err := st.check(); err != nil {
		return State{}, fmt.Errorf("state: %w", err)
	}
	return st, nil
}

// Encode is the state as it is stored.
func (st State) Encode() ([]byte, error) {
	st.Version = 1
	data, err := json.MarshalIndent(st, "", "  ")
	return append(data, '\n'), err
}

// check refuses steps that we never take: a state is run as root.
func (st State) check() error {
	if st.Version != 1 {
		return fmt.Errorf("version %d: this program knows version 1", st.Version)
	}
	if len(st.VIPs) > MaxVIPs || len(st.Shared) > MaxVIPs {
		return fmt.Errorf("%d virtual addresses and %d steps: at most %d", len(st.VIPs), len(st.Shared), MaxVIPs)
	}
	seen := map[netip.Addr]bool{}
	for _, v := range st.VIPs {
		if seen[v.VIP] || len(v.Steps) > maxSteps {
			return fmt.Errorf("virtual address %v is there twice or has too many steps", v.VIP)
		}
		seen[v.VIP] = true
		if err := v.setup().Check(); err != nil {
			return err
		}
		for _, step := range v.Steps {
			if err := checkStep(step, netif.AddAddr, netif.AddRoute); err != nil {
				return err
			}
		}
	}
	for _, step := range st.Shared {
		if err := checkStep(step, netif.SetSysctl, netif.AddLink, netif.LinkUp, netif.LoadModule, netif.AddFou, netif.ReplaceRoute); err != nil {
			return err
		}
	}
	return nil
}

func checkStep(step netif.Step, may ...netif.Op) error {
	fine := slices.Contains(may, step.Op)
	switch step.Op {
	case netif.AddAddr:
		fine = fine && step.Addr.Prefix.IsValid()
	case netif.AddRoute, netif.ReplaceRoute:
		fine = fine && step.Route.Dst.IsValid()
	case netif.SetSysctl:
		fine = fine && strings.HasPrefix(step.Sysctl.Key, "net.ipv4.conf.") && !strings.Contains(step.Sysctl.Key, "..")
	}
	if !fine {
		return fmt.Errorf("step %q is none of ours", step.Op)
	}
	return nil
}
