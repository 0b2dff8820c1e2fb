package main

import (
	"encoding/json"
	"fmt"
	"io"

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

// say answers: v as JSON, or what text prints.
func (o *output) say(w io.Writer, v any, text func(io.Writer)) error {
	if o.format != "json" {
		text(w)
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
