package regex

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Patterns become automata if they can: if all they ask for is characters one after the other,
// alternatives, repetitions and a look at the next character. So do those of the published models. The
// dialect is Ruby's, as the official library's engine (Oniguruma) reads it.

// node is a part of a pattern.
type node struct {
	kind       uint8
	set        Set    // nodeEat: the characters it takes; nodeLook: those that may come next
	end        bool   // nodeLook: the end of the text may come next too
	parts      []node // of a sequence or alternatives; the one that is repeated
	min, max   int    // of a repetition; max -1: without end
	lazy       bool
	possessive bool
}

const (
	nodeEat = iota
	nodeLook
	nodeSequence
	nodeAlternatives
	nodeRepeat
)

// patternParser reads a pattern; its errors say what can be no automaton.
type patternParser struct {
	s     string
	i     int
	fold  bool // inside (?i:...)
	depth int  // of groups
}

// maxGroups bounds how deep groups and classes may nest.
const maxGroups = 50

func (p *patternParser) unsupported(what string) error {
	return fmt.Errorf("%s at %d", what, p.i)
}

func (p *patternParser) rest() string { return p.s[p.i:] }

// skip goes over text where it stands next.
func (p *patternParser) skip(text string) bool {
	ok := strings.HasPrefix(p.rest(), text)
	if ok {
		p.i += len(text)
	}
	return ok
}

func (p *patternParser) rune() rune {
	r, n := utf8.DecodeRuneInString(p.rest())
	p.i += n
	return r
}

func (p *patternParser) alternatives() (node, error) {
	n := node{kind: nodeAlternatives}
	if p.depth++; p.depth > maxGroups {
		return n, p.unsupported("groups in groups")
	}
	defer func() { p.depth-- }()
	for {
		part, err := p.sequence()
		if err != nil {
			return n, err
		}
		if n.parts = append(n.parts, part); !p.skip("|") {
			return n, nil
		}
	}
}

func (p *patternParser) sequence() (node, error) {
	n := node{kind: nodeSequence}
	for p.i < len(p.s) && p.s[p.i] != '|' && p.s[p.i] != ')' {
		part, err := p.atom()
		if err != nil {
			return n, err
		}
		if part, err = p.quantified(part); err != nil {
			return n, err
		}
		n.parts = append(n.parts, part)
	}
	return n, nil
}

func (p *patternParser) atom() (node, error) {
	switch {
	case p.skip("(?i:"):
		outer, start := p.fold, p.i
		p.fold = true
		n, err := p.group()
		p.fold = outer
		if err == nil && foldsToMany(p.s[start:p.i]) {
			err = p.unsupported("a letter that equals two")
		}
		return n, err
	case p.skip("(?:"):
		return p.group()
	case p.skip("(?="):
		return p.look(false)
	case p.skip("(?!"):
		return p.look(true)
	case strings.HasPrefix(p.rest(), "(?"):
		return node{}, p.unsupported("a group of another kind")
	case p.skip("("):
		return p.group()
	case p.skip("$"): // the end of a line
		return node{kind: nodeLook, set: Set{{'\n', '\n'}}, end: true}, nil
	case strings.ContainsRune("*+?{}^", rune(p.s[p.i])):
		return node{}, p.unsupported(p.s[p.i : p.i+1])
	}
	set, err := p.characters()
	if err == nil && p.fold {
		var ok bool
		if set, ok = set.folded(); !ok {
			err = p.unsupported("ignoring the case of other letters")
		}
	}
	return node{kind: nodeEat, set: set}, err
}

func (p *patternParser) group() (node, error) {
	n, err := p.alternatives()
	if err == nil && !p.skip(")") {
		err = p.unsupported("a group without end")
	}
	return n, err
}

// look reads a look-ahead at one character.
func (p *patternParser) look(negative bool) (node, error) {
	set, err := p.characters()
	if err == nil && (p.fold || !p.skip(")")) {
		err = p.unsupported("a look at more than a character")
	}
	if negative {
		set = set.negate()
	}
	return node{kind: nodeLook, set: set, end: negative}, err
}

// characters reads what stands for one character: itself, an escape, a dot or a class.
func (p *patternParser) characters() (Set, error) {
	switch {
	case p.i == len(p.s):
		return nil, p.unsupported("the end")
	case p.skip("."):
		return Set{{'\n', '\n'}}.negate(), nil
	case p.s[p.i] == '[':
		return p.class()
	}
	return p.single()
}

// single reads an escape or a character that stands for itself.
func (p *patternParser) single() (Set, error) {
	r := p.rune()
	if r != '\\' {
		return Set{{r, r}}, nil
	}
	if p.i == len(p.s) {
		return nil, p.unsupported("an escape of nothing")
	}
	switch r = p.rune(); r {
	case 'n':
		return Set{{'\n', '\n'}}, nil
	case 'r':
		return Set{{'\r', '\r'}}, nil
	case 't':
		return Set{{'\t', '\t'}}, nil
	case 's':
		return TableSet(unicode.White_Space), nil
	case 'S':
		return TableSet(unicode.White_Space).negate(), nil
	case 'd', 'D', 'p', 'P':
		name := "Nd"
		if r == 'p' || r == 'P' {
			var closed bool
			name, _, closed = strings.Cut(p.rest(), "}")
			if !closed || !p.skip("{") {
				return nil, p.unsupported("a property without braces")
			}
			p.i += len(name)
			name = name[1:]
		}
		set, ok := Property(name)
		if !ok {
			return nil, p.unsupported("another property")
		}
		if r == 'D' || r == 'P' {
			set = set.negate()
		}
		return set, nil
	}
	if r >= utf8.RuneSelf || unicode.IsLetter(r) || unicode.IsDigit(r) {
		return nil, p.unsupported("another escape")
	}
	return Set{{r, r}}, nil
}

// class reads [...]: the union of what stands there, classes inside included; && intersects.
func (p *patternParser) class() (Set, error) {
	if p.depth++; p.depth > maxGroups {
		return nil, p.unsupported("classes in classes")
	}
	defer func() { p.depth-- }()
	p.i++
	negative := p.skip("^")
	if p.fold && negative || strings.HasPrefix(p.rest(), "]") {
		return nil, p.unsupported("such a class")
	}
	var members Set
	set := Set{{0, utf8.MaxRune}}
	for !p.skip("]") {
		if p.skip("&&") {
			set, members = set.intersect(members.Union(nil)), nil
			continue
		}
		part, err := p.member()
		if err != nil {
			return nil, err
		}
		members = append(members, part...)
	}
	if set = set.intersect(members.Union(nil)); negative {
		set = set.negate()
	}
	return set, nil
}

// member reads what stands in a class: a class, an escape, a character or a range.
func (p *patternParser) member() (Set, error) {
	switch rest := p.rest(); {
	case rest == "":
		return nil, p.unsupported("a class without end")
	case strings.HasPrefix(rest, "[:"):
		return nil, p.unsupported("a class of POSIX")
	case rest[0] == '[':
		return p.class()
	case rest[0] == '-' && p.s[p.i-1] != '[' && !strings.HasPrefix(rest, "-]"):
		return nil, p.unsupported("a - that is no range")
	}
	set, err := p.single()
	if err != nil || !strings.HasPrefix(p.rest(), "-") || strings.HasPrefix(p.rest(), "-]") {
		return set, err
	}
	p.i++
	if p.i == len(p.s) || p.s[p.i] == '[' {
		return nil, p.unsupported("a - that is no range")
	}
	to, err := p.single()
	if err != nil {
		return nil, err
	}
	lo, hi := set.only(), to.only()
	if lo < 0 || hi < lo {
		return nil, p.unsupported("such a range")
	}
	return Set{{lo, hi}}, nil
}

// quantified reads what may follow an atom: ? * + {n} {n,} {n,m}, greedy, lazy (?) or possessive (+).
func (p *patternParser) quantified(atom node) (node, error) {
	n := node{kind: nodeRepeat, parts: []node{atom}, max: -1}
	braces := false
	switch {
	case p.skip("?"):
		n.max = 1
	case p.skip("*"):
	case p.skip("+"):
		n.min = 1
	case p.skip("{"):
		var ok bool
		if n.min, n.max, ok = p.counts(); !ok {
			return n, p.unsupported("a { that is no quantifier")
		}
		braces = true
	default:
		return atom, nil
	}
	if p.i < len(p.s) && strings.IndexByte("?*+{", p.s[p.i]) >= 0 {
		switch {
		case !braces && p.skip("?"):
			n.lazy = true
		case !braces && p.skip("+"):
			n.possessive = true
		}
		if p.i < len(p.s) && strings.IndexByte("?*+{", p.s[p.i]) >= 0 {
			return n, p.unsupported("a quantifier after another")
		}
	}
	if n.possessive && p.depth > 1 {
		return n, p.unsupported("a possessive quantifier in a group")
	}
	if atom.empty(false) {
		return n, p.unsupported("a quantifier after what may be empty")
	}
	return n, nil
}

// counts reads n}, n,} or n,m}.
func (p *patternParser) counts() (from, to int, ok bool) {
	number := func() (n int, ok bool) {
		for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' && n < maxInstructions {
			n, ok = 10*n+int(p.s[p.i]-'0'), true
			p.i++
		}
		return n, ok
	}
	if from, ok = number(); !ok {
		return 0, 0, false
	}
	if to = from; p.skip(",") {
		if to, ok = number(); !ok {
			to = -1
		}
	}
	return from, to, p.skip("}") && (to < 0 || to >= from && to > 0)
}

// empty reports whether n can match without taking a character, where all look-aheads hold or (sure) even
// where none does.
func (n *node) empty(sure bool) bool {
	switch n.kind {
	case nodeEat:
		return false
	case nodeLook:
		return !sure
	case nodeAlternatives:
		return slices.ContainsFunc(n.parts, func(part node) bool { return part.empty(sure) })
	case nodeRepeat:
		if n.min == 0 {
			return true
		}
	}
	return !slices.ContainsFunc(n.parts, func(part node) bool { return !part.empty(sure) })
}
