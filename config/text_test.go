package config

import "testing"

func TestNoText(t *testing.T) {
	for src, want := range map[string]string{
		"":                                       "",
		"virtual=10.0.0.1:80\r\n\treal=x\f\n":    "",
		"# Gr\u00fc\u00dfe, \u8d1f\u8f7d\n":      "",
		"# Gr\xfc\xdfe in Latin-1\n":             "",
		"# \xb8\xba\xd4\xd8 in GBK\n":            "",
		"# in \x1b[1mcolour\x1b[0m, \a\b\v\n":    "",
		"\xef\xbb\xbf# what Windows begins with": "",
		"\x7fELF\x02\x01":                        "f: this is no text file (line 1 has the byte 0x7f); name a configuration",
		"virtual=7\n\nreal=\x00\n":               "f: this is no text file (line 3 has the byte 0x00); name a configuration",
		"\x1f\x8b\b":                             "f: this is no text file (line 1 has the byte 0x1f); name a configuration",
		"\xff\xfev\x00=\x00":                     "f: this is no text file (its letters are of 16 bits); save it as UTF-8",
		"\xfe\xff\x00v\x00=":                     "f: this is no text file (its letters are of 16 bits); save it as UTF-8",
	} {
		p, found := NoText("f", []byte(src))
		got := ""
		if found {
			got = p.String()
		}
		if got != want || found && p.Severity != Error {
			t.Errorf("%q: %q, want %q", src, got, want)
		}
	}
}
