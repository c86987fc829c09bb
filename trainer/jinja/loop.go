package jinja

import "fmt"

// loopState is the name loop inside of a loop.
type loopState struct {
	statement *loop
	scope     *scope // around the loop
	r         *rendering
	items     *iterator
	count     int // of all items; -1: not known yet
	index0    int
	depth     int // of a recursive loop, from 0

	before, current any
	ahead           any // read before its turn
	peeked, ended   bool

	changed    Tuple // what changed was asked for last
	hasChanged bool
	failed     error // of items, when it was read ahead
}

// loop carries out a for statement.
func (r *rendering) loop(st *loop, s *scope) (flow, error) {
	over, err := r.eval(st.over, s)
	if err != nil {
		return going, err
	}
	if !st.recursive {
		return going, r.rounds(st, s, over, 0)
	}
	written, _, err := r.aside(func() (flow, error) { return going, r.rounds(st, s, over, 0) })
	if err != nil {
		return going, err
	}
	return going, r.write(written)
}

// rounds runs a loop's body for each item of over.
func (r *rendering) rounds(st *loop, s *scope, over any, depth int) error {
	items, err := iterate(over)
	if err != nil {
		return locate(st.over.place(), err)
	}
	state := &loopState{statement: st, scope: s, r: r, items: items, count: -1, index0: -1, depth: depth}
	if n, sized := length(over); sized {
		state.count = n
	}
	if st.test != nil {
		state.items, state.count = r.tested(st, s, items), -1
	}
	// A loop has an else for when it has no round. Jinja2 counts only those that
	// reach their end, without break or continue, and so does this.
	ended := false
	for {
		ok, err := state.advance()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := r.take(0); err != nil {
			return err
		}
		inner := s.inner()
		inner.set("loop", state)
		if err := r.assign(st.target, state.current, inner); err != nil {
			return err
		}
		how, err := r.run(st.body, inner)
		if err != nil {
			return err
		}
		if how == breaking {
			break
		}
		ended = ended || how == going
	}
	if ended {
		return nil
	}
	_, err = r.run(st.other, s.inner())
	return err
}

// tested are the items that pass a loop's test, which is asked when they are read.
func (r *rendering) tested(st *loop, s *scope, items *iterator) *iterator {
	return &iterator{"generator", func() (any, bool, error) {
		for {
			item, ok, err := items.next()
			if err != nil || !ok {
				return nil, false, err
			}
			inner := s.inner()
			if target, several := st.target.(*tupling); several { // Python makes a tuple of what it took apart
				parts, err := r.unpack(item, len(target.items))
				if err != nil {
					return nil, false, locate(target.place(), err)
				}
				item = Tuple(parts)
			}
			if err := r.assign(st.target, item, inner); err != nil {
				return nil, false, err
			}
			v, err := r.eval(st.test, inner)
			if err != nil {
				return nil, false, err
			}
			if truth(v) {
				return item, true, nil
			}
		}
	}}
}

func (l *loopState) advance() (bool, error) {
	if err := l.peek(); err != nil || l.ended {
		return false, err
	}
	l.before, l.current = l.current, l.ahead
	l.ahead, l.peeked = nil, false
	l.index0++
	return true, nil
}

// peek reads the next item, if it wasn't yet.
func (l *loopState) peek() error {
	if l.peeked || l.ended || l.failed != nil {
		return l.failed
	}
	item, ok, err := l.items.next()
	if err != nil {
		l.failed = err
		return err
	}
	l.ahead, l.peeked, l.ended = item, ok, !ok
	return nil
}

// size is the number of all items; of those that can't be counted the rest is read.
func (l *loopState) size() int {
	if l.count < 0 {
		rest, err := l.r.collect(l.items)
		if err != nil {
			l.failed = err
		}
		l.items = each(len(rest), func(i int) any { return rest[i] })
		l.count = len(rest) + l.index0 + 1
		if l.peeked {
			l.count++
		}
	}
	return l.count
}

// attribute is what loop.name gives; false if it has no such name.
func (l *loopState) attribute(n string) (any, bool, error) {
	switch n {
	case "index":
		return int64(l.index0 + 1), true, nil
	case "index0":
		return int64(l.index0), true, nil
	case "first":
		return l.index0 == 0, true, nil
	case "depth":
		return int64(l.depth + 1), true, nil
	case "depth0":
		return int64(l.depth), true, nil
	case "last":
		err := l.peek()
		return l.ended, true, err
	case "nextitem":
		if err := l.peek(); err != nil {
			return nil, true, err
		}
		if l.ended {
			return &undefined{"there is no next item"}, true, nil
		}
		return l.ahead, true, nil
	case "previtem":
		if l.index0 == 0 {
			return &undefined{"there is no previous item"}, true, nil
		}
		return l.before, true, nil
	case "length":
		n := l.size()
		return int64(n), true, l.failed
	case "revindex":
		n := l.size()
		return int64(n - l.index0), true, l.failed
	case "revindex0":
		n := l.size()
		return int64(n - l.index0 - 1), true, l.failed
	case "cycle":
		return &function{"cycle", func(_ *rendering, a args) (any, error) {
			if err := a.onlyList(); err != nil {
				return nil, err
			}
			if len(a.list) == 0 {
				return nil, fmt.Errorf("loop.cycle has no items")
			}
			return a.list[l.index0%len(a.list)], nil
		}}, true, nil
	case "changed":
		return &function{"changed", func(r *rendering, a args) (any, error) {
			if err := a.onlyList(); err != nil {
				return nil, err
			}
			same, err := r.equal(l.changed, Tuple(a.list))
			if l.hasChanged && (same || err != nil) {
				return false, err
			}
			l.changed, l.hasChanged = a.list, true
			return true, nil
		}}, true, nil
	}
	return nil, false, nil
}

// call is loop(items) in a recursive loop.
func (l *loopState) call(r *rendering, a args) (any, error) {
	v, err := a.read("loop", "iterable")
	if err != nil {
		return nil, err
	}
	if !l.statement.recursive {
		return nil, fmt.Errorf("only a recursive loop can be called")
	}
	written, _, err := r.aside(func() (flow, error) { return going, r.rounds(l.statement, l.scope, v[0], l.depth+1) })
	return written, err
}
