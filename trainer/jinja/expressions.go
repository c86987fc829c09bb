package jinja

import (
	"slices"
	"strings"
)

// expression reads one expression; condition is whether it may be `a if b else c`.
func (p *parser) expression(condition bool) (expression, error) {
	done, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer done()
	if !condition {
		return p.or()
	}
	maybe, unknown := p.maybe, p.unknown
	defer func() { p.maybe = maybe }()
	e, err := p.or()
	for err == nil && p.isName("if") {
		p.unknown = unknown // what was read may never be carried out
		c := &conditional{at: at(p.step().at), then: e}
		p.maybe = true
		if c.test, err = p.or(); err != nil {
			return nil, err
		}
		if p.skipName("else") {
			if c.other, err = p.expression(true); err != nil {
				return nil, err
			}
		}
		e = c
	}
	return e, err
}

// tuple reads an expression, or several with commas. extra is a name that ends it.
func (p *parser) tuple(condition bool, extra string) (expression, error) {
	return p.tupled(condition, extra, false)
}

func (p *parser) tupled(condition bool, extra string, brackets bool) (expression, error) {
	start := p.now()
	var items []expression
	tuple := false
	for {
		k := p.now().kind
		if k == tokenClosePrint || k == tokenCloseBlock || p.isOperator(")") || extra != "" && p.isName(extra) {
			break
		}
		e, err := p.expression(condition)
		if err != nil {
			return nil, err
		}
		items = append(items, e)
		if !p.skipOperator(",") {
			break
		}
		tuple = true
	}
	if !tuple {
		if len(items) == 1 {
			return items[0], nil
		}
		if !brackets {
			return nil, errorAt(start.at, "expected an expression, got %s", start)
		}
	}
	return &tupling{at(start.at), items}, nil
}

// left reads operands joined by operators that group from the left.
func (p *parser) left(operand func() (expression, error), join func(t token, x, y expression) expression, k kind, operators ...string) (expression, error) {
	x, err := operand()
	for err == nil && p.now().kind == k && slices.Contains(operators, p.now().text) {
		t := p.step()
		var y expression
		if y, err = operand(); err == nil {
			x = join(t, x, y)
		}
	}
	return x, err
}

func joinLogical(t token, x, y expression) expression {
	return &logical{at(t.at), t.text, x, y}
}
func joinBinary(t token, x, y expression) expression { return &binary{at(t.at), t.text, x, y} }

func (p *parser) or() (expression, error)  { return p.left(p.and, joinLogical, tokenName, "or") }
func (p *parser) and() (expression, error) { return p.left(p.not, joinLogical, tokenName, "and") }

func (p *parser) not() (expression, error) {
	if !p.isName("not") {
		return p.compare()
	}
	done, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer done()
	t := p.step()
	x, err := p.not()
	return &unary{at(t.at), "not", x}, err
}

func (p *parser) compare() (expression, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := &comparison{at: at(p.now().at), x: x}
	for {
		var operator string
		switch t := p.now(); {
		case t.kind == tokenOperator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text), p.isName("in"):
			operator = t.text
			p.step()
		case p.isName("not") && p.tokens[p.i+1].kind == tokenName && p.tokens[p.i+1].text == "in":
			operator = "not in"
			p.step()
			p.step()
		case len(c.ys) == 0:
			return x, nil
		default:
			return c, nil
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.operators, c.ys = append(c.operators, operator), append(c.ys, y)
	}
}

func (p *parser) sum() (expression, error) {
	return p.left(p.concatenation, joinBinary, tokenOperator, "+", "-")
}

func (p *parser) concatenation() (expression, error) {
	x, err := p.product()
	if err != nil || !p.isOperator("~") {
		return x, err
	}
	c := &concatenation{at(p.now().at), []expression{x}}
	for p.skipOperator("~") {
		y, err := p.product()
		if err != nil {
			return nil, err
		}
		c.items = append(c.items, y)
	}
	return c, nil
}

func (p *parser) product() (expression, error) {
	return p.left(p.power, joinBinary, tokenOperator, "*", "/", "//", "%")
}

func (p *parser) power() (expression, error) {
	return p.left(func() (expression, error) { return p.unary(true) }, joinBinary, tokenOperator, "**")
}

func (p *parser) unary(filter bool) (expression, error) {
	done, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer done()
	var e expression
	if t := p.now(); p.isOperator("-") || p.isOperator("+") {
		p.step()
		var x expression
		x, err = p.unary(false)
		e = &unary{at(t.at), t.text, x}
	} else {
		e, err = p.primary(false)
	}
	if err == nil {
		e, err = p.postfix(e)
	}
	if err == nil && filter {
		e, err = p.filtered(e)
	}
	return e, err
}

// primary reads a name or a literal. With spaces a name may have an attribute, that
// of a namespace that is assigned to.
func (p *parser) primary(spaces bool) (expression, error) {
	t := p.step()
	here := at(t.at)
	switch t.kind {
	case tokenName:
		switch t.text {
		case "true", "True":
			return &constant{here, true}, nil
		case "false", "False":
			return &constant{here, false}, nil
		case "none", "None":
			return &constant{here, nil}, nil
		}
		n := &name{here, t.text}
		if spaces && p.skipOperator(".") {
			a, err := p.wantName()
			return &attribute{here, n, a.text}, err
		}
		p.reads(t.text)
		return n, nil
	case tokenString:
		var b strings.Builder
		b.WriteString(t.text)
		for p.now().kind == tokenString {
			b.WriteString(p.step().text)
		}
		return &constant{here, b.String()}, nil
	case tokenNumber:
		return &constant{here, t.number}, nil
	case tokenOperator:
		switch t.text {
		case "(":
			e, err := p.tupled(true, "", true)
			if err != nil {
				return nil, err
			}
			return e, p.wantOperator(")")
		case "[":
			items, err := p.items("]", func() (expression, error) { return p.expression(true) })
			return &listing{here, items}, err
		case "{":
			m := &mapping{at: here}
			var err error
			m.keys, err = p.items("}", func() (expression, error) {
				key, err := p.expression(true)
				if err == nil {
					err = p.wantOperator(":")
				}
				if err != nil {
					return nil, err
				}
				value, err := p.expression(true)
				m.values = append(m.values, value)
				return key, err
			})
			return m, err
		}
	}
	return nil, errorAt(t.at, "unexpected %s", t)
}

// items reads what stands between commas up to end; a comma may stand before it.
func (p *parser) items(end string, item func() (expression, error)) ([]expression, error) {
	var all []expression
	for !p.isOperator(end) {
		if len(all) > 0 {
			if err := p.wantOperator(","); err != nil {
				return nil, err
			}
			if p.isOperator(end) {
				break
			}
		}
		e, err := item()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, p.wantOperator(end)
}

// postfix reads attributes, members and calls.
func (p *parser) postfix(e expression) (expression, error) {
	for {
		t := p.now()
		here := at(t.at)
		var err error
		switch {
		case p.skipOperator("."):
			switch a := p.step(); {
			case a.kind == tokenName:
				e = &attribute{here, e, a.text}
			case a.kind == tokenNumber:
				e = &member{here, e, &constant{at(a.at), a.number}}
			default:
				return nil, errorAt(a.at, "expected a name or a number, got %s", a)
			}
		case p.skipOperator("["):
			if e, err = p.subscript(here, e); err != nil {
				return nil, err
			}
		case p.isOperator("("):
			if e, err = p.called(e); err != nil {
				return nil, err
			}
		default:
			return e, nil
		}
	}
}

func (p *parser) called(e expression) (expression, error) {
	here := at(p.now().at)
	a, err := p.arguments()
	return &call{here, e, a}, err
}

// subscript reads what stands in of[...].
func (p *parser) subscript(here at, of expression) (expression, error) {
	var keys []expression
	for !p.isOperator("]") {
		if len(keys) > 0 {
			if err := p.wantOperator(","); err != nil {
				return nil, err
			}
		}
		key, err := p.subscribed()
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 1 {
		return &member{here, of, keys[0]}, p.wantOperator("]")
	}
	return &member{here, of, &tupling{here, keys}}, p.wantOperator("]")
}

func (p *parser) subscribed() (key expression, err error) {
	s := &slicing{at: at(p.now().at)}
	if !p.isOperator(":") {
		if s.from, err = p.expression(true); err != nil || !p.isOperator(":") {
			return s.from, err
		}
	}
	p.step()
	ends := func() bool { return p.isOperator("]") || p.isOperator(",") }
	if !p.isOperator(":") && !ends() {
		if s.to, err = p.expression(true); err != nil {
			return nil, err
		}
	}
	if p.skipOperator(":") && !ends() {
		s.by, err = p.expression(true)
	}
	return s, err
}

// arguments reads those of a call, with the brackets.
func (p *parser) arguments() (a arguments, err error) {
	open := p.now()
	if err := p.wantOperator("("); err != nil {
		return a, err
	}
	for first := true; !p.isOperator(")"); first = false {
		if !first {
			if err := p.wantOperator(","); err != nil {
				return a, err
			}
			if p.isOperator(")") {
				break
			}
		}
		named := p.now().kind == tokenName && p.tokens[p.i+1].kind == tokenOperator && p.tokens[p.i+1].text == "="
		ok := a.keyed == nil
		switch {
		case p.skipOperator("*"):
			ok = ok && a.rest == nil
			a.rest, err = p.expression(true)
		case p.skipOperator("**"):
			a.keyed, err = p.expression(true)
		case named:
			n := p.step().text
			p.step()
			var v expression
			v, err = p.expression(true)
			ok = ok && !slices.Contains(a.names, n)
			a.names, a.values = append(a.names, n), append(a.values, v)
		default:
			ok = ok && a.rest == nil && len(a.names) == 0
			var v expression
			v, err = p.expression(true)
			a.list = append(a.list, v)
		}
		if err != nil {
			return a, err
		}
		if !ok {
			return a, errorAt(open.at, "the arguments of this call are out of order, or one has a name twice")
		}
	}
	return a, p.wantOperator(")")
}

// filtered reads filters, tests and calls of what they give.
func (p *parser) filtered(e expression) (expression, error) {
	for {
		var err error
		switch {
		case p.isOperator("|"):
			e, err = p.filters(e, false)
		case p.isName("is"):
			e, err = p.test(e)
		case p.isOperator("("):
			e, err = p.called(e)
		default:
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// dotted reads the name of a filter or a test, in which Jinja2 allows dots.
func (p *parser) dotted() (token, error) {
	t, err := p.wantName()
	for err == nil && p.skipOperator(".") {
		var more token
		more, err = p.wantName()
		t.text += "." + more.text
	}
	return t, err
}

// filters reads filters of e; with inside the first has no bar before it.
func (p *parser) filters(e expression, inside bool) (expression, error) {
	for inside || p.skipOperator("|") {
		inside = false
		t, err := p.dotted()
		if err != nil {
			return nil, err
		}
		f := &filtering{at: at(t.at), in: e, name: t.text}
		if _, known := filters[t.text]; !known {
			p.mistaken(t.at, "filter", t.text)
		}
		if p.isOperator("(") {
			if f.arguments, err = p.arguments(); err != nil {
				return nil, err
			}
		}
		e = f
	}
	return e, nil
}

func (p *parser) test(e expression) (expression, error) {
	start := p.step()
	negated := p.skipName("not")
	n, err := p.dotted()
	if err != nil {
		return nil, err
	}
	t := &examining{at: at(start.at), in: e, name: n.text}
	if _, known := tests[n.text]; !known {
		p.mistaken(n.at, "test", n.text)
	}
	next := p.now()
	switch {
	case p.isOperator("("):
		t.arguments, err = p.arguments()
	case p.isName("is"):
		return nil, errorAt(next.at, "tests can't be chained with is")
	case next.kind == tokenName && !p.isName("else", "or", "and"), next.kind == tokenString, next.kind == tokenNumber,
		p.isOperator("["), p.isOperator("{"):
		var argument expression
		if argument, err = p.primary(false); err == nil {
			argument, err = p.postfix(argument)
		}
		t.list = []expression{argument}
	}
	if err != nil || !negated {
		return t, err
	}
	return &unary{at(start.at), "not", t}, nil
}
