package check

import (
	"fmt"
	"os/user"
	"strconv"
	"syscall"
)

// KnownUser tells why programs cannot be run as somebody, given by name or number:
// nil when they can.
func KnownUser(name string) error {
	_, err := lookUp(name)
	return err
}

func lookUp(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("the user %s to run as: there is none", name)
		}
	}
	return u, nil
}

// credential finds a user and a group, by name or number. It is nil for no user,
// and for the one that we are already.
func credential(name, group string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	u, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	gid := u.Gid
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return nil, fmt.Errorf("the group %s to run as: there is none", group)
			}
		}
		gid = g.Gid
	}
	return numbers(u.Uid, gid)
}

func numbers(uid, gid string) (*syscall.Credential, error) {
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return nil, err
	}
	g, err := strconv.ParseUint(gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if int(u) == syscall.Geteuid() && int(g) == syscall.Getegid() {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}, nil
}
