package ldirectord

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first needed.
// This package is linked into a program whose other commands must start fast.
type pattern struct {
	src  string
	once sync.Once
	cmp  *regexp.Regexp
}

func (p *pattern) re() *regexp.Regexp {
	p.once.Do(func() { p.cmp = regexp.MustCompile(p.src) })
	return p.cmp
}
