package ipvsadm

import "github.com/lvsctl/lvsctl/lvs"

// This file is the grammar as data: which words there are, and which may stand
// together. The parser, the checks, the usage text and the completion all read
// these tables.

// Verb is what a command line asks for: its first option.
type Verb uint8

// The commands, in the order in which ipvsadm explains them.
const (
	VerbAddService Verb = iota + 1
	VerbEditService
	VerbDeleteService
	VerbClear
	VerbAddServer
	VerbEditServer
	VerbDeleteServer
	VerbList
	VerbSave
	VerbRestore
	VerbZero
	VerbSetTimeouts
	VerbStartDaemon
	VerbStopDaemon
	VerbHelp
	VerbVersion
)

// option is anything that is not a command. The order is that in which ipvsadm
// checks combinations: of several offences the first one here is reported.
type option uint8

const (
	optNumeric option = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUThreshold
	optLThreshold
	optMcastInterface
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOPS
	optPE
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum
	optJSON // ours
	numOptions

	// optFree marks what ipvsadm neither counts nor checks: -6 and --sort.
	optFree = numOptions
)

// optionNames are the names that messages use.
var optionNames = [numOptions]string{
	"numeric", "connection", "service-address", "scheduler", "persistent", "netmask",
	"real-server", "forwarding-method", "weight", "u-threshold", "l-threshold",
	"mcast-interface", "timeout", "daemon", "stats", "rate", "thresholds",
	"persistent-conn", "nosort", "syncid", "exact", "ops", "pe", "sched-flags",
	"mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen", "tun-info", "tun-type",
	"tun-port", "tun-nocsum", "tun-csum", "tun-remcsum", "json",
}

// options is a set of options.
type options uint64

func setOf(os ...option) options {
	var s options
	for _, o := range os {
		s |= 1 << o
	}
	return s
}

func (s options) has(o option) bool { return s&(1<<o) != 0 }

// rule says which options a command takes.
type rule struct {
	name string // as messages call it
	need options
	may  options
	one  options // at most one of these
}

// Options that come together.
const (
	serviceOptions = options(1<<optScheduler | 1<<optPersistent | 1<<optNetmask | 1<<optOPS | 1<<optPE | 1<<optSchedFlags)
	tunnelOptions  = options(1<<optTunType | 1<<optTunPort | csumOptions)
	csumOptions    = options(1<<optTunNoCsum | 1<<optTunCsum | 1<<optTunRemCsum)
	serverOptions  = options(1<<optForward|1<<optWeight|1<<optUThreshold|1<<optLThreshold) | tunnelOptions
	oneServer      = options(1<<optService | 1<<optServer)
	views          = options(1<<optStats | 1<<optRate | 1<<optThresholds | 1<<optPersistentConn | 1<<optTunInfo)
	looks          = options(1<<optNumeric | 1<<optNoSort | 1<<optExact | 1<<optJSON)
	mcastOptions   = options(1<<optMcastInterface | 1<<optMcastGroup | 1<<optMcastPort | 1<<optMcastTTL | 1<<optSyncMaxLen)
)

// grammarRules is the table of commands and options.
var grammarRules = [...]rule{
	VerbAddService:    {name: "add-service", need: 1 << optService, may: serviceOptions},
	VerbEditService:   {name: "edit-service", need: 1 << optService, may: serviceOptions},
	VerbDeleteService: {name: "delete-service", need: 1 << optService},
	VerbClear:         {name: "flush"},
	VerbAddServer:     {name: "add-server", need: oneServer, may: serverOptions},
	VerbEditServer:    {name: "edit-server", need: oneServer, may: serverOptions},
	VerbDeleteServer:  {name: "delete-server", need: oneServer},
	// ipvsadm lets --syncid stand in a listing, where it means nothing.
	VerbList: {name: "list", may: views | looks | 1<<optSyncID,
		one: 1<<optService | 1<<optConnection | 1<<optTimeout | 1<<optDaemon},
	VerbSave:        {name: "save", may: 1 << optNumeric},
	VerbRestore:     {name: "restore"},
	VerbZero:        {name: "zero", may: 1 << optService},
	VerbSetTimeouts: {name: "set"},
	VerbStartDaemon: {name: "start-daemon", may: mcastOptions | 1<<optSyncID},
	VerbStopDaemon:  {name: "stop-daemon", may: 1 << optSyncID},
	VerbHelp:        {name: "help"},
	VerbVersion:     {name: "version"},
}

// tunnelRules says which options a tunnel type takes. Options that have nothing
// to do with tunnels do not matter here.
var tunnelRules = [...]rule{
	0: {name: "ipip"},
	1: {name: "gue", need: 1 << optTunPort, one: csumOptions},
	2: {name: "gre", one: 1<<optTunNoCsum | 1<<optTunCsum},
}

// valueKind says whether a word of the command line takes a value.
type valueKind uint8

const (
	noValue valueKind = iota
	oneValue
	maybeValue
)

// word is a word that the command line knows: a command or an option.
type word struct {
	short byte // 0: none
	long  string
	value valueKind
	verb  Verb   // for a command
	opt   option // for an option
	// of a service that the option names
	protocol lvs.Protocol
	read     func(p *parser, w *word, value string, given bool) error
}

// words is every word, commands first.
var words = [...]word{
	{short: 'A', long: "add-service", verb: VerbAddService},
	{short: 'E', long: "edit-service", verb: VerbEditService},
	{short: 'D', long: "delete-service", verb: VerbDeleteService},
	{short: 'C', long: "clear", verb: VerbClear},
	{short: 'a', long: "add-server", verb: VerbAddServer},
	{short: 'e', long: "edit-server", verb: VerbEditServer},
	{short: 'd', long: "delete-server", verb: VerbDeleteServer},
	{short: 'L', long: "list", verb: VerbList},
	{short: 'l', verb: VerbList},
	{short: 'S', long: "save", verb: VerbSave},
	{short: 'R', long: "restore", verb: VerbRestore},
	{short: 'Z', long: "zero", verb: VerbZero},
	{long: "set", verb: VerbSetTimeouts},
	{long: "start-daemon", value: oneValue, verb: VerbStartDaemon, read: readStartRole},
	{long: "stop-daemon", value: oneValue, verb: VerbStopDaemon, read: readStopRole},
	{short: 'h', long: "help", verb: VerbHelp},
	{short: 'v', long: "version", verb: VerbVersion},

	{short: 't', long: "tcp-service", value: oneValue, opt: optService, protocol: lvs.TCP, read: readService},
	{short: 'u', long: "udp-service", value: oneValue, opt: optService, protocol: lvs.UDP, read: readService},
	{long: "sctp-service", value: oneValue, opt: optService, protocol: lvs.SCTP, read: readService},
	{short: 'f', long: "fwmark-service", value: oneValue, opt: optService, read: readMark},
	{short: '6', long: "ipv6", opt: optFree, read: readIPv6},
	{short: 's', long: "scheduler", value: oneValue, opt: optScheduler, read: readScheduler},
	{short: 'p', long: "persistent", value: maybeValue, opt: optPersistent, read: readPersistent},
	{short: 'M', long: "netmask", value: oneValue, opt: optNetmask, read: readNetmask},
	{long: "pe", value: oneValue, opt: optPE, read: readEngine},
	{short: 'o', long: "ops", opt: optOPS, read: readOnePacket},
	{short: 'b', long: "sched-flags", value: oneValue, opt: optSchedFlags, read: keepSchedFlags},

	{short: 'r', long: "real-server", value: oneValue, opt: optServer, read: readServer},
	{short: 'g', long: "gatewaying", opt: optForward, read: readMethod},
	{short: 'i', long: "ipip", opt: optForward, read: readMethod},
	{short: 'm', long: "masquerading", opt: optForward, read: readMethod},
	{short: 'w', long: "weight", value: oneValue, opt: optWeight, read: readWeight},
	{short: 'x', long: "u-threshold", value: oneValue, opt: optUThreshold, read: readUpper},
	{short: 'y', long: "l-threshold", value: oneValue, opt: optLThreshold, read: readLower},
	{long: "tun-type", value: oneValue, opt: optTunType, read: readTunnelType},
	{long: "tun-port", value: oneValue, opt: optTunPort, read: readTunnelPort},
	{long: "tun-nocsum", opt: optTunNoCsum, read: readTunnelSum},
	{long: "tun-csum", opt: optTunCsum, read: readTunnelSum},
	{long: "tun-remcsum", opt: optTunRemCsum, read: readTunnelSum},

	{short: 'n', long: "numeric", opt: optNumeric},
	{short: 'c', long: "connection", opt: optConnection},
	{long: "timeout", opt: optTimeout},
	{long: "daemon", opt: optDaemon},
	{long: "stats", opt: optStats},
	{long: "rate", opt: optRate},
	{long: "thresholds", opt: optThresholds},
	{long: "persistent-conn", opt: optPersistentConn},
	{long: "tun-info", opt: optTunInfo},
	{short: 'X', long: "exact", opt: optExact},
	{long: "nosort", opt: optNoSort},
	{long: "sort", opt: optFree},
	{long: "json", opt: optJSON},

	{long: "mcast-interface", value: oneValue, opt: optMcastInterface, read: readInterface},
	{long: "syncid", value: oneValue, opt: optSyncID, read: readSyncID},
	{long: "sync-maxlen", value: oneValue, opt: optSyncMaxLen, read: readSyncMaxLen},
	{long: "mcast-group", value: oneValue, opt: optMcastGroup, read: readGroup},
	{long: "mcast-port", value: oneValue, opt: optMcastPort, read: readMcastPort},
	{long: "mcast-ttl", value: oneValue, opt: optMcastTTL, read: readMcastTTL},
}

func findShort(letter byte) *word {
	for i := range words {
		if words[i].short == letter && letter != 0 {
			return &words[i]
		}
	}
	return nil
}

func findLong(name string) *word {
	for i := range words {
		if words[i].long == name && name != "" {
			return &words[i]
		}
	}
	return nil
}

// isCommand tells commands from options.
func (w *word) isCommand() bool { return w.verb != 0 }
