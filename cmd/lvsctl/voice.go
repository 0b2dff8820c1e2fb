package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// The rules of speech of our own commands. Answers go to stdout, as text or as
// JSON. Errors go to stderr as "lvsctl: WHAT: WHY; HINT": lower case, no full
// stop, the thing named, what to do last. Compatibility commands do not come
// here: they use the peer's words.

// Exit statuses of our own commands. Compatibility commands have the peer's.
const (
	statusOK       = 0
	statusFailed   = 1
	statusUsage    = 2
	statusNotFound = 3 // or not running
	statusDiffers  = 4
	statusInvalid  = 5 // a configuration
	statusAdvice   = 6 // doctor: it works, and will hurt one day
)

// statusError ends a command that has said all there is to say.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// output is the -o flag that every command of our own with an answer has.
type output struct {
	format string
	short  bool // --json
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "how to answer: `text|json`")
	cmd.Flags().BoolVar(&o.short, "json", false, "short for -o json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses a format that does not exist.
func (o *output) check(cmd *cobra.Command) error {
	if o.short {
		o.format = "json"
	}
	if o.format != "text" && o.format != "json" {
		return usage(cmd, fmt.Errorf("output %q: no such format; it is text or json", o.format))
	}
	return nil
}

// say answers: v as JSON, or what text prints, made harmless for a terminal. It
// is an error when the answer cannot be written.
func (o *output) say(w io.Writer, v any, text func(io.Writer)) error {
	return o.sayAsIs(w, v, func(w io.Writer) { text(forPeople{w}) })
}

// sayAsIs is say for a text with colours, which takes care of the rest itself.
func (o *output) sayAsIs(w io.Writer, v any, text func(io.Writer)) error {
	var b bytes.Buffer
	if o.format != "json" {
		text(&b)
	} else {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// harmless is a text without the control characters that move, hide or rename
// things on a terminal: names in configuration files and answers of servers may
// be a stranger's. They are shown as \x1b, so that one sees that they are there.
func harmless(text string) string {
	if strings.IndexFunc(text, dangerous) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if dangerous(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func dangerous(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// forPeople writes harmless text.
type forPeople struct{ io.Writer }

func (w forPeople) Write(b []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, harmless(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}
