// Labctl shows clusters: it runs the stories of the examples folder, or gives a
// shell in one of their networks, in a kernel that has IPVS.
//
//	labctl demo [-bin DIR] [-examples DIR] [NAME...]   tell stories; all when none is named
//	labctl shell [-bin DIR] [-examples DIR] NAME       a shell in a story's network
//	labctl exec CMD...                                 a program in the lab's kernel
//
// DIR of -bin holds the program lvsctl. labctl runs in a User Mode Linux guest
// where this machine's kernel has no IPVS; its exit status is 1 when a story
// fails, 2 when it is called wrongly, 125 when there is no lab.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/lab/scenario"
)

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
	statusNoLab  = 125
)

const usage = `usage: labctl demo [-bin DIR] [-examples DIR] [NAME...]
       labctl shell [-bin DIR] [-examples DIR] NAME
       labctl exec CMD...
`

func main() {
	lab.Init()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return statusUsage
	}
	switch args[0] {
	case "exec":
		return execute(args[1:])
	case "demo", "shell":
		return stories(args[0], args[1:])
	}
	fmt.Fprintf(os.Stderr, "labctl: no command %q\n%s", args[0], usage)
	return statusUsage
}

// stories checks what it was given before it enters the lab, which takes seconds.
func stories(command string, args []string) int {
	flags := flag.NewFlagSet("labctl "+command, flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of the program lvsctl")
	examples := flags.String("examples", "examples", "folder of the stories")
	if err := flags.Parse(args); err != nil {
		return statusUsage // flag has said why
	}
	files, err := find(*examples, flags.Args())
	if err == nil && command == "shell" && flags.NArg() != 1 {
		err = errors.New("shell wants the name of one example")
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(*bin, "lvsctl"))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "labctl: %v\n", err)
		return statusUsage
	}
	if err := lab.Enter(); err != nil {
		fmt.Fprintf(os.Stderr, "labctl: %v\n", err)
		return statusNoLab
	}
	if err := perform(command, *bin, files); err != nil {
		fmt.Fprintf(os.Stderr, "labctl: %v\n", err)
		return statusFailed
	}
	return 0
}

// find returns the files of the named stories, or of all.
func find(examples string, names []string) ([]string, error) {
	if len(names) == 0 {
		names = []string{"*"}
	}
	var files []string
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(examples, name, "story.txtar"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("no story %s in %s", name, examples)
		}
		files = append(files, found...)
	}
	return files, nil
}

func perform(command, bin string, files []string) error {
	tools, err := os.MkdirTemp("", "lvsctl-tools-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tools)
	if err := scenario.Tools(bin, tools); err != nil {
		return err
	}
	if command == "shell" {
		return scenario.Shell(tools, files[0])
	}
	failed := 0
	for _, file := range files {
		if scenario.Tell(os.Stdout, colour(), tools, file) != nil {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d stories failed", failed, len(files))
	}
	return nil
}

// colour: only for a person, who may not want it (no-color.org).
func colour() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// execute runs a program in the lab in place of this one.
func execute(args []string) int {
	if len(args) == 0 {
		io.WriteString(os.Stderr, usage)
		return statusUsage
	}
	if err := lab.Enter(); err != nil {
		fmt.Fprintf(os.Stderr, "labctl: %v\n", err)
		return statusNoLab
	}
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = unix.Exec(path, args, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "labctl: %v\n", err)
	return statusFailed
}
