package keepalived

import "sync"

// root are the words that stand outside of all blocks.
var root = sync.OnceValue(func() *scope {
	return &scope{keywords: map[string]*keyword{
		"global_defs":          {shape: block, in: globalScope(), mean: (*reader).globalDefs},
		"vrrp_instance":        {shape: block, in: instanceScope(), mean: (*reader).vrrpInstance},
		"vrrp_sync_group":      {shape: block, in: groupScope(), mean: (*reader).syncGroup},
		"vrrp_script":          {shape: block, in: scriptScope(), need: 1, mean: (*reader).vrrpScript},
		"virtual_server":       {shape: block, in: serviceScope(), need: 1, mean: (*reader).virtualServer},
		"virtual_server_group": {shape: list, need: 1, mean: (*reader).serverGroup},

		"static_ipaddress":         ignoredList("the addresses are not set; that is the system's network configuration's business"),
		"static_routes":            ignoredList("the routes are not made; that is the system's network configuration's business"),
		"static_rules":             ignoredList("the rules are not made; that is the system's network configuration's business"),
		"track_group":              ignoredList("static addresses and routes are not made"),
		"garp_group":               ignoredList("pauses between announcements are those of global_defs"),
		"interface_up_down_delays": ignoredList("an interface counts as soon as it changes"),
		"linkbeat_interfaces":      ignoredList("the kernel tells of its links"),
		"track_file":               ignoredList("files are not tracked"),
		"vrrp_track_file":          ignoredList("files are not tracked"),
		"vrrp_track_process":       ignoredList("processes are not tracked; a vrrp_script can do it"),
		"bfd_instance":             ignoredList("there is no BFD"),
		"SSL":                      ignoredList("checks show no certificate of their own"),

		"net_namespace":         ignored("it runs where it is started; start it with ip netns exec NAME"),
		"net_namespace_ipvs":    ignored("it runs where it is started; start it with ip netns exec NAME"),
		"namespace_with_ipsets": ignored("no firewall rules are made"),
		"use_pid_dir":           ignored("the pid files are where the command line says"),
		"instance":              ignored("the pid files are where the command line says"),
		"child_wait_time":       ignored("there is one process here"),
		"linkbeat_use_polling":  ignored("the kernel tells of its links"),
	}}
})
