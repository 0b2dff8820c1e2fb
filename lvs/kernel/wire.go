package kernel

// The numbers of the kernel's interface, from <linux/netlink.h>,
// <linux/genetlink.h> and <linux/ip_vs.h>. They are ABI and never change.

// Sizes of the headers and of an attribute's head.
const (
	nlHeader   = 16 // struct nlmsghdr
	genlHeader = 4  // struct genlmsghdr
	attrHeader = 4  // struct nlattr
	attrMask   = 0x3fff
)

// The controller, which knows the number of every other family.
const (
	genlController  = 16 // GENL_ID_CTRL
	ctrlGetFamily   = 3
	ctrlAttrID      = 1
	ctrlAttrName    = 2
	ipvsFamilyName  = "IPVS"
	ipvsGenlVersion = 1
)

// Commands of the family IPVS.
const (
	cmdNewService = iota + 1
	cmdSetService
	cmdDelService
	cmdGetService
	cmdNewDest
	cmdSetDest
	cmdDelDest
	cmdGetDest
	cmdNewDaemon
	cmdDelDaemon
	cmdGetDaemon
	cmdSetConfig
	cmdGetConfig
	cmdSetInfo
	cmdGetInfo
	cmdZero
	cmdFlush
)

// Attributes of a command.
const (
	attrService = iota + 1
	attrDest
	attrDaemon
	attrTimeoutTCP
	attrTimeoutTCPFin
	attrTimeoutUDP
)

// Attributes of a service.
const (
	svcFamily = iota + 1
	svcProtocol
	svcAddr
	svcPort
	svcMark
	svcScheduler
	svcFlags
	svcTimeout
	svcNetmask
	svcStats
	svcPE
	svcStats64
)

// Attributes of a destination.
const (
	destAddr = iota + 1
	destPort
	destMethod
	destWeight
	destUpper
	destLower
	destActive
	destInactive
	destPersistent
	destStats
	destFamily
	destStats64
	destTunType
	destTunPort
	destTunFlags
)

// Attributes of the statistics, 32 or 64 bits wide.
const (
	statConns = iota + 1
	statInPkts
	statOutPkts
	statInBytes
	statOutBytes
	statCPS
	statInPPS
	statOutPPS
	statInBPS
	statOutBPS
)

// Attributes of a sync daemon.
const (
	daemonState = iota + 1
	daemonInterface
	daemonSyncID
	daemonMaxLen
	daemonGroup
	daemonGroup6
	daemonPort
	daemonTTL
)

// Attributes of the answer to cmdGetInfo.
const (
	infoVersion = iota + 1
	infoTableSize
)

// flagHashed is the kernel's own service flag: it says that the service is in
// the table, which a service that can be read always is.
const flagHashed = 0x02

// methodMask is the part of a destination's connection flags that is the
// forwarding method.
const methodMask = 0x07
