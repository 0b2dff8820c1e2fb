package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestWrongCalls are refused before a guest is started.
func TestWrongCalls(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"frobnicate"},
		{"exec"},
		{"demo", "-no-such-flag"},
		{"demo", "-examples", "../../../examples", "no-such-story"},
		{"demo", "-examples", "../../../examples", "-bin", "no-such-folder"},
		{"shell", "-examples", "../../../examples"},
	} {
		if status := run(args); status != statusUsage {
			t.Errorf("labctl %q: status %d, want %d", args, status, statusUsage)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"01-one", "02-two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "story.txtar"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := find(dir, nil)
	if err != nil || len(all) != 2 || filepath.Base(filepath.Dir(all[0])) != "01-one" {
		t.Errorf("all: %v, %v", all, err)
	}
	two, err := find(dir, []string{"02-two"})
	if err != nil || len(two) != 1 || filepath.Base(filepath.Dir(two[0])) != "02-two" {
		t.Errorf("02-two: %v, %v", two, err)
	}
}
