package keepalived

import (
	"strings"
	"testing"
)

func TestUmask(t *testing.T) {
	for text, want := range map[string]struct {
		mask   uint32
		theirs string
	}{
		"0":                    {mask: 0},
		"0177":                 {mask: 0o177},
		"0x12":                 {mask: 0o22},
		"18":                   {mask: 0o22},
		"0777":                 {mask: 0o777},
		"IWGRP|IWOTH":          {mask: 0o22},
		"IWGRP | IWOTH":        {mask: 0o22},
		"IRUSR|IWUSR|IXUSR":    {mask: 0o700},
		"01000":                {theirs: "invalid umask value 01000"},
		"022x":                 {theirs: "invalid umask value 022x"},
		"0b1":                  {theirs: "invalid umask value 0b1"},
		"0o22":                 {theirs: "invalid umask value 0o22"},
		"1_8":                  {theirs: "invalid umask value 1_8"},
		"022 3":                {theirs: "Extra parameter(s) to umask option"},
		"99999999999999999999": {theirs: "invalid umask value 99999999999999999999"},
		"-1":                   {theirs: "Unknown umask bit -1"},
		"IWGRP IWOTH":          {theirs: "Invalid umask syntax IWOTH"},
		"IWGRP||IWOTH":         {theirs: "Unknown umask bit |IWOTH"},
		"IWGRP|":               {theirs: "umask missing bit value"},
		"rw":                   {theirs: "Unknown umask bit rw"},
	} {
		mask, theirs := readUmask(strings.Fields(text))
		if mask != want.mask && want.theirs == "" || theirs != want.theirs {
			t.Errorf("%q: %04o, %q, want %04o, %q", text, mask, theirs, want.mask, want.theirs)
		}
	}
	f, problems := Parse("k.conf", []byte("global_defs {\n umask 022\n}\n"), Options{})
	if got := f.Globals().Umask; got != 0o22 || len(problems) > 0 {
		t.Errorf("%04o, %v", got, problems)
	}
	f, problems = Parse("k.conf", []byte("global_defs {\n umask 0999\n}\n"), Options{})
	if got := f.Globals().Umask; got != DefaultUmask || len(problems) != 1 {
		t.Errorf("%04o, %v", got, problems)
	}
}
