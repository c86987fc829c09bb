//go:build cuda && cgo && linux

package cuda

import "github.com/shannon-control/scu/kernels/cuda/driver"

// scratch is the memory that operations need inside, in stack order: take after mark, and all that was
// taken ends with release. It grows to what the hungriest operation so far took. Queued kernels
// keep what was released until they are done, since the next ones are queued behind them.
type scratch struct {
	block driver.Pointer
	size  int
	used  int
	extra []driver.Pointer // for what the block had no room for
	need  int
}

// take returns n bytes, or 0 once the device has failed.
func (s *scratch) take(d *device, n int) driver.Pointer {
	n = (n + 255) &^ 255
	off := s.used
	s.used += n
	s.need = max(s.need, s.used)
	if s.used <= s.size {
		return s.block + driver.Pointer(off)
	}
	if d.failed() {
		return 0
	}
	if d.repeats.recording {
		d.repeats.spoilt = true
		return 0
	}
	p, err := d.ctx.Alloc(n)
	if err != nil {
		d.fail(err)
		return 0
	}
	s.extra = append(s.extra, p)
	return p
}

// mark is what release goes back to.
func (s *scratch) mark() int { return s.used }

func (s *scratch) release(d *device, mark int) {
	s.used = mark
	if mark > 0 || len(s.extra) == 0 {
		return
	}
	for _, p := range s.extra {
		d.fail(d.ctx.Free(p))
	}
	s.extra = nil
	d.state.Add(1)
	if s.size > 0 {
		d.fail(d.ctx.Free(s.block))
	}
	s.block, s.size = 0, 0
	if d.failed() {
		return
	}
	p, err := d.ctx.Alloc(s.need)
	if err != nil {
		d.fail(err)
		return
	}
	s.block, s.size = p, s.need
}

func (s *scratch) free(d *device) {
	s.used = 0
	for _, p := range s.extra {
		d.fail(d.ctx.Free(p))
	}
	if s.size > 0 {
		d.fail(d.ctx.Free(s.block))
	}
	*s = scratch{}
}
