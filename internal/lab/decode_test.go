package lab_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Pieces of frames, in hexadecimal.
const (
	ether   = "020000000101 020000000201 " // to, from
	ip4     = ether + "0800 "
	ip6     = ether + "86dd "
	to4     = " 0000 c0a8830a c0a883fc " // checksum (left out), 192.168.131.10 > 192.168.131.252
	from6   = "20010db8000000000000000000000001 "
	to6     = "20010db8000000000000000000000002 "
	tcpSyn  = "9c40 0050 00000001 00000000 5002 ffff 0000 0000"
	padding = " 000000000000"
)

func frame(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	arp := ether + "0806 0001 0800 06 04 "
	for _, tt := range []struct{ hex, want string }{
		{arp + "0001 020000000201 c0a8830a 000000000000 c0a883fc", "ARP who-has 192.168.131.252 tell 192.168.131.10"},
		{arp + "0002 020000000201 c0a883fc 020000000101 c0a8830a", "ARP reply 192.168.131.252 is-at 02:00:00:00:02:01"},
		{arp + "0001 020000000201 c0a883fc 000000000000 c0a883fc", "ARP announcement 192.168.131.252 is-at 02:00:00:00:02:01"},
		{ip4 + "4500 0028 0000 4000 40 06" + to4 + tcpSyn, "IP 192.168.131.10.40000 > 192.168.131.252.80: Flags [S], length 0"},
		{ip4 + "4500 0028 0000 4000 40 06" + to4 + tcpSyn + padding, "IP 192.168.131.10.40000 > 192.168.131.252.80: Flags [S], length 0"},
		{ip4 + "4500 002a 0000 4000 40 06" + to4 + "0050 9c40 00000001 00000000 5018 ffff 0000 0000 4142", "IP 192.168.131.10.80 > 192.168.131.252.40000: Flags [P.], length 2"},
		{ip4 + "4500 0020 0000 4000 40 11" + to4 + "d431 0035 000c 0000 41424344", "IP 192.168.131.10.54321 > 192.168.131.252.53: UDP, length 4"},
		{ip4 + "4500 001c 0000 0002 40 11" + to4 + "4142434445464748", "IP 192.168.131.10 > 192.168.131.252: fragment of protocol 17 at 16"},
		{ip4 + "4500 001c 0000 4000 40 01" + to4 + "08 00 0000 00000000", "IP 192.168.131.10 > 192.168.131.252: ICMP echo request"},
		{ip4 + "4500 003c 0000 4000 40 04" + to4 + "4500 0028 0000 4000 40 06" + to4 + tcpSyn, "IP 192.168.131.10 > 192.168.131.252: IP 192.168.131.10.40000 > 192.168.131.252.80: Flags [S], length 0"},
		{ip4 + "45c0 0028 0000 4000 ff 70 0000 c0a8838f e0000012 21 33 64 01 00 01 0000 c0a883fc 00000000 00000000", "IP 192.168.131.143 > 224.0.0.18: VRRPv2, vrid 51, prio 100, intvl 1s, addrs 192.168.131.252"},
		{ip6 + "60000000 0018 70 ff " + from6 + "ff020000000000000000000000000012 31 33 00 01 0064 0000 " + to6, "IP6 2001:db8::1 > ff02::12: VRRPv3, vrid 51, prio 0, intvl 100cs, addrs 2001:db8::2"},
		{ip6 + "60000000 0018 3a ff " + from6 + to6 + "87 00 0000 00000000 " + to6, "IP6 2001:db8::1 > 2001:db8::2: ICMP6, neighbor solicitation, who has 2001:db8::2"},
		{ip6 + "60000000 0014 06 40 " + from6 + to6 + tcpSyn, "IP6 2001:db8::1.40000 > 2001:db8::2.80: Flags [S], length 0"},
		{ether + "88cc 01020304", "ethertype 0x88cc, length 18"},
		{ether + "8100 0005 0800 4500 001c 0000 4000 40 01" + to4 + "00 00 0000 00000000", "IP 192.168.131.10 > 192.168.131.252: ICMP echo reply"},
		{ip4 + "4500 0028 0000 4000 40 06" + to4 + "9c40 0050", "IP 192.168.131.10.40000 > 192.168.131.252.80: Flags [none], length 0 (truncated)"},
		{"0102", "ethertype 0x0000, length 2 (truncated)"},
	} {
		if got := lab.Decode(frame(t, tt.hex)); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.hex, got, tt.want)
		}
	}
}

// FuzzDecode: whatever comes off a wire gives one line.
func FuzzDecode(f *testing.F) {
	f.Add(frame(f, ip4+"4500 0028 0000 4000 40 06"+to4+tcpSyn))
	f.Add(frame(f, ip6+"60000000 0018 70 ff "+from6+to6+"31 33 00 ff 0064 0000 "+to6))
	f.Add(frame(f, ip6+"60000000 0008 00 ff "+from6+to6+"00 ff 0000 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		line := lab.Decode(b)
		if line == "" || strings.Contains(line, "\n") || len(line) > 64*len(b)+200 {
			t.Errorf("%x: %q", b, line)
		}
	})
}
