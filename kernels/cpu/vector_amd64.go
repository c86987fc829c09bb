package cpu

// The loops of vector_amd64.h.

import "github.com/shannon-control/scu/kernels"

var vectorLevels = [...]vectors{
	portable: portableVectors,
	avx2: {
		add:         addAVX2,
		multiply:    multiplyAVX2,
		scale:       scaleAVX2,
		axpy:        axpyAVX2,
		dot:         dotAVX2,
		sum:         sumAVX2,
		sumSq:       sumSqAVX2,
		max:         maxAVX2,
		exp:         expAVX2,
		softcap:     softcapAVX2,
		softmaxGrad: softmaxGradAVX2,
		softcapGrad: softcapGradAVX2,
		normalize:   normalizeAVX2,
		normSums:    normSumsAVX2,
		normGrad:    normGradAVX2,
		rotate:      rotateAVX2,
		random:      randomAVX2,
		dropout:     dropoutAVX2,
		dropoutAdd:  dropoutAddAVX2,
		adamW:       adamWAVX2,
		activation:  [...]func(a, da, x []float32){kernels.GELU: geluAVX2, kernels.GELUTanh: geluTanhAVX2, kernels.SiLU: siluAVX2, kernels.ReLU: reluAVX2},
	},
	avx512: {
		add:         addAVX512,
		multiply:    multiplyAVX512,
		scale:       scaleAVX512,
		axpy:        axpyAVX512,
		dot:         dotAVX512,
		sum:         sumAVX512,
		sumSq:       sumSqAVX512,
		max:         maxAVX512,
		exp:         expAVX512,
		softcap:     softcapAVX512,
		softmaxGrad: softmaxGradAVX512,
		softcapGrad: softcapGradAVX512,
		normalize:   normalizeAVX512,
		normSums:    normSumsAVX512,
		normGrad:    normGradAVX512,
		rotate:      rotateAVX512,
		random:      randomAVX512,
		dropout:     dropoutAVX512,
		dropoutAdd:  dropoutAddAVX512,
		adamW:       adamWAVX512,
		activation:  [...]func(a, da, x []float32){kernels.GELU: geluAVX512, kernels.GELUTanh: geluTanhAVX512, kernels.SiLU: siluAVX512, kernels.ReLU: reluAVX512},
	},
}

//go:noescape
func addAVX2(dst, a, b []float32)

//go:noescape
func multiplyAVX2(dst, a, b []float32)

//go:noescape
func scaleAVX2(dst, x []float32, alpha float32)

//go:noescape
func axpyAVX2(dst, x []float32, alpha float32)

//go:noescape
func dotAVX2(a, b []float32) float32

//go:noescape
func sumAVX2(x []float32) float32

//go:noescape
func sumSqAVX2(x []float32, mean float32) float32

//go:noescape
func maxAVX2(x []float32) float32

//go:noescape
func expAVX2(dst, x []float32, shift float32) float32

//go:noescape
func softcapAVX2(dst, x []float32, limit float32)

//go:noescape
func softmaxGradAVX2(ds, p []float32, delta, scale float32)

//go:noescape
func siluAVX2(a, da, x []float32)

//go:noescape
func geluTanhAVX2(a, da, x []float32)

//go:noescape
func geluAVX2(a, da, x []float32)

//go:noescape
func reluAVX2(a, da, x []float32)

//go:noescape
func normalizeAVX2(dst, x, w, b []float32, mean, rstd float32)

//go:noescape
func normSumsAVX2(x, w, dy []float32, mean, rstd float32) (sumG, sumGH float32)

//go:noescape
func normGradAVX2(dx, plus, x, w, dy []float32, mean, rstd, meanG, meanGH float32)

//go:noescape
func rotateAVX2(a, b, cos, sin []float32, sign float32)

//go:noescape
func randomAVX2(r []uint32, key, counter uint64)

//go:noescape
func dropoutAVX2(dst, x []float32, keep []uint32, scale float32)

//go:noescape
func dropoutAddAVX2(dst, x []float32, keep []uint32, scale float32)

//go:noescape
func adamWAVX2(w, g, m, v []float32, s *adamStep)

//go:noescape
func addAVX512(dst, a, b []float32)

//go:noescape
func multiplyAVX512(dst, a, b []float32)

//go:noescape
func scaleAVX512(dst, x []float32, alpha float32)

//go:noescape
func axpyAVX512(dst, x []float32, alpha float32)

//go:noescape
func dotAVX512(a, b []float32) float32

//go:noescape
func sumAVX512(x []float32) float32

//go:noescape
func sumSqAVX512(x []float32, mean float32) float32

//go:noescape
func maxAVX512(x []float32) float32

//go:noescape
func expAVX512(dst, x []float32, shift float32) float32

//go:noescape
func softcapAVX512(dst, x []float32, limit float32)

//go:noescape
func softmaxGradAVX512(ds, p []float32, delta, scale float32)

//go:noescape
func siluAVX512(a, da, x []float32)

//go:noescape
func geluTanhAVX512(a, da, x []float32)

//go:noescape
func geluAVX512(a, da, x []float32)

//go:noescape
func reluAVX512(a, da, x []float32)

//go:noescape
func normalizeAVX512(dst, x, w, b []float32, mean, rstd float32)

//go:noescape
func normSumsAVX512(x, w, dy []float32, mean, rstd float32) (sumG, sumGH float32)

//go:noescape
func normGradAVX512(dx, plus, x, w, dy []float32, mean, rstd, meanG, meanGH float32)

//go:noescape
func rotateAVX512(a, b, cos, sin []float32, sign float32)

//go:noescape
func randomAVX512(r []uint32, key, counter uint64)

//go:noescape
func dropoutAVX512(dst, x []float32, keep []uint32, scale float32)

//go:noescape
func dropoutAddAVX512(dst, x []float32, keep []uint32, scale float32)

//go:noescape
func adamWAVX512(w, g, m, v []float32, s *adamStep)

//go:noescape
func softcapGradAVX2(d, y []float32, limit float32)

//go:noescape
func softcapGradAVX512(d, y []float32, limit float32)
