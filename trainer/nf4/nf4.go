// Package nf4 makes and reads weights in bitsandbytes' 4-bit NormalFloat (QLoRA,
// arXiv:2305.14314): 4.13 bits a weight, double quantisation included.
//
// A matrix is cut, row-major, into blocks of 64 weights. A block keeps its largest
// absolute value as its scale, and each weight the nearest of 16 levels times that
// scale. The scales are quantised too, to 8 bits each: see Scales.
//
// What Quantize makes is byte for byte what bitsandbytes 0.50 makes on a CPU with
// one thread. Open and Stored.Read take what it saved in a checkpoint.
package nf4

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// Matrix is a quantised matrix of N weights.
type Matrix struct {
	N      int
	Packed []byte // level numbers, two a byte, the first in the high nibble
	Scales Scales // of each block of 64 weights
}

// Quantized is the matrix as devices compute with it: its scales are widened.
func (m *Matrix) Quantized() kernels.Quantized {
	return kernels.Quantized{Packed: m.Packed, Absmax: m.Scales.Widen(), N: m.N}
}

// piece is how many weights are widened and quantised at a time.
const piece = 1024 * kernels.NF4Block

// Quantize quantises a tensor of any floating-point type, on all processors; the
// bytes don't depend on their number. The tensor is never widened as a whole. One
// with an infinity or a NaN is an error that names it.
func Quantize(t safetensors.Tensor) (*Matrix, error) {
	size := t.DType.Size()
	if size == 0 || len(t.Data)%size != 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "tensor %s has %d bytes, which are no whole number of %s", t.Name, len(t.Data), t.DType)
	}
	n := len(t.Data) / size
	m := &Matrix{N: n, Packed: make([]byte, kernels.NF4.Bytes(n))}
	absmax := make([]float32, blocks(n, kernels.NF4Block))

	pieces := blocks(n, piece)
	errs := make([]error, pieces)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), pieces) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < pieces; i = int(next.Add(1)) - 1 {
				begin, end := i*piece, min((i+1)*piece, n)
				part := safetensors.Tensor{Name: t.Name, DType: t.DType, Shape: []int{end - begin}, Data: t.Data[begin*size : end*size]}
				w, err := part.Float32()
				if err == nil && !quantize(m.Packed[begin/2:], absmax[begin/kernels.NF4Block:], w) {
					err = scu.Errorf(scu.CodeInvalid, "tensor %s has a weight that is not a finite number: it can't be quantised", t.Name)
				}
				errs[i] = err
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	m.Scales = quantizeScales(absmax)
	return m, nil
}

// blocks is how many blocks of size elements hold n.
func blocks(n, size int) int { return (n + size - 1) / size }

// smallest keeps the reciprocal of a block's scale finite.
const smallest = float32(1e-38)

// quantize fills packed and absmax with the weights w, which begin at a block's
// start. It reports whether all are finite.
func quantize(packed []byte, absmax, w []float32) bool {
	for b := 0; len(w) > 0; b++ {
		block := w[:min(kernels.NF4Block, len(w))]
		w = w[len(block):]
		m := largest(block)
		if math.IsNaN(float64(m)) || math.IsInf(float64(m), 0) {
			return false
		}
		to := packed[b*kernels.NF4Block/2:][:kernels.NF4.Bytes(len(block))]
		if len(block) == kernels.NF4Block {
			absmax[b] = m
			r := 1 / max(m, smallest)
			for i := range to {
				to[i] = level(block[2*i]*r)<<4 | level(block[2*i+1]*r)
			}
			continue
		}
		// The last block, where it isn't full, is divided by its scale: another
		// rounding. What pads an odd number of weights is a zero.
		m = max(m, smallest)
		absmax[b] = m
		for i := range to {
			low := level(0)
			if 2*i+1 < len(block) {
				low = level(block[2*i+1] / m)
			}
			to[i] = level(block[2*i]/m)<<4 | low
		}
	}
	return true
}

// largest is the largest absolute value, or NaN where there is one.
func largest(x []float32) float32 {
	var m float32
	for _, v := range x {
		m = max(m, max(v, -v))
	}
	return m
}

// bounds lie halfway between the levels; the last is never reached.
var bounds = func() (b [16]float32) {
	for i := range 15 {
		b[i] = (kernels.NF4Levels[i] + kernels.NF4Levels[i+1]) / 2
	}
	b[15] = float32(math.Inf(1))
	return b
}()

// level is the number of the level nearest to v; the lower one of two as near.
func level(v float32) byte {
	n := 0
	if v > bounds[7] {
		n = 8
	}
	if v > bounds[n+3] {
		n += 4
	}
	if v > bounds[n+1] {
		n += 2
	}
	if v > bounds[n&15] {
		n++
	}
	return byte(n)
}
