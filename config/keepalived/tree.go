package keepalived

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lvsctl/lvsctl/config"
)

// stmt is a statement: a keyword and what follows it, and what stands in its
// braces.
type stmt struct {
	piece
	words []string
	kw    *keyword // nil: not known, or a line of a list
	open  bool     // has braces
	body  []*stmt  // of a block or list
	loose []piece  // between the braces of what is not known
	below []string // comments in front of the closing brace
	end   place    // of its last line
}

// arg is a word behind the keyword, counted from 1, or "".
func (s *stmt) arg(i int) string {
	if i < len(s.words) {
		return s.words[i]
	}
	return ""
}

// shape is what a keyword's statement looks like.
type shape uint8

const (
	leaf  shape = iota
	block       // statements in braces
	list        // lines in braces that are no statements
)

// keyword is what a statement can begin with.
type keyword struct {
	shape shape
	in    *scope // of a block
	need  int    // words that have to follow, or keepalived gives up
	mean  func(*reader, *stmt)
}

// scope is a block's keywords. Those of a block are made when they are first
// needed: this package is linked into a program whose other commands must start
// fast.
type scope struct {
	name     string
	keywords map[string]*keyword
}

func (sc *scope) names() []string {
	names := make([]string, 0, len(sc.keywords))
	for n := range sc.keywords {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// outermost are the blocks that stand in no other, so that one of them tells
// where a closing brace is missing.
var outermost = []string{"global_defs", "vrrp_instance", "vrrp_sync_group", "vrrp_script", "virtual_server", "virtual_server_group",
	"static_ipaddress", "static_routes", "static_rules"}

// tree makes statements of all pieces.
func (r *reader) tree() []*stmt {
	stmts, _ := r.statements(root(), true)
	return stmts
}

func (r *reader) at(text string) bool { return r.next < len(r.pieces) && r.pieces[r.next].text == text }

// statements reads the statements of a block, and its closing brace.
func (r *reader) statements(sc *scope, top bool) (stmts []*stmt, below []string) {
	for r.next < len(r.pieces) && !r.torn {
		p := r.pieces[r.next]
		switch {
		case p.text == "}" && !top:
			r.next++
			return stmts, p.above
		case p.text == "}":
			r.next++
			r.theirs(p.place, "Extra '}' found", statusTest)
			r.warn(p.place, "Unknown keyword '}'", "there is one } too many; it is passed over", "remove it")
		case p.text == "{":
			r.next++
			r.skip()
			r.warn(p.place, "Unexpected '{' - ignoring", "a block without a keyword is passed over, up to its }", "")
		default:
			s := r.statement(sc, top)
			if s == nil {
				return stmts, nil
			}
			stmts = append(stmts, s)
		}
		if top {
			r.torn = false
		}
	}
	if !top && !r.torn {
		r.ends(sc)
	}
	return stmts, nil
}

// ends reports the end of the file within a block, once.
func (r *reader) ends(sc *scope) {
	if r.torn {
		return
	}
	r.torn = true
	last := r.pieces[len(r.pieces)-1].place
	missing := 0
	for _, p := range r.pieces {
		switch {
		case p.text == "{":
			missing++
		case p.text == "}" && missing > 0:
			missing--
		}
	}
	r.warn(place{last.file, 0}, fmt.Sprintf("There are %d missing '}'s or extra '{'s", max(missing, 1)), fmt.Sprintf("the file ends within %s; what is there is taken", sc.name), "add the } that is missing")
}

// statement reads a statement with its block. It is nil where a block outside of
// this one begins.
func (r *reader) statement(sc *scope, top bool) *stmt {
	p := r.pieces[r.next]
	s := &stmt{piece: p}
	var unmatched bool
	s.words, unmatched = words(p.text)
	if unmatched {
		r.theirs(p.place, fmt.Sprintf("Unmatched quote: '%s'", p.text), statusTest)
	}
	if len(s.words) == 0 {
		s.words = []string{""}
	}
	name := s.words[0]
	s.kw = sc.keywords[name]
	if s.kw == nil && !top && slices.Contains(outermost, name) {
		r.torn = true
		r.warn(p.place, fmt.Sprintf("Unknown keyword '%s'", name), fmt.Sprintf("%s stands in %s: a } is missing somewhere above", name, sc.name), "it is read as if the } were in front of it")
		return nil
	}
	r.next++
	switch {
	case s.kw == nil:
		r.unknown(s, sc)
	case s.kw.shape == block:
		if r.opens(s, func(text string) bool { return s.kw.in.has(text) }) {
			s.body, s.below = r.statements(s.kw.in, false)
		}
	case s.kw.shape == list:
		if len(s.words) > 1 && (!top || strings.HasPrefix(name, "static_")) {
			r.warn(p.place, fmt.Sprintf("Block %s has extra parameters %s ...", name, s.words[1]), fmt.Sprintf("%s: %s is passed over", name, config.Quote(s.words[1])), "")
		}
		if r.opens(s, func(text string) bool { return text != "}" && !sc.has(text) }) {
			s.body, s.below = r.listed(sc, name)
		}
	case r.at("{"):
		r.warn(p.place, "Unexpected '{' - ignoring", fmt.Sprintf("%s has no block; what is in the braces is passed over", name), "")
		s.skipped(r)
	}
	s.end = r.pieces[r.next-1].place
	return s
}

func (sc *scope) has(text string) bool {
	ws, _ := words(text)
	return len(ws) > 0 && sc.keywords[ws[0]] != nil
}

// opens tells whether a block follows. Where its brace is missing, mine says of
// the next piece whether it belongs to it nevertheless.
func (r *reader) opens(s *stmt, mine func(string) bool) bool {
	if r.at("{") {
		s.behind = cmp.Or(s.behind, r.pieces[r.next].behind)
		s.above = append(s.above, r.pieces[r.next].above...)
		r.next++
		s.open = true
		return true
	}
	// Of a list it does not miss the brace, but then one of those that close.
	complains := "Extra '}' found"
	if s.kw.shape == block {
		complains = "Missing '{' at beginning of configuration block"
	}
	if r.next < len(r.pieces) && mine(r.pieces[r.next].text) {
		r.warn(s.place, complains, fmt.Sprintf("%s: the { is missing; what follows is read as if it were there", s.words[0]), "add it")
		s.open = true
		return true
	}
	r.warn(s.place, complains, fmt.Sprintf("%s: the block is missing; it is read as if it were there and empty", s.words[0]), fmt.Sprintf("write %s { }", s.words[0]))
	return false
}

// listed reads the lines of a list.
func (r *reader) listed(sc *scope, name string) (body []*stmt, below []string) {
	for r.next < len(r.pieces) {
		p := r.pieces[r.next]
		switch p.text {
		case "}":
			r.next++
			return body, p.above
		case "{":
			r.next++
			r.skip()
			r.warn(p.place, "", fmt.Sprintf("a block within %s is passed over", name), "")
			continue
		}
		ws, unmatched := words(p.text)
		if unmatched {
			r.theirs(p.place, fmt.Sprintf("Unmatched quote: '%s'", p.text), statusTest)
		}
		if len(ws) > 0 && slices.Contains(outermost, ws[0]) {
			r.torn = true
			r.warn(p.place, "", fmt.Sprintf("%s stands in %s: a } is missing somewhere above", ws[0], name), "it is read as if the } were in front of it")
			return body, nil
		}
		r.next++
		if len(ws) > 0 {
			body = append(body, &stmt{piece: p, words: ws})
		}
	}
	r.ends(&scope{name: name})
	return body, nil
}

// unknown reports a keyword that is not known, and passes over its block.
// keepalived reads the lines of the block as if they stood outside of it, and its
// closing brace as that of the block around: so a wrong word can cost it all that
// follows in an instance.
func (r *reader) unknown(s *stmt, sc *scope) {
	name := s.words[0]
	text := fmt.Sprintf("unknown keyword %s", config.Quote(name))
	if sc.name != "" {
		text += " in " + sc.name
	}
	hint := config.DidYouMean(name, sc.names())
	if hint == "" {
		hint = elsewhere(name)
	}
	if r.at("{") {
		text += "; its block is passed over"
		r.theirs(s.place, fmt.Sprintf("Unknown keyword '%s'", name), statusTest)
		r.warn(s.place, "Unexpected '{' - ignoring", text, hint)
		s.skipped(r)
		return
	}
	r.warn(s.place, fmt.Sprintf("Unknown keyword '%s'", name), text, hint)
}

// former are words of older keepaliveds.
var former = map[string]string{
	"nat_mask": "keepalived 2 has no such word any more; remove it",
	"lvs_id":   "its name is router_id today",
}

// elsewhere names the block that a keyword belongs to.
func elsewhere(name string) string {
	if hint := former[name]; hint != "" {
		return hint
	}
	if strings.HasPrefix(name, "$") {
		return "a definition is $NAME=VALUE without blanks around the ="
	}
	if key, _, has := strings.Cut(name, "="); has {
		if hint := elsewhere(key); hint != "" {
			return "write a blank in place of the ="
		}
	}
	for _, sc := range []*scope{root(), globalScope(), instanceScope(), groupScope(), scriptScope(), serviceScope(), realScope(), checkScopes()["TCP_CHECK"]} {
		if sc.keywords[name] == nil {
			continue
		}
		if sc.name == "" {
			return "it stands outside of all blocks"
		}
		return "it belongs into " + sc.name
	}
	return ""
}

// skipped passes over the block that begins here and keeps it.
func (s *stmt) skipped(r *reader) {
	s.behind = cmp.Or(s.behind, r.pieces[r.next].behind)
	s.above = append(s.above, r.pieces[r.next].above...)
	r.next++
	s.open = true
	s.loose = r.skip()
}

// skip passes over everything up to the closing brace, and the brace.
func (r *reader) skip() []piece {
	first, depth := r.next, 1
	for ; r.next < len(r.pieces); r.next++ {
		switch r.pieces[r.next].text {
		case "{":
			depth++
		case "}":
			depth--
		}
		if depth == 0 {
			r.next++
			return r.pieces[first : r.next-1]
		}
	}
	r.ends(&scope{name: "a block that is passed over"})
	closed := slices.Clone(r.pieces[first:])
	for range depth - 1 {
		closed = append(closed, piece{text: "}"})
	}
	return closed
}

// oneWord are keywords with one value, behind which keepalived looks at nothing.
var oneWord = []string{"router_id", "vrrp_garp_master_delay", "vrrp_garp_master_repeat", "vrrp_garp_master_refresh", "vrrp_garp_master_refresh_repeat",
	"state", "interface", "virtual_router_id", "priority", "advert_int", "version", "preempt_delay",
	"garp_master_delay", "garp_master_repeat", "garp_master_refresh", "garp_master_refresh_repeat",
	"interval", "timeout", "fall", "rise", "delay_loop", "lb_algo", "protocol", "persistence_timeout", "virtualhost",
	"quorum", "hysteresis", "retry", "delay_before_retry", "connect_timeout", "connect_port", "misc_timeout"}

// mean gives statements their meaning, in order.
func (r *reader) mean(stmts []*stmt) {
	for _, s := range stmts {
		if s.kw == nil || s.kw.mean == nil {
			continue
		}
		if len(s.words)-1 < s.kw.need {
			r.incomplete(s)
			continue
		}
		if len(s.words) > 2 && slices.Contains(oneWord, s.words[0]) {
			r.warn(s.place, "", fmt.Sprintf("%s: %s is passed over", s.words[0], config.Quote(strings.Join(s.words[2:], " "))), "remove it, or write # in front of a remark")
		}
		s.kw.mean(r, s)
	}
}

// incomplete reports a keyword whose value is missing. keepalived ends there.
func (r *reader) incomplete(s *stmt) {
	last := s.words[len(s.words)-1]
	r.theirs(s.place, fmt.Sprintf("*** Configuration line starting `%s` is missing a parameter after keyword `%s` at word position %d",
		s.words[0], last, len(s.words)+1), statusConfig)
	r.problem(s.place, config.Error, fmt.Sprintf("%s: a value has to follow; the line is passed over", s.words[0]), "keepalived does not start with this line")
}
