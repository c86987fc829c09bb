//go:build cuda && cgo && linux

package cublaslt

// #include "cublaslt.h"
import "C"

import (
	"errors"
	"time"
	"unsafe"

	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// candidates is how many of the library's proposals for a product are timed.
const candidates = 8

// choose returns the algorithm kept for a product, if one is kept and still usable, and otherwise the fastest of
// the proposals, which it keeps before the product is made for the first time. If nothing can be kept, it is the
// preferred proposal, which other processes get too.
func (h *Handle) choose(s Shape, p *C.lt_plan, found []C.lt_heuristic, o Operands) (C.lt_algorithm, error) {
	var kept C.lt_algorithm
	usable := func(a algorithm) bool {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&kept)), len(a)), a[:])
		return C.lt_plan_check(h.h, p, &kept, Workspace) == 0
	}
	tiles := make([]int, len(found))
	for i := range found {
		tiles[i] = int(C.lt_tile(&found[i].algorithm))
	}
	first := preferred(s, tiles)
	if h.choices.path == "" {
		return found[first].algorithm, nil
	}
	if a, ok := h.choices.find(s); ok && usable(a) {
		return kept, nil
	}
	best, err := h.fastest(s, p, found, first, o)
	if err != nil {
		return kept, err
	}
	var a algorithm
	copy(a[:], unsafe.Slice((*byte)(unsafe.Pointer(&found[best].algorithm)), len(a)))
	// Another process may have chosen meanwhile: its choice holds.
	if a, err := h.choices.keep(s, a, usable); err == nil && usable(a) {
		return kept, nil
	}
	return found[first].algorithm, nil
}

// fastest times the proposals, in turns and each by its best time, once the GPU is as hot as products make it: the
// first to be taken is, unless another is clearly faster. The product is made in dst, which it overwrites, or beside it
// if it adds.
func (h *Handle) fastest(s Shape, p *C.lt_plan, found []C.lt_heuristic, first int, o Operands) (best int, err error) {
	if len(found) == 1 {
		return first, nil
	}
	if o.Beta != 0 && o.From == o.Dst {
		beside, err := h.ctx.Alloc(s.M * s.StrideC * s.TypeC.Bytes(1))
		if err != nil {
			return first, nil // there is no room to try
		}
		o.Dst, o.Beta = beside, 0
		defer func() { err = errors.Join(err, h.ctx.Free(beside)) }()
	}
	var timers [2]driver.Event
	for i := range timers {
		if timers[i], err = h.ctx.MakeTimer(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, h.ctx.DestroyEvent(timers[i])) }()
	}
	const rounds, runs, clearly, warm = 4, 15, 0.98, 100 * time.Millisecond
	times := make([]float32, len(found))
	C.lt_plan_choose(p, &found[first].algorithm)
	for start := time.Now(); time.Since(start) < warm; {
		for range runs {
			if err := h.run(s, p, o); err != nil {
				return 0, err
			}
		}
		if err := h.ctx.Wait(); err != nil {
			return 0, err
		}
	}
	best = first
	for round := range rounds {
		for i := range found {
			if round > 1 && times[i] > 1.1*times[best] {
				continue // it won't be
			}
			C.lt_plan_choose(p, &found[i].algorithm)
			if err := h.ctx.Record(timers[0]); err != nil {
				return 0, err
			}
			for range runs {
				if err := h.run(s, p, o); err != nil {
					return 0, err
				}
			}
			if err := h.ctx.Record(timers[1]); err != nil {
				return 0, err
			}
			took, err := h.ctx.Elapsed(timers[0], timers[1])
			if err != nil {
				return 0, err
			}
			if round == 1 || took < times[i] { // the first round only warms up
				times[i] = took
			}
		}
		best = first
		for i := range found {
			if times[i] < clearly*times[best] {
				best = i
			}
		}
	}
	return best, nil
}
