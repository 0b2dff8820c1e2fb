package ipvsadm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

const (
	readSize = 128 << 10
	maxLine  = 1 << 20 // bytes; ipvsadm writes past a buffer at 4096 a word
)

// lineReader reads lines. It never waits for more input while it has a line.
type lineReader struct {
	in    io.Reader
	buf   []byte // room for a read; the first held bytes are the beginning of a line
	held  int
	lines string // whole lines that were read, each with its newline
	err   error  // what ended the input
	count int    // lines handed out
}

func newLineReader(in io.Reader) *lineReader { return &lineReader{in: in} }

// next returns a line without its newline, or io.EOF. Before it reads from the
// input, which may take for ever, it calls before.
func (r *lineReader) next(before func()) (string, error) {
	for r.lines == "" {
		if r.err != nil {
			return r.last()
		}
		if before != nil {
			before()
		}
		if err := r.fill(); err != nil {
			return "", err
		}
	}
	i := strings.IndexByte(r.lines, '\n')
	line := r.lines[:i]
	r.lines = r.lines[i+1:]
	r.count++
	return line, nil
}

// last returns what the input ended in without a newline.
func (r *lineReader) last() (string, error) {
	if r.err != io.EOF {
		return "", fmt.Errorf("reading line %d: %w", r.count+1, r.err)
	}
	if r.held == 0 {
		return "", io.EOF
	}
	line := string(r.buf[:r.held])
	r.held = 0
	r.count++
	return line, nil
}

// fill reads once, and makes one string of all lines that are now whole.
func (r *lineReader) fill() error {
	if err := r.makeRoom(); err != nil {
		return err
	}
	n, err := r.in.Read(r.buf[r.held:])
	r.err = err
	end := bytes.LastIndexByte(r.buf[r.held:r.held+n], '\n')
	if end < 0 {
		r.held += n
		return nil
	}
	end += r.held + 1
	r.lines = string(r.buf[:end])
	r.held = copy(r.buf, r.buf[end:r.held+n])
	return nil
}

func (r *lineReader) makeRoom() error {
	switch {
	case r.held > maxLine:
		return fmt.Errorf("line %d is longer than %d bytes: split it", r.count+1, maxLine)
	case r.buf == nil:
		r.buf = make([]byte, readSize)
	case r.held == len(r.buf):
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	return nil
}

// splitWords appends the words of a line of rules: there is no quoting, and a
// word "ipvsadm" is dropped, so that a saved script is good input.
func splitWords(line string, words []string) []string {
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" {
			return words
		}
		word := line
		if i := strings.IndexAny(line, " \t\r"); i >= 0 {
			word = line[:i]
		}
		line = line[len(word):]
		word, _, _ = strings.Cut(word, "\x00") // words are C strings there: a NUL ends one, and not the line
		if word != "ipvsadm" {
			words = append(words, word)
		}
	}
}
