package scenario

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// Tell runs one story and tells it on w, ending in one line of verdict. The error
// says where the story failed.
func Tell(w io.Writer, colour bool, tools, file string) error {
	n := &narrator{w: w, colour: colour}
	began := time.Now()
	err := perform(params(tools, file, n))
	took := time.Since(began).Round(100 * time.Millisecond)
	name := filepath.Base(filepath.Dir(file))
	if err != nil {
		fmt.Fprintf(w, "\n%v\n\nFAILED: %s (%v)\n", err, name, took)
		return err
	}
	fmt.Fprintf(w, "\nOK: %s: all %d expectations hold (%v)\n", name, n.held, took)
	return nil
}

// Shell runs one story without telling it and then gives the terminal to a shell
// in which "on HOST CMD" runs a program on a host.
func Shell(tools, file string) error {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return err
	}
	archive.Comment = append(archive.Comment, "\nshell\n"...)
	dir, err := os.MkdirTemp("", "lvsctl-shell-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	longer := filepath.Join(dir, "story.txtar")
	if err := os.WriteFile(longer, txtar.Format(archive), 0o600); err != nil {
		return err
	}
	return perform(params(tools, longer, silent{}))
}

// perform runs testscript outside of go test.
func perform(p testscript.Params) error {
	a := &audience{}
	a.Run("", func(t testscript.T) { testscript.RunT(t, p) })
	if a.failed {
		return errors.New(strings.TrimSpace(a.log.String()))
	}
	return nil
}

// audience is a testscript.T that is no test: it keeps the log for the end.
type audience struct {
	log    strings.Builder
	failed bool
}

func (a *audience) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() { // FailNow ends the goroutine
		defer close(done)
		f(a)
	}()
	<-done
}

func (a *audience) Log(args ...any)   { fmt.Fprintln(&a.log, args...) }
func (a *audience) Fatal(args ...any) { a.Log(args...); a.FailNow() }

// Skip is a failure: a demonstration that shows nothing shall not say that all is well.
func (a *audience) Skip(args ...any) { a.Fatal(args...) }

func (a *audience) FailNow() {
	a.failed = true
	runtime.Goexit()
}

func (a *audience) Parallel()     {}
func (a *audience) Verbose() bool { return false }

// shell is the command that Shell puts at the end of a story.
func shell(s *stage, _ []string) {
	dir := filepath.Join(s.Getenv("WORK"), ".shell")
	s.Check(os.MkdirAll(dir, 0o755))
	s.Check(os.WriteFile(filepath.Join(dir, "on"), []byte(s.onScript()), 0o755))
	fmt.Println("The cluster is up. Its hosts:")
	for _, name := range s.names() {
		addrs := s.hosts[name].Run("ip", "-brief", "address", "show", "up")
		fmt.Printf("\n  on %s CMD\n", name)
		for line := range strings.Lines(addrs) {
			fmt.Print("    ", line)
		}
	}
	fmt.Print("\n\"on HOST\" alone is a shell on that host; exit ends the cluster.\n\n")
	cmd := exec.Command("bash", "--norc")
	cmd.Dir = s.Getenv("WORK")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+s.Getenv("PATH"), "PS1=lab$ ", "HOME=/root")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The status of a shell is that of its last command: nothing to complain of.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		s.Fatalf("%v", err)
	}
}

func (s *stage) names() []string {
	var names []string
	for name := range s.hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// onScript is the shell's "on" command. A namespace is entered by way of a process
// in it, so each host gets one that does nothing.
func (s *stage) onScript() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# on HOST [CMD...]: run a program, or a shell, on a host of the cluster\ncase $1 in\n")
	for _, name := range s.names() {
		fmt.Fprintf(&b, "%s) pid=%d;;\n", name, holder(s.hosts[name]))
	}
	fmt.Fprintf(&b, "*) echo \"on: no host '$1'; there are: %s\" >&2; exit 2;;\nesac\n", strings.Join(s.names(), " "))
	b.WriteString(`host=$1; shift
[ $# -gt 0 ] || { PS1="$host# "; export PS1; set -- bash --norc; }
exec nsenter -t $pid -n -m -u sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
`)
	return b.String()
}

func holder(h *lab.Host) int { return h.Start("sleep", "infinity").Pid() }
