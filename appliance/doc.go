// Package appliance is everything of a director in one process: it makes the
// virtual routers of a [config.Site] live, with the addresses and routes that a
// master holds, the programs that are told about it and those that have a say in
// it, the virtual services and the synchronisation of connections.
//
// It wires rooms and knows no dialect: flags, keepalived.conf and haresources all
// come here as a Site.
//
//	Site -> plan -> vrrp.Members -> vrrp.Speaker -> holders -> netif, IPVS
//	links, addresses, scripts ----> Observe, Retake
//	reports of the Speaker -------> Event -> log, notify programs
//
// One goroutine owns the plan; another one owns what is told. Neither stands
// between the Speaker and its adverts.
package appliance
