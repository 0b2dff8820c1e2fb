package metrics

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// ContentType is that of what [Host.Write] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// sheet collects the figures of one moment, by name.
type sheet struct {
	samples [metrics][]sample
	said    map[string]bool
}

type sample struct {
	labels []string // values, in the order of the definition's names
	value  float64
}

// put notes a figure. Only the first one of a name and its labels counts: readers
// refuse a whole page that says something twice, and two daemons may have an
// instance of the same name.
func (s *sheet) put(m metric, value float64, labels ...string) {
	key := strconv.Itoa(int(m)) + "\x00" + strings.Join(labels, "\x00")
	if s.said[key] {
		return
	}
	s.said[key] = true
	s.samples[m] = append(s.samples[m], sample{labels, value})
}

func (s *sheet) yes(m metric, is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	s.put(m, value, labels...)
}

// write prints the sheet in Prometheus' text format 0.0.4. It is written here and
// not by client_golang because every one-off command would pay for that at its
// start, as it would for text/template (see printHelp of cmd/lvsctl).
func (s *sheet) write(w io.Writer) error {
	var b bytes.Buffer
	for m, samples := range s.samples {
		if len(samples) == 0 {
			continue
		}
		def := &catalogue[m]
		b.WriteString("# HELP " + def.Name + " " + def.Help + "\n# TYPE " + def.Name + " " + string(def.Kind) + "\n")
		for _, one := range samples {
			b.WriteString(def.Name)
			writeLabels(&b, def.Labels, one.labels)
			b.WriteString(" " + strconv.FormatFloat(one.value, 'f', -1, 64) + "\n")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func writeLabels(b *bytes.Buffer, names, values []string) {
	if len(names) == 0 {
		return
	}
	for i, name := range names {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(name + `="` + escaped(values[i]) + `"`)
	}
	b.WriteByte('}')
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// escaped is a label's value as the format wants it: UTF-8, with these three
// written otherwise.
func escaped(value string) string {
	return escapes.Replace(strings.ToValidUTF8(value, "\uFFFD"))
}
