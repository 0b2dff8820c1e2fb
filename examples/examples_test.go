// Package examples holds complete clusters as stories (see internal/lab/scenario).
// Each one is a test here and a demonstration in make demo.
package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/lab/scenario"
)

func TestMain(m *testing.M) { lab.MainBuilt(m, "github.com/lvsctl/lvsctl/cmd/lvsctl") }

func TestStories(t *testing.T) {
	lab.Need(t)
	files, err := filepath.Glob("*/story.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories (%v)", err)
	}
	tools := t.TempDir()
	if err := scenario.Tools(lab.Built(), tools); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if testing.Short() && long[filepath.Dir(file)] {
			t.Logf("%s takes long: make test-all runs it", file)
			continue
		}
		if missing := missing(t, filepath.Dir(file)); missing != "" && os.Getenv("LVSCTL_PEERS") != "require" {
			t.Logf("%s is left out: install %s", file, missing) // make test-all does
			continue
		}
		scenario.Test(t, tools, file)
	}
}

// long are the stories that mostly wait, for nodes to be dead or for programs, and
// of which another one shows the greater part.
var long = map[string]bool{"active-active": true, "heartbeat-ldirectord-tun": true, "keepalived-web": true, "mpich": true}

// missing are the Debian packages that an example wants and this machine lacks: its
// file packages has COMMAND=PACKAGE.
func missing(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "packages"))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var lack []string
	for _, word := range strings.Fields(string(text)) {
		command, name, _ := strings.Cut(word, "=")
		if _, err := exec.LookPath(command); err != nil {
			lack = append(lack, name)
		}
	}
	return strings.Join(lack, " ")
}
