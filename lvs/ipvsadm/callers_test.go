package ipvsadm_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// callers are programs that run ipvsadm, with the lines they run and what they
// look for in the answer. An empty look-for means that success is all.
var callers = []struct {
	name  string
	lines []call
}{
	{"SaltStack lvs module", []call{
		{args: "-A -t 10.0.0.1:80 -s wlc"},
		{args: "-E -t 10.0.0.1:80 -s wrr"},
		{args: "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{args: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -i -w 3"},
		{args: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{args: "-S -n", finds: " -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{args: "-S -n", finds: "-t 10.0.0.1:80 -s wrr"},
		{args: "-L -t 10.0.0.1:80 -n", finds: "TCP  10.0.0.1:80 wrr"},
		{args: "-L -n", finds: "TCP  10.0.0.1:80 wrr"},
		{args: "-Z"},
		{args: "-d -t 10.0.0.1:80 -r 10.0.0.2:80"},
		{args: "-D -t 10.0.0.1:80"},
		{args: "-C"},
	}},
	{"PyBal", []call{
		{args: "-R", in: "-C"},
		{args: "-R", in: "-A -t 10.2.1.25:80 -s wrr\n-A -u [fd00::35]:53 -s wrr -o\n-A -t [2620:0:861::25]:443 -s wrr"},
		{args: "-R", in: "-a -t 10.2.1.25:80 -r vip.example -w 10"},
		{args: "-R", in: "-a -t [2620:0:861::25]:443 -r [2620:0:861::7]:443 -w 10"},
		{args: "-R", in: "-e -t 10.2.1.25:80 -r vip.example -w 5"},
		{args: "-L -n", finds: "  -> 172.31.99.1:80               Route   5      0          0         "},
		{args: "-R", in: "-d -t 10.2.1.25:80 -r vip.example:80"},
		{args: "-R", in: "-D -t 10.2.1.25:80"},
	}},
	{"OpenStack Octavia", []call{
		{args: "-Ln", finds: "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"},
		{args: "-Ln --stats --exact", finds: "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"},
	}},
	{"sos report", []call{
		{args: "-Ln"}, {args: "-Ln --connection", finds: "pro expire state       source"}, {args: "-Ln --persistent-conn"},
		{args: "-Ln --rate"}, {args: "-Ln --stats"}, {args: "-Ln --thresholds"}, {args: "-Ln --timeout", finds: "Timeout (tcp tcpfin udp): 900 120 300\n"},
	}},
	{"supportutils", []call{{args: "-Ln"}}},
	{"kubespray, kubeadm", []call{{args: "-C"}, {args: "--clear"}}},
	{"kube-keepalived-vip", []call{{args: "-C"}, {args: "-C"}}},
	{"Icinga check_ipvs", []call{
		{args: "-R", in: "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 7"},
		{args: "-L -n -t 10.0.0.1:80", finds: "TCP  10.0.0.1:80 rr\n  -> 10.0.0.2:80                  Masq    7      0          0         \n"},
	}},
	{"munin", []call{
		{args: "-R", in: "-A -t 10.0.0.1:80 -s rr"},
		{args: "-l -n", finds: "TCP  10.0.0.1:80 rr\n"},
		{args: "-l -n --rate", finds: "TCP  10.0.0.1:80                         0        0        0        0        0\n"},
		{args: "-L --stats", finds: "TCP  10.0.0.1:http                       0        0        0        0        0\n"},
	}},
	{"MIT status page", []call{
		{args: "-A -f 2 -s rr"},
		{args: "", finds: "\nFWM  2 rr\n"}, // two blanks behind FWM
	}},
	{"zabbix discovery", []call{{args: "-A -t 10.0.0.1:80"}, {args: "-Ln", finds: "TCP  10.0.0.1:80 wlc\n"}}},
	{"Diamond", []call{
		{args: "--list --stats --numeric --exact", heading: 3},
	}},
	{"django-lvs", []call{
		{args: "-A -t 10.0.0.1:80 -s wlc"},
		{args: "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -w 3 -m"},
		{args: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -w 0 -m"},
		{args: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -w 9 -g"},
		{args: "-d -t 10.0.0.1:80 -r 10.0.0.2:80"},
		{args: "-D -t 10.0.0.1:80"},
	}},
	{"marksugar lvs.sh", []call{
		{args: "-C"},
		{args: "-At 10.0.0.1:80 -s rr"},
		{args: "-at 10.0.0.1:80 -r 10.0.0.2:80 -g"},
		{args: "-Ln", finds: "TCP  10.0.0.1:80 rr\n"},
		{args: "-ln", finds: "TCP  10.0.0.1:80 rr\n"},
		{args: "-lnc", finds: "IPVS connection entries\n"},
		{args: "-Lnc", finds: "IPVS connection entries\n"},
	}},
	{"keepalived notify scripts", []call{
		{args: "--start-daemon master --syncid 51 --mcast-interface=eth0"},
		{args: "-L --daemon", finds: "master sync daemon (mcast=eth0, syncid=51, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"},
		{args: "--stop-daemon master"},
		{args: "--start-daemon=backup --syncid=51 --mcast-interface eth0"},
		{args: "--stop-daemon=backup"},
	}},
	{"ldirectord", []call{
		{args: "-A -t 10.0.0.1:80 -s wlc -p 300 -M 255.255.255.255"},
		{args: "-E -t 10.0.0.1:80 -s rr"},
		{args: "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1"},
		{args: "-e -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 0"},
		{args: "-L -n", finds: "  -> 10.0.0.2:80                  Route   0      0          0         \n"},
		{args: "-d -t 10.0.0.1:80 -r 10.0.0.2:80"},
		{args: "-D -t 10.0.0.1:80"},
	}},
	{"Debian init script", []call{
		{args: "-C"},
		{args: "-R", in: "-A -t 10.0.0.1:80 -s rr\n\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n"},
		{args: "-S -n", finds: "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n"},
		{args: "-L -n"}, {args: "-L --rate -n"},
		{args: "--start-daemon=backup --mcast-interface=eth0 --syncid=1"},
		{args: "--stop-daemon backup"},
	}},
	{"RHEL unit", []call{
		{prog: "restore", in: "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1\n"},
		{prog: "save", args: "-n", finds: "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1\n"},
		{args: "-C"},
	}},
	{"version parsers", []call{
		{args: "-v", finds: "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"},
		{args: "--help", finds: "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\nUsage:\n"},
	}},
}

type call struct {
	prog, args, in string
	finds          string // somewhere in the output
	heading        int    // the output has exactly so many lines
}

func TestCallersKeepWorking(t *testing.T) {
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) {
			k := lvstest.New()
			for _, l := range c.lines {
				var out, errs bytes.Buffer
				p := program(k, l.in, &out, &errs)
				run := p.Run
				switch l.prog {
				case "save":
					run = p.RunSave
				case "restore":
					run = p.RunRestore
				}
				if status := run(strings.Fields(l.args)); status != 0 {
					t.Errorf("ipvsadm %s: exit status %d: %s", l.args, status, errs.String())
				}
				if !strings.Contains(out.String(), l.finds) {
					t.Errorf("ipvsadm %s: no %q in\n%s", l.args, l.finds, out.String())
				}
				if n := strings.Count(out.String(), "\n"); l.heading != 0 && n != l.heading {
					t.Errorf("ipvsadm %s: %d lines above the services, want %d", l.args, n, l.heading)
				}
			}
		})
	}
}
