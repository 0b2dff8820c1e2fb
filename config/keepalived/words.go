package keepalived

import (
	"errors"
	"fmt"
	"strings"
)

// words splits a statement at blanks; double quotes keep a word together, and
// glued to another word begin a new one.
func words(s string) (ws []string, unmatched bool) {
	for {
		s = strings.TrimLeft(s, " \t\r\n\v\f")
		if s == "" {
			return ws, false
		}
		if s[0] == '"' {
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return ws, true
			}
			ws = append(ws, s[1:1+end])
			s = s[end+2:]
			continue
		}
		end := strings.IndexAny(s, " \t\r\n\v\f\"")
		if end < 0 {
			end = len(s)
		}
		ws = append(ws, s[:end])
		s = s[end:]
	}
}

// commandWords splits a command line: both kinds of quotes, which may begin
// within a word, and C's escapes behind a backslash.
func commandWords(s string) ([]string, error) {
	c := commandLine{s: s}
	var ws []string
	for {
		c.s = strings.TrimLeft(c.s, " \t\r\n\v\f")
		if c.s == "" {
			return ws, nil
		}
		w, err := c.word()
		if err != nil {
			return ws, err
		}
		ws = append(ws, w)
	}
}

// unclosed is a quote that is opened and not closed.
type unclosed byte

func (q unclosed) Error() string { return fmt.Sprintf("%c is opened and not closed", byte(q)) }

type commandLine struct {
	s     string
	quote byte
}

func (c *commandLine) word() (string, error) {
	var b strings.Builder
	for c.s != "" {
		ch := c.s[0]
		switch {
		case ch == '\\':
			if len(c.s) == 1 {
				return "", errors.New("nothing follows the last backslash")
			}
			b.WriteByte(c.escape())
			continue
		case c.quote != 0 && ch == c.quote:
			c.quote = 0
		case c.quote == 0 && (ch == '"' || ch == '\''):
			c.quote = ch
		case c.quote == 0 && strings.IndexByte(" \t\r\n\v\f", ch) >= 0:
			return b.String(), nil
		default:
			b.WriteByte(ch)
		}
		c.s = c.s[1:]
	}
	if c.quote != 0 {
		return "", unclosed(c.quote)
	}
	return b.String(), nil
}

// escape reads what follows a backslash.
func (c *commandLine) escape() byte {
	s := c.s[1:]
	switch {
	case s[0] == 'x' && len(s) > 1 && hexValue(s[1]) >= 0:
		i, v := 1, 0
		for ; i < len(s) && hexValue(s[i]) >= 0; i++ {
			v = v<<4 | hexValue(s[i])
		}
		c.s = s[i:]
		return byte(v)
	case s[0] == 'c' && len(s) > 1:
		c.s = s[2:]
		return s[1] & 0x1f
	case s[0] >= '0' && s[0] <= '7':
		i, v := 0, 0
		for ; i < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; i++ {
			v = v<<3 | int(s[i]-'0')
		}
		c.s = s[i:]
		return byte(v)
	}
	c.s = s[1:]
	if i := strings.IndexByte("abEfnrtv", s[0]); i >= 0 {
		return "\a\b\x1b\f\n\r\t\v"[i]
	}
	return s[0]
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
