package regex

import (
	"errors"
	"slices"
)

// A pattern is compiled to instructions (Thompson 1968) before it becomes an automaton.
type instruction struct {
	op   uint8
	set  Set   // eat: the characters it takes; look: those that may come next
	end  bool  // look: the end of the text may come next too
	x, y int32 // what follows; of a fork, x is tried first
}

const (
	opMatch = iota
	opEat
	opLook
	opFork
)

// compileAutomaton gives the automaton of a pattern. An error says why it can have none.
func compileAutomaton(pattern string) (*Automaton, error) {
	p := patternParser{s: pattern}
	root, err := p.alternatives()
	if err == nil && p.i < len(p.s) {
		err = p.unsupported("an unmatched )")
	}
	if err != nil {
		return nil, err
	}
	for _, part := range root.parts {
		if !part.possessiveAsGreedy() {
			return nil, errors.New("a possessive quantifier that matters")
		}
	}
	c := compiler{program: []instruction{{op: opMatch}}}
	start := c.emit(root, 0)
	if c.full() {
		return nil, errTooLarge
	}
	return newAutomaton(c.program, start)
}

// possessiveAsGreedy reports whether the possessive quantifiers of an alternative match what greedy ones
// would: where nothing after one can fail, or what must follow is what the repeated character is not.
func (n *node) possessiveAsGreedy() bool {
	for i, part := range n.parts {
		if !part.possessive {
			continue
		}
		rest := n.parts[i+1:]
		if !slices.ContainsFunc(rest, func(after node) bool { return !after.empty(true) }) {
			continue
		}
		next := rest[0]
		if next.kind == nodeRepeat && next.min > 0 {
			next = next.parts[0]
		}
		one := part.parts[0]
		if one.kind != nodeEat || next.kind != nodeEat || len(one.set.intersect(next.set)) > 0 {
			return false
		}
	}
	return true
}

// compiler writes instructions, each part before what leads to it.
type compiler struct {
	program []instruction
}

func (c *compiler) full() bool { return len(c.program) > maxInstructions }

func (c *compiler) add(in instruction) int32 {
	c.program = append(c.program, in)
	return int32(len(c.program) - 1)
}

// emit writes n with next after it and tells where it starts.
func (c *compiler) emit(n node, next int32) int32 {
	if c.full() {
		return next
	}
	switch n.kind {
	case nodeEat:
		return c.add(instruction{op: opEat, set: n.set, x: next})
	case nodeLook:
		return c.add(instruction{op: opLook, set: n.set, end: n.end, x: next})
	case nodeSequence:
		for _, part := range slices.Backward(n.parts) {
			next = c.emit(part, next)
		}
		return next
	case nodeAlternatives:
		at := c.emit(n.parts[len(n.parts)-1], next)
		for _, part := range slices.Backward(n.parts[:len(n.parts)-1]) {
			at = c.add(instruction{op: opFork, x: c.emit(part, next), y: at})
		}
		return at
	}
	// A repetition: first what may be left out, then what must stand there.
	fork := func(more int32) int32 {
		if n.lazy {
			return c.add(instruction{op: opFork, x: next, y: more})
		}
		return c.add(instruction{op: opFork, x: more, y: next})
	}
	after := next
	if n.max < 0 {
		after = fork(0)
		if body := c.emit(n.parts[0], after); n.lazy {
			c.program[after].y = body
		} else {
			c.program[after].x = body
		}
	}
	for range n.max - n.min {
		after = fork(c.emit(n.parts[0], after))
	}
	for range n.min {
		after = c.emit(n.parts[0], after)
	}
	return after
}
