package tokenizer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shannon-control/scu/trainer/tokenizer/internal/regex"
)

// pattern is what a Split or Replace looks for.
type pattern struct {
	literal string
	auto    *regex.Automaton // of most regular expressions
	find    finder
}

// finder cuts a text into spans, in order and without gaps.
type finder func(s string) []regex.Span

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
		var re *regex.Pattern
		if re, err = regex.Compile(c.string("Regex")); err == nil {
			p.auto, p.find = re.Automaton(), re.Find
		}
	}
	if c.err == nil && err != nil {
		return p, fmt.Errorf("%s: %w", c.path, err)
	}
	return p, c.done()
}

// compileLiteral gives the finder of a literal text.
func compileLiteral(text string) (finder, error) {
	if text == "" {
		return nil, errors.New("the pattern is empty")
	}
	return func(s string) (spans []regex.Span) {
		end := 0
		for {
			i := strings.Index(s[end:], text)
			if i < 0 {
				break
			}
			if i > 0 {
				spans = append(spans, regex.Span{A: end, B: end + i})
			}
			spans = append(spans, regex.Span{A: end + i, B: end + i + len(text), Match: true})
			end += i + len(text)
		}
		if end < len(s) {
			spans = append(spans, regex.Span{A: end, B: len(s)})
		}
		return spans
	}, nil
}
