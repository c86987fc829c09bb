//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// pinned is what a buffer of the host's memory has beside others: the GPU reads it at the host's address.
type pinned struct {
	bytes []byte
	done  driver.Event // behind the last copy beside the work
}

// hostShare is how much a device may take of what the host has available without it: what is pinned can't be paged out.
const hostShare = 0.5

func (d *device) AllocHost(t kernels.DType, n int) (kernels.Buffer, error) {
	if n < 0 || t == kernels.NF4 {
		panic(fmt.Sprintf("cuda: AllocHost of %d elements of %v", n, t))
	}
	size := max(1, t.Bytes(n))
	taken := d.host.Load()
	if free, _ := cpu.Available(); free > 0 && float64(taken+int64(size)) > hostShare*float64(taken+free) {
		return nil, fmt.Errorf("cuda: %d MiB of the host's memory, of which %d are available: %w", size>>20, free>>20, kernels.ErrMemory)
	}
	d.queue.Lock()
	defer d.queue.Unlock()
	if d.beside == nil {
		beside, err := d.ctx.MakeBeside()
		if err != nil {
			return nil, fmt.Errorf("cuda: %w", err)
		}
		d.beside = beside
	}
	done, err := d.ctx.MakeEvent()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	b, err := d.ctx.Pin(size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: %d MiB of the host's memory: %w", size>>20, err), d.ctx.DestroyEvent(done))
	}
	made := &buffer{dtype: t, n: n, at: driver.Pointer(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), host: &pinned{bytes: b, done: done}}
	d.keep(made)
	d.host.Add(int64(size))
	return made, nil
}

// unpin gives the host's memory back once the work and the copies queued so far are done.
func (m *memory) unpin(p *pinned) error {
	m.host.Add(-int64(len(p.bytes)))
	return errors.Join(m.ctx.Wait(), m.beside.Wait(), m.ctx.DestroyEvent(p.done), m.ctx.Unpin(p.bytes))
}

func (d *device) CopyBeside(dst, src kernels.Buffer) {
	to, from := dst.(*buffer), src.(*buffer)
	host := to.host
	if host == nil {
		host = from.host
	}
	if to.dtype != from.dtype || to.n != from.n || host == nil || to.host != nil && from.host != nil {
		panic(fmt.Sprintf("cuda: CopyBeside of %d %v to %d %v: want as many, and one of them the host's", from.n, from.dtype, to.n, to.dtype))
	}
	if !d.failed() && to.n > 0 {
		d.fail(d.beside.Copy(to.at, from.at, to.dtype.Bytes(to.n), host.done))
	}
}

func (d *device) Join(host kernels.Buffer) {
	if d.failed() {
		return
	}
	d.fail(d.beside.Join(host.(*buffer).host.done))
	d.late = true
}

func (d *device) ReadBeside(dst []float64, host kernels.Buffer) error {
	b := host.(*buffer)
	if b.host == nil || b.n != len(dst) || b.dtype != kernels.F64 {
		panic(fmt.Sprintf("cuda: ReadBeside of a buffer of %d %v into %d values: want as many of the host's", b.n, b.dtype, len(dst)))
	}
	if !d.failed() {
		d.fail(d.ctx.WaitFor(b.host.done))
	}
	if err := d.failure(); err != nil {
		return err
	}
	copy(raw(dst), b.host.bytes)
	return nil
}
