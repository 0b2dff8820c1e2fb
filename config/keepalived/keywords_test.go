package keepalived

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// keywordBase is a file in which each keyword is tried: %[1]s is in global_defs,
// %[2]s in an instance, %[3]s in its authentication, %[4]s in its sync group, and
// %[5]s in a vrrp_script; %[6]s and %[7]s are in other instances.
const keywordBase = `global_defs {
    notification_email { a@example.com }
    smtp_server 127.0.0.1
    script_user root
    %[1]s
}
vrrp_script chk {
    script "/bin/true"
    weight 2
    %[5]s
}
vrrp_instance A {
    interface eth0
    virtual_router_id 51
    nopreempt
    virtual_ipaddress { 10.0.0.100 }
    authentication { auth_type PASS
    auth_pass word
    %[3]s
    }
    %[2]s
}
vrrp_instance P {
    interface eth0
    virtual_router_id 52
    version 3
    unicast_peer { 10.0.0.9 }
    virtual_ipaddress { 10.0.0.101 }
    track_script { chk }
    %[6]s
}
vrrp_instance N {
    interface eth0
    virtual_router_id 53
    virtual_ipaddress { 10.0.0.102 }
    %[7]s
}
vrrp_sync_group G {
    group { A
    P }
    %[4]s
}
`

// The scopes of vrrp keywords, with the place in keywordBase, and for each keyword
// that works a line of which the site or the globals differ. "P:" and "N:" try it
// in the instance with a peer and in the plain one. All other keywords have
// to say that they do not work. "=" are those that ask for what is there anyway.
var keywordScopes = []struct {
	in    *scope
	place int
	works map[string]string
}{
	{globalScope(), 0, map[string]string{
		"router_id": "router_id lb", "notification_email": "notification_email { b@example.com }", "notification_email_from": "notification_email_from c@example.com",
		"smtp_server": "smtp_server 127.0.0.2", "smtp_helo_name": "smtp_helo_name x", "smtp_connect_timeout": "smtp_connect_timeout 7",
		"smtp_alert": "smtp_alert", "smtp_alert_vrrp": "smtp_alert_vrrp", "smtp_alert_checker": "smtp_alert_checker",
		"script_user": "script_user nobody", "enable_script_security": "enable_script_security", "vrrp_version": "vrrp_version 3",
		"vrrp_mcast_group4": "vrrp_mcast_group4 239.1.1.1", "vrrp_mcast_group6": "vrrp_mcast_group6 ff02::99",
		"vrrp_garp_master_delay": "vrrp_garp_master_delay 9", "vrrp_garp_master_repeat": "vrrp_garp_master_repeat 9", "vrrp_garp_master_refresh": "vrrp_garp_master_refresh 9",
		"vrrp_garp_master_refresh_repeat": "vrrp_garp_master_refresh_repeat 9", "vrrp_garp_lower_prio_delay": "vrrp_garp_lower_prio_delay 9",
		"vrrp_garp_lower_prio_repeat": "vrrp_garp_lower_prio_repeat 9", "vrrp_garp_interval": "vrrp_garp_interval 0.01", "vrrp_gna_interval": "vrrp_gna_interval 0.01",
		"vrrp_min_garp": "vrrp_min_garp", "vrrp_down_timer_adverts": "vrrp_down_timer_adverts 4", "vrrp_skip_check_adv_addr": "vrrp_skip_check_adv_addr",
		"vrrp_check_unicast_src": "vrrp_check_unicast_src", "vrrp_lower_prio_no_advert": "vrrp_lower_prio_no_advert", "vrrp_higher_prio_send_advert": "vrrp_higher_prio_send_advert",
		"vrrp_startup_delay": "vrrp_startup_delay 5", "umask": "umask 022", "dynamic_interfaces": "dynamic_interfaces",
		"lvs_sync_daemon": "lvs_sync_daemon eth0 inst A id 3", "lvs_timeouts": "lvs_timeouts tcp 9", "lvs_flush": "lvs_flush", "lvs_flush_on_stop": "lvs_flush_on_stop", "lvs_flush_onstop": "lvs_flush_onstop",
		// These change what the daemon says, for they have no meaning in one process.
		"rs_init_notifies": "rs_init_notifies", "vrrp_priority": "vrrp_priority 3", "vrrp_rt_priority": "vrrp_rt_priority 3", "checker_priority": "checker_priority 3", "checker_rt_priority": "checker_rt_priority 3",
	}},
	{instanceScope(), 1, map[string]string{
		"state": "N: state MASTER", "interface": "interface eth1", "virtual_router_id": "virtual_router_id 9", "priority": "priority 9",
		"advert_int": "advert_int 9", "version": "N: version 3", "native_ipv6": "=",
		"authentication": "N: authentication { auth_type PASS\nauth_pass x }", "virtual_ipaddress": "virtual_ipaddress { 10.0.0.9 }",
		"virtual_ipaddress_excluded": "virtual_ipaddress_excluded { 10.0.0.9 }", "virtual_routes": "virtual_routes { 10.9.0.0/16 via 10.0.0.1 dev eth0 }",
		"mcast_src_ip": "mcast_src_ip 10.0.0.5", "unicast_src_ip": "P: unicast_src_ip 10.0.0.5", "unicast_peer": "unicast_peer { 10.0.0.8 }", "unicast_ttl": "P: unicast_ttl 9",
		"check_unicast_src": "P: check_unicast_src", "old_unicast_checksum": "P: old_unicast_checksum", "mcast_dst_ip": "mcast_dst_ip 239.1.1.1",
		"track_interface": "track_interface { eth1 }", "track_script": "N: track_script { chk }", "dont_track_primary": "dont_track_primary",
		"nopreempt": "P: nopreempt", "preempt": "preempt", "preempt_delay": "P: preempt_delay 9", "promote_secondaries": "promote_secondaries",
		"skip_check_adv_addr": "skip_check_adv_addr", "accept": "=", "down_timer_adverts": "down_timer_adverts 4", "lower_prio_no_advert": "lower_prio_no_advert",
		"higher_prio_send_advert": "higher_prio_send_advert", "garp_master_delay": "garp_master_delay 9", "garp_master_repeat": "garp_master_repeat 9",
		"garp_master_refresh": "garp_master_refresh 9", "garp_master_refresh_repeat": "garp_master_refresh_repeat 9", "garp_lower_prio_delay": "garp_lower_prio_delay 9",
		"garp_lower_prio_repeat": "garp_lower_prio_repeat 9", "notify": "notify /bin/a", "notify_master": "notify_master /bin/a", "notify_backup": "notify_backup /bin/a",
		"notify_fault": "notify_fault /bin/a", "notify_stop": "notify_stop /bin/a", "notify_deleted": "notify_deleted /bin/a",
		"notify_master_rx_lower_pri": "notify_master_rx_lower_pri /bin/a", "use_vmac": "use_vmac", "lvs_sync_daemon_interface": "lvs_sync_daemon_interface eth0",
		"on_vip_removed": "@lvsctl on_vip_removed keep", "on_duplicate": "@lvsctl on_duplicate refuse", "localnode": "@lvsctl localnode",
	}},
	{authScope(), 2, map[string]string{"auth_type": "auth_type AH", "auth_pass": "auth_pass other"}},
	{groupScope(), 3, map[string]string{
		"group": "=", "track_interface": "track_interface { eth1 }", "track_script": "sync_group_tracking_weight\ntrack_script { chk }", "notify": "notify /bin/a",
		"notify_master": "notify_master /bin/a", "notify_backup": "notify_backup /bin/a", "notify_fault": "notify_fault /bin/a", "notify_stop": "notify_stop /bin/a",
		"sync_group_tracking_weight": "sync_group_tracking_weight", "global_tracking": "global_tracking",
	}},
	{scriptScope(), 4, map[string]string{
		"script": "script /bin/false", "interval": "interval 9", "timeout": "timeout 9", "weight": "weight 9", "rise": "rise 9", "fall": "fall 9", "user": "user nobody", "init_fail": "init_fail",
	}},
}

// tried is the file with something in one of its places.
func tried(place int, line string) (f *File, problems []string) {
	places := make([]any, 7)
	for i := range places {
		places[i] = ""
	}
	if rest, is := strings.CutPrefix(line, "P: "); is {
		place, line = 5, rest
	} else if rest, is := strings.CutPrefix(line, "N: "); is {
		place, line = 6, rest
	}
	places[place] = line
	file, all := Parse("k.conf", fmt.Appendf(nil, keywordBase, places...), Options{})
	for _, p := range all {
		problems = append(problems, p.Text)
	}
	return file, problems
}

// What is at a line is no meaning.
var lineNumber = regexp.MustCompile(`Line \d+|Line:\d+`)

func meaningOf(f *File) string { return lineNumber.ReplaceAllString(meaning(f), "") }

// TestEveryKeyword: there is no keyword of VRRP that is read, and neither does
// anything nor says that it does not.
func TestEveryKeyword(t *testing.T) {
	plain, before := tried(0, "")
	for _, s := range keywordScopes {
		for name, kw := range s.in.keywords {
			line, works := s.works[name]
			switch {
			case line == "=":
				continue
			case !works && kw.shape == list:
				line = name + " { eth0 }"
			case !works:
				line = name + " 1"
			}
			f, problems := tried(s.place, line)
			if works && meaningOf(f) == meaningOf(plain) && !deepDiffers(f, plain) {
				t.Errorf("%s: %q changes nothing", s.in.name, line)
			}
			said := strings.Count(strings.Join(problems, "\n"), name) > strings.Count(strings.Join(before, "\n"), name)
			if !works && !said {
				t.Errorf("%s: %q is passed over in silence: %q", s.in.name, line, problems)
			}
		}
		for name := range s.works {
			if s.in.keywords[name] == nil {
				t.Errorf("%s has no keyword %s", s.in.name, name)
			}
		}
	}
}

func deepDiffers(a, b *File) bool { return !reflect.DeepEqual(a.Globals(), b.Globals()) }
