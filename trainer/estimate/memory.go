package estimate

import (
	"context"
	"strconv"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
)

// share is how much of the available memory a run may plan with. A GPU is a job's alone,
// and what it needs is known to a percent; the host is shared.
const (
	share    = 0.8
	gpuShare = 0.97
)

// Plan decides how activations of a type are kept: all of them if the run then fits
// its share of the available memory, else each block's input alone. If that doesn't
// fit either the job can't run here; weights count only where they are not mapped, and
// so can't be read again. With 0 available nothing is known, and all are kept.
func (r Run) Plan(activations kernels.DType, modules []lora.Module) (model.WorkspaceOptions, error) {
	o := r.keepAll()
	if r.Available == 0 {
		return o, nil
	}
	if r.Device.Scratch != nil {
		return r.planGPU(activations, modules)
	}
	limit := int64(share * float64(r.Available))
	p, err := r.outline(activations, modules, o)
	if err != nil || p.loaded+p.learning+p.activations <= limit {
		return o, err
	}
	o.Recompute = true
	if p, err = r.outline(activations, modules, o); err != nil || p.learning+p.activations <= limit {
		return o, err
	}
	return o, r.refuse(scu.Errorf(scu.CodeMemory, "training needs %s besides the weights, but only %s of memory are available", size(p.learning+p.activations), size(r.Available)))
}

func (r Run) keepAll() model.WorkspaceOptions {
	return model.WorkspaceOptions{Batch: r.Config.BatchSize, Len: r.Work.Longest, Training: true}
}

func (r Run) outline(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) (*passes, error) {
	var scratch func(...any) int64
	if r.Device.Scratch != nil {
		scratch = func(ops ...any) int64 { return r.Device.Scratch(activations, ops...) }
	}
	return outline(newPlanner(activations, scratch), r, modules, o)
}

// planGPU is Plan for a device that all has to fit into.
func (r Run) planGPU(activations kernels.DType, modules []lora.Module) (o model.WorkspaceOptions, err error) {
	limit := int64(gpuShare * float64(r.Available))
	for _, recompute := range []bool{false, true} {
		o = r.keepAll()
		o.Recompute = recompute
		need, err := r.Needs(activations, modules, o)
		if err != nil || need <= limit {
			return o, err
		}
	}
	p, err := r.outline(activations, modules, o)
	if err != nil {
		return o, err
	}
	if p.loaded > limit {
		e := scu.Errorf(scu.CodeMemory, "the model's weights take %s, but only %s of the GPU's memory are available", size(p.loaded), size(r.Available)).At("base_model")
		if !r.nf4() && r.Device.NF4 {
			return o, e.WithHint("set use_4bit, or take a smaller model or a larger GPU")
		}
		return o, e.WithHint("take a smaller model or a larger GPU")
	}
	need, err := r.Needs(activations, modules, o)
	if err != nil {
		return o, err
	}
	return o, r.refuse(scu.Errorf(scu.CodeMemory, "training needs %s with checkpointing, %s of them the weights, but only %s of the GPU's memory are available", size(need), size(p.loaded), size(r.Available)))
}

func (r Run) refuse(e *scu.Error) error {
	return e.WithHint("lower batch_size (now %d) or block_size; gradient_accumulation_steps keeps the effective batch", r.Config.BatchSize)
}

// nf4 reports whether linear weights are quantised when they are loaded.
func (r Run) nf4() bool { return r.Device.NF4 && r.Config.Use4Bit }

// Needs returns the memory that a planned run takes in bytes, weights included; the
// scratch memory only of a GPU, whose own all of this is.
func (r Run) Needs(activations kernels.DType, modules []lora.Module, o model.WorkspaceOptions) (int64, error) {
	p, err := r.outline(activations, modules, o)
	if err != nil {
		return 0, err
	}
	need := p.loaded + p.learning + p.activations
	if r.Device.Scratch == nil {
		return need, nil
	}
	if err := p.record(context.Background(), o.Batch, 0, o.Len); err != nil {
		return 0, err
	}
	return need + p.rec.scratch(), nil
}

// GPUClass returns the smallest class of GPUs that hold a run: without computing
// activations again if one of the classes offered does, else with that. Where none is
// offered it is the smallest that there is; "" if even the largest is too small.
func (r Run) GPUClass(activations kernels.DType, modules []lora.Module, offered func(class string) bool) (string, error) {
	smallest := ""
	for _, recompute := range []bool{false, true} {
		o := r.keepAll()
		o.Recompute = recompute
		need, err := r.Needs(activations, modules, o)
		if err != nil {
			return "", err
		}
		class := scu.GPUClassFor(int64(float64(need) / gpuShare))
		if class == "" {
			continue
		}
		if smallest = class; offered == nil || offered(class) {
			return class, nil
		}
	}
	return smallest, nil
}

// size formats bytes for people.
func size(n int64) string {
	if n < 1<<30 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}
