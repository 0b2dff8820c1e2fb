package heartbeat

import (
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvsctl/lvsctl/config"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// TestGolden reads each testdata/*.txt: about the case, then the files ha.cf,
// haresources and authkeys, then what the test finds. A line "node NAME" in the
// text in front says whose view it is, a line "mode 644" what authkeys has.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d golden files, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, opt := inputs(a)
	c, problems := Parse(files, opt)
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if f.Name != "problems" && f.Name != "site" {
			out.Files = append(out.Files, f)
		}
	}
	out.Files = append(out.Files, txtar.File{Name: "problems", Data: []byte(problemText(problems))},
		txtar.File{Name: "site", Data: []byte(siteText(c))})
	got := txtar.Format(out)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != string(got) {
		t.Errorf("%s: run with -update and look at the difference; found:\n%s", path, got)
	}
}

// inputs are the files of a case, and how its host is.
func inputs(a *txtar.Archive) (Files, Options) {
	var files Files
	opt := Options{}
	mode := fs.FileMode(0o600)
	for line := range strings.Lines(string(a.Comment)) {
		fmt.Sscanf(line, "node %s", &opt.Node)
		fmt.Sscanf(line, "mode %o", &mode)
		if strings.HasPrefix(line, "online") {
			opt.LinkOf = func(ip netip.Addr) string {
				if netip.MustParsePrefix("10.0.0.0/8").Contains(ip) {
					return "eth7"
				}
				return ""
			}
			opt.Own = func(ip netip.Addr) bool { return ip == netip.MustParseAddr("10.0.0.1") }
		}
	}
	for _, f := range a.Files {
		switch f.Name {
		case "ha.cf":
			files.HaCf = File{Name: f.Name, Text: f.Data}
		case "haresources":
			files.Haresources = File{Name: f.Name, Text: f.Data}
		case "authkeys":
			files.Authkeys = File{Name: f.Name, Text: f.Data, Mode: mode}
		}
	}
	return files, opt
}

func problemText(ps []config.Problem) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintf(&b, "%v: %v\n", p.Severity, p)
	}
	return b.String()
}

// siteText is all that a cluster means here.
func siteText(c *Cluster) string {
	var b strings.Builder
	s := c.Site()
	fmt.Fprintf(&b, "%v\nself %s\n", c, c.Self)
	for _, w := range c.Ldirectord() {
		fmt.Fprintf(&b, "ldirectord %s for %s, line %d\n", w.Config, w.Group, w.Source.Line)
	}
	for _, in := range s.Instances {
		fmt.Fprintf(&b, "instance %s line %d: %s VRID %d, version %d, priority %d, every %v, dead after %d, warn after %v, first wait %v, nopreempt %v, password %q, peers %v\n",
			in.Name, in.Origin.Line, in.Link, in.VRID, in.Version, in.Priority, in.Interval, in.DownAdverts, in.WarnAfter, in.FirstWait, in.NoPreempt, in.Password, in.Peers)
		for _, a := range in.Addresses {
			fmt.Fprintf(&b, "  address %v link %q label %q broadcast %v excluded %v\n", a.Prefix, a.Link, a.Label, a.Broadcast, a.Excluded)
		}
		for _, r := range in.Resources {
			fmt.Fprintf(&b, "  resource %s %q after %d\n", r.Name, r.Args, r.After)
		}
		for _, tr := range in.Track {
			fmt.Fprintf(&b, "  track %s weight %d\n", tr.Name, tr.Weight)
		}
		if err := withSource(in).Validate(); err != nil {
			fmt.Fprintf(&b, "  IMPOSSIBLE: %v\n", err)
		}
	}
	for _, sc := range s.Scripts {
		fmt.Fprintf(&b, "script %q: %q every %v within %v, fall %d, weight %d\n", sc.Name, sc.Command.Words, sc.Interval, sc.Timeout, sc.Fall, sc.Weight)
	}
	return b.String()
}

// withSource gives an instance the source that only its host knows.
func withSource(in config.Instance) *config.Instance {
	in.Source = netip.MustParseAddr("192.0.2.1")
	if in.IPv6 {
		in.Source = netip.MustParseAddr("fe80::1")
	}
	return &in
}

// TestDeadtime: the silence that VRRP takes for a death is deadtime, but for half
// an interval.
func TestDeadtime(t *testing.T) {
	for _, c := range []struct{ keepalive, deadtime, warn time.Duration }{
		{keepalive: 2 * time.Second, deadtime: 30 * time.Second}, {keepalive: time.Second, deadtime: 10 * time.Second},
		{keepalive: 2 * time.Second, deadtime: 5 * time.Second}, {keepalive: time.Second, deadtime: 3 * time.Second},
		{keepalive: 200 * time.Millisecond, deadtime: 2 * time.Second}, {keepalive: 10 * time.Second, deadtime: 300 * time.Second},
		{keepalive: 50 * time.Millisecond, deadtime: 60 * time.Second}, {keepalive: time.Second, deadtime: 3600 * time.Second},
	} {
		for _, v6 := range []bool{false, true} {
			cl := &Cluster{Keepalive: c.keepalive, Deadtime: c.deadtime}
			got := cl.Timing(v6)
			if off := (got.Dead - c.deadtime).Abs(); off > got.Interval/2+10*time.Millisecond {
				t.Errorf("keepalive %v, deadtime %v, v6 %v: %+v", c.keepalive, c.deadtime, v6, got)
			}
			if v6 && got.Version != 3 || got.DownAdverts < 1 || got.DownAdverts > 100 {
				t.Errorf("keepalive %v, deadtime %v, v6 %v: %+v", c.keepalive, c.deadtime, v6, got)
			}
		}
	}
}

// TestBothNodes: each line is the same virtual router on both nodes, one prefers
// itself and the other does not.
func TestBothNodes(t *testing.T) {
	files := Files{
		HaCf:        File{Name: "ha.cf", Text: []byte("node a\nnode b\nbcast eth0\n")},
		Haresources: File{Name: "haresources", Text: []byte("a 10.0.0.1/24/eth0 x\nb 10.0.0.2/24/eth0 y\n")},
		Authkeys:    File{Name: "authkeys", Text: []byte("auth 1\n1 sha1 secret\n"), Mode: 0o600},
	}
	sites := map[string]config.Site{}
	for _, node := range []string{"a", "b"} {
		c, problems := Parse(files, Options{Node: node})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		sites[node] = c.Site()
	}
	for i, at := range sites["a"].Instances {
		other := sites["b"].Instances[i]
		if at.VRID != other.VRID || at.Name != other.Name || at.Password != other.Password || at.Priority == other.Priority {
			t.Errorf("%+v and %+v are not one virtual router", at.Instance, other.Instance)
		}
		if prefers := at.Priority > other.Priority; prefers != (i == 0) {
			t.Errorf("line %d prefers the wrong node", i+1)
		}
	}
	// A service more on a line does not make another router of it.
	before := sites["a"].Instances[0].VRID
	files.Haresources.Text = []byte("a 10.0.0.1/24/eth0 x more\n")
	if c, _ := Parse(files, Options{Node: "a"}); c.Site().Instances[0].VRID != before {
		t.Error("the VRID moved with the services")
	}
}

// TestStrangers: as many lines as there are numbers get one each.
func TestStrangers(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "a 10.0.%d.%d/24/eth0\n", i/200, i%200+1)
	}
	c, problems := Parse(Files{Haresources: File{Name: "haresources", Text: []byte(b.String())}}, Options{})
	seen := map[uint8]bool{}
	for _, g := range c.Groups {
		if g.VRID == 0 || seen[g.VRID] {
			t.Fatalf("VRID %d is there twice", g.VRID)
		}
		seen[g.VRID] = true
	}
	if len(seen) != 255 || len(problems) != 45 {
		t.Errorf("%d routers, %d problems", len(seen), len(problems))
	}
}

func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txt")
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		files, _ := inputs(a)
		f.Add(files.HaCf.Text, files.Haresources.Text, files.Authkeys.Text, "a")
	}
	f.Fuzz(func(t *testing.T, ha, res, keys []byte, node string) {
		files := Files{HaCf: File{Name: "ha.cf", Text: ha}, Haresources: File{Name: "haresources", Text: res}, Authkeys: File{Name: "authkeys", Text: keys, Mode: 0o600}}
		c, problems := Parse(files, Options{Node: node})
		s := c.Site()
		if config.Errors(problems) {
			return
		}
		// Files without errors give instances that the protocol can have.
		for _, in := range s.Instances {
			if err := withSource(in).Validate(); err != nil {
				t.Errorf("%v of\n%s\n%s", err, ha, res)
			}
		}
		again, _ := Parse(files, Options{Node: node})
		if siteText(again) != siteText(c) {
			t.Error("read again, the files mean something else")
		}
	})
}
