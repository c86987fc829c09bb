package jinja

// What a template consists of. at is where in the source: a byte.

type statement interface{ place() int }

type expression interface{ place() int }

type at int

func (a at) place() int { return int(a) }

type (
	text struct { // outside of tags
		at
		text string
	}
	printing struct { // {{ what }}
		at
		what expression
	}
	branch struct { // {% if %} and its elifs
		at
		tests  []expression
		bodies [][]statement // one for each test, and that of else
	}
	loop struct {
		at
		target      expression
		over, test  expression // test may be nil
		recursive   bool
		body, other []statement
	}
	jump struct { // {% break %}, or {% continue %}
		at
		to flow
	}
	assignment struct {
		at
		target, value expression
	}
	capture struct { // {% set x %}...{% endset %}
		at
		target expression
		filter expression // nil, or filters around nil
		body   []statement
	}
	definition struct { // {% macro %}, and the caller of {% call %}
		at
		name       string
		parameters []parameter
		body       []statement
		// which of the special names the body reads
		caller, kwargs, varargs bool
	}
	callBlock struct {
		at
		call   *call
		caller *definition
	}
	filterBlock struct {
		at
		filter expression
		body   []statement
	}
	with struct {
		at
		targets, values []expression
		body            []statement
	}
	generation struct {
		at
		body []statement
	}
)

type parameter struct {
	name  string
	value expression // the default; nil for none
}

type (
	constant struct {
		at
		value any
	}
	name struct {
		at
		name string
	}
	listing struct { // [a, b]
		at
		items []expression
	}
	tupling struct { // a, b
		at
		items []expression
	}
	mapping struct { // {a: b}
		at
		keys, values []expression
	}
	attribute struct { // of.name
		at
		of   expression
		name string
	}
	member struct { // of[key]
		at
		of, key expression
	}
	slicing struct { // the key from:to:by; each may be nil
		at
		from, to, by expression
	}
	call struct {
		at
		what expression
		arguments
	}
	filtering struct { // in|name; in is nil in {% filter %} and {% set %}
		at
		in   expression
		name string
		arguments
	}
	examining struct { // in is name
		at
		in   expression
		name string
		arguments
	}
	unary struct { // -x, +x, not x
		at
		operator string
		x        expression
	}
	binary struct { // arithmetic
		at
		operator string
		x, y     expression
	}
	logical struct { // and, or
		at
		operator string
		x, y     expression
	}
	comparison struct { // x < y <= z
		at
		x         expression
		operators []string
		ys        []expression
	}
	concatenation struct { // a ~ b
		at
		items []expression
	}
	conditional struct { // then if test else other; other may be nil
		at
		test, then, other expression
	}
)

// arguments of a call, before they are worked out.
type arguments struct {
	list        []expression
	names       []string // of values
	values      []expression
	rest, keyed expression // *rest, **keyed; may be nil
}
