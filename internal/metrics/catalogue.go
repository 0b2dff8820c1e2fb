package metrics

// kind is what Prometheus calls the type of a figure.
type kind string

const (
	gauge   kind = "gauge"
	counter kind = "counter" // it only grows, and begins anew with whoever counts
)

// Definition is one name, as a page or a program may list it.
type Definition struct {
	Name   string
	Kind   kind
	Help   string
	Labels []string
}

// metric is one row of the catalogue.
type metric int

const (
	buildInfo metric = iota
	tableRead

	serviceConnections
	servicePacketsIn
	servicePacketsOut
	serviceBytesIn
	serviceBytesOut
	destinationConnections
	destinationPacketsIn
	destinationPacketsOut
	destinationBytesIn
	destinationBytesOut
	destinationActive
	destinationInactive
	destinationPersistent
	destinationWeight

	daemonUp
	daemonInfo
	daemonRunning
	fileRefused
	kernelError
	kernelLooked
	refusedChanges

	virtualServing
	virtualOpen
	virtualInKernel
	virtualStrength
	virtualQuorum
	virtualDrift
	virtualStrangers
	serverServing
	serverStanding
	serverSince
	serverWanted
	serverDrift
	checkUp
	checkFails
	checkTook

	instanceMaster
	instancePriority
	instanceMode
	instanceSince
	instanceDuplicates
	instanceForeign
	instanceRemoved
	instanceDropped
	holderTaken
	resourceRunning
	trackedUp
	syncRunning

	keepalivedUp
	keepalivedState
	keepalivedReceived
	keepalivedSent
	keepalivedBecame
	keepalivedReleased
	keepalivedZeroReceived
	keepalivedZeroSent
	keepalivedLength
	keepalivedInterval
	keepalivedTTL
	keepalivedType
	keepalivedAddresses
	keepalivedAuthType
	keepalivedPassword

	metrics = int(keepalivedPassword) + 1
)

var (
	ofService     = []string{"service"}
	ofDestination = []string{"service", "server"}
	ofDaemon      = []string{"daemon"}
	ofVirtual     = []string{"daemon", "service", "name"}
	ofServer      = []string{"daemon", "service", "server"}
	ofCheck       = []string{"daemon", "service", "server", "check"}
	ofInstance    = []string{"daemon", "iname"}       // "instance" is Prometheus' own word for who was asked
	ofRouter      = []string{"iname", "intf", "vrid"} // the exporter's words
)

// catalogue is everything there is to count. The names that begin with keepalived_
// are those of mehdy/keepalived-exporter 1.x, which people graph already; it has the
// state as a label of its counters, which begins each of them anew at every
// transition, and is left out here. What node_exporter's ipvs collector has is not
// repeated: it reads the same kernel.
var catalogue = [metrics]Definition{
	buildInfo: {"lvsctl_build_info", gauge, "Always 1; which lvsctl tells the figures.", []string{"version"}},
	tableRead: {"lvsctl_table_read", gauge, "1 when the kernel's table could be read.", nil},

	serviceConnections:     {"lvsctl_service_connections_total", counter, "Connections that the kernel has scheduled for a service.", ofService},
	servicePacketsIn:       {"lvsctl_service_incoming_packets_total", counter, "Packets of clients.", ofService},
	servicePacketsOut:      {"lvsctl_service_outgoing_packets_total", counter, "Packets to clients; only those that pass the director, as with masq.", ofService},
	serviceBytesIn:         {"lvsctl_service_incoming_bytes_total", counter, "Bytes of clients.", ofService},
	serviceBytesOut:        {"lvsctl_service_outgoing_bytes_total", counter, "Bytes to clients that pass the director.", ofService},
	destinationConnections: {"lvsctl_destination_connections_total", counter, "Connections that the kernel has scheduled for a real server.", ofDestination},
	destinationPacketsIn:   {"lvsctl_destination_incoming_packets_total", counter, "Packets of clients.", ofDestination},
	destinationPacketsOut:  {"lvsctl_destination_outgoing_packets_total", counter, "Packets to clients that pass the director.", ofDestination},
	destinationBytesIn:     {"lvsctl_destination_incoming_bytes_total", counter, "Bytes of clients.", ofDestination},
	destinationBytesOut:    {"lvsctl_destination_outgoing_bytes_total", counter, "Bytes to clients that pass the director.", ofDestination},
	destinationActive:      {"lvsctl_destination_active_connections", gauge, "Connections in an active state, ActiveConn of ipvsadm.", ofDestination},
	destinationInactive:    {"lvsctl_destination_inactive_connections", gauge, "Connections in any other state, InActConn of ipvsadm.", ofDestination},
	destinationPersistent:  {"lvsctl_destination_persistent_connections", gauge, "Persistence templates.", ofDestination},
	destinationWeight:      {"lvsctl_destination_weight", gauge, "The weight in the kernel; 0 is quiescent.", ofDestination},

	daemonUp:       {"lvsctl_daemon_up", gauge, "1 when the daemon answers; 0 when it was killed, or does not answer in time.", ofDaemon},
	daemonInfo:     {"lvsctl_daemon_info", gauge, "Always 1; what it is, and its configuration.", []string{"daemon", "kind", "file"}},
	daemonRunning:  {"lvsctl_daemon_running", gauge, "1 once every server has been asked; 0 while it starts, reloads or stops.", ofDaemon},
	fileRefused:    {"lvsctl_file_refused", gauge, "1 while the file on disk is not in force for its problems.", ofDaemon},
	kernelError:    {"lvsctl_kernel_error", gauge, "1 while the daemon cannot read the kernel's table.", ofDaemon},
	kernelLooked:   {"lvsctl_kernel_looked_timestamp_seconds", gauge, "When it last has.", ofDaemon},
	refusedChanges: {"lvsctl_kernel_refused_changes", gauge, "Changes that the kernel does not take; they are tried again.", ofDaemon},

	virtualServing:   {"lvsctl_virtual_serving", gauge, "1 while real servers serve; 0 while the fallback or nobody does.", ofVirtual},
	virtualOpen:      {"lvsctl_virtual_open", gauge, "1 when it is to be in the kernel; 0 while another director serves it.", ofVirtual},
	virtualInKernel:  {"lvsctl_virtual_in_kernel", gauge, "1 when it is.", ofVirtual},
	virtualStrength:  {"lvsctl_virtual_strength", gauge, "Sum of the weights that serve.", ofVirtual},
	virtualQuorum:    {"lvsctl_virtual_quorum", gauge, "What it takes.", ofVirtual},
	virtualDrift:     {"lvsctl_virtual_drift", gauge, "1 while somebody else's change of it is in the kernel.", ofVirtual},
	virtualStrangers: {"lvsctl_virtual_strangers", gauge, "Servers in it that nobody configured.", ofVirtual},
	serverServing:    {"lvsctl_server_serving", gauge, "1 while the server is to get connections.", ofServer},
	serverStanding:   {"lvsctl_server_standing", gauge, "Always 1; where the server stands.", []string{"daemon", "service", "server", "standing"}},
	serverSince:      {"lvsctl_server_since_timestamp_seconds", gauge, "Since when it stands there.", ofServer},
	serverWanted:     {"lvsctl_server_wanted_weight", gauge, "The weight that it should have; none when it should not be in the table.", ofServer},
	serverDrift:      {"lvsctl_server_drift", gauge, "1 while somebody else's change of it is in the kernel.", ofServer},
	checkUp:          {"lvsctl_check_up", gauge, "1 or 0: what the check has found; none before it has found anything.", ofCheck},
	checkFails:       {"lvsctl_check_failures_in_a_row", gauge, "Failures since the last success.", ofCheck},
	checkTook:        {"lvsctl_check_duration_seconds", gauge, "How long the last check took.", ofCheck},

	instanceMaster:     {"lvsctl_instance_master", gauge, "1 while this machine has the addresses.", ofInstance},
	instancePriority:   {"lvsctl_instance_priority", gauge, "The priority in effect.", ofInstance},
	instanceMode:       {"lvsctl_instance_mode", gauge, "Always 1; normal, standby or takeover.", []string{"daemon", "iname", "mode"}},
	instanceSince:      {"lvsctl_instance_since_timestamp_seconds", gauge, "When it entered its state.", ofInstance},
	instanceDuplicates: {"lvsctl_instance_duplicate_addresses", gauge, "Addresses that somebody else has as well.", ofInstance},
	instanceForeign:    {"lvsctl_instance_foreign_routers", gauge, "Who uses its virtual_router_id in another way.", ofInstance},
	instanceRemoved:    {"lvsctl_instance_addresses_removed_by_others_total", counter, "How often somebody else has removed addresses.", ofInstance},
	instanceDropped:    {"lvsctl_instance_dropped_adverts_total", counter, "Adverts that were not believed.", []string{"daemon", "iname", "reason"}},
	holderTaken:        {"lvsctl_instance_holder_taken", gauge, "1 while this machine has what a master holds.", []string{"daemon", "iname", "holder"}},
	resourceRunning:    {"lvsctl_resource_running", gauge, "1 while a service of haresources runs.", []string{"daemon", "iname", "resource"}},
	trackedUp:          {"lvsctl_tracked_up", gauge, "1 or 0: what the instance depends on; none while it is not known.", []string{"daemon", "iname", "tracked"}},
	syncRunning:        {"lvsctl_sync_running", gauge, "1 when the connection synchronisation runs as it should.", []string{"daemon", "role", "interface"}},

	keepalivedUp:           {"keepalived_up", gauge, "1 when a daemon with virtual routers answers.", nil},
	keepalivedState:        {"keepalived_vrrp_state", gauge, "0 INIT, 1 BACKUP, 2 MASTER, 3 FAULT.", []string{"iname", "intf", "vrid", "ip_address"}},
	keepalivedReceived:     {"keepalived_advertisements_received_total", counter, "Adverts received.", ofRouter},
	keepalivedSent:         {"keepalived_advertisements_sent_total", counter, "Adverts sent.", ofRouter},
	keepalivedBecame:       {"keepalived_become_master_total", counter, "Became master.", ofRouter},
	keepalivedReleased:     {"keepalived_release_master_total", counter, "Released master.", ofRouter},
	keepalivedZeroReceived: {"keepalived_priority_zero_received_total", counter, "Masters that left and said so.", ofRouter},
	keepalivedZeroSent:     {"keepalived_priority_zero_sent_total", counter, "Left as master and said so.", ofRouter},
	keepalivedLength:       {"keepalived_packet_length_errors_total", counter, "Adverts of a wrong length.", ofRouter},
	keepalivedInterval:     {"keepalived_advertisements_interval_errors_total", counter, "Adverts with another interval.", ofRouter},
	keepalivedTTL:          {"keepalived_ip_ttl_errors_total", counter, "Adverts whose TTL is not 255.", ofRouter},
	keepalivedType:         {"keepalived_invalid_type_received_total", counter, "Packets that are no adverts.", ofRouter},
	keepalivedAddresses:    {"keepalived_address_list_errors_total", counter, "Adverts with other addresses.", ofRouter},
	keepalivedAuthType:     {"keepalived_authentication_mismatch_total", counter, "Adverts with another type of authentication.", ofRouter},
	keepalivedPassword:     {"keepalived_authentication_failure_total", counter, "Adverts with a wrong password.", ofRouter},
}

// Catalogue lists all names, in the order of the text.
func Catalogue() []Definition { return catalogue[:] }
