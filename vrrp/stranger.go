package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// Stranger is somebody who uses our virtual_router_id on our link, and whose
// adverts do not fit ours: another cluster, or a peer that is set up in another
// way. Either leads to two masters.
type Stranger struct {
	Addr     netip.Addr
	Reason   Reason // of the last advert that was dropped
	Version  uint8
	Priority uint8
	Addrs    []netip.Addr // that it advertises, the first few
	More     int          // and so many more
	Count    uint64       // adverts
	Since    time.Time    // the first one
	Last     time.Time    // the last one
}

const (
	// maxStrangers bounds what forged sources can make us remember.
	maxStrangers = 16
	// strangerAddrs is how many of a stranger's addresses are kept.
	strangerAddrs = 4
)

// strangers are those that were heard, in no order.
type strangers []Stranger

// foreign tells whether a dropped advert is that of another user of the VRID;
// what is damaged says nothing about who sent it.
func foreign(why Reason) bool {
	switch why {
	case BadVersion, BadAuthType, BadPassword, BadInterval, BadAddrs, NotMulticast, NotUnicast, UnknownPeer:
		return true
	}
	return false
}

// note remembers a dropped advert. With too many strangers the one that was silent
// for the longest time is forgotten.
func (s *strangers) note(now time.Time, why Reason, a *Advert) {
	if !foreign(why) {
		return
	}
	at := slices.IndexFunc(*s, func(o Stranger) bool { return o.Addr == a.Src })
	switch {
	case at >= 0:
	case len(*s) < maxStrangers:
		*s = append(*s, Stranger{})
		at = len(*s) - 1
	default:
		at = 0
		for i := range *s {
			if (*s)[i].Last.Before((*s)[at].Last) {
				at = i
			}
		}
		(*s)[at] = Stranger{}
	}
	one := &(*s)[at]
	if one.Count == 0 {
		one.Addr, one.Since = a.Src, now
	}
	few := a.Addrs[:min(len(a.Addrs), strangerAddrs)]
	if !slices.Equal(few, one.Addrs) {
		one.Addrs = slices.Clone(few)
	}
	one.More = len(a.Addrs) - len(few)
	one.Reason, one.Version, one.Priority, one.Last = why, a.Version, a.Priority, now
	one.Count++
}

// list is a copy, sorted by address.
func (s strangers) list() []Stranger {
	out := slices.Clone(s)
	slices.SortFunc(out, func(a, b Stranger) int { return a.Addr.Compare(b.Addr) })
	return out
}
