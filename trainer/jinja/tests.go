package jinja

import (
	"fmt"
	"strings"
	"unicode"
)

type test = func(r *rendering, v any, a args) (bool, error)

// test is `v is n(a)`.
func (r *rendering) test(n string, v any, a args) (any, error) {
	t, ok := r.tests[n]
	if !ok {
		return nil, fmt.Errorf("no test is named %q", n)
	}
	return t(r, v, a)
}

// alone is a test without arguments.
func alone(is func(v any) bool) test {
	return func(_ *rendering, v any, a args) (bool, error) {
		if _, err := a.read("the test"); err != nil {
			return false, err
		}
		return is(v), nil
	}
}

// against is a test that compares.
func against(operator string) test {
	return func(r *rendering, v any, a args) (bool, error) {
		other, err := a.read("the test", "other")
		if err != nil {
			return false, err
		}
		return r.compare(operator, v, other[0])
	}
}

func isA(names ...string) test {
	return alone(func(v any) bool {
		for _, n := range names {
			if typeName(v) == n {
				return true
			}
		}
		return false
	})
}

// rest is a test of what is left when v is divided.
func rest(by, want int64) test {
	return func(r *rendering, v any, a args) (bool, error) {
		if _, err := a.read("the test"); err != nil {
			return false, err
		}
		left, err := r.binary("%", v, by)
		if err != nil {
			return false, err
		}
		return r.equal(left, want)
	}
}

// cased is a test of str(v).
func cased(is func(s string) bool) test {
	return func(r *rendering, v any, a args) (bool, error) {
		if _, err := a.read("the test"); err != nil {
			return false, err
		}
		s, err := r.str(v)
		if err != nil {
			return false, err
		}
		return is(s), r.take(len(s))
	}
}

// tests are what may follow `is`.
var tests = map[string]test{
	"defined":   alone(func(v any) bool { _, is := v.(*undefined); return !is }),
	"undefined": alone(func(v any) bool { _, is := v.(*undefined); return is }),
	"none":      alone(func(v any) bool { return v == nil }),
	"true":      alone(func(v any) bool { return v == true }),
	"false":     alone(func(v any) bool { return v == false }),
	"boolean":   isA("bool"),
	"integer":   isA("int"),
	"float":     isA("float"),
	"number":    isA("int", "float", "bool"),
	"string":    isA("str", "Markup"),
	"escaped":   isA("Markup"),
	"mapping":   isA("dict"),
	"sequence": alone(func(v any) bool {
		_, sized := length(v)
		_, isView := v.(view)
		_, isLoop := v.(*loopState)
		return sized && !isView && !isLoop
	}),
	"iterable": alone(func(v any) bool { _, err := iterate(v); return err == nil }),
	"callable": alone(func(v any) bool {
		switch v.(type) {
		case *macro, *function, *loopState, *undefined:
			return true
		}
		return false
	}),
	"odd":   rest(2, 1),
	"even":  rest(2, 0),
	"lower": cased(func(s string) bool { return hasCase(s, unicode.IsLower, unicode.IsUpper) }),
	"upper": cased(func(s string) bool { return hasCase(s, unicode.IsUpper, unicode.IsLower) }),
	"divisibleby": func(r *rendering, v any, a args) (bool, error) {
		by, err := a.read("divisibleby", "num")
		if err != nil {
			return false, err
		}
		left, err := r.binary("%", v, by[0])
		if err != nil {
			return false, err
		}
		return r.equal(left, int64(0))
	},
	"sameas": func(_ *rendering, v any, a args) (bool, error) {
		other, err := a.read("sameas", "other")
		if err != nil {
			return false, err
		}
		return typeName(v) == typeName(other[0]) && same(v, other[0]), nil
	},
	"filter": func(r *rendering, v any, a args) (bool, error) {
		n, err := named(v, a)
		return r.filters[n] != nil, err
	},
	"test": func(r *rendering, v any, a args) (bool, error) {
		n, err := named(v, a)
		return r.tests[n] != nil, err
	},
	"in": func(r *rendering, v any, a args) (bool, error) {
		in, err := a.read("in", "seq")
		if err != nil {
			return false, err
		}
		return r.contains(in[0], v)
	},
	"eq":          against("=="),
	"equalto":     against("=="),
	"==":          against("=="),
	"ne":          against("!="),
	"!=":          against("!="),
	"lt":          against("<"),
	"lessthan":    against("<"),
	"<":           against("<"),
	"le":          against("<="),
	"<=":          against("<="),
	"gt":          against(">"),
	"greaterthan": against(">"),
	">":           against(">"),
	"ge":          against(">="),
	">=":          against(">="),
}

func named(v any, a args) (string, error) {
	if _, err := a.read("the test"); err != nil {
		return "", err
	}
	n, _ := stringOf(v)
	_, err := hashable(v)
	return n, err
}

// hasCase reports whether s has characters of one case and none of the other.
func hasCase(s string, is, isNot func(rune) bool) bool {
	return strings.ContainsFunc(s, is) && !strings.ContainsFunc(s, func(c rune) bool { return isNot(c) || unicode.IsTitle(c) })
}
