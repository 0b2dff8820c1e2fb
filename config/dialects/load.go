package dialects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/heartbeat"
)

// Options say how to load.
type Options struct {
	// Dialect is that of all files; empty: told by content.
	Dialect string
	Host    Host
	// Stdin is what the file "-" stands for.
	Stdin io.Reader
	// Heeds are settings of ldirectord's daemon that the caller sees to, as by
	// reading again what has autoreload=yes. Nothing is said of them.
	Heeds []string
	// Cluster are heartbeat's files as they were read before, in place of those on
	// the disk; nil: none are kept.
	Cluster *heartbeat.Files
}

// Loaded is what files say together.
type Loaded struct {
	Site config.Site
	// Problems are those of the files and the contradictions between them, sorted.
	Problems []config.Problem
	// Outside are settings of one dialect's daemon that a site has no place for.
	Outside []config.Problem
	// Unlooked are what is not in Site because it has names that were not looked up.
	Unlooked []config.Problem
	Files    []Read
	// Idle are configurations of ldirectord and of keepalived that give them nothing to
	// do.
	Idle []config.Problem
	// Cluster is what heartbeat's files say; nil if there are none. Beat are they.
	Cluster *heartbeat.Cluster
	Beat    heartbeat.Files
}

// Read is a file that was read, and in which dialect.
type Read struct {
	Name, Dialect string
	Text          []byte
	// AutoReload has ldirectord read this file again whenever it changes.
	AutoReload bool
	// Instances and Virtuals are how many the file names, with the files that it
	// includes. They are 0 for those of heartbeat, which are one thing together.
	Instances, Virtuals int
	// Mistakes are what keepalived would not take as it is written, in its words.
	Mistakes []string
}

// ErrDialect says that a file's dialect cannot be told.
var ErrDialect = errors.New("its content does not tell what it is")

// Load reads files and folders into one site. Of a folder it reads ha.cf,
// haresources, authkeys and the configurations of ldirectord that these name,
// and otherwise every *.cf, *.conf and *.rules; but of *.conf keepalived.conf
// alone if it is there, as it includes what belongs to it. What is wrong in a file is among
// the problems; an error says that one cannot be read at all.
func Load(ctx context.Context, paths []string, opt Options) (*Loaded, error) {
	if opt.Dialect != "" && !slices.Contains(Names(), opt.Dialect) {
		return nil, fmt.Errorf("dialect %q: there is %s", opt.Dialect, strings.Join(Names(), ", "))
	}
	l := &loader{ctx: ctx, opt: opt, out: &Loaded{}, gates: map[string][]string{}}
	for _, p := range paths {
		if err := l.path(p); err != nil {
			return nil, err
		}
	}
	l.heartbeat()
	l.finish()
	return l.out, nil
}

type loader struct {
	ctx   context.Context
	opt   Options
	out   *Loaded
	parts []part
	beat  heartbeat.Files
	dir   string // of heartbeat's files
	torn  bool   // one of these is no text
	seen  []string
	gates map[string][]string // the groups whose lines name a file

	idle       []config.Problem // of files of keepalived, which one process reads together
	keepalived bool             // one of these gives it something to do
}

// maxFile bounds what is read of a file: far more than any site needs.
const maxFile = 16 << 20

// path reads a file or a folder.
func (l *loader) path(name string) error {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(l.opt.Stdin, maxFile+1))
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		return l.file(text{name: "stdin", data: data})
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return l.folder(name)
	}
	t, err := readText(name)
	if err != nil {
		return err
	}
	return l.file(t)
}

func readText(name string) (text, error) {
	f, err := os.Open(name)
	if err != nil {
		return text{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return text{}, err
	}
	if mode := info.Mode(); mode.IsDir() || mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0 {
		return text{}, fmt.Errorf("%s: not a file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return text{}, err
	}
	return text{name: name, data: data, mode: info.Mode().Perm()}, nil
}

func (l *loader) folder(name string) error {
	names, err := inFolder(name)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: no configuration is in it; looked for %s, and *.cf, *.conf, *.rules", name, strings.Join(beatFiles, ", "))
	}
	for _, n := range names {
		if err := l.path(n); err != nil {
			return err
		}
	}
	return nil
}

var beatFiles = []string{haCf, haresources, authkeys}

// Files are the files that Load reads when it is given a path: the file itself, or
// those of a folder.
func Files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	return inFolder(path)
}

// inFolder are the files to read of a folder. Where heartbeat's are, what they
// name is read, and no copies that lie beside it.
func inFolder(name string) ([]string, error) {
	var names []string
	for _, base := range beatFiles {
		if full := filepath.Join(name, base); isFile(full) {
			names = append(names, full)
		}
	}
	if len(names) > 0 {
		return names, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	main := isFile(filepath.Join(name, mainConf))
	for _, e := range entries {
		full := filepath.Join(name, e.Name())
		if wanted(e.Name(), main) && isFile(full) {
			names = append(names, full)
		}
	}
	return names, nil
}

const mainConf = "keepalived.conf"

// wanted tells by its name whether a file of a folder is read. main says that the
// folder has a keepalived.conf.
func wanted(name string, main bool) bool {
	if name[0] == '.' {
		return false
	}
	switch filepath.Ext(name) {
	case ".cf", ".rules":
		return true
	case ".conf":
		return !main || name == mainConf
	}
	return false
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// file reads one file; those of heartbeat wait until all are there.
func (l *loader) file(t text) error {
	if slices.Contains(l.seen, t.name) {
		return nil
	}
	l.seen = append(l.seen, t.name)
	if len(t.data) > maxFile {
		return fmt.Errorf("%s: larger than %d MiB", t.name, maxFile>>20)
	}
	if l.noText(t) {
		return nil
	}
	name := l.opt.Dialect
	if name == "" {
		name = detect(t)
	}
	i := slices.IndexFunc(table(), func(d dialect) bool { return d.name == name })
	if i < 0 {
		return fmt.Errorf("%s: %w; name it with --dialect %s", t.name, ErrDialect, strings.Join(Names(), "|"))
	}
	if read := table()[i].read; read != nil {
		l.take(t, name, read(l.ctx, t, l.opt.Host))
		return nil
	}
	l.out.Files = append(l.out.Files, Read{Name: t.name, Dialect: name, Text: t.data})
	l.dir = filepath.Dir(t.name)
	f := map[string]*heartbeat.File{haCf: &l.beat.HaCf, haresources: &l.beat.Haresources, authkeys: &l.beat.Authkeys}[name]
	if f.Name != "" {
		return fmt.Errorf("%s: there is a %s already, %s; a cluster has one", t.name, name, f.Name)
	}
	*f = heartbeat.File{Name: t.name, Text: t.data, Mode: t.mode}
	return nil
}

// noText refuses a file that is none of text, before anybody tries to make sense of it.
func (l *loader) noText(t text) bool {
	p, found := config.NoText(t.name, t.data)
	if !found {
		return false
	}
	dialect := cmp.Or(l.opt.Dialect, byName(t.name))
	l.out.Files = append(l.out.Files, Read{Name: t.name, Dialect: dialect, Text: t.data})
	if slices.Contains(beatFiles, dialect) {
		l.dir = filepath.Dir(t.name)
		if l.opt.Cluster != nil {
			return true // what is on the disk does not count
		}
		l.torn = true
	}
	l.out.Problems = append(l.out.Problems, p)
	return true
}

// take keeps what a file says.
func (l *loader) take(t text, dialect string, p part) {
	l.out.Files = append(l.out.Files, Read{Name: t.name, Dialect: dialect, Text: t.data, AutoReload: p.autoReload,
		Instances: len(p.site.Instances), Virtuals: len(p.site.Virtuals), Mistakes: p.mistakes})
	p.name = t.name
	l.parts = append(l.parts, p)
	switch {
	case dialect == "keepalived" && p.idle():
		l.idle = append(l.idle, config.Problem{File: t.name, Severity: config.Warning,
			Text: "no virtual router and no virtual service in it", Hint: "they begin with vrrp_instance and virtual_server"})
	case dialect == "keepalived":
		l.keepalived = true
	case dialect == "ldirectord" && p.idle():
		l.out.Idle = append(l.out.Idle, config.Problem{File: t.name, Severity: config.Warning,
			Text: "no virtual service in it", Hint: "one begins with virtual="})
	}
}

// bind has the services of a file follow a group: heartbeat runs ldirectord with it
// where that group's line is.
func (l *loader) bind(file, group string) {
	if !slices.Contains(l.gates[file], group) {
		l.gates[file] = append(l.gates[file], group)
		slices.Sort(l.gates[file])
	}
}

// heartbeat reads the three files together, and the configurations of ldirectord
// that they name.
func (l *loader) heartbeat() {
	if l.dir == "" {
		return
	}
	if l.opt.Cluster != nil {
		l.beat = *l.opt.Cluster
	}
	l.out.Beat = l.beat
	h := l.opt.Host
	c, problems := heartbeat.Parse(l.beat, heartbeat.Options{Node: h.Node, LinkOf: h.LinkOf, Own: h.Own})
	l.out.Cluster = c
	if l.torn {
		return // what the others say makes no sense without it
	}
	l.parts = append(l.parts, part{site: c.Site(), problems: problems})
	given, wanted := l.given("ldirectord"), c.Ldirectord()
	other := func(w heartbeat.Wanted) bool { return w.Config != wanted[0].Config }
	if len(given) > 0 && !slices.ContainsFunc(wanted, other) {
		for _, name := range given { // one is wanted, and it was given, under whatever name
			for _, w := range wanted {
				l.bind(name, w.Group)
			}
		}
		return
	}
	for _, w := range wanted {
		l.ldirectord(w, given)
	}
}

// given are the files of a dialect that were read by name.
func (l *loader) given(dialect string) []string {
	var names []string
	for _, r := range l.out.Files {
		if r.Dialect == dialect {
			names = append(names, r.Name)
		}
	}
	return names
}

// ldirectord finds a configuration as ldirectord does: as given, in the folder of
// heartbeat's files, in conf below it. One of that name that was given already is the
// one that is meant.
func (l *loader) ldirectord(w heartbeat.Wanted, given []string) {
	if i := slices.IndexFunc(given, func(name string) bool { return filepath.Base(name) == filepath.Base(w.Config) }); i >= 0 {
		l.bind(given[i], w.Group)
		return
	}
	for _, name := range []string{filepath.Join(l.dir, w.Config), filepath.Join(l.dir, "conf", w.Config), w.Config} {
		if !isFile(name) || w.Config != filepath.Base(w.Config) && name != w.Config {
			continue
		}
		t, err := readText(name)
		if err != nil {
			continue // the next one may be readable; else it is said below
		}
		l.bind(name, w.Group)
		if slices.Contains(l.seen, name) {
			return
		}
		l.seen = append(l.seen, name)
		if !l.noText(t) {
			l.take(t, "ldirectord", readLdirectord(l.ctx, t, l.opt.Host))
		}
		return
	}
	l.out.Problems = append(l.out.Problems, config.Problem{File: w.Source.File, Line: w.Source.Line, Severity: config.Error,
		Text: "ldirectord: its configuration " + w.Config + " is not there",
		Hint: "put it into " + l.dir + ", or name another one with ldirectord::FILE"})
}

func (l *loader) finish() {
	if !l.keepalived {
		l.out.Idle = append(l.out.Idle, l.idle...)
	}
	sites := make([]config.Site, len(l.parts))
	for i, p := range l.parts {
		for j := range p.site.Virtuals {
			p.site.Virtuals[j].Gates = l.gates[p.name]
		}
		sites[i] = p.site
		l.out.Problems = append(l.out.Problems, p.problems...)
		for _, o := range p.outside {
			if !slices.Contains(l.opt.Heeds, o.key) {
				l.out.Outside = append(l.out.Outside, o.problem)
			}
		}
		l.out.Unlooked = append(l.out.Unlooked, p.unlooked...)
	}
	site, contradictions := config.Merge(sites...)
	l.out.Site = site
	l.out.Problems = append(l.out.Problems, contradictions...)
	config.SortProblems(l.out.Problems)
}
