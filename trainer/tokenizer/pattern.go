package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// pattern is what a Split or Replace looks for.
type pattern struct {
	literal string
	auto    *automaton // of most regular expressions
	find    finder
}

// span is the part s[a:b] of a text; match reports whether the pattern matched it.
type span struct {
	a, b  int
	match bool
}

// finder cuts a text into spans, in order and without gaps.
type finder func(s string) []span

// readPattern reads {"String": ...} or {"Regex": ...}.
func readPattern(o *object, name string) (p pattern, err error) {
	c := o.child(name)
	if c == nil {
		o.missing(name)
		return p, o.err
	}
	if c.raw("String") != "" {
		p.literal = c.string("String")
		p.find, err = compileLiteral(p.literal)
	} else {
		p, err = compilePattern(c.string("Regex"))
	}
	if c.err == nil && err != nil {
		return p, fmt.Errorf("%s: %w", c.path, err)
	}
	return p, c.done()
}

// maxPattern bounds a pattern's length, and with it the depth of the engine's parser.
const maxPattern = 1 << 14

// compilePattern makes a regular expression ready.
func compilePattern(text string) (p pattern, err error) {
	if len(text) > maxPattern {
		return p, fmt.Errorf("a pattern of %d bytes; at most %d are supported", len(text), maxPattern)
	}
	if p.auto, err = compileAutomaton(text); err == nil {
		p.find = p.auto.spans
		return p, nil
	}
	p.find, err = compileEngine(text)
	return p, err
}

// compileLiteral gives the finder of a literal text.
func compileLiteral(text string) (finder, error) {
	if text == "" {
		return nil, errors.New("the pattern is empty")
	}
	return func(s string) (spans []span) {
		end := 0
		for {
			i := strings.Index(s[end:], text)
			if i < 0 {
				break
			}
			if i > 0 {
				spans = append(spans, span{end, end + i, false})
			}
			spans = append(spans, span{end + i, end + i + len(text), true})
			end += i + len(text)
		}
		if end < len(s) {
			spans = append(spans, span{end, len(s), false})
		}
		return spans
	}, nil
}
