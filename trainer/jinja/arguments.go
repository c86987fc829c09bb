package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// args are the arguments of a call.
type args struct {
	list   []any
	names  []string // of values
	values []any
}

func (a args) onlyList() error {
	if len(a.names) > 0 {
		return fmt.Errorf("it takes no argument %q by name", a.names[0])
	}
	return nil
}

// missing is an argument that wasn't given.
type missing struct{}

// read puts arguments in the order of a function's parameters: "name" is needed, "name?" may
// be missing{}.
func (a args) read(function string, parameters ...string) ([]any, error) {
	if len(a.list) > len(parameters) {
		return nil, fmt.Errorf("%s takes at most %d arguments, not %d", function, len(parameters), len(a.list))
	}
	out := make([]any, len(parameters))
	copy(out, a.list)
	for i := len(a.list); i < len(out); i++ {
		out[i] = missing{}
	}
	for i, n := range a.names {
		at := slices.IndexFunc(parameters, func(p string) bool { return strings.TrimSuffix(p, "?") == n })
		if at < 0 {
			return nil, fmt.Errorf("%s takes no argument %q", function, n)
		}
		if at < len(a.list) {
			return nil, fmt.Errorf("%s is given %q twice", function, n)
		}
		out[at] = a.values[i]
	}
	for i, v := range out {
		if v == (missing{}) && !strings.HasSuffix(parameters[i], "?") {
			return nil, fmt.Errorf("%s lacks its argument %q", function, parameters[i])
		}
	}
	return out, nil
}

func given(v any) bool { _, not := v.(missing); return !not }

// or is v, or other if v wasn't given.
func or(v, other any) any {
	if given(v) {
		return v
	}
	return other
}

func wholeOf(v any, what string) (int64, error) {
	i, _, whole, ok := number(v)
	if !ok || !whole {
		if u, ok := v.(*undefined); ok {
			return 0, u.fail()
		}
		return 0, fmt.Errorf("%s is %s, want a whole number", what, typeName(v))
	}
	return i, nil
}

func textOf(v any, what string) (string, error) {
	s, ok := stringOf(v)
	if !ok {
		if u, ok := v.(*undefined); ok {
			return "", u.fail()
		}
		return "", fmt.Errorf("%s is %s, want a string", what, typeName(v))
	}
	return s, nil
}
