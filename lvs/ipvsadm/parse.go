package ipvsadm

import (
	"math"
	"net/netip"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
)

// What ipvsadm takes when it is told nothing.
const (
	defaultScheduler   = "wlc"
	defaultPersistence = 360 // seconds; its own manual says 300
	defaultInterface   = "eth0"
	defaultWeight      = 1

	maxSeconds     = 31 * 24 * 3600
	maxNameLength  = 15    // of a scheduler, an engine or an interface in the kernel
	maxSyncMessage = 65507 // what fits into one UDP datagram
)

// Parse reads a command line, without the program's name. It looks names up in
// names when it meets one that is no number. The error is an [*Error].
func Parse(args []string, names Names) (Command, error) {
	p := parser{names: names}
	return p.parse(args)
}

// parser reads one command line after the other; every line starts from the
// same defaults.
type parser struct {
	scanner
	names Names
	cmd   Command
	seen  options

	// The service, as far as it has been read. An option sees what stands to the
	// left of it, which is how ipvsadm works and scripts rely on.
	protocol lvs.Protocol
	family   lvs.Family // 0 before any service
	addr     netip.Addr
	port     uint16
	mark     uint32
	service  lvs.Service // all of it but the key

	server     lvs.Destination
	serverPort uint16
	serverAddr netip.Addr
	schedFlags string
}

func (p *parser) parse(args []string) (Command, error) {
	*p = parser{names: p.names, scanner: scanner{args: args, aside: p.aside[:0]}}
	p.service.Netmask = math.MaxUint32
	p.server = lvs.Destination{Method: lvs.Gate, Weight: defaultWeight}
	if err := p.command(); err != nil {
		return Command{}, err
	}
	if p.cmd.Verb == VerbHelp || p.cmd.Verb == VerbVersion {
		return p.cmd, nil
	}
	for _, step := range [...]func(*parser) error{
		(*parser).options, (*parser).words, (*parser).readSchedFlags, (*parser).combination, (*parser).finish,
	} {
		if err := step(p); err != nil {
			return Command{}, err
		}
	}
	return p.cmd, nil
}

// command reads the first option, which must be a command.
func (p *parser) command() error {
	w, value, given, why := p.scan()
	if w == nil || why != "" || !w.isCommand() {
		return errNoCommand
	}
	p.cmd.Verb = w.verb
	if w.read == nil {
		return nil
	}
	return w.read(p, w, value, given)
}

// options reads the other options, left to right.
func (p *parser) options() error {
	for {
		w, value, given, why := p.scan()
		switch {
		case why != "":
			return &Error{Text: p.typed() + ": " + why, Status: statusKernel}
		case w == nil:
			return nil
		case w.isCommand():
			return refuse("invalid option `%s'", p.typed())
		}
		if w.opt != optFree {
			if p.seen.has(w.opt) {
				return refuse("multiple '%s' options specified", optionNames[w.opt])
			}
			p.seen |= setOf(w.opt)
		}
		if w.read == nil {
			continue
		}
		if err := w.read(p, w, value, given); err != nil {
			return err
		}
	}
}

// words looks at what is no option. Only --set takes any.
func (p *parser) words() error {
	rest := p.aside
	if p.cmd.Verb == VerbSetTimeouts {
		if len(rest) < 3 {
			return refuse("--set option requires 3 timeout values")
		}
		t := &p.cmd.Timeouts
		for i, to := range [...]*uint32{&t.TCP, &t.TCPFin, &t.UDP} {
			if err := readSeconds(to, rest[i], 0); err != nil {
				return err
			}
		}
		rest = rest[3:]
	}
	if len(rest) > 0 {
		return refuse("unexpected argument %s", rest[0])
	}
	return nil
}

// combination checks the options against the table of commands and options.
func (p *parser) combination() error {
	return grammarRules[p.cmd.Verb].check(p.seen, "command")
}

// check goes through the options in their order and reports the first offence.
func (r *rule) check(seen options, kind string) error {
	first := numOptions
	for o := range numOptions {
		switch {
		case !seen.has(o):
			if r.need.has(o) {
				return refuse("You need to supply the '%s' option for the '%s' %s", optionNames[o], r.name, kind)
			}
		case r.one.has(o):
			if first != numOptions {
				return refuse("The option '%s' conflicts with the '%s' option in the '%s' %s",
					optionNames[o], optionNames[first], r.name, kind)
			}
			first = o
		case !(r.need | r.may).has(o):
			return refuse("Illegal '%s' option with the '%s' %s", optionNames[o], r.name, kind)
		}
	}
	return nil
}

// ops are the changes of the table behind the verbs.
var ops = [...]lvs.Op{
	VerbAddService: lvs.AddService, VerbEditService: lvs.EditService, VerbDeleteService: lvs.DeleteService,
	VerbAddServer: lvs.AddDestination, VerbEditServer: lvs.EditDestination, VerbDeleteServer: lvs.DeleteDestination,
	VerbClear: lvs.Flush, VerbZero: lvs.Zero, VerbVersion: 0,
}

// finish checks what only the whole line shows, and puts the command together.
func (p *parser) finish() error {
	p.cmd.Change.Op = ops[p.cmd.Verb]
	switch p.cmd.Verb {
	case VerbAddService, VerbEditService:
		return p.finishService()
	case VerbAddServer, VerbEditServer:
		return p.finishServer()
	case VerbDeleteServer:
		p.cmd.Change.Destination.Addr = netip.AddrPortFrom(p.serverAddr, p.serverPort)
		p.cmd.Change.Service.Key = p.key()
	case VerbDeleteService, VerbZero:
		p.cmd.Change.Service.Key = p.key()
	case VerbList, VerbSave:
		return p.finishListing()
	case VerbStartDaemon:
		if p.cmd.Daemon.Interface == "" {
			p.cmd.Daemon.Interface = defaultInterface
		}
	}
	return nil
}

// key is the service that the line names, zero when it names none.
func (p *parser) key() lvs.Key {
	switch {
	case p.mark != 0:
		return lvs.Marked(p.mark, p.family)
	case p.addr.IsValid():
		return lvs.At(p.protocol, netip.AddrPortFrom(p.addr, p.port))
	}
	return lvs.Key{}
}

func (p *parser) finishService() error {
	s := &p.service
	switch {
	case p.mark == 0 && p.port == 0 && s.Flags&lvs.Persistent == 0:
		return refuse("Zero port specified for non-persistent service")
	case p.mark == 0 && p.protocol != lvs.UDP && s.Flags&lvs.OnePacket != 0:
		return refuse("One-Packet Scheduling is only for UDP virtual services")
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	s.Key = p.key()
	p.cmd.Change.Service = *s
	return nil
}

func (p *parser) finishServer() error {
	d := &p.server
	// The packet reaches a server by -g and -i as the client sent it, so the
	// server's port is the service's. A mark has no port to take.
	if p.mark == 0 && d.Method != lvs.Masq {
		p.serverPort = p.port
	}
	if d.Method != lvs.Tunnel {
		if lvs.FamilyOf(p.serverAddr) != p.family {
			return refuse("Different address family is allowed only for tunneling servers")
		}
		if p.seen&tunnelOptions != 0 {
			return refuse("Tunnel options conflict with forward method")
		}
	} else if err := tunnelRules[d.Tunnel.Type].check(p.seen&(tunnelOptions&^setOf(optTunType)), "tunnel type"); err != nil {
		return err
	}
	d.Addr = netip.AddrPortFrom(p.serverAddr, p.serverPort)
	p.cmd.Change.Service.Key = p.key()
	p.cmd.Change.Destination = *d
	return nil
}

func (p *parser) finishListing() error {
	s := p.seen
	if listConflict(s) {
		return refuse("options conflicts in the list command")
	}
	l := &p.cmd.Listing
	l.Subject = subjectOf(s)
	l.Mode = modeOf(s)
	l.Key = p.key()
	l.Numeric, l.Exact = s.has(optNumeric), s.has(optExact)
	l.NoSort, l.JSON = s.has(optNoSort), s.has(optJSON)
	return nil
}

// listConflict tells whether a view is asked of what has none. Connections have
// one: --persistent-conn shows their engines.
func listConflict(s options) bool {
	return s&setOf(optConnection, optTimeout, optDaemon) != 0 && s&setOf(optStats, optRate, optThresholds) != 0 ||
		s&setOf(optTimeout, optDaemon) != 0 && s.has(optPersistentConn)
}

func subjectOf(s options) Subject {
	switch {
	case s.has(optConnection):
		return Connections
	case s.has(optService):
		return OneService
	case s.has(optTimeout):
		return Timeouts
	case s.has(optDaemon):
		return Daemons
	}
	return Services
}

func modeOf(s options) Mode {
	switch {
	case s.has(optStats):
		return Stats
	case s.has(optRate):
		return Rates
	case s.has(optThresholds):
		return Thresholds
	case s.has(optPersistentConn):
		return PersistentConns
	case s.has(optTunInfo):
		return Tunnels
	}
	return Plain
}

// What follows reads the value of one option each.

func readStartRole(p *parser, _ *word, value string, _ bool) error {
	if !readRole(&p.cmd.Daemon.Role, value) {
		return refuse("illegal start-daemon parameter specified")
	}
	return nil
}

func readStopRole(p *parser, _ *word, value string, _ bool) error {
	if !readRole(&p.cmd.Daemon.Role, value) {
		return refuse("illegal start_daemon specified") // its slip of the pen
	}
	return nil
}

func readRole(to *lvs.Role, value string) bool {
	for _, r := range [...]lvs.Role{lvs.Master, lvs.Backup} {
		if value == r.String() {
			*to = r
			return true
		}
	}
	return false
}

func readService(p *parser, w *word, value string, _ bool) error {
	p.protocol = w.protocol
	addr, port, _, ok := readEndpoint(value, p.protocol, p.names)
	if !ok {
		return refuse("illegal virtual server address[:port] specified")
	}
	p.addr, p.port, p.family = addr, port, lvs.FamilyOf(addr)
	if p.family == lvs.IPv6 {
		p.service.Netmask = 128 // an IPv4 mask to the left of it is lost
	}
	return nil
}

func readMark(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 1, math.MaxUint32)
	if !ok {
		return refuse("invalid fwmark value `%s' specified", value)
	}
	p.mark, p.family = uint32(n), lvs.IPv4
	p.protocol = lvs.TCP // whose names the ports of its servers may have
	return nil
}

func readIPv6(p *parser, _ *word, _ string, _ bool) error {
	if p.mark == 0 {
		return refuse("-6 used before -f\n")
	}
	p.family, p.service.Netmask = lvs.IPv6, 128
	return nil
}

func readScheduler(p *parser, _ *word, value string, _ bool) error {
	p.service.Scheduler = cut(value, maxNameLength)
	return nil
}

func readEngine(p *parser, _ *word, value string, _ bool) error {
	p.service.PE = cut(value, maxNameLength)
	return nil
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

func readPersistent(p *parser, _ *word, value string, given bool) error {
	p.service.Flags |= lvs.Persistent
	if !given {
		p.service.Timeout = defaultPersistence
		return nil
	}
	return readSeconds(&p.service.Timeout, value, 1)
}

func readSeconds(to *uint32, value string, least int64) error {
	n, ok := number(value, least, maxSeconds)
	if !ok {
		return refuse("invalid timeout value `%s' specified", value)
	}
	*to = uint32(n)
	return nil
}

func readNetmask(p *parser, _ *word, value string, _ bool) error {
	if p.family == lvs.IPv6 {
		n, ok := number(value, 1, 128)
		if !ok {
			return refuse("illegal ipv6 netmask specified")
		}
		p.service.Netmask = uint32(n)
		return nil
	}
	mask, ok := readMask(value, p.names)
	if !ok {
		return refuse("illegal virtual server persistent mask specified")
	}
	p.service.Netmask = mask
	return nil
}

func readOnePacket(p *parser, _ *word, _ string, _ bool) error {
	p.service.Flags |= lvs.OnePacket
	return nil
}

func keepSchedFlags(p *parser, _ *word, value string, _ bool) error {
	p.schedFlags = value // they mean something only once the scheduler is known
	return nil
}

// readSchedFlags reads the names that -b had.
func (p *parser) readSchedFlags() error {
	if !p.seen.has(optSchedFlags) {
		return nil
	}
	scheduler := p.service.Scheduler
	if scheduler == "" {
		scheduler = defaultScheduler
	}
	known := 0
	for name := range strings.SplitSeq(p.schedFlags, ",") {
		if name == "" {
			continue
		}
		f := findSchedFlag(name)
		switch {
		case f == nil:
			return refuse("invalid scheduler flag `%s'", name)
		case f.scheduler != "" && f.scheduler != scheduler:
			return refuse("incompatible scheduler flag `%s'", name)
		}
		p.service.Flags |= f.bit
		known++
	}
	if known == 0 { // ipvsadm crashes on "," and ignores ""
		return refuse("invalid scheduler flag `%s'", p.schedFlags)
	}
	return nil
}

// schedFlag is a scheduler flag by one of its names.
type schedFlag struct {
	name      string
	scheduler string // the only one it goes with, "" for any
	bit       lvs.Flags
}

var schedFlags = [...]schedFlag{
	{"flag-1", "", lvs.Sched1},
	{"flag-2", "", lvs.Sched2},
	{"flag-3", "", lvs.Sched3},
	{"sh-fallback", "sh", lvs.Sched1},
	{"sh-port", "sh", lvs.Sched2},
	{"mh-fallback", "mh", lvs.Sched1},
	{"mh-port", "mh", lvs.Sched2},
}

func findSchedFlag(name string) *schedFlag {
	for i := range schedFlags {
		if schedFlags[i].name == name {
			return &schedFlags[i]
		}
	}
	return nil
}

func readServer(p *parser, _ *word, value string, _ bool) error {
	addr, port, hasPort, ok := readEndpoint(value, p.protocol, p.names)
	if !ok {
		return refuse("illegal real server address[:port] specified")
	}
	if !hasPort {
		port = p.port
	}
	p.serverAddr, p.serverPort = addr, port
	return nil
}

func readMethod(p *parser, w *word, _ string, _ bool) error {
	switch w.short {
	case 'g':
		p.server.Method = lvs.Gate
	case 'i':
		p.server.Method = lvs.Tunnel
	case 'm':
		p.server.Method = lvs.Masq
	}
	return nil
}

func readWeight(p *parser, _ *word, value string, _ bool) error {
	return readCount(&p.server.Weight, value, "illegal weight specified")
}

func readUpper(p *parser, _ *word, value string, _ bool) error {
	return readCount(&p.server.Upper, value, "illegal u_threshold specified")
}

func readLower(p *parser, _ *word, value string, _ bool) error {
	return readCount(&p.server.Lower, value, "illegal l_threshold specified")
}

func readCount(to *uint32, value, complaint string) error {
	n, ok := number(value, 0, math.MaxInt32)
	if !ok {
		return refuse("%s", complaint)
	}
	*to = uint32(n)
	return nil
}

func readTunnelType(p *parser, _ *word, value string, _ bool) error {
	for _, t := range [...]lvs.TunnelType{lvs.IPIP, lvs.GUE, lvs.GRE} {
		if value == t.String() {
			p.server.Tunnel.Type = t
			return nil
		}
	}
	return refuse("illegal tunnel type specified")
}

func readTunnelPort(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 1, math.MaxUint16)
	if !ok {
		return refuse("illegal tunnel port specified")
	}
	p.server.Tunnel.Port = uint16(n)
	return nil
}

func readTunnelSum(p *parser, w *word, _ string, _ bool) error {
	switch w.opt {
	case optTunCsum:
		p.server.Tunnel.Flags = lvs.TunnelCsum
	case optTunRemCsum:
		p.server.Tunnel.Flags = lvs.TunnelRemCsum
	}
	return nil
}

func readInterface(p *parser, _ *word, value string, _ bool) error {
	p.cmd.Daemon.Interface = cut(value, maxNameLength)
	return nil
}

func readSyncID(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 0, math.MaxUint8)
	if !ok {
		return refuse("illegal syncid specified")
	}
	p.cmd.Daemon.SyncID = uint32(n)
	return nil
}

func readSyncMaxLen(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 1, maxSyncMessage)
	if !ok {
		return refuse("illegal sync-maxlen specified")
	}
	p.cmd.Daemon.MaxLen = uint16(n)
	return nil
}

func readGroup(p *parser, _ *word, value string, _ bool) error {
	a, err := netip.ParseAddr(value)
	fine := err == nil && a.Zone() == "" && a.IsMulticast()
	if strings.Contains(value, ":") {
		// A mapped IPv4 group is no IPv6 group to the kernel's sockets.
		if !fine || a.Is4In6() {
			return refuse("invalid IPv6 mcast-group `%s'", value)
		}
	} else if !fine {
		return refuse("invalid IPv4 mcast-group `%s'", value)
	}
	p.cmd.Daemon.Group = a
	return nil
}

func readMcastPort(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 1, math.MaxUint16)
	if !ok {
		return refuse("illegal mcast-port specified")
	}
	p.cmd.Daemon.Port = uint16(n)
	return nil
}

func readMcastTTL(p *parser, _ *word, value string, _ bool) error {
	n, ok := number(value, 1, math.MaxUint8)
	if !ok {
		return refuse("illegal mcast-ttl specified")
	}
	p.cmd.Daemon.TTL = uint8(n)
	return nil
}
