// Package regex finds the regular expressions of tokenizer files in texts, as the official
// library does. Their dialect is Ruby's, as its engine (Oniguruma) reads it. Patterns become
// automata if they can, as those of the published models do; the others run on a backtracking
// engine.
package regex

import "fmt"

// Span is the part s[A:B] of a text; Match reports whether the pattern matched it.
type Span struct {
	A, B  int
	Match bool
}

// Pattern is a regular expression, ready to use. It is safe for concurrent use.
type Pattern struct {
	auto *Automaton
	find func(s string) []Span
}

// maxPattern bounds a pattern's length, and with it the depth of the engine's parser.
const maxPattern = 1 << 14

// Compile makes a regular expression ready. An error says what isn't supported, or isn't a
// regular expression.
func Compile(text string) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes; at most %d are supported", len(text), maxPattern)
	}
	if auto, err := compileAutomaton(text); err == nil {
		return &Pattern{auto: auto, find: auto.spans}, nil
	}
	find, err := CompileEngine(text)
	if err != nil {
		return nil, err
	}
	return &Pattern{find: find}, nil
}

// Find cuts s into matches and what lies between them, in order and without gaps.
func (p *Pattern) Find(s string) []Span { return p.find(s) }

// Automaton gives the pattern's automaton, nil if it runs on the backtracking engine.
func (p *Pattern) Automaton() *Automaton { return p.auto }
