package rules

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/lvsctl/lvsctl/config"
)

// isScript tells a shell script with ipvsadm lines from plain rules: it begins
// with #!, or sets a variable.
func isScript(text []byte) bool {
	return bytes.HasPrefix(text, []byte("#!")) || setsVariable().Match(text)
}

// The patterns are compiled when a script is first read: this package is linked
// into a program whose other commands must start fast.
var (
	setsVariable = pattern(`(?m)^[ \t]*(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*=\S+`)
	assignment   = pattern(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^ \t;"'$` + "`" + `]*)[ \t]*(?:[;#].*)?$`)
	variable     = pattern(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*|[0-9@*#?]))`)
)

func pattern(src string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(src) })
}

// commands keeps the ipvsadm lines of a script that change the table, with the
// variables that the script sets to plain words, and makes all others blank so
// that lines keep their numbers. Everything else a script does stays undone; one
// warning says so.
func (r *reader) commands(text []byte) []byte {
	vars := map[string]string{}
	var out bytes.Buffer
	skipped, first := 0, 0
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		switch m := assignment().FindStringSubmatch(line); {
		case line == "" || line[0] == '#':
		case m != nil:
			vars[m[1]] = strings.Trim(m[2], `"'`)
		case isIpvsadm(line, vars):
			out.WriteString(r.command(n+1, line, vars))
		default:
			if skipped++; first == 0 {
				first = n + 1
			}
		}
		out.WriteByte('\n')
	}
	if skipped > 0 {
		r.problem(first, config.Warning, fmt.Sprintf("a shell script: its ipvsadm lines are read, %d others from here on are not", skipped),
			"loops and conditions are not followed; run the script and save the table with ipvsadm -S -n if it has any")
	}
	return out.Bytes()
}

func isIpvsadm(line string, vars map[string]string) bool {
	word, _, _ := strings.Cut(line, " ")
	if m := variable().FindString(word); m != "" && m == word {
		word = vars[strings.Trim(m, "${}")]
	}
	return path.Base(word) == "ipvsadm"
}

// command is an ipvsadm line without its shell: variables replaced, quotes and
// what is behind the command removed.
func (r *reader) command(n int, line string, vars map[string]string) string {
	_, line, _ = strings.Cut(line, " ")
	unknown := false
	line = variable().ReplaceAllStringFunc(line, func(ref string) string {
		name := strings.Trim(ref, "${}")
		value, ok := vars[name]
		if !ok {
			unknown = true
			r.problem(n, config.Error, fmt.Sprintf("the value of %s is not known, so the line is left out", ref), "write the value itself")
		}
		return value
	})
	if unknown {
		return ""
	}
	if i := strings.IndexAny(line, ";|&<>"); i >= 0 {
		line = line[:i]
	}
	// Tutorials print their remarks right behind the command, with an arrow.
	if i := strings.IndexAny(line, "→←"); i >= 0 {
		r.problem(n, config.Warning, fmt.Sprintf("%q is taken for a remark", line[i:]), "write # in front of it")
		line = line[:i]
	}
	line = strings.NewReplacer(`"`, "", `'`, "").Replace(line)
	if words := strings.Fields(line); len(words) == 0 || isNoRule(words[0]) {
		return ""
	}
	return line
}

// isNoRule: a script looks at the table too, which changes nothing, and empties
// it, at its start and in a branch for its end, which says nothing about what
// it wants.
func isNoRule(word string) bool {
	switch {
	case word == "-C", word == "--clear", word == "-Z", word == "--zero", word == "--list", word == "--save", word == "--set",
		strings.HasPrefix(word, "--start"), strings.HasPrefix(word, "--stop"):
		return true
	case strings.HasPrefix(word, "--"):
		return false
	}
	return strings.HasPrefix(word, "-") && strings.ContainsAny(word, "LlSh")
}
