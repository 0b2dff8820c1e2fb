package checkerlab

import (
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// What the kernel has of a service and its servers beside their weight.
func TestAttributes(t *testing.T) {
	lab.Long(t)
	d := newDuel(t)
	d.start(`
virtual_server_group web {
	10.9.1.1 80
	10.9.1.5-6 8080
	10.9.1.8/31 81
	fwmark 5
}
virtual_server group web {
	lvs_sched sh
	sh-port
	sh-fallback
	lvs_method NAT
	protocol TCP
	persistence_timeout 50
	real_server 10.2.0.11 8000 {
		weight 2
		uthreshold 100
		lthreshold 50
	}
	real_server 10.2.0.12 8000 {
		weight 0
	}
}
virtual_server 10.9.1.10 80 {
	lvs_sched rr
	lvs_method NAT
	protocol TCP
	persistence_timeout 50
	persistence_granularity 255.255.255.0
	real_server 10.2.0.11 80 {
	}
}
virtual_server fwmark 7 {
	lvs_sched mh
	mh-port
	mh-fallback
	lvs_method DR
	persistence_timeout
	real_server 10.2.0.11 80 {
	}
	real_server 10.2.0.12 0 {
		lvs_method TUN type gue port 6080 csum
	}
}
virtual_server fwmark 8 {
	ip_family inet6
	lvs_sched wlc
	lvs_method TUN type gre csum
	real_server fd02::11 80 {
	}
	real_server 10.2.0.12 80 {
	}
}
virtual_server 10.9.1.3 53 {
	lvs_sched rr
	lvs_method DR
	protocol UDP
	ops
	real_server 10.2.0.11 53 {
	}
	real_server 10.2.0.12 5353 {
		lvs_method NAT
	}
}
virtual_server 10.9.1.4 5060 {
	lvs_sched rr
	lvs_method NAT
	protocol UDP
	persistence_engine sip
	persistence_timeout 60
	real_server 10.2.0.11 5060 {
	}
}
virtual_server 10.9.1.4 0 {
	lvs_sched wrr
	flag-1
	flag-3
	lvs_method DR
	protocol SCTP
	persistence_timeout 60
	real_server 10.2.0.11 0 {
	}
	real_server 10.2.0.12 90 {
	}
}
virtual_server fd09::1 80 {
	lvs_sched rr
	lvs_method DR
	protocol TCP
	persistence_timeout 60
	persistence_granularity 64
	sorry_server fd02::99 80
	sorry_server_lvs_method TUN
	quorum 5
	real_server fd02::11 80 {
	}
	real_server fd02::12 80 {
		weight 3
	}
}
virtual_server 10.9.1.9 80 {
	lvs_sched rr
	lvs_method DR
	protocol TCP
	alpha
	sorry_server 10.2.0.99 80
	sorry_server_lvs_method TUN
	real_server 10.2.0.11 80 {
		TCP_CHECK { connect_timeout 1 }
	}
	real_server 10.2.0.12 80 {
	}
}
`)
	d.want("start", `
		-A -t 10.9.1.1:80 -s sh -p 50 -b flag-1,flag-2
		-a -t 10.9.1.1:80 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -t 10.9.1.1:80 -r 10.2.0.12:8000 -m -w 0
		-A -t 10.9.1.5:8080 -s sh -p 50 -b flag-1,flag-2
		-a -t 10.9.1.5:8080 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -t 10.9.1.5:8080 -r 10.2.0.12:8000 -m -w 0
		-A -t 10.9.1.6:8080 -s sh -p 50 -b flag-1,flag-2
		-a -t 10.9.1.6:8080 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -t 10.9.1.6:8080 -r 10.2.0.12:8000 -m -w 0
		-A -t 10.9.1.8:81 -s sh -p 50 -b flag-1,flag-2
		-a -t 10.9.1.8:81 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -t 10.9.1.8:81 -r 10.2.0.12:8000 -m -w 0
		-A -t 10.9.1.9:80 -s rr
		-a -t 10.9.1.9:80 -r 10.2.0.12:80 -g -w 1
		-A -t 10.9.1.9:81 -s sh -p 50 -b flag-1,flag-2
		-a -t 10.9.1.9:81 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -t 10.9.1.9:81 -r 10.2.0.12:8000 -m -w 0
		-A -t 10.9.1.10:80 -s rr -p 50 -M 255.255.255.0
		-a -t 10.9.1.10:80 -r 10.2.0.11:80 -m -w 1
		-A -u 10.9.1.3:53 -s rr -o
		-a -u 10.9.1.3:53 -r 10.2.0.11:53 -g -w 1
		-a -u 10.9.1.3:53 -r 10.2.0.12:5353 -m -w 1
		-A -u 10.9.1.4:5060 -s rr -p 60 --pe sip
		-a -u 10.9.1.4:5060 -r 10.2.0.11:5060 -m -w 1
		-A --sctp-service 10.9.1.4:0 -s wrr -p 60 -b flag-1,flag-3
		-a --sctp-service 10.9.1.4:0 -r 10.2.0.11:0 -g -w 1
		-a --sctp-service 10.9.1.4:0 -r 10.2.0.12:0 -g -w 1
		-A -t [fd09::1]:80 -s rr -p 60 -M 64
		-a -t [fd09::1]:80 -r [fd02::11]:80 -g -w 1
		-a -t [fd09::1]:80 -r [fd02::12]:80 -g -w 3
		-A -f 5 -s sh -p 50 -b flag-1,flag-2
		-a -f 5 -r 10.2.0.11:8000 -m -w 2 -x 100 -y 50
		-a -f 5 -r 10.2.0.12:8000 -m -w 0
		-A -f 7 -s mh -p 360 -b flag-1,flag-2
		-a -f 7 -r 10.2.0.11:0 -g -w 1
		-a -f 7 -r 10.2.0.12:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
		-A -f 8 -6 -s wlc
		-a -f 8 -6 -r 10.2.0.12:0 -i -w 1 --tun-type gre --tun-csum
		-a -f 8 -6 -r [fd02::11]:0 -i -w 1 --tun-type gre --tun-csum
	`)
}
