//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/cublaslt"
	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// Available returns why no GPU can be used here, or nil.
func Available() error { return driver.Available() }

// device is one GPU. Operations come from one goroutine at a time; Alloc and Free from any.
type device struct {
	memory
	functions map[string]function // by source.kernel
	scratch   scratch
	repeats   repeats
	lt        *cublaslt.Handle // nil: not found
	late      bool             // a copy beside the work was joined, and no kernel queued since
}

// GPUs lists the GPUs that the process sees, or says why there are none.
func GPUs() ([]GPU, error) {
	n, err := driver.Count()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("NVIDIA's driver sees no GPU")
	}
	var all []GPU
	for i := range n {
		a, err := driver.Describe(i)
		if err != nil {
			return nil, err
		}
		all = append(all, GPU{Number: i, Name: a.Name, UUID: a.UUID, Memory: a.Memory})
	}
	return all, nil
}

// Driver describes the driver, or says why there is none.
func Driver() (string, error) {
	if err := driver.Available(); err != nil {
		return "", err
	}
	return fmt.Sprintf("built in; the driver is for CUDA %d.%d", driver.Version()/1000, driver.Version()%1000/10), nil
}

// Products describes the library that makes products, or says why there is none.
func Products() (string, error) { return cublaslt.Find() }

// About says what is built in and found, in a line.
func About() string {
	if err := driver.Available(); err != nil {
		return err.Error()
	}
	products, err := cublaslt.Find()
	if err != nil {
		products = "no cuBLASLt: " + err.Error()
	}
	return fmt.Sprintf("driver for CUDA %d.%d, %s", driver.Version()/1000, driver.Version()%1000/10, products)
}

// watched are the contexts by which GPUs are asked for their memory, kept since making one takes a
// tenth of a second.
var watched struct {
	sync.Mutex
	contexts map[int]*driver.Context
}

// Available is the memory that the GPU could give now, and all that it has, in bytes; 0 if it isn't known.
func (g GPU) Available() (free, total int64) {
	watched.Lock()
	defer watched.Unlock()
	ctx := watched.contexts[g.Number]
	if ctx == nil {
		var err error
		if ctx, err = driver.Open(g.Number); err != nil {
			return 0, 0
		}
		if watched.contexts == nil {
			watched.contexts = map[int]*driver.Context{}
		}
		watched.contexts[g.Number] = ctx
	}
	free, total, err := ctx.Memory()
	if err != nil { // a context that was lost goes, so that the next one is new
		ctx.Close()
		delete(watched.contexts, g.Number)
		return 0, 0
	}
	return free, total
}

// Open opens the GPU of a number among those that the process sees. In F32 it computes in F32 throughout: no
// TF32.
func Open(gpu int, o kernels.Options) (kernels.Device, error) {
	switch o.Precision {
	case kernels.F32, kernels.BF16, kernels.F16:
	default:
		return nil, fmt.Errorf("cuda: activations of %v: want F32, BF16 or F16", o.Precision)
	}
	ctx, err := driver.Open(gpu)
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	d := &device{functions: map[string]function{}}
	d.ctx, d.activations = ctx, o.Precision
	if major, minor := ctx.Capability(); major < 8 {
		d.Close()
		return nil, fmt.Errorf("cuda: %s has compute capability %d.%d: want 8.0 (Ampere) or later", ctx.Name(), major, minor)
	}
	if d.lt, err = cublaslt.Open(ctx, o.Cache); err != nil && !errors.As(err, new(driver.Error)) {
		d.lt, err = nil, nil // its own kernel makes the products
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return d, nil
}

// Name tells what gives the same bytes: the GPU, the precision, and who makes the products.
func (d *device) Name() string {
	products := "own products"
	if d.lt != nil {
		products = fmt.Sprintf("cuBLASLt %d", d.lt.Version())
	}
	return fmt.Sprintf("cuda (%s, %s, %s)", d.ctx.Name(), strings.ToLower(d.activations.String()), products)
}

// Scratch is the memory of cuBLASLt from the start, and then what the hungriest operation takes.
func (d *device) Scratch(ops ...any) int64 { return d.sizes().scratch(ops...) }

func (d *device) sizes() sizes { return sizes{d.activations, d.card(), d.lt != nil} }

// Spare is room for adapters whose ranks sum to 64, as three of rank 16 do: rows of a multiple of 128 bytes stay so.
func (d *device) Spare() int {
	if d.activations == kernels.F32 {
		return 0 // the thin products' kernels are for 16 bits
	}
	return kernels.MostSpare
}

// Close frees everything, and returns what Sync would have told too.
func (d *device) Close() error {
	errs := []error{d.err}
	d.dropRecords()
	d.scratch.free(d)
	if d.lt != nil {
		errs = append(errs, d.lt.Close())
	}
	errs = append(errs, d.freeAll())
	if d.err != errs[0] {
		errs = append(errs, d.err)
	}
	errs = append(errs, d.ctx.Close())
	return errors.Join(errs...)
}

// function is a kernel that is loaded.
type function struct {
	driver.Function
	shared int // dynamic shared memory that it may have
}

// kernel finds "source.kernel" for launches with so much dynamic shared memory, loading the source's code
// when it is first used.
func (d *device) kernel(name string, shared int) (driver.Function, error) {
	f, ok := d.functions[name]
	if !ok {
		source, entry, _ := strings.Cut(name, ".")
		k, err := d.ctx.Function(source, entry, func() ([]byte, error) { return image(source, d.capability()) })
		if err != nil {
			return driver.Function{}, err
		}
		f = function{k, 48 << 10}
		d.functions[name] = f
	}
	if shared > f.shared {
		if err := d.ctx.AllowShared(f.Function, shared); err != nil {
			return driver.Function{}, err
		}
		f.shared = shared
		d.functions[name] = f
	}
	return f.Function, nil
}

// run queues calls. What fails is kept for Sync, and nothing is queued behind it.
func (d *device) run(calls ...call) {
	for _, c := range calls {
		if d.failed() {
			return
		}
		if err := d.start(c); err != nil {
			d.fail(fmt.Errorf("kernel %s: %w", c.kernel, err))
		}
	}
}

func (d *device) start(c call) error {
	f, err := d.kernel(c.kernel, c.shared)
	if err != nil {
		return err
	}
	elements := driver.TensorBF16
	if d.activations == kernels.F16 {
		elements = driver.TensorF16
	}
	for _, m := range c.maps {
		made, err := d.ctx.TensorMap(elements, driver.Pointer(m.address), m.dims, m.strides, m.box)
		if err != nil {
			return err
		}
		copy(c.args[m.at:], made[:])
	}
	early := c.early(d.card()) && !d.late // what it waits for itself is the kernel ahead, not a copy
	d.late = false
	return d.ctx.Launch(f, c.grid, c.threads, c.shared, c.cluster, early, c.args)
}

// launch queues a kernel that takes the structure args; one for no elements is none.
func launch[Args any](d *device, name string, grid [3]int, threads int, args Args) {
	if grid[0] > 0 && grid[1] > 0 {
		d.run(call{kernel: name, grid: grid, threads: threads, args: argument(&args)})
	}
}

// card is what the choice of kernels depends on.
func (d *device) card() card {
	return card{multiprocessors: d.ctx.Multiprocessors(), hopper: d.capability() == 90, little: d.capability() == 86 || d.capability() == 89 || d.capability() >= 120}
}

// early are the sources whose kernels begin with begin(): their blocks come while the last ones of the work ahead are
// still at it, which hides the time that a start takes. They do so from Hopper on, in code made for it.
var early = map[string]bool{
	"attention_hopper": true, "attention_mma": true, "crossentropy_fast": true, "crossentropy_hopper": true, "elementwise": true, "elementwise_fast": true, "embed": true,
	"gate_fast": true, "gatelora_fast": true, "lora_fast": true, "norm_fast": true, "optimizer": true, "reduce": true, "rope_fast": true,
}

// early reports whether a card may start the kernel early.
func (c call) early(on card) bool {
	source, _, _ := strings.Cut(c.kernel, ".")
	return on.hopper && early[source]
}
