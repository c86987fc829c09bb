package cpu

// Packing: a block of B is copied into panels, one for each column of tiles, that
// hold the panel's columns row by row; widened and transposed on the way.

import (
	"unsafe"

	"github.com/shannon-control/scu/kernels"
)

// pack copies rows [p, p+k) of columns [j, j+cols) of op(B) to s.packed. The panel
// of the columns from q on starts at q*k. What is left of a last vector is not
// written: the tile ignores it.
func (s *gemmScratch) pack(g *gemmArgs, p, k, j, cols int) {
	if k == 0 {
		return
	}
	for q := 0; q < cols; {
		vectors := s.simd.vectors(cols - q)
		width := vectors * s.simd.lanes
		end := q + width // of the panels of this width
		for end < cols && s.simd.vectors(cols-end) == vectors {
			end += width
		}
		have := min(end, cols) - q
		if g.transB {
			for v := 0; v < have; v += width {
				s.packTransposed(s.packed[(q+v)*k:], g, p, k, j+q+v, min(width, have-v), width)
			}
		} else {
			s.packRows(s.packed[q*k:], g, p, k, j+q, have, width)
		}
		q = end
	}
}

// packRows fills panels of one width with the columns [j, j+have) of k rows of B:
// only the last panel may be short of columns. It goes row by row, as B lies in
// memory.
func (s *gemmScratch) packRows(panels []float32, g *gemmArgs, p, k, j, have, width int) {
	full := have / width
	for i := 0; i < k; {
		src, stride, rows := g.b.f32, g.ldb, k
		if src != nil {
			src = src[g.off+p*g.ldb+j:]
		} else {
			stride = have
			rows = min(len(s.wide)/have, k-i)
			src = s.wide[:rows*have]
			for r := range rows {
				s.simd.widen(src[r*have:(r+1)*have], &g.b, g.off+(p+i+r)*g.ldb+j)
			}
		}
		if full > 0 {
			s.simd.spread(&panels[i*width], &src[0], rows, 4*stride, full, 4*width, 4*width*k)
		}
		if rest := have % width; rest > 0 {
			panel := panels[(full*k+i)*width:]
			for r := range rows {
				copy(panel[r*width:], src[r*stride+full*width:][:rest])
			}
		}
		i += rows
	}
}

// packTransposed fills a panel with the k elements from p on of B's rows
// [j, j+have), which are op(B)'s columns.
func (s *gemmScratch) packTransposed(panel []float32, g *gemmArgs, p, k, j, have, width int) {
	if g.b.f32 != nil {
		s.transpose(panel, width, g.b.f32[g.off+j*g.ldb+p:], g.ldb, have, k)
		return
	}
	for v := 0; v < have; v += maxLanes {
		rows := min(maxLanes, have-v)
		for r := range rows {
			s.simd.widen(s.wide[r*k:(r+1)*k], &g.b, g.off+(j+v+r)*g.ldb+p)
		}
		s.transpose(panel[v:], width, s.wide[:], k, rows, k)
	}
}

// transpose sets dst[j*dstStride+i] = src[i*srcStride+j] for i < rows, j < cols.
func (s *gemmScratch) transpose(dst []float32, dstStride int, src []float32, srcStride, rows, cols int) {
	lanes := s.simd.lanes
	whole := cols - cols%lanes
	for i := 0; i < rows; i += lanes {
		have := min(lanes, rows-i)
		for r := range lanes { // what is missing repeats the last row
			s.rows[r] = 4 * srcStride * min(r, have-1)
		}
		from := src[i*srcStride:]
		switch {
		case whole == 0:
		case have == lanes:
			s.simd.transpose(&dst[i], 4*dstStride, &from[0], &s.rows, whole/lanes)
		default:
			for j := 0; j < whole; j += lanes {
				s.simd.transpose(&s.corner[0], 4*lanes, &from[j], &s.rows, 1)
				for c := range lanes {
					copy(dst[(j+c)*dstStride+i:], s.corner[c*lanes:][:have])
				}
			}
		}
		for r := range have {
			for j := whole; j < cols; j++ {
				dst[j*dstStride+i+r] = from[r*srcStride+j]
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

// The same in plain Go, for machines without vector instructions.

func transposePortable(dst *float32, dstStep int, src *float32, rows *[maxLanes]int, blocks int) {
	const lanes = portableLanes
	for r, row := range rows[:lanes] {
		from := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(src), row)), lanes*blocks)
		for p, x := range from {
			*(*float32)(unsafe.Add(unsafe.Pointer(dst), p*dstStep+4*r)) = x
		}
	}
}

func spreadPortable(dst, src *float32, rows, srcStep, panels, panelBytes, panelStep int) {
	for r := range rows {
		for q := range panels {
			to := (*byte)(unsafe.Add(unsafe.Pointer(dst), q*panelStep+r*panelBytes))
			from := (*byte)(unsafe.Add(unsafe.Pointer(src), r*srcStep+q*panelBytes))
			copy(unsafe.Slice(to, panelBytes), unsafe.Slice(from, panelBytes))
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
