//go:build cuda && cgo && linux

package cuda

import (
	"context"
	"errors"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// Work that comes again is done from its record, on what its buffers hold then. A record ends with the memory that it
// was made on, and work that fails while it is recorded is as if it hadn't come.
func TestRepeat(t *testing.T) {
	d := open(t, kernels.BF16)
	alloc := func(dtype kernels.DType, n int) kernels.Buffer {
		b, err := d.Alloc(dtype, n)
		must(t, err)
		return b
	}
	const n = 32
	calls := 0
	var x, y, z kernels.Buffer
	double := func() error {
		calls++
		m := func(b kernels.Buffer) kernels.Mat { return kernels.Matrix(b, n, n) }
		d.Copy(m(y), m(x))
		d.MatMul(kernels.MatMul{Dst: m(z), A: m(y), B: m(x), TransB: true, Alpha: 1}) // takes scratch memory with cuBLASLt
		d.Add(m(y), m(z), m(z))
		return nil
	}
	check := func(step int, value float32) {
		t.Helper()
		in, out := make([]float32, n*n), make([]float32, n*n)
		for i := range n {
			in[i*n+i] = value
		}
		d.WriteF32(x, in)
		must(t, d.Repeat("double", double))
		must(t, d.ReadF32(out, y))
		if out[0] != 2*value*value || out[n*n-1] != 2*value*value || out[1] != 0 {
			t.Fatalf("pass %d: %v, %v, %v of %v", step, out[0], out[1], out[n*n-1], value)
		}
	}
	x, y, z = alloc(kernels.F32, n*n), alloc(kernels.BF16, n*n), alloc(kernels.BF16, n*n)
	for i := range 5 {
		check(i, float32(i+1))
	}
	if calls != 2 {
		t.Errorf("five passes took %d calls, want two", calls)
	}
	d.Free(x)
	other := x
	x = alloc(kernels.F32, n*n+1).Slice(1, n*n)
	if other == x {
		t.Fatal("the test wants other memory")
	}
	for i := range 3 {
		check(i, float32(i+2))
	}
	if calls != 3 {
		t.Errorf("three passes on other memory took %d calls, want one to record them anew", calls-2)
	}
	// Work that can't be recorded is done as it is.
	for i := range 4 {
		must(t, d.Repeat("waits", func() error { _ = d.Sync(); return double() }))
		must(t, d.Sync())
		check(i, 3)
	}
	for i := range 4 {
		stop := context.Canceled
		err := d.Repeat("stopped", func() error {
			double()
			if i != 2 {
				return stop
			}
			return nil
		})
		if i != 2 && !errors.Is(err, stop) || i == 2 && err != nil {
			t.Fatalf("work that ends early, the %d. time: %v", i, err)
		}
	}
	check(9, 5)
	must(t, d.Sync())
	must(t, d.Close())
}
