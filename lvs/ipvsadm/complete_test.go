package ipvsadm

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/lvs"
)

func liveState() lvs.State {
	service := func(k lvs.Key, servers ...string) lvs.ServiceState {
		s := lvs.ServiceState{Service: lvs.NewService(k, "rr")}
		for _, d := range servers {
			s.Destinations = append(s.Destinations, lvs.DestinationState{Destination: lvs.Destination{Addr: netip.MustParseAddrPort(d)}})
		}
		return s
	}
	ap := netip.MustParseAddrPort
	return lvs.State{
		service(lvs.At(lvs.TCP, ap("10.0.0.1:80")), "10.1.0.1:80", "10.1.0.2:80"),
		service(lvs.At(lvs.TCP, ap("[fd00::1]:443")), "[fd00::2]:443"),
		service(lvs.At(lvs.UDP, ap("10.0.0.1:53")), "10.1.0.3:53"),
		service(lvs.At(lvs.SCTP, ap("10.0.0.1:5000"))),
		service(lvs.Marked(7, lvs.IPv4), "10.1.0.4:0"),
		service(lvs.Marked(7, lvs.IPv6), "[fd00::4]:0"),
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct{ line, typed, want string }{
		{"", "--add", "--add-service --add-server"},
		{"", "--s", "--save --set --start-daemon --stop-daemon"},
		{"-A -t", "", ""}, // what is to be added is not there yet
		{"-E -t", "", "10.0.0.1:80 [fd00::1]:443"},
		{"-Et", "10", "10.0.0.1:80"},
		{"-D -u", "", "10.0.0.1:53"},
		{"-L --sctp-service", "", "10.0.0.1:5000"},
		{"-Z -f", "", "7"},
		{"-a --tcp-service", "[", "[fd00::1]:443"},
		{"-L", "--udp-service=", "--udp-service=10.0.0.1:53"},
		{"-e -t 10.0.0.1:80 -r", "", "10.1.0.1:80 10.1.0.2:80"},
		{"-dt10.0.0.1:80 -r", "10.1.0.2", "10.1.0.2:80"},
		{"-d -f 7 -r", "", "10.1.0.4:0"},
		{"-d -f 7 -6 -r", "", "[fd00::4]:0"},
		{"-a -t 10.0.0.1:80 -r", "", ""},
		{"-d -t 10.0.0.9:80 -r", "", ""},
		{"-A -t 10.0.0.9:80 -s", "w", "wrr wlc"},
		{"-A -t 10.0.0.9:80", "--scheduler=l", "--scheduler=lc --scheduler=lblc --scheduler=lblcr"},
		{"-A -t 10.0.0.9:80 --pe", "", "sip"},
		{"-A -t 10.0.0.9:80 -s sh -b", "s", "sh-fallback sh-port"},
		{"-a -t 10.0.0.1:80 -r x -i --tun-type", "g", "gue gre"},
		{"--start-daemon", "", "master backup"},
		{"", "--stop-daemon=m", "--stop-daemon=master"},
		{"-A -t 10.0.0.9:80 -s rr -p", "-", "-M --netmask --pe -o --ops -b --sched-flags"},
		{"-A -t 10.0.0.9:80 -p 5 -s rr -M 255.0.0.0 -o -b flag-1", "-", "--pe"},
		{"-A -f 9", "-6", "-6"},
		{"-A -f 9 -6", "-6", ""},
		{"-A -t 10.0.0.9:80", "-6", ""},
		{"-D", "-", "-t --tcp-service -u --udp-service --sctp-service -f --fwmark-service"},
		{"-D -t 10.0.0.1:80", "-", ""},
		{"-S", "-", "-n --numeric"},
		{"-L --timeout", "--d", ""},
		{"-L", "--d", "--daemon"},
		{"-L --stats", "--s", "--sctp-service --sort"},
		{"-L --json", "--j", ""},
		{"-L --timeout", "--p", ""},
		{"-L -c", "--p", "--persistent-conn"},
		{"-L -c", "--r", ""},
		{"-C", "", ""},
		{"-C --", "", ""},
		{"-C", "--numeric=", ""},
		{"--bogus -A -Q", "--sch", "--scheduler --sched-flags"},
		{"--stop-daemon master", "--", "--syncid"},
	} {
		got := strings.Join(Complete(strings.Fields(c.line), c.typed, liveState()), " ")
		if got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.line, c.typed, got, c.want)
		}
	}
}

// What is offered is accepted: after a command, every option offered is one that
// the table of combinations lets pass.
func TestCompleteOffersNothingIllegal(t *testing.T) {
	for i := range words {
		w := &words[i]
		if !w.isCommand() || w.long == "" || w.verb == VerbHelp || w.verb == VerbVersion {
			continue
		}
		line := []string{"--" + w.long}
		if w.value == oneValue {
			line = append(line, "master")
		}
		for _, o := range Complete(line, "--", nil) {
			opt := findLong(o[2:])
			if opt.opt != optFree && !(grammarRules[w.verb].need | grammarRules[w.verb].may | grammarRules[w.verb].one).has(opt.opt) {
				t.Errorf("after --%s, %s is offered", w.long, o)
			}
		}
	}
}

func FuzzComplete(f *testing.F) {
	f.Add("-A\x00-t", "-")
	f.Add("-L\x00--", "--x=")
	f.Add("\x00-", "")
	f.Fuzz(func(t *testing.T, line, typed string) {
		got := Complete(strings.Split(line, "\x00"), typed, liveState())
		if len(got) > 200 || slices.Contains(got, "") {
			t.Errorf("%q", got)
		}
		for _, c := range got {
			if !strings.HasPrefix(c, typed) {
				t.Errorf("%q does not begin with %q", c, typed)
			}
		}
	})
}
