package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// writeRules writes a table as ipvsadm -S would.
func writeRules(path string, services, servers int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for s := range services {
		vip := fmt.Sprintf("10.%d.%d.1:80", s>>8, s&255)
		fmt.Fprintf(w, "-A -t %s -s wlc\n", vip)
		for r := range servers {
			fmt.Fprintf(w, "-a -t %s -r 11.%d.%d.%d:80 -m -w %d\n", vip, s>>8, s&255, r+1, r+1)
		}
	}
	return w.Flush()
}

// maxRSS is the most memory that a process which has ended was given, in bytes.
func maxRSS(p *os.ProcessState) int64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}

func join(args []string) string { return strings.Join(args, " ") }

// fiveHundred is a configuration of a service for each server, unchecked, in
// which the 251st has that weight.
func fiveHundred(f farm, weight int) string {
	var w strings.Builder
	w.WriteString("autoreload=yes\nquiescent=yes\ncheckinterval=1\nsupervised=yes\n")
	for i, s := range f {
		own := 1
		if i == 250 {
			own = weight
		}
		fmt.Fprintf(&w, "virtual=%s:80\n\treal=%v masq %d\n\tscheduler=rr\n\tprotocol=tcp\n\tservice=none\n\tchecktype=on\n", vip(i), s.addr, own)
	}
	return w.String()
}

// placeOf is the address of a server that nobody connects to.
func placeOf(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 64, byte(n >> 8), byte(n)}), 80)
}
