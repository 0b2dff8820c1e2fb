// Package heartbeat reads the files of heartbeat (Linux-HA version 1): ha.cf,
// haresources and authkeys.
//
// Heartbeat's own protocol is not spoken. What its files want (who has which
// addresses and services, how long a silence is a death, whether resources
// return) is carried out with VRRP, so all nodes of a cluster have to change
// together. Every directive that has no counterpart there is a problem with its
// line.
package heartbeat

import (
	"io/fs"
	"net/netip"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
)

// File is one of the three files as it was found.
type File struct {
	Name string // for problems; empty: there is none
	Text []byte
	// Mode is the permissions: heartbeat refuses keys that others can read. 0: not
	// known.
	Mode fs.FileMode
}

// Files are those of a folder. Any may be absent.
type Files struct {
	HaCf, Haresources, Authkeys File
}

// Options say what is known of this host. The zero value knows nothing: no node
// is this one.
type Options struct {
	// Node is this host's name, as uname -n prints it. Empty: not known, and the
	// site is that of the node that prefers the first line of haresources.
	Node string
	// LinkOf names the interface in whose subnet an address is, "" if none is.
	// nil: not known.
	LinkOf func(netip.Addr) string
	// Own tells whether an address is one of this host's. nil: not known.
	Own func(netip.Addr) bool
}

// Cluster is what the three files say.
type Cluster struct {
	Nodes []string
	// Self is this node.
	Self                                    string
	Keepalive, Deadtime, Warntime, Initdead time.Duration
	Deadping                                time.Duration
	AutoFailback                            bool
	Media                                   []Medium
	Pings                                   []Ping
	// IPFail tells whether a node that reaches fewer of Pings gives up.
	IPFail                          bool
	LogFile, DebugFile, LogFacility string
	Groups                          []Group
	Auth                            Auth

	opt Options
}

// Medium is a link that heartbeats go over.
type Medium struct {
	Kind   string // bcast, mcast, ucast
	Link   string
	Addr   netip.Addr // the group of mcast, the peer of ucast
	Source ldirector.Source
}

// Ping is one ping node, or a group of which any one has to answer.
type Ping struct {
	Name   string
	Addrs  []string // addresses or names
	Source ldirector.Source
}

// Group is a line of haresources: what moves together.
type Group struct {
	// Name is that of the virtual router: the node, and a number from the node's
	// second line on. It is the same on all nodes.
	Name      string
	Node      string // that has them when all are well
	VRID      uint8  // made of the node and the first address: see vrids
	Addresses []config.Address
	Resources []config.Resource
	Source    ldirector.Source
}

// Auth is the key that authkeys chooses.
type Auth struct {
	Method string // crc, md5, sha1; empty: no file
	Key    string
	Source ldirector.Source
}

// Parse reads the files. It does not fail: what it cannot make sense of is an
// error among the problems, which are sorted.
func Parse(files Files, opt Options) (*Cluster, []config.Problem) {
	p := parser{c: &Cluster{opt: opt, AutoFailback: true}}
	p.haCf(files.HaCf)
	p.haresources(files.Haresources)
	p.authkeys(files.Authkeys)
	p.finish(files)
	config.SortProblems(p.problems)
	return p.c, p.problems
}
