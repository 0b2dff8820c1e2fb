package ipvsadm

import (
	"errors"
	"strings"
	"syscall"
)

// errnoText is what ipvsadm says when the kernel answers a command with errno.
// Verb 0 stands for any.
type errnoText struct {
	verb  Verb
	errno syscall.Errno
	text  string
}

// errnoTexts is looked through from the top.
var errnoTexts = [...]errnoText{
	{VerbAddService, syscall.EEXIST, "Service already exists"},
	{VerbAddService, syscall.ENOENT, "Scheduler or persistence engine not found"},
	{VerbEditService, syscall.ESRCH, "No such service"},
	{VerbEditService, syscall.ENOENT, "Scheduler or persistence engine not found"},
	{VerbDeleteService, syscall.ESRCH, "No such service"},
	{VerbZero, syscall.ESRCH, "No such service"},
	{VerbList, syscall.ESRCH, "No such service"},
	{VerbAddServer, syscall.ESRCH, "Service not defined"},
	{VerbAddServer, syscall.EEXIST, "Destination already exists"},
	{VerbEditServer, syscall.ESRCH, "Service not defined"},
	{VerbEditServer, syscall.ENOENT, "No such destination"},
	{VerbDeleteServer, syscall.ESRCH, "Service not defined"},
	{VerbDeleteServer, syscall.ENOENT, "No such destination"},
	{VerbStartDaemon, syscall.EEXIST, "Daemon has already run"},
	{VerbStopDaemon, syscall.ESRCH, "No daemon is running"},
	{0, syscall.EPERM, "Permission denied (you must be root)"},
	{0, syscall.EINVAL, "Invalid operation.  Possibly wrong module version, address not unicast, ..."},
	{0, syscall.ENOPROTOOPT, "Protocol not available"},
	{0, syscall.ENOMEM, "Memory allocation problem"},
	{0, syscall.EOPNOTSUPP, "Operation not supported with IPv6"},
	{0, syscall.EAFNOSUPPORT, "Operation not supported with specified address family"},
	{0, syscall.EMSGSIZE, "Module is wrong version"},
}

// ErrorText is what ipvsadm prints, without a newline, when the kernel refuses a
// command. An error that carries no [syscall.Errno] speaks for itself.
func ErrorText(v Verb, err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	for _, e := range errnoTexts {
		if e.errno == errno && (e.verb == 0 || e.verb == v) {
			return e.text
		}
	}
	return strerror(errno)
}

// strerror is the C library's text. Go has the same ones, but begins them with
// a small letter.
func strerror(errno syscall.Errno) string {
	s := errno.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// Hints of ours, behind what ipvsadm says.
const (
	hintPermission = "hint: IPVS belongs to root: use sudo, or give the program CAP_NET_ADMIN (setcap cap_net_admin+ep FILE)"
	hintModule     = "hint: load it with \"modprobe ip_vs\"; in a container, on its host. If there is no such module, install the kernel's full set of modules"
)

// hint says how to get the right that is missing, "" when another thing is.
func hint(err error) string {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return hintPermission
	}
	return ""
}

// openHint says how to get what keeps IPVS from being opened. A kernel without
// the module knows no family of that name.
func openHint(err error) string {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOPROTOOPT) {
		return hintModule
	}
	return hint(err)
}

// openText is the reason that stands behind "Can't initialize ipvs". Without
// the module, netlink has no such family; ipvsadm then tries the older way
// through socket options and reports what that says.
func openText(err error) string {
	if errors.Is(err, syscall.ENOENT) {
		err = syscall.ENOPROTOOPT
	}
	return ErrorText(0, err)
}
