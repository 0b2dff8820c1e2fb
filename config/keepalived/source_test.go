package keepalived

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommandWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                           nil,
		`/bin/x a  b`:                {"/bin/x", "a", "b"},
		`"/bin/x a" root`:            {"/bin/x a", "root"},
		`'a "b"' "c 'd'"`:            {`a "b"`, `c 'd'`},
		`a"b c"d`:                    {"ab cd"},
		`a\ b \"c\\`:                 {"a b", `"c\`},
		`\x41\x4a \101\7 \cA \n\t\q`: {"AJ", "A\a", "\x01", "\n\tq"},
		`"" ''`:                      {"", ""},
	} {
		got, err := commandWords(line)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", line, err, d)
		}
	}
	for _, line := range []string{`"a`, `a 'b`, `a\`} {
		if got, err := commandWords(line); err == nil {
			t.Errorf("%s: %q", line, got)
		}
	}
}

// Files are read as keepalived reads them: relative to the one that includes
// them, no folders, nothing executable, in the order of their names.
func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("conf.d/20.conf", "b\n", 0o644)
	write("conf.d/10.conf", "include ../deep/*.inc\n", 0o644)
	write("conf.d/30.conf", "executable\n", 0o755)
	write("conf.d/40.conf/x", "", 0o644)
	write("deep/z.inc", "c\n", 0o644)
	main := filepath.Join(dir, "keepalived.conf")
	f, problems := Parse(main, []byte("include conf.d/*.conf\ninclude conf.d/[\ninclude keepalived.conf\n"), Options{Include: ReadFiles})
	var said []string
	for _, p := range problems {
		said = append(said, strings.ReplaceAll(p.String(), dir+"/", ""))
	}
	want := []string{
		`conf.d/20.conf:1: unknown keyword "b"`,
		`deep/z.inc:1: unknown keyword "c"`,
		`keepalived.conf:2: include conf.d/[: syntax error in pattern`,
		`keepalived.conf:3: include keepalived.conf: there is no such file; keepalived goes on without`,
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
	if f.ExitStatus() != 5 {
		t.Error(f.ExitStatus())
	}
	write("keepalived.conf", "include keepalived.conf\n", 0o644)
	_, problems = Parse(main, []byte("include keepalived.conf\n"), Options{Include: ReadFiles})
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "is left out") {
		t.Errorf("a file within itself: %v", problems)
	}
}
