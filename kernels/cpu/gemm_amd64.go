package cpu

// The micro-kernels, packing and widening in vector instructions. See tile and
// simd for what each does.

var simds = [...]simd{
	portable: portableSIMD,
	avx2: {
		rows: 4, lanes: 8,
		mul:       mulAVX2,
		transpose: transposeAVX2,
		spread:    spreadAVX2,
		widenBF16: widenBF16AVX2,
		widenF16:  widenF16AVX2,
		widenNF4:  widenNF4AVX2,
	},
	avx512: {
		rows: 8, lanes: 16,
		mul:       mulAVX512,
		transpose: transposeAVX512,
		spread:    spreadAVX2,
		widenBF16: widenBF16AVX512,
		widenF16:  widenF16AVX512,
		widenNF4:  widenNF4AVX512,
	},
}

//go:noescape
func mulAVX2(t *tile)

//go:noescape
func transposeAVX2(dst *float32, dstStep int, src *float32, rows *[maxLanes]int, blocks int)

//go:noescape
func spreadAVX2(dst, src *float32, rows, srcStep, panels, panelBytes, panelStep int)

//go:noescape
func widenBF16AVX2(dst *float32, src *uint16, n int)

//go:noescape
func widenF16AVX2(dst *float32, src *uint16, n int)

//go:noescape
func widenNF4AVX2(dst *float32, src *byte, n int, levels *[16]float32, scale float32)

//go:noescape
func mulAVX512(t *tile)

//go:noescape
func transposeAVX512(dst *float32, dstStep int, src *float32, rows *[maxLanes]int, blocks int)

//go:noescape
func widenBF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func widenF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func widenNF4AVX512(dst *float32, src *byte, n int, levels *[16]float32, scale float32)
