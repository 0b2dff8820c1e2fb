package dialects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/config"
)

// TestDetect: small files of each dialect, and what only looks like one.
func TestDetect(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a", "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n", "rules"},
		{"a", "ipvsadm -A -t 10.0.0.1:80\n", "rules"},
		{"a", "#!/bin/sh\nVIP=10.0.0.1\ncase $1 in\nstart)\n/sbin/ipvsadm -C\n", "rules"},
		{"a", "# a comment\nchecktimeout=3\nvirtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n", "ldirectord"},
		{"a", "virtual = 10.0.0.1:80\n", "ldirectord"},
		{"a", "! Configuration File for keepalived\nglobal_defs {\n   router_id LVS\n}\nvrrp_instance VI_1 {\n state MASTER\n}\n", "keepalived"},
		{"a", "include conf.d/*.conf\n", "keepalived"},
		{"a", "virtual_server 10.0.0.1 80 {\n}\n", "keepalived"},
		{"a", "logfile /var/log/ha-log\nkeepalive 2\nnode a b\nbcast eth0\n", "ha.cf"},
		{"a", "station3.example.com IPaddr::192.168.0.200/24/eth0 ldirectord httpd\n", "haresources"},
		{"a", "primary 192.168.1.150/24/eth0/192.168.1.255 httpd\n", "haresources"},
		{"a", "auth 1\n1 sha1 key\n", "authkeys"},
		{"a", "auth 3\n#1 crc\n3 md5 Hello!\n", "authkeys"},
		{"/x/haresources", "", "haresources"},
		{"/x/keepalived.conf", "# nothing yet\n", "keepalived"},
		{"/x/site.cf", "", "ldirectord"},
		{"/x/prose", "It was a dark and stormy night.\n", ""},
		{"/x/empty", "", ""},
	} {
		if got := detect(text{name: c.name, data: []byte(c.text)}); got != c.want {
			t.Errorf("%q is taken for %q, want %q", c.text, got, c.want)
		}
	}
}

// folder writes files and returns where they are.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, paths ...string) *Loaded {
	t.Helper()
	l, err := Load(context.Background(), paths, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestFolder: of heartbeat's folder what it names is read, of another one what
// has a known ending.
func TestFolder(t *testing.T) {
	dir := folder(t, map[string]string{
		"ha.d/ha.cf": "node a b\nbcast eth0\n", "ha.d/haresources": "a 10.0.0.1/24/eth0 ldirectord::web.cf\n",
		"ha.d/conf/web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n", "ha.d/ldirectord.cf": "nobody reads this",
		"lvsctl/10-web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n", "lvsctl/20-vip.conf": "vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n",
		"keepalived/keepalived.conf": "include vip.conf\n", "keepalived/vip.conf": "vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n",
		"keepalived/web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n",
		"lvsctl/notes.txt":  "nothing", "lvsctl/.hidden.cf": "nothing",
	})
	l := load(t, filepath.Join(dir, "ha.d"))
	if names := readNames(l); names != "ha.cf haresources web.cf" {
		t.Errorf("read %s", names)
	}
	if len(l.Site.Virtuals) != 1 || strings.Join(l.Site.Followed(), " ") != "a" || config.Errors(l.Problems) {
		t.Errorf("%+v %v", l.Site, l.Problems)
	}
	l = load(t, filepath.Join(dir, "lvsctl"))
	if names := readNames(l); names != "10-web.cf 20-vip.conf" || len(l.Site.Instances) != 1 || len(l.Site.Virtuals) != 1 {
		t.Errorf("read %s: %v", names, l.Problems)
	}
	l = load(t, filepath.Join(dir, "keepalived"))
	if names := readNames(l); names != "keepalived.conf web.cf" || len(l.Site.Instances) != 1 || config.Errors(l.Problems) {
		t.Errorf("read %s: %v", names, l.Problems)
	}
	// Named by hand, the configuration counts in place of the one in haresources.
	l = load(t, filepath.Join(dir, "ha.d"), filepath.Join(dir, "lvsctl/10-web.cf"))
	if names := readNames(l); names != "ha.cf haresources 10-web.cf" {
		t.Errorf("read %s", names)
	}
}

// TestTwoDirectors: each line of haresources may run another configuration of
// ldirectord, and all of them are read; what two of them say of one service is held
// against each other.
func TestTwoDirectors(t *testing.T) {
	files := map[string]string{
		"ha.cf": "node a b\nbcast eth0\n", "haresources": "a 10.0.0.1/24/eth0 ldirectord::web.cf\nb 10.0.0.9/24/eth0 ldirectord::ftp.cf\n",
		"web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n", "ftp.cf": "virtual=10.0.0.9:21\n\treal=10.0.0.2:21 gate\n",
		"else/other.cf": "virtual=10.0.0.3:80\n\treal=10.0.0.2:80 gate\n", "else/web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.4:80 gate\n",
	}
	dir := folder(t, files)
	l := load(t, dir)
	if names := readNames(l); names != "ha.cf haresources web.cf ftp.cf" || len(l.Site.Virtuals) != 2 || strings.Join(l.Site.Followed(), " ") != "a b" || config.Errors(l.Problems) {
		t.Errorf("read %s: %d services, on %v; %v", names, len(l.Site.Virtuals), l.Site.Followed(), l.Problems)
	}
	// One that is given by name is in place of the one of that name, and no other.
	l = load(t, dir, filepath.Join(dir, "else/web.cf"))
	if names := readNames(l); names != "ha.cf haresources web.cf ftp.cf" || l.Site.Virtuals[0].Members[0].Destination.Addr.String() != "10.0.0.4:80" {
		t.Errorf("read %s: %v", names, l.Problems)
	}
	l = load(t, dir, filepath.Join(dir, "else/other.cf"))
	if names := readNames(l); names != "ha.cf haresources other.cf web.cf ftp.cf" || len(l.Site.Virtuals) != 3 {
		t.Errorf("read %s: %v", names, l.Problems)
	}
	files["ftp.cf"] = "virtual=10.0.0.1:80\n\treal=10.0.0.5:80 gate\n"
	dir = folder(t, files)
	l = load(t, dir)
	if len(l.Problems) != 1 || l.Problems[0].File != filepath.Join(dir, "ftp.cf") || !strings.Contains(l.Problems[0].Text, filepath.Join(dir, "web.cf")+":1") {
		t.Errorf("%v", l.Problems)
	}
}

func readNames(l *Loaded) string {
	var names []string
	for _, f := range l.Files {
		names = append(names, filepath.Base(f.Name))
	}
	return strings.Join(names, " ")
}

// TestRefused: what cannot be read at all.
func TestRefused(t *testing.T) {
	dir := folder(t, map[string]string{"prose": "It was a dark night.\n", "empty/x": "", "a/ha.cf": "node a\nbcast eth0\n", "b/ha.cf": "node b\nbcast eth0\n"})
	for _, paths := range [][]string{{"prose"}, {"nothing"}, {"empty"}, {"a", "b"}} {
		for i := range paths {
			paths[i] = filepath.Join(dir, paths[i])
		}
		if _, err := Load(context.Background(), paths, Options{}); err == nil {
			t.Errorf("%v is read", paths)
		}
	}
	if _, err := Load(context.Background(), []string{filepath.Join(dir, "prose")}, Options{}); !errors.Is(err, ErrDialect) {
		t.Errorf("%v", err)
	}
	if _, err := Load(context.Background(), nil, Options{Dialect: "latin"}); err == nil {
		t.Error("latin is a dialect")
	}
}

// TestNoText: a file that is none of text is one problem, wherever it is read, and
// nothing else is said of it.
func TestNoText(t *testing.T) {
	const noise = "virtual=10.0.0.1:80\n\x00\x01{ -A\nreal\n}\nauth x\nnode \n"
	const at = ": this is no text file (line 2 has the byte 0x00); name a configuration"
	good := map[string]string{"ha.cf": "node a b\nbcast eth0\n", "authkeys": "auth 1\n1 crc\n",
		"haresources": "a 10.0.0.1/24/eth0 ldirectord::web.cf\n", "web.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n"}
	kept := load(t, folder(t, good)).Beat
	for _, tt := range []struct {
		file  string // that is noise, beside what is good
		path  string // that is read
		opt   Options
		wants bool
	}{
		{"noise", "noise", Options{}, true},
		{"noise", "noise", Options{Dialect: "rules"}, true},
		{"noise.cf", "noise.cf", Options{}, true},
		{"keepalived.conf", "keepalived.conf", Options{}, true},
		{"web.cf", "", Options{}, true},
		{"ha.cf", "", Options{}, true},
		{"haresources", "", Options{}, true},
		{"authkeys", "", Options{}, true},
		{"ha.cf", "", Options{Cluster: &kept}, false}, // which reads the others only
	} {
		files := maps.Clone(good)
		files[tt.file] = noise
		dir := folder(t, files)
		l, err := Load(t.Context(), []string{filepath.Join(dir, tt.path)}, tt.opt)
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		var said, want []string
		for _, p := range l.Problems {
			said = append(said, p.String())
		}
		if tt.wants {
			want = []string{filepath.Join(dir, tt.file) + at}
		}
		if !slices.Equal(said, want) || config.Errors(l.Problems) != tt.wants {
			t.Errorf("%s is noise: %q, want %q", tt.file, said, want)
		}
		if !slices.ContainsFunc(l.Files, func(r Read) bool { return r.Name == filepath.Join(dir, tt.file) }) {
			t.Errorf("%s: read %v", tt.file, readNames(l))
		}
	}
	dir := folder(t, map[string]string{"k.conf": "global_defs {\n}\ninclude noise.conf\n", "noise.conf": noise})
	l := load(t, filepath.Join(dir, "k.conf"))
	if len(l.Problems) != 1 || l.Problems[0].Severity != config.Error || !strings.HasSuffix(l.Problems[0].Text, dir+"/noise.conf"+at) {
		t.Errorf("included: %v", l.Problems)
	}
}

// TestIdle: a configuration that gives its program nothing to do is said to be one,
// unless it is wrong, or a piece of one that does.
func TestIdle(t *testing.T) {
	const k, ld = "k.conf: no virtual router and no virtual service in it; they begin with vrrp_instance and virtual_server", "w.cf: no virtual service in it; one begins with virtual="
	const router = "vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n"
	const service = "virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n"
	for _, tt := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{"w.cf": ""}, ld},
		{map[string]string{"w.cf": "# virtual=10.0.0.1:80\n\n"}, ld},
		{map[string]string{"w.cf": "checktimeout=3\n"}, ld},
		{map[string]string{"w.cf": "checktimeout=often\n"}, ""},
		{map[string]string{"w.cf": service}, ""},
		{map[string]string{"w.cf": "virtual=www.example:80\n\treal=10.0.0.2:80 gate\n"}, ""}, // the name counts
		{map[string]string{"w.cf": "", "x.cf": service}, ld},
		{map[string]string{"k.conf": "! nothing yet\n"}, ""}, // by its name it may be anything
		{map[string]string{"k.conf": "global_defs {\n}\n"}, k},
		{map[string]string{"k.conf": "include none*.conf\n"}, k},
		{map[string]string{"k.conf": "include below/*.conf\n", "below/v.conf": router}, ""},
		{map[string]string{"k.conf": "global_defs {\n}\n", "v.conf": router}, ""},
		{map[string]string{"k.conf": router}, ""},
		{map[string]string{"k.conf": "global_defs {\n}\n", "w.cf": ""}, k + " " + ld},
		{map[string]string{"none.rules": ""}, ""}, // as ipvsadm -S writes an empty table
	} {
		dir := folder(t, tt.files)
		var paths []string
		for name := range tt.files {
			if filepath.Dir(name) == "." {
				paths = append(paths, filepath.Join(dir, name))
			}
		}
		l, err := Load(t.Context(), paths, Options{})
		if errors.Is(err, ErrDialect) && tt.want == "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		config.SortProblems(l.Idle)
		var got []string
		for _, p := range l.Idle {
			got = append(got, strings.TrimPrefix(p.String(), dir+"/"))
		}
		if strings.Join(got, " ") != tt.want || config.Errors(l.Idle) {
			t.Errorf("%q: %q, want %q", tt.files, got, tt.want)
		}
	}
}

// large is a site of a thousand services with nine servers each, in a dialect.
func large(t testing.TB, dialect string) []byte {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "-A -t 10.1.%d.%d:80 -s wrr\n", i/250, i%250)
		for j := range 9 {
			fmt.Fprintf(&b, "-a -t 10.1.%d.%d:80 -r 10.2.%d.%d:80 -g -w %d\n", i/250, i%250, j, i%250, j+1)
		}
	}
	p := readRules(context.Background(), text{name: "large", data: []byte(b.String())}, Host{})
	var out bytes.Buffer
	lost, err := Translate(&out, dialect, p.site)
	if err != nil || len(lost) > 0 {
		t.Fatal(dialect, err, lost)
	}
	return out.Bytes()
}

// TestLarge: ten thousand lines and more of each dialect are read in well under a
// second on an idle machine, and mean the same in all of them.
func TestLarge(t *testing.T) {
	want := ""
	for _, dialect := range Targets() {
		data := large(t, dialect)
		file := filepath.Join(t.TempDir(), "large")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		l := load(t, file)
		took := time.Since(start)
		t.Logf("%s: %d lines in %v", dialect, bytes.Count(data, []byte("\n")), took)
		if took > 20*time.Second {
			t.Errorf("%s: %v", dialect, took)
		}
		var b strings.Builder
		if _, err := Translate(&b, "rules", l.Site); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = b.String()
		}
		if b.String() != want || len(l.Site.Virtuals) != 1000 {
			t.Errorf("%s means another table", dialect)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, dialect := range Targets() {
		b.Run(dialect, func(b *testing.B) {
			data := large(b, dialect)
			file := filepath.Join(b.TempDir(), "large")
			if err := os.WriteFile(file, data, 0o644); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bytes.Count(data, []byte("\n"))), "lines")
			for b.Loop() {
				if _, err := Load(context.Background(), []string{file}, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzTranslate: whatever a file says, it can be written in every dialect, and
// what is written can be read.
func FuzzTranslate(f *testing.F) {
	f.Add("virtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate 1 \"a\", \"b\"\n\tservice=http\n\tfallback=127.0.0.1:80\n\tpersistent=600\n\tnetmask=255.255.255.0\n")
	f.Add("virtual6=[fd00::1]:53\n\treal6=[fd00::2] ipip 0 l:1 u:5\n\tprotocol=udp\n\tservice=dns\n\trequest=\"x\"\n\treceive=\"y\"\n")
	f.Add("vrrp_instance V {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n10.0.0.1/24 dev eth0 label eth0:1\n}\nnotify_master \"/bin/x 'a b' \\\\\" root\n}\nvirtual_server fwmark 3 {\nlvs_sched sh\nreal_server 10.0.0.2 0 {\nMISC_CHECK {\nmisc_path \"/bin/y\"\n}\n}\n}\n")
	f.Add("-A -t 10.0.0.1:80 -s sh -b sh-port -p 60 -M 255.255.0.0\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -i --tun-type gue --tun-port 6080\n")
	f.Fuzz(func(t *testing.T, input string) {
		for _, d := range table() {
			if d.read == nil {
				continue
			}
			p := d.read(context.Background(), text{name: "f", data: []byte(input)}, Host{})
			if len(p.site.Virtuals)+len(p.site.Instances) == 0 {
				continue
			}
			for _, target := range Targets() {
				var b strings.Builder
				if _, err := Translate(&b, target, p.site); err != nil {
					t.Errorf("%s to %s: %v", d.name, target, err)
				}
			}
		}
	})
}

// TestWhomServicesFollow: those of a configuration that haresources names follow the
// group of its line, and those of all other files follow nobody.
func TestWhomServicesFollow(t *testing.T) {
	service := func(dialect, addr string) string {
		if dialect == "ldirectord" {
			return "virtual=" + addr + ":80\n\treal=10.0.0.2:80 gate\n\tscheduler=rr\n"
		}
		return "virtual_server " + addr + " 80 {\nprotocol TCP\nlb_algo rr\nlb_kind DR\nreal_server 10.0.0.2 80 {\n}\n}\n"
	}
	const two = "a 10.0.0.1/24/eth0 ldirectord::web.cf\nb 10.0.0.9/24/eth0 ldirectord::ftp.cf\n"
	for _, tt := range []struct {
		name, haresources string
		more              []string // files beside the folder
		want, problems    string
	}{
		{"one line", "a 10.0.0.1/24/eth0 ldirectord::web.cf\n", nil, "10.0.0.1=a", ""},
		{"two lines", two, nil, "10.0.0.1=a 10.0.0.9=b", ""},
		{"two of one line", "a 10.0.0.1/24/eth0 ldirectord::web.cf ldirectord::ftp.cf\nb 10.0.0.8/24/eth0 httpd\n", nil, "10.0.0.1=a 10.0.0.9=a", ""},
		{"one of two lines", "b 10.0.0.9/24/eth0 ldirectord::web.cf\na 10.0.0.1/24/eth0 ldirectord::web.cf\n", nil, "10.0.0.1=a+b", ""},
		{"two lines of a node", "a 10.0.0.1/24/eth0 ldirectord::web.cf\na 10.0.0.9/24/eth0 ldirectord::ftp.cf\n", nil, "10.0.0.1=a 10.0.0.9=a/2", ""},
		{"its own name", "a 10.0.0.1/24/eth0 ldirectord\n", nil, "10.0.0.5=a", ""},
		{"nobody has ldirectord", "a 10.0.0.1/24/eth0 httpd\n", []string{"else/other.cf", "else/keepalived.conf"}, "10.0.0.3= 10.0.0.4=", ""},
		{"with keepalived", two, []string{"else/keepalived.conf"}, "10.0.0.4= 10.0.0.1=a 10.0.0.9=b", ""},
		{"with a file of another name", two, []string{"else/other.cf"}, "10.0.0.3= 10.0.0.1=a 10.0.0.9=b", ""},
		{"with a file in place of the one", "a 10.0.0.1/24/eth0 ldirectord::web.cf\n", []string{"else/other.cf", "else/keepalived.conf"}, "10.0.0.3=a 10.0.0.4=", ""},
		{"with one in place of one of two", two, []string{"else/web.cf"}, "10.0.0.6=a 10.0.0.9=b", ""},
		{"given by its own name", two, []string{"ftp.cf"}, "10.0.0.9=b 10.0.0.1=a", ""},
		{"the same service in both kinds", two, []string{"else/same.conf"}, "10.0.0.1= 10.0.0.9=b", "it does not follow a: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, map[string]string{"ha.cf": "node a b\nbcast eth0\n", "haresources": tt.haresources,
				"web.cf": service("ldirectord", "10.0.0.1"), "ftp.cf": service("ldirectord", "10.0.0.9"), "ldirectord.cf": service("ldirectord", "10.0.0.5"),
				"else/other.cf": service("ldirectord", "10.0.0.3"), "else/web.cf": service("ldirectord", "10.0.0.6"),
				"else/keepalived.conf": service("keepalived", "10.0.0.4"), "else/same.conf": service("keepalived", "10.0.0.1")})
			paths := []string{dir}
			for _, name := range tt.more {
				paths = append(paths, filepath.Join(dir, name))
			}
			l := load(t, paths...)
			var got []string
			for _, v := range l.Site.Virtuals {
				got = append(got, v.Service.Addr.Addr().String()+"="+strings.Join(v.Gates, "+"))
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			var said []string
			for _, p := range l.Problems {
				said = append(said, p.String())
			}
			if all := strings.Join(said, "\n"); config.Errors(l.Problems) || (tt.problems == "") != (all == "") || !strings.Contains(all, tt.problems) {
				t.Errorf("said %q, want %q", all, tt.problems)
			}
		})
	}
}
