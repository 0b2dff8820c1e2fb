package scenario

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// voice is how a story reaches its reader.
type voice interface {
	say(text string)           // the story
	fact(text string)          // something was built
	command(host, line string) // a program is run
	output(text string)        // and wrote this
	holds(text string)         // something expected is true
}

// silent is the voice of a test: testscript's own log says what failed.
type silent struct{}

func (silent) say(string)             {}
func (silent) fact(string)            {}
func (silent) command(string, string) {}
func (silent) output(string)          {}
func (silent) holds(string)           {}

// narrator tells the story as one would see it at a terminal.
type narrator struct {
	w      io.Writer
	colour bool
	held   int
	inText bool // the last line was a say: the next one belongs to the paragraph
}

// ANSI colours.
const (
	bold  = "1"
	green = "32"
	grey  = "90"
)

func (n *narrator) paint(colour, text string) string {
	if !n.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (n *narrator) say(text string) {
	if !n.inText {
		fmt.Fprintln(n.w)
	}
	n.inText = true
	fmt.Fprintln(n.w, n.paint(bold, text))
}

func (n *narrator) fact(text string) {
	n.inText = false
	fmt.Fprintln(n.w, "  "+n.paint(grey, text))
}

func (n *narrator) command(host, line string) {
	n.inText = false
	fmt.Fprintln(n.w, n.paint(green, host+"#")+" "+line)
}

// output is shown as it is, but for bytes that would move the cursor.
func (n *narrator) output(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		fmt.Fprintln(n.w, strings.Map(func(r rune) rune {
			if unicode.IsControl(r) && r != '\t' {
				return '?'
			}
			return r
		}, line))
	}
}

func (n *narrator) holds(text string) {
	n.inText = false
	n.held++
	fmt.Fprintln(n.w, n.paint(green, "  ok")+"  "+text)
}

// commandLine shows arguments as one would type them.
func commandLine(args []string) string {
	var words []string
	for _, arg := range args {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'`$&|;<>()*?[]#~\\") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
