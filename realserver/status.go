package realserver

import (
	"net/netip"

	"github.com/lvsctl/lvsctl/internal/netif"
)

// Status is how a host stands to a setup. Its JSON is an interface: version 1.
type Status struct {
	Version  int         `json:"version"`
	OK       bool        `json:"ok"` // nothing is missing and nothing is wrong
	Method   Method      `json:"method"`
	VIPs     []VIPStatus `json:"vips"`
	Settings []Setting   `json:"settings"` // what all VIPs share
	// Persistent is whether all of it comes back after a restart, by our files.
	Persistent bool      `json:"persistent"`
	Findings   []Finding `json:"findings"`
}

// VIPStatus is one virtual address.
type VIPStatus struct {
	VIP       netip.Addr `json:"vip"`
	OK        bool       `json:"ok"`
	Interface string     `json:"interface"`
	Label     string     `json:"label,omitempty"` // that it has, if it is there
	Address   bool       `json:"address"`         // it is there
	Route     *bool      `json:"route,omitempty"` // its host route is; absent when none is wanted
	Silent    bool       `json:"silent"`          // no network card answers for it
	Missing   []string   `json:"missing"`         // command lines
}

// Setting is a sysctl, a device or a port.
type Setting struct {
	Line string `json:"line"` // the command that brings it about
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
}

// Look compares a host with a setup. Persistent and the findings of files are for
// the caller, who can read files, to add.
func Look(have netif.Snapshot, s Setup) Status {
	st := Status{Version: 1, Method: s.Method, VIPs: []VIPStatus{}, Settings: []Setting{}, Findings: Inspect(have, s)}
	wants := Explain(have, s)
	left := 0
	for _, w := range wants {
		if !w.Done {
			left++
		}
		if !w.VIP.IsValid() {
			st.Settings = append(st.Settings, Setting{Line: w.Step.String(), OK: w.Done, Why: w.Why})
		}
	}
	for _, vip := range s.VIPs {
		st.VIPs = append(st.VIPs, lookAt(have, s, wants, vip))
	}
	if st.Findings == nil {
		st.Findings = []Finding{}
	}
	st.OK = left == 0 && !Broken(st.Findings)
	return st
}

func lookAt(have netif.Snapshot, s Setup, wants []Want, vip netip.Addr) VIPStatus {
	v := VIPStatus{VIP: vip, Interface: s.carrier(vip.Is6()), Silent: silent(have, vip), Missing: []string{}}
	if s.Method == NAT {
		// An address that is not here needs no hiding.
		v.Interface, v.Silent = "", len(have.Holders(vip)) == 0 || v.Silent
	}
	for _, a := range have.Holders(vip) {
		if a.Link == v.Interface {
			v.Label = a.Label
		}
	}
	for _, w := range wants {
		if w.VIP != vip {
			continue
		}
		if !w.Done {
			v.Missing = append(v.Missing, w.Step.String())
		}
		switch w.Step.Op {
		case netif.AddAddr:
			v.Address = w.Done
		case netif.AddRoute:
			v.Route = &w.Done
		}
	}
	v.OK = len(v.Missing) == 0 && (v.Silent || s.KeepARP)
	return v
}

// silent is whether no network card of the host would answer for an address: none
// has it, and no ARP request for one of another device is answered.
func silent(have netif.Snapshot, vip netip.Addr) bool {
	for _, l := range have.Links {
		if l.Loopback || l.NoARP {
			continue
		}
		for _, a := range have.Holders(vip) {
			if a.Link == l.Name {
				return false
			}
		}
		if v, ok := have.Effective("ipv4", l.Name, "arp_ignore"); vip.Is4() && (!ok || !hides(v)) {
			return false
		}
	}
	return true
}
