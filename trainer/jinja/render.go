package jinja

import (
	"context"
	"fmt"
	"strings"
)

// rendering carries out a template once.
type rendering struct {
	ctx       context.Context
	limits    Limits
	out       *output // what is written to now
	generated []Span
	steps     int64
	memory    int64
	depth     int

	// What may follow a bar and `is`: here, since some of these ask for others by
	// their names.
	filters map[string]filter
	tests   map[string]test
}

// output is what a template, a macro or a block writes.
type output struct {
	text  strings.Builder
	inner bool // not the template's own
}

// flow is how statements end.
type flow int

const (
	going flow = iota
	breaking
	continuing
)

func (r *rendering) write(s string) error {
	if r.out.text.Len()+len(s) > r.limits.Output {
		return fmt.Errorf("%w: it writes more than %d bytes", ErrLimit, r.limits.Output)
	}
	r.out.text.WriteString(s)
	return r.hold(int64(len(s)))
}

// deeper bounds the depth of evaluation; a nil error wants r.depth-- afterwards.
func (r *rendering) deeper() error {
	if r.depth == maxDepth {
		return fmt.Errorf("%w: it nests, or calls itself, without an end", ErrLimit)
	}
	r.depth++
	return r.take(0)
}

// aside gives what f writes, as a string.
func (r *rendering) aside(f func() (flow, error)) (string, flow, error) {
	outer := r.out
	r.out = &output{inner: true}
	defer func() { r.out = outer }()
	how, err := f()
	return r.out.text.String(), how, err
}

func (r *rendering) run(body []statement, s *scope) (flow, error) {
	for _, st := range body {
		how, err := r.statement(st, s)
		if err != nil || how != going {
			return how, locate(st.place(), err)
		}
	}
	return going, nil
}

func (r *rendering) statement(st statement, s *scope) (flow, error) {
	if err := r.deeper(); err != nil {
		return going, err
	}
	defer func() { r.depth-- }()
	switch st := st.(type) {
	case *text:
		return going, r.write(st.text)
	case *printing:
		v, err := r.eval(st.what, s)
		if err != nil {
			return going, err
		}
		return going, r.print(v)
	case *branch:
		for i, test := range st.tests {
			v, err := r.eval(test, s)
			if err != nil {
				return going, err
			}
			if truth(v) {
				return r.run(st.bodies[i], s)
			}
		}
		return r.run(st.bodies[len(st.tests)], s)
	case *loop:
		return r.loop(st, s)
	case *jump:
		return st.to, nil
	case *assignment:
		v, err := r.eval(st.value, s)
		if err != nil {
			return going, err
		}
		return going, r.assign(st.target, v, s)
	case *capture:
		return r.capture(st, s)
	case *definition:
		s.set(st.name, &macro{definition: st, scope: s})
		return going, nil
	case *callBlock:
		v, err := r.call(st.call, s, &macro{definition: st.caller, scope: s})
		if err != nil {
			return going, err
		}
		return going, r.print(v)
	case *filterBlock:
		inner := s.inner()
		written, how, err := r.aside(func() (flow, error) { return r.run(st.body, inner) })
		if err != nil || how != going {
			return how, err
		}
		v, err := r.filterChain(st.filter, written, inner)
		if err != nil {
			return going, err
		}
		return going, r.print(v)
	case *with:
		inner := s.inner()
		for i, target := range st.targets {
			v, err := r.eval(st.values[i], s)
			if err != nil {
				return going, err
			}
			if err := r.assign(target, v, inner); err != nil {
				return going, err
			}
		}
		return r.run(st.body, inner)
	case *generation:
		from := r.out.text.Len()
		if _, err := r.run(st.body, s.inner()); err != nil {
			return going, err
		}
		if !r.out.inner {
			r.generated = append(r.generated, Span{from, r.out.text.Len()})
		}
		return going, r.hold(sizeOfItem)
	}
	return going, fmt.Errorf("unknown statement %T", st)
}

// print writes a value as Python's str gives it.
func (r *rendering) print(v any) error {
	s, err := r.str(v)
	if err != nil {
		return err
	}
	return r.write(s)
}

func (r *rendering) capture(st *capture, s *scope) (flow, error) {
	inner := s.inner()
	written, how, err := r.aside(func() (flow, error) { return r.run(st.body, inner) })
	if err != nil || how != going {
		return how, err
	}
	var v any = written
	if st.filter != nil {
		if v, err = r.filterChain(st.filter, written, inner); err != nil {
			return going, err
		}
	}
	return going, r.assign(st.target, v, s)
}

func (r *rendering) assign(target expression, v any, s *scope) error {
	switch target := target.(type) {
	case *name:
		s.set(target.name, v)
		return r.hold(2 * sizeOfItem)
	case *attribute:
		of, err := r.eval(target.of, s)
		if err != nil {
			return err
		}
		ns, ok := of.(*namespace)
		if !ok {
			return errorAt(target.place(), "an attribute of something that is no namespace can't be set")
		}
		if err := checkAttribute(target.name); err != nil {
			return locate(target.place(), err)
		}
		ns.values.set(target.name, v)
		return r.hold(2 * sizeOfItem)
	case *tupling:
		items, err := r.unpack(v, len(target.items))
		if err != nil {
			return locate(target.place(), err)
		}
		for i, t := range target.items {
			if err := r.assign(t, items[i], s); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack gives the n values of v.
func (r *rendering) unpack(v any, n int) ([]any, error) {
	it, err := iterate(v)
	if err != nil {
		return nil, err
	}
	items := make([]any, 0, n)
	for {
		item, ok, err := it.next()
		switch {
		case err != nil:
			return nil, err
		case !ok && len(items) < n:
			return nil, fmt.Errorf("%d values for %d names", len(items), n)
		case !ok:
			return items, nil
		case len(items) == n:
			return nil, fmt.Errorf("more than %d values for %d names", n, n)
		}
		items = append(items, item)
	}
}
