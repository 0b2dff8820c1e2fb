package ldirectord

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/lvs"
)

// Resolver finds what names stand for.
type Resolver interface {
	// Addr is the first address of a host in a family. Literal addresses never
	// come here.
	Addr(host string, f lvs.Family) (netip.Addr, error)
	// Port is the port of a service for a protocol ("tcp", "udp", or "" for
	// whichever comes first). Numbers never come here.
	Port(service, protocol string) (uint16, error)
}

// System is the resolver of this host: the C library's idea of hosts as far as
// Go has it, and /etc/services. Every look-up ends with ctx.
func System(ctx context.Context) Resolver {
	return &system{ctx: ctx, services: sync.OnceValue(readServices)}
}

type system struct {
	ctx      context.Context // the one a caller of Parse would otherwise pass through every function
	services func() []service
}

func (s *system) Addr(host string, f lvs.Family) (netip.Addr, error) {
	network := "ip4"
	if f == lvs.IPv6 {
		network = "ip6"
	}
	found, err := net.DefaultResolver.LookupNetIP(s.ctx, network, host)
	if err != nil {
		return netip.Addr{}, unknown(err)
	}
	if len(found) == 0 {
		return netip.Addr{}, fmt.Errorf("no %v address", f)
	}
	if f == lvs.IPv4 {
		return found[0].Unmap(), nil
	}
	return found[0].WithZone(""), nil
}

// unknown is why there is no address, without what differs each time: the port that
// was asked from, and which server was the last to be silent. Who tries again says
// nothing as long as the reason is the same.
func unknown(err error) error {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return err
	case dns.IsTimeout:
		return errors.New("no name server has answered in time")
	}
	why := dns.Err[strings.LastIndex(dns.Err, ": ")+1:] // "read udp 10.0.0.1:40123->10.0.0.9:53: read: connection refused"
	why = strings.TrimSpace(why)
	if dns.IsNotFound || dns.Server == "" {
		return errors.New(why)
	}
	return fmt.Errorf("name server %s: %s", dns.Server, why)
}

// Port looks the service up as getservbyname(3) does, which unlike Go's own
// look-up is a matter of upper and lower case.
func (s *system) Port(name, protocol string) (uint16, error) {
	for _, e := range s.services() {
		if e.name == name && (protocol == "" || protocol == e.protocol) {
			return e.port, nil
		}
	}
	if protocol == "" {
		return 0, errors.New("no such service in /etc/services")
	}
	return 0, fmt.Errorf("no such %s service in /etc/services", protocol)
}

type service struct {
	name, protocol string
	port           uint16
}

// wellKnown stands in for /etc/services where there is none, as in a bare
// container.
const wellKnown = `
ftp 21/tcp
ssh 22/tcp
smtp 25/tcp mail
domain 53/tcp
domain 53/udp
http 80/tcp www
pop3 110/tcp pop-3
nntp 119/tcp
ntp 123/udp
imap2 143/tcp imap
ldap 389/tcp
https 443/tcp
https 443/udp
submission 587/tcp
ldaps 636/tcp
imaps 993/tcp
pop3s 995/tcp
radius 1812/udp
mysql 3306/tcp
sip 5060/tcp
sip 5060/udp
postgresql 5432/tcp
http-alt 8080/tcp
`

func readServices() []service {
	text, err := os.ReadFile("/etc/services")
	if err != nil {
		text = []byte(wellKnown)
	}
	return parseServices(string(text))
}

func parseServices(text string) []service {
	var all []service
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(words[:1:1], words[2:]...) {
			all = append(all, service{name, protocol, uint16(port)})
		}
	}
	return all
}

// errOffline is the answer to every name when there is no resolver.
var errOffline = errors.New("a name, and none are looked up here")

type lookup struct {
	name string
	kind string // family, or the protocol of a port
}

type answer struct {
	addr netip.Addr
	port uint16
	err  error
}

// addr finds the address of a host as getaddrinfo(3) with the hints of
// ldirectord does.
func (r *reader) addr(host string, f lvs.Family) (netip.Addr, error) {
	host = unbracket(host)
	if host == "" {
		return loopback(f), nil // that is what an empty name stands for
	}
	if f == lvs.IPv4 {
		if a, ok := aton(host); ok {
			return a, nil
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if lvs.FamilyOf(a) != f {
			return netip.Addr{}, fmt.Errorf("not an %v address", f)
		}
		return a.WithZone(""), nil
	}
	if r.f.opt.Resolver == nil {
		return netip.Addr{}, errOffline
	}
	key := lookup{host, f.String()}
	found, ok := r.names[key]
	if !ok {
		found.addr, found.err = r.f.opt.Resolver.Addr(host, f)
		r.names[key] = found
	}
	return found.addr, found.err
}

// port finds a port. protocol may be "", any.
func (r *reader) port(name, protocol string) (uint16, error) {
	if allDigits(name) {
		n, err := strconv.ParseUint(name, 10, 16)
		if err != nil {
			return 0, errors.New("ports end at 65535")
		}
		return uint16(n), nil
	}
	if r.f.opt.Resolver == nil {
		return 0, errOffline
	}
	key := lookup{name, "port " + protocol}
	found, ok := r.names[key]
	if !ok {
		found.port, found.err = r.f.opt.Resolver.Port(name, protocol)
		r.names[key] = found
	}
	return found.port, found.err
}

func loopback(f lvs.Family) netip.Addr {
	if f == lvs.IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// unbracket takes what stands between the first "[" and the last "]", if
// anything does.
func unbracket(host string) string {
	from, to := strings.IndexByte(host, '['), strings.LastIndexByte(host, ']')
	if from < 0 || to < from {
		return host
	}
	return host[from+1 : to]
}

// aton reads an IPv4 address in every way that inet_aton(3) knows: fewer than
// four parts, octal and hexadecimal ones. ldirectord's names pass through it.
func aton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var whole uint64
	for i, p := range parts {
		limit := uint64(255)
		if i == len(parts)-1 {
			limit = 1<<(8*(5-len(parts))) - 1
		}
		n, ok := atonPart(p)
		if !ok || n > limit {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			whole |= n
			break
		}
		whole |= n << (24 - 8*i)
	}
	return netip.AddrFrom4([4]byte{byte(whole >> 24), byte(whole >> 16), byte(whole >> 8), byte(whole)}), true
}

func atonPart(p string) (uint64, bool) {
	base := 10
	switch {
	case len(p) > 2 && (p[:2] == "0x" || p[:2] == "0X"):
		base, p = 16, p[2:]
	case len(p) > 1 && p[0] == '0':
		base, p = 8, p[1:]
	}
	n, err := strconv.ParseUint(p, base, 33)
	return n, err == nil
}

func allDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

func isOffline(err error) bool { return errors.Is(err, errOffline) }
