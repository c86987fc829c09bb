package cpu

// Packing B: a block of it is copied into panels, one for each column of tiles,
// that hold the panel's columns row by row; widened and transposed on the way.

import (
	"unsafe"

	"scu/kernels"
)

// pack copies rows [p, p+k) of columns [j, j+cols) of op(B) to s.packed. The panel
// of the columns from q on starts at q*k. What is left of a last vector is not
// written: the tile ignores it.
func (s *gemmScratch) pack(g *gemmArgs, p, k, j, cols int) {
	for q := 0; q < cols; {
		width := s.simd.vectors(cols-q) * s.simd.lanes
		panel := s.packed[q*k : (q+width)*k]
		have := min(width, cols-q)
		if g.transB {
			s.packTransposed(panel, g, p, k, j+q, have, width)
		} else {
			for i := range k {
				s.simd.widen(panel[i*width:i*width+have], &g.b, g.off+(p+i)*g.ldb+j+q)
			}
		}
		q += width
	}
}

// packTransposed fills a panel with the k elements from p on of B's rows
// [j, j+have), which are op(B)'s columns.
func (s *gemmScratch) packTransposed(panel []float32, g *gemmArgs, p, k, j, have, width int) {
	if k == 0 {
		return
	}
	lanes := s.simd.lanes
	blocks := k / lanes
	for v := 0; v < have; v += lanes {
		src, stride := g.b.f32, g.ldb
		if src != nil {
			src = src[g.off+(j+v)*stride+p:]
		} else {
			src, stride = s.wide[:], k
			for r := range min(lanes, have-v) {
				s.simd.widen(src[r*k:(r+1)*k], &g.b, g.off+(j+v+r)*g.ldb+p)
			}
		}
		for r := range lanes { // what is missing repeats the last row
			s.rows[r] = 4 * stride * min(r, have-v-1)
		}
		if blocks > 0 {
			s.simd.transpose(&panel[v], 4*width, &src[0], &s.rows, blocks)
		}
		for r := range min(lanes, have-v) {
			row := src[r*stride:]
			for i := blocks * lanes; i < k; i++ {
				panel[i*width+v+r] = row[i]
			}
		}
	}
}

// widen copies elements from off on to dst as F32.
func (s *simd) widen(dst []float32, o *operand, off int) {
	n := len(dst) &^ 15 // what the vector code does
	switch {
	case o.f32 != nil:
		copy(dst, o.f32[off:])
	case o.bf16 != nil:
		src := o.bf16[off:][:len(dst)]
		if n > 0 {
			s.widenBF16(&dst[0], &src[0], n)
		}
		for i := n; i < len(dst); i++ {
			dst[i] = kernels.FromBF16(src[i])
		}
	case o.f16 != nil:
		src := o.f16[off:][:len(dst)]
		if n > 0 {
			s.widenF16(&dst[0], &src[0], n)
		}
		for i := n; i < len(dst); i++ {
			dst[i] = kernels.FromF16(src[i])
		}
	default:
		s.widenQuantized(dst, o, off)
	}
}

// widenQuantized is widen from NF4, one run of elements with the same scale after
// the other.
func (s *simd) widenQuantized(dst []float32, o *operand, off int) {
	for len(dst) > 0 {
		run := min(len(dst), kernels.NF4Block-off%kernels.NF4Block)
		scale := o.absmax[off/kernels.NF4Block]
		i := 0
		if n := run &^ 15; n > 0 && off%2 == 0 {
			s.widenNF4(&dst[0], &o.nf4[off/2], n, &kernels.NF4Levels, scale)
			i = n
		}
		for ; i < run; i++ {
			code := o.nf4[(off+i)/2]
			if (off+i)%2 == 0 {
				code >>= 4
			}
			dst[i] = kernels.NF4Levels[code&15] * scale
		}
		dst, off = dst[run:], off+run
	}
}

// The rest of this file is the same for machines without vector instructions.

func transposePortable(dst *float32, dstStep int, src *float32, rows *[maxLanes]int, blocks int) {
	const lanes = portableLanes
	for r, row := range rows[:lanes] {
		from := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(src), row)), lanes*blocks)
		for p, x := range from {
			*(*float32)(unsafe.Add(unsafe.Pointer(dst), p*dstStep+4*r)) = x
		}
	}
}

func widenBF16Portable(dst *float32, src *uint16, n int) {
	to := unsafe.Slice(dst, n)
	for i, h := range unsafe.Slice(src, n) {
		to[i] = kernels.FromBF16(h)
	}
}

func widenF16Portable(dst *float32, src *uint16, n int) {
	to := unsafe.Slice(dst, n)
	for i, h := range unsafe.Slice(src, n) {
		to[i] = kernels.FromF16(h)
	}
}

func widenNF4Portable(dst *float32, src *byte, n int, levels *[16]float32, scale float32) {
	to := unsafe.Slice(dst, n)
	for i, b := range unsafe.Slice(src, n/2) {
		to[2*i], to[2*i+1] = levels[b>>4]*scale, levels[b&15]*scale
	}
}
