package cpu

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// aligned returns n bytes that start at a multiple of 8.
func aligned(n int) []byte { return heap(n + 8)[:n] }

func TestUploadUsesAlignedDataInPlaceAndCopiesOther(t *testing.T) {
	d := newDevice(1, machineLevel())
	defer d.Close()
	for _, offset := range []int{0, 1} {
		data := aligned(100)[offset:][:40]
		for i := range 10 {
			binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(i)))
		}
		b, err := d.Upload(kernels.F32, data)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 10)
		if err := d.ReadF32(got, b); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != float32(i) {
				t.Errorf("offset %d: element %d is %v", offset, i, v)
			}
		}
		now, _ := d.Allocated()
		if inPlace := now == 0; inPlace != (offset == 0 && littleEndian) {
			t.Errorf("offset %d: %d bytes allocated", offset, now)
		}
		d.Free(b)
		if now, peak := d.Allocated(); now != 0 || peak != int64(40*offset) {
			t.Errorf("offset %d: %d bytes allocated after Free, peak %d", offset, now, peak)
		}
	}
}

func TestAllocReportsMissingMemory(t *testing.T) {
	d := newDevice(1, portable)
	defer d.Close()
	// 2^60 elements: more than any machine's address space.
	_, err := d.Alloc(kernels.F64, 1<<60)
	if err == nil || !strings.Contains(err.Error(), "smaller") {
		t.Errorf("Alloc of 2^63 bytes: %v, want an error that says what to do", err)
	}
}

// What is wrong in the caller panics with a message of ours, on both devices,
// before anything is written.
func TestWrongArgumentsPanic(t *testing.T) {
	for _, d := range []kernels.Device{newDevice(1, portable), newDevice(2, machineLevel())} {
		alloc := func(dt kernels.DType, n int) kernels.Buffer {
			b, err := d.Alloc(dt, n)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		f, half, ids, sums := alloc(kernels.F32, 64), alloc(kernels.BF16, 64), alloc(kernels.I32, 4), alloc(kernels.F64, 1)
		m := kernels.Matrix(f, 4, 16)
		h := kernels.HeadsOf(m, 8)
		d.WriteI32(ids, []int32{0, 1, 9, 0})
		freed := alloc(kernels.F32, 64)
		d.Free(freed)
		for name, f := range map[string]func(){
			"matrix past its buffer": func() { d.Add(m, m, kernels.Matrix(f, 4, 17)) },
			"rows that overlap":      func() { d.Add(m, m, kernels.Mat{Buf: f, Rows: 4, Cols: 16, Stride: 15}) },
			"other shape":            func() { d.Add(m, m, kernels.Matrix(f, 16, 4)) },
			"activations of BF16":    func() { d.Add(kernels.Matrix(half, 4, 16), m, m) },
			"freed buffer":           func() { d.Add(m, m, kernels.Matrix(freed, 4, 16)) },
			"id past the table":      func() { d.Embed(kernels.Embed{Dst: m, Table: m, IDs: ids, Scale: 1}) },
			"ids of another length":  func() { d.Embed(kernels.Embed{Dst: m, Table: m, IDs: ids.Slice(0, 3), Scale: 1}) },
			"product sizes":          func() { d.MatMul(kernels.MatMul{Dst: m, A: m, B: m, Alpha: 1}) },
			"bias length": func() {
				d.MatMul(kernels.MatMul{Dst: kernels.Matrix(f.Slice(0, 16), 4, 4), A: m, B: m, TransB: true, Alpha: 1, Bias: f})
			},
			"target past the vocab": func() { crossEntropyOf(d, m, ids, f.Slice(0, 4)) },
			"rotation wider than heads": func() {
				d.RoPE(kernels.RoPE{X: h, Rows: 4, Rotation: kernels.Rotation{Len: 4, Half: 5, Cos: f, Sin: f}})
			},
			"tables too short": func() {
				d.RoPE(kernels.RoPE{X: h, Rows: 4, Rotation: kernels.Rotation{Len: 4, Start: 20, Half: 4, Cos: f, Sin: f}})
			},
			"more queries than keys": func() {
				d.Attention(kernels.Attention{Batch: 1, QueryLen: 4, KeyLen: 2, Q: h, K: h, V: h, Out: h, LSE: f.Slice(0, 8)})
			},
			"a segment after its position": func() {
				d.Attention(kernels.Attention{Batch: 1, QueryLen: 4, KeyLen: 4, Q: h, K: h, V: h, Out: h, LSE: f.Slice(0, 8), Starts: ids})
			},
			"a position past the tables": func() {
				d.RoPE(kernels.RoPE{X: h, Rows: 4, Rotation: kernels.Rotation{Len: 4, Positions: ids, Half: 4, Cos: f.Slice(0, 32), Sin: f.Slice(0, 32)}})
			},
			"a mask without a key": func() {
				d.Dropout(kernels.Dropout{Dst: m, Src: m, Mask: kernels.Mask{P: 0.5}})
			},
			"heads not in groups": func() {
				three := h
				three.N, three.Dim, three.HeadStride = 3, 4, 4
				two := three
				two.N = 2
				d.Attention(kernels.Attention{Batch: 1, QueryLen: 4, KeyLen: 4, Q: three, K: two, V: two, Out: three, LSE: f.Slice(0, 12)})
			},
			"unknown activation":  func() { d.Activate(99, m, m) },
			"sum into F32":        func() { d.Sum(kernels.Scalar{Buf: f}, f, false) },
			"sum past the end":    func() { d.Sum(kernels.Scalar{Buf: sums, I: 1}, f, false) },
			"write of wrong type": func() { d.WriteF32(ids, make([]float32, 4)) },
			"slice past the end":  func() { f.Slice(60, 5) },
		} {
			func() {
				defer func() {
					if r := recover(); r == nil {
						t.Errorf("%s: %s: no panic", d.Name(), name)
					} else if s, ok := r.(string); !ok || !strings.HasPrefix(s, "cpu: ") {
						t.Errorf("%s: %s: panic of %T: %v", d.Name(), name, r, r)
					}
				}()
				f()
			}()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func crossEntropyOf(d kernels.Device, x kernels.Mat, targets, losses kernels.Buffer) {
	d.LinearCrossEntropy(kernels.LinearCrossEntropy{X: x, Head: x, Targets: targets, Losses: losses})
}
