package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
)

// Level is how bad a line is. The values are those of syslog.
type Level int

// Levels in use.
const (
	Error   Level = 3
	Warning Level = 4
	Notice  Level = 5
	Info    Level = 6
	Debug   Level = 7
)

// Line is one line of a log.
type Line struct {
	When  time.Time
	Level Level
	Text  string
}

// Sink is where lines go.
type Sink interface{ Write([]Line) error }

// maxLines is how many lines wait for a slow sink before new ones are dropped.
const maxLines = 4096

// lateAgain is how often a sink that failed is tried again without a new line.
const lateAgain = time.Second

// Log takes lines from any goroutine and never holds one up: the sink is
// written to by the Log's task. When the sink fails (a full disk, no descriptor),
// lines wait until it works again, and are also told elsewhere. When too many
// wait, they are dropped and counted.
type Log struct {
	sink    Sink
	other   Sink
	lines   chan Line
	dropped atomic.Int64

	late  []Line // what the sink has not taken yet
	lost  int    // lines before those, for which there was no room
	fault string // why it does not take them
}

// NewLog logs to sink, and meanwhile to other when sink fails; other may be nil.
func NewLog(sink, other Sink) *Log {
	return &Log{sink: sink, other: other, lines: make(chan Line, maxLines)}
}

// Print logs a line. Control characters in it become blanks, because a part of
// it may come from strangers.
func (l *Log) Print(level Level, text string) {
	select {
	case l.lines <- Line{time.Now(), level, oneLine(text)}:
	default:
		l.dropped.Add(1)
	}
}

// Printf is Print with a format.
func (l *Log) Printf(level Level, format string, args ...any) {
	l.Print(level, fmt.Sprintf(format, args...))
}

// Run implements [Task]. When ctx ends, what waits is still written.
func (l *Log) Run(ctx context.Context) error {
	for {
		var again <-chan time.Time
		if len(l.late) > 0 {
			again = time.After(lateAgain)
		}
		select {
		case line := <-l.lines:
			l.write(l.gather(line))
		case <-again:
			l.write(nil)
		case <-ctx.Done():
			l.write(l.gather())
			return nil
		}
	}
}

// Ready implements [Task].
func (l *Log) Ready() <-chan struct{} { return nil }

func (l *Log) String() string { return "log" }

// gather takes what waits, and confesses what did not get that far.
func (l *Log) gather(lines ...Line) []Line {
	for len(lines) < 256 || len(l.lines) > 0 && len(lines) < maxLines {
		select {
		case line := <-l.lines:
			lines = append(lines, line)
			continue
		default:
		}
		break
	}
	return append(lines, confession(int(l.dropped.Swap(0)))...)
}

// confession is the line that stands for lines that were dropped, if any were.
func confession(n int) []Line {
	if n == 0 {
		return nil
	}
	return []Line{{time.Now(), Warning, fmt.Sprintf("%d lines were dropped here: the log could not keep up", n)}}
}

func (l *Log) write(lines []Line) {
	l.late = append(l.late, lines...)
	if len(l.late) == 0 {
		return
	}
	err := l.sink.Write(append(confession(l.lost), l.late...))
	if err == nil {
		l.late, l.lost, l.fault = nil, 0, ""
		return
	}
	if n := len(l.late) - maxLines; n > 0 {
		l.late = slices.Delete(l.late, 0, n)
		l.lost += n
	}
	if err.Error() != l.fault {
		l.fault = err.Error()
		lines = append(lines, Line{time.Now(), Error, oneLine("cannot log: " + l.fault)})
	}
	if l.other != nil && len(lines) > 0 {
		_ = l.other.Write(lines) // there is nobody left to tell
	}
}

// oneLine makes a text fit for a line.
func oneLine(s string) string {
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s), " ")
}

// FileLog appends to a file in ldirectord's form. The file is opened for each
// batch of lines, so that it can be moved away at any time.
type FileLog struct {
	Path string
	Name string // of the configuration
	// Form is a line with its end, in another form than ldirectord's; nil: none.
	Form func(Line) string
}

// Write implements [Sink].
func (f FileLog) Write(lines []Line) error {
	// A fifo without a reader must not hold us up.
	h, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o644)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, l := range lines {
		if f.Form != nil {
			b.WriteString(f.Form(l))
			continue
		}
		fmt.Fprintf(&b, "[%s|%s|%d] %s\n", l.When.Format(time.ANSIC), f.Name, os.Getpid(), l.Text)
	}
	n, err := io.WriteString(h, b.String())
	if err != nil && n > 0 {
		takeBack(h, int64(n))
	}
	return errors.Join(err, h.Close())
}

// takeBack removes the end of a file: a part of what is to be written again once
// there is room. When it cannot be removed the part stays.
func takeBack(h *os.File, n int64) {
	if st, err := h.Stat(); err == nil && st.Mode().IsRegular() && st.Size() >= n {
		_ = h.Truncate(st.Size() - n)
	}
}

// WriterLog writes to an open file or a terminal.
type WriterLog struct {
	W io.Writer
	// Dated puts "[date] " before each line, as ldirectord does with
	// supervised=yes. Journal puts "<level>" there, which systemd takes for its
	// journal.
	Dated, Journal bool
}

// Write implements [Sink].
func (w WriterLog) Write(lines []Line) error {
	var b strings.Builder
	for _, l := range lines {
		switch {
		case w.Journal:
			fmt.Fprintf(&b, "<%d>%s\n", l.Level, l.Text)
		case w.Dated:
			fmt.Fprintf(&b, "[%s] %s\n", l.When.Format(time.ANSIC), l.Text)
		default:
			b.WriteString(l.Text + "\n")
		}
	}
	_, err := io.WriteString(w.W, b.String())
	return err
}

// ToJournal tells whether standard error is read by systemd's journal.
func ToJournal() bool { return os.Getenv("JOURNAL_STREAM") != "" }

var facilities = map[string]syslog.Priority{
	"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL, "daemon": syslog.LOG_DAEMON,
	"auth": syslog.LOG_AUTH, "security": syslog.LOG_AUTH, "syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR, "news": syslog.LOG_NEWS,
	"uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON, "authpriv": syslog.LOG_AUTHPRIV, "ftp": syslog.LOG_FTP,
	"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3,
	"local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

// SyslogLog is a sink in the system log, connected when it is first needed.
type SyslogLog struct {
	facility syslog.Priority
	tag      string
	dial     func(syslog.Priority, string) (*syslog.Writer, error)
	w        *syslog.Writer
}

// NewSyslogLog logs to a facility (daemon, local0 ...). The error says that
// there is none of that name.
func NewSyslogLog(facility, tag string) (*SyslogLog, error) {
	f, ok := facilities[facility]
	if !ok {
		return nil, fmt.Errorf("%q: no such syslog facility", facility)
	}
	return &SyslogLog{facility: f, tag: tag, dial: syslog.New}, nil
}

// Write implements [Sink].
func (s *SyslogLog) Write(lines []Line) error {
	if s.w == nil {
		w, err := s.dial(s.facility|syslog.LOG_INFO, s.tag)
		if err != nil {
			return err
		}
		s.w = w
	}
	for _, l := range lines {
		if err := s.print(l); err != nil {
			_ = s.w.Close()
			s.w = nil
			return err
		}
	}
	return nil
}

func (s *SyslogLog) print(l Line) error {
	switch l.Level {
	case Error:
		return s.w.Err(l.Text)
	case Warning:
		return s.w.Warning(l.Text)
	case Notice:
		return s.w.Notice(l.Text)
	case Debug:
		return s.w.Debug(l.Text)
	}
	return s.w.Info(l.Text)
}
