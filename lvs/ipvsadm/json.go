package ipvsadm

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/lvsctl/lvsctl/lvs"
)

// The JSON of listings. docs/ipvsadm-json.md is its manual; a key that is there
// stays and keeps its meaning as long as "version" is 1.

const jsonVersion = 1

type jsonTable struct {
	Version   int           `json:"version"`
	IPVS      string        `json:"ipvs_version"`
	TableSize uint32        `json:"connection_table_size"`
	Services  []jsonService `json:"services"`
}

type jsonService struct {
	Protocol    string       `json:"protocol,omitempty"`
	Family      string       `json:"family"`
	Address     string       `json:"address,omitempty"`
	Port        *uint16      `json:"port,omitempty"`
	Mark        uint32       `json:"fwmark,omitempty"`
	Scheduler   string       `json:"scheduler"`
	Flags       []string     `json:"scheduler_flags"`
	OnePacket   bool         `json:"one_packet"`
	Persistence *jsonPersist `json:"persistence"`
	Counters    jsonCounters `json:"counters"`
	Rates       jsonRates    `json:"rates"`
	Servers     []jsonServer `json:"servers"`
}

type jsonPersist struct {
	Timeout uint32 `json:"timeout_seconds"`
	Prefix  *int   `json:"prefix_length"` // null for a mask with holes
	Netmask string `json:"netmask,omitempty"`
	Engine  string `json:"engine,omitempty"`
}

type jsonServer struct {
	Address    string       `json:"address"`
	Port       uint16       `json:"port"`
	Forward    string       `json:"forward"`
	Tunnel     *jsonTunnel  `json:"tunnel"`
	Weight     uint32       `json:"weight"`
	Upper      uint32       `json:"upper_threshold"`
	Lower      uint32       `json:"lower_threshold"`
	Active     uint32       `json:"active_connections"`
	Inactive   uint32       `json:"inactive_connections"`
	Persistent uint32       `json:"persistent_connections"`
	Counters   jsonCounters `json:"counters"`
	Rates      jsonRates    `json:"rates"`
}

type jsonTunnel struct {
	Type string `json:"type"`
	Port uint16 `json:"port,omitempty"`
	Sum  string `json:"checksum"`
}

type jsonCounters struct {
	Conns    uint64 `json:"connections"`
	InPkts   uint64 `json:"in_packets"`
	OutPkts  uint64 `json:"out_packets"`
	InBytes  uint64 `json:"in_bytes"`
	OutBytes uint64 `json:"out_bytes"`
}

type jsonRates struct {
	CPS    uint64 `json:"connections_per_second"`
	InPPS  uint64 `json:"in_packets_per_second"`
	OutPPS uint64 `json:"out_packets_per_second"`
	InBPS  uint64 `json:"in_bytes_per_second"`
	OutBPS uint64 `json:"out_bytes_per_second"`
}

type jsonConnection struct {
	Protocol string       `json:"protocol"`
	State    string       `json:"state"`
	Expires  int64        `json:"expires_seconds"`
	Client   jsonEndpoint `json:"client"`
	Virtual  jsonEndpoint `json:"virtual"`
	Server   jsonEndpoint `json:"server"`
	Engine   string       `json:"engine,omitempty"`
	Data     string       `json:"engine_data,omitempty"`
}

type jsonEndpoint struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
}

type jsonTimeouts struct {
	Version int    `json:"version"`
	TCP     uint32 `json:"tcp_timeout_seconds"`
	TCPFin  uint32 `json:"tcp_fin_timeout_seconds"`
	UDP     uint32 `json:"udp_timeout_seconds"`
}

type jsonDaemons struct {
	Version int          `json:"version"`
	Daemons []jsonDaemon `json:"daemons"`
}

type jsonDaemon struct {
	Role      string `json:"role"`
	Interface string `json:"interface"`
	SyncID    uint32 `json:"sync_id"`
	MaxLen    uint16 `json:"max_message_bytes"`
	Group     string `json:"group"`
	Port      uint16 `json:"port"`
	TTL       uint8  `json:"ttl"`
}

// json prints a listing as JSON, always with all that is known and in numbers.
func (s *session) json(l *Listing) error {
	switch l.Subject {
	case Connections:
		return s.jsonConnections()
	case Timeouts:
		t, err := s.kernel.Timeouts()
		if err != nil {
			return err
		}
		return s.writeJSON(jsonTimeouts{jsonVersion, t.TCP, t.TCPFin, t.UDP})
	case Daemons:
		return s.jsonDaemons()
	}
	return s.jsonServices(l)
}

func (s *session) jsonServices(l *Listing) error {
	info, err := s.kernel.Info()
	if err != nil {
		return err
	}
	var st lvs.State
	if l.Subject == OneService {
		st = make(lvs.State, 1)
		st[0], err = s.kernel.ServiceState(l.Key)
	} else {
		st, err = s.kernel.State()
	}
	if err != nil {
		return err
	}
	table := jsonTable{jsonVersion, string(appendVersion(nil, info.Version)), info.TableSize, []jsonService{}}
	var services, servers sorter
	for _, i := range serviceOrder(&services, st, l.NoSort) {
		svc := newJSONService(&st[i])
		for _, j := range serverOrder(&servers, st[i].Destinations, l.NoSort) {
			svc.Servers = append(svc.Servers, newJSONServer(&st[i].Destinations[j]))
		}
		table.Services = append(table.Services, svc)
	}
	return s.writeJSON(table)
}

func newJSONService(s *lvs.ServiceState) jsonService {
	j := jsonService{
		Family: strings.ToLower(s.Family.String()), Mark: s.Mark, Scheduler: s.Scheduler,
		Flags: schedFlagNames(&s.Service), OnePacket: s.Flags&lvs.OnePacket != 0,
		Persistence: newJSONPersist(&s.Service),
		Counters:    newJSONCounters(&s.Stats), Rates: newJSONRates(&s.Stats), Servers: []jsonServer{},
	}
	if s.Mark == 0 {
		port := s.Addr.Port()
		j.Protocol, j.Address, j.Port = strings.ToLower(s.Protocol.String()), addrText(s.Addr.Addr()), &port
	}
	return j
}

func schedFlagNames(s *lvs.Service) []string {
	if s.Flags&lvs.SchedFlags == 0 {
		return []string{}
	}
	var p printer
	p.listFlags(s, true)
	return strings.Split(string(p.buf), ",")
}

func newJSONPersist(s *lvs.Service) *jsonPersist {
	if s.Flags&lvs.Persistent == 0 {
		return nil
	}
	j := &jsonPersist{Timeout: s.Timeout, Engine: s.PE}
	if s.Family == lvs.IPv6 {
		n := int(s.Netmask)
		j.Prefix = &n
		return j
	}
	j.Netmask = ipv4Addr(s.Netmask).String()
	for n := range 33 {
		if s.Netmask == ^uint32(0)<<(32-n) {
			j.Prefix = &n
		}
	}
	return j
}

func newJSONServer(d *lvs.DestinationState) jsonServer {
	j := jsonServer{
		Address: addrText(d.Addr.Addr()), Port: d.Addr.Port(), Forward: forwardName(d.Method), Weight: d.Weight,
		Upper: d.Upper, Lower: d.Lower, Active: d.Active, Inactive: d.Inactive, Persistent: d.Persistent,
		Counters: newJSONCounters(&d.Stats), Rates: newJSONRates(&d.Stats),
	}
	if d.Method == lvs.Tunnel {
		j.Tunnel = &jsonTunnel{d.Tunnel.Type.String(), d.Tunnel.Port, sumName(d.Tunnel.Flags)}
	}
	return j
}

func forwardName(m lvs.Method) string {
	if int(m) < len(methodNames) {
		return strings.ToLower(methodNames[m])
	}
	return m.String()
}

func sumName(flags uint16) string {
	switch {
	case flags&lvs.TunnelCsum != 0:
		return "csum"
	case flags&lvs.TunnelRemCsum != 0:
		return "remcsum"
	}
	return "none"
}

func newJSONCounters(s *lvs.Stats) jsonCounters {
	return jsonCounters{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes}
}

func newJSONRates(s *lvs.Stats) jsonRates {
	return jsonRates{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return string(appendAddr(nil, a))
}

func newJSONEndpoint(a netip.AddrPort) jsonEndpoint {
	return jsonEndpoint{addrText(a.Addr()), a.Port()}
}

func (s *session) jsonDaemons() error {
	ds, err := s.kernel.Daemons()
	if err != nil {
		return err
	}
	list := jsonDaemons{jsonVersion, []jsonDaemon{}}
	for _, d := range ds {
		list.Daemons = append(list.Daemons, jsonDaemon{
			d.Role.String(), d.Interface, d.SyncID, d.MaxLen, addrText(d.Group), d.Port, d.TTL,
		})
	}
	return s.writeJSON(list)
}

// jsonConnections writes connection by connection, a line each: there may be
// millions.
func (s *session) jsonConnections() error {
	begun := false
	for c, err := range s.kernel.Connections() {
		if err != nil && !begun {
			return err
		}
		if err != nil { // what was written must not look whole
			s.out.row()
			return err
		}
		text, err := json.Marshal(jsonConnection{
			c.Protocol, c.State, int64(c.Expires.Seconds()),
			newJSONEndpoint(c.Client), newJSONEndpoint(c.Virtual), newJSONEndpoint(c.Server), c.PE, c.Data,
		})
		if err != nil {
			return err
		}
		s.jsonSeparator(begun)
		begun = true
		s.out.buf = append(s.out.buf, text...)
		if s.out.err != nil {
			return nil
		}
	}
	if !begun {
		s.jsonSeparator(false)
	}
	s.out.str("\n]}")
	s.out.row()
	return nil
}

func (s *session) jsonSeparator(begun bool) {
	if begun {
		s.out.str(",")
		s.out.row()
		return
	}
	s.out.str("{\"version\":1,\"connections\":[\n")
}

func (s *session) writeJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	s.out.buf = append(s.out.buf, text...)
	s.out.row()
	return nil
}
