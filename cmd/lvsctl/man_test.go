package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lvsctl/lvsctl/lvs/ipvsadm"
)

// Every command of our own has a page, or a place in lvsctl.8, that names its
// flags and no others, and help that ends in an example.
func TestPagesAndCommandsAgree(t *testing.T) {
	for _, cmd := range commands(newRoot()) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.DisableFlagParsing {
				return // a peer's grammar: its room tests its page
			}
			if cmd.Example == "" {
				t.Error("--help does not end in an example")
			}
			page := readPage(t, cmd)
			cmd.InitDefaultHelpFlag()
			var want []string
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { want = append(want, "--"+f.Name) })
			for _, flag := range want {
				if !strings.Contains(page, flag) {
					t.Errorf("the page does not name %s", flag)
				}
			}
			for _, flag := range documented(page) {
				if !slices.Contains(want, flag) {
					t.Errorf("the page names %s, which the command does not have", flag)
				}
			}
		})
	}
}

func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			all = append(all, commands(c)...)
		}
	}
	return all
}

// readPage finds man/lvsctl-COMMAND.8, or that of a command above it, without
// its roff escapes.
func readPage(t *testing.T, cmd *cobra.Command) string {
	t.Helper()
	for c := cmd; c != nil; c = c.Parent() {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".8"
		src, err := os.ReadFile(filepath.Join("../../man", name))
		if err == nil {
			return regexp.MustCompile(`\\f.|\\`).ReplaceAllString(string(src), "")
		}
	}
	t.Fatalf("no page for %s", cmd.CommandPath())
	return ""
}

// documented are the long options that a page has an entry for.
func documented(page string) []string {
	var flags []string
	entry := regexp.MustCompile(`(?m)^\.TP\n(.*)`)
	for _, m := range entry.FindAllStringSubmatch(page, -1) {
		flags = append(flags, regexp.MustCompile(`--[a-z0-9-]+`).FindAllString(m[1], -1)...)
	}
	return flags
}

// The page of a peer's grammar names every option that its commands take, and
// no others.
func TestIpvsadmPageAgrees(t *testing.T) {
	src, err := os.ReadFile("../../man/lvsctl-ipvsadm.8")
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile(`\\f.|\\`).ReplaceAllString(string(src), "")
	options := map[string]bool{}
	commands := ipvsadm.Complete(nil, "-", nil)
	for _, command := range commands {
		options[command] = true
		for _, line := range [][]string{{command}, {command, "-f", "1"}, {command, "master"}} {
			for _, o := range ipvsadm.Complete(line, "-", nil) {
				options[o] = true
			}
		}
	}
	if len(options) < 40 {
		t.Fatalf("only %d options found: %v", len(options), options)
	}
	for o := range options {
		if !regexp.MustCompile(regexp.QuoteMeta(o) + `\b`).MatchString(page) {
			t.Errorf("the page does not name %s", o)
		}
	}
	for _, o := range documented(page) {
		if !options[o] {
			t.Errorf("the page names %s, which no command takes", o)
		}
	}
}
