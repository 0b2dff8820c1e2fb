package keepalived

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Number reading: keepalived takes "5s" for 5 with a warning where a comment says
// so, and otherwise keeps the default.

// number reads a whole number. What is wrong with it is reported; theirs is what
// keepalived adds to its own complaint, and instead says what is done.
func (r *reader) number(s *stmt, word string, lo, hi int64, theirs, instead string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64)
	digits := leadingNumber(word)
	switch {
	case err == nil && n >= lo && n <= hi:
		return n, true
	case err == nil && n < 0 && lo >= 0:
		r.theirs(s.place, fmt.Sprintf("negative number '%s'", word), statusTest)
	case err == nil || digits == word:
		r.theirs(s.place, fmt.Sprintf("number '%s' outside range [%d, %d]", word, lo, hi), statusTest)
	default:
		r.theirs(s.place, fmt.Sprintf("invalid number '%s'", word), statusTest)
	}
	r.warn(s.place, theirs, fmt.Sprintf("%s %q: a number from %s is needed; %s", s.words[0], word, span(lo, hi), instead), "")
	return 0, false
}

// lenient is number for values that may have letters behind them.
func (r *reader) lenient(s *stmt, word string, lo, hi int64, theirs, instead string) (int64, bool) {
	digits := leadingNumber(word)
	n, err := strconv.ParseInt(digits, 10, 64)
	if digits != strings.TrimSpace(word) && err == nil && n >= lo && n <= hi {
		r.theirs(s.place, fmt.Sprintf("invalid number '%s'", word), statusTest)
		r.warn(s.place, theirs, fmt.Sprintf("%s %q: there is more than a number; %d is taken", s.words[0], word, n), fmt.Sprintf("write %d", n))
		return n, true
	}
	return r.number(s, word, lo, hi, theirs, instead)
}

// leadingNumber is the sign and digits at the beginning.
func leadingNumber(s string) string {
	s = strings.TrimSpace(s)
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}

func span(lo, hi int64) string {
	switch hi {
	case math.MaxInt32, math.MaxUint32, maxSeconds:
		return fmt.Sprintf("%d upwards", lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// maxSeconds is the longest time that keepalived can count in microseconds.
const maxSeconds = math.MaxUint32 / 1000000

// seconds reads a time in seconds, with at most six decimals.
func (r *reader) seconds(s *stmt, word string, lo, hi time.Duration, theirs, instead string) (time.Duration, bool) {
	d, whole, ok := decimal(word)
	inRange := ok && d >= lo && d <= hi
	switch {
	case inRange && whole:
		return d, true
	case strings.HasPrefix(word, "-"):
		r.theirs(s.place, fmt.Sprintf("negative number '%s'", word), statusTest)
	case !ok || !whole:
		r.theirs(s.place, fmt.Sprintf("invalid number '%s'", word), statusTest)
	default:
		r.theirs(s.place, fmt.Sprintf("number '%s' outside range [%.6f, %s]", word, lo.Seconds(), inSeconds(hi)), statusTest)
	}
	if inRange {
		r.warn(s.place, "", fmt.Sprintf("%s %q: that is no number of seconds; %v is taken", s.words[0], word, d), "write seconds, with at most six decimals")
		return d, true
	}
	r.warn(s.place, theirs, fmt.Sprintf("%s %q: %s; %s", s.words[0], word, secondsFrom(lo, hi), instead), "")
	return 0, false
}

// noLimit is a time without a longest; longest is the one that is taken for it.
const (
	noLimit = time.Duration(math.MaxInt64)
	longest = 365 * 24 * time.Hour
)

func inSeconds(d time.Duration) string {
	if d == noLimit {
		return "18446744073709.551614"
	}
	return fmt.Sprintf("%.6f", d.Seconds())
}

func secondsFrom(lo, hi time.Duration) string {
	switch {
	case hi == noLimit && lo == 0:
		return "a number of seconds is needed"
	case lo == time.Microsecond:
		return "a number of seconds above 0 is needed"
	}
	return fmt.Sprintf("seconds from %v to %v are needed", lo.Seconds(), hi.Seconds())
}

// decimal reads the number at the beginning of a word as seconds. It is not whole
// if there is more than that, or more than six decimals.
func decimal(word string) (d time.Duration, whole, ok bool) {
	whole = true
	end := 0
	for end < len(word) && (word[end] >= '0' && word[end] <= '9' || word[end] == '.') {
		end++
	}
	number := word[:end]
	if end < len(word) {
		whole = false
	}
	sec, frac, _ := strings.Cut(number, ".")
	if sec == "" && frac == "" || strings.Contains(frac, ".") {
		return 0, false, false
	}
	n := uint64(0)
	if sec != "" {
		var err error
		if n, err = strconv.ParseUint(sec, 10, 32); err != nil {
			return noLimit, whole, true
		}
	}
	micro := int64(0)
	if len(frac) > 6 {
		whole, frac = false, frac[:6]
	}
	if frac != "" {
		micro, _ = strconv.ParseInt((frac + "000000")[:6], 10, 64) // six digits
	}
	return time.Duration(n)*time.Second + time.Duration(micro)*time.Microsecond, whole, true
}

// boolean reads a word that may be missing, which is true.
func (r *reader) boolean(s *stmt, i int, theirs string) (value, ok bool) {
	if len(s.words) <= i {
		return true, true
	}
	switch s.words[i] {
	case "true", "on", "yes":
		return true, true
	case "false", "off", "no":
		return false, true
	}
	r.warn(s.place, theirs, fmt.Sprintf("%s %q: on or off is needed; the line is passed over", s.words[0], s.words[i]), "")
	return false, false
}

// literal reads an address without prefix. keepalived cuts off what follows a
// dash or a slash.
func literal(word string) (netip.Addr, bool) {
	if i := strings.IndexAny(word, "-/"); i > 0 {
		word = word[:i]
	}
	a, err := netip.ParseAddr(word)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a, true
}

// prefix reads an address with an optional prefix length. cut tells that the
// length made no sense.
func prefix(word string) (p netip.Prefix, cut, ok bool) {
	addr, length, has := strings.Cut(word, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false, false
	}
	bits := a.BitLen()
	if has {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > bits {
			return netip.PrefixFrom(a, bits), true, true
		}
		bits = n
	}
	return netip.PrefixFrom(a, bits), false, true
}

// port reads a port; missing, or nothing but zeros, it is 0.
func port(word string) (uint16, bool) {
	if strings.Trim(word, "0") == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(word, 10, 16)
	return uint16(n), err == nil
}

// maxLinkName is the longest name of an interface.
const maxLinkName = 15
