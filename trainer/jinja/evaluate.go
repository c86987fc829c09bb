package jinja

import (
	"fmt"
	"strings"
)

// eval works out an expression.
func (r *rendering) eval(e expression, s *scope) (any, error) {
	if err := r.deeper(); err != nil {
		return nil, locate(e.place(), err)
	}
	v, err := r.work(e, s)
	r.depth--
	return v, locate(e.place(), err)
}

func (r *rendering) work(e expression, s *scope) (any, error) {
	switch e := e.(type) {
	case *constant:
		return e.value, nil
	case *name:
		if v, ok := s.get(e.name); ok {
			return v, nil
		}
		return &undefined{fmt.Sprintf("%q is undefined", e.name)}, nil
	case *listing:
		items, err := r.evalAll(e.items, s)
		return List(items), err
	case *tupling:
		items, err := r.evalAll(e.items, s)
		return Tuple(items), err
	case *mapping:
		d := &Dict{}
		for i, k := range e.keys {
			key, err := r.eval(k, s)
			if err != nil {
				return nil, err
			}
			value, err := r.eval(e.values[i], s)
			if err != nil {
				return nil, err
			}
			if err := d.set(key, value); err != nil {
				return nil, err
			}
		}
		return d, r.hold(int64(len(d.keys)) * 4 * sizeOfItem)
	case *attribute:
		of, err := r.eval(e.of, s)
		if err != nil {
			return nil, err
		}
		return r.attribute(of, e.name)
	case *member:
		of, err := r.eval(e.of, s)
		if err != nil {
			return nil, err
		}
		if sl, ok := e.key.(*slicing); ok {
			return r.slice(of, sl, s)
		}
		key, err := r.eval(e.key, s)
		if err != nil {
			return nil, err
		}
		return r.member(of, key)
	case *call:
		return r.call(e, s, nil)
	case *filtering:
		in, err := r.eval(e.in, s)
		if err != nil {
			return nil, err
		}
		return r.filter(e, in, s)
	case *examining:
		in, err := r.eval(e.in, s)
		if err != nil {
			return nil, err
		}
		a, err := r.arguments(e.arguments, s)
		if err != nil {
			return nil, err
		}
		return r.test(e.name, in, a)
	case *unary:
		x, err := r.eval(e.x, s)
		if err != nil {
			return nil, err
		}
		return r.unary(e.operator, x)
	case *binary:
		x, err := r.eval(e.x, s)
		if err != nil {
			return nil, err
		}
		y, err := r.eval(e.y, s)
		if err != nil {
			return nil, err
		}
		return r.binary(e.operator, x, y)
	case *logical:
		x, err := r.eval(e.x, s)
		if err != nil || truth(x) == (e.operator == "or") {
			return x, err
		}
		return r.eval(e.y, s)
	case *comparison:
		x, err := r.eval(e.x, s)
		if err != nil {
			return nil, err
		}
		for i, operator := range e.operators {
			y, err := r.eval(e.ys[i], s)
			if err != nil {
				return nil, err
			}
			is, err := r.compare(operator, x, y)
			if err != nil || !is {
				return false, err
			}
			x = y
		}
		return true, nil
	case *concatenation:
		var b strings.Builder
		for _, item := range e.items {
			v, err := r.eval(item, s)
			if err != nil {
				return nil, err
			}
			part, err := r.str(v)
			if err != nil {
				return nil, locate(item.place(), err)
			}
			if err := r.hold(int64(len(part))); err != nil {
				return nil, err
			}
			b.WriteString(part)
		}
		return b.String(), nil
	case *conditional:
		v, err := r.eval(e.test, s)
		switch {
		case err != nil:
			return nil, err
		case truth(v):
			return r.eval(e.then, s)
		case e.other == nil:
			return &undefined{"the condition is false and has no else"}, nil
		}
		return r.eval(e.other, s)
	case *slicing:
		return nil, fmt.Errorf("a slice can't stand here")
	}
	return nil, fmt.Errorf("unknown expression %T", e)
}

func (r *rendering) evalAll(all []expression, s *scope) ([]any, error) {
	if err := r.hold(int64(len(all)) * sizeOfItem); err != nil {
		return nil, err
	}
	out := make([]any, len(all))
	for i, e := range all {
		var err error
		if out[i], err = r.eval(e, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// arguments works out the arguments of a call.
func (r *rendering) arguments(e arguments, s *scope) (a args, err error) {
	if len(e.list) > 0 {
		if a.list, err = r.evalAll(e.list, s); err != nil {
			return a, err
		}
	}
	for i, n := range e.names {
		v, err := r.eval(e.values[i], s)
		if err != nil {
			return a, err
		}
		a.names, a.values = append(a.names, n), append(a.values, v)
	}
	if e.rest != nil {
		v, err := r.eval(e.rest, s)
		if err != nil {
			return a, err
		}
		more, err := r.collect(v)
		if err != nil {
			return a, locate(e.rest.place(), err)
		}
		a.list = append(a.list, more...)
	}
	if e.keyed != nil {
		v, err := r.eval(e.keyed, s)
		if err != nil {
			return a, err
		}
		d, ok := v.(*Dict)
		if !ok {
			return a, errorAt(e.keyed.place(), "%s can't follow **, want a dict", typeName(v))
		}
		if err := r.hold(int64(len(d.keys)) * 2 * sizeOfItem); err != nil {
			return a, err
		}
		known := map[string]bool{}
		for _, n := range a.names {
			known[n] = true
		}
		for i, k := range d.keys {
			n, ok := k.(string)
			if !ok || known[n] {
				return a, errorAt(e.keyed.place(), "the keys that follow ** aren't names, or one is given twice")
			}
			a.names, a.values = append(a.names, n), append(a.values, d.values[i])
		}
	}
	return a, nil
}

// call calls what e names; caller is the body of {% call %}, or nil.
func (r *rendering) call(e *call, s *scope, caller *macro) (any, error) {
	what, err := r.eval(e.what, s)
	if err != nil {
		return nil, err
	}
	a, err := r.arguments(e.arguments, s)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		a.names, a.values = append(a.names, "caller"), append(a.values, caller)
	}
	switch f := what.(type) {
	case *macro:
		return f.call(r, a)
	case *function:
		return f.call(r, a)
	case *loopState:
		return f.call(r, a)
	case *undefined:
		return nil, f.fail()
	}
	return nil, fmt.Errorf("%s can't be called", typeName(what))
}

// filter puts in through one filter.
func (r *rendering) filter(e *filtering, in any, s *scope) (any, error) {
	a, err := r.arguments(e.arguments, s)
	if err != nil {
		return nil, err
	}
	return r.applyFilter(e.name, in, a)
}

func (r *rendering) applyFilter(n string, in any, a args) (any, error) {
	f, ok := r.filters[n]
	if !ok {
		return nil, fmt.Errorf("no filter is named %q", n)
	}
	return f(r, in, a)
}

// filterChain puts what a block wrote through its filters.
func (r *rendering) filterChain(e expression, written any, s *scope) (any, error) {
	f := e.(*filtering)
	if f.in != nil {
		var err error
		if written, err = r.filterChain(f.in, written, s); err != nil {
			return nil, err
		}
	}
	v, err := r.filter(f, written, s)
	return v, locate(f.place(), err)
}
