package ipvsadm

import (
	"strconv"

	"github.com/lvsctl/lvsctl/lvs"
)

const (
	nameWidth   = 33 // of a service in a listing
	serverWidth = 28 // of a server

	serverHeading = "  -> RemoteAddress:Port\n"
	plainHeading  = "Prot LocalAddress:Port Scheduler Flags\n"
)

// headings are the two lines above the services.
var headings = [...]string{
	Plain:           plainHeading + "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n",
	Tunnels:         plainHeading + "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n",
	Stats:           "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n" + serverHeading,
	Rates:           "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n" + serverHeading,
	Thresholds:      "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n" + serverHeading,
	PersistentConns: "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n" + serverHeading,
}

// lister prints services in one mode.
type lister struct {
	*printer
	Listing
	services, servers sorter
}

// appendVersion prints a version number of the kernel, such as 0x010201.
func appendVersion(b []byte, v uint32) []byte {
	b = strconv.AppendUint(b, uint64(v>>16&0xff), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(v>>8&0xff), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(v&0xff), 10)
}

func (l *lister) title(i lvs.Info) {
	l.str("IP Virtual Server version ")
	l.buf = appendVersion(l.buf, i.Version)
	l.str(" (size=")
	l.number(uint64(i.TableSize))
	l.str(")\n")
}

func (l *lister) heading() { l.str(headings[l.Mode]) }

// table prints all services in order.
func (l *lister) table(v lvs.View) error {
	l.reserve()
	for _, i := range serviceOrder(&l.services, v.Services, l.NoSort) {
		ds, err := v.Destinations(i)
		if err != nil {
			return err
		}
		l.service(&v.Services[i], ds)
	}
	return nil
}

func serviceOrder(s *sorter, st lvs.State, kernelOrder bool) []int {
	return s.sort(len(st), func(i, j int) int {
		if kernelOrder {
			return 0
		}
		return compareServices(&st[i].Service, &st[j].Service)
	})
}

func serverOrder(s *sorter, ds []lvs.DestinationState, kernelOrder bool) []int {
	return s.sort(len(ds), func(i, j int) int {
		if kernelOrder {
			return 0
		}
		return compareEndpoints(ds[i].Addr, ds[j].Addr)
	})
}

// service prints a service and its servers.
func (l *lister) service(s *lvs.ServiceState, ds []lvs.DestinationState) {
	start := len(l.buf)
	l.serviceName(&s.Service)
	switch l.Mode {
	case Stats:
		l.pad(nameWidth, start)
		l.counters(&s.Stats)
	case Rates:
		l.pad(nameWidth, start)
		l.large(s.Stats.CPS, l.Exact)
		l.large(s.Stats.InPPS, l.Exact)
		l.large(s.Stats.OutPPS, l.Exact)
		l.large(s.Stats.InBPS, l.Exact)
		l.large(s.Stats.OutBPS, l.Exact)
	default:
		l.serviceDetails(&s.Service)
	}
	l.row()
	for _, i := range serverOrder(&l.servers, ds, l.NoSort) {
		l.server(&s.Service, &ds[i])
	}
}

func (l *lister) serviceName(s *lvs.Service) {
	start := len(l.buf)
	if s.Mark != 0 {
		l.str("FWM  ")
		l.number(uint64(s.Mark))
		if s.Family == lvs.IPv6 {
			l.str(" IPv6")
		}
		return
	}
	l.left(s.Protocol.String(), 4)
	l.buf = append(l.buf, ' ')
	l.endpoint(s.Addr, s.Protocol)
	if s.Family == lvs.IPv4 {
		l.cut(start, nameWidth)
	}
}

func (l *lister) serviceDetails(s *lvs.Service) {
	l.buf = append(l.buf, ' ')
	l.str(s.Scheduler)
	if s.Flags&lvs.SchedFlags != 0 {
		l.str(" (")
		l.listFlags(s, false)
		l.str(")")
	}
	if s.Flags&lvs.Persistent != 0 {
		l.str(" persistent ")
		l.number(uint64(s.Timeout))
		if s.Netmask != s.FullMask() {
			l.str(" mask ")
			l.mask(s)
		}
		if s.PE != "" {
			l.str(" pe ")
			l.str(s.PE)
		}
	}
	if s.Flags&lvs.OnePacket != 0 {
		l.str(" ops")
	}
}

func (l *lister) server(s *lvs.Service, d *lvs.DestinationState) {
	l.str("  -> ")
	start := len(l.buf)
	l.endpoint(d.Addr, s.Protocol)
	if d.Addr.Addr().Is4() {
		l.cut(start, serverWidth)
	}
	l.pad(serverWidth, start)
	switch l.Mode {
	case Stats:
		l.counters(&d.Stats)
	case Rates:
		l.serverRates(&d.Stats)
	case Thresholds:
		l.columns(d.Upper, 10, d.Lower, 10, d.Active, d.Inactive)
	case PersistentConns:
		l.columns(d.Weight, 9, d.Persistent, 11, d.Active, d.Inactive)
	default:
		l.forwarding(d)
	}
	l.row()
}

func (l *lister) counters(s *lvs.Stats) {
	l.large(s.Conns, l.Exact)
	l.large(s.InPkts, l.Exact)
	l.large(s.OutPkts, l.Exact)
	l.large(s.InBytes, l.Exact)
	l.large(s.OutBytes, l.Exact)
}

// serverRates never shortens what is counted in connections and packets.
func (l *lister) serverRates(s *lvs.Stats) {
	for _, n := range [...]uint64{s.CPS, s.InPPS, s.OutPPS} {
		l.buf = append(l.buf, ' ')
		l.right(n, 8, 0)
	}
	l.large(s.InBPS, l.Exact)
	l.large(s.OutBPS, l.Exact)
}

func (l *lister) columns(a uint32, aWidth int, b uint32, bWidth int, active, inactive uint32) {
	l.buf = append(l.buf, ' ')
	l.count(a, aWidth)
	l.buf = append(l.buf, ' ')
	l.count(b, bWidth)
	l.connections(active, inactive)
}

func (l *lister) connections(active, inactive uint32) {
	l.buf = append(l.buf, ' ')
	l.count(active, 10)
	l.buf = append(l.buf, ' ')
	l.count(inactive, 10)
}

var methodNames = [...]string{
	lvs.Masq: "Masq", lvs.Local: "Local", lvs.Tunnel: "Tunnel", lvs.Gate: "Route", lvs.Bypass: "Bypass",
}

func (l *lister) forwarding(d *lvs.DestinationState) {
	l.buf = append(l.buf, ' ')
	if int(d.Method) < len(methodNames) {
		l.left(methodNames[d.Method], 7)
	} else {
		l.left(d.Method.String(), 7)
	}
	if l.Mode == Tunnels {
		l.buf = append(l.buf, ' ')
		start := len(l.buf)
		l.tunnel(&d.Destination)
		l.pad(13, start)
	}
	l.buf = append(l.buf, ' ')
	l.count(d.Weight, 6)
	l.connections(d.Active, d.Inactive)
}

// tunnel prints how a packet is wrapped: ipip, gue:PORT:SUM, gre:SUM.
func (l *lister) tunnel(d *lvs.Destination) {
	if d.Method != lvs.Tunnel {
		l.str("n/a")
		return
	}
	l.str(d.Tunnel.Type.String())
	if d.Tunnel.Type == lvs.IPIP {
		return
	}
	if d.Tunnel.Type == lvs.GUE {
		l.buf = append(l.buf, ':')
		l.number(uint64(d.Tunnel.Port))
	}
	switch {
	case d.Tunnel.Flags&lvs.TunnelCsum != 0:
		l.str(":+c")
	case d.Tunnel.Flags&lvs.TunnelRemCsum != 0:
		l.str(":r+c")
	default:
		l.str(":-c")
	}
}

// timeouts prints the timeouts of connections.
func (p *printer) timeouts(t lvs.Timeouts) {
	p.str("Timeout (tcp tcpfin udp): ")
	p.number(uint64(t.TCP))
	p.str(" ")
	p.number(uint64(t.TCPFin))
	p.str(" ")
	p.number(uint64(t.UDP))
	p.row()
}

func (p *printer) daemon(d lvs.Daemon) {
	p.str(d.Role.String())
	p.str(" sync daemon (mcast=")
	p.str(d.Interface)
	p.str(", syncid=")
	p.number(uint64(d.SyncID))
	p.str(", maxlen=")
	p.number(uint64(d.MaxLen))
	p.str(", group=")
	if d.Group.IsValid() {
		p.buf = appendAddr(p.buf, d.Group)
	}
	p.str(", port=")
	p.number(uint64(d.Port))
	p.str(", ttl=")
	p.number(uint64(d.TTL))
	p.str(")")
	p.row()
}

// protocolOf is what the names of a connection's ports belong to.
func protocolOf(name string) lvs.Protocol {
	switch name {
	case "TCP":
		return lvs.TCP
	case "UDP":
		return lvs.UDP
	case "SCTP":
		return lvs.SCTP
	}
	return 0
}

func (p *printer) connectionHeading(engines bool) {
	p.str("IPVS connection entries\n")
	if engines {
		p.str("pro expire state       source             virtual            destination        pe name          pe_data\n")
		return
	}
	p.str("pro expire state       source             virtual            destination\n")
}

func (p *printer) connection(c *lvs.Connection, engines bool) {
	proto := protocolOf(c.Protocol)
	p.left(c.Protocol, 3)
	p.buf = append(p.buf, ' ')
	p.clock(c)
	p.buf = append(p.buf, ' ')
	p.left(c.State, 11)
	p.buf = append(p.buf, ' ')
	start := len(p.buf)
	p.endpoint(c.Client, proto)
	p.pad(18, start)
	p.buf = append(p.buf, ' ')
	start = len(p.buf)
	p.endpoint(c.Virtual, proto)
	p.pad(18, start)
	p.buf = append(p.buf, ' ')
	start = len(p.buf)
	p.endpoint(c.Server, proto)
	if engines && c.PE != "" { // these widths are not those of the heading
		p.pad(16, start)
		p.buf = append(p.buf, ' ')
		p.left(c.PE, 18)
		p.buf = append(p.buf, ' ')
		p.str(c.Data)
	}
	p.row()
}

// clock prints the time a connection has left as MM:SS.
func (p *printer) clock(c *lvs.Connection) {
	start := len(p.buf)
	seconds := max(0, int64(c.Expires.Seconds()))
	p.twoDigits(seconds / 60)
	p.buf = append(p.buf, ':')
	p.twoDigits(seconds % 60)
	p.pad(6, start)
}

func (p *printer) twoDigits(n int64) {
	if n < 10 {
		p.buf = append(p.buf, '0')
	}
	p.number(uint64(n))
}
