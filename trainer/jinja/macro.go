package jinja

import (
	"fmt"
	"slices"
)

// macro is what {% macro %} defines, or the body of {% call %}.
type macro struct {
	*definition
	scope *scope // where it was defined
}

// call runs a macro; it gives what the macro writes.
func (m *macro) call(r *rendering, a args) (any, error) {
	s := m.scope.inner()
	if n := len(m.parameters); len(a.list) > n {
		if !m.varargs {
			return nil, fmt.Errorf("%s takes at most %d arguments", m.title(), n)
		}
		s.set("varargs", Tuple(a.list[n:]))
		a.list = a.list[:n]
	} else if m.varargs {
		s.set("varargs", Tuple{})
	}
	rest := &Dict{}
	for i, n := range a.names {
		at := slices.IndexFunc(m.parameters, func(p parameter) bool { return p.name == n })
		switch {
		case at >= len(a.list):
			s.set(n, a.values[i])
		case at < 0 && n == "caller" && m.caller:
			s.set(n, a.values[i])
		case m.kwargs:
			rest.set(n, a.values[i])
		default:
			return nil, fmt.Errorf("%s takes no argument %q", m.title(), n)
		}
	}
	if m.kwargs {
		s.set("kwargs", rest)
	}
	if _, given := s.names["caller"]; m.caller && !given && !slices.ContainsFunc(m.parameters, func(p parameter) bool { return p.name == "caller" }) {
		s.set("caller", &undefined{"no caller is defined"})
	}
	for i, p := range m.parameters {
		if i < len(a.list) {
			s.set(p.name, a.list[i])
		} else if _, given := s.names[p.name]; given {
			continue
		} else if p.value == nil {
			s.set(p.name, &undefined{fmt.Sprintf("the parameter %q was not given", p.name)})
		} else {
			v, err := r.eval(p.value, s)
			if err != nil {
				return nil, err
			}
			s.set(p.name, v)
		}
	}
	written, _, err := r.aside(func() (flow, error) { return r.run(m.body, s) })
	return written, err
}

func (m *macro) title() string { return fmt.Sprintf("the macro %q", m.name) }

// attribute is what macro.name gives.
func (m *macro) attribute(n string) (any, bool) {
	switch n {
	case "name":
		return m.name, true
	case "arguments":
		l := Tuple{}
		for _, p := range m.parameters {
			l = append(l, p.name)
		}
		return l, true
	case "catch_kwargs":
		return m.kwargs, true
	case "catch_varargs":
		return m.varargs, true
	case "caller":
		return m.caller, true
	}
	return nil, false
}
