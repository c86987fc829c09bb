// Package jinja renders chat templates as Jinja2 does in Transformers: a sandbox
// whose values can't be changed, with trim_blocks and lstrip_blocks, {% break %} and
// {% continue %}, {% generation %}, raise_exception, strftime_now and Transformers'
// tojson. testdata/expected.json holds it to that, and testdata/differ.py compares
// both on templates made at random.
//
// The way: lexer.go cuts a source into tokens, parser.go and expressions.go make
// nodes of them (nodes.go), render.go carries out statements and evaluate.go works
// out expressions. The rest is what values can do: filters, tests, methods, operators.
//
// A template is a program from elsewhere. It reads nothing but its variables, knows
// no date, and what it may take is bounded by Limits. It differs from Jinja2 where that would
// show the machine it runs on or needs more than a chat does:
//
//   - Whole numbers have 64 bits; beyond that arithmetic is an error. Those of JSON
//     keep all digits.
//   - include, import, extends, block and autoescape are refused, and so are the
//     filters for web pages (urlize, xmlattr, striptags) and random.
//   - strftime_now gives one fixed day, so the same conversation always gives the
//     same text.
//   - Generators and functions are written without their address; a slice of a
//     constant that has none is an error and not undefined; str.encode and a loop
//     over loop are refused; what is called on safe text gives plain text.
package jinja

import (
	"context"
	"strings"
	"time"
)

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	source string
	body   []statement
}

// Limits bound one rendering. Whatever is beyond is an error that wraps ErrLimit.
type Limits struct {
	Steps  int64 // expressions, statements and rounds of loops, and work on long values in proportion
	Memory int64 // bytes of all values that it makes, those it drops included
	Output int   // bytes that it writes
}

// DefaultLimits let through what people write and end the rest within seconds.
var DefaultLimits = Limits{Steps: 5_000_000, Memory: 512 << 20, Output: 64 << 20}

const (
	maxSource  = 1 << 20 // bytes of a template
	maxNesting = 100     // of statements and expressions in a template
	maxDepth   = 1500    // of evaluation: expressions in expressions and calls in calls
	maxValue   = 200     // lists in lists of a value
	maxRange   = 100_000 // numbers of one range(), as in Jinja2's sandbox
)

// Span is a range of bytes.
type Span struct{ From, To int }

// Result is a rendering.
type Result struct {
	Text string
	// Generated are the {% generation %} blocks in Text, in the order in which they
	// end. One inside a macro or a {% set %} block has no place and is left out.
	Generated []Span
	Steps     int64 // what it took, as Limits count
}

// today is the date of strftime_now: the one that Llama's templates fall back to.
var today = time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)

// Parse reads a template. The error is an *Error.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, &Error{Line: 1, Column: 1, Message: "the template has more than 1 MiB"}
	}
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	source = strings.TrimSuffix(source, "\n")
	tokens, err := lex(source)
	if err == nil {
		p := &parser{tokens: tokens}
		var body []statement
		if body, err = p.parse(); err == nil {
			return &Template{source: source, body: body}, nil
		}
	}
	return nil, placed(err, source)
}

// Text is a value as a template writes it.
func Text(v any) (string, error) {
	r := &rendering{ctx: context.Background(), limits: DefaultLimits}
	return r.str(v)
}

// Render renders the template. The variables hold nil, bool, int64, float64, string,
// List and *Dict; FromJSON makes them. An error is the context's, or an *Error.
func (t *Template) Render(ctx context.Context, variables map[string]any, limits Limits) (Result, error) {
	r := &rendering{ctx: ctx, limits: limits, out: &output{}, filters: filters, tests: tests}
	root := &scope{names: make(map[string]any, len(variables)+8)}
	for k, v := range variables {
		root.names[k] = v
	}
	if _, err := r.run(t.body, root); err != nil {
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		return Result{}, placed(err, t.source)
	}
	return Result{Text: r.out.text.String(), Generated: r.generated, Steps: r.steps}, nil
}
