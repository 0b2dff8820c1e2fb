package checkerlab

import (
	"syscall"
	"testing"
)

// Servers come and go: with a sorry server, kept in or not, with a quorum, and with
// servers that stay with weight 0.
func TestServersComeAndGo(t *testing.T) {
	d := newDuel(t)
	d.open("10.2.0.11:80", "10.2.0.12:80", "10.2.0.13:80")
	d.start(`
virtual_server 10.9.0.1 80 {
	delay_loop 1
	delay_before_retry 0.2
	retry 1
	lvs_sched rr
	lvs_method DR
	protocol TCP
	omega
	sorry_server 10.2.0.99 80
	real_server 10.2.0.11 80 {
		notify_up "/etc/note.sh server up 11"
		notify_down "/etc/note.sh server down 11"
		TCP_CHECK { connect_timeout 20 }
	}
	real_server 10.2.0.12 80 {
		weight 3
		TCP_CHECK { connect_timeout 20 }
	}
}
virtual_server 10.9.0.2 80 {
	delay_loop 1
	delay_before_retry 0.2
	lvs_sched wrr
	lvs_method NAT
	protocol TCP
	inhibit_on_failure
	sorry_server 10.2.0.99 8080
	sorry_server_inhibit
	real_server 10.2.0.11 80 {
		weight 2
		TCP_CHECK { connect_timeout 20 }
	}
	real_server 10.2.0.12 80 {
		TCP_CHECK { connect_timeout 20 }
	}
}
virtual_server 10.9.0.3 80 {
	delay_loop 1
	delay_before_retry 0.2
	lvs_sched wrr
	lvs_method NAT
	protocol TCP
	quorum 3
	hysteresis 1
	quorum_up "/etc/note.sh quorum up"
	quorum_down "/etc/note.sh quorum down"
	sorry_server 10.2.0.99 80
	real_server 10.2.0.11 80 {
		weight 2
		TCP_CHECK { connect_timeout 20 }
	}
	real_server 10.2.0.12 80 {
		weight 1
		TCP_CHECK { connect_timeout 20 }
	}
	real_server 10.2.0.13 80 {
		weight 1
		TCP_CHECK { connect_timeout 20 }
	}
}
virtual_server 10.9.0.4 80 {
	delay_loop 1
	delay_before_retry 0.2
	lvs_sched wrr
	lvs_method NAT
	protocol TCP
	quorum 2
	inhibit_on_failure
	sorry_server 10.2.0.99 80
	real_server 10.2.0.11 80 {
		TCP_CHECK { connect_timeout 20 }
	}
	real_server 10.2.0.12 80 {
		TCP_CHECK { connect_timeout 20 }
	}
}
`)
	d.want("start", `
		-A -t 10.9.0.1:80 -s rr
		-a -t 10.9.0.1:80 -r 10.2.0.11:80 -g -w 1
		-a -t 10.9.0.1:80 -r 10.2.0.12:80 -g -w 3
		-A -t 10.9.0.2:80 -s wrr
		-a -t 10.9.0.2:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.2:80 -r 10.2.0.12:80 -m -w 1
		-a -t 10.9.0.2:80 -r 10.2.0.99:8080 -m -w 0
		-A -t 10.9.0.3:80 -s wrr
		-a -t 10.9.0.3:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.3:80 -r 10.2.0.12:80 -m -w 1
		-a -t 10.9.0.3:80 -r 10.2.0.13:80 -m -w 1
		-A -t 10.9.0.4:80 -s wrr
		-a -t 10.9.0.4:80 -r 10.2.0.11:80 -m -w 1
		-a -t 10.9.0.4:80 -r 10.2.0.12:80 -m -w 1
	`)
	d.close("10.2.0.12:80")
	d.want("12 dies", `
		-A -t 10.9.0.1:80 -s rr
		-a -t 10.9.0.1:80 -r 10.2.0.11:80 -g -w 1
		-A -t 10.9.0.2:80 -s wrr
		-a -t 10.9.0.2:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.2:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.2:80 -r 10.2.0.99:8080 -m -w 0
		-A -t 10.9.0.3:80 -s wrr
		-a -t 10.9.0.3:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.3:80 -r 10.2.0.13:80 -m -w 1
		-A -t 10.9.0.4:80 -s wrr
		-a -t 10.9.0.4:80 -r 10.2.0.11:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.99:80 -m -w 1
	`)
	d.close("10.2.0.11:80")
	d.want("11 too", `
		-A -t 10.9.0.1:80 -s rr
		-a -t 10.9.0.1:80 -r 10.2.0.99:80 -g -w 1
		-A -t 10.9.0.2:80 -s wrr
		-a -t 10.9.0.2:80 -r 10.2.0.11:80 -m -w 0
		-a -t 10.9.0.2:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.2:80 -r 10.2.0.99:8080 -m -w 1
		-A -t 10.9.0.3:80 -s wrr
		-a -t 10.9.0.3:80 -r 10.2.0.99:80 -m -w 1
		-A -t 10.9.0.4:80 -s wrr
		-a -t 10.9.0.4:80 -r 10.2.0.11:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.99:80 -m -w 1
	`)
	d.said("server", "down 11")
	d.said("quorum", "up", "down")
	d.open("10.2.0.11:80")
	d.want("11 is back", `
		-A -t 10.9.0.1:80 -s rr
		-a -t 10.9.0.1:80 -r 10.2.0.11:80 -g -w 1
		-A -t 10.9.0.2:80 -s wrr
		-a -t 10.9.0.2:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.2:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.2:80 -r 10.2.0.99:8080 -m -w 0
		-A -t 10.9.0.3:80 -s wrr
		-a -t 10.9.0.3:80 -r 10.2.0.99:80 -m -w 1
		-A -t 10.9.0.4:80 -s wrr
		-a -t 10.9.0.4:80 -r 10.2.0.11:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.12:80 -m -w 0
		-a -t 10.9.0.4:80 -r 10.2.0.99:80 -m -w 1
	`)
	d.open("10.2.0.12:80")
	d.want("12 is back", `
		-A -t 10.9.0.1:80 -s rr
		-a -t 10.9.0.1:80 -r 10.2.0.11:80 -g -w 1
		-a -t 10.9.0.1:80 -r 10.2.0.12:80 -g -w 3
		-A -t 10.9.0.2:80 -s wrr
		-a -t 10.9.0.2:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.2:80 -r 10.2.0.12:80 -m -w 1
		-a -t 10.9.0.2:80 -r 10.2.0.99:8080 -m -w 0
		-A -t 10.9.0.3:80 -s wrr
		-a -t 10.9.0.3:80 -r 10.2.0.11:80 -m -w 2
		-a -t 10.9.0.3:80 -r 10.2.0.12:80 -m -w 1
		-a -t 10.9.0.3:80 -r 10.2.0.13:80 -m -w 1
		-A -t 10.9.0.4:80 -s wrr
		-a -t 10.9.0.4:80 -r 10.2.0.11:80 -m -w 1
		-a -t 10.9.0.4:80 -r 10.2.0.12:80 -m -w 1
	`)
	d.said("server", "down 11", "up 11")
	d.said("quorum", "up", "down", "up")

	d.signal(syscall.SIGTERM)
	d.serves("stop")
	d.said("server", "down 11", "up 11", "down 11") // by omega
	d.said("quorum", "up", "down", "up")
}
