// Package lvsctl has no code of its own: the rooms below do. This test holds
// the plan of the house.
package lvsctl

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lvsctl/lvsctl/"

// rooms says what each room knows, and which others it may therefore import. A
// sub-folder belongs to the nearest room above it.
var rooms = map[string]struct {
	knows string
	may   []string
}{
	"cmd/lvsctl":              {"argv, the peers' exact words, exit codes; wires the rest", []string{"*"}},
	"cmd/lvsctl-check-oracle": {"the Oracle check, which is too large for the main program", []string{"ldirector/check"}},
	"lvs":                     {"the table as data; whatever is decided, is decided in its terms, so it depends on nothing", nil},
	"lvs/kernel":              {"netlink; who changes the kernel has no opinion on what it should be", []string{"lvs"}},
	"lvs/ipvsadm":             {"ipvsadm's language; it speaks to any lvs kernel, real or fake", []string{"lvs"}},
	"lvs/lvstest":             {"a fake kernel that prints itself as ipvsadm -S", []string{"lvs", "lvs/ipvsadm"}},
	"ldirector":               {"which table do we want now? It never meets a socket or a file", []string{"ldirector/check", "lvs"}},
	"ldirector/check":         {"is one server well? It knows no table, so that any front end can ask", nil},
	"vrrp":                    {"the protocol as a pure machine: no socket, no clock, no address of this host", nil},
	"vrrp/wire":               {"protocol 112 sockets", []string{"vrrp"}},
	"appliance":               {"everything of a director in one process: it wires what a site names, and knows no dialect", []string{"config", "ldirector", "ldirector/check", "vrrp", "vrrp/wire", "lvs", "realserver", "internal/netif"}},
	"realserver":              {"what a real server's addresses, routes and ARP settings should be", []string{"internal/netif"}},
	"doctor":                  {"why a cluster does not work, from the facts of one host; it reads no host and changes none", []string{"internal/netif", "lvs", "realserver", "vrrp"}},
	"config":                  {"one model for all dialects", []string{"ldirector", "ldirector/check", "vrrp", "lvs"}},
	"config/ldirectord":       {"a dialect; it knows no other dialect", []string{"config", "ldirector", "ldirector/check", "lvs"}},
	"config/keepalived":       {"a dialect; it knows no other dialect", []string{"config", "ldirector", "ldirector/check", "vrrp", "lvs"}},
	"config/heartbeat":        {"a dialect; it knows no other dialect", []string{"config", "ldirector", "vrrp"}},
	"config/rules":            {"a dialect: ipvsadm -S text", []string{"config", "ldirector", "lvs", "lvs/ipvsadm"}},
	"config/lint":             {"what files may say and nobody means; it sees a site, never a file or a host", []string{"config", "ldirector", "vrrp", "lvs"}},
	"config/dialects":         {"which dialect a file is in; the one place that knows them all", []string{"config", "config/ldirectord", "config/keepalived", "config/heartbeat", "config/rules", "lvs/ipvsadm"}},
	"internal/netif":          {"the host's addresses, routes, sysctls and announcements; not why they are wanted", nil},
	"internal/daemon":         {"how a long-running program behaves; not what it does", nil},
	"internal/metrics":        {"what a director's figures are called in the words of Prometheus; it asks nobody", []string{"appliance", "config/keepalived", "ldirector", "lvs", "vrrp"}},
	"internal/lab":            {"test hosts; they must be able to test anything, so they lean on nothing", nil},
	"examples":                {"complete clusters as files", []string{"*"}},
	"man":                     {"manual pages, checked against the commands", []string{"*"}},
}

// landlords are the modules that only some rooms may use.
var landlords = map[string]struct {
	rooms  []string
	reason string
}{
	"github.com/moby/ipvs":           {[]string{"lvs/kernel"}, "its types lose attributes; nobody else may depend on them"},
	"github.com/sirupsen/logrus":     {[]string{"lvs/kernel"}, "there only to silence moby/ipvs"},
	"github.com/spf13/cobra":         {[]string{"cmd/lvsctl", "man"}, "commands are a front end"},
	"github.com/fsnotify/fsnotify":   {[]string{"internal/daemon", "internal/netif"}, "watching files is how a daemon behaves; settings of the host are told of as files"},
	"github.com/mdlayher/arp":        {[]string{"internal/netif"}, "announcing addresses is the host's business"},
	"github.com/vishvananda/netlink": {[]string{"internal/netif", "internal/lab"}, "addresses and routes are the host's business"},
}

// dataRooms import the standard library and nothing else, tests apart.
var dataRooms = []string{"lvs", "lvs/ipvsadm", "vrrp", "ldirector"}

func TestEveryImportStaysInItsRoom(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		room := roomOf(path.Dir(f))
		if room == "" {
			if path.Dir(f) != "." || !strings.HasSuffix(f, "_test.go") {
				t.Errorf("%s: no room for it in the plan", f)
			}
			continue
		}
		seen[room] = true
		if strings.HasSuffix(f, "_test.go") {
			continue // a test may look at a room from anywhere
		}
		for _, imp := range imports(t, f) {
			checkImport(t, f, room, imp)
		}
	}
	for _, must := range []string{"lvs", "cmd/lvsctl"} {
		if !seen[must] {
			t.Errorf("room %s has no code: does this test still look at the tree?", must)
		}
	}
}

func checkImport(t *testing.T, file, room, imp string) {
	t.Helper()
	if to, ours := strings.CutPrefix(imp, module); ours {
		target, may := roomOf(to), rooms[room].may
		if target != room && !slices.Contains(may, target) && !slices.Contains(may, "*") {
			t.Errorf("%s imports %s: %s knows %s", file, to, room, rooms[room].knows)
		}
		return
	}
	for mod, l := range landlords {
		if (imp == mod || strings.HasPrefix(imp, mod+"/")) && !slices.Contains(l.rooms, room) {
			t.Errorf("%s imports %s, which is for %v only: %s", file, imp, l.rooms, l.reason)
		}
	}
	foreign := strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
	if foreign && slices.Contains(dataRooms, room) {
		t.Errorf("%s imports %s: %s is data and rules, the standard library is enough", file, imp, room)
	}
}

// roomOf is the nearest room at or above a folder.
func roomOf(dir string) string {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := rooms[d]; ok {
			return d
		}
	}
	return ""
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (p != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(p, ".go") {
			files = append(files, filepath.ToSlash(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}
