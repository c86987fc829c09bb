package jinja

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"math"
	"strings"
)

var errBeyond = errors.New("a whole number of more than 64 bits")

func (u *undefined) fail() error { return errors.New(u.why) }

func (r *rendering) unary(operator string, x any) (any, error) {
	if operator == "not" {
		return !truth(x), nil
	}
	i, f, whole, ok := number(x)
	switch {
	case !ok:
		if u, isUndefined := x.(*undefined); isUndefined {
			return nil, u.fail()
		}
		return nil, fmt.Errorf("%s has no %s", typeName(x), operator)
	case operator == "+" && whole:
		return i, nil
	case operator == "+":
		return f, nil
	case !whole:
		return -f, nil
	case i == math.MinInt64:
		return nil, errBeyond
	}
	return -i, nil
}

func (r *rendering) binary(operator string, x, y any) (any, error) {
	for _, v := range []any{x, y} {
		if u, ok := v.(*undefined); ok {
			if s, isString := stringOf(x); isString && operator == "%" {
				return r.percent(s, y) // '%s' % undefined
			}
			return nil, u.fail()
		}
	}
	a, f, wholeA, okA := number(x)
	b, g, wholeB, okB := number(y)
	switch {
	case okA && okB && wholeA && wholeB:
		return whole(operator, a, b)
	case okA && okB:
		return fraction(operator, f, g)
	case operator == "+":
		return r.add(x, y)
	case operator == "*" && okA && wholeA:
		return r.repeat(y, a)
	case operator == "*" && okB && wholeB:
		return r.repeat(x, b)
	}
	if s, ok := stringOf(x); ok && operator == "%" {
		return r.percent(s, y)
	}
	return nil, fmt.Errorf("%s and %s have no %s", typeName(x), typeName(y), operator)
}

func whole(operator string, a, b int64) (any, error) {
	switch operator {
	case "+":
		if c := a + b; (c > a) == (b > 0) {
			return c, nil
		}
	case "-":
		if c := a - b; (c < a) == (b > 0) {
			return c, nil
		}
	case "*":
		if a == 0 || b == 0 {
			return int64(0), nil
		}
		if c := a * b; c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64) {
			return c, nil
		}
	case "/":
		if b == 0 {
			return nil, errors.New("division by zero")
		}
		return float64(a) / float64(b), nil
	case "//", "%":
		switch {
		case b == 0:
			return nil, errors.New("division by zero")
		case a == math.MinInt64 && b == -1:
			return nil, errBeyond
		}
		quotient, rest := a/b, a%b
		if rest != 0 && (rest < 0) != (b < 0) {
			quotient, rest = quotient-1, rest+b
		}
		if operator == "//" {
			return quotient, nil
		}
		return rest, nil
	case "**":
		if b < 0 {
			return fraction(operator, float64(a), float64(b))
		}
		c := int64(1)
		for ; b > 0; b-- {
			if a == 0 || a == 1 {
				return a, nil
			}
			if a == -1 {
				return 1 - 2*(b%2), nil
			}
			next, err := whole("*", c, a)
			if err != nil {
				return nil, err
			}
			c = next.(int64)
		}
		return c, nil
	}
	return nil, errBeyond
}

func fraction(operator string, f, g float64) (any, error) {
	switch operator {
	case "+":
		return f + g, nil
	case "-":
		return f - g, nil
	case "*":
		return f * g, nil
	case "**":
		if f == 0 && g < 0 {
			return nil, errors.New("zero to a negative power")
		}
		if f < 0 && g != math.Trunc(g) {
			return nil, errors.New("a root of a negative number")
		}
		p := math.Pow(f, g)
		if math.IsInf(p, 0) && !math.IsInf(f, 0) && !math.IsInf(g, 0) {
			return nil, errors.New("the result is too large")
		}
		return p, nil
	}
	if g == 0 {
		return nil, errors.New("division by zero")
	}
	if operator == "/" {
		return f / g, nil
	}
	rest := math.Mod(f, g)
	if rest != 0 && (rest < 0) != (g < 0) {
		rest += g
	}
	if rest == 0 {
		rest = math.Copysign(0, g)
	}
	if operator == "%" {
		return rest, nil
	}
	quotient := math.Floor((f - rest) / g)
	if (f-rest)/g-quotient > 0.5 {
		quotient++
	}
	if quotient == 0 {
		quotient = math.Copysign(0, f/g)
	}
	return quotient, nil
}

func (r *rendering) add(x, y any) (any, error) {
	s, okX := stringOf(x)
	t, okY := stringOf(y)
	if okX && okY {
		if err := r.hold(int64(len(s)) + int64(len(t))); err != nil {
			return nil, err
		}
		_, safeX := x.(markup)
		_, safeY := y.(markup)
		switch {
		case safeX && !safeY:
			return markup(s + escape(t)), r.hold(int64(len(t)) * 5)
		case safeY && !safeX:
			return markup(escape(s) + t), r.hold(int64(len(s)) * 5)
		case safeX:
			return markup(s + t), nil
		}
		return s + t, nil
	}
	switch x := x.(type) {
	case List:
		if y, ok := y.(List); ok {
			return append(append(make(List, 0, len(x)+len(y)), x...), y...), r.hold(int64(len(x)+len(y)) * sizeOfItem)
		}
	case Tuple:
		if y, ok := y.(Tuple); ok {
			return append(append(make(Tuple, 0, len(x)+len(y)), x...), y...), r.hold(int64(len(x)+len(y)) * sizeOfItem)
		}
	}
	return nil, fmt.Errorf("%s and %s can't be added", typeName(x), typeName(y))
}

// escape writes a text for HTML as MarkupSafe does.
func escape(s string) string { return html.EscapeString(s) }

func (r *rendering) repeat(v any, n int64) (any, error) {
	n = max(n, 0)
	if s, ok := stringOf(v); ok {
		if err := r.hold(times(n, int64(len(s)))); err != nil {
			return nil, err
		}
		if s == "" {
			n = 0
		}
		if _, safe := v.(markup); safe {
			return markup(strings.Repeat(s, int(n))), nil
		}
		return strings.Repeat(s, int(n)), nil
	}
	items, ok := sequence(v)
	if !ok {
		return nil, fmt.Errorf("%s can't be repeated", typeName(v))
	}
	if err := r.hold(times(n, int64(len(items))*sizeOfItem)); err != nil {
		return nil, err
	}
	out := []any{}
	if len(items) > 0 {
		for range n {
			out = append(out, items...)
		}
	}
	if _, isTuple := v.(Tuple); isTuple {
		return Tuple(out), nil
	}
	return List(out), nil
}

func (r *rendering) compare(operator string, x, y any) (bool, error) {
	switch operator {
	case "==":
		return r.equal(x, y)
	case "!=":
		is, err := r.equal(x, y)
		return !is, err
	case "in":
		return r.contains(y, x)
	case "not in":
		is, err := r.contains(y, x)
		return !is, err
	}
	c, ordered, err := r.order(x, y, 0)
	if err != nil || !ordered {
		return false, err
	}
	switch operator {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

func (r *rendering) equal(x, y any) (bool, error) { return r.equalAt(x, y, 0) }

func (r *rendering) equalAt(x, y any, depth int) (bool, error) {
	if depth > maxValue {
		return false, errDeep
	}
	if err := r.take(0); err != nil {
		return false, err
	}
	a, f, wholeA, okA := number(x)
	b, g, wholeB, okB := number(y)
	if okA && okB {
		if wholeA && wholeB {
			return a == b, nil
		}
		return compareNumbers(a, f, wholeA, b, g, wholeB) == 0 && f == f && g == g, nil
	}
	if s, ok := stringOf(x); ok {
		t, ok := stringOf(y)
		if ok && len(s) == len(t) {
			return s == t, r.take(len(s))
		}
		return false, nil
	}
	switch x := x.(type) {
	case nil:
		return y == nil, nil
	case *undefined:
		_, ok := y.(*undefined)
		return ok, nil
	case wideNumber:
		y, ok := y.(wideNumber)
		return ok && x.Cmp(y.Int) == 0, nil
	case List:
		y, ok := y.(List)
		return r.equalItems(x, y, ok, depth)
	case Tuple, groupItem:
		a, _ := sequence(x)
		b, ok := sequence(y)
		_, isList := y.(List)
		return r.equalItems(a, b, ok && !isList, depth)
	case numbers:
		y, ok := y.(numbers)
		return ok && x.count == y.count && (x.count == 0 || x.from == y.from && (x.count == 1 || x.step == y.step)), nil
	case *Dict:
		y, ok := y.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false, nil
		}
		for i, k := range x.keys {
			v, ok := y.at(k)
			if !ok {
				return false, nil
			}
			if is, err := r.equalAt(x.values[i], v, depth+1); err != nil || !is {
				return false, err
			}
		}
		return true, nil
	case view:
		y, ok := y.(view)
		return ok && x == y, nil
	case *function:
		y, ok := y.(*function)
		return ok && x == y, nil
	}
	return x == y, nil // by identity: namespaces, macros, iterators
}

func (r *rendering) equalItems(x, y []any, comparable bool, depth int) (bool, error) {
	if !comparable || len(x) != len(y) {
		return false, nil
	}
	for i := range x {
		if is, err := r.equalAt(x[i], y[i], depth+1); err != nil || !is {
			return false, err
		}
	}
	return true, nil
}

// compareNumbers compares without losing the digits of whole numbers.
func compareNumbers(a int64, f float64, wholeA bool, b int64, g float64, wholeB bool) int {
	switch {
	case wholeA && wholeB:
		return cmp.Compare(a, b)
	case wholeA:
		if i, ok := exactly(g); ok {
			return cmp.Compare(a, i)
		}
	case wholeB:
		if i, ok := exactly(f); ok {
			return cmp.Compare(i, b)
		}
	}
	return cmp.Compare(f, g)
}

var errDeep = fmt.Errorf("%w: a value nests more than %d deep", ErrLimit, maxValue)

// order compares x to y; ordered is false for NaN, which is neither less nor more.
func (r *rendering) order(x, y any, depth int) (c int, ordered bool, err error) {
	if depth > maxValue {
		return 0, false, errDeep
	}
	if err := r.take(0); err != nil {
		return 0, false, err
	}
	for _, v := range []any{x, y} {
		if u, ok := v.(*undefined); ok {
			return 0, false, u.fail()
		}
	}
	a, f, wholeA, okA := number(x)
	b, g, wholeB, okB := number(y)
	if okA && okB {
		return compareNumbers(a, f, wholeA, b, g, wholeB), f == f && g == g, nil
	}
	s, okS := stringOf(x)
	t, okT := stringOf(y)
	if okS && okT {
		return strings.Compare(s, t), true, r.take(min(len(s), len(t)))
	}
	xs, okX := sequence(x)
	ys, okY := sequence(y)
	if okX && okY && typeName(x) == typeName(y) {
		for i := range min(len(xs), len(ys)) {
			is, err := r.equalAt(xs[i], ys[i], depth+1)
			if err != nil {
				return 0, false, err
			}
			if !is {
				return r.order(xs[i], ys[i], depth+1)
			}
		}
		return cmp.Compare(len(xs), len(ys)), true, nil
	}
	return 0, false, fmt.Errorf("%s and %s have no order", typeName(x), typeName(y))
}

// contains is `item in all`.
func (r *rendering) contains(all, item any) (bool, error) {
	if s, ok := stringOf(all); ok {
		part, ok := stringOf(item)
		if !ok {
			return false, fmt.Errorf("%s can't be in a string", typeName(item))
		}
		return strings.Contains(s, part), r.take(len(s))
	}
	switch all := all.(type) {
	case *Dict:
		if _, err := hashable(item); err != nil {
			return false, err
		}
		_, ok := all.at(item)
		return ok, nil
	case *namespace, *macro, *function:
		return false, fmt.Errorf("%s holds nothing", typeName(all))
	}
	it, err := iterate(all)
	if err != nil {
		return false, err
	}
	for {
		v, ok, err := it.next()
		if err != nil || !ok {
			return false, err
		}
		if same(v, item) {
			return true, nil
		}
		if is, err := r.equal(v, item); err != nil || is {
			return is, err
		}
	}
}

// same is Python's `is`, as far as it can be told.
func same(x, y any) bool {
	switch x := x.(type) {
	case List:
		y, ok := y.(List)
		return ok && len(x) == len(y) && len(x) > 0 && &x[0] == &y[0]
	case Tuple:
		y, ok := y.(Tuple)
		return ok && len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
	case wideNumber:
		y, ok := y.(wideNumber)
		return ok && x.Int == y.Int
	}
	switch y.(type) {
	case List, Tuple, groupItem, wideNumber:
		return false
	}
	return x == y
}
