package devicetest

import (
	"errors"
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// hostMemory checks what lies in the host's memory, on devices with memory of their own.
func hostMemory(e *env) {
	d, ok := e.d.(kernels.HostMemory)
	if !ok {
		return
	}
	const rows, cols = 9, 24
	alloc := func() (kernels.Buffer, kernels.Mat) {
		b, err := d.AllocHost(e.d.Activations(), rows*cols)
		if err != nil {
			e.t.Fatal(err)
		}
		return b, kernels.Matrix(b, rows, cols)
	}
	first := e.matrix("first", layouts[0], rows, cols, e.normal(rows*cols))
	second := e.matrix("second", layouts[0], rows, cols, e.normal(rows*cols))

	// Operations read and write it.
	b, table := alloc()
	e.d.Copy(table, first.Mat)
	ids := make([]int32, 2*rows)
	for i := range ids {
		ids[i] = int32(i % rows)
	}
	looked := e.dst("looked up", layouts[0], len(ids), cols)
	e.d.Embed(kernels.Embed{Dst: looked.Mat, Table: table, IDs: e.ints(ids), Scale: 1})
	e.checkExact("Embed of the host's memory", looked.read(e), each(len(ids)*cols, func(i int) float64 { return first.x[i%(rows*cols)] }))
	e.d.Free(b)

	// What was put aside comes back, whatever was done where it had been: as it is, while it is recorded, and again.
	b, _ = alloc()
	other, _ := alloc()
	here, there := e.dst("here", layouts[0], rows, cols), e.dst("there", layouts[0], rows, cols)
	from, to := here.Buf.Slice(0, rows*cols), there.Buf.Slice(0, rows*cols)
	for pass := range 4 {
		err := e.d.Repeat("aside", func() error {
			e.d.Copy(here.Mat, first.Mat)
			d.CopyBeside(b, from)
			e.d.Copy(there.Mat, second.Mat) // beside it
			d.CopyBeside(other, to)
			d.Join(b)
			e.d.Copy(here.Mat, second.Mat)
			d.Join(other)
			d.CopyBeside(to, b)
			d.CopyBeside(from, other)
			d.Join(b)
			d.Join(other)
			e.d.Add(there.Mat, there.Mat, here.Mat)
			return nil
		})
		if err != nil {
			e.t.Fatal(err)
		}
		sum := each(rows*cols, func(i int) float64 { return e.round(first.x[i] + second.x[i]) })
		e.checkExact(fmt.Sprintf("aside, pass %d", pass), there.read(e), sum)
		e.checkExact(fmt.Sprintf("aside, pass %d, the other", pass), here.read(e), each(rows*cols, func(i int) float64 { return second.x[i] }))
	}

	// What is read beside is what was there when it was copied, though it has been written since.
	sum := e.alloc(kernels.F64, 2)
	figures, err := d.AllocHost(kernels.F64, 2)
	if err != nil {
		e.t.Fatal(err)
	}
	for pass := range 3 {
		want := []float64{float64(pass), -1.5}
		e.d.WriteF64(sum, want)
		d.CopyBeside(figures, sum)
		e.d.Copy(here.Mat, first.Mat)
		d.Join(figures)
		e.d.WriteF64(sum, []float64{8, 9})
		got := make([]float64, 2)
		if err := d.ReadBeside(got, figures); err != nil {
			e.t.Fatal(err)
		}
		e.checkExactF64("ReadBeside", got, want)
	}
	e.d.Free(figures)

	// Work that breaks off before it has joined a copy, as it is or while it is recorded, takes nothing else with it.
	stop := errors.New("stop")
	for pass := range 5 {
		stops := pass == 0 || pass == 2 // of the others the first is done as it is, and the next two from a record
		err := e.d.Repeat("stopped", func() error {
			e.d.Copy(here.Mat, first.Mat)
			d.CopyBeside(b, from)
			if stops {
				return stop
			}
			d.Join(b)
			e.d.Copy(here.Mat, second.Mat)
			d.CopyBeside(from, b)
			d.Join(b)
			return nil
		})
		if stops != errors.Is(err, stop) || !stops && err != nil {
			e.t.Fatalf("pass %d: %v", pass, err)
		}
		if err := e.d.Sync(); err != nil {
			e.t.Fatal(err)
		}
		e.checkExact(fmt.Sprintf("stopped, pass %d", pass), here.read(e), each(rows*cols, func(i int) float64 { return first.x[i] }))
	}
	e.d.Free(b)
	e.d.Free(other)
	e.free()
}
