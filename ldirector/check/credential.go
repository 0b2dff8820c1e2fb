package check

import "syscall"

// Credential finds a user and a group to run a program as, by name or number. It
// is nil for no user, and for the one that we are already.
func Credential(user, group string) (*syscall.Credential, error) { return credential(user, group) }
