//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"sync"

	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// staging is pinned host memory for copies to the GPU: a few slots, each filled from its start and
// reused once the copies out of it are done. A write waits only while all slots are being copied.
type staging struct {
	mu    sync.Mutex
	slots [4]slot
	at    int // the slot being filled
}

type slot struct {
	b    []byte
	used int
	done driver.Event // recorded behind the last copy out of it
}

const slotBytes = 8 << 20

// write queues a copy of src, which may be used again on return.
func (s *staging) write(ctx *driver.Context, dst driver.Pointer, src []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(src) > 0 {
		c := &s.slots[s.at]
		if c.b == nil {
			b, err := ctx.Pin(slotBytes)
			if err != nil {
				return err
			}
			done, err := ctx.MakeEvent()
			if err != nil {
				return errors.Join(err, ctx.Unpin(b))
			}
			c.b, c.done = b, done
		}
		n := copy(c.b[c.used:], src)
		if err := ctx.CopyIn(dst, c.b[c.used:c.used+n]); err != nil {
			return err
		}
		c.used = (c.used + n + 15) &^ 15
		dst, src = dst+driver.Pointer(n), src[n:]
		if c.used < slotBytes {
			continue
		}
		if err := ctx.Record(c.done); err != nil {
			return err
		}
		s.at = (s.at + 1) % len(s.slots)
		if next := &s.slots[s.at]; next.b != nil {
			if err := ctx.WaitFor(next.done); err != nil {
				return err
			}
			next.used = 0
		}
	}
	return nil
}

func (s *staging) free(ctx *driver.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	keep(ctx.Wait())
	for i := range s.slots {
		if s.slots[i].b != nil {
			keep(ctx.DestroyEvent(s.slots[i].done))
			keep(ctx.Unpin(s.slots[i].b))
		}
		s.slots[i] = slot{}
	}
	return first
}
