package vrrp

import "fmt"

// Reason says why an advertisement was dropped. It is an error whose text tells
// what to look at.
type Reason uint8

// The reasons, in the order of the checks.
const (
	BadLength    Reason = iota + 1 // too short, or not as long as its number of addresses says
	BadTTL                         // TTL or hop limit of a multicast is not 255: it was forwarded
	BadVersion                     // not the version of the instance
	BadVRID                        // for another virtual router
	BadAuthType                    // authentication of another type
	BadPassword                    // the password is wrong
	BadInterval                    // version 2: the interval is not ours
	BadType                        // not an advertisement
	BadAddrs                       // the addresses are not ours
	BadChecksum                    // damaged, or forged
	NotMulticast                   // unicast, but the instance uses multicast
	NotUnicast                     // multicast, but the instance has peers
	UnknownPeer                    // unicast from an address that is no peer
	OtherGroup                     // to another multicast group, which another instance here has joined
	NoReason     Reason = 0        // accepted
	reasons             = int(OtherGroup) + 1
)

var reasonText = [reasons]string{
	BadLength:    "bad length",
	BadTTL:       "TTL is not 255, so it is not from this network",
	BadVersion:   "other VRRP version",
	BadVRID:      "other virtual_router_id",
	BadAuthType:  "other authentication type",
	BadPassword:  "wrong password",
	BadInterval:  "other advert_int; with VRRPv2 both machines will be master until it is the same on both",
	BadType:      "not an advertisement",
	BadAddrs:     "other virtual addresses; both machines will be master until the lists are the same",
	BadChecksum:  "bad checksum",
	NotMulticast: "unicast, but this instance uses multicast",
	NotUnicast:   "multicast, but this instance has unicast peers",
	UnknownPeer:  "not from a unicast peer",
	OtherGroup:   "to another multicast group",
}

// Error is the reason in words.
func (r Reason) Error() string {
	if r == NoReason || int(r) >= reasons {
		return fmt.Sprintf("reason %d", uint8(r))
	}
	return reasonText[r]
}

// Counts are dropped advertisements by [Reason].
type Counts [reasons]uint64

// Total is the number of all that were dropped.
func (c *Counts) Total() uint64 {
	var n uint64
	for _, v := range c {
		n += v
	}
	return n
}
