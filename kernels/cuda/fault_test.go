//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
	"github.com/shannon-control/scu/kernels/cuda/fakecuda"
)

// work opens a device, has something computed on it and closes it, and returns every error of that.
func work() error {
	d, err := Open(0, kernels.Options{Precision: kernels.BF16})
	if err != nil {
		return err
	}
	err = func() error {
		x, err := d.Alloc(kernels.BF16, 64*64)
		if err != nil {
			return err
		}
		defer d.Free(x)
		w, err := d.Upload(kernels.BF16, make([]byte, 2*64*64))
		if err != nil {
			return err
		}
		defer d.Free(w)
		sum, err := d.Alloc(kernels.F64, 1)
		if err != nil {
			return err
		}
		defer d.Free(sum)
		wide, err := d.Alloc(kernels.F32, 64*64)
		if err != nil {
			return err
		}
		defer d.Free(wide)
		d.WriteF32(wide, make([]float32, 64*64))
		m := kernels.Matrix(x, 64, 64)
		d.Copy(m, kernels.Matrix(wide, 64, 64))
		d.MatMul(kernels.MatMul{Dst: m, A: m, B: kernels.Matrix(w, 64, 64), Alpha: 1})
		host, err := d.(kernels.HostMemory).AllocHost(kernels.F32, 64*64)
		if err != nil {
			return err
		}
		defer d.Free(host)
		for range 3 { // as it is, recorded, from the record
			err := d.Repeat("", func() error {
				d.(kernels.HostMemory).CopyBeside(host, wide)
				d.SumSquares(kernels.Scalar{Buf: sum}, wide)
				d.(kernels.HostMemory).Join(host)
				return nil
			})
			if err != nil {
				return err
			}
		}
		figures, err := d.(kernels.HostMemory).AllocHost(kernels.F64, 1)
		if err != nil {
			return err
		}
		defer d.Free(figures)
		d.(kernels.HostMemory).CopyBeside(figures, sum)
		var total [1]float64
		if err := d.(kernels.HostMemory).ReadBeside(total[:], figures); err != nil {
			return err
		}
		return d.ReadF64(total[:], sum)
	}()
	return errors.Join(err, d.Close())
}

// Whichever call of the driver fails, by want of memory or a lost device, the error comes out and what was
// taken is given back, but for what that very call was to free.
func TestFaultsAtEveryCall(t *testing.T) {
	if realGPU {
		t.Skip("needs the fake driver")
	}
	defer fakecuda.Fail(0, 0, false)
	fakecuda.Fail(0, 0, false)
	if err := work(); err != nil {
		t.Fatal(err)
	}
	calls := fakecuda.Calls()
	if n := fakecuda.Live(); n != 0 {
		t.Fatalf("%d things are left of the driver's", n)
	}
	const lost = 719
	for code, kind := range map[int]error{driver.OutOfMemory: kernels.ErrMemory, lost: kernels.ErrLost} {
		for at := 1; at <= calls; at++ {
			fakecuda.Fail(at, code, false)
			before := fakecuda.Live()
			err := work()
			if err == nil {
				t.Fatalf("call %d of %d fails with %d and nobody says so", at, calls, code)
			}
			if !errors.Is(err, kind) {
				t.Errorf("call %d of %d fails with %d: %v, which isn't %v", at, calls, code, err, kind)
			}
			if n := fakecuda.Live() - before; n > 1 {
				t.Errorf("call %d of %d fails with %d (%v): %d things are left of the driver's", at, calls, code, err, n)
			}
		}
	}
	for at := 1; at <= calls; at += 7 { // and nothing works any more: errors, and no end of the process
		fakecuda.Fail(at, lost, true)
		if err := work(); err == nil {
			t.Errorf("the device is lost from call %d on and nobody says so", at)
		}
	}
}

// What doesn't fit is refused, with how much there is, and the device goes on.
func TestOutOfMemory(t *testing.T) {
	if realGPU {
		t.Skip("needs the fake driver")
	}
	fakecuda.Room(1 << 20)
	defer fakecuda.Room(4 << 30)
	d, err := Open(0, kernels.Options{Precision: kernels.F32})
	must(t, err)
	_, err = d.Alloc(kernels.F32, 1<<20)
	var refused driver.Error
	if !errors.As(err, &refused) || refused.Code != driver.OutOfMemory {
		t.Fatalf("4 MiB of 1: %v", err)
	}
	b, err := d.Alloc(kernels.F32, 100)
	must(t, err)
	d.Free(b)
	must(t, d.Sync())
	must(t, d.Close())
}

// A GPU's memory is asked for through one context, and through a new one when that was lost.
func TestAvailable(t *testing.T) {
	if realGPU {
		t.Skip("needs the fake driver")
	}
	gpus, err := GPUs()
	must(t, err)
	before := fakecuda.Live()
	for range 3 {
		if free, total := gpus[0].Available(); free <= 0 || total < free {
			t.Fatalf("%d of %d bytes are free", free, total)
		}
	}
	kept := fakecuda.Live() - before
	fakecuda.Fail(2, 719, true)
	if free, total := gpus[0].Available(); free != 0 || total != 0 {
		t.Errorf("a lost GPU has %d of %d bytes free", free, total)
	}
	fakecuda.Fail(0, 0, false)
	if free, _ := gpus[0].Available(); free <= 0 {
		t.Error("the GPU is back and has no memory")
	}
	if kept == 0 || kept > 3 {
		t.Errorf("%d things are kept for asking", kept)
	}
}
