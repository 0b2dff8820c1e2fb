package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTutorials: each command and each line of a file of the tutorials is in a place
// that runs it, or is said not to be run, and why.
func TestTutorials(t *testing.T) {
	text, err := os.ReadFile("testdata/tutorials.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parseTutorials(string(text))
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, r := range rows {
		lines += len(r.lines)
		for _, problem := range r.check(readPlace) {
			t.Errorf("testdata/tutorials.txt:%d: %s", r.at, problem)
		}
	}
	if len(rows) < 80 || lines < 250 {
		t.Errorf("only %d rows of %d lines", len(rows), lines)
	}
}

// row is a command or a file of a tutorial.
type row struct {
	at     int // the line of the table
	what   string
	lines  []string
	places []place
	not    bool // something says why it is not run
}

// place is where it is run.
type place struct {
	name string
	text string   // in place of the row's lines
	but  []string // lines that are not there
}

func parseTutorials(text string) ([]row, error) {
	var rows []row
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		body := strings.TrimSpace(line)
		switch {
		case body == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "$ "):
			rows = append(rows, row{at: n, what: line, lines: []string{line[2:]}})
			continue
		case strings.HasPrefix(line, "= "):
			rows = append(rows, row{at: n, what: line})
			continue
		case len(rows) == 0:
			return nil, fmt.Errorf("line %d is in front of the first row", n)
		}
		if err := rows[len(rows)-1].add(line, body); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return rows, nil
}

// add reads a line that belongs to a row.
func (r *row) add(line, body string) error {
	name, text, _ := strings.Cut(body, ": ")
	switch {
	case strings.HasPrefix(line, "| "):
		r.lines = append(r.lines, line[2:])
	case name == "not" && text != "":
		r.not = true
	case strings.HasPrefix(body, "but "):
		if len(r.places) == 0 || !slices.Contains(r.lines, body[4:]) {
			return fmt.Errorf("no place in front of it, or no such line in the row: %s", body)
		}
		p := &r.places[len(r.places)-1]
		p.but = append(p.but, body[4:])
	case strings.HasPrefix(line, "    "):
		r.places = append(r.places, place{name: name, text: text})
	default:
		return fmt.Errorf("not understood: %s", line)
	}
	return nil
}

// check holds a row against the places that it names.
func (r row) check(read func(string) (string, error)) (problems []string) {
	missing := map[string]bool{} // lines that no place has
	for _, line := range r.lines {
		missing[line] = true
	}
	for _, p := range r.places {
		text, err := read(p.name)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		have := plain(text)
		if p.text != "" {
			if !strings.Contains(have, plain(p.text)) {
				problems = append(problems, fmt.Sprintf("%s has no %q", p.name, p.text))
			}
			for _, line := range r.lines {
				if len(r.lines) == 1 || strings.Contains(plain(p.text), plain(line)) {
					delete(missing, line)
				}
			}
			continue
		}
		for _, line := range r.lines {
			there := strings.Contains(have, plain(line))
			switch butted := slices.Contains(p.but, line); {
			case there && !butted:
				delete(missing, line)
			case !there && !butted:
				problems = append(problems, fmt.Sprintf("%s has no %q", p.name, line))
			}
		}
	}
	if len(r.lines) == 0 || len(r.places) == 0 && !r.not {
		problems = append(problems, r.what+": no line, or nothing that runs it")
	}
	for _, line := range r.lines {
		if missing[line] && !r.not {
			problems = append(problems, fmt.Sprintf("%s: nothing runs %q, and nothing says why", r.what, line))
		}
	}
	return problems
}

var (
	blanks    = regexp.MustCompile(`[ \t]+`)
	addresses = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)
	cards     = regexp.MustCompile(`\b(eth\d|ens32|eno16777736)\b`)
)

// plain is a text without what may differ.
func plain(text string) string {
	text = cards.ReplaceAllString(addresses.ReplaceAllString(text, "ADDRESS"), "CARD")
	return strings.TrimSpace(blanks.ReplaceAllString(text, " "))
}

// readPlace reads a story, a file of the examples, or one of the repository.
func readPlace(name string) (string, error) {
	for _, path := range []string{filepath.Join(name, "story.txtar"), name, filepath.Join("..", name)} {
		if text, err := os.ReadFile(path); err == nil {
			return string(text), nil
		}
	}
	return "", fmt.Errorf("%s is no story and no file", name)
}

// The table would be worth nothing if it could not fail.
func TestTutorialsCanFail(t *testing.T) {
	read := func(name string) (string, error) {
		if name != "a" {
			return "", fmt.Errorf("no %s", name)
		}
		return "on x chmod 600 keys\nnic x eth0 lan 10.0.0.1/24\n", nil
	}
	for table, want := range map[string]int{
		"$ chmod 600 keys\n    a\n":                                          0,
		"$ nic x ens32 lan 192.168.0.9/24\n    a\n":                          0,
		"$ chmod 700 keys\n    a\n":                                          2, // not there, and so nowhere
		"$ chmod 700 keys\n    a: chmod 600 keys\n":                          0,
		"$ chmod 700 keys\n    a: chmod 700 keys\n":                          1,
		"$ chmod 600 keys\n    b\n":                                          2,
		"$ chmod 600 keys\n":                                                 2,
		"$ yum install\n    not: nobody needs it\n":                          0,
		"= f\n| chmod 600 keys\n| other\n    a\n    but other\n":             1,
		"= f\n| chmod 600 keys\n| other\n    a\n    but other\n    not: x\n": 0,
	} {
		rows, err := parseTutorials(table)
		if err != nil {
			t.Fatal(err)
		}
		if got := rows[0].check(read); len(got) != want {
			t.Errorf("%q: %q, want %d", table, got, want)
		}
	}
	for _, table := range []string{"    a\n", "$ x\n    but y\n", "= f\n| x\n    a\n    but y\n", "$ x\nwhat\n"} {
		if _, err := parseTutorials(table); err == nil {
			t.Errorf("%q is read", table)
		}
	}
}
