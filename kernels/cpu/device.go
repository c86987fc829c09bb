// Package cpu computes in host memory, with all threads and the machine's vector
// instructions. Activations are F32.
//
// The device promises, besides what kernels.Device does, that a NaN in what a
// loss depends on shows in the loss, and that its scratch memory, which Allocated
// does not count and which grows once, stays below logitsBytes, a copy of the input
// of a layer with an adapter, a few copies of one layer's keys and values, and some
// 3 MiB a thread. Between levels of vector instructions results differ in their last
// bits: the environment variable SCU_CPU (portable, avx2, avx512 or amx) picks a level
// below the machine's best.
//
// A device serves one goroutine at a time; Alloc, Free, Upload and Allocated may
// be called from any.
package cpu

import (
	"fmt"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
)

type device struct {
	memory
	level   level
	v       *vectors
	pool    *pool
	scratch []scratch // one a worker

	ones, zeros []float32
	partial     []float64 // sums of blocks
	logits      region
	adapters    adapterScratch
	attention   attentionScratch
}

// scratch is one worker's memory for pieces of rows.
type scratch struct {
	a, b   [block]float32
	random [block/4 + 64]uint32 // for a mask, see kept
	keep   [block/32 + 2]uint32
	rows   []float32 // of any size, see floats
}

// block is how many elements flat work is cut into: pieces that fit the
// first-level cache.
const block = 2048

// New returns the device with so many threads, the caller's included.
func New(threads int) (kernels.Device, error) {
	if levelError != nil {
		return nil, levelError
	}
	if threads < 1 {
		return nil, fmt.Errorf("cpu: %d threads: want 1 or more", threads)
	}
	return newDevice(threads, levelInUse), nil
}

func newDevice(threads int, l level) *device {
	d := &device{level: l, v: &vectorLevels[l], pool: newPool(threads), scratch: make([]scratch, threads)}
	d.pool.initGemms()
	for _, s := range d.pool.gemms.scratch {
		s.simd = &simds[l]
		if l < levelInUse {
			s.amx = nil
		}
	}
	return d
}

func (d *device) Name() string {
	level := d.level.String()
	if d.pool.gemms.scratch[0].amx != nil {
		level += " with amx"
	}
	return fmt.Sprintf("cpu (%s)", level)
}

// Scratch is that of the threads from the start, and then the largest of each kind
// that an operation grows.
func (d *device) Scratch(ops ...any) int64 {
	thread := unsafe.Sizeof(gemmScratch{}) + unsafe.Sizeof(scratch{})
	if amxInUse {
		thread += unsafe.Sizeof(amxScratch{})
	}
	var logits, dropped, du int
	var attention attentionSizes
	for _, op := range ops {
		switch p := op.(type) {
		case kernels.Linear:
			for _, l := range p.Parts {
				if l.LoRA.A.Buf != nil && p.Mask.P > 0 {
					dropped = max(dropped, p.X.Rows*p.X.Cols)
				}
			}
		case kernels.LinearGrad:
			rank := 0
			for _, l := range p.Parts {
				rank += l.LoRA.A.Rows
			}
			du = max(du, p.X.Rows*rank)
			if rank > 0 && p.Mask.P > 0 {
				dropped = max(dropped, p.X.Rows*p.X.Cols)
			}
		case kernels.LinearCrossEntropy:
			logits = max(logits, logitsRows(p.X.Rows, p.Head.Rows)*p.Head.Rows)
			du = max(du, p.X.Rows*p.LoRA.A.Rows)
			if p.LoRA.A.Buf != nil && p.Mask.P > 0 {
				dropped = max(dropped, p.X.Rows*p.X.Cols)
			}
		case kernels.Attention:
			attention.include(p, false)
		case kernels.AttentionGrad:
			attention.include(p.Attention, true)
		}
	}
	return int64(d.pool.threads)*int64(thread) + 4*(int64(logits)+int64(dropped)+int64(du)+attention.total())
}

func (d *device) Close() error {
	d.pool.close()
	d.logits.free()
	d.adapters.free()
	d.attention.free()
	d.freeAll()
	return nil
}

// floats returns n elements of the worker's memory: the last call's are gone.
func (s *scratch) floats(n int) []float32 {
	s.rows = grown(s.rows, n)
	return s.rows
}

// grown returns a slice of n elements, x itself where it is large enough.
func grown[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}

// constants returns n ones and n zeros.
func (d *device) constants(n int) (ones, zeros []float32) {
	if len(d.ones) < n {
		d.ones, d.zeros = make([]float32, n), make([]float32, n)
		for i := range d.ones {
			d.ones[i] = 1
		}
	}
	return d.ones[:n], d.zeros[:n]
}

// flatten turns matrices of one shape that are all dense into rows of block
// elements, the last one shorter: long rows cost less to go through.
func flatten(ms ...*mat) {
	for _, m := range ms {
		if !m.dense() {
			return
		}
	}
	for _, m := range ms {
		m.rows, m.cols, m.stride = ceilDiv(m.rows*m.cols, block), block, block
	}
}

// eachRow calls f for each row, in pieces of some block elements.
func (d *device) eachRow(rows, cols int, f func(s *scratch, i int)) {
	d.pool.runWorkers(rows, max(1, 2*block/max(cols, 1)), func(worker, lo, hi int) {
		for i := lo; i < hi; i++ {
			f(&d.scratch[worker], i)
		}
	})
}

// Repeat calls f: recording would save nothing.
func (d *device) Repeat(_ string, f func() error) error { return f() }
