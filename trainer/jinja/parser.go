package jinja

import "slices"

// parser reads statements; expressions.go reads expressions.
type parser struct {
	tokens  []token
	i       int
	nesting int
	// loops counts the loops around that break and continue may leave.
	loops int
	// fors counts all loops around, in which the name loop can't be set.
	fors int
	// maybe is whether what is read may never be carried out, so that an unknown
	// filter in it is no mistake yet: branches ask `'x' is filter` first.
	maybe bool
	// unknown is the error of the first filter or test that isn't known.
	unknown error
	// definitions are the macros around.
	definitions []*definition
}

func (p *parser) now() token { return p.tokens[p.i] }

func (p *parser) step() token {
	t := p.tokens[p.i]
	if t.kind != tokenEnd {
		p.i++
	}
	return t
}

func (p *parser) is(k kind, text string) bool { t := p.now(); return t.kind == k && t.text == text }
func (p *parser) isOperator(o string) bool    { return p.is(tokenOperator, o) }
func (p *parser) isName(names ...string) bool {
	return p.now().kind == tokenName && slices.Contains(names, p.now().text)
}

// skip passes over a token if it is the one that comes.
func (p *parser) skip(k kind, text string) bool {
	if !p.is(k, text) {
		return false
	}
	p.step()
	return true
}

func (p *parser) skipOperator(o string) bool { return p.skip(tokenOperator, o) }
func (p *parser) skipName(n string) bool     { return p.skip(tokenName, n) }

func (p *parser) want(k kind, text string) error {
	t := p.now()
	if t.kind != k || text != "" && t.text != text {
		return errorAt(t.at, "expected %s, got %s", token{kind: k, text: text}, t)
	}
	p.step()
	return nil
}

func (p *parser) wantOperator(o string) error { return p.want(tokenOperator, o) }

func (p *parser) wantName() (token, error) {
	t := p.now()
	if t.kind != tokenName {
		return t, errorAt(t.at, "expected a name, got %s", t)
	}
	return p.step(), nil
}

// deeper bounds nesting; call its result when done.
func (p *parser) deeper() (func(), error) {
	if p.nesting++; p.nesting > maxNesting {
		return func() {}, errorAt(p.now().at, "the template nests more than %d deep", maxNesting)
	}
	return func() { p.nesting-- }, nil
}

func (p *parser) parse() ([]statement, error) {
	body, err := p.statements()
	if err == nil && p.now().kind != tokenEnd {
		err = errorAt(p.now().at, "unexpected %s", p.now())
	}
	if err == nil {
		err = p.unknown
	}
	return body, err
}

// statements reads up to the end or one of the tags in ends, whose name is the
// next token then.
func (p *parser) statements(ends ...string) ([]statement, error) {
	done, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer done()
	var body []statement
	for {
		t := p.step()
		switch t.kind {
		case tokenEnd:
			if len(ends) > 0 {
				return nil, errorAt(t.at, "{%% %s %%} is missing", ends[len(ends)-1])
			}
			return body, nil
		case tokenText:
			body = append(body, &text{at(t.at), t.text})
		case tokenOpenPrint:
			e, err := p.tuple(true, "")
			if err != nil {
				return nil, err
			}
			if err := p.want(tokenClosePrint, ""); err != nil {
				return nil, err
			}
			body = append(body, &printing{at(t.at), e})
		case tokenOpenBlock:
			if p.isName(ends...) {
				return body, nil
			}
			s, err := p.statement()
			if err != nil {
				return nil, err
			}
			if err := p.want(tokenCloseBlock, ""); err != nil {
				return nil, err
			}
			body = append(body, s...)
		}
	}
}

// body reads the rest of a tag and what follows up to a tag in ends, and returns
// which one it was.
func (p *parser) body(ends ...string) ([]statement, string, error) {
	p.skipOperator(":")
	if err := p.want(tokenCloseBlock, ""); err != nil {
		return nil, "", err
	}
	body, err := p.statements(ends...)
	if err != nil {
		return nil, "", err
	}
	return body, p.step().text, nil
}

// block reads a body that is certain to be carried out if what holds it is.
func (p *parser) block(ends ...string) ([]statement, string, error) {
	maybe := p.maybe
	defer func() { p.maybe = maybe }()
	p.maybe = false
	return p.body(ends...)
}

// mistaken notes that a filter or a test isn't known.
func (p *parser) mistaken(place int, what, name string) {
	if p.unknown == nil && !p.maybe {
		p.unknown = errorAt(place, "no %s is named %q", what, name)
	}
}

func (p *parser) statement() ([]statement, error) {
	t, err := p.wantName()
	if err != nil {
		return nil, err
	}
	one := func(s statement, err error) ([]statement, error) { return []statement{s}, err }
	here := at(t.at)
	switch t.text {
	case "if":
		return one(p.branch(here))
	case "for":
		return one(p.loop(here))
	case "set":
		return one(p.set(here))
	case "macro":
		return one(p.macro(here))
	case "call":
		return one(p.callBlock(here))
	case "filter":
		return one(p.filterBlock(here))
	case "with":
		return one(p.with(here))
	case "generation":
		return one(p.generation(here))
	case "print":
		return p.print(here)
	case "break", "continue":
		if p.loops == 0 {
			return nil, errorAt(t.at, "%s outside of a loop", t.text)
		}
		return one(&jump{here, map[string]flow{"break": breaking, "continue": continuing}[t.text]}, nil)
	}
	return nil, errorAt(t.at, "the tag %q is not known here", t.text)
}

func (p *parser) print(here at) ([]statement, error) {
	var all []statement
	for p.now().kind != tokenCloseBlock {
		if len(all) > 0 {
			if err := p.wantOperator(","); err != nil {
				return nil, err
			}
		}
		e, err := p.expression(true)
		if err != nil {
			return nil, err
		}
		all = append(all, &printing{here, e})
	}
	return all, nil
}

func (p *parser) branch(here at) (statement, error) {
	maybe := p.maybe
	defer func() { p.maybe = maybe }()
	p.maybe = true
	b := &branch{at: here}
	for {
		test, err := p.tuple(false, "")
		if err != nil {
			return nil, err
		}
		body, end, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		b.tests, b.bodies = append(b.tests, test), append(b.bodies, body)
		switch end {
		case "else":
			body, _, err := p.body("endif")
			b.bodies = append(b.bodies, body)
			return b, err
		case "endif":
			b.bodies = append(b.bodies, nil)
			return b, nil
		}
	}
}

func (p *parser) loop(here at) (statement, error) {
	l := &loop{at: here}
	p.fors++
	defer func() { p.fors-- }()
	var err error
	if l.target, err = p.target("in", false); err != nil {
		return nil, err
	}
	if err := p.want(tokenName, "in"); err != nil {
		return nil, err
	}
	if l.over, err = p.tuple(false, "recursive"); err != nil {
		return nil, err
	}
	if p.skipName("if") {
		if l.test, err = p.expression(true); err != nil {
			return nil, err
		}
	}
	l.recursive = p.skipName("recursive")
	var end string
	p.loops++
	l.body, end, err = p.block("endfor", "else")
	p.loops--
	if err == nil && end == "else" {
		l.other, _, err = p.block("endfor")
	}
	return l, err
}

func (p *parser) set(here at) (statement, error) {
	target, err := p.target("", true)
	if err != nil {
		return nil, err
	}
	if p.skipOperator("=") {
		value, err := p.tuple(true, "")
		return &assignment{here, target, value}, err
	}
	filter, err := p.filters(nil, false)
	if err != nil {
		return nil, err
	}
	body, _, err := p.block("endset")
	return &capture{here, target, filter, body}, err
}

// target reads what is assigned to, up to the name end.
func (p *parser) target(end string, spaces bool) (expression, error) {
	start := p.now()
	var items []expression
	tuple := false
	for {
		if len(items) > 0 && !tuple {
			break
		}
		if t := p.now(); t.kind == tokenCloseBlock || p.isOperator(")") || end != "" && p.isName(end) {
			break
		}
		e, err := p.primary(spaces)
		if err != nil {
			return nil, err
		}
		if err := p.store(e); err != nil {
			return nil, err
		}
		items = append(items, e)
		if !p.isOperator(",") {
			break
		}
		tuple = true
		p.step()
	}
	if !tuple {
		if len(items) == 0 {
			return nil, errorAt(start.at, "expected a name to assign to, got %s", start)
		}
		return items[0], nil
	}
	return &tupling{at(start.at), items}, nil
}

// store checks that e can be assigned to.
func (p *parser) store(e expression) error {
	switch e := e.(type) {
	case *name:
		return p.storeName(e.name, e.place())
	case *attribute:
		return nil // primary made it, of a namespace
	case *tupling:
		for _, item := range e.items {
			if err := p.store(item); err != nil {
				return err
			}
		}
		return nil
	}
	return errorAt(e.place(), "this can't be assigned to")
}

func (p *parser) storeName(n string, place int) error {
	if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, n) {
		return errorAt(place, "%s can't be assigned to", n)
	}
	if n == "loop" && p.fors > 0 {
		return errorAt(place, "loop can't be assigned to in a loop")
	}
	return nil
}

func (p *parser) macro(here at) (statement, error) {
	t, err := p.wantName()
	if err != nil {
		return nil, err
	}
	if err := p.storeName(t.text, t.at); err != nil {
		return nil, err
	}
	d := &definition{at: here, name: t.text}
	if d.parameters, err = p.parameters(); err != nil {
		return nil, err
	}
	return d, p.define(d, "endmacro")
}

func (p *parser) parameters() ([]parameter, error) {
	if err := p.wantOperator("("); err != nil {
		return nil, err
	}
	var all []parameter
	for !p.isOperator(")") {
		if len(all) > 0 {
			if err := p.wantOperator(","); err != nil {
				return nil, err
			}
		}
		t, err := p.wantName()
		if err != nil {
			return nil, err
		}
		if err := p.storeName(t.text, t.at); err != nil {
			return nil, err
		}
		q := parameter{name: t.text}
		if p.skipOperator("=") {
			if q.value, err = p.expression(true); err != nil {
				return nil, err
			}
		} else if len(all) > 0 && all[len(all)-1].value != nil {
			return nil, errorAt(t.at, "%s needs a default, as the parameter before it has one", t.text)
		}
		all = append(all, q)
	}
	return all, p.wantOperator(")")
}

// define reads the body of a macro.
func (p *parser) define(d *definition, end string) (err error) {
	loops := p.loops
	p.loops, p.definitions = 0, append(p.definitions, d)
	d.body, _, err = p.block(end)
	p.loops, p.definitions = loops, p.definitions[:len(p.definitions)-1]
	return err
}

// reads notes that a name is read, for the macros around.
func (p *parser) reads(n string) {
	for _, d := range p.definitions {
		switch n {
		case "caller":
			d.caller = true
		case "kwargs":
			d.kwargs = true
		case "varargs":
			d.varargs = true
		}
	}
}

func (p *parser) callBlock(here at) (statement, error) {
	d := &definition{at: here, name: "caller"}
	var err error
	if p.isOperator("(") {
		if d.parameters, err = p.parameters(); err != nil {
			return nil, err
		}
	}
	e, err := p.expression(true)
	if err != nil {
		return nil, err
	}
	c, ok := e.(*call)
	if !ok {
		return nil, errorAt(e.place(), "expected a call")
	}
	return &callBlock{here, c, d}, p.define(d, "endcall")
}

func (p *parser) filterBlock(here at) (statement, error) {
	filter, err := p.filters(nil, true)
	if err != nil {
		return nil, err
	}
	body, _, err := p.block("endfilter")
	return &filterBlock{here, filter, body}, err
}

func (p *parser) with(here at) (statement, error) {
	w := &with{at: here}
	for p.now().kind != tokenCloseBlock {
		if len(w.targets) > 0 {
			if err := p.wantOperator(","); err != nil {
				return nil, err
			}
		}
		target, err := p.primary(false)
		if err != nil {
			return nil, err
		}
		if err := p.store(target); err != nil {
			return nil, err
		}
		if err := p.wantOperator("="); err != nil {
			return nil, err
		}
		value, err := p.expression(true)
		if err != nil {
			return nil, err
		}
		w.targets, w.values = append(w.targets, target), append(w.values, value)
	}
	var err error
	w.body, _, err = p.block("endwith")
	return w, err
}

// generation reads {% generation %}, which Transformers makes a macro of: what it
// sets is its own.
func (p *parser) generation(here at) (statement, error) {
	d := &definition{at: here}
	err := p.define(d, "endgeneration")
	return &generation{here, d.body}, err
}
