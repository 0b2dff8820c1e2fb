package keepalived

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, path := range files {
		c, _ := readCase(f, path)
		f.Add(c.input)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if len(input) > 1<<16 || strings.Contains(input, "_group") {
			return // a group is many services; golden files and TestLargeFile have those
		}
		opt := Options{ConfigID: "lb1", Include: fakeFiles(map[string]string{"x": "router_id x\n}", "y": input})}
		checkVerdict(t, input, opt)
		checkCanonical(t, input, opt)
	})
}

// TestRandomFiles holds the laws of reading and printing over files made of the
// language's own words, good and bad.
func TestRandomFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	services, instances := 0, 0
	for range 1000 {
		var b strings.Builder
		for range 1 + r.IntN(5) {
			randomStatement(r, &b, root(), 0)
		}
		opt := Options{ConfigID: "lb1"}
		checkVerdict(t, b.String(), opt)
		checkCanonical(t, b.String(), opt)
		f, _ := Parse("k.conf", []byte(b.String()), opt)
		services, instances = services+len(f.Site().Virtuals), instances+len(f.Site().Instances)
		if t.Failed() {
			return
		}
	}
	if services < 50 || instances < 50 {
		t.Errorf("of 1000 files came %d services and %d instances", services, instances)
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// needed makes the more likely that a block is one that can be.
var needed = map[string][]string{
	"vrrp_instance":  {"interface eth0", "virtual_router_id 7", "virtual_ipaddress { 10.0.0.1 }"},
	"virtual_server": {"protocol TCP", "lb_algo rr", "lb_kind DR", "real_server 10.0.0.2 80 { TCP_CHECK { } }"},
	"vrrp_script":    {`script "/bin/x"`},
}

var arguments = map[string][]string{
	"vrrp_instance":  {"a", "b", "c"},
	"virtual_server": {"10.0.0.1 80", "10.0.0.1 81", "fwmark 7", "fd00::1 80"},
	"real_server":    {"10.0.0.2 80", "10.0.0.3", "fd00::2 80"},
}

func randomStatement(r *rand.Rand, b *strings.Builder, sc *scope, depth int) {
	names := slices.Sorted(maps.Keys(sc.keywords))
	name := pick(r, names...)
	if depth == 0 {
		name = pick(r, "global_defs", "vrrp_instance", "virtual_server", "vrrp_sync_group", "vrrp_script", name)
	}
	kw := sc.keywords[name]
	if r.IntN(40) == 0 {
		name = pick(r, "nonsens", "@lb1 "+name, "@lb2 "+name, "$A="+name, "${A}", "#"+name, "}", "{", name[:len(name)/2], `"`+name+`"`)
	}
	b.WriteString(name)
	if usual := arguments[name]; usual != nil && r.IntN(4) > 0 {
		b.WriteString(" " + pick(r, usual...))
	} else {
		for range pick(r, 0, 1, 1, 1, 2, 3) {
			b.WriteString(" " + randomWord(r))
		}
	}
	switch {
	case kw.shape == block && depth < 5:
		fmt.Fprintf(b, " %s", pick(r, "{\n", "{", "\n{\n", "{\n", "\n"))
		if r.IntN(5) > 0 {
			for _, line := range needed[name] {
				b.WriteString(line + "\n")
			}
		}
		for range r.IntN(5) {
			randomStatement(r, b, kw.in, depth+1)
		}
		b.WriteString(pick(r, "}\n", "}\n", "}\n", "}", "} // x\n", ""))
	case kw.shape == list:
		b.WriteString(" {\n")
		for range r.IntN(3) {
			b.WriteString(randomWord(r) + " " + randomWord(r) + " " + randomWord(r) + pick(r, "\n", " # c\n"))
		}
		b.WriteString("}\n")
	default:
		b.WriteString(pick(r, "\n", "\n", " # c\n", "!c\n", "\r\n", " \\\n", " {x}\n"))
	}
}

func randomWord(r *rand.Rand) string {
	return pick(r, "5", "0", "-3", "300", "1.5", "7x", "on", "off", "10.0.0.1", "10.0.0.2/24", "fd00::1", "fe80::1/64", "eth0", "eth1", "dev", "weight",
		"via", "a", "b", "MASTER", "BACKUP", "PASS", "DR", "NAT", "TUN", "TCP", "UDP", "rr", "sh", "80", "fwmark", "group", `"/bin/x y"`, "/bin/x", `"x`, `'a b'`,
		`a\ b`, `\#`, `\\`, "é", "\u00a0", "$A", "${A}", "@x", "~SEQ", "label", "eth0:1", "scope", "link", "default", "200-299", "x;")
}
