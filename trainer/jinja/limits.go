package jinja

import "fmt"

// take counts the work on n bytes or items, and looks after the context.
func (r *rendering) take(n int) error {
	before := r.steps
	r.steps += int64(n)/16 + 1
	if r.steps > r.limits.Steps {
		return fmt.Errorf("%w: more than %d steps", ErrLimit, r.limits.Steps)
	}
	if before>>10 != r.steps>>10 {
		return r.ctx.Err()
	}
	return nil
}

// hold counts n bytes of a value that is about to be made.
func (r *rendering) hold(n int64) error {
	if n < 0 || n > r.limits.Memory-r.memory {
		return fmt.Errorf("%w: values of more than %d bytes", ErrLimit, r.limits.Memory)
	}
	r.memory += n
	return r.take(int(n / 16)) // copying is cheaper than looking
}

// times is count times n bytes, for hold.
func times(count, n int64) int64 {
	if count <= 0 || n <= 0 {
		return 0
	}
	if count > 1<<62/n {
		return 1 << 62
	}
	return count * n
}

// sizeOfItem is what an item of a list takes.
const sizeOfItem = 16

// made is a string that a function made, counted.
func (r *rendering) made(s string) (any, error) { return s, r.hold(int64(len(s))) }

// listed is a list that a function made, counted.
func (r *rendering) listed(l []any) (any, error) {
	return List(l), r.hold(int64(len(l)) * sizeOfItem)
}

// collect reads an iterator to its end.
func (r *rendering) collect(v any) ([]any, error) {
	it, err := iterate(v)
	if err != nil {
		return nil, err
	}
	all := []any{}
	for {
		item, ok, err := it.next()
		if err != nil || !ok {
			return all, err
		}
		if err := r.hold(sizeOfItem); err != nil {
			return nil, err
		}
		all = append(all, item)
	}
}
