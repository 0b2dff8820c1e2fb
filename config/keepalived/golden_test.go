package keepalived

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// TestGolden reads each testdata/*.txt: a line or more about the case, then the
// section "input", perhaps files "file NAME", then what the test finds. Words in
// the text in front choose options: "online" asks for interfaces and programs.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { golden(t, path) })
	}
}

// goldenCase is a golden file taken apart.
type goldenCase struct {
	about, input string
	given        string // all up to what the test finds
	opt          Options
}

func readCase(t testing.TB, path string) (goldenCase, string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	given, _, _ := strings.Cut(string(text), "-- problems --\n")
	about, rest, ok := strings.Cut(given, "-- input --\n")
	if !ok {
		t.Fatalf("%s: no section input", path)
	}
	c := goldenCase{about: about, given: given, opt: Options{ConfigID: "lb1", Instance: "one"}}
	sections := strings.Split(rest, "-- file ")
	// Characters that an editor or a tool would spoil are written as escapes.
	escapes := strings.NewReplacer(`\r`, "\r", `\t`, "\t", `\_`, " ", `\ufeff`, "\ufeff")
	c.input = escapes.Replace(sections[0])
	files := map[string]string{}
	for _, s := range sections[1:] {
		name, body, _ := strings.Cut(s, " --\n")
		files[name] = escapes.Replace(body)
	}
	c.opt.Include = fakeFiles(files)
	if strings.Contains(about, "online") {
		c.opt.HasLink = func(name string) bool { return name == "eth0" || name == "eth1" }
		c.opt.User = func(name string) error {
			if name == scriptUser || strings.Contains(name, "nosuch") {
				return fmt.Errorf("there is no user %s", name)
			}
			return nil
		}
		c.opt.Executable = func(path string) error {
			if strings.Contains(path, "nowhere") {
				return errors.New("no such file")
			}
			return nil
		}
	}
	return c, string(text)
}

func fakeFiles(files map[string]string) func(pattern, from string) ([]Text, error) {
	return func(pattern, from string) ([]Text, error) {
		var found []Text
		for name, body := range files {
			if ok, err := filepath.Match(filepath.Join(filepath.Dir(from), pattern), name); err != nil {
				return nil, err
			} else if ok {
				found = append(found, Text{name, []byte(body)})
			}
		}
		return found, nil
	}
}

func golden(t *testing.T, path string) {
	c, text := readCase(t, path)
	got := c.given + found(c)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != text {
		t.Errorf("%s: run with -update and look at the difference; found:\n%s", path, got)
	}
}

// found is all that there is to say about a file, as text.
func found(c goldenCase) string {
	f, problems := Parse("k.conf", []byte(c.input), c.opt)
	var b strings.Builder
	b.WriteString("-- problems --\n")
	for _, p := range problems {
		fmt.Fprintf(&b, "%v: %v\n", p.Severity, p)
	}
	fmt.Fprintf(&b, "-- keepalived -t: %d --\n", f.ExitStatus())
	for _, line := range f.Complaints() {
		b.WriteString(line + "\n")
	}
	b.WriteString("-- meaning --\n" + meaning(f))
	b.WriteString("-- printed --\n" + printed(f))
	return b.String()
}

func printed(f *File) string {
	var b strings.Builder
	if err := f.Print(&b); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return b.String()
}

// meaning is what a file means: the fields that are not zero, or not the default.
func meaning(f *File) string {
	var b strings.Builder
	none, _ := Parse("k.conf", nil, Options{})
	g := f.Globals()
	diff(&b, "Globals", reflect.ValueOf(g), reflect.ValueOf(none.Globals()))
	dump(&b, "", "", reflect.ValueOf(f.Site()))
	return b.String()
}

func diff(b *strings.Builder, name string, v, base reflect.Value) {
	for i := range v.NumField() {
		if !reflect.DeepEqual(v.Field(i).Interface(), base.Field(i).Interface()) {
			fmt.Fprintf(b, "%s.%s %+v\n", name, v.Type().Field(i).Name, v.Field(i).Interface())
		}
	}
}

// plain are types that print themselves well.
func isPlain(v reflect.Value) bool {
	if _, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
		return true
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Pointer, reflect.Interface:
		return false
	}
	return true
}

func dump(b *strings.Builder, indent, name string, v reflect.Value) {
	if name == "Source" && strings.HasSuffix(v.Type().String(), "ldirector.Source") || name == "Origin" {
		return
	}
	switch {
	case v.IsZero():
	case isPlain(v):
		format := "%s%s %v\n"
		if v.Kind() == reflect.String {
			format = "%s%s %q\n"
		}
		fmt.Fprintf(b, format, indent, name, v.Interface())
	case v.Kind() == reflect.Slice && v.Len() > 0 && isPlain(v.Index(0)):
		fmt.Fprintf(b, "%s%s %q\n", indent, name, fmt.Sprint(v.Interface()))
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			dump(b, indent, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
		}
	case v.Kind() == reflect.Pointer, v.Kind() == reflect.Interface:
		if v.Kind() == reflect.Interface {
			name += " " + v.Elem().Type().String()
		}
		dump(b, indent, name, v.Elem())
	default:
		if name != "" {
			fmt.Fprintf(b, "%s%s\n", indent, name)
			indent += "  "
		}
		for i := range v.NumField() {
			dump(b, indent, v.Type().Field(i).Name, v.Field(i))
		}
	}
}

// TestCanonicalForm holds the laws of the printer over the golden inputs: what is
// printed means the same, and prints as itself.
func TestCanonicalForm(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, path := range files {
		c, _ := readCase(t, path)
		checkCanonical(t, c.input, c.opt)
	}
}

func checkCanonical(t *testing.T, input string, opt Options) {
	t.Helper()
	f, _ := Parse("k.conf", []byte(input), opt)
	once := printed(f)
	g, _ := Parse("k.conf", []byte(once), opt)
	if a, b := meaning(f), meaning(g); a != b {
		t.Errorf("printed, the file means something else:\n%q\n%s\nbefore\n%s\nafter\n%s", input, once, a, b)
	}
	if twice := printed(g); twice != once {
		t.Errorf("printing is not stable:\n%q\n%s\n---\n%s", input, once, twice)
	}
}

// checkVerdict: a file that keepalived finds nothing wrong with has no errors but
// for what we cannot do, and one that it complains about has problems.
func checkVerdict(t *testing.T, input string, opt Options) {
	t.Helper()
	f, problems := Parse("k.conf", []byte(input), opt)
	if f.ExitStatus() != 0 && len(problems) == 0 && f.status != statusSecurity {
		t.Errorf("keepalived complains and we do not:\n%q\n%v", input, f.Complaints())
	}
	if f.ExitStatus() != 0 && len(f.Complaints()) == 0 {
		t.Errorf("status %d without a complaint of\n%q", f.ExitStatus(), input)
	}
	for _, p := range problems {
		if p.Text == "" || p.File != "" && p.Line < 0 || strings.Contains(p.String(), "%!") {
			t.Errorf("problem %+v of\n%q", p, input)
		}
	}
}

// TestLargeFile keeps the reading of a large file, good or bad, well under the
// time that a person waits.
func TestLargeFile(t *testing.T) {
	const head = "vrrp_instance a {\n"
	for name, text := range map[string]string{
		"instances":   strings.Repeat("vrrp_instance a {\ninterface eth0\n}\n", 5000),
		"open":        strings.Repeat(head, 20000),
		"braces":      strings.Repeat("{", 100000),
		"unknown":     strings.Repeat("nonsens {\n", 20000),
		"addresses":   head + "virtual_ipaddress {\n" + strings.Repeat("10.0.0.1\n", 20000),
		"definitions": "$A=$A $A\nvrrp_instance $A {\n",
		"doubling":    "$A=x ${B} ${B}\n$B=${C} ${C}\n$C=${D}${D}${D}\n$D=${E}${E}${E}\n$E=${A}${A}\nfoo $A\n",
		"checks":      "virtual_server 10.0.0.1 80 {\nprotocol TCP\n" + strings.Repeat("real_server 10.0.0.2 80 { TCP_CHECK { } }\n", 5000) + "}\n",
		"joined":      strings.Repeat("a \\\n", 50000),
		"quotes":      strings.Repeat("\"", 50000) + "\n",
		"range":       "virtual_server_group g {\n10.0.0.0/8 80\n::/1 80\n}\nvirtual_server group g {\nreal_server 10.0.0.2 80 { TCP_CHECK { } }\n}\n",
	} {
		start := time.Now()
		Parse(name, []byte(text), Options{})
		t.Logf("%s %v", name, time.Since(start))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}
