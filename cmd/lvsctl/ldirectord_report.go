package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs"
)

// reporter hands on what the director reports: to the log, to mail, to hooks and
// to whoever asks for events. Nothing of it blocks.
type reporter struct {
	d *ldDaemon

	// fallbacks are the services whose fallbackcommand was started. The director's
	// goroutine owns it until it has ended.
	fallbacks map[lvs.Key]daemon.Command
}

func newReporter(d *ldDaemon) *reporter {
	return &reporter{d: d, fallbacks: map[lvs.Key]daemon.Command{}}
}

func (r *reporter) event(e ldirector.Event) {
	r.d.log.Print(levelOf(e.Kind), e.Text)
	r.d.events.add(e)
	r.mail(e)
	r.hook(e)
}

func levelOf(k ldirector.Kind) daemon.Level {
	switch k {
	case ldirector.Refused, ldirector.KernelLost:
		return daemon.Error
	case ldirector.WentDown, ldirector.NobodyServes, ldirector.NotAsked, ldirector.Drift, ldirector.Repaired:
		return daemon.Warning
	case ldirector.CameUp, ldirector.ServesAgain, ldirector.DrainBegun, ldirector.DrainEnded, ldirector.KernelBack:
		return daemon.Notice
	}
	return daemon.Info
}

func (r *reporter) mail(e ldirector.Event) {
	if !e.Mail || e.Virtual == nil || len(e.Virtual.Alert.To) == 0 || !wanted(e.Virtual.Alert.Status, e.Phase) {
		return
	}
	r.d.log.Print(daemon.Info, "emailalert: "+e.Text)
	r.d.mailer.Send(mailOf(e, r.d.c.name))
}

// wanted tells whether mail is sent in a phase: an empty list is all of them,
// and none excludes whatever stands beside it.
func wanted(states []string, p ldirector.Phase) bool {
	if len(states) == 0 {
		return true
	}
	return !slices.Contains(states, "none") && slices.Contains(states, string(p))
}

func mailOf(e ldirector.Event, name string) daemon.Mail {
	v := e.Virtual
	subject := e.Text
	if v.Name != "" {
		subject = "[" + v.Name + "] " + subject
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	body := fmt.Sprintf("ldirectord host: %s\nLog-Message: %s\nDaemon-Status: %s\nConfiguration: %s\n", host, subject, e.Phase, name)
	if v.Name != "" {
		body += "\nService name: " + v.Name + "\n"
	}
	if v.Comment != "" {
		body += "\nComment: " + v.Comment + "\n"
	}
	return daemon.Mail{From: v.Alert.From, To: v.Alert.To, Subject: subject, Body: body, SMTP: v.Alert.SMTP}
}

// hook runs a fallbackcommand when nobody serves, and when somebody does again.
func (r *reporter) hook(e ldirector.Event) {
	word := map[ldirector.Kind]string{ldirector.NobodyServes: "start", ldirector.ServesAgain: "stop"}[e.Kind]
	if word == "" || e.Virtual == nil || e.Virtual.Hooks.Fallback == "" {
		return
	}
	key := e.Virtual.Service.Key
	delete(r.fallbacks, key)
	if word == "start" {
		r.fallbacks[key] = fallbackCommand(e.Virtual, "stop")
	}
	r.d.hooks.Do(fallbackCommand(e.Virtual, word))
}

// endFallbacks stops what a fallbackcommand has started, which the peer forgets.
func (r *reporter) endFallbacks() {
	for _, c := range r.fallbacks {
		r.d.hooks.Do(c)
	}
}

// fallbackCommand has the peer's words: for a mark it knows neither address nor
// port, and says ":0".
func fallbackCommand(v *ldirector.Virtual, word string) daemon.Command {
	k := v.Service.Key
	where, protocol := k.Addr.String(), strings.ToLower(k.Protocol.String())
	if k.Mark != 0 {
		where, protocol = ":0", "fwm"
	}
	return daemon.Command{Name: "fallbackcommand", Shell: v.Hooks.Fallback, Argv: []string{word, where, protocol}}
}

// answered hears of every answer of a check.
func (d *ldDaemon) answered(r check.Result) {
	d.monitor.note(r)
	if d.c.debug {
		d.log.Print(daemon.Debug, r.String())
	}
}

// watchedChecks is a runner whose results somebody else sees on their way.
type watchedChecks struct {
	*check.Runner
	out  chan check.Result
	seen func(check.Result)
}

func watchChecks(r *check.Runner, seen func(check.Result)) *watchedChecks {
	// Results come many at once; with room for them nobody has to be woken for each.
	return &watchedChecks{Runner: r, out: make(chan check.Result, 64), seen: seen}
}

// Results implements [ldirector.Checks].
func (w *watchedChecks) Results() <-chan check.Result { return w.out }

// run runs the runner until ctx ends. The runner drops what is not taken in
// time, so a director that is busy holds no check up.
func (w *watchedChecks) run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Runner.Run(ctx)
	}()
	for r := range w.Runner.Results() {
		w.seen(r)
		select {
		case w.out <- r:
		case <-ctx.Done(): // the runner ends, and closes its results
		}
	}
	<-ended
}

// monitorFiles writes a line for every answer of a check into the files that
// want it (monitorfile=).
type monitorFiles struct {
	files atomic.Pointer[map[string][]string] // check ID -> paths
	lines chan monitorLine
	say   func(error)
	fault map[string]string // why a path cannot be written, as it was said
}

type monitorLine struct {
	paths []string
	text  string
}

func newMonitorFiles(say func(error)) *monitorFiles {
	return &monitorFiles{lines: make(chan monitorLine, 4096), say: say, fault: map[string]string{}}
}

// use takes the files of a configuration.
func (m *monitorFiles) use(vs []ldirector.Virtual) {
	files := map[string][]string{}
	for _, v := range vs {
		if v.MonitorFile == "" {
			continue
		}
		for _, member := range v.Members {
			for _, s := range member.Checks {
				if !slices.Contains(files[s.ID], v.MonitorFile) {
					files[s.ID] = append(files[s.ID], v.MonitorFile)
				}
			}
		}
	}
	m.files.Store(&files)
}

// note queues a line; with a disk that hangs, lines are dropped.
func (m *monitorFiles) note(r check.Result) {
	paths := (*m.files.Load())[r.ID]
	if len(paths) == 0 || r.Local {
		return
	}
	select {
	case m.lines <- monitorLine{paths, monitorText(r)}:
	default:
	}
}

// monitorText is the peer's line: "[DATE] [PID] CHECK [up|down] MESSAGE".
func monitorText(r check.Result) string {
	state := "up"
	if r.Err != nil {
		state = "down"
	}
	id := strings.Join(strings.FieldsFunc(r.ID, func(c rune) bool { return c == ':' }), " ")
	if strings.HasSuffix(r.ID, ":") {
		id += " "
	}
	id = strings.ReplaceAll(id, `\`, "")
	message := r.Message
	if message == "" {
		message = "-"
		if r.Err != nil {
			message = r.Err.Error()
		}
	}
	message = strings.NewReplacer("%", "%25", "|", "%7c", "\r", "%0d", "\n", "%0a").Replace(message)
	return fmt.Sprintf("[%s] [%d] %s [%s] %s\n", r.When.Add(r.Took).Format(time.ANSIC), os.Getpid(), id, state, message)
}

func (m *monitorFiles) Ready() <-chan struct{} { return nil }
func (m *monitorFiles) String() string         { return "monitor files" }

// Run implements [daemon.Task].
func (m *monitorFiles) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-m.lines:
			m.write(l)
		}
	}
}

// write opens the file for each batch, so that it can be moved away. What a file
// does not take is lost; that is said once.
func (m *monitorFiles) write(l monitorLine) {
	text := map[string]*strings.Builder{}
	for n := 0; ; n++ {
		for _, p := range l.paths {
			if text[p] == nil {
				text[p] = &strings.Builder{}
			}
			text[p].WriteString(l.text)
		}
		if n == 1000 || len(m.lines) == 0 {
			break
		}
		l = <-m.lines
	}
	for path, b := range text {
		m.blame(path, appendTo(path, b.String()))
	}
}

// blame says that a file cannot be written, when that is new.
func (m *monitorFiles) blame(path string, err error) {
	switch {
	case err == nil:
		delete(m.fault, path)
	case m.fault[path] != err.Error():
		m.fault[path] = err.Error()
		m.say(fmt.Errorf("monitorfile cannot be written, its lines are lost: %w", err))
	}
}

// appendTo never waits for the reader of a fifo.
func appendTo(path, text string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}
