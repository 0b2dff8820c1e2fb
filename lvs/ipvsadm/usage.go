package ipvsadm

import (
	"fmt"
	"io"
	"strings"
)

// versionLine is what scripts look at to know which ipvsadm they have.
const versionLine = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

// usageText follows the version line; PROG stands for the program's name.
const usageText = `Usage:
  PROG COMMAND [OPTION...]
  PROG                          the same as PROG -L

Commands on virtual services:
  -A, --add-service SERVICE      add one: [-s] [-p] [-M] [-o] [--pe] [-b]
  -E, --edit-service SERVICE     change one; what is not given becomes the default
  -D, --delete-service SERVICE   remove one with its real servers
  -C, --clear                    remove all
  -Z, --zero [SERVICE]           set the counters of one, or of all, to 0

Commands on real servers:
  -a, --add-server SERVICE -r SERVER      add one: [-g|-i|-m] [-w] [-x] [-y] [--tun-...]
  -e, --edit-server SERVICE -r SERVER     change one; what is not given becomes the default
  -d, --delete-server SERVICE -r SERVER   remove one

Listing and keeping:
  -L, -l, --list [SERVICE]       print the table, or one service
  -S, --save [-n]                print the table as rules
  -R, --restore                  carry out rules from standard input
      --set TCP TCPFIN UDP       idle timeouts of connections in seconds, 0 keeps one
      --start-daemon ROLE        synchronise connections as master or backup
      --stop-daemon ROLE
  -h, --help                     this text
  -v, --version                  its first line

SERVICE is one of
  -t, --tcp-service HOST[:PORT]
  -u, --udp-service HOST[:PORT]
      --sctp-service HOST[:PORT]
  -f, --fwmark-service MARK      packets with a firewall mark, 1 to 4294967295
  -6, --ipv6                     behind -f: those that are IPv6
  An IPv6 HOST with a port stands in brackets: [fd00::1]:80.

Options of a service:
  -s, --scheduler NAME           rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh (wlc)
  -p, --persistent [SECONDS]     clients stay with their server, 1 to 2678400 (360)
  -M, --netmask MASK             clients of one network count as one: a netmask, or a
                                 prefix length
      --pe NAME                  persistence engine: sip
  -o, --ops                      schedule every datagram anew (UDP, marks)
  -b, --sched-flags NAME,...     sh-fallback, sh-port, mh-fallback, mh-port; flag-1 to flag-3

Options of a server:
  -r, --real-server HOST[:PORT]
  -g, --gatewaying               direct routing (the default)
  -i, --ipip                     tunnel
  -m, --masquerading             network address translation
  -w, --weight N                 0 to 2147483647, 0 takes no new connections (1)
  -x, --u-threshold N            no new connections from N on (0: no limit)
  -y, --l-threshold N            new connections again from N down
      --tun-type TYPE            ipip|gue|gre (ipip)
      --tun-port PORT            of gue
      --tun-nocsum, --tun-csum, --tun-remcsum
                                 no checksum, a checksum, a remote one (gue, gre)

Options of a listing:
  -n, --numeric                  addresses and ports as numbers
  -c, --connection               the connections
      --timeout                  the idle timeouts
      --daemon                   the sync daemons
      --stats                    counters
      --rate                     counters a second
      --thresholds               connection limits
      --persistent-conn          persistent connections
      --tun-info                 tunnels
  -X, --exact                    large numbers in full
      --nosort                   in the kernel's order
      --sort                     sorted, which is the default
      --json                     as JSON, with all that is known

Options of the sync daemons:
      --syncid N                 which group to belong to, 0 to 255 (0)
      --sync-maxlen BYTES        largest message, 1 to 65507 (what the interface takes)
      --mcast-interface NAME     (eth0)
      --mcast-group ADDRESS      (224.0.0.81)
      --mcast-port PORT          (8848)
      --mcast-ttl N              (1)

Example: a web service on two servers, by direct routing
  PROG -A -t 192.168.0.254:80 -s rr
  PROG -a -t 192.168.0.254:80 -r 192.168.0.11 -g
  PROG -a -t 192.168.0.254:80 -r 192.168.0.12 -g
  PROG -Ln
`

// explain prints the version, or that and how to use the program.
func (p *Program) explain(v Verb) int {
	text := versionLine
	if v == VerbHelp {
		text += strings.ReplaceAll(usageText, "PROG", p.Name)
	}
	if _, err := io.WriteString(p.Stdout, text); err != nil {
		fmt.Fprintf(p.Stderr, "%s: writing the output: %v\n", p.Name, err)
		return statusListing
	}
	return statusFine
}
