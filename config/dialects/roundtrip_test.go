package dialects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// TestRoundTrips translates every configuration that the tree has, in tests and in
// examples, into every dialect, and what comes of it into every dialect again. What
// must hold then is in trip.
func TestRoundTrips(t *testing.T) {
	n := tripAll(t, unpacked(t))
	if n < 250 {
		t.Errorf("only %d configurations of the tree were read", n)
	}
}

// TestRoundTripsCorpus does the same with every file below the folder that
// LVSCTL_CORPUS names.
func TestRoundTripsCorpus(t *testing.T) {
	dir := os.Getenv("LVSCTL_CORPUS")
	if dir == "" {
		t.Skip("LVSCTL_CORPUS names no folder")
	}
	if n := tripAll(t, dir); n == 0 {
		t.Errorf("%s: no configuration is in it", dir)
	}
}

// tripAll goes through a folder and returns how many configurations there were.
func tripAll(t *testing.T, root string) int {
	var n, nothing, services, servers, instances, lost int
	for _, paths := range configurations(t, root) {
		name, _ := filepath.Rel(root, paths[0])
		l, err := Load(context.Background(), paths, Options{Dialect: dialectOf(name)})
		if err != nil {
			if !errors.Is(err, ErrDialect) {
				t.Logf("%s: %v", name, err)
			}
			nothing++
			continue
		}
		n++
		services += len(l.Site.Virtuals)
		instances += len(l.Site.Instances)
		for _, v := range l.Site.Virtuals {
			servers += len(v.Members)
		}
		t.Run(name, func(t *testing.T) {
			for _, to := range Targets() {
				there, losses := trip(t, l.Site, to)
				lost += len(losses)
				for _, next := range Targets() {
					trip(t, there, next)
				}
			}
		})
	}
	t.Logf("%d configurations with %d services, %d servers, %d virtual routers; %d losses told; %d other files",
		n, services, servers, instances, lost, nothing)
	return n
}

// trip writes a site in a dialect and reads it again. Whatever the site: the reader
// takes what the writer wrote; what came of the site does what the site did, or there
// is a word about it; and who translates twice gets the same and loses nothing more.
func trip(t *testing.T, s config.Site, to string) (config.Site, []config.Problem) {
	t.Helper()
	text, lost := translated(t, s, to)
	for _, l := range lost {
		if l.Severity == config.Error {
			t.Errorf("to %s: %v\n%s", to, l, text)
		}
	}
	p := reading(to)(context.Background(), textOf(text), Host{})
	for _, wrong := range changed(s, p.site, lost) {
		t.Errorf("to %s: %s\nlost: %v\n%s", to, wrong, lost, text)
	}
	again, more := translated(t, p.site, to)
	if at, was, is := firstDifference(text, again); at > 0 {
		t.Errorf("to %s twice: line %d %q becomes %q\n%s", to, at, was, is, text)
	}
	for _, l := range more {
		t.Errorf("to %s twice: %v\n%s", to, l, text)
	}
	return p.site, lost
}

// firstDifference is the line, from 1, in which two texts differ; 0 if they do not.
func firstDifference(a, b string) (at int, was, is string) {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		was, is = "", ""
		if i < len(as) {
			was = as[i]
		}
		if i < len(bs) {
			is = bs[i]
		}
		if was != is || i >= min(len(as), len(bs)) {
			return i + 1, was, is
		}
	}
	return 0, "", ""
}

func textOf(s string) text { return text{name: "written", data: []byte(s)} }

func translated(t *testing.T, s config.Site, to string) (string, []config.Problem) {
	t.Helper()
	var b bytes.Buffer
	lost, err := Translate(&b, to, s)
	if err != nil {
		t.Fatal(to, err)
	}
	return b.String(), lost
}

func reading(name string) func(context.Context, text, Host) part {
	return table()[slices.IndexFunc(table(), func(d dialect) bool { return d.name == name })].read
}

// changed is what a site does otherwise than the one that it was made of, and nobody
// was told. It does not ask what the two say but what becomes of them: the tables
// that they lead to while servers come and go.
func changed(was, is config.Site, lost []config.Problem) []string {
	var wrong []string
	for _, h := range []health{atStart, allWell, allIll, evenWell} {
		before, after := tableIn(was, h), tableIn(is, h)
		for _, e := range before {
			if !told(lost, e.Key) && !slices.ContainsFunc(after, func(o lvs.Entry) bool { return sameEntry(e, o) }) {
				wrong = append(wrong, fmt.Sprintf("%s: %v is another one, or not there", h, e.Key))
			}
		}
		for _, e := range after {
			if !told(lost, e.Key) && !slices.ContainsFunc(before, func(o lvs.Entry) bool { return o.Key == e.Key }) {
				wrong = append(wrong, fmt.Sprintf("%s: %v comes in", h, e.Key))
			}
		}
	}
	for _, v := range was.Virtuals {
		wrong = append(wrong, unserved(v, is, lost)...)
	}
	for _, in := range was.Instances {
		same := func(o config.Instance) bool {
			return o.VRID == in.VRID && o.Link == in.Link && len(o.Addresses) == len(in.Addresses)
		}
		if !slices.ContainsFunc(is.Instances, same) && !says(lost, in.Name) {
			wrong = append(wrong, in.Name+" is another one, or not there")
		}
	}
	return wrong
}

// unserved are servers of a service that are gone, or that nobody looks at any more,
// and neither was told.
func unserved(v ldirector.Virtual, is config.Site, lost []config.Problem) []string {
	var wrong []string
	now, there := is.Virtual(v.Service.Key)
	if !there {
		if !says(lost, v.Service.Key.String()+" is left out") {
			wrong = append(wrong, v.Service.Key.String()+" is gone")
		}
		return wrong
	}
	for _, m := range v.Members {
		host := m.Destination.Addr.Addr()
		i := slices.IndexFunc(now.Members, func(o ldirector.Member) bool { return o.Destination.Addr.Addr() == host })
		switch {
		case i < 0 && !says(lost, "server "+m.Destination.Addr.String()):
			wrong = append(wrong, fmt.Sprintf("%v: server %v is gone", v.Service.Key, m.Destination.Addr))
		case i >= 0 && looked(m) && !looked(now.Members[i]) && !says(lost, v.Service.Key.String()+": the check ("):
			wrong = append(wrong, fmt.Sprintf("%v: nobody looks at server %v", v.Service.Key, m.Destination.Addr))
		}
	}
	return wrong
}

// looked tells whether anything is asked of a server.
func looked(m ldirector.Member) bool {
	return slices.ContainsFunc(m.Checks, func(s check.Spec) bool { return config.Asks(s.Probe) })
}

func told(lost []config.Problem, k lvs.Key) bool {
	return says(lost, k.String()+": ") || says(lost, k.String()+" is left out")
}

func says(lost []config.Problem, what string) bool {
	return slices.ContainsFunc(lost, func(p config.Problem) bool { return strings.Contains(p.Text, what) })
}

// health is how the servers of a site are.
type health string

const (
	atStart  health = "at the start"
	allWell  health = "with all servers well"
	allIll   health = "with all servers ill"
	evenWell health = "with every other server well"
)

func (h health) of(a netip.Addr) check.Health {
	b := a.AsSlice()
	switch {
	case h == atStart:
		return check.Unknown
	case h == allWell, h == evenWell && b[len(b)-1]%2 == 0:
		return check.Up
	}
	return check.Down
}

// tableIn is the table that a site leads to.
func tableIn(s config.Site, h health) lvs.Table {
	p := ldirector.NewPlan(s.Virtuals)
	for _, v := range s.Virtuals {
		for _, m := range v.Members {
			for _, spec := range m.Checks {
				is := h.of(m.Destination.Addr.Addr())
				if !config.Asks(spec.Probe) {
					is = check.Up
				}
				if is != check.Unknown {
					p.Observe(check.Result{ID: spec.ID, Health: is, Changed: true})
				}
			}
		}
	}
	return p.Table()
}

func sameEntry(a, b lvs.Entry) bool {
	return a.Service == b.Service && slices.Equal(a.Destinations, b.Destinations)
}

// configurations are the files below a folder, each alone, and those of heartbeat
// that belong together: the ones of a folder, or with the same beginning of a name.
func configurations(t *testing.T, root string) [][]string {
	t.Helper()
	var all [][]string
	clusters := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all = append(all, []string{path})
		for _, name := range beatFiles {
			if beginning, is := strings.CutSuffix(path, name); is {
				clusters[beginning] = append(clusters[beginning], path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range clusters {
		if len(files) > 1 {
			all = append(all, files)
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}

// dialectOf is that of the golden cases of a dialect; all other files tell theirs.
func dialectOf(name string) string {
	for _, d := range []string{"ldirectord", "keepalived"} {
		if strings.HasPrefix(name, "config/"+d+"/") {
			return d
		}
	}
	return ""
}

// unpacked is a folder with every file of the archives that lie in testdata folders
// and in examples, and with the configurations that lie there as files.
func unpacked(t *testing.T) string {
	t.Helper()
	const top = "../.."
	out := t.TempDir()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "fuzz" {
				return filepath.SkipDir
			}
			return nil
		}
		switch ext := filepath.Ext(name); {
		case ext == ".txtar", ext == ".txt" && strings.Contains(name, "/testdata/"):
			return unpack(path, filepath.Join(out, name))
		case ext == ".cf", ext == ".conf", ext == ".rules":
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return put(filepath.Join(out, name), data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unpack writes the files of an archive. Golden cases have their input in a section of
// that name, with some characters escaped.
func unpack(path, dir string) error {
	a, err := txtar.ParseFile(path)
	if err != nil {
		return err
	}
	escapes := strings.NewReplacer(`\r`, "\r", `\t`, "\t", `\_`, " ", `\ufeff`, "\ufeff", `\u3000`, "\u3000")
	for _, f := range a.Files {
		name, included := strings.CutPrefix(f.Name, "file ")
		if included || name == "input" {
			f.Data = []byte(escapes.Replace(string(f.Data)))
		}
		if !filepath.IsLocal(name) {
			name = "root" + filepath.Clean("/"+name)
		}
		if err := put(filepath.Join(dir, name), f.Data); err != nil {
			return err
		}
	}
	return nil
}

func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
