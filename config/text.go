package config

import (
	"bytes"
	"fmt"
	"strings"
)

// controls are the control characters that occur in text, as file(1) counts them: the
// white space, and those that once moved a print head or coloured a terminal.
const controls = "\a\b\t\n\v\f\r\x1b"

// NoText is what is wrong with a file that is none of text, as a program is that was
// named instead of its configuration, or noise on a disk: one problem, in place of one
// for each of its lines. It tells by what stands in no text: NUL and other control
// characters. Bytes above 0x7f are letters of UTF-8, Latin-1 or GBK, and pass.
func NoText(file string, src []byte) (Problem, bool) {
	p := Problem{File: file, Severity: Error}
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		p.Text, p.Hint = "this is no text file (its letters are of 16 bits)", "save it as UTF-8"
		return p, true
	}
	i := bytes.IndexFunc(src, func(r rune) bool {
		return (r < ' ' || r == 0x7f) && !strings.ContainsRune(controls, r)
	})
	if i < 0 {
		return Problem{}, false
	}
	line := 1 + bytes.Count(src[:i], []byte("\n"))
	p.Text, p.Hint = fmt.Sprintf("this is no text file (line %d has the byte 0x%02x)", line, src[i]), "name a configuration"
	return p, true
}
