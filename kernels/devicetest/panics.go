package devicetest

import "github.com/shannon-control/scu/kernels"

// panics checks that what is a bug in the caller is told at once, as far as shapes and
// types show it.
func panics(e *env) {
	act := e.d.Activations()
	a, f := e.alloc(act, 64), e.alloc(kernels.F32, 64)
	ids, doubles, keys := e.alloc(kernels.I32, 4), e.alloc(kernels.F64, 1), e.alloc(kernels.U64, 1)
	m, h := kernels.Matrix(a, 4, 16), kernels.HeadsOf(kernels.Matrix(a, 4, 16), 8)
	square := kernels.Matrix(a, 4, 4)
	attention := kernels.Attention{Batch: 1, QueryLen: 4, KeyLen: 4, Q: h, K: h, V: h, Out: h, LSE: e.alloc(kernels.F32, 8)}
	integers := kernels.Matrix(ids, 2, 2)
	for name, f := range map[string]func(){
		"matrix past its buffer":  func() { e.d.Add(m, m, kernels.Matrix(a, 4, 17)) },
		"rows that overlap":       func() { e.d.Add(m, m, kernels.Mat{Buf: a, Rows: 4, Cols: 16, Stride: 15}) },
		"another shape":           func() { e.d.Add(m, m, kernels.Matrix(a, 16, 4)) },
		"integers as activations": func() { e.d.Add(integers, integers, integers) },
		"ids of another length":   func() { e.d.Embed(kernels.Embed{Dst: m, Table: m, IDs: ids.Slice(0, 3), Scale: 1}) },
		"sizes of a product":      func() { e.d.MatMul(kernels.MatMul{Dst: m, A: m, B: m, Alpha: 1}) },
		"a product of integers": func() {
			e.d.MatMul(kernels.MatMul{Dst: kernels.Matrix(a, 2, 2), A: integers, B: kernels.Matrix(a, 2, 2), Alpha: 1})
		},
		"a product with integers": func() {
			e.d.MatMul(kernels.MatMul{Dst: kernels.Matrix(a, 2, 2), A: kernels.Matrix(a, 2, 2), B: integers, Alpha: 1})
		},
		"a product into integers": func() {
			e.d.MatMul(kernels.MatMul{Dst: integers, A: kernels.Matrix(a, 2, 2), B: kernels.Matrix(a, 2, 2), Alpha: 1})
		},
		"a bias of another length": func() { e.d.MatMul(kernels.MatMul{Dst: square, A: m, B: m, TransB: true, Alpha: 1, Bias: f}) },
		"a rotation wider than heads": func() {
			e.d.RoPE(kernels.RoPE{X: h, Rows: 4, Rotation: kernels.Rotation{Len: 4, Half: 5, Cos: f, Sin: f}})
		},
		"tables that are too short": func() {
			e.d.RoPE(kernels.RoPE{X: h, Rows: 4, Rotation: kernels.Rotation{Len: 4, Start: 20, Half: 4, Cos: f, Sin: f}})
		},
		"a rotation of a cache's keys": func() {
			p := kernels.AttentionGrad{Attention: attention, DOut: h, DQ: h, DK: h, DV: h, Rotation: kernels.Rotation{Len: 4, Half: 4, Cos: f, Sin: f}}
			p.QueryLen = 2
			e.d.AttentionGrad(p)
		},
		"more queries than keys":   func() { p := attention; p.KeyLen = 2; e.d.Attention(p) },
		"starts of another length": func() { p := attention; p.Starts = ids.Slice(0, 3); e.d.Attention(p) },
		"a mask without a key":     func() { e.d.Dropout(kernels.Dropout{Dst: m, Src: m, Mask: kernels.Mask{P: 0.5}}) },
		"a key past the end": func() {
			e.d.Dropout(kernels.Dropout{Dst: m, Src: m, Mask: kernels.Mask{P: 0.5, Key: kernels.Scalar{Buf: keys, I: 1}}})
		},
		"an unknown activation":     func() { e.d.Activate(99, m, m) },
		"a sum into F32":            func() { e.d.Sum(kernels.Scalar{Buf: f}, f, false) },
		"a sum past the end":        func() { e.d.Sum(kernels.Scalar{Buf: doubles, I: 1}, f, false) },
		"a write of the wrong type": func() { e.d.WriteF32(ids, make([]float32, 4)) },
		"a slice past the end":      func() { f.Slice(60, 5) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					e.t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
