package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// mostAtStart is how many objects the package variables of our own rooms may make
// before main, all together. There were 79 when this was written, and 1135 before
// tables and patterns were made at their first use.
const mostAtStart = 120

// initLine is what the runtime says of a package: see GODEBUG in package runtime.
var initLine = regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) allocs$`)

// TestStartsLight: scripts call ipvsadm in loops, and each call pays for what every
// room makes before main. Objects are counted, for their number is the same on
// every machine; times are not.
func TestStartsLight(t *testing.T) {
	// The test binary has package variables of its own, so the real program is asked.
	program := filepath.Join(t.TempDir(), "lvsctl")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	cmd := exec.Command(program, "ipvsadm", "-h")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, trace.Bytes())
	}
	rooms, sum := "", 0
	for _, m := range initLine.FindAllSubmatch(trace.Bytes(), -1) {
		if name := string(m[1]); name != "main" && !strings.HasPrefix(name, "github.com/lvsctl/lvsctl/") {
			continue
		}
		n, err := strconv.Atoi(string(m[2]))
		if err != nil {
			t.Fatal(err)
		}
		rooms, sum = rooms+"\n"+string(m[0]), sum+n
	}
	if rooms == "" {
		t.Fatalf("no package of ours in the runtime's trace:\n%s", trace.Bytes())
	}
	if sum > mostAtStart {
		t.Errorf("%d objects are made before main, at most %d should be: make tables and patterns at their first use (sync.OnceValue)%s", sum, mostAtStart, rooms)
	}
}
